/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM 7u

/* Lists of cnt writable parts of 64 bytes. */
static void send(struct rawring *r, unsigned cnt, uint16_t id)
{
	struct raw_part p[NUM];

	for (unsigned i = 0; i < cnt; i++)
		p[i] = (struct raw_part){raw_addr(r, 100 * i), 64, RAW_WRITE};
	raw_send(r, p, cnt, id);
}

static void pop(struct rawring *r, struct vtfs_chain *c)
{
	assert_int_equal(vtfs_vq_dev_pop(r->vq, r->mem.table, c), 1);
}

/* Send, pop, push and publish one; returns what publish said. */
static int serve(struct rawring *r, unsigned cnt, uint16_t id, uint32_t len)
{
	struct vtfs_chain c;

	send(r, cnt, id);
	pop(r, &c);
	assert_int_equal(c.id, id);
	assert_int_equal(c.ring_cnt, cnt);
	vtfs_vq_dev_push(r->vq, c.id, c.ring_cnt, len);
	return vtfs_vq_dev_publish(r->vq);
}

/* covers: PACK-DEV-02, PACK-DEV-04, PACK-BTH-03 */
static void used_slots_carry_the_wrap_counter(void **state)
{
	uint32_t slot = 0;
	bool wrap = true;
	struct rawring r;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED, NUM, NUM);
	for (unsigned i = 0; i < 1000; i++) {
		uint16_t want = wrap ? RAW_AVAIL | RAW_USED : 0;
		uint16_t flags;
		unsigned cnt = 1 + i * i % NUM;

		serve(&r, cnt, i % NUM, 5);
		flags = raw_get16(raw_desc(&r, slot) + 14);
		assert_int_equal(flags & (RAW_AVAIL | RAW_USED), want);
		/* One used descriptor per list; the rest stays as it was. */
		for (unsigned k = 1; k < cnt; k++) {
			uint32_t s = (slot + k) % NUM;
			bool w = s < slot ? !wrap : wrap;

			flags = raw_get16(raw_desc(&r, s) + 14);
			assert_int_equal(flags & (RAW_AVAIL | RAW_USED),
					 w ? RAW_AVAIL : RAW_USED);
		}
		if (slot + cnt >= NUM)
			wrap = !wrap;
		slot = (slot + cnt) % NUM;
	}
	raw_stop(&r);
}

/* Lists of every length at every slot, the whole ring among them.
 * covers: PACK-DEV-01 */
static void lists_of_every_length_at_every_slot(void **state)
{
	struct rawring r;
	uint32_t id, len;

	(void)state;
	for (uint32_t first = 0; first < NUM; first++) {
		for (unsigned cnt = 1; cnt <= NUM; cnt++) {
			raw_driver_start(&r, VTFS_VQ_PACKED, NUM, NUM);
			for (uint32_t i = 0; i < first; i++) {
				serve(&r, 1, 0, 1);
				assert_int_equal(raw_collect(&r, 1, &id, &len),
						 1);
			}
			for (uint16_t i = 0; i < 5; i++) {
				serve(&r, cnt, i, 1);
				assert_int_equal(
				    raw_collect(&r, (uint16_t)cnt, &id, &len),
				    1);
				assert_int_equal(id, i);
			}
			raw_stop(&r);
		}
	}
}

/* covers: PACK-DEV-03 */
static void write_says_that_len_counts(void **state)
{
	struct rawring r;
	uint16_t flags;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED, NUM, NUM);
	serve(&r, 1, 0, 0);
	flags = raw_get16(raw_desc(&r, 0) + 14);
	assert_int_equal(flags, RAW_AVAIL | RAW_USED);
	serve(&r, 1, 3, 0x01020304);
	flags = raw_get16(raw_desc(&r, 1) + 14);
	assert_int_equal(flags, RAW_AVAIL | RAW_USED | RAW_WRITE);
	assert_int_equal(raw_get32(raw_desc(&r, 1) + 8), 0x01020304);
	assert_int_equal(raw_get16(raw_desc(&r, 1) + 12), 3);
	raw_stop(&r);
}

/* covers: PACK-DEV-10, PACK-DEV-11 */
static void order_is_that_of_the_ring_then_of_push(void **state)
{
	static const unsigned order[] = {2, 0, 3, 1};
	struct vtfs_chain c[4];
	struct rawring r;
	uint32_t id, len;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED, NUM, NUM);
	for (uint16_t i = 0; i < 4; i++)
		send(&r, 1, 6 - i);
	for (uint16_t i = 0; i < 4; i++) {
		pop(&r, &c[i]);
		assert_int_equal(c[i].id, 6 - i);
	}
	for (unsigned i = 0; i < 4; i++)
		vtfs_vq_dev_push(r.vq, c[order[i]].id, c[order[i]].ring_cnt, 9);
	vtfs_vq_dev_publish(r.vq);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(raw_collect(&r, 1, &id, &len), 1);
		assert_int_equal(id, 6 - order[i]);
	}
	raw_stop(&r);
}

/* The first of a batch comes last. */
static void push_is_seen_after_publish_only(void **state)
{
	struct vtfs_chain c[3];
	struct rawring r;
	uint32_t id, len;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED, NUM, NUM);
	for (uint16_t i = 0; i < 3; i++)
		send(&r, 2, i);
	for (unsigned i = 0; i < 3; i++) {
		pop(&r, &c[i]);
		vtfs_vq_dev_push(r.vq, c[i].id, c[i].ring_cnt, 9);
		assert_int_equal(raw_collect(&r, 2, &id, &len), 0);
	}
	vtfs_vq_dev_publish(r.vq);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(raw_collect(&r, 2, &id, &len), 1);
	assert_int_equal(vtfs_vq_dev_publish(r.vq), 0);
	raw_stop(&r);
}

