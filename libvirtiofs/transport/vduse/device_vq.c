/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/vduse.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/evfd.h"
#include "base/shared.h"
#include "transport/vduse/device.h"
#include "vq/vq.h"
#include "wire/ring.h"

static bool packed(const struct vduse_device *d)
{
	return d->status.features & VIRTIOFS_F_RING_PACKED;
}

int vtfs_vduse_vqs_make(struct vduse_device *d)
{
	unsigned cnt = d->sink->ops->queue_cnt(d->sink);
	int r = 0;

	d->vqs = calloc(cnt, sizeof(*d->vqs));
	if (!d->vqs)
		return -ENOMEM;
	for (; d->vq_cnt < cnt && r >= 0; d->vq_cnt++) {
		d->vqs[d->vq_cnt].kick = -1;
		r = vtfs_evfd_new(&d->vqs[d->vq_cnt].kick);
	}
	return r;
}

void vtfs_vduse_vqs_free(struct vduse_device *d)
{
	for (unsigned i = 0; i < d->vq_cnt; i++)
		if (d->vqs[i].kick >= 0)
			close(d->vqs[i].kick);
	free(d->vqs);
	d->vqs = NULL;
	d->vq_cnt = 0;
}

void vtfs_vduse_vqs_forget(struct vduse_device *d)
{
	for (unsigned i = 0; i < d->vq_cnt; i++) {
		d->vqs[i] = (struct vduse_vq){.kick = d->vqs[i].kick};
		vtfs_vduse_record_clear(d, i);
	}
}

static uint16_t with_counter(uint16_t idx, uint16_t counter)
{
	return (uint16_t)((idx & 0x7fff) | (counter & 1) << 15);
}

/* Where the driver says that the ring begins. */
static void first_state(const struct vduse_device *d,
			const struct vduse_vq_info *info,
			struct vtfs_queue_setup *q)
{
	if (packed(d)) {
		const struct vduse_vq_state_packed *s = &info->packed;

		q->avail_base = with_counter(s->last_avail_idx,
					     s->last_avail_counter);
		q->used_base = with_counter(s->last_used_idx,
					    s->last_used_counter);
		return;
	}
	q->avail_base = info->split.avail_index;
}

/* ---- a ring that somebody served before us ---- */

static const struct vtfs_region *region_at(const struct vduse_device *d,
					   uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < d->mem.cnt; i++) {
		const struct vtfs_region *r = d->mem.maps[i].region;

		if (vtfs_range_ok(r->peer_addr, r->len, addr, len))
			return r;
	}
	return NULL;
}

static const void *at(const struct vduse_device *d, uint64_t addr, uint64_t len)
{
	const struct vtfs_region *r = region_at(d, addr, len);

	return r && addr % 2 == 0 ? r->addr + (addr - r->peer_addr) : NULL;
}

static uint16_t flags_of(const uint16_t *descs, uint32_t i)
{
	return le16toh(vtfs_load_once(descs + i * (VTFS_DESC_SIZE / 2) + 7));
}

/* The driver said where it awaits the next used element (virtio 1.4, 2.8.10).
 * One that is there already was not looked at yet. A driver that has not said
 * so, with a ring whose end was never written, has not been answered yet: its
 * own word of where the ring begins holds. */
static int packed_place(const struct vduse_device *d,
			struct vtfs_queue_setup *q)
{
	const uint64_t len = (uint64_t)q->num * VTFS_DESC_SIZE;
	const uint16_t *descs = at(d, q->desc, len);
	const uint16_t *wants = at(d, q->driver, 4);
	uint16_t place, idx, f;

	if (!(d->status.features & VIRTIOFS_F_EVENT_IDX) || !wants || !descs)
		return -EFAULT;
	place = le16toh(vtfs_load_once(wants));
	idx = place & 0x7fff;
	if (idx >= q->num)
		return -EFAULT;
	if (!place && !flags_of(descs, q->num - 1))
		return 0;
	f = flags_of(descs, idx);
	if (!!(f & VTFS_PACKED_F_USED) == place >> 15 &&
	    !!(f & VTFS_PACKED_F_AVAIL) == place >> 15)
		return -EAGAIN;
	q->avail_base = q->used_base = place;
	return 0;
}

static int split_place(const struct vduse_device *d, struct vtfs_queue_setup *q)
{
	const uint16_t *used = at(d, q->device, 4);

	if (!used)
		return -EFAULT;
	q->avail_base = le16toh(vtfs_load_once(used + 1));
	return 0;
}

static int find_place(const struct vduse_device *d, struct vtfs_queue_setup *q)
{
	int r = packed(d) ? packed_place(d, q) : split_place(d, q);

	if (r == -EFAULT)
		return vtfs_fail(r, "where it was is not to be known");
	return r;
}

/* ---- start ---- */

static int get_info(const struct vduse_device *d, unsigned vq,
		    struct vduse_vq_info *ret)
{
	*ret = (struct vduse_vq_info){.index = vq};
	if (ioctl(d->dev, VDUSE_VQ_GET_INFO, ret) < 0)
		return vtfs_fail_sys(-errno, "VDUSE_VQ_GET_INFO");
	return 0;
}

