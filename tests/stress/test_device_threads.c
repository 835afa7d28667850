/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device with a thread that dispatches, one that owns a queue, and two that
 * answer, against a driver that posts, interrupts, changes memory and resets.
 * Meant to run under ThreadSanitizer too. Nothing sleeps but in poll.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/shared.h"
#include "rawfuse.h"

#define WORKERS 2
#define DEPTH	8

struct rig {
	struct program p;
	struct virtiofs_devq *q;
	pthread_t dispatcher, owner, worker[WORKERS];
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct virtiofs_req *todo[64];
	unsigned todo_cnt;
	bool ended;
	uint32_t waiting;  /* atomic: handed out, not answered */
	uint32_t told;	   /* atomic: interrupts */
	uint32_t answered; /* atomic */
	uint32_t gone;	   /* atomic: answers of -ENOTCONN */
	uint32_t resets;   /* atomic */
	uint32_t flags;	   /* the device's */
	uint64_t features; /* as of raw_init() */
	bool by_owner;	   /* the owner answers, no workers */
	bool until_told;   /* workers wait for an interrupt */
};

static void add_one(uint32_t *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST);
}

static uint32_t value(uint32_t *n)
{
	return __atomic_load_n(n, __ATOMIC_SEQ_CST);
}

static void pass(struct rig *rig, struct virtiofs_req **reqs, int n);

/* On the queues that dispatch serves. */
static int on_request(struct virtiofs_req *req)
{
	struct rig *rig = req->userdata;

	if (!(rig->flags & VIRTIOFS_DEVICE_SHARED_REPLY))
		return virtiofs_req_error(req, 0);
	add_one(&rig->waiting);
	pass(rig, &req, 1);
	return 0;
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	struct rig *rig = userdata;

	/* Its memory is good until this returns, whoever answers now. */
	assert_true(req->in->opcode == FUSE_STATFS);
	add_one(&rig->told);
	pthread_mutex_lock(&rig->lock);
	pthread_cond_broadcast(&rig->more);
	pthread_mutex_unlock(&rig->lock);
}

static void on_reset(void *userdata)
{
	struct rig *rig = userdata;

	/* "No request is in flight on any queue." */
	assert_int_equal(value(&rig->waiting), 0);
	add_one(&rig->resets);
}

static void *run_dispatch(void *arg)
{
	struct rig *rig = arg;

	assert_int_equal(virtiofs_device_run(rig->p.dev), 0);
	return NULL;
}

static void answer(struct rig *rig, struct virtiofs_req *req)
{
	int r;

	__atomic_sub_fetch(&rig->waiting, 1, __ATOMIC_SEQ_CST);
	r = virtiofs_req_reply(req, "answer", 6);
	assert_true(r == 0 || r == -ENOTCONN);
	add_one(r ? &rig->gone : &rig->answered);
}

/* The next one to answer; NULL at the end. */
static struct virtiofs_req *next_todo(struct rig *rig)
{
	struct virtiofs_req *req = NULL;

	pthread_mutex_lock(&rig->lock);
	while (!rig->todo_cnt && !rig->ended)
		pthread_cond_wait(&rig->more, &rig->lock);
	if (rig->todo_cnt)
		req = rig->todo[--rig->todo_cnt];
	while (req && rig->until_told && !virtiofs_req_interrupted(req))
		pthread_cond_wait(&rig->more, &rig->lock);
	pthread_mutex_unlock(&rig->lock);
	return req;
}

static void *run_worker(void *arg)
{
	struct rig *rig = arg;
	struct virtiofs_req *req;

	while ((req = next_todo(rig)) != NULL)
		answer(rig, req);
	return NULL;
}

static void pass(struct rig *rig, struct virtiofs_req **reqs, int n)
{
	pthread_mutex_lock(&rig->lock);
	for (int i = 0; i < n; i++)
		rig->todo[rig->todo_cnt++] = reqs[i];
	pthread_cond_broadcast(&rig->more);
	pthread_mutex_unlock(&rig->lock);
}

