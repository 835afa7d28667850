/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A client against a device of ours: one of each request, directories, what is
 * counted, what is interrupted, and what is too large. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "combo.h"

/* ---- one of each ---- */

static void files(struct fix *f)
{
	size_t len = most(f) < 300000 ? most(f) : 300000;
	unsigned char *a = malloc(len), *b = calloc(1, len);
	struct fuse_attr_out attr;
	struct fuse_open_out open;
	uint64_t fh, id = create(f, "file", &fh);

	rnd_fill(a, len);
	assert_int_equal(virtiofs_call_write(f->c, id, fh, 0, a, len), len);
	assert_int_equal(virtiofs_call_fgetattr(f->c, id, fh, &attr), 0);
	assert_int_equal(attr.attr.size, len);
	assert_int_equal(virtiofs_call_read(f->c, id, fh, 0, b, len), len);
	assert_memory_equal(a, b, len);
	/* The end of the file, and behind it. */
	assert_int_equal(virtiofs_call_read(f->c, id, fh, len - 5, b, len), 5);
	assert_int_equal(virtiofs_call_read(f->c, id, fh, len, b, len), 0);
	assert_int_equal(virtiofs_call_flush(f->c, id, fh), 0);
	assert_int_equal(virtiofs_call_fsync(f->c, id, fh, 0), 0);
	assert_int_equal(virtiofs_call_release(f->c, id, fh, 0), 0);
	assert_int_equal(virtiofs_call_open(f->c, id, O_RDONLY, &open), 0);
	assert_int_equal(virtiofs_call_lseek(f->c, id, open.fh, 0, SEEK_HOLE),
			 len);
	assert_int_equal(virtiofs_call_lseek(f->c, id, open.fh, len, SEEK_DATA),
			 -ENXIO);
	assert_int_equal(virtiofs_call_release(f->c, id, open.fh, 0), 0);
	assert_int_equal(virtiofs_client_forget(f->c, id, 1), 0);
	free(a);
	free(b);
}

static void names(struct fix *f)
{
	struct fuse_rename2_in ren2 = {.newdir = 1};
	struct fuse_mknod_in mknod = {.mode = S_IFREG | 0600};
	struct fuse_entry_out e, dir;
	char target[600], buf[PAGE];

	assert_int_equal(virtiofs_call_mkdir(f->c, 1, "dir", 0755, &dir), 0);
	assert_int_equal(virtiofs_call_mknod(f->c, dir.nodeid, "n", &mknod, &e),
			 0);
	assert_int_equal(virtiofs_call_rename(f->c, dir.nodeid, "n", 1, "m"),
			 0);
	assert_int_equal(virtiofs_call_rename2(f->c, 1, "m", &ren2, "mm"), 0);
	assert_int_equal(virtiofs_call_lookup(f->c, 1, "m", &e), -ENOENT);
	assert_int_equal(virtiofs_call_lookup(f->c, 1, "mm", &e), 0);
	assert_int_equal(virtiofs_call_link(f->c, e.nodeid, 1, "again", &e), 0);
	assert_int_equal(virtiofs_client_forget(f->c, e.nodeid, 3), 0);
	assert_int_equal(virtiofs_call_unlink(f->c, 1, "mm"), 0);
	assert_int_equal(virtiofs_call_rmdir(f->c, 1, "dir"), 0);
	assert_int_equal(virtiofs_client_forget(f->c, dir.nodeid, 1), 0);
	/* A target that does not fit beside the arguments. */
	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = 0;
	assert_int_equal(virtiofs_call_symlink(f->c, 1, "l", target, &e), 0);
	assert_int_equal(virtiofs_call_readlink(f->c, e.nodeid, buf, PAGE),
			 sizeof(target) - 1);
	assert_memory_equal(buf, target, sizeof(target) - 1);
	assert_int_equal(virtiofs_client_forget(f->c, e.nodeid, 1), 0);
}

