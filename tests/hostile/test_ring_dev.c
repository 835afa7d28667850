/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device half and a driver that lies. A ring fault breaks the queue, for
 * ever; a chain fault costs one chain, and what of it can be reached comes out.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM	16u
#define PARTS	12u
#define TABLE	32768u	/* where tables lie in the buffers */
#define NOWHERE 0x1000u /* an address in no region */

static void start(struct rawring *r, void **state, uint32_t more)
{
	raw_driver_start(r, *(const uint32_t *)*state | more, NUM, PARTS);
}

static struct raw_part part(const struct rawring *r, size_t off, uint32_t len,
			    uint16_t flags)
{
	return (struct raw_part){raw_addr(r, off), len, flags};
}

static int pop(struct rawring *r, struct vtfs_chain *c)
{
	return vtfs_vq_dev_pop(r->vq, r->mem.table, c);
}

/* Broken: nothing comes out any more, whatever is sent, and nothing waits. */
static void expect_broken(struct rawring *r)
{
	struct raw_part good = part(r, 0, 8, 0);
	struct vtfs_chain c;
	uint32_t id, len;

	assert_int_equal(pop(r, &c), -EPROTO);
	raw_send(r, &good, 1, 15);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pop(r, &c), -EPROTO);
	assert_int_equal(vtfs_vq_dev_arm(r->vq), 0);
	assert_int_equal(vtfs_vq_dev_publish(r->vq), 0);
	r->used = 0;
	if (!r->packed)
		assert_int_equal(raw_collect(r, 1, &id, &len), 0);
	raw_stop(r);
}

/* The queue lives: the faulty chain goes back, and the next one is served. */
static void expect_alive(struct rawring *r, const struct vtfs_chain *faulty)
{
	struct raw_part good = part(r, 64, 8, RAW_WRITE);
	uint16_t id = (uint16_t)((faulty->id + 1) % NUM);
	struct vtfs_chain c;
	uint32_t got, len;

	vtfs_vq_dev_push(r->vq, faulty->id, faulty->ring_cnt, 0);
	vtfs_vq_dev_publish(r->vq);
	assert_int_equal(raw_collect(r, faulty->ring_cnt, &got, &len), 1);
	assert_int_equal(got, faulty->id);
	assert_int_equal(len, 0);
	id = raw_send(r, &good, 1, id);
	assert_int_equal(pop(r, &c), 1);
	assert_int_equal(c.id, id);
	assert_int_equal(c.fault, 0);
	assert_int_equal(c.writable_len, 8);
	raw_stop(r);
}

/* ---- ring faults: split ---- */

/* covers: SPLIT-DEV-11 */
static void avail_index_jumps(void **state)
{
	static const uint16_t jumps[] = {NUM + 1, 1000, 0x8000, 0xffff};
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(jumps); i++) {
		start(&r, state, 0);
		raw_put16(raw_avail_idx(&r), jumps[i]);
		expect_broken(&r);
	}
}

/* The largest step that is none: every head is new. */
static void avail_index_by_num_is_no_jump(void **state)
{
	struct vtfs_chain c;
	struct raw_part p;
	struct rawring r;

	start(&r, state, 0);
	p = part(&r, 0, 8, 0);
	for (unsigned i = 0; i < NUM; i++)
		raw_offer(&r, &p, 1, 0);
	raw_offer_end(&r);
	for (unsigned i = 0; i < NUM; i++)
		assert_int_equal(pop(&r, &c), 1);
	assert_int_equal(pop(&r, &c), 0);
	raw_stop(&r);
}

static void avail_index_goes_back(void **state)
{
	struct vtfs_chain c;
	struct raw_part p;
	struct rawring r;

	start(&r, state, 0);
	p = part(&r, 0, 8, 0);
	for (unsigned i = 0; i < 3; i++)
		raw_send(&r, &p, 1, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pop(&r, &c), 1);
	raw_put16(raw_avail_idx(&r), 2);
	expect_broken(&r);
}

