/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FUSE_INIT, by frames through a device session. */
#include <byteswap.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/init.h"
#include "rawfuse.h"

#define ALL_FLAGS 0xffffffffu

/* covers: FS-DEV-07 */
static void before_init_nothing_is_done(void **state)
{
	struct program *p = *state;

	program_start(p, 0);
	assert_int_equal(getattr_of(p, 1), -EIO);
	send_frame(p, 1, 1, FUSE_DESTROY, "", 0, 16);
	send_frame(p, 0, 2, FUSE_FORGET, "01234567", 8, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 1), -EIO);
	assert_int_equal(reply_of(p, 0, 2), 1);
	assert_int_equal(p->cnt, 0);
	assert_int_equal(p->forget_cnt, 0);
}

/* covers: FUSE-BTH-01 */
static void minor_is_the_smaller_one(void **state)
{
	struct program *p = *state;
	const uint32_t minors[] = {27, 31, 36, 44, 45, 46, 1000};
	struct fuse_init_out out;

	program_start(p, 0);
	for (unsigned i = 0; i < 7; i++) {
		struct fuse_init_in in = make_init(7, minors[i]);
		uint32_t least = minors[i] < 45 ? minors[i] : 45;

		assert_int_equal(
		    init_of(p, 1, &in, minors[i] < 36 ? 16 : 64, &out), 0);
		assert_int_equal(out.major, 7);
		assert_int_equal(out.minor, least);
		assert_int_equal(getattr_of(p, 1), 0);
	}
}

static void minor_below_27_is_refused(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 26);
	struct fuse_init_out out;

	program_start(p, 0);
	assert_int_equal(init_of(p, 1, &in, 16, &out), -EPROTO);
	assert_int_equal(getattr_of(p, 1), -EIO);
	assert_int_equal(p->cnt, 0);
}

/* covers: FUSE-DEV-01 */
static void newer_major_is_told_ours(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(8, 0);
	struct fuse_init_out out;

	program_start(p, 0);
	assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
	assert_int_equal(out.major, 7);
	assert_int_equal(out.flags, 0);
	assert_int_equal(getattr_of(p, 1), -EIO);
	in = make_init(7, 45);
	assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
	assert_int_equal(getattr_of(p, 1), 0);
}

/* covers: FUSE-DEV-02 */
static void older_major_is_refused(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(6, 45);
	struct fuse_init_out out;

	program_start(p, 0);
	assert_int_equal(init_of(p, 1, &in, 64, &out), -EPROTO);
	assert_int_equal(getattr_of(p, 1), -EIO);
	assert_int_equal(p->cnt, 0);
}

/* covers: FUSE-DEV-03 */
static void init_of_any_length_is_read_as_far_as_it_goes(void **state)
{
	struct program *p = *state;
	struct {
		struct fuse_init_in in;
		char more[40];
	} big = {.in = make_init(7, 45)};
	struct fuse_init_out out;

	program_start(p, 0);
	assert_int_equal(init_of(p, 1, &big.in, 0, &out), -EINVAL);
	assert_int_equal(init_of(p, 1, &big.in, 8, &out), -EINVAL);
	assert_int_equal(init_of(p, 1, &big.in, 15, &out), -EINVAL);
	assert_int_equal(p->inits, 0);
	/* flags2 is not there: none of its bits was offered. */
	assert_int_equal(init_of(p, 1, &big.in, 16, &out), 0);
	assert_int_equal(out.flags2, 0);
	assert_int_equal(init_of(p, 1, &big.in, 20, &out), 0);
	assert_int_equal(init_of(p, 1, &big.in, 64, &out), 0);
	/* A later minor may say more. */
	assert_int_equal(init_of(p, 1, &big.in, sizeof(big), &out), 0);
}

static void all_bits(struct fuse_init_out *out)
{
	out->flags = ALL_FLAGS;
	out->flags2 = ALL_FLAGS;
}

/* covers: FUSE-DEV-05, FUSE-BTH-09 */
static void flags_are_what_was_offered_and_can_be_carried(void **state)
{
	struct program *p = *state;
	const uint64_t never = FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE |
			       FUSE_SPLICE_READ | FUSE_PASSTHROUGH |
			       FUSE_OVER_IO_URING;
	struct fuse_init_out out;

	p->on_init = all_bits;
	program_start(p, 0);
	srandom(1);
	for (unsigned i = 0; i < 500; i++) {
		struct fuse_init_in in = make_init(7, 45);
		uint64_t offered, got;

		in.flags = i ? (uint32_t)random() * 2 + (i & 1) : ALL_FLAGS;
		in.flags2 = i ? (uint32_t)random() * 2 + (i & 1) : ALL_FLAGS;
		assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
		offered = in.flags | (uint64_t)in.flags2 << 32;
		got = out.flags | (uint64_t)out.flags2 << 32;
		assert_int_equal(got & ~offered, 0);
		assert_int_equal(got & never, 0);
		assert_int_equal(out.flags & FUSE_INIT_RESERVED, 0);
		if (!(in.flags & FUSE_INIT_EXT))
			assert_int_equal(out.flags2, 0);
		/* and nothing else is taken away from the program */
		if (in.flags & FUSE_INIT_EXT)
			assert_int_equal(got,
					 offered & ~never &
					     ~(uint64_t)FUSE_INIT_RESERVED);
	}
}

