/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vq/vq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "wire/ring.h"
#include "vq/chain.h"
#include "vq/impl.h"
#include "vq/notify.h"

int vtfs_vq_areas(struct vtfs_vq_areas *ret, uint32_t flags, uint32_t num)
{
	bool packed = flags & VTFS_VQ_PACKED;
	size_t n = num;

	if (!num || num > VTFS_VQ_NUM_MAX || (!packed && !vtfs_is_pow2(num)))
		return vtfs_fail(-EINVAL, "queue size %u: %s", num,
				 packed ? "not 1 to 32768"
					: "no power of two from 1 to 32768");
	ret->desc_len = VTFS_DESC_SIZE * n;
	ret->desc_align = VTFS_DESC_ALIGN;
	if (packed) {
		ret->driver_len = sizeof(struct vtfs_wire_packed_event);
		ret->device_len = sizeof(struct vtfs_wire_packed_event);
		ret->driver_align = VTFS_PACKED_EVENT_ALIGN;
		ret->device_align = VTFS_PACKED_EVENT_ALIGN;
		return 0;
	}
	/* flags, idx, the ring, and one event index. */
	ret->driver_len = 6 + sizeof(uint16_t) * n;
	ret->device_len = 6 + sizeof(struct vtfs_wire_used_elem) * n;
	ret->driver_align = VTFS_AVAIL_ALIGN;
	ret->device_align = VTFS_USED_ALIGN;
	return 0;
}

static bool misaligned(const void *p, size_t align)
{
	return !p || (uintptr_t)p % align;
}

static int check_areas(const struct vtfs_vq_conf *conf,
		       struct vtfs_vq_areas *ret)
{
	int r = vtfs_vq_areas(ret, conf->flags, conf->num);

	if (r < 0)
		return r;
	if (misaligned(conf->desc, ret->desc_align))
		return vtfs_fail(-EINVAL, "descriptor area: not aligned to %zu",
				 ret->desc_align);
	if (misaligned(conf->driver, ret->driver_align))
		return vtfs_fail(-EINVAL, "driver area: not aligned to %zu",
				 ret->driver_align);
	if (misaligned(conf->device, ret->device_align))
		return vtfs_fail(-EINVAL, "device area: not aligned to %zu",
				 ret->device_align);
	return 0;
}

/* Both halves: cleared, with the fields that never change. */
static struct vtfs_vq *alloc_vq(const struct vtfs_vq_conf *conf)
{
	struct vtfs_vq *vq;

	vq = aligned_alloc(VTFS_CACHELINE, sizeof(*vq));
	if (!vq)
		return NULL;
	memset(vq, 0, sizeof(*vq));
	vq->flags = conf->flags;
	vq->num = conf->num;
	vq->desc = conf->desc;
	vq->driver = conf->driver;
	vq->device = conf->device;
	return vq;
}

/* ---- device half ---- */

static int check_packed_base(const struct vtfs_vq_conf *conf, uint16_t base)
{
	if ((uint32_t)(base & ~VTFS_PACKED_WRAP) < conf->num)
		return 0;
	return vtfs_fail(-EINVAL, "vring base 0x%x: the ring has %u slots",
			 base, conf->num);
}

static int check_dev(const struct vtfs_vq_conf *conf)
{
	struct vtfs_vq_areas areas;
	int r = check_areas(conf, &areas);

	if (r < 0)
		return r;
	if (!conf->max_parts)
		return vtfs_fail(-EINVAL, "queue: max_parts is 0");
	if (!(conf->flags & VTFS_VQ_PACKED))
		return 0;
	r = check_packed_base(conf, conf->avail_base);
	if (r < 0)
		return r;
	return check_packed_base(conf, conf->used_base);
}

static bool alloc_order(struct vtfs_vq *vq)
{
	if (!vtfs_vq_in_order(vq))
		return true;
	vq->dev.order = calloc(vq->num, sizeof(vq->dev.order[0]));
	vq->dev.late = calloc(vq->num, sizeof(vq->dev.late[0]));
	return vq->dev.order && vq->dev.late;
}

