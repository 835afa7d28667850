/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VIRTIO_F_IN_ORDER, both layouts. (virtio 1.4, 2.7.9 and 2.8.8)
 *
 * Device half. pop notes ids in a ring of its own, order; push marks a chain,
 * in late, and gives back those whose turn has come, which may be none or many.
 * An id stays held until then, so it is in order once at most.
 *
 * Driver half. The free list is a circle that nothing reorders, so chains take
 * descriptors (packed: ids) one after the other, and the chain after one begins
 * where that ends. A used element names the last chain of a batch; how many
 * came back before it, the walk from the oldest one tells.
 */
#include "vq/impl.h"

#include "base/error.h"
#include "base/shared.h"

static uint16_t after(const struct vtfs_vq *vq, uint16_t at)
{
	return at + 1u == vq->num ? 0 : (uint16_t)(at + 1);
}

void vtfs_order_note(struct vtfs_vq *vq, uint16_t id)
{
	struct vtfs_dev_take *take = &vq->dev.take;

	vtfs_store_once(&vq->dev.order[take->order_at], id);
	take->order_at = after(vq, take->order_at);
	/* The id before the count; pairs with turn. */
	vtfs_store_release(&take->ordered, take->ordered + 1);
}

void vtfs_order_push(struct vtfs_vq *vq, uint16_t id, uint32_t len)
{
	struct vtfs_dev_late *late = &vq->dev.late[id];

	if (vtfs_unlikely(late->pushed))
		return;
	*late = (struct vtfs_dev_late){.len = len, .pushed = true};
}

int vtfs_order_turn(struct vtfs_vq *vq, uint16_t *ret_id, uint32_t *ret_len)
{
	struct vtfs_dev_give *give = &vq->dev.give;
	struct vtfs_dev_late *late;
	uint16_t id;

	if (give->ordered == vtfs_load_acquire(&vq->dev.take.ordered))
		return 0;
	id = vtfs_load_once(&vq->dev.order[give->order_at]);
	late = &vq->dev.late[id];
	if (!late->pushed)
		return 0;
	late->pushed = false;
	give->order_at = after(vq, give->order_at);
	give->ordered++;
	*ret_id = id;
	*ret_len = late->len;
	return 1;
}

static uint16_t next_chain(const struct vtfs_vq *vq, uint16_t id)
{
	const struct vtfs_drv_slot *slots = vq->drv.slots;

	return slots[slots[id].last].next;
}

int vtfs_order_used(struct vtfs_vq *vq, uint16_t id, uint32_t len, uint32_t max)
{
	struct vtfs_vq_drv *drv = &vq->drv;
	uint16_t at = drv->oldest;
	uint32_t cnt = 1;

	while (at != id && cnt < max) {
		at = next_chain(vq, at);
		cnt++;
	}
	if (at != id)
		return vtfs_fail(-EPROTO, "used id %u is out of order", id);
	drv->batch = (uint16_t)cnt;
	drv->batch_len = len;
	return 0;
}

uint16_t vtfs_order_next(struct vtfs_vq *vq, uint32_t *ret_len)
{
	struct vtfs_vq_drv *drv = &vq->drv;
	uint16_t id = drv->oldest;

	drv->oldest = next_chain(vq, id);
	*ret_len = drv->batch_len;
	if (--drv->batch)
		*ret_len = drv->slots[id].room ? VTFS_VQ_LEN_UNKNOWN : 0;
	return id;
}
