/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vfio_user/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/error.h"

#define MESSAGES_AT_ONCE 16 /* in one dispatch */

static struct vfu_device *to_device(const struct virtiofs_transport *t)
{
	return (struct vfu_device *)t;
}

/* ---- connections ---- */

/* Nobody holds anything of the last client any more. */
static void forget(struct vfu_device *d)
{
	vtfs_vfu_dma_clear(d);
	vtfs_devmem_clear(&d->mem);
	d->map_cnt = 0;
	d->wait = VFU_WAIT_NOTHING;
	d->told = false;
}

static void disconnect(struct vfu_device *d, int error)
{
	vtfs_port_drop(&d->port);
	vtfs_vfu_rx_next(&d->rx);
	vtfs_vfu_tx_drop(&d->tx);
	d->rx.max = VFU_VERSION_MAX;
	d->handling = d->held = false;
	d->versioned = false;
	vtfs_vfu_dma_lost(d);
	if (!d->told) {
		forget(d);
		return;
	}
	d->wait = VFU_WAIT_LOST;
	vtfs_pcifn_lost(&d->fn);
	d->sink->ops->lost(d->sink, error);
}

static void fault(struct vfu_device *d, int error)
{
	vtfs_log(d->sink->log, LOG_WARNING, "%s: connection ended: %s",
		 d->base.name, virtiofs_last_error());
	disconnect(d, error);
}

static void wait_over(struct vfu_device *d)
{
	d->wait = VFU_WAIT_NOTHING;
	vtfs_evfd_signal(d->port.wake);
}

/* ---- messages ---- */

static int reply(struct vfu_device *d, struct vfu_out *out)
{
	int r;

	if (d->rx.hdr.flags & VFU_NO_REPLY)
		return 1;
	out->id = d->rx.hdr.id;
	out->command = d->rx.hdr.command;
	out->flags |= VFU_TYPE_REPLY;
	r = vtfs_vfu_tx_put(&d->tx, out);
	return r < 0 ? r : 1;
}

int vtfs_vfu_reply_fds(struct vfu_device *d, const void *payload, size_t len,
		       const int *fds, unsigned fd_cnt)
{
	struct vfu_out out = {
	    .payload = payload, .len = len, .fds = fds, .fd_cnt = fd_cnt};

	return reply(d, &out);
}

int vtfs_vfu_reply(struct vfu_device *d, const void *payload, size_t len)
{
	return vtfs_vfu_reply_fds(d, payload, len, NULL, 0);
}

static int refuse(struct vfu_device *d, int error)
{
	struct vfu_out out = {.flags = VFU_ERROR, .error = (uint32_t)-error};

	vtfs_log(d->sink->log, LOG_WARNING, "%s: %s refused: %s", d->base.name,
		 vtfs_vfu_command_name(d->rx.hdr.command),
		 virtiofs_last_error());
	return reply(d, &out);
}

/* What handle or resume returned. */
static void finish(struct vfu_device *d, int r)
{
	while (r == -EINPROGRESS && d->wait == VFU_WAIT_NOTHING)
		r = vtfs_vfu_resume(d);
	if (r == -EINPROGRESS)
		return;
	if (r == -EPROTO) {
		fault(d, r);
		return;
	}
	if (r == 0)
		r = vtfs_vfu_reply(d, NULL, 0);
	if (r < 0)
		r = refuse(d, r);
	d->handling = false;
	vtfs_vfu_rx_next(&d->rx);
	/* A client that gets no reply can't go on. */
	if (r < 0)
		disconnect(d, r);
}

/* The message in rx is a reply: to one of ours, or to none. */
static int heard(struct vfu_device *d)
{
	int r = vtfs_vfu_dma_reply(d);

	if (r < 0)
		return r;
	vtfs_vfu_rx_next(&d->rx);
	return 1;
}

/* It is a command, and its reply could be sent. */
static int begin(struct vfu_device *d)
{
	d->held = false;
	d->handling = d->told = true;
	d->written = 0;
	finish(d, vtfs_vfu_handle(d));
	return 1;
}

static bool is_reply(const struct vfu_device *d)
{
	return (d->rx.hdr.flags & VFU_TYPE_MASK) == VFU_TYPE_REPLY;
}

