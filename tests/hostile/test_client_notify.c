/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device that lies in its notifications. Tests are named after the lie: the
 * program hears nothing of it, the buffer is posted again, requests go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "liarfix.h"

#define SIZE 8192u
#define NVQ  1u
#define RVQ  2u

static unsigned heard;
static struct liar_req buf;
static unsigned char bytes[SIZE];

static void note(const struct virtiofs_notification *n, void *data)
{
	(void)data;
	heard++;
	assert_int_equal(n->code, FUSE_NOTIFY_POLL);
}

static void make(void **state, uint64_t features)
{
	uint32_t le = htole32(SIZE);
	struct fix *f;

	fix_set_up(state);
	f = *state;
	f->l.offered |= VIRTIOFS_F_NOTIFICATION | features;
	f->opts.features = VIRTIOFS_FEATURES_DEFAULT | features;
	f->l.queue_cnt = 3;
	f->l.config_len = VTFS_CONFIG_MAX;
	memcpy(f->l.config + VTFS_CONFIG_NOTIFY, &le, sizeof(le));
	f->opts.notify = note;
	f->opts.notify_buffers = 2;
	heard = 0;
	memset(bytes, 'x', sizeof(bytes));
	fix_start(f);
}

static int set_up(void **state)
{
	make(state, 0);
	return 0;
}

static void requests_go_on(struct fix *f)
{
	struct fuse_attr_out out, good = {.attr.ino = 77};

	fix_getattr(f, &out);
	fix_pop(f, RVQ);
	liar_reply(&f->l, &f->req, 0, &good, sizeof(good));
	assert_int_equal(fix_reap(f).error, 0);
}

static struct virtiofs_queue_stats stats(struct fix *f)
{
	struct virtiofs_queue_stats st = {.size = sizeof(st)};

	assert_int_equal(
	    virtiofs_client_stats(f->c, VIRTIOFS_QUEUE_NOTIFY, &st), 0);
	return st;
}

/* More often than there are buffers. */
static void lie(struct fix *f, const struct fuse_out_header *h, uint32_t used)
{
	struct fuse_out_header good = {.len = 24, .error = FUSE_NOTIFY_POLL};

	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(liar_pop_buffer(&f->l, NVQ, &buf), 1);
		liar_write(&buf, 0, h, sizeof(*h));
		liar_write(&buf, 16, bytes, SIZE - 16);
		liar_used(&f->l, &buf, used);
		virtiofs_client_dispatch(f->c);
	}
	assert_int_equal(heard, 0);
	assert_int_equal(stats(f).frame_faults, 5);
	assert_int_equal(stats(f).notifications_dropped, 5);
	requests_go_on(f);
	assert_int_equal(liar_pop_buffer(&f->l, NVQ, &buf), 1);
	liar_write(&buf, 0, &good, sizeof(good));
	liar_used(&f->l, &buf, 24);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(heard, 1);
}

/* A payload of that many bytes. */
static void lie_in(struct fix *f, int32_t code, uint32_t len)
{
	struct fuse_out_header h = {.len = 16 + len, .error = code};

	lie(f, &h, h.len);
}

static void put(size_t at, uint32_t v)
{
	memcpy(bytes + at, &v, sizeof(v));
}

/* covers: FS-DRV-17 */
static void shorter_than_its_header(void **state)
{
	struct fuse_out_header h = {.len = 15, .error = FUSE_NOTIFY_POLL};

	lie(*state, &h, 15);
}

/* Nor is it known how long the payload of such a code is. covers: FS-DRV-17 */
static void unknown_and_shorter_than_its_header(void **state)
{
	struct fuse_out_header h = {.len = 15, .error = 99};

	lie(*state, &h, 15);
}

/* covers: FS-DRV-17 */
static void length_that_is_not_the_used_one(void **state)
{
	struct fuse_out_header h = {.len = 24, .error = FUSE_NOTIFY_POLL};

	lie(*state, &h, 25);
}

static void length_beyond_the_buffer(void **state)
{
	struct fuse_out_header h = {.len = UINT32_MAX, .error = 99};

	lie(*state, &h, SIZE);
}

static void reply_among_notifications(void **state)
{
	struct fuse_out_header h = {
	    .len = 24, .error = FUSE_NOTIFY_POLL, .unique = 2};

	lie(*state, &h, 24);
}

static void code_of_an_error(void **state)
{
	struct fuse_out_header h = {.len = 16, .error = -5};

	lie(*state, &h, 16);
}

static void code_0(void **state)
{
	struct fuse_out_header h = {.len = 16};

	lie(*state, &h, 16);
}

static void fixed_part_cut_off(void **state)
{
	lie_in(*state, FUSE_NOTIFY_INVAL_INODE, 23);
}

static void bytes_behind_the_fixed_part(void **state)
{
	lie_in(*state, FUSE_NOTIFY_RETRIEVE, 33);
}

static void payload_where_there_is_none(void **state)
{
	lie_in(*state, FUSE_NOTIFY_RESEND, 1);
}

/* covers: FS-DRV-17 */
static void name_longer_than_the_message(void **state)
{
	put(8, 0xffffffff);
	lie_in(*state, FUSE_NOTIFY_INVAL_ENTRY, 20);
}

/* covers: FS-DRV-17 */
static void name_longer_than_any(void **state)
{
	put(8, 5000);
	bytes[16 + 5000] = 0;
	lie_in(*state, FUSE_NOTIFY_INVAL_ENTRY, 16 + 5001);
}

