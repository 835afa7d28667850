/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtiofs-client URI COMMAND: a virtio-fs share without a mount. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <unistd.h>

#include "mount.h"
#include "msg.h"
#include "options.h"
#include "progress.h"
#include "stats.h"
#include "stop.h"

static int flush_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	msg_error(-errno, "write error");
	return 1;
}

int main(int argc, char **argv)
{
	struct options opts;
	struct session s;
	int r, status;

	setlocale(LC_ALL, "");
	r = options_parse(argc, argv, &opts);
	if (r <= 0)
		return r < 0 ? 1 : flush_output(0);
	if (!opts.session.uri)
		return flush_output(opts.command->run(NULL, &opts.args));
	/* It connects when it is in the background. */
	if (!opts.command->run)
		return mount_run(&opts);
	if (session_open(&s, &opts.session) < 0)
		return 1;
	status = opts.command->run(&s, &opts.args);
	progress_end();
	status = flush_output(status);
	r = io_dead(s.io);
	if (r < 0 && !stop_signal()) {
		if (!s.told)
			msg_error(r, "lost %s", quote(s.uri));
		status = 1;
	}
	if (opts.session.client.flags & VIRTIOFS_CLIENT_LATENCY)
		stats_print(s.c);
	session_close(&s);
	if (stop_signal())
		stop_raise();
	return status;
}
