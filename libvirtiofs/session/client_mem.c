/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that the device sees: rings and slots of our own, registered regions.
 */
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "session/client.h"

/* All indirect tables of a queue together. */
#define INDIRECT_BYTES_MAX (8u << 20)

/* ---- our own ---- */

struct cursor {
	size_t at;
};

static size_t place(struct cursor *cur, size_t len, size_t align)
{
	size_t at = VTFS_ALIGN_UP(cur->at, align);

	cur->at = at + len;
	return at;
}

struct queue_place {
	size_t desc, driver, device, indirect, area;
	uint32_t indirect_max;
};

static uint32_t indirect_max(const struct virtiofs_client *c)
{
	uint32_t num = c->ring_num;
	uint32_t most = INDIRECT_BYTES_MAX / (16 * num);

	if (!(c->features & VIRTIOFS_F_INDIRECT_DESC))
		return 0;
	/* virtio 1.4, 2.7.5.3.1: no longer than the ring */
	return vtfs_min_u32(num, vtfs_min_u32(most, VTFS_FUSE_PAGES_MAX + 8));
}

static bool is_request_queue(const struct virtiofs_client *c, unsigned i)
{
	return i && i <= c->queue_cnt;
}

/* As many as were made with the queue, whatever the ring's size. */
static size_t slots_bytes(const struct virtiofs_client *c, unsigned i)
{
	size_t num = c->opts.queue_size;

	if (is_request_queue(c, i))
		return (num + c->opts.backlog) * VTFS_SLOT_BYTES;
	return i ? vtfs_cnotes_bytes(c) : num * VTFS_HISLOT_BYTES;
}

static int place_queue(const struct virtiofs_client *c, struct cursor *cur,
		       unsigned i, struct queue_place *ret)
{
	uint32_t num = c->ring_num;
	size_t slots = slots_bytes(c, i);
	struct vtfs_vq_areas a;
	int r;

	r = vtfs_vq_areas(&a, vtfs_features_vq_flags(c->features), num);
	if (r < 0)
		return r;
	ret->desc = place(cur, a.desc_len, VTFS_PAGE);
	ret->driver = place(cur, a.driver_len, VTFS_CACHELINE);
	ret->device = place(cur, a.device_len, VTFS_CACHELINE);
	ret->indirect_max = is_request_queue(c, i) ? indirect_max(c) : 0;
	ret->indirect = place(cur, (size_t)num * ret->indirect_max * 16,
			      VTFS_CACHELINE);
	ret->area = place(cur, VTFS_ALIGN_UP(slots, (size_t)VTFS_PAGE),
			  VTFS_PAGE);
	if (is_request_queue(c, i))
		place(cur, c->opts.bounce_bytes, VTFS_PAGE);
	return 0;
}

static int share_bytes(const struct virtiofs_client *c, size_t *ret)
{
	struct cursor cur = {0};
	struct queue_place p;
	int r = 0;

	for (unsigned i = 0; i < vtfs_client_places(c) && r >= 0; i++)
		r = place_queue(c, &cur, i, &p);
	*ret = cur.at;
	return r;
}

void vtfs_client_share_none(struct virtiofs_client *c)
{
	c->shared = false;
	for (unsigned i = 0; i < c->regs.cnt; i++)
		c->regs.reg[i].shared = false;
}

int vtfs_client_unshare(struct virtiofs_client *c)
{
	int r;

	if (c->shared) {
		r = c->t->cli->unmap(c->t, c->share.peer_addr);
		if (r < 0)
			return r;
		c->shared = false;
	}
	for (unsigned i = 0; i < c->regs.cnt; i++) {
		struct vtfs_reg *reg = &c->regs.reg[i];

		if (!reg->shared)
			continue;
		r = c->t->cli->unmap(c->t, reg->peer_addr);
		if (r < 0)
			return r;
		reg->shared = false;
	}
	return 0;
}

static int alloc(struct virtiofs_client *c, size_t len, struct vtfs_share *ret)
{
	if (c->t->cli->alloc)
		return c->t->cli->alloc(c->t, len, ret);
	return vtfs_share_new(ret, len);
}

int vtfs_client_share(struct virtiofs_client *c)
{
	struct virtiofs_region region = {.size = sizeof(region)};
	size_t len;
	int r;

	/* A lost peer may still write to the old one: never used again. */
	if (c->substep == 0) {
		vtfs_hiprio_close(c, -ENOTCONN);
		vtfs_cnotes_close(c);
		for (unsigned i = 0; i < c->opts.num_request_queues; i++)
			vtfs_cliq_close(&c->queues[i], -ENOTCONN);
		vtfs_share_free(&c->share);
		r = share_bytes(c, &len);
		if (r >= 0)
			r = alloc(c, len, &c->share);
		if (r < 0)
			return r;
		c->substep = 1;
	}
	region.addr = c->share.addr;
	region.len = c->share.len;
	region.fd = c->share.fd;
	r = c->t->cli->map(c->t, &region, &c->share.peer_addr);
	c->shared = r >= 0;
	return r;
}

