/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A client that is not called looks for its replies itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "liarfix.h"

static int set_up(void **state)
{
	struct fix *f;

	fix_set_up(state);
	f = *state;
	f->opts.flags |= VIRTIOFS_CLIENT_POLL;
	return 0;
}

static void await(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, 10000), 1);
}

static void taken_queue_wakes_its_owner(void **state)
{
	struct fix *f = *state;
	struct virtiofs_result res;
	struct fuse_attr_out out;
	int r;

	fix_start(f);
	assert_int_equal(f->l.q[1].setup.call_fd, -1);
	for (unsigned i = 0; i < 3; i++) {
		fix_getattr(f, &out);
		fix_pop(f, 1);
		/* It wakes in vain, more than once. */
		for (unsigned k = 0; k < 3; k++) {
			assert_int_equal(virtiofs_cliq_arm(f->q), 0);
			await(virtiofs_cliq_fd(f->q));
		}
		assert_int_equal(virtiofs_cliq_arm(f->q), 0);
		liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
		while (!(r = virtiofs_cliq_reap(f->q, &res, 1)))
			await(virtiofs_cliq_fd(f->q));
		assert_int_equal(r, 1);
		assert_int_equal(res.error, 0);
	}
}

/* With nothing in flight nobody is woken. */
static void idle_queue_sleeps(void **state)
{
	struct fix *f = *state;
	struct virtiofs_result res;
	struct fuse_attr_out out;
	struct pollfd p;

	fix_start(f);
	fix_getattr(f, &out);
	fix_pop(f, 1);
	/* A look is due when there is nothing to look for any more. */
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
	liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
	assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 1);
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
	p = (struct pollfd){.fd = virtiofs_cliq_fd(f->q), .events = POLLIN};
	assert_int_equal(poll(&p, 1, 20), 0);
}

static void call_returns(void **state)
{
	struct fix_call call = {.nodeid = 1};
	struct fix *f = *state;
	struct fuse_attr_out out = {0};

	fix_start(f);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
	for (unsigned i = 0; i < 3; i++) {
		fix_call_start(f, &call);
		fix_pop_wait(f);
		liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
		assert_int_equal(fix_call_join(&call), sizeof(out));
	}
	/* And in an event loop. */
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &f->q), 0);
	fix_getattr(f, &out);
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
	await(virtiofs_cliq_fd(f->q));
}

/* A forget that waits for room goes out though hiprio is not heard. */
static void hiprio_is_looked_at(void **state)
{
	struct virtiofs_queue_stats s = {.size = sizeof(s)};
	struct fix *f = *state;
	unsigned sent = 0;

	f->opts.queue_size = 4;
	fix_start(f);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(virtiofs_client_forget(f->c, 10 + i, 1), 0);
	while (liar_pop(&f->l, 0, &f->req)) {
		liar_used(&f->l, &f->req, 0);
		sent++;
	}
	assert_int_equal(sent, 2);
	while (!liar_pop(&f->l, 0, &f->req)) {
		await(virtiofs_client_fd(f->c));
		virtiofs_client_dispatch(f->c);
	}
	assert_int_equal(f->req.in.opcode, FUSE_BATCH_FORGET);
	/* Nobody called. */
	assert_int_equal(virtiofs_client_stats(f->c, VIRTIOFS_QUEUE_HIPRIO, &s),
			 0);
	assert_int_equal(s.calls, 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, fix_tear_down)
	const struct CMUnitTest tests[] = {
	    T(taken_queue_wakes_its_owner),
	    T(idle_queue_sleeps),
	    T(call_returns),
	    T(hiprio_is_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
