/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A driver that lies in its notification queue. Tests are named after the lie;
 * the requests go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <virtiofs/notify.h>

#include "rawfuse.h"

#define BUF   4096u
#define NVQ   1u
#define TAKEN (VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_NOTIFICATION)
#define WR    VTFS_DESC_F_WRITE

static int set_up(void **state)
{
	struct program *p;

	program_new(state);
	p = *state;
	p->notify_buf_size = BUF;
	program_open(p, TAKEN);
	return 0;
}

static void give(struct program *p, const struct raw_desc *d, unsigned cnt)
{
	struct raw_queue *q = &p->raw.q[NVQ];

	raw_post(q, raw_chain(q, d, cnt));
}

static void give_good(struct program *p, unsigned i)
{
	struct raw_desc d = {cell_addr(i), BUF, WR};

	give(p, &d, 1);
}

static struct virtiofs_queue_stats stats(struct program *p)
{
	struct virtiofs_queue_stats st = {.size = sizeof(st)};

	assert_int_equal(
	    virtiofs_device_stats(p->dev, VIRTIOFS_QUEUE_NOTIFY, &st), 0);
	return st;
}

static void requests_go_on(struct program *p)
{
	program_run(p);
	send_statfs(p, 2, 40);
	program_run(p);
	assert_int_equal(reply_of(p, 2, 40), 0);
}

static void used_next(struct program *p, uint32_t len)
{
	uint32_t id, used;

	assert_true(raw_used(&p->raw.q[NVQ], &id, &used));
	assert_int_equal(used, len);
}

/* Those buffers come back empty, untouched, and the message is in the next. */
static void useless(struct program *p, const struct raw_desc *d, unsigned cnt)
{
	unsigned char *before;

	give(p, d, cnt);
	give_good(p, 5);
	before = snapshot(p);
	assert_int_equal(virtiofs_notify_poll(p->dev, 9), 0);
	used_next(p, 0);
	used_next(p, 24);
	assert_memory_equal(p->raw.mem + RAW_BUFS, before + RAW_BUFS,
			    5 * CELL_LEN);
	free(before);
	assert_int_equal(stats(p).chain_faults, 1);
	assert_int_equal(stats(p).dropped, 1);
	assert_int_equal(p->raw.broken, 0);
	requests_go_on(p);
}

/* covers: FS-DEV-20 */
static void buffer_smaller_than_the_message(void **state)
{
	const struct raw_desc d = {cell_addr(0), 8, WR};

	useless(*state, &d, 1);
}

static void buffer_one_byte_too_small_in_parts(void **state)
{
	const struct raw_desc d[3] = {{cell_addr(0), 16, WR},
				      {cell_addr(1), 1, WR},
				      {cell_addr(2), 6, WR}};

	useless(*state, d, 3);
}

static void readable_part_in_a_buffer(void **state)
{
	const struct raw_desc d[2] = {{cell_addr(0), 64, 0},
				      {cell_addr(1), BUF, WR}};

	useless(*state, d, 2);
}

static void buffer_without_a_writable_part(void **state)
{
	const struct raw_desc d = {cell_addr(0), BUF, 0};

	useless(*state, &d, 1);
}

static void buffer_outside_of_memory(void **state)
{
	const struct raw_desc d[2] = {{cell_addr(0), 64, WR},
				      {RAW_ADDR + RAW_LEN, BUF, WR}};

	useless(*state, d, 2);
}

static void buffer_in_many_parts_is_none(void **state)
{
	struct program *p = *state;
	struct raw_desc d[8];
	const uint64_t kh = 0x1122334455667788;
	struct fuse_out_header h = {.len = 24, .error = FUSE_NOTIFY_POLL};
	unsigned char want[24], got[24];

	memcpy(want, &h, sizeof(h));
	memcpy(want + 16, &kh, sizeof(kh));
	for (unsigned i = 0; i < 8; i++)
		d[i] = (struct raw_desc){cell_addr(i), 3, WR};
	give(p, d, 8);
	assert_int_equal(virtiofs_notify_poll(p->dev, kh), 0);
	used_next(p, 24);
	for (unsigned i = 0; i < 24; i++)
		got[i] = cell(p, i / 3)[i % 3];
	assert_memory_equal(got, want, sizeof(want));
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(cell(p, i)[3], PATTERN);
	assert_int_equal(stats(p).chain_faults, 0);
}

/* The device is told so, once; what is said meanwhile waits. */
static void breaks(struct program *p)
{
	assert_int_equal(virtiofs_notify_poll(p->dev, 1), 0);
	requests_go_on(p);
	assert_int_equal(p->raw.broken, 1u << NVQ);
	assert_int_equal(stats(p).ring_faults, 1);
	for (unsigned i = 1; i < 64; i++)
		assert_int_equal(virtiofs_notify_poll(p->dev, 1), 0);
	assert_int_equal(virtiofs_notify_poll(p->dev, 1), -ENOSPC);
	raw_kick(&p->raw.q[NVQ]);
	requests_go_on(p);
	assert_int_equal(stats(p).notifications, 0);
}

static void index_that_jumps(void **state)
{
	struct program *p = *state;

	p->raw.q[NVQ].avail->idx = htole16(5000);
	breaks(p);
}

static void head_out_of_range(void **state)
{
	struct program *p = *state;

	raw_post(&p->raw.q[NVQ], 16);
	breaks(p);
}

static void loop_of_descriptors(void **state)
{
	struct program *p = *state;
	struct raw_queue *q = &p->raw.q[NVQ];
	struct raw_desc d = {cell_addr(0), 8, WR};
	uint16_t head = raw_chain(q, &d, 1);

	q->desc[head].flags = htole16(WR | VTFS_DESC_F_NEXT);
	q->desc[head].next = htole16(head);
	raw_post(q, head);
	breaks(p);
}

/* Whatever it puts there, one call looks at no more than a ring of them, and
 * the message is not lost. */
static void nothing_but_useless_buffers(void **state)
{
	struct program *p = *state;
	const struct raw_desc bad = {cell_addr(0), 8, WR};

	for (unsigned i = 0; i < 16; i++)
		give(p, &bad, 1);
	assert_int_equal(virtiofs_notify_poll(p->dev, 7), 0);
	for (unsigned i = 0; i < 16; i++)
		used_next(p, 0);
	requests_go_on(p);
	give_good(p, 1);
	program_run(p);
	used_next(p, 24);
	assert_int_equal(stats(p).notifications, 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, program_tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    TEST(buffer_smaller_than_the_message),
	    TEST(buffer_one_byte_too_small_in_parts),
	    TEST(readable_part_in_a_buffer),
	    TEST(buffer_without_a_writable_part),
	    TEST(buffer_outside_of_memory),
	    TEST(buffer_in_many_parts_is_none),
	    TEST(index_that_jumps),
	    TEST(head_out_of_range),
	    TEST(loop_of_descriptors),
	    TEST(nothing_but_useless_buffers),
	};

	return cmocka_run_group_tests_name("notification buffers", tests, NULL,
					   NULL);
}
