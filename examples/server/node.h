/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_NODE_H
#define SERVER_NODE_H
/*
 * Theory of operation. A node is a file of the shared tree that the guest
 * looked up, known by (device, inode, mount): hard links are one node. It is
 * kept by an O_PATH descriptor, which also pins the inode number, or by a
 * file handle, which has the inode's generation in it. The guest's count of
 * lookups lives under the table's lock; at zero the node leaves the table,
 * and goes away with the last request that works on it. The root stays.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "fs.h"

struct fhandle;
struct lock_owner;

struct node {
	struct fs *fs;
	uint64_t id;
	uint64_t ino, mnt_id;
	uint32_t dev_major, dev_minor;
	mode_t type;
	int fd; /* -1: fh has it */
	struct fhandle *fh;
	struct mount *mount;
	uint64_t nlookup;  /* the guest's; under the table's lock */
	struct node *next; /* under the table's lock */
	pthread_mutex_t lock_owners_lock;
	struct lock_owner *lock_owners;
};

/* A node in use by a request, with a descriptor for it. */
struct node_ref {
	struct node *node;
	int fd; /* O_PATH */
};

/* -ESTALE: the guest doesn't know such a node. */
int node_get(struct fs *fs, uint64_t id, struct node_ref *ret);
void node_put(struct node_ref *ref);

/* The node of path_fd, which this takes over, looked up once more. parent
 * may be NULL; with it, a mount point is marked as such. */
int node_enter(struct fs *fs, int path_fd, const struct node_ref *parent,
	       struct fuse_entry_out *ret);
/* The same by name. */
int node_lookup(struct fs *fs, const struct node_ref *parent, const char *name,
		struct fuse_entry_out *ret);
void node_forget(struct fs *fs, uint64_t id, uint64_t nlookup);

int node_table_init(struct fs *fs);
/* All nodes but a fresh root. Nobody uses any. */
int node_table_reset(struct fs *fs);
void node_table_free(struct fs *fs);

/* Attributes as FUSE has them. */
int node_stat(int fd, struct statx *ret);
void node_attr(const struct statx *st, struct fuse_attr *ret);

/* O_PATH of one name in a directory; no link is followed, none can lead out. */
int node_open_child(int dir_fd, const char *name);

#endif
