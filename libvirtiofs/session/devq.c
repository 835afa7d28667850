/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A queue as its owner sees it: pop, flush, arm, and what the library does with
 * requests on the way. See dev.h.
 */
#include "session/dev.h"

#include <errno.h>
#include <unistd.h>

#include <sys/epoll.h>

#include "base/error.h"
#include "base/probe.h"
#include "mem/fault.h"

#define BATCH 32u

/* ---- giving back ---- */

void vtfs_devq_stage(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	s->staged = NULL;
	if (!q->staged)
		q->staged_end = &q->staged;
	*q->staged_end = s;
	q->staged_end = &s->staged;
}

static void look_for_faults(struct virtiofs_devq *q)
{
	const struct vtfs_table *t = q->have ? q->have->table : NULL;

	if (vtfs_table_faulted(t) &&
	    !__atomic_exchange_n(&q->broken, 1, __ATOMIC_SEQ_CST))
		vtfs_device_wake(q->dev);
}

void vtfs_devq_check_memory(struct virtiofs_devq *q)
{
	if (vtfs_fault_any())
		look_for_faults(q);
}

/* Inside the gate; push lock too if anybody else pushes. */
static void push_staged(struct virtiofs_devq *q, struct vtfs_conf *conf)
{
	for (struct vtfs_slot *s = q->staged; s; s = s->staged) {
		vtfs_run_end_wait(conf->run, s);
		vtfs_vq_dev_push(conf->run->vq, s->id, s->ring_cnt,
				 s->used_len);
	}
	if (vtfs_vq_dev_publish(conf->run->vq) && conf->call)
		vtfs_devq_call(q, conf->call);
}

/* All staged slots are of one run: a run ends when none of its is left. */
static void give_staged(struct virtiofs_devq *q, struct vtfs_run *run)
{
	struct vtfs_slot *s = q->staged, *next;
	uint64_t now = vtfs_devq_now(q);
	uint32_t cnt = 0;

	q->staged = NULL;
	for (; s; s = next) {
		next = s->staged;
		vtfs_devq_count_reply(q, s, now);
		vtfs_run_give(run, s);
		cnt++;
	}
	if (vtfs_run_given(run, cnt))
		vtfs_device_wake(q->dev);
}

static void push_mapped(struct virtiofs_devq *q, struct vtfs_run *run)
{
	struct vtfs_slot *list = q->staged;

	q->staged = NULL;
	vtfs_run_push_mapped(run, q->have, list);
}

void vtfs_devq_flush(struct virtiofs_devq *q)
{
	struct vtfs_run *run;

	if (!q->staged)
		return;
	run = q->staged->run;
	vtfs_gate_enter(q);
	if (run->shared || run->mapped)
		pthread_mutex_lock(&run->push_lock);
	if (run->mapped) {
		push_mapped(q, run);
	} else {
		if (q->have->ring &&
		    !__atomic_load_n(&run->lost, __ATOMIC_ACQUIRE))
			push_staged(q, q->have);
		give_staged(q, run);
	}
	vtfs_devq_check_memory(q);
	if (run->shared || run->mapped)
		pthread_mutex_unlock(&run->push_lock);
	vtfs_gate_leave(q);
}

/* ---- taking ---- */

static void add_forget(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	s->staged = NULL;
	if (!q->forgets)
		q->forgets_end = &q->forgets;
	*q->forgets_end = s;
	q->forgets_end = &s->staged;
}

static void run_forgets(struct virtiofs_devq *q, unsigned *budget)
{
	struct vtfs_slot *s;
	unsigned n;
	bool more;

	while ((s = q->forgets) && *budget) {
		n = vtfs_forget_run(s, *budget, q->dev->ops.forget, &more);
		vtfs_stat_add(&q->taking.forgets, n);
		*budget -= n;
		if (more)
			return;
		q->forgets = s->staged;
		s->used_len = 0;
		vtfs_devq_stage(q, s);
		*budget -= *budget ? 1 : 0;
	}
}

static void end_interrupt(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	const struct fuse_interrupt_in *arg = s->req.arg;
	uint64_t unique = arg->unique;

	/* Its own chain is never held up by what it interrupts. */
	s->used_len = 0;
	if (s->head_cnt && s->in.unique)
		vtfs_frame_error(s, 0);
	vtfs_devq_stage(q, s);
	vtfs_devq_flush(q);
	vtfs_device_interrupt(q->dev, unique);
}

static bool is_forget(const struct virtiofs_devq *q, const struct vtfs_slot *s)
{
	return q->dev->ops.forget && s->op &&
	       (s->op->opcode == FUSE_FORGET ||
		s->op->opcode == FUSE_BATCH_FORGET);
}

/* An INTERRUPT may have overtaken it. */
static void catch_interrupt(struct virtiofs_devq *q, struct vtfs_slot *s)
{
	struct vtfs_pending *p = &q->dev->pending;

	if (vtfs_pending_any(p) && vtfs_pending_claim(p, s->in.unique, true))
		vtfs_slot_interrupt(s);
}

static void hand_out(struct virtiofs_devq *q, struct virtiofs_req *req)
{
	struct vtfs_slot *s = vtfs_container_of(req, struct vtfs_slot, req);

	catch_interrupt(q, s);
	vtfs_slot_hand(s);
	VTFS_PROBE(request__begin, q->index, s->in.unique, s->in.opcode,
		   s->in.nodeid);
}