/* While the client does not take what we send, only replies are heard. */
static bool may_hear(const struct vfu_device *d)
{
	return !d->handling && !d->held &&
	       (!vtfs_vfu_tx_busy(&d->tx) || d->dma.busy);
}

/* 1 something was done; 0 nothing can be done now. */
static int step(struct vfu_device *d)
{
	int r;

	r = vtfs_vfu_tx_flush(&d->tx, d->port.conn);
	if (r >= 0 && d->held)
		return begin(d);
	if ((r >= 0 || r == -EAGAIN) && !may_hear(d))
		return 0;
	if (r >= 0 || r == -EAGAIN)
		r = vtfs_vfu_rx_recv(&d->rx, d->port.conn);
	if (r == -EAGAIN)
		return 0;
	if (r >= 0 && is_reply(d))
		r = heard(d);
	else if (r >= 0 && !vtfs_vfu_tx_busy(&d->tx))
		return begin(d);
	else if (r >= 0)
		d->held = true;
	if (r == -ENOTCONN)
		disconnect(d, r);
	else if (r < 0)
		fault(d, r);
	return r >= 0;
}

static void settle(struct vfu_device *d)
{
	bool owed = d->dma.reset_owed;

	vtfs_vfu_dma_settle(d);
	if (owed && !d->dma.reset_owed && d->wait == VFU_WAIT_RESET)
		wait_over(d);
}

/* A command of ours may be on its way when a reply is due. */
static bool can_send(struct vfu_device *d)
{
	return vtfs_vfu_tx_flush(&d->tx, d->port.conn) == 0;
}

static void talk(struct vfu_device *d)
{
	if (d->port.conn >= 0 && d->handling && d->wait == VFU_WAIT_NOTHING &&
	    can_send(d))
		finish(d, -EINPROGRESS);
	for (int i = 0; i < MESSAGES_AT_ONCE && d->port.conn >= 0; i++) {
		if (!step(d))
			break;
		vtfs_vfu_dma_go(d);
	}
	if (d->port.conn >= 0 && (d->handling || d->held) &&
	    vtfs_port_hung_up(&d->port))
		disconnect(d, -ENOTCONN);
	vtfs_vfu_dma_go(d);
	if (d->port.conn >= 0)
		vtfs_vfu_tx_flush(&d->tx, d->port.conn);
	settle(d);
}

/* Read only when the last command is answered. A hang-up is told in any case.
 */
static uint32_t wanted(const struct vfu_device *d)
{
	bool due = d->held || (d->handling && d->wait == VFU_WAIT_NOTHING);

	return (may_hear(d) ? (uint32_t)EPOLLIN : 0u) |
	       (due || vtfs_vfu_tx_busy(&d->tx) ? (uint32_t)EPOLLOUT : 0u);
}

/* ---- ops ---- */

static int device_attach(struct virtiofs_transport *t,
			 struct vtfs_dev_sink *sink)
{
	struct vfu_device *d = to_device(t);

	d->sink = sink;
	if (sink->ops->queue_cnt(sink) > VTFS_PCIFN_QUEUES)
		return vtfs_fail(-EINVAL, "%s: more than %u queues",
				 d->base.name, VTFS_PCIFN_QUEUES);
	/* Addresses are those of DMA_MAP, whatever the guest makes of them. */
	vtfs_vfu_dma_attach(d);
	vtfs_pcifn_attach(&d->fn, &d->dma.sink, VTFS_F_ACCESS_PLATFORM);
	return 0;
}

static int device_dispatch(struct virtiofs_transport *t)
{
	struct vfu_device *d = to_device(t);

	vtfs_evfd_drain(d->port.wake);
	vtfs_pcifn_dispatch(&d->fn);
	vtfs_vfu_dma_dispatch(d);
	if (d->wait == VFU_WAIT_NOTHING)
		vtfs_port_accept(&d->port, d->sink->log, d->base.name);
	talk(d);
	vtfs_port_arm(&d->port, wanted(d), d->wait == VFU_WAIT_NOTHING);
	if (d->port.conn >= 0 || d->port.listener.fd >= 0 ||
	    d->wait != VFU_WAIT_NOTHING)
		return 0;
	vtfs_evfd_signal(d->port.wake);
	return vtfs_fail(-ENOTCONN, "%s: the client is gone", d->base.name);
}

