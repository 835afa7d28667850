/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM 7u

static void add(struct rawring *r, unsigned cnt, uint16_t token)
{
	struct vtfs_vq_buf b[NUM];

	for (unsigned i = 0; i < cnt; i++)
		b[i] = (struct vtfs_vq_buf){raw_addr(r, 100 * i), 64};
	assert_int_equal(
	    vtfs_vq_drv_add(r->vq, b, cnt / 2, cnt - cnt / 2, token), 0);
}

static int send(struct rawring *r, unsigned cnt, uint16_t token)
{
	add(r, cnt, token);
	return vtfs_vq_drv_publish(r->vq);
}

static uint16_t flags_at(const struct rawring *r, uint32_t slot)
{
	return raw_get16(raw_desc(r, slot) + 14);
}

/* covers: PACK-BTH-10, PACK-BTH-03, PACK-DRV-05 */
static void list_byte_by_byte(void **state)
{
	static const unsigned char want[] = {
	    0x08, 0, 0,	   0x40, 1,    0,    0, 0, 0x04, 0x03, 0x02,
	    0x01, 0, 0,	   0x81, 0x00, 0x10, 0, 0, 0x40, 1,    0,
	    0,	  0, 0x20, 0x00, 0x00, 0x00, 0, 0, 0x82, 0x00,
	};
	struct vtfs_vq_buf b[2];
	struct rawring r;

	(void)state;
	raw_device_start(&r, VTFS_VQ_PACKED, NUM, 0);
	b[0] = (struct vtfs_vq_buf){raw_addr(&r, 8), 0x01020304};
	b[1] = (struct vtfs_vq_buf){raw_addr(&r, 16), 0x20};
	assert_int_equal(vtfs_vq_drv_add(r.vq, b, 1, 1, 5), 0);
	assert_int_equal(vtfs_vq_drv_publish(r.vq), 1);
	assert_memory_equal(r.v->desc, want, sizeof(want));
	raw_stop(&r);
}

/* Every list carries the wrap value of each slot it lies in, and its id in
 * the last one.
 * covers: PACK-DRV-03, PACK-DRV-07, PACK-DRV-02, PACK-DRV-05 */
static void slots_carry_the_wrap_counter(void **state)
{
	uint32_t slot = 0, len;
	bool wrap = true;
	uint16_t token;
	struct rawring r;

	(void)state;
	raw_device_start(&r, VTFS_VQ_PACKED, NUM, 0);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned cnt = 1 + i * i % NUM;
		uint16_t id, last_id, ring_cnt;

		send(&r, cnt, 0);
		for (unsigned k = 0; k < cnt; k++) {
			uint16_t want = wrap ? RAW_AVAIL : RAW_USED;

			want |= k >= cnt / 2 ? RAW_WRITE : 0;
			want |= k + 1 < cnt ? RAW_NEXT : 0;
			assert_int_equal(flags_at(&r, slot), want);
			if (++slot == NUM) {
				slot = 0;
				wrap = !wrap;
			}
		}
		last_id = raw_get16(raw_desc(&r, (slot + NUM - 1) % NUM) + 12);
		assert_int_equal(raw_take(&r, &id, &ring_cnt), 1);
		assert_int_equal(id, last_id);
		assert_int_equal(ring_cnt, cnt);
		raw_return(&r, id, 1, ring_cnt);
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 1);
	}
	raw_stop(&r);
}

static void add_is_seen_after_publish_only(void **state)
{
	uint16_t id, cnt;
	struct rawring r;

	(void)state;
	raw_device_start(&r, VTFS_VQ_PACKED, NUM, 0);
	for (uint16_t i = 0; i < 3; i++) {
		add(&r, 2, i);
		assert_int_equal(raw_take(&r, &id, &cnt), 0);
	}
	assert_int_equal(vtfs_vq_drv_publish(r.vq), 1);
	for (uint16_t i = 0; i < 3; i++) {
		assert_int_equal(raw_take(&r, &id, &cnt), 1);
		assert_int_equal(cnt, 2);
	}
	assert_int_equal(raw_take(&r, &id, &cnt), 0);
	assert_int_equal(vtfs_vq_drv_publish(r.vq), 0);
	raw_stop(&r);
}

