/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device that lies to a client about the session: INIT, silence, its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "liarfix.h"

/* ---- INIT ---- */

static int init_with(struct fix *f, const struct fuse_init_out *out, size_t len,
		     struct fuse_init_out *ret)
{
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EAGAIN);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, out, len);
	return virtiofs_client_start(f->c, ret);
}

static const struct fuse_init_out honest = {
    .major = 7,
    .minor = 31,
    .max_write = 1 << 20,
    .max_pages = 256,
    .flags = FUSE_MAX_PAGES,
};

static void init_reply_too_short(void **state)
{
	struct fix *f = *state;

	assert_int_equal(init_with(f, &honest, 7, NULL), -EPROTO);
	/* FAILED was said, and a new start may do better. */
	assert_non_null(strstr(f->l.text, "status 143;"));
	assert_int_equal(liar_start(&f->l, f->c), 0);
}

static void init_of_another_major(void **state)
{
	struct fuse_init_out out = honest;
	struct fix *f = *state;

	out.major = 6;
	assert_int_equal(init_with(f, &out, sizeof(out), NULL), -EPROTO);
}

/* covers: FUSE-DRV-04 */
static void max_write_zero(void **state)
{
	struct fuse_init_out out = honest, got;
	struct virtiofs_client_info info = {.size = sizeof(info)};
	static unsigned char buf[8192];
	struct fuse_write_in in = {.size = 4097};
	struct iovec data = {buf, 4097};
	struct fuse_write_out wrote;
	struct iovec room = {&wrote, sizeof(wrote)};
	struct fix *f = *state;
	struct virtiofs_op *op;

	out.max_write = 0;
	assert_int_equal(init_with(f, &out, sizeof(out), &got), 0);
	assert_int_equal(virtiofs_client_get_info(f->c, &info), 0);
	assert_int_equal(info.max_write, 4096);
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &f->q), 0);
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_write(op, 2, &in, &data, &room);
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	assert_int_equal(fix_reap(f).error, -EMSGSIZE);
	data.iov_len = in.size = 4096;
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_write(op, 2, &in, &data, &room);
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	fix_pop(f, 1);
	assert_int_equal(f->req.len, sizeof(in) + 4096);
}

static void init_answered_by_an_error(void **state)
{
	struct fix *f = *state;

	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EAGAIN);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, -EPERM, NULL, 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EPERM);
	assert_non_null(strstr(virtiofs_last_error(), "FUSE_INIT"));
}

/* ---- silence ---- */

/* covers: FUSE-BTH-10, FUSE-DRV-11 */
static void never_answers(void **state)
{
	struct fix *f = *state;
	struct fuse_attr_out out = {0};
	struct virtiofs_result res;
	struct virtiofs_region mem;
	struct virtiofs_op *op;
	struct iovec room;

	f->opts.timeout_ms = 1;
	fix_start(f);
	assert_int_equal(virtiofs_client_alloc_region(f->c, 4096, &mem), 0);
	op = virtiofs_cliq_get_op(f->q);
	room = virtiofs_iov(mem.addr, 4096);
	virtiofs_prep_read(op, 2, 3, 0, 4096, &room, 1);
	op->user_data = 9;
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	fix_pop(f, 1);
	while (virtiofs_cliq_reap(f->q, &res, 1) == 0)
		;
	assert_int_equal(res.user_data, 9);
	assert_int_equal(res.error, -ETIMEDOUT);
	assert_int_equal(res.flags, VIRTIOFS_RESULT_MORE);
	/* Its memory is still the device's. */
	assert_int_equal(virtiofs_client_unmap_region(f->c, &mem), -EBUSY);
	assert_int_equal(virtiofs_cliq_release(f->q), -EBUSY);
	fix_idle(f);
	/* It comes at last: told once, and then all is free. */
	liar_reply(&f->l, &f->req, 0, &out, 8);
	res = fix_reap(f);
	assert_int_equal(res.user_data, 9);
	assert_int_equal(res.error, -ETIMEDOUT);
	assert_int_equal(res.flags, 0);
	assert_int_equal(virtiofs_client_unmap_region(f->c, &mem), 0);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
}

