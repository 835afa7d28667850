/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "wire/fuse_ops.h"

static const struct vtfs_fuse_proto now = {.minor = 45,
					   .flags = FUSE_SETXATTR_EXT};
static const struct vtfs_fuse_proto oldest = {.minor = 27};

#define ANY (-1)

/* The table again, in plain numbers from the protocol's description: bytes of
 * arguments, names, bulk unit, reply ('y', 'n', '?'), bytes of reply. */
static const struct expected {
	uint32_t opcode;
	const char *name;
	unsigned arg, names, unit;
	char answer;
	int reply;
} expected[] = {
    {1, "LOOKUP", 0, 1, 0, 'y', 128},
    {2, "FORGET", 8, 0, 0, 'n', 0},
    {3, "GETATTR", 16, 0, 0, 'y', 104},
    {4, "SETATTR", 88, 0, 0, 'y', 104},
    {5, "READLINK", 0, 0, 0, 'y', ANY},
    {6, "SYMLINK", 0, 2, 0, 'y', 128},
    {8, "MKNOD", 16, 1, 0, 'y', 128},
    {9, "MKDIR", 8, 1, 0, 'y', 128},
    {10, "UNLINK", 0, 1, 0, 'y', 0},
    {11, "RMDIR", 0, 1, 0, 'y', 0},
    {12, "RENAME", 8, 2, 0, 'y', 0},
    {13, "LINK", 8, 1, 0, 'y', 128},
    {14, "OPEN", 8, 0, 0, 'y', 16},
    {15, "READ", 40, 0, 0, 'y', ANY},
    {16, "WRITE", 40, 0, 1, 'y', 8},
    {17, "STATFS", 0, 0, 0, 'y', 80},
    {18, "RELEASE", 24, 0, 0, 'y', 0},
    {20, "FSYNC", 16, 0, 0, 'y', 0},
    {21, "SETXATTR", 16, 1, 1, 'y', 0},
    {22, "GETXATTR", 8, 1, 0, 'y', ANY},
    {23, "LISTXATTR", 8, 0, 0, 'y', ANY},
    {24, "REMOVEXATTR", 0, 1, 0, 'y', 0},
    {25, "FLUSH", 24, 0, 0, 'y', 0},
    {26, "INIT", 16, 0, 0, 'y', ANY},
    {27, "OPENDIR", 8, 0, 0, 'y', 16},
    {28, "READDIR", 40, 0, 0, 'y', ANY},
    {29, "RELEASEDIR", 24, 0, 0, 'y', 0},
    {30, "FSYNCDIR", 16, 0, 0, 'y', 0},
    {31, "GETLK", 48, 0, 0, 'y', 24},
    {32, "SETLK", 48, 0, 0, 'y', 0},
    {33, "SETLKW", 48, 0, 0, 'y', 0},
    {34, "ACCESS", 8, 0, 0, 'y', 0},
    {35, "CREATE", 16, 1, 0, 'y', 144},
    {36, "INTERRUPT", 8, 0, 0, '?', 0},
    {37, "BMAP", 16, 0, 0, 'y', 8},
    {38, "DESTROY", 0, 0, 0, 'y', 0},
    {39, "IOCTL", 32, 0, 1, 'y', ANY},
    {40, "POLL", 24, 0, 0, 'y', 8},
    {41, "NOTIFY_REPLY", 40, 0, 1, 'n', 0},
    {42, "BATCH_FORGET", 8, 0, 16, 'n', 0},
    {43, "FALLOCATE", 32, 0, 0, 'y', 0},
    {44, "READDIRPLUS", 40, 0, 0, 'y', ANY},
    {45, "RENAME2", 16, 2, 0, 'y', 0},
    {46, "LSEEK", 24, 0, 0, 'y', 8},
    {47, "COPY_FILE_RANGE", 56, 0, 0, 'y', 8},
    {48, "SETUPMAPPING", 40, 0, 0, 'y', 0},
    {49, "REMOVEMAPPING", 4, 0, 16, 'y', 0},
    {50, "SYNCFS", 8, 0, 0, 'y', 0},
    {51, "TMPFILE", 16, 1, 0, 'y', 144},
    {52, "STATX", 24, 0, 0, 'y', 288},
    {53, "COPY_FILE_RANGE_64", 56, 0, 0, 'y', 8},
};
#define EXPECTED_CNT (sizeof(expected) / sizeof(expected[0]))

