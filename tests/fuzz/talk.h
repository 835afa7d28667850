/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_TALK_H
#define TESTS_FUZZ_TALK_H
/*
 * What a guest says to the server: frames of the right shape with anything in
 * them, but for what the server has told: those numbers come back.
 */
#include "fuzz.h"
#include "wire/fuse_ops.h"

#define TALK_KNOWN 16u

struct talk {
	struct input *in;
	uint64_t unique;
	/* Told: nodes, handles; asked: requests that wait. */
	uint64_t nodes[TALK_KNOWN], fhs[TALK_KNOWN], waits[TALK_KNOWN];
	unsigned node_cnt, fh_cnt, wait_cnt;
};

void talk_node(struct talk *t, uint64_t nodeid);
/* A frame of op; its length. */
size_t talk_put(struct talk *t, const struct vtfs_fuse_op *op,
		unsigned char *p);
/* The reply to the last frame, in len bytes of room: as it has to be, and with
 * nothing from outside of the shared directory. */
void talk_hear(struct talk *t, const struct vtfs_fuse_op *op,
	       const unsigned char *room, size_t len);
#endif
