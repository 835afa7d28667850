/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One chain out of the ring into a slot, judged. All of this runs inside the
 * gate and calls nothing of the program's.
 */
#include "session/dev.h"

#include <errno.h>

void vtfs_devq_fault(struct virtiofs_devq *q, uint64_t *counter,
		     const char *what)
{
	vtfs_stat_add(counter, 1);
	if (q->logged)
		return;
	q->logged = true;
	vtfs_log(&q->dev->log, LOG_WARNING,
		 "queue %u: the client sent %s; later faults are only counted",
		 q->index, what);
}

int vtfs_devq_ring_fault(struct virtiofs_devq *q)
{
	vtfs_devq_fault(q, &q->taking.ring_faults, "a broken ring");
	__atomic_store_n(&q->broken, 1, __ATOMIC_SEQ_CST);
	vtfs_device_wake(q->dev);
	return 0;
}

bool vtfs_is_barrier(const struct vtfs_slot *s)
{
	return s->verdict == VTFS_VERDICT_REQUEST && s->op &&
	       (s->op->opcode == FUSE_INIT || s->op->opcode == FUSE_DESTROY);
}

static bool is_hiprio_op(const struct vtfs_slot *s)
{
	return s->op && s->op->flags & VTFS_FUSE_HIPRIO;
}

static void refuse(struct vtfs_slot *s, int error)
{
	s->error = error;
	s->verdict = s->head_cnt && s->in.unique &&
			     !(s->req.flags & VIRTIOFS_REQ_NOREPLY)
			 ? VTFS_VERDICT_ERROR
			 : VTFS_VERDICT_DROP;
}

/* Too many waiters would fill the ring, and the unlock could not get in. */
static void count_lock(struct vtfs_run *run, struct vtfs_slot *s)
{
	uint32_t given = __atomic_load_n(&run->given.locks, __ATOMIC_ACQUIRE);

	if (run->taken.locks - given >= run->lock_max) {
		refuse(s, -ENOLCK);
		return;
	}
	s->waits = true;
	__atomic_store_n(&run->taken.locks, run->taken.locks + 1,
			 __ATOMIC_RELEASE);
}

/* What the frame alone can't tell. */
static void judge(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	struct virtiofs_device *dev = q->dev;

	if (q->index == VIRTIOFS_QUEUE_HIPRIO)
		s->req.flags |= VIRTIOFS_REQ_HIPRIO;
	if (is_hiprio_op(s) != (q->index == VIRTIOFS_QUEUE_HIPRIO))
		vtfs_devq_fault(q, &q->taking.misrouted,
				"a request on a wrong queue");
	if (s->op && s->op->opcode == FUSE_INIT)
		return;
	if (!__atomic_load_n(&dev->open, __ATOMIC_ACQUIRE))
		refuse(s, -EIO);
	else if (s->op && s->op->flags & VTFS_FUSE_WAITS)
		count_lock(s->run, s);
}

static void count_faults(struct virtiofs_devq *q, const struct vtfs_slot *s,
			 int chain_fault)
{
	if (s->verdict == VTFS_VERDICT_REQUEST)
		return;
	if (chain_fault)
		vtfs_devq_fault(q, &q->taking.chain_faults,
				"a chain outside memory");
	else
		vtfs_devq_fault(q, &q->taking.frame_faults,
				"a malformed request");
	if (s->verdict == VTFS_VERDICT_DROP)
		vtfs_stat_add(&q->taking.dropped, 1);
}

void vtfs_devq_begin(struct virtiofs_devq *q, struct vtfs_slot *s, uint64_t now)
{
	vtfs_stat_add(&q->taking.requests, 1);
	vtfs_stat_add(&q->taking.request_bytes, q->chain.readable_len);
	s->taken_at = now;
	s->parsed = vtfs_frame_head(s, &q->chain) != 0;
	if (s->parsed)
		count_faults(q, s, q->chain.fault);
	vtfs_slot_start(s, s->in.unique);
	q->held = s;
}

/* The next chain with its header, held until its body is read. */
static int pop_chain(struct virtiofs_devq *q, uint64_t now)
{
	struct vtfs_conf *conf = q->have;
	struct vtfs_run *run = conf->run;
	struct vtfs_slot *s;
	int r;

	s = vtfs_slot_take(run->slots);
	if (!s)
		return 0;
	r = vtfs_vq_dev_pop(run->vq, conf->table, &q->chain);
	if (r <= 0) {
		vtfs_slot_untake(run->slots, s);
		return r < 0 ? vtfs_devq_ring_fault(q) : 0;
	}
	vtfs_run_take(run, s, &q->chain);
	vtfs_devq_begin(q, s, now);
	return 1;
}

