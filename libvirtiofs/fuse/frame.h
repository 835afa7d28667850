/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_FUSE_FRAME_H
#define VTFS_FUSE_FRAME_H
/*
 * Theory of operation
 *
 * The device's view of one chain as one FUSE request. The chain's parts lie in
 * memory that the peer changes at will, so header, arguments, names and
 * extensions are copied into the slot once and judged there; what stays
 * outside (bulk input, room for the reply) is passed on as iovecs and never
 * looked at. How the peer cut the frame into descriptors is of no matter.
 *
 * A reply writes its data first and its header next; the ring tells the peer
 * afterwards. The first 16 writable bytes are the header's, however many parts
 * they lie in.
 */
#include "fuse/slot.h"
#include "vq/vq.h"

#define VTFS_OUT_LEN ((uint32_t)sizeof(struct fuse_out_header))

/* How to judge: what this session agreed on. */
struct vtfs_frame_rules {
	struct vtfs_fuse_proto proto;
	uint32_t max_write;
	bool raw; /* SETXATTR's arguments as sent */
};

/* A chain that nothing is known of: no request, no reply. head does it too. */
void vtfs_frame_reset(struct vtfs_slot *s);
/*
 * The 40 bytes of header, loaded once, and where a reply's header goes. 0: go
 * on with body. 1: s->verdict says how it ends, ERROR or DROP.
 */
int vtfs_frame_head(struct vtfs_slot *s, const struct vtfs_chain *chain);
/*
 * The rest; sets s->verdict. -EAGAIN: a block is needed and none is left; call
 * again with the same chain, whose arrays are the ring's until the next pop.
 */
int vtfs_frame_body(struct vtfs_slots *t, struct vtfs_slot *s,
		    const struct vtfs_chain *chain,
		    const struct vtfs_frame_rules *rules);

/* Answer s with an error, 0 or -511..-1, and no data. Sets s->used_len. */
void vtfs_frame_error(struct vtfs_slot *s, int error);
/* Answer with len bytes that stand in room already. */
void vtfs_frame_filled(struct vtfs_slot *s, uint32_t len);
/* Answer with data; -EMSGSIZE: it does not fit, nothing was written. */
int vtfs_frame_reply(struct vtfs_slot *s, const struct iovec *iov,
		     unsigned cnt);
#endif