/* For the program; or it ends here: then NULL. */
static struct virtiofs_req *route(struct virtiofs_devq *q, struct vtfs_slot *s,
				  unsigned *budget)
{
	if (s->verdict == VTFS_VERDICT_REQUEST) {
		if (is_forget(q, s)) {
			add_forget(q, s);
			run_forgets(q, budget);
			return NULL;
		}
		if (!s->op || s->op->opcode != FUSE_INTERRUPT)
			return &s->req;
		end_interrupt(q, s);
	} else {
		if (s->verdict == VTFS_VERDICT_ERROR)
			vtfs_frame_error(s, s->error);
		if (s->raw_init)
			vtfs_device_raw_drop(q->dev);
		vtfs_devq_stage(q, s);
	}
	*budget -= *budget ? 1 : 0;
	return NULL;
}

static unsigned take_batch(struct virtiofs_devq *q, struct vtfs_slot **slots,
			   unsigned max)
{
	uint64_t now = vtfs_devq_now(q);
	unsigned n = 0;

	vtfs_gate_enter(q);
	vtfs_devq_check_memory(q);
	while (n < max && vtfs_devq_take_slot(q, &slots[n], now) == 1)
		n++;
	if (n && q->have->ring)
		vtfs_vq_dev_disarm(q->have->run->vq);
	vtfs_gate_leave(q);
	return n;
}

/* Requests that are still to be handed out, one by one: an interrupt tells the
 * program only of what it has seen. */
static unsigned pop(struct virtiofs_devq *q, struct virtiofs_req **reqs,
		    unsigned max)
{
	struct vtfs_slot *slots[BATCH];
	struct virtiofs_req *req;
	/* FORGET entries, and requests that end inside the library. */
	unsigned budget = q->dev->opts.forget_budget;
	unsigned n = 0, cnt;

	vtfs_devq_flush(q);
	run_forgets(q, &budget);
	while (n < max && budget) {
		cnt = take_batch(q, slots, vtfs_min_u32(BATCH, max - n));
		for (unsigned i = 0; i < cnt; i++) {
			req = route(q, slots[i], &budget);
			if (req)
				reqs[n++] = req;
		}
		if (!cnt)
			break;
	}
	return n;
}

int vtfs_devq_arm(struct virtiofs_devq *q)
{
	int r;

	vtfs_devq_flush(q);
	if (q->forgets)
		return 1;
	vtfs_gate_enter(q);
	r = vtfs_devq_arm_ring(q);
	vtfs_gate_leave(q);
	return r;
}

unsigned vtfs_devq_serve(struct virtiofs_devq *q, unsigned max)
{
	struct virtiofs_req *reqs[VTFS_SERVE_MAX];
	bool batching = q->batching;
	unsigned n;

	q->batching = true;
	n = pop(q, reqs, vtfs_min_u32(max, VTFS_SERVE_MAX));
	for (unsigned i = 0; i < n; i++) {
		hand_out(q, reqs[i]);
		if (q->dev->ops.request(reqs[i]) < 0)
			vtfs_stat_add(&q->taking.reply_faults, 1);
	}
	vtfs_devq_flush(q);
	q->batching = batching;
	return n;
}

/* ---- public ---- */

static bool is_stopped(const struct virtiofs_device *dev)
{
	return __atomic_load_n(&dev->stopped, __ATOMIC_ACQUIRE);
}

int virtiofs_devq_pop(struct virtiofs_devq *q, struct virtiofs_req **reqs,
		      unsigned max)
{
	unsigned n;

	if (is_stopped(q->dev))
		return vtfs_fail(-ESHUTDOWN, "queue %u: the device was stopped",
				 q->index);
	n = pop(q, reqs, max > INT32_MAX ? INT32_MAX : max);
	for (unsigned i = 0; i < n; i++)
		hand_out(q, reqs[i]);
	return (int)n;
}

int virtiofs_devq_dispatch(struct virtiofs_devq *q)
{
	if (is_stopped(q->dev))
		return vtfs_fail(-ESHUTDOWN, "queue %u: the device was stopped",
				 q->index);
	return (int)vtfs_devq_serve(q, VTFS_SERVE_MAX);
}

int virtiofs_devq_flush(struct virtiofs_devq *q)
{
	vtfs_devq_flush(q);
	return 0;
}

int virtiofs_devq_arm(struct virtiofs_devq *q)
{
	struct epoll_event ev[4];
	int n;

	/* The kick is edge-triggered: this consumes it, then the ring is looked
	 * at. Our own eventfd is a level. */
	n = epoll_wait(q->ep, ev, 4, 0);
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 == q->index * 2 + 1)
			vtfs_evfd_drain(q->ctl);
		else if (ev[i].data.u64 == q->index * 2)
			vtfs_devq_kicked(q);
	}
	if (is_stopped(q->dev))
		return 1;
	return vtfs_devq_arm(q);
}

int virtiofs_devq_fd(const struct virtiofs_devq *q)
{
	return q->ep;
}

uint32_t virtiofs_devq_size(const struct virtiofs_devq *q)
{
	return __atomic_load_n(&q->size, __ATOMIC_RELAXED);
}
