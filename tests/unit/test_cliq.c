/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A taken queue: where bytes go, what waits, what wakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "liarfix.h"

#define PAGE 4096u

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void post_read(struct fix *f, void *buf, size_t len, uint32_t flags)
{
	struct iovec room = {buf, len};
	struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);

	assert_non_null(op);
	virtiofs_prep_read(op, 2, 3, 0, (uint32_t)len, &room, 1);
	op->flags = flags;
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
}

/* Does any of the request's room lie in [addr, addr + len)? */
static bool room_in(const struct liar_req *req, const void *addr, size_t len)
{
	const char *a = addr;

	for (unsigned i = 0; i < req->room_cnt; i++) {
		const char *p = req->room[i].iov_base;

		if (p >= a && p < a + len)
			return true;
	}
	return false;
}

/* ---- where bytes go ---- */

static void registered_memory_is_not_copied(void **state)
{
	struct fix *f = *state;
	struct virtiofs_region mem;

	fix_start(f);
	assert_int_equal(virtiofs_client_alloc_region(f->c, 3 * PAGE, &mem), 0);
	post_read(f, (char *)mem.addr + 100, PAGE, VIRTIOFS_OP_NO_BOUNCE);
	fix_pop(f, 1);
	assert_true(room_in(&f->req, (char *)mem.addr + 100, PAGE));
	assert_int_equal(virtiofs_client_unmap_region(f->c, &mem), -EBUSY);
	liar_reply(&f->l, &f->req, 0, "zero copy", 9);
	/* It stands there before it is reaped. */
	assert_memory_equal((char *)mem.addr + 100, "zero copy", 9);
	assert_int_equal(fix_reap(f).len, 9);
	assert_int_equal(virtiofs_client_unmap_region(f->c, &mem), 0);
	assert_int_equal(virtiofs_client_unmap_region(f->c, &mem), -EINVAL);
}

static void other_memory_is_copied_and_never_shown(void **state)
{
	struct fix *f = *state;
	char *buf = malloc(PAGE);

	fix_start(f);
	memset(buf, 'x', PAGE);
	post_read(f, buf, PAGE, 0);
	fix_pop(f, 1);
	assert_false(room_in(&f->req, buf, PAGE));
	liar_reply(&f->l, &f->req, 0, "bounced", 7);
	assert_memory_equal(buf, "xxxxxxx", 7);
	assert_int_equal(fix_reap(f).len, 7);
	assert_memory_equal(buf, "bouncedx", 8);
	free(buf);
}

static void no_bounce_says_so_instead(void **state)
{
	struct fix *f = *state;
	char *buf = malloc(PAGE);

	fix_start(f);
	post_read(f, buf, PAGE, VIRTIOFS_OP_NO_BOUNCE);
	assert_int_equal(fix_reap(f).error, -EFAULT);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
	free(buf);
}

/* Pieces, registered or not, arrive in their order. */
static void mixed_pieces_keep_their_order(void **state)
{
	struct fix *f = *state;
	struct virtiofs_region mem;
	unsigned char a[1000], b[500], c[2000], sent[5000];
	struct fuse_write_in in = {.fh = 3};
	struct fuse_write_out out = {0};
	struct iovec room = {&out, sizeof(out)};
	struct virtiofs_op *op;
	struct iovec data[5];
	size_t at = 0;

	fix_start(f);
	assert_int_equal(virtiofs_client_alloc_region(f->c, PAGE, &mem), 0);
	memset(a, 'a', sizeof(a));
	memset(b, 'b', sizeof(b));
	memset(c, 'c', sizeof(c));
	memset(mem.addr, 'r', PAGE);
	data[0] = virtiofs_iov(a, sizeof(a));
	data[1] = virtiofs_iov(b, sizeof(b));
	data[2] = virtiofs_iov((char *)mem.addr + 8, 700);
	data[3] = virtiofs_iov(a, 0);
	data[4] = virtiofs_iov(c, sizeof(c));
	for (unsigned i = 0; i < 5; i++) {
		memcpy(sent + at, data[i].iov_base, data[i].iov_len);
		at += data[i].iov_len;
	}
	in.size = (uint32_t)at;
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_write(op, 2, &in, data, &room);
	op->data_cnt = 5;
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	fix_pop(f, 1);
	assert_int_equal(f->req.len, sizeof(in) + at);
	assert_memory_equal(f->req.data + sizeof(in), sent, at);
}

