/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "queue.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "log.h"
#include "stats.h"

/* Few enough that the first reply of a batch doesn't wait long for the last. */
#define BATCH 16

/* From a waiter's thread. Without SHARED_REPLY only the queue's thread may
 * reply. */
static void hand_over(struct lock_gate *gate, struct lock_wait *w)
{
	struct queue *q = (struct queue *)gate;
	uint64_t one = 1;

	pthread_mutex_lock(&q->lock);
	w->next = q->ended;
	q->ended = w;
	pthread_mutex_unlock(&q->lock);
	if (write(q->wake_fd, &one, sizeof(one)) < 0)
		log_err("can't wake a queue: %s", strerror(errno));
}

static void reply_wait(struct lock_gate *gate, struct lock_wait *w)
{
	virtiofs_req_error(w->req, w->result);
	free(w);
}

static void reply_ended_waits(struct queue *q)
{
	struct lock_wait *w, *next;
	uint64_t cnt;

	if (read(q->wake_fd, &cnt, sizeof(cnt)) < 0)
		return;
	pthread_mutex_lock(&q->lock);
	w = q->ended;
	q->ended = NULL;
	pthread_mutex_unlock(&q->lock);
	for (; w; w = next) {
		next = w->next;
		reply_wait(&q->gate, w);
	}
	virtiofs_devq_flush(q->devq);
}

/* At most an eighth of the ring may wait for locks: the unlock must fit. Nobody
 * may where whoever has the lock could wait for a reply behind it. */
static void set_gate(struct queue *q)
{
	unsigned size = virtiofs_devq_size(q->devq);
	unsigned max = size < 16 ? 1 : size / 8;

	if (q->fs->opts.in_order)
		max = 0;
	if (atomic_load_explicit(&q->gate.max, memory_order_relaxed) != max)
		atomic_store_explicit(&q->gate.max, max, memory_order_relaxed);
}

static void serve(struct queue *q, struct virtiofs_req **reqs, int n)
{
	set_gate(q);
	for (int i = 0; i < n; i++) {
		reqs[i]->user = &q->gate;
		if (q->pool)
			pool_add(q->pool, reqs[i]);
		else
			fs_request(q->fs, reqs[i]);
	}
	virtiofs_devq_flush(q->devq);
}

static void sleep_on(struct queue *q)
{
	struct pollfd fds[2] = {
	    {.fd = virtiofs_devq_fd(q->devq), .events = POLLIN},
	    {.fd = q->wake_fd, .events = POLLIN},
	};

	if (poll(fds, 2, -1) > 0 && (fds[1].revents & POLLIN))
		reply_ended_waits(q);
}

static void *queue_thread(void *arg)
{
	struct virtiofs_req *reqs[BATCH];
	struct queue *q = arg;
	int n, r;

	r = fs_thread_start(q->fs);
	if (r < 0) {
		log_err("can't start a queue's thread: %s", strerror(-r));
		exit(1);
	}
	stats_thread_start(q->fs);
	for (;;) {
		n = virtiofs_devq_pop(q->devq, reqs, BATCH);
		if (n == -ESHUTDOWN)
			break;
		if (n > 0)
			serve(q, reqs, n);
		else if (virtiofs_devq_arm(q->devq) != 1)
			sleep_on(q);
	}
	fs_thread_end();
	return NULL;
}

int queue_start(struct queue *q, struct virtiofs_device *dev, unsigned idx,
		struct fs *fs, struct pool *pool)
{
	uint32_t flags = pool ? VIRTIOFS_DEVQ_SHARED_REPLY : 0;
	int r;

	memset(q, 0, sizeof(*q));
	q->fs = fs;
	q->pool = pool;
	q->gate.done = pool ? reply_wait : hand_over;
	pthread_mutex_init(&q->lock, NULL);
	q->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->wake_fd < 0)
		return -errno;
	r = virtiofs_device_take_queue(dev, idx, flags, &q->devq);
	if (r < 0)
		return r;
	r = pthread_create(&q->thread, NULL, queue_thread, q);
	q->started = r == 0;
	return -r;
}

void queue_join(struct queue *q)
{
	if (q->started)
		pthread_join(q->thread, NULL);
	q->started = false;
}

void queue_free(struct queue *q)
{
	if (q->wake_fd < 0)
		return;
	reply_ended_waits(q);
	close(q->wake_fd);
	if (q->devq)
		virtiofs_devq_release(q->devq);
	pthread_mutex_destroy(&q->lock);
}
