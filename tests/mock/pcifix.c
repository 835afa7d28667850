/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pcifix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include <virtiofs/ops.h>

int px_set_up(void **state)
{
	struct pcifix *x = calloc(1, sizeof(*x));

	x->fds = raw_fd_cnt();
	fake_init(&x->f);
	x->f.mapped = true;
	x->opts.size = sizeof(x->opts);
	x->opts.flags = VIRTIOFS_CLIENT_NONBLOCK;
	*state = x;
	return 0;
}

int px_tear_down(void **state)
{
	struct pcifix *x = *state;

	/* Nobody answers DESTROY. */
	x->f.hung_up = true;
	virtiofs_client_free(x->c);
	assert_false(x->c && !x->f.freed);
	assert_false(x->f.is_open);
	fake_fini(&x->f);
	assert_int_equal(raw_fd_cnt(), x->fds);
	free(x);
	return 0;
}

int px_start(struct pcifix *x)
{
	struct fuse_init_out out;
	int r;

	if (!x->c) {
		fake_drive(&x->f);
		assert_int_equal(virtiofs_client_new(&x->c, x->f.t, &x->opts),
				 0);
	}
	for (;;) {
		struct pollfd p[2] = {
		    {.fd = virtiofs_client_fd(x->c), .events = POLLIN},
		    {.fd = x->q ? virtiofs_cliq_fd(x->q) : -1,
		     .events = POLLIN},
		};

		r = virtiofs_client_start(x->c, NULL);
		if (r != -EAGAIN)
			return r;
		if (liar_pop(&x->f.l, 1, &x->req)) {
			assert_int_equal(x->req.in.opcode, FUSE_INIT);
			liar_init_reply(&out, &x->req);
			liar_reply(&x->f.l, &x->req, 0, &out, sizeof(out));
		}
		assert_true(poll(p, 2, 10000) > 0);
		virtiofs_client_dispatch(x->c);
	}
}

void px_take(struct pcifix *x, unsigned index)
{
	assert_int_equal(virtiofs_client_take_queue(x->c, index, 0, &x->q), 0);
}

void px_submit(struct pcifix *x, struct fuse_attr_out *out)
{
	struct iovec room = virtiofs_iov(out, sizeof(*out));
	struct virtiofs_op *op = virtiofs_cliq_get_op(x->q);

	assert_non_null(op);
	virtiofs_prep_getattr(op, 1, &room);
	assert_int_equal(virtiofs_cliq_submit(x->q), 1);
}

void px_await_result(struct pcifix *x)
{
	struct pollfd p = {.fd = virtiofs_cliq_fd(x->q), .events = POLLIN};
	struct virtiofs_result res;
	int r;

	while ((r = virtiofs_cliq_reap(x->q, &res, 1)) == 0)
		if (!virtiofs_cliq_arm(x->q))
			assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(r, 1);
	assert_int_equal(res.error, 0);
}

void px_one_request(struct pcifix *x, unsigned vq)
{
	struct fuse_attr_out out;

	px_submit(x, &out);
	assert_int_equal(liar_pop(&x->f.l, vq, &x->req), 1);
	liar_reply(&x->f.l, &x->req, 0, &out, sizeof(out));
	px_await_result(x);
}

int px_reset_queue(struct pcifix *x)
{
	struct pollfd p[2] = {
	    {.fd = virtiofs_client_fd(x->c), .events = POLLIN},
	    {.fd = virtiofs_cliq_fd(x->q), .events = POLLIN},
	};
	int r;

	while ((r = virtiofs_cliq_reset(x->q)) == -EAGAIN) {
		assert_true(poll(p, 2, 10000) > 0);
		virtiofs_client_dispatch(x->c);
	}
	return r;
}
