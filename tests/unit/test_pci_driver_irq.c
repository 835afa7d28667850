/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Vectors of the function's queues. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <virtiofs/ops.h>

#include "pcifix.h"
#include "wire/virtio.h"

/* ---- interrupts ---- */

static void two_queues(struct pcifix *x)
{
	x->f.l.queue_cnt = 3;
	x->f.l.config[VTFS_CONFIG_QUEUES] = 2;
	x->f.q[2].max = x->f.q[2].size = 256;
	x->opts.num_request_queues = 2;
}

/* covers: PCI-DRV-25 */
static void any_number_of_vectors_will_do(void **state)
{
	for (unsigned vectors = 0; vectors <= 6; vectors++) {
		struct virtiofs_cliq *q;
		struct pcifix *x;

		px_set_up((void **)&x);
		two_queues(x);
		x->f.vectors = vectors;
		assert_int_equal(px_start(x), 0);
		assert_int_equal(x->f.vector_cnt, vectors < 4 ? vectors : 4);
		px_take(x, 1);
		px_one_request(x, 1);
		px_one_request(x, 1);
		q = x->q;
		px_take(x, 2);
		px_one_request(x, 2);
		x->q = q;
		px_one_request(x, 1);
		px_tear_down((void **)&x);
	}
	(void)state;
}

/* The system has fewer than the function. */
static void fewer_vectors_than_asked_for(void **state)
{
	struct pcifix *x = *state;

	x->f.vectors_had = 2;
	assert_int_equal(px_start(x), 0);
	assert_int_equal(x->f.q[1].vector, 1);
	assert_int_equal(x->f.q[0].vector, 1);
	px_take(x, 1);
	px_one_request(x, 1);
}

/* covers: PCI-DRV-24 */
static void vector_that_reads_back_as_none_is_polled(void **state)
{
	struct pcifix *x = *state;

	x->f.vector_limit = 2;
	assert_int_equal(px_start(x), 0);
	assert_int_equal(x->f.q[0].vector, 1);
	assert_int_equal(x->f.q[1].vector, VTFS_PCI_NO_VECTOR);
	px_take(x, 1);
	px_one_request(x, 1);
	px_one_request(x, 1);
}

/* covers: PCI-DRV-19 */
static void isr_is_not_read(void **state)
{
	struct pcifix *x = *state;

	assert_int_equal(px_start(x), 0);
	px_take(x, 1);
	/* The fake fails at a read of it. */
	for (unsigned i = 0; i < 10; i++)
		px_one_request(x, 1);
}

/* One vector for all: it may mean the configuration and any queue.
 * covers: PCI-DRV-29 */
static void shared_vector_means_all_of_them(void **state)
{
	struct virtiofs_cliq *q[2];
	struct fuse_attr_out out[2];
	struct pcifix *x = *state;

	two_queues(x);
	x->f.vectors = 1;
	assert_int_equal(px_start(x), 0);
	for (unsigned i = 0; i < 2; i++) {
		px_take(x, i + 1);
		q[i] = x->q;
		px_submit(x, &out[i]);
		/* Whatever came before. */
		while (virtiofs_cliq_arm(x->q))
			;
	}
	for (unsigned i = 0; i < 2; i++) {
		/* The device writes to the ring, and calls no one yet. */
		close(x->f.l.q[i + 1].setup.call_fd);
		x->f.l.q[i + 1].setup.call_fd = -1;
		assert_int_equal(liar_pop(&x->f.l, i + 1, &x->req), 1);
		liar_reply(&x->f.l, &x->req, 0, &out[i], sizeof(out[i]));
	}
	x->f.l.status |= VTFS_STATUS_NEEDS_RESET;
	fake_raise(&x->f, 0);
	for (unsigned i = 0; i < 2; i++) {
		struct pollfd p = {.fd = virtiofs_cliq_fd(q[i]),
				   .events = POLLIN};
		struct virtiofs_result res;

		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(virtiofs_cliq_reap(q[i], &res, 1), 1);
		assert_int_equal(res.error, 0);
	}
	virtiofs_client_dispatch(x->c);
	x->q = q[0];
	assert_int_equal(virtiofs_cliq_reap(x->q, NULL, 0), 0);
	assert_int_equal(
	    virtiofs_client_get_info(
		x->c, &(struct virtiofs_client_info){.size = sizeof(size_t)}),
	    -ENOTCONN);
	x->f.l.status = 0;
}

static void configuration_change_is_heard(void **state)
{
	struct pcifix *x = *state;
	struct pollfd p;

	assert_int_equal(px_start(x), 0);
	p = (struct pollfd){.fd = virtiofs_client_fd(x->c), .events = POLLIN};
	for (unsigned i = 0; i < 3; i++) {
		virtiofs_client_dispatch(x->c);
		assert_int_equal(poll(&p, 1, 0), 0);
		fake_raise(&x->f, 0);
		assert_int_equal(poll(&p, 1, 10000), 1);
		x->f.log_cnt = 0;
		virtiofs_client_dispatch(x->c);
		assert_int_equal(fake_reads(&x->f, VTFS_PCI_DEVICE_STATUS), 1);
	}
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, px_set_up, px_tear_down)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(any_number_of_vectors_will_do),
	    T(fewer_vectors_than_asked_for),
	    T(vector_that_reads_back_as_none_is_polled),
	    T(isr_is_not_read),
	    T(shared_vector_means_all_of_them),
	    T(configuration_change_is_heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
