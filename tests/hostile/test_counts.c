/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests that say how many bytes follow, and lie. WRITE, BATCH_FORGET and
 * REMOVEMAPPING: test_frames.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"

#define VALUE 5u /* bytes that really follow */

static const uint32_t lies[] = {
    0, VALUE - 1, VALUE + 1, 0x7fffffff, 0xffffffff - 40 + VALUE, 0xffffffff,
};

/* fixed: arguments and names, with a count at off of them. Refused with
 * -EINVAL, or with nothing where there is no reply; the honest one is served.
 */
static void count_lies(uint32_t opcode, const void *fixed, size_t len,
		       size_t off)
{
	struct program p = {0};
	unsigned char args[128];
	uint32_t room = opcode == FUSE_NOTIFY_REPLY ? 0 : 64;
	uint32_t honest = VALUE;

	memcpy(args, fixed, len);
	memcpy(args + len, "value", VALUE);
	program_open(&p, 0);
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		memcpy(args + off, &lies[i], sizeof(lies[i]));
		send_frame(&p, 1, 0, opcode, args, len + VALUE, room);
		program_run(&p);
		assert_int_equal(reply_of(&p, 1, 0), room ? -EINVAL : 1);
		assert_int_equal(p.cnt, 0);
	}
	p.keep = true;
	memcpy(args + off, &honest, sizeof(honest));
	send_frame(&p, 1, 0, opcode, args, len + VALUE, room);
	program_run(&p);
	assert_int_equal(p.cnt, 1);
	assert_int_equal(p.reqs[0]->data_len, VALUE);
	assert_memory_equal(p.reqs[0]->data[0].iov_base, "value", VALUE);
	virtiofs_req_done(p.reqs[0]);
	program_stop(&p);
}

static void xattr_size_is_not_what_follows(void **state)
{
	unsigned char args[FUSE_COMPAT_SETXATTR_IN_SIZE + 7] = {0};

	memcpy(args + FUSE_COMPAT_SETXATTR_IN_SIZE, "user.x", 7);
	count_lies(FUSE_SETXATTR, args, sizeof(args),
		   offsetof(struct fuse_setxattr_in, size));
}

static void ioctl_size_is_not_what_follows(void **state)
{
	const struct fuse_ioctl_in in = {.fh = 1};

	count_lies(FUSE_IOCTL, &in, sizeof(in),
		   offsetof(struct fuse_ioctl_in, in_size));
}

static void retrieved_size_is_not_what_follows(void **state)
{
	const struct fuse_notify_retrieve_in in = {.offset = 1};

	count_lies(FUSE_NOTIFY_REPLY, &in, sizeof(in),
		   offsetof(struct fuse_notify_retrieve_in, size));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(xattr_size_is_not_what_follows),
	    cmocka_unit_test(ioctl_size_is_not_what_follows),
	    cmocka_unit_test(retrieved_size_is_not_what_follows),
	};

	return cmocka_run_group_tests_name("counts", tests, NULL, NULL);
}
