/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_FUSE_FORGETS_H
#define VTFS_FUSE_FORGETS_H
/*
 * Lookup counts that wait to be given back, merged by nodeid.
 *
 * Theory of operation
 *
 * A hash table with open addressing and linear probing, at most three quarters
 * full. A count of 0 marks an empty place, so removal moves up what a search
 * would otherwise miss. Memory grows with the nodes that wait, not with calls.
 */
#include <stddef.h>
#include <stdint.h>

#include <virtiofs/fuse_kernel.h>

struct vtfs_forgets { /* zeroed: empty */
	struct fuse_forget_one *tab;
	size_t cap, cnt; /* cap: a power of two, or 0 */
};

/* count is not 0. -ENOMEM, or -EINVAL: the sum is above 2^64; not added. */
int vtfs_forgets_add(struct vtfs_forgets *f, uint64_t nodeid, uint64_t count);
/* Up to max of them, taken out. Their number. */
uint32_t vtfs_forgets_take(struct vtfs_forgets *f, struct fuse_forget_one *to,
			   size_t max);
void vtfs_forgets_clear(struct vtfs_forgets *f);
void vtfs_forgets_free(struct vtfs_forgets *f);
#endif
