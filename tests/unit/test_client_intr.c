/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtiofs_client_interrupt() of blocking calls that have no request yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <semaphore.h>

#include "liarfix.h"
#include "session/client.h"

#define NUM 8u /* slots, and calls that the device has */
#define US  77u

static const struct fuse_attr_out zero;
static struct fix *fix;
static struct liar_req asked[NUM];
static struct fix_call others[NUM];
static bool is_late;
static sem_t waits, has_slot, go_on;

/* Was it given a slot? The client's lock is held. */
static bool is_given(void)
{
	const struct vtfs_waiter *w = fix->c->waiters;

	while (w && w->user_data != US)
		w = w->next;
	return w && w->slot;
}

static __thread bool is_us;

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock);

/* The thread in question runs a little later than it could. */
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock)
{
	int r;

	if (is_us)
		sem_post(&waits);
	r = __real_pthread_cond_wait(cond, lock);
	if (!is_us || !is_late || !is_given())
		return r;
	pthread_mutex_unlock(lock);
	sem_post(&has_slot);
	sem_wait(&go_on);
	pthread_mutex_lock(lock);
	return r;
}

static void *run_us(void *arg)
{
	unsigned char buf[VIRTIOFS_OP_ARG_MAX];
	struct fuse_attr_out out = {0};
	struct iovec room = virtiofs_iov(&out, sizeof(out));
	struct virtiofs_op op;

	is_us = true;
	virtiofs_op_init(&op, buf);
	virtiofs_prep_getattr(&op, 5, &room);
	op.user_data = US;
	*(ssize_t *)arg = virtiofs_client_call(fix->c, &op);
	return NULL;
}

/* Others have all slots, and our call waits for one. */
static void start_us(void **state, pthread_t *thread, ssize_t *ret_r)
{
	fix = *state;
	fix->opts.queue_size = NUM;
	fix_start(fix);
	assert_int_equal(virtiofs_cliq_release(fix->q), 0);
	sem_init(&waits, 0, 0);
	sem_init(&has_slot, 0, 0);
	sem_init(&go_on, 0, 0);
	for (unsigned i = 0; i < NUM; i++) {
		others[i] = (struct fix_call){.nodeid = 1};
		fix_call_start(fix, &others[i]);
		fix_pop_wait(fix);
		asked[i] = fix->req;
	}
	assert_int_equal(pthread_create(thread, NULL, run_us, ret_r), 0);
	sem_wait(&waits);
}

static void answer(unsigned i)
{
	liar_reply(&fix->l, &asked[i], 0, &zero, sizeof(zero));
}

/* Both slots serve again, and nothing else was asked. */
static void end(void)
{
	static struct liar_req more;

	for (unsigned i = 0; i < NUM; i++)
		assert_int_equal(fix_call_join(&others[i]), sizeof(zero));
	assert_int_equal(liar_pop(&fix->l, 1, &more), 0);
	for (unsigned i = 0; i < NUM; i++) {
		others[i] = (struct fix_call){.nodeid = 1};
		fix_call_start(fix, &others[i]);
		fix_pop_wait(fix);
		asked[i] = fix->req;
	}
	for (unsigned i = 0; i < NUM; i++) {
		answer(i);
		assert_int_equal(fix_call_join(&others[i]), sizeof(zero));
	}
	assert_int_equal(liar_pop(&fix->l, 0, &more), 0);
	assert_int_equal(virtiofs_client_interrupt(fix->c, US), -ENOENT);
	sem_destroy(&waits);
	sem_destroy(&has_slot);
	sem_destroy(&go_on);
}

static void call_that_waits_for_a_slot(void **state)
{
	pthread_t thread;
	ssize_t r = 0;

	is_late = false;
	start_us(state, &thread, &r);
	assert_int_equal(virtiofs_client_interrupt(fix->c, US), 0);
	pthread_join(thread, NULL);
	assert_int_equal(r, -EINTR);
	for (unsigned i = 0; i < NUM; i++)
		answer(i);
	end();
}

/* Whoever gave it the slot has gone on, its own thread has not woken yet. */
static void call_that_was_just_given_a_slot(void **state)
{
	pthread_t thread;
	ssize_t r = 0;

	is_late = true;
	start_us(state, &thread, &r);
	answer(0);
	sem_wait(&has_slot);
	assert_int_equal(virtiofs_client_interrupt(fix->c, US), 0);
	sem_post(&go_on);
	pthread_join(thread, NULL);
	assert_int_equal(r, -EINTR);
	for (unsigned i = 1; i < NUM; i++)
		answer(i);
	end();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(call_that_waits_for_a_slot),
	    T(call_that_was_just_given_a_slot),
	};

	return cmocka_run_group_tests_name("client_intr", tests, NULL, NULL);
}
