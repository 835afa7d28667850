/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/hiprio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int vtfs_pending_init(struct vtfs_pending *p, uint32_t max)
{
	*p = (struct vtfs_pending){.max = max};
	p->unique = calloc(max, sizeof(*p->unique));
	return p->unique ? 0 : -ENOMEM;
}

void vtfs_pending_fini(struct vtfs_pending *p)
{
	free(p->unique);
	p->unique = NULL;
}

/* One that nothing came for. */
static void forget_entry(struct vtfs_pending *p)
{
	__atomic_fetch_sub(&p->cnt, 1, __ATOMIC_SEQ_CST);
	vtfs_stat_add_shared(&p->late, 1);
}

void vtfs_pending_enter(struct vtfs_pending *p, uint64_t unique)
{
	uint32_t i = __atomic_fetch_add(&p->next, 1, __ATOMIC_RELAXED) % p->max;

	/* Counted before it can be seen: cnt is never too small. */
	__atomic_fetch_add(&p->cnt, 1, __ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&p->unique[i], unique, __ATOMIC_SEQ_CST))
		forget_entry(p);
}

static bool take_entry(struct vtfs_pending *p, unsigned i, uint64_t unique)
{
	if (__atomic_load_n(&p->unique[i], __ATOMIC_SEQ_CST) != unique)
		return false;
	if (!__atomic_compare_exchange_n(&p->unique[i], &unique, 0, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return false;
	__atomic_fetch_sub(&p->cnt, 1, __ATOMIC_SEQ_CST);
	return true;
}

bool vtfs_pending_claim(struct vtfs_pending *p, uint64_t unique, bool early)
{
	for (unsigned i = 0; unique && i < p->max; i++) {
		if (!take_entry(p, i, unique))
			continue;
		vtfs_stat_add_shared(early ? &p->early : &p->matched, 1);
		return true;
	}
	return false;
}

void vtfs_pending_clear(struct vtfs_pending *p)
{
	for (unsigned i = 0; i < p->max; i++)
		if (__atomic_exchange_n(&p->unique[i], 0, __ATOMIC_SEQ_CST))
			forget_entry(p);
}

void vtfs_pending_stats(const struct vtfs_pending *p,
			struct virtiofs_queue_stats *sum)
{
	sum->interrupts_matched += vtfs_load_once(&p->matched);
	sum->interrupts_early += vtfs_load_once(&p->early);
	sum->interrupts_late += vtfs_load_once(&p->late);
}

static void start_cursor(struct vtfs_slot *s)
{
	const struct fuse_batch_forget_in *batch = s->req.arg;

	s->counting = true;
	s->entries_left = 1;
	if (s->op->opcode != FUSE_BATCH_FORGET)
		return;
	s->entries_left = batch->count;
	vtfs_iovcur_init(&s->cursor, s->req.data, s->req.data_cnt);
}

/* The next entry; frame.c saw that all of them are there. */
static struct fuse_forget_one next_entry(struct vtfs_slot *s)
{
	const struct fuse_forget_in *arg = s->req.arg;
	struct fuse_forget_one one = {.nodeid = s->in.nodeid};

	if (s->op->opcode == FUSE_BATCH_FORGET)
		vtfs_iovcur_pull(&s->cursor, &one, sizeof(one));
	else
		one.nlookup = arg->nlookup;
	return one;
}

unsigned vtfs_forget_run(struct vtfs_slot *s, unsigned budget,
			 vtfs_forget_fn forget, bool *ret_more)
{
	struct fuse_forget_one one;
	unsigned n = 0;

	if (!s->counting)
		start_cursor(s);
	for (; n < budget && s->entries_left; n++, s->entries_left--) {
		one = next_entry(s);
		forget(one.nodeid, one.nlookup, s->req.userdata);
	}
	*ret_more = s->entries_left != 0;
	return n;
}

static bool is_target(const struct vtfs_slot *s, uint64_t unique)
{
	return __atomic_load_n(&s->match, __ATOMIC_SEQ_CST) == unique;
}

struct vtfs_slot *vtfs_interrupt_find(struct vtfs_slots *t, uint64_t unique,
				      bool *ret_wake)
{
	for (unsigned i = 0; unique && i < t->cnt; i++) {
		struct vtfs_slot *s = &t->slots[i];

		if (!is_target(s, unique) || !vtfs_slot_hold(s))
			continue;
		/* Held now, it can't become another request. */
		if (is_target(s, unique))
			return s;
		if (vtfs_slot_unhold(t, s))
			*ret_wake = true;
	}
	return NULL;
}
