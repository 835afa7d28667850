/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost_user/device.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/error.h"

#define MESSAGES_AT_ONCE 16 /* in one dispatch */

static struct vu_device *to_device(const struct virtiofs_transport *t)
{
	return (struct vu_device *)t;
}

bool vtfs_vu_device_has(const struct vu_device *d, uint64_t pf)
{
	return d->protocol & pf;
}

unsigned vtfs_vu_device_queues(const struct vu_device *d)
{
	unsigned cnt = d->sink->ops->queue_cnt(d->sink);

	return cnt < VU_VRINGS ? cnt : VU_VRINGS;
}

/* ---- what we wait for ---- */

/* Read only when the last message is answered; accept only when the last
 * connection is over. A hang-up is told in any case. */
static void rearm(struct vu_device *d)
{
	uint32_t conn = 0;

	if (vtfs_vu_tx_busy(&d->tx))
		conn |= EPOLLOUT;
	else if (!d->handling)
		conn |= EPOLLIN;
	vtfs_port_arm(&d->port, conn, d->wait == VU_WAIT_NOTHING);
}

/* ---- connections ---- */

static void forget(struct vu_device *d)
{
	vtfs_devmem_clear(&d->mem);
	vtfs_vu_tlb_drop(d);
	vtfs_status_reset(&d->status);
	d->wait = VU_WAIT_NOTHING;
	d->told = false;
}

static void disconnect(struct vu_device *d, int error)
{
	vtfs_port_drop(&d->port);
	vtfs_vu_back_close(d);
	vtfs_vu_rx_next(&d->rx);
	vtfs_vu_tx_drop(&d->tx);
	vtfs_vu_vrings_drop(d);
	d->handling = false;
	d->protocol = 0;
	if (!d->told) {
		forget(d);
		return;
	}
	d->wait = VU_WAIT_LOST;
	d->sink->ops->lost(d->sink, error);
}

static void fault(struct vu_device *d, int error)
{
	vtfs_log(d->sink->log, LOG_WARNING, "%s: connection ended: %s",
		 d->base.name, virtiofs_last_error());
	disconnect(d, error);
}

/* ---- messages ---- */

static bool reply_wanted(const struct vu_device *d)
{
	return (d->rx.hdr.flags & VU_NEED_REPLY) &&
	       vtfs_vu_device_has(d, VU_PF(REPLY_ACK));
}

int vtfs_vu_device_reply(struct vu_device *d, const void *payload, size_t len)
{
	const struct vu_out out = {.request = d->rx.hdr.request,
				   .flags = VU_REPLY,
				   .payload = payload,
				   .len = len};
	int r = vtfs_vu_tx_put(&d->tx, &out);

	return r < 0 ? r : 1;
}

int vtfs_vu_device_reply_u64(struct vu_device *d, uint64_t v)
{
	return vtfs_vu_device_reply(d, &v, sizeof(v));
}

static void refuse(struct vu_device *d, int error)
{
	if (!reply_wanted(d)) {
		fault(d, error);
		return;
	}
	vtfs_log(d->sink->log, LOG_WARNING, "%s: refused: %s", d->base.name,
		 virtiofs_last_error());
	vtfs_vu_device_reply_u64(d, 1);
}

/* What handle or resume returned. */
static void finish(struct vu_device *d, int r)
{
	while (r == -EINPROGRESS && d->wait == VU_WAIT_NOTHING)
		r = vtfs_vu_device_resume(d);
	if (r == -EINPROGRESS)
		return;
	if (r < 0)
		refuse(d, r);
	else if (r == 0 && reply_wanted(d))
		vtfs_vu_device_reply_u64(d, 0);
	d->handling = false;
	if (d->port.conn >= 0)
		vtfs_vu_rx_next(&d->rx);
}

/* 1 a message was handled, or begun; 0 nothing can be done now. */
static int step(struct vu_device *d)
{
	int r;

	r = vtfs_vu_tx_flush(&d->tx, d->port.conn);
	if (r == -EAGAIN || (r >= 0 && d->handling))
		return 0;
	if (r >= 0)
		r = vtfs_vu_rx_recv(&d->rx, d->port.conn, vtfs_vu_device_judge,
				    d);
	if (r == -EAGAIN)
		return 0;
	if (r == -ENOTCONN)
		disconnect(d, r);
	else if (r < 0)
		fault(d, r);
	if (r < 0)
		return 0;
	d->handling = d->told = d->busy = true;
	finish(d, vtfs_vu_device_handle(d));
	d->busy = false;
	return 1;
}

static void talk(struct vu_device *d)
{
	if (d->port.conn >= 0 && d->handling && d->wait == VU_WAIT_NOTHING)
		finish(d, -EINPROGRESS);
	for (int i = 0; i < MESSAGES_AT_ONCE && d->port.conn >= 0; i++)
		if (!step(d))
			break;
	/* A message waits for the session, and its sender is gone. */
	if (d->port.conn >= 0 && d->handling && vtfs_port_hung_up(&d->port))
		disconnect(d, -ENOTCONN);
	if (d->port.conn >= 0)
		vtfs_vu_tx_flush(&d->tx, d->port.conn);
}

/* All that the front-end has sent was read. */
static bool is_idle(const struct vu_device *d)
{
	struct pollfd p = {.fd = d->port.conn, .events = POLLIN};

	return d->port.conn < 0 || (!d->handling && poll(&p, 1, 0) == 0);
}

/* ---- ops ---- */

