/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What virtiofs-hiprio(7) promises of a device, a test for each sentence. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"
#include "session/dev.h"

#define FORGET_CELL 80u /* where test's frames for hiprio begin */

static struct virtiofs_queue_stats stats(struct program *p, uint32_t queue)
{
	struct virtiofs_queue_stats s = {.size = sizeof(s)};

	assert_int_equal(virtiofs_device_stats(p->dev, queue, &s), 0);
	return s;
}

static void send_forget(struct program *p, unsigned i)
{
	const uint64_t nlookup = 1;

	send_frame(p, 0, i, FUSE_FORGET, &nlookup, 8, 0);
}

static void send_interrupt(struct program *p, unsigned i, uint64_t unique)
{
	send_frame(p, 0, i, FUSE_INTERRUPT, &unique, 8, 0);
}

/* A BATCH_FORGET of nodeids from first on. */
static void send_batch(struct program *p, unsigned i, uint64_t first,
		       uint32_t cnt)
{
	char *args = calloc(1, 8 + cnt * 16u);

	memcpy(args, &cnt, 4);
	for (uint32_t k = 0; k < cnt; k++) {
		uint64_t nodeid = first + k;

		memcpy(args + 8 + k * 16, &nodeid, 8);
	}
	send_frame(p, 0, i, FUSE_BATCH_FORGET, args, 8 + cnt * 16, 0);
	free(args);
}

static void all_request_rings_are_full_and_hiprio_is_served(void **state)
{
	struct program *p = *state;

	p->num = 8;
	program_open(p, 0);
	p->keep = true;
	/* Two descriptors each: nothing more gets into either ring. */
	for (unsigned i = 0; i < 8; i++)
		send_statfs(p, 1 + i % 2, i);
	program_run(p);
	assert_int_equal(p->cnt, 8);
	/* Asynchronous handlers have all there is. */
	for (unsigned i = 0; i < 100; i++) {
		send_forget(p, FORGET_CELL);
		send_interrupt(p, FORGET_CELL + 1, UNIQUE(i % 8));
		assert_true(virtiofs_device_dispatch(p->dev) >= 0);
		assert_int_equal(reply_of(p, 0, FORGET_CELL), 1);
		assert_int_equal(reply_of(p, 0, FORGET_CELL + 1), 1);
	}
	assert_int_equal(p->forget_cnt, 100);
	assert_int_equal(p->interrupts, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(virtiofs_req_error(p->reqs[i], -EINTR), 0);
}

static void first_in_every_dispatch(void **state)
{
	struct program *p = *state;
	unsigned before[64];

	p->hiprio_interval = 16;
	p->queues = 3;
	program_open(p, 0);
	p->more = before;
	p->on_request = note_forgets;
	for (unsigned i = 0; i < 10; i++) {
		for (unsigned vq = 1; vq <= 3; vq++)
			send_statfs(p, vq, vq);
		send_forget(p, FORGET_CELL);
		assert_true(virtiofs_device_dispatch(p->dev) >= 0);
		assert_int_equal(p->cnt, 3 * (i + 1));
		for (unsigned k = 3 * i; k < p->cnt; k++)
			assert_int_equal(before[k], i + 1);
		for (unsigned vq = 1; vq <= 3; vq++)
			assert_int_equal(reply_of(p, vq, vq), 0);
		assert_int_equal(reply_of(p, 0, FORGET_CELL), 1);
	}
}

static void note_and_send_forget(struct program *p, struct virtiofs_req *req)
{
	send_forget(p, FORGET_CELL);
	note_forgets(p, req);
}

static void again_after_every_so_many_requests(struct program *p,
					       uint32_t interval)
{
	unsigned before[64];

	p->cnt = p->forget_cnt = 0;
	p->hiprio_interval = interval;
	p->queues = 3;
	p->num = 64;
	program_open(p, 0);
	p->more = before;
	p->on_request = note_and_send_forget;
	for (unsigned i = 0; i < 60; i++)
		send_statfs(p, 1 + i % 3, i);
	assert_true(virtiofs_device_dispatch(p->dev) >= 0);
	assert_int_equal(p->cnt, 60);
	/* One came with each: those before the last turn are done. */
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(before[i], i / interval * interval);
	program_run(p);
	program_stop(p);
}

/* covers: FS-DEV-13 */
static void again_in_the_middle_of_a_storm_of_requests(void **state)
{
	struct program *p = *state;
	const uint32_t intervals[] = {1, 3, 4, 16, 100};

	for (unsigned i = 0; i < 5; i++) {
		again_after_every_so_many_requests(p, intervals[i]);
		p->on_request = NULL;
	}
	program_start(p, 0);
}

static void note_queue(struct program *p, struct virtiofs_req *req)
{
	((uint64_t *)p->more)[p->cnt - 1] = req->in->nodeid;
	virtiofs_req_error(req, 0);
}

/* How many of cnt requests are of that queue. */
static unsigned count(const uint64_t *queues, unsigned cnt, unsigned vq)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cnt; i++)
		n += queues[i] == vq;
	return n;
}

