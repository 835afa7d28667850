/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notifications (virtio 1.4, 5.11.6.3). The ring is filled with buffers when it
 * is made, and each goes back to it as soon as the program has seen it. See
 * struct vtfs_cnotes.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/probe.h"
#include "base/shared.h"
#include "session/client.h"
#include "wire/fuse_notify.h"

int vtfs_cnotes_init(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;

	if (!c->opts.notify)
		return 0;
	n->ep_fd = c->ep_fd;
	n->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	n->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (n->kick_fd < 0 || n->call_fd < 0)
		return vtfs_fail_sys(-errno, "eventfd");
	n->arg = malloc(VTFS_NOTIFY_ARG_MAX);
	if (!n->arg)
		return vtfs_fail(-ENOMEM, "notifications");
	return vtfs_fd_watch(n->ep_fd, n->call_fd, EPOLLIN | EPOLLET,
			     VTFS_WAIT_NOTES);
}

void vtfs_cnotes_fini(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;

	vtfs_line_close(&n->line, n->ep_fd);
	vtfs_vq_drv_free(n->vq);
	free(n->arg);
	if (n->kick_fd >= 0)
		close(n->kick_fd);
	if (n->call_fd >= 0)
		close(n->call_fd);
}

/* From one buffer to the next. */
static size_t stride(const struct vtfs_cnotes *n)
{
	return VTFS_ALIGN_UP((size_t)n->size, (size_t)VTFS_CACHELINE);
}

size_t vtfs_cnotes_bytes(const struct virtiofs_client *c)
{
	return c->opts.notify_buffers * stride(&c->notes);
}

static int post(struct vtfs_cnotes *n, uint16_t token)
{
	struct vtfs_vq_buf buf = {n->area_peer + token * stride(n), n->size};

	return vtfs_vq_drv_add(n->vq, &buf, 0, 1, token);
}

int vtfs_cnotes_open(struct virtiofs_client *c, const struct vtfs_vq_conf *conf,
		     unsigned char *area, uint64_t area_peer)
{
	struct vtfs_cnotes *n = &c->notes;
	int r;

	vtfs_cnotes_close(c);
	pthread_mutex_lock(&n->lock);
	r = vtfs_vq_drv_new(&n->vq, conf);
	n->area = area;
	n->area_peer = area_peer;
	n->cnt = vtfs_min_u32(c->opts.notify_buffers, conf->num);
	for (uint16_t i = 0; i < n->cnt && r >= 0; i++)
		r = post(n, i);
	if (r >= 0) {
		/* virtio 1.4, 5.11.5: there from the start. */
		vtfs_vq_drv_publish(n->vq);
		n->dead = 0;
		n->logged = false;
		vtfs_store_release(&n->on, 1);
	}
	pthread_mutex_unlock(&n->lock);
	return r;
}

void vtfs_cnotes_close(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;

	pthread_mutex_lock(&n->lock);
	vtfs_store_release(&n->on, 0);
	n->waits = false;
	vtfs_line_close(&n->line, n->ep_fd);
	vtfs_vq_drv_free(n->vq);
	n->vq = NULL;
	n->area = NULL;
	pthread_mutex_unlock(&n->lock);
}

int vtfs_cnotes_move(struct virtiofs_client *c, int ep_fd)
{
	struct vtfs_cnotes *n = &c->notes;
	int r = vtfs_fd_watch(ep_fd, n->call_fd, EPOLLIN | EPOLLET,
			      VTFS_WAIT_NOTES);

	if (r >= 0)
		r = vtfs_line_move(&n->line, n->ep_fd, ep_fd);
	if (r < 0)
		return r;
	vtfs_fd_forget(n->ep_fd, n->call_fd);
	n->ep_fd = ep_fd;
	return 0;
}

static void kick(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;

	VTFS_PROBE(kick, c->queue_cnt + 1);
	vtfs_stat_add(&n->stats.kicks, 1);
	vtfs_doorbell_ring(&n->line.bell, vtfs_vq_drv_pos(n->vq));
}

int vtfs_cnotes_kick(struct virtiofs_client *c)
{
	if (!vtfs_load_acquire(&c->notes.on))
		return 0;
	kick(c);
	return 0;
}

/* ---- one that came; lock held ---- */

static void log_fault(struct virtiofs_client *c)
{
	if (c->notes.logged)
		return;
	c->notes.logged = true;
	vtfs_log(&c->log, LOG_WARNING,
		 "notification queue: %s; later faults are only counted",
		 virtiofs_last_error());
}

/* 1: token and len are one; 0 none now, or never again. */
static int get(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;
	int r;

	if (n->dead || !n->vq)
		return 0;
	r = vtfs_vq_drv_get(n->vq, &n->token, &n->len);
	if (r > 0)
		vtfs_line_heard(&n->line);
	if (r >= 0)
		return r;
	vtfs_log(&c->log, LOG_WARNING,
		 "notification queue: the device broke it: %s",
		 virtiofs_last_error());
	vtfs_stat_add(&n->stats.ring_faults, 1);
	n->dead = -EPROTO;
	return 0;
}

