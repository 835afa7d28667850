/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is made, whose it is, and what names do afterwards. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT  FUSE_ROOT_ID
#define USER  4711u
#define GROUP 4712u

static void check_owner(struct srv *s, const char *name, uint32_t uid,
			uint32_t gid, mode_t mode)
{
	struct stat st;

	assert_int_equal(lstat(srv_path(s, name), &st), 0);
	assert_int_equal(st.st_uid, uid);
	assert_int_equal(st.st_gid, gid);
	assert_int_equal(st.st_mode, mode);
}

/* A directory that everybody may write to. */
static uint64_t shared_dir(struct srv *s)
{
	assert_int_equal(mkdir(srv_path(s, "d"), 0777), 0);
	assert_int_equal(chmod(srv_path(s, "d"), 0777), 0);
	return srv_node(s, ROOT, "d");
}

static void everything_belongs_to_the_requester(void **state)
{
	struct srv *s;
	struct fuse_entry_out e;
	uint64_t d, fh;

	NEED_ROOT();
	s = srv_new(NULL);
	d = shared_dir(s);
	srv_as(USER, GROUP);
	assert_int_equal(srv_mkdir(s, d, "dir", 0750, &e), 0);
	assert_int_equal(e.attr.uid, USER);
	assert_int_equal(srv_mknod(s, d, "reg", S_IFREG | 0640, &e), 0);
	assert_int_equal(srv_mknod(s, d, "fifo", S_IFIFO | 0600, &e), 0);
	assert_int_equal(srv_symlink(s, d, "link", "/etc/target", &e), 0);
	assert_int_equal(srv_create(s, d, "new", O_RDWR, 0666, &e, &fh), 0);
	check_owner(s, "d/dir", USER, GROUP, S_IFDIR | 0750);
	check_owner(s, "d/reg", USER, GROUP, S_IFREG | 0640);
	check_owner(s, "d/fifo", USER, GROUP, S_IFIFO | 0600);
	check_owner(s, "d/link", USER, GROUP, S_IFLNK | 0777);
	/* The client has applied the umask. */
	check_owner(s, "d/new", USER, GROUP, S_IFREG | 0666);
	srv_as(0, 0);
	assert_int_equal(srv_mknod(s, d, "dev", S_IFCHR | 0600, &e), 0);
	assert_int_equal(e.attr.rdev, 0x103);
	check_owner(s, "d/dev", 0, 0, S_IFCHR | 0600);
	srv_free(s);
}

static void device_of_a_user_is_refused(void **state)
{
	struct fuse_entry_out e;
	struct srv *s;
	uint64_t d;

	NEED_ROOT();
	s = srv_new(NULL);
	d = shared_dir(s);
	srv_as(USER, GROUP);
	assert_int_equal(srv_mknod(s, d, "dev", S_IFCHR | 0666, &e), -EPERM);
	srv_as(0, 0);
	srv_free(s);
}

static void set_group_id_directory_gives_its_group(void **state)
{
	struct fuse_entry_out e;
	struct srv *s;
	uint64_t d, fh;

	NEED_ROOT();
	s = srv_new(NULL);
	d = shared_dir(s);
	assert_int_equal(chown(srv_path(s, "d"), 0, 99), 0);
	assert_int_equal(chmod(srv_path(s, "d"), 02777), 0);
	srv_as(USER, GROUP);
	assert_int_equal(srv_mkdir(s, d, "sub", 0755, &e), 0);
	check_owner(s, "d/sub", USER, 99, S_IFDIR | 02755);
	/* Not a member of that group: no set-group-id program. */
	assert_int_equal(srv_create(s, d, "prog", O_RDWR, 02755, &e, &fh), 0);
	check_owner(s, "d/prog", USER, 99, S_IFREG | 0755);
	srv_as(0, 0);
	srv_free(s);
}

