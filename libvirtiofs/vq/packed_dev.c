/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packed ring, device half. (virtio 1.4, 2.8)
 *
 * One ring for both directions. take.next walks ahead over what the driver
 * made available, give.next follows and overwrites the same slots with what
 * was used; they meet when nothing is in flight, and each has a wrap counter
 * that turns when it passes the end.
 */
#include "vq/impl.h"

#include <endian.h>

#include "base/error.h"
#include "base/shared.h"
#include "vq/chain.h"
#include "vq/notify.h"

void vtfs_packed_dev_start(struct vtfs_vq *vq, const struct vtfs_vq_conf *conf)
{
	struct vtfs_dev_take *take = &vq->dev.take;
	struct vtfs_dev_give *give = &vq->dev.give;

	take->next = conf->avail_base & (uint16_t)~VTFS_PACKED_WRAP;
	take->wrap = conf->avail_base & VTFS_PACKED_WRAP;
	take->entries_max = vq->num;
	take->notify = vtfs_packed_event(VTFS_PACKED_EVENT_ENABLE, 0);
	give->next = conf->used_base & (uint16_t)~VTFS_PACKED_WRAP;
	give->wrap = conf->used_base & VTFS_PACKED_WRAP;
	give->from = give->next;
	give->from_wrap = give->wrap;
	give->resumed = conf->used_base != VTFS_PACKED_WRAP;
	vtfs_store_once((uint32_t *)vq->device, take->notify);
}

/* A list may take only slots that were given back: the ring can't hold more
 * than it has. The other thread's count is asked when ours runs out. */
static bool laps_itself(struct vtfs_vq *vq, uint32_t cnt)
{
	struct vtfs_dev_take *take = &vq->dev.take;

	if (take->entries_max - take->entries >= cnt)
		return false;
	take->entries_max = vq->num + vtfs_load_once(&vq->dev.give.entries);
	return take->entries_max - take->entries < cnt;
}

static int claim_list(struct vtfs_vq *vq, const struct vtfs_chain *chain)
{
	if (vtfs_unlikely(chain->id >= vq->num))
		return vtfs_fail(-EPROTO, "buffer id %u of %u", chain->id,
				 vq->num);
	/* Cleared by push before the used flags that gave the id back to the
	 * driver; so an honest one is seen cleared here. */
	if (vtfs_unlikely(vtfs_load_once(&vq->dev.held[chain->id])))
		return vtfs_fail(-EPROTO, "buffer id %u is in flight",
				 chain->id);
	if (vtfs_unlikely(laps_itself(vq, chain->ring_cnt)))
		return vtfs_fail(-EPROTO, "more descriptors than the ring has");
	vtfs_store_once(&vq->dev.held[chain->id], chain->ring_cnt);
	return 0;
}

static uint16_t load_flags(const struct vtfs_vq *vq)
{
	const struct vtfs_wire_packed_desc *ring = vq->desc;

	/* Pairs with the driver's release of these flags: the rest of the list
	 * and its buffers are loaded after this. (2.8.21) */
	return le16toh(vtfs_load_acquire(&ring[vq->dev.take.next].flags));
}

int vtfs_packed_dev_pop(struct vtfs_vq *vq, const struct vtfs_table *mem,
			struct vtfs_chain *chain)
{
	struct vtfs_dev_take *take = &vq->dev.take;
	uint32_t next;
	uint16_t flags;
	int r;

	if (vtfs_unlikely(take->broken))
		return -EPROTO;
	flags = load_flags(vq);
	if (!vtfs_packed_is_avail(flags, take->wrap))
		return 0;
	r = vtfs_chain_packed(vq, mem, flags, chain);
	if (r >= 0)
		r = claim_list(vq, chain);
	if (vtfs_unlikely(r < 0)) {
		take->broken = true;
		return r;
	}
	next = (uint32_t)take->next + chain->ring_cnt;
	if (next >= vq->num) {
		next -= vq->num;
		take->wrap = !take->wrap;
	}
	take->next = (uint16_t)next;
	take->entries += chain->ring_cnt;
	vtfs_store_once(&take->cnt, (uint16_t)(take->cnt + 1));
	return 1;
}