static void fill_setup(struct virtiofs_client *c, unsigned i,
		       const struct queue_place *p, struct vtfs_vq_conf *conf)
{
	struct vtfs_queue_setup *s = &c->setup[i];
	uint64_t peer = c->share.peer_addr;
	unsigned char *base = c->share.addr;

	memset(s, 0, sizeof(*s));
	memset(conf, 0, sizeof(*conf));
	s->vq = (uint16_t)vtfs_client_vq(c, i);
	s->num = conf->num = c->ring_num;
	s->desc = peer + p->desc;
	s->driver = peer + p->driver;
	s->device = peer + p->device;
	if (is_request_queue(c, i)) {
		s->kick_fd = c->queues[i - 1].kick_fd;
		s->call_fd = c->queues[i - 1].call_fd;
	} else {
		s->kick_fd = i ? c->notes.kick_fd : c->hi.kick_fd;
		s->call_fd = i ? c->notes.call_fd : c->hi.call_fd;
	}
	if (c->opts.flags & VIRTIOFS_CLIENT_POLL)
		s->call_fd = -1;
	s->enabled = true;
	if (c->features & VIRTIOFS_F_RING_PACKED)
		s->avail_base = s->used_base = 0x8000;
	conf->flags = vtfs_features_vq_flags(c->features);
	conf->desc = base + p->desc;
	conf->driver = base + p->driver;
	conf->device = base + p->device;
	conf->avail_base = s->avail_base;
	conf->used_base = s->used_base;
	conf->indirect_max = p->indirect_max;
	if (!p->indirect_max)
		conf->flags &= ~VTFS_VQ_INDIRECT;
	conf->indirect = base + p->indirect;
	conf->indirect_peer_addr = peer + p->indirect;
}

static int open_queue(struct virtiofs_client *c, unsigned i,
		      const struct queue_place *p)
{
	unsigned char *area = c->share.addr + p->area;
	uint64_t peer = c->share.peer_addr + p->area;
	struct vtfs_vq_conf conf;

	fill_setup(c, i, p, &conf);
	if (!i)
		return vtfs_hiprio_open(c, &conf, area, peer);
	if (!is_request_queue(c, i))
		return vtfs_cnotes_open(c, &conf, area, peer);
	return vtfs_cliq_open(&c->queues[i - 1], &conf, area, peer);
}

static int layout(struct virtiofs_client *c, unsigned first, unsigned last)
{
	struct cursor cur = {0};
	struct queue_place p;
	int r = 0;

	for (unsigned i = 0; i <= last && r >= 0; i++) {
		r = place_queue(c, &cur, i, &p);
		if (r >= 0 && i >= first)
			r = open_queue(c, i, &p);
	}
	return r;
}

int vtfs_client_layout(struct virtiofs_client *c)
{
	return layout(c, 0, vtfs_client_places(c) - 1);
}

int vtfs_client_layout_queue(struct virtiofs_client *c, unsigned place)
{
	return layout(c, place, place);
}

int vtfs_client_open_line(struct virtiofs_client *c, unsigned place)
{
	const struct vtfs_queue_setup *s = &c->setup[place];
	struct virtiofs_cliq *q;

	if (!place)
		return vtfs_line_open(&c->hi.line, c, s, c->ep_fd);
	if (!is_request_queue(c, place))
		return vtfs_line_open(&c->notes.line, c, s, c->notes.ep_fd);
	q = &c->queues[place - 1];
	return vtfs_line_open(&q->line, c, s, q->taken ? q->ep_fd : c->ep_fd);
}

