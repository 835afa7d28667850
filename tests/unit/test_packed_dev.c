/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "fuse/frame.h"
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

/* A frame of len bytes, taken and answered as the session does it. */
static int answer_frame(struct rawring *r, struct vtfs_slots *t, uint32_t len)
{
	static const struct vtfs_frame_rules rules = {
	    .proto = {.minor = FUSE_KERNEL_MINOR_VERSION}, .max_write = 4096};
	const struct raw_part parts[] = {{raw_addr(r, 0), len, 0},
					 {raw_addr(r, 8192), 200, RAW_WRITE}};
	struct vtfs_slot *s = vtfs_slot_take(t);
	struct vtfs_chain c;
	int verdict;

	raw_send(r, parts, 2, 0);
	pop(r, &c);
	if (!vtfs_frame_head(s, &c))
		assert_int_equal(vtfs_frame_body(t, s, &c, &rules), 0);
	verdict = s->verdict;
	if (verdict == VTFS_VERDICT_REQUEST)
		vtfs_frame_filled(s, (uint32_t)s->req.room_len);
	else if (verdict == VTFS_VERDICT_ERROR)
		vtfs_frame_error(s, s->error);
	vtfs_vq_dev_push(r->vq, c.id, c.ring_cnt, s->used_len);
	vtfs_vq_dev_publish(r->vq);
	vtfs_slot_untake(t, s);
	return verdict;
}

/* Whatever becomes of the request. covers: PACK-DEV-12 */
static void readable_buffers_are_only_read(void **state)
{
	unsigned found[VTFS_VERDICT_DONE + 1] = {0};
	struct fuse_in_header *in;
	struct vtfs_slots *t;
	struct rawring r;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED, NUM, NUM);
	assert_int_equal(vtfs_slots_new(&t, 1, NUM), 0);
	assert_int_equal(
	    mprotect(r.mem.view[RINGMEM_DEV].bufs, 8192, PROT_READ), 0);
	in = (void *)raw_bytes(&r, 0);
	for (uint32_t opcode = 0; opcode < 64; opcode++) {
		for (uint32_t len = 40; len < 200; len += 8) {
			in->len = len;
			in->opcode = opcode;
			in->unique = opcode + 1;
			found[answer_frame(&r, t, len)]++;
		}
	}
	assert_true(found[VTFS_VERDICT_REQUEST] > 100);
	assert_true(found[VTFS_VERDICT_ERROR] > 100);
	vtfs_slots_free(t);
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
	    cmocka_unit_test(readable_buffers_are_only_read),
	};

	return cmocka_run_group_tests_name("vq/packed_dev", tests, NULL, NULL);
}
