/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A request queue's slots and their way; the theory is in session/cliq.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/probe.h"
#include "base/shared.h"
#include "session/client.h"

#define NS_PER_MS 1000000ULL
#define NS_PER_S  1000000000ULL

/* ---- life ---- */

static int queue_fds(struct virtiofs_cliq *q)
{
	q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->timer_fd = timerfd_create(CLOCK_MONOTONIC,
				     TFD_CLOEXEC | TFD_NONBLOCK);
	q->ep_fd = epoll_create1(EPOLL_CLOEXEC);
	if (q->kick_fd < 0 || q->call_fd < 0 || q->wake_fd < 0 ||
	    q->timer_fd < 0 || q->ep_fd < 0)
		return vtfs_fail_sys(-errno, "queue %u: descriptors", q->index);
	return 0;
}

int vtfs_cliq_init(struct virtiofs_cliq *q, struct virtiofs_client *c,
		   unsigned index)
{
	uint64_t pages = c->opts.bounce_bytes / VTFS_PAGE;
	int r;

	q->c = c;
	q->index = index;
	q->num = c->opts.queue_size;
	q->slot_cnt = q->num + c->opts.backlog;
	q->kick_fd = q->call_fd = q->wake_fd = q->timer_fd = q->ep_fd = -1;
	vtfs_line_init(&q->line, VTFS_WAIT_CALL + q->index);
	r = vtfs_bounce_new(&q->bounce, (uint32_t)pages);
	if (r < 0)
		return r;
	q->slots = calloc(q->slot_cnt, sizeof(*q->slots));
	q->bufs = calloc(q->num, sizeof(*q->bufs));
	if (!q->slots || !q->bufs)
		return vtfs_fail(-ENOMEM, "queue %u: %u slots", index,
				 q->slot_cnt);
	vtfs_slots_init(&q->free);
	vtfs_slots_init(&q->staged);
	vtfs_slots_init(&q->waiting);
	vtfs_slots_init(&q->locks_waiting);
	vtfs_slots_init(&q->done);
	for (uint32_t i = 0; i < q->slot_cnt; i++)
		vtfs_slots_push(q, &q->free, &q->slots[i]);
	q->dead = -ENOTCONN;
	r = vtfs_cliq_init_latency(q);
	return r < 0 ? r : queue_fds(q);
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void close_line(struct virtiofs_cliq *q)
{
	vtfs_line_close(&q->line, q->taken ? q->ep_fd : q->c->ep_fd);
}

void vtfs_cliq_fini(struct virtiofs_cliq *q)
{
	close_line(q);
	vtfs_vq_drv_free(q->vq);
	for (uint32_t i = 0; q->slots && i < q->slot_cnt; i++)
		if (q->slots[i].parts != q->slots[i].parts_small)
			free(q->slots[i].parts);
	free(q->slots);
	free(q->latency);
	free(q->bufs);
	vtfs_bounce_free(&q->bounce);
	close_fd(q->kick_fd);
	close_fd(q->call_fd);
	close_fd(q->wake_fd);
	close_fd(q->timer_fd);
	close_fd(q->ep_fd);
}

int vtfs_cliq_open(struct virtiofs_cliq *q, const struct vtfs_vq_conf *conf,
		   unsigned char *area, uint64_t area_peer)
{
	size_t slots = (size_t)q->slot_cnt * VTFS_SLOT_BYTES;
	struct vtfs_cslot *s;
	int r;

	vtfs_cliq_close(q, -ENOTCONN);
	/* Their arguments were in the old memory. */
	while ((s = vtfs_slots_pop(q, &q->staged)))
		vtfs_slot_end(q, s);
	r = vtfs_vq_drv_new(&q->vq, conf);
	if (r < 0)
		return r;
	slots = VTFS_ALIGN_UP(slots, (size_t)VTFS_PAGE);
	q->num = conf->num;
	q->area = area;
	q->area_peer = area_peer;
	q->armed = false;
	vtfs_bounce_reset(&q->bounce, area + slots, area_peer + slots);
	q->dead = 0;
	return 0;
}

/* Into the list of what ended, or expired, once. */
static void slot_list(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	if (s->flags & VTFS_SLOT_LISTED)
		return;
	s->flags |= VTFS_SLOT_LISTED;
	vtfs_slots_push(q, &q->done, s);
}

static void slot_done(struct virtiofs_cliq *q, struct vtfs_cslot *s, int error)
{
	s->state = VTFS_SLOT_DONE;
	s->error = error;
	s->len = 0;
	slot_list(q, s);
}

static void slot_unpost(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	q->posted--;
	if (s->flags & VTFS_SLOT_LOCK)
		q->locks--;
	if (s->flags & VTFS_SLOT_EXPIRED)
		q->late--;
	s->flags &= (uint8_t)~VTFS_SLOT_LOCK;
}

void vtfs_cliq_fail(struct virtiofs_cliq *q, int error)
{
	q->dead = error;
	vtfs_slots_init(&q->waiting);
	vtfs_slots_init(&q->locks_waiting);
	for (uint32_t i = 0; i < q->slot_cnt; i++) {
		struct vtfs_cslot *s = &q->slots[i];

		if (s->state != VTFS_SLOT_WAITING &&
		    s->state != VTFS_SLOT_POSTED)
			continue;
		if (s->state == VTFS_SLOT_POSTED)
			slot_unpost(q, s);
		vtfs_slot_drop(q, s);
		slot_done(q, s, error);
	}
	q->next_deadline = 0;
}

void vtfs_cliq_close(struct virtiofs_cliq *q, int error)
{
	vtfs_cliq_fail(q, error);
	close_line(q);
	vtfs_vq_drv_free(q->vq);
	q->vq = NULL;
	q->area = NULL;
}

/* A ring that lies is not touched again; its memory goes with the session. */
static void queue_break(struct virtiofs_cliq *q)
{
	vtfs_log(&q->c->log, LOG_WARNING, "queue %u: the device broke it: %s",
		 q->index, virtiofs_last_error());
	vtfs_stat_add(&q->stats.ring_faults, 1);
	vtfs_cliq_fail(q, -EPROTO);
}

/* ---- in ---- */

struct vtfs_cslot *vtfs_cliq_get(struct virtiofs_cliq *q)
{
	struct vtfs_cslot *s = vtfs_slots_pop(q, &q->free);

	if (!s)
		return NULL;
	s->state = VTFS_SLOT_STAGED;
	memset(&s->op, 0, sizeof(s->op));
	s->op.size = sizeof(s->op);
	return s;
}

static void set_deadline(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	uint32_t ms = s->op.timeout_ms ? s->op.timeout_ms
				       : q->c->opts.timeout_ms;

	s->deadline = 0;
	if (!ms || s->flags & VTFS_SLOT_OURS)
		return;
	s->deadline = vtfs_now() + ms * NS_PER_MS;
	if (!q->next_deadline || s->deadline < q->next_deadline)
		q->next_deadline = s->deadline;
}

static bool waits_for_ever(const struct vtfs_cslot *s)
{
	return s->kind && s->kind->flags & VTFS_FUSE_WAITS;
}

/* Those that are held back have slots, too. */
static bool too_many_locks(const struct virtiofs_cliq *q)
{
	return q->locks + q->locks_waiting.cnt >= (q->slot_cnt + 1) / 2;
}

void vtfs_cliq_stage(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	int r = q->dead;

	if (!r)
		r = vtfs_slot_prepare(q, s);
	if (!r && waits_for_ever(s) && too_many_locks(q)) {
		r = vtfs_fail(-ENOLCK, "half of the queue waits for locks");
		vtfs_slot_drop(q, s);
	}
	if (r < 0) {
		slot_done(q, s, r);
		return;
	}
	set_deadline(q, s);
	q->fresh++;
	s->state = VTFS_SLOT_WAITING;
	vtfs_store_once(&s->user_data, s->op.user_data);
	vtfs_store_release(&s->live, s->want.unique);
	if (waits_for_ever(s))
		vtfs_slots_push(q, &q->locks_waiting, s);
	else
		vtfs_slots_push(q, &q->waiting, s);
}

/* It is on the ring. Interrupted in the last moment: then the device has to
 * hear of that, too. */
static void set_posted(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	uint64_t live = s->want.unique;

	s->state = VTFS_SLOT_POSTED;
	q->posted++;
	if (!__atomic_compare_exchange_n(&s->live, &live,
					 live | VTFS_LIVE_POSTED, false,
					 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		vtfs_hiprio_interrupt(q->c, q, s);
}

/* 1: posted, or done by a fault of its own; 0: no room now. */
static int post(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	int r = vtfs_slot_add(q, s);

	/* With nothing in flight there is nothing to wait for. */
	if (r == -ENOSPC && q->posted) {
		if (!(s->flags & VTFS_SLOT_PARKED))
			VTFS_PROBE(park, q->index, s->want.unique);
		s->flags |= VTFS_SLOT_PARKED;
		return 0;
	}
	if (r == -ENOSPC)
		r = vtfs_fail(-EMSGSIZE, "%s never fits the ring",
			      vtfs_fuse_name(s->op.opcode));
	if (r < 0) {
		vtfs_slot_drop(q, s);
		slot_done(q, s, r);
		return 1;
	}
	set_posted(q, s);
	vtfs_cliq_count_post(q, s);
	return 1;
}

static void post_waiting(struct virtiofs_cliq *q)
{
	while (q->waiting.cnt) {
		struct vtfs_cslot *s = &q->slots[q->waiting.head];
		uint32_t next = s->next;

		/* post may list it elsewhere. */
		if (!post(q, s))
			return;
		q->waiting.head = next;
		q->waiting.cnt--;
	}
}

static void post_locks(struct virtiofs_cliq *q)
{
	uint32_t bound = vtfs_cliq_lock_bound(q);

	while (q->locks_waiting.cnt && q->locks < bound) {
		struct vtfs_cslot *s = &q->slots[q->locks_waiting.head];
		uint32_t next = s->next;

		if (!post(q, s))
			return;
		q->locks_waiting.head = next;
		q->locks_waiting.cnt--;
		if (s->state == VTFS_SLOT_POSTED) {
			s->flags |= VTFS_SLOT_LOCK;
			q->locks++;
		}
	}
}

/* Interrupted before the device saw them. */
static void drop_interrupted(struct virtiofs_cliq *q, struct vtfs_slots *l)
{
	uint32_t cnt = l->cnt;

	while (cnt--) {
		struct vtfs_cslot *s = vtfs_slots_pop(q, l);

		if (!(vtfs_load_once(&s->live) & VTFS_LIVE_INTR)) {
			vtfs_slots_push(q, l, s);
			continue;
		}
		vtfs_slot_drop(q, s);
		slot_done(q, s, -EINTR);
	}
}

void vtfs_cliq_push(struct virtiofs_cliq *q)
{
	if (q->dead || !(q->waiting.cnt + q->locks_waiting.cnt))
		return;
	if (vtfs_load_once(&q->intr_asked) &&
	    __atomic_exchange_n(&q->intr_asked, 0, __ATOMIC_ACQUIRE)) {
		drop_interrupted(q, &q->waiting);
		drop_interrupted(q, &q->locks_waiting);
	}
	post_waiting(q);
	post_locks(q);
	vtfs_cliq_count_parked(q);
	if (vtfs_vq_drv_publish(q->vq) > 0) {
		VTFS_PROBE(kick, q->index);
		vtfs_stat_add(&q->stats.kicks, 1);
		vtfs_doorbell_ring(&q->line.bell, vtfs_vq_drv_pos(q->vq));
	}
}

/* ---- out ---- */

static struct vtfs_cslot *collect(struct virtiofs_cliq *q)
{
	struct vtfs_cslot *s;
	uint16_t token;
	uint32_t len;
	int r;

	if (q->dead)
		return NULL;
	if (q->armed) {
		vtfs_vq_drv_disarm(q->vq);
		q->armed = false;
	}
	r = vtfs_vq_drv_get(q->vq, &token, &len);
	if (r < 0)
		queue_break(q);
	if (r <= 0)
		return NULL;
	vtfs_line_heard(&q->line);
	s = &q->slots[token];
	slot_unpost(q, s);
	vtfs_slot_finish(q, s, len);
	vtfs_cliq_count_reply(q, s, len);
	s->state = VTFS_SLOT_DONE;
	return s;
}

bool vtfs_cliq_collect(struct virtiofs_cliq *q)
{
	struct vtfs_cslot *s = collect(q);

	if (s)
		slot_list(q, s);
	return s != NULL;
}

struct vtfs_cslot *vtfs_cliq_next(struct virtiofs_cliq *q)
{
	struct vtfs_cslot *s;

	for (;;) {
		s = vtfs_slots_pop(q, &q->done);
		if (s)
			s->flags &= (uint8_t)~VTFS_SLOT_LISTED;
		else
			s = collect(q);
		if (!s && q->done.cnt)
			continue;
		if (!s)
			return NULL;
		/* It is in the list already, and comes from there. */
		if (s->flags & VTFS_SLOT_LISTED)
			continue;
		if (!(s->flags & VTFS_SLOT_NOBODY))
			return s;
		if (s->state == VTFS_SLOT_DONE)
			vtfs_slot_end(q, s);
	}
}

void vtfs_cliq_give(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	if (s->state == VTFS_SLOT_DONE)
		vtfs_slot_end(q, s);
}

void vtfs_cliq_abandon(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	s->waiter = NULL;
	s->flags |= VTFS_SLOT_NOBODY;
	s->deadline = 0;
}

/* ---- time ---- */

static void expire(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	s->deadline = 0;
	if (s->state == VTFS_SLOT_WAITING) {
		vtfs_slots_remove(q, &q->waiting, s);
		vtfs_slots_remove(q, &q->locks_waiting, s);
		vtfs_slot_drop(q, s);
		slot_done(q, s, -ETIMEDOUT);
		return;
	}
	s->flags |= VTFS_SLOT_EXPIRED;
	q->late++;
	slot_list(q, s);
}

void vtfs_cliq_expire(struct virtiofs_cliq *q)
{
	uint64_t now, next = 0;

	if (!q->next_deadline)
		return;
	now = vtfs_now();
	if (now < q->next_deadline)
		return;
	for (uint32_t i = 0; i < q->slot_cnt; i++) {
		struct vtfs_cslot *s = &q->slots[i];

		if ((s->state != VTFS_SLOT_WAITING &&
		     s->state != VTFS_SLOT_POSTED) ||
		    !s->deadline)
			continue;
		if (s->deadline <= now)
			expire(q, s);
		else if (!next || s->deadline < next)
			next = s->deadline;
	}
	q->next_deadline = next;
}

static void set_timer(struct virtiofs_cliq *q)
{
	struct itimerspec its = {0};

	if (q->timer_at == q->next_deadline)
		return;
	q->timer_at = q->next_deadline;
	its.it_value.tv_sec = (time_t)(q->timer_at / NS_PER_S);
	its.it_value.tv_nsec = (long)(q->timer_at % NS_PER_S);
	timerfd_settime(q->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

int vtfs_cliq_wait(struct virtiofs_cliq *q)
{
	vtfs_cliq_expire(q);
	vtfs_cliq_push(q);
	if (q->done.cnt)
		return 1;
	if (!q->dead) {
		q->armed = true;
		if (vtfs_vq_drv_arm(q->vq))
			return 1;
	}
	if (q->taken)
		set_timer(q);
	vtfs_line_sleep(&q->line, q->posted);
	return 0;
}