static void name_without_nul(void **state)
{
	put(8, 3);
	lie_in(*state, FUSE_NOTIFY_INVAL_ENTRY, 20);
}

static void nul_in_a_name(void **state)
{
	put(16, 3);
	memcpy(bytes + 24, "a\0b", 4);
	lie_in(*state, FUSE_NOTIFY_DELETE, 28);
}

static void slash_in_a_name(void **state)
{
	put(16, 3);
	memcpy(bytes + 24, "a/b", 4);
	lie_in(*state, FUSE_NOTIFY_DELETE, 28);
}

static void empty_name(void **state)
{
	put(8, 0);
	bytes[16] = 0;
	lie_in(*state, FUSE_NOTIFY_INVAL_ENTRY, 17);
}

static void store_of_more_than_there_is(void **state)
{
	put(16, 101);
	lie_in(*state, FUSE_NOTIFY_STORE, 24 + 100);
}

static void store_of_4_gib(void **state)
{
	put(16, 0xffffffff);
	lie_in(*state, FUSE_NOTIFY_STORE, 23);
}

/* 16 + 8 * that is 16, in 32 bits. */
static void nodes_that_overflow(void **state)
{
	put(0, 0x20000000);
	lie_in(*state, FUSE_NOTIFY_PRUNE, 16);
}

/* IN_ORDER: of a skipped buffer only the header says how long it is. */
static void length_beyond_a_skipped_buffer(void **state)
{
	const struct fuse_out_header bad = {.len = UINT32_MAX, .error = 99};
	const struct fuse_out_header good = {.len = 24,
					     .error = FUSE_NOTIFY_POLL};
	struct liar_req first;
	struct fix *f;

	fix_tear_down(state);
	make(state, VIRTIOFS_F_IN_ORDER);
	f = *state;
	assert_int_equal(liar_pop_buffer(&f->l, NVQ, &first), 1);
	liar_write(&first, 0, &bad, sizeof(bad));
	assert_int_equal(liar_pop_buffer(&f->l, NVQ, &buf), 1);
	liar_write(&buf, 0, &good, sizeof(good));
	liar_raw_used(&f->l, NVQ, buf.id, 24);
	liar_raw_index(&f->l, NVQ, 1);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(stats(f).frame_faults, 1);
	assert_int_equal(heard, 1);
	requests_go_on(f);
}

/* As a device gives back what is too small for it. */
static void empty_buffers_without_end(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(liar_pop_buffer(&f->l, NVQ, &buf), 1);
		liar_used(&f->l, &buf, 0);
		virtiofs_client_dispatch(f->c);
	}
	assert_int_equal(heard, 0);
	assert_int_equal(stats(f).dropped, 100);
	requests_go_on(f);
}

/* Its queue is broken, and no other. */
static void breaks(struct fix *f)
{
	struct virtiofs_client_info i = {.size = sizeof(i)};

	for (unsigned k = 0; k < 3; k++)
		virtiofs_client_dispatch(f->c);
	assert_int_equal(heard, 0);
	assert_int_equal(stats(f).ring_faults, 1);
	requests_go_on(f);
	assert_int_equal(virtiofs_client_get_info(f->c, &i), 0);
	assert_int_equal(virtiofs_client_forget(f->c, 5, 1), 0);
}

static void buffer_that_was_never_given(void **state)
{
	struct fix *f = *state;

	liar_raw_used(&f->l, NVQ, 77, 24);
	breaks(f);
}

static void buffer_given_back_twice(void **state)
{
	struct fix *f = *state;

	liar_raw_used(&f->l, NVQ, 0, 0);
	virtiofs_client_dispatch(f->c);
	liar_raw_used(&f->l, NVQ, 5, 0);
	breaks(f);
}

static void used_length_above_the_buffer(void **state)
{
	struct fix *f = *state;

	liar_raw_used(&f->l, NVQ, 0, SIZE + 1);
	breaks(f);
}

static void used_index_that_jumps(void **state)
{
	struct fix *f = *state;

	liar_raw_index(&f->l, NVQ, 5000);
	breaks(f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, fix_tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    TEST(shorter_than_its_header),
	    TEST(unknown_and_shorter_than_its_header),
	    TEST(length_that_is_not_the_used_one),
	    TEST(length_beyond_the_buffer),
	    TEST(reply_among_notifications),
	    TEST(code_of_an_error),
	    TEST(code_0),
	    TEST(fixed_part_cut_off),
	    TEST(bytes_behind_the_fixed_part),
	    TEST(payload_where_there_is_none),
	    TEST(name_longer_than_the_message),
	    TEST(name_longer_than_any),
	    TEST(name_without_nul),
	    TEST(nul_in_a_name),
	    TEST(slash_in_a_name),
	    TEST(empty_name),
	    TEST(store_of_more_than_there_is),
	    TEST(store_of_4_gib),
	    TEST(nodes_that_overflow),
	    TEST(length_beyond_a_skipped_buffer),
	    TEST(empty_buffers_without_end),
	    TEST(buffer_that_was_never_given),
	    TEST(buffer_given_back_twice),
	    TEST(used_length_above_the_buffer),
	    TEST(used_index_that_jumps),
	};

	return cmocka_run_group_tests_name("notifications", tests, NULL, NULL);
}
