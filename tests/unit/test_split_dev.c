/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM 8u

/* Offer and pop n one-part chains; push them, with lengths from len on. */
static void serve(struct rawring *r, unsigned n, uint32_t len)
{
	struct raw_part p = {raw_addr(r, 0), 64, RAW_WRITE};
	struct vtfs_chain c[NUM];

	for (unsigned i = 0; i < n; i++)
		raw_send(r, &p, 1, 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(vtfs_vq_dev_pop(r->vq, r->mem.table, &c[i]),
				 1);
	for (unsigned i = 0; i < n; i++)
		vtfs_vq_dev_push(r->vq, c[i].id, c[i].ring_cnt, len + i);
}

/* covers: SPLIT-BTH-04 */
static void used_ring_byte_by_byte(void **state)
{
	static const unsigned char want[] = {
	    0,	  0, 2, 0,			   /* flags, idx */
	    0x00, 0, 0, 0, 0x04, 0x03, 0x02, 0x01, /* id 0 */
	    0x01, 0, 0, 0, 0x05, 0x03, 0x02, 0x01, /* id 1 */
	};
	struct rawring r;

	(void)state;
	raw_driver_start(&r, 0, NUM, 4);
	serve(&r, 2, 0x01020304);
	vtfs_vq_dev_publish(r.vq);
	assert_memory_equal(r.v->device, want, sizeof(want));
	for (size_t i = sizeof(want); i < r.mem.areas.device_len; i++)
		assert_int_equal(((unsigned char *)r.v->device)[i], 0);
	raw_stop(&r);
}

static void push_is_seen_after_publish_only(void **state)
{
	struct rawring r;

	(void)state;
	raw_driver_start(&r, 0, NUM, 4);
	serve(&r, 5, 1);
	assert_int_equal(raw_get16(raw_used_idx(&r)), 0);
	vtfs_vq_dev_publish(r.vq);
	assert_int_equal(raw_get16(raw_used_idx(&r)), 5);
	assert_int_equal(vtfs_vq_dev_publish(r.vq), 0);
	raw_stop(&r);
}

/* covers: SPLIT-DEV-15 */
static void flags_0_notifies_of_every_batch(void **state)
{
	struct rawring r;

	(void)state;
	raw_driver_start(&r, 0, NUM, 4);
	for (unsigned i = 0; i < 70000; i++) {
		serve(&r, 1 + i % NUM, 1);
		assert_int_equal(vtfs_vq_dev_publish(r.vq), 1);
	}
	raw_stop(&r);
}

/* An index that was passed is not passed again by the next batch. */
static void event_notifies_of_its_batch_alone(void **state)
{
	struct rawring r;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_EVENT, NUM, 4);
	raw_put16(raw_used_event(&r), 1);
	for (unsigned i = 0; i < 4; i++) {
		serve(&r, 1, 1);
		assert_int_equal(vtfs_vq_dev_publish(r.vq), i == 1);
	}
	raw_stop(&r);
}

/* covers: SPLIT-DEV-14 */
static void flags_1_never_notifies(void **state)
{
	struct rawring r;

	(void)state;
	raw_driver_start(&r, 0, NUM, 4);
	raw_put16(raw_avail_flags(&r), 1);
	for (unsigned i = 0; i < 1000; i++) {
		serve(&r, 1, 1);
		assert_int_equal(vtfs_vq_dev_publish(r.vq), 0);
	}
	assert_int_equal(raw_get16(raw_used_idx(&r)), 1000);
	raw_stop(&r);
}

/* Descriptors are looked at once the index says so, and no earlier: what is
 * there before is anything. */
static void descriptors_before_the_index_are_not_read(void **state)
{
	struct vtfs_chain c;
	struct rawring r;

	(void)state;
	raw_driver_start(&r, 0, 512, 4);
	assert_int_equal(
	    mprotect(r.mem.view[RINGMEM_DEV].desc, r.mem.off_driver, PROT_NONE),
	    0);
	memset(r.v->desc, 0xff, r.mem.areas.desc_len);
	memset(raw_avail_ring(&r, 0), 0xff, 2 * 512);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(vtfs_vq_dev_pop(r.vq, r.mem.table, &c), 0);
		assert_int_equal(vtfs_vq_dev_arm(r.vq), 0);
	}
	raw_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(used_ring_byte_by_byte),
	    cmocka_unit_test(push_is_seen_after_publish_only),
	    cmocka_unit_test(flags_0_notifies_of_every_batch),
	    cmocka_unit_test(event_notifies_of_its_batch_alone),
	    cmocka_unit_test(flags_1_never_notifies),
	    cmocka_unit_test(descriptors_before_the_index_are_not_read),
	};

	return cmocka_run_group_tests_name("vq/split_dev", tests, NULL, NULL);
}
