/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arguments whose form depends on what INIT settled. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"

static void keep_xattr(struct program *p, struct virtiofs_req *req)
{
	const struct fuse_setxattr_in *in = req->arg;

	assert_int_equal(in->size, 3);
	assert_int_equal(in->flags, 1);
	assert_int_equal(in->setxattr_flags, *(uint32_t *)p->more);
	assert_string_equal((const char *)(in + 1), "user.x");
	assert_int_equal(req->data_len, 3);
	assert_memory_equal(req->data[0].iov_base, "val", 3);
	virtiofs_req_error(req, 0);
}

/* covers: FUSE-BTH-05 */
static void setxattr_is_the_same_in_both_lengths(void **state)
{
	struct program *p = *state;
	const char old_args[] = "\3\0\0\0\1\0\0\0user.x\0val";
	const char new_args[] = "\3\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0user.x\0val";
	uint32_t flags = 0;

	p->more = &flags;
	p->on_request = keep_xattr;
	send_frame(p, 1, 0, FUSE_SETXATTR, old_args, sizeof(old_args) - 1, 16);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	flags = 1;
	program_open_again(p, agree_setxattr_ext);
	send_frame(p, 1, 0, FUSE_SETXATTR, new_args, sizeof(new_args) - 1, 16);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_int_equal(p->cnt, 1);
}

static void agree_groups(struct fuse_init_out *out)
{
	out->flags2 |= (uint32_t)(FUSE_CREATE_SUPP_GROUP >> 32);
}

static void keep_ext(struct program *p, struct virtiofs_req *req)
{
	assert_string_equal((const char *)req->arg + 8, "d");
	assert_int_equal(req->arg_len, 10);
	assert_non_null(req->ext);
	assert_memory_equal(req->ext, p->more, 16);
	virtiofs_req_error(req, 0);
}

static void nothing(struct fuse_init_out *out)
{
	out->flags2 = 0;
}

/* covers: FUSE-BTH-06 */
static void extensions_come_only_if_agreed(void **state)
{
	struct program *p = *state;
	/* mkdir_in, "d", then groups: 16 bytes, type 32, one group 5 */
	const char args[] = "\0\0\0\0\0\0\0\0d\0"
			    "\20\0\0\0\40\0\0\0\1\0\0\0\5\0\0";

	p->more = (void *)(uintptr_t)(args + 10);
	program_open_again(p, agree_groups);
	p->on_request = keep_ext;
	put_frame(p, 0, FUSE_MKDIR, args, 26);
	frame_of(p, 0)->total_extlen = 2;
	post_cell(p, 1, 0, 200);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_int_equal(p->cnt, 1);
	program_open_again(p, nothing);
	put_frame(p, 0, FUSE_MKDIR, args, 26);
	frame_of(p, 0)->total_extlen = 2;
	post_cell(p, 1, 0, 200);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -EINVAL);
	assert_int_equal(p->cnt, 0);
}

static void answer_enosys(struct program *p, struct virtiofs_req *req)
{
	assert_true(req->flags & VIRTIOFS_REQ_UNKNOWN);
	assert_int_equal(req->arg_len, 0);
	assert_int_equal(req->data_len, 5);
	assert_memory_equal(req->data[0].iov_base, "bytes", 5);
	virtiofs_req_error(req, -ENOSYS);
}

static void unknown_opcodes_are_handed_out_as_bytes(void **state)
{
	struct program *p = *state;
	const uint32_t ops[] = {0, 7, 19, 54, 100, 4095, 4096, 0xffffffff};

	p->on_request = answer_enosys;
	for (unsigned i = 0; i < 8; i++) {
		send_frame(p, 1, 0, ops[i], "bytes", 5, 200);
		program_run(p);
		assert_int_equal(reply_of(p, 1, 0), -ENOSYS);
	}
	assert_int_equal(p->cnt, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    PROGRAM_TEST(setxattr_is_the_same_in_both_lengths),
	    PROGRAM_TEST(extensions_come_only_if_agreed),
	    PROGRAM_TEST(unknown_opcodes_are_handed_out_as_bytes),
	};

	return cmocka_run_group_tests_name("device args", tests, NULL, NULL);
}
