/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packed ring, driver half. (virtio 1.4, 2.8)
 *
 * next walks over the slots that add fills, used follows over those that the
 * device gives back; what lies between belongs to the device. A buffer id is
 * free or names a chain in flight, and slots says which; how many slots a
 * chain took, and so how far used goes on, is known from there alone.
 */
#include "vq/impl.h"

#include <endian.h>

#include "base/error.h"
#include "base/shared.h"
#include "vq/notify.h"

#define BOTH_FLAGS (VTFS_PACKED_F_AVAIL | VTFS_PACKED_F_USED)

void vtfs_packed_drv_start(struct vtfs_vq *vq)
{
	struct vtfs_vq_drv *drv = &vq->drv;

	drv->wrap = true;
	drv->from_wrap = true;
	drv->used_wrap = true;
	drv->avail_flags = VTFS_PACKED_F_AVAIL;
	drv->notify = vtfs_packed_event(VTFS_PACKED_EVENT_ENABLE, 0);
}

/* The slot at next is filled; go on. */
static inline void step(struct vtfs_vq *vq)
{
	struct vtfs_vq_drv *drv = &vq->drv;

	drv->staged++;
	if (vtfs_unlikely(++drv->next == vq->num)) {
		drv->next = 0;
		drv->wrap = !drv->wrap;
		drv->avail_flags ^= BOTH_FLAGS;
	}
}

static inline void store_desc(struct vtfs_wire_packed_desc *d, uint64_t addr,
			      uint32_t len, uint16_t id)
{
	vtfs_store_once(&d->addr, htole64(addr));
	vtfs_store_once(&d->len, htole32(len));
	vtfs_store_once(&d->id, htole16(id));
}

/*
 * A head, after the rest of its list. That of a batch's first waits for
 * publish: the device takes slots in order, so it keeps back all that follows;
 * and a device that polls it doesn't take the cache line away between two of
 * our stores. The others have a release of their own, for devices that look
 * ahead.
 */
static inline void store_head(struct vtfs_vq *vq, uint16_t at,
			      const struct vtfs_drv_first *head)
{
	struct vtfs_wire_packed_desc *ring = vq->desc;

	if (at == vq->drv.from) {
		vq->drv.first = *head;
		return;
	}
	store_desc(&ring[at], head->addr, head->len, head->id);
	vtfs_store_release(&ring[at].flags, htole16(head->flags));
}

/* Flags of the i-th buffer of a list, but for what makes it available. */
static inline uint32_t buf_flags(const struct vtfs_drv_chain *c, unsigned i)
{
	uint32_t flags = i < c->readable_cnt ? 0 : VTFS_DESC_F_WRITE;

	return i + 1 < c->cnt ? flags | VTFS_DESC_F_NEXT : flags;
}

static void add_direct(struct vtfs_vq *vq, const struct vtfs_drv_chain *c,
		       uint16_t id)
{
	struct vtfs_wire_packed_desc *ring = vq->desc;
	struct vtfs_vq_drv *drv = &vq->drv;
	uint16_t at = drv->next;
	struct vtfs_drv_first head = {
	    .addr = c->bufs[0].addr,
	    .len = c->bufs[0].len,
	    .id = id,
	    .flags = (uint16_t)(buf_flags(c, 0) | drv->avail_flags),
	};

	step(vq);
	for (unsigned i = 1; i < c->cnt; i++) {
		struct vtfs_wire_packed_desc *d = &ring[drv->next];
		uint32_t flags = buf_flags(c, i) | drv->avail_flags;

		store_desc(d, c->bufs[i].addr, c->bufs[i].len, id);
		vtfs_store_once(&d->flags, htole16((uint16_t)flags));
		step(vq);
	}
	store_head(vq, at, &head);
}

/* The table of a buffer id is its own: it is free when the id is. In it WRITE
 * alone means something, and the order is that of the entries. (2.8.7) */
static void add_indirect(struct vtfs_vq *vq, const struct vtfs_drv_chain *c,
			 uint16_t id)
{
	struct vtfs_vq_drv *drv = &vq->drv;
	size_t offset = (size_t)id * drv->indirect_max * VTFS_DESC_SIZE;
	struct vtfs_wire_packed_desc *table = (void *)(drv->indirect + offset);
	uint16_t at = drv->next;
	struct vtfs_drv_first head = {
	    .addr = drv->indirect_peer_addr + offset,
	    .len = c->cnt * VTFS_DESC_SIZE,
	    .id = id,
	    .flags = VTFS_DESC_F_INDIRECT | drv->avail_flags,
	};

	for (unsigned i = 0; i < c->cnt; i++) {
		uint32_t f = i < c->readable_cnt ? 0 : VTFS_DESC_F_WRITE;

		vtfs_store_once(&table[i].addr, htole64(c->bufs[i].addr));
		vtfs_store_once(&table[i].len, htole32(c->bufs[i].len));
		vtfs_store_once(&table[i].id, 0);
		vtfs_store_once(&table[i].flags, htole16((uint16_t)f));
	}
	step(vq);
	store_head(vq, at, &head);
}

