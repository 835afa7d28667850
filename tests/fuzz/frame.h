/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_FRAME_H
#define TESTS_FUZZ_FRAME_H
/* Requests of the right shape, with anything in them. */
#include "fuzz.h"
#include "wire/fuse_ops.h"

/* A byte's opcode: those of hiprio, and those that wait, more often than the
 * others. Never INIT. */
const struct vtfs_fuse_op *frame_op(uint8_t code);

/* At most max bytes at p, of which 256 are enough for all but bulk data; the
 * length. An INTERRUPT is meant for one of the uniques before. */
size_t frame_put(struct input *in, const struct vtfs_fuse_op *op,
		 uint64_t unique, unsigned char *p, size_t max);

/* An INIT that asks for all there is, its length, and room for its reply. */
struct frame_init {
	struct fuse_in_header head;
	struct fuse_init_in init;
};
struct frame_init frame_init(uint64_t unique);
#define FRAME_INIT_ROOM                                                        \
	(sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out))
#endif
