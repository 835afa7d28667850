/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "liarfix.h"

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
