/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client's ring, packed (dma.h; virtio 1.4, 2.8).
 *
 * A look reads all slots that we have not in hand, twice: chains whose head was
 * available the first time are whole the second time, and only they are put
 * into the copy. Slots in hand, from pop until the client has their used
 * descriptor, are never read, so what is used there waits safely in the copy.
 * Of those only slots with a used descriptor are written: the others may be the
 * client's as soon as he has seen the first.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "transport/vfio_user/device.h"
#include "vq/notify.h"
#include "wire/ring.h"

#define LEN_AT	 8u /* len, id and flags: what the device writes */
#define FLAGS_AT 14u
#define TAIL	 (VTFS_DESC_SIZE - LEN_AT)

int vtfs_vfu_packed_init(struct vfu_ring *ring)
{
	size_t num = ring->num;

	ring->window = calloc(num, sizeof(ring->window[0]));
	ring->seen = calloc(num, sizeof(ring->seen[0]));
	ring->entries = calloc(num, sizeof(ring->entries[0]));
	ring->tails = calloc(num, TAIL);
	ring->tail_ranges = calloc(num, sizeof(ring->tail_ranges[0]));
	return ring->window && ring->seen && ring->entries && ring->tails &&
		       ring->tail_ranges
		   ? 0
		   : -ENOMEM;
}

void vtfs_vfu_packed_fini(struct vfu_ring *ring)
{
	free(ring->window);
	free(ring->seen);
	free(ring->entries);
	free(ring->tails);
	free(ring->tail_ranges);
}

static struct vtfs_wire_packed_desc *slot(const struct vfu_ring *ring,
					  uint32_t i)
{
	return (struct vtfs_wire_packed_desc *)(void *)ring->desc + i;
}

/* ---- looking ---- */

static bool is_avail(uint16_t flags, bool wrap)
{
	uint16_t bits = le16toh(flags) &
			(VTFS_PACKED_F_AVAIL | VTFS_PACKED_F_USED);

	return bits == (wrap ? VTFS_PACKED_F_AVAIL : VTFS_PACKED_F_USED);
}

/* One after the last slot of the chain that begins at slot i of the window. The
 * client may have used slots that went back already, though we have not heard
 * that he has them: such a chain is cut, and has to wait. */
static uint32_t chain_end(struct vfu_ring *ring, uint32_t i)
{
	while (i < ring->window_len &&
	       le16toh(ring->window[i].flags) & VTFS_DESC_F_NEXT)
		i++;
	ring->cut = i >= ring->window_len && ring->window_len < ring->num;
	return vtfs_min_u32(i + 1, ring->window_len);
}

static void body_came(struct vfu_job *job, int r)
{
	struct vfu_ring *ring = vtfs_vfu_ring_came(job, r);
	uint32_t i = 0, end = 0;
	uint16_t pos, used;

	if (!ring)
		return;
	ring->cut = false;
	vtfs_vq_dev_bases(ring->dev, &pos, &used);
	while (i < ring->window_len) {
		uint32_t at = (pos & ~VTFS_PACKED_WRAP) + i;
		bool turned = at >= ring->num;
		bool wrap = (bool)(pos & VTFS_PACKED_WRAP) != turned;

		if (is_avail(ring->seen[i], wrap))
			end = chain_end(ring, i);
		/* What is there may be half of a chain: the copy has what was
		 * there a round ago, which is not available. */
		if (end == i || ring->cut)
			break;
		for (; i < end; i++, at++)
			*slot(ring, at % ring->num) = ring->window[i];
	}
	ring->look = VFU_LOOK_TAKE;
	vtfs_vfu_ring_go(ring);
}

static void read_window(struct vfu_ring *ring,
			void (*done)(struct vfu_job *, int))
{
	ring->index.ring = ring;
	ring->index.job = (struct vfu_job){
	    .ranges = ring->window_ranges,
	    .base = (unsigned char *)ring->window,
	    .len = (uint64_t)ring->window_len * VTFS_DESC_SIZE,
	    .command = VFU_DMA_READ,
	    .done = done};
	vtfs_vfu_job_submit(ring->d, &ring->index.job);
}

static void window_came(struct vfu_job *job, int r)
{
	struct vfu_ring *ring = vtfs_vfu_ring_came(job, r);
	uint16_t pos, used;

	if (!ring)
		return;
	vtfs_vq_dev_bases(ring->dev, &pos, &used);
	for (uint32_t i = 0; i < ring->window_len; i++)
		ring->seen[i] = ring->window[i].flags;
	if (!is_avail(ring->seen[0], pos & VTFS_PACKED_WRAP)) {
		vtfs_vfu_ring_rest(ring);
		return;
	}
	ring->look = VFU_LOOK_BODY;
	read_window(ring, body_came);
}