/* len counts only with WRITE. (2.8.4) */
static uint16_t used_flags(bool wrap, uint32_t len)
{
	uint32_t flags = len ? VTFS_DESC_F_WRITE : 0;

	if (wrap)
		flags |= VTFS_PACKED_F_AVAIL | VTFS_PACKED_F_USED;
	return (uint16_t)flags;
}

static void step(struct vtfs_vq *vq, uint16_t ring_cnt)
{
	struct vtfs_dev_give *give = &vq->dev.give;
	uint32_t next = (uint32_t)give->next + ring_cnt;

	if (next >= vq->num) {
		next -= vq->num;
		give->wrap = !give->wrap;
	}
	give->next = (uint16_t)next;
	give->staged += ring_cnt;
	vtfs_store_once(&give->cnt, (uint16_t)(give->cnt + 1));
	vtfs_store_once(&give->entries, give->entries + ring_cnt);
}

static inline void store_used(struct vtfs_wire_packed_desc *d,
			      const struct vtfs_dev_first *used)
{
	vtfs_store_once(&d->id, htole16(used->id));
	vtfs_store_once(&d->len, htole32(used->len));
	/* id, len and what was written into the buffers before the flags; pairs
	 * with the driver's acquire of flags (packed_drv.c, get). */
	vtfs_store_release(&d->flags, htole16(used->flags));
}

void vtfs_packed_dev_push(struct vtfs_vq *vq, uint16_t id, uint16_t ring_cnt,
			  uint32_t len)
{
	struct vtfs_wire_packed_desc *ring = vq->desc;
	struct vtfs_dev_give *give = &vq->dev.give;
	struct vtfs_dev_first used = {
	    .len = len, .id = id, .flags = used_flags(give->wrap, len)};

	/* The driver goes from one used slot to the next, so what keeps back
	 * the first of a batch keeps back all of it; and a driver that polls
	 * it doesn't take the cache line away between two of our stores. Each
	 * has its own release, for drivers that look ahead. */
	if (!give->staged)
		give->first = used;
	else
		store_used(&ring[give->next], &used);
	step(vq, ring_cnt);
}

int vtfs_packed_dev_publish(struct vtfs_vq *vq)
{
	struct vtfs_wire_packed_desc *ring = vq->desc;
	struct vtfs_dev_give *give = &vq->dev.give;
	uint32_t event;
	bool wanted;

	if (!give->staged)
		return 0;
	/* After all the others of the batch. */
	store_used(&ring[give->from], &give->first);
	/* The store of flags before the load of the driver's event word; the
	 * driver, in arm, stores that, fences, and then loads flags. */
	vtfs_fence_full();
	event = vtfs_load_once((const uint32_t *)vq->driver);
	wanted = vtfs_notify_packed(
	    event, vtfs_vq_event(vq),
	    vtfs_packed_pos(give->from, give->from_wrap), give->staged,
	    vq->num);
	wanted = wanted || vtfs_unlikely(give->resumed);
	give->resumed = false;
	give->from = give->next;
	give->from_wrap = give->wrap;
	give->staged = 0;
	return wanted;
}

static void store_event(struct vtfs_vq *vq, uint32_t word)
{
	if (vq->dev.take.notify == word)
		return;
	vq->dev.take.notify = word;
	vtfs_store_once((uint32_t *)vq->device, word);
}

void vtfs_packed_dev_disarm(struct vtfs_vq *vq)
{
	store_event(vq, vtfs_packed_event(VTFS_PACKED_EVENT_DISABLE, 0));
}

int vtfs_packed_dev_arm(struct vtfs_vq *vq)
{
	struct vtfs_dev_take *take = &vq->dev.take;
	uint32_t word = vtfs_packed_event(VTFS_PACKED_EVENT_ENABLE, 0);

	if (take->broken)
		return 0;
	if (vtfs_vq_event(vq))
		word = vtfs_packed_event(
		    VTFS_PACKED_EVENT_DESC,
		    vtfs_packed_pos(take->next, take->wrap));
	store_event(vq, word);
	/* The store of the event word before the load of flags; the driver
	 * stores flags, fences, and then loads the event word (packed_drv.c,
	 * publish). */
	vtfs_fence_full();
	return vtfs_packed_is_avail(load_flags(vq), take->wrap);
}
