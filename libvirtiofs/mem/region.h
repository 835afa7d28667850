/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_MEM_REGION_H
#define VTFS_MEM_REGION_H
/*
 * Theory of operation
 *
 * A region is one piece of memory that both ends see, mapped here once. It is
 * immutable after vtfs_region_new(). References are held by tables and by
 * whoever still lends its bytes out; the mapping goes with the last one.
 *
 * Every live region of one device has an id of its own below VTFS_REGION_MAX,
 * so that a queue can count requests per region in a plain array. A region
 * that comes again with the same file, offset, length and addresses is the
 * same region: vtfs_region_same().
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vtfs_fault_slot;

#define VTFS_REGION_MAX 512u

/* How to find the bytes, as a peer (or our own caller) says it. */
struct vtfs_region_desc {
	uint64_t peer_addr; /* what descriptors name */
	uint64_t user_addr; /* what vhost-user's ring addresses name */
	uint64_t len;
	uint64_t fd_offset;
	int fd; /* -1: addr is used as it is, not mapped */
	void *addr;
	/* The kernel gave fd: it may be an anonymous inode, whose size can't be
	 * known. */
	bool anon;
};

struct vtfs_region {
	uint64_t peer_addr;
	uint64_t user_addr;
	uint64_t len;
	unsigned char *addr; /* first byte, in this process */
	uint16_t id;
	uint32_t refs; /* atomic */
	void *map;     /* what munmap gets; NULL: not ours */
	size_t map_len;
	dev_t dev; /* of the file, with fd_offset: identity */
	ino_t ino;
	uint64_t fd_offset;
	bool anon;		       /* no file of its own: like no other */
	struct vtfs_fault_slot *fault; /* NULL: not mapped by us */
};

/* Maps fd (which stays the caller's) for reading and writing. -EINVAL: lengths
 * that wrap, are zero, or reach beyond the file's end, or not a regular file
 * (memfd, shm, tmpfs, hugetlbfs) nor a permitted anonymous one; -errno of mmap.
 * fd_offset needs no alignment. The region is entered into what
 * virtiofs_memory_fault() knows. */
int vtfs_region_new(struct vtfs_region **ret, const struct vtfs_region_desc *d,
		    uint16_t id);
struct vtfs_region *vtfs_region_get(struct vtfs_region *r);
void vtfs_region_put(struct vtfs_region *r);

/* Would this desc give the same bytes at the same addresses? Never true for a
 * region that faulted. */
bool vtfs_region_same(const struct vtfs_region *r,
		      const struct vtfs_region_desc *d);

/* A page of it was taken back by the peer and replaced with zeroes (the
 * SIGBUS path); read by the owner's next entry, which fails that peer. */
bool vtfs_region_faulted(const struct vtfs_region *r);
#endif