/* Nothing to be seen before slots went back: flags_went() looks again. */
static void wait_for_slots(struct vfu_ring *ring)
{
	ring->look = VFU_LOOK_REST;
	ring->kicked = true;
}

void vtfs_vfu_packed_taken(struct vfu_ring *ring)
{
	/* Are there more slots now than those left of the window? */
	if (ring->cut && ring->num - ring->in_hand <= ring->window_len) {
		wait_for_slots(ring);
		return;
	}
	ring->kicked |= ring->cut;
	vtfs_vfu_ring_rest(ring);
}

void vtfs_vfu_packed_look(struct vfu_ring *ring)
{
	uint32_t len = ring->num - ring->in_hand;
	uint32_t at, first;
	uint16_t pos, used;

	if (!len) {
		wait_for_slots(ring);
		return;
	}
	vtfs_vq_dev_bases(ring->dev, &pos, &used);
	at = pos & ~VTFS_PACKED_WRAP;
	first = vtfs_min_u32(len, ring->num - at);
	ring->window_len = len;
	ring->window_ranges[0] = (struct vtfs_range){
	    ring->desc_at + at * VTFS_DESC_SIZE, first * VTFS_DESC_SIZE};
	ring->window_ranges[1] = (struct vtfs_range){
	    ring->desc_at, (len - first) * VTFS_DESC_SIZE};
	read_window(ring, window_came);
}

void vtfs_vfu_packed_took(struct vfu_ring *ring, const struct vtfs_chain *c)
{
	ring->entries[c->id] = c->ring_cnt;
	ring->in_hand += c->ring_cnt;
	ring->window_len -= vtfs_min_u32(ring->window_len, c->ring_cnt);
}

/* ---- giving ---- */

static void flags_went(struct vfu_job *job, int r)
{
	struct vfu_ring *ring = vtfs_vfu_ring_came(job, r);

	if (!ring)
		return;
	ring->in_hand -= vtfs_packed_dist(ring->given, ring->given_to,
					  ring->num);
	vtfs_vfu_ring_given(ring);
	/* The last look may have found no slot to look at. */
	if (!ring->quiet && ring->look == VFU_LOOK_REST && ring->kicked)
		vtfs_vfu_ring_rest(ring);
}

static void tails_went(struct vfu_job *job, int r)
{
	struct vfu_ring *ring = vtfs_vfu_ring_came(job, r);
	uint32_t at;

	if (!ring)
		return;
	at = ring->given & ~VTFS_PACKED_WRAP;
	ring->last_le = slot(ring, at)->flags;
	ring->last.range = (struct vtfs_range){
	    ring->desc_at + at * VTFS_DESC_SIZE + FLAGS_AT, 2};
	ring->last.job.base = (unsigned char *)&ring->last_le;
	vtfs_vfu_ring_transfer(ring, &ring->last, VFU_DMA_WRITE, flags_went);
}

/* All used descriptors but the flags of the first, which come last. */
void vtfs_vfu_packed_give(struct vfu_ring *ring)
{
	uint32_t at = ring->given & ~VTFS_PACKED_WRAP;
	uint32_t left, n = 0, len = 0;
	uint16_t avail, to;

	vtfs_vq_dev_bases(ring->dev, &avail, &to);
	left = vtfs_packed_dist(ring->given, to, ring->num);
	if (!left)
		return;
	if (left > ring->num) {
		vtfs_vfu_ring_break(ring, "more is used than the ring has");
		return;
	}
	while (left) {
		const struct vtfs_wire_packed_desc *d = slot(ring, at);
		uint32_t size = n ? TAIL : FLAGS_AT - LEN_AT;
		uint32_t cnt = ring->entries[le16toh(d->id)];

		memcpy(ring->tails + len, (const char *)d + LEN_AT, size);
		ring->tail_ranges[n++] = (struct vtfs_range){
		    ring->desc_at + at * VTFS_DESC_SIZE + LEN_AT, size};
		len += size;
		/* An id that was used twice at once has a count that is not
		 * this one's: that is the client's loss. */
		left -= vtfs_min_u32(cnt ? cnt : 1, left);
		at = (at + cnt) % ring->num;
	}
	ring->giving = true;
	ring->given_to = to;
	ring->elements.ring = ring;
	ring->elements.job = (struct vfu_job){.ranges = ring->tail_ranges,
					      .base = ring->tails,
					      .len = len,
					      .command = VFU_DMA_WRITE,
					      .done = tails_went};
	vtfs_vfu_job_submit(ring->d, &ring->elements.job);
}
