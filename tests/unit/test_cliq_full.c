/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request queue that is full: what waits, in what order, for how long. The
 * ring has 8 descriptors and a GETATTR takes two of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "liarfix.h"

#define NUM  8u
#define FITS (NUM / 2)

static struct liar_req sent[FITS];
static struct fuse_attr_out out[64];

static struct fix *start(void **state, uint32_t backlog)
{
	struct fix *f = *state;

	f->opts.queue_size = NUM;
	f->opts.backlog = backlog;
	f->l.offered &= ~VIRTIOFS_F_INDIRECT_DESC;
	fix_start(f);
	return f;
}

/* A GETATTR of node 100 + i with that user_data. */
static bool ask(struct fix *f, unsigned i, uint32_t timeout_ms)
{
	struct iovec room = virtiofs_iov(&out[i], sizeof(out[i]));
	struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);

	if (!op)
		return false;
	virtiofs_prep_getattr(op, 100 + i, &room);
	op->user_data = i;
	op->timeout_ms = timeout_ms;
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	return true;
}

/* What fits is with the device. */
static void fill(struct fix *f)
{
	for (unsigned i = 0; i < FITS; i++)
		assert_true(ask(f, i, 0));
	for (unsigned i = 0; i < FITS; i++) {
		assert_int_equal(liar_pop(&f->l, 1, &sent[i]), 1);
		assert_int_equal(sent[i].in.nodeid, 100 + i);
	}
}

static void answer(struct fix *f, struct liar_req *req)
{
	static const struct fuse_attr_out zero;
	struct virtiofs_result res;
	uint64_t i = req->in.nodeid - 100;

	liar_reply(&f->l, req, 0, &zero, sizeof(zero));
	res = fix_reap(f);
	assert_int_equal(res.error, 0);
	assert_int_equal(res.user_data, i);
}

/* "Requests that find their queue full wait in order and go out on
 * completions": each completion sends one more, whichever it was. */
static void requests_wait_in_order_and_go_out_on_completions(void **state)
{
	static const unsigned order[FITS] = {2, 0, 3, 1};
	struct fix *f = start(state, 0);

	fill(f);
	for (unsigned i = FITS; i < NUM; i++)
		assert_true(ask(f, i, 0));
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	for (unsigned i = 0; i < FITS; i++) {
		answer(f, &sent[order[i]]);
		fix_pop(f, 1);
		assert_int_equal(f->req.in.nodeid, 100 + FITS + i);
		assert_int_equal(liar_pop(&f->l, 1, &sent[0]), 0);
		sent[order[i]] = f->req;
	}
	for (unsigned i = 0; i < FITS; i++)
		answer(f, &sent[i]);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
}

/* The backlog is what the option says, beyond the ring's size; then there is no
 * slot until a result was reaped. */
static void backlog_is_as_long_as_asked_for(void **state)
{
	static const uint32_t backlogs[] = {0, 1, 40};

	for (unsigned k = 0; k < 3; k++) {
		struct fix *f;
		unsigned n = 0;

		fix_set_up((void **)&f);
		start((void **)&f, backlogs[k]);
		while (ask(f, n, 0))
			n++;
		assert_int_equal(n, NUM + backlogs[k]);
		for (unsigned i = 0; i < n; i++) {
			fix_pop(f, 1);
			assert_int_equal(f->req.in.nodeid, 100 + i);
			answer(f, &f->req);
			assert_true(i || ask(f, n, 0));
			assert_false(!i && ask(f, n + 1, 0));
		}
		fix_pop(f, 1);
		assert_int_equal(f->req.in.nodeid, 100 + n);
		fix_tear_down((void **)&f);
	}
	(void)state;
}

static void backlog_too_long_is_refused(void **state)
{
	struct fix *f = *state;

	f->opts.backlog = 32768;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts),
			 -EINVAL);
	f->c = NULL;
}

/* A time limit that passes in the backlog is the end: nothing follows, and the
 * device never sees it. */
static void time_up_in_the_backlog_is_final(void **state)
{
	struct fix *f = start(state, 0);
	struct virtiofs_result res;
	struct pollfd p = {.events = POLLIN};

	fill(f);
	assert_true(ask(f, 10, 1));
	assert_true(ask(f, 11, 0));
	p.fd = virtiofs_cliq_fd(f->q);
	while (virtiofs_cliq_arm(f->q) == 0)
		assert_int_equal(poll(&p, 1, 10000), 1);
	res = fix_reap(f);
	assert_int_equal(res.user_data, 10);
	assert_int_equal(res.error, -ETIMEDOUT);
	assert_int_equal(res.flags, 0);
	answer(f, &sent[0]);
	fix_pop(f, 1);
	assert_int_equal(f->req.in.nodeid, 111);
	answer(f, &f->req);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
}

static void start_calls(struct fix *f, struct fix_call *calls, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++) {
		calls[i] = (struct fix_call){.nodeid = 100 + i};
		fix_call_start(f, &calls[i]);
	}
}

static void join_calls(struct fix_call *calls, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++)
		assert_int_equal(fix_call_join(&calls[i]), sizeof(out[0]));
}

/* The blocking call waits where get_op says that there is none. */
static void call_waits_where_the_fast_path_is_refused(void **state)
{
	static const struct fuse_attr_out zero;
	struct fix_call calls[NUM + 3];
	struct fix *f = start(state, 0);

	assert_int_equal(virtiofs_cliq_release(f->q), 0);
	start_calls(f, calls, NUM + 3);
	for (unsigned i = 0; i < NUM + 3; i++) {
		fix_pop_wait(f);
		liar_reply(&f->l, &f->req, 0, &zero, sizeof(zero));
	}
	join_calls(calls, NUM + 3);
}

/* But not longer than it was told to, and then the device never sees it. */
static void call_waits_in_its_time_only(void **state)
{
	static const struct fuse_attr_out zero;
	struct fix_call calls[NUM], late = {.nodeid = 140, .timeout_ms = 2};
	struct fix *f = start(state, 0);

	assert_int_equal(virtiofs_cliq_release(f->q), 0);
	start_calls(f, calls, NUM);
	for (unsigned i = 0; i < FITS; i++) {
		fix_pop_wait(f);
		sent[i] = f->req;
	}
	fix_call_start(f, &late);
	assert_int_equal(fix_call_join(&late), -ETIMEDOUT);
	for (unsigned i = 0; i < NUM; i++) {
		if (i >= FITS) {
			fix_pop_wait(f);
			sent[i % FITS] = f->req;
		}
		assert_int_not_equal(sent[i % FITS].in.nodeid, 140);
		liar_reply(&f->l, &sent[i % FITS], 0, &zero, sizeof(zero));
	}
	join_calls(calls, NUM);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(requests_wait_in_order_and_go_out_on_completions),
	    cmocka_unit_test(backlog_is_as_long_as_asked_for),
	    T(backlog_too_long_is_refused),
	    T(time_up_in_the_backlog_is_final),
	    T(call_waits_where_the_fast_path_is_refused),
	    T(call_waits_in_its_time_only),
	};

	return cmocka_run_group_tests_name("cliq_full", tests, NULL, NULL);
}
