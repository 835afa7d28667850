/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/slot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* More than this many requests of several pages at a time wait for one another;
 * memory that is never used is never touched. */
#define BLOCK_MAX  128u
#define HELD_EXTRA 2u

static int new_blocks(struct vtfs_slots *t, unsigned cnt, unsigned max_parts)
{
	t->block_cnt = vtfs_min_u32(cnt, BLOCK_MAX);
	t->block_len = VTFS_BLOCK_ARG + max_parts * sizeof(struct iovec);
	t->blocks = malloc(t->block_len * t->block_cnt);
	t->block_next = calloc(t->block_cnt, sizeof(*t->block_next));
	if (!t->blocks || !t->block_next)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->block_cnt; i++)
		t->block_next[i] = i + 1 < t->block_cnt ? i + 1 : VTFS_NONE;
	t->block_local = 0;
	t->block_free = VTFS_NONE;
	return 0;
}

static int new_slots(struct vtfs_slots *t, unsigned cnt)
{
	t->cnt = cnt;
	t->slots = calloc(cnt, sizeof(*t->slots));
	if (!t->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < cnt; i++) {
		t->slots[i].idx = i;
		t->slots[i].block = VTFS_NONE;
		t->slots[i].next = i + 1 < cnt ? i + 1 : VTFS_NONE;
	}
	t->local = 0;
	t->free = VTFS_NONE;
	return 0;
}

