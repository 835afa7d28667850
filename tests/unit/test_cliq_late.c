/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replies that come when nobody waits any more: what they granted goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "liarfix.h"

#define PAGE 4096u

/* Post, let its time pass, and then answer it. */
static void late(struct fix *f, struct virtiofs_op *op, const void *reply,
		 size_t len)
{
	struct virtiofs_result res = {0};
	struct liar_req req;

	op->timeout_ms = 1;
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	fix_pop(f, 1);
	while (virtiofs_cliq_reap(f->q, &res, 1) == 0)
		;
	assert_int_equal(res.error, -ETIMEDOUT);
	assert_int_equal(res.flags, VIRTIOFS_RESULT_MORE);
	req = f->req;
	liar_reply(&f->l, &req, 0, reply, len);
	res = fix_reap(f);
	assert_int_equal(res.error, -ETIMEDOUT);
	assert_int_equal(res.flags, 0);
}

static void pop_forget(struct fix *f, uint64_t nodeid)
{
	const struct fuse_forget_in *in = (const void *)f->req.data;

	fix_pop(f, 0);
	assert_int_equal(f->req.in.opcode, FUSE_FORGET);
	assert_int_equal(f->req.in.nodeid, nodeid);
	assert_int_equal(in->nlookup, 1);
	assert_int_equal(f->req.room_cnt, 0);
	liar_used(&f->l, &f->req, 0);
}

/* covers: FS-DRV-13 */
static void late_lookup_is_forgotten(void **state)
{
	struct fuse_entry_out e = {.nodeid = 55}, got;
	struct iovec room = {&got, sizeof(got)};
	struct fix *f = *state;
	struct virtiofs_op *op;

	fix_start(f);
	op = virtiofs_cliq_get_op(f->q);
	assert_int_equal(virtiofs_prep_lookup(op, 1, "x", &room), 0);
	late(f, op, &e, sizeof(e));
	pop_forget(f, 55);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	/* One that found nothing has nothing to forget. */
	e.nodeid = 0;
	op = virtiofs_cliq_get_op(f->q);
	assert_int_equal(virtiofs_prep_lookup(op, 1, "x", &room), 0);
	late(f, op, &e, sizeof(e));
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
}

/* The handle is released first; only when that was used, its node is forgotten.
 * covers: FS-DRV-07 */
static void late_create_is_released_then_forgotten(void **state)
{
	struct virtiofs_create_out c = {.entry = {.nodeid = 66},
					.open = {.fh = 9}};
	struct virtiofs_create_out got = {0};
	struct iovec room = {&got, sizeof(got)};
	struct fuse_create_in in = {.mode = 0644};
	struct fix *f = *state;
	const struct fuse_release_in *rel = (const void *)f->req.data;
	struct virtiofs_op *op;

	fix_start(f);
	op = virtiofs_cliq_get_op(f->q);
	assert_int_equal(virtiofs_prep_create(op, 1, "n", &in, &room), 0);
	late(f, op, &c, sizeof(c));
	assert_int_equal(got.entry.nodeid, 0);
	fix_pop(f, 1);
	assert_int_equal(f->req.in.opcode, FUSE_RELEASE);
	assert_int_equal(f->req.in.nodeid, 66);
	assert_int_equal(rel->fh, 9);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	liar_reply(&f->l, &f->req, 0, NULL, 0);
	fix_idle(f);
	pop_forget(f, 66);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
}

static void late_opendir_is_released(void **state)
{
	struct fuse_open_out o = {.fh = 4}, got;
	struct iovec room = {&got, sizeof(got)};
	struct fix *f = *state;
	struct virtiofs_op *op;

	fix_start(f);
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_open(op, FUSE_OPENDIR, 7, 0, &room);
	late(f, op, &o, sizeof(o));
	fix_pop(f, 1);
	assert_int_equal(f->req.in.opcode, FUSE_RELEASEDIR);
	assert_int_equal(f->req.in.nodeid, 7);
	liar_reply(&f->l, &f->req, 0, NULL, 0);
	fix_idle(f);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
}

