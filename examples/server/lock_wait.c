/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. A thread waits in fcntl(2) or flock(2) itself, so the
 * kernel's queue of waiters is the queue.
 */
#include "lock_wait.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "block.h"
#include "handle.h"
#include "lock_owner.h"
#include "stats.h"

#define STACK_SIZE (256u << 10)

struct waiter {
	struct lock_wait pub; /* first: freed as such */
	struct fs *fs;
	struct lock_gate *gate;
	struct lock_job job;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gone = PTHREAD_COND_INITIALIZER;
static unsigned threads; /* under lock */

static int take(const struct lock_job *job, bool wait)
{
	struct flock f = job->flock;
	int r;

	if (job->handle)
		r = flock(job->handle->fd,
			  job->flock_op | (wait ? 0 : LOCK_NB));
	else
		r = fcntl(job->owner->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK,
			  &f);
	if (r == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

/* Who has it now, and by what. */
static void note_taken(const struct lock_job *job)
{
	const struct fuse_lk_in *in = job->req->arg;

	if (!job->owner || in->lk.type == F_UNLCK)
		return;
	job->owner->pid = in->lk.pid;
	job->owner->fh = in->fh;
}

static void drop_references(struct fs *fs, const struct lock_job *job)
{
	if (job->handle)
		handle_put(job->handle);
	if (job->owner) {
		lock_owner_put(job->node, job->owner);
		slots_put(&fs->nodes, job->node->id);
	}
}

static int wait_for(struct waiter *w)
{
	int r = block_enter(w->pub.req);

	if (r < 0)
		return r;
	do
		r = take(&w->job, true);
	while (r == -EINTR && !block_ended());
	block_leave();
	return r;
}

static void count_threads(int more)
{
	pthread_mutex_lock(&lock);
	threads += (unsigned)more;
	if (threads == 0)
		pthread_cond_broadcast(&gone);
	pthread_mutex_unlock(&lock);
}

static void *wait_thread(void *arg)
{
	struct waiter *w = arg;

	w->pub.result = wait_for(w);
	if (w->pub.result == 0)
		note_taken(&w->job);
	drop_references(w->fs, &w->job);
	stats_count_wait(w->fs, w->pub.result < 0);
	atomic_fetch_sub(&w->gate->waiting, 1);
	w->gate->done(w->gate, &w->pub);
	count_threads(-1);
	return NULL;
}

static int spawn(struct waiter *w)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	count_threads(1);
	r = pthread_create(&thread, &attr, wait_thread, w);
	if (r)
		count_threads(-1);
	pthread_attr_destroy(&attr);
	return r ? -ENOLCK : 0;
}

static bool enter_gate(struct lock_gate *gate)
{
	if (!gate)
		return false;
	if (atomic_fetch_add(&gate->waiting, 1) < atomic_load(&gate->max))
		return true;
	atomic_fetch_sub(&gate->waiting, 1);
	return false;
}

static int start_wait(struct fs *fs, const struct lock_job *job)
{
	struct lock_gate *gate = job->req->user;
	struct waiter *w;
	int r;

	if (!enter_gate(gate))
		return -ENOLCK;
	w = calloc(1, sizeof(*w));
	r = w ? 0 : -ENOLCK;
	if (r == 0) {
		w->pub.req = job->req;
		w->fs = fs;
		w->gate = gate;
		w->job = *job;
		r = spawn(w);
	}
	if (r < 0) {
		free(w);
		atomic_fetch_sub(&gate->waiting, 1);
	}
	return r;
}

int lock_job_run(struct fs *fs, const struct lock_job *job, bool may_wait)
{
	int r = take(job, false);

	if (r == 0)
		note_taken(job);
	if (r == -EAGAIN && may_wait) {
		r = start_wait(fs, job);
		if (r == 0)
			return LOCK_WAITS;
	}
	drop_references(fs, job);
	return r;
}

void lock_wait_for_all(void)
{
	pthread_mutex_lock(&lock);
	while (threads > 0)
		pthread_cond_wait(&gone, &lock);
	pthread_mutex_unlock(&lock);
}
