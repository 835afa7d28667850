/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The blocking call, from any thread; who polls is in session/client_wait.c. */
#include <string.h>
#include <sys/epoll.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "session/client.h"
#include "wire/fuse_ops.h"

#define NS_PER_S 1000000000ULL

static void waiter_enter(struct virtiofs_client *c, struct vtfs_waiter *w)
{
	pthread_condattr_t attr;

	memset(w, 0, sizeof(*w));
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->cond, &attr);
	pthread_condattr_destroy(&attr);
	/* At the end: slots are given in order. */
	if (!c->waiters) {
		c->waiters = w;
		w->prev = w;
	} else {
		w->prev = c->waiters->prev;
		w->prev->next = w;
		c->waiters->prev = w;
	}
}

static void waiter_leave(struct virtiofs_client *c, struct vtfs_waiter *w)
{
	if (w->next)
		w->next->prev = w->prev;
	else
		c->waiters->prev = w->prev;
	if (c->waiters == w)
		c->waiters = w->next;
	else
		w->prev->next = w->next;
	pthread_cond_destroy(&w->cond);
	/* Others may have waited behind it, and somebody must poll for those
	 * who stay. */
	vtfs_client_give_slots(c);
	if (c->waiters && !c->poller)
		pthread_cond_signal(&c->waiters->cond);
}

/* Poll once, with the role; returns when something may have come. */
static void poll_once(struct virtiofs_client *c, struct vtfs_waiter *w,
		      uint64_t deadline)
{
	const struct vtfs_cslot *slot = w->slot;
	struct epoll_event ev[8];
	int cnt;

	if (vtfs_client_drain(c) || w->slot != slot || vtfs_client_arm(c))
		return;
	pthread_mutex_unlock(&c->lock);
	cnt = epoll_wait(c->ep_fd, ev, VTFS_ARRAY_LEN(ev),
			 vtfs_ms_left(deadline));
	vtfs_evfd_drain(c->wake_fd);
	vtfs_client_look(c);
	pthread_mutex_lock(&c->lock);
	vtfs_client_count_calls(c, ev, cnt);
	vtfs_client_drain(c);
}

/* Without the role, for the program may call from there; while it runs another
 * of those who wait polls. */
static void hear_notifications(struct virtiofs_client *c,
			       const struct vtfs_waiter *w)
{
	struct vtfs_waiter *other = c->waiters;

	if (!vtfs_cnotes_any(c))
		return;
	if (other == w)
		other = w->next;
	if (other)
		pthread_cond_signal(&other->cond);
	pthread_mutex_unlock(&c->lock);
	if (vtfs_cnotes_deliver(c))
		vtfs_evfd_signal(c->wake_fd);
	pthread_mutex_lock(&c->lock);
}

static void wait_turn(struct virtiofs_client *c, struct vtfs_waiter *w,
		      uint64_t deadline)
{
	struct timespec ts;

	if (!c->poller) {
		c->poller = w;
		poll_once(c, w, deadline);
		c->poller = NULL;
		hear_notifications(c, w);
		return;
	}
	if (!deadline) {
		pthread_cond_wait(&w->cond, &c->lock);
		return;
	}
	ts.tv_sec = (time_t)(deadline / NS_PER_S);
	ts.tv_nsec = (long)(deadline % NS_PER_S);
	pthread_cond_timedwait(&w->cond, &c->lock, &ts);
}

/* Does x wait for what w would get? */
static bool waits_for(const struct vtfs_waiter *x, const struct vtfs_waiter *w)
{
	return !x->slot && !x->done && !x->intr && x->is_lock == w->is_lock &&
	       (!x->want || x->want == w->q);
}

static bool first_in_line(const struct virtiofs_client *c,
			  const struct vtfs_waiter *w)
{
	const struct vtfs_waiter *x = c->waiters;

	while (x != w && !waits_for(x, w))
		x = x->next;
	return x == w;
}

static void give_slot(struct vtfs_waiter *w)
{
	w->slot = vtfs_cliq_get(w->q);
	w->slot->waiter = w;
}

static void wake(struct virtiofs_client *c, struct vtfs_waiter *w)
{
	pthread_cond_signal(&w->cond);
	if (w == c->poller)
		vtfs_evfd_signal(c->wake_fd);
}

static bool any_slot_free(const struct virtiofs_client *c)
{
	for (unsigned i = 0; i < c->opts.num_request_queues; i++)
		if (!c->queues[i].taken && c->queues[i].free.cnt)
			return true;
	return false;
}

/* In the order in which they came. Only those are woken who get one, or who
 * can't have one any more. */
