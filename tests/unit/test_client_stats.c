/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a client counts. Each number is that of requests made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "liarfix.h"

#define NUM 8u

static const struct fuse_attr_out zero;

static struct virtiofs_queue_stats stats(struct fix *f, uint32_t queue)
{
	struct virtiofs_queue_stats s = {.size = sizeof(s)};

	assert_int_equal(virtiofs_client_stats(f->c, queue, &s), 0);
	assert_int_equal(s.size, sizeof(s));
	return s;
}

static struct fix *start(void **state, uint32_t flags)
{
	struct fix *f = *state;

	f->opts.queue_size = NUM;
	f->opts.flags |= flags;
	f->l.offered &= ~VIRTIOFS_F_INDIRECT_DESC;
	fix_start(f);
	return f;
}

static void requests_and_replies_are_counted(void **state)
{
	struct fix *f = start(state, 0);
	/* INIT came first. */
	struct virtiofs_queue_stats before = stats(f, 1), s;
	struct fuse_attr_out out;

	assert_int_equal(before.requests, 1);
	assert_int_equal(vtfs_vq_dev_arm(f->l.q[1].vq), 0);
	fix_getattr(f, &out);
	s = stats(f, 1);
	assert_int_equal(s.requests - before.requests, 1);
	assert_int_equal(s.request_bytes - before.request_bytes, 40 + 16);
	assert_int_equal(s.kicks - before.kicks, 1);
	assert_int_equal(s.replies, before.replies);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, &zero, sizeof(zero));
	fix_reap(f);
	fix_getattr(f, &out);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, -EACCES, NULL, 0);
	fix_reap(f);
	s = stats(f, 1);
	assert_int_equal(s.replies - before.replies, 2);
	assert_int_equal(s.errors - before.errors, 1);
	assert_int_equal(s.reply_bytes - before.reply_bytes,
			 16 + sizeof(zero) + 16);
	assert_int_equal(s.frame_faults, 0);
	/* One of a wrong length. */
	fix_getattr(f, &out);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, &zero, sizeof(zero) - 8);
	assert_int_equal(fix_reap(f).error, -EPROTO);
	assert_int_equal(stats(f, 1).frame_faults, 1);
	liar_raw_used(&f->l, 1, 99, 0);
	fix_getattr(f, &out);
	assert_int_equal(fix_reap(f).error, -EPROTO);
	assert_int_equal(stats(f, 1).ring_faults, 1);
	assert_int_equal(stats(f, VIRTIOFS_QUEUE_ALL).requests,
			 stats(f, 1).requests);
}

/* The queue's owner sees them when it arms; several may be one. */
static void calls_that_were_seen_are_counted(void **state)
{
	struct fix *f = start(state, 0);
	struct fuse_attr_out out;
	uint64_t before;

	virtiofs_cliq_arm(f->q);
	before = stats(f, 1).calls;
	for (unsigned i = 1; i <= 3; i++) {
		fix_getattr(f, &out);
		fix_pop(f, 1);
		liar_reply(&f->l, &f->req, 0, &zero, sizeof(zero));
		fix_reap(f);
		virtiofs_cliq_arm(f->q);
		assert_int_equal(stats(f, 1).calls - before, i);
		virtiofs_cliq_arm(f->q);
		assert_int_equal(stats(f, 1).calls - before, i);
	}
	assert_int_equal(stats(f, 0).calls, 0);
	assert_int_equal(virtiofs_client_forget(f->c, 2, 1), 0);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 1);
	liar_used(&f->l, &f->req, 0);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(stats(f, 0).calls, 1);
	assert_int_equal(stats(f, 1).calls - before, 3);
}

