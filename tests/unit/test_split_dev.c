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

/* ---- a record of what is in flight ---- */

struct recorded {
	struct rawring r;
	struct vtfs_vq_record *rec;
	uint16_t heads[NUM];
	struct vtfs_chain c[NUM];
};

static struct vtfs_vq *half(struct recorded *x)
{
	struct vtfs_vq_conf conf = ringmem_conf(&x->r.mem, RINGMEM_DEV);
	struct vtfs_vq *vq;

	conf.max_parts = 4;
	conf.record = x->rec;
	/* What a transport would guess: as if answered in order. */
	conf.avail_base = raw_get16(raw_used_idx(&x->r));
	assert_int_equal(vtfs_vq_dev_new(&vq, &conf), 0);
	return vq;
}

/* Six chains of two parts, of which five were popped. */
static void recorded_start(struct recorded *x)
{
	struct raw_part p[2];

	memset(x, 0, sizeof(*x));
	raw_driver_start(&x->r, 0, 4 * NUM, 4);
	vtfs_vq_dev_free(x->r.vq);
	x->rec = calloc(1, sizeof(*x->rec) + 4 * NUM * sizeof(uint16_t));
	x->r.vq = half(x);
	p[0] = (struct raw_part){raw_addr(&x->r, 0), 64, 0};
	p[1] = (struct raw_part){raw_addr(&x->r, 64), 64, RAW_WRITE};
	for (unsigned i = 0; i < 6; i++)
		x->heads[i] = raw_send(&x->r, p, 2, 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(
		    vtfs_vq_dev_pop(x->r.vq, x->r.mem.table, &x->c[i]), 1);
}

static void recorded_push(struct recorded *x, unsigned i)
{
	vtfs_vq_dev_push(x->r.vq, x->c[i].id, x->c[i].ring_cnt, 7);
}

/* The process ends: the next one pops these, and then the sixth. */
static void next_one_pops(struct recorded *x, const unsigned *which,
			  unsigned cnt)
{
	struct vtfs_chain c;

	vtfs_vq_dev_free(x->r.vq);
	x->r.vq = half(x);
	assert_int_equal(vtfs_vq_dev_arm(x->r.vq), 1);
	for (unsigned i = 0; i < cnt; i++) {
		assert_int_equal(vtfs_vq_dev_pop(x->r.vq, x->r.mem.table, &c),
				 1);
		assert_int_equal(c.id, x->heads[which[i]]);
		assert_int_equal(c.readable_len, 64);
		/* One that was answered is not looked for again. */
		vtfs_vq_dev_push(x->r.vq, c.id, c.ring_cnt, 0);
	}
	assert_int_equal(vtfs_vq_dev_pop(x->r.vq, x->r.mem.table, &c), 1);
	assert_int_equal(c.id, x->heads[5]);
	vtfs_vq_dev_push(x->r.vq, c.id, c.ring_cnt, 0);
	assert_int_equal(vtfs_vq_dev_pop(x->r.vq, x->r.mem.table, &c), 0);
	assert_int_equal(vtfs_vq_dev_publish(x->r.vq), 1);
	assert_int_equal(vtfs_vq_dev_inflight(x->r.vq), 0);
	/* Each of the six once. */
	assert_int_equal(raw_get16(raw_used_idx(&x->r)), 6);
	for (unsigned i = 0; i < 6; i++) {
		unsigned seen = 0;

		for (unsigned k = 0; k < 6; k++)
			seen += raw_get32(raw_used_ring(&x->r, k)) ==
				x->heads[i];
		assert_int_equal(seen, 1);
	}
	raw_stop(&x->r);
	free(x->rec);
}

static void record_has_what_was_not_answered(void **state)
{
	static const unsigned left[] = {0, 2, 4};
	struct recorded x;

	(void)state;
	recorded_start(&x);
	recorded_push(&x, 3);
	recorded_push(&x, 1);
	vtfs_vq_dev_publish(x.r.vq);
	next_one_pops(&x, left, 3);
}

/* Pushed, but the driver was not told: they are in flight, too. */
static void record_has_what_was_not_published(void **state)
{
	static const unsigned left[] = {0, 1, 2, 4};
	struct recorded x;

	(void)state;
	recorded_start(&x);
	recorded_push(&x, 3);
	vtfs_vq_dev_publish(x.r.vq);
	recorded_push(&x, 4);
	recorded_push(&x, 0);
	next_one_pops(&x, left, 4);
}

static void record_of_nothing_goes_on_with_the_ring(void **state)
{
	struct recorded x;

	(void)state;
	recorded_start(&x);
	for (unsigned i = 0; i < 5; i++)
		recorded_push(&x, i);
	vtfs_vq_dev_publish(x.r.vq);
	next_one_pops(&x, NULL, 0);
}

/* Nothing else has come: nobody may sleep all the same. */
static void record_is_seen_before_the_wait(void **state)
{
	struct vtfs_chain c;
	struct recorded x;

	(void)state;
	recorded_start(&x);
	assert_int_equal(vtfs_vq_dev_pop(x.r.vq, x.r.mem.table, &c), 1);
	vtfs_vq_dev_free(x.r.vq);
	x.r.vq = half(&x);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(vtfs_vq_dev_arm(x.r.vq), 1);
		assert_int_equal(vtfs_vq_dev_pop(x.r.vq, x.r.mem.table, &c), 1);
	}
	assert_int_equal(vtfs_vq_dev_arm(x.r.vq), 0);
	raw_stop(&x.r);
	free(x.rec);
}

/* The index is the driver's memory: it may say anything meanwhile. */
static void record_beside_a_ring_that_lies(void **state)
{
	struct vtfs_chain c;
	struct recorded x;
	unsigned char *used;
	unsigned cnt;
	int r;

	(void)state;
	recorded_start(&x);
	recorded_push(&x, 3);
	used = ringmem_conf(&x.r.mem, RINGMEM_DEV).device;
	raw_put32(used + 4, 0xfffffff0);
	for (unsigned lie = 0; lie < 0x10000; lie += 77) {
		vtfs_vq_dev_free(x.r.vq);
		raw_put16(used + 2, (uint16_t)lie);
		x.r.vq = half(&x);
		for (cnt = 0; cnt <= 4 * NUM; cnt++) {
			r = vtfs_vq_dev_pop(x.r.vq, x.r.mem.table, &c);
			if (r <= 0)
				break;
			assert_true(c.id < 4 * NUM);
		}
		assert_true(r <= 0);
	}
	raw_stop(&x.r);
	free(x.rec);
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
	    cmocka_unit_test(record_has_what_was_not_answered),
	    cmocka_unit_test(record_has_what_was_not_published),
	    cmocka_unit_test(record_of_nothing_goes_on_with_the_ring),
	    cmocka_unit_test(record_is_seen_before_the_wait),
	    cmocka_unit_test(record_beside_a_ring_that_lies),
	};

	return cmocka_run_group_tests_name("vq/split_dev", tests, NULL, NULL);
}
