/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stats.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs.h"

#define OPCODES 64u /* 0 stands for all that are unknown */

struct stats {
	_Atomic uint64_t done[OPCODES], failed[OPCODES];
	_Atomic uint64_t read_bytes, written_bytes;
	struct stats *next;
};

static const char *const names[OPCODES] = {
    [0] = "unknown",
    [FUSE_LOOKUP] = "LOOKUP",
    [FUSE_FORGET] = "FORGET",
    [FUSE_GETATTR] = "GETATTR",
    [FUSE_SETATTR] = "SETATTR",
    [FUSE_READLINK] = "READLINK",
    [FUSE_SYMLINK] = "SYMLINK",
    [FUSE_MKNOD] = "MKNOD",
    [FUSE_MKDIR] = "MKDIR",
    [FUSE_UNLINK] = "UNLINK",
    [FUSE_RMDIR] = "RMDIR",
    [FUSE_RENAME] = "RENAME",
    [FUSE_LINK] = "LINK",
    [FUSE_OPEN] = "OPEN",
    [FUSE_READ] = "READ",
    [FUSE_WRITE] = "WRITE",
    [FUSE_STATFS] = "STATFS",
    [FUSE_RELEASE] = "RELEASE",
    [FUSE_FSYNC] = "FSYNC",
    [FUSE_SETXATTR] = "SETXATTR",
    [FUSE_GETXATTR] = "GETXATTR",
    [FUSE_LISTXATTR] = "LISTXATTR",
    [FUSE_REMOVEXATTR] = "REMOVEXATTR",
    [FUSE_FLUSH] = "FLUSH",
    [FUSE_OPENDIR] = "OPENDIR",
    [FUSE_READDIR] = "READDIR",
    [FUSE_RELEASEDIR] = "RELEASEDIR",
    [FUSE_FSYNCDIR] = "FSYNCDIR",
    [FUSE_GETLK] = "GETLK",
    [FUSE_SETLK] = "SETLK",
    [FUSE_SETLKW] = "SETLKW",
    [FUSE_ACCESS] = "ACCESS",
    [FUSE_CREATE] = "CREATE",
    [FUSE_BMAP] = "BMAP",
    [FUSE_IOCTL] = "IOCTL",
    [FUSE_POLL] = "POLL",
    [FUSE_FALLOCATE] = "FALLOCATE",
    [FUSE_READDIRPLUS] = "READDIRPLUS",
    [FUSE_RENAME2] = "RENAME2",
    [FUSE_LSEEK] = "LSEEK",
    [FUSE_COPY_FILE_RANGE] = "COPY_FILE_RANGE",
    [FUSE_SYNCFS] = "SYNCFS",
    [FUSE_TMPFILE] = "TMPFILE",
    [FUSE_STATX] = "STATX",
    [FUSE_COPY_FILE_RANGE_64] = "COPY_FILE_RANGE_64",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stats *all; /* under lock */
static __thread struct stats *mine;

void stats_thread_start(void)
{
	mine = calloc(1, sizeof(*mine));
	if (!mine)
		return;
	pthread_mutex_lock(&lock);
	mine->next = all;
	all = mine;
	pthread_mutex_unlock(&lock);
}

/* One thread writes, so no atomic addition is needed. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

void stats_count(uint32_t opcode, bool failed)
{
	uint32_t i = opcode < OPCODES && names[opcode] ? opcode : 0;

	if (!mine)
		return;
	add(&mine->done[i], 1);
	if (failed)
		add(&mine->failed[i], 1);
}

void stats_read_bytes(uint64_t n)
{
	if (mine)
		add(&mine->read_bytes, n);
}

void stats_written_bytes(uint64_t n)
{
	if (mine)
		add(&mine->written_bytes, n);
}

static void print_opcode(uint32_t i)
{
	uint64_t done = 0, failed = 0;

	for (struct stats *s = all; s; s = s->next) {
		done += atomic_load_explicit(&s->done[i], memory_order_relaxed);
		failed += atomic_load_explicit(&s->failed[i],
					       memory_order_relaxed);
	}
	if (done)
		printf("%-20s %12llu  failed %llu\n", names[i],
		       (unsigned long long)done, (unsigned long long)failed);
}

void stats_print(const struct fs *fs)
{
	uint64_t rd = 0, wr = 0;

	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < OPCODES; i++) {
		if (names[i])
			print_opcode(i);
	}
	for (struct stats *s = all; s; s = s->next) {
		rd += atomic_load_explicit(&s->read_bytes,
					   memory_order_relaxed);
		wr += atomic_load_explicit(&s->written_bytes,
					   memory_order_relaxed);
	}
	pthread_mutex_unlock(&lock);
	printf("%-20s %12llu\n%-20s %12llu\n", "bytes read",
	       (unsigned long long)rd, "bytes written", (unsigned long long)wr);
	printf("%-20s %12u\n%-20s %12u\n%-20s %12llu\n", "nodes",
	       atomic_load(&fs->nodes.live), "open files",
	       atomic_load(&fs->handles.live), "descriptors",
	       (unsigned long long)atomic_load(&fs->fd_cnt));
	fflush(stdout);
}

void stats_free(void)
{
	while (all) {
		struct stats *s = all;

		all = s->next;
		free(s);
	}
}