static void never_answers_a_call(void **state)
{
	struct fix *f = *state;
	struct fuse_attr_out out;

	f->opts.timeout_ms = 5;
	fix_start(f);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
	assert_int_equal(virtiofs_call_getattr(f->c, 1, &out), -ETIMEDOUT);
	/* The late reply is nobody's, and does no harm to the next call. */
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
	assert_int_equal(virtiofs_call_getattr(f->c, 1, &out), -ETIMEDOUT);
}

static void never_answers_init(void **state)
{
	struct fix *f = *state;

	f->opts.flags = 0;
	f->opts.timeout_ms = 5;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -ETIMEDOUT);
}

/* Free ends, whatever the device fails to do. */
static void never_answers_destroy(void **state)
{
	struct timespec a, b;
	struct fix *f = *state;

	f->opts.timeout_ms = 20;
	fix_start(f);
	assert_int_equal(virtiofs_client_forget(f->c, 2, 1), 0);
	clock_gettime(CLOCK_MONOTONIC, &a);
	virtiofs_client_free(f->c);
	clock_gettime(CLOCK_MONOTONIC, &b);
	f->c = NULL;
	assert_true((b.tv_sec - a.tv_sec) * 1000 +
			(b.tv_nsec - a.tv_nsec) / 1000000 <
		    900);
	assert_true(f->l.freed);
}

static void map_is_never_answered(void **state)
{
	struct virtiofs_region mem;
	struct fix *f = *state;

	f->opts.timeout_ms = 5;
	fix_start(f);
	f->l.fail_op = LIAR_MAP;
	f->l.fail_r = -EAGAIN;
	assert_int_equal(virtiofs_client_alloc_region(f->c, 4096, &mem),
			 -ETIMEDOUT);
}

/* ---- the end of the device ---- */

static void hangs_up_with_ops_in_flight(void **state)
{
	struct fix *f = *state;
	struct virtiofs_result res[4];
	struct fuse_attr_out out[3];

	fix_start(f);
	for (unsigned i = 0; i < 3; i++)
		fix_getattr(f, &out[i]);
	f->l.gone = true;
	virtiofs_client_dispatch(f->c);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(res[i].error, -ENOTCONN);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), -ENOTCONN);
	assert_int_equal(virtiofs_client_forget(f->c, 2, 1), -ENOTCONN);
	/* And again, in fresh memory, the queue still taken. */
	assert_int_equal(liar_start(&f->l, f->c), 0);
	fix_getattr(f, &out[0]);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, &out[0], sizeof(out[0]));
	assert_int_equal(fix_reap(f).error, 0);
}

/* covers: INIT-DRV-08, STAT-DRV-04 */
static void needs_reset_with_ops_in_flight(void **state)
{
	struct fix *f = *state;
	struct virtiofs_result res[4];
	struct fuse_attr_out out[3];

	fix_start(f);
	for (unsigned i = 0; i < 3; i++)
		fix_getattr(f, &out[i]);
	/* A change that is none does nothing. */
	f->l.sink->ops->config_changed(f->l.sink);
	virtiofs_client_dispatch(f->c);
	fix_idle(f);
	f->l.status |= 0x40;
	f->l.sink->ops->config_changed(f->l.sink);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(res[i].error, -ENOTCONN);
	liar_clear(&f->l);
	assert_int_equal(liar_start(&f->l, f->c), 0);
	assert_int_equal(strncmp(f->l.text, "status 0;read_status;", 21), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(init_reply_too_short),
	    T(init_of_another_major),
	    T(max_write_zero),
	    T(init_answered_by_an_error),
	    T(never_answers),
	    T(never_answers_a_call),
	    T(never_answers_init),
	    T(never_answers_destroy),
	    T(map_is_never_answered),
	    T(hangs_up_with_ops_in_flight),
	    T(needs_reset_with_ops_in_flight),
	};

	return cmocka_run_group_tests_name("client_session", tests, NULL, NULL);
}
