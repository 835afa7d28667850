/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <virtiofs/fuse_kernel.h>

#include "fuse_kernel_facts.h"

/* What no header older than 7.45 can tell: sizes of what came after 7.38, and
 * where named fields replaced padding. */
_Static_assert(sizeof(struct fuse_sx_time) == 16, "7.39");
_Static_assert(sizeof(struct fuse_statx) == 256, "7.39");
_Static_assert(sizeof(struct fuse_statx_in) == 24, "7.39");
_Static_assert(sizeof(struct fuse_statx_out) == 288, "7.39");
_Static_assert(offsetof(struct fuse_statx, ino) == 32, "7.39");
_Static_assert(offsetof(struct fuse_statx, atime) == 64, "7.39");
_Static_assert(offsetof(struct fuse_statx, rdev_major) == 128, "7.39");
_Static_assert(offsetof(struct fuse_statx_out, stat) == 32, "7.39");
_Static_assert(offsetof(struct fuse_open_out, backing_id) == 12, "7.40");
_Static_assert(offsetof(struct fuse_init_out, max_stack_depth) == 36, "7.40");
_Static_assert(offsetof(struct fuse_init_out, request_timeout) == 40, "7.43");
_Static_assert(sizeof(struct fuse_init_out) == 64, "any");
_Static_assert(sizeof(struct fuse_copy_file_range_out) == 8, "7.45");
_Static_assert(sizeof(struct fuse_notify_prune_out) == 16, "7.45");
_Static_assert(sizeof(struct fuse_backing_map) == 16, "7.40");
_Static_assert(FUSE_KERNEL_MINOR_VERSION == 45, "ours came first");

/* What the sizes of the two ends' headers rest on (virtio 1.4, 5.11.6.1). */
_Static_assert(sizeof(struct fuse_in_header) == 40, "in header");
_Static_assert(sizeof(struct fuse_out_header) == 16, "out header");
_Static_assert(FUSE_NAME_OFFSET == 24, "dirent");
_Static_assert(FUSE_NAME_OFFSET_DIRENTPLUS == 152, "direntplus");

static void every_fact_is_the_systems(void **state)
{
	size_t i;

	for (i = 0; ours[i].name && systems[i].name; i++) {
		assert_string_equal(ours[i].name, systems[i].name);
		if (ours[i].value != systems[i].value)
			fail_msg("%s: ours %#llx, system's %#llx", ours[i].name,
				 (unsigned long long)ours[i].value,
				 (unsigned long long)systems[i].value);
	}
	assert_null(ours[i].name);
	assert_null(systems[i].name);
	assert_true(i > 500);
}

static void init_flags_are_bits_0_to_42(void **state)
{
	static const uint64_t flags[] = {
	    FUSE_ASYNC_READ,
	    FUSE_POSIX_LOCKS,
	    FUSE_FILE_OPS,
	    FUSE_ATOMIC_O_TRUNC,
	    FUSE_EXPORT_SUPPORT,
	    FUSE_BIG_WRITES,
	    FUSE_DONT_MASK,
	    FUSE_SPLICE_WRITE,
	    FUSE_SPLICE_MOVE,
	    FUSE_SPLICE_READ,
	    FUSE_FLOCK_LOCKS,
	    FUSE_HAS_IOCTL_DIR,
	    FUSE_AUTO_INVAL_DATA,
	    FUSE_DO_READDIRPLUS,
	    FUSE_READDIRPLUS_AUTO,
	    FUSE_ASYNC_DIO,
	    FUSE_WRITEBACK_CACHE,
	    FUSE_NO_OPEN_SUPPORT,
	    FUSE_PARALLEL_DIROPS,
	    FUSE_HANDLE_KILLPRIV,
	    FUSE_POSIX_ACL,
	    FUSE_ABORT_ERROR,
	    FUSE_MAX_PAGES,
	    FUSE_CACHE_SYMLINKS,
	    FUSE_NO_OPENDIR_SUPPORT,
	    FUSE_EXPLICIT_INVAL_DATA,
	    FUSE_MAP_ALIGNMENT,
	    FUSE_SUBMOUNTS,
	    FUSE_HANDLE_KILLPRIV_V2,
	    FUSE_SETXATTR_EXT,
	    FUSE_INIT_EXT,
	    FUSE_INIT_RESERVED,
	    FUSE_SECURITY_CTX,
	    FUSE_HAS_INODE_DAX,
	    FUSE_CREATE_SUPP_GROUP,
	    FUSE_HAS_EXPIRE_ONLY,
	    FUSE_DIRECT_IO_ALLOW_MMAP,
	    FUSE_PASSTHROUGH,
	    FUSE_NO_EXPORT_SUPPORT,
	    FUSE_HAS_RESEND,
	    FUSE_ALLOW_IDMAP,
	    FUSE_OVER_IO_URING,
	    FUSE_REQUEST_TIMEOUT,
	};
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		assert_true(flags[i] == 1ULL << i);
	assert_int_equal(i, 43);
}

static void dirent_size_rounds_up_to_8(void **state)
{
	struct fuse_dirent d = {.namelen = 8};
	struct fuse_direntplus p = {.dirent = {.namelen = 1}};

	assert_int_equal(FUSE_DIRENT_SIZE(&d), 32);
	d.namelen = 9;
	assert_int_equal(FUSE_DIRENT_SIZE(&d), 40);
	assert_int_equal(FUSE_DIRENTPLUS_SIZE(&p), 160);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_fact_is_the_systems),
	    cmocka_unit_test(init_flags_are_bits_0_to_42),
	    cmocka_unit_test(dirent_size_rounds_up_to_8),
	};

	return cmocka_run_group_tests_name("fuse_kernel", tests, NULL, NULL);
}
