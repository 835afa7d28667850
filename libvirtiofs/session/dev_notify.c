/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notifications (virtio 1.4, 5.11.6.3): into a buffer that the driver has put
 * into the notification queue, at once, or when there is one. Any thread sends;
 * dispatch sends what had to wait. See struct vtfs_notes.
 */
#include "session/dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/iovcur.h"
#include "base/probe.h"

void vtfs_notes_init(struct virtiofs_device *dev)
{
	pthread_mutex_init(&dev->notes.lock, NULL);
	dev->notes.last = &dev->notes.first;
}

static void clear(struct vtfs_notes *n)
{
	struct vtfs_note *note, *next;

	for (note = n->first; note; note = next) {
		next = note->next;
		free(note);
	}
	n->first = NULL;
	n->last = &n->first;
	vtfs_store_once(&n->cnt, 0);
}

void vtfs_notes_fini(struct virtiofs_device *dev)
{
	clear(&dev->notes);
	vtfs_table_put(dev->notes.lacking);
	pthread_mutex_destroy(&dev->notes.lock);
}

void vtfs_notes_accept(struct virtiofs_device *dev, bool on)
{
	pthread_mutex_lock(&dev->notes.lock);
	dev->notes.on = on;
	pthread_mutex_unlock(&dev->notes.lock);
}

void vtfs_notes_drop(struct virtiofs_device *dev)
{
	struct vtfs_notes *n = &dev->notes;

	pthread_mutex_lock(&n->lock);
	if (n->q)
		vtfs_stat_add(&n->q->taking.notifications_dropped, n->cnt);
	clear(n);
	/* That peer's memory. */
	vtfs_table_put(n->lacking);
	n->lacking = NULL;
	pthread_mutex_unlock(&n->lock);
}

/* ---- into the ring; lock held, inside the gate ---- */

static bool may_send(const struct virtiofs_devq *q)
{
	const struct vtfs_conf *conf = q->have;

	return conf && conf->run && conf->take &&
	       !__atomic_load_n(&q->broken, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&conf->run->lost, __ATOMIC_ACQUIRE);
}

/* The memory that a buffer lacked is still what there is, and nothing was said
 * to be absent since. */
static bool is_lacking(const struct virtiofs_devq *q)
{
	const struct vtfs_notes *n = &q->dev->notes;

	return n->lacking && n->lacking == q->have->table &&
	       n->denials == vtfs_miss_denials(q->dev);
}

static bool is_fit(const struct vtfs_chain *chain, size_t len)
{
	return !chain->fault && !chain->holes && !chain->readable_cnt &&
	       chain->writable_len >= len;
}

/* Behind an IOMMU: this buffer's translation is not there. It is asked for, and
 * nothing more is tried until that is answered. */
static void note_hole(struct virtiofs_devq *q, const struct vtfs_chain *chain)
{
	struct vtfs_notes *n = &q->dev->notes;

	n->denials = vtfs_miss_denials(q->dev);
	vtfs_device_ask_holes(q->dev, chain);
	vtfs_table_put(n->lacking);
	n->lacking = vtfs_table_get(q->have->table);
}

/* 1 and a buffer for len bytes; 0 none now. What can't be used goes back
 * empty, and the message into the next one. */
static int take_buffer(struct virtiofs_devq *q, size_t len,
		       struct vtfs_chain *chain)
{
	const struct vtfs_conf *conf = q->have;
	int r = 0;

	/* No more than the ring has: its driver could go on for ever. */
	for (unsigned i = 0; i < conf->run->num && !is_lacking(q); i++) {
		r = vtfs_vq_dev_pop(conf->run->vq, conf->table, chain);
		if (r < 0)
			return vtfs_devq_ring_fault(q);
		if (r == 0 || is_fit(chain, len))
			return r;
		if (chain->holes)
			note_hole(q, chain);
		else
			vtfs_devq_fault(q, &q->taking.chain_faults,
					"a useless notification buffer");
		vtfs_stat_add(&q->taking.dropped, 1);
		vtfs_vq_dev_push(conf->run->vq, chain->id, chain->ring_cnt, 0);
	}
	return 0;
}

/* 1: sent; 0: it has to wait. */
static int send_inside(struct virtiofs_devq *q, const struct iovec *iov,
		       unsigned cnt, size_t len)
{
	const struct vtfs_conf *conf = q->have;
	struct vtfs_chain chain = {.holes = 0};
	struct vtfs_iovcur cur;
	int r;

	if (!may_send(q))
		return 0;
	r = take_buffer(q, len, &chain);
	if (r > 0) {
		vtfs_iovcur_init(&cur, chain.iov, chain.writable_cnt);
		for (unsigned i = 0; i < cnt; i++)
			vtfs_iovcur_fill(&cur, iov[i].iov_base, iov[i].iov_len);
		vtfs_vq_dev_push(conf->run->vq, chain.id, chain.ring_cnt,
				 (uint32_t)len);
		vtfs_stat_add(&q->taking.notifications, 1);
		vtfs_stat_add(&q->giving.reply_bytes, len);
	}
	if (vtfs_vq_dev_publish(conf->run->vq) && conf->call)
		vtfs_devq_call(q, conf->call);
	return r;
}

/* Buffers that come are heard of only while somebody waits for one. True: there
 * are some. */
