/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/inproc.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/evfd.h"

/* ---- the pair ---- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vtfs_inproc_call_close(struct vtfs_inproc_call *call)
{
	close_fd(&call->queue.kick_fd);
	close_fd(&call->queue.call_fd);
	close_fd(&call->region.fd);
}

static void pair_free(struct vtfs_inproc *pair)
{
	close_fd(&pair->device_fd);
	close_fd(&pair->client_fd);
	pthread_mutex_destroy(&pair->lock);
	free(pair);
}

void vtfs_inproc_unlock_put(struct vtfs_inproc *pair)
{
	unsigned left = --pair->halves;

	pthread_mutex_unlock(&pair->lock);
	if (!left)
		pair_free(pair);
}

static int pair_new(struct vtfs_inproc **ret)
{
	struct vtfs_inproc *pair = calloc(1, sizeof(*pair));
	int r;

	if (!pair)
		return -ENOMEM;
	pthread_mutex_init(&pair->lock, NULL);
	pair->device_fd = pair->client_fd = -1;
	pair->call.queue.kick_fd = pair->call.queue.call_fd = -1;
	pair->call.region.fd = -1;
	r = vtfs_evfd_new(&pair->device_fd);
	if (r >= 0)
		r = vtfs_evfd_new(&pair->client_fd);
	if (r < 0) {
		pair_free(pair);
		return r;
	}
	*ret = pair;
	return 0;
}

int virtiofs_inproc_pair(struct virtiofs_transport **ret_device,
			 struct virtiofs_transport **ret_client)
{
	struct virtiofs_transport *device;
	struct vtfs_inproc *pair;
	int r;

	r = pair_new(&pair);
	if (r < 0)
		return r;
	r = vtfs_inproc_device_new(&device, pair);
	if (r < 0) {
		pair_free(pair);
		return r;
	}
	pair->halves = 1;
	r = vtfs_inproc_client_new(ret_client, pair);
	if (r < 0) {
		virtiofs_transport_free(device);
		return r;
	}
	pair->halves = 2;
	*ret_device = device;
	return 0;
}

/* ---- client half ---- */

struct client {
	struct virtiofs_transport base;
	struct vtfs_inproc *pair;
	struct vtfs_cli_sink *sink;
	bool lost_told;
};

static struct client *to_client(const struct virtiofs_transport *t)
{
	return (struct client *)t;
}

/* The fd is readable while an answer or an event waits. With the lock. */
static void settle(struct client *c)
{
	struct vtfs_inproc *pair = c->pair;
	bool waits = pair->state == VTFS_INPROC_DONE || pair->config_event;

	if (pair->device_gone)
		waits = !c->lost_told;
	if (!waits)
		vtfs_evfd_drain(pair->client_fd);
}

static int dup_fd(int fd, int *ret)
{
	*ret = -1;
	if (fd < 0)
		return 0;
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret < 0 ? vtfs_fail_sys(-errno, "inproc: dup") : 0;
}

static int call_copy(struct vtfs_inproc_call *to,
		     const struct vtfs_inproc_call *from)
{
	int r;

	*to = *from;
	to->queue.kick_fd = to->queue.call_fd = to->region.fd = -1;
	r = dup_fd(from->queue.kick_fd, &to->queue.kick_fd);
	if (r >= 0)
		r = dup_fd(from->queue.call_fd, &to->queue.call_fd);
	if (r >= 0)
		r = dup_fd(from->region.fd, &to->region.fd);
	if (r < 0)
		vtfs_inproc_call_close(to);
	return r;
}

static int post(struct vtfs_inproc *pair, const struct vtfs_inproc_call *want)
{
	int r = call_copy(&pair->call, want);

	if (r < 0)
		return r;
	pair->state = VTFS_INPROC_POSTED;
	vtfs_evfd_signal(pair->device_fd);
	return -EAGAIN;
}

/* The answer, if it is this call's. With the lock. */
static int collect(struct vtfs_inproc *pair, struct vtfs_inproc_call *call)
{
	bool mine = pair->call.op == call->op && pair->call.arg == call->arg;

	pair->state = VTFS_INPROC_IDLE;
	if (!mine)
		return post(pair, call);
	memcpy(call->bytes, pair->call.bytes, sizeof(call->bytes));
	call->ret = pair->call.ret;
	return pair->call.r;
}

/* Begin, wait for, or finish a call. */
static int rpc(struct virtiofs_transport *t, struct vtfs_inproc_call *call)
{
	struct vtfs_inproc *pair = to_client(t)->pair;
	int r = -EAGAIN;

	pthread_mutex_lock(&pair->lock);
	if (pair->device_gone)
		r = -ENOTCONN;
	else if (pair->state == VTFS_INPROC_IDLE)
		r = post(pair, call);
	else if (pair->state == VTFS_INPROC_DONE)
		r = collect(pair, call);
	settle(to_client(t));
	pthread_mutex_unlock(&pair->lock);
	if (r == -ENOTCONN)
		return vtfs_fail(r, "inproc: the device is gone");
	if (r < 0 && r != -EAGAIN)
		return vtfs_fail(r, "inproc: the device refused");
	return r;
}

