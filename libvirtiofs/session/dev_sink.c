/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the transport says. All of this runs in the thread that dispatches, and
 * only changes dispatch's own view of a queue, then posts it; answers that take
 * time are given by dev_settle.c.
 */
#include "session/dev.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/error.h"
#include "fuse/init.h"
#include "wire/fs.h"

static struct virtiofs_device *to_device(struct vtfs_dev_sink *s)
{
	return vtfs_container_of(s, struct virtiofs_device, sink);
}

/* Virtqueue 1 notifies where that was negotiated, and request queues begin at
 * 2; else they begin at 1 (virtio 1.4, 5.11.2). */
static struct virtiofs_devq *get_queue(struct vtfs_dev_sink *s, unsigned vq)
{
	struct virtiofs_device *dev = to_device(s);

	if (dev->features & VIRTIOFS_F_NOTIFICATION && vq) {
		if (vq == 1)
			return dev->notes.q;
		vq--;
	}
	return vq < dev->queue_cnt ? &dev->queues[vq] : NULL;
}

unsigned vtfs_devq_vq(const struct virtiofs_devq *q)
{
	if (q == q->dev->notes.q)
		return 1;
	return q->index && q->dev->features & VIRTIOFS_F_NOTIFICATION
		   ? q->index + 1
		   : q->index;
}

static uint64_t sink_offered(struct vtfs_dev_sink *s)
{
	const struct virtiofs_device *dev = to_device(s);

	return dev->opts.features |
	       (dev->notes.q ? VIRTIOFS_F_NOTIFICATION : 0);
}

static void sink_accept(struct vtfs_dev_sink *s, uint64_t features)
{
	struct virtiofs_device *dev = to_device(s);

	dev->features = features;
	vtfs_notes_accept(dev, features & VIRTIOFS_F_NOTIFICATION);
}

static unsigned sink_queue_cnt(struct vtfs_dev_sink *s)
{
	return to_device(s)->all_cnt;
}

static uint32_t sink_queue_max(struct vtfs_dev_sink *s)
{
	return to_device(s)->opts.queue_size;
}

static void sink_config(struct vtfs_dev_sink *s, void *buf, size_t len,
			size_t off)
{
	struct virtiofs_device *dev = to_device(s);
	unsigned char config[VTFS_CONFIG_MAX] = {0};
	uint32_t notify = htole32(dev->opts.notify_buf_size);
	uint32_t queues = htole32(dev->queue_cnt - 1);

	memcpy(config + VTFS_CONFIG_TAG, dev->tag, sizeof(dev->tag));
	memcpy(config + VTFS_CONFIG_QUEUES, &queues, sizeof(queues));
	memcpy(config + VTFS_CONFIG_NOTIFY, &notify, sizeof(notify));
	memset(buf, 0, len);
	if (off < sizeof(config))
		memcpy(buf, config + off,
		       vtfs_min_size(len, sizeof(config) - off));
}

void vtfs_device_post_all(struct virtiofs_device *dev,
			  const struct vtfs_miss *gone)
{
	for (unsigned i = 0; i < dev->all_cnt; i++)
		if (dev->queues[i].run)
			vtfs_devq_post_gone(&dev->queues[i], gone);
}

static bool same_regions(const struct vtfs_table *a, const struct vtfs_table *b)
{
	return a && b && a->mapped && b->mapped && a->cnt == b->cnt &&
	       !memcmp(a->regions, b->regions, a->cnt * sizeof(a->regions[0]));
}

/* gone NULL: regions change, and are waited for. */
static void change_table(struct virtiofs_device *dev, struct vtfs_table *t,
			 const struct vtfs_miss *gone, uint64_t cookie)
{
	struct vtfs_peermem *mem = dev->mem;
	struct vtfs_retire *r;

	/* The transport waits for an answer before the next change. */
	if (mem->retire_cnt == VTFS_RETIRES) {
		dev->fatal = vtfs_fail(-EBUSY, "memory changes too often");
		return;
	}
	r = &mem->retires[mem->retire_cnt++];
	r->old = mem->table;
	r->now = t ? vtfs_table_get(t) : NULL;
	r->cookie = cookie;
	r->silent = false;
	r->regions = !gone || !same_regions(r->old, t);
	r->gone = gone ? *gone : vtfs_no_miss;
	mem->table = t ? vtfs_table_get(t) : NULL;
	vtfs_device_post_all(dev, &r->gone);
}

