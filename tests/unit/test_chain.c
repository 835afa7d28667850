/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains that keep the rules, in each shape the rules allow. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM   16u
#define PARTS 12u

static void start(struct rawring *r, void **state, uint32_t more)
{
	raw_driver_start(r, *(const uint32_t *)*state | more, NUM, PARTS);
}

static void pop(struct rawring *r, struct vtfs_chain *c)
{
	assert_int_equal(vtfs_vq_dev_pop(r->vq, r->mem.table, c), 1);
}

/* Part i of c is [off, off + len) of the buffers, as the device maps them. */
static void expect_part(const struct rawring *r, const struct vtfs_chain *c,
			unsigned i, size_t off, size_t len)
{
	const unsigned char *bufs = r->mem.view[RINGMEM_DEV].bufs;

	assert_ptr_equal(c->iov[i].iov_base, bufs + off);
	assert_int_equal(c->iov[i].iov_len, len);
}

static struct raw_part part(const struct rawring *r, size_t off, uint32_t len,
			    uint16_t flags)
{
	return (struct raw_part){raw_addr(r, off), len, flags};
}

/* Two readable parts (100, 20 at 1000; 7 at 2000), three writable (16 at 64,
 * 50 at 4000, 1 at 5000). */
#define MIXED_CNT 5u

static void mixed(const struct rawring *r, struct raw_part *p)
{
	p[0] = part(r, 1000, 120, 0);
	p[1] = part(r, 2000, 7, 0);
	p[2] = part(r, 64, 16, RAW_WRITE);
	p[3] = part(r, 4000, 50, RAW_WRITE);
	p[4] = part(r, 5000, 1, RAW_WRITE);
}

static void expect_mixed(const struct rawring *r, const struct vtfs_chain *c)
{
	assert_int_equal(c->fault, 0);
	assert_int_equal(c->readable_cnt, 2);
	assert_int_equal(c->writable_cnt, 3);
	assert_int_equal(c->readable_len, 127);
	assert_int_equal(c->writable_len, 67);
	expect_part(r, c, 0, 1000, 120);
	expect_part(r, c, 1, 2000, 7);
	expect_part(r, c, 2, 64, 16);
	expect_part(r, c, 3, 4000, 50);
	expect_part(r, c, 4, 5000, 1);
}

/* covers: PACK-DEV-16 */
static void direct_parts_come_in_order(void **state)
{
	struct raw_part p[MIXED_CNT];
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	mixed(&r, p);
	/* Around the ring's end, several times. */
	for (uint16_t i = 0; i < 5 * NUM; i++) {
		uint16_t id = raw_send(&r, p, MIXED_CNT, i % NUM);

		pop(&r, &c);
		assert_int_equal(c.id, id);
		assert_int_equal(c.ring_cnt, r.packed ? MIXED_CNT : 1);
		expect_mixed(&r, &c);
		vtfs_vq_dev_push(r.vq, c.id, c.ring_cnt, 0);
		vtfs_vq_dev_publish(r.vq);
	}
	raw_stop(&r);
}

/* Packed: an id other than that of the last descriptor means nothing.
 * covers: PACK-DRV-05 */
static void packed_id_is_that_of_the_last(void **state)
{
	struct raw_part p[MIXED_CNT];
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	mixed(&r, p);
	raw_send(&r, p, MIXED_CNT, 9);
	for (uint32_t i = 0; i + 1 < MIXED_CNT; i++)
		raw_put16(raw_desc(&r, i) + 12, 0xffff);
	pop(&r, &c);
	assert_int_equal(c.id, 9);
	raw_stop(&r);
}

/* covers: SPLIT-BTH-06 */
static void one_direction_alone(void **state)
{
	struct vtfs_chain c;
	struct raw_part p;
	struct rawring r;

	start(&r, state, 0);
	p = part(&r, 10, 30, 0);
	raw_send(&r, &p, 1, 0);
	pop(&r, &c);
	assert_int_equal(c.readable_cnt, 1);
	assert_int_equal(c.writable_cnt, 0);
	assert_int_equal(c.readable_len, 30);
	assert_int_equal(c.writable_len, 0);
	p.flags = RAW_WRITE;
	raw_send(&r, &p, 1, 1);
	pop(&r, &c);
	assert_int_equal(c.readable_cnt, 0);
	assert_int_equal(c.writable_cnt, 1);
	assert_int_equal(c.readable_len, 0);
	assert_int_equal(c.writable_len, 30);
	expect_part(&r, &c, 0, 10, 30);
	raw_stop(&r);
}

