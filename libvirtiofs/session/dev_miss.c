/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Behind an IOMMU: chains whose memory is not mapped yet.
 *
 * Theory of operation
 *
 * A chain is copied out of the ring once. If some of its addresses are not in
 * the table, it comes with holes (vq.h): the slot keeps the addresses, the
 * chain is parked in the queue's list, and what is missing is put into
 * dev->misses, from where dispatch passes it to the transport. Parked chains
 * touch nothing and hold nothing of the peer's but their place in the ring;
 * others overtake them. At each conf that the queue adopts one look tells for
 * which the last byte that was asked for has come, or has gone again: only then
 * the owner is woken (retry), goes through the list, and serves whoever has no
 * holes any more, or asks again. What
 * the peer said to be absent fails with EFAULT, and a queue that ends fails all
 * of them. Slots and blocks bound the list, asks is bounded, and who found it
 * full asks when it was emptied.
 *
 * Translations go at any time, also of what a request in flight uses: then the
 * transport calls sink.invalidate, and its peer waits for the answer. Nobody
 * can take iovecs back from the program; so a slot keeps the addresses of its
 * chain, and its bit of touching is set, as long as there may be such iovecs,
 * and the answer waits for those. A guest flushes its whole IOMMU many times a
 * second, with everything still in use, and can't go on meanwhile: nothing that
 * waits may hold that up. Therefore requests without bulk data lend out
 * nothing: short replies are made in private memory (bounce), and header and
 * bytes are written when the chain goes back to the ring, through the table of
 * that moment. If that has a hole, or the ring itself is not mapped, the slot
 * waits in run->late, and every adopted conf tries again.
 *
 * Dispatch reads the addresses of slots without a lock. It looks after every
 * queue adopted the table that lacks them, so whatever changes under it has
 * been found by that table, and can only make it wait; and whoever clears
 * that bit looks at watch afterwards, and wakes it.
 */
#include "session/dev.h"

#include <errno.h>
#include <string.h>

bool vtfs_device_is_mapped(const struct virtiofs_device *dev)
{
	return dev->t->dev->miss && dev->features & VTFS_F_ACCESS_PLATFORM;
}

/* ---- what is missing ---- */

static bool is_asked(const struct vtfs_misses *ms, const struct vtfs_miss *m)
{
	for (unsigned i = 0; i < ms->ask_cnt; i++)
		if (ms->asks[i].addr == m->addr && ms->asks[i].len == m->len &&
		    ms->asks[i].access == m->access)
			return true;
	return false;
}

bool vtfs_device_ask(struct virtiofs_device *dev, const struct vtfs_miss *m)
{
	struct vtfs_misses *ms = &dev->misses;
	bool room = true, first;

	pthread_mutex_lock(&ms->lock);
	first = !ms->ask_cnt;
	if (ms->ask_cnt == VTFS_ASKS)
		ms->full = true;
	if (!is_asked(ms, m)) {
		room = ms->ask_cnt < VTFS_ASKS;
		if (room)
			ms->asks[ms->ask_cnt++] = *m;
	}
	pthread_mutex_unlock(&ms->lock);
	/* Who asked first has woken it already. */
	if (first)
		vtfs_device_wake(dev);
	return room;
}

void vtfs_device_settle_misses(struct virtiofs_device *dev)
{
	struct vtfs_misses *ms = &dev->misses;
	struct vtfs_miss asks[VTFS_ASKS];
	unsigned cnt;
	bool full;

	pthread_mutex_lock(&ms->lock);
	cnt = ms->ask_cnt;
	full = ms->full;
	memcpy(asks, ms->asks, cnt * sizeof(asks[0]));
	ms->ask_cnt = 0;
	ms->full = false;
	pthread_mutex_unlock(&ms->lock);
	for (unsigned i = 0; i < cnt && vtfs_device_is_mapped(dev); i++)
		dev->t->dev->miss(dev->t, &asks[i]);
	if (full)
		vtfs_device_post_all(dev, &vtfs_no_miss);
}

void vtfs_device_absent(struct virtiofs_device *dev, const struct vtfs_miss *m)
{
	struct vtfs_misses *ms = &dev->misses;

	pthread_mutex_lock(&ms->lock);
	ms->absent[ms->absent_cnt++ % VTFS_ABSENT] = *m;
	pthread_mutex_unlock(&ms->lock);
	vtfs_device_post_all(dev, &vtfs_no_miss);
}

void vtfs_miss_forget(struct virtiofs_device *dev)
{
	pthread_mutex_lock(&dev->misses.lock);
	dev->misses.ask_cnt = 0;
	pthread_mutex_unlock(&dev->misses.lock);
}