/* Who lacks what came has asked for it, and finds it: nobody is waited for. */
static void add_translations(struct virtiofs_device *dev, struct vtfs_table *t,
			     uint64_t cookie)
{
	vtfs_table_put(dev->mem->table);
	dev->mem->table = vtfs_table_get(t);
	vtfs_device_post_all(dev, &vtfs_no_miss);
	dev->t->dev->table_retired(dev->t, cookie);
}

/* Mostly nobody uses what goes, and the peer waits: answered at once. */
static void sink_invalidate(struct vtfs_dev_sink *s, struct vtfs_table *t,
			    const struct vtfs_miss *gone, uint64_t cookie)
{
	struct virtiofs_device *dev = to_device(s);

	if (!gone->len && same_regions(dev->mem->table, t)) {
		add_translations(dev, t, cookie);
		return;
	}
	change_table(dev, t, gone, cookie);
	vtfs_device_retire(dev);
}

static void sink_set_table(struct vtfs_dev_sink *s, struct vtfs_table *t,
			   uint64_t cookie)
{
	change_table(to_device(s), t, NULL, cookie);
}

static void sink_absent(struct vtfs_dev_sink *s, const struct vtfs_miss *m)
{
	vtfs_device_absent(to_device(s), m);
}

unsigned vtfs_device_max_parts(const struct virtiofs_device *dev, uint32_t num)
{
	uint32_t pages = vtfs_init_pages(dev->opts.max_write, 0);

	/* A driver that keeps to the rules has no chain longer than the ring
	 * (virtio 1.4, 2.7.5.3.1); pages may cross regions. */
	return vtfs_min_u32(IOV_MAX,
			    pages + num < IOV_MAX ? pages + num : IOV_MAX);
}

static int make_run(struct virtiofs_devq *q)
{
	struct virtiofs_device *dev = q->dev;
	const struct vtfs_queue_setup *setup = &q->setup;
	struct vtfs_vq_conf conf = {
	    .flags = vtfs_features_vq_flags(dev->features),
	    .num = setup->num,
	    .avail_base = setup->avail_base,
	    .used_base = setup->used_base,
	    .max_parts = vtfs_device_max_parts(dev, setup->num),
	    .record = setup->record,
	};
	struct vtfs_run *run;
	void *at[3];
	int r = vtfs_devq_find_ring(q, dev->mem->table, at);

	if (r < 0)
		return r;
	conf.desc = at[0];
	conf.driver = at[1];
	conf.device = at[2];
	if (vtfs_device_is_mapped(dev))
		conf.flags |= VTFS_VQ_IOMMU;
	r = vtfs_run_new(&run, q, &conf);
	if (r < 0)
		return r;
	pthread_mutex_lock(&dev->runs_lock);
	q->run = run;
	pthread_mutex_unlock(&dev->runs_lock);
	return 0;
}

static int sink_start(struct vtfs_dev_sink *s,
		      const struct vtfs_queue_setup *setup)
{
	struct virtiofs_devq *q = get_queue(s, setup->vq);
	struct vtfs_call *call;
	int r;

	if (!q)
		return vtfs_fail(-EINVAL, "virtqueue %u: no such queue",
				 setup->vq);
	if (q->state != VTFS_DEVQ_IDLE)
		return vtfs_fail(-EBUSY, "queue %u runs already", q->index);
	call = vtfs_call_new(setup->call_fd, setup->call_ioctl, setup->vq);
	if (!call)
		return vtfs_fail(-EINVAL, "queue %u: call fd", q->index);
	r = vtfs_devq_set_kick(q, setup->kick_fd);
	q->setup = *setup;
	if (r >= 0)
		r = make_run(q);
	if (r < 0) {
		vtfs_devq_close_kick(q);
		vtfs_call_put(call);
		return r;
	}
	q->call = call;
	q->drop = false;
	q->told_broken = false;
	q->logged = false;
	__atomic_store_n(&q->broken, 0, __ATOMIC_RELAXED);
	q->state = VTFS_DEVQ_RUNNING;
	vtfs_devq_post(q);
	vtfs_log(q->dev->sink.log, LOG_DEBUG, "queue %u: started, %u entries",
		 q->index, setup->num);
	return 0;
}