static void *run_owner(void *arg)
{
	struct rig *rig = arg;
	struct pollfd fd = {.fd = virtiofs_devq_fd(rig->q), .events = POLLIN};
	struct virtiofs_req *reqs[DEPTH];
	int n;

	while ((n = virtiofs_devq_pop(rig->q, reqs, DEPTH)) >= 0) {
		for (int i = 0; i < n; i++)
			add_one(&rig->waiting);
		if (!rig->by_owner)
			pass(rig, reqs, n);
		for (int i = 0; rig->by_owner && i < n; i++)
			answer(rig, reqs[i]);
		if (n == 0 && virtiofs_devq_arm(rig->q) == 0)
			poll(&fd, 1, -1);
	}
	assert_int_equal(n, -ESHUTDOWN);
	return NULL;
}

static void open_session(struct rig *rig)
{
	struct fuse_init_in in = {.major = 7, .minor = 45};
	struct pollfd fd = {.fd = rig->p.raw.q[2].call, .events = POLLIN};

	raw_calls(&rig->p.raw.q[2]);
	send_frame(&rig->p, 2, CELLS - 1, FUSE_INIT, &in, sizeof(in), 80);
	while (vtfs_load_acquire(&rig->p.raw.q[2].used->idx) ==
	       rig->p.raw.q[2].next_used)
		poll(&fd, 1, -1);
	assert_int_equal(reply_of(&rig->p, 2, CELLS - 1), 0);
}

static void start(struct rig *rig, uint32_t flags)
{
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .interrupt = on_interrupt,
	    .reset = on_reset,
	};
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts), .flags = rig->flags, .num_request_queues = 2};

	raw_init(&rig->p.raw, rig->features);
	raw_one_view(&rig->p.raw);
	assert_int_equal(virtiofs_device_new(&rig->p.dev, &rig->p.raw.base,
					     &ops, &opts, rig),
			 0);
	raw_do(&rig->p.raw, raw_setup, 16);
	program_run(&rig->p);
	pthread_mutex_init(&rig->lock, NULL);
	pthread_cond_init(&rig->more, NULL);
	if (!rig->flags)
		assert_int_equal(
		    virtiofs_device_take_queue(rig->p.dev, 1, flags, &rig->q),
		    0);
	pthread_create(&rig->dispatcher, NULL, run_dispatch, rig);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_create(&rig->worker[i], NULL, run_worker, rig);
	if (rig->q)
		pthread_create(&rig->owner, NULL, run_owner, rig);
	open_session(rig);
}

static void finish(struct rig *rig)
{
	virtiofs_device_stop(rig->p.dev);
	pthread_join(rig->dispatcher, NULL);
	if (rig->q)
		pthread_join(rig->owner, NULL);
	pthread_mutex_lock(&rig->lock);
	rig->ended = true;
	pthread_cond_broadcast(&rig->more);
	pthread_mutex_unlock(&rig->lock);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(rig->worker[i], NULL);
	virtiofs_devq_release(rig->q);
	virtiofs_device_free(rig->p.dev);
	raw_fini(&rig->p.raw);
	pthread_cond_destroy(&rig->more);
	pthread_mutex_destroy(&rig->lock);
}

static void post(struct rig *rig, unsigned i)
{
	struct raw_queue *q = &rig->p.raw.q[1];
	struct raw_desc d[2] = {
	    {cell_addr(i), 40, 0},
	    {cell_addr(i) + CELL_ROOM, 200, VTFS_DESC_F_WRITE},
	};
	struct fuse_in_header in = {40, FUSE_STATFS, UNIQUE(i), 1};

	memcpy(cell(&rig->p, i), &in, sizeof(in));
	memset(cell(&rig->p, i) + CELL_ROOM, 0, 32);
	raw_post(q, raw_chain(q, d, 2));
}

/* Collect up to max replies, at least one. */
static unsigned collect(struct rig *rig, unsigned max)
{
	struct raw_queue *q = &rig->p.raw.q[1];
	struct pollfd fd = {.fd = q->call, .events = POLLIN};
	uint32_t id, len;
	unsigned n = 0;

	for (;;) {
		while (n < max && raw_used(q, &id, &len)) {
			assert_int_equal(len, 22);
			n++;
		}
		if (n)
			return n;
		poll(&fd, 1, -1);
		raw_calls(q);
	}
}

/* cnt requests, never more than DEPTH in flight. Descriptors are used in turn,
 * so all of a round come back before the next. */
static void pump(struct rig *rig, unsigned cnt,
		 void (*each)(struct rig *, unsigned))
{
	for (unsigned sent = 0; sent < cnt; sent += DEPTH) {
		unsigned left = DEPTH;

		for (unsigned i = 0; i < DEPTH; i++)
			post(rig, i);
		if (each)
			each(rig, sent / DEPTH);
		while (left)
			left -= collect(rig, left);
	}
}

