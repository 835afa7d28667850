/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Split ring, driver half. (virtio 1.4, 2.7)
 *
 * Writes the descriptor table and the avail ring, reads the used ring. Which
 * descriptors are free, how they are linked and what a chain can hold is known
 * from slots alone; a used element only selects one of them, after checks.
 */
#include "vq/impl.h"

#include <endian.h>

#include "base/error.h"
#include "base/shared.h"
#include "vq/notify.h"

static uint16_t *used_event(const struct vtfs_vq *vq)
{
	struct vtfs_wire_avail *avail = vq->driver;

	return &avail->ring[vq->num];
}

static const uint16_t *avail_event(const struct vtfs_vq *vq)
{
	const struct vtfs_wire_used *used = vq->device;

	return (const uint16_t *)(const void *)&used->ring[vq->num];
}

static inline void store_desc(struct vtfs_wire_desc *d, uint64_t addr,
			      uint32_t len, uint32_t flags, uint32_t next)
{
	vtfs_store_once(&d->addr, htole64(addr));
	vtfs_store_once(&d->len, htole32(len));
	vtfs_store_once(&d->flags, htole16((uint16_t)flags));
	vtfs_store_once(&d->next, htole16((uint16_t)next));
}

/* Flags of the i-th buffer of a chain. */
static inline uint32_t buf_flags(const struct vtfs_drv_chain *c, unsigned i)
{
	uint32_t flags = i < c->readable_cnt ? 0 : VTFS_DESC_F_WRITE;

	return i + 1 < c->cnt ? flags | VTFS_DESC_F_NEXT : flags;
}

/* The table of a head is its own: it is free when the head is. */
static void add_indirect(struct vtfs_vq *vq, const struct vtfs_drv_chain *c,
			 uint16_t head)
{
	struct vtfs_vq_drv *drv = &vq->drv;
	size_t offset = (size_t)head * drv->indirect_max * VTFS_DESC_SIZE;
	struct vtfs_wire_desc *table = (void *)(drv->indirect + offset);
	struct vtfs_wire_desc *ring = vq->desc;

	for (unsigned i = 0; i < c->cnt; i++)
		store_desc(&table[i], c->bufs[i].addr, c->bufs[i].len,
			   buf_flags(c, i), i + 1 < c->cnt ? i + 1 : 0);
	store_desc(&ring[head], drv->indirect_peer_addr + offset,
		   c->cnt * VTFS_DESC_SIZE, VTFS_DESC_F_INDIRECT, 0);
}

/* Returns the last descriptor. */
static uint16_t add_direct(struct vtfs_vq *vq, const struct vtfs_drv_chain *c,
			   uint16_t head)
{
	const struct vtfs_drv_slot *slots = vq->drv.slots;
	struct vtfs_wire_desc *ring = vq->desc;
	uint16_t last = head;
	uint16_t at = head;

	for (unsigned i = 0; i < c->cnt; i++) {
		last = at;
		at = slots[last].next;
		store_desc(&ring[last], c->bufs[i].addr, c->bufs[i].len,
			   buf_flags(c, i), i + 1 < c->cnt ? at : 0);
	}
	return last;
}

void vtfs_split_drv_add(struct vtfs_vq *vq, const struct vtfs_drv_chain *c)
{
	struct vtfs_wire_avail *avail = vq->driver;
	struct vtfs_vq_drv *drv = &vq->drv;
	uint16_t head = drv->free_head;
	struct vtfs_drv_slot *slot = &drv->slots[head];

	slot->last = head;
	slot->cnt = 1;
	if (c->indirect) {
		add_indirect(vq, c, head);
	} else {
		slot->last = add_direct(vq, c, head);
		slot->cnt = (uint16_t)c->cnt;
	}
	slot->room = c->room;
	slot->token = c->token;
	slot->batch = drv->published;
	drv->free_head = drv->slots[slot->last].next;
	drv->free_cnt -= slot->cnt;
	vtfs_store_once(&avail->ring[drv->next & (vq->num - 1)], htole16(head));
	drv->next++;
	drv->staged++;
}

/* Does the device want to hear of the chains since from? */
static bool device_waits(const struct vtfs_vq *vq)
{
	const struct vtfs_wire_used *used = vq->device;
	uint16_t event;

	if (!vtfs_vq_event(vq))
		return !(le16toh(vtfs_load_once(&used->flags)) &
			 VTFS_USED_F_NO_NOTIFY);
	event = le16toh(vtfs_load_once(avail_event(vq)));
	return vtfs_notify_crossed(event, vq->drv.from, vq->drv.next);
}

int vtfs_split_drv_publish(struct vtfs_vq *vq)
{
	struct vtfs_wire_avail *avail = vq->driver;
	struct vtfs_vq_drv *drv = &vq->drv;
	int wanted;

	/* The descriptors, the ring's entries and the readable buffers before
	 * idx; pairs with the device's acquire of idx. (2.7.13.3) */
	vtfs_store_release(&avail->idx, htole16(drv->next));
	/* The store of idx before the load of the device's flags or event; the
	 * device, in arm, stores those, fences, and then loads idx. */
	vtfs_fence_full();
	wanted = device_waits(vq);
	drv->from = drv->next;
	drv->staged = 0;
	drv->published++;
	return wanted;
}

