/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/reply.h"

static const struct vtfs_expect want = {.unique = 42, .min = 8, .max = 100};

static int64_t check(uint32_t len, int32_t error, uint64_t unique,
		     uint32_t used, int32_t *ret_error)
{
	struct fuse_out_header h = {len, error, unique};

	return vtfs_reply_check(&h, used, &want, ret_error);
}

/* covers: FUSE-DRV-07 */
static void replies_are_taken_by_their_word_only_if_all_agrees(void **state)
{
	int32_t error = 7;

	assert_int_equal(check(24, 0, 42, 24, &error), 8);
	assert_int_equal(error, 0);
	assert_int_equal(check(116, 0, 42, 116, &error), 100);
	assert_int_equal(check(16, -ENOENT, 42, 16, &error), 0);
	assert_int_equal(error, -ENOENT);
	/* Each rule by itself. */
	assert_int_equal(check(24, 0, 42, 25, &error), -EPROTO);
	assert_int_equal(check(24, 0, 43, 24, &error), -EPROTO);
	assert_int_equal(check(24, 0, 0, 24, &error), -EPROTO);
	assert_int_equal(check(24, 1, 42, 24, &error), -EPROTO);
	assert_int_equal(check(16, -512, 42, 16, &error), -EPROTO);
	assert_int_equal(check(16, -511, 42, 16, &error), 0);
	assert_int_equal(error, -511);
	assert_int_equal(check(16, INT32_MIN, 42, 16, &error), -EPROTO);
	assert_int_equal(check(24, -EIO, 42, 24, &error), -EPROTO);
	assert_int_equal(check(23, 0, 42, 23, &error), -EPROTO);
	assert_int_equal(check(117, 0, 42, 117, &error), -EPROTO);
	assert_int_equal(check(15, 0, 42, 15, &error), -EPROTO);
	assert_int_equal(check(0, 0, 0, 0, &error), -EPROTO);
	assert_int_equal(check(16, 0, 42, 16, &error), -EPROTO);
}

/* covers: FUSE-BTH-04 */
static void requests_without_a_reply_have_none(void **state)
{
	struct vtfs_expect none = {.unique = 2,
				   .answer = VTFS_FUSE_ANSWER_NONE};
	struct vtfs_expect maybe = {.unique = 2,
				    .answer = VTFS_FUSE_ANSWER_MAYBE};
	struct fuse_out_header h = {16, -EAGAIN, 2};
	int32_t error;

	assert_int_equal(vtfs_reply_check(&h, 0, &none, &error), 0);
	assert_int_equal(vtfs_reply_check(&h, 16, &none, &error), -EPROTO);
	assert_int_equal(vtfs_reply_check(&h, 0, &maybe, &error), 0);
	assert_int_equal(error, 0);
	assert_int_equal(vtfs_reply_check(&h, 16, &maybe, &error), 0);
	assert_int_equal(error, -EAGAIN);
}

/* covers: FUSE-DRV-06 */
static void uniques_never_repeat_and_keep_their_bits_free(void **state)
{
	const uint64_t last = (1ULL << VTFS_UNIQUE_SEQ_BITS) - 1;
	uint64_t seq = 0, before = 0, other = 0, u = 0;

	for (unsigned i = 0; i < 1000000; i++) {
		u = vtfs_unique_next(&seq, 3);
		assert_true(u > before);
		assert_int_equal(u & (1 | 1ULL << 63), 0);
		before = u;
	}
	/* Another queue's are others. */
	assert_int_not_equal(vtfs_unique_next(&other, 4) >> 48, u >> 48);
	/* The counter wraps, past 0, and stays in its bits. */
	seq = last - 1;
	assert_int_equal(vtfs_unique_next(&seq, 0), last << 1);
	assert_int_equal(vtfs_unique_next(&seq, 0), 2);
	seq = last;
	u = vtfs_unique_next(&seq, 32767);
	assert_int_equal(u >> 48, 32767);
	assert_int_equal(u & 1ULL << 63, 0);
}

/* ---- INIT ---- */

static struct fuse_init_out honest(void)
{
	struct fuse_init_out out = {.major = 7,
				    .minor = 45,
				    .max_write = 1 << 20,
				    .max_pages = 256,
				    .flags = FUSE_MAX_PAGES};

	return out;
}

static struct vtfs_init judge(struct fuse_init_out out, uint32_t len,
			      uint32_t num)
{
	struct fuse_init_in in;
	struct vtfs_init init = {0};

	vtfs_init_request(&in, FUSE_MAX_PAGES | FUSE_ASYNC_READ);
	assert_int_equal(vtfs_init_reply(&out, len, &in, num, &init), 0);
	return init;
}

/* covers: FUSE-DRV-02 */
static void short_init_replies_lack_fields_not_sense(void **state)
{
	struct fuse_init_out out = honest();
	struct vtfs_init init;

	/* Stale bytes behind the end don't count. */
	init = judge(out, 8, 128);
	assert_int_equal(init.proto.flags, 0);
	assert_int_equal(init.max_write, 4096);
	assert_int_equal(init.max_pages, 32);
	init = judge(out, 24, 128);
	assert_int_equal(init.max_write, 4096);
	assert_int_equal(init.proto.flags, FUSE_MAX_PAGES);
	assert_int_equal(init.max_pages, 1);
	init = judge(out, 40, 128);
	assert_int_equal(init.max_pages, 124);
	init = judge(out, 64, 1024);
	assert_int_equal(init.max_pages, 256);
	assert_int_equal(init.max_write, 1 << 20);
}

