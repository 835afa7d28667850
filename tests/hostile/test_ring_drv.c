/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver half and a device that lies. Whatever it claims, no token comes
 * back that is not in flight, none twice, and no length above the room.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM  16u
#define ROOM 100u

static void start(struct rawring *r, void **state)
{
	raw_device_start(r, *(const uint32_t *)*state, NUM, 0);
}

/* One readable and two writable buffers, ROOM bytes together. */
static void add(struct rawring *r, uint16_t token)
{
	struct vtfs_vq_buf b[3] = {{raw_addr(r, 0), 40},
				   {raw_addr(r, 64), 30},
				   {raw_addr(r, 128), ROOM - 30}};

	assert_int_equal(vtfs_vq_drv_add(r->vq, b, 1, 2, token), 0);
}

static void send(struct rawring *r, uint16_t token)
{
	add(r, token);
	vtfs_vq_drv_publish(r->vq);
}

static uint16_t take(struct rawring *r, uint16_t *ret_cnt)
{
	uint16_t id;

	assert_int_equal(raw_take(r, &id, ret_cnt), 1);
	return id;
}

static int get(struct rawring *r)
{
	uint16_t token = 0xabcd;
	uint32_t len = 0xabcdabcd;
	int got = vtfs_vq_drv_get(r->vq, &token, &len);

	if (got <= 0) {
		assert_int_equal(token, 0xabcd);
		assert_int_equal(len, 0xabcdabcd);
	}
	return got;
}

static void expect_broken(struct rawring *r)
{
	struct vtfs_vq_buf b = {raw_addr(r, 0), 8};

	for (int i = 0; i < 3; i++)
		assert_int_equal(get(r), -EPROTO);
	assert_int_equal(vtfs_vq_drv_add(r->vq, &b, 1, 0, 1), -EPROTO);
	assert_int_equal(vtfs_vq_drv_publish(r->vq), 0);
	assert_int_equal(vtfs_vq_drv_arm(r->vq), 0);
	raw_stop(r);
}

/* covers: SPLIT-DRV-20, PACK-DRV-25, ROB-DRV-01 */
static void used_id_out_of_range(void **state)
{
	static const uint32_t ids[] = {NUM, NUM + 1, 0x8000, 0xffff};
	uint16_t cnt;
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(ids); i++) {
		start(&r, state);
		send(&r, 1);
		take(&r, &cnt);
		raw_return(&r, ids[i], 0, cnt);
		expect_broken(&r);
	}
}

/* An id has 32 bits in a split ring; the lower 16 are right. */
static void used_id_of_more_than_16_bits(void **state)
{
	struct rawring r;
	uint16_t cnt;
	uint32_t id;

	start(&r, state);
	send(&r, 1);
	id = take(&r, &cnt);
	raw_return(&r, id | 0x10000, 0, cnt);
	expect_broken(&r);
	start(&r, state);
	send(&r, 1);
	raw_return(&r, 0xffffffff, 0, 1);
	expect_broken(&r);
}

/* covers: SPLIT-DRV-20 */
static void used_id_not_head(void **state)
{
	uint16_t next, cnt, id;
	struct rawring r;

	start(&r, state);
	send(&r, 1);
	id = take(&r, &cnt);
	next = raw_get16(raw_desc(&r, id) + 14);
	assert_int_not_equal(next, id);
	raw_return(&r, next, 0, cnt);
	expect_broken(&r);
}

/* covers: SPLIT-DRV-20, PACK-DRV-25 */
static void used_id_never_sent(void **state)
{
	uint16_t cnt, id;
	struct rawring r;

	start(&r, state);
	send(&r, 1);
	id = take(&r, &cnt);
	raw_return(&r, (id + 9u) % NUM, 0, cnt);
	expect_broken(&r);
}

