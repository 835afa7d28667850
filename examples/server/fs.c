/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block.h"
#include "fhandle.h"
#include "handle.h"
#include "log.h"
#include "node.h"
#include "stats.h"

/*
 * A thread that serves requests. A session may end as soon as the last reply
 * is out, while the operation that sent it still lets go of what it used: the
 * reset waits until nobody is busy. That is short, since nothing new is handed
 * out meanwhile.
 */
struct fs_thread {
	_Atomic bool busy; /* owner: the thread */
	struct fs *fs;
	struct fs_thread *next;
	char scratch[2][SCRATCH_SIZE];
};

static __thread struct fs_thread *self;

static uint32_t timeout_of(enum cache_mode mode)
{
	switch (mode) {
	case CACHE_NEVER:
		return 0;
	case CACHE_AUTO:
		return 1;
	default:
		return 86400;
	}
}

int fs_init(struct fs *fs, const struct fs_opts *opts, int proc_fd, int root_fd)
{
	int r;

	memset(fs, 0, sizeof(*fs));
	fs->opts = *opts;
	fs->proc_fd = proc_fd;
	fs->root_fd = root_fd;
	fs->timeout = timeout_of(opts->cache);
	pthread_mutex_init(&fs->threads_lock, NULL);
	r = fhandle_check(fs);
	if (r < 0)
		return r;
	handles_init(fs);
	return node_table_init(fs);
}

void fs_free(struct fs *fs)
{
	slots_clear(&fs->handles);
	node_table_free(fs);
}

static int add_thread(struct fs *fs)
{
	self = calloc(1, sizeof(*self));
	if (!self)
		return -ENOMEM;
	self->fs = fs;
	pthread_mutex_lock(&fs->threads_lock);
	self->next = fs->threads;
	fs->threads = self;
	pthread_mutex_unlock(&fs->threads_lock);
	return 0;
}

int fs_thread_start(struct fs *fs)
{
	/* From here on umask(2) and the working directory are the thread's. */
	if (unshare(CLONE_FS) < 0)
		return -errno;
	umask(0);
	if (fchdir(fs->proc_fd) < 0)
		return -errno;
	return add_thread(fs);
}

void fs_thread_end(void)
{
	struct fs_thread **p;
	struct fs *fs;

	if (!self)
		return;
	fs = self->fs;
	pthread_mutex_lock(&fs->threads_lock);
	p = &fs->threads;
	while (*p != self)
		p = &(*p)->next;
	*p = self->next;
	pthread_mutex_unlock(&fs->threads_lock);
	free(self);
	self = NULL;
}

void fs_thread_busy(bool busy)
{
	atomic_store_explicit(&self->busy, busy, memory_order_release);
}

static void wait_for_threads(struct fs *fs)
{
	pthread_mutex_lock(&fs->threads_lock);
	for (struct fs_thread *t = fs->threads; t; t = t->next) {
		while (atomic_load_explicit(&t->busy, memory_order_acquire))
			sched_yield();
	}
	pthread_mutex_unlock(&fs->threads_lock);
}

void *fs_scratch(unsigned idx)
{
	return self->scratch[idx];
}

int fs_fd_take(struct fs *fs)
{
	if (atomic_fetch_add_explicit(&fs->fd_cnt, 1, memory_order_relaxed) <
	    fs->opts.fd_limit)
		return 0;
	fs_fd_release(fs);
	return -EMFILE;
}

void fs_fd_release(struct fs *fs)
{
	atomic_fetch_sub_explicit(&fs->fd_cnt, 1, memory_order_relaxed);
}

struct fd_name fs_fd_name(int fd)
{
	struct fd_name name;

	snprintf(name.s, sizeof(name.s), "%d", fd);
	return name;
}

int fs_reopen(const struct fs *fs, int path_fd, mode_t type, int flags)
{
	struct fd_name name = fs_fd_name(path_fd);
	int fd;

	if (type == S_IFLNK)
		return -ELOOP;
	if (type != S_IFREG && type != S_IFDIR)
		return -ENXIO;
	flags &= ~(O_CREAT | O_EXCL | O_NOFOLLOW);
	fd = openat(fs->proc_fd, name.s, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

void fs_on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
	stats_count(FUSE_FORGET, false);
	node_forget(userdata, nodeid, nlookup);
}

void fs_on_interrupt(struct virtiofs_req *req, void *userdata)
{
	block_interrupt(req);
}

/* The session ended: what the guest knew is gone. */
void fs_on_reset(void *userdata)
{
	struct fs *fs = userdata;
	int r;

	wait_for_threads(fs);
	slots_clear(&fs->handles);
	r = node_table_reset(fs);
	if (r < 0)
		log_err("can't serve the root again: %s", strerror(-r));
	atomic_store(&fs->agreed, 0);
}
