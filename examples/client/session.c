/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <virtiofs/transport.h>

#include "msg.h"
#include "stop.h"

#define PAGE 4096u

static void on_log(void *log_data, int level, const char *line)
{
	struct session *s = log_data;

	if (level > LOG_WARNING)
		return;
	s->told = true;
	msg_error(0, "%s", line);
}

static int fail(struct session *s, const char *what)
{
	msg_error(0, "cannot %s %s: %s", what, quote(s->uri),
		  virtiofs_last_error());
	session_close(s);
	return -1;
}

int session_open(struct session *s, const struct session_opts *opts)
{
	struct virtiofs_client_opts copts = opts->client;
	struct virtiofs_transport *t;

	memset(s, 0, sizeof(*s));
	s->uri = opts->uri;
	s->info.size = sizeof(s->info);
	copts.size = sizeof(copts);
	copts.log_level = LOG_WARNING;
	copts.log = on_log;
	copts.log_data = s;

	if (virtiofs_transport_open_client(&t, s->uri) < 0)
		return fail(s, "open");
	if (virtiofs_client_new(&s->c, t, &copts) < 0)
		return fail(s, "use");
	if (virtiofs_client_start(s->c, &s->init) < 0)
		return fail(s, "connect to");
	s->connected = true;
	if (virtiofs_client_get_info(s->c, &s->info) < 0 || stop_init() < 0 ||
	    io_new(&s->io, s->c, copts.timeout_ms) < 0)
		return fail(s, "talk to");
	s->no_readdirplus = !(s->info.init_flags & FUSE_DO_READDIRPLUS);
	return 0;
}

void session_close(struct session *s)
{
	io_free(s->io);
	virtiofs_client_free(s->c);
	s->io = NULL;
	s->c = NULL;
}

int session_blocks(struct session *s)
{
	uint32_t size = BLOCK_MAX;
	int r;

	if (s->info.max_pages && s->info.max_pages < size / PAGE)
		size = s->info.max_pages * PAGE;
	if (s->info.max_write && s->info.max_write < size)
		size = s->info.max_write;
	r = blocks_init(&s->blocks, s->c, size);
	return r < 0 ? r : (int)size;
}
