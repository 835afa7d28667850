/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device that lies to a client session. Tests are named after the lie. */
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

/* The reply's header as it should be, for a test to spoil. */
static struct fuse_out_header head_of(const struct liar_req *req, size_t len)
{
	struct fuse_out_header h = {.len = (uint32_t)(sizeof(h) + len),
				    .unique = req->in.unique};

	return h;
}

/* One spoiled reply to GETATTR, and what the client makes of it: -EPROTO, not a
 * byte of it in the caller's room, and the queue goes on. */
static void spoiled(struct fix *f, const struct fuse_out_header *h,
		    uint32_t used)
{
	struct fuse_attr_out out, zero = {0}, good = {.attr.ino = 77};
	struct virtiofs_result res;
	unsigned char junk[256];

	memset(&out, 0, sizeof(out));
	memset(junk, 0xee, sizeof(junk));
	liar_write(&f->req, sizeof(*h), junk, sizeof(junk));
	liar_write(&f->req, 0, h, sizeof(*h));
	liar_used(&f->l, &f->req, used);
	res = fix_reap(f);
	assert_int_equal(res.user_data, 1);
	assert_int_equal(res.error, -EPROTO);
	assert_int_equal(res.len, 0);
	assert_int_equal(res.flags, 0);
	assert_memory_equal(&out, &zero, sizeof(out));
	fix_getattr(f, &out);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, &good, sizeof(good));
	res = fix_reap(f);
	assert_int_equal(res.error, 0);
	assert_int_equal(res.len, sizeof(out));
	assert_int_equal(out.attr.ino, 77);
}

static struct fuse_attr_out attr_room;

static struct fuse_out_header ask(struct fix *f)
{
	memset(&attr_room, 0, sizeof(attr_room));
	fix_start(f);
	fix_getattr(f, &attr_room);
	fix_pop(f, 1);
	assert_int_equal(f->req.room_len, 16 + sizeof(attr_room));
	return head_of(&f->req, sizeof(attr_room));
}

static void nothing_leaked(void)
{
	static const struct fuse_attr_out zero;

	assert_memory_equal(&attr_room, &zero, sizeof(zero));
}

/* covers: FUSE-DRV-07 */
static void used_len_not_out_len(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	spoiled(f, &h, h.len - 1);
	nothing_leaked();
}

/* covers: FUSE-DRV-07 */
static void out_len_beyond_used_len(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	h.len = UINT32_MAX;
	spoiled(f, &h, 16 + sizeof(attr_room));
	nothing_leaked();
}

/* covers: FUSE-DRV-07 */
static void used_len_zero(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	spoiled(f, &h, 0);
	nothing_leaked();
}

/* covers: FUSE-DRV-07 */
static void used_len_below_a_header(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	h.len = 15;
	spoiled(f, &h, 15);
	nothing_leaked();
}

/* covers: FUSE-DRV-07 */
static void unique_of_another(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	h.unique += 2;
	spoiled(f, &h, h.len);
	nothing_leaked();
}

/* covers: FUSE-DRV-07 */
static void unique_zero(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	h.unique = 0;
	spoiled(f, &h, h.len);
	nothing_leaked();
}

/* covers: FUSE-DRV-07 */
static void error_positive(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	h.error = 2;
	spoiled(f, &h, h.len);
	nothing_leaked();
}

/* covers: FUSE-DRV-07 */
static void error_out_of_range(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	h.error = -512;
	h.len = 16;
	spoiled(f, &h, 16);
	nothing_leaked();
}

/* covers: FUSE-DRV-07 */
static void error_with_payload(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	h.error = -ENOENT;
	spoiled(f, &h, h.len);
	nothing_leaked();
}

/* covers: FUSE-DRV-08 */
static void fixed_reply_too_short(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	h.len = 40;
	spoiled(f, &h, 40);
	nothing_leaked();
}

/* Every reply of one size, one byte short. covers: FUSE-DRV-08 */
static void fixed_reply_of_each_kind_too_short(void **state)
{
	static const struct {
		uint32_t opcode;
		size_t arg, reply;
	} kinds[] = {
	    {FUSE_SETATTR, sizeof(struct fuse_setattr_in), 104},
	    {FUSE_OPEN, sizeof(struct fuse_open_in), 16},
	    {FUSE_OPENDIR, sizeof(struct fuse_open_in), 16},
	    {FUSE_STATFS, 0, 80},
	    {FUSE_GETLK, sizeof(struct fuse_lk_in), 24},
	    {FUSE_LSEEK, sizeof(struct fuse_lseek_in), 8},
	    {FUSE_STATX, sizeof(struct fuse_statx_in), 288},
	    {FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), 8},
	    {FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), 8},
	};
	static const unsigned char arg[600];
	struct fix *f = *state;
	unsigned char buf[300];
	struct iovec room;

	fix_start(f);
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);
		struct fuse_out_header h;

		memset(buf, 0, sizeof(buf));
		room = virtiofs_iov(buf, kinds[i].reply);
		virtiofs_prep_head(op, kinds[i].opcode, 1, arg, kinds[i].arg);
		virtiofs_op_room(op, &room);
		if (kinds[i].opcode == FUSE_GETXATTR)
			assert_int_equal(virtiofs_prep_name(op, "user.a"), 0);
		assert_int_equal(virtiofs_cliq_submit(f->q), 1);
		fix_pop(f, 1);
		h = head_of(&f->req, kinds[i].reply - 1);
		liar_write(&f->req, 16, "\xff\xff\xff\xff", 4);
		liar_write(&f->req, 0, &h, sizeof(h));
		liar_used(&f->l, &f->req, h.len);
		assert_int_equal(fix_reap(f).error, -EPROTO);
		for (unsigned k = 0; k < sizeof(buf); k++)
			assert_int_equal(buf[k], 0);
	}
}

