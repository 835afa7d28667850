/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_SESSION_CLIENT_LINE_H
#define VTFS_SESSION_CLIENT_LINE_H
/*
 * How a queue tells its device of requests, and hears of replies.
 *
 * A device rings the queue's call_fd; or an eventfd that several queues share,
 * to which each listens by a descriptor of its own; or nothing at all: then the
 * queue has a timer, and while requests are with the device it is looked at
 * again and again, at longer and longer intervals up to a millisecond. That
 * descriptor is the ear. It stands, edge-triggered and never read, in the same
 * epoll instance as call_fd.
 */
#include <stdbool.h>
#include <stdint.h>

#include "transport/doorbell.h"

struct virtiofs_client;
struct vtfs_queue_setup;

struct vtfs_line {
	struct vtfs_doorbell bell;
	int ear;	/* -1: call_fd says it all */
	bool mute;	/* ear is a timer */
	bool ticks;	/* and may run, or tell */
	uint32_t pause; /* ns until the next look */
	uint32_t tag;	/* of calls, VTFS_WAIT_ */
};

void vtfs_line_init(struct vtfs_line *l, uint32_t tag);
/* The queue was started like that: as its transport says. */
int vtfs_line_open(struct vtfs_line *l, struct virtiofs_client *c,
		   const struct vtfs_queue_setup *s, int ep);
void vtfs_line_close(struct vtfs_line *l, int ep);
int vtfs_line_move(struct vtfs_line *l, int from, int to);
/* Who sleeps now must be woken if something is awaited, though the device does
 * not call; if nothing is, not any more. */
void vtfs_line_sleep(struct vtfs_line *l, bool awaits);
/* Something came. */
void vtfs_line_heard(struct vtfs_line *l);
#endif