/* Bytes of a frame, header included; 0: the buffer came back empty. */
static int64_t frame_len(struct vtfs_cnotes *n, const unsigned char *at)
{
	struct fuse_out_header head;
	uint32_t len = n->len;

	if (!len)
		return 0;
	memcpy(&head, at, sizeof(head));
	/* virtio 1.4, 2.7.9: then the frame alone says how long it is. */
	if (len == VTFS_VQ_LEN_UNKNOWN)
		len = vtfs_min_u32(head.len, n->size);
	memcpy(n->arg, &head, sizeof(head));
	return vtfs_notify_head(&head, len);
}

/* Its judgement, into *note; 0: the program need not hear of it. */
static int judge(struct vtfs_cnotes *n, struct virtiofs_notification *note)
{
	const unsigned char *at = n->area + n->token * stride(n);
	int64_t len = frame_len(n, at);
	struct fuse_out_header head;
	uint32_t rest;
	int arg_len;

	if (len <= 0)
		return (int)len;
	memcpy(&head, n->arg, sizeof(head));
	at += sizeof(head);
	rest = (uint32_t)len - (uint32_t)sizeof(head);
	/* What is judged is what the program gets. */
	memcpy(n->arg, at, vtfs_min_u32(rest, VTFS_NOTIFY_ARG_MAX));
	arg_len = vtfs_notify_check((uint32_t)head.error, n->arg, rest);
	if (arg_len < 0)
		return arg_len;
	note->code = (uint32_t)head.error;
	note->arg_len = (uint32_t)arg_len;
	note->arg = n->arg;
	note->data_len = rest - note->arg_len;
	note->data = at + arg_len;
	vtfs_stat_add(&n->stats.reply_bytes, (uint64_t)len);
	return 1;
}

/* At once: the device should find one whenever it looks. */
static void give_back(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;

	if (post(n, n->token) >= 0 && vtfs_vq_drv_publish(n->vq) > 0)
		kick(c);
}

static void deliver_one(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;
	struct virtiofs_notification note = {0};
	int r = judge(n, &note);

	if (r > 0) {
		vtfs_stat_add(&n->stats.notifications, 1);
		c->opts.notify(&note, c->opts.notify_data);
	} else if (r < 0) {
		vtfs_stat_add(&n->stats.frame_faults, 1);
		vtfs_stat_add(&n->stats.notifications_dropped, 1);
		log_fault(c);
	} else {
		vtfs_stat_add(&n->stats.dropped, 1);
	}
	give_back(c);
}

void vtfs_cnotes_begin(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;

	/* Somebody hears them: it is not the first INIT. */
	if (!vtfs_load_acquire(&n->on) || pthread_mutex_trylock(&n->lock))
		return;
	for (uint32_t i = 0; i < n->cnt && (n->waits || get(c) > 0); i++) {
		n->waits = false;
		vtfs_stat_add(&n->stats.notifications_dropped, 1);
		give_back(c);
	}
	pthread_mutex_unlock(&n->lock);
}

/* ---- whoever polls ---- */

static bool is_time(const struct virtiofs_client *c)
{
	return vtfs_load_acquire(&c->notes.on) && vtfs_client_running(c) &&
	       vtfs_load_acquire(&c->init_done);
}

bool vtfs_cnotes_any(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;
	bool any;

	if (!is_time(c) || n->elsewhere)
		return false;
	/* Who has it may have looked just before this one came: it looks at
	 * again after it let go. */
	__atomic_store_n(&n->again, 1, __ATOMIC_SEQ_CST);
	if (pthread_mutex_trylock(&n->lock))
		return false;
	__atomic_store_n(&n->again, 0, __ATOMIC_SEQ_CST);
	do
		n->waits = n->waits || get(c) > 0;
	while (!n->waits && !n->dead && n->vq && vtfs_vq_drv_arm(n->vq));
	any = n->waits;
	if (!any && !n->dead)
		vtfs_line_sleep(&n->line, true);
	pthread_mutex_unlock(&n->lock);
	return any || __atomic_exchange_n(&n->again, 0, __ATOMIC_SEQ_CST);
}

bool vtfs_cnotes_deliver(struct virtiofs_client *c)
{
	struct vtfs_cnotes *n = &c->notes;
	uint32_t left = n->cnt;
	bool more = true;

	if (!is_time(c) || pthread_mutex_trylock(&n->lock))
		return false;
	while (more && left) {
		n->waits = n->waits || get(c) > 0;
		if (n->waits) {
			n->waits = false;
			deliver_one(c);
			left--;
		} else {
			more = !n->dead && n->vq && vtfs_vq_drv_arm(n->vq);
		}
	}
	if (!more && !n->dead)
		vtfs_line_sleep(&n->line, true);
	pthread_mutex_unlock(&n->lock);
	more |= __atomic_exchange_n(&n->again, 0, __ATOMIC_SEQ_CST) != 0;
	return more;
}
