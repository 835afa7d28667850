/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A request is in exactly one place: free list, waiting (no slot in any
 * queue), in flight (a queue has its op), failed (to be told without having
 * been sent), or with its owner, between io_get() and io_start() or in done().
 *
 * Once the peer is lost, silent for too long, or a fault of its breaks a
 * queue, the whole engine is dead: all that waits or flies ends with that
 * error, and so does everything started later. The memory is never used
 * again, so that an answer that comes after all harms nobody.
 */
#include "io.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "clock.h"
#include "progress.h"
#include "stop.h"

#define REQ_CNT	 (BLOCK_CNT + 2 * IO_JOBS + 16)
#define REQ_MEM	 (IO_REPLY_MAX + 2 * 4096u) /* reply, then text */
#define REAP_CNT 32
#define GRACE_MS 3000 /* for cleaning up after a signal */

struct queue {
	struct virtiofs_cliq *q;
	unsigned in_flight;
	bool dirty; /* ops got since the last submit */
};

struct io {
	struct virtiofs_client *c;
	struct queue *queues;
	unsigned queue_cnt;
	uint32_t timeout_ms;
	int dead;
	bool suspect;	   /* a lost peer, or a server's own -ENOTCONN */
	uint64_t heard_ms; /* when the peer last answered */
	uint64_t stop_ms;  /* when a signal was seen; 0: none */
	unsigned in_flight;
	struct io_req *free;
	struct io_req *waiting, **waiting_tail;
	struct io_req *flying; /* doubly linked */
	struct io_req *failed, **failed_tail;
	struct pollfd *fds; /* the queues, the client, signals */
	struct virtiofs_region mem;
	struct io_req reqs[REQ_CNT];
};

static void free_queues(struct io *io)
{
	unsigned i;

	for (i = 0; i < io->queue_cnt; i++)
		virtiofs_cliq_release(io->queues[i].q);
	free(io->queues);
	free(io->fds);
}

static int take_queues(struct io *io, unsigned cnt)
{
	unsigned i;
	int r;

	io->queues = calloc(cnt, sizeof(*io->queues));
	io->fds = calloc(cnt + 2, sizeof(*io->fds));
	if (!io->queues || !io->fds)
		return -ENOMEM;
	for (i = 0; i < cnt; i++) {
		r = virtiofs_client_take_queue(io->c, VIRTIOFS_QUEUE_REQUEST(i),
					       0, &io->queues[i].q);
		if (r < 0)
			return r;
		io->queue_cnt++;
		io->fds[i].fd = virtiofs_cliq_fd(io->queues[i].q);
		io->fds[i].events = POLLIN;
	}
	io->fds[cnt].fd = virtiofs_client_fd(io->c);
	io->fds[cnt].events = POLLIN;
	io->fds[cnt + 1].fd = stop_fd();
	io->fds[cnt + 1].events = POLLIN;
	return 0;
}

static void init_reqs(struct io *io)
{
	unsigned i;

	for (i = 0; i < REQ_CNT; i++) {
		struct io_req *rq = &io->reqs[i];

		rq->io = io;
		rq->reply = (char *)io->mem.addr + (size_t)i * REQ_MEM;
		rq->text = (char *)rq->reply + IO_REPLY_MAX;
		rq->next = io->free;
		io->free = rq;
	}
}

int io_new(struct io **ret, struct virtiofs_client *c, uint32_t timeout_ms)
{
	struct virtiofs_client_info info = {.size = sizeof(info)};
	struct io *io;
	int r;

	r = virtiofs_client_get_info(c, &info);
	if (r < 0)
		return r;
	io = calloc(1, sizeof(*io));
	if (!io)
		return -ENOMEM;
	io->c = c;
	io->timeout_ms = timeout_ms;
	io->waiting_tail = &io->waiting;
	io->failed_tail = &io->failed;
	io->mem.size = sizeof(io->mem);
	r = take_queues(io, info.request_queues);
	if (r >= 0)
		r = virtiofs_client_alloc_region(c, REQ_CNT * REQ_MEM,
						 &io->mem);
	if (r < 0) {
		free_queues(io);
		free(io);
		return r;
	}
	init_reqs(io);
	*ret = io;
	return 0;
}

/* The memory goes with the client. */
void io_free(struct io *io)
{
	if (!io)
		return;
	free_queues(io);
	free(io);
}

