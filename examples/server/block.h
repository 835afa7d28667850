/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_BLOCK_H
#define SERVER_BLOCK_H
/*
 * System calls that may take for ever, for a request whose client can lose
 * patience: from block_enter() to block_leave() they end with EINTR once it
 * has.
 */
#include <stdbool.h>

#include <virtiofs/virtiofs.h>

struct fs;

/* Once per process: the signal that ends them. */
int block_init(void);

/* In the calling thread. -EINTR: the client has lost patience already. */
int block_enter(struct virtiofs_req *req);
/* After EINTR: was it meant so? */
bool block_ended(void);
void block_leave(void);

/* The peer gave up on req, or its queue stops. From any thread. */
void block_interrupt(struct virtiofs_req *req);
/* The device stops: no request of fs blocks any more. */
void block_stop(struct fs *fs);
/* How many threads block now. */
unsigned block_count(void);

#endif