void vtfs_client_give_slots(struct virtiofs_client *c)
{
	bool running = vtfs_client_running(c);
	struct vtfs_waiter *w;
	int r;

	for (w = c->waiters; w && (!running || any_slot_free(c)); w = w->next) {
		if (w->slot || w->done || w->intr)
			continue;
		r = vtfs_client_pick(c, w, &w->q);
		if (r >= 0 && (!w->q || !first_in_line(c, w)))
			continue;
		if (r >= 0)
			give_slot(w);
		wake(c, w);
	}
}

static int interrupted(struct vtfs_waiter *w)
{
	if (w->slot)
		vtfs_slot_end(w->q, w->slot);
	w->slot = NULL;
	return vtfs_fail(-EINTR, "interrupted");
}

static int get_slot(struct virtiofs_client *c, struct vtfs_waiter *w,
		    uint64_t deadline)
{
	int r;

	while (!w->slot) {
		if (!vtfs_client_running(c))
			return vtfs_fail(-ENOTCONN, "not connected");
		if (w->intr)
			return interrupted(w);
		r = vtfs_client_pick(c, w, &w->q);
		if (r < 0)
			return r;
		if (w->q && first_in_line(c, w))
			give_slot(w);
		else if (deadline && vtfs_now() >= deadline)
			return vtfs_fail(-ETIMEDOUT, "no slot in time");
		else
			wait_turn(c, w, deadline);
	}
	return w->intr ? interrupted(w) : 0;
}

/* Else it waits for a slot, or was given one and does not know it yet. */
static bool has_request(const struct vtfs_waiter *w)
{
	return w->done || (w->slot && w->slot->state != VTFS_SLOT_STAGED);
}

unsigned vtfs_client_interrupt_waiters(struct virtiofs_client *c,
				       uint64_t user_data)
{
	struct vtfs_waiter *w;
	unsigned n = 0;

	pthread_mutex_lock(&c->lock);
	for (w = c->waiters; w; w = w->next) {
		if (has_request(w) || w->user_data != user_data)
			continue;
		w->intr = true;
		pthread_cond_signal(&w->cond);
		n++;
	}
	pthread_mutex_unlock(&c->lock);
	return n;
}

/* Whoever collected the reply was perhaps another thread: the text of an error
 * belongs to the one that asked. */
static int answered(const struct virtiofs_op *op, int error)
{
	return vtfs_fail_sys(error, "%s", vtfs_fuse_name(op->opcode));
}

static int call(struct virtiofs_client *c, struct vtfs_waiter *w,
		const struct virtiofs_op *op)
{
	uint32_t ms = op->timeout_ms ? op->timeout_ms : c->opts.timeout_ms;
	uint64_t deadline = ms ? vtfs_now() + ms * 1000000ULL : 0;
	bool own;
	int r;

	w->user_data = op->user_data;
	w->nodeid = op->nodeid;
	w->is_lock = op->opcode == FUSE_SETLKW;
	r = get_slot(c, w, deadline);
	if (r < 0)
		return r;
	memcpy(&w->slot->op, op, vtfs_min_size(op->size, sizeof(*op)));
	vtfs_cliq_stage(w->q, w->slot);
	vtfs_cliq_push(w->q);
	/* A fault of its own ends it at once, and nobody else will look. Its
	 * text is in place. */
	own = w->slot->state == VTFS_SLOT_DONE;
	if (w->q->done.cnt)
		vtfs_client_drain(c);
	while (!w->done) {
		wait_turn(c, w, deadline);
		if (!w->done && deadline && vtfs_now() >= deadline)
			vtfs_client_drain(c);
	}
	if (w->error < 0 && !own)
		return answered(op, w->error);
	return w->error;
}

static int check_op(const struct virtiofs_op *op)
{
	if (op->size < VTFS_OP_SIZE_MIN)
		return vtfs_fail(-EINVAL, "op.size is %zu", op->size);
	if (!op->opcode)
		return vtfs_fail(-EINVAL, "op without an opcode");
	for (size_t i = sizeof(*op); i < op->size; i++)
		if (((const unsigned char *)op)[i])
			return vtfs_fail(-E2BIG, "op of a newer library");
	return 0;
}

ssize_t virtiofs_client_call(struct virtiofs_client *c,
			     const struct virtiofs_op *op)
{
	struct vtfs_waiter w;
	int r;

	r = check_op(op);
	if (r < 0)
		return r;
	pthread_mutex_lock(&c->lock);
	waiter_enter(c, &w);
	r = call(c, &w, op);
	waiter_leave(c, &w);
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		return r;
	return w.len;
}
