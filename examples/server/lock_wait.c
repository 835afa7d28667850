/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. A thread waits in fcntl(2) or flock(2) itself, so the
 * kernel's queue of waiters is the queue. It is woken by a signal, whose
 * handler jumps out of the system call: a handler that returned would leave
 * the gap between the thread's last look at "cancelled" and the call, in
 * which a signal is lost. After the jump nobody knows whether the lock was
 * got; asking once more without waiting tells, since a lock that one has may
 * be taken again.
 */
#include "lock_wait.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "handle.h"
#include "lock_owner.h"
#include "log.h"

#define WAKE_SIGNAL SIGUSR2
#define STACK_SIZE  (256u << 10)

struct waiter {
	struct lock_wait pub; /* first: freed as such */
	struct fs *fs;
	struct lock_gate *gate;
	struct lock_job job;
	pthread_t thread;
	sigjmp_buf env;
	volatile sig_atomic_t armed;
	_Atomic bool cancelled;
	struct waiter *next; /* under waits.lock */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t gone;
	struct waiter *first;
	unsigned threads;
} waits = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .gone = PTHREAD_COND_INITIALIZER,
};

static __thread struct waiter *self;

static void on_wake(int sig)
{
	if (self && self->armed) {
		self->armed = 0;
		siglongjmp(self->env, 1);
	}
}

int lock_init(void)
{
	struct sigaction sa = {.sa_handler = on_wake};

	return sigaction(WAKE_SIGNAL, &sa, NULL) < 0 ? -errno : 0;
}

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
	volatile int r = -EINTR;

	if (sigsetjmp(w->env, 1) == 0) {
		w->armed = 1;
		atomic_signal_fence(memory_order_seq_cst);
		/* An INTERRUPT may have come before its request was listed. */
		if (!atomic_load(&w->cancelled) &&
		    !virtiofs_req_interrupted(w->pub.req))
			r = take(&w->job, true);
		w->armed = 0;
		if (r != -EINTR)
			return r;
	}
	r = take(&w->job, false);
	return r == -EAGAIN ? -EINTR : r;
}

static void unlist(struct waiter *w)
{
	struct waiter **p = &waits.first;

	pthread_mutex_lock(&waits.lock);
	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	pthread_mutex_unlock(&waits.lock);
}

static void *wait_thread(void *arg)
{
	struct waiter *w = arg;
	sigset_t set;

	self = w;
	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	w->pub.result = wait_for(w);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* Nobody signals us from here on. */
	unlist(w);
	if (w->pub.result == 0)
		note_taken(&w->job);
	drop_references(w->fs, &w->job);
	atomic_fetch_sub(&w->gate->waiting, 1);
	w->gate->done(w->gate, &w->pub);

	pthread_mutex_lock(&waits.lock);
	if (--waits.threads == 0)
		pthread_cond_broadcast(&waits.gone);
	pthread_mutex_unlock(&waits.lock);
	return NULL;
}

static int spawn(struct waiter *w)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	/* Under the lock, so that w is listed before it can end, and w->thread
	 * is set before anybody signals it. */
	pthread_mutex_lock(&waits.lock);
	r = pthread_create(&w->thread, &attr, wait_thread, w);
	if (r == 0) {
		w->next = waits.first;
		waits.first = w;
		waits.threads++;
	}
	pthread_mutex_unlock(&waits.lock);
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

static void cancel(struct waiter *w)
{
	atomic_store(&w->cancelled, true);
	pthread_kill(w->thread, WAKE_SIGNAL);
}

void lock_interrupt(struct fs *fs, struct virtiofs_req *req)
{
	pthread_mutex_lock(&waits.lock);
	for (struct waiter *w = waits.first; w; w = w->next) {
		if (w->pub.req == req)
			cancel(w);
	}
	pthread_mutex_unlock(&waits.lock);
}

unsigned lock_waiting(void)
{
	unsigned cnt = 0;

	pthread_mutex_lock(&waits.lock);
	for (struct waiter *w = waits.first; w; w = w->next)
		cnt++;
	pthread_mutex_unlock(&waits.lock);
	return cnt;
}

void lock_stop(struct fs *fs)
{
	pthread_mutex_lock(&waits.lock);
	for (struct waiter *w = waits.first; w; w = w->next)
		cancel(w);
	while (waits.threads > 0)
		pthread_cond_wait(&waits.gone, &waits.lock);
	pthread_mutex_unlock(&waits.lock);
}
