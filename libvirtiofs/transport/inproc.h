/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_TRANSPORT_INPROC_H
#define VTFS_TRANSPORT_INPROC_H
/*
 * Both halves in one process.
 *
 * Theory of operation
 *
 * Each op of the client half is one call: put into the pair's only slot,
 * carried out by the device half's dispatch, answered in the same slot. The
 * lock covers the pair's fields and is never held while a sink runs. Each half
 * has an eventfd, which is written and cleared under the lock, so that it is
 * readable exactly while there is something for that half.
 *
 * state: IDLE -> POSTED (client) -> TAKEN (device) -> DONE (device) -> IDLE
 * (client). A client that gave up on a call and begins another one waits for
 * the first to be done; its result is dropped.
 *
 * Descriptors name bytes by the client's own addresses. Memory with a file is
 * mapped again by the device half; memory without one is used where it is, and
 * has to stay until the device half has unmapped it, has seen that the client
 * is gone, or is gone itself.
 */
#include <pthread.h>

#include "transport/transport.h"

enum vtfs_inproc_op {
	VTFS_INPROC_CONNECT,
	VTFS_INPROC_GET_FEATURES,
	VTFS_INPROC_SET_FEATURES,
	VTFS_INPROC_QUEUE_CNT,
	VTFS_INPROC_GET_CONFIG,
	VTFS_INPROC_GET_STATUS,
	VTFS_INPROC_SET_STATUS,
	VTFS_INPROC_MAP,
	VTFS_INPROC_UNMAP,
	VTFS_INPROC_START,
	VTFS_INPROC_STOP,
};

#define VTFS_INPROC_BYTES 256u /* of the config space at once */

struct vtfs_inproc_call {
	enum vtfs_inproc_op op;
	uint64_t arg; /* what tells two calls of one op apart */
	uint32_t len; /* GET_CONFIG: bytes at arg */
	struct vtfs_queue_setup queue;	/* START; fds are duplicates */
	struct vtfs_region_desc region; /* MAP; fd is a duplicate */
	/* Answer */
	int r;
	uint64_t ret;
	unsigned char bytes[VTFS_INPROC_BYTES];
};

struct vtfs_inproc {
	pthread_mutex_t lock;
	unsigned halves; /* alive */
	bool device_gone;
	bool client_gone;
	bool config_event; /* for the client half */
	enum {
		VTFS_INPROC_IDLE,
		VTFS_INPROC_POSTED,
		VTFS_INPROC_TAKEN,
		VTFS_INPROC_DONE,
	} state;
	struct vtfs_inproc_call call;
	int device_fd; /* eventfds */
	int client_fd;
};

int vtfs_inproc_device_new(struct virtiofs_transport **ret,
			   struct vtfs_inproc *pair);
int vtfs_inproc_client_new(struct virtiofs_transport **ret,
			   struct vtfs_inproc *pair);

/* What of a call has to be closed. With the lock held, or by its taker. */
void vtfs_inproc_call_close(struct vtfs_inproc_call *call);
/* A half goes; the last one frees. With the lock held, which is given up. */
void vtfs_inproc_unlock_put(struct vtfs_inproc *pair);
#endif
