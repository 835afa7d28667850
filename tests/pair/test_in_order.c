/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * IN_ORDER through both sessions: a program that answers in any order, and from
 * other threads, and a client that sees the order in which it asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "combo.h"

#define OPS    60u
#define ROUNDS 50u

/* What the device's program holds until it has all of a round. */
struct late {
	struct virtiofs_device *dev;
	pthread_t thread;
	unsigned cnt;
	unsigned of; /* requests in a round; atomic */
	struct virtiofs_req *req[OPS];
};

static int answer(struct virtiofs_req *req)
{
	struct fuse_attr_out out = {.attr.ino = req->in->nodeid};

	/* Lengths that differ: each has to be its own. */
	if (req->in->nodeid % 3 == 0)
		return virtiofs_req_error(req, -ENOENT);
	return virtiofs_req_reply(req, &out, sizeof(out));
}

static void *answer_from_here(void *arg)
{
	struct late *l = arg;

	for (unsigned i = 0; i < l->cnt; i++)
		answer(l->req[i]);
	return NULL;
}

static int on_request(struct virtiofs_req *req)
{
	struct late *l = req->userdata;
	pthread_t other;

	l->req[l->cnt++] = req;
	if (l->cnt < __atomic_load_n(&l->of, __ATOMIC_ACQUIRE))
		return 0;
	for (unsigned i = 0; i + 1 < l->cnt; i++) {
		unsigned k = i + rnd(l->cnt - i);
		struct virtiofs_req *r = l->req[i];

		l->req[i] = l->req[k];
		l->req[k] = r;
	}
	if (rnd(2)) {
		pthread_create(&other, NULL, answer_from_here, l);
		pthread_join(other, NULL);
	} else {
		answer_from_here(l);
	}
	l->cnt = 0;
	return 0;
}

static void *serve(void *arg)
{
	virtiofs_device_run(((struct late *)arg)->dev);
	return NULL;
}

static void reap_in_order(struct virtiofs_cliq *q, unsigned of)
{
	struct virtiofs_result res[OPS];
	unsigned done = 0;
	int n;

	while (done < of) {
		n = virtiofs_cliq_reap(q, res, OPS);
		assert_true(n >= 0);
		for (int i = 0; i < n; i++, done++) {
			bool none = (done + 1) % 3 == 0;

			assert_int_equal(res[i].user_data, done);
			assert_int_equal(res[i].error, none ? -ENOENT : 0);
			assert_int_equal(res[i].len,
					 none ? 0
					      : sizeof(struct fuse_attr_out));
		}
		if (!n && virtiofs_cliq_arm(q) == 0) {
			struct pollfd p = {.fd = virtiofs_cliq_fd(q),
					   .events = POLLIN};

			assert_int_equal(poll(&p, 1, 20000), 1);
		}
	}
}

static void ask_and_reap(struct virtiofs_client *c, struct late *l,
			 unsigned max)
{
	static struct fuse_attr_out out[OPS];
	struct iovec room[OPS];
	struct virtiofs_cliq *q;

	assert_int_equal(virtiofs_client_take_queue(c, 1, 0, &q), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned of = 1 + rnd(max);

		/* Nothing is in flight: the program may be told. */
		__atomic_store_n(&l->of, of, __ATOMIC_RELEASE);
		for (unsigned i = 0; i < of; i++) {
			struct virtiofs_op *op = virtiofs_cliq_get_op(q);

			assert_non_null(op);
			room[i] = virtiofs_iov(&out[i], sizeof(out[i]));
			virtiofs_prep_getattr(op, i + 1, &room[i]);
			op->user_data = i;
		}
		assert_int_equal(virtiofs_cliq_submit(q), of);
		reap_in_order(q, of);
		for (unsigned i = 0; i < of; i++)
			if ((i + 1) % 3)
				assert_int_equal(out[i].attr.ino, i + 1);
	}
	assert_int_equal(virtiofs_cliq_release(q), 0);
}

/* covers: RSVF-DEV-05 */
static void replies_in_any_order(const struct combo *co)
{
	static const struct virtiofs_device_ops ops = {.size = sizeof(ops),
						       .request = on_request};
	struct virtiofs_device_opts dopts = {
	    .size = sizeof(dopts),
	    .tag = "late",
	    .flags = VIRTIOFS_DEVICE_SHARED_REPLY,
	    .features = VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_IN_ORDER |
			co->features,
	};
	struct virtiofs_client_opts copts = {
	    .size = sizeof(copts),
	    .queue_size = co->num,
	    .features = dopts.features,
	};
	struct virtiofs_client_info info = {.size = sizeof(info)};
	struct virtiofs_transport *dt, *ct;
	struct virtiofs_client *c;
	struct late l = {0};

	make_pair(&dt, &ct);
	assert_int_equal(virtiofs_device_new(&l.dev, dt, &ops, &dopts, &l), 0);
	pthread_create(&l.thread, NULL, serve, &l);
	join_ends();
	assert_int_equal(virtiofs_client_new(&c, ct, &copts), 0);
	assert_int_equal(virtiofs_client_start(c, NULL), 0);
	virtiofs_client_get_info(c, &info);
	assert_int_equal(info.features, dopts.features | own_features());
	ask_and_reap(c, &l, co->num / 4 < OPS ? co->num / 4 : OPS);
	virtiofs_client_free(c);
	virtiofs_device_stop(l.dev);
	pthread_join(l.thread, NULL);
	virtiofs_device_free(l.dev);
}
CASE(replies_in_any_order)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_replies_in_any_order),
	};

	return take_args(argc, argv)
		   ? 2
		   : cmocka_run_group_tests_name("in order", tests, NULL, NULL);
}
