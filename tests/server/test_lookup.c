/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names, nodes, and how long they live. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT FUSE_ROOT_ID

static void file_is_found_with_its_attributes(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_entry_out e;
	struct stat st;

	host_write(s, "a", "hello");
	assert_int_equal(stat(srv_path(s, "a"), &st), 0);
	assert_int_equal(srv_lookup(s, ROOT, "a", &e), 0);
	assert_int_equal(e.attr.ino, st.st_ino);
	assert_int_equal(e.attr.size, 5);
	assert_int_equal(e.attr.mode, st.st_mode);
	assert_int_equal(e.attr.mtime, st.st_mtim.tv_sec);
	assert_int_equal(e.attr.mtimensec, st.st_mtim.tv_nsec);
	assert_int_equal(e.entry_valid, 1);
	assert_int_equal(srv_lookup(s, ROOT, "b", &e), -ENOENT);
	srv_free(s);
}

/* covers: FUSE-DEV-26 */
static void name_that_leads_elsewhere_is_refused(void **state)
{
	static const char *const bad[] = {"",	  ".",	 "..",	"/",
					  "../x", "d/x", "/etc"};
	struct srv *s = srv_new(NULL);
	struct fuse_entry_out e;
	uint64_t d, fh;

	assert_int_equal(mkdir(srv_path(s, "d"), 0755), 0);
	host_write(s, "d/x", "");
	d = srv_node(s, ROOT, "d");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *n = bad[i];

		assert_int_equal(srv_lookup(s, d, n, &e), -EINVAL);
		assert_int_equal(srv_mkdir(s, d, n, 0755, &e), -EINVAL);
		assert_int_equal(srv_mknod(s, d, n, S_IFREG, &e), -EINVAL);
		assert_int_equal(srv_symlink(s, d, n, "t", &e), -EINVAL);
		assert_int_equal(srv_create(s, d, n, O_RDWR, 0600, &e, &fh),
				 -EINVAL);
		assert_int_equal(srv_link(s, d, d, n, &e), -EINVAL);
		assert_int_equal(srv_remove(s, FUSE_UNLINK, d, n), -EINVAL);
		assert_int_equal(srv_remove(s, FUSE_RMDIR, d, n), -EINVAL);
		assert_int_equal(srv_rename(s, d, n, d, "y", 0), -EINVAL);
		assert_int_equal(srv_rename(s, d, "x", d, n, 0), -EINVAL);
	}
	srv_free(s);
}

static void hard_links_are_one_node(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_entry_out e;
	uint64_t a;

	host_write(s, "a", "x");
	a = srv_node(s, ROOT, "a");
	assert_int_equal(srv_link(s, a, ROOT, "b", &e), 0);
	assert_int_equal(e.nodeid, a);
	assert_int_equal(e.attr.nlink, 2);
	assert_int_equal(srv_node(s, ROOT, "b"), a);
	srv_free(s);
}

static void node_lives_until_its_last_lookup_is_forgotten(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_attr attr;
	uint64_t a;

	host_write(s, "a", "x");
	a = srv_node(s, ROOT, "a");
	assert_int_equal(srv_node(s, ROOT, "a"), a);
	assert_int_equal(srv_node(s, ROOT, "a"), a);
	srv_forget(s, a, 2);
	assert_int_equal(srv_getattr(s, a, &attr), 0);
	srv_forget(s, a, 1);
	srv_wait_nodes(s, 1);
	assert_int_equal(srv_getattr(s, a, &attr), -ESTALE);
	/* More than there are: nothing bad. */
	srv_forget(s, a, 7);
	a = srv_node(s, ROOT, "a");
	srv_forget(s, a, UINT64_MAX);
	srv_wait_nodes(s, 1);
	srv_free(s);
}

static void forgotten_number_does_not_name_the_next_node(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_attr attr;
	uint64_t a, b;

	host_write(s, "a", "");
	host_write(s, "b", "");
	a = srv_node(s, ROOT, "a");
	srv_forget(s, a, 1);
	srv_wait_nodes(s, 1);
	b = srv_node(s, ROOT, "b");
	assert_int_equal((uint32_t)a, (uint32_t)b);
	assert_int_not_equal(a, b);
	assert_int_equal(srv_getattr(s, a, &attr), -ESTALE);
	srv_free(s);
}

static void invented_number_is_refused(void **state)
{
	static const uint64_t bad[] = {
	    0, 2, 77, UINT32_MAX, 1ull << 32 | 1, UINT64_MAX};
	struct srv *s = srv_new(NULL);
	struct fuse_entry_out e;
	struct fuse_attr attr;
	uint64_t fh;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(srv_getattr(s, bad[i], &attr), -ESTALE);
		assert_int_equal(srv_lookup(s, bad[i], "x", &e), -ESTALE);
		assert_int_equal(
		    srv_open(s, FUSE_OPEN, bad[i], O_RDONLY, &fh, NULL),
		    -ESTALE);
	}
	srv_free(s);
}

static void root_can_not_be_forgotten(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_attr attr;

	srv_forget(s, ROOT, UINT64_MAX);
	host_write(s, "a", "");
	srv_node(s, ROOT, "a");
	assert_int_equal(srv_getattr(s, ROOT, &attr), 0);
	assert_true(S_ISDIR(attr.mode));
	srv_free(s);
}