int vtfs_vq_dev_new(struct vtfs_vq **ret, const struct vtfs_vq_conf *conf)
{
	struct vtfs_parts *parts;
	struct vtfs_vq *vq;
	int r = check_dev(conf);

	if (r < 0)
		return r;
	vq = alloc_vq(conf);
	if (!vq)
		return vtfs_fail(-ENOMEM, "queue: no memory");
	parts = &vq->dev.take.parts;
	parts->max = conf->max_parts;
	parts->iov = calloc(conf->max_parts, sizeof(parts->iov[0]));
	if (conf->flags & VTFS_VQ_IOMMU)
		parts->at = calloc(conf->max_parts, sizeof(parts->at[0]));
	if (!vtfs_vq_packed(vq) && !vtfs_vq_in_order(vq))
		vq->dev.record = conf->record;
	if (vq->dev.record)
		vq->dev.held = vq->dev.record->held;
	else
		vq->dev.held = calloc(conf->num, sizeof(vq->dev.held[0]));
	if (!parts->iov || (conf->flags & VTFS_VQ_IOMMU && !parts->at) ||
	    !vq->dev.held || !alloc_order(vq)) {
		vtfs_vq_dev_free(vq);
		return vtfs_fail(-ENOMEM, "queue: no memory");
	}
	if (vtfs_vq_packed(vq))
		vtfs_packed_dev_start(vq, conf);
	else
		vtfs_split_dev_start(vq, conf);
	*ret = vq;
	return 0;
}

void vtfs_vq_dev_free(struct vtfs_vq *vq)
{
	if (!vq)
		return;
	free(vq->dev.take.parts.iov);
	free(vq->dev.take.parts.at);
	if (!vq->dev.record)
		free(vq->dev.held);
	free(vq->dev.order);
	free(vq->dev.late);
	free(vq);
}

void vtfs_vq_dev_move(struct vtfs_vq *vq, void *desc, void *driver,
		      void *device)
{
	vq->desc = desc;
	vq->driver = driver;
	vq->device = device;
}

int vtfs_vq_dev_pop(struct vtfs_vq *vq, const struct vtfs_table *mem,
		    struct vtfs_chain *chain)
{
	int r;

	if (vtfs_vq_packed(vq))
		r = vtfs_packed_dev_pop(vq, mem, chain);
	else
		r = vtfs_split_dev_pop(vq, mem, chain);
	if (vtfs_unlikely(vq->dev.order) && r > 0)
		vtfs_order_note(vq, chain->id);
	return r;
}

int vtfs_vq_dev_later(struct vtfs_vq *vq, const struct vtfs_table *mem,
		      const struct vtfs_late_chain *late,
		      struct vtfs_chain *chain)
{
	int r = vtfs_chain_later(vq, mem, late, chain);

	if (r < 0)
		vq->dev.take.broken = true;
	return r;
}

static inline void give_back(struct vtfs_vq *vq, uint16_t id, uint32_t len)
{
	uint16_t ring_cnt;

	if (vtfs_vq_packed(vq)) {
		ring_cnt = vtfs_load_once(&vq->dev.held[id]);
		vtfs_store_once(&vq->dev.held[id], 0);
		vtfs_packed_dev_push(vq, id, ring_cnt, len);
		return;
	}
	vtfs_split_dev_push(vq, id, len);
	/* After the element and the record of it; before publish. */
	vtfs_store_release(&vq->dev.held[id], 0);
}

void vtfs_vq_dev_push(struct vtfs_vq *vq, uint16_t id, uint16_t ring_cnt,
		      uint32_t len)
{
	assert(id < vq->num);
	/* What is not in flight, or not that chain, never reaches the driver:
	 * it would free memory that is in use by then. */
	if (vtfs_unlikely(!ring_cnt ||
			  vtfs_load_once(&vq->dev.held[id]) != ring_cnt))
		return;
	if (!vtfs_unlikely(vq->dev.order)) {
		give_back(vq, id, len);
		return;
	}
	vtfs_order_push(vq, id, len);
	while (vtfs_order_turn(vq, &id, &len))
		give_back(vq, id, len);
}

int vtfs_vq_dev_publish(struct vtfs_vq *vq)
{
	if (vtfs_vq_packed(vq))
		return vtfs_packed_dev_publish(vq);
	return vtfs_split_dev_publish(vq);
}

