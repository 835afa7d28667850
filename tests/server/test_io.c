/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Open files: data and positions. */
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

static uint64_t open_file(struct srv *s, const char *name, uint32_t flags,
			  uint64_t *ret_node)
{
	uint64_t fh;

	*ret_node = srv_node(s, ROOT, name);
	assert_int_equal(srv_open(s, FUSE_OPEN, *ret_node, flags, &fh, NULL),
			 0);
	return fh;
}

/* covers: FS-DEV-10, FUSE-DEV-24 */
static void read_ends_with_the_file(void **state)
{
	struct srv *s = srv_new(NULL);
	uint64_t a, fh;
	char buf[16];

	host_write(s, "a", "0123456789");
	fh = open_file(s, "a", O_RDONLY, &a);
	assert_int_equal(srv_read(s, a, fh, 2, buf, 3), 3);
	assert_memory_equal(buf, "234", 3);
	assert_int_equal(srv_read(s, a, fh, 7, buf, 16), 3);
	assert_memory_equal(buf, "789", 3);
	assert_int_equal(srv_read(s, a, fh, 10, buf, 16), 0);
	assert_int_equal(srv_read(s, a, fh, 1ull << 40, buf, 16), 0);
	assert_int_equal(srv_read(s, a, fh, 1ull << 63, buf, 16), -EINVAL);
	srv_free(s);
}

static void large_data_arrives_whole(void **state)
{
	enum { LEN = 300000 };
	struct srv *s = srv_new(NULL);
	struct fuse_write_in w = {.size = 100000};
	char *data = malloc(LEN), *back = malloc(LEN);
	uint64_t a, done = 0;
	ssize_t n;

	for (int i = 0; i < LEN; i++)
		data[i] = (char)(i * 7 + i / 251);
	host_write(s, "a", "");
	w.fh = open_file(s, "a", O_RDWR, &a);
	for (int i = 0; i < 3; i++) {
		w.offset = (uint64_t)i * 100000;
		assert_int_equal(srv_write(s, a, &w, data + w.offset), 100000);
	}
	while (done < LEN) {
		n = srv_read(s, a, w.fh, done, back + done, 100000);
		assert_true(n > 0);
		done += (uint64_t)n;
	}
	assert_memory_equal(data, back, LEN);
	free(data);
	free(back);
	srv_free(s);
}

static void handle_is_only_good_for_its_file(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_write_in w = {.size = 1};
	uint64_t a, b, fa, fd;
	char c;

	host_write(s, "a", "x");
	host_write(s, "b", "y");
	fa = open_file(s, "a", O_RDONLY, &a);
	b = srv_node(s, ROOT, "b");
	assert_int_equal(srv_read(s, b, fa, 0, &c, 1), -EBADF);
	assert_int_equal(srv_read(s, a, fa + 1, 0, &c, 1), -EBADF);
	assert_int_equal(srv_read(s, a, fa | 1ull << 32, 0, &c, 1), -EBADF);
	assert_int_equal(srv_read(s, a, UINT64_MAX, 0, &c, 1), -EBADF);
	/* Opened to read. */
	w.fh = fa;
	assert_int_equal(srv_write(s, a, &w, "z"), -EBADF);
	assert_int_equal(srv_open(s, FUSE_OPENDIR, ROOT, 0, &fd, NULL), 0);
	assert_int_equal(srv_read(s, ROOT, fd, 0, &c, 1), -EBADF);
	assert_int_equal(srv_release(s, FUSE_RELEASE, b, fa), -EBADF);
	assert_int_equal(srv_release(s, FUSE_RELEASE, a, fa), 0);
	assert_int_equal(srv_release(s, FUSE_RELEASE, a, fa), -EBADF);
	assert_int_equal(srv_read(s, a, fa, 0, &c, 1), -EBADF);
	srv_free(s);
}

static void append_writes_at_the_end(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_write_in w = {.size = 2, .flags = O_WRONLY | O_APPEND};
	uint64_t a;

	host_write(s, "a", "0123");
	w.fh = open_file(s, "a", O_WRONLY | O_APPEND, &a);
	assert_int_equal(srv_write(s, a, &w, "ab"), 2);
	host_check(s, "a", "0123ab");
	/* A page of a mapping has its place. */
	w.write_flags = FUSE_WRITE_CACHE;
	assert_int_equal(srv_write(s, a, &w, "cd"), 2);
	host_check(s, "a", "cd23ab");
	srv_free(s);
}

