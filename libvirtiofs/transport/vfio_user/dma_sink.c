/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Between the function and the session: queues whose rings can't be mapped are
 * carried, all else is passed on as it is (dma.h).
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vfio_user/device.h"

#define EVENTS 64 /* more are left for the next time */

static struct vfu_device *to_device(struct vtfs_dev_sink *s)
{
	return vtfs_container_of(s, struct vfu_device, dma.sink);
}

/* ---- what the function says ---- */

static uint64_t sink_offered(struct vtfs_dev_sink *s)
{
	struct vtfs_dev_sink *to = to_device(s)->sink;

	return to->ops->offered(to);
}

static void sink_accept(struct vtfs_dev_sink *s, uint64_t features)
{
	struct vfu_device *d = to_device(s);

	d->dma.features = features;
	d->sink->ops->accept(d->sink, features);
}

static unsigned sink_queue_cnt(struct vtfs_dev_sink *s)
{
	struct vtfs_dev_sink *to = to_device(s)->sink;

	return to->ops->queue_cnt(to);
}

static uint32_t sink_queue_max(struct vtfs_dev_sink *s)
{
	struct vtfs_dev_sink *to = to_device(s)->sink;

	return to->ops->queue_max(to);
}

static void sink_config(struct vtfs_dev_sink *s, void *buf, size_t len,
			size_t off)
{
	struct vtfs_dev_sink *to = to_device(s)->sink;

	to->ops->config(to, buf, len, off);
}

struct area {
	uint64_t addr, len;
	bool written;
};

static bool is_allowed(const struct vfu_device *d, const struct area *a,
		       uint16_t command)
{
	uint64_t done = 0, n = 1;

	for (; n && done < a->len; done += n)
		n = vtfs_vfu_dma_allowed(d, a->addr + done, a->len - done,
					 command);
	return n;
}

/* By messages, and only by messages. */
static bool is_carried(const struct vfu_device *d,
		       const struct vtfs_queue_setup *s)
{
	uint32_t flags = vtfs_features_vq_flags(d->dma.features);
	struct vtfs_vq_areas len;
	bool mapped = true;

	if (vtfs_vq_areas(&len, flags, s->num) < 0)
		return false;
	const struct area areas[] = {
	    {s->desc, len.desc_len, flags & VTFS_VQ_PACKED},
	    {s->driver, len.driver_len, false},
	    {s->device, len.device_len, true},
	};
	for (unsigned i = 0; i < VTFS_ARRAY_LEN(areas); i++) {
		const struct area *a = &areas[i];

		mapped = mapped &&
			 vtfs_table_ptr(d->mem.table, a->addr, a->len);
		if (vtfs_range_wraps(a->addr, a->len) ||
		    !is_allowed(d, a, VFU_DMA_READ) ||
		    (a->written && !is_allowed(d, a, VFU_DMA_WRITE)))
			return false;
	}
	return !mapped;
}

static int make_ep(struct vfu_device *d)
{
	int r;

	if (d->dma.ep >= 0)
		return 0;
	d->dma.ep = epoll_create1(EPOLL_CLOEXEC);
	if (d->dma.ep < 0)
		return vtfs_fail_sys(-errno, "epoll_create1");
	r = vtfs_port_watch(&d->port, d->dma.ep);
	if (r >= 0)
		return 0;
	close(d->dma.ep);
	d->dma.ep = -1;
	return r;
}

static int start_carried(struct vfu_device *d,
			 const struct vtfs_queue_setup *setup)
{
	struct vtfs_queue_setup ours = *setup;
	struct vfu_ring *ring;
	int r;

	r = make_ep(d);
	if (r >= 0)
		r = vtfs_vfu_arena_make(d);
	if (r >= 0)
		r = vtfs_vfu_ring_new(&ring, d, &ours);
	if (r < 0)
		return r;
	r = d->sink->ops->start(d->sink, &ours);
	if (r < 0) {
		vtfs_vfu_ring_free(ring);
		return r;
	}
	d->dma.rings[setup->vq] = ring;
	vtfs_log(d->sink->log, LOG_DEBUG,
		 "queue %u: its memory is reached by messages", setup->vq);
	vtfs_vfu_ring_begin(ring);
	return 0;
}

static int sink_start(struct vtfs_dev_sink *s,
		      const struct vtfs_queue_setup *setup)
{
	struct vfu_device *d = to_device(s);

	if (is_carried(d, setup))
		return start_carried(d, setup);
	return d->sink->ops->start(d->sink, setup);
}

static void sink_set_call(struct vtfs_dev_sink *s, unsigned vq, int fd)
{
	struct vfu_device *d = to_device(s);
	struct vfu_ring *ring = d->dma.rings[vq];
	struct vtfs_bell bell;

	if (!ring) {
		d->sink->ops->set_call(d->sink, vq, fd);
		return;
	}
	if (vtfs_bell_open(&bell, fd) < 0) {
		vtfs_log(d->sink->log, LOG_WARNING, "queue %u: %s", vq,
			 virtiofs_last_error());
		return;
	}
	vtfs_bell_close(&ring->bell);
	ring->bell = bell;
	/* What the other was rung for may not have been heard. */
	vtfs_bell_ring(&ring->bell);
}

static void sink_stop(struct vtfs_dev_sink *s, unsigned vq)
{
	struct vfu_device *d = to_device(s);
	struct vfu_ring *ring = d->dma.rings[vq];

	if (ring) {
		vtfs_vfu_ring_quiet(ring);
		ring->stopping = true;
		ring->over = d->dma.seq;
	}
	d->sink->ops->stop(d->sink, vq);
}