/* covers: SPLIT-DRV-20, PACK-DRV-25 */
static void used_twice(void **state)
{
	uint16_t cnt, id;
	struct rawring r;

	start(&r, state);
	send(&r, 1);
	send(&r, 2);
	id = take(&r, &cnt);
	raw_return(&r, id, ROOM, cnt);
	raw_return(&r, id, ROOM, cnt);
	assert_int_equal(get(&r), 1);
	expect_broken(&r);
}

/* covers: SPLIT-DRV-20, PACK-DRV-25 */
static void used_len_too_long(void **state)
{
	static const uint32_t lens[] = {ROOM + 1, ROOM + 40, 0x80000000,
					0xffffffff};
	uint16_t cnt, id;
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(lens); i++) {
		start(&r, state);
		send(&r, 1);
		id = take(&r, &cnt);
		raw_return(&r, id, lens[i], cnt);
		expect_broken(&r);
	}
	start(&r, state);
	send(&r, 1);
	id = take(&r, &cnt);
	raw_return(&r, id, ROOM, cnt);
	assert_int_equal(get(&r), 1);
	raw_stop(&r);
}

static void used_len_without_room(void **state)
{
	struct vtfs_vq_buf b;
	uint16_t cnt, id;
	struct rawring r;

	start(&r, state);
	b = (struct vtfs_vq_buf){raw_addr(&r, 0), 8};
	assert_int_equal(vtfs_vq_drv_add(r.vq, &b, 1, 0, 1), 0);
	vtfs_vq_drv_publish(r.vq);
	id = take(&r, &cnt);
	raw_return(&r, id, 1, cnt);
	expect_broken(&r);
}

/* covers: SPLIT-DRV-21 */
static void used_index_jumps(void **state)
{
	static const uint16_t jumps[] = {3, 4, NUM, 1000, 0x8000, 0xffff};
	struct rawring r;

	for (size_t i = 0; i < VTFS_ARRAY_LEN(jumps); i++) {
		start(&r, state);
		send(&r, 1);
		send(&r, 2);
		raw_put16(raw_used_idx(&r), jumps[i]);
		expect_broken(&r);
	}
}

/* covers: SPLIT-DRV-21 */
static void used_index_goes_back(void **state)
{
	uint16_t cnt, id;
	struct rawring r;

	start(&r, state);
	for (uint16_t i = 0; i < 3; i++) {
		send(&r, i);
		id = take(&r, &cnt);
		raw_return(&r, id, 0, cnt);
		assert_int_equal(get(&r), 1);
	}
	send(&r, 7);
	raw_put16(raw_used_idx(&r), 2);
	expect_broken(&r);
}

/* Added is not published: the device can't know of it. */
static void used_before_published(void **state)
{
	struct rawring r;

	start(&r, state);
	add(&r, 1);
	raw_return(&r, 0, 0, 3);
	expect_broken(&r);
}

/* Another one is in flight, so that the element itself is no surprise.
 * covers: SPLIT-DRV-20, PACK-DRV-25 */
static void used_before_published_while_another_is_in_flight(void **state)
{
	uint16_t first, second, cnt;
	struct rawring r;

	/* Which ids they get; and published, the second may be first. */
	start(&r, state);
	send(&r, 1);
	send(&r, 2);
	first = take(&r, &cnt);
	second = take(&r, &cnt);
	assert_int_not_equal(first, second);
	raw_return(&r, second, 0, cnt);
	assert_int_equal(get(&r), 1);
	raw_return(&r, first, 0, cnt);
	assert_int_equal(get(&r), 1);
	raw_stop(&r);

	start(&r, state);
	send(&r, 1);
	add(&r, 2);
	assert_int_equal(take(&r, &cnt), first);
	raw_return(&r, second, 0, cnt);
	expect_broken(&r);
}

/* covers: SPLIT-DRV-21, PACK-DRV-25 */
static void used_while_nothing_is_in_flight(void **state)
{
	struct rawring r;

	start(&r, state);
	raw_return(&r, 0, 0, 1);
	expect_broken(&r);
}

