/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IN_ORDER: a driver half of ours and a device that is nothing but memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM	  8u
#define TABLE_MAX 4u

/* A chain of cnt parts, of 8 bytes each, the first readable. */
static int add(struct rawring *r, unsigned cnt, uint16_t token)
{
	struct vtfs_vq_buf b[NUM];

	for (unsigned i = 0; i < cnt; i++)
		b[i] = (struct vtfs_vq_buf){raw_addr(r, 8 * i), 8};
	return vtfs_vq_drv_add(r->vq, b, 1, cnt - 1, token);
}

/* covers: SPLIT-DRV-05, SPLIT-DRV-06 */
static void descriptors_are_taken_in_the_order_of_the_table(void **state)
{
	uint32_t want = 0, seed = 1;
	struct rawring r;

	(void)state;
	raw_device_start(&r, VTFS_VQ_IN_ORDER, NUM, 0);
	for (unsigned i = 0; i < 10000; i++) {
		uint16_t id, ring_cnt, token;
		unsigned cnt;
		uint32_t len;

		seed = seed * 1664525 + 1013904223;
		cnt = 2 + (seed >> 16) % (NUM - 1);
		assert_int_equal(add(&r, cnt, 1), 0);
		vtfs_vq_drv_publish(r.vq);
		assert_int_equal(raw_take(&r, &id, &ring_cnt), 1);
		assert_int_equal(id, want);
		for (unsigned k = 0; k < cnt; k++) {
			uint16_t next = raw_get16(raw_desc(&r, want) + 14);
			uint16_t flags = raw_get16(raw_desc(&r, want) + 12);

			want = (want + 1) % NUM;
			assert_int_equal(flags & RAW_NEXT, k + 1 < cnt);
			if (k + 1 < cnt)
				assert_int_equal(next, want);
		}
		raw_return(&r, id, 1, ring_cnt);
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 1);
	}
	raw_stop(&r);
}

/* covers: SPLIT-DRV-11 */
static void indirect_entries_are_sequential(void **state)
{
	struct rawring r;

	(void)state;
	raw_device_start(&r, VTFS_VQ_IN_ORDER | VTFS_VQ_INDIRECT, NUM,
			 TABLE_MAX);
	for (unsigned i = 0; i < 100; i++) {
		unsigned cnt = 2 + i % (TABLE_MAX - 1);
		uint16_t id, ring_cnt, token;
		const unsigned char *t;
		uint32_t len;

		assert_int_equal(add(&r, cnt, 1), 0);
		vtfs_vq_drv_publish(r.vq);
		assert_int_equal(raw_take(&r, &id, &ring_cnt), 1);
		assert_int_equal(id, i % NUM);
		t = r.v->indirect + (size_t)id * TABLE_MAX * 16;
		for (unsigned k = 0; k + 1 < cnt; k++) {
			assert_true(raw_get16(t + 16 * k + 12) & RAW_NEXT);
			assert_int_equal(raw_get16(t + 16 * k + 14), k + 1);
		}
		raw_return(&r, id, 1, ring_cnt);
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 1);
	}
	raw_stop(&r);
}

/* n chains posted and taken by the device: the last one's id, and the ring
 * entries of all. */
static uint16_t post(struct rawring *r, unsigned n, uint16_t *ret_entries)
{
	uint16_t id = 0, cnt;

	*ret_entries = 0;
	for (uint16_t i = 0; i < n; i++)
		assert_int_equal(add(r, 2, i), 0);
	vtfs_vq_drv_publish(r->vq);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(raw_take(r, &id, &cnt), 1);
		*ret_entries = (uint16_t)(*ret_entries + cnt);
	}
	return id;
}

/* One used element for all n: in the first one's place, and the ring goes on
 * behind the last one's. */
static void return_all(struct rawring *r, uint16_t last, uint16_t entries,
		       unsigned n)
{
	raw_return(r, last, 5, entries);
	if (r->packed)
		return;
	r->used = (uint16_t)(r->used + n - 1);
	raw_put16(raw_used_idx(r), r->used);
}