static int map_ring(struct vduse_device *d, const struct vtfs_queue_setup *q)
{
	const unsigned rw = VTFS_MAP_READ | VTFS_MAP_WRITE;
	struct vtfs_vq_areas a;
	int r;

	if (q->num > d->sink->ops->queue_max(d->sink))
		return vtfs_fail(-EINVAL, "%u entries", q->num);
	r = vtfs_vq_areas(&a, vtfs_features_vq_flags(d->status.features),
			  q->num);
	if (r < 0)
		return vtfs_fail(r, "%u entries", q->num);
	if (q->desc % a.desc_align || q->driver % a.driver_align ||
	    q->device % a.device_align)
		return vtfs_fail(-EINVAL, "it is not aligned");
	r = vtfs_vduse_mem_find(d, q->desc, a.desc_len,
				packed(d) ? rw : VTFS_MAP_READ);
	if (r >= 0)
		r = vtfs_vduse_mem_find(d, q->driver, a.driver_len,
					VTFS_MAP_READ);
	if (r >= 0)
		r = vtfs_vduse_mem_find(d, q->device, a.device_len, rw);
	return r;
}

static int set_kick(const struct vduse_device *d, unsigned vq)
{
	struct vduse_vq_eventfd e = {.index = vq, .fd = d->vqs[vq].kick};

	if (ioctl(d->dev, VDUSE_VQ_SETUP_KICKFD, &e) < 0)
		return vtfs_fail_sys(-errno, "VDUSE_VQ_SETUP_KICKFD");
	return 0;
}

/* 1 its ring is mapped; 0 the driver has no use for it; -EAGAIN: look again. */
static int prepare(struct vduse_device *d, unsigned vq,
		   struct vtfs_queue_setup *q)
{
	const struct vduse_vq *v = &d->vqs[vq];
	struct vduse_vq_info info;
	int r = get_info(d, vq, &info);

	if (r < 0 || !info.ready)
		return r;
	*q = (struct vtfs_queue_setup){.vq = (uint16_t)vq,
				       .num = info.num,
				       .desc = info.desc_addr,
				       .driver = info.driver_addr,
				       .device = info.device_addr,
				       .kick_fd = v->kick,
				       .call_fd = d->dev,
				       .call_ioctl = VDUSE_VQ_INJECT_IRQ,
				       .enabled = true};
	first_state(d, &info, q);
	r = map_ring(d, q);
	if (!packed(d))
		q->record = vtfs_vduse_record_of(d, q,
						 d->resumed || v->stopped);
	if (r >= 0 && d->resumed && !v->stopped)
		r = find_place(d, q);
	if (r >= 0 && v->stopped) {
		q->avail_base = v->avail;
		q->used_base = v->used;
	}
	return r < 0 ? r : 1;
}

static int start(struct vduse_device *d, const struct vtfs_queue_setup *q)
{
	int r = set_kick(d, q->vq);

	if (r >= 0)
		r = d->sink->ops->start(d->sink, q);
	if (r >= 0)
		d->vqs[q->vq].running = true;
	return r;
}

static void say_dead(struct vduse_device *d, unsigned vq)
{
	d->vqs[vq].dead = true;
	vtfs_log(d->sink->log, LOG_WARNING,
		 "%s: queue %u is not served until the driver resets the "
		 "device: %s",
		 d->base.name, vq, virtiofs_last_error());
}

/* Prepared ones begin, now that the session knows of their memory. */
static void start_all(struct vduse_device *d, const struct vtfs_queue_setup *q,
		      unsigned cnt)
{
	int r = vtfs_vduse_mem_publish(d);

	for (unsigned i = 0; i < cnt; i++) {
		if (r >= 0)
			r = start(d, &q[i]);
		if (r < 0)
			say_dead(d, q[i].vq);
		r = r == -ENOMEM ? r : 0;
	}
}

/* The kernel takes interrupts from the moment at which it has set DRIVER_OK.
 * One too many does no harm, and makes a driver look at what it was not told
 * of before. */
static bool takes_interrupts(const struct vduse_device *d)
{
	bool all = true;

	for (uint32_t i = 0; i < d->vq_cnt; i++)
		all &= ioctl(d->dev, VDUSE_VQ_INJECT_IRQ, &i) == 0;
	return all;
}

bool vtfs_vduse_vqs_start(struct vduse_device *d)
{
	struct vtfs_queue_setup q[VDUSE_START_MAX];
	unsigned cnt = 0;
	bool more = false;

	if (!vtfs_vduse_mem_settled(d) || !takes_interrupts(d))
		return false;
	for (unsigned i = 0; i < d->vq_cnt; i++) {
		int r = 0;

		if (cnt == VDUSE_START_MAX) {
			more = true;
			break;
		}
		if (!d->vqs[i].running && !d->vqs[i].dead)
			r = prepare(d, i, &q[cnt]);
		if (r > 0)
			cnt++;
		else if (r == -EAGAIN)
			more = true;
		else if (r < 0)
			say_dead(d, i);
	}
	start_all(d, q, cnt);
	return !more;
}

void vtfs_vduse_vq_restart(struct vduse_device *d, unsigned vq)
{
	struct vtfs_queue_setup q;
	int r = prepare(d, vq, &q);

	if (r > 0)
		start_all(d, &q, 1);
	else if (r < 0)
		say_dead(d, vq);
}
