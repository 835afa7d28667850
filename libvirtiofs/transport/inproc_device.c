/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/evfd.h"
#include "transport/devmem.h"
#include "transport/inproc.h"
#include "transport/status.h"

#define VQ_MAX 256u

/* An answer that the session owes before the call is done. */
enum owed {
	OWED_NOTHING,
	OWED_STOP,
	OWED_TABLE,
	OWED_RESET, /* virtio reset */
	OWED_LOST,  /* the client is gone, or connects anew */
};

struct device {
	struct virtiofs_transport base;
	struct vtfs_inproc *pair;
	struct vtfs_dev_sink *sink;
	struct vtfs_status status;
	struct vtfs_devmem mem;
	struct vtfs_inproc_call call; /* taken; answered by finish() */
	bool taken;
	bool used; /* this connect is not the first */
	bool lost_told;
	enum owed owed;
	unsigned owed_vq;
	bool started[VQ_MAX];
	bool enabled[VQ_MAX]; /* what the client wants */
	bool running[VQ_MAX]; /* what the session was told */
};

static struct device *to_device(const struct virtiofs_transport *t)
{
	return (struct device *)t;
}

static void finish(struct device *d, int r)
{
	struct vtfs_inproc *pair = d->pair;

	if (!d->taken)
		return;
	d->taken = false;
	d->call.r = r;
	vtfs_inproc_call_close(&d->call);
	pthread_mutex_lock(&pair->lock);
	pair->call = d->call;
	pair->state = VTFS_INPROC_DONE;
	vtfs_evfd_signal(pair->client_fd);
	pthread_mutex_unlock(&pair->lock);
}

/* Queues run from DRIVER_OK on (virtio 1.4, 2.1.2). */
static void update_queues(struct device *d)
{
	bool live = vtfs_status_live(&d->status);

	for (unsigned i = 0; i < VQ_MAX; i++) {
		bool run = live && d->started[i] && d->enabled[i];

		if (run == d->running[i] || !d->started[i])
			continue;
		d->running[i] = run;
		d->sink->ops->enable(d->sink, i, run);
	}
}

static void forget_queues(struct device *d)
{
	memset(d->started, 0, sizeof(d->started));
	memset(d->enabled, 0, sizeof(d->enabled));
	memset(d->running, 0, sizeof(d->running));
}

static void lose(struct device *d, int error)
{
	d->owed = OWED_LOST;
	forget_queues(d);
	d->sink->ops->lost(d->sink, error);
}

static void do_connect(struct device *d)
{
	bool again = d->used;

	d->used = true;
	if (again)
		lose(d, -ECONNRESET);
	else
		finish(d, 0);
}

static void do_set_features(struct device *d)
{
	int r = vtfs_status_choose(&d->status, d->sink->ops->offered(d->sink),
				   d->call.arg);

	if (r >= 0 && !(d->status.bits & VTFS_STATUS_FEATURES_OK))
		d->sink->ops->accept(d->sink, d->call.arg);
	finish(d, r);
}

static void do_get_config(struct device *d)
{
	if (!vtfs_config_there(d->sink)) {
		finish(d, -EOPNOTSUPP);
		return;
	}
	d->sink->ops->config(d->sink, d->call.bytes, d->call.len,
			     (size_t)d->call.arg);
	finish(d, 0);
}

static void do_set_status(struct device *d)
{
	uint8_t value = (uint8_t)d->call.arg;

	if (!value) {
		d->owed = OWED_RESET;
		d->sink->ops->reset(d->sink);
		return;
	}
	vtfs_status_write(&d->status, value);
	update_queues(d);
	finish(d, 0);
}

static void set_table(struct device *d, int r)
{
	if (r < 0) {
		finish(d, r);
		return;
	}
	d->owed = OWED_TABLE;
	d->sink->ops->set_table(d->sink, d->mem.table, d->mem.cookie);
}

static void do_unmap(struct device *d)
{
	const struct vtfs_table *t = d->mem.table;

	for (unsigned i = 0; t && i < t->cnt; i++) {
		const struct vtfs_region *r = t->regions[i];

		if (r->peer_addr != d->call.arg)
			continue;
		set_table(d, vtfs_devmem_remove(&d->mem, r->peer_addr,
						r->user_addr, r->len));
		return;
	}
	finish(d, -ENOENT);
}

static int check_start(const struct device *d, const struct vtfs_queue_setup *q)
{
	if (q->vq >= VQ_MAX || q->vq >= d->sink->ops->queue_cnt(d->sink) ||
	    q->num > d->sink->ops->queue_max(d->sink) || !q->num)
		return -EINVAL;
	if (!(d->status.bits & VTFS_STATUS_FEATURES_OK) || d->started[q->vq])
		return -EBUSY;
	return 0;
}

static void do_start(struct device *d)
{
	struct vtfs_queue_setup q = d->call.queue;
	int r = check_start(d, &q);

	if (r >= 0) {
		q.enabled = q.enabled && vtfs_status_live(&d->status);
		r = d->sink->ops->start(d->sink, &q);
	}
	if (r >= 0) {
		d->started[q.vq] = true;
		d->enabled[q.vq] = d->call.queue.enabled;
		d->running[q.vq] = q.enabled;
	}
	finish(d, r);
}