/* covers: SPLIT-DEV-12 */
static void head_out_of_range(void **state)
{
	static const uint16_t heads[] = {NUM, NUM + 1, 0x7fff, 0x8000, 0xffff};
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(heads); i++) {
		start(&r, state, 0);
		raw_put16(raw_avail_ring(&r, 0), heads[i]);
		raw_put16(raw_avail_idx(&r), 1);
		r.avail = 1;
		expect_broken(&r);
	}
}

/* covers: PACK-DEV-19, ROB-DEV-04 */
static void head_already_in_flight(void **state)
{
	struct vtfs_chain c;
	struct raw_part p;
	struct rawring r;

	start(&r, state, 0);
	p = part(&r, 0, 8, 0);
	raw_send(&r, &p, 1, 5);
	assert_int_equal(pop(&r, &c), 1);
	r.next_desc = 0;
	raw_send(&r, &p, 1, 5);
	expect_broken(&r);
}

static void next_out_of_range(void **state)
{
	static const uint16_t nexts[] = {NUM, 0x8000, 0xffff};
	struct raw_part p;
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(nexts); i++) {
		start(&r, state, 0);
		p = part(&r, 0, 8, RAW_NEXT);
		raw_send(&r, &p, 1, 0);
		raw_put16(raw_desc(&r, 0) + 14, nexts[i]);
		expect_broken(&r);
	}
}

/* covers: SPLIT-DRV-04 */
static void chain_loops(void **state)
{
	struct raw_part p[NUM];
	struct rawring r;

	for (uint16_t back = 0; back < NUM; back++) {
		start(&r, state, 0);
		for (unsigned i = 0; i < NUM; i++)
			p[i] = part(&r, 8 * i, 8, 0);
		raw_send(&r, p, NUM, 0);
		raw_put16(raw_desc(&r, NUM - 1) + 12, RAW_NEXT);
		raw_put16(raw_desc(&r, NUM - 1) + 14, back);
		expect_broken(&r);
	}
}

/* covers: SPLIT-DRV-08 */
static void indirect_in_indirect(void **state)
{
	struct raw_part p[2], t;
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	p[0] = part(&r, 0, 8, 0);
	p[1] = part(&r, TABLE, 32, RAW_INDIRECT);
	t = raw_table(&r, TABLE, p, 2);
	raw_send(&r, &t, 1, 0);
	expect_broken(&r);
}

/* covers: SPLIT-DEV-09 */
static void next_out_of_the_table(void **state)
{
	static const uint16_t nexts[] = {2, 3, NUM, 0xffff};
	struct raw_part p[2], t;
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(nexts); i++) {
		start(&r, state, VTFS_VQ_INDIRECT);
		p[0] = part(&r, 0, 8, 0);
		p[1] = part(&r, 8, 8, 0);
		t = raw_table(&r, TABLE, p, 2);
		raw_put16(raw_bytes(&r, TABLE) + 14, nexts[i]);
		raw_send(&r, &t, 1, 0);
		expect_broken(&r);
	}
}

/* covers: SPLIT-DEV-09 */
static void table_loops(void **state)
{
	struct raw_part p[3], t;
	struct rawring r;

	for (uint16_t back = 0; back < 3; back++) {
		start(&r, state, VTFS_VQ_INDIRECT);
		for (unsigned i = 0; i < 3; i++)
			p[i] = part(&r, 8 * i, 8, 0);
		t = raw_table(&r, TABLE, p, 3);
		raw_put16(raw_bytes(&r, TABLE + 32) + 12, RAW_NEXT);
		raw_put16(raw_bytes(&r, TABLE + 32) + 14, back);
		raw_send(&r, &t, 1, 0);
		expect_broken(&r);
	}
}

/* ---- ring faults: packed ---- */

/* covers: PACK-DEV-19 */
static void buffer_id_out_of_range(void **state)
{
	static const uint16_t ids[] = {NUM, 0x7fff, 0x8000, 0xffff};
	struct raw_part p;
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(ids); i++) {
		start(&r, state, 0);
		p = part(&r, 0, 8, 0);
		raw_send(&r, &p, 1, ids[i]);
		expect_broken(&r);
	}
}

