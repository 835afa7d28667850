/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hiprio queue: FORGET, BATCH_FORGET, INTERRUPT, and nothing else
 * (virtio 1.4, 5.11.6.2).
 *
 * Theory of operation
 *
 * A forget goes out at once where the ring has room and nothing waits.
 * Otherwise it is parked: counts are merged by nodeid, so memory is bounded by
 * the nodes that the caller knows. When the device gives descriptors back, what
 * is parked goes out as BATCH_FORGET; while anything waits for that, the ring
 * is armed, so that the client's fd tells. Forgets leave two descriptors free,
 * so that an INTERRUPT gets in while they wait.
 *
 * An INTERRUPT that finds no room stays noted in its target's slot
 * (intr_waits), and intr_waiting says that there are such slots. It has room
 * for a reply: EAGAIN sends it again while the target is in flight, ENOSYS ends
 * them all.
 *
 * hi.lock guards all of it; no call waits for it but to send, and nobody holds
 * it while waiting for anything.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/probe.h"
#include "base/shared.h"
#include "session/client.h"

#define OUT_OFF (VTFS_HISLOT_BYTES - 16u)
#define BATCH_MAX                                                              \
	((OUT_OFF - sizeof(struct fuse_in_header) -                            \
	  sizeof(struct fuse_batch_forget_in)) /                               \
	 sizeof(struct fuse_forget_one))
#define RESERVED  2u /* descriptors for an INTERRUPT */
#define TRIES_MAX 1000u

int vtfs_hiprio_init(struct virtiofs_client *c)
{
	struct vtfs_hiprio *hi = &c->hi;

	hi->num = c->opts.queue_size;
	hi->dead = -ENOTCONN;
	hi->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	hi->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (hi->kick_fd < 0 || hi->call_fd < 0)
		return vtfs_fail_sys(-errno, "eventfd");
	hi->slots = calloc(hi->num, sizeof(*hi->slots));
	if (!hi->slots)
		return vtfs_fail(-ENOMEM, "%u hiprio slots", hi->num);
	return 0;
}

void vtfs_hiprio_fini(struct virtiofs_client *c)
{
	struct vtfs_hiprio *hi = &c->hi;

	vtfs_line_close(&hi->line, c->ep_fd);
	vtfs_vq_drv_free(hi->vq);
	free(hi->slots);
	vtfs_forgets_free(&hi->parked);
	if (hi->kick_fd >= 0)
		close(hi->kick_fd);
	if (hi->call_fd >= 0)
		close(hi->call_fd);
}

static void hiprio_fail(struct vtfs_hiprio *hi, int error)
{
	/* The session's nodes are gone with it. */
	hi->dead = error;
	vtfs_forgets_clear(&hi->parked);
	hi->intr_waiting = 0;
	hi->intr_posted = 0;
	hi->posted = 0;
	vtfs_store_once(&hi->pending, 0);
}

/* Those of an earlier session. */
static void forget_interrupts(struct virtiofs_client *c)
{
	for (unsigned k = 0; k < c->opts.num_request_queues; k++)
		for (uint32_t i = 0; i < c->queues[k].slot_cnt; i++)
			c->queues[k].slots[i].intr_waits = 0;
}

int vtfs_hiprio_open(struct virtiofs_client *c, const struct vtfs_vq_conf *conf,
		     unsigned char *area, uint64_t area_peer)
{
	struct vtfs_hiprio *hi = &c->hi;
	int r;

	vtfs_hiprio_close(c, -ENOTCONN);
	pthread_mutex_lock(&hi->lock);
	forget_interrupts(c);
	r = vtfs_vq_drv_new(&hi->vq, conf);
	if (r >= 0) {
		for (uint32_t i = 0; i < hi->num; i++)
			hi->slots[i].next = i + 1 < hi->num ? i + 1
							    : VTFS_NO_SLOT;
		hi->free = 0;
		hi->area = area;
		hi->area_peer = area_peer;
		hi->no_interrupt = false;
	}
	pthread_mutex_unlock(&hi->lock);
	return r;
}