static void request_queues_take_turns(void **state)
{
	struct program *p = *state;
	const unsigned waiting[4] = {0, 3, 24, 24};
	uint64_t queues[64];
	unsigned cell = 0;

	p->hiprio_interval = 4;
	p->queues = 3;
	p->num = 64;
	program_open(p, 0);
	p->more = queues;
	p->on_request = note_queue;
	for (unsigned vq = 1; vq <= 3; vq++) {
		for (unsigned i = 0; i < waiting[vq]; i++) {
			put_frame(p, cell, FUSE_STATFS, "", 0);
			frame_of(p, cell)->nodeid = vq;
			post_cell(p, vq, cell++, 200);
		}
	}
	assert_true(virtiofs_device_dispatch(p->dev) >= 0);
	assert_int_equal(p->cnt, 51);
	/* A short queue costs the others nothing of theirs. */
	assert_int_equal(count(queues, 11, 1), 3);
	assert_int_equal(count(queues, 11, 2), 4);
	assert_int_equal(count(queues, 11, 3), 4);
	for (unsigned i = 11; i < 51; i += 8) {
		assert_int_equal(count(queues + i, 8, 2), 4);
		assert_int_equal(count(queues + i, 8, 3), 4);
	}
}

/* ---- the budget ---- */

static void budget_counts_entries_and_a_cursor_goes_on(void **state)
{
	struct program *p = *state;

	p->forget_budget = 100;
	program_open(p, 0);
	send_batch(p, 0, 1, 950);
	send_forget(p, FORGET_CELL);
	send_batch(p, 1, 2000, 60);
	for (unsigned i = 1; i < 10; i++) {
		assert_int_equal(virtiofs_device_dispatch(p->dev), 0);
		assert_int_equal(p->forget_cnt, i * 100);
		no_reply(p, 0);
	}
	program_run(p);
	assert_int_equal(p->forget_cnt, 950 + 1 + 60);
	for (unsigned i = 0; i < 950; i++)
		assert_int_equal(p->forgets[i].nodeid, 1 + i);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(p->forgets[951 + i].nodeid, 2000 + i);
	assert_int_equal(reply_of(p, 0, 0), 1);
	assert_int_equal(reply_of(p, 0, FORGET_CELL), 1);
	assert_int_equal(reply_of(p, 0, 1), 1);
	assert_int_equal(stats(p, 0).forgets, 1011);
}

static void requests_go_on_in_a_storm_of_forgets(void **state)
{
	struct program *p = *state;
	unsigned before[64];

	p->forget_budget = 50;
	p->hiprio_interval = 4;
	p->num = 64;
	program_open(p, 0);
	p->more = before;
	p->on_request = note_forgets;
	for (unsigned i = 0; i < 4; i++)
		send_batch(p, i, 1, 1000);
	for (unsigned i = 0; i < 60; i++)
		send_statfs(p, 1 + i % 2, 10 + i);
	assert_true(virtiofs_device_dispatch(p->dev) >= 0);
	assert_int_equal(p->cnt, 60);
	/* A budget's worth, four requests, a budget's worth, ... */
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(before[i], 50 * (i / 4 + 1));
	program_run(p);
	assert_int_equal(p->forget_cnt, 4000);
}

