/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listings and extended attributes. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ROOT  FUSE_ROOT_ID
#define FILES 150

/* Which of FILES files were seen, and how often dots. */
struct seen {
	unsigned files[FILES];
	unsigned dots;
	uint64_t offset; /* to go on from */
	uint64_t lookups;
};

static void note(struct seen *seen, const struct fuse_dirent *d,
		 const char *name)
{
	char text[256] = "";
	int i;

	assert_true(d->namelen > 0 && d->namelen < sizeof(text));
	assert_null(memchr(name, 0, d->namelen));
	memcpy(text, name, d->namelen);
	seen->offset = d->off;
	if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
		seen->dots++;
		return;
	}
	assert_int_equal(sscanf(text, "file-%d", &i), 1);
	assert_true(i >= 0 && i < FILES);
	assert_int_equal(d->type, S_IFREG >> 12);
	seen->files[i]++;
}

/* covers: FUSE-DEV-25 */
static void take_entries(struct seen *seen, const char *buf, size_t len,
			 bool plus)
{
	const struct fuse_entry_out *e = NULL;
	size_t at = 0;

	while (at < len) {
		const struct fuse_dirent *d;

		if (plus) {
			e = (const struct fuse_entry_out *)(buf + at);
			at += sizeof(*e);
		}
		d = (const struct fuse_dirent *)(buf + at);
		assert_true(at + FUSE_DIRENT_SIZE(d) <= len);
		note(seen, d, d->name);
		if (e && e->nodeid) {
			assert_int_equal(e->attr.ino, d->ino);
			seen->lookups++;
		}
		at += FUSE_DIRENT_SIZE(d);
	}
	assert_int_equal(at, len);
}

static ssize_t list(struct srv *s, uint32_t opcode, uint64_t node, uint64_t fh,
		    uint64_t offset, void *buf, uint32_t size)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = size};
	struct call c = {
	    .opcode = opcode,
	    .nodeid = node,
	    .arg = &in,
	    .arg_len = sizeof(in),
	    .room = buf,
	    .room_len = size,
	};

	return srv_call(s, &c);
}

static uint64_t list_all(struct srv *s, uint32_t opcode, uint64_t dir,
			 uint32_t size)
{
	struct seen seen = {.offset = 0};
	char *buf = aligned_alloc(8, size);
	uint64_t fh;
	ssize_t n;

	assert_int_equal(srv_open(s, FUSE_OPENDIR, dir, 0, &fh, NULL), 0);
	while ((n = list(s, opcode, dir, fh, seen.offset, buf, size)) > 0)
		take_entries(&seen, buf, (size_t)n, opcode == FUSE_READDIRPLUS);
	assert_int_equal(n, 0);
	for (int i = 0; i < FILES; i++)
		assert_int_equal(seen.files[i], 1);
	assert_int_equal(seen.dots, 2);
	/* Again from the start, on the same handle. */
	assert_true(list(s, FUSE_READDIR, dir, fh, 0, buf, size) > 0);
	assert_int_equal(srv_release(s, FUSE_RELEASEDIR, dir, fh), 0);
	free(buf);
	return seen.lookups;
}

static uint64_t full_dir(struct srv *s)
{
	char name[32];

	assert_int_equal(mkdir(srv_path(s, "d"), 0755), 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "d/file-%d", i);
		host_write(s, name, "");
	}
	return srv_node(s, ROOT, "d");
}

static void every_entry_is_listed_once(void **state)
{
	struct srv *s = srv_new(NULL);
	uint64_t d = full_dir(s);

	for (uint32_t size = 512; size <= 32768; size *= 4)
		list_all(s, FUSE_READDIR, d, size);
	assert_int_equal(atomic_load(&srv_fs(s)->nodes.live), 2);
	srv_free(s);
}

static void listing_with_attributes_counts_lookups(void **state)
{
	struct srv *s = srv_new(NULL);
	uint64_t d = full_dir(s), id;
	struct fuse_attr attr;
	char name[32];

	for (uint32_t size = 512; size <= 32768; size *= 4)
		assert_int_equal(list_all(s, FUSE_READDIRPLUS, d, size), FILES);
	assert_int_equal(atomic_load(&srv_fs(s)->nodes.live), 2 + FILES);
	/* Four listings, four lookups, and one of our own. */
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		id = srv_node(s, d, name);
		srv_forget(s, id, 4);
		assert_int_equal(srv_getattr(s, id, &attr), 0);
		srv_forget(s, id, 1);
	}
	srv_wait_nodes(s, 2);
	srv_free(s);
}

static void too_small_a_buffer_is_not_the_end(void **state)
{
	struct srv *s = srv_new(NULL);
	uint64_t d = full_dir(s), fh;
	char buf[64];

	assert_int_equal(srv_open(s, FUSE_OPENDIR, d, 0, &fh, NULL), 0);
	assert_int_equal(list(s, FUSE_READDIR, d, fh, 0, buf, 16), -EINVAL);
	assert_int_equal(list(s, FUSE_READDIRPLUS, d, fh, 0, buf, 64), -EINVAL);
	srv_free(s);
}

static void parent_of_the_root_is_the_root(void **state)
{
	struct srv *s = srv_new(NULL);
	char buf[1024] __attribute__((aligned(8)));
	const struct fuse_dirent *d;
	struct fuse_attr attr;
	uint64_t fh;
	ssize_t n;

	assert_int_equal(srv_getattr(s, ROOT, &attr), 0);
	assert_int_equal(srv_open(s, FUSE_OPENDIR, ROOT, 0, &fh, NULL), 0);
	n = list(s, FUSE_READDIR, ROOT, fh, 0, buf, sizeof(buf));
	assert_true(n > 0);
	for (ssize_t at = 0; at < n; at += (ssize_t)FUSE_DIRENT_SIZE(d)) {
		d = (const struct fuse_dirent *)(buf + at);
		assert_int_equal(d->ino, attr.ino);
	}
	srv_free(s);
}