/* covers: SPLIT-DEV-01 */
static void adjacent_parts_are_one_but_for_the_direction(void **state)
{
	struct raw_part p[6];
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	for (unsigned i = 0; i < 6; i++)
		p[i] = part(&r, 100 + 10 * i, 10, i < 3 ? 0 : RAW_WRITE);
	raw_send(&r, p, 6, 0);
	pop(&r, &c);
	assert_int_equal(c.readable_cnt, 1);
	assert_int_equal(c.writable_cnt, 1);
	expect_part(&r, &c, 0, 100, 30);
	expect_part(&r, &c, 1, 130, 30);
	raw_stop(&r);
}

/* A byte per descriptor says the same as one descriptor.
 * covers: SPLIT-DEV-01 */
static void cut_byte_by_byte_is_the_same(void **state)
{
	struct raw_part p[NUM];
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	for (unsigned i = 0; i < NUM; i++)
		p[i] = part(&r, 200 + i, 1, i < 9 ? 0 : RAW_WRITE);
	raw_send(&r, p, NUM, 0);
	pop(&r, &c);
	assert_int_equal(c.fault, 0);
	assert_int_equal(c.readable_cnt, 1);
	assert_int_equal(c.writable_cnt, 1);
	expect_part(&r, &c, 0, 200, 9);
	expect_part(&r, &c, 1, 209, NUM - 9);
	raw_stop(&r);
}

/* Nothing has no address either. covers: SPLIT-DEV-31 */
static void zero_length_is_nothing(void **state)
{
	struct raw_part p[5];
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	p[0] = (struct raw_part){0xdead0000, 0, 0};
	p[1] = part(&r, 8, 8, 0);
	p[2] = (struct raw_part){UINT64_MAX, 0, 0};
	p[3] = (struct raw_part){0, 0, RAW_WRITE};
	p[4] = part(&r, 16, 8, RAW_WRITE);
	raw_send(&r, p, 5, 0);
	pop(&r, &c);
	assert_int_equal(c.fault, 0);
	assert_int_equal(c.readable_cnt, 1);
	assert_int_equal(c.writable_cnt, 1);
	expect_part(&r, &c, 0, 8, 8);
	expect_part(&r, &c, 1, 16, 8);
	vtfs_vq_dev_push(r.vq, c.id, c.ring_cnt, 0);
	/* And a chain of nothing but nothing. */
	raw_send(&r, p, 1, 1);
	pop(&r, &c);
	assert_int_equal(c.fault, 0);
	assert_int_equal(c.readable_cnt + c.writable_cnt, 0);
	raw_stop(&r);
}

/* covers: SPLIT-DEV-07, PACK-DEV-06 */
static void write_on_the_table_is_ignored(void **state)
{
	struct raw_part p[MIXED_CNT], t;
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	mixed(&r, p);
	for (uint16_t i = 0; i < 4; i++) {
		t = raw_table(&r, 32768, p, MIXED_CNT);
		t.flags |= i & 1 ? RAW_WRITE : 0;
		raw_send(&r, &t, 1, i);
		pop(&r, &c);
		assert_int_equal(c.ring_cnt, 1);
		expect_mixed(&r, &c);
	}
	raw_stop(&r);
}

/* covers: SPLIT-DEV-08, SPLIT-DEV-07 */
static void split_direct_then_table(void **state)
{
	struct raw_part p[MIXED_CNT];
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	for (unsigned direct = 1; direct < MIXED_CNT; direct++) {
		mixed(&r, p);
		p[direct] = raw_table(&r, 32768, p + direct,
				      MIXED_CNT - direct);
		p[direct].flags |= RAW_WRITE;
		raw_send(&r, p, direct + 1, 0);
		pop(&r, &c);
		expect_mixed(&r, &c);
		vtfs_vq_dev_push(r.vq, c.id, c.ring_cnt, 0);
		vtfs_vq_dev_publish(r.vq);
	}
	raw_stop(&r);
}

