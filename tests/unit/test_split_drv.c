/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM 8u

static void add(struct rawring *r, uint16_t token)
{
	struct vtfs_vq_buf b = {raw_addr(r, 0), 64};

	assert_int_equal(vtfs_vq_drv_add(r->vq, &b, 0, 1, token), 0);
}

/* The device returns n chains, and the driver takes note. */
static void finish(struct rawring *r, unsigned n)
{
	uint16_t id, cnt, token;
	uint32_t len;

	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(raw_take(r, &id, &cnt), 1);
		raw_return(r, id, 1, cnt);
	}
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(vtfs_vq_drv_get(r->vq, &token, &len), 1);
}

/* covers: SPLIT-BTH-04, SPLIT-BTH-05 */
static void chain_byte_by_byte(void **state)
{
	static const unsigned char desc[] = {
	    0x08, 0, 0, 0x40, 1, 0, 0, 0, 0x04, 0x03, 0x02, 0x01, 1, 0, 1, 0,
	    0x10, 0, 0, 0x40, 1, 0, 0, 0, 0x20, 0x00, 0x00, 0x00, 3, 0, 2, 0,
	    0xff, 0, 0, 0x40, 1, 0, 0, 0, 0x30, 0x00, 0x00, 0x00, 2, 0, 0, 0,
	};
	static const unsigned char avail[] = {0, 0, 1, 0, 0, 0, 0, 0};
	struct vtfs_vq_buf b[3];
	struct rawring r;

	(void)state;
	raw_device_start(&r, 0, NUM, 0);
	assert_int_equal(raw_addr(&r, 0), 0x140000000);
	b[0] = (struct vtfs_vq_buf){raw_addr(&r, 8), 0x01020304};
	b[1] = (struct vtfs_vq_buf){raw_addr(&r, 16), 0x20};
	b[2] = (struct vtfs_vq_buf){raw_addr(&r, 255), 0x30};
	assert_int_equal(vtfs_vq_drv_add(r.vq, b, 1, 2, 5), 0);
	assert_int_equal(raw_get16(raw_avail_idx(&r)), 0);
	assert_int_equal(vtfs_vq_drv_publish(r.vq), 1);
	assert_memory_equal(r.v->desc, desc, sizeof(desc));
	assert_memory_equal(r.v->driver, avail, sizeof(avail));
	raw_stop(&r);
}

/* covers: SPLIT-DRV-33, SPLIT-DRV-27 */
static void batch_is_one_index_and_one_kick(void **state)
{
	struct rawring r;

	(void)state;
	raw_device_start(&r, 0, NUM, 0);
	for (unsigned i = 0; i < 70000 / NUM; i++) {
		uint16_t before = raw_get16(raw_avail_idx(&r));

		for (uint16_t t = 0; t < NUM; t++) {
			add(&r, t);
			assert_int_equal(raw_get16(raw_avail_idx(&r)), before);
		}
		assert_int_equal(vtfs_vq_drv_publish(r.vq), 1);
		assert_int_equal(raw_get16(raw_avail_idx(&r)),
				 (uint16_t)(before + NUM));
		assert_int_equal(vtfs_vq_drv_publish(r.vq), 0);
		finish(&r, NUM);
	}
	raw_stop(&r);
}

/* Nothing is there, however often somebody says so. covers: SPLIT-DRV-17 */
static void get_without_elements_gets_none(void **state)
{
	uint16_t token;
	uint32_t len;
	struct rawring r;

	(void)state;
	raw_device_start(&r, 0, NUM, 0);
	add(&r, 3);
	vtfs_vq_drv_publish(r.vq);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 0);
	finish(&r, 1);
	raw_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(chain_byte_by_byte),
	    cmocka_unit_test(batch_is_one_index_and_one_kick),
	    cmocka_unit_test(get_without_elements_gets_none),
	};

	return cmocka_run_group_tests_name("vq/split_drv", tests, NULL, NULL);
}