int vtfs_hiprio_begin(struct virtiofs_client *c)
{
	pthread_mutex_lock(&c->hi.lock);
	c->hi.dead = 0;
	pthread_mutex_unlock(&c->hi.lock);
	return 0;
}

void vtfs_hiprio_fail(struct virtiofs_client *c, int error)
{
	pthread_mutex_lock(&c->hi.lock);
	hiprio_fail(&c->hi, error);
	pthread_mutex_unlock(&c->hi.lock);
}

void vtfs_hiprio_close(struct virtiofs_client *c, int error)
{
	struct vtfs_hiprio *hi = &c->hi;

	pthread_mutex_lock(&hi->lock);
	hiprio_fail(hi, error);
	vtfs_vq_drv_free(hi->vq);
	hi->vq = NULL;
	hi->area = NULL;
	vtfs_line_close(&hi->line, c->ep_fd);
	pthread_mutex_unlock(&hi->lock);
}

/* ---- sending ---- */

static unsigned char *hislot_area(struct vtfs_hiprio *hi, uint32_t slot)
{
	return hi->area + (size_t)slot * VTFS_HISLOT_BYTES;
}

/* Post what stands in the slot's area: len bytes, and room for a header. */
static int post(struct vtfs_hiprio *hi, uint32_t len, unsigned writable)
{
	uint32_t slot = hi->free;
	uint64_t at = hi->area_peer + (uint64_t)slot * VTFS_HISLOT_BYTES;
	struct vtfs_vq_buf bufs[2] = {{at, len}, {at + OUT_OFF, 16}};
	uint32_t next = hi->slots[slot].next;
	int r;

	r = vtfs_vq_drv_add(hi->vq, bufs, 1, writable, (uint16_t)slot);
	if (r < 0)
		return r;
	hi->free = next;
	hi->posted++;
	vtfs_stat_add(&hi->stats.requests, 1);
	vtfs_stat_add(&hi->stats.request_bytes, len);
	return 0;
}

static bool has_room(const struct vtfs_hiprio *hi)
{
	return hi->free != VTFS_NO_SLOT &&
	       vtfs_vq_drv_free_cnt(hi->vq) > RESERVED;
}

/* n forgets of all, or of one: nodeid and count. */
static int post_forgets(struct vtfs_hiprio *hi,
			const struct fuse_forget_one *all, uint32_t n)
{
	struct fuse_in_header h = {0};
	struct fuse_batch_forget_in batch = {.count = n};
	struct fuse_forget_in one = {.nlookup = all[0].nlookup};
	unsigned char *at = hislot_area(hi, hi->free);
	int r;

	hi->slots[hi->free].target = 0;
	h.unique = vtfs_unique_next(&hi->seq, 0);
	if (n == 1) {
		h.opcode = FUSE_FORGET;
		h.nodeid = all[0].nodeid;
		h.len = sizeof(h) + sizeof(one);
		memcpy(at + sizeof(h), &one, sizeof(one));
	} else {
		h.opcode = FUSE_BATCH_FORGET;
		h.len = (uint32_t)(sizeof(h) + sizeof(batch) +
				   n * sizeof(*all));
		memcpy(at + sizeof(h), &batch, sizeof(batch));
		memcpy(at + sizeof(h) + sizeof(batch), all, n * sizeof(*all));
	}
	memcpy(at, &h, sizeof(h));
	r = post(hi, h.len, 0);
	if (r >= 0)
		vtfs_stat_add(&hi->stats.forgets, n);
	return r;
}

static void send_parked(struct vtfs_hiprio *hi)
{
	struct fuse_forget_one some[BATCH_MAX];
	uint32_t n;

	while (hi->parked.cnt && has_room(hi)) {
		n = vtfs_forgets_take(&hi->parked, some, BATCH_MAX);
		if (post_forgets(hi, some, n) >= 0)
			continue;
		/* Back to where they were: there is space for them. */
		while (n--)
			vtfs_forgets_add(&hi->parked, some[n].nodeid,
					 some[n].nlookup);
		return;
	}
}

