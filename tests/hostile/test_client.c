/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device that lies to a client in its replies and rings. Tests are named
 * after the lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

/* What was written and is not told of stays where it is.
 * covers: SPLIT-DRV-18, SPLIT-DRV-19 */
static void bytes_beyond_the_used_length(void **state)
{
	struct fix *f = *state;
	unsigned char buf[100], junk[116], want[100] = {0};
	struct iovec room = {buf, sizeof(buf)};
	struct fuse_out_header h;
	struct virtiofs_result res;

	fix_start(f);
	memset(junk, 0xee, sizeof(junk));
	for (uint32_t n = 0; n <= sizeof(buf); n++) {
		memset(buf, 0, sizeof(buf));
		virtiofs_prep_read(virtiofs_cliq_get_op(f->q), 2, 3, 0,
				   sizeof(buf), &room, 1);
		assert_int_equal(virtiofs_cliq_submit(f->q), 1);
		fix_pop(f, 1);
		liar_write(&f->req, 0, junk, sizeof(junk));
		h = head_of(&f->req, n);
		liar_write(&f->req, 0, &h, sizeof(h));
		liar_used(&f->l, &f->req, h.len);
		res = fix_reap(f);
		assert_int_equal(res.error, 0);
		assert_int_equal(res.len, n);
		memset(want, 0xee, n);
		assert_memory_equal(buf, want, sizeof(buf));
	}
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
	    T(bytes_beyond_the_used_length),
	    T(reply_longer_than_room),
	    T(used_id_not_in_flight),
	    T(used_id_out_of_range),
	    T(used_index_jumps),
	    T(hiprio_used_id_not_in_flight),
	    T(same_request_answered_twice),
	};

	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
