/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "recpair.h"
#include "wire/virtio.h"

static void client_that_goes_is_lost_once(void **state)
{
	struct pair *p = *state;

	pair_negotiate(p);
	pair_map(p);
	virtiofs_transport_free(p->c);
	p->c = NULL;
	assert_true(pair_readable(p->d->fd(p->d)));
	assert_int_equal(p->d->dev->dispatch(p->d), 0);
	assert_int_equal(p->rec.losses, 1);
	assert_false(pair_readable(p->d->fd(p->d)));
	assert_int_equal(p->d->dev->dispatch(p->d), 0);
	assert_int_equal(p->rec.losses, 1);
}

static void client_that_goes_while_an_answer_is_owed(void **state)
{
	struct pair *p = *state;

	pair_negotiate(p);
	assert_int_equal(pair_start(p, 1, pair_map(p)), 0);
	p->rec.hold = true;
	assert_int_equal(p->c->cli->stop_queue(p->c, 1), -EAGAIN);
	p->d->dev->dispatch(p->d);
	virtiofs_transport_free(p->c);
	p->c = NULL;
	p->d->dev->dispatch(p->d);
	assert_int_equal(p->rec.losses, 1);
	p->d->dev->queue_stopped(p->d, 1, 0, 0);
	rec_answer_reset(&p->rec);
}

static void device_that_goes_is_lost_once(void **state)
{
	struct pair *p = *state;
	uint8_t bits;

	assert_int_equal(p->c->cli->get_status(p->c, &bits), -EAGAIN);
	rec_fini(&p->rec);
	p->d = NULL;
	assert_true(pair_readable(p->c->fd(p->c)));
	assert_int_equal(p->c->cli->get_status(p->c, &bits), -ENOTCONN);
	assert_true(pair_readable(p->c->fd(p->c)));
	assert_int_equal(p->c->cli->dispatch(p->c), -ENOTCONN);
	assert_int_equal(p->rc.losses, 1);
	assert_int_equal(p->c->cli->dispatch(p->c), -ENOTCONN);
	assert_int_equal(p->rc.losses, 1);
	assert_false(pair_readable(p->c->fd(p->c)));
	assert_int_equal(p->c->cli->connect(p->c), -ENOTCONN);
}

static void connect_again_ends_the_old_session(void **state)
{
	struct pair *p = *state;

	pair_negotiate(p);
	pair_map(p);
	assert_int_equal(p->rec.losses, 0);
	p->rec.hold = true;
	assert_int_equal(p->c->cli->connect(p->c), -EAGAIN);
	p->d->dev->dispatch(p->d);
	assert_int_equal(p->rec.losses, 1);
	assert_int_equal(p->c->cli->connect(p->c), -EAGAIN);
	rec_answer_reset(&p->rec);
	assert_int_equal(p->c->cli->connect(p->c), 0);
	p->rec.hold = false;
	assert_int_equal(pair_get_status(p), 0);
	assert_non_null((void *)(uintptr_t)pair_map(p));
}

static void op_given_up_is_finished_before_the_next(void **state)
{
	struct pair *p = *state;
	uint64_t features;
	uint8_t bits = 99;

	assert_int_equal(p->c->cli->get_features(p->c, &features), -EAGAIN);
	assert_int_equal(p->c->cli->get_status(p->c, &bits), -EAGAIN);
	p->d->dev->dispatch(p->d);
	assert_int_equal(p->c->cli->get_status(p->c, &bits), -EAGAIN);
	p->d->dev->dispatch(p->d);
	assert_int_equal(p->c->cli->get_status(p->c, &bits), 0);
	assert_int_equal(bits, 0);
}

static void *serve(void *arg)
{
	struct pair *p = arg;
	struct pollfd pfd = {.fd = p->d->fd(p->d), .events = POLLIN};

	while (!p->rec.losses) {
		poll(&pfd, 1, -1);
		p->d->dev->dispatch(p->d);
	}
	return NULL;
}

/* The same calls with the device half in a thread of its own. */
static void halves_in_two_threads(void **state)
{
	struct pair *p = *state;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, serve, p), 0);
	for (unsigned i = 0; i < 200; i++) {
		struct virtiofs_region r = {.size = sizeof(r),
					    .addr = p->mem,
					    .len = 4 * PAGE,
					    .fd = p->fd};
		struct pollfd pfd = {.fd = p->c->fd(p->c), .events = POLLIN};
		uint64_t addr;

		while (p->c->cli->map(p->c, &r, &addr) == -EAGAIN)
			poll(&pfd, 1, -1);
		while (p->c->cli->unmap(p->c, addr) == -EAGAIN)
			poll(&pfd, 1, -1);
	}
	virtiofs_transport_free(p->c);
	p->c = NULL;
	pthread_join(t, NULL);
	assert_int_equal(p->rec.table != NULL, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, pair_set_up, pair_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(client_that_goes_is_lost_once),
	    T(client_that_goes_while_an_answer_is_owed),
	    T(device_that_goes_is_lost_once),
	    T(connect_again_ends_the_old_session),
	    T(op_given_up_is_finished_before_the_next),
	    T(halves_in_two_threads),
	};

	return cmocka_run_group_tests_name("inproc: ends", tests, NULL, NULL);
}
