/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_FUSE_INIT_H
#define VTFS_FUSE_INIT_H
/*
 * FUSE_INIT as the device answers it: versions, sizes, flags. No state.
 */
#include <stddef.h>
#include <stdint.h>

#include "wire/fuse_ops.h"

/* Older clients are refused: replies had other sizes then. */
#define VTFS_INIT_MINOR_MIN 27u
#define VTFS_INIT_PAGE	    4096u
/* Without FUSE_MAX_PAGES, a client sends that many. */
#define VTFS_INIT_PAGES_OLD 32u

/* What this device can take. */
struct vtfs_init_limits {
	uint32_t max_write; /* as configured */
	uint32_t max_pages; /* parts of bulk data that a chain can have */
	uint32_t max_background;
};

/* Pages of data in one request, if its chain may have max_parts parts and,
 * where direct is not 0, that many descriptors. */
uint32_t vtfs_init_pages(uint32_t max_write, uint32_t direct);

/* A client's version: 0 good; 1 newer major, say ours and wait for another
 * INIT; -EPROTO. */
int vtfs_init_check(const struct fuse_init_in *in);

/* The answer to in, before the program changes it. */
void vtfs_init_answer(const struct fuse_init_in *in,
		      const struct vtfs_init_limits *lim,
		      struct fuse_init_out *out);

/* After the program: nothing that the client did not offer, that a virtqueue
 * can't carry, or that is more than the limits. */
void vtfs_init_confine(const struct fuse_init_in *in,
		       const struct vtfs_init_limits *lim,
		       struct fuse_init_out *out);

/* What both ends agreed on. Data in one WRITE is at most ret_max_write. */
void vtfs_init_proto(const struct fuse_init_in *in,
		     const struct fuse_init_out *out,
		     struct vtfs_fuse_proto *ret_proto,
		     uint32_t *ret_max_write);
#endif