/* Whoever still waits for that lock would wait for ever. */
static void late_lock_is_given_back(void **state)
{
	static const uint32_t opcodes[] = {FUSE_SETLK, FUSE_SETLKW};
	const struct fuse_lk_in in = {
	    .fh = 3,
	    .owner = 0x1234,
	    .lk = {.start = 10, .end = 20, .type = F_WRLCK, .pid = 77},
	    .lk_flags = FUSE_LK_FLOCK,
	};
	struct fuse_lk_in want = in;
	struct fix *f = *state;

	want.lk.type = F_UNLCK;
	fix_start(f);
	for (unsigned i = 0; i < 2; i++) {
		struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);

		virtiofs_prep_lk(op, opcodes[i], 7, &in, NULL);
		late(f, op, NULL, 0);
		fix_pop(f, 1);
		assert_int_equal(f->req.in.opcode, FUSE_SETLK);
		assert_int_equal(f->req.in.nodeid, 7);
		assert_int_equal(f->req.len, sizeof(want));
		assert_memory_equal(f->req.data, &want, sizeof(want));
		liar_reply(&f->l, &f->req, 0, NULL, 0);
		fix_idle(f);
	}
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
}

/* Refused, or an unlock itself: there is nothing to give back. */
static void late_answer_without_a_lock_is_all(void **state)
{
	struct fuse_lk_in in = {.fh = 3, .lk = {.type = F_UNLCK}};
	struct virtiofs_result res = {0};
	struct fix *f = *state;
	struct virtiofs_op *op;

	fix_start(f);
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_lk(op, FUSE_SETLK, 7, &in, NULL);
	late(f, op, NULL, 0);
	in.lk.type = F_WRLCK;
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_lk(op, FUSE_SETLKW, 7, &in, NULL);
	op->timeout_ms = 1;
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	fix_pop(f, 1);
	while (virtiofs_cliq_reap(f->q, &res, 1) == 0)
		;
	liar_reply(&f->l, &f->req, -EINTR, NULL, 0);
	assert_int_equal(fix_reap(f).error, -ETIMEDOUT);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
}

static size_t put_plus(char *to, uint64_t nodeid, const char *name)
{
	struct fuse_entry_out e = {.nodeid = nodeid};
	struct fuse_dirent d = {.ino = nodeid,
				.namelen = (uint32_t)strlen(name)};
	size_t len = sizeof(e) + sizeof(d) + d.namelen;

	memcpy(to, &e, sizeof(e));
	memcpy(to + sizeof(e), &d, sizeof(d));
	memcpy(to + sizeof(e) + sizeof(d), name, d.namelen);
	return (len + 7) / 8 * 8;
}

static void late_readdirplus_is_forgotten_but_for_dots(void **state)
{
	struct fuse_read_in in = {.fh = 1, .size = PAGE};
	static char list[PAGE], got[PAGE];
	struct iovec room = {got, sizeof(got)};
	struct fix *f = *state;
	struct virtiofs_op *op;
	size_t len = 0;

	len += put_plus(list + len, 1, ".");
	len += put_plus(list + len, 1, "..");
	len += put_plus(list + len, 71, "a");
	len += put_plus(list + len, 72, "some longer name");
	fix_start(f);
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_readdir(op, FUSE_READDIRPLUS, 1, &in, &room);
	late(f, op, list, len);
	pop_forget(f, 71);
	pop_forget(f, 72);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
}

/* covers: FS-DRV-13 */
static void late_interrupt_answer_harms_nobody(void **state)
{
	struct fuse_attr_out out = {0};
	struct fix *f = *state;
	struct liar_req attr, intr;

	fix_start(f);
	fix_getattr(f, &out);
	fix_pop(f, 1);
	attr = f->req;
	assert_int_equal(virtiofs_client_interrupt(f->c, 1), 0);
	fix_pop(f, 0);
	intr = f->req;
	assert_int_equal(intr.in.opcode, FUSE_INTERRUPT);
	assert_int_equal(intr.in.unique, attr.in.unique | 1);
	/* The target ends, another request takes its slot, and only then the
	 * server says that it does not know the target. */
	liar_reply(&f->l, &attr, 0, &out, sizeof(out));
	assert_int_equal(fix_reap(f).error, 0);
	fix_getattr(f, &out);
	liar_reply(&f->l, &intr, -EAGAIN, NULL, 0);
	fix_idle(f);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
	assert_int_equal(fix_reap(f).error, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(late_lookup_is_forgotten),
	    T(late_create_is_released_then_forgotten),
	    T(late_opendir_is_released),
	    T(late_lock_is_given_back),
	    T(late_answer_without_a_lock_is_all),
	    T(late_readdirplus_is_forgotten_but_for_dots),
	    T(late_interrupt_answer_harms_nobody),
	};

	return cmocka_run_group_tests_name("cliq_late", tests, NULL, NULL);
}
