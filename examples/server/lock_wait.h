/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_LOCK_WAIT_H
#define SERVER_LOCK_WAIT_H
/* One lock to take, now or after a wait. */
#include <fcntl.h>
#include <stdint.h>

#include "lock.h"

struct handle;
struct lock_owner;

/* By handle with flock_op, else by owner (of the node) with flock. */
struct lock_job {
	struct virtiofs_req *req;
	struct handle *handle;
	struct lock_owner *owner;
	struct node *node; /* of the owner; a reference */
	struct flock flock;
	int flock_op;
};

#define LOCK_WAITS 1

/* Consumes the job's references. LOCK_WAITS: a thread has taken the request
 * over. -ENOLCK: as many wait as may. */
int lock_job_run(struct fs *fs, const struct lock_job *job, bool may_wait);

#endif