void vtfs_packed_drv_add(struct vtfs_vq *vq, const struct vtfs_drv_chain *c)
{
	struct vtfs_vq_drv *drv = &vq->drv;
	uint16_t id = drv->free_head;
	struct vtfs_drv_slot *slot = &drv->slots[id];

	drv->free_head = slot->next;
	slot->cnt = c->indirect ? 1 : (uint16_t)c->cnt;
	slot->room = c->room;
	slot->token = c->token;
	slot->batch = drv->published;
	slot->last = id;
	drv->free_cnt -= slot->cnt;
	if (c->indirect)
		add_indirect(vq, c, id);
	else
		add_direct(vq, c, id);
}

int vtfs_packed_drv_publish(struct vtfs_vq *vq)
{
	struct vtfs_wire_packed_desc *ring = vq->desc;
	struct vtfs_vq_drv *drv = &vq->drv;
	struct vtfs_wire_packed_desc *d = &ring[drv->from];
	uint16_t from = vtfs_packed_pos(drv->from, drv->from_wrap);
	uint32_t event;
	bool wanted;

	/* All of the batch, its tables and readable buffers, before the flags
	 * of its first; pairs with the device's acquire of flags. (2.8.21) */
	store_desc(d, drv->first.addr, drv->first.len, drv->first.id);
	vtfs_store_release(&d->flags, htole16(drv->first.flags));
	/* The store of flags before the load of the device's event word; the
	 * device, in arm, stores that, fences, and then loads flags. */
	vtfs_fence_full();
	event = vtfs_load_once((const uint32_t *)vq->device);
	wanted = vtfs_notify_packed(event, vtfs_vq_event(vq), from, drv->staged,
				    vq->num);
	drv->staged = 0;
	drv->published++;
	drv->from = drv->next;
	drv->from_wrap = drv->wrap;
	return wanted;
}

/* Give the id and the slots of its chain back. */
static void release_id(struct vtfs_vq *vq, uint16_t id)
{
	struct vtfs_vq_drv *drv = &vq->drv;
	struct vtfs_drv_slot *slot = &drv->slots[id];
	uint32_t used = (uint32_t)drv->used + slot->cnt;

	if (used >= vq->num) {
		used -= vq->num;
		drv->used_wrap = !drv->used_wrap;
	}
	drv->used = (uint16_t)used;
	drv->free_cnt += slot->cnt;
	slot->cnt = 0;
	if (vtfs_vq_in_order(vq))
		return;
	slot->next = drv->free_head;
	drv->free_head = id;
}

static uint16_t load_flags(const struct vtfs_vq *vq)
{
	const struct vtfs_wire_packed_desc *ring = vq->desc;

	/* Pairs with the device's release of flags: id and len, and what was
	 * written into the buffers, are loaded after this. */
	return le16toh(vtfs_load_acquire(&ring[vq->drv.used].flags));
}

/* 1, 0 none, -EPROTO. */
static inline int load_used(struct vtfs_vq *vq, uint16_t *ret_id,
			    uint32_t *ret_len)
{
	const struct vtfs_wire_packed_desc *ring = vq->desc;
	const struct vtfs_wire_packed_desc *d = &ring[vq->drv.used];
	uint16_t flags = load_flags(vq);
	uint32_t len = 0;
	uint16_t id;
	int r;

	if (!vtfs_packed_is_used(flags, vq->drv.used_wrap))
		return 0;
	id = le16toh(vtfs_load_once(&d->id));
	if (flags & VTFS_DESC_F_WRITE)
		len = le32toh(vtfs_load_once(&d->len));
	r = vtfs_drv_check_used(vq, id, len);
	if (vtfs_vq_in_order(vq) && r >= 0)
		r = vtfs_order_used(vq, id, len, vq->num);
	*ret_id = id;
	*ret_len = len;
	return r < 0 ? r : 1;
}

int vtfs_packed_drv_get(struct vtfs_vq *vq, uint16_t *ret_token,
			uint32_t *ret_len)
{
	uint32_t len = 0;
	uint16_t id = 0;
	int r = 1;

	if (vtfs_likely(!vq->drv.batch))
		r = load_used(vq, &id, &len);
	if (vtfs_unlikely(r < 0))
		vq->drv.broken = true;
	if (r <= 0)
		return r;
	if (vtfs_vq_in_order(vq))
		id = vtfs_order_next(vq, &len);
	*ret_token = vq->drv.slots[id].token;
	*ret_len = len;
	release_id(vq, id);
	return 1;
}

static void store_event(struct vtfs_vq *vq, uint32_t word)
{
	if (vq->drv.notify == word)
		return;
	vq->drv.notify = word;
	vtfs_store_once((uint32_t *)vq->driver, word);
}

void vtfs_packed_drv_disarm(struct vtfs_vq *vq)
{
	store_event(vq, vtfs_packed_event(VTFS_PACKED_EVENT_DISABLE, 0));
}

int vtfs_packed_drv_arm(struct vtfs_vq *vq)
{
	struct vtfs_vq_drv *drv = &vq->drv;
	uint32_t word = vtfs_packed_event(VTFS_PACKED_EVENT_ENABLE, 0);

	if (drv->batch)
		return 1;
	if (vtfs_vq_event(vq))
		word = vtfs_packed_event(
		    VTFS_PACKED_EVENT_DESC,
		    vtfs_packed_pos(drv->used, drv->used_wrap));
	store_event(vq, word);
	/* The store of the event word before the load of flags; the device
	 * stores flags, fences, and then loads the event word (packed_dev.c,
	 * publish). */
	vtfs_fence_full();
	return vtfs_packed_is_used(load_flags(vq), drv->used_wrap);
}
