/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_LOCK_OWNER_H
#define SERVER_LOCK_OWNER_H
/* Who holds POSIX locks on a node, and by which descriptor. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "node.h"

struct lock_owner {
	uint64_t owner;
	int fd;
	_Atomic uint32_t pid; /* the guest's, of the last lock taken */
	_Atomic uint64_t fh;  /* it was taken by */
	unsigned users;	      /* requests; all below: under the node's lock */
	bool listed;
	struct lock_owner *next;
};

/* In use until put. NULL: none, and create is false. */
int lock_owner_get(const struct node_ref *ref, uint64_t owner, bool create,
		   struct lock_owner **ret);
void lock_owner_put(struct node *n, struct lock_owner *o);
/* Whose lock is it that o's query met? 0: not a guest's, or not to tell. */
uint32_t lock_owner_find_pid(struct node *n, const struct lock_owner *o,
			     const struct flock *met);

#endif