static const struct vtfs_fuse_op *op_of(uint32_t opcode)
{
	const struct vtfs_fuse_op *op = vtfs_fuse_op(opcode);

	assert_non_null(op);
	assert_int_equal(op->opcode, opcode);
	return op;
}

static char answer_of(const struct vtfs_fuse_op *op)
{
	switch (op->answer) {
	case VTFS_FUSE_ANSWER:
		return 'y';
	case VTFS_FUSE_ANSWER_NONE:
		return 'n';
	default:
		return '?';
	}
}

static void every_opcode_is_as_expected(void **state)
{
	unsigned char arg[64];
	uint64_t min, max;
	size_t i;

	memset(arg, 1, sizeof(arg));
	for (i = 0; i < EXPECTED_CNT; i++) {
		const struct expected *e = &expected[i];
		const struct vtfs_fuse_op *op = op_of(e->opcode);

		assert_string_equal(op->name, e->name);
		assert_string_equal(vtfs_fuse_name(e->opcode), e->name);
		assert_int_equal(vtfs_fuse_arg_len(op, &now), e->arg);
		assert_int_equal(op->names, e->names);
		assert_int_equal(!op->names, !op->names_kind);
		assert_int_equal(op->bulk_unit, e->unit);
		assert_int_equal(answer_of(op), e->answer);
		vtfs_fuse_reply_range(op, &now, arg, &min, &max);
		if (e->reply == ANY) {
			assert_true(min < max);
		} else {
			assert_int_equal(min, e->reply);
			assert_int_equal(max, e->reply);
		}
	}
}

static void other_opcodes_are_unknown(void **state)
{
	size_t i, known = 0;
	uint32_t opcode;

	for (opcode = 0; opcode < 5000; opcode++) {
		for (i = 0; i < EXPECTED_CNT; i++)
			if (expected[i].opcode == opcode)
				break;
		if (i < EXPECTED_CNT)
			known++;
		else
			assert_null(vtfs_fuse_op(opcode));
	}
	assert_int_equal(known, EXPECTED_CNT);
	assert_null(vtfs_fuse_op(FUSE_INIT_BSWAP_RESERVED));
	assert_null(vtfs_fuse_op(UINT32_MAX));
	assert_string_equal(vtfs_fuse_name(7), "opcode ?");
}

static void hiprio_is_exactly_three_opcodes(void **state)
{
	size_t i;

	for (i = 0; i < EXPECTED_CNT; i++) {
		uint32_t opcode = expected[i].opcode;
		bool hiprio = op_of(opcode)->flags & VTFS_FUSE_HIPRIO;

		assert_int_equal(hiprio, opcode == FUSE_FORGET ||
					     opcode == FUSE_BATCH_FORGET ||
					     opcode == FUSE_INTERRUPT);
	}
}

static void grants_are_in_the_reply(void **state)
{
	size_t i;

	for (i = 0; i < EXPECTED_CNT; i++) {
		const struct vtfs_fuse_op *op = op_of(expected[i].opcode);
		bool entry = op->flags & VTFS_FUSE_GRANTS_ENTRY;
		bool fh = op->flags & VTFS_FUSE_GRANTS_FH;

		assert_int_equal(entry && !fh, op->reply_len == 128);
		assert_int_equal(entry && fh, op->reply_len == 144);
		assert_int_equal(fh && !entry, op->opcode == FUSE_OPEN ||
						   op->opcode == FUSE_OPENDIR);
	}
}

static void only_creating_requests_have_extensions(void **state)
{
	size_t i;

	for (i = 0; i < EXPECTED_CNT; i++) {
		uint32_t opcode = expected[i].opcode;

		assert_int_equal(!!(op_of(opcode)->flags & VTFS_FUSE_EXT),
				 opcode == FUSE_MKNOD || opcode == FUSE_MKDIR ||
				     opcode == FUSE_SYMLINK ||
				     opcode == FUSE_CREATE ||
				     opcode == FUSE_TMPFILE);
	}
}