int io_dead(const struct io *io)
{
	return io->dead;
}

struct io_req *io_get(struct io *io)
{
	struct io_req *rq = io->free;

	assert(rq);
	io->free = rq->next;
	virtiofs_op_init(&rq->op, rq->arg);
	rq->done = NULL;
	rq->owner = NULL;
	rq->error = 0;
	rq->len = 0;
	rq->block = NULL;
	rq->finished = false;
	return rq;
}

void io_put(struct io_req *rq)
{
	rq->next = rq->io->free;
	rq->io->free = rq;
}

const struct iovec *io_room(struct io_req *rq, size_t size)
{
	rq->room = virtiofs_iov(rq->reply, size);
	return &rq->room;
}

static void fail_later(struct io_req *rq, int error)
{
	struct io *io = rq->io;

	rq->error = error;
	rq->next = NULL;
	*io->failed_tail = rq;
	io->failed_tail = &rq->next;
}

static void fly(struct io_req *rq, unsigned queue)
{
	struct io *io = rq->io;

	rq->queue = queue;
	rq->prev = NULL;
	rq->next = io->flying;
	if (rq->next)
		rq->next->prev = rq;
	io->flying = rq;
	io->queues[queue].in_flight++;
	if (io->in_flight++ == 0)
		io->heard_ms = clock_ms();
}

static void land(struct io_req *rq)
{
	struct io *io = rq->io;

	if (rq->prev)
		rq->prev->next = rq->next;
	else
		io->flying = rq->next;
	if (rq->next)
		rq->next->prev = rq->prev;
	io->queues[rq->queue].in_flight--;
	io->in_flight--;
}

/* The least busy queue with a slot. */
static struct virtiofs_op *get_slot(struct io *io, unsigned *ret_queue)
{
	struct virtiofs_op *op;
	unsigned i, best = 0;

	for (i = 1; i < io->queue_cnt; i++)
		if (io->queues[i].in_flight < io->queues[best].in_flight)
			best = i;
	for (i = 0; i < io->queue_cnt; i++) {
		unsigned queue = (best + i) % io->queue_cnt;

		op = virtiofs_cliq_get_op(io->queues[queue].q);
		if (op) {
			io->queues[queue].dirty = true;
			*ret_queue = queue;
			return op;
		}
	}
	return NULL;
}

/* 0: no slot now. */
static int post(struct io_req *rq)
{
	struct virtiofs_op *op;
	unsigned queue;
	void *arg;

	op = get_slot(rq->io, &queue);
	if (!op)
		return 0;
	arg = op->arg;
	memcpy(arg, rq->arg, rq->op.arg_len);
	*op = rq->op;
	op->arg = arg;
	op->user_data = (uintptr_t)rq;
	op->flags |= VIRTIOFS_OP_NO_BOUNCE;
	/* One request may take long while others are answered: our own clock
	 * looks at the peer, not at the request. */
	op->timeout_ms = UINT32_MAX;
	fly(rq, queue);
	return 1;
}

static void wait_for_slot(struct io_req *rq)
{
	struct io *io = rq->io;

	rq->next = NULL;
	*io->waiting_tail = rq;
	io->waiting_tail = &rq->next;
}

void io_start(struct io_req *rq)
{
	struct io *io = rq->io;

	if (io->dead)
		fail_later(rq, io->dead);
	else if (io->waiting || !post(rq))
		wait_for_slot(rq);
}

static void post_waiting(struct io *io)
{
	while (io->waiting) {
		struct io_req *rq = io->waiting, *next = rq->next;

		if (!post(rq))
			return;
		io->waiting = next;
		if (!next)
			io->waiting_tail = &io->waiting;
	}
}

static void die(struct io *io, int error)
{
	struct io_req *rq;

	if (io->dead)
		return;
	io->dead = error;
	while ((rq = io->flying)) {
		land(rq);
		fail_later(rq, error);
	}
	while ((rq = io->waiting)) {
		io->waiting = rq->next;
		fail_later(rq, error);
	}
	io->waiting_tail = &io->waiting;
}

static bool deliver_failed(struct io *io)
{
	struct io_req *rq = io->failed;

	if (!rq)
		return false;
	/* done() may start, and so fail, others: one turn at a time */
	io->failed = NULL;
	io->failed_tail = &io->failed;
	while (rq) {
		struct io_req *next = rq->next;

		rq->done(rq);
		rq = next;
	}
	return true;
}