/* covers: PACK-DEV-20 */
static void list_without_end(void **state)
{
	struct raw_part p[NUM];
	struct rawring r;

	start(&r, state, 0);
	for (unsigned i = 0; i < NUM; i++)
		p[i] = part(&r, 8 * i, 8, RAW_NEXT);
	raw_send(&r, p, NUM, 0);
	expect_broken(&r);
}

/* covers: PACK-DEV-20 */
static void list_ends_in_a_slot_not_available(void **state)
{
	struct raw_part p[2];
	struct rawring r;

	start(&r, state, 0);
	p[0] = part(&r, 0, 8, 0);
	p[1] = part(&r, 8, 8, RAW_NEXT);
	raw_send(&r, p, 2, 0);
	expect_broken(&r);
	/* The slot holds what the next round would put there. */
	start(&r, state, 0);
	raw_put16(raw_desc(&r, 2) + 14, RAW_USED);
	raw_send(&r, p, 2, 0);
	expect_broken(&r);
}

/* covers: PACK-BTH-06 */
static void indirect_in_a_list(void **state)
{
	struct raw_part p[3];
	struct rawring r;

	for (unsigned at = 0; at < 3; at++) {
		start(&r, state, VTFS_VQ_INDIRECT);
		for (unsigned i = 0; i < 3; i++)
			p[i] = part(&r, 8 * i, 8, 0);
		p[at] = raw_table(&r, TABLE, p, 1);
		raw_send(&r, p, 3, 0);
		expect_broken(&r);
	}
}

/* More slots made available than were given back: the ids are all new. */
static void driver_laps_the_device(void **state)
{
	struct raw_part p[4];
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	for (unsigned i = 0; i < 4; i++)
		p[i] = part(&r, 8 * i, 8, 0);
	for (uint16_t id = 0; id < NUM / 4; id++) {
		raw_send(&r, p, 4, id);
		assert_int_equal(pop(&r, &c), 1);
	}
	raw_send(&r, p, 1, 9);
	expect_broken(&r);
}

/* ---- ring faults: both layouts ---- */

/* covers: SPLIT-DEV-10 */
static void indirect_without_feature(void **state)
{
	struct raw_part p, t;
	struct rawring r;

	start(&r, state, 0);
	p = part(&r, 0, 8, 0);
	t = raw_table(&r, TABLE, &p, 1);
	raw_send(&r, &t, 1, 0);
	expect_broken(&r);
}

/* covers: SPLIT-DEV-09, PACK-DEV-07 */
static void indirect_len_not_multiple_of_16(void **state)
{
	static const uint32_t lens[] = {0, 1, 8, 15, 17, 20, 24, 0xffffffff};
	struct raw_part p, t;
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(lens); i++) {
		start(&r, state, VTFS_VQ_INDIRECT);
		/* Its first entry alone is a chain, and ends there. */
		p = part(&r, 0, 8, 0);
		t = raw_table(&r, TABLE, &p, 1);
		t.len = lens[i];
		raw_send(&r, &t, 1, 0);
		expect_broken(&r);
	}
}

/* No ring has more descriptors than 32768, and so no chain. */
static void indirect_table_of_a_million(void **state)
{
	struct raw_part t = {0, 16u << 20, RAW_INDIRECT};
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	raw_send(&r, &t, 1, 0);
	expect_broken(&r);
}

/* covers: SPLIT-DRV-10 */
static void indirect_with_next(void **state)
{
	struct raw_part p[2];
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	p[1] = part(&r, 8, 8, 0);
	p[0] = raw_table(&r, TABLE, &p[1], 1);
	raw_send(&r, p, 2, 0);
	expect_broken(&r);
}

/* covers: SPLIT-DEV-03, PACK-DRV-17 */
static void readable_after_writable(void **state)
{
	struct raw_part p[3], t;
	struct rawring r;

	start(&r, state, 0);
	p[0] = part(&r, 0, 8, 0);
	p[1] = part(&r, 8, 8, RAW_WRITE);
	p[2] = part(&r, 16, 8, 0);
	raw_send(&r, p, 3, 0);
	expect_broken(&r);
	start(&r, state, VTFS_VQ_INDIRECT);
	t = raw_table(&r, TABLE, p, 3);
	raw_send(&r, &t, 1, 0);
	expect_broken(&r);
	/* An empty one is out of order all the same. */
	start(&r, state, 0);
	p[2].len = 0;
	raw_send(&r, p, 3, 0);
	expect_broken(&r);
}