static void existing_name_is_not_made_again(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_entry_out e;
	uint64_t fh;
	char c;

	host_write(s, "a", "x");
	assert_int_equal(srv_mkdir(s, ROOT, "a", 0755, &e), -EEXIST);
	assert_int_equal(srv_symlink(s, ROOT, "a", "t", &e), -EEXIST);
	assert_int_equal(
	    srv_create(s, ROOT, "a", O_RDWR | O_EXCL, 0600, &e, &fh), -EEXIST);
	assert_int_equal(srv_create(s, ROOT, "a", O_RDWR, 0600, &e, &fh), 0);
	assert_int_equal(srv_read(s, e.nodeid, fh, 0, &c, 1), 1);
	assert_int_equal(c, 'x');
	assert_int_equal(
	    srv_create(s, ROOT, "a", O_RDWR | O_TRUNC, 0600, &e, &fh), 0);
	host_check(s, "a", "");
	srv_free(s);
}

/* The client takes a file that CREATE returns for its own new one. */
static void create_does_not_open_what_the_user_may_not(void **state)
{
	struct fuse_entry_out e;
	struct srv *s;
	uint64_t d, fh;

	NEED_ROOT();
	s = srv_new(NULL);
	d = shared_dir(s);
	host_write(s, "d/secret", "x");
	assert_int_equal(chmod(srv_path(s, "d/secret"), 0600), 0);
	srv_as(USER, GROUP);
	assert_int_equal(srv_create(s, d, "secret", O_RDONLY, 0600, &e, &fh),
			 -EACCES);
	srv_as(0, 0);
	assert_int_equal(symlink("/etc/passwd", srv_path(s, "d/l")), 0);
	assert_int_equal(srv_create(s, d, "l", O_RDONLY, 0600, &e, &fh),
			 -ELOOP);
	srv_free(s);
}

static void temporary_file_has_no_name_until_linked(void **state)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = S_IFREG | 0600};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	char arg[sizeof(in) + 2];
	struct call c = {
	    .opcode = FUSE_TMPFILE,
	    .nodeid = ROOT,
	    .arg = arg,
	    .arg_len = sizeof(arg),
	    .room = &out,
	    .room_len = sizeof(out),
	};
	struct fuse_write_in w = {.size = 3};
	struct srv *s = srv_new(NULL);
	struct fuse_entry_out e;

	memcpy(arg, &in, sizeof(in));
	strcpy(arg + sizeof(in), "/"); /* as Linux sends it */
	assert_int_equal(srv_call(s, &c), sizeof(out));
	assert_int_equal(out.entry.attr.nlink, 0);
	w.fh = out.open.fh;
	assert_int_equal(srv_write(s, out.entry.nodeid, &w, "abc"), 3);
	assert_int_equal(srv_link(s, out.entry.nodeid, ROOT, "named", &e), 0);
	assert_int_equal(e.nodeid, out.entry.nodeid);
	host_check(s, "named", "abc");
	srv_free(s);
}