bool vtfs_miss_denied(struct virtiofs_device *dev, struct vtfs_slot *s,
		      const struct vtfs_miss *m)
{
	struct vtfs_misses *ms = &dev->misses;
	bool found = false;

	pthread_mutex_lock(&ms->lock);
	/* What fell out of the list is asked for, and denied, again. */
	if (ms->absent_cnt - s->asked > VTFS_ABSENT)
		s->asked = ms->absent_cnt;
	for (uint32_t i = s->asked; i != ms->absent_cnt && !found; i++) {
		const struct vtfs_miss *a = &ms->absent[i % VTFS_ABSENT];

		found = a->len && a->access & m->access &&
			vtfs_range_overlap(a->addr, a->len, m->addr, m->len);
	}
	pthread_mutex_unlock(&ms->lock);
	return found;
}

uint32_t vtfs_miss_denials(struct virtiofs_device *dev)
{
	uint32_t cnt;

	pthread_mutex_lock(&dev->misses.lock);
	cnt = dev->misses.absent_cnt;
	pthread_mutex_unlock(&dev->misses.lock);
	return cnt;
}

/* The i-th hole of a chain, the table last; false: there is no such. */
static bool hole_at(const struct vtfs_chain *c, unsigned i,
		    struct vtfs_miss *ret)
{
	unsigned cnt = c->readable_cnt + c->writable_cnt;

	if (i > cnt || (i == cnt && !c->table_len))
		return false;
	*ret = (struct vtfs_miss){c->table_addr, c->table_len, VTFS_MAP_READ};
	if (i == cnt)
		return true;
	*ret = (struct vtfs_miss){c->at[i], 0, VTFS_MAP_READ};
	if (i >= c->readable_cnt)
		ret->access = VTFS_MAP_WRITE;
	if (!c->iov[i].iov_base)
		ret->len = c->iov[i].iov_len;
	return true;
}

void vtfs_device_ask_holes(struct virtiofs_device *dev,
			   const struct vtfs_chain *chain)
{
	struct vtfs_miss m;

	for (unsigned i = 0; hole_at(chain, i, &m); i++)
		if (m.len)
			vtfs_device_ask(dev, &m);
}

/* ---- parked chains ---- */

/* The chain's addresses, for later. A block is there if it may be needed. */
static void keep(struct vtfs_run *run, struct vtfs_slot *s,
		 const struct vtfs_chain *c)
{
	unsigned cnt = c->readable_cnt + c->writable_cnt;
	struct vtfs_range *to;

	if (cnt <= VTFS_SLOT_PARTS)
		vtfs_slot_unborrow(run->slots, s);
	to = vtfs_slot_ranges(run->slots, s, cnt);
	for (unsigned i = 0; i < cnt; i++) {
		__atomic_store_n(&to[i].addr, c->at[i], __ATOMIC_RELAXED);
		__atomic_store_n(&to[i].len, (uint32_t)c->iov[i].iov_len,
				 __ATOMIC_RELAXED);
	}
	__atomic_store_n(&s->ranges, to, __ATOMIC_RELAXED);
	__atomic_store_n(&s->range_cnt, cnt, __ATOMIC_RELAXED);
	s->readable_ranges = c->readable_cnt;
	s->table_addr = c->table_addr;
	s->table_len = c->table_len;
	s->late_fault = c->fault;
}

static void ask_holes(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	struct vtfs_miss m;

	s->hole_access = 0;
	s->asked = vtfs_miss_denials(q->dev);
	for (unsigned i = 0; hole_at(&q->chain, i, &m); i++) {
		if (!m.len)
			continue;
		if (!vtfs_device_ask(q->dev, &m))
			return;
		s->hole = m.addr + (m.len - 1);
		s->hole_access = m.access;
	}
}

static void park(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	struct vtfs_slot **end = &q->parked;

	while (*end)
		end = &(*end)->staged;
	s->staged = NULL;
	*end = s;
	q->parked_cnt++;
	vtfs_stat_add(&q->taking.parked, 1);
	ask_holes(q, s);
}

/* Did the program's memory come, or the word that it won't? */
static bool is_denied(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	struct vtfs_miss m;

	for (unsigned i = 0; hole_at(&q->chain, i, &m); i++)
		if (m.len && vtfs_miss_denied(q->dev, s, &m))
			return true;
	return false;
}

/* Is it worth going through all of it? */
static bool may_be_there(const struct vtfs_conf *conf,
			 const struct vtfs_slot *s, uint32_t denials)
{
	uint64_t hole;

	return conf->fail || !s->hole_access || !conf->table ||
	       s->asked != denials ||
	       vtfs_table_covers(conf->table, s->hole, 1, s->hole_access,
				 &hole);
}

bool vtfs_devq_has_retry(struct virtiofs_devq *q)
{
	const struct vtfs_conf *conf = q->have;
	const struct vtfs_miss *gone = &conf->gone;
	uint32_t denials = q->parked ? vtfs_miss_denials(q->dev) : 0;
	bool any = false;

	for (struct vtfs_slot *s = q->parked; s; s = s->staged) {
		/* Its question was answered, perhaps, and then for nothing. */
		if (gone->len &&
		    vtfs_range_overlap(s->hole, 1, gone->addr, gone->len))
			s->hole_access = 0;
		any |= may_be_there(conf, s, denials);
	}
	return any;
}

