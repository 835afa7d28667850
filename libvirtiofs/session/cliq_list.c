/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists of slots, linked by number; a slot stands in one at most. */
#include "session/cliq.h"

void vtfs_slots_init(struct vtfs_slots *l)
{
	l->head = VTFS_NO_SLOT;
	l->tail = VTFS_NO_SLOT;
	l->cnt = 0;
}

void vtfs_slots_push(struct virtiofs_cliq *q, struct vtfs_slots *l,
		     struct vtfs_cslot *s)
{
	uint32_t i = (uint32_t)(s - q->slots);

	s->next = VTFS_NO_SLOT;
	if (l->cnt++)
		q->slots[l->tail].next = i;
	else
		l->head = i;
	l->tail = i;
}

struct vtfs_cslot *vtfs_slots_pop(struct virtiofs_cliq *q, struct vtfs_slots *l)
{
	struct vtfs_cslot *s;

	if (!l->cnt)
		return NULL;
	s = &q->slots[l->head];
	l->head = s->next;
	l->cnt--;
	return s;
}

void vtfs_slots_remove(struct virtiofs_cliq *q, struct vtfs_slots *l,
		       struct vtfs_cslot *s)
{
	uint32_t cnt = l->cnt;

	/* Rare, and lists are short: turn it once around. */
	while (cnt--) {
		struct vtfs_cslot *x = vtfs_slots_pop(q, l);

		if (x != s)
			vtfs_slots_push(q, l, x);
	}
}
