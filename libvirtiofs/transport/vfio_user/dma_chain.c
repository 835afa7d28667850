/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A chain on its way from the client's ring to the session's, and back. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vfio_user/device.h"

/* Of a chain that fails in any case: what is needed to say so. */
#define HEAD_MAX   4096u
#define DIRECT_MIN 512u /* the smallest block of a disk */
#define ANYWHERE   UINT32_MAX

static void table_read(struct vfu_job *job, int r);
static void body_read(struct vfu_job *job, int r);
static void written(struct vfu_job *job, int r);

/* ---- room ---- */

static bool take_pages(struct vfu_ring *ring, struct vfu_chain *c, uint64_t len)
{
	struct vfu_dma *dma = &ring->d->dma;
	unsigned cnt = vtfs_vfu_page_cnt(len);
	int at;

	/* Buffers that lie there for ever (notifications) leave some. */
	if (ring->held && ring->held + cnt > VFU_DMA_PAGES / 2)
		return false;
	at = vtfs_vfu_pieces_take(&dma->pages, cnt);
	if (at < 0)
		return false;
	c->page = (unsigned)at;
	c->page_cnt = cnt;
	c->mem = dma->arena->addr + (size_t)c->page * VFU_DMA_PAGE;
	ring->held += cnt;
	return true;
}

static void give_pages(struct vfu_chain *c)
{
	struct vfu_dma *dma = &c->ring->d->dma;

	if (!c->page_cnt)
		return;
	vtfs_vfu_pieces_give(&dma->pages, c->page, c->page_cnt);
	c->ring->held -= c->page_cnt;
	c->page_cnt = 0;
	dma->freed = true;
}

static bool take_ranges(struct vfu_ring *ring, struct vfu_chain *c)
{
	struct vfu_dma *dma = &ring->d->dma;
	int at = vtfs_vfu_pieces_take(&dma->pieces, c->range_cnt);

	if (at < 0)
		return false;
	c->ranges = dma->ranges + at;
	memcpy(c->ranges, ring->scratch, c->range_cnt * sizeof(c->ranges[0]));
	return true;
}

static void give_ranges(struct vfu_chain *c)
{
	struct vfu_dma *dma = &c->ring->d->dma;

	if (!c->ranges)
		return;
	vtfs_vfu_pieces_give(&dma->pieces, (unsigned)(c->ranges - dma->ranges),
			     c->range_cnt);
	c->ranges = NULL;
	dma->freed = true;
}

void vtfs_vfu_chain_forget(struct vfu_chain *c)
{
	give_pages(c);
	give_ranges(c);
}

/* It goes back to the client. */
static void push(struct vfu_chain *c, uint32_t len)
{
	struct vfu_ring *ring = c->ring;

	vtfs_vfu_chain_forget(c);
	vtfs_vq_dev_push(ring->dev, c->id, c->ring_cnt, len);
	c->next = ring->free;
	ring->free = c;
	vtfs_vfu_ring_give(ring);
}

/* ---- towards the session ---- */

static uint64_t peer_addr(const struct vfu_chain *c)
{
	return VFU_DMA_ARENA + (uint64_t)c->page * VFU_DMA_PAGE;
}

static int add(struct vfu_chain *c)
{
	struct vtfs_vq_buf bufs[3];
	unsigned readable = 0, cnt;

	if (c->readable)
		bufs[readable++] = (struct vtfs_vq_buf){
		    peer_addr(c) + c->readable_off, c->readable};
	/* These two bytes are in no memory: the chain has a fault. */
	if (c->fault)
		bufs[readable++] = (struct vtfs_vq_buf){UINT64_MAX, 2};
	cnt = readable;
	if (c->writable)
		bufs[cnt++] = (struct vtfs_vq_buf){
		    peer_addr(c) + c->writable_off, c->writable};
	return vtfs_vq_drv_add(c->ring->drv, bufs, readable, cnt - readable,
			       (uint16_t)(c - c->ring->chains));
}

void vtfs_vfu_chain_post(struct vfu_ring *ring)
{
	struct vfu_chain *c;
	int r;

	while ((c = ring->ready) != NULL) {
		r = add(c);
		if (r == -ENOSPC)
			break;
		if (r == -EPROTO) {
			vtfs_vfu_ring_break(ring, virtiofs_last_error());
			return;
		}
		ring->ready = c->next;
		if (r < 0)
			push(c, 0);
	}
	if (vtfs_vq_drv_publish(ring->drv))
		vtfs_evfd_signal(ring->kick);
}

