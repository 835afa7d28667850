/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading and writing: large, direct, appending, mapped, sparse, together. */
#include "work.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Writes a pattern file in pieces of that size. */
static int write_pattern(const char *path, uint64_t len, uint32_t seed,
			 int flags)
{
	static unsigned char buf[1 << 20] __attribute__((aligned(4096)));
	uint64_t at;
	int fd;

	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | flags, 0644);
	MUST(fd >= 0);
	for (at = 0; at < len; at += sizeof(buf)) {
		size_t n = len - at < sizeof(buf) ? len - at : sizeof(buf);

		work_pattern(buf, n, seed, at);
		MUST(write(fd, buf, n) == (ssize_t)n);
	}
	MUST(fsync(fd) == 0);
	MUST(close(fd) == 0);
	return 0;
}

static int blob_copy(void)
{
	static char buf[1 << 18];
	int in, out;
	ssize_t n;

	in = open("in/blob", O_RDONLY);
	out = open("blob", O_WRONLY | O_CREAT | O_EXCL, 0644);
	MUST(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		MUST(write(out, buf, n) == n);
	MUST(n == 0);
	MUST(fsync(out) == 0);
	MUST(close(in) == 0 && close(out) == 0);
	return work_is_pattern("blob", WORK_BLOB, 1);
}

static int pattern_64m(void)
{
	if (write_pattern("pattern", WORK_BLOB, 7, 0) < 0)
		return -1;
	return work_is_pattern("pattern", WORK_BLOB, 7);
}

static int odd_sizes(void)
{
	static const unsigned sizes[] = {0,    1,     15,     4095,   4096,
					 4097, 65535, 131072, 131073, 1048577};
	char name[32] = "odd-?";
	unsigned i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		name[4] = 'a' + i;
		if (write_pattern(name, sizes[i], i, 0) < 0)
			return -1;
		if (work_is_pattern(name, sizes[i], i) < 0)
			return -1;
	}
	return 0;
}

static int append(void)
{
	char buf[64] = {0};
	int a, b;

	a = open("append", O_RDWR | O_CREAT | O_EXCL | O_APPEND, 0644);
	b = open("append", O_WRONLY | O_APPEND);
	MUST(a >= 0 && b >= 0);
	MUST(write(a, "one,", 4) == 4);
	MUST(write(b, "two,", 4) == 4);
	MUST(lseek(a, 0, SEEK_SET) == 0);
	MUST(write(a, "three,", 6) == 6);
	MUST(pwrite(b, "four", 4, 0) == 4);
	MUST(pread(a, buf, sizeof(buf), 0) == 18);
	MUST(strcmp(buf, "one,two,three,four") == 0);
	MUST(close(a) == 0 && close(b) == 0);
	return 0;
}

static int truncation(void)
{
	struct stat st;
	char buf[8];
	int fd;

	if (work_put("trunc", "0123456789") < 0)
		return -1;
	fd = open("trunc", O_RDWR);
	MUST(fd >= 0);
	MUST(ftruncate(fd, 4) == 0);
	MUST(fstat(fd, &st) == 0 && st.st_size == 4);
	MUST(ftruncate(fd, 8) == 0);
	MUST(pread(fd, buf, 8, 0) == 8);
	MUST(memcmp(buf, "0123\0\0\0\0", 8) == 0);
	MUST(truncate("trunc", 100000) == 0);
	MUST(fstat(fd, &st) == 0 && st.st_size == 100000);
	MUST(close(fd) == 0);
	fd = open("trunc", O_WRONLY | O_TRUNC);
	MUST(fd >= 0);
	MUST(fstat(fd, &st) == 0 && st.st_size == 0);
	MUST(write(fd, "short", 5) == 5);
	MUST(close(fd) == 0);
	return work_is("trunc", "short");
}

/* Buffers are written first: see never_written. */
static int direct(void)
{
	unsigned char *buf, *want;
	int fd;

	MUST(posix_memalign((void **)&buf, 4096, 1 << 20) == 0);
	MUST(posix_memalign((void **)&want, 4096, 1 << 20) == 0);
	memset(buf, 0xaa, 1 << 20);
	work_pattern(want, 1 << 20, 9, 0);
	fd = open("direct", O_RDWR | O_CREAT | O_EXCL | O_DIRECT, 0644);
	if (fd < 0 && errno == EINVAL) {
		unlink("direct");
		return work_skipped("the file system below has no O_DIRECT");
	}
	MUST(fd >= 0);
	MUST(pwrite(fd, want, 1 << 20, 0) == 1 << 20);
	MUST(pwrite(fd, want + 4096, 4096, 1 << 20) == 4096);
	MUST(pread(fd, buf, 1 << 20, 0) == 1 << 20);
	MUST(memcmp(buf, want, 1 << 20) == 0);
	MUST(pread(fd, buf, 8192, (1 << 20)) == 4096);
	MUST(memcmp(buf, want + 4096, 4096) == 0);
	MUST(pread(fd, buf, 4096, 2 << 20) == 0);
	MUST(close(fd) == 0);
	free(buf);
	free(want);
	return 0;
}

