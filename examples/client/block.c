/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "block.h"

int blocks_init(struct blocks *b, struct virtiofs_client *c, uint32_t size)
{
	unsigned i;
	int r;

	if (b->size)
		return 0;
	b->mem.size = sizeof(b->mem);
	r = virtiofs_client_alloc_region(c, (size_t)BLOCK_CNT * size, &b->mem);
	if (r < 0)
		return r;
	b->size = size;
	for (i = 0; i < BLOCK_CNT; i++)
		b->idle[i] = (char *)b->mem.addr + (size_t)i * size;
	b->cnt = BLOCK_CNT;
	return 0;
}

void *block_get(struct blocks *b)
{
	return b->cnt ? b->idle[--b->cnt] : NULL;
}

void block_put(struct blocks *b, void *block)
{
	if (block)
		b->idle[b->cnt++] = block;
}