static void arg_len_follows_minor_and_flags(void **state)
{
	struct vtfs_fuse_proto p = {.minor = 11};

	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_MKNOD), &p), 8);
	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_CREATE), &p), 8);
	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_WRITE), &p), 40);
	p.minor = 12;
	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_MKNOD), &p), 16);
	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_CREATE), &p), 16);
	p.minor = 8;
	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_WRITE), &p), 24);
	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_GETATTR), &p), 0);
	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_SETXATTR), &oldest), 8);
	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_SETXATTR), &now), 16);
	assert_int_equal(vtfs_fuse_arg_len(op_of(FUSE_INIT), NULL), 16);
	assert_int_equal(op_of(FUSE_INIT)->arg_len, 64);
}

static void reply_range_follows_minor(void **state)
{
	struct vtfs_fuse_proto p = {.minor = 8};
	uint64_t min, max;

	vtfs_fuse_reply_range(op_of(FUSE_LOOKUP), &p, NULL, &min, &max);
	assert_int_equal(max, 120);
	vtfs_fuse_reply_range(op_of(FUSE_GETATTR), &p, NULL, &min, &max);
	assert_int_equal(max, 96);
	vtfs_fuse_reply_range(op_of(FUSE_CREATE), &p, NULL, &min, &max);
	assert_int_equal(min, 136);
	p.minor = 3;
	vtfs_fuse_reply_range(op_of(FUSE_STATFS), &p, NULL, &min, &max);
	assert_int_equal(min, 48);
	assert_int_equal(vtfs_fuse_init_out_len(4), 8);
	assert_int_equal(vtfs_fuse_init_out_len(5), 24);
	assert_int_equal(vtfs_fuse_init_out_len(22), 24);
	assert_int_equal(vtfs_fuse_init_out_len(23), 64);
	assert_int_equal(vtfs_fuse_init_out_len(45), 64);
}

static void reply_range_follows_arguments(void **state)
{
	struct fuse_read_in rd = {.size = 4096};
	struct fuse_getxattr_in gx = {.size = 0};
	struct fuse_ioctl_in io = {.out_size = UINT32_MAX};
	uint64_t min, max;

	vtfs_fuse_reply_range(op_of(FUSE_READ), &now, &rd, &min, &max);
	assert_int_equal(min, 0);
	assert_int_equal(max, 4096);
	rd.size = 0;
	vtfs_fuse_reply_range(op_of(FUSE_READDIRPLUS), &now, &rd, &min, &max);
	assert_int_equal(max, 0);
	vtfs_fuse_reply_range(op_of(FUSE_LISTXATTR), &now, &gx, &min, &max);
	assert_int_equal(min, 8);
	assert_int_equal(max, 8);
	gx.size = 3;
	vtfs_fuse_reply_range(op_of(FUSE_GETXATTR), &now, &gx, &min, &max);
	assert_int_equal(min, 0);
	assert_int_equal(max, 3);
	vtfs_fuse_reply_range(op_of(FUSE_IOCTL), &now, &io, &min, &max);
	assert_int_equal(min, 16);
	assert_true(max == 16 + (uint64_t)UINT32_MAX);
}

/* Length of the names, or what was wrong; then nothing was written. */
static int split(uint32_t opcode, const void *arg, uint64_t len)
{
	uint32_t names = 12345;
	int r = vtfs_fuse_split(op_of(opcode), arg, len, &names);

	if (r < 0)
		assert_int_equal(names, 12345);
	return r < 0 ? r : (int)names;
}

static void split_gives_names_what_bulk_leaves(void **state)
{
	struct fuse_setxattr_in sx = {.size = 10};
	struct fuse_write_in wr = {.size = 512};

	assert_int_equal(split(FUSE_SETXATTR, &sx, 17), 7);
	assert_int_equal(split(FUSE_SETXATTR, &sx, 10), -EINVAL);
	assert_int_equal(split(FUSE_SETXATTR, &sx, 9), -EINVAL);
	assert_int_equal(split(FUSE_WRITE, &wr, 512), 0);
	assert_int_equal(split(FUSE_WRITE, &wr, 511), -EINVAL);
	assert_int_equal(split(FUSE_WRITE, &wr, 513), -EINVAL);
	assert_int_equal(split(FUSE_LOOKUP, NULL, 5), 5);
	assert_int_equal(split(FUSE_LOOKUP, NULL, 0), -EINVAL);
	assert_int_equal(split(FUSE_RENAME, NULL, 1), -EINVAL);
	assert_int_equal(split(FUSE_RENAME, NULL, 4), 4);
	assert_int_equal(split(FUSE_STATFS, NULL, 0), 0);
	assert_int_equal(split(FUSE_STATFS, NULL, 1), -EINVAL);
	assert_int_equal(split(FUSE_LOOKUP, NULL, 1ULL << 32), -EINVAL);
	assert_int_equal(split(FUSE_INIT, NULL, 48), 0);
	assert_int_equal(split(FUSE_INIT, NULL, 4000), 0);
}

