/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_FUSE_REPLY_H
#define VTFS_FUSE_REPLY_H
/*
 * FUSE frames as a client makes and judges them. No state, no shared memory:
 * callers pass private copies.
 */
#include <stdint.h>

#include "wire/fuse_ops.h"

/*
 * uniques: bit 0 is INTERRUPT's, bit 63 means "sent again", 0 is a
 * notification. Bits 48 to 62 name the queue, so queues share no counter;
 * 1 to 47 count.
 */
#define VTFS_UNIQUE_INTERRUPT 1ULL
#define VTFS_UNIQUE_SEQ_BITS  47

static inline uint64_t vtfs_unique_next(uint64_t *seq, unsigned queue)
{
	*seq = (*seq + 1) & ((1ULL << VTFS_UNIQUE_SEQ_BITS) - 1);
	if (!*seq)
		*seq = 1;
	return (uint64_t)queue << (VTFS_UNIQUE_SEQ_BITS + 1) | *seq << 1;
}

/* What a request said about its reply, settled when it is sent. */
struct vtfs_expect {
	uint64_t unique;
	uint64_t min;	/* bytes after the header, without an error */
	uint64_t max;	/* the room, or less */
	uint8_t answer; /* enum vtfs_fuse_answer */
};

/* len bytes were used, or VTFS_VQ_LEN_UNKNOWN; head is a copy of the first 16
 * (only if len >= 16). Bytes after the header; or the server's error, -1 to
 * -511, in *ret_error; or -EPROTO with a text. */
int64_t vtfs_reply_check(const struct fuse_out_header *head, uint32_t len,
			 const struct vtfs_expect *want, int32_t *ret_error);

#define VTFS_FUSE_MINOR_MAX	45u
#define VTFS_FUSE_MINOR_MIN	27u
#define VTFS_FUSE_PAGE		4096u
#define VTFS_FUSE_PAGES_MAX	256u /* 1 MiB, as servers' own limits */
#define VTFS_FUSE_PAGES_DEFAULT 32u  /* without FUSE_MAX_PAGES */

/* What INIT settled, for a client. */
struct vtfs_init {
	struct vtfs_fuse_proto proto;
	uint32_t max_write;
	uint32_t max_pages;
};

/* flags: all 64 bits to ask for. */
void vtfs_init_request(struct fuse_init_in *in, uint64_t flags);
/* Judge and clean up a reply to it: out holds len bytes, and is completed with
 * zeroes, and loses what nobody asked for. queue_size bounds max_pages.
 * -EPROTO with a text. */
int vtfs_init_reply(struct fuse_init_out *out, uint32_t len,
		    const struct fuse_init_in *in, uint32_t queue_size,
		    struct vtfs_init *ret);
#endif
