/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_DEVICE_H
#define SERVER_DEVICE_H
/*
 * One socket's device. Devices have the directory in common, and nothing else:
 * each has nodes, open files and threads of its own, so that what one guest
 * does, or its front-end fails to do, holds up no other. Their locks meet on
 * the host.
 */
#include <pthread.h>
#include <stdbool.h>

#include "fs.h"
#include "options.h"

struct pool;
struct queue;

struct device {
	const char *name; /* of its socket; NULL: there is only one */
	struct fs fs;
	struct pool *pool;
	struct virtiofs_device *dev;
	struct queue *queues; /* hiprio, then the request queues */
	unsigned queue_cnt;
	pthread_t thread; /* speaks with the front-end */
	bool started;
	bool connected; /* to the one front-end there will be */
	int ended_fd;	/* an eventfd of all devices: the thread is about to end
			 */
	_Atomic int result; /* of the thread */
};

/* One listener's device, once its file system is there. It serves when this
 * returns. Negative: said why. */
struct listener;
int device_start(struct device *d, const struct options *o, unsigned idx,
		 struct listener *l);
/* No request is waited for any more. */
void device_stop(struct device *d);
/* After device_stop() of all: no thread is left. */
void device_join(struct device *d);
void device_print_stats(const struct device *d);
/* After lock_wait_for_all(). */
void device_free(struct device *d);

#endif