static void minor_37(struct fuse_init_out *out)
{
	all_bits(out);
	out->minor = 37;
}

/* Before 7.38 extensions can't be told from names, whoever is older. */
static void extensions_need_their_minor(void **state)
{
	struct program *p = *state;
	const uint64_t ext = FUSE_SECURITY_CTX | FUSE_CREATE_SUPP_GROUP;
	struct fuse_init_out out;

	p->on_init = all_bits;
	program_start(p, 0);
	for (uint32_t minor = 36; minor <= 45; minor++) {
		struct fuse_init_in in = make_init(7, minor);
		uint64_t flags;

		p->on_init = minor == 45 ? minor_37 : all_bits;
		assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
		flags = out.flags | (uint64_t)out.flags2 << 32;
		assert_int_equal(flags & ext,
				 minor < 38 || minor == 45 ? 0 : ext);
		assert_true(flags & FUSE_HAS_INODE_DAX);
	}
}

static void many_pages(struct fuse_init_out *out)
{
	out->max_pages = 5000;
	out->max_write = 1u << 30;
}

/* covers: FUSE-BTH-02 */
static void pages_fit_the_ring_and_the_flag(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	struct fuse_init_out out;

	p->on_init = many_pages;
	program_start(p, 0);
	/* Indirect: what max_write needs. */
	assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
	assert_int_equal(out.max_pages, 256);
	assert_int_equal(out.max_write, 1024 * 1024);
	/* The client does not know the flag: 32 pages. */
	in.flags &= ~FUSE_MAX_PAGES;
	assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
	assert_int_equal(out.max_pages, 0);
	assert_int_equal(out.max_write, 32 * 4096);
}

static void pages_fit_a_ring_without_indirect(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	struct fuse_init_out out;

	p->on_init = many_pages;
	p->num = 16;
	program_start(p, VIRTIOFS_F_VERSION_1);
	assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
	assert_int_equal(out.max_pages, 12);
	assert_int_equal(out.max_write, 12 * 4096);
	assert_int_equal(vtfs_init_pages(1 << 20, 4), 1);
	assert_int_equal(vtfs_init_pages(1 << 20, 5), 1);
	assert_int_equal(vtfs_init_pages(1 << 20, 6), 2);
	assert_int_equal(vtfs_init_pages(4097, 0), 2);
	/* Never more parts than one readv takes. */
	assert_int_equal(vtfs_init_pages(1u << 30, 0), 1020);
}

/* covers: FS-DEV-11, FS-DRV-09 */
static void other_byte_order_is_refused_in_that_order(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = {bswap_32(7), bswap_32(45)};
	struct fuse_out_header out;
	uint32_t id, len;

	program_start(p, 0);
	put_frame(p, 0, FUSE_INIT_BSWAP_RESERVED, &in, sizeof(in));
	frame_of(p, 0)->len = bswap_32(104);
	frame_of(p, 0)->unique = UINT64_C(0x0102030405060708);
	raw_post(&p->raw.q[1],
		 raw_chain(&p->raw.q[1],
			   (struct raw_desc[]){{cell_addr(0), 104, 0},
					       {cell_addr(0) + CELL_ROOM, 80,
						VTFS_DESC_F_WRITE}},
			   2));
	program_run(p);
	assert_true(raw_used(&p->raw.q[1], &id, &len));
	assert_int_equal(len, 16);
	memcpy(&out, cell(p, 0) + CELL_ROOM, sizeof(out));
	assert_int_equal(bswap_32(out.len), 16);
	assert_int_equal((int32_t)bswap_32((uint32_t)out.error), -EPROTO);
	assert_int_equal(out.unique, UINT64_C(0x0102030405060708));
	assert_int_equal(getattr_of(p, 1), -EIO);
}

/* covers: FS-DEV-06 */
static void init_on_the_last_queue_opens_all(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	struct fuse_init_out out;

	p->queues = 3;
	program_start(p, 0);
	assert_int_equal(init_of(p, 3, &in, 64, &out), 0);
	for (unsigned vq = 1; vq <= 3; vq++)
		assert_int_equal(getattr_of(p, vq), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    PROGRAM_TEST_CLOSED(before_init_nothing_is_done),
	    PROGRAM_TEST_CLOSED(minor_is_the_smaller_one),
	    PROGRAM_TEST_CLOSED(minor_below_27_is_refused),
	    PROGRAM_TEST_CLOSED(newer_major_is_told_ours),
	    PROGRAM_TEST_CLOSED(older_major_is_refused),
	    PROGRAM_TEST_CLOSED(init_of_any_length_is_read_as_far_as_it_goes),
	    PROGRAM_TEST_CLOSED(flags_are_what_was_offered_and_can_be_carried),
	    PROGRAM_TEST_CLOSED(extensions_need_their_minor),
	    PROGRAM_TEST_CLOSED(pages_fit_the_ring_and_the_flag),
	    PROGRAM_TEST_CLOSED(pages_fit_a_ring_without_indirect),
	    PROGRAM_TEST_CLOSED(other_byte_order_is_refused_in_that_order),
	    PROGRAM_TEST_CLOSED(init_on_the_last_queue_opens_all),
	};

	return cmocka_run_group_tests_name("device init", tests, NULL, NULL);
}