static void quiet_all(struct vfu_device *d)
{
	for (unsigned i = 0; i < VTFS_PCIFN_QUEUES; i++)
		if (d->dma.rings[i])
			vtfs_vfu_ring_quiet(d->dma.rings[i]);
}

static void sink_reset(struct vtfs_dev_sink *s)
{
	struct vfu_device *d = to_device(s);

	quiet_all(d);
	d->dma.reset_over = d->dma.seq;
	d->sink->ops->reset(d->sink);
}

static const struct vtfs_dev_sink_ops sink_ops = {
    .offered = sink_offered,
    .accept = sink_accept,
    .queue_cnt = sink_queue_cnt,
    .queue_max = sink_queue_max,
    .config = sink_config,
    .start = sink_start,
    .set_call = sink_set_call,
    .stop = sink_stop,
    .reset = sink_reset,
};

void vtfs_vfu_dma_init(struct vfu_device *d)
{
	d->dma.ep = d->dma.arena_fd = -1;
	d->dma.last = &d->dma.first;
}

void vtfs_vfu_dma_attach(struct vfu_device *d)
{
	d->dma.sink.ops = &sink_ops;
	d->dma.sink.log = d->sink->log;
}

/* ---- what the session answers ---- */

static void free_rings(struct vfu_device *d)
{
	for (unsigned i = 0; i < VTFS_PCIFN_QUEUES; i++) {
		if (d->dma.rings[i])
			vtfs_vfu_ring_free(d->dma.rings[i]);
		d->dma.rings[i] = NULL;
	}
}

static void end_stop(struct vfu_device *d, unsigned vq)
{
	struct vfu_ring *ring = d->dma.rings[vq];
	bool lost = vtfs_vq_dev_inflight(ring->dev) || ring->giving;
	uint16_t avail, used;

	vtfs_vq_dev_bases(ring->dev, &avail, &used);
	d->dma.rings[vq] = NULL;
	vtfs_vfu_ring_free(ring);
	/* Of a queue that is reset nobody misses a chain. */
	if (lost && !d->fn.queues[vq].resetting) {
		vtfs_log(d->sink->log, LOG_WARNING,
			 "queue %u: stopped with chains in flight", vq);
		vtfs_pcifn_broken(&d->fn);
	}
	vtfs_pcifn_queue_stopped(&d->fn, vq, avail, used);
}

bool vtfs_vfu_dma_queue_stopped(struct vfu_device *d, unsigned vq)
{
	struct vfu_ring *ring = d->dma.rings[vq];

	if (!ring || !ring->stopping)
		return false;
	ring->stopped = true;
	vtfs_vfu_dma_settle(d);
	return true;
}

void vtfs_vfu_dma_reset_done(struct vfu_device *d)
{
	free_rings(d);
	d->dma.reset_owed = true;
	vtfs_vfu_dma_settle(d);
}

void vtfs_vfu_dma_settle(struct vfu_device *d)
{
	struct vfu_dma *dma = &d->dma;

	for (unsigned i = 0; i < VTFS_PCIFN_QUEUES; i++) {
		struct vfu_ring *ring = dma->rings[i];

		if (ring && ring->stopped && vtfs_vfu_dma_over(dma, ring->over))
			end_stop(d, i);
	}
	/* A function that is reset can't wait: see dma.h. */
	if (dma->reset_owed && (vtfs_pcifn_resets(&d->fn) ||
				vtfs_vfu_dma_over(dma, dma->reset_over))) {
		dma->reset_owed = false;
		vtfs_pcifn_reset_done(&d->fn);
	}
}

void vtfs_vfu_dma_broken(struct vfu_device *d, unsigned vq)
{
	if (d->dma.rings[vq])
		vtfs_vfu_ring_quiet(d->dma.rings[vq]);
}

void vtfs_vfu_dma_lost(struct vfu_device *d)
{
	quiet_all(d);
	vtfs_vfu_dma_forget(&d->dma);
	d->dma.reset_owed = false;
}

void vtfs_vfu_dma_clear(struct vfu_device *d)
{
	free_rings(d);
	vtfs_vfu_dma_forget(&d->dma);
	vtfs_vfu_arena_drop(d);
}

void vtfs_vfu_dma_fini(struct vfu_device *d)
{
	vtfs_vfu_dma_clear(d);
	if (d->dma.ep >= 0)
		close(d->dma.ep);
}

/* ---- kicks and calls ---- */

static void handle(struct vfu_device *d, uint64_t tag)
{
	struct vfu_ring *ring = d->dma.rings[tag / 2];

	if (!ring)
		return;
	if (tag & 1)
		vtfs_vfu_ring_called(ring);
	else
		vtfs_vfu_ring_kicked(ring);
}

void vtfs_vfu_dma_dispatch(struct vfu_device *d)
{
	struct epoll_event ev[EVENTS];
	int cnt = 0;

	if (d->dma.ep >= 0)
		cnt = epoll_wait(d->dma.ep, ev, EVENTS, 0);
	for (int i = 0; i < cnt; i++)
		handle(d, ev[i].data.u64);
}

/* Memory of the arena came back: whoever waits for it goes on. */
static void retry(struct vfu_device *d)
{
	d->dma.freed = false;
	for (unsigned i = 0; i < VTFS_PCIFN_QUEUES; i++)
		if (d->dma.rings[i])
			vtfs_vfu_ring_go(d->dma.rings[i]);
}

void vtfs_vfu_dma_go(struct vfu_device *d)
{
	do {
		if (d->dma.freed)
			retry(d);
		vtfs_vfu_dma_pump(d);
	} while (d->dma.freed);
}
