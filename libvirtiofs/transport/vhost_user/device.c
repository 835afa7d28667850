/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost_user/device.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/error.h"

#define MESSAGES_AT_ONCE 16	    /* in one dispatch */
#define RETRY_NS	 100000000L /* until the next accept */

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

static void ask(struct vu_device *d, int fd, uint32_t *have, uint32_t want)
{
	struct epoll_event ev = {.events = want, .data.fd = fd};

	if (fd < 0 || *have == want)
		return;
	*have = want;
	epoll_ctl(d->ep, EPOLL_CTL_MOD, fd, &ev);
}

/* Read only when the last message is answered; accept only when the last
 * connection is over. A hang-up is told in any case. */
static void rearm(struct vu_device *d)
{
	uint32_t conn = 0;

	if (vtfs_vu_tx_busy(&d->tx))
		conn |= EPOLLOUT;
	else if (!d->handling)
		conn |= EPOLLIN;
	ask(d, d->conn, &d->conn_events, conn);
	ask(d, d->listener.fd, &d->listen_events,
	    d->conn < 0 && d->wait == VU_WAIT_NOTHING && !d->full ? EPOLLIN
								  : 0);
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
	/* The caller may hold a duplicate: closing is not leaving. */
	epoll_ctl(d->ep, EPOLL_CTL_DEL, d->conn, NULL);
	close(d->conn);
	d->conn = -1;
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

static int serve(struct vu_device *d, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(d->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	d->conn = fd;
	d->conn_events = EPOLLIN;
	return 0;
}

/* Whoever waits keeps the listener readable, so it is not asked again before
 * there may be fds or memory for him: nothing tells us when. ns 0: no wait. A
 * setting clears what the timer had to tell. */
static void accept_later(struct vu_device *d, long ns)
{
	const struct itimerspec t = {.it_value.tv_nsec = ns};

	d->full = timerfd_settime(d->retry, 0, &t, NULL) == 0 && ns;
}

static bool runs_short(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM ||
	       error == ENOBUFS;
}

static void accept_next(struct vu_device *d)
{
	int fd;

	if (d->conn >= 0 || d->wait != VU_WAIT_NOTHING || d->listener.fd < 0)
		return;
	fd = accept4(d->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 && runs_short(errno)) {
		if (!d->full)
			vtfs_log(d->sink->log, LOG_WARNING,
				 "%s: a front-end has to wait: %s",
				 d->base.name, strerror(errno));
		accept_later(d, RETRY_NS);
		return;
	}
	if (d->full)
		accept_later(d, 0);
	if (fd >= 0 && serve(d, fd) < 0)
		close(fd);
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
	if (d->conn >= 0)
		vtfs_vu_rx_next(&d->rx);
}

/* 1 a message was handled, or begun; 0 nothing can be done now. */
static int step(struct vu_device *d)
{
	int r;

	r = vtfs_vu_tx_flush(&d->tx, d->conn);
	if (r == -EAGAIN || (r >= 0 && d->handling))
		return 0;
	if (r >= 0)
		r = vtfs_vu_rx_recv(&d->rx, d->conn, vtfs_vu_device_judge, d);
	if (r == -EAGAIN)
		return 0;
	if (r == -ENOTCONN)
		disconnect(d, r);
	else if (r < 0)
		fault(d, r);
	if (r < 0)
		return 0;
	d->handling = d->told = true;
	finish(d, vtfs_vu_device_handle(d));
	return 1;
}

/* A message waits for the session, and its sender is gone. */
static bool hung_up(const struct vu_device *d)
{
	struct pollfd p = {.fd = d->conn};

	return d->handling && poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static void talk(struct vu_device *d)
{
	if (d->conn >= 0 && d->handling && d->wait == VU_WAIT_NOTHING)
		finish(d, -EINPROGRESS);
	for (int i = 0; i < MESSAGES_AT_ONCE && d->conn >= 0; i++)
		if (!step(d))
			break;
	if (d->conn >= 0 && hung_up(d))
		disconnect(d, -ENOTCONN);
	if (d->conn >= 0)
		vtfs_vu_tx_flush(&d->tx, d->conn);
}

/* All that the front-end has sent was read. */
static bool is_idle(const struct vu_device *d)
{
	struct pollfd p = {.fd = d->conn, .events = POLLIN};

	return d->conn < 0 || (!d->handling && poll(&p, 1, 0) == 0);
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

	vtfs_evfd_drain(d->wake);
	accept_next(d);
	talk(d);
	vtfs_vu_back_dispatch(d);
	vtfs_vu_tlb_settle(d, is_idle(d));
	vtfs_vu_back_send(d);
	rearm(d);
	if (d->conn >= 0 || d->listener.fd >= 0 || d->wait != VU_WAIT_NOTHING)
		return 0;
	vtfs_evfd_signal(d->wake);
	return vtfs_fail(-ENOTCONN, "%s: the front-end is gone", d->base.name);
}

static void wait_over(struct vu_device *d)
{
	d->wait = VU_WAIT_NOTHING;
	vtfs_evfd_signal(d->wake);
}

static void device_queue_stopped(struct virtiofs_transport *t, unsigned vq,
				 uint16_t avail_base, uint16_t used_base)
{
	struct vu_device *d = to_device(t);

	vtfs_vu_vring_stopped(d, vq, avail_base, used_base);
	vtfs_evfd_signal(d->wake);
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
	if (d->conn >= 0)
		close(d->conn);
	vtfs_listener_close(&d->listener);
	if (d->retry >= 0)
		close(d->retry);
	if (d->wake >= 0)
		close(d->wake);
	if (d->ep >= 0)
		close(d->ep);
	free(d->name);
	free(d);
}

static int device_fd(const struct virtiofs_transport *t)
{
	return to_device(t)->ep;
}

/* ---- made from a path, a listening or a connected socket ---- */

static int watch(struct vu_device *d, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(d->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	return 0;
}

static int set_up(struct vu_device *d, const char *path)
{
	int r;

	if (asprintf(&d->name, "vhost-user:%s", path) < 0) {
		d->name = NULL;
		return -ENOMEM;
	}
	d->base.name = d->name;
	d->ep = epoll_create1(EPOLL_CLOEXEC);
	if (d->ep < 0)
		return vtfs_fail_sys(-errno, "epoll_create1");
	r = vtfs_evfd_new(&d->wake);
	return r < 0 ? r : watch(d, d->wake);
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
	d->ep = d->wake = d->retry = d->conn = d->back = d->listener.fd = -1;
	d->listen_events = EPOLLIN;
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

static int watch_listener(struct vu_device *d, int fd)
{
	int r;

	d->retry = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (d->retry < 0)
		return vtfs_fail_sys(-errno, "timerfd_create");
	r = watch(d, d->retry);
	return r < 0 ? r : watch(d, fd);
}

int vtfs_vhost_user_listen(struct virtiofs_transport **ret, const char *path)
{
	struct vu_device *d;
	int r;

	r = device_new(&d, path);
	if (r < 0)
		return r;
	r = vtfs_listener_open(&d->listener, path);
	if (r >= 0)
		r = watch_listener(d, d->listener.fd);
	if (r < 0) {
		device_free(&d->base);
		return r;
	}
	*ret = &d->base;
	return 0;
}

int virtiofs_vhost_user_listen_fd(struct virtiofs_transport **ret, int fd)
{
	struct vu_device *d;
	int r;

	r = vtfs_sock_check(fd, true);
	if (r >= 0)
		r = device_new(&d, "fd");
	if (r < 0)
		return r;
	r = watch_listener(d, fd);
	if (r >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		r = vtfs_fail_sys(-errno, "vhost-user: fd %d", fd);
	if (r < 0) {
		device_free(&d->base);
		return r;
	}
	d->listener.fd = fd;
	*ret = &d->base;
	return 0;
}

int virtiofs_vhost_user_device_fd(struct virtiofs_transport **ret, int fd)
{
	struct vu_device *d;
	int r;

	r = vtfs_sock_check(fd, false);
	if (r >= 0)
		r = device_new(&d, "fd");
	if (r < 0)
		return r;
	r = serve(d, fd);
	if (r < 0) {
		device_free(&d->base);
		return r;
	}
	*ret = &d->base;
	return 0;
}