/* covers: PACK-BTH-09 */
static void driver_event_enables_and_disables(void **state)
{
	struct rawring r;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED, NUM, NUM);
	for (unsigned i = 0; i < 1000; i++) {
		uint16_t flags = (uint16_t)(i % 4);

		/* 2 and 3 mean nothing without EVENT_IDX. */
		raw_put16(raw_drv_event(&r), (uint16_t)(i * 40503));
		raw_put16(raw_drv_event(&r) + 2, flags);
		assert_int_equal(serve(&r, 1 + i % 3, 0, 1), flags != 1);
	}
	raw_stop(&r);
}

/* covers: PACK-BTH-08, PACK-BTH-09 */
static void driver_event_names_a_slot(void **state)
{
	uint32_t seed = 3;
	uint32_t pos = 0; /* below 2 * NUM: the second round has wrap 0 */
	struct rawring r;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED | VTFS_VQ_EVENT, NUM, NUM);
	raw_put16(raw_drv_event(&r) + 2, 2);
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t ahead, at;
		unsigned cnt;

		seed = seed * 1664525 + 1013904223;
		ahead = (seed >> 20) % (2 * NUM);
		cnt = 1 + (seed >> 8) % NUM;
		at = (pos + ahead) % (2 * NUM);
		raw_put16(raw_drv_event(&r),
			  (uint16_t)(at % NUM | (at < NUM ? RAW_WRAP : 0)));
		assert_int_equal(serve(&r, cnt, 0, 1), ahead < cnt);
		pos = (pos + cnt) % (2 * NUM);
	}
	raw_stop(&r);
}

/* covers: PACK-DEV-18 */
static void arm_and_disarm_by_flags(void **state)
{
	struct vtfs_chain c;
	struct rawring r;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED, NUM, NUM);
	for (unsigned i = 0; i < 100; i++) {
		vtfs_vq_dev_disarm(r.vq);
		assert_int_equal(raw_get16(raw_dev_event(&r) + 2), 1);
		assert_int_equal(vtfs_vq_dev_arm(r.vq), 0);
		assert_int_equal(raw_get16(raw_dev_event(&r) + 2), 0);
		send(&r, 1, 0);
		assert_int_equal(vtfs_vq_dev_arm(r.vq), 1);
		pop(&r, &c);
		vtfs_vq_dev_push(r.vq, c.id, c.ring_cnt, 1);
		vtfs_vq_dev_publish(r.vq);
	}
	raw_stop(&r);
}

/* covers: PACK-BTH-07, PACK-DEV-18 */
static void arm_names_the_next_slot(void **state)
{
	struct rawring r;
	uint32_t pos = 0;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED | VTFS_VQ_EVENT, NUM, NUM);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned cnt = 1 + i * i % NUM;

		vtfs_vq_dev_disarm(r.vq);
		assert_int_equal(raw_get16(raw_dev_event(&r) + 2), 1);
		assert_int_equal(vtfs_vq_dev_arm(r.vq), 0);
		assert_int_equal(raw_get16(raw_dev_event(&r)),
				 pos % NUM | (pos < NUM ? RAW_WRAP : 0));
		assert_int_equal(raw_get16(raw_dev_event(&r) + 2), 2);
		serve(&r, cnt, 0, 1);
		pos = (pos + cnt) % (2 * NUM);
	}
	raw_stop(&r);
}

/* With every page away but that of the next slot, polling goes on.
 * covers: PACK-BTH-05 */
static void polls_the_next_slot_alone(void **state)
{
	enum { BIG = 1024, PER_PAGE = 4096 / 16, PAGES = BIG / PER_PAGE };
	struct vtfs_chain c;
	unsigned char *ring;
	struct rawring r;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED, BIG, NUM);
	ring = r.mem.view[RINGMEM_DEV].desc;
	for (unsigned i = 0; i < 3 * BIG; i++) {
		unsigned char *page = ring + i % BIG / PER_PAGE * 4096;

		if (i % PER_PAGE == 0) {
			mprotect(ring, PAGES * 4096, PROT_NONE);
			mprotect(page, 4096, PROT_READ | PROT_WRITE);
		}
		assert_int_equal(vtfs_vq_dev_pop(r.vq, r.mem.table, &c), 0);
		assert_int_equal(vtfs_vq_dev_arm(r.vq), 0);
		serve(&r, 1, 0, 1);
	}
	raw_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(used_slots_carry_the_wrap_counter),
	    cmocka_unit_test(lists_of_every_length_at_every_slot),
	    cmocka_unit_test(write_says_that_len_counts),
	    cmocka_unit_test(order_is_that_of_the_ring_then_of_push),
	    cmocka_unit_test(push_is_seen_after_publish_only),
	    cmocka_unit_test(driver_event_enables_and_disables),
	    cmocka_unit_test(driver_event_names_a_slot),
	    cmocka_unit_test(arm_and_disarm_by_flags),
	    cmocka_unit_test(arm_names_the_next_slot),
	    cmocka_unit_test(polls_the_next_slot_alone),
	};

	return cmocka_run_group_tests_name("vq/packed_dev", tests, NULL, NULL);
}