/* covers: SPLIT-DEV-03 */
static void readable_table_after_writable(void **state)
{
	struct raw_part p[2], inner;
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	inner = part(&r, 16, 8, 0);
	p[0] = part(&r, 0, 8, RAW_WRITE);
	p[1] = raw_table(&r, TABLE, &inner, 1);
	raw_send(&r, p, 2, 0);
	expect_broken(&r);
}

/* A fault of the chain doesn't hide a fault of the ring that follows. */
static void readable_after_writable_behind_a_bad_address(void **state)
{
	struct raw_part p[4];
	struct rawring r;

	start(&r, state, 0);
	p[0] = (struct raw_part){NOWHERE, 8, 0};
	p[1] = part(&r, 0, 8, 0);
	p[2] = part(&r, 8, 8, RAW_WRITE);
	p[3] = part(&r, 16, 8, 0);
	raw_send(&r, p, 4, 0);
	expect_broken(&r);
}

/* A ring fault is this queue's own. covers: ROB-DEV-01 */
static void other_queues_go_on(void **state)
{
	struct rawring bad, good;
	struct vtfs_chain c;
	struct raw_part p[2];

	start(&bad, state, 0);
	start(&good, state, 0);
	p[0] = part(&bad, 0, 8, RAW_WRITE);
	p[1] = part(&bad, 0, 8, 0);
	raw_send(&bad, p, 2, 0);
	assert_int_equal(pop(&bad, &c), -EPROTO);
	raw_send(&good, p, 1, 0);
	assert_int_equal(pop(&good, &c), 1);
	expect_alive(&good, &c);
	/* And a reset makes the broken one new. */
	raw_stop(&bad);
	start(&bad, state, 0);
	raw_send(&bad, p, 1, 0);
	assert_int_equal(pop(&bad, &c), 1);
	expect_alive(&bad, &c);
}

/* What was in flight when the queue broke can be returned, or not. */
static void push_after_broken_is_harmless(void **state)
{
	struct vtfs_chain good, c;
	struct raw_part p[2];
	uint32_t id, len;
	struct rawring r;

	start(&r, state, 0);
	p[0] = part(&r, 0, 8, RAW_WRITE);
	p[1] = part(&r, 0, 8, 0);
	raw_send(&r, p, 1, 0);
	raw_send(&r, p, 2, 1);
	assert_int_equal(pop(&r, &good), 1);
	assert_int_equal(pop(&r, &c), -EPROTO);
	vtfs_vq_dev_push(r.vq, good.id, good.ring_cnt, 8);
	vtfs_vq_dev_publish(r.vq);
	assert_int_equal(raw_collect(&r, 1, &id, &len), 1);
	assert_int_equal(id, good.id);
	assert_int_equal(len, 8);
	assert_int_equal(pop(&r, &c), -EPROTO);
	raw_stop(&r);
}

/* ---- chain faults ---- */

static void expect_fault(struct rawring *r, struct vtfs_chain *c, int fault,
			 unsigned readable, unsigned writable)
{
	assert_int_equal(pop(r, c), 1);
	assert_int_equal(c->fault, fault);
	assert_int_equal(c->readable_cnt, readable);
	assert_int_equal(c->writable_cnt, writable);
}

/* covers: SPLIT-DEV-31 */
static void address_in_no_region(void **state)
{
	struct vtfs_chain c;
	struct raw_part p[6];
	struct rawring r;

	for (unsigned bad = 0; bad < 6; bad++) {
		start(&r, state, 0);
		for (unsigned i = 0; i < 6; i++)
			p[i] = part(&r, 100 * i, 50, i < 3 ? 0 : RAW_WRITE);
		p[bad].addr = NOWHERE;
		raw_send(&r, p, 6, 0);
		/* Of its direction what stands before, of the other all. */
		expect_fault(&r, &c, -EFAULT, bad < 3 ? bad : 3,
			     bad < 3 ? 3 : bad - 3);
		assert_int_equal(c.readable_len, 50 * c.readable_cnt);
		assert_int_equal(c.writable_len, 50 * c.writable_cnt);
		expect_alive(&r, &c);
	}
}