/*
 * A page that was never written is the kernel's zero page, which user-mode
 * Linux does not share: the device is given an address in no region. That
 * request may fail; what follows may not. Some devices die of it, so the host
 * has to ask for it.
 */
static int never_written(void)
{
	unsigned char *page, got[4096] __attribute__((aligned(4096)));
	ssize_t n;
	int fd;

	if (!getenv("VT_ZERO_PAGE"))
		return work_skipped("this device may die of it");
	fd = open("zero-page", O_RDWR | O_CREAT | O_EXCL | O_DIRECT, 0644);
	if (fd < 0 && errno == EINVAL) {
		unlink("zero-page");
		return work_skipped("the file system below has no O_DIRECT");
	}
	MUST(fd >= 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(page != MAP_FAILED);
	n = pwrite(fd, page, 4096, 0);
	if (n < 0)
		MUST(errno == EFAULT || errno == EIO);
	work_note(n < 0 ? "zero page refused" : "zero page written");
	memset(page, 'z', 4096);
	MUST(pwrite(fd, page, 4096, 0) == 4096);
	memset(got, 0, sizeof(got));
	MUST(pread(fd, got, 4096, 0) == 4096);
	MUST(memcmp(got, page, 4096) == 0);
	MUST(munmap(page, 4096) == 0);
	MUST(close(fd) == 0);
	return 0;
}

static int mapped(void)
{
	char *p;
	int fd;

	fd = open("mapped", O_RDWR | O_CREAT | O_EXCL, 0644);
	MUST(fd >= 0);
	MUST(ftruncate(fd, 3 * 4096) == 0);
	p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED && errno == ENODEV)
		return work_skipped("this mount has no shared mappings");
	MUST(p != MAP_FAILED);
	work_pattern(p, 3 * 4096, 11, 0);
	MUST(msync(p, 3 * 4096, MS_SYNC) == 0);
	MUST(munmap(p, 3 * 4096) == 0);
	MUST(close(fd) == 0);
	return work_is_pattern("mapped", 3 * 4096, 11);
}

static int sparse(void)
{
	struct stat st;
	off_t at;
	int fd;

	fd = open("sparse", O_RDWR | O_CREAT | O_EXCL, 0644);
	MUST(fd >= 0);
	MUST(pwrite(fd, "tail", 4, 1 << 20) == 4);
	at = lseek(fd, 0, SEEK_DATA);
	MUST(at >= 0 && at <= 1 << 20);
	at = lseek(fd, 1 << 20, SEEK_HOLE);
	MUST(at == (1 << 20) + 4);
	MUST_FAIL(lseek(fd, 2 << 20, SEEK_DATA), ENXIO);
	if (fallocate(fd, 0, 0, 2 << 20) < 0 && errno == EOPNOTSUPP)
		return work_skipped("no fallocate below");
	MUST(fstat(fd, &st) == 0 && st.st_size == 2 << 20);
	MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20,
		       4096) == 0);
	MUST(ftruncate(fd, 1 << 20) == 0);
	MUST(close(fd) == 0);
	return 0;
}

static int copy_range(void)
{
	off_t from = 4096, to = 0;
	uint64_t left = 1 << 20;
	ssize_t n;
	int in, out;

	in = open("pattern", O_RDONLY);
	out = open("copied", O_WRONLY | O_CREAT | O_EXCL, 0644);
	MUST(in >= 0 && out >= 0);
	while (left > 0) {
		n = copy_file_range(in, &from, out, &to, left, 0);
		MUST(n > 0);
		left -= n;
	}
	MUST(close(in) == 0 && close(out) == 0);
	return 0;
}

static int writer_nr;

static int one_writer(void)
{
	char name[] = "together-?";

	name[9] = '0' + writer_nr;
	if (write_pattern(name, 4 << 20, 20 + writer_nr, 0) < 0)
		return -1;
	return work_is_pattern(name, 4 << 20, 20 + writer_nr);
}

/* Four processes at once: requests of different files are mixed. */
static int together(void)
{
	pid_t pids[4];
	int i, status, bad = 0;

	for (i = 0; i < 4; i++) {
		writer_nr = i;
		pids[i] = fork();
		MUST(pids[i] >= 0);
		if (pids[i] == 0)
			_exit(one_writer() ? 1 : 0);
	}
	for (i = 0; i < 4; i++) {
		MUST(waitpid(pids[i], &status, 0) == pids[i]);
		bad += status != 0;
	}
	MUST(bad == 0);
	return 0;
}

const struct work_step work_io_steps[] = {
    {"blob_copy", blob_copy},
    {"pattern_64m", pattern_64m},
    {"odd_sizes", odd_sizes},
    {"append", append},
    {"truncation", truncation},
    {"direct", direct},
    {"never_written", never_written},
    {"mapped", mapped},
    {"sparse", sparse},
    {"copy_range", copy_range},
    {"together", together},
    {NULL, NULL},
};
