/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chain faults, and what looks available but is not. */
#include "ring_dev.h"

#include <sys/mman.h>

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

/* One chain of three parts in such memory, popped. */
static void pop_vast(struct rawring *r, void **state, const struct raw_part *p,
		     struct vtfs_chain *c)
{
	struct vtfs_table *t;
	void *map;

	start(r, state, 0);
	t = vast(&map);
	raw_send(r, p, 3, 0);
	assert_int_equal(vtfs_vq_dev_pop(r->vq, t, c), 1);
	vtfs_table_put(t);
	munmap(map, UINT64_C(6) << 30);
}

/* covers: SPLIT-DRV-04 */
static void chain_of_more_than_4_gib(void **state)
{
	struct raw_part p[3] = {
	    {0x100000000, 0x80000000, 0},
	    {0x180000000, 0x80000000, RAW_WRITE},
	    {0x200000000, 1, RAW_WRITE},
	};
	struct vtfs_chain c;
	struct rawring r;

	pop_vast(&r, state, p, &c);
	assert_int_equal(c.fault, -E2BIG);
	assert_int_equal(c.readable_len, 0x80000000);
	assert_int_equal(c.writable_len, 0x80000000);
	expect_alive(&r, &c);
}

/* A second fault does not hide the first. */
static void two_faults_are_told_as_the_first(void **state)
{
	struct raw_part p[3] = {
	    {NOWHERE, 8, 0},
	    {0x100000000, 0x80000000, RAW_WRITE},
	    {0x180000000, 0x80000000, RAW_WRITE},
	};
	struct vtfs_chain c;
	struct rawring r;

	pop_vast(&r, state, p, &c);
	assert_int_equal(c.fault, -EFAULT);
	assert_int_equal(c.readable_cnt, 0);
	assert_int_equal(c.writable_len, 0x80000000);
	expect_alive(&r, &c);
}

/* As long as the longest ring: no fault of the ring's, wherever it lies. */
static void longest_indirect_table_in_no_region(void **state)
{
	struct raw_part t = {NOWHERE, 32768u * 16, RAW_INDIRECT};
	struct vtfs_chain c;
	struct rawring r;

	start(&r, state, VTFS_VQ_INDIRECT);
	raw_send(&r, &t, 1, 0);
	expect_fault(&r, &c, -EFAULT, 0, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    both(address_in_no_region),
	    both(length_wraps_address),
	    both(buffer_leaves_its_region),
	    both(table_in_no_region),
	    both(too_many_parts),
	    both(too_many_readable_parts),
	    both(chain_of_more_than_4_gib),
	    both(two_faults_are_told_as_the_first),
	    both(longest_indirect_table_in_no_region),
	    both(ring_of_zeroes_has_nothing),
	    only(packed, stale_flags_are_not_available),
	};

	return cmocka_run_group_tests_name("hostile driver, chains", tests,
					   NULL, NULL);
}