/* covers: PACK-DRV-18 */
static void list_that_does_not_fit_leaves_no_trace(void **state)
{
	unsigned char before[NUM * 16];
	struct vtfs_vq_buf b[NUM];
	struct rawring r;

	(void)state;
	raw_device_start(&r, VTFS_VQ_PACKED, NUM, 0);
	send(&r, 4, 1);
	for (unsigned i = 0; i < NUM; i++)
		b[i] = (struct vtfs_vq_buf){raw_addr(&r, 0), 8};
	memcpy(before, r.v->desc, sizeof(before));
	for (unsigned cnt = 4; cnt <= NUM; cnt++) {
		assert_int_equal(vtfs_vq_drv_add(r.vq, b, cnt, 0, 2), -ENOSPC);
		assert_memory_equal(before, r.v->desc, sizeof(before));
	}
	assert_int_equal(vtfs_vq_drv_publish(r.vq), 0);
	assert_int_equal(vtfs_vq_drv_free_cnt(r.vq), 3);
	assert_int_equal(vtfs_vq_drv_add(r.vq, b, 3, 0, 2), 0);
	raw_stop(&r);
}

/* covers: PACK-DRV-12, PACK-DRV-13 */
static void slots_in_flight_are_left_alone(void **state)
{
	unsigned char shadow[NUM * 16];
	uint16_t id, cnt, token;
	uint32_t len, seed = 5;
	unsigned in_ring = 0; /* slots between used and avail */
	uint32_t first = 0;
	struct rawring r;

	(void)state;
	raw_device_start(&r, VTFS_VQ_PACKED, NUM, 0);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned want;

		seed = seed * 1664525 + 1013904223;
		want = 1 + (seed >> 20) % 3;
		if (seed & 0x10000 && in_ring + want <= NUM) {
			memcpy(shadow, r.v->desc, sizeof(shadow));
			send(&r, want, 0);
			for (uint32_t k = 0; k < in_ring; k++) {
				uint32_t at = 16 * ((first + k) % NUM);

				assert_memory_equal(
				    shadow + at,
				    (unsigned char *)r.v->desc + at, 16);
			}
			in_ring += want;
		} else if (in_ring) {
			assert_int_equal(raw_take(&r, &id, &cnt), 1);
			raw_return(&r, id, 1, cnt);
			memcpy(shadow, r.v->desc, sizeof(shadow));
			assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len),
					 1);
			assert_memory_equal(shadow, r.v->desc, sizeof(shadow));
			first = (first + cnt) % NUM;
			in_ring -= cnt;
		}
	}
	raw_stop(&r);
}

/* covers: PACK-DRV-04 */
static void len_without_write_is_0(void **state)
{
	uint16_t id, cnt, token;
	struct rawring r;
	uint32_t len;

	(void)state;
	raw_device_start(&r, VTFS_VQ_PACKED, NUM, 0);
	send(&r, 1, 4);
	assert_int_equal(raw_take(&r, &id, &cnt), 1);
	raw_return(&r, id, 0, cnt);
	raw_put32(raw_desc(&r, 0) + 8, 999);
	assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 1);
	assert_int_equal(token, 4);
	assert_int_equal(len, 0);
	raw_stop(&r);
}

/* covers: PACK-DRV-08 */
static void next_in_used_descriptors_is_ignored(void **state)
{
	uint16_t id, cnt, token;
	struct rawring r;
	uint32_t len;

	(void)state;
	raw_device_start(&r, VTFS_VQ_PACKED, NUM, 0);
	for (unsigned i = 0; i < 500; i++) {
		unsigned n = 1 + i % 3;
		uint16_t flags = RAW_NEXT | RAW_INDIRECT | RAW_WRITE;
		unsigned char *p = raw_desc(&r, r.used);

		send(&r, n, (uint16_t)(i % NUM));
		assert_int_equal(raw_take(&r, &id, &cnt), 1);
		assert_int_equal(cnt, n);
		if (r.used_wrap)
			flags |= RAW_AVAIL | RAW_USED;
		raw_return(&r, id, 7, cnt);
		raw_put16(p + 14, flags);
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 1);
		assert_int_equal(token, i % NUM);
		assert_int_equal(len, 7);
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 0);
	}
	raw_stop(&r);
}

/* covers: PACK-BTH-04 */
static void ring_of_zeroes_has_nothing_used(void **state)
{
	uint16_t token;
	struct rawring r;
	uint32_t len;

	(void)state;
	raw_device_start(&r, VTFS_VQ_PACKED, NUM, 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 0);
		assert_int_equal(vtfs_vq_drv_arm(r.vq), 0);
	}
	raw_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(list_byte_by_byte),
	    cmocka_unit_test(slots_carry_the_wrap_counter),
	    cmocka_unit_test(add_is_seen_after_publish_only),
	    cmocka_unit_test(list_that_does_not_fit_leaves_no_trace),
	    cmocka_unit_test(slots_in_flight_are_left_alone),
	    cmocka_unit_test(len_without_write_is_0),
	    cmocka_unit_test(next_in_used_descriptors_is_ignored),
	    cmocka_unit_test(ring_of_zeroes_has_nothing_used),
	};

	return cmocka_run_group_tests_name("vq/packed_drv", tests, NULL, NULL);
}