static void open_flags_are_taken_with_care(void **state)
{
	struct srv *s = srv_new(NULL);
	uint64_t a, fh;

	host_write(s, "a", "0123");
	fh = open_file(s, "a", O_WRONLY | O_TRUNC, &a);
	host_check(s, "a", "");
	/* Nothing is created, and nothing but itself opened. */
	fh = open_file(s, "a", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, &a);
	assert_int_equal(srv_release(s, FUSE_RELEASE, a, fh), 0);
	assert_int_equal(srv_open(s, FUSE_OPEN, a, O_ACCMODE, &fh, NULL),
			 -EINVAL);
	assert_int_equal(srv_open(s, FUSE_OPEN, ROOT, O_RDONLY, &fh, NULL),
			 -EISDIR);
	/* Without --allow-direct-io an odd buffer is no fault. */
	fh = open_file(s, "a", O_RDWR | O_DIRECT, &a);
	{
		struct fuse_write_in w = {.fh = fh, .size = 3};

		assert_int_equal(srv_write(s, a, &w, "abc"), 3);
	}
	host_check(s, "a", "abc");
	srv_free(s);
}

static void cache_mode_shows_in_the_replies(void **state)
{
	static const struct {
		enum cache_mode mode;
		uint32_t timeout, file, dir;
	} want[] = {
	    {CACHE_NEVER, 0, FOPEN_DIRECT_IO, 0},
	    {CACHE_AUTO, 1, 0, 0},
	    {CACHE_ALWAYS, 86400, FOPEN_KEEP_CACHE,
	     FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR},
	    {CACHE_METADATA, 86400, FOPEN_DIRECT_IO,
	     FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR},
	};

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct srv_opts o = srv_defaults();
		struct fuse_entry_out e;
		struct srv *s;
		uint32_t flags;
		uint64_t fh;

		o.fs.cache = want[i].mode;
		s = srv_new(&o);
		host_write(s, "a", "");
		assert_int_equal(srv_lookup(s, ROOT, "a", &e), 0);
		assert_int_equal(e.entry_valid, want[i].timeout);
		assert_int_equal(e.attr_valid, want[i].timeout);
		assert_int_equal(
		    srv_open(s, FUSE_OPEN, e.nodeid, 0, &fh, &flags), 0);
		assert_int_equal(flags, want[i].file);
		assert_int_equal(
		    srv_open(s, FUSE_OPENDIR, ROOT, 0, &fh, &flags), 0);
		assert_int_equal(flags, want[i].dir);
		srv_free(s);
	}
}

static mode_t mode_of(struct srv *s, const char *name)
{
	struct stat st;

	assert_int_equal(stat(srv_path(s, name), &st), 0);
	return st.st_mode & 07777;
}

static void write_takes_set_user_id_away_when_asked(void **state)
{
	struct srv_opts o = srv_defaults();
	struct fuse_write_in w = {.size = 1};
	struct srv *s;
	uint64_t a;

	NEED_ROOT();
	s = srv_new(&o);
	host_write(s, "a", "");
	w.fh = open_file(s, "a", O_RDWR, &a);
	assert_int_equal(chmod(srv_path(s, "a"), 06755), 0);
	assert_int_equal(srv_write(s, a, &w, "x"), 1);
	assert_int_equal(mode_of(s, "a"), 06755);
	w.write_flags = FUSE_WRITE_KILL_SUIDGID;
	assert_int_equal(srv_write(s, a, &w, "x"), 1);
	assert_int_equal(mode_of(s, "a"), 0755);
	srv_free(s);

	/* A client without that flag: as on a local file system. */
	o.init_flags = FUSE_ASYNC_READ;
	s = srv_new(&o);
	host_write(s, "a", "");
	w.fh = open_file(s, "a", O_RDWR, &a);
	w.write_flags = 0;
	assert_int_equal(chmod(srv_path(s, "a"), 06755), 0);
	assert_int_equal(srv_write(s, a, &w, "x"), 1);
	assert_int_equal(mode_of(s, "a"), 06755);
	srv_as(USER, USER);
	assert_int_equal(srv_write(s, a, &w, "x"), 1);
	srv_as(0, 0);
	assert_int_equal(mode_of(s, "a"), 0755);
	srv_free(s);
}

static ssize_t seek(struct srv *s, uint64_t node, uint64_t fh, uint64_t offset,
		    uint32_t whence, uint64_t *ret)
{
	struct fuse_lseek_in in = {
	    .fh = fh,
	    .offset = offset,
	    .whence = whence,
	};
	struct fuse_lseek_out out;
	struct call c = {
	    .opcode = FUSE_LSEEK,
	    .nodeid = node,
	    .arg = &in,
	    .arg_len = sizeof(in),
	    .room = &out,
	    .room_len = sizeof(out),
	};
	ssize_t n = srv_call(s, &c);

	*ret = out.offset;
	return n < 0 ? n : 0;
}

static int reserve(struct srv *s, uint64_t node, uint64_t fh, uint32_t mode,
		   uint64_t offset, uint64_t len)
{
	struct fuse_fallocate_in in = {
	    .fh = fh,
	    .mode = mode,
	    .offset = offset,
	    .length = len,
	};
	struct call c = {
	    .opcode = FUSE_FALLOCATE,
	    .nodeid = node,
	    .arg = &in,
	    .arg_len = sizeof(in),
	};

	return (int)srv_call(s, &c);
}