static void many_threads_answer_each_request_once(void **state)
{
	struct rig rig = {0};

	start(&rig, VIRTIOFS_DEVQ_SHARED_REPLY);
	pump(&rig, 4000, NULL);
	finish(&rig);
	assert_int_equal(value(&rig.answered), 4000);
	assert_int_equal(value(&rig.gone), 0);
}

static void many_threads_answer_what_dispatch_hands_out(void **state)
{
	struct rig rig = {.flags = VIRTIOFS_DEVICE_SHARED_REPLY};

	start(&rig, 0);
	pump(&rig, 4000, NULL);
	finish(&rig);
	assert_int_equal(value(&rig.answered), 4000);
}

static void owner_answers_in_batches(void **state)
{
	struct rig rig = {.by_owner = true};

	start(&rig, 0);
	pump(&rig, 4000, NULL);
	finish(&rig);
	assert_int_equal(value(&rig.answered), 4000);
}

static void send_interrupts(struct rig *rig, unsigned round)
{
	struct raw_queue *q = &rig->p.raw.q[0];
	uint32_t id, len;

	for (unsigned i = 0; i < DEPTH; i++) {
		uint64_t unique = UNIQUE((round + i) % DEPTH);

		send_frame(&rig->p, 0, 16 + i, FUSE_INTERRUPT, &unique, 8, 0);
	}
	/* Their chains come back, whatever they hit. */
	for (unsigned n = 0; n < DEPTH;) {
		struct pollfd fd = {.fd = q->call, .events = POLLIN};

		while (raw_used(q, &id, &len))
			n++;
		if (n < DEPTH)
			poll(&fd, 1, -1);
		raw_calls(q);
	}
}

/* covers: FUSE-DEV-23 */
static void interrupts_race_with_replies(void **state)
{
	struct rig rig = {0};

	start(&rig, VIRTIOFS_DEVQ_SHARED_REPLY);
	pump(&rig, 4000, send_interrupts);
	finish(&rig);
	assert_int_equal(value(&rig.answered), 4000);
}

/* No worker answers before its request was interrupted: none is missed, be the
 * INTERRUPT before or behind its target. */
static void no_interrupt_is_lost(void **state)
{
	struct rig rig = {.until_told = true};

	start(&rig, VIRTIOFS_DEVQ_SHARED_REPLY);
	pump(&rig, 800, send_interrupts);
	finish(&rig);
	assert_int_equal(value(&rig.answered), 800);
}

static void wait_for(unsigned *counter, unsigned before)
{
	while (__atomic_load_n(counter, __ATOMIC_ACQUIRE) == before)
		sched_yield();
}

static void change_memory(struct rig *rig, unsigned round)
{
	unsigned before = __atomic_load_n(&rig->p.raw.retired_cnt,
					  __ATOMIC_ACQUIRE);

	raw_do(&rig->p.raw, round % 2 ? raw_drop_region : raw_add_region, 0);
	if (round % 4 == 0)
		raw_do(&rig->p.raw, raw_new_call, 2);
	/* Answered, though the queue may be asleep or busy. */
	wait_for(&rig->p.raw.retired_cnt, before);
}

static void memory_changes_while_queues_run(void **state)
{
	struct rig rig = {0};

	start(&rig, VIRTIOFS_DEVQ_SHARED_REPLY);
	pump(&rig, 1600, change_memory);
	finish(&rig);
	assert_int_equal(value(&rig.answered), 1600);
}

/* Takes a page away, or all, wherever the requests that name it are by now.
 * What is missed is mapped at once. */
static void change_translations(struct rig *rig, unsigned round)
{
	unsigned first = (RAW_BUFS + round % DEPTH * CELL_LEN) / RAW_PAGE;
	struct raw *raw = &rig->p.raw;
	unsigned done = __atomic_load_n(&raw->done, __ATOMIC_ACQUIRE);

	if (round % 3)
		first += CELL_ROOM / RAW_PAGE;
	if (round % 7 == 0)
		raw_do(raw, raw_flush, 0);
	else
		raw_do(raw, raw_map, RAW_RANGE(first, 1, 0));
	/* A transport has one change under way. */
	wait_for(&raw->done, done);
	while (__atomic_load_n(&raw->cookie, __ATOMIC_ACQUIRE) !=
	       __atomic_load_n(&raw->retired_cnt, __ATOMIC_ACQUIRE))
		sched_yield();
}

