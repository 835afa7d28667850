/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_IO_H
#define CLIENT_IO_H
/*
 * Requests in flight: every queue of the client is taken, requests are
 * submitted in batches and their ends are told by callbacks.
 *
 * One thread. Callbacks run inside io_run() and io_call() only; they may start
 * requests, and must not call io_run() or io_call().
 */
#include <stdbool.h>
#include <virtiofs/ops.h>

#define IO_JOBS	     32	   /* files, or names, at once */
#define IO_REPLY_MAX 4096u /* rq->reply */
#define IO_TEXT_MAX  4097u /* a symbolic link's target and NUL */

struct io;

/* From io_get(): fill op by a virtiofs_prep_NAME(), set done, start. */
struct io_req {
	struct virtiofs_op op;
	void (*done)(struct io_req *rq);
	void *owner;
	/* Shared with the peer, which may write to it at any time: copy what
	 * came, then look at the copy. */
	void *reply;
	void *text; /* IO_TEXT_MAX bytes to send from */
	struct iovec room, data;
	int error; /* valid in done() */
	uint32_t len;
	/* What the owner keeps by it. */
	void *block;
	uint64_t offset;
	uint32_t want;
	/* io.c only */
	struct io *io;
	struct io_req *next, *prev;
	unsigned queue;
	bool finished;
	unsigned char arg[VIRTIOFS_OP_ARG_MAX];
};

/* timeout_ms: without any answer for so long the peer counts as dead; 0: wait.
 * Takes all queues of c. */
int io_new(struct io **ret, struct virtiofs_client *c, uint32_t timeout_ms);
void io_free(struct io *io);

/* Never NULL: callers keep to IO_JOBS and BLOCK_CNT. */
struct io_req *io_get(struct io *io);
void io_put(struct io_req *rq);
/* Room for a reply of this size, in rq->reply; for the prep functions. */
const struct iovec *io_room(struct io_req *rq, size_t size);
/* In done(): the reply, if it is one of this size. 0, or why it is not. */
static inline int io_reply(const struct io_req *rq, void *ret, size_t size)
{
	if (rq->error)
		return rq->error;
	memcpy(ret, rq->reply, size);
	return rq->len == size ? 0 : -EPROTO;
}
/* Goes out with the next io_run(); always ends in done(), never from here. */
void io_start(struct io_req *rq);
/* Report what has ended, or sleep until something might have. */
void io_run(struct io *io);
/* Start, wait, copy up to size bytes of the reply, put. Bytes, or -errno. */
ssize_t io_call(struct io_req *rq, void *buf, size_t size);

/* 0, or why nothing can be asked any more. */
int io_dead(const struct io *io);

#endif
