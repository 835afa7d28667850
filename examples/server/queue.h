/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_QUEUE_H
#define SERVER_QUEUE_H
/*
 * One thread per virtqueue. It runs the requests itself, or hands them to
 * the pool, whose threads then reply.
 */
#include <pthread.h>
#include <stdbool.h>

#include "fs.h"
#include "lock.h"
#include "pool.h"

struct queue {
	struct lock_gate gate; /* first: the requests point to it */
	struct fs *fs;
	struct pool *pool; /* NULL: this thread does the work */
	struct virtiofs_devq *devq;
	pthread_t thread;
	bool started;
	int wake_fd; /* a lock wait has ended */
	pthread_mutex_t lock;
	struct lock_wait *ended; /* under lock */
};

/* Take queue number idx from dev and serve it, until the device stops. */
int queue_start(struct queue *q, struct virtiofs_device *dev, unsigned idx,
		struct fs *fs, struct pool *pool);
/* After virtiofs_device_stop() and block_stop(): join the thread. */
void queue_join(struct queue *q);
/* After lock_wait_for_all(). */
void queue_free(struct queue *q);

#endif