static void symbolic_link_is_not_followed(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_entry_out e;
	uint64_t fh;

	assert_int_equal(symlink("/etc", srv_path(s, "abs")), 0);
	assert_int_equal(symlink("../..", srv_path(s, "up")), 0);
	assert_int_equal(srv_lookup(s, ROOT, "abs", &e), 0);
	assert_true(S_ISLNK(e.attr.mode));
	assert_int_equal(srv_lookup(s, e.nodeid, "passwd", &e), -ENOTDIR);
	e.nodeid = srv_node(s, ROOT, "abs");
	assert_int_equal(srv_open(s, FUSE_OPEN, e.nodeid, O_RDONLY, &fh, NULL),
			 -ELOOP);
	assert_int_equal(srv_open(s, FUSE_OPENDIR, e.nodeid, 0, &fh, NULL),
			 -ENOTDIR);
	assert_int_equal(srv_lookup(s, srv_node(s, ROOT, "up"), "etc", &e),
			 -ENOTDIR);
	srv_free(s);
}

/* A directory becomes a link to the outside and back, again and again. */
static void *swap(void *arg)
{
	struct srv *s = arg;
	char d[512], l[512], t[512];

	snprintf(d, sizeof(d), "%s/d", srv_dir(s));
	snprintf(l, sizeof(l), "%s/l", srv_dir(s));
	snprintf(t, sizeof(t), "%s/t", srv_dir(s));
	for (int i = 0; i < 3000; i++) {
		rename(d, t);
		rename(l, d);
		rename(d, l);
		rename(t, d);
	}
	return NULL;
}

static void race_of_rename_leads_nowhere(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_entry_out d, e;
	pthread_t thread;

	assert_int_equal(mkdir(srv_path(s, "d"), 0755), 0);
	assert_int_equal(symlink("/etc", srv_path(s, "l")), 0);
	assert_int_equal(pthread_create(&thread, NULL, swap, s), 0);
	for (int i = 0; i < 2000; i++) {
		if (srv_lookup(s, ROOT, "d", &d) < 0)
			continue;
		assert_int_not_equal(srv_lookup(s, d.nodeid, "passwd", &e), 0);
		srv_forget(s, d.nodeid, 1);
	}
	pthread_join(thread, NULL);
	srv_free(s);
}

static void special_file_is_never_opened(void **state)
{
	struct srv *s = srv_new(NULL);
	uint64_t fh;

	assert_int_equal(mknod(srv_path(s, "s"), S_IFSOCK | 0644, 0), 0);
	assert_int_equal(
	    srv_open(s, FUSE_OPEN, srv_node(s, ROOT, "s"), O_RDONLY, &fh, NULL),
	    -ENXIO);
	if (geteuid() == 0) {
		assert_int_equal(mknod(srv_path(s, "n"), S_IFCHR | 0666, 0x103),
				 0);
		assert_int_equal(srv_open(s, FUSE_OPEN, srv_node(s, ROOT, "n"),
					  O_RDWR, &fh, NULL),
				 -ENXIO);
	}
	srv_free(s);
}

static void file_that_was_replaced_is_another_node(void **state)
{
	struct srv *s = srv_new(NULL);
	uint64_t a;

	host_write(s, "a", "1");
	a = srv_node(s, ROOT, "a");
	/* The node's inode is pinned, or its handle has a generation. */
	for (int i = 0; i < 50; i++) {
		assert_int_equal(unlink(srv_path(s, "a")), 0);
		host_write(s, "a", "2");
		assert_int_not_equal(srv_node(s, ROOT, "a"), a);
	}
	srv_free(s);
}

static void descriptors_run_out_honestly(void **state)
{
	struct srv_opts o = srv_defaults();
	struct fuse_entry_out e;
	struct srv *s;
	char name[16];
	int r = 0, i;

	o.fs.handles = HANDLES_NEVER;
	o.fs.fd_limit = 10;
	s = srv_new(&o);
	for (i = 0; i < 20 && r == 0; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		host_write(s, name, "");
		r = srv_lookup(s, ROOT, name, &e);
	}
	assert_int_equal(r, -EMFILE);
	assert_int_equal(i, 10);
	/* One comes back, one can be had. */
	srv_forget(s, srv_node(s, ROOT, "f0"), 2);
	srv_wait_nodes(s, 9);
	assert_int_equal(srv_lookup(s, ROOT, name, &e), 0);
	srv_free(s);
}

static void session_end_drops_all(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_attr attr;
	uint64_t a, fh;
	char c;

	host_write(s, "a", "x");
	a = srv_node(s, ROOT, "a");
	assert_int_equal(srv_open(s, FUSE_OPEN, a, O_RDONLY, &fh, NULL), 0);
	srv_restart(s);
	assert_int_equal(atomic_load(&srv_fs(s)->nodes.live), 1);
	assert_int_equal(atomic_load(&srv_fs(s)->handles.live), 0);
	assert_int_equal(srv_getattr(s, a, &attr), -ESTALE);
	assert_int_equal(srv_read(s, a, fh, 0, &c, 1), -EBADF);
	srv_node(s, ROOT, "a");
	srv_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(file_is_found_with_its_attributes),
	    cmocka_unit_test(name_that_leads_elsewhere_is_refused),
	    cmocka_unit_test(hard_links_are_one_node),
	    cmocka_unit_test(node_lives_until_its_last_lookup_is_forgotten),
	    cmocka_unit_test(forgotten_number_does_not_name_the_next_node),
	    cmocka_unit_test(invented_number_is_refused),
	    cmocka_unit_test(root_can_not_be_forgotten),
	    cmocka_unit_test(symbolic_link_is_not_followed),
	    cmocka_unit_test(race_of_rename_leads_nowhere),
	    cmocka_unit_test(special_file_is_never_opened),
	    cmocka_unit_test(file_that_was_replaced_is_another_node),
	    cmocka_unit_test(descriptors_run_out_honestly),
	    cmocka_unit_test(session_end_drops_all),
	};

	return cmocka_run_group_tests_name("server/lookup", tests, NULL, NULL);
}