/* Entries of a split table go by next, from entry 0, in whatever order. */
static void split_table_goes_by_next(void **state)
{
	static const uint16_t order[MIXED_CNT] = {0, 4, 2, 1, 3};
	struct raw_part p[MIXED_CNT], t;
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	mixed(&r, p);
	t = raw_table(&r, 32768, p, MIXED_CNT);
	for (unsigned i = 0; i < MIXED_CNT; i++) {
		bool last = i + 1 == MIXED_CNT;

		raw_put_desc(raw_bytes(&r, 32768 + 16u * order[i]), p[i].addr,
			     p[i].len,
			     (uint16_t)(p[i].flags | (last ? 0 : RAW_NEXT)),
			     last ? 0xffff : order[i + 1]);
	}
	raw_send(&r, &t, 1, 0);
	pop(&r, &c);
	expect_mixed(&r, &c);
	raw_stop(&r);
}

/* Of a packed table's entries only addr, len and WRITE are looked at.
 * covers: PACK-DEV-05 */
static void packed_table_has_no_other_flags(void **state)
{
	static const uint16_t noise[] = {RAW_NEXT, RAW_AVAIL, RAW_USED,
					 RAW_AVAIL | RAW_USED, 0x7f7c};
	struct raw_part p[MIXED_CNT], t;
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	mixed(&r, p);
	for (unsigned i = 0; i < MIXED_CNT; i++)
		p[i].flags |= noise[i];
	t = raw_table(&r, 32768, p, MIXED_CNT);
	for (unsigned i = 0; i < MIXED_CNT; i++)
		raw_put16(raw_bytes(&r, 32768 + 16 * i) + 12,
			  (uint16_t)(0xffff - i));
	raw_send(&r, &t, 1, 3);
	pop(&r, &c);
	assert_int_equal(c.id, 3);
	expect_mixed(&r, &c);
	raw_stop(&r);
}

/* Nothing says where a table must begin. */
static void table_need_not_be_aligned(void **state)
{
	struct raw_part p[MIXED_CNT], t;
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	mixed(&r, p);
	for (uint16_t i = 1; i < NUM; i++) {
		t = raw_table(&r, 32768u + i, p, MIXED_CNT);
		raw_send(&r, &t, 1, i);
		pop(&r, &c);
		expect_mixed(&r, &c);
	}
	raw_stop(&r);
}

/* covers: SPLIT-DEV-02 */
static void chain_as_long_as_the_ring_is_no_loop(void **state)
{
	struct raw_part p[NUM];
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	for (unsigned i = 0; i < NUM; i++)
		p[i] = part(&r, 100 * i, 100, 0);
	for (uint16_t i = 0; i < 3; i++) {
		raw_send(&r, p, NUM, i);
		pop(&r, &c);
		assert_int_equal(c.fault, 0);
		assert_int_equal(c.readable_len, 100 * NUM);
		vtfs_vq_dev_push(r.vq, c.id, c.ring_cnt, 0);
		vtfs_vq_dev_publish(r.vq);
	}
	raw_stop(&r);
}

static void table_longer_than_the_ring_is_taken(void **state)
{
	struct raw_part p[4 * NUM], t;
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	for (unsigned i = 0; i < 4 * NUM; i++)
		p[i] = part(&r, 100 * i, 100, RAW_WRITE);
	t = raw_table(&r, 32768, p, 4 * NUM);
	raw_send(&r, &t, 1, 0);
	pop(&r, &c);
	assert_int_equal(c.fault, 0);
	assert_int_equal(c.writable_len, 400 * NUM);
	raw_stop(&r);
}

/* Two regions that follow on in peer addresses, but not in ours. */
static struct vtfs_table *two_regions(const struct rawring *r)
{
	struct vtfs_region_desc d = {.fd = -1, .len = 4096};
	struct vtfs_region *regions[2];
	struct vtfs_table *t;

	d.peer_addr = 0x10000;
	d.addr = r->mem.view[RINGMEM_DEV].bufs + 8192;
	assert_int_equal(vtfs_region_new(&regions[0], &d, 70), 0);
	d.peer_addr = 0x11000;
	d.addr = r->mem.view[RINGMEM_DEV].bufs;
	assert_int_equal(vtfs_region_new(&regions[1], &d, 7), 0);
	assert_int_equal(vtfs_table_new(&t, regions, 2), 0);
	vtfs_region_put(regions[0]);
	vtfs_region_put(regions[1]);
	return t;
}