static int device_attach(struct virtiofs_transport *t,
			 struct vtfs_dev_sink *sink)
{
	to_device(t)->sink = sink;
	return 0;
}

static int device_dispatch(struct virtiofs_transport *t)
{
	struct vu_device *d = to_device(t);

	vtfs_evfd_drain(d->port.wake);
	if (d->wait == VU_WAIT_NOTHING)
		vtfs_port_accept(&d->port, d->sink->log, d->base.name);
	talk(d);
	vtfs_vu_back_dispatch(d);
	vtfs_vu_tlb_settle(d, d->tlb.answered_cnt && is_idle(d));
	vtfs_vu_back_send(d);
	rearm(d);
	if (d->port.conn >= 0 || d->port.listener.fd >= 0 ||
	    d->wait != VU_WAIT_NOTHING)
		return 0;
	vtfs_evfd_signal(d->port.wake);
	return vtfs_fail(-ENOTCONN, "%s: the front-end is gone", d->base.name);
}

/* Within finish() it is seen by itself. */
static void wait_over(struct vu_device *d)
{
	d->wait = VU_WAIT_NOTHING;
	if (!d->busy)
		vtfs_evfd_signal(d->port.wake);
}

static void device_queue_stopped(struct virtiofs_transport *t, unsigned vq,
				 uint16_t avail_base, uint16_t used_base)
{
	struct vu_device *d = to_device(t);

	vtfs_vu_vring_stopped(d, vq, avail_base, used_base);
	vtfs_evfd_signal(d->port.wake);
}

static void device_table_retired(struct virtiofs_transport *t, uint64_t cookie)
{
	struct vu_device *d = to_device(t);

	if (d->wait == VU_WAIT_TABLE && cookie == d->mem.cookie)
		wait_over(d);
}

static void device_reset_done(struct virtiofs_transport *t)
{
	struct vu_device *d = to_device(t);

	if (d->wait == VU_WAIT_LOST)
		forget(d);
	if (d->wait == VU_WAIT_RESET || d->wait == VU_WAIT_NOTHING)
		wait_over(d);
}

static void device_broken(struct virtiofs_transport *t, unsigned vq)
{
	struct vu_device *d = to_device(t);

	d->status.bits |= VTFS_STATUS_NEEDS_RESET;
	if (vq < VU_VRINGS)
		vtfs_bell_ring(&d->vrings[vq].err);
	/* virtio 1.4, 2.1.2: the driver is told by a configuration change */
	vtfs_vu_back_changed(d);
}

static void device_miss(struct virtiofs_transport *t, const struct vtfs_miss *m)
{
	struct vu_device *d = to_device(t);

	vtfs_vu_tlb_miss(d, m);
	vtfs_vu_back_send(d);
}

static const struct vtfs_dev_ops device_ops = {
    .attach = device_attach,
    .dispatch = device_dispatch,
    .queue_stopped = device_queue_stopped,
    .table_retired = device_table_retired,
    .reset_done = device_reset_done,
    .broken = device_broken,
    .miss = device_miss,
};

static void device_free(struct virtiofs_transport *t)
{
	struct vu_device *d = to_device(t);

	vtfs_vu_back_close(d);
	vtfs_vu_rx_next(&d->rx);
	vtfs_vu_tx_drop(&d->tx);
	vtfs_vu_vrings_drop(d);
	vtfs_devmem_clear(&d->mem);
	vtfs_vu_tlb_drop(d);
	vtfs_port_fini(&d->port);
	free(d->name);
	free(d);
}

static int device_fd(const struct virtiofs_transport *t)
{
	return to_device(t)->port.ep;
}

/* ---- made from a path, a listening or a connected socket ---- */

static int set_up(struct vu_device *d, const char *path)
{
	if (asprintf(&d->name, "vhost-user:%s", path) < 0) {
		d->name = NULL;
		return -ENOMEM;
	}
	d->base.name = d->name;
	return vtfs_port_open(&d->port);
}

static int device_new(struct vu_device **ret, const char *path)
{
	struct vu_device *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->base.dev = &device_ops;
	d->base.free = device_free;
	d->base.fd = device_fd;
	d->back = -1;
	vtfs_port_init(&d->port);
	vtfs_vu_rx_init(&d->rx);
	vtfs_vu_rx_init(&d->back_rx);
	vtfs_vu_vrings_init(d);
	r = set_up(d, path);
	if (r < 0) {
		device_free(&d->base);
		return r;
	}
	*ret = d;
	return 0;
}

static int made(struct virtiofs_transport **ret, struct vu_device *d, int r)
{
	if (r < 0)
		device_free(&d->base);
	else
		*ret = &d->base;
	return r;
}

int vtfs_vhost_user_listen(struct virtiofs_transport **ret, const char *path)
{
	struct vu_device *d;
	int r = device_new(&d, path);

	return r < 0 ? r : made(ret, d, vtfs_port_listen(&d->port, path));
}

int virtiofs_vhost_user_listen_fd(struct virtiofs_transport **ret, int fd)
{
	struct vu_device *d;
	int r = device_new(&d, "fd");

	return r < 0 ? r : made(ret, d, vtfs_port_listen_fd(&d->port, fd));
}

int virtiofs_vhost_user_device_fd(struct virtiofs_transport **ret, int fd)
{
	struct vu_device *d;
	int r = device_new(&d, "fd");

	return r < 0 ? r : made(ret, d, vtfs_port_serve_fd(&d->port, fd));
}
