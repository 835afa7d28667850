/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_BLOCK_H
#define CLIENT_BLOCK_H
/*
 * Blocks of registered memory: file data goes through them without a copy.
 * The peer can write to them at any time.
 */
#include <virtiofs/client.h>

#define BLOCK_CNT 64 /* in flight at most */
#define BLOCK_MAX (256u * 1024)

struct blocks {
	uint32_t size; /* of each */
	unsigned cnt;
	void *idle[BLOCK_CNT];
	struct virtiofs_region mem;
};

/* 0, also where the blocks are there already. The memory goes with c. */
int blocks_init(struct blocks *b, struct virtiofs_client *c, uint32_t size);
/* NULL: all are in use. */
void *block_get(struct blocks *b);
void block_put(struct blocks *b, void *block);

#endif
