/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who an operation runs as, and who judges whether it may. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ROOT  FUSE_ROOT_ID
#define USER  4711u
#define GROUP 4712u

/* What one user asks for, to files of root that are closed to him. */
struct world {
	struct srv *s;
	uint64_t closed;      /* directory, 0700 */
	uint64_t open;	      /* directory, 0755 */
	uint64_t mine;	      /* directory, 0777 */
	uint64_t secret;      /* file, 0600 */
	uint64_t public_file; /* file, 0644 */
	uint64_t writable;    /* file, 0666 */
};

static uint64_t make_dir(struct srv *s, const char *name, mode_t mode)
{
	assert_int_equal(mkdir(srv_path(s, name), mode), 0);
	assert_int_equal(chmod(srv_path(s, name), mode), 0);
	return srv_node(s, ROOT, name);
}

static uint64_t make_file(struct srv *s, const char *name, mode_t mode)
{
	host_write(s, name, "text");
	assert_int_equal(chmod(srv_path(s, name), mode), 0);
	setxattr(srv_path(s, name), "user.old", "v", 1, 0);
	return srv_node(s, ROOT, name);
}

static struct world build(bool check)
{
	struct srv_opts o = srv_defaults();
	struct world w;

	o.fs.check_permissions = check;
	w.s = srv_new(&o);
	w.closed = make_dir(w.s, "closed", 0700);
	host_write(w.s, "closed/x", "");
	w.open = make_dir(w.s, "open", 0755);
	host_write(w.s, "open/x", "");
	w.mine = make_dir(w.s, "mine", 01777);
	host_write(w.s, "mine/roots", "");
	w.secret = make_file(w.s, "secret", 0600);
	w.public_file = make_file(w.s, "public", 0644);
	w.writable = make_file(w.s, "writable", 0666);
	return w;
}

static int do_lookup(const struct world *w)
{
	struct fuse_entry_out e;

	return srv_lookup(w->s, w->closed, "x", &e);
}

static int do_open(const struct world *w)
{
	uint64_t fh;

	return srv_open(w->s, FUSE_OPEN, w->secret, O_RDONLY, &fh, NULL);
}

static int do_open_truncated(const struct world *w)
{
	uint64_t fh;

	return srv_open(w->s, FUSE_OPEN, w->public_file, O_RDWR | O_TRUNC, &fh,
			NULL);
}

static int do_opendir(const struct world *w)
{
	uint64_t fh;

	return srv_open(w->s, FUSE_OPENDIR, w->closed, O_RDONLY, &fh, NULL);
}

static int do_create(const struct world *w)
{
	struct fuse_entry_out e;
	uint64_t fh;

	return srv_create(w->s, w->open, "new", O_RDWR, 0644, &e, &fh);
}

static int do_tmpfile(const struct world *w)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	struct {
		struct fuse_create_in in;
		char name[8];
	} arg = {{.flags = O_RDWR, .mode = S_IFREG | 0600}, "/"};
	struct call c = {
	    .opcode = FUSE_TMPFILE,
	    .nodeid = w->open,
	    .uid = USER,
	    .gid = GROUP,
	    .arg = &arg,
	    .arg_len = sizeof(arg.in) + 2,
	    .room = &out,
	    .room_len = sizeof(out),
	};
	ssize_t n = srv_call(w->s, &c);

	return n < 0 ? (int)n : 0;
}

static int do_mkdir(const struct world *w)
{
	struct fuse_entry_out e;

	return srv_mkdir(w->s, w->open, "dir", 0755, &e);
}

static int do_mknod(const struct world *w)
{
	struct fuse_entry_out e;

	return srv_mknod(w->s, w->open, "fifo", S_IFIFO | 0644, &e);
}

static int do_symlink(const struct world *w)
{
	struct fuse_entry_out e;

	return srv_symlink(w->s, w->open, "symlink", "x", &e);
}

static int do_link(const struct world *w)
{
	struct fuse_entry_out e;

	return srv_link(w->s, w->writable, w->open, "link", &e);
}

static int do_rename(const struct world *w)
{
	return srv_rename(w->s, w->open, "x", w->mine, "y", 0);
}

static int do_rename_of_others(const struct world *w)
{
	return srv_rename(w->s, w->mine, "roots", w->mine, "stolen", 0);
}

static int do_unlink(const struct world *w)
{
	return srv_remove(w->s, FUSE_UNLINK, w->closed, "x");
}

static int do_rmdir(const struct world *w)
{
	return srv_remove(w->s, FUSE_RMDIR, ROOT, "empty");
}

static int set(const struct world *w, const struct fuse_setattr_in *in)
{
	struct fuse_attr attr;

	return srv_setattr(w->s, w->public_file, in, &attr);
}

static int do_chmod(const struct world *w)
{
	return set(
	    w, &(struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0666});
}

static int do_chown(const struct world *w)
{
	return set(w, &(struct fuse_setattr_in){.valid = FATTR_UID | FATTR_GID,
						.uid = 99,
						.gid = 99});
}

static int do_truncate(const struct world *w)
{
	return set(w,
		   &(struct fuse_setattr_in){.valid = FATTR_SIZE, .size = 1});
}

static int do_utimes(const struct world *w)
{
	return set(w,
		   &(struct fuse_setattr_in){.valid = FATTR_MTIME, .mtime = 1});
}

static int do_setxattr(const struct world *w)
{
	return srv_setxattr(w->s, w->public_file, "user.new", "v", 1);
}

static int do_getxattr(const struct world *w)
{
	char buf[8];
	ssize_t n = srv_getxattr(w->s, w->secret, "user.old", buf, sizeof(buf));

	return n < 0 ? (int)n : 0;
}

