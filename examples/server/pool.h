/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_POOL_H
#define SERVER_POOL_H
/* Threads that share the requests of all queues. */
#include "fs.h"

struct pool;

int pool_new(struct pool **ret, struct fs *fs, unsigned threads);
void pool_add(struct pool *p, struct virtiofs_req *req);
/* Finishes what was added; nothing is added any more. NULL is fine. */
void pool_free(struct pool *p);

#endif
