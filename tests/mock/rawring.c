/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rawring.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

void raw_put16(void *p, uint16_t x)
{
	unsigned char *b = p;

	b[0] = (unsigned char)x;
	b[1] = (unsigned char)(x >> 8);
}

void raw_put32(void *p, uint32_t x)
{
	raw_put16(p, (uint16_t)x);
	raw_put16((unsigned char *)p + 2, (uint16_t)(x >> 16));
}

void raw_put64(void *p, uint64_t x)
{
	raw_put32(p, (uint32_t)x);
	raw_put32((unsigned char *)p + 4, (uint32_t)(x >> 32));
}

uint16_t raw_get16(const void *p)
{
	const unsigned char *b = p;

	return (uint16_t)(b[0] | b[1] << 8);
}

uint32_t raw_get32(const void *p)
{
	return raw_get16(p) | (uint32_t)raw_get16((const unsigned char *)p + 2)
				  << 16;
}

uint64_t raw_get64(const void *p)
{
	return raw_get32(p) | (uint64_t)raw_get32((const unsigned char *)p + 4)
				  << 32;
}

static void start(struct rawring *r, const struct vtfs_vq_conf *conf)
{
	memset(r, 0, sizeof(*r));
	ringmem_init(&r->mem, conf, RAW_BUFS_LEN, 0);
	r->packed = conf->flags & VTFS_VQ_PACKED;
	r->num = conf->num;
	r->avail_wrap = true;
	r->used_wrap = true;
}

void raw_driver_start(struct rawring *r, uint32_t flags, uint32_t num,
		      uint32_t max_parts)
{
	struct vtfs_vq_conf conf = {
	    .flags = flags, .num = num, .max_parts = max_parts};

	start(r, &conf);
	r->device = true;
	r->v = &r->mem.view[RINGMEM_DRV];
	conf = ringmem_conf(&r->mem, RINGMEM_DEV);
	assert_int_equal(vtfs_vq_dev_new(&r->vq, &conf), 0);
	ringmem_protect(&r->mem);
}

void raw_device_start(struct rawring *r, uint32_t flags, uint32_t num,
		      uint32_t indirect_max)
{
	struct vtfs_vq_conf conf = {
	    .flags = flags, .num = num, .indirect_max = indirect_max};

	start(r, &conf);
	r->v = &r->mem.view[RINGMEM_DEV];
	conf = ringmem_conf(&r->mem, RINGMEM_DRV);
	assert_int_equal(vtfs_vq_drv_new(&r->vq, &conf), 0);
	ringmem_protect(&r->mem);
}

void raw_stop(struct rawring *r)
{
	if (r->device)
		vtfs_vq_dev_free(r->vq);
	else
		vtfs_vq_drv_free(r->vq);
	ringmem_fini(&r->mem);
}

unsigned char *raw_desc(const struct rawring *r, uint32_t i)
{
	return (unsigned char *)r->v->desc + 16 * (size_t)i;
}

unsigned char *raw_avail_flags(const struct rawring *r)
{
	return r->v->driver;
}

unsigned char *raw_avail_idx(const struct rawring *r)
{
	return (unsigned char *)r->v->driver + 2;
}

unsigned char *raw_avail_ring(const struct rawring *r, uint32_t i)
{
	return (unsigned char *)r->v->driver + 4 + 2 * (size_t)(i % r->num);
}

unsigned char *raw_used_event(const struct rawring *r)
{
	return (unsigned char *)r->v->driver + 4 + 2 * (size_t)r->num;
}

unsigned char *raw_used_flags(const struct rawring *r)
{
	return r->v->device;
}

unsigned char *raw_used_idx(const struct rawring *r)
{
	return (unsigned char *)r->v->device + 2;
}

unsigned char *raw_used_ring(const struct rawring *r, uint32_t i)
{
	return (unsigned char *)r->v->device + 4 + 8 * (size_t)(i % r->num);
}

unsigned char *raw_avail_event(const struct rawring *r)
{
	return (unsigned char *)r->v->device + 4 + 8 * (size_t)r->num;
}

unsigned char *raw_drv_event(const struct rawring *r)
{
	return r->v->driver;
}

unsigned char *raw_dev_event(const struct rawring *r)
{
	return r->v->device;
}

void raw_put_desc(void *p, uint64_t addr, uint32_t len, uint16_t x, uint16_t y)
{
	unsigned char *b = p;

	raw_put64(b, addr);
	raw_put32(b + 8, len);
	raw_put16(b + 12, x);
	raw_put16(b + 14, y);
}

uint64_t raw_addr(const struct rawring *r, size_t off)
{
	return ringmem_addr(&r->mem, off);
}

unsigned char *raw_bytes(const struct rawring *r, size_t off)
{
	return r->v->bufs + off;
}

static uint16_t linked(const struct raw_part *part, bool last)
{
	return (uint16_t)(part->flags | (last ? 0 : RAW_NEXT));
}

static uint16_t offer_split(struct rawring *r, const struct raw_part *parts,
			    unsigned cnt)
{
	uint16_t head = r->next_desc;

	for (unsigned i = 0; i < cnt; i++) {
		uint16_t next = (uint16_t)((r->next_desc + 1) % r->num);
		bool last = i + 1 == cnt;

		raw_put_desc(raw_desc(r, r->next_desc), parts[i].addr,
			     parts[i].len, linked(&parts[i], last),
			     last ? 0 : next);
		r->next_desc = next;
	}
	raw_put16(raw_avail_ring(r, r->avail), head);
	r->avail++;
	return head;
}

