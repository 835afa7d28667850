/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attributes of nodes. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ROOT FUSE_ROOT_ID
#define USER 4711u

static void truncate_takes_set_user_id_away_when_asked(void **state)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = 1};
	struct fuse_attr attr;
	struct srv *s;
	uint64_t a;

	NEED_ROOT();
	s = srv_new(NULL);
	host_write(s, "a", "xy");
	a = srv_node(s, ROOT, "a");
	assert_int_equal(chmod(srv_path(s, "a"), 04755), 0);
	assert_int_equal(srv_setattr(s, a, &in, &attr), 0);
	assert_int_equal(attr.mode & 07777, 04755);
	in.valid |= FATTR_KILL_SUIDGID;
	in.size = 0;
	assert_int_equal(srv_setattr(s, a, &in, &attr), 0);
	assert_int_equal(attr.mode & 07777, 0755);
	assert_int_equal(attr.size, 0);
	srv_free(s);
}

static void attributes_are_set(void **state)
{
	struct fuse_setattr_in in = {
	    .valid = FATTR_MODE | FATTR_ATIME | FATTR_MTIME,
	    .mode = 04711,
	    .atime = 1000,
	    .atimensec = 5,
	    .mtime = (uint64_t)-1000,
	    .mtimensec = 6,
	};
	struct srv *s = srv_new(NULL);
	struct fuse_attr attr;
	uint64_t a;

	host_write(s, "a", "x");
	a = srv_node(s, ROOT, "a");
	assert_int_equal(srv_setattr(s, a, &in, &attr), 0);
	assert_int_equal(attr.mode, S_IFREG | 04711);
	assert_int_equal(attr.atime, 1000);
	assert_int_equal(attr.atimensec, 5);
	assert_int_equal((int64_t)attr.mtime, -1000);
	assert_int_equal(attr.mtimensec, 6);
	/* UTIME_NOW's number in disguise. */
	in.valid = FATTR_MTIME;
	in.mtimensec = UTIME_NOW;
	assert_int_equal(srv_setattr(s, a, &in, &attr), -EINVAL);
	if (geteuid() == 0) {
		/* At once: the mode counts after the owner. */
		in.valid = FATTR_UID | FATTR_GID | FATTR_MODE;
		in.uid = 1;
		in.gid = 2;
		assert_int_equal(srv_setattr(s, a, &in, &attr), 0);
		assert_int_equal(attr.uid, 1);
		assert_int_equal(attr.gid, 2);
		assert_int_equal(attr.mode, S_IFREG | 04711);
	}
	in.valid = FATTR_SIZE;
	in.size = 5;
	assert_int_equal(srv_setattr(s, ROOT, &in, &attr), -EISDIR);
	in.size = 1ull << 63;
	assert_int_equal(srv_setattr(s, a, &in, &attr), -EFBIG);
	srv_free(s);
}

static void link_itself_gets_times_and_owner(void **state)
{
	struct fuse_setattr_in in = {.valid = FATTR_MTIME, .mtime = 77};
	struct srv *s = srv_new(NULL);
	struct fuse_attr attr;
	struct stat st;
	uint64_t l;

	host_write(s, "target", "");
	assert_int_equal(symlink("target", srv_path(s, "l")), 0);
	l = srv_node(s, ROOT, "l");
	assert_int_equal(srv_setattr(s, l, &in, &attr), 0);
	assert_int_equal(attr.mtime, 77);
	assert_int_equal(stat(srv_path(s, "target"), &st), 0);
	assert_int_not_equal(st.st_mtime, 77);
	srv_free(s);
}

static void link_is_read(void **state)
{
	struct srv *s = srv_new(NULL);
	char buf[4096];
	struct call c = {
	    .opcode = FUSE_READLINK,
	    .room = buf,
	    .room_len = sizeof(buf),
	};

	assert_int_equal(symlink("/some/where", srv_path(s, "l")), 0);
	c.nodeid = srv_node(s, ROOT, "l");
	assert_int_equal(srv_call(s, &c), 11);
	assert_memory_equal(buf, "/some/where", 11);
	c.nodeid = ROOT;
	assert_int_equal(srv_call(s, &c), -EINVAL);
	srv_free(s);
}