static void attributes(struct fix *f)
{
	struct fuse_setattr_in set = {
	    .valid = FATTR_SIZE | FATTR_MODE, .size = 77, .mode = 0640};
	struct fuse_statx_in sx = {.sx_mask = 0xfff};
	struct fuse_statx_out sxo;
	struct fuse_statfs_out st;
	struct fuse_attr_out attr;
	uint64_t fh, id = create(f, "attr", &fh);
	char buf[64];

	assert_int_equal(virtiofs_call_setattr(f->c, id, &set, &attr), 0);
	assert_int_equal(attr.attr.size, 77);
	assert_int_equal(virtiofs_call_getattr(f->c, id, &attr), 0);
	assert_int_equal(attr.attr.mode, S_IFREG | 0640);
	assert_int_equal(virtiofs_call_statx(f->c, id, &sx, &sxo), 0);
	assert_int_equal(sxo.stat.size, 77);
	assert_int_equal(virtiofs_call_statfs(f->c, 1, &st), 0);
	assert_int_equal(st.st.blocks, 1000);
	assert_int_equal(virtiofs_call_access(f->c, id, R_OK), 0);
	assert_int_equal(
	    virtiofs_call_setxattr(f->c, id, "user.test", "abc", 3, 0), 0);
	assert_int_equal(virtiofs_call_getxattr(f->c, id, "user.test", buf, 0),
			 3);
	assert_int_equal(virtiofs_call_getxattr(f->c, id, "user.test", buf, 2),
			 -ERANGE);
	assert_int_equal(virtiofs_call_getxattr(f->c, id, "user.test", buf, 64),
			 3);
	assert_memory_equal(buf, "abc", 3);
	assert_int_equal(virtiofs_call_listxattr(f->c, id, buf, 64), 10);
	assert_string_equal(buf, "user.test");
	assert_int_equal(virtiofs_call_removexattr(f->c, id, "user.test"), 0);
	assert_int_equal(virtiofs_call_getxattr(f->c, id, "user.test", buf, 64),
			 -ENODATA);
	assert_int_equal(virtiofs_call_release(f->c, id, fh, 0), 0);
	assert_int_equal(virtiofs_client_forget(f->c, id, 1), 0);
}

static void rest(struct fix *f)
{
	struct fuse_fallocate_in fa = {.length = 5000};
	struct fuse_copy_file_range_in cp = {.len = 1u << 20};
	struct fuse_lk_in lk = {.lk = {.type = F_WRLCK}};
	struct fuse_create_in in = {.flags = O_RDWR, .mode = 0600};
	struct virtiofs_create_out tmp;
	struct fuse_lk_out lko;
	struct fuse_open_out dir;
	uint64_t fh, id = create(f, "rest", &fh);

	fa.fh = fh;
	assert_int_equal(virtiofs_call_fallocate(f->c, id, &fa), 0);
	assert_int_equal(virtiofs_call_tmpfile(f->c, 1, &in, &tmp), 0);
	cp.fh_in = fh;
	cp.nodeid_out = tmp.entry.nodeid;
	cp.fh_out = tmp.open.fh;
	assert_int_equal(virtiofs_call_copy_file_range(f->c, id, &cp), 5000);
	assert_int_equal(virtiofs_call_getlk(f->c, id, &lk, &lko), 0);
	assert_int_equal(lko.lk.type, F_UNLCK);
	assert_int_equal(virtiofs_call_setlk(f->c, id, &lk), 0);
	assert_int_equal(virtiofs_call_syncfs(f->c, 1), 0);
	assert_int_equal(virtiofs_call_opendir(f->c, 1, O_RDONLY, &dir), 0);
	assert_int_equal(virtiofs_call_fsyncdir(f->c, 1, dir.fh, 0), 0);
	assert_int_equal(virtiofs_call_releasedir(f->c, 1, dir.fh, 0), 0);
	assert_int_equal(
	    virtiofs_call_release(f->c, tmp.entry.nodeid, tmp.open.fh, 0), 0);
	assert_int_equal(virtiofs_call_release(f->c, id, fh, 0), 0);
	assert_int_equal(virtiofs_client_forget(f->c, tmp.entry.nodeid, 1), 0);
	assert_int_equal(virtiofs_client_forget(f->c, id, 1), 0);
}