static int do_removexattr(const struct world *w)
{
	return srv_removexattr(w->s, w->public_file, "user.old");
}

static int do_access(const struct world *w)
{
	const struct fuse_access_in in = {.mask = R_OK};
	struct call c = {
	    .opcode = FUSE_ACCESS,
	    .nodeid = w->secret,
	    .uid = USER,
	    .gid = GROUP,
	    .arg = &in,
	    .arg_len = sizeof(in),
	};

	return (int)srv_call(w->s, &c);
}

static const struct {
	const char *name;
	int (*run)(const struct world *w);
	int strict;  /* with check_permissions */
	int trusted; /* without */
} operations[] = {
    {"lookup", do_lookup, -EACCES, 0},
    {"open", do_open, -EACCES, 0},
    {"open with O_TRUNC", do_open_truncated, -EACCES, 0},
    {"opendir", do_opendir, -EACCES, 0},
    {"create", do_create, -EACCES, 0},
    {"tmpfile", do_tmpfile, -EACCES, 0},
    {"mkdir", do_mkdir, -EACCES, 0},
    {"mknod", do_mknod, -EACCES, 0},
    {"symlink", do_symlink, -EACCES, 0},
    {"link", do_link, -EACCES, 0},
    {"rename", do_rename, -EACCES, 0},
    {"rename of others' in a sticky directory", do_rename_of_others, -EPERM, 0},
    {"unlink", do_unlink, -EACCES, 0},
    {"rmdir", do_rmdir, -EACCES, 0},
    {"chmod", do_chmod, -EPERM, 0},
    {"chown", do_chown, -EPERM, 0},
    {"truncate", do_truncate, -EACCES, 0},
    {"utimes", do_utimes, -EPERM, 0},
    {"setxattr", do_setxattr, -EACCES, 0},
    {"getxattr", do_getxattr, -EACCES, 0},
    {"removexattr", do_removexattr, -EACCES, 0},
    /* It asks for a judgement. */
    {"access", do_access, -EACCES, -EACCES},
};

#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

/* Whatever the thread was for the operation before. */
static void be_root_again(const struct world *w)
{
	srv_as(0, 0);
	srv_node(w->s, ROOT, "public");
	srv_as(USER, GROUP);
}

/* The client has judged: all is done, as the requester. */
static void operations_run_as_the_requester(void **state)
{
	struct world w;

	NEED_ROOT();
	w = build(false);
	assert_int_equal(mkdir(srv_path(w.s, "empty"), 0700), 0);
	for (size_t i = 0; i < OPERATIONS; i++) {
		bool judged = operations[i].trusted != 0;
		int r;

		be_root_again(&w);
		r = operations[i].run(&w);
		if (r != operations[i].trusted)
			fail_msg("%s: %d", operations[i].name, r);
		if (!srv_thread_is(USER, GROUP, CAP_DAC_OVERRIDE, !judged))
			fail_msg("%s: as somebody else", operations[i].name);
	}
	be_root_again(&w);
	srv_as(0, 0);
	assert_true(srv_thread_is(0, 0, CAP_DAC_OVERRIDE, true));
	srv_free(w.s);
}

static void checked_operations_are_refused(void **state)
{
	struct world w;
	struct stat st;

	NEED_ROOT();
	w = build(true);
	assert_int_equal(mkdir(srv_path(w.s, "empty"), 0700), 0);
	for (size_t i = 0; i < OPERATIONS; i++) {
		int r;

		be_root_again(&w);
		r = operations[i].run(&w);
		if (r != operations[i].strict)
			fail_msg("%s: %d", operations[i].name, r);
	}
	srv_as(0, 0);
	/* Nothing half done. */
	host_check(w.s, "public", "text");
	assert_int_equal(stat(srv_path(w.s, "public"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	assert_int_equal(st.st_nlink, 1);
	assert_int_equal(access(srv_path(w.s, "mine/roots"), F_OK), 0);
	srv_free(w.s);
}

/* What a user may do by himself works, and root may do all. */
static void checked_operations_are_permitted(void **state)
{
	static const uint32_t users[] = {USER, 0};
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = 0400};
	struct fuse_write_in wr = {.size = 3};
	struct fuse_entry_out e;
	struct fuse_attr attr;
	char buf[8];
	uint64_t fh;
	struct world w;

	NEED_ROOT();
	for (int i = 0; i < 2; i++) {
		w = build(true);
		srv_as(users[i], users[i]);
		assert_int_equal(
		    srv_create(w.s, w.mine, "f", O_RDWR, 0600, &e, &fh), 0);
		wr.fh = fh;
		assert_int_equal(srv_write(w.s, e.nodeid, &wr, "abc"), 3);
		assert_int_equal(srv_setattr(w.s, e.nodeid, &in, &attr), 0);
		/* Opened when it was permitted. */
		assert_int_equal(srv_write(w.s, e.nodeid, &wr, "xyz"), 3);
		assert_int_equal(srv_read(w.s, e.nodeid, fh, 0, buf, 8), 3);
		assert_int_equal(srv_open(w.s, FUSE_OPEN, w.public_file,
					  O_RDONLY, &fh, NULL),
				 0);
		assert_int_equal(srv_rename(w.s, w.mine, "f", w.mine, "g", 0),
				 0);
		assert_int_equal(srv_remove(w.s, FUSE_UNLINK, w.mine, "g"), 0);
		srv_as(0, 0);
		assert_int_equal(do_lookup(&w), 0);
		assert_int_equal(do_chown(&w), 0);
		srv_free(w.s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(operations_run_as_the_requester),
	    cmocka_unit_test(checked_operations_are_refused),
	    cmocka_unit_test(checked_operations_are_permitted),
	};

	return cmocka_run_group_tests_name("server/permissions", tests, NULL,
					   NULL);
}
