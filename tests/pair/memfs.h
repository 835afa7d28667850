/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_PAIR_MEMFS_H
#define TESTS_PAIR_MEMFS_H
/*
 * A file system in memory behind the public device API, served by a thread of
 * its own. It counts what a client must keep right: lookups, handles, sessions.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/device.h>
#include <virtiofs/transport.h>

#define MEMFS_NODES 4096u
#define MEMFS_LOCKS 64u

struct memfs_node {
	bool used;
	uint32_t mode;
	uint32_t nlink;
	uint64_t parent;
	char name[64];
	uint64_t nlookup;
	unsigned char *data; /* or a link's target */
	size_t len, cap;
	char xattr[64]; /* the value of user.test */
	uint32_t xattr_len;
};

struct memfs {
	struct virtiofs_device *dev;
	pthread_t thread;
	struct memfs_node nodes[MEMFS_NODES];	 /* nodeid is the index */
	struct virtiofs_req *locks[MEMFS_LOCKS]; /* SETLKW that wait */
	unsigned lock_cnt;
	/* read by the test after memfs_stop, or as atomics */
	uint64_t handles;  /* open now */
	uint64_t forgets;  /* entries heard */
	uint64_t sessions; /* ended; what was left when the last did: */
	uint64_t left, left_handles;
	uint64_t requests;
	uint64_t lock_waits; /* SETLKW heard */
	uint32_t worst_room; /* largest room of a READ */
};

/* Owns t. opts may be NULL. */
struct memfs *memfs_start(struct virtiofs_transport *t,
			  const struct virtiofs_device_opts *opts);
/* Ends the thread, frees the device; the counts stay. */
void memfs_stop(struct memfs *m);
void memfs_free(struct memfs *m);
/* Lookups the client holds on all nodes but the root. */
uint64_t memfs_lookups(const struct memfs *m);

/* memfs_ops.c */
#define add(p, n) __atomic_add_fetch((p), (n), __ATOMIC_RELAXED)
struct memfs_node *memfs_node(struct memfs *m, uint64_t id);
int memfs_on_node(struct memfs *m, struct virtiofs_req *req,
		  struct memfs_node *n);
/* Gone once nothing looks at it and no name leads to it. */
void memfs_drop(struct memfs_node *n);
#endif