/* covers: FUSE-BTH-05 */
static void setxattr_has_the_size_that_was_negotiated(void **state)
{
	static const uint64_t flags[] = {0, FUSE_SETXATTR_EXT};

	for (unsigned i = 0; i < 2; i++) {
		struct fuse_setxattr_in in = {.size = 3, .flags = 1};
		struct iovec value = {(void *)"abc", 3};
		size_t head = i ? 16 : 8;
		struct virtiofs_op *op;
		struct fix *f;

		fix_set_up((void **)&f);
		f->opts.init_flags = FUSE_ASYNC_READ | flags[i];
		fix_start(f);
		op = virtiofs_cliq_get_op(f->q);
		assert_int_equal(
		    virtiofs_prep_setxattr(op, 2, "user.a", &in, &value,
					   virtiofs_client_init_flags(f->c)),
		    0);
		assert_int_equal(virtiofs_cliq_submit(f->q), 1);
		fix_pop(f, 1);
		assert_int_equal(f->req.len, head + 7 + 3);
		assert_memory_equal(f->req.data + head, "user.a\0abc", 10);
		fix_tear_down((void **)&f);
	}
	(void)state;
}

static void credentials_are_ours_or_the_callers(void **state)
{
	struct fix *f = *state;
	struct virtiofs_op *op;

	fix_start(f);
	for (unsigned i = 0; i < 2; i++) {
		op = virtiofs_cliq_get_op(f->q);
		virtiofs_prep_head(op, FUSE_STATFS, 1, NULL, 0);
		op->uid = 12345;
		op->gid = 54321;
		op->pid = 777;
		op->flags = i ? VIRTIOFS_OP_CREDS : 0;
		op->room = NULL;
		op->opcode = FUSE_FSYNC;
		op->arg_len = sizeof(struct fuse_fsync_in);
		assert_int_equal(virtiofs_cliq_submit(f->q), 1);
		fix_pop(f, 1);
		assert_int_equal(f->req.in.uid == 12345, i);
		assert_int_equal(f->req.in.gid == 54321, i);
		assert_int_equal(f->req.in.pid == 777, i);
	}
}

/* ---- faults of the caller ---- */

static int one_op(struct fix *f, uint32_t opcode, size_t arg, size_t room_len)
{
	static unsigned char room_buf[PAGE];
	struct iovec room = {room_buf, room_len};
	struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);

	op->opcode = opcode;
	op->nodeid = 1;
	op->arg_len = (uint32_t)arg;
	if (arg <= VIRTIOFS_OP_ARG_MAX)
		memset(op->arg, 0, arg);
	virtiofs_op_room(op, room_len ? &room : NULL);
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	return fix_reap(f).error;
}

static void faults_of_one_op_are_its_result(void **state)
{
	struct fix *f = *state;

	fix_start(f);
	assert_int_equal(one_op(f, FUSE_FORGET, 8, 0), -EINVAL);
	assert_int_equal(one_op(f, FUSE_INTERRUPT, 8, 0), -EINVAL);
	assert_int_equal(one_op(f, FUSE_INIT, 64, 64), -EINVAL);
	assert_int_equal(one_op(f, FUSE_DESTROY, 0, 0), -EINVAL);
	assert_int_equal(one_op(f, FUSE_GETATTR, 16, 50), -EINVAL);
	assert_int_equal(one_op(f, FUSE_GETATTR, 577, 104), -EINVAL);
	assert_int_equal(one_op(f, FUSE_NOTIFY_REPLY, 40, 8), -EINVAL);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
}

static void op_without_an_opcode_is_dropped(void **state)
{
	char name[600];
	struct fix *f = *state;
	struct virtiofs_op *op;

	fix_start(f);
	assert_non_null(virtiofs_cliq_get_op(f->q));
	op = virtiofs_cliq_get_op(f->q);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	assert_int_equal(virtiofs_prep_unlink(op, 1, name), -ENAMETOOLONG);
	assert_int_equal(virtiofs_cliq_submit(f->q), 0);
	fix_idle(f);
	assert_int_equal(virtiofs_cliq_release(f->q), 0);
}

/* ---- what waits ---- */

/* Six slots' worth of bounced reads through room for two: in order, and all. */
static void ops_wait_for_bounce_pages_in_order(void **state)
{
	struct fix *f = *state;
	static char buf[6][3 * PAGE];
	struct virtiofs_op *op;
	struct iovec room[6];

	f->opts.bounce_bytes = 6 * PAGE;
	fix_start(f);
	for (unsigned i = 0; i < 6; i++) {
		room[i] = virtiofs_iov(buf[i], sizeof(buf[i]));
		op = virtiofs_cliq_get_op(f->q);
		virtiofs_prep_read(op, 10 + i, 3, 0, sizeof(buf[i]), &room[i],
				   1);
		op->user_data = i;
	}
	assert_int_equal(virtiofs_cliq_submit(f->q), 6);
	for (unsigned i = 0; i < 6; i++) {
		struct virtiofs_result res;
		char text[8];

		fix_pop(f, 1);
		assert_int_equal(f->req.in.nodeid, 10 + i);
		snprintf(text, sizeof(text), "reply%u", i);
		liar_reply(&f->l, &f->req, 0, text, 6);
		res = fix_reap(f);
		assert_int_equal(res.user_data, i);
		assert_int_equal(res.error, 0);
		assert_memory_equal(buf[i], text, 6);
	}
}