static void device_queue_stopped(struct virtiofs_transport *t, unsigned vq,
				 uint16_t avail_base, uint16_t used_base)
{
	struct vfu_device *d = to_device(t);

	if (!vtfs_vfu_dma_queue_stopped(d, vq))
		vtfs_pcifn_queue_stopped(&d->fn, vq, avail_base, used_base);
}

static void device_table_retired(struct virtiofs_transport *t, uint64_t cookie)
{
	struct vfu_device *d = to_device(t);

	if (d->wait == VFU_WAIT_TABLE && cookie == d->mem.cookie)
		wait_over(d);
}

static void device_reset_done(struct virtiofs_transport *t)
{
	struct vfu_device *d = to_device(t);

	/* The status may tell of it later; nothing here waits for that. */
	vtfs_vfu_dma_reset_done(d);
	if (d->wait == VFU_WAIT_LOST)
		forget(d);
	if (d->wait == VFU_WAIT_NOTHING || d->wait == VFU_WAIT_RESET)
		wait_over(d);
}

static void device_broken(struct virtiofs_transport *t, unsigned vq)
{
	struct vfu_device *d = to_device(t);

	vtfs_vfu_dma_broken(d, vq);
	vtfs_pcifn_broken(&d->fn);
}

static const struct vtfs_dev_ops device_ops = {
    .attach = device_attach,
    .dispatch = device_dispatch,
    .queue_stopped = device_queue_stopped,
    .table_retired = device_table_retired,
    .reset_done = device_reset_done,
    .broken = device_broken,
};

static void device_free(struct virtiofs_transport *t)
{
	struct vfu_device *d = to_device(t);

	vtfs_vfu_rx_fini(&d->rx);
	vtfs_vfu_tx_fini(&d->tx);
	vtfs_vfu_dma_fini(d);
	vtfs_devmem_clear(&d->mem);
	vtfs_pcifn_fini(&d->fn);
	vtfs_port_fini(&d->port);
	free(d->name);
	free(d);
}

static int device_fd(const struct virtiofs_transport *t)
{
	return to_device(t)->port.ep;
}

static int set_up(struct vfu_device *d, const char *path)
{
	int r;

	if (asprintf(&d->name, "vfio-user:%s", path) < 0) {
		d->name = NULL;
		return -ENOMEM;
	}
	d->base.name = d->name;
	r = vtfs_port_open(&d->port);
	return r < 0 ? r : vtfs_port_watch(&d->port, d->fn.ep);
}

static int device_new(struct vfu_device **ret, const char *path)
{
	struct vfu_device *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->base.dev = &device_ops;
	d->base.free = device_free;
	d->base.fd = device_fd;
	vtfs_port_init(&d->port);
	vtfs_vfu_dma_init(d);
	vtfs_vfu_rx_init(&d->rx, VFU_VERSION_MAX);
	r = vtfs_pcifn_init(&d->fn);
	if (r >= 0)
		r = set_up(d, path);
	if (r < 0) {
		device_free(&d->base);
		return r;
	}
	*ret = d;
	return 0;
}

static int made(struct virtiofs_transport **ret, struct vfu_device *d, int r)
{
	if (r < 0)
		device_free(&d->base);
	else
		*ret = &d->base;
	return r;
}

int vtfs_vfio_user_listen(struct virtiofs_transport **ret, const char *path)
{
	struct vfu_device *d;
	int r = device_new(&d, path);

	return r < 0 ? r : made(ret, d, vtfs_port_listen(&d->port, path));
}

int virtiofs_vfio_user_listen_fd(struct virtiofs_transport **ret, int fd)
{
	struct vfu_device *d;
	int r = device_new(&d, "fd");

	return r < 0 ? r : made(ret, d, vtfs_port_listen_fd(&d->port, fd));
}

int virtiofs_vfio_user_device_fd(struct virtiofs_transport **ret, int fd)
{
	struct vfu_device *d;
	int r = device_new(&d, "fd");

	return r < 0 ? r : made(ret, d, vtfs_port_serve_fd(&d->port, fd));
}