static void names_are_removed(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_attr attr;
	uint64_t a, fh;
	char c;

	host_write(s, "a", "x");
	assert_int_equal(mkdir(srv_path(s, "d"), 0755), 0);
	host_write(s, "d/f", "");
	assert_int_equal(srv_remove(s, FUSE_UNLINK, ROOT, "d"), -EISDIR);
	assert_int_equal(srv_remove(s, FUSE_RMDIR, ROOT, "a"), -ENOTDIR);
	assert_int_equal(srv_remove(s, FUSE_RMDIR, ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(srv_remove(s, FUSE_UNLINK, ROOT, "no"), -ENOENT);
	a = srv_node(s, ROOT, "a");
	assert_int_equal(srv_open(s, FUSE_OPEN, a, O_RDONLY, &fh, NULL), 0);
	assert_int_equal(srv_remove(s, FUSE_UNLINK, ROOT, "a"), 0);
	/* Unlinked, yet open. */
	assert_int_equal(srv_read(s, a, fh, 0, &c, 1), 1);
	assert_int_equal(srv_getattr(s, a, &attr), 0);
	assert_int_equal(attr.nlink, 0);
	srv_free(s);
}

static void rename_takes_its_flags(void **state)
{
	struct srv *s = srv_new(NULL);
	uint64_t d;

	host_write(s, "a", "1");
	host_write(s, "b", "2");
	assert_int_equal(mkdir(srv_path(s, "d"), 0755), 0);
	d = srv_node(s, ROOT, "d");
	assert_int_equal(srv_rename(s, ROOT, "a", ROOT, "b", RENAME_NOREPLACE),
			 -EEXIST);
	assert_int_equal(srv_rename(s, ROOT, "a", ROOT, "b", RENAME_EXCHANGE),
			 0);
	host_check(s, "a", "2");
	host_check(s, "b", "1");
	assert_int_equal(srv_rename(s, ROOT, "a", d, "c", 0), 0);
	host_check(s, "d/c", "2");
	assert_int_equal(srv_rename(s, ROOT, "b", d, "c", 1u << 9), -EINVAL);
	assert_int_equal(srv_rename(s, ROOT, "d", d, "x", 0), -EINVAL);
	srv_free(s);
}

static int set_acl(struct srv *s, uint64_t node, const char *name,
		   const void *acl, uint32_t size, uint32_t flags)
{
	struct {
		struct fuse_setxattr_in in;
		char name[32];
	} arg = {.in = {.size = size, .setxattr_flags = flags}};
	struct call c = {
	    .opcode = FUSE_SETXATTR,
	    .nodeid = node,
	    .arg = &arg,
	    .arg_len = sizeof(arg.in) + strlen(name) + 1,
	    .data = acl,
	    .data_len = size,
	};

	strcpy(arg.name, name);
	return (int)srv_call(s, &c);
}

/* rwx for owner, group and mask, nothing for others; and rw- for user 1. */
static const struct {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[5];
} test_acl = {
    2,
    {{1, 7, UINT32_MAX},
     {2, 6, 1},
     {4, 7, UINT32_MAX},
     {16, 7, UINT32_MAX},
     {32, 0, UINT32_MAX}},
};

static ssize_t mkdir_with_umask(struct srv *s, uint64_t dir, const char *name)
{
	struct fuse_entry_out e;
	struct {
		struct fuse_mkdir_in in;
		char name[8];
	} arg = {.in = {.mode = 0777, .umask = 027}};
	struct call c = {
	    .opcode = FUSE_MKDIR,
	    .nodeid = dir,
	    .arg = &arg,
	    .arg_len = sizeof(arg.in) + strlen(name) + 1,
	    .room = &e,
	    .room_len = sizeof(e),
	};

	strcpy(arg.name, name);
	return srv_call(s, &c);
}

/* With ACLs the umask is ours to apply, where no default ACL replaces it. */
static void umask_yields_to_a_default_acl(void **state)
{
	struct srv_opts o = srv_defaults();
	struct srv *s;
	struct stat st;
	int r;

	o.fs.posix_acl = true;
	s = srv_new(&o);
	assert_true(mkdir_with_umask(s, ROOT, "a") > 0);
	assert_int_equal(stat(srv_path(s, "a"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0750);
	r = set_acl(s, ROOT, "system.posix_acl_default", &test_acl,
		    sizeof(test_acl), 0);
	if (r == -EOPNOTSUPP) {
		print_message("no ACLs in this directory\n");
		srv_free(s);
		skip();
	}
	assert_int_equal(r, 0);
	assert_true(mkdir_with_umask(s, ROOT, "b") > 0);
	assert_int_equal(stat(srv_path(s, "b"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0770);
	/* Without ACLs the client has applied it already. */
	srv_free(s);
	s = srv_new(NULL);
	assert_true(mkdir_with_umask(s, ROOT, "a") > 0);
	assert_int_equal(stat(srv_path(s, "a"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0777);
	srv_free(s);
}

static void acl_takes_set_group_id_away_when_asked(void **state)
{
	struct srv_opts o = srv_defaults();
	const char *name = "system.posix_acl_access";
	struct fuse_attr attr;
	struct srv *s;
	uint64_t a;
	int r;

	o.fs.posix_acl = true;
	s = srv_new(&o);
	host_write(s, "a", "");
	assert_int_equal(chmod(srv_path(s, "a"), 02770), 0);
	a = srv_node(s, ROOT, "a");
	r = set_acl(s, a, name, &test_acl, sizeof(test_acl), 0);
	if (r == -EOPNOTSUPP) {
		print_message("no ACLs in this directory\n");
		srv_free(s);
		skip();
	}
	assert_int_equal(r, 0);
	assert_int_equal(srv_getattr(s, a, &attr), 0);
	assert_int_equal(attr.mode & 07777, 02770);
	assert_int_equal(set_acl(s, a, name, &test_acl, sizeof(test_acl),
				 FUSE_SETXATTR_ACL_KILL_SGID),
			 0);
	assert_int_equal(srv_getattr(s, a, &attr), 0);
	assert_int_equal(attr.mode & 07777, 0770);
	srv_free(s);
}

static void read_only_export_refuses_changes(void **state)
{
	struct srv_opts o = srv_defaults();
	struct fuse_setattr_in set = {.valid = FATTR_MODE, .mode = 0};
	struct fuse_write_in w = {.size = 1};
	struct fuse_entry_out e;
	struct fuse_attr attr;
	struct srv *s;
	uint64_t a, fh;
	char c;

	o.fs.readonly = true;
	s = srv_new(&o);
	host_write(s, "a", "x");
	a = srv_node(s, ROOT, "a");
	assert_int_equal(srv_mkdir(s, ROOT, "d", 0755, &e), -EROFS);
	assert_int_equal(srv_mknod(s, ROOT, "d", S_IFREG, &e), -EROFS);
	assert_int_equal(srv_symlink(s, ROOT, "d", "t", &e), -EROFS);
	assert_int_equal(srv_link(s, a, ROOT, "d", &e), -EROFS);
	assert_int_equal(srv_create(s, ROOT, "a", O_RDONLY, 0, &e, &fh),
			 -EROFS);
	assert_int_equal(srv_remove(s, FUSE_UNLINK, ROOT, "a"), -EROFS);
	assert_int_equal(srv_rename(s, ROOT, "a", ROOT, "b", 0), -EROFS);
	assert_int_equal(srv_setattr(s, a, &set, &attr), -EROFS);
	assert_int_equal(srv_open(s, FUSE_OPEN, a, O_RDWR, &fh, NULL), -EROFS);
	assert_int_equal(
	    srv_open(s, FUSE_OPEN, a, O_RDONLY | O_TRUNC, &fh, NULL), -EROFS);
	assert_int_equal(srv_open(s, FUSE_OPEN, a, O_RDONLY, &fh, NULL), 0);
	assert_int_equal(srv_read(s, a, fh, 0, &c, 1), 1);
	w.fh = fh;
	assert_int_equal(srv_write(s, a, &w, "y"), -EROFS);
	host_check(s, "a", "x");
	srv_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(everything_belongs_to_the_requester),
	    cmocka_unit_test(device_of_a_user_is_refused),
	    cmocka_unit_test(set_group_id_directory_gives_its_group),
	    cmocka_unit_test(existing_name_is_not_made_again),
	    cmocka_unit_test(create_does_not_open_what_the_user_may_not),
	    cmocka_unit_test(temporary_file_has_no_name_until_linked),
	    cmocka_unit_test(names_are_removed),
	    cmocka_unit_test(rename_takes_its_flags),
	    cmocka_unit_test(umask_yields_to_a_default_acl),
	    cmocka_unit_test(acl_takes_set_group_id_away_when_asked),
	    cmocka_unit_test(read_only_export_refuses_changes),
	};

	return cmocka_run_group_tests_name("server/create", tests, NULL, NULL);
}