/* The driver does not look up its own chains in the ring. covers: ROB-DRV-01 */
static void descriptors_rewritten(void **state)
{
	bool seen[NUM] = {false};
	uint16_t ids[5], cnts[5];
	uint16_t token;
	uint32_t len;
	struct rawring r;

	start(&r, state);
	for (uint16_t round = 0; round < 2000; round++) {
		for (uint16_t i = 0; i < 5; i++)
			send(&r, (uint16_t)((round + i) % NUM));
		for (uint16_t i = 0; i < 5; i++)
			ids[i] = take(&r, &cnts[i]);
		/* By the driver's own mapping: the device's may lack the right,
		 * which a real one need not care about. */
		memset(r.mem.view[RINGMEM_DRV].desc, 0xff, NUM * 16);
		/* Not "used" in any round, so that the end can be seen. */
		for (uint32_t i = 0; r.packed && i < NUM; i++)
			raw_put16(raw_desc(&r, i) + 14, RAW_AVAIL);
		for (uint16_t i = 0; i < 5; i++)
			raw_return(&r, ids[4 - i], 1, cnts[4 - i]);
		memset(seen, 0, sizeof(seen));
		for (uint16_t i = 0; i < 5; i++) {
			assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len),
					 1);
			assert_true(token < NUM && !seen[token]);
			seen[token] = true;
		}
		assert_int_equal(get(&r), 0);
		assert_int_equal(vtfs_vq_drv_free_cnt(r.vq), NUM);
	}
	raw_stop(&r);
}

/* An avail ring and index of the driver's own are not read back either. */
static void avail_ring_rewritten(void **state)
{
	uint16_t cnt, id, idx;
	struct rawring r;

	start(&r, state);
	for (uint16_t i = 0; i < 100; i++) {
		send(&r, i % NUM);
		idx = raw_get16(raw_avail_idx(&r));
		assert_int_equal(idx, i + 1);
		id = take(&r, &cnt);
		memset(r.mem.view[RINGMEM_DRV].driver, 0xee,
		       r.mem.areas.driver_len);
		raw_return(&r, id, 0, cnt);
		assert_int_equal(get(&r), 1);
	}
	raw_stop(&r);
}

/* Any bytes at all: the driver half either breaks or stays sane. */
static void device_area_of_noise(void **state)
{
	uint32_t seed = 7;
	struct rawring r;

	for (int round = 0; round < 3000; round++) {
		unsigned char *p;
		size_t len;
		bool out[NUM] = {false};
		uint16_t token;
		uint32_t got_len;
		int got;

		start(&r, state);
		p = r.packed ? r.mem.view[RINGMEM_DEV].desc
			     : r.mem.view[RINGMEM_DEV].device;
		len = r.packed ? NUM * 16 : r.mem.areas.device_len;
		for (uint16_t i = 0; i < 5; i++) {
			send(&r, i);
			out[i] = true;
		}
		for (size_t i = 0; i < len; i++) {
			seed = seed * 1664525 + 1013904223;
			if (seed >> 30)
				p[i] = (unsigned char)(seed >> 16 & seed >> 8);
		}
		while ((got = vtfs_vq_drv_get(r.vq, &token, &got_len)) == 1) {
			assert_true(token < NUM && out[token]);
			assert_true(got_len <= ROOM);
			out[token] = false;
		}
		assert_true(got == 0 || got == -EPROTO);
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
	    both(used_id_out_of_range),
	    only(split, used_id_of_more_than_16_bits),
	    only(split, used_id_not_head),
	    both(used_id_never_sent),
	    both(used_twice),
	    both(used_len_too_long),
	    both(used_len_without_room),
	    only(split, used_index_jumps),
	    only(split, used_index_goes_back),
	    both(used_before_published),
	    both(used_before_published_while_another_is_in_flight),
	    both(used_while_nothing_is_in_flight),
	    both(descriptors_rewritten),
	    only(split, avail_ring_rewritten),
	    both(device_area_of_noise),
	};

	return cmocka_run_group_tests_name("hostile device", tests, NULL, NULL);
}