/* How many came back on a queue. */
static unsigned came_back(struct program *p, unsigned vq)
{
	uint32_t id, len;
	unsigned n = 0;

	while (raw_used(&p->raw.q[vq], &id, &len))
		n++;
	return n;
}

/* A ring that its driver fills again and again does not keep anybody in it. */
static void chains_without_entries_count_too(void **state)
{
	struct program *p = *state;
	struct virtiofs_devq *hiprio;
	unsigned n = 0, more;

	p->num = 128;
	p->forget_budget = 10;
	program_open(p, 0);
	assert_int_equal(virtiofs_device_take_queue(p->dev, 0, 0, &hiprio), 0);
	for (unsigned i = 0; i < 90; i++)
		send_batch(p, i, 1, 0);
	while (n < 90) {
		virtiofs_devq_dispatch(hiprio);
		more = came_back(p, 0);
		assert_in_range(more, 1, 10);
		n += more;
	}
	/* Those that were taken with it come to their end. */
	for (unsigned i = 0; i < 90; i++)
		send_interrupt(p, i, 4711);
	for (n = 0; n < 90; n += more) {
		virtiofs_devq_dispatch(hiprio);
		more = came_back(p, 0);
		assert_in_range(more, 1, 32);
	}
	virtiofs_devq_release(hiprio);
}

static void send_one_more(struct program *p, struct virtiofs_req *req)
{
	virtiofs_req_error(req, 0);
	virtiofs_devq_flush(p->more);
	reply_of(p, 1, 0);
	if (p->cnt < 200)
		send_statfs(p, 1, 0);
}

/* A client that has always one more does not keep dispatch. */
static void dispatch_ends_while_more_come(void **state)
{
	struct program *p = *state;
	unsigned before = 0;

	p->dispatch_max = 8;
	program_open(p, 0);
	p->more = &p->dev->queues[1];
	p->on_request = send_one_more;
	send_statfs(p, 1, 0);
	while (p->cnt < 200) {
		virtiofs_device_dispatch(p->dev);
		/* About: a turn of a queue comes to its end. */
		assert_in_range(p->cnt - before, 1, 8 + 64);
		before = p->cnt;
	}
}

/* ---- a thread of its own ---- */

struct blocked {
	struct program *p;
	struct virtiofs_devq *hiprio;
	sem_t inside, go_on;
};

static void block(struct program *p, struct virtiofs_req *req)
{
	struct blocked *b = p->more;

	sem_post(&b->inside);
	sem_wait(&b->go_on);
	virtiofs_req_error(req, 0);
}

static void *run_dispatch(void *arg)
{
	struct blocked *b = arg;

	assert_int_equal(virtiofs_device_run(b->p->dev), 0);
	return NULL;
}

static void blocked_handler_never_delays_a_hiprio_of_its_own(void **state)
{
	struct program *p = *state;
	struct blocked b = {.p = p};
	struct virtiofs_devq *hiprio;
	pthread_t dispatcher;

	sem_init(&b.inside, 0, 0);
	sem_init(&b.go_on, 0, 0);
	program_open(p, 0);
	p->more = &b;
	p->on_request = block;
	assert_int_equal(virtiofs_device_take_queue(p->dev, 0, 0, &hiprio), 0);
	pthread_create(&dispatcher, NULL, run_dispatch, &b);
	send_statfs(p, 1, 0);
	sem_wait(&b.inside);
	/* This thread serves hiprio, while that one stands in its handler. */
	for (unsigned i = 0; i < 100; i++) {
		send_forget(p, FORGET_CELL);
		send_interrupt(p, FORGET_CELL + 1, UNIQUE(0));
		assert_int_equal(virtiofs_devq_dispatch(hiprio), 0);
		assert_int_equal(reply_of(p, 0, FORGET_CELL), 1);
		assert_int_equal(reply_of(p, 0, FORGET_CELL + 1), 1);
	}
	assert_int_equal(p->forget_cnt, 100);
	assert_int_equal(p->interrupts, 1);
	assert_true(virtiofs_req_interrupted(p->reqs[0]));
	sem_post(&b.go_on);
	virtiofs_device_stop(p->dev);
	pthread_join(dispatcher, NULL);
	virtiofs_devq_release(hiprio);
	sem_destroy(&b.inside);
	sem_destroy(&b.go_on);
}