static void submit_all(struct io *io)
{
	unsigned i;
	int r;

	for (i = 0; i < io->queue_cnt && !io->dead; i++) {
		if (!io->queues[i].dirty)
			continue;
		io->queues[i].dirty = false;
		r = virtiofs_cliq_submit(io->queues[i].q);
		if (r < 0)
			die(io, r);
	}
}

static void deliver(struct io *io, const struct virtiofs_result *res)
{
	struct io_req *rq = (struct io_req *)(uintptr_t)res->user_data;

	if (res->flags & VIRTIOFS_RESULT_MORE) {
		die(io, res->error); /* and this request with all others */
		return;
	}
	land(rq);
	io->suspect |= res->error == -ENOTCONN;
	rq->error = res->error;
	rq->len = res->len;
	rq->done(rq);
}

/* Results delivered from one queue. */
static int reap(struct io *io, struct queue *queue)
{
	struct virtiofs_result res[REAP_CNT];
	int i, n, cnt = 0;

	do {
		io->suspect = false;
		n = virtiofs_cliq_reap(queue->q, res, REAP_CNT);
		if (n < 0)
			die(io, n);
		for (i = 0; i < n && !io->dead; i++, cnt++)
			deliver(io, &res[i]);
	} while (io->suspect && !io->dead);
	return cnt;
}

static int reap_all(struct io *io)
{
	unsigned i;
	int cnt = 0;

	for (i = 0; i < io->queue_cnt && !io->dead; i++)
		cnt += reap(io, &io->queues[i]);
	if (cnt)
		io->heard_ms = clock_ms();
	return cnt;
}

static int min_wait(int a, uint64_t now, uint64_t until)
{
	uint64_t left = until > now ? until - now : 0;

	return a >= 0 && (uint64_t)a < left ? a : (int)left;
}

static void check_clocks(struct io *io)
{
	uint64_t now;

	if (!io->timeout_ms && !stop_signal())
		return;
	now = clock_ms();
	if (stop_signal() && !io->stop_ms)
		io->stop_ms = now;
	if (io->stop_ms && now >= io->stop_ms + GRACE_MS)
		die(io, -EINTR);
	else if (io->timeout_ms && io->in_flight &&
		 now >= io->heard_ms + io->timeout_ms)
		die(io, -ETIMEDOUT);
}

static void sleep_once(struct io *io)
{
	uint64_t now = clock_ms();
	int wait = progress_wait_ms();
	int r;

	if (io->stop_ms)
		wait = min_wait(wait, now, io->stop_ms + GRACE_MS);
	if (io->timeout_ms)
		wait = min_wait(wait, now, io->heard_ms + io->timeout_ms);
	/* A signal seen once need not wake us again. */
	poll(io->fds, io->queue_cnt + (io->stop_ms ? 1 : 2), wait);
	if (io->fds[io->queue_cnt].revents) {
		r = virtiofs_client_dispatch(io->c);
		if (r < 0) {
			reap_all(io);
			die(io, r);
		}
	}
}

static bool arm_all(struct io *io)
{
	bool more = false;
	unsigned i;
	int r;

	for (i = 0; i < io->queue_cnt && !io->dead; i++) {
		r = virtiofs_cliq_arm(io->queues[i].q);
		if (r < 0)
			die(io, r);
		more |= r > 0;
	}
	return !more && !io->dead;
}

void io_run(struct io *io)
{
	progress_tick();
	check_clocks(io);
	if (deliver_failed(io))
		return;
	submit_all(io);
	if (reap_all(io) || io->dead) {
		post_waiting(io);
		return;
	}
	if (io->waiting && !io->in_flight)
		post_waiting(io);
	if (io->waiting && !io->in_flight)
		die(io, -ENOSPC); /* a ring too small for one request */
	else if (io->in_flight && arm_all(io))
		sleep_once(io);
}

static void call_done(struct io_req *rq)
{
	rq->finished = true;
}

ssize_t io_call(struct io_req *rq, void *buf, size_t size)
{
	ssize_t n;

	rq->done = call_done;
	io_start(rq);
	while (!rq->finished)
		io_run(rq->io);
	n = rq->error;
	if (!n) {
		n = rq->len;
		if (n && size)
			memcpy(buf, rq->reply,
			       (size_t)n < size ? (size_t)n : size);
	}
	io_put(rq);
	return n;
}
