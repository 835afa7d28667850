/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's ring, split (dma.h; virtio 1.4, 2.7). */
#include <endian.h>
#include <string.h>

#include "base/bytes.h"
#include "transport/vfio_user/device.h"
#include "wire/ring.h"

#define ELEMENT ((uint32_t)sizeof(struct vtfs_wire_used_elem))

static struct vtfs_wire_avail *avail(const struct vfu_ring *ring)
{
	return (void *)ring->driver;
}

static struct vtfs_wire_used *used(const struct vfu_ring *ring)
{
	return (void *)ring->device;
}

int vtfs_vfu_split_init(struct vfu_ring *ring, const struct vtfs_queue_setup *s)
{
	/* Where an earlier run ended; a new ring begins with 0. */
	used(ring)->idx = htole16(s->used_base);
	avail(ring)->idx = htole16(s->avail_base);
	ring->told = (uint16_t)~htole16(s->avail_base);
	return 0;
}

/* ---- looking ---- */

static void body_came(struct vfu_job *job, int r)
{
	struct vfu_ring *ring = vtfs_vfu_ring_came(job, r);

	if (!ring || --ring->body)
		return;
	/* What was made available up to this index was read after it. */
	avail(ring)->idx = ring->peek[1];
	ring->look = VFU_LOOK_TAKE;
	vtfs_vfu_ring_go(ring);
}

/* The rest of the avail ring and the descriptors, in two pieces. */
static void read_body(struct vfu_ring *ring)
{
	ring->look = VFU_LOOK_BODY;
	ring->body = 2;
	ring->body_desc.range = (struct vtfs_range){ring->desc_at,
						    ring->num * VTFS_DESC_SIZE};
	ring->body_desc.job.base = ring->desc;
	vtfs_vfu_ring_transfer(ring, &ring->body_desc, VFU_DMA_READ, body_came);
	ring->body_avail.range = (struct vtfs_range){ring->driver_at + 4,
						     ring->num * 2};
	ring->body_avail.job.base = ring->driver + 4;
	vtfs_vfu_ring_transfer(ring, &ring->body_avail, VFU_DMA_READ,
			       body_came);
}

static void index_came(struct vfu_job *job, int r)
{
	struct vfu_ring *ring = vtfs_vfu_ring_came(job, r);

	if (!ring)
		return;
	if (ring->peek[1] == avail(ring)->idx)
		vtfs_vfu_ring_rest(ring);
	else
		read_body(ring);
}

void vtfs_vfu_split_look(struct vfu_ring *ring)
{
	ring->index.range = (struct vtfs_range){ring->driver_at, 4};
	ring->index.job.base = (unsigned char *)ring->peek;
	vtfs_vfu_ring_transfer(ring, &ring->index, VFU_DMA_READ, index_came);
}

/* Without EVENT_IDX every chain comes with a kick: the used flags stay 0. */
void vtfs_vfu_split_arm(struct vfu_ring *ring)
{
	uint32_t off = 4 + ring->num * ELEMENT;
	uint16_t want = ring->told;

	if (ring->flags & VTFS_VQ_EVENT) {
		vtfs_vq_dev_arm(ring->dev);
		memcpy(&want, ring->device + off, sizeof(want));
	}
	if (want == ring->told) {
		vtfs_vfu_ring_rest(ring);
		return;
	}
	ring->told = want;
	vtfs_vfu_ring_write_event(ring, off, 2);
}

/* ---- giving ---- */

static void index_went(struct vfu_job *job, int r)
{
	struct vfu_ring *ring = vtfs_vfu_ring_came(job, r);

	if (ring)
		vtfs_vfu_ring_given(ring);
}

static void elements_went(struct vfu_job *job, int r)
{
	struct vfu_ring *ring = vtfs_vfu_ring_came(job, r);

	if (!ring)
		return;
	ring->last_le = htole16(ring->given_to);
	ring->last.range = (struct vtfs_range){ring->device_at + 2, 2};
	ring->last.job.base = (unsigned char *)&ring->last_le;
	vtfs_vfu_ring_transfer(ring, &ring->last, VFU_DMA_WRITE, index_went);
}

/* The used elements that the client has not, up to the ring's end. */
void vtfs_vfu_split_give(struct vfu_ring *ring)
{
	uint32_t at = ring->given & (ring->num - 1);
	uint32_t off = 4 + at * ELEMENT;
	uint16_t cnt = (uint16_t)(le16toh(used(ring)->idx) - ring->given);

	if (!cnt)
		return;
	if (cnt > ring->num) {
		vtfs_vfu_ring_break(ring, "more is used than the ring has");
		return;
	}
	cnt = (uint16_t)vtfs_min_u32(cnt, ring->num - at);
	ring->giving = true;
	ring->given_to = (uint16_t)(ring->given + cnt);
	ring->elements.range = (struct vtfs_range){ring->device_at + off,
						   cnt * ELEMENT};
	ring->elements.job.base = ring->device + off;
	vtfs_vfu_ring_transfer(ring, &ring->elements, VFU_DMA_WRITE,
			       elements_went);
}
