/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which queue a call goes by.
 *
 * A caller has at most one request in flight, so requests of one thread keep
 * their order on whatever queues they go. But for one case: a request that
 * timed out is still with the device, and what the caller does next may rely on
 * its place, as a RELEASE does that follows a WRITE. It goes behind it.
 */
#include <sched.h>

#include "base/error.h"
#include "session/client.h"

static bool usable(const struct virtiofs_cliq *q)
{
	return !q->taken && !q->dead;
}

/* How many are; or why none is. */
static int count_usable(const struct virtiofs_client *c)
{
	int cnt = 0, r = -EBUSY;

	for (unsigned i = 0; i < c->queue_cnt; i++) {
		const struct virtiofs_cliq *q = &c->queues[i];

		cnt += usable(q);
		if (!q->taken && q->dead)
			r = q->dead;
	}
	if (cnt)
		return cnt;
	return r == -EBUSY ? vtfs_fail(r, "every request queue is taken") : r;
}

static struct virtiofs_cliq *nth_usable(struct virtiofs_client *c, unsigned n)
{
	struct virtiofs_cliq *q = c->queues;

	while (!usable(q) || n--)
		q++;
	return q;
}

static struct virtiofs_cliq *behind_late(struct virtiofs_client *c,
					 uint64_t nodeid)
{
	for (unsigned i = 0; i < c->queue_cnt; i++)
		if (usable(&c->queues[i]) &&
		    vtfs_cliq_has_late(&c->queues[i], nodeid))
			return &c->queues[i];
	return NULL;
}

/* Lock requests of a queue, those too whose caller has just got its slot. */
static uint32_t lock_cnt(const struct virtiofs_cliq *q)
{
	uint32_t cnt = q->locks + q->locks_waiting.cnt;

	for (const struct vtfs_waiter *w = q->c->waiters; w; w = w->next)
		cnt += w->is_lock && w->q == q && w->slot &&
		       w->slot->state == VTFS_SLOT_STAGED;
	return cnt;
}

static bool has_room(const struct virtiofs_cliq *q, const struct vtfs_waiter *w)
{
	return q->free.cnt &&
	       (!w->is_lock || lock_cnt(q) < vtfs_cliq_lock_bound(q));
}

static struct virtiofs_cliq *least_busy(struct virtiofs_client *c,
					const struct vtfs_waiter *w)
{
	struct virtiofs_cliq *best = NULL;

	for (unsigned i = 0; i < c->queue_cnt; i++) {
		struct virtiofs_cliq *q = &c->queues[i];

		if (usable(q) && has_room(q, w) &&
		    (!best || q->free.cnt > best->free.cnt))
			best = q;
	}
	return best;
}

static unsigned hash(uint64_t nodeid)
{
	return (unsigned)((nodeid * 0x9e3779b97f4a7c15ULL) >> 33);
}

int vtfs_client_pick(struct virtiofs_client *c, struct vtfs_waiter *w,
		     struct virtiofs_cliq **ret)
{
	struct virtiofs_cliq *q = NULL;
	int cnt = count_usable(c);

	if (cnt < 0)
		return cnt;
	w->want = behind_late(c, w->nodeid);
	if (!w->want && c->opts.queue_policy == VIRTIOFS_QUEUE_NODEID)
		w->want = nth_usable(c, hash(w->nodeid) % (unsigned)cnt);
	if (w->want) {
		*ret = has_room(w->want, w) ? w->want : NULL;
		return 0;
	}
	if (c->opts.queue_policy == VIRTIOFS_QUEUE_CPU)
		q = nth_usable(c, (unsigned)sched_getcpu() % (unsigned)cnt);
	*ret = q && has_room(q, w) ? q : least_busy(c, w);
	return 0;
}