/* covers: FUSE-DEV-17, FUSE-DEV-27 */
static void split_refuses_entries_that_do_not_fit(void **state)
{
	struct fuse_batch_forget_in bf = {.count = 2};
	char unaligned[8];
	uint32_t cnt;

	assert_int_equal(split(FUSE_BATCH_FORGET, &bf, 32), 0);
	assert_int_equal(split(FUSE_BATCH_FORGET, &bf, 31), -EINVAL);
	assert_int_equal(split(FUSE_BATCH_FORGET, &bf, 48), -EINVAL);
	bf.count = 0;
	assert_int_equal(split(FUSE_BATCH_FORGET, &bf, 0), 0);
	bf.count = UINT32_MAX;
	assert_int_equal(split(FUSE_BATCH_FORGET, &bf, 0xfffffff0u), -EINVAL);
	bf.count = 0x10000000; /* times 16 is 0 in 32 bits */
	assert_int_equal(split(FUSE_BATCH_FORGET, &bf, 0), -EINVAL);
	for (cnt = 0; cnt < 4; cnt++) {
		memcpy(unaligned + 1, &cnt, sizeof(cnt));
		assert_int_equal(
		    split(FUSE_REMOVEMAPPING, unaligned + 1, 16 * cnt), 0);
		assert_int_equal(
		    split(FUSE_REMOVEMAPPING, unaligned + 1, 16 * cnt + 4),
		    -EINVAL);
	}
	cnt = UINT32_MAX;
	memcpy(unaligned + 1, &cnt, sizeof(cnt));
	assert_int_equal(split(FUSE_REMOVEMAPPING, unaligned + 1, 16), -EINVAL);
}

#define NAMES(opcode, s) vtfs_fuse_check_names(op_of(opcode), s, sizeof(s) - 1)

/* covers: FUSE-DEV-26 */
static void names_must_be_whole_and_plain(void **state)
{
	assert_int_equal(NAMES(FUSE_LOOKUP, "a\0"), 0);
	assert_int_equal(NAMES(FUSE_LOOKUP, "..\0"), 0);
	assert_int_equal(NAMES(FUSE_LOOKUP, "a"), -EINVAL);
	assert_int_equal(NAMES(FUSE_LOOKUP, ""), -EINVAL);
	assert_int_equal(NAMES(FUSE_LOOKUP, "\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_LOOKUP, "../x\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_LOOKUP, "/\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_LOOKUP, "a\0b\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_LOOKUP, "a\0b"), -EINVAL);
	assert_int_equal(NAMES(FUSE_RENAME2, "a\0b\0"), 0);
	assert_int_equal(NAMES(FUSE_RENAME2, "a\0b"), -EINVAL);
	assert_int_equal(NAMES(FUSE_RENAME2, "a\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_RENAME2, "a\0\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_RENAME2, "a\0b/c\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_RENAME2, "\0b\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_STATFS, ""), 0);
}