static void block_interrupt(struct program *p)
{
	struct blocked *b = p->more;

	sem_post(&b->inside);
	sem_wait(&b->go_on);
}

static void *serve_hiprio(void *arg)
{
	struct blocked *b = arg;

	assert_int_equal(virtiofs_devq_dispatch(b->hiprio), 0);
	return NULL;
}

/* ops.reset: no interrupt runs any more, not even one whose request was
 * answered meanwhile. */
static void session_ends_after_an_interrupt_that_runs(void **state)
{
	struct program *p = *state;
	struct blocked b = {.p = p};
	pthread_t other;

	sem_init(&b.inside, 0, 0);
	sem_init(&b.go_on, 0, 0);
	program_open(p, 0);
	p->keep = true;
	p->more = &b;
	p->on_interrupt = block_interrupt;
	assert_int_equal(virtiofs_device_take_queue(p->dev, 0, 0, &b.hiprio),
			 0);
	send_statfs(p, 1, 0);
	program_run(p);
	send_interrupt(p, FORGET_CELL, UNIQUE(0));
	pthread_create(&other, NULL, serve_hiprio, &b);
	sem_wait(&b.inside);
	assert_int_equal(virtiofs_req_error(p->reqs[0], -EINTR), 0);
	send_frame(p, 2, 1, FUSE_DESTROY, "", 0, 16);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -EINTR);
	assert_int_equal(p->resets, 0);
	no_reply(p, 2);
	sem_post(&b.go_on);
	pthread_join(other, NULL);
	program_run(p);
	assert_int_equal(p->resets, 1);
	assert_int_equal(reply_of(p, 2, 1), 0);
	virtiofs_devq_release(b.hiprio);
	sem_destroy(&b.inside);
	sem_destroy(&b.go_on);
}

/* ---- interrupts ---- */

static void interrupt_is_back(struct program *p)
{
	assert_int_equal(reply_of(p, 0, FORGET_CELL), 1);
}

/* However long ops.interrupt takes. */
static void interrupts_chain_is_back_before_it_is_told(void **state)
{
	struct program *p = *state;

	program_open(p, 0);
	p->keep = true;
	p->on_interrupt = interrupt_is_back;
	send_statfs(p, 1, 0);
	program_run(p);
	send_interrupt(p, FORGET_CELL, UNIQUE(0));
	program_run(p);
	assert_int_equal(p->interrupts, 1);
	virtiofs_req_error(p->reqs[0], -EINTR);
}

static void interrupt_finds_its_request_on_any_queue(void **state)
{
	struct program *p = *state;

	p->queues = 3;
	p->num = 64;
	program_open(p, 0);
	p->keep = true;
	for (unsigned vq = 0; vq <= 3; vq++)
		for (unsigned i = 0; i < 3; i++)
			send_statfs(p, vq, vq * 3 + i);
	program_run(p);
	assert_int_equal(p->cnt, 12);
	for (unsigned i = 0; i < 12; i++) {
		unsigned k = i * 5 % 12;

		send_interrupt(p, FORGET_CELL, UNIQUE(k));
		program_run(p);
		assert_int_equal(p->interrupts, i + 1);
		assert_int_equal(p->interrupted[i]->in->unique, UNIQUE(k));
		assert_true(virtiofs_req_interrupted(p->interrupted[i]));
	}
	assert_int_equal(stats(p, 0).interrupts_matched, 12);
	for (unsigned i = 0; i < 12; i++)
		virtiofs_req_error(p->reqs[i], -EINTR);
}

