/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the transport waits for: queues that drain, a reset, memory that is
 * still in use. Nothing here waits; it is run again whenever a request went
 * back while watch was set, and whenever a queue adopted a conf late.
 *
 * watch is set before counters are read: vtfs_run_give() counts first and reads
 * watch afterwards, so the last reply either is counted here or wakes us.
 */
#include "session/dev.h"

#include <string.h>

static void set_watch(struct virtiofs_devq *q, uint32_t on)
{
	if (q->run)
		__atomic_store_n(&q->run->watch, on, __ATOMIC_SEQ_CST);
}

/* The conf without run was adopted: nobody knows the ring any more. */
static void end_run(struct virtiofs_devq *q)
{
	struct vtfs_run *run = q->run_ending;

	vtfs_devq_collect(q);
	vtfs_run_free(run);
	q->run_ending = NULL;
	vtfs_devq_close_kick(q);
	vtfs_call_put(q->call);
	q->call = NULL;
	q->state = VTFS_DEVQ_IDLE;
	vtfs_log(q->dev->sink.log, LOG_DEBUG, "queue %u: stopped", q->index);
}

static bool drain(struct virtiofs_devq *q)
{
	struct vtfs_run *run = q->run;

	set_watch(q, 1);
	if (!vtfs_devq_adopted(q))
		return false;
	vtfs_run_interrupt(run, NULL, NULL);
	if (vtfs_run_inflight(run))
		return false;
	vtfs_vq_dev_bases(run->vq, &q->last_avail, &q->last_used);
	pthread_mutex_lock(&q->dev->runs_lock);
	q->run = NULL;
	pthread_mutex_unlock(&q->dev->runs_lock);
	q->run_ending = run;
	q->state = VTFS_DEVQ_ENDING;
	vtfs_devq_post(q);
	return true;
}

static bool answer_stop(struct virtiofs_devq *q)
{
	struct virtiofs_transport *t = q->dev->t;

	if (!q->answer_stop || q->state != VTFS_DEVQ_IDLE)
		return false;
	q->answer_stop = false;
	t->dev->queue_stopped(t, vtfs_devq_vq(q), q->last_avail, q->last_used);
	return true;
}

static bool settle_queue(struct virtiofs_devq *q)
{
	vtfs_devq_adopted(q);
	switch (q->state) {
	case VTFS_DEVQ_DRAINING:
		return drain(q);
	case VTFS_DEVQ_ENDING:
		/* An interrupt may still have found the run before it left. */
		if (!vtfs_devq_adopted(q) ||
		    vtfs_run_is_held(q->dev, q->run_ending))
			return false;
		end_run(q);
		return true;
	default:
		return answer_stop(q);
	}
}

static void tell_broken(struct virtiofs_devq *q)
{
	struct virtiofs_transport *t = q->dev->t;

	if (q->told_broken || !__atomic_load_n(&q->broken, __ATOMIC_ACQUIRE))
		return;
	q->told_broken = true;
	vtfs_log(&q->dev->log, LOG_WARNING,
		 "queue %u: broken, it is not served "
		 "until the client resets it",
		 q->index);
	t->dev->broken(t, vtfs_devq_vq(q));
}

/* Memory that the peer took back reads as zeroes now: nothing of it is true. */
static void check_faults(struct virtiofs_device *dev)
{
	const struct vtfs_table *t = dev->mem->table;
	bool hit = vtfs_table_faulted(t);

	for (unsigned i = 0; hit && i < dev->all_cnt; i++)
		if (dev->queues[i].run)
			__atomic_store_n(&dev->queues[i].broken, 1,
					 __ATOMIC_RELEASE);
}

/* ---- memory ---- */

/* Regions that this table has. */
static void mark_regions(const struct vtfs_table *t, uint64_t *words)
{
	memset(words, 0, VTFS_REGION_WORDS * sizeof(*words));
	for (unsigned i = 0; t && i < t->cnt; i++)
		words[t->regions[i]->id / 64] |= 1ULL
						 << (t->regions[i]->id % 64);
}