/* covers: SPLIT-DEV-31 */
static void buffer_across_regions_is_cut(void **state)
{
	struct raw_part p = {0x10ff0, 48, RAW_WRITE};
	struct vtfs_table *t;
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	t = two_regions(&r);
	raw_send(&r, &p, 1, 0);
	assert_int_equal(vtfs_vq_dev_pop(r.vq, t, &c), 1);
	assert_int_equal(c.fault, 0);
	assert_int_equal(c.writable_cnt, 2);
	assert_int_equal(c.writable_len, 48);
	expect_part(&r, &c, 0, 8192 + 0xff0, 16);
	expect_part(&r, &c, 1, 0, 32);
	vtfs_table_put(t);
	raw_stop(&r);
}

/* The caller pins what a chain touches by these bits. */
static void regions_touched_are_named(void **state)
{
	struct raw_part p[2] = {{0x10000, 8, 0}, {0x11000, 8, RAW_WRITE}};
	struct vtfs_table *t;
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, 0);
	t = two_regions(&r);
	raw_send(&r, p, 2, 0);
	assert_int_equal(vtfs_vq_dev_pop(r.vq, t, &c), 1);
	assert_int_equal(c.regions[0], 1u << 7);
	assert_int_equal(c.regions[1], 1u << 6);
	raw_send(&r, &p[0], 1, 1);
	assert_int_equal(vtfs_vq_dev_pop(r.vq, t, &c), 1);
	assert_int_equal(c.regions[0], 0);
	assert_int_equal(c.regions[1], 1u << 6);
	vtfs_table_put(t);
	raw_stop(&r);
}

/* A look-up begins where the last one ended; the table may be another then. */
static void tables_change_between_chains(void **state)
{
	struct raw_part high = {0x11000, 8, 0};
	struct vtfs_table *two;
	struct vtfs_chain c;
	struct raw_part low;
	struct rawring r;

	start(&r, state, 0);
	low = part(&r, 0, 8, 0);
	for (uint16_t i = 0; i < 8; i += 2) {
		two = two_regions(&r);
		raw_send(&r, &high, 1, i);
		assert_int_equal(vtfs_vq_dev_pop(r.vq, two, &c), 1);
		assert_int_equal(c.fault, 0);
		vtfs_table_put(two);
		raw_send(&r, &low, 1, (uint16_t)(i + 1));
		pop(&r, &c);
		assert_int_equal(c.fault, 0);
		expect_part(&r, &c, 0, 0, 8);
	}
	raw_send(&r, &low, 1, 9);
	assert_int_equal(vtfs_vq_dev_pop(r.vq, NULL, &c), 1);
	assert_int_equal(c.fault, -EFAULT);
	raw_stop(&r);
}

static uint32_t split;
static uint32_t packed = VTFS_VQ_PACKED;

#define only(layout, f)                                                        \
	{                                                                      \
#f, f, NULL, NULL, &layout                                     \
	}
#define both(f)                                                                \
	{#f " split", f, NULL, NULL, &split},                                  \
	{                                                                      \
#f " packed", f, NULL, NULL, &packed                           \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    both(direct_parts_come_in_order),
	    only(packed, packed_id_is_that_of_the_last),
	    both(one_direction_alone),
	    both(adjacent_parts_are_one_but_for_the_direction),
	    both(cut_byte_by_byte_is_the_same),
	    both(zero_length_is_nothing),
	    both(write_on_the_table_is_ignored),
	    only(split, split_direct_then_table),
	    only(split, split_table_goes_by_next),
	    only(packed, packed_table_has_no_other_flags),
	    both(table_need_not_be_aligned),
	    both(chain_as_long_as_the_ring_is_no_loop),
	    both(table_longer_than_the_ring_is_taken),
	    both(buffer_across_regions_is_cut),
	    both(regions_touched_are_named),
	    both(tables_change_between_chains),
	};

	return cmocka_run_group_tests_name("vq/chain", tests, NULL, NULL);
}