static void early_interrupts_wait_in_a_ring_of_that_size(void **state)
{
	struct program *p = *state;

	p->interrupts_max = 5;
	program_open(p, 0);
	p->keep = true;
	for (unsigned i = 0; i < 8; i++) {
		send_interrupt(p, FORGET_CELL, UNIQUE(i));
		/* Its own chain waits for nothing. */
		assert_true(virtiofs_device_dispatch(p->dev) >= 0);
		assert_int_equal(reply_of(p, 0, FORGET_CELL), 1);
	}
	assert_int_equal(stats(p, 0).interrupts_late, 3);
	for (unsigned i = 0; i < 8; i++)
		send_statfs(p, 1, i);
	program_run(p);
	/* The oldest made room for the newest. */
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(virtiofs_req_interrupted(p->reqs[i]), i >= 3);
		virtiofs_req_error(p->reqs[i], 0);
	}
	assert_int_equal(stats(p, 0).interrupts_early, 5);
	assert_int_equal(p->interrupts, 0);
}

static void late_interrupt_is_ignored(void **state)
{
	struct program *p = *state;

	program_open(p, 0);
	send_statfs(p, 1, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	p->keep = true;
	for (unsigned i = 1; i < 9; i++)
		send_statfs(p, 1, i);
	program_run(p);
	send_interrupt(p, FORGET_CELL, UNIQUE(0));
	program_run(p);
	assert_int_equal(reply_of(p, 0, FORGET_CELL), 1);
	assert_int_equal(p->interrupts, 0);
	/* None of those that took its place. */
	for (unsigned i = 1; i < 9; i++) {
		assert_false(virtiofs_req_interrupted(p->reqs[i]));
		assert_int_equal(virtiofs_req_error(p->reqs[i], 0), 0);
	}
}

/* ---- the wrong queue ---- */

/* covers: FS-DEV-15 */
static void frames_on_the_wrong_queue_are_served_and_counted(void **state)
{
	struct program *p = *state;
	const uint64_t nlookup = 2, unique = UNIQUE(9);

	program_open(p, 0);
	p->keep = true;
	send_statfs(p, 2, 9);
	program_run(p);
	send_frame(p, 1, 0, FUSE_FORGET, &nlookup, 8, 0);
	send_frame(p, 1, 1, FUSE_INTERRUPT, &unique, 8, 0);
	send_statfs(p, 0, 2);
	program_run(p);
	assert_int_equal(p->forget_cnt, 1);
	assert_int_equal(p->interrupts, 1);
	assert_int_equal(p->cnt, 2);
	assert_int_equal(reply_of(p, 1, 0), 1);
	assert_int_equal(reply_of(p, 1, 1), 1);
	assert_int_equal(stats(p, 0).misrouted, 1);
	assert_int_equal(stats(p, 1).misrouted, 2);
	assert_int_equal(p->raw.broken, 0);
	virtiofs_req_error(p->reqs[0], -EINTR);
	virtiofs_req_error(p->reqs[1], 0);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 2), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    PROGRAM_TEST_CLOSED(
		all_request_rings_are_full_and_hiprio_is_served),
	    PROGRAM_TEST_CLOSED(first_in_every_dispatch),
	    PROGRAM_TEST_CLOSED(again_in_the_middle_of_a_storm_of_requests),
	    PROGRAM_TEST_CLOSED(request_queues_take_turns),
	    PROGRAM_TEST_CLOSED(budget_counts_entries_and_a_cursor_goes_on),
	    PROGRAM_TEST_CLOSED(requests_go_on_in_a_storm_of_forgets),
	    PROGRAM_TEST_CLOSED(
		blocked_handler_never_delays_a_hiprio_of_its_own),
	    PROGRAM_TEST_CLOSED(session_ends_after_an_interrupt_that_runs),
	    PROGRAM_TEST_CLOSED(chains_without_entries_count_too),
	    PROGRAM_TEST_CLOSED(dispatch_ends_while_more_come),
	    PROGRAM_TEST_CLOSED(interrupts_chain_is_back_before_it_is_told),
	    PROGRAM_TEST_CLOSED(interrupt_finds_its_request_on_any_queue),
	    PROGRAM_TEST_CLOSED(early_interrupts_wait_in_a_ring_of_that_size),
	    PROGRAM_TEST_CLOSED(late_interrupt_is_ignored),
	    PROGRAM_TEST_CLOSED(
		frames_on_the_wrong_queue_are_served_and_counted),
	};

	return cmocka_run_group_tests_name("device contract", tests, NULL,
					   NULL);
}