static void sink_set_call(struct vtfs_dev_sink *s, unsigned vq, int fd)
{
	struct virtiofs_devq *q = get_queue(s, vq);
	struct vtfs_call *call;

	if (!q || !q->run)
		return;
	call = vtfs_call_new(fd, 0, vq);
	if (!call) {
		vtfs_log(q->dev->sink.log, LOG_WARNING, "queue %u: %s",
			 q->index, virtiofs_last_error());
		return;
	}
	vtfs_call_put(q->call);
	q->call = call;
	vtfs_devq_post(q);
}

static void sink_set_kick(struct vtfs_dev_sink *s, unsigned vq, int fd)
{
	struct virtiofs_devq *q = get_queue(s, vq);

	if (!q || !q->run)
		return;
	if (vtfs_devq_set_kick(q, fd) < 0)
		vtfs_log(q->dev->sink.log, LOG_WARNING, "queue %u: %s",
			 q->index, virtiofs_last_error());
	/* A kick on the old one may not have been seen. */
	vtfs_devq_wake(q);
}

static void sink_enable(struct vtfs_dev_sink *s, unsigned vq, bool on)
{
	struct virtiofs_devq *q = get_queue(s, vq);

	if (!q)
		return;
	q->setup.enabled = on;
	if (q->run)
		vtfs_devq_post(q);
}

static void sink_stop(struct vtfs_dev_sink *s, unsigned vq)
{
	struct virtiofs_devq *q = get_queue(s, vq);
	struct virtiofs_device *dev = to_device(s);

	if (!q) {
		dev->t->dev->queue_stopped(dev->t, vq, 0, 0);
		return;
	}
	q->answer_stop = true;
	if (q->state != VTFS_DEVQ_RUNNING)
		return;
	q->state = VTFS_DEVQ_DRAINING;
	vtfs_devq_post(q);
}

static void end_all(struct virtiofs_device *dev, enum vtfs_ending how)
{
	for (unsigned i = 0; i < dev->all_cnt; i++) {
		struct virtiofs_devq *q = &dev->queues[i];

		q->answer_stop = false;
		if (!q->run)
			continue;
		if (how == VTFS_ENDING_LOST)
			__atomic_store_n(&q->run->lost, 1, __ATOMIC_SEQ_CST);
		if (q->state == VTFS_DEVQ_RUNNING)
			q->state = VTFS_DEVQ_DRAINING;
		q->drop = true;
		if (q->state == VTFS_DEVQ_DRAINING)
			vtfs_devq_post(q);
	}
	dev->ending = how;
}

static void sink_reset(struct vtfs_dev_sink *s)
{
	struct virtiofs_device *dev = to_device(s);

	if (dev->ending == VTFS_ENDING_NONE)
		end_all(dev, VTFS_ENDING_RESET);
}

static void sink_lost(struct vtfs_dev_sink *s, int error)
{
	struct virtiofs_device *dev = to_device(s);

	if (error == -EPROTO)
		vtfs_stat_add(&dev->message_faults, 1);
	vtfs_log(dev->sink.log, LOG_DEBUG, "the client is gone (%s)",
		 strerror(-error));
	for (unsigned i = 0; i < dev->mem->retire_cnt; i++)
		dev->mem->retires[i].silent = true;
	vtfs_miss_forget(dev);
	end_all(dev, VTFS_ENDING_LOST);
}

const struct vtfs_dev_sink_ops vtfs_device_sink_ops = {
    .offered = sink_offered,
    .accept = sink_accept,
    .queue_cnt = sink_queue_cnt,
    .queue_max = sink_queue_max,
    .config = sink_config,
    .set_table = sink_set_table,
    .invalidate = sink_invalidate,
    .absent = sink_absent,
    .start = sink_start,
    .set_call = sink_set_call,
    .set_kick = sink_set_kick,
    .enable = sink_enable,
    .stop = sink_stop,
    .reset = sink_reset,
    .lost = sink_lost,
};
