/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation. A thread that blocks is listed, and has the wake signal
 * unblocked. Its handler does nothing: the system call ends with EINTR. A
 * signal that comes before the call is lost, therefore whoever ends it doesn't
 * send one but starts a timer that sends it to that thread, again and again,
 * until the thread leaves the list.
 */
#include "block.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs.h"
#include "log.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define WAKE_SIGNAL SIGUSR2
#define WAKE_NS	    5000000

struct blocked {
	struct virtiofs_req *req;
	pid_t tid;
	_Atomic bool ended;
	timer_t timer; /* all below: under the lock */
	bool has_timer;
	struct blocked *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct blocked *all; /* under lock */
static __thread struct blocked self;

static void on_wake(int sig)
{
}

int block_init(void)
{
	/* No SA_RESTART. */
	struct sigaction sa = {.sa_handler = on_wake};

	return sigaction(WAKE_SIGNAL, &sa, NULL) < 0 ? -errno : 0;
}

static void let_wake(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);
	pthread_sigmask(how, &set, NULL);
}

/* Called with the lock. */
static void end(struct blocked *b)
{
	const struct itimerspec soon = {
	    .it_value = {.tv_nsec = 1},
	    .it_interval = {.tv_nsec = WAKE_NS},
	};
	struct sigevent ev = {
	    .sigev_notify = SIGEV_THREAD_ID,
	    .sigev_signo = WAKE_SIGNAL,
	};

	atomic_store(&b->ended, true);
	if (b->has_timer)
		return;
	ev.sigev_notify_thread_id = b->tid;
	if (timer_create(CLOCK_MONOTONIC, &ev, &b->timer) < 0) {
		log_err("can't end a request: %s", strerror(errno));
		return;
	}
	b->has_timer = true;
	timer_settime(b->timer, 0, &soon, NULL);
}

int block_enter(struct virtiofs_req *req)
{
	const struct fs *fs = req->userdata;

	self.req = req;
	self.tid = gettid();
	self.has_timer = false;
	pthread_mutex_lock(&lock);
	atomic_store(&self.ended, fs->stopping);
	self.next = all;
	all = &self;
	pthread_mutex_unlock(&lock);
	let_wake(SIG_UNBLOCK);
	/* An INTERRUPT may have come before its request was listed. */
	if (!block_ended() && !virtiofs_req_interrupted(req))
		return 0;
	block_leave();
	return -EINTR;
}

bool block_ended(void)
{
	return atomic_load(&self.ended);
}

void block_leave(void)
{
	struct blocked **p = &all;

	pthread_mutex_lock(&lock);
	while (*p != &self)
		p = &(*p)->next;
	*p = self.next;
	pthread_mutex_unlock(&lock);
	/* Nobody else knows of it from here on. */
	if (self.has_timer)
		timer_delete(self.timer);
	let_wake(SIG_BLOCK);
}

void block_interrupt(struct virtiofs_req *req)
{
	pthread_mutex_lock(&lock);
	for (struct blocked *b = all; b; b = b->next) {
		if (b->req == req)
			end(b);
	}
	pthread_mutex_unlock(&lock);
}

void block_stop(struct fs *fs)
{
	pthread_mutex_lock(&lock);
	fs->stopping = true;
	for (struct blocked *b = all; b; b = b->next) {
		if (b->req->userdata == fs)
			end(b);
	}
	pthread_mutex_unlock(&lock);
}

unsigned block_count(void)
{
	unsigned cnt = 0;

	pthread_mutex_lock(&lock);
	for (struct blocked *b = all; b; b = b->next)
		cnt++;
	pthread_mutex_unlock(&lock);
	return cnt;
}