/* 1: s's chain is in q->chain, without holes. 0: it stays parked. */
static int try_again(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	const struct vtfs_conf *conf = q->have;
	struct vtfs_run *run = conf->run;
	const struct vtfs_late_chain late = {.id = s->id,
					     .ring_cnt = s->ring_cnt,
					     .fault = s->late_fault,
					     .ranges = s->ranges,
					     .readable_cnt = s->readable_ranges,
					     .cnt = s->range_cnt,
					     .table_addr = s->table_addr,
					     .table_len = s->table_len};

	if (!may_be_there(conf, s, vtfs_miss_denials(q->dev)))
		return 0;
	/* What a table lists, or what comes in pieces now, needs more room. */
	if (vtfs_slot_borrow(run->slots, s) < 0) {
		q->unasked = true;
		return 0;
	}
	if (vtfs_vq_dev_later(run->vq, conf->table, &late, &q->chain) < 0) {
		vtfs_devq_ring_fault(q);
		q->chain = (struct vtfs_chain){.fault = -EIO,
					       .iov = q->chain.iov,
					       .at = q->chain.at,
					       .regions = q->chain.regions};
		return conf->fail;
	}
	if (q->chain.holes && (conf->fail || is_denied(q, s)))
		vtfs_chain_cut(&q->chain, conf->fail ? -EIO : -EFAULT);
	keep(run, s, &q->chain);
	if (!q->chain.holes)
		return 1;
	ask_holes(q, s);
	return 0;
}

/* The next that can go on, out of the list. */
static struct vtfs_slot *next_parked(struct virtiofs_devq *q)
{
	struct vtfs_slot *s;

	if (__atomic_load_n(&q->retry, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&q->retry, 0, __ATOMIC_ACQUIRE))
		q->try_at = &q->parked;
	if (q->unasked && !q->have->run->slots->starved) {
		q->unasked = false;
		q->try_at = &q->parked;
	}
	while (q->try_at && (s = *q->try_at) != NULL) {
		if (!q->have->drop && !try_again(q, s)) {
			q->try_at = &s->staged;
			continue;
		}
		*q->try_at = s->staged;
		q->parked_cnt--;
		return s;
	}
	q->try_at = NULL;
	return NULL;
}

bool vtfs_devq_may_retry(const struct virtiofs_devq *q)
{
	if (!q->parked)
		return false;
	return q->try_at || __atomic_load_n(&q->retry, __ATOMIC_ACQUIRE) ||
	       (q->unasked && !__atomic_load_n(&q->have->run->slots->starved,
					       __ATOMIC_SEQ_CST));
}

/* A slot with a block, for a chain of any length. */
static struct vtfs_slot *take_slot(struct vtfs_run *run)
{
	struct vtfs_slot *s = vtfs_slot_take(run->slots);

	if (!s || vtfs_slot_borrow(run->slots, s) == 0)
		return s;
	vtfs_slot_untake(run->slots, s);
	return NULL;
}

/* The next of the ring that has no holes; the others are parked. */
static struct vtfs_slot *pop(struct virtiofs_devq *q)
{
	struct vtfs_conf *conf = q->have;
	struct vtfs_run *run = conf->run;
	struct vtfs_slot *s;
	int r;

	while (vtfs_devq_may_pop(q) && (s = take_slot(run)) != NULL) {
		r = vtfs_vq_dev_pop(run->vq, conf->table, &q->chain);
		if (r <= 0) {
			vtfs_slot_unborrow(run->slots, s);
			vtfs_slot_untake(run->slots, s);
			if (r < 0)
				vtfs_devq_ring_fault(q);
			return NULL;
		}
		keep(run, s, &q->chain);
		vtfs_frame_reset(s);
		vtfs_run_park(run, s, &q->chain);
		if (!q->chain.holes)
			return s;
		park(q, s);
	}
	return NULL;
}

int vtfs_devq_take_mapped(struct virtiofs_devq *q, uint64_t now)
{
	struct vtfs_slot *s = next_parked(q);

	if (!s)
		s = pop(q);
	if (!s)
		return 0;
	if (q->have->drop) {
		q->held = s; /* given back unread */
		return 1;
	}
	vtfs_run_pin(q->have->run, s, &q->chain);
	vtfs_slot_touch(q->have->run->slots, s);
	vtfs_devq_begin(q, s, now);
	return 1;
}

void vtfs_devq_let_go(struct vtfs_slot *s)
{
	const struct virtiofs_req *req = &s->req;
	bool lent = req->data_cnt ||
		    (req->room_cnt && req->room->iov_base != s->bounce);

	if (s->verdict == VTFS_VERDICT_REQUEST && lent)
		return;
	/* Once: what is held is looked at again and again. */
	if (vtfs_slot_untouch(s->run->slots, s) &&
	    __atomic_load_n(&s->run->watch, __ATOMIC_SEQ_CST))
		vtfs_device_wake(s->run->q->dev);
}