static void do_stop(struct device *d)
{
	if (d->call.arg >= VQ_MAX ||
	    d->call.arg >= d->sink->ops->queue_cnt(d->sink)) {
		finish(d, -EINVAL);
		return;
	}
	d->owed = OWED_STOP;
	d->owed_vq = (unsigned)d->call.arg;
	d->sink->ops->stop(d->sink, d->owed_vq);
}

static void answer(struct device *d, uint64_t ret)
{
	d->call.ret = ret;
	finish(d, 0);
}

static void carry_out(struct device *d)
{
	switch (d->call.op) {
	case VTFS_INPROC_CONNECT:
		do_connect(d);
		break;
	case VTFS_INPROC_GET_FEATURES:
		answer(d, d->sink->ops->offered(d->sink));
		break;
	case VTFS_INPROC_SET_FEATURES:
		do_set_features(d);
		break;
	case VTFS_INPROC_QUEUE_CNT:
		answer(d, d->sink->ops->queue_cnt(d->sink));
		break;
	case VTFS_INPROC_GET_CONFIG:
		do_get_config(d);
		break;
	case VTFS_INPROC_GET_STATUS:
		answer(d, d->status.bits);
		break;
	case VTFS_INPROC_SET_STATUS:
		do_set_status(d);
		break;
	case VTFS_INPROC_MAP:
		set_table(d, vtfs_devmem_add(&d->mem, &d->call.region));
		break;
	case VTFS_INPROC_UNMAP:
		do_unmap(d);
		break;
	case VTFS_INPROC_START:
		do_start(d);
		break;
	case VTFS_INPROC_STOP:
		do_stop(d);
		break;
	}
}

static int device_attach(struct virtiofs_transport *t,
			 struct vtfs_dev_sink *sink)
{
	to_device(t)->sink = sink;
	return 0;
}

static int device_dispatch(struct virtiofs_transport *t)
{
	struct device *d = to_device(t);
	struct vtfs_inproc *pair = d->pair;
	bool gone, fresh;

	pthread_mutex_lock(&pair->lock);
	vtfs_evfd_drain(pair->device_fd);
	gone = pair->client_gone;
	fresh = pair->state == VTFS_INPROC_POSTED;
	if (fresh) {
		pair->state = VTFS_INPROC_TAKEN;
		d->call = pair->call;
	}
	pthread_mutex_unlock(&pair->lock);
	if (fresh) {
		d->taken = true;
		carry_out(d);
	}
	if (gone && !d->lost_told) {
		d->lost_told = true;
		lose(d, -ENOTCONN);
	}
	return 0;
}

static void device_queue_stopped(struct virtiofs_transport *t, unsigned vq,
				 uint16_t avail_base, uint16_t used_base)
{
	struct device *d = to_device(t);

	if (d->owed != OWED_STOP || d->owed_vq != vq)
		return;
	d->owed = OWED_NOTHING;
	d->started[vq] = d->enabled[vq] = d->running[vq] = false;
	finish(d, 0);
}

static void device_table_retired(struct virtiofs_transport *t, uint64_t cookie)
{
	struct device *d = to_device(t);

	if (d->owed != OWED_TABLE || cookie != d->mem.cookie)
		return;
	d->owed = OWED_NOTHING;
	vtfs_devmem_retired(&d->mem);
	finish(d, 0);
}

static void device_reset_done(struct virtiofs_transport *t)
{
	struct device *d = to_device(t);

	if (d->owed != OWED_RESET && d->owed != OWED_LOST)
		return;
	if (d->owed == OWED_LOST)
		vtfs_devmem_clear(&d->mem);
	d->owed = OWED_NOTHING;
	vtfs_status_reset(&d->status);
	forget_queues(d);
	finish(d, 0);
}

static void device_broken(struct virtiofs_transport *t, unsigned vq)
{
	struct device *d = to_device(t);
	struct vtfs_inproc *pair = d->pair;

	d->status.bits |= VTFS_STATUS_NEEDS_RESET;
	if (!(d->status.bits & VTFS_STATUS_DRIVER_OK))
		return;
	/* virtio 1.4, 2.1.2: a configuration change tells the driver */
	pthread_mutex_lock(&pair->lock);
	pair->config_event = true;
	vtfs_evfd_signal(pair->client_fd);
	pthread_mutex_unlock(&pair->lock);
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
	struct device *d = to_device(t);
	struct vtfs_inproc *pair = d->pair;

	if (d->taken)
		vtfs_inproc_call_close(&d->call);
	vtfs_devmem_clear(&d->mem);
	pthread_mutex_lock(&pair->lock);
	pair->device_gone = true;
	if (pair->state == VTFS_INPROC_POSTED)
		vtfs_inproc_call_close(&pair->call);
	vtfs_evfd_signal(pair->client_fd);
	vtfs_inproc_unlock_put(pair);
	free(d);
}

static int device_fd(const struct virtiofs_transport *t)
{
	return to_device(t)->pair->device_fd;
}

int vtfs_inproc_device_new(struct virtiofs_transport **ret,
			   struct vtfs_inproc *pair)
{
	struct device *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->base.name = "inproc:";
	d->base.dev = &device_ops;
	d->base.free = device_free;
	d->base.fd = device_fd;
	d->pair = pair;
	*ret = &d->base;
	return 0;
}