static void what_waits_for_room_is_counted_once(void **state)
{
	struct fix *f = start(state, 0);
	struct fuse_attr_out out;

	for (unsigned i = 0; i < NUM; i++)
		fix_getattr(f, &out);
	assert_int_equal(stats(f, 1).parked, NUM / 2);
	for (unsigned i = 0; i < NUM; i++) {
		fix_pop(f, 1);
		liar_reply(&f->l, &f->req, 0, &zero, sizeof(zero));
		fix_reap(f);
	}
	assert_int_equal(stats(f, 1).parked, NUM / 2);
	assert_int_equal(stats(f, 1).requests, 1 + NUM);
}

static void hiprio_counts_nodes(void **state)
{
	struct fix *f = start(state, 0);
	struct virtiofs_queue_stats s;
	static struct liar_req req[NUM];

	/* Six find room, four wait. */
	for (unsigned i = 0; i < NUM + 2; i++)
		assert_int_equal(virtiofs_client_forget(f->c, 2 + i % 8, 1), 0);
	s = stats(f, 0);
	assert_int_equal(s.requests, NUM - 2);
	assert_int_equal(s.forgets, NUM - 2);
	assert_int_equal(s.parked, 4);
	for (unsigned i = 0; i < NUM - 2; i++)
		assert_int_equal(liar_pop(&f->l, 0, &req[i]), 1);
	for (unsigned i = 0; i < NUM - 2; i++)
		liar_used(&f->l, &req[i], 0);
	virtiofs_client_dispatch(f->c);
	s = stats(f, 0);
	assert_int_equal(s.requests, NUM - 1);
	assert_int_equal(s.forgets, NUM - 2 + 4);
	assert_true(s.kicks > 0);
	assert_int_equal(stats(f, 1).forgets, 0);
}

static void latency_is_measured_by_opcode(void **state)
{
	struct virtiofs_hist h = {.size = sizeof(h)};
	struct fix *f = start(state, VIRTIOFS_CLIENT_LATENCY);
	struct fuse_attr_out out;

	for (unsigned i = 0; i < 3; i++) {
		fix_getattr(f, &out);
		fix_pop(f, 1);
		liar_reply(&f->l, &f->req, 0, &zero, sizeof(zero));
		fix_reap(f);
	}
	assert_int_equal(virtiofs_client_latency(f->c, 1, FUSE_GETATTR, &h), 0);
	assert_int_equal(h.cnt, 3);
	assert_true(h.max > 0 && h.sum >= h.max);
	assert_true(virtiofs_hist_quantile(&h, 1.0) == h.max);
	assert_int_equal(
	    virtiofs_client_latency(f->c, VIRTIOFS_QUEUE_ALL, FUSE_INIT, &h),
	    0);
	assert_int_equal(h.cnt, 1);
	assert_int_equal(virtiofs_client_latency(f->c, 1, FUSE_READ, &h), 0);
	assert_int_equal(h.cnt, 0);
	assert_int_equal(virtiofs_client_latency(f->c, 1, 64, &h), -EINVAL);
	assert_int_equal(virtiofs_client_latency(f->c, 2, 1, &h), -EINVAL);
}

static void wrong_questions_are_refused(void **state)
{
	struct virtiofs_queue_stats s = {.size = sizeof(s)};
	struct virtiofs_hist h = {.size = sizeof(h)};
	struct fix *f = start(state, 0);

	assert_int_equal(virtiofs_client_stats(f->c, 2, &s), -EINVAL);
	s.size = 4;
	assert_int_equal(virtiofs_client_stats(f->c, 1, &s), -EINVAL);
	assert_int_equal(virtiofs_client_latency(f->c, 1, FUSE_READ, &h),
			 -EOPNOTSUPP);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(requests_and_replies_are_counted),
	    T(calls_that_were_seen_are_counted),
	    T(what_waits_for_room_is_counted_once),
	    T(hiprio_counts_nodes),
	    T(latency_is_measured_by_opcode),
	    T(wrong_questions_are_refused),
	};

	return cmocka_run_group_tests_name("client_stats", tests, NULL, NULL);
}