static int access_as(struct srv *s, uint64_t node, uint32_t uid, uint32_t mask)
{
	struct fuse_access_in in = {.mask = mask};
	struct call c = {
	    .opcode = FUSE_ACCESS,
	    .nodeid = node,
	    .uid = uid,
	    .gid = uid,
	    .arg = &in,
	    .arg_len = sizeof(in),
	};

	return (int)srv_call(s, &c);
}

static void access_is_judged_as_the_requester(void **state)
{
	struct srv *s;
	uint64_t a;

	NEED_ROOT();
	s = srv_new(NULL);
	host_write(s, "a", "");
	assert_int_equal(chown(srv_path(s, "a"), USER, USER), 0);
	assert_int_equal(chmod(srv_path(s, "a"), 0640), 0);
	a = srv_node(s, ROOT, "a");
	assert_int_equal(access_as(s, a, USER, R_OK | W_OK), 0);
	assert_int_equal(access_as(s, a, USER, X_OK), -EACCES);
	assert_int_equal(access_as(s, a, USER + 1, R_OK), -EACCES);
	assert_int_equal(access_as(s, a, USER + 1, F_OK), 0);
	assert_int_equal(access_as(s, a, 0, R_OK | W_OK), 0);
	assert_int_equal(access_as(s, a, 0, X_OK), -EACCES);
	assert_int_equal(access_as(s, a, 0, 64), -EINVAL);
	srv_free(s);
}

static void statx_tells_the_birth(void **state)
{
	struct fuse_statx_in in = {.sx_mask = STATX_BTIME};
	struct srv *s = srv_new(NULL);
	struct fuse_statx_out out;
	struct call c = {
	    .opcode = FUSE_STATX,
	    .arg = &in,
	    .arg_len = sizeof(in),
	    .room = &out,
	    .room_len = sizeof(out),
	};
	struct statx st;

	host_write(s, "a", "xyz");
	assert_int_equal(statx(AT_FDCWD, srv_path(s, "a"), 0,
			       STATX_BASIC_STATS | STATX_BTIME, &st),
			 0);
	c.nodeid = srv_node(s, ROOT, "a");
	assert_int_equal(srv_call(s, &c), sizeof(out));
	assert_int_equal(out.stat.mask & STATX_BTIME,
			 st.stx_mask & STATX_BTIME);
	assert_int_equal(out.stat.btime.tv_sec, st.stx_btime.tv_sec);
	assert_int_equal(out.stat.ino, st.stx_ino);
	assert_int_equal(out.stat.size, 3);
	srv_free(s);
}

/* covers: FUSE-DEV-16 */
static void other_requests_are_not_known(void **state)
{
	static const struct {
		uint32_t opcode;
		size_t len;
	} other[] = {
	    {FUSE_BMAP, sizeof(struct fuse_bmap_in)},
	    {FUSE_IOCTL, sizeof(struct fuse_ioctl_in)},
	    {FUSE_POLL, sizeof(struct fuse_poll_in)},
	    {FUSE_SETUPMAPPING, sizeof(struct fuse_setupmapping_in)},
	};
	struct srv *s = srv_new(NULL);
	char arg[64] = "", out[64];

	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		struct call c = {
		    .opcode = other[i].opcode,
		    .nodeid = ROOT,
		    .arg = arg,
		    .arg_len = other[i].len,
		    .room = out,
		    .room_len = sizeof(out),
		};

		assert_int_equal(srv_call(s, &c), -ENOSYS);
	}
	srv_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(truncate_takes_set_user_id_away_when_asked),
	    cmocka_unit_test(attributes_are_set),
	    cmocka_unit_test(link_itself_gets_times_and_owner),
	    cmocka_unit_test(link_is_read),
	    cmocka_unit_test(access_is_judged_as_the_requester),
	    cmocka_unit_test(statx_tells_the_birth),
	    cmocka_unit_test(other_requests_are_not_known),
	};

	return cmocka_run_group_tests_name("server/attr", tests, NULL, NULL);
}