static int broken(struct vtfs_vq *vq)
{
	vq->drv.broken = true;
	return -EPROTO;
}

/* Look for elements that were used since. 1, 0 or -EPROTO. */
static int refill(struct vtfs_vq *vq)
{
	const struct vtfs_wire_used *used = vq->device;
	struct vtfs_vq_drv *drv = &vq->drv;
	uint16_t idx;

	/* Pairs with the device's release of idx: the elements up to idx and
	 * what they returned are loaded after this. (2.7.14) */
	idx = le16toh(vtfs_load_acquire(&used->idx));
	if (idx == drv->used)
		return 0;
	/* No more can be used than was published, and is not back yet. */
	if (vtfs_unlikely((uint16_t)(idx - drv->used) >
			  (uint16_t)(drv->from - drv->used))) {
		vtfs_fail(-EPROTO,
			  "used index jumps from %u to %u, %u in "
			  "flight",
			  drv->used, idx, (uint16_t)(drv->from - drv->used));
		return broken(vq);
	}
	drv->seen = idx;
	return 1;
}

static inline int load_elem(struct vtfs_vq *vq, uint32_t *ret_id,
			    uint32_t *ret_len)
{
	const struct vtfs_wire_used *used = vq->device;
	const struct vtfs_vq_drv *drv = &vq->drv;
	const struct vtfs_wire_used_elem *elem;
	uint32_t id, len;
	int r;

	elem = &used->ring[drv->used & (vq->num - 1)];
	id = le32toh(vtfs_load_once(&elem->id));
	len = le32toh(vtfs_load_once(&elem->len));
	r = vtfs_drv_check_used(vq, id, len);
	if (vtfs_vq_in_order(vq) && r >= 0)
		r = vtfs_order_used(vq, (uint16_t)id, len,
				    (uint16_t)(drv->seen - drv->used));
	*ret_id = id;
	*ret_len = len;
	return r;
}

int vtfs_split_drv_get(struct vtfs_vq *vq, uint16_t *ret_token,
		       uint32_t *ret_len)
{
	struct vtfs_vq_drv *drv = &vq->drv;
	struct vtfs_drv_slot *slot;
	uint32_t id = 0, len = 0;
	int r = 0;

	if (drv->used == drv->seen) {
		r = refill(vq);
		if (r <= 0)
			return r;
	}
	if (vtfs_likely(!drv->batch))
		r = load_elem(vq, &id, &len);
	if (vtfs_unlikely(r < 0))
		return broken(vq);
	if (vtfs_vq_in_order(vq))
		id = vtfs_order_next(vq, &len);
	slot = &drv->slots[id];
	if (!vtfs_vq_in_order(vq)) {
		drv->slots[slot->last].next = drv->free_head;
		drv->free_head = (uint16_t)id;
	}
	drv->free_cnt += slot->cnt;
	slot->cnt = 0;
	drv->used++;
	*ret_token = slot->token;
	*ret_len = len;
	return 1;
}

void vtfs_split_drv_disarm(struct vtfs_vq *vq)
{
	struct vtfs_wire_avail *avail = vq->driver;
	struct vtfs_vq_drv *drv = &vq->drv;

	/* With EVENT_IDX the index that arm asked for falls behind by itself,
	 * and flags stays 0. (2.7.7) */
	if (vtfs_vq_event(vq) || drv->notify == VTFS_AVAIL_F_NO_INTERRUPT)
		return;
	drv->notify = VTFS_AVAIL_F_NO_INTERRUPT;
	vtfs_store_once(&avail->flags, htole16(VTFS_AVAIL_F_NO_INTERRUPT));
}

static void ask_for_call(struct vtfs_vq *vq)
{
	struct vtfs_wire_avail *avail = vq->driver;
	struct vtfs_vq_drv *drv = &vq->drv;
	uint16_t want = vtfs_vq_event(vq) ? drv->used : 0;

	if (drv->notify == want)
		return;
	drv->notify = want;
	if (vtfs_vq_event(vq))
		vtfs_store_once(used_event(vq), htole16(want));
	else
		vtfs_store_once(&avail->flags, htole16(want));
}

int vtfs_split_drv_arm(struct vtfs_vq *vq)
{
	const struct vtfs_wire_used *used = vq->device;
	struct vtfs_vq_drv *drv = &vq->drv;

	if (drv->used != drv->seen)
		return 1;
	ask_for_call(vq);
	/* The store of flags or used_event before the load of idx; the device
	 * stores idx, fences, and then loads those (split_dev.c, publish). */
	vtfs_fence_full();
	return le16toh(vtfs_load_once(&used->idx)) != drv->used;
}