/* covers: FUSE-DRV-08, FS-DRV-08 */
static void one_of_each(const struct combo *co)
{
	struct fix f;

	fix_start(&f, co, 1);
	files(&f);
	names(&f);
	attributes(&f);
	rest(&f);
	virtiofs_client_free(f.c);
	f.c = NULL;
	memfs_stop(f.m);
	assert_int_equal(f.m->sessions, 1);
	assert_int_equal(f.m->left, 0);
	assert_int_equal(f.m->left_handles, 0);
	memfs_free(f.m);
}

/* ---- directories ---- */

static unsigned list(struct fix *f, uint64_t fh, bool plus, size_t len)
{
	char *buf = malloc(len);
	struct virtiofs_dirent d;
	uint64_t off = 0;
	unsigned cnt = 0;
	ssize_t n;
	int r;

	for (;;) {
		size_t pos = 0;

		if (plus)
			n = virtiofs_call_readdirplus(f->c, 1, fh, off, buf,
						      len);
		else
			n = virtiofs_call_readdir(f->c, 1, fh, off, buf, len);
		assert_true(n >= 0);
		if (!n)
			break;
		while ((r = plus ? virtiofs_next_direntplus(buf, (size_t)n,
							    &pos, &d)
				 : virtiofs_next_dirent(buf, (size_t)n, &pos,
							&d)) > 0) {
			assert_memory_equal(d.name, "entry", 5);
			off = d.off;
			cnt++;
			if (plus)
				virtiofs_client_forget(f->c, d.entry.nodeid, 1);
		}
		assert_int_equal(r, 0);
	}
	free(buf);
	return cnt;
}

static void directories(const struct combo *co)
{
	struct fuse_open_out dir;
	struct fuse_entry_out e;
	char name[32];
	struct fix f;

	fix_start(&f, co, 1);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "entry%u", i);
		assert_int_equal(virtiofs_call_mkdir(f.c, 1, name, 0700, &e),
				 0);
		assert_int_equal(virtiofs_client_forget(f.c, e.nodeid, 1), 0);
	}
	assert_int_equal(virtiofs_call_opendir(f.c, 1, O_RDONLY, &dir), 0);
	assert_int_equal(list(&f, dir.fh, false, PAGE), 50);
	assert_int_equal(list(&f, dir.fh, true, PAGE), 50);
	assert_int_equal(list(&f, dir.fh, true, 300), 50);
	assert_int_equal(virtiofs_call_releasedir(f.c, 1, dir.fh, 0), 0);
	virtiofs_client_free(f.c);
	memfs_stop(f.m);
	assert_int_equal(f.m->left, 0);
	memfs_free(f.m);
}

/* ---- forgets ---- */

static void forgets_are_exact(const struct combo *co)
{
	enum { NODES = 60 };
	uint64_t ids[NODES], sum = 0, kept = 0;
	struct fuse_entry_out e;
	unsigned held[NODES];
	char name[16];
	struct fix f;

	fix_start(&f, co, 1);
	for (unsigned i = 0; i < NODES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(virtiofs_call_mkdir(f.c, 1, name, 0700, &e),
				 0);
		ids[i] = e.nodeid;
		held[i] = 1 + rnd(20);
		for (unsigned k = 1; k < held[i]; k++)
			assert_int_equal(virtiofs_call_lookup(f.c, 1, name, &e),
					 0);
		sum += held[i];
	}
	/* In pieces, at random, until the sum is 7. */
	kept = sum;
	while (kept > 7) {
		unsigned i = rnd(NODES);
		unsigned n = held[i] ? 1 + rnd(held[i]) : 0;

		if (!n || kept - n < 7)
			continue;
		assert_int_equal(virtiofs_client_forget(f.c, ids[i], n), 0);
		held[i] -= n;
		kept -= n;
	}
	virtiofs_client_free(f.c);
	memfs_stop(f.m);
	assert_int_equal(f.m->left, 7);
	assert_true(f.m->forgets > 0 && f.m->forgets <= sum);
	memfs_free(f.m);
}

/* ---- interrupts ---- */

struct locker {
	struct fix *f;
	pthread_t thread;
	uint64_t id, fh, user_data;
	int r;
};

