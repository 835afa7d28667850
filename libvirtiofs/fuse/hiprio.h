/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_FUSE_HIPRIO_H
#define VTFS_FUSE_HIPRIO_H
/*
 * Theory of operation
 *
 * FORGET and BATCH_FORGET are unpacked entry by entry into a callback. One
 * BATCH_FORGET can carry thousands, so a budget counts entries, and a cursor
 * in the slot says where to go on.
 *
 * An INTERRUPT names its target by unique, and can be seen before its target,
 * which comes on another queue. So it is entered in a bounded ring first, and
 * searched for in the slots afterwards; who pops a request stores its unique
 * in the slot first and looks into the ring afterwards. Both orders being
 * sequentially consistent, at least one of the two sees the other; claiming
 * the entry of the ring decides who acts. When the ring is full the oldest
 * entry is forgotten.
 */
#include "base/stats.h"
#include "fuse/slot.h"

struct vtfs_pending {
	uint32_t cnt;		       /* atomic: entries, or more */
	uint32_t next;		       /* atomic */
	uint32_t max;		       /* entries of unique */
	uint64_t *unique;	       /* atomic; 0: empty */
	uint64_t matched, early, late; /* atomic: what became of them */
};

int vtfs_pending_init(struct vtfs_pending *p, uint32_t max);
void vtfs_pending_fini(struct vtfs_pending *p);

void vtfs_pending_enter(struct vtfs_pending *p, uint64_t unique);
/* Take one entry of that unique out: by the request that has come, or by the
 * INTERRUPT that has found its request. */
bool vtfs_pending_claim(struct vtfs_pending *p, uint64_t unique, bool early);
/* The session has ended. */
void vtfs_pending_clear(struct vtfs_pending *p);

void vtfs_pending_stats(const struct vtfs_pending *p,
			struct virtiofs_queue_stats *sum);

/* Any entries? Cheap; asked for each request. */
static inline bool vtfs_pending_any(const struct vtfs_pending *p)
{
	return __atomic_load_n(&p->cnt, __ATOMIC_SEQ_CST) != 0;
}

typedef void (*vtfs_forget_fn)(uint64_t nodeid, uint64_t nlookup,
			       void *userdata);

/* Up to budget entries of s, a FORGET or BATCH_FORGET. Returns how many; *ret
 * says whether more are left. */
unsigned vtfs_forget_run(struct vtfs_slot *s, unsigned budget,
			 vtfs_forget_fn forget, bool *ret_more);

/* The first unanswered request of that unique, held; or NULL. *ret_wake is set
 * if the search freed something that the taker of t waits for. */
struct vtfs_slot *vtfs_interrupt_find(struct vtfs_slots *t, uint64_t unique,
				      bool *ret_wake);
#endif
