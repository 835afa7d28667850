/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stop.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static volatile sig_atomic_t stop_by;
static int event_fd = -1;

static void on_signal(int signo)
{
	const uint64_t one = 1;
	int saved = errno;
	ssize_t n;

	stop_by = signo;
	n = write(event_fd, &one, sizeof(one));
	(void)n; /* a full counter is readable, which is all we need */
	errno = saved;
}

int stop_init(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa, old;
	unsigned i;

	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (event_fd < 0)
		return -errno;
	memset(&sa, 0, sizeof(sa));
	sa.sa_handler = on_signal;
	sa.sa_flags = (int)(SA_RESETHAND | SA_RESTART);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		/* nohup and background jobs of old shells ignore them */
		if (sigaction(signals[i], NULL, &old) < 0 ||
		    old.sa_handler == SIG_IGN)
			continue;
		if (sigaction(signals[i], &sa, NULL) < 0)
			return -errno;
	}
	return 0;
}

int stop_signal(void)
{
	return stop_by;
}

int stop_fd(void)
{
	return event_fd;
}

void stop_raise(void)
{
	int signo = stop_by;

	signal(signo, SIG_DFL);
	raise(signo);
}