static struct vtfs_inproc_call make(enum vtfs_inproc_op op, uint64_t arg)
{
	return (struct vtfs_inproc_call){
	    .op = op,
	    .arg = arg,
	    .queue = {.kick_fd = -1, .call_fd = -1},
	    .region = {.fd = -1},
	};
}

static int client_attach(struct virtiofs_transport *t,
			 struct vtfs_cli_sink *sink)
{
	to_client(t)->sink = sink;
	return 0;
}

static int client_connect(struct virtiofs_transport *t)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_CONNECT, 0);

	return rpc(t, &c);
}

static int client_dispatch(struct virtiofs_transport *t)
{
	struct client *c = to_client(t);
	struct vtfs_inproc *pair = c->pair;
	bool changed, gone, first;

	pthread_mutex_lock(&pair->lock);
	gone = pair->device_gone;
	changed = pair->config_event && !gone;
	first = gone && !c->lost_told;
	c->lost_told = gone;
	pair->config_event = false;
	settle(c);
	pthread_mutex_unlock(&pair->lock);
	if (changed)
		c->sink->ops->config_changed(c->sink);
	if (!gone)
		return 0;
	if (first)
		c->sink->ops->lost(c->sink, -ENOTCONN);
	return vtfs_fail(-ENOTCONN, "inproc: the device is gone");
}

static int client_get_features(struct virtiofs_transport *t, uint64_t *ret)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_GET_FEATURES, 0);
	int r = rpc(t, &c);

	if (r >= 0)
		*ret = c.ret;
	return r;
}

static int client_set_features(struct virtiofs_transport *t, uint64_t features)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_SET_FEATURES, features);

	return rpc(t, &c);
}

static int client_queue_cnt(struct virtiofs_transport *t, unsigned *ret)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_QUEUE_CNT, 0);
	int r = rpc(t, &c);

	if (r >= 0)
		*ret = (unsigned)c.ret;
	return r;
}

static int client_get_config(struct virtiofs_transport *t, void *buf,
			     size_t len, size_t off)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_GET_CONFIG, off);
	int r;

	if (len > VTFS_INPROC_BYTES)
		return vtfs_fail(-EINVAL, "inproc: %zu bytes of config space",
				 len);
	c.len = (uint32_t)len;
	r = rpc(t, &c);
	if (r >= 0)
		memcpy(buf, c.bytes, len);
	return r;
}

static int client_get_status(struct virtiofs_transport *t, uint8_t *ret)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_GET_STATUS, 0);
	int r = rpc(t, &c);

	if (r >= 0)
		*ret = (uint8_t)c.ret;
	return r;
}

static int client_set_status(struct virtiofs_transport *t, uint8_t status)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_SET_STATUS, status);

	return rpc(t, &c);
}

static int client_map(struct virtiofs_transport *t,
		      const struct virtiofs_region *region,
		      uint64_t *ret_peer_addr)
{
	uint64_t addr = (uintptr_t)region->addr;
	struct vtfs_inproc_call c = make(VTFS_INPROC_MAP, addr);
	int r;

	c.region = (struct vtfs_region_desc){
	    .peer_addr = addr,
	    .user_addr = addr,
	    .len = region->len,
	    .fd_offset = region->fd_offset,
	    .fd = region->fd,
	    .addr = region->addr,
	};
	r = rpc(t, &c);
	if (r >= 0)
		*ret_peer_addr = addr;
	return r;
}

static int client_unmap(struct virtiofs_transport *t, uint64_t peer_addr)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_UNMAP, peer_addr);

	return rpc(t, &c);
}

static int client_start_queue(struct virtiofs_transport *t,
			      const struct vtfs_queue_setup *q)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_START, q->vq);

	c.queue = *q;
	return rpc(t, &c);
}

static int client_stop_queue(struct virtiofs_transport *t, unsigned vq)
{
	struct vtfs_inproc_call c = make(VTFS_INPROC_STOP, vq);

	return rpc(t, &c);
}

static const struct vtfs_cli_ops client_ops = {
    .attach = client_attach,
    .connect = client_connect,
    .dispatch = client_dispatch,
    .get_features = client_get_features,
    .set_features = client_set_features,
    .queue_cnt = client_queue_cnt,
    .get_config = client_get_config,
    .get_status = client_get_status,
    .set_status = client_set_status,
    .map = client_map,
    .unmap = client_unmap,
    .start_queue = client_start_queue,
    .stop_queue = client_stop_queue,
};

static void client_free(struct virtiofs_transport *t)
{
	struct client *c = to_client(t);
	struct vtfs_inproc *pair = c->pair;

	pthread_mutex_lock(&pair->lock);
	pair->client_gone = true;
	if (pair->state == VTFS_INPROC_POSTED) {
		vtfs_inproc_call_close(&pair->call);
		pair->state = VTFS_INPROC_IDLE;
	}
	vtfs_evfd_signal(pair->device_fd);
	vtfs_inproc_unlock_put(pair);
	free(c);
}

static int client_fd(const struct virtiofs_transport *t)
{
	return to_client(t)->pair->client_fd;
}

int vtfs_inproc_client_new(struct virtiofs_transport **ret,
			   struct vtfs_inproc *pair)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->base.name = "inproc:";
	c->base.cli = &client_ops;
	c->base.free = client_free;
	c->base.fd = client_fd;
	c->pair = pair;
	*ret = &c->base;
	return 0;
}