int vtfs_hiprio_send_interrupt(struct virtiofs_client *c, uint16_t queue,
			       uint32_t slot, uint64_t unique, uint16_t tries)
{
	struct vtfs_hiprio *hi = &c->hi;
	struct fuse_interrupt_in arg = {.unique = unique};
	struct fuse_in_header h = {0};
	struct vtfs_hislot *hs;
	unsigned char *at;
	int r;

	if (hi->free == VTFS_NO_SLOT)
		return -ENOSPC;
	hs = &hi->slots[hi->free];
	at = hislot_area(hi, hi->free);
	h.len = sizeof(h) + sizeof(arg);
	h.opcode = FUSE_INTERRUPT;
	h.unique = unique | VTFS_UNIQUE_INTERRUPT;
	memcpy(at, &h, sizeof(h));
	memcpy(at + sizeof(h), &arg, sizeof(arg));
	hs->queue = queue;
	hs->slot = slot;
	hs->target = unique;
	hs->tries = tries;
	r = post(hi, h.len, 1);
	if (r >= 0)
		hi->intr_posted++;
	return r;
}

static bool is_posted(const struct vtfs_cslot *s, uint64_t unique)
{
	return vtfs_load_acquire(&s->live) == (unique | VTFS_LIVE_POSTED);
}

/* Interrupts that found no room before. */
static void send_waiting_interrupts(struct virtiofs_client *c)
{
	for (uint16_t k = 0; k < c->opts.num_request_queues; k++) {
		struct virtiofs_cliq *q = &c->queues[k];

		for (uint32_t i = 0; i < q->slot_cnt && c->hi.intr_waiting;
		     i++) {
			struct vtfs_cslot *s = &q->slots[i];
			uint64_t unique = s->intr_waits;

			if (!unique)
				continue;
			if (is_posted(s, unique) &&
			    vtfs_hiprio_send_interrupt(c, k, i, unique, 0) < 0)
				return;
			s->intr_waits = 0;
			c->hi.intr_waiting--;
		}
	}
	c->hi.intr_waiting = 0;
}

/* ---- collecting ---- */

/* An INTERRUPT came back: perhaps with an answer. */
static void interrupt_done(struct virtiofs_client *c, struct vtfs_hislot *hs,
			   const unsigned char *area, uint32_t len)
{
	struct vtfs_expect want = {.answer = VTFS_FUSE_ANSWER_MAYBE};
	struct vtfs_cslot *s = &c->queues[hs->queue].slots[hs->slot];
	struct fuse_out_header head;
	int32_t error;

	memcpy(&head, area + OUT_OFF, sizeof(head));
	want.unique = hs->target | VTFS_UNIQUE_INTERRUPT;
	if (vtfs_reply_check(&head, len, &want, &error) < 0)
		return;
	if (error == -ENOSYS)
		c->hi.no_interrupt = true;
	if (error != -EAGAIN || hs->tries >= TRIES_MAX)
		return;
	/* The server did not know it then; does it still run? */
	if (is_posted(s, hs->target))
		vtfs_hiprio_send_interrupt(c, hs->queue, hs->slot, hs->target,
					   (uint16_t)(hs->tries + 1));
}

static void collect(struct virtiofs_client *c)
{
	struct vtfs_hiprio *hi = &c->hi;
	struct vtfs_hislot hs;
	uint16_t token;
	uint32_t len;
	int r;

	/* Each one that comes back makes at most one go out. */
	for (uint32_t n = 0; n < hi->num; n++) {
		r = vtfs_vq_drv_get(hi->vq, &token, &len);
		if (r < 0) {
			vtfs_log(&c->log, LOG_WARNING,
				 "hiprio queue: the device broke it: %s",
				 virtiofs_last_error());
			vtfs_stat_add(&hi->stats.ring_faults, 1);
			hiprio_fail(hi, -EPROTO);
		}
		if (r <= 0)
			return;
		vtfs_line_heard(&hi->line);
		hi->posted--;
		hs = hi->slots[token];
		hi->slots[token].next = hi->free;
		hi->free = token;
		if (!hs.target)
			continue;
		hi->intr_posted--;
		vtfs_stat_add(&hi->stats.replies, len != 0);
		vtfs_stat_add(&hi->stats.reply_bytes, len);
		interrupt_done(c, &hs, hislot_area(hi, token), len);
	}
}