static void op_larger_than_all_bounce_pages_fails(void **state)
{
	struct fix *f = *state;
	char *buf = malloc(3 * PAGE);

	f->opts.bounce_bytes = 2 * PAGE;
	fix_start(f);
	post_read(f, buf, 3 * PAGE, 0);
	assert_int_equal(fix_reap(f).error, -EMSGSIZE);
	post_read(f, buf, 2 * PAGE, 0);
	fix_pop(f, 1);
	free(buf);
}

/* A ring of 16: two locks at the device, the next held back, and requests that
 * come later overtake it; half of the queue at most is theirs. */
static void locks_leave_room_for_the_unlock(void **state)
{
	struct fuse_lk_in lk = {.fh = 1};
	struct fix *f = *state;
	struct fuse_attr_out out;
	struct liar_req first;
	struct virtiofs_result res;

	f->opts.queue_size = 16;
	fix_start(f);
	for (unsigned i = 0; i < 9; i++) {
		struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);

		virtiofs_prep_lk(op, FUSE_SETLKW, 2, &lk, NULL);
		op->user_data = 100 + i;
	}
	assert_int_equal(virtiofs_cliq_submit(f->q), 9);
	res = fix_reap(f);
	assert_int_equal(res.user_data, 108);
	assert_int_equal(res.error, -ENOLCK);
	fix_pop(f, 1);
	first = f->req;
	fix_pop(f, 1);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	fix_getattr(f, &out);
	fix_pop(f, 1);
	assert_int_equal(f->req.in.opcode, FUSE_GETATTR);
	/* One lock ends, one more goes out. */
	liar_reply(&f->l, &first, 0, NULL, 0);
	assert_int_equal(fix_reap(f).user_data, 100);
	fix_pop(f, 1);
	assert_int_equal(f->req.in.opcode, FUSE_SETLKW);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	/* Interrupted while it is held back: it ends without the device. */
	assert_int_equal(virtiofs_client_interrupt(f->c, 106), 0);
	assert_true(readable(virtiofs_cliq_fd(f->q)));
	assert_int_equal(virtiofs_cliq_arm(f->q), 1);
	res = fix_reap(f);
	assert_int_equal(res.user_data, 106);
	assert_int_equal(res.error, -EINTR);
}

/* ---- waking ---- */

static void fd_tells_what_arm_promised(void **state)
{
	struct fuse_attr_out out = {0};
	struct fix *f = *state;
	int fd;

	fix_start(f);
	fd = virtiofs_cliq_fd(f->q);
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
	assert_false(readable(fd));
	fix_getattr(f, &out);
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
	fix_pop(f, 1);
	assert_false(readable(fd));
	liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
	assert_true(readable(fd));
	assert_int_equal(virtiofs_cliq_arm(f->q), 1);
	assert_int_equal(fix_reap(f).error, 0);
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
	assert_false(readable(fd));
}

static void time_limit_wakes_the_fd(void **state)
{
	struct pollfd p = {.events = POLLIN};
	struct fuse_attr_out out = {0};
	struct virtiofs_result res;
	struct fix *f = *state;

	f->opts.timeout_ms = 3;
	fix_start(f);
	fix_getattr(f, &out);
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
	p.fd = virtiofs_cliq_fd(f->q);
	assert_int_equal(poll(&p, 1, 10000), 1);
	while (virtiofs_cliq_arm(f->q) == 0)
		poll(&p, 1, 10000);
	res = fix_reap(f);
	assert_int_equal(res.error, -ETIMEDOUT);
	assert_int_equal(res.flags, VIRTIOFS_RESULT_MORE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(registered_memory_is_not_copied),
	    T(other_memory_is_copied_and_never_shown),
	    T(no_bounce_says_so_instead),
	    T(mixed_pieces_keep_their_order),
	    cmocka_unit_test(setxattr_has_the_size_that_was_negotiated),
	    T(credentials_are_ours_or_the_callers),
	    T(faults_of_one_op_are_its_result),
	    T(op_without_an_opcode_is_dropped),
	    T(ops_wait_for_bounce_pages_in_order),
	    T(op_larger_than_all_bounce_pages_fails),
	    T(locks_leave_room_for_the_unlock),
	    T(fd_tells_what_arm_promised),
	    T(time_limit_wakes_the_fd),
	};

	return cmocka_run_group_tests_name("cliq", tests, NULL, NULL);
}