static uint16_t offer_packed(struct rawring *r, const struct raw_part *parts,
			     unsigned cnt, uint16_t id)
{
	uint16_t head = r->avail;
	uint16_t head_flags = 0;

	for (unsigned i = 0; i < cnt; i++) {
		uint16_t flags = linked(&parts[i], i + 1 == cnt);

		flags |= r->avail_wrap ? RAW_AVAIL : RAW_USED;
		if (!i)
			head_flags = flags;
		raw_put_desc(raw_desc(r, r->avail), parts[i].addr, parts[i].len,
			     id,
			     i ? flags : raw_get16(raw_desc(r, r->avail) + 14));
		if (++r->avail == r->num) {
			r->avail = 0;
			r->avail_wrap = !r->avail_wrap;
		}
	}
	raw_put16(raw_desc(r, head) + 14, head_flags);
	return id;
}

uint16_t raw_offer(struct rawring *r, const struct raw_part *parts,
		   unsigned cnt, uint16_t id)
{
	if (r->packed)
		return offer_packed(r, parts, cnt, id);
	return offer_split(r, parts, cnt);
}

void raw_offer_end(struct rawring *r)
{
	if (!r->packed)
		raw_put16(raw_avail_idx(r), r->avail);
}

uint16_t raw_send(struct rawring *r, const struct raw_part *parts, unsigned cnt,
		  uint16_t id)
{
	uint16_t head = raw_offer(r, parts, cnt, id);

	raw_offer_end(r);
	return head;
}

struct raw_part raw_table(struct rawring *r, size_t off,
			  const struct raw_part *parts, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++) {
		unsigned char *p = raw_bytes(r, off + 16 * (size_t)i);
		bool last = i + 1 == cnt;

		if (r->packed)
			raw_put_desc(p, parts[i].addr, parts[i].len, 0,
				     parts[i].flags);
		else
			raw_put_desc(p, parts[i].addr, parts[i].len,
				     linked(&parts[i], last),
				     last ? 0 : (uint16_t)(i + 1));
	}
	return (struct raw_part){raw_addr(r, off), 16 * cnt, RAW_INDIRECT};
}

static void step(const struct rawring *r, uint16_t *at, bool *wrap,
		 uint16_t cnt)
{
	uint32_t next = (uint32_t)*at + cnt;

	if (next >= r->num) {
		next -= r->num;
		*wrap = !*wrap;
	}
	*at = (uint16_t)next;
}

int raw_collect(struct rawring *r, uint16_t ring_cnt, uint32_t *ret_id,
		uint32_t *ret_len)
{
	const unsigned char *p;
	uint16_t want;

	if (!r->packed) {
		if (raw_get16(raw_used_idx(r)) == r->used)
			return 0;
		p = raw_used_ring(r, r->used++);
		*ret_id = raw_get32(p);
		*ret_len = raw_get32(p + 4);
		return 1;
	}
	p = raw_desc(r, r->used);
	want = r->used_wrap ? RAW_AVAIL | RAW_USED : 0;
	if ((raw_get16(p + 14) & (RAW_AVAIL | RAW_USED)) != want)
		return 0;
	*ret_id = raw_get16(p + 12);
	*ret_len = raw_get16(p + 14) & RAW_WRITE ? raw_get32(p + 8) : 0;
	step(r, &r->used, &r->used_wrap, ring_cnt);
	return 1;
}

static int take_packed(struct rawring *r, uint16_t *ret_id,
		       uint16_t *ret_ring_cnt)
{
	uint16_t want = r->avail_wrap ? RAW_AVAIL : RAW_USED;
	uint16_t cnt = 0;
	uint16_t flags;

	flags = raw_get16(raw_desc(r, r->avail) + 14);
	if ((flags & (RAW_AVAIL | RAW_USED)) != want)
		return 0;
	do {
		const unsigned char *p = raw_desc(r, r->avail);

		flags = raw_get16(p + 14);
		*ret_id = raw_get16(p + 12);
		step(r, &r->avail, &r->avail_wrap, 1);
		cnt++;
	} while (flags & RAW_NEXT && cnt < r->num);
	*ret_ring_cnt = cnt;
	return 1;
}

int raw_take(struct rawring *r, uint16_t *ret_id, uint16_t *ret_ring_cnt)
{
	if (r->packed)
		return take_packed(r, ret_id, ret_ring_cnt);
	if (raw_get16(raw_avail_idx(r)) == r->avail)
		return 0;
	*ret_id = raw_get16(raw_avail_ring(r, r->avail++));
	*ret_ring_cnt = 1;
	return 1;
}

void raw_return(struct rawring *r, uint32_t id, uint32_t len, uint16_t ring_cnt)
{
	unsigned char *p;
	uint16_t flags = len ? RAW_WRITE : 0;

	if (!r->packed) {
		p = raw_used_ring(r, r->used++);
		raw_put32(p, id);
		raw_put32(p + 4, len);
		raw_put16(raw_used_idx(r), r->used);
		return;
	}
	p = raw_desc(r, r->used);
	if (r->used_wrap)
		flags |= RAW_AVAIL | RAW_USED;
	raw_put32(p + 8, len);
	raw_put16(p + 12, (uint16_t)id);
	raw_put16(p + 14, flags);
	step(r, &r->used, &r->used_wrap, ring_cnt);
}
