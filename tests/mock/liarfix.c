/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "liarfix.h"

#include <poll.h>
#include <sched.h>
#include <stdlib.h>

int fix_set_up(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	liar_init(&f->l);
	f->opts.size = sizeof(f->opts);
	f->opts.flags = VIRTIOFS_CLIENT_NONBLOCK;
	*state = f;
	return 0;
}

int fix_tear_down(void **state)
{
	struct fix *f = *state;

	f->l.gone = true;
	virtiofs_client_free(f->c);
	liar_fini(&f->l);
	free(f);
	return 0;
}

void fix_start(struct fix *f)
{
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(liar_start(&f->l, f->c), 0);
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &f->q), 0);
}

void fix_pop(struct fix *f, unsigned vq)
{
	assert_int_equal(liar_pop(&f->l, vq, &f->req), 1);
}

void fix_idle(struct fix *f)
{
	struct virtiofs_result res;

	assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 0);
}

struct virtiofs_result fix_reap(struct fix *f)
{
	struct virtiofs_result res[2];

	assert_int_equal(virtiofs_cliq_reap(f->q, res, 2), 1);
	return res[0];
}

void fix_getattr(struct fix *f, struct fuse_attr_out *out)
{
	struct iovec room = virtiofs_iov(out, sizeof(*out));
	struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);

	assert_non_null(op);
	virtiofs_prep_getattr(op, 1, &room);
	op->user_data = 1;
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
}

void fix_pop_wait(struct fix *f)
{
	struct pollfd p[LIAR_QUEUES];
	unsigned cnt, more;

	for (;;) {
		cnt = more = 0;
		for (unsigned i = 1; i < LIAR_QUEUES && f->l.q[i].vq; i++) {
			if (liar_pop(&f->l, i, &f->req))
				return;
			more |= (unsigned)vtfs_vq_dev_arm(f->l.q[i].vq);
			p[cnt].fd = f->l.q[i].setup.kick_fd;
			p[cnt++].events = POLLIN;
		}
		if (!more)
			assert_true(poll(p, cnt, 10000) > 0);
	}
}

static void *run_call(void *arg)
{
	struct fix_call *call = arg;
	unsigned char buf[VIRTIOFS_OP_ARG_MAX];
	struct fuse_attr_out out = {0};
	struct iovec room = virtiofs_iov(&out, sizeof(out));
	struct virtiofs_op op;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(call->cpu ? call->cpu - 1 : 0, &cpus);
	if (call->cpu && sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
		return NULL;
	virtiofs_op_init(&op, buf);
	virtiofs_prep_getattr(&op, call->nodeid, &room);
	op.timeout_ms = call->timeout_ms;
	call->r = virtiofs_client_call(call->f->c, &op);
	return NULL;
}

void fix_call_start(struct fix *f, struct fix_call *call)
{
	call->f = f;
	call->r = -EINPROGRESS;
	assert_int_equal(pthread_create(&call->thread, NULL, run_call, call),
			 0);
}

ssize_t fix_call_join(struct fix_call *call)
{
	pthread_join(call->thread, NULL);
	return call->r;
}