static void names_that_are_no_entries_may_hold_slashes(void **state)
{
	assert_int_equal(NAMES(FUSE_SYMLINK, "l\0../x/y\0"), 0);
	assert_int_equal(NAMES(FUSE_SYMLINK, "l\0\0"), 0);
	assert_int_equal(NAMES(FUSE_SYMLINK, "l/m\0x\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_SETXATTR, "user.a/b\0"), 0);
	assert_int_equal(NAMES(FUSE_SETXATTR, "\0"), -EINVAL);
	assert_int_equal(NAMES(FUSE_TMPFILE, "/\0"), 0);
	assert_int_equal(NAMES(FUSE_TMPFILE, "\0"), 0);
	assert_int_equal(NAMES(FUSE_TMPFILE, "/"), -EINVAL);
}

/* Extensions as 32-bit words in this machine's order. */
#define EXT(...)                                                               \
	vtfs_fuse_check_ext((const uint32_t[]){__VA_ARGS__},                   \
			    sizeof((const uint32_t[]){__VA_ARGS__}))

/* covers: FUSE-DEV-09 */
static void extension_sizes_are_judged(void **state)
{
	assert_int_equal(vtfs_fuse_check_ext(NULL, 0), 0);
	assert_int_equal(EXT(8, 0), 0);
	assert_int_equal(EXT(8, 99, 16, 99, 1, 2), 0);
	assert_int_equal(EXT(0, 0), -EINVAL);
	assert_int_equal(EXT(7, 99), -EINVAL);
	assert_int_equal(EXT(12, 99, 0, 0), -EINVAL);
	assert_int_equal(EXT(16, 99), -EINVAL);
	assert_int_equal(EXT(UINT32_MAX, 99), -EINVAL);
	assert_int_equal(EXT(0xfffffff8u, 99), -EINVAL);
	assert_int_equal(vtfs_fuse_check_ext("\x08\0\0\0", 4), -EINVAL);
}

static void groups_must_fit_their_extension(void **state)
{
	assert_int_equal(EXT(16, 32, 1, 1000), 0);
	assert_int_equal(EXT(16, 32, 0, 0), 0);
	assert_int_equal(EXT(16, 32, 2, 1000), -EINVAL);
	assert_int_equal(EXT(16, 32, UINT32_MAX, 0), -EINVAL);
	assert_int_equal(EXT(16, 32, 0x40000000u, 0), -EINVAL);
	assert_int_equal(EXT(8, 32), -EINVAL);
}

/* A context named "sec" with 5 bytes of value, as Linux sends it, with sizes
 * to be spoilt. */
static int secctx(uint32_t size, uint32_t cnt, uint32_t value_size)
{
	unsigned char b[32] = {0};

	memcpy(b, &size, 4);
	memcpy(b + 4, &cnt, 4);
	memcpy(b + 8, &value_size, 4);
	memcpy(b + 16, "sec\0value", 9);
	return vtfs_fuse_check_ext(b, sizeof(b));
}

static void security_contexts_must_fit_their_extension(void **state)
{
	assert_int_equal(secctx(32, 1, 5), 0);
	assert_int_equal(secctx(32, 1, 12), 0);
	assert_int_equal(secctx(32, 1, 13), -EINVAL);
	assert_int_equal(secctx(32, 1, UINT32_MAX), -EINVAL);
	assert_int_equal(secctx(32, 2, 5), -EINVAL);
	assert_int_equal(secctx(32, 0, 5), -EINVAL);
	assert_int_equal(secctx(32, 31, 5), -EINVAL);
	assert_int_equal(EXT(16, 1, 0, 0), -EINVAL);
	assert_int_equal(EXT(24, 1, 0, 0, 0x41414141, 0x41414141), -EINVAL);
}

static void flags2_counts_with_init_ext_only(void **state)
{
	assert_true(vtfs_fuse_flags(FUSE_MAX_PAGES, 1) == FUSE_MAX_PAGES);
	assert_true(vtfs_fuse_flags(FUSE_INIT_EXT, 1) ==
		    (FUSE_INIT_EXT | FUSE_SECURITY_CTX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_opcode_is_as_expected),
	    cmocka_unit_test(other_opcodes_are_unknown),
	    cmocka_unit_test(hiprio_is_exactly_three_opcodes),
	    cmocka_unit_test(grants_are_in_the_reply),
	    cmocka_unit_test(only_creating_requests_have_extensions),
	    cmocka_unit_test(arg_len_follows_minor_and_flags),
	    cmocka_unit_test(reply_range_follows_minor),
	    cmocka_unit_test(reply_range_follows_arguments),
	    cmocka_unit_test(split_gives_names_what_bulk_leaves),
	    cmocka_unit_test(split_refuses_entries_that_do_not_fit),
	    cmocka_unit_test(names_must_be_whole_and_plain),
	    cmocka_unit_test(names_that_are_no_entries_may_hold_slashes),
	    cmocka_unit_test(extension_sizes_are_judged),
	    cmocka_unit_test(groups_must_fit_their_extension),
	    cmocka_unit_test(security_contexts_must_fit_their_extension),
	    cmocka_unit_test(flags2_counts_with_init_ext_only),
	};

	return cmocka_run_group_tests_name("fuse_ops", tests, NULL, NULL);
}