static void batches(uint32_t flags)
{
	struct rawring r;

	raw_device_start(&r, VTFS_VQ_IN_ORDER | flags, NUM, 0);
	for (unsigned i = 0; i < 30000; i++) {
		unsigned n = 1 + i % (NUM / 2);
		uint16_t entries, token;
		uint16_t last = post(&r, n, &entries);
		uint32_t len;

		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 0);
		return_all(&r, last, entries, n);
		for (unsigned k = 0; k < n; k++) {
			assert_int_equal(vtfs_vq_drv_arm(r.vq), 1);
			assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len),
					 1);
			assert_int_equal(token, k);
			assert_int_equal(len,
					 k + 1 < n ? VTFS_VQ_LEN_UNKNOWN : 5);
		}
		assert_int_equal(vtfs_vq_drv_arm(r.vq), 0);
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 0);
		assert_int_equal(vtfs_vq_drv_free_cnt(r.vq), NUM);
	}
	raw_stop(&r);
}

/* covers: SPLIT-DRV-23, SPLIT-DEV-22 */
static void split_batch_is_one_used_element(void **state)
{
	batches(0);
}

/* covers: PACK-DEV-08 */
static void packed_batch_is_one_used_descriptor(void **state)
{
	batches(VTFS_VQ_PACKED);
}

/* A chain without room has nothing unknown about it. */
static void skipped_chain_without_room_has_length_0(void **state)
{
	struct vtfs_vq_buf b;
	struct rawring r;
	uint16_t token;
	uint32_t len;

	raw_device_start(&r, VTFS_VQ_IN_ORDER, NUM, 0);
	b = (struct vtfs_vq_buf){raw_addr(&r, 0), 8};
	for (uint16_t i = 0; i < 2; i++)
		assert_int_equal(vtfs_vq_drv_add(r.vq, &b, 1, 0, i), 0);
	vtfs_vq_drv_publish(r.vq);
	raw_return(&r, 1, 0, 1);
	raw_put16(raw_used_idx(&r), 2);
	for (uint16_t i = 0; i < 2; i++) {
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 1);
		assert_int_equal(token, i);
		assert_int_equal(len, 0);
	}
	raw_stop(&r);
}

/* The lies: the second comes back first. In the split ring the index tells how
 * many did; in the packed one it means both, and the first can't come again. */
static void used_id_out_of_order(void **state)
{
	struct rawring r;
	uint16_t token, entries, last;
	uint32_t len;

	raw_device_start(&r, VTFS_VQ_IN_ORDER, NUM, 0);
	last = post(&r, 2, &entries);
	raw_return(&r, last, 5, entries);
	assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), -EPROTO);
	assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), -EPROTO);
	raw_stop(&r);

	raw_device_start(&r, VTFS_VQ_IN_ORDER | VTFS_VQ_PACKED, NUM, 0);
	last = post(&r, 2, &entries);
	raw_return(&r, last, 5, entries);
	raw_return(&r, 0, 5, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 1);
		assert_int_equal(token, i);
	}
	assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), -EPROTO);
	raw_stop(&r);
}

/* The last of a batch is one that was not made available. */
static void used_id_of_an_unpublished_chain(void **state)
{
	struct rawring r;
	uint16_t token, entries;
	uint32_t len;

	for (uint32_t layout = 0; layout <= VTFS_VQ_PACKED;
	     layout += VTFS_VQ_PACKED) {
		raw_device_start(&r, VTFS_VQ_IN_ORDER | layout, NUM, 0);
		post(&r, 1, &entries);
		assert_int_equal(add(&r, 2, 1), 0);
		raw_return(&r, layout ? 1 : 2, 5, entries);
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), -EPROTO);
		raw_stop(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(descriptors_are_taken_in_the_order_of_the_table),
	    cmocka_unit_test(indirect_entries_are_sequential),
	    cmocka_unit_test(split_batch_is_one_used_element),
	    cmocka_unit_test(packed_batch_is_one_used_descriptor),
	    cmocka_unit_test(skipped_chain_without_room_has_length_0),
	    cmocka_unit_test(used_id_out_of_order),
	    cmocka_unit_test(used_id_of_an_unpublished_chain),
	};

	return cmocka_run_group_tests_name("vq/order", tests, NULL, NULL);
}