static void make_ready(struct vfu_chain *c)
{
	struct vfu_ring *ring = c->ring;

	c->next = NULL;
	if (!ring->ready)
		ring->ready_end = &ring->ready;
	*ring->ready_end = c;
	ring->ready_end = &c->next;
	vtfs_vfu_chain_post(ring);
}

static void body_read(struct vfu_job *job, int r)
{
	struct vfu_chain *c = vtfs_container_of(job, struct vfu_chain, job);

	/* The bytes before those that did not come may say whose it is. */
	if (r < 0) {
		c->fault = r;
		memset(c->mem + c->readable_off + job->good, 0,
		       c->readable - job->good);
	}
	make_ready(c);
}

/* ---- from the client ---- */

/* What the walk left in chain: its addresses are all that is used. */
static void keep(struct vfu_ring *ring, struct vfu_chain *c,
		 const struct vtfs_chain *chain)
{
	c->readable_cnt = chain->readable_cnt;
	c->range_cnt = chain->readable_cnt + chain->writable_cnt;
	for (unsigned i = 0; i < c->range_cnt; i++)
		ring->scratch[i] = (struct vtfs_range){
		    chain->at[i], (uint32_t)chain->iov[i].iov_len};
	c->fault = chain->fault;
	ring->table_addr = chain->table_addr;
	ring->table_len = chain->table_len;
}

/* Bytes of some ranges in front that can be accessed, at most max. */
static uint64_t reach(struct vfu_ring *ring, unsigned from, unsigned to,
		      uint16_t command, uint64_t max)
{
	uint64_t sum = 0;

	for (unsigned i = from; i < to && sum < max; i++) {
		uint64_t addr = ring->scratch[i].addr;
		uint64_t left = ring->scratch[i].len;

		while (left) {
			uint64_t n = vtfs_vfu_dma_allowed(ring->d, addr, left,
							  command);

			if (!n)
				return sum;
			sum += n;
			addr += n;
			left -= n;
		}
	}
	return vtfs_min_u64(sum, max);
}

static uint64_t total(const struct vfu_ring *ring, unsigned from, unsigned to)
{
	uint64_t sum = 0;

	for (unsigned i = from; i < to; i++)
		sum += ring->scratch[i].len;
	return sum;
}

static void measure(struct vfu_ring *ring, struct vfu_chain *c)
{
	unsigned mid = c->readable_cnt, end = c->range_cnt;
	uint64_t readable = total(ring, 0, mid);
	uint64_t writable = total(ring, mid, end);

	if (readable + writable > VFU_DMA_MAX)
		c->fault = -E2BIG;
	else if (reach(ring, 0, mid, VFU_DMA_READ, readable) != readable ||
		 reach(ring, mid, end, VFU_DMA_WRITE, writable) != writable)
		c->fault = -EFAULT;
	if (c->fault) {
		readable = reach(ring, 0, mid, VFU_DMA_READ, HEAD_MAX);
		writable = reach(ring, mid, end, VFU_DMA_WRITE, HEAD_MAX);
	}
	c->readable = (uint32_t)readable;
	c->writable = (uint32_t)writable;
}

static void read_body(struct vfu_chain *c)
{
	c->job = (struct vfu_job){.ranges = c->ranges,
				  .base = c->mem + c->readable_off,
				  .len = c->readable,
				  .command = VFU_DMA_READ,
				  .done = body_read};
	if (c->readable)
		vtfs_vfu_job_submit(c->ring->d, &c->job);
	else
		make_ready(c);
}

/* Where in a page some ranges have to begin for the longest of them to lie as
 * it does for the client, and with it all whole pages behind it: who reads and
 * writes past the page cache needs that. */
static uint32_t skew(const struct vfu_ring *ring, unsigned from, unsigned to)
{
	uint64_t off = 0, best = 0;
	uint32_t longest = 0;

	for (unsigned i = from; i < to; i++) {
		const struct vtfs_range *r = &ring->scratch[i];

		if (r->len >= DIRECT_MIN && r->len > longest) {
			longest = r->len;
			best = r->addr - off;
		}
		off += r->len;
	}
	return longest ? (uint32_t)(best % VFU_DMA_PAGE) : ANYWHERE;
}

/* The next place behind at. */
static uint32_t place(uint32_t at, uint32_t off)
{
	if (off == ANYWHERE)
		return VTFS_ALIGN_UP(at, 64u);
	at += (off - at) % VFU_DMA_PAGE;
	return at;
}