/* covers: SPLIT-DEV-31 */
static void length_wraps_address(void **state)
{
	static const struct raw_part lies[] = {
	    {UINT64_MAX, 2, RAW_WRITE},
	    {UINT64_MAX - 15, 0x80000000, RAW_WRITE},
	    {UINT64_MAX, 1, RAW_WRITE},
	};
	struct vtfs_chain c;
	struct raw_part p[2];
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(lies); i++) {
		start(&r, state, 0);
		p[0] = part(&r, 0, 8, RAW_WRITE);
		p[1] = lies[i];
		raw_send(&r, p, 2, 0);
		expect_fault(&r, &c, -EFAULT, 0, 1);
		assert_int_equal(c.writable_len, 8);
		expect_alive(&r, &c);
	}
}

/* covers: SPLIT-DEV-31 */
static void buffer_leaves_its_region(void **state)
{
	struct vtfs_chain c;
	struct raw_part p;
	struct rawring r;

	start(&r, state, 0);
	/* The last byte that exists, and one more. */
	p = part(&r, RAW_BUFS_LEN - 1, 2, RAW_WRITE);
	raw_send(&r, &p, 1, 0);
	expect_fault(&r, &c, -EFAULT, 0, 1);
	assert_int_equal(c.writable_len, 1);
	expect_alive(&r, &c);
	start(&r, state, 0);
	p = part(&r, 0, 0xffffffff, RAW_WRITE);
	raw_send(&r, &p, 1, 0);
	expect_fault(&r, &c, -EFAULT, 0, 1);
	assert_int_equal(c.writable_len, RAW_BUFS_LEN);
	expect_alive(&r, &c);
}

static void table_in_no_region(void **state)
{
	static const uint64_t lies[] = {NOWHERE, UINT64_MAX - 15,
					RINGMEM_PEER_ADDR + RAW_BUFS_LEN - 16};
	struct raw_part t = {0, 32, RAW_INDIRECT};
	struct vtfs_chain c;
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(lies); i++) {
		start(&r, state, VTFS_VQ_INDIRECT);
		t.addr = lies[i];
		raw_send(&r, &t, 1, 0);
		expect_fault(&r, &c, -EFAULT, 0, 0);
		expect_alive(&r, &c);
	}
}

/* More parts than the session can hold. covers: SPLIT-DEV-02, PACK-DEV-17 */
static void too_many_parts(void **state)
{
	struct vtfs_chain c;
	struct raw_part p[NUM];
	struct rawring r;

	start(&r, state, 0);
	for (unsigned i = 0; i < NUM; i++)
		p[i] = part(&r, 100 * i, 50, RAW_WRITE);
	raw_send(&r, p, NUM, 0);
	expect_fault(&r, &c, -E2BIG, 0, PARTS);
	assert_int_equal(c.writable_len, 50 * PARTS);
	expect_alive(&r, &c);
}

/* Readable parts alone are too many: room for an answer is kept. */
static void too_many_readable_parts(void **state)
{
	struct vtfs_chain c;
	struct raw_part p[NUM];
	struct rawring r;

	start(&r, state, 0);
	for (unsigned i = 0; i < NUM; i++)
		p[i] = part(&r, 100 * i, 50, i < NUM - 2 ? 0 : RAW_WRITE);
	raw_send(&r, p, NUM, 0);
	expect_fault(&r, &c, -E2BIG, PARTS - 4, 2);
	assert_int_equal(c.readable_len, 50 * c.readable_cnt);
	assert_int_equal(c.writable_len, 100);
	expect_alive(&r, &c);
}

/* A region of 6 GiB that has addresses, but no bytes. */
static struct vtfs_table *vast(void **ret_map)
{
	struct vtfs_region_desc d = {
	    .peer_addr = 0x100000000, .len = UINT64_C(6) << 30, .fd = -1};
	struct vtfs_region *region;
	struct vtfs_table *t;

