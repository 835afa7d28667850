/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block.h"
#include "listener.h"
#include "log.h"
#include "pool.h"
#include "queue.h"
#include "stats.h"

/* For a queue that dispatch serves; there is none. */
static int on_request(struct virtiofs_req *req)
{
	return fs_request(req->userdata, req);
}

static void on_log(void *log_data, int level, const char *line)
{
	const struct device *d = log_data;

	log_msg(level, "%s%s%s", d->name ? d->name : "", d->name ? ": " : "",
		line);
}

static uint64_t features(const struct options *o)
{
	return VIRTIOFS_FEATURES_DEFAULT |
	       (o->packed ? VIRTIOFS_F_RING_PACKED : 0) |
	       (o->in_order ? VIRTIOFS_F_IN_ORDER : 0) |
	       (o->ring_reset ? VIRTIOFS_F_RING_RESET : 0);
}

static int make_device(struct device *d, const struct options *o, unsigned idx,
		       struct listener *l)
{
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = fs_on_forget,
	    .interrupt = fs_on_interrupt,
	    .init = fs_on_init,
	    .reset = fs_on_reset,
	};
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = o->sockets[idx].tag,
	    .num_request_queues = o->queues,
	    .queue_size = o->queue_size,
	    .flags = o->stats ? VIRTIOFS_DEVICE_LATENCY : 0,
	    .features = features(o),
	    .log_level = log_level(),
	    .log = on_log,
	    .log_data = d,
	};
	struct virtiofs_transport *t;
	int r;

	d->connected = l->connected;
	if (o->sockets[idx].vfio_user && !opts.tag) {
		log_err("--listen: vfio-user needs --tag: its guests ask for "
			"it");
		return -EINVAL;
	}
	if (l->transport) {
		t = l->transport;
		l->transport = NULL;
		r = 0;
	} else if (l->connected) {
		r = virtiofs_vhost_user_device_fd(&t, l->fd);
	} else if (o->sockets[idx].vfio_user) {
		r = virtiofs_vfio_user_listen_fd(&t, l->fd);
	} else {
		r = virtiofs_vhost_user_listen_fd(&t, l->fd);
	}
	if (r == 0)
		r = virtiofs_device_new(&d->dev, t, &ops, &opts, &d->fs);
	if (r < 0)
		log_err("can't start the device: %s", virtiofs_last_error());
	return r;
}

static void *device_thread(void *arg)
{
	struct device *d = arg;
	const uint64_t one = 1;
	int r = virtiofs_device_run(d->dev);

	if (r == -ENOTCONN && d->connected) {
		on_log(d, LOG_INFO, "the front-end is gone");
		r = 0;
	}
	if (r < 0)
		on_log(d, LOG_ERR, virtiofs_last_error());
	atomic_store(&d->result, r);
	if (write(d->ended_fd, &one, sizeof(one)) < 0)
		log_err("can't tell that a device ends: %s", strerror(errno));
	return NULL;
}

static int start_threads(struct device *d, const struct options *o)
{
	unsigned cnt = o->queues + 1;
	int r = 0;

	d->queues = calloc(cnt, sizeof(*d->queues));
	if (!d->queues)
		r = -ENOMEM;
	if (r == 0 && o->thread_pool_size)
		r = pool_new(&d->pool, &d->fs, o->thread_pool_size);
	while (r == 0 && d->queue_cnt < cnt) {
		r = queue_start(&d->queues[d->queue_cnt], d->dev, d->queue_cnt,
				&d->fs, d->pool);
		d->queue_cnt++;
	}
	if (r == 0)
		r = -pthread_create(&d->thread, NULL, device_thread, d);
	d->started = r == 0;
	if (r < 0)
		log_err("can't start threads: %s", strerror(-r));
	return r;
}

int device_start(struct device *d, const struct options *o, unsigned idx,
		 struct listener *l)
{
	int r = make_device(d, o, idx, l);

	return r < 0 ? r : start_threads(d, o);
}

void device_stop(struct device *d)
{
	if (d->dev)
		virtiofs_device_stop(d->dev);
	block_stop(&d->fs);
}

void device_join(struct device *d)
{
	if (d->started)
		pthread_join(d->thread, NULL);
	for (unsigned i = 0; i < d->queue_cnt; i++)
		queue_join(&d->queues[i]);
	pool_free(d->pool);
}

void device_print_stats(const struct device *d)
{
	if (d->dev)
		stats_print(d->name, &d->fs, d->dev);
}

void device_free(struct device *d)
{
	for (unsigned i = 0; i < d->queue_cnt; i++)
		queue_free(&d->queues[i]);
	virtiofs_device_free(d->dev);
	fs_free(&d->fs);
	free(d->queues);
}
