/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ring faults: the queue is broken. */
#include "ring_dev.h"

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
	};

	return cmocka_run_group_tests_name("hostile driver, rings", tests, NULL,
					   NULL);
}
