/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost_user/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/error.h"
#include "transport/socket.h"
#include "base/evfd.h"
#include "transport/vhost_user/client_ops.h"

/* ---- connection ---- */

static void hang_up(struct vu_client *c)
{
	vtfs_vu_script_drop(c);
	vtfs_vu_rx_next(&c->rx);
	vtfs_vu_tx_drop(&c->tx);
	vtfs_vu_client_close_back(c);
	if (c->sock >= 0) {
		/* The caller may hold a duplicate: closing is not leaving. */
		epoll_ctl(c->ep, EPOLL_CTL_DEL, c->sock, NULL);
		close(c->sock);
	}
	c->sock = -1;
	c->phase = 0;
	c->connected = false;
	c->protocol = c->offered = c->features = 0;
	c->status = 0;
	memset(c->running, 0, sizeof(c->running));
	vtfs_vu_client_forget_memory(c);
}

int vtfs_vu_client_lose(struct vu_client *c, int r)
{
	hang_up(c);
	c->lost = r;
	c->lost_told = false;
	vtfs_evfd_signal(c->wake);
	return r;
}

static int use_socket(struct vu_client *c, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(c->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	c->sock = fd;
	c->sock_events = EPOLLIN;
	c->lost = 0;
	/* That the one before was lost is no news any more. */
	vtfs_evfd_drain(c->wake);
	return 0;
}

static int open_socket(struct vu_client *c)
{
	int fd;
	int r;

	if (!c->path)
		return vtfs_fail(-ENOTCONN,
				 "%s: the back-end is gone, and there is no "
				 "path to find it again",
				 c->base.name);
	r = vtfs_sock_connect(&fd, c->path);
	if (r == -EAGAIN)
		return vtfs_fail(-EBUSY, "%s: too many wait for this server",
				 c->path);
	if (r < 0)
		return r;
	r = use_socket(c, fd);
	if (r < 0)
		close(fd);
	return r;
}

/* A new connection, whatever there was before; begun again after -EAGAIN. */
static int client_connect(struct virtiofs_transport *t)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r;

	if (c->connected && c->path)
		hang_up(c);
	if (c->sock < 0) {
		r = open_socket(c);
		if (r < 0)
			return r;
	}
	r = vtfs_vu_client_negotiate(c);
	if (r >= 0)
		c->connected = true;
	return r;
}

/* The peer speaks though nothing was asked, or is gone. */
static int judge_unasked(void *ctx, const struct vu_header *h)
{
	const struct vu_client *c = ctx;

	return vtfs_fail(-EPROTO, "%s: a reply to %s that nobody asked for",
			 c->base.name, vtfs_vu_request_name(h->request));
}

static int listen_idle(struct vu_client *c)
{
	int r;

	if (c->sock < 0 || c->script.op)
		return 0;
	r = vtfs_vu_rx_recv(&c->rx, c->sock, judge_unasked, c);
	if (r == -EAGAIN)
		return 0;
	if (r == -ENOTCONN)
		vtfs_fail(r, "%s: the back-end hung up", c->base.name);
	return r;
}

static int client_dispatch(struct virtiofs_transport *t)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r;

	r = vtfs_vu_client_serve_back(c);
	vtfs_vu_client_serve_miss(c);
	if (r == -EAGAIN)
		r = listen_idle(c);
	if (r < 0)
		vtfs_vu_client_lose(c, r);
	vtfs_evfd_drain(c->wake);
	if (c->again)
		vtfs_evfd_signal(c->wake);
	c->again = false;
	if (c->changed) {
		c->changed = false;
		c->sink->ops->config_changed(c->sink);
	}
	if (!c->lost)
		return 0;
	if (!c->lost_told) {
		c->lost_told = true;
		c->sink->ops->lost(c->sink, c->lost);
	}
	return -ENOTCONN;
}

static int client_attach(struct virtiofs_transport *t,
			 struct vtfs_cli_sink *sink)
{
	vtfs_vu_to_client(t)->sink = sink;
	return 0;
}

static const struct vtfs_cli_ops client_ops = {
    .attach = client_attach,
    .connect = client_connect,
    .dispatch = client_dispatch,
    .get_features = vtfs_vu_client_get_features,
    .set_features = vtfs_vu_client_set_features,
    .queue_cnt = vtfs_vu_client_queue_cnt,
    .get_config = vtfs_vu_client_get_config,
    .get_status = vtfs_vu_client_get_status,
    .set_status = vtfs_vu_client_set_status,
    .map = vtfs_vu_client_map,
    .unmap = vtfs_vu_client_unmap,
    .start_queue = vtfs_vu_client_start_queue,
    .stop_queue = vtfs_vu_client_stop_queue,
    .protocol_features = vtfs_vu_client_protocol_features,
};

/* ---- made and freed ---- */

static void client_free(struct virtiofs_transport *t)
{
	struct vu_client *c = vtfs_vu_to_client(t);

	hang_up(c);
	if (c->wake >= 0)
		close(c->wake);
	if (c->ep >= 0)
		close(c->ep);
	free(c->path);
	free(c->name);
	free(c);
}

static int client_fd(const struct virtiofs_transport *t)
{
	return vtfs_vu_to_client(t)->ep;
}

static int set_up(struct vu_client *c, const char *path)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int r;

	if (asprintf(&c->name, "vhost-user:%s", path ? path : "fd") < 0) {
		c->name = NULL;
		return -ENOMEM;
	}
	c->base.name = c->name;
	if (path) {
		c->path = strdup(path);
		if (!c->path)
			return -ENOMEM;
	}
	c->ep = epoll_create1(EPOLL_CLOEXEC);
	if (c->ep < 0)
		return vtfs_fail_sys(-errno, "epoll_create1");
	r = vtfs_evfd_new(&c->wake);
	ev.data.fd = c->wake;
	if (r >= 0 && epoll_ctl(c->ep, EPOLL_CTL_ADD, c->wake, &ev) < 0)
		r = vtfs_fail_sys(-errno, "epoll_ctl");
	return r;
}

static int client_new(struct vu_client **ret, const char *path)
{
	struct vu_client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->base.cli = &client_ops;
	c->base.free = client_free;
	c->base.fd = client_fd;
	c->ep = c->wake = c->sock = c->back = -1;
	vtfs_vu_rx_init(&c->rx);
	vtfs_vu_rx_init(&c->back_rx);
	r = set_up(c, path);
	if (r < 0) {
		client_free(&c->base);
		return r;
	}
	*ret = c;
	return 0;
}

/* The server need not be there yet: connect finds it. */
int vtfs_vhost_user_connect(struct virtiofs_transport **ret, const char *path)
{
	struct vu_client *c;
	int r;

	if (!path[0])
		return vtfs_fail(-EINVAL, "vhost-user: the path is empty");
	r = client_new(&c, path);
	if (r >= 0)
		*ret = &c->base;
	return r;
}

int virtiofs_vhost_user_client_fd(struct virtiofs_transport **ret, int fd)
{
	struct vu_client *c;
	int r;

	r = vtfs_sock_check(fd, false);
	if (r >= 0)
		r = client_new(&c, NULL);
	if (r < 0)
		return r;
	r = use_socket(c, fd);
	if (r < 0) {
		client_free(&c->base);
		return r;
	}
	*ret = &c->base;
	return 0;
}