/* covers: FUSE-DRV-07 */
static void variable_reply_longer_than_asked_for(void **state)
{
	struct fix *f = *state;
	unsigned char buf[200] = {0};
	struct iovec room = {buf, sizeof(buf)};
	struct virtiofs_op *op;
	struct fuse_out_header h;

	fix_start(f);
	op = virtiofs_cliq_get_op(f->q);
	/* 100 bytes are asked for, there is room for 200. */
	virtiofs_prep_read(op, 2, 3, 0, 100, &room, 1);
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	fix_pop(f, 1);
	h = head_of(&f->req, 101);
	liar_write(&f->req, 0, &h, sizeof(h));
	liar_used(&f->l, &f->req, h.len);
	assert_int_equal(fix_reap(f).error, -EPROTO);
}

/* The reply longer than its room is a lie of the ring: it breaks the queue, and
 * every op ends. */
static void reply_longer_than_room(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);
	struct fuse_attr_out other;
	struct virtiofs_result res[4];

	fix_getattr(f, &other);
	h.len += 1;
	liar_write(&f->req, 0, &h, sizeof(h));
	liar_used(&f->l, &f->req, h.len);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), 2);
	assert_int_equal(res[0].error, -EPROTO);
	assert_int_equal(res[1].error, -EPROTO);
	nothing_leaked();
	/* Nothing is posted to it any more; nothing hangs. */
	fix_getattr(f, &other);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), 1);
	assert_int_equal(res[0].error, -EPROTO);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), -EPROTO);
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
}

/* Each lie of the ring ends all ops, and is told once more. */
static void ring_is_broken(struct fix *f)
{
	struct virtiofs_result res[4];

	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), 1);
	assert_int_equal(res[0].error, -EPROTO);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), -EPROTO);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
	nothing_leaked();
}

static void used_id_not_in_flight(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	liar_raw_used(&f->l, 1, f->req.id ^ 5u, h.len);
	ring_is_broken(f);
}

static void used_id_out_of_range(void **state)
{
	struct fix *f = *state;
	struct fuse_out_header h = ask(f);

	liar_raw_used(&f->l, 1, UINT32_MAX, h.len);
	ring_is_broken(f);
}

static void used_index_jumps(void **state)
{
	struct fix *f = *state;

	ask(f);
	liar_raw_index(&f->l, 1, 2);
	ring_is_broken(f);
}

static void same_request_answered_twice(void **state)
{
	struct fix *f = *state;
	struct virtiofs_result res[4];
	struct fuse_attr_out out = {0}, other;

	ask(f);
	fix_getattr(f, &other);
	liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
	liar_raw_used(&f->l, 1, f->req.id, 16 + sizeof(out));
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), 2);
	assert_int_equal(res[0].error, 0);
	assert_int_equal(res[1].error, -EPROTO);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), -EPROTO);
}

static void hiprio_used_id_not_in_flight(void **state)
{
	struct fix *f = *state;
	struct fuse_attr_out out = {0};

	fix_start(f);
	assert_int_equal(virtiofs_client_forget(f->c, 5, 1), 0);
	liar_raw_used(&f->l, 0, 99, 0);
	/* Found when something is sent; requests go on. */
	assert_int_equal(virtiofs_client_forget(f->c, 5, 1), 0);
	assert_int_equal(virtiofs_client_forget(f->c, 5, 1), -EPROTO);
	assert_int_equal(virtiofs_client_interrupt(f->c, 1), -EPROTO);
	fix_getattr(f, &out);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
	assert_int_equal(fix_reap(f).error, 0);
}

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
	    T(used_len_not_out_len),
	    T(out_len_beyond_used_len),
	    T(used_len_zero),
	    T(used_len_below_a_header),
	    T(unique_of_another),
	    T(unique_zero),
	    T(error_positive),
	    T(error_out_of_range),
	    T(error_with_payload),
	    T(fixed_reply_too_short),
	    T(fixed_reply_of_each_kind_too_short),
	    T(variable_reply_longer_than_asked_for),
	    T(reply_longer_than_room),
	    T(used_id_not_in_flight),
	    T(used_id_out_of_range),
	    T(used_index_jumps),
	    T(hiprio_used_id_not_in_flight),
	    T(same_request_answered_twice),
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

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