int vtfs_client_start_queues(struct virtiofs_client *c)
{
	int r;

	for (; c->substep < vtfs_client_places(c); c->substep++) {
		r = c->t->cli->start_queue(c->t, &c->setup[c->substep]);
		if (r >= 0)
			r = vtfs_client_open_line(c, c->substep);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- registered ---- */

static int reg_map(struct virtiofs_client *c, struct vtfs_reg *reg,
		   uint64_t *ret_peer)
{
	struct virtiofs_region region = {
	    .size = sizeof(region),
	    .addr = (void *)(uintptr_t)reg->addr,
	    .len = reg->len,
	    .fd_offset = reg->fd_offset,
	    .fd = reg->fd,
	};

	int r = c->t->cli->map(c->t, &region, ret_peer);

	reg->shared = r >= 0;
	return r;
}

int vtfs_client_share_regions(struct virtiofs_client *c)
{
	uint64_t peer;
	int r;

	for (; c->substep < c->regs.cnt; c->substep++) {
		struct vtfs_reg *reg = &c->regs.reg[c->substep];

		if (!reg->used)
			continue;
		vtfs_regs_hide(reg);
		r = reg_map(c, reg, &peer);
		if (r < 0)
			return r;
		vtfs_regs_publish(reg, peer);
	}
	return 0;
}

static uint64_t call_deadline(const struct virtiofs_client *c)
{
	if (!c->opts.timeout_ms)
		return 0;
	return vtfs_now() + c->opts.timeout_ms * 1000000ULL;
}

static int map_now(struct virtiofs_client *c, struct vtfs_reg *reg)
{
	uint64_t deadline = call_deadline(c);
	uint64_t peer;
	int r;

	pthread_mutex_lock(&c->tlock);
	vtfs_client_settle(c);
	do
		r = reg_map(c, reg, &peer);
	while (r == -EAGAIN && vtfs_client_transport_wait(c, deadline) >= 0);
	if (r == -EAGAIN)
		r = vtfs_fail(-ETIMEDOUT, "the device does not map memory");
	if (r == -ENOTCONN || r == -ETIMEDOUT)
		vtfs_client_hung_up(c, r);
	pthread_mutex_unlock(&c->tlock);
	if (r >= 0)
		vtfs_regs_publish(reg, peer);
	return r;
}

static int unmap_now(struct virtiofs_client *c, struct vtfs_reg *reg)
{
	uint64_t deadline = call_deadline(c);
	int r;

	pthread_mutex_lock(&c->tlock);
	vtfs_client_settle(c);
	do
		r = c->t->cli->unmap(c->t, reg->peer_addr);
	while (r == -EAGAIN && vtfs_client_transport_wait(c, deadline) >= 0);
	if (r == -EAGAIN)
		r = vtfs_fail(-ETIMEDOUT, "the device does not unmap memory");
	reg->shared = reg->shared && r < 0;
	if (r == -ENOTCONN || r == -ETIMEDOUT)
		vtfs_client_hung_up(c, r);
	pthread_mutex_unlock(&c->tlock);
	return r;
}

static int check_region(const struct virtiofs_region *region)
{
	if (region->size < sizeof(*region) || region->flags)
		return vtfs_fail(-EINVAL, "region of size %zu, flags %#x",
				 region->size, region->flags);
	if (!region->addr || !region->len)
		return vtfs_fail(-EINVAL, "empty region");
	if (((uintptr_t)region->addr | region->len | region->fd_offset) %
	    VTFS_PAGE)
		return vtfs_fail(-EINVAL, "region is not made of pages");
	return 0;
}

static int map_region(struct virtiofs_client *c,
		      const struct virtiofs_region *region, bool ours)
{
	struct vtfs_reg *reg;
	int r;

	r = vtfs_regs_add(&c->regs, region, &reg);
	if (r < 0)
		return r;
	/* Before start: start maps it. */
	if (vtfs_client_running(c))
		r = map_now(c, reg);
	if (r < 0)
		vtfs_regs_drop(reg);
	else
		reg->ours = ours;
	return r;
}

int virtiofs_client_map_region(struct virtiofs_client *c,
			       const struct virtiofs_region *region)
{
	int r = check_region(region);

	return r < 0 ? r : map_region(c, region, false);
}

int virtiofs_client_alloc_region(struct virtiofs_client *c, size_t len,
				 struct virtiofs_region *ret)
{
	struct virtiofs_region region = {.size = sizeof(region)};
	struct vtfs_share mem;
	int r;

	r = alloc(c, len, &mem);
	if (r < 0)
		return r;
	region.addr = mem.addr;
	region.len = mem.len;
	region.fd = mem.fd;
	r = map_region(c, &region, true);
	if (r < 0) {
		vtfs_share_free(&mem);
		return r;
	}
	/* The registry has its own. */
	region.fd = vtfs_regs_find(&c->regs, mem.addr, mem.len)->fd;
	mem.addr = NULL;
	vtfs_share_free(&mem);
	*ret = region;
	return 0;
}

static bool reg_held(const struct virtiofs_client *c,
		     const struct vtfs_reg *reg)
{
	size_t i = (size_t)(reg - c->regs.reg);

	for (unsigned k = 0; k < c->opts.num_request_queues; k++)
		if (vtfs_load_acquire(&c->queues[k].pins.cnt[i]))
			return true;
	return false;
}

int virtiofs_client_unmap_region(struct virtiofs_client *c,
				 const struct virtiofs_region *region)
{
	struct vtfs_reg *reg = vtfs_regs_find(&c->regs, region->addr,
					      region->len);
	bool shown;
	int r = 0;

	if (!reg)
		return vtfs_fail(-EINVAL, "no such region");
	shown = reg->seq & 1;
	vtfs_regs_hide(reg);
	if (reg_held(c, reg)) {
		if (shown)
			vtfs_regs_publish(reg, reg->peer_addr);
		return vtfs_fail(-EBUSY, "an op uses this region");
	}
	if (shown && vtfs_client_running(c))
		r = unmap_now(c, reg);
	/* A peer that is gone has no use for it either. */
	if (r < 0 && vtfs_client_running(c))
		return r;
	vtfs_regs_drop(reg);
	return 0;
}