static void *lock(void *arg)
{
	struct fuse_lk_in lk = {.lk = {.type = F_WRLCK}};
	struct locker *l = arg;

	lk.fh = l->fh;
	l->r = virtiofs_call_setlkw(l->f->c, l->id, &lk, l->user_data);
	return NULL;
}

/* More locks wait than the queue may hold; each ends by its own interrupt, and
 * other requests get through all the time. */
static void interrupts(const struct combo *co)
{
	struct fuse_attr_out attr;
	struct locker l[4];
	uint64_t fh, id;
	struct fix f;

	fix_start(&f, co, 1);
	id = create(&f, "locked", &fh);
	for (unsigned i = 0; i < 4; i++) {
		l[i] = (struct locker){
		    .f = &f, .id = id, .fh = fh, .user_data = 100 + i};
		assert_int_equal(
		    pthread_create(&l[i].thread, NULL, lock, &l[i]), 0);
	}
	while (!__atomic_load_n(&f.m->lock_waits, __ATOMIC_RELAXED))
		sched_yield();
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(virtiofs_call_getattr(f.c, id, &attr), 0);
	for (unsigned i = 0; i < 4; i++) {
		/* Its thread may not have come that far yet. */
		while (virtiofs_client_interrupt(f.c, 100 + i) == -ENOENT)
			sched_yield();
		pthread_join(l[i].thread, NULL);
		assert_int_equal(l[i].r, -EINTR);
	}
	assert_int_equal(virtiofs_client_interrupt(f.c, 100), -ENOENT);
	fix_end(&f);
}

/* ---- ends ---- */

static void device_goes_away(const struct combo *co)
{
	struct fuse_attr_out attr;
	struct locker l = {.user_data = 5};
	struct fix f;

	if (hides_status())
		skip();
	fix_start(&f, co, 1);
	l.f = &f;
	l.id = create(&f, "gone", &l.fh);
	assert_int_equal(pthread_create(&l.thread, NULL, lock, &l), 0);
	while (!__atomic_load_n(&f.m->lock_waits, __ATOMIC_RELAXED))
		sched_yield();
	memfs_stop(f.m);
	pthread_join(l.thread, NULL);
	assert_int_equal(l.r, -ENOTCONN);
	assert_int_equal(virtiofs_call_getattr(f.c, l.id, &attr), -ENOTCONN);
	assert_int_equal(virtiofs_client_forget(f.c, l.id, 1), -ENOTCONN);
	assert_int_equal(virtiofs_client_start(f.c, NULL), -ENOTCONN);
	fix_end(&f);
}

static void sizes_beyond_the_limits(const struct combo *co)
{
	struct fix f;
	size_t len;
	unsigned char *buf;
	uint64_t fh, id;

	fix_start(&f, co, 1);
	/* Pages of a request fit the ring. */
	assert_true(f.info.max_pages <= (co->num > 4 ? co->num - 4 : 1));
	len = most(&f);
	buf = calloc(1, len + 1);
	id = create(&f, "large", &fh);
	assert_int_equal(virtiofs_call_write(f.c, id, fh, 0, buf, len + 1),
			 -EMSGSIZE);
	assert_int_equal(virtiofs_call_write(f.c, id, fh, 0, buf, len), len);
	assert_int_equal(
	    virtiofs_call_read(f.c, id, fh, 0, buf,
			       (size_t)f.info.max_pages * PAGE + 1),
	    -EMSGSIZE);
	assert_int_equal(virtiofs_call_read(f.c, id, fh, 0, buf, len), len);
	free(buf);
	fix_end(&f);
}

CASE(one_of_each)
CASE(directories)
CASE(forgets_are_exact)
CASE(interrupts)
CASE(device_goes_away)
CASE(sizes_beyond_the_limits)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_of_each),
	    cmocka_unit_test(test_directories),
	    cmocka_unit_test(test_forgets_are_exact),
	    cmocka_unit_test(test_interrupts),
	    cmocka_unit_test(test_device_goes_away),
	    cmocka_unit_test(test_sizes_beyond_the_limits),
	};
	int r = take_args(argc, argv);

	return r ? r
		 : cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