/* Both places, and what is needed for all. */
static uint64_t lay_out(struct vfu_ring *ring, struct vfu_chain *c)
{
	unsigned mid = c->readable_cnt;

	c->readable_off = place(0, skew(ring, 0, mid));
	c->writable_off = place(c->readable_off + c->readable,
				skew(ring, mid, c->range_cnt));
	return (uint64_t)c->writable_off + c->writable + 1;
}

/* 1: c is on its way; 0: it waits for room. */
static int begin(struct vfu_ring *ring, struct vfu_chain *c)
{
	measure(ring, c);
	if (c->range_cnt && !c->ranges && !take_ranges(ring, c))
		return 0;
	/* It keeps those: whoever has pages needs none, and gives them back. */
	if (!take_pages(ring, c, lay_out(ring, c)))
		return 0;
	ring->making = NULL;
	read_body(c);
	return 1;
}

/* ---- indirect tables ---- */

static int read_table(struct vfu_ring *ring, struct vfu_chain *c)
{
	if (!take_pages(ring, c, ring->table_len))
		return 0;
	ring->reads_table = true;
	ring->table = (struct vtfs_range){ring->table_addr, ring->table_len};
	c->job = (struct vfu_job){.ranges = &ring->table,
				  .base = c->mem,
				  .len = ring->table_len,
				  .command = VFU_DMA_READ,
				  .done = table_read};
	vtfs_vfu_job_submit(ring->d, &c->job);
	return 0;
}

/* What was popped, and what the table lists. */
static int walk_table(struct vfu_ring *ring, struct vfu_chain *c)
{
	struct vtfs_region *region = ring->d->dma.arena;
	const struct vtfs_map map = {ring->table_addr, ring->table_len, c->mem,
				     region->id, VTFS_MAP_READ};
	const struct vtfs_late_chain late = {.id = c->id,
					     .ring_cnt = c->ring_cnt,
					     .fault = c->fault,
					     .ranges = ring->scratch,
					     .readable_cnt = c->readable_cnt,
					     .cnt = c->range_cnt,
					     .table_addr = ring->table_addr,
					     .table_len = ring->table_len};
	struct vtfs_chain chain;
	struct vtfs_table *t;
	int r = vtfs_table_new_mapped(&t, &region, 1, &map, 1);

	if (r < 0)
		return r;
	r = vtfs_vq_dev_later(ring->dev, t, &late, &chain);
	if (r >= 0)
		keep(ring, c, &chain);
	vtfs_table_put(t);
	return r;
}

static void table_read(struct vfu_job *job, int r)
{
	struct vfu_chain *c = vtfs_container_of(job, struct vfu_chain, job);
	struct vfu_ring *ring = c->ring;

	ring->reads_table = false;
	if (r < 0)
		c->fault = -EFAULT;
	else
		r = walk_table(ring, c);
	if (r == -EPROTO) {
		vtfs_vfu_ring_break(ring, virtiofs_last_error());
		return;
	}
	if (r < 0)
		c->fault = r;
	give_pages(c);
	ring->table_len = 0;
	vtfs_vfu_ring_go(ring);
}

int vtfs_vfu_chain_take(struct vfu_ring *ring)
{
	struct vfu_chain *c = ring->making;
	struct vtfs_chain chain;
	int r;

	if (ring->reads_table)
		return 0;
	if (!c) {
		/* With a chain in hand for each entry there are no more. */
		if (!ring->free)
			return 0;
		r = vtfs_vq_dev_pop(ring->dev, ring->d->dma.nothing, &chain);
		if (r < 0)
			vtfs_vfu_ring_break(ring, virtiofs_last_error());
		if (r <= 0)
			return 0;
		c = ring->making = ring->free;
		ring->free = c->next;
		c->id = chain.id;
		c->ring_cnt = chain.ring_cnt;
		if (ring->flags & VTFS_VQ_PACKED)
			vtfs_vfu_packed_took(ring, &chain);
		keep(ring, c, &chain);
	}
	return ring->table_len ? read_table(ring, c) : begin(ring, c);
}

/* ---- back to the client ---- */

static void written(struct vfu_job *job, int r)
{
	struct vfu_chain *c = vtfs_container_of(job, struct vfu_chain, job);

	push(c, r < 0 ? 0 : c->used);
}

void vtfs_vfu_chain_used(struct vfu_chain *c, uint32_t len)
{
	c->used = vtfs_min_u32(len, c->writable);
	if (!c->used) {
		push(c, 0);
		return;
	}
	c->job = (struct vfu_job){.ranges = c->ranges + c->readable_cnt,
				  .base = c->mem + c->writable_off,
				  .len = c->used,
				  .command = VFU_DMA_WRITE,
				  .done = written};
	vtfs_vfu_job_submit(c->ring->d, &c->job);
}
