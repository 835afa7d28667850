/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a queue tells its device of requests, and hears of replies. */
#include "session/client_line.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/error.h"
#include "session/client.h"

#define PAUSE_MIN_NS 20000u
#define PAUSE_MAX_NS 1000000u

void vtfs_line_init(struct vtfs_line *l, uint32_t tag)
{
	*l = (struct vtfs_line){
	    .bell = {.kind = VTFS_DOORBELL_FD, .fd = -1},
	    .ear = -1,
	    .tag = tag,
	};
}

/* A timer of ours is no call. */
static int watch_ear(const struct vtfs_line *l, int ep)
{
	return vtfs_fd_watch(ep, l->ear, EPOLLIN | EPOLLET,
			     l->mute ? VTFS_WAIT_WAKE : l->tag);
}

static int make_ear(struct vtfs_line *l, int shared_fd)
{
	if (l->mute)
		l->ear = timerfd_create(CLOCK_MONOTONIC,
					TFD_CLOEXEC | TFD_NONBLOCK);
	else if (shared_fd >= 0)
		l->ear = fcntl(shared_fd, F_DUPFD_CLOEXEC, 3);
	else
		return 0;
	if (l->ear < 0)
		return vtfs_fail_sys(-errno, "a queue's descriptor");
	return 0;
}

int vtfs_line_open(struct vtfs_line *l, struct virtiofs_client *c,
		   const struct vtfs_queue_setup *s, int ep)
{
	struct vtfs_queue_line got = {
	    .doorbell = {.kind = VTFS_DOORBELL_FD, .fd = s->kick_fd},
	    .shared_fd = -1,
	    .mute = s->call_fd < 0,
	};
	int r;

	vtfs_line_close(l, ep);
	if (c->t->cli->queue_line)
		c->t->cli->queue_line(c->t, s->vq, &got);
	l->bell = got.doorbell;
	l->mute = got.mute;
	l->pause = PAUSE_MIN_NS;
	r = make_ear(l, got.shared_fd);
	if (r < 0 || l->ear < 0)
		return r;
	r = watch_ear(l, ep);
	if (r < 0)
		vtfs_line_close(l, ep);
	return r;
}

void vtfs_line_close(struct vtfs_line *l, int ep)
{
	/* What it was may be gone with its device. */
	l->bell = (struct vtfs_doorbell){.kind = VTFS_DOORBELL_FD, .fd = -1};
	l->mute = l->ticks = false;
	if (l->ear < 0)
		return;
	/* Another descriptor of the same eventfd would keep it there. */
	vtfs_fd_forget(ep, l->ear);
	close(l->ear);
	l->ear = -1;
}

int vtfs_line_move(struct vtfs_line *l, int from, int to)
{
	int r;

	if (l->ear < 0)
		return 0;
	r = watch_ear(l, to);
	if (r >= 0)
		vtfs_fd_forget(from, l->ear);
	return r;
}

static void set_timer(struct vtfs_line *l, uint32_t ns)
{
	const struct itimerspec its = {.it_value.tv_nsec = (long)ns};

	/* Stopping it also clears what it had to tell. */
	if (l->ticks || ns)
		timerfd_settime(l->ear, 0, &its, NULL);
	l->ticks = ns > 0;
}

void vtfs_line_sleep(struct vtfs_line *l, bool awaits)
{
	if (!l->mute)
		return;
	set_timer(l, awaits ? l->pause : 0);
	if (awaits)
		l->pause = vtfs_min_u32(2 * l->pause, PAUSE_MAX_NS);
}

void vtfs_line_heard(struct vtfs_line *l)
{
	l->pause = PAUSE_MIN_NS;
}
