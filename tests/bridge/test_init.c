/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel, a server and a virtqueue between them agree on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "bridgefix.h"

#define NOT_CARRIED                                                            \
	((uint64_t)(FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE | FUSE_SPLICE_READ |  \
		    FUSE_MAP_ALIGNMENT | FUSE_EXPLICIT_INVAL_DATA |            \
		    FUSE_ABORT_ERROR | FUSE_INIT_RESERVED) |                   \
	 FUSE_HAS_INODE_DAX | FUSE_HAS_EXPIRE_ONLY | FUSE_PASSTHROUGH |        \
	 FUSE_HAS_RESEND | FUSE_OVER_IO_URING)

static void init_offers(struct fix *f, uint32_t flags, uint64_t not_carried)
{
	struct fuse_init_in in = usual_init;
	struct fuse_init_out out, got;
	struct bridged x;

	in.minor = 60;
	in.flags = ~FUSE_INIT_RESERVED;
	in.flags2 = UINT32_MAX >> 20;
	begin(&x, f, &in);
	x.opts.flags = flags;
	go(&x);
	memcpy(&in, f->req.data, sizeof(in));
	assert_int_equal(f->req.in.uid, 1001);
	assert_int_equal(in.minor, 45);
	assert_int_equal(in.flags, (uint32_t)~not_carried);
	assert_int_equal(in.flags2,
			 UINT32_MAX >> 20 & ~(uint32_t)(not_carried >> 32));
	/* A server that confirms all, and more than was asked for. */
	liar_init_reply(&out, &f->req);
	out.minor = 45;
	out.flags = UINT32_MAX;
	out.flags2 = UINT32_MAX;
	out.max_write = 16u << 20;
	out.max_pages = UINT16_MAX;
	out.map_alignment = 12;
	out.max_stack_depth = 1;
	out.request_timeout = 99;
	reply(&x, 0, &out, sizeof(out));
	made(&x);
	memcpy(&got, x.reply.body, sizeof(got));
	assert_int_equal(got.flags, in.flags | FUSE_ABORT_ERROR);
	assert_int_equal(got.flags2, in.flags2);
	/* The ring: 128 descriptors. */
	assert_int_equal(got.max_pages, 124);
	assert_int_equal(got.max_write, 124 * PAGE);
	assert_int_equal(got.map_alignment, 0);
	assert_int_equal(got.max_stack_depth, 0);
	assert_int_equal(got.request_timeout, 99);
	assert_int_equal(unmounted(&x), 0);
}

/* covers: FUSE-BTH-09 */
static void init_has_only_what_a_virtqueue_carries(void **state)
{
	init_offers(*state, 0, NOT_CARRIED | FUSE_ALLOW_IDMAP);
}

static void init_offers_idmaps_where_the_kernel_judges(void **state)
{
	init_offers(*state, VIRTIOFS_BRIDGE_DEFAULT_PERMISSIONS, NOT_CARRIED);
}

static void init_of_a_server_without_max_pages_is_bounded(void **state)
{
	struct fix *f = *state;
	struct fuse_init_out out, got;
	struct bridged x;

	f->opts.queue_size = 16;
	begin(&x, f, &usual_init);
	go(&x);
	liar_init_reply(&out, &f->req);
	out.flags = 0;
	out.max_pages = 0;
	reply(&x, 0, &out, sizeof(out));
	made(&x);
	memcpy(&got, x.reply.body, sizeof(got));
	assert_int_equal(got.flags, FUSE_MAX_PAGES);
	assert_int_equal(got.max_pages, 12);
	assert_int_equal(got.max_write, 12 * PAGE);
	assert_int_equal(unmounted(&x), 0);
}

static void init_refused_ends_it(void **state)
{
	struct bridged x;

	begin(&x, *state, &usual_init);
	go(&x);
	reply(&x, -EACCES, NULL, 0);
	assert_int_equal(answer(&x, 2), -EIO);
	assert_int_equal(ended(&x), -EACCES);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_set_up, fix_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(init_has_only_what_a_virtqueue_carries),
	    T(init_offers_idmaps_where_the_kernel_judges),
	    T(init_of_a_server_without_max_pages_is_bounded),
	    T(init_refused_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
