/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_LOCK_H
#define SERVER_LOCK_H
/*
 * Locks. A POSIX lock belongs to an owner (a process of the guest): each
 * owner has one open file description per node, and OFD locks on it, which
 * meet those of other owners, other guests and the host. A BSD lock belongs
 * to the guest's open file, which is ours one to one: flock(2) on it.
 *
 * A request that must wait gets a thread of its own, so that it holds up
 * nobody else; how many may wait for a queue is bounded by its gate.
 */
#include <stdatomic.h>
#include <stdint.h>

#include "fs.h"

struct node;
struct lock_wait;

/* One per queue; req->user of the queue's requests points to it. */
struct lock_gate {
	_Atomic unsigned waiting;
	_Atomic unsigned max;
	/* From the waiter's thread: reply w->result to w->req, free w. */
	void (*done)(struct lock_gate *gate, struct lock_wait *w);
};

struct lock_wait {
	struct virtiofs_req *req;
	int result; /* 0 or a negative errno */
	struct lock_wait *next;
};

/* Return when nobody waits; after block_stop(). */
void lock_wait_for_all(void);

/* All POSIX locks of an owner on a node go. */
void lock_release_owner(struct fs *fs, uint64_t nodeid, uint64_t owner);
/* Those taken by an open file that is closed for good. A process has given its
 * own back by then, with FLUSH; what is left belongs to the open file itself
 * (F_OFD_SETLK in the guest), and Linux says nothing else of its end. */
void lock_release_handle(struct fs *fs, uint64_t nodeid, uint64_t fh);
/* The node goes. */
void lock_owners_free(struct node *n);

#endif