static void holes_are_made_and_found(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_attr attr;
	uint64_t a, fh, at;
	int r;

	host_write(s, "a", "");
	fh = open_file(s, "a", O_RDWR, &a);
	assert_int_equal(reserve(s, a, fh, 0, 0, 1 << 20), 0);
	assert_int_equal(srv_getattr(s, a, &attr), 0);
	assert_int_equal(attr.size, 1 << 20);
	assert_int_equal(seek(s, a, fh, 0, SEEK_END, &at), 0);
	assert_int_equal(at, 1 << 20);
	assert_int_equal(seek(s, a, fh, 5, SEEK_CUR, &at), -EINVAL);
	assert_int_equal(seek(s, a, fh, 2 << 20, SEEK_DATA, &at), -ENXIO);
	/* FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE */
	r = reserve(s, a, fh, 3, 1 << 19, 1 << 18);
	if (r != -EOPNOTSUPP) {
		assert_int_equal(r, 0);
		assert_int_equal(seek(s, a, fh, 1 << 19, SEEK_HOLE, &at), 0);
		assert_int_equal(at, 1 << 19);
	}
	assert_int_equal(reserve(s, a, fh, 0, 0, UINT64_MAX), -EFBIG);
	srv_free(s);
}

static ssize_t copy(struct srv *s, uint32_t opcode,
		    const struct fuse_copy_file_range_in *in, uint64_t node)
{
	uint64_t out = 0;
	struct call c = {
	    .opcode = opcode,
	    .nodeid = node,
	    .arg = in,
	    .arg_len = sizeof(*in),
	    .room = &out,
	    .room_len = sizeof(out),
	};
	ssize_t n = srv_call(s, &c);

	return n < 0 ? n : (ssize_t)(out & INT64_MAX);
}

static void range_is_copied(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_copy_file_range_in in = {.len = 4, .off_in = 2};
	uint64_t a, b;

	host_write(s, "a", "0123456789");
	host_write(s, "b", "xx");
	in.fh_in = open_file(s, "a", O_RDONLY, &a);
	in.fh_out = open_file(s, "b", O_RDWR, &b);
	in.nodeid_out = b;
	assert_int_equal(copy(s, FUSE_COPY_FILE_RANGE, &in, a), 4);
	host_check(s, "b", "2345");
	in.off_out = 4;
	in.len = 1ull << 40;
	assert_int_equal(copy(s, FUSE_COPY_FILE_RANGE_64, &in, a), 8);
	host_check(s, "b", "234523456789");
	in.flags = 1;
	assert_int_equal(copy(s, FUSE_COPY_FILE_RANGE, &in, a), -EINVAL);
	in.flags = 0;
	in.nodeid_out = a;
	assert_int_equal(copy(s, FUSE_COPY_FILE_RANGE, &in, a), -EBADF);
	srv_free(s);
}

static void calls_without_effect_here_succeed(void **state)
{
	struct srv *s = srv_new(NULL);
	struct fuse_fsync_in in = {.fh = 0};
	struct fuse_flush_in flush = {.lock_owner = 1};
	struct fuse_syncfs_in sync = {.padding = 0};
	struct fuse_statfs_out fs;
	struct call c = {
	    .opcode = FUSE_FSYNC, .arg = &in, .arg_len = sizeof(in)};
	uint64_t a;

	host_write(s, "a", "x");
	in.fh = open_file(s, "a", O_RDWR, &a);
	flush.fh = in.fh;
	c.nodeid = a;
	assert_int_equal(srv_call(s, &c), 0);
	in.fsync_flags = FUSE_FSYNC_FDATASYNC;
	assert_int_equal(srv_call(s, &c), 0);
	c.opcode = FUSE_FLUSH;
	c.arg = &flush;
	c.arg_len = sizeof(flush);
	assert_int_equal(srv_call(s, &c), 0);
	c.opcode = FUSE_SYNCFS;
	c.arg = &sync;
	c.arg_len = sizeof(sync);
	c.nodeid = ROOT;
	assert_int_equal(srv_call(s, &c), 0);
	c = (struct call){.opcode = FUSE_STATFS,
			  .nodeid = a,
			  .room = &fs,
			  .room_len = sizeof(fs)};
	assert_int_equal(srv_call(s, &c), sizeof(fs));
	assert_true(fs.st.bsize > 0 && fs.st.namelen == 255);
	srv_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(read_ends_with_the_file),
	    cmocka_unit_test(large_data_arrives_whole),
	    cmocka_unit_test(handle_is_only_good_for_its_file),
	    cmocka_unit_test(append_writes_at_the_end),
	    cmocka_unit_test(open_flags_are_taken_with_care),
	    cmocka_unit_test(cache_mode_shows_in_the_replies),
	    cmocka_unit_test(write_takes_set_user_id_away_when_asked),
	    cmocka_unit_test(holes_are_made_and_found),
	    cmocka_unit_test(range_is_copied),
	    cmocka_unit_test(calls_without_effect_here_succeed),
	};

	return cmocka_run_group_tests_name("server/io", tests, NULL, NULL);
}
