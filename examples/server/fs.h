/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_FS_H
#define SERVER_FS_H
/*
 * The file system behind the requests: what all operations share. Nothing
 * here knows queues or threads; a request comes in, and is replied to.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include <virtiofs/virtiofs.h>

#include "options.h"
#include "slots.h"

struct fs_thread;
struct node;

/* What was agreed with the client at FUSE_INIT. */
#define FS_ACL	      (1u << 0)
#define FS_SUPP_GROUP (1u << 1)
#define FS_SUBMOUNTS  (1u << 2)
#define FS_KILLPRIV   (1u << 3)

struct fs_opts {
	enum cache_mode cache;
	enum handles_mode handles;
	bool readonly;
	bool xattr;
	bool posix_acl;
	bool allow_direct_io;
	bool announce_submounts;
	bool readdirplus;
	bool killpriv_v2;
	bool preserve_noatime;
	bool check_permissions;
	bool in_order;	   /* what waits may hold up all after it */
	uint64_t fd_limit; /* descriptors that the guest may hold */
};

/* Nodes by what they are on the host. All fields: under lock. */
struct node_table {
	pthread_mutex_t lock;
	struct node **buckets;
	size_t bucket_cnt;
	size_t cnt;
	struct mount *mounts; /* under a lock of fhandle.c */
};

struct fs {
	struct fs_opts opts;
	int proc_fd;   /* /proc/self/fd; the working directory of all threads */
	int root_fd;   /* the shared directory, O_PATH */
	bool stopping; /* under a lock of block.c */
	uint32_t timeout; /* seconds that names and attributes keep */
	_Atomic uint32_t agreed;
	_Atomic uint64_t fd_cnt;
	_Atomic uint64_t waits_ended, waits_failed; /* for locks */
	pthread_mutex_t threads_lock;
	struct fs_thread *threads; /* under threads_lock */
	struct slots nodes;
	struct slots handles;
	struct node_table table;
};

int fs_init(struct fs *fs, const struct fs_opts *opts, int proc_fd,
	    int root_fd);
void fs_free(struct fs *fs);

/* Once in every thread that serves requests: an own umask and working
 * directory, and scratch memory. */
int fs_thread_start(struct fs *fs);
void fs_thread_end(void);
#define SCRATCH_SIZE (128u << 10)
/* Two pieces of SCRATCH_SIZE that are the calling thread's. */
void *fs_scratch(unsigned idx);
/* Around each request, replies included. */
void fs_thread_busy(bool busy);

/* Serve one request; always consumes it. */
int fs_request(struct fs *fs, struct virtiofs_req *req);

/* The device's callbacks; userdata is the fs. */
void fs_on_init(const struct fuse_init_in *in, struct fuse_init_out *out,
		void *userdata);
void fs_on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata);
void fs_on_interrupt(struct virtiofs_req *req, void *userdata);
void fs_on_reset(void *userdata);

static inline bool fs_agreed(const struct fs *fs, uint32_t bit)
{
	return atomic_load_explicit(&fs->agreed, memory_order_relaxed) & bit;
}

/* -EMFILE: the guest holds as many descriptors as it may. */
int fs_fd_take(struct fs *fs);
void fs_fd_release(struct fs *fs);

/* A descriptor's name in the working directory of the serving threads. */
struct fd_name {
	char s[12];
};
struct fd_name fs_fd_name(int fd);

/* Open for real what an O_PATH descriptor names; regular files and
 * directories only, anything else might block. */
int fs_reopen(const struct fs *fs, int path_fd, mode_t type, int flags);

#endif