void vtfs_vq_dev_disarm(struct vtfs_vq *vq)
{
	if (vtfs_vq_packed(vq))
		vtfs_packed_dev_disarm(vq);
	else
		vtfs_split_dev_disarm(vq);
}

int vtfs_vq_dev_arm(struct vtfs_vq *vq)
{
	if (vtfs_vq_packed(vq))
		return vtfs_packed_dev_arm(vq);
	return vtfs_split_dev_arm(vq);
}

unsigned vtfs_vq_dev_inflight(const struct vtfs_vq *vq)
{
	uint16_t taken = vtfs_load_once(&vq->dev.take.cnt);

	return (uint16_t)(taken - vtfs_load_once(&vq->dev.give.cnt));
}

static uint16_t base(const struct vtfs_vq *vq, uint16_t next, bool wrap)
{
	if (vtfs_vq_packed(vq))
		return vtfs_packed_pos(next, wrap);
	return next;
}

void vtfs_vq_dev_bases(const struct vtfs_vq *vq, uint16_t *ret_avail,
		       uint16_t *ret_used)
{
	*ret_avail = base(vq, vq->dev.take.next, vq->dev.take.wrap);
	*ret_used = base(vq, vq->dev.give.next, vq->dev.give.wrap);
}

/* ---- driver half ---- */

static int check_drv(const struct vtfs_vq_conf *conf,
		     struct vtfs_vq_areas *areas)
{
	int r = check_areas(conf, areas);

	if (r < 0 || !(conf->flags & VTFS_VQ_INDIRECT))
		return r;
	if (misaligned(conf->indirect, VTFS_DESC_ALIGN))
		return vtfs_fail(-EINVAL, "indirect tables: not aligned");
	if (!conf->indirect_max || conf->indirect_max > VTFS_VQ_NUM_MAX)
		return vtfs_fail(-EINVAL, "indirect tables of %u descriptors",
				 conf->indirect_max);
	return 0;
}

static void start_drv(struct vtfs_vq *vq, const struct vtfs_vq_conf *conf)
{
	struct vtfs_vq_drv *drv = &vq->drv;

	drv->free_cnt = vq->num;
	drv->indirect = conf->indirect;
	drv->indirect_peer_addr = conf->indirect_peer_addr;
	drv->indirect_max = conf->indirect_max;
	for (uint32_t i = 0; i < vq->num; i++)
		drv->slots[i].next = (uint16_t)((i + 1) % vq->num);
	if (vtfs_vq_packed(vq))
		vtfs_packed_drv_start(vq);
}

int vtfs_vq_drv_new(struct vtfs_vq **ret, const struct vtfs_vq_conf *conf)
{
	struct vtfs_vq_areas areas;
	struct vtfs_vq *vq;
	int r = check_drv(conf, &areas);

	if (r < 0)
		return r;
	vq = alloc_vq(conf);
	if (!vq)
		return vtfs_fail(-ENOMEM, "queue: no memory");
	vq->drv.slots = calloc(conf->num, sizeof(vq->drv.slots[0]));
	if (!vq->drv.slots) {
		vtfs_vq_drv_free(vq);
		return vtfs_fail(-ENOMEM, "queue: no memory");
	}
	memset(conf->desc, 0, areas.desc_len);
	memset(conf->driver, 0, areas.driver_len);
	memset(conf->device, 0, areas.device_len);
	start_drv(vq, conf);
	*ret = vq;
	return 0;
}

void vtfs_vq_drv_free(struct vtfs_vq *vq)
{
	if (!vq)
		return;
	free(vq->drv.slots);
	free(vq);
}