static bool listen_inside(struct virtiofs_devq *q, bool wanted)
{
	if (!may_send(q) || is_lacking(q))
		return false;
	if (wanted)
		return vtfs_vq_dev_arm(q->have->run->vq) == 1;
	vtfs_vq_dev_disarm(q->have->run->vq);
	return false;
}

/* ---- waiting ---- */

static int park(struct virtiofs_device *dev, const struct iovec *iov,
		unsigned cnt, size_t len)
{
	struct vtfs_notes *n = &dev->notes;
	struct vtfs_note *note;
	unsigned char *at;

	if (n->cnt >= dev->opts.notify_backlog)
		return vtfs_fail(-ENOSPC, "%u notifications wait for a buffer",
				 n->cnt);
	note = malloc(sizeof(*note) + len);
	if (!note)
		return vtfs_fail(-ENOMEM, "a notification of %zu bytes", len);
	note->next = NULL;
	note->len = len;
	at = note->bytes;
	for (unsigned i = 0; i < cnt; i++) {
		if (iov[i].iov_len)
			memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	*n->last = note;
	n->last = &note->next;
	vtfs_store_once(&n->cnt, n->cnt + 1);
	vtfs_stat_add(&n->q->taking.parked, 1);
	return 0;
}

static void unpark(struct vtfs_notes *n)
{
	struct vtfs_note *note = n->first;

	n->first = note->next;
	if (!n->first)
		n->last = &n->first;
	vtfs_store_once(&n->cnt, n->cnt - 1);
	free(note);
}

bool vtfs_notes_flush(struct virtiofs_device *dev)
{
	struct vtfs_notes *n = &dev->notes;
	unsigned left = VTFS_SERVE_MAX;
	bool more;
	int r = 1;

	if (!vtfs_load_once(&n->cnt))
		return false;
	pthread_mutex_lock(&n->lock);
	vtfs_gate_enter(n->q);
	while (n->first && r > 0 && left--) {
		struct iovec v = {n->first->bytes, n->first->len};

		r = send_inside(n->q, &v, 1, v.iov_len);
		if (r > 0)
			unpark(n);
	}
	more = listen_inside(n->q, n->first != NULL);
	vtfs_gate_leave(n->q);
	pthread_mutex_unlock(&n->lock);
	return more;
}

/* ---- public ---- */

/* In order: behind those that wait. */
static int send_or_park(struct virtiofs_device *dev, const struct iovec *iov,
			unsigned cnt, size_t len)
{
	struct virtiofs_devq *q = dev->notes.q;
	bool more;
	int r = 0;

	if (!dev->notes.first) {
		vtfs_gate_enter(q);
		r = send_inside(q, iov, cnt, len);
		if (r > 0)
			listen_inside(q, false);
		vtfs_gate_leave(q);
	}
	if (r > 0)
		return 0;
	/* Waiting first, then listening: whoever hears the kick looks at cnt.
	 */
	r = park(dev, iov, cnt, len);
	vtfs_gate_enter(q);
	more = listen_inside(q, true);
	vtfs_gate_leave(q);
	/* A buffer came after the last look. */
	if (more)
		vtfs_devq_wake(q);
	return r;
}

static int notify(struct virtiofs_device *dev, const struct iovec *iov,
		  unsigned cnt, size_t len)
{
	if (!dev->notes.on)
		return vtfs_fail(-EOPNOTSUPP,
				 "the client takes no notifications");
	if (!__atomic_load_n(&dev->open, __ATOMIC_ACQUIRE))
		return vtfs_fail(-ENOTCONN, "no session to notify");
	return send_or_park(dev, iov, cnt, len);
}

static int check(const struct virtiofs_device *dev, uint32_t code,
		 const struct iovec *iov, unsigned cnt)
{
	size_t left = dev->opts.notify_buf_size;

	if (!dev->notes.q)
		return vtfs_fail(-EOPNOTSUPP, "notifications are not offered");
	if (!code || code > INT32_MAX)
		return vtfs_fail(-EINVAL, "notification %u", code);
	left -= sizeof(struct fuse_out_header);
	for (unsigned i = 0; i < cnt; i++) {
		if (iov[i].iov_len > left)
			return vtfs_fail(-EMSGSIZE,
					 "a notification above %u bytes",
					 dev->opts.notify_buf_size);
		left -= iov[i].iov_len;
	}
	return 0;
}

int virtiofs_device_notify(struct virtiofs_device *dev, uint32_t code,
			   const struct iovec *iov, unsigned cnt)
{
	struct fuse_out_header h = {.error = (int32_t)code};
	struct iovec parts[1 + VTFS_NOTIFY_PARTS] = {{&h, sizeof(h)}};
	size_t len = sizeof(h);
	int r;

	if (cnt > VTFS_NOTIFY_PARTS)
		return vtfs_fail(-EINVAL, "a notification of %u parts", cnt);
	r = check(dev, code, iov, cnt);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < cnt; i++) {
		parts[1 + i] = iov[i];
		len += iov[i].iov_len;
	}
	h.len = (uint32_t)len;
	pthread_mutex_lock(&dev->notes.lock);
	r = notify(dev, parts, 1 + cnt, len);
	pthread_mutex_unlock(&dev->notes.lock);
	return r;
}