static int read_body(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	int r;

	if (s->parsed)
		return 0;
	r = vtfs_frame_body(s->run->slots, s, &q->chain, &q->dev->rules);
	if (r < 0)
		return r;
	s->parsed = true;
	count_faults(q, s, 0);
	if (s->verdict == VTFS_VERDICT_REQUEST)
		judge(q, s);
	return 0;
}

/* INIT or DESTROY: to dispatch, if it has no other; else it stays held. */
static void raise_barrier(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	struct vtfs_slot *none = NULL;

	if (!__atomic_compare_exchange_n(&q->dev->barrier, &none, s, false,
					 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		return;
	q->held = NULL;
	vtfs_device_wake(q->dev);
}

static bool is_barred(const struct virtiofs_devq *q)
{
	return __atomic_load_n(&q->dev->barrier, __ATOMIC_SEQ_CST);
}

static bool may_take(const struct virtiofs_devq *q)
{
	const struct vtfs_conf *conf = q->have;

	if (!conf || !conf->run)
		return false;
	if (!is_barred(q))
		return true;
	return q->index == VIRTIOFS_QUEUE_HIPRIO &&
	       !__atomic_load_n(&q->dev->hiprio_closed, __ATOMIC_SEQ_CST);
}

/* A request on hiprio that does not belong there waits like those of the other
 * queues, and with it what stands behind. */
static bool must_wait(const struct virtiofs_devq *q, const struct vtfs_slot *s)
{
	return !is_hiprio_op(s) && s->verdict == VTFS_VERDICT_REQUEST &&
	       is_barred(q);
}

bool vtfs_devq_may_pop(const struct virtiofs_devq *q)
{
	return q->have->take && !__atomic_load_n(&q->broken, __ATOMIC_RELAXED);
}

/* Can what is held go on? It waits for a block, or for the barrier's end. */
static bool may_go_on(const struct virtiofs_devq *q)
{
	const uint32_t *starved = &q->held->run->slots->starved;

	if (q->have->drop)
		return true;
	if (q->held->parsed)
		return !must_wait(q, q->held);
	return !__atomic_load_n(starved, __ATOMIC_SEQ_CST);
}

static int take_chain(struct virtiofs_devq *q, uint64_t now)
{
	if (q->have->mapped)
		return vtfs_devq_take_mapped(q, now);
	return vtfs_devq_may_pop(q) ? pop_chain(q, now) : 0;
}

int vtfs_devq_take_slot(struct virtiofs_devq *q, struct vtfs_slot **ret,
			uint64_t now)
{
	bool fresh = !q->held;
	struct vtfs_slot *s;

	if (__atomic_load_n(&q->ready, __ATOMIC_RELAXED)) {
		s = __atomic_exchange_n(&q->ready, NULL, __ATOMIC_ACQUIRE);
		/* A raw one, and nobody waits for the answer any more. */
		if (q->have->drop)
			s->verdict = VTFS_VERDICT_DROP;
		*ret = s;
		return 1;
	}
	if (!may_take(q))
		return 0;
	if (fresh && take_chain(q, now) == 0)
		return 0;
	s = q->held;
	if (q->have->drop) {
		s->verdict = VTFS_VERDICT_DROP;
	} else if (read_body(q, s) < 0) {
		vtfs_stat_add(&q->taking.parked, fresh);
		return 0;
	}
	if (s->mapped)
		vtfs_devq_let_go(s);
	if (vtfs_is_barrier(s)) {
		raise_barrier(q, s);
		return 0;
	}
	if (must_wait(q, s))
		return 0;
	q->held = NULL;
	*ret = s;
	return 1;
}

int vtfs_devq_arm_ring(struct virtiofs_devq *q)
{
	if (__atomic_load_n(&q->ready, __ATOMIC_ACQUIRE))
		return 1;
	if (!may_take(q))
		return 0;
	if (q->held)
		return may_go_on(q);
	if (q->have->mapped && vtfs_devq_may_retry(q))
		return 1;
	if (!vtfs_devq_may_pop(q) || vtfs_vq_dev_arm(q->have->run->vq) != 1)
		return 0;
	return !__atomic_load_n(&q->have->run->slots->starved,
				__ATOMIC_SEQ_CST);
}
