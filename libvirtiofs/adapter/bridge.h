/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_ADAPTER_BRIDGE_H
#define VTFS_ADAPTER_BRIDGE_H
/*
 * /dev/fuse on one side, a client's request queues on the other.
 *
 * Theory of operation
 *
 * Each request queue has a thread of the caller's and a clone of /dev/fuse of
 * its own; a clone is answered by the thread that read from it. A frame is read
 * into memory that the device sees (b->region), so that the bytes of a WRITE
 * are where they are wanted, and a READ's reply is written to /dev/fuse from
 * where the device has put it. Frames of up to VIRTIOFS_OP_ARG_MAX bytes are
 * copied into the op, and small replies have a cell; so only what has much
 * data holds a buffer while it is in flight.
 *
 * A buffer is a page, of which the last BRIDGE_HEAD bytes are the headers of a
 * WRITE, then its data on a page of its own, and a page for the reply to a
 * large frame. The first free buffer of a queue is where the next frame is
 * read to, so one always stays free. The kernel gives INTERRUPTs first, but
 * nobody can see what is next without taking it: a queue whose slots are all in
 * use reads on until it has a request in its hands that it can't pass. That one
 * is parked, and then the queue does not read: other queues do, or the kernel
 * keeps the rest.
 *
 * user_data of an op is the kernel's unique: an INTERRUPT, which any thread may
 * read, finds its target by it. A target that was read and not submitted yet
 * by another thread is unknown; then the kernel is told EAGAIN and sends the
 * INTERRUPT again. Only the clone that read the target takes that answer, so
 * it is given to all.
 *
 * A NOTIFY_REPLY has the number that the server gave it, which may be any: it
 * is listed under one of its own, with a bit that the kernel's numbers have
 * not.
 *
 * The region belongs to the client: what is in flight when the bridge goes is
 * the device's until the client goes.
 *
 * What a frame says is taken from a private copy of its head: the device sees
 * the other one, and could change it.
 */
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/bridge.h>
#include <virtiofs/client.h>

#include "wire/fuse_ops.h"

#define BRIDGE_PAGE  4096u
#define BRIDGE_HEAD  80u  /* fuse_in_header and fuse_write_in */
#define BRIDGE_CELL  512u /* largest reply of a fixed size, and more */
#define BRIDGE_BUFS  65u  /* per queue, at most: one is for reading */
#define BRIDGE_NONE  UINT32_MAX
#define BRIDGE_BATCH 32u
#define BRIDGE_REPLY (1ULL << 62) /* in the number of a NOTIFY_REPLY */

/* A frame: a private copy of its beginning, and where the rest is. */
struct vtfs_bridge_frame {
	struct fuse_in_header h;
	unsigned char arg[128]; /* more than any fixed arguments */
	unsigned char *at;
	uint32_t len;
	const struct vtfs_fuse_op *kind; /* NULL: newer than we are */
	uint32_t fixed;			 /* bytes of fixed arguments */
};

/* A request in flight. */
struct vtfs_bridge_req {
	uint64_t unique;
	uint32_t next; /* with the same hash, or free */
	uint32_t buf;  /* BRIDGE_NONE: none */
	bool answered; /* its time was up; the device still has it */
	struct iovec data, room;
};

/* owner: the thread in run */
struct vtfs_bridge_queue {
	struct virtiofs_bridge *b;
	struct virtiofs_cliq *cliq;
	struct virtiofs_op *op; /* got, for the next frame */
	unsigned index;
	int fuse_fd; /* read by any */
	int ep_fd;
	bool full;	 /* fuse_fd is not watched for frames */
	unsigned staged; /* ops to submit */
	unsigned char *cells, *bufs;
	uint32_t *free_bufs;
	uint32_t free_buf_cnt;
	struct vtfs_bridge_frame parked; /* if is_parked */
	uint32_t parked_buf;
	bool is_parked;
	struct vtfs_bridge_req *reqs;
	uint64_t replies; /* NOTIFY_REPLYs that were passed */
	uint32_t free_req;
	uint32_t *heads; /* of lists by hash */
	uint32_t hash_mask;
};

struct virtiofs_bridge {
	struct virtiofs_client *c;
	struct virtiofs_bridge_opts opts;
	struct virtiofs_region region;
	struct vtfs_bridge_queue *queues;
	unsigned queue_cnt;
	uint32_t slots;	  /* of a queue */
	uint32_t bufs;	  /* of a queue */
	uint32_t payload; /* bytes of the largest WRITE or READ */
	size_t buf_len;
	struct vtfs_fuse_proto proto;
	uint64_t init_unique; /* 0: no INIT came */
	struct fuse_init_out init_out;
	int stop_fd;
	int end;	  /* any, atomic: 1, or why it stopped */
	uint32_t hearing; /* any, atomic: a thread passes notifications on */
	int gone_fd;	  /* it does no more */
	int note_ep_fd;	  /* what it sleeps on */
	bool note_taken;  /* where the client's queue is watched */
};

/* bridge_notify.c */
/* Does the device say anything, and the client pass it on to a bridge? */
bool vtfs_bridge_hears(const struct virtiofs_bridge *b);
int vtfs_bridge_notify_open(struct virtiofs_bridge *b);
void vtfs_bridge_notify_close(struct virtiofs_bridge *b);
/* Until the end, which it returns. */
int vtfs_bridge_hear(struct virtiofs_bridge *b);

/* bridge_init.c: the kernel's INIT to the server; */
int vtfs_bridge_init(struct virtiofs_bridge *b, int fuse_fd);
/* and the answer back, once all is ready for what follows. */
int vtfs_bridge_init_answer(struct virtiofs_bridge *b, int fuse_fd, int error);

/* bridge_frame.c */
/* Read frames and stage them; those for hiprio are sent. 0, or the end: 1
 * unmounted, or -errno. */
int vtfs_bridge_take(struct vtfs_bridge_queue *q);
/* Answer what the device has answered; true: perhaps there is more. */
bool vtfs_bridge_give(struct vtfs_bridge_queue *q);
/* One reply to /dev/fuse. */
int vtfs_bridge_answer(int fuse_fd, uint64_t unique, int error,
		       const struct iovec *room);
/* All that can be answered is; ops that were got are dropped. */
void vtfs_bridge_drop(struct vtfs_bridge_queue *q);
/* May it read one more frame? */
bool vtfs_bridge_has_room(struct vtfs_bridge_queue *q);
#endif