static void init_reply_too_short(void **state)
{
	struct fuse_init_out out = honest();
	struct fuse_init_in in;
	struct vtfs_init init;

	vtfs_init_request(&in, 0);
	assert_int_equal(vtfs_init_reply(&out, 7, &in, 128, &init), -EPROTO);
	assert_int_equal(vtfs_init_reply(&out, 0, &in, 128, &init), -EPROTO);
}

/* covers: FUSE-DRV-01, FUSE-BTH-01 */
static void versions(void **state)
{
	static const struct {
		uint32_t major, minor;
		int r;
		uint32_t use;
	} cases[] = {
	    {7, 45, 0, 45},	{7, 27, 0, 27},	     {7, 26, -EPROTO, 0},
	    {7, 99, 0, 45},	{6, 45, -EPROTO, 0}, {8, 0, -EPROTO, 0},
	    {0, 0, -EPROTO, 0},
	};
	struct fuse_init_in in;

	vtfs_init_request(&in, 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fuse_init_out out = honest();
		struct vtfs_init init = {0};

		out.major = cases[i].major;
		out.minor = cases[i].minor;
		assert_int_equal(
		    vtfs_init_reply(&out, sizeof(out), &in, 128, &init),
		    cases[i].r);
		assert_int_equal(init.proto.minor, cases[i].use);
	}
}

/* covers: FUSE-DRV-03, FUSE-BTH-09 */
static void flags_come_from_both_sides(void **state)
{
	struct fuse_init_out out = honest();
	struct fuse_init_in in;
	struct vtfs_init init;

	vtfs_init_request(&in, UINT64_MAX);
	assert_int_equal(
	    vtfs_fuse_flags(in.flags, in.flags2) & VTFS_FUSE_NEVER_FLAGS, 0);
	vtfs_init_request(&in, FUSE_ASYNC_READ | FUSE_CREATE_SUPP_GROUP);
	assert_true(in.flags & FUSE_INIT_EXT);
	out.flags = UINT32_MAX;
	out.flags2 = UINT32_MAX;
	assert_int_equal(vtfs_init_reply(&out, sizeof(out), &in, 128, &init),
			 0);
	assert_int_equal(init.proto.flags, FUSE_ASYNC_READ |
					       FUSE_CREATE_SUPP_GROUP |
					       FUSE_INIT_EXT);
	/* Upper bits without INIT_EXT are none. */
	out.flags = FUSE_ASYNC_READ;
	out.flags2 = UINT32_MAX;
	assert_int_equal(vtfs_init_reply(&out, sizeof(out), &in, 128, &init),
			 0);
	assert_int_equal(init.proto.flags, FUSE_ASYNC_READ);
	assert_int_equal(out.flags2, 0);
}

/* Before 7.38 extensions can't be told from names. */
static void extensions_need_their_minor(void **state)
{
	const uint64_t ext = FUSE_SECURITY_CTX | FUSE_CREATE_SUPP_GROUP;
	struct fuse_init_out out = honest();
	struct fuse_init_in in;
	struct vtfs_init init;

	vtfs_init_request(&in, ext | FUSE_HAS_INODE_DAX);
	for (out.minor = 36; out.minor <= 39; out.minor++) {
		out.flags = in.flags;
		out.flags2 = in.flags2;
		assert_int_equal(
		    vtfs_init_reply(&out, sizeof(out), &in, 128, &init), 0);
		assert_int_equal(init.proto.flags,
				 FUSE_INIT_EXT | FUSE_HAS_INODE_DAX |
				     (out.minor < 38 ? 0 : ext));
		assert_int_equal(vtfs_fuse_flags(out.flags, out.flags2),
				 init.proto.flags);
	}
}

/* covers: FUSE-DRV-04, FUSE-DRV-05, FUSE-BTH-02 */
static void sizes_are_clamped(void **state)
{
	static const struct {
		uint32_t max_write;
		uint16_t max_pages;
		bool flag;
		uint32_t num, pages, write;
	} cases[] = {
	    {0, 256, true, 1024, 256, 4096},
	    {100, 256, true, 1024, 256, 4096},
	    {1 << 20, 256, true, 1024, 256, 1 << 20},
	    {UINT32_MAX, UINT16_MAX, true, 1024, 256, 1 << 20},
	    {1 << 20, 0, true, 1024, 1, 4096},
	    {1 << 20, 200, false, 1024, 32, 32 * 4096},
	    {1 << 20, 256, true, 128, 124, 124 * 4096},
	    {1 << 20, 256, true, 8, 4, 4 * 4096},
	    {1 << 20, 256, true, 5, 1, 4096},
	    {1 << 20, 256, true, 4, 1, 4096},
	    {1 << 20, 0, false, 16, 12, 12 * 4096},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fuse_init_out out = honest();
		struct vtfs_init init;

		out.max_write = cases[i].max_write;
		out.max_pages = cases[i].max_pages;
		out.flags = cases[i].flag ? FUSE_MAX_PAGES : 0;
		init = judge(out, sizeof(out), cases[i].num);
		assert_int_equal(init.max_pages, cases[i].pages);
		assert_int_equal(init.max_write, cases[i].write);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
		replies_are_taken_by_their_word_only_if_all_agrees),
	    cmocka_unit_test(requests_without_a_reply_have_none),
	    cmocka_unit_test(uniques_never_repeat_and_keep_their_bits_free),
	    cmocka_unit_test(short_init_replies_lack_fields_not_sense),
	    cmocka_unit_test(init_reply_too_short),
	    cmocka_unit_test(versions),
	    cmocka_unit_test(flags_come_from_both_sides),
	    cmocka_unit_test(extensions_need_their_minor),
	    cmocka_unit_test(sizes_are_clamped),
	};

	return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}
