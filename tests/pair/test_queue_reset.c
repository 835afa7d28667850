/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RING_RESET through both sessions: a queue is taken from a device that is busy
 * with its requests, while another queue goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "combo.h"

#define HOLD 99u /* a request for this node is kept until it is interrupted */
#define OPS  30u

struct slow {
	struct virtiofs_device *dev;
	pthread_t thread;
	unsigned held; /* atomic */
};

static int on_request(struct virtiofs_req *req)
{
	struct slow *s = req->userdata;
	struct fuse_attr_out out = {.attr.ino = req->in->nodeid};

	if (req->in->nodeid != HOLD)
		return virtiofs_req_reply(req, &out, sizeof(out));
	__atomic_add_fetch(&s->held, 1, __ATOMIC_RELEASE);
	return 0;
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	struct slow *s = userdata;

	__atomic_sub_fetch(&s->held, 1, __ATOMIC_RELEASE);
	virtiofs_req_error(req, -EINTR);
}

static void *serve(void *arg)
{
	virtiofs_device_run(((struct slow *)arg)->dev);
	return NULL;
}

static void ask(struct virtiofs_cliq *q, uint64_t nodeid, unsigned cnt)
{
	static struct fuse_attr_out out[OPS];
	struct iovec room[OPS];

	for (unsigned i = 0; i < cnt; i++) {
		struct virtiofs_op *op = virtiofs_cliq_get_op(q);

		assert_non_null(op);
		room[i] = virtiofs_iov(&out[i], sizeof(out[i]));
		virtiofs_prep_getattr(op, nodeid, &room[i]);
	}
	assert_int_equal(virtiofs_cliq_submit(q), cnt);
}

static void expect(struct virtiofs_cliq *q, int error, unsigned cnt)
{
	struct virtiofs_result res[OPS];

	while (cnt) {
		int n = virtiofs_cliq_wait(q, res, OPS);

		assert_in_range(n, 1, cnt);
		for (int i = 0; i < n; i++)
			assert_int_equal(res[i].error, error);
		cnt -= (unsigned)n;
	}
}

static void reset_and_go_on(struct virtiofs_client *c, struct slow *s,
			    unsigned max)
{
	struct virtiofs_cliq *q, *other;

	assert_int_equal(virtiofs_client_take_queue(c, 1, 0, &q), 0);
	assert_int_equal(virtiofs_client_take_queue(c, 2, 0, &other), 0);
	for (unsigned i = 0; i < 20; i++) {
		unsigned cnt = 1 + rnd(max);

		ask(q, HOLD, cnt);
		while (__atomic_load_n(&s->held, __ATOMIC_ACQUIRE) < cnt)
			sched_yield();
		ask(other, 5, 1);
		assert_int_equal(virtiofs_cliq_reset(q), 0);
		/* The program is done with all of them. */
		assert_int_equal(__atomic_load_n(&s->held, __ATOMIC_ACQUIRE),
				 0);
		expect(q, -EINTR, cnt);
		expect(other, 0, 1);
		cnt = 1 + rnd(max);
		ask(q, 7, cnt);
		expect(q, 0, cnt);
	}
	assert_int_equal(virtiofs_cliq_release(other), 0);
	assert_int_equal(virtiofs_cliq_release(q), 0);
}

/* covers: QRST-DEV-01, QRST-DEV-02 */
static void queue_is_reset_with_requests_in_flight(const struct combo *co)
{
	static const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .interrupt = on_interrupt,
	};
	struct virtiofs_device_opts dopts = {
	    .size = sizeof(dopts),
	    .tag = "slow",
	    .num_request_queues = 2,
	    .features = VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_RESET |
			co->features,
	};
	struct virtiofs_client_opts copts = {
	    .size = sizeof(copts),
	    .num_request_queues = 2,
	    .queue_size = co->num,
	    .features = dopts.features,
	};
	struct virtiofs_transport *dt, *ct;
	struct virtiofs_client *c;
	struct slow s = {0};

	make_pair(&dt, &ct);
	assert_int_equal(virtiofs_device_new(&s.dev, dt, &ops, &dopts, &s), 0);
	pthread_create(&s.thread, NULL, serve, &s);
	assert_int_equal(virtiofs_client_new(&c, ct, &copts), 0);
	assert_int_equal(virtiofs_client_start(c, NULL), 0);
	reset_and_go_on(c, &s, co->num / 4 < OPS ? co->num / 4 : OPS);
	virtiofs_client_free(c);
	virtiofs_device_stop(s.dev);
	pthread_join(s.thread, NULL);
	virtiofs_device_free(s.dev);
}
CASE(queue_is_reset_with_requests_in_flight)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_queue_is_reset_with_requests_in_flight),
	};

	return take_args(argc, argv) ? 2
				     : cmocka_run_group_tests_name(
					   "queue reset", tests, NULL, NULL);
}