/* Fill in what the layouts need to know, or say why the chain can't be. */
static int judge(const struct vtfs_vq *vq, struct vtfs_drv_chain *c)
{
	const struct vtfs_vq_drv *drv = &vq->drv;
	uint64_t total = 0;
	uint64_t room = 0;

	if (vtfs_unlikely(!c->cnt))
		return vtfs_fail(-EINVAL, "chain: without a buffer");
	for (unsigned i = 0; i < c->cnt; i++) {
		if (vtfs_unlikely(!c->bufs[i].len))
			return vtfs_fail(-EINVAL, "chain: buffer of 0 bytes");
		total += c->bufs[i].len;
		if (i >= c->readable_cnt)
			room += c->bufs[i].len;
	}
	/* Virtio 1.4, 2.7.5; and a used length has 32 bits. */
	if (vtfs_unlikely(total > UINT32_MAX))
		return vtfs_fail(-E2BIG, "chain: 4 GiB or more");
	c->room = (uint32_t)room;
	c->indirect = c->cnt > 1 && (vq->flags & VTFS_VQ_INDIRECT) &&
		      c->cnt <= drv->indirect_max;
	/* 2.7.5.3: a split chain is no longer than the ring, even so. */
	if (vtfs_unlikely(c->cnt > vq->num) &&
	    !(c->indirect && vtfs_vq_packed(vq)))
		return vtfs_fail(-E2BIG, "chain: %u parts in a ring of %u",
				 c->cnt, vq->num);
	return 0;
}

int vtfs_vq_drv_add(struct vtfs_vq *vq, const struct vtfs_vq_buf *bufs,
		    unsigned readable_cnt, unsigned writable_cnt,
		    uint16_t token)
{
	struct vtfs_drv_chain c = {
	    .bufs = bufs,
	    .readable_cnt = readable_cnt,
	    .cnt = readable_cnt + writable_cnt,
	    .token = token,
	};
	int r;

	if (vtfs_unlikely(vq->drv.broken))
		return -EPROTO;
	r = judge(vq, &c);
	if (vtfs_unlikely(r < 0))
		return r;
	if ((c.indirect ? 1 : c.cnt) > vq->drv.free_cnt)
		return -ENOSPC;
	if (vtfs_vq_packed(vq))
		vtfs_packed_drv_add(vq, &c);
	else
		vtfs_split_drv_add(vq, &c);
	return 0;
}

int vtfs_vq_drv_publish(struct vtfs_vq *vq)
{
	if (!vq->drv.staged || vq->drv.broken)
		return 0;
	if (vtfs_vq_packed(vq))
		return vtfs_packed_drv_publish(vq);
	return vtfs_split_drv_publish(vq);
}

int vtfs_vq_drv_get(struct vtfs_vq *vq, uint16_t *ret_token, uint32_t *ret_len)
{
	if (vtfs_unlikely(vq->drv.broken))
		return -EPROTO;
	if (vtfs_vq_packed(vq))
		return vtfs_packed_drv_get(vq, ret_token, ret_len);
	return vtfs_split_drv_get(vq, ret_token, ret_len);
}

int vtfs_drv_check_used(const struct vtfs_vq *vq, uint32_t id, uint32_t len)
{
	const struct vtfs_drv_slot *slot;

	if (vtfs_unlikely(id >= vq->num))
		return vtfs_fail(-EPROTO, "used id %u of %u", id, vq->num);
	slot = &vq->drv.slots[id];
	if (vtfs_unlikely(!slot->cnt))
		return vtfs_fail(-EPROTO, "used id %u is not in flight", id);
	if (vtfs_unlikely(slot->batch == vq->drv.published))
		return vtfs_fail(-EPROTO, "used id %u was not published", id);
	if (vtfs_unlikely(len > slot->room))
		return vtfs_fail(-EPROTO, "used length %u, room for %u", len,
				 slot->room);
	return 0;
}

uint16_t vtfs_vq_drv_pos(const struct vtfs_vq *vq)
{
	return base(vq, vq->drv.from, vq->drv.from_wrap);
}

void vtfs_vq_drv_disarm(struct vtfs_vq *vq)
{
	if (vtfs_vq_packed(vq))
		vtfs_packed_drv_disarm(vq);
	else
		vtfs_split_drv_disarm(vq);
}

int vtfs_vq_drv_arm(struct vtfs_vq *vq)
{
	if (vq->drv.broken)
		return 0;
	if (vtfs_vq_packed(vq))
		return vtfs_packed_drv_arm(vq);
	return vtfs_split_drv_arm(vq);
}

unsigned vtfs_vq_drv_free_cnt(const struct vtfs_vq *vq)
{
	return vq->drv.free_cnt;
}
