/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which of several request queues a call goes by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "liarfix.h"

#define QUEUES 4u
#define NUM    8u

static const struct fuse_attr_out zero;

static struct fix *start(void **state, uint32_t policy)
{
	struct fix *f = *state;

	f->l.queue_cnt = QUEUES + 1;
	f->l.config[36] = QUEUES;
	f->opts.num_request_queues = QUEUES;
	f->opts.queue_size = NUM;
	f->opts.queue_policy = policy;
	fix_start(f);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
	return f;
}

static void answer(struct fix *f, struct liar_req *req)
{
	liar_reply(&f->l, req, 0, &zero, sizeof(zero));
}

/* The queue by which a call on that node comes. */
static unsigned queue_of(struct fix *f, uint64_t nodeid, int cpu)
{
	struct fix_call call = {.nodeid = nodeid, .cpu = cpu};
	unsigned vq;

	fix_call_start(f, &call);
	fix_pop_wait(f);
	assert_int_equal(f->req.in.nodeid, nodeid);
	vq = f->req.vq;
	answer(f, &f->req);
	assert_int_equal(fix_call_join(&call), sizeof(zero));
	return vq;
}

static void one_node_has_one_queue(void **state)
{
	struct fix *f = start(state, VIRTIOFS_QUEUE_NODEID);
	unsigned used[QUEUES + 1] = {0};

	for (uint64_t node = 1; node <= 40; node++) {
		unsigned vq = queue_of(f, node, 0);

		used[vq]++;
		assert_int_equal(queue_of(f, node, 0), vq);
		assert_int_equal(queue_of(f, node, 0), vq);
	}
	/* And all of them are used. */
	for (unsigned i = 1; i <= QUEUES; i++)
		assert_true(used[i] >= 4);
}

/* A queue that somebody took is none of them. */
static void taken_queues_are_left_out(void **state)
{
	static const uint32_t policies[] = {VIRTIOFS_QUEUE_LEAST_BUSY,
					    VIRTIOFS_QUEUE_CPU,
					    VIRTIOFS_QUEUE_NODEID};
	struct virtiofs_cliq *q[QUEUES];

	for (unsigned k = 0; k < 3; k++) {
		struct fix *f;

		fix_set_up((void **)&f);
		start((void **)&f, policies[k]);
		for (unsigned i = 1; i <= QUEUES; i++)
			if (i != 3)
				assert_int_equal(virtiofs_client_take_queue(
						     f->c, i, 0, &q[i - 1]),
						 0);
		for (uint64_t node = 1; node <= 8; node++)
			assert_int_equal(queue_of(f, node, 0), 3);
		fix_tear_down((void **)&f);
	}
	(void)state;
}

static void each_cpu_has_its_queue(void **state)
{
	struct fix *f = start(state, VIRTIOFS_QUEUE_CPU);
	unsigned seen = 0;
	cpu_set_t cpus;

	assert_int_equal(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	for (int i = 0; i < CPU_SETSIZE && seen < 8; i++) {
		if (!CPU_ISSET(i, &cpus))
			continue;
		seen++;
		for (uint64_t node = 1; node <= 3; node++)
			assert_int_equal(queue_of(f, node, i + 1),
					 1 + (unsigned)i % QUEUES);
	}
	assert_true(seen > 0);
}

/* Each of four calls in flight has its own. */
static void least_busy_queue_is_taken(void **state)
{
	static struct liar_req req[QUEUES];
	struct fix *f = start(state, VIRTIOFS_QUEUE_LEAST_BUSY);
	struct fix_call call[QUEUES];
	unsigned seen = 0;

	for (unsigned i = 0; i < QUEUES; i++) {
		call[i] = (struct fix_call){.nodeid = 5};
		fix_call_start(f, &call[i]);
		fix_pop_wait(f);
		req[i] = f->req;
		assert_false(seen & 1u << f->req.vq);
		seen |= 1u << f->req.vq;
	}
	/* One is free again: it is the next. */
	answer(f, &req[2]);
	assert_int_equal(fix_call_join(&call[2]), sizeof(zero));
	assert_int_equal(queue_of(f, 5, 0), req[2].vq);
	for (unsigned i = 0; i < QUEUES; i++) {
		if (i == 2)
			continue;
		answer(f, &req[i]);
		assert_int_equal(fix_call_join(&call[i]), sizeof(zero));
	}
}

/* What timed out is still with the device: a RELEASE, say, goes behind it,
 * however busy that queue is, and on whatever CPU. */
static void nothing_overtakes_a_late_request_of_its_node(void **state)
{
	static const uint32_t policies[] = {VIRTIOFS_QUEUE_LEAST_BUSY,
					    VIRTIOFS_QUEUE_CPU};

	for (unsigned k = 0; k < 2; k++) {
		struct fix_call late = {.nodeid = 7, .timeout_ms = 1};
		static struct liar_req held;
		struct fix *f;

		fix_set_up((void **)&f);
		start((void **)&f, policies[k]);
		/* Not on the queue that is the first choice of all. */
		late.cpu = 0;
		fix_call_start(f, &late);
		fix_pop_wait(f);
		held = f->req;
		assert_int_equal(fix_call_join(&late), -ETIMEDOUT);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(queue_of(f, 7, 0), held.vq);
		if (policies[k] == VIRTIOFS_QUEUE_LEAST_BUSY)
			assert_int_not_equal(queue_of(f, 8, 0), held.vq);
		/* It came back: nothing holds them there. */
		answer(f, &held);
		virtiofs_client_dispatch(f->c);
		fix_tear_down((void **)&f);
	}
	(void)state;
}

/* Calls that wait for one queue do not hold up those that go by another. */
static void full_queue_holds_up_its_own_calls_only(void **state)
{
	static struct liar_req req[NUM];
	struct fix *f = start(state, VIRTIOFS_QUEUE_NODEID);
	struct fix_call call[NUM + 2];
	unsigned busy = queue_of(f, 1, 0), waits = 0;
	uint64_t other = 2;

	while (queue_of(f, other, 0) == busy)
		other++;
	for (unsigned i = 0; i < NUM + 2; i++) {
		call[i] = (struct fix_call){.nodeid = 1};
		fix_call_start(f, &call[i]);
	}
	for (unsigned i = 0; i < NUM; i++) {
		fix_pop_wait(f);
		assert_int_equal(f->req.vq, busy);
		req[i] = f->req;
	}
	for (unsigned i = 0; i < 20; i++)
		assert_int_not_equal(queue_of(f, other, 0), busy);
	for (unsigned i = 0; i < NUM; i++)
		answer(f, &req[i]);
	for (waits = 2; waits; waits--) {
		fix_pop_wait(f);
		assert_int_equal(f->req.vq, busy);
		answer(f, &f->req);
	}
	for (unsigned i = 0; i < NUM + 2; i++)
		assert_int_equal(fix_call_join(&call[i]), sizeof(zero));
}

static void unknown_policy_is_refused(void **state)
{
	struct fix *f = *state;

	f->opts.queue_policy = 3;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts),
			 -EINVAL);
	f->c = NULL;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(one_node_has_one_queue),
	    cmocka_unit_test(taken_queues_are_left_out),
	    T(each_cpu_has_its_queue),
	    T(least_busy_queue_is_taken),
	    cmocka_unit_test(nothing_overtakes_a_late_request_of_its_node),
	    T(full_queue_holds_up_its_own_calls_only),
	    T(unknown_policy_is_refused),
	};

	return cmocka_run_group_tests_name("client_queues", tests, NULL, NULL);
}