/* Does anything go out only when the device gives descriptors back? An
 * INTERRUPT may have to be sent again. */
static bool hears(const struct vtfs_hiprio *hi)
{
	return hi->parked.cnt || hi->intr_waiting || hi->intr_posted;
}

void vtfs_hiprio_run(struct virtiofs_client *c)
{
	struct vtfs_hiprio *hi = &c->hi;

	do {
		if (!hi->dead)
			collect(c);
		if (hi->dead)
			return;
		if (hi->intr_waiting)
			send_waiting_interrupts(c);
		send_parked(hi);
		if (vtfs_vq_drv_publish(hi->vq) > 0) {
			VTFS_PROBE(kick, VIRTIOFS_QUEUE_HIPRIO);
			vtfs_stat_add(&hi->stats.kicks, 1);
			vtfs_doorbell_ring(&hi->line.bell,
					   vtfs_vq_drv_pos(hi->vq));
		}
		/* Here, for this may be the last call for long: the fd has to
		 * tell. */
	} while (hears(hi) && vtfs_vq_drv_arm(hi->vq));
	if (hears(hi))
		vtfs_line_sleep(&hi->line, true);
	vtfs_store_once(&hi->pending,
			hi->posted || hi->parked.cnt || hi->intr_waiting);
}

void vtfs_hiprio_try(struct virtiofs_client *c)
{
	if (!vtfs_load_once(&c->hi.pending))
		return;
	if (pthread_mutex_trylock(&c->hi.lock))
		return;
	vtfs_hiprio_run(c);
	pthread_mutex_unlock(&c->hi.lock);
}

int vtfs_hiprio_arm(struct virtiofs_client *c)
{
	int r = 0;

	if (!vtfs_load_once(&c->hi.pending))
		return 0;
	pthread_mutex_lock(&c->hi.lock);
	if (!c->hi.dead)
		r = vtfs_vq_drv_arm(c->hi.vq);
	if (!c->hi.dead && !r)
		vtfs_line_sleep(&c->hi.line, true);
	pthread_mutex_unlock(&c->hi.lock);
	return r;
}

bool vtfs_hiprio_idle(struct virtiofs_client *c)
{
	bool idle;

	pthread_mutex_lock(&c->hi.lock);
	idle = c->hi.dead || (!c->hi.posted && !c->hi.parked.cnt);
	pthread_mutex_unlock(&c->hi.lock);
	return idle;
}

/* ---- public ---- */

/* Room or not: all of them are taken, or -ENOMEM, -ENOTCONN. */
static int forgets(struct virtiofs_client *c, const struct fuse_forget_one *all,
		   uint32_t n)
{
	struct vtfs_hiprio *hi = &c->hi;
	int r = hi->dead;

	if (r)
		return vtfs_fail(r, "no session to forget in");
	while (n && r >= 0) {
		uint32_t k = vtfs_min_u32(n, BATCH_MAX);

		/* Where there is room, nothing waits. */
		if (has_room(hi)) {
			r = post_forgets(hi, all, k);
		} else {
			k = 1;
			vtfs_stat_add(&hi->stats.parked, 1);
			r = vtfs_forgets_add(&hi->parked, all->nodeid,
					     all->nlookup);
		}
		all += k;
		n -= k;
	}
	vtfs_hiprio_run(c);
	return r;
}

int vtfs_client_forgets(struct virtiofs_client *c,
			const struct fuse_forget_one *all, uint32_t n)
{
	int r;

	pthread_mutex_lock(&c->hi.lock);
	r = forgets(c, all, n);
	pthread_mutex_unlock(&c->hi.lock);
	return r;
}

int virtiofs_client_forget(struct virtiofs_client *c, uint64_t nodeid,
			   uint64_t nlookup)
{
	struct fuse_forget_one one = {nodeid, nlookup};

	if (!nodeid || !nlookup)
		return vtfs_fail(-EINVAL, "forget of node %llu, count %llu",
				 (unsigned long long)nodeid,
				 (unsigned long long)nlookup);
	return vtfs_client_forgets(c, &one, 1);
}
