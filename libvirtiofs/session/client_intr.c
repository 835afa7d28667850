/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtiofs_client_interrupt(): what the device has gets an INTERRUPT, what it
 * has not seen is taken back. See live in session/cliq.h.
 */
#include "base/error.h"
#include "base/evfd.h"
#include "base/shared.h"
#include "session/client.h"

/* With hi.lock held. */
static void interrupt_slot(struct virtiofs_client *c, uint16_t k, uint32_t i,
			   uint64_t unique)
{
	struct vtfs_cslot *s = &c->queues[k].slots[i];

	if (vtfs_hiprio_send_interrupt(c, k, i, unique, 0) < 0) {
		c->hi.intr_waiting += !s->intr_waits;
		s->intr_waits = unique;
	}
}

/* True: the device has not seen it, and never will. Its owner ends it. */
static bool take_back(struct virtiofs_cliq *q, struct vtfs_cslot *s,
		      uint64_t *live)
{
	if (*live & VTFS_LIVE_POSTED)
		return false;
	if (!(*live & VTFS_LIVE_INTR) &&
	    !__atomic_compare_exchange_n(&s->live, live, *live | VTFS_LIVE_INTR,
					 false, __ATOMIC_ACQUIRE,
					 __ATOMIC_ACQUIRE))
		return false;
	vtfs_store_release(&q->intr_asked, 1);
	vtfs_evfd_signal(q->wake_fd);
	return true;
}

/* How many there are, or will have been, with this user_data; dead: why none
 * can be sent an INTERRUPT. */
static int interrupt_queue(struct virtiofs_client *c, uint16_t k,
			   uint64_t user_data, int dead)
{
	struct virtiofs_cliq *q = &c->queues[k];
	int n = 0;

	for (uint32_t i = 0; i < q->slot_cnt; i++) {
		struct vtfs_cslot *s = &q->slots[i];
		uint64_t live = vtfs_load_acquire(&s->live);
		uint64_t unique = live & ~VTFS_LIVE_POSTED;

		if (!live || vtfs_load_once(&s->user_data) != user_data)
			continue;
		if (take_back(q, s, &live)) {
			n++;
		} else if (live == (unique | VTFS_LIVE_POSTED) && !dead) {
			interrupt_slot(c, k, i, unique);
			n++;
		}
	}
	return n;
}

void vtfs_hiprio_interrupt(struct virtiofs_client *c, struct virtiofs_cliq *q,
			   struct vtfs_cslot *s)
{
	vtfs_store_release(&s->live, s->want.unique | VTFS_LIVE_POSTED);
	pthread_mutex_lock(&c->hi.lock);
	if (!c->hi.dead && !c->hi.no_interrupt) {
		interrupt_slot(c, (uint16_t)(q - c->queues),
			       (uint32_t)(s - q->slots), s->want.unique);
		vtfs_hiprio_run(c);
	}
	pthread_mutex_unlock(&c->hi.lock);
}

int virtiofs_client_interrupt(struct virtiofs_client *c, uint64_t user_data)
{
	int n = (int)vtfs_client_interrupt_waiters(c, user_data);
	int r;

	pthread_mutex_lock(&c->hi.lock);
	r = c->hi.dead;
	if (!r && c->hi.no_interrupt)
		r = vtfs_fail(-EOPNOTSUPP, "the server knows no INTERRUPT");
	for (uint16_t k = 0; k < c->opts.num_request_queues; k++)
		n += interrupt_queue(c, k, user_data, r);
	if (!r)
		vtfs_hiprio_run(c);
	pthread_mutex_unlock(&c->hi.lock);
	if (n)
		vtfs_evfd_signal(c->wake_fd);
	if (r && !n)
		return r;
	return n ? 0 : vtfs_fail(-ENOENT, "no such op in flight");
}