int vtfs_slots_new(struct vtfs_slots **ret, unsigned cnt, unsigned max_parts)
{
	struct vtfs_slots *t;

	t = aligned_alloc(VTFS_CACHELINE,
			  VTFS_ALIGN_UP(sizeof(*t), (size_t)VTFS_CACHELINE));
	if (!t)
		return -ENOMEM;
	memset(t, 0, sizeof(*t));
	if (new_slots(t, cnt + HELD_EXTRA) < 0 ||
	    new_blocks(t, cnt, max_parts) < 0) {
		vtfs_slots_free(t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

int vtfs_slots_new_mapped(struct vtfs_slots **ret, unsigned cnt,
			  unsigned max_parts)
{
	struct vtfs_slots *t;
	int r = vtfs_slots_new(&t, cnt, max_parts);

	if (r < 0)
		return r;
	t->range_max = max_parts;
	t->ranges = calloc((size_t)t->cnt * VTFS_SLOT_PARTS,
			   sizeof(*t->ranges));
	t->block_ranges = calloc((size_t)t->block_cnt * max_parts,
				 sizeof(*t->ranges));
	t->bounce = calloc(t->cnt, VTFS_SLOT_BOUNCE);
	t->touching = calloc(vtfs_slot_words(t), sizeof(*t->touching));
	if (!t->ranges || !t->block_ranges || !t->bounce || !t->touching) {
		vtfs_slots_free(t);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < t->cnt; i++) {
		t->slots[i].mapped = true;
		t->slots[i].bounce = t->bounce + (size_t)i * VTFS_SLOT_BOUNCE;
	}
	*ret = t;
	return 0;
}

void vtfs_slots_free(struct vtfs_slots *t)
{
	if (!t)
		return;
	free(t->ranges);
	free(t->block_ranges);
	free(t->bounce);
	free(t->touching);
	free(t->slots);
	free(t->blocks);
	free(t->block_next);
	free(t);
}

/* Push to a list that others push to; next is the pushed element's link. The
 * order with starved (see starve) needs sequential consistency. */
static void push(uint32_t *head, uint32_t *next, uint32_t idx)
{
	uint32_t old = __atomic_load_n(head, __ATOMIC_RELAXED);

	do {
		*next = old;
	} while (!__atomic_compare_exchange_n(
	    head, &old, idx, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

static uint32_t grab(uint32_t *head)
{
	return __atomic_exchange_n(head, VTFS_NONE, __ATOMIC_SEQ_CST);
}

/*
 * The list is empty: say so, then look once more. Whoever gives something back
 * pushes first and reads starved afterwards, so one of the two sees the other.
 */
static uint32_t starve(struct vtfs_slots *t, uint32_t *head)
{
	__atomic_store_n(&t->starved, 1, __ATOMIC_SEQ_CST);
	return grab(head);
}

static bool unstarve(struct vtfs_slots *t)
{
	return __atomic_load_n(&t->starved, __ATOMIC_SEQ_CST) &&
	       __atomic_exchange_n(&t->starved, 0, __ATOMIC_SEQ_CST);
}

struct vtfs_slot *vtfs_slot_take(struct vtfs_slots *t)
{
	struct vtfs_slot *s;

	if (t->local == VTFS_NONE)
		t->local = grab(&t->free);
	if (t->local == VTFS_NONE)
		t->local = starve(t, &t->free);
	if (t->local == VTFS_NONE)
		return NULL;
	s = &t->slots[t->local];
	t->local = s->next;
	return s;
}

void vtfs_slot_untake(struct vtfs_slots *t, struct vtfs_slot *s)
{
	s->next = t->local;
	t->local = s->idx;
}

void vtfs_slot_start(struct vtfs_slot *s, uint64_t unique)
{
	__atomic_store_n(&s->state, VTFS_SLOT_TAKEN, __ATOMIC_RELEASE);
	__atomic_store_n(&s->match, unique, __ATOMIC_SEQ_CST);
}

int vtfs_slot_borrow(struct vtfs_slots *t, struct vtfs_slot *s)
{
	if (s->block != VTFS_NONE)
		return 0;
	if (t->block_local == VTFS_NONE)
		t->block_local = grab(&t->block_free);
	if (t->block_local == VTFS_NONE)
		t->block_local = starve(t, &t->block_free);
	if (t->block_local == VTFS_NONE)
		return -EAGAIN;
	s->block = t->block_local;
	t->block_local = t->block_next[s->block];
	return 0;
}

void vtfs_slot_unborrow(struct vtfs_slots *t, struct vtfs_slot *s)
{
	if (s->block == VTFS_NONE)
		return;
	t->block_next[s->block] = t->block_local;
	t->block_local = s->block;
	s->block = VTFS_NONE;
}

struct vtfs_range *vtfs_slot_ranges(struct vtfs_slots *t, struct vtfs_slot *s,
				    unsigned cnt)
{
	if (cnt <= VTFS_SLOT_PARTS)
		return t->ranges + (size_t)s->idx * VTFS_SLOT_PARTS;
	return t->block_ranges + (size_t)s->block * t->range_max;
}

unsigned char *vtfs_slot_block_arg(struct vtfs_slots *t, struct vtfs_slot *s)
{
	return t->blocks + s->block * t->block_len;
}

struct iovec *vtfs_slot_block_parts(struct vtfs_slots *t, struct vtfs_slot *s)
{
	return (struct iovec *)(void *)(vtfs_slot_block_arg(t, s) +
					VTFS_BLOCK_ARG);
}

void vtfs_slot_touch(struct vtfs_slots *t, const struct vtfs_slot *s)
{
	__atomic_fetch_or(&t->touching[s->idx / 64], UINT64_C(1) << s->idx % 64,
			  __ATOMIC_SEQ_CST);
}

bool vtfs_slot_untouch(struct vtfs_slots *t, const struct vtfs_slot *s)
{
	uint64_t *word = &t->touching[s->idx / 64];
	uint64_t bit = UINT64_C(1) << s->idx % 64;

	if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & bit))
		return false;
	__atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST);
	return true;
}

void vtfs_slot_hand(struct vtfs_slot *s)
{
	__atomic_fetch_or(&s->state, VTFS_SLOT_HANDED, __ATOMIC_SEQ_CST);
}

bool vtfs_slot_claim(struct vtfs_slot *s)
{
	uint32_t old = __atomic_fetch_or(&s->state, VTFS_SLOT_REPLIED,
					 __ATOMIC_SEQ_CST);

	return (old &
		(VTFS_SLOT_TAKEN | VTFS_SLOT_HANDED | VTFS_SLOT_REPLIED)) ==
	       (VTFS_SLOT_TAKEN | VTFS_SLOT_HANDED);
}

static bool release(struct vtfs_slots *t, struct vtfs_slot *s)
{
	uint32_t block = s->block;

	s->block = VTFS_NONE;
	/* REPLIED stays: a second reply to a slot that nobody uses is seen. */
	__atomic_store_n(&s->state, VTFS_SLOT_REPLIED, __ATOMIC_RELEASE);
	if (block != VTFS_NONE)
		push(&t->block_free, &t->block_next[block], block);
	push(&t->free, &s->next, s->idx);
	return unstarve(t);
}

bool vtfs_slot_give(struct vtfs_slots *t, struct vtfs_slot *s)
{
	uint32_t old;

	__atomic_store_n(&s->match, 0, __ATOMIC_RELAXED);
	old = __atomic_fetch_and(&s->state, ~VTFS_SLOT_TAKEN, __ATOMIC_SEQ_CST);
	return !(old & VTFS_SLOT_HOLD) && release(t, s);
}

bool vtfs_slot_hold(struct vtfs_slot *s)
{
	uint32_t old = __atomic_load_n(&s->state, __ATOMIC_SEQ_CST);

	do {
		if (!(old & VTFS_SLOT_TAKEN) ||
		    old & (VTFS_SLOT_REPLIED | VTFS_SLOT_HOLD))
			return false;
	} while (!__atomic_compare_exchange_n(
	    &s->state, &old, old | VTFS_SLOT_HOLD, true, __ATOMIC_SEQ_CST,
	    __ATOMIC_SEQ_CST));
	return true;
}

bool vtfs_slot_interrupt(struct vtfs_slot *s)
{
	uint32_t old = __atomic_fetch_or(&s->state, VTFS_SLOT_INTR,
					 __ATOMIC_SEQ_CST);

	return (old & (VTFS_SLOT_HANDED | VTFS_SLOT_INTR)) == VTFS_SLOT_HANDED;
}

bool vtfs_slot_unhold(struct vtfs_slots *t, struct vtfs_slot *s)
{
	uint32_t old = __atomic_fetch_and(&s->state, ~VTFS_SLOT_HOLD,
					  __ATOMIC_SEQ_CST);

	return !(old & VTFS_SLOT_TAKEN) && release(t, s);
}