	d.addr = mmap(NULL, d.len, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(d.addr, MAP_FAILED);
	assert_int_equal(vtfs_region_new(&region, &d, 0), 0);
	assert_int_equal(vtfs_table_new(&t, &region, 1), 0);
	vtfs_region_put(region);
	*ret_map = d.addr;
	return t;
}

/* covers: SPLIT-DRV-04 */
static void chain_of_more_than_4_gib(void **state)
{
	struct raw_part p[3] = {
	    {0x100000000, 0x80000000, 0},
	    {0x180000000, 0x80000000, RAW_WRITE},
	    {0x200000000, 1, RAW_WRITE},
	};
	struct vtfs_table *t;
	struct vtfs_chain c;
	struct rawring r;
	void *map;

	start(&r, state, 0);
	t = vast(&map);
	raw_send(&r, p, 3, 0);
	assert_int_equal(vtfs_vq_dev_pop(r.vq, t, &c), 1);
	assert_int_equal(c.fault, -E2BIG);
	assert_int_equal(c.readable_len, 0x80000000);
	assert_int_equal(c.writable_len, 0x80000000);
	vtfs_table_put(t);
	munmap(map, UINT64_C(6) << 30);
	expect_alive(&r, &c);
}

/* ---- things that look available, but are not ---- */

/* covers: PACK-BTH-04, PACK-DEV-14 */
static void ring_of_zeroes_has_nothing(void **state)
{
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(pop(&r, &c), 0);
		assert_int_equal(vtfs_vq_dev_arm(r.vq), 0);
	}
	raw_stop(&r);
}

/* covers: PACK-DEV-14 */
static void stale_flags_are_not_available(void **state)
{
	static const uint16_t stale[] = {0, RAW_USED, RAW_AVAIL | RAW_USED,
					 RAW_NEXT | RAW_WRITE};
	struct vtfs_chain c;
	struct raw_part p;
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(stale); i++) {
		start(&r, state, 0);
		for (uint32_t slot = 0; slot < NUM; slot++)
			raw_put_desc(raw_desc(&r, slot), NOWHERE, 16, 1,
				     stale[i]);
		assert_int_equal(pop(&r, &c), 0);
		p = part(&r, 0, 8, 0);
		raw_send(&r, &p, 1, 4);
		assert_int_equal(pop(&r, &c), 1);
		assert_int_equal(c.id, 4);
		assert_int_equal(pop(&r, &c), 0);
		raw_stop(&r);
	}
}

static uint32_t split;
static uint32_t packed = VTFS_VQ_PACKED;

#define only(layout, f)                                                        \
	{                                                                      \
#f " " #layout, f, NULL, NULL, &layout                         \
	}
#define both(f) only(split, f), only(packed, f)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    only(split, avail_index_jumps),
	    only(split, avail_index_by_num_is_no_jump),
	    only(split, avail_index_goes_back),
	    only(split, head_out_of_range),
	    both(head_already_in_flight),
	    only(split, next_out_of_range),
	    only(split, chain_loops),
	    only(split, indirect_in_indirect),
	    only(split, next_out_of_the_table),
	    only(split, table_loops),
	    only(packed, buffer_id_out_of_range),
	    only(packed, list_without_end),
	    only(packed, list_ends_in_a_slot_not_available),
	    only(packed, indirect_in_a_list),
	    only(packed, driver_laps_the_device),
	    both(indirect_without_feature),
	    both(indirect_len_not_multiple_of_16),
	    both(indirect_table_of_a_million),
	    both(indirect_with_next),
	    both(readable_after_writable),
	    only(split, readable_table_after_writable),
	    both(readable_after_writable_behind_a_bad_address),
	    both(other_queues_go_on),
	    both(push_after_broken_is_harmless),
	    both(address_in_no_region),
	    both(length_wraps_address),
	    both(buffer_leaves_its_region),
	    both(table_in_no_region),
	    both(too_many_parts),
	    both(too_many_readable_parts),
	    both(chain_of_more_than_4_gib),
	    both(ring_of_zeroes_has_nothing),
	    only(packed, stale_flags_are_not_available),
	};

	return cmocka_run_group_tests_name("hostile driver", tests, NULL, NULL);
}