/* Nobody waits for ever: whoever can go on is woken. */
static void translations_change_while_queues_run(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct rig rig = {.features = VIRTIOFS_F_VERSION_1 |
					      VTFS_F_ACCESS_PLATFORM,
				  .by_owner = i};

		start(&rig, i ? 0 : VIRTIOFS_DEVQ_SHARED_REPLY);
		pump(&rig, 4000, change_translations);
		finish(&rig);
		assert_int_equal(value(&rig.answered), 4000);
	}
}

/* Reset, or a lost peer, at any moment. */
static void end_in_flight(struct rig *rig, void (*how)(struct raw *, uint64_t))
{
	unsigned char *copy;

	for (unsigned round = 0; round < 60; round++) {
		unsigned before = __atomic_load_n(&rig->p.raw.reset_done,
						  __ATOMIC_ACQUIRE);

		for (unsigned i = 0; i < DEPTH; i++)
			post(rig, i);
		for (unsigned i = 0; round % 3 && i < DEPTH; i++) {
			uint64_t unique = UNIQUE(i);

			send_frame(&rig->p, 0, 16 + i, FUSE_INTERRUPT, &unique,
				   8, 0);
		}
		if (round % 2)
			collect(rig, 1);
		raw_do(&rig->p.raw, how, 0);
		wait_for(&rig->p.raw.reset_done, before);
		assert_int_equal(value(&rig->waiting), 0);
		/* Acknowledged: the memory is the driver's. */
		copy = malloc(RAW_LEN);
		memcpy(copy, rig->p.raw.mem, RAW_LEN);
		sched_yield();
		assert_memory_equal(copy, rig->p.raw.mem, RAW_LEN);
		free(copy);
		before = __atomic_load_n(&rig->p.raw.done, __ATOMIC_ACQUIRE);
		raw_do(&rig->p.raw, raw_setup, 16);
		wait_for(&rig->p.raw.done, before);
		open_session(rig);
	}
	assert_int_equal(value(&rig->resets), 60);
}

/* covers: RST-DEV-02 */
static void reset_at_any_moment(void **state)
{
	struct rig rig = {0};

	start(&rig, VIRTIOFS_DEVQ_SHARED_REPLY);
	end_in_flight(&rig, raw_reset);
	finish(&rig);
}

static void peer_lost_at_any_moment(void **state)
{
	struct rig rig = {0};

	start(&rig, VIRTIOFS_DEVQ_SHARED_REPLY);
	end_in_flight(&rig, raw_lost);
	finish(&rig);
}

/* A thread that sleeps for good holds up neither memory nor the other queue. */
static void sleeping_owner_holds_up_nothing(void **state)
{
	struct rig rig = {0};
	struct virtiofs_devq *q;
	unsigned before;

	start(&rig, VIRTIOFS_DEVQ_SHARED_REPLY);
	finish(&rig);
	memset(&rig, 0, sizeof(rig));
	program_open(&rig.p, 0);
	assert_int_equal(virtiofs_device_take_queue(rig.p.dev, 1, 0, &q), 0);
	before = rig.p.raw.retired_cnt;
	raw_do(&rig.p.raw, raw_add_region, 0);
	raw_do(&rig.p.raw, raw_stop, 1);
	program_run(&rig.p);
	assert_int_equal(rig.p.raw.retired_cnt, before + 1);
	assert_int_equal(rig.p.raw.stopped, 1);
	virtiofs_devq_release(q);
	program_stop(&rig.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many_threads_answer_each_request_once),
	    cmocka_unit_test(many_threads_answer_what_dispatch_hands_out),
	    cmocka_unit_test(owner_answers_in_batches),
	    cmocka_unit_test(interrupts_race_with_replies),
	    cmocka_unit_test(no_interrupt_is_lost),
	    cmocka_unit_test(memory_changes_while_queues_run),
	    cmocka_unit_test(translations_change_while_queues_run),
	    cmocka_unit_test(reset_at_any_moment),
	    cmocka_unit_test(peer_lost_at_any_moment),
	    cmocka_unit_test(sleeping_owner_holds_up_nothing),
	};

	return cmocka_run_group_tests_name("device threads", tests, NULL, NULL);
}