/* Does run pin a region that is not marked? Those are left in ret. */
static bool find_pins(const struct vtfs_run *run, const uint64_t *marked,
		      uint64_t *ret)
{
	bool any = false;

	for (unsigned id = 0; id < VTFS_REGION_MAX; id++) {
		uint64_t bit = 1ULL << (id % 64);

		if (marked[id / 64] & bit || !vtfs_run_pins(run, id))
			continue;
		ret[id / 64] |= bit;
		any = true;
	}
	return any;
}

static bool queue_uses(struct virtiofs_devq *q, const uint64_t *marked,
		       const struct vtfs_retire *r)
{
	uint64_t pinned[VTFS_REGION_WORDS] = {0};

	set_watch(q, 1);
	if (!vtfs_devq_adopted(q))
		return true;
	if (q->run && vtfs_run_touches(q->run, &r->gone))
		return true;
	if (!q->run || !r->regions || !find_pins(q->run, marked, pinned))
		return false;
	vtfs_run_interrupt(q->run, pinned, NULL);
	memset(pinned, 0, sizeof(pinned));
	return find_pins(q->run, marked, pinned);
}

bool vtfs_device_retire(struct virtiofs_device *dev)
{
	struct vtfs_peermem *mem = dev->mem;
	struct vtfs_retire r = mem->retires[0];
	uint64_t marked[VTFS_REGION_WORDS];
	bool used = false;

	if (!mem->retire_cnt)
		return false;
	mark_regions(r.now, marked);
	for (unsigned i = 0; i < dev->all_cnt; i++)
		used |= queue_uses(&dev->queues[i], marked, &r);
	if (used)
		return false;
	for (unsigned i = 0; i < dev->all_cnt; i++)
		vtfs_devq_collect(&dev->queues[i]);
	mem->retire_cnt--;
	memmove(mem->retires, mem->retires + 1,
		mem->retire_cnt * sizeof(mem->retires[0]));
	vtfs_table_put(r.old);
	vtfs_table_put(r.now);
	if (!r.silent)
		dev->t->dev->table_retired(dev->t, r.cookie);
	return true;
}

/* ---- reset, lost peer ---- */

static bool settle_ending(struct virtiofs_device *dev)
{
	if (dev->ending == VTFS_ENDING_NONE)
		return false;
	for (unsigned i = 0; i < dev->all_cnt; i++)
		if (dev->queues[i].state != VTFS_DEVQ_IDLE)
			return false;
	if (dev->ending == VTFS_ENDING_LOST) {
		if (dev->mem->retire_cnt)
			return false;
		vtfs_table_put(dev->mem->table);
		dev->mem->table = NULL;
	}
	vtfs_device_end_session(dev);
	dev->ending = VTFS_ENDING_NONE;
	dev->t->dev->reset_done(dev->t);
	return true;
}

static bool settle_once(struct virtiofs_device *dev)
{
	bool changed = vtfs_device_settle_barrier(dev);

	for (unsigned i = 0; i < dev->all_cnt; i++) {
		tell_broken(&dev->queues[i]);
		changed |= settle_queue(&dev->queues[i]);
	}
	changed |= vtfs_device_retire(dev);
	changed |= settle_ending(dev);
	return changed;
}

/* Does anything still wait for a queue? */
static bool waits(const struct virtiofs_device *dev)
{
	bool waiting = dev->mem->retire_cnt || dev->ending ||
		       __atomic_load_n(&dev->barrier, __ATOMIC_SEQ_CST);

	for (unsigned i = 0; i < dev->all_cnt; i++)
		waiting |= dev->queues[i].state > VTFS_DEVQ_RUNNING;
	return waiting;
}

void vtfs_device_settle(struct virtiofs_device *dev)
{
	check_faults(dev);
	vtfs_device_settle_misses(dev);
	while (settle_once(dev))
		;
	if (waits(dev))
		return;
	for (unsigned i = 0; i < dev->all_cnt; i++)
		if (dev->queues[i].run)
			set_watch(&dev->queues[i], 0);
}