static void file_is_not_a_directory(void **state)
{
	struct srv *s = srv_new(NULL);
	char buf[512];
	uint64_t a, fh;

	host_write(s, "a", "");
	a = srv_node(s, ROOT, "a");
	assert_int_equal(srv_open(s, FUSE_OPENDIR, a, 0, &fh, NULL), -ENOTDIR);
	assert_int_equal(srv_open(s, FUSE_OPEN, a, 0, &fh, NULL), 0);
	assert_int_equal(list(s, FUSE_READDIR, a, fh, 0, buf, 512), -EBADF);
	srv_free(s);
}

/* covers: FUSE-BTH-05 */
static void extended_attributes_are_kept(void **state)
{
	struct srv_opts o = srv_defaults();
	struct fuse_getxattr_out size;
	char buf[128];
	uint64_t a;

	/* Both forms of the request's arguments. */
	for (int ext = 0; ext < 2; ext++) {
		struct srv *s;

		o.fs.posix_acl = ext;
		s = srv_new(&o);
		host_write(s, "a", "");
		a = srv_node(s, ROOT, "a");
		assert_int_equal(srv_setxattr(s, a, "user.x", "value", 5), 0);
		assert_int_equal(srv_getxattr(s, a, "user.x", &size, 0),
				 sizeof(size));
		assert_int_equal(size.size, 5);
		assert_int_equal(srv_getxattr(s, a, "user.x", buf, 128), 5);
		assert_memory_equal(buf, "value", 5);
		assert_int_equal(srv_getxattr(s, a, "user.x", buf, 4), -ERANGE);
		assert_int_equal(srv_getxattr(s, a, NULL, buf, 128), 7);
		assert_memory_equal(buf, "user.x", 7);
		assert_int_equal(srv_getxattr(s, a, "user.y", buf, 128),
				 -ENODATA);
		/* A size that the data doesn't have. */
		assert_int_not_equal(srv_setxattr(s, a, "user.y", "v", 7), 0);
		assert_int_equal(srv_removexattr(s, a, "user.x"), 0);
		assert_int_equal(srv_getxattr(s, a, NULL, &size, 0),
				 sizeof(size));
		assert_int_equal(size.size, 0);
		srv_free(s);
	}
}

static void extended_attributes_can_be_off(void **state)
{
	struct srv_opts o = srv_defaults();
	struct srv *s;
	char buf[16];

	o.fs.xattr = false;
	s = srv_new(&o);
	assert_int_equal(srv_setxattr(s, ROOT, "user.x", "v", 1), -ENOSYS);
	assert_int_equal(srv_getxattr(s, ROOT, "user.x", buf, 16), -ENOSYS);
	assert_int_equal(srv_getxattr(s, ROOT, NULL, buf, 16), -ENOSYS);
	assert_int_equal(srv_removexattr(s, ROOT, "user.x"), -ENOSYS);
	srv_free(s);
}

static void acl_is_hidden_from_who_does_not_enforce_it(void **state)
{
	struct srv *s = srv_new(NULL);
	char buf[64];
	uint64_t p;

	assert_int_equal(
	    srv_getxattr(s, ROOT, "system.posix_acl_access", buf, 64),
	    -EOPNOTSUPP);
	assert_int_equal(
	    srv_setxattr(s, ROOT, "system.posix_acl_default", "x", 1),
	    -EOPNOTSUPP);
	/* Neither is a pipe opened to look at its attributes. */
	assert_int_equal(mkfifo(srv_path(s, "p"), 0600), 0);
	p = srv_node(s, ROOT, "p");
	assert_int_equal(srv_getxattr(s, p, "user.x", buf, 64), -ENODATA);
	srv_free(s);
}

/* covers: FUSE-BTH-07 */
static void mount_point_is_announced(void **state)
{
	struct srv_opts o = srv_defaults();
	struct fuse_entry_out e;
	struct srv *s;

	NEED_ROOT();
	for (int i = 0; i < 2; i++) {
		if (i)
			o.init_flags = FUSE_ASYNC_READ;
		s = srv_new(&o);
		assert_int_equal(mkdir(srv_path(s, "m"), 0755), 0);
		assert_int_equal(mkdir(srv_path(s, "n"), 0755), 0);
		if (mount("none", srv_path(s, "m"), "tmpfs", 0, NULL) < 0) {
			print_message("can't mount: %s\n", strerror(errno));
			srv_free(s);
			skip();
		}
		assert_int_equal(srv_lookup(s, ROOT, "m", &e), 0);
		assert_int_equal(e.attr.flags, i ? 0 : FUSE_ATTR_SUBMOUNT);
		assert_int_equal(srv_lookup(s, ROOT, "n", &e), 0);
		assert_int_equal(e.attr.flags, 0);
		assert_int_equal(umount2(srv_path(s, "m"), MNT_DETACH), 0);
		srv_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_entry_is_listed_once),
	    cmocka_unit_test(listing_with_attributes_counts_lookups),
	    cmocka_unit_test(too_small_a_buffer_is_not_the_end),
	    cmocka_unit_test(parent_of_the_root_is_the_root),
	    cmocka_unit_test(file_is_not_a_directory),
	    cmocka_unit_test(extended_attributes_are_kept),
	    cmocka_unit_test(extended_attributes_can_be_off),
	    cmocka_unit_test(acl_is_hidden_from_who_does_not_enforce_it),
	    cmocka_unit_test(mount_point_is_announced),
	};

	return cmocka_run_group_tests_name("server/dir", tests, NULL, NULL);
}
