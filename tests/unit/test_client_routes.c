/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which queue a client's requests take, and what it still owns while the device
 * has them: interrupts, forgets, time limits, the end of a session.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <virtiofs/ops.h>

#include "liardev.h"
#include "wire/fuse_ops.h"
#include "wire/virtio.h"

#define NUM 16u /* descriptors of each queue */

static struct liar_req req;

struct fix {
	struct liar l;
	struct virtiofs_client *c;
	struct virtiofs_cliq *q;
	struct virtiofs_region mem;
	struct iovec room;
};

static int set_up(void **state)
{
	struct virtiofs_client_opts opts = {
	    .size = sizeof(opts),
	    .flags = VIRTIOFS_CLIENT_NONBLOCK,
	    .queue_size = NUM,
	    .timeout_ms = 3000,
	};
	struct fix *f = calloc(1, sizeof(*f));

	liar_init(&f->l);
	/* One descriptor for each part: nothing hides in a table. */
	f->l.offered &= ~VIRTIOFS_F_INDIRECT_DESC;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &opts), 0);
	assert_int_equal(liar_start(&f->l, f->c), 0);
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &f->q), 0);
	f->mem.size = sizeof(f->mem);
	assert_int_equal(virtiofs_client_alloc_region(f->c, 65536, &f->mem), 0);
	f->room = virtiofs_iov(f->mem.addr, 4096);
	liar_clear(&f->l);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	f->l.gone = true;
	virtiofs_client_free(f->c);
	liar_fini(&f->l);
	free(f);
	return 0;
}

static void read_op(struct fix *f, uint64_t user_data, uint32_t timeout_ms)
{
	struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);

	assert_non_null(op);
	virtiofs_prep_read(op, 2, 3, 0, 4096, &f->room, 1);
	op->user_data = user_data;
	op->timeout_ms = timeout_ms;
	op->flags = VIRTIOFS_OP_NO_BOUNCE;
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
}

/* The request is on queue vq, and nothing is anywhere else. */
static void came_on(struct fix *f, unsigned vq, uint32_t opcode)
{
	static struct liar_req other;
	unsigned i;

	assert_int_equal(liar_pop(&f->l, vq, &req), 1);
	assert_int_equal(req.in.opcode, opcode);
	for (i = 0; i < LIAR_QUEUES; i++)
		assert_int_equal(liar_pop(&f->l, i, &other), 0);
}

static int submit_opcode(struct fix *f, uint32_t opcode)
{
	const struct vtfs_fuse_op *kind = vtfs_fuse_op(opcode);
	struct vtfs_fuse_proto now = {
	    .minor = 45,
	    .flags = virtiofs_client_init_flags(f->c),
	};
	struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);
	struct virtiofs_result res;
	unsigned i;

	assert_non_null(op);
	op->opcode = opcode;
	op->nodeid = 1;
	if (kind) {
		op->arg_len = vtfs_fuse_arg_len(kind, &now);
		for (i = 0; i < kind->names; i++)
			assert_int_equal(virtiofs_prep_name(op, "n"), 0);
	}
	if (!kind || kind->answer == VTFS_FUSE_ANSWER)
		virtiofs_op_room(op, &f->room);
	virtiofs_cliq_submit(f->q);
	/* What is refused has its result already. */
	return virtiofs_cliq_reap(f->q, &res, 1) == 1 ? res.error : 0;
}

/* covers: FS-DRV-06, FS-DRV-11, FS-DRV-12 */
static void every_opcode_takes_its_queue(void **state)
{
	struct virtiofs_result res;
	struct fix *f = *state;
	unsigned sent = 0;
	uint32_t opcode;

	for (opcode = 1; opcode < 70; opcode++) {
		bool hiprio = opcode == FUSE_FORGET ||
			      opcode == FUSE_BATCH_FORGET ||
			      opcode == FUSE_INTERRUPT;
		int r;

		/* The library's own. */
		if (opcode == FUSE_INIT || opcode == FUSE_DESTROY)
			continue;
		r = submit_opcode(f, opcode);
		assert_int_equal(liar_pop(&f->l, 0, &req), 0);
		if (hiprio) {
			assert_true(r < 0);
			assert_int_equal(liar_pop(&f->l, 1, &req), 0);
			continue;
		}
		if (r < 0)
			fail_msg("opcode %u: %d", opcode, r);
		came_on(f, 1, opcode);
		sent++;
		if (req.room_len)
			liar_reply(&f->l, &req, -ENOSYS, NULL, 0);
		else
			liar_used(&f->l, &req, 0);
		assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 1);
	}
	assert_int_equal(sent, 69 - 5);

	assert_int_equal(virtiofs_client_forget(f->c, 5, 1), 0);
	came_on(f, 0, FUSE_FORGET);
	assert_int_equal(req.room_len, 0);
	liar_used(&f->l, &req, 0);
	read_op(f, 9, 0);
	assert_int_equal(liar_pop(&f->l, 1, &req), 1);
	assert_int_equal(virtiofs_client_interrupt(f->c, 9), 0);
	came_on(f, 0, FUSE_INTERRUPT);
}

/* Forgets that a burst leaves, answered one by one; their sum for node. */
static uint64_t forgotten(struct fix *f, uint64_t node, unsigned *ret_frames)
{
	uint64_t sum = 0;

	while (liar_pop(&f->l, 0, &req)) {
		const unsigned char *p = req.data;
		struct fuse_forget_one one = {.nodeid = req.in.nodeid};
		uint32_t cnt = 1, i;

		(*ret_frames)++;
		if (req.in.opcode == FUSE_FORGET) {
			memcpy(&one.nlookup, p, 8);
			sum += one.nodeid == node ? one.nlookup : 0;
		} else {
			assert_int_equal(req.in.opcode, FUSE_BATCH_FORGET);
			memcpy(&cnt, p, 4);
			assert_int_equal(req.len, 8 + 16 * cnt);
			for (i = 0; i < cnt; i++) {
				memcpy(&one, p + 8 + 16 * i, 16);
				sum += one.nodeid == node ? one.nlookup : 0;
			}
		}
		liar_used(&f->l, &req, 0);
		virtiofs_client_dispatch(f->c);
	}
	return sum;
}

/* covers: FS-DRV-14 */
static void forgets_beyond_the_queue_wait_and_none_is_lost(void **state)
{
	struct virtiofs_result res;
	struct fix *f = *state;
	uint64_t sum = 0, expected = 0;
	unsigned i, frames = 0;

	/* The device takes nothing: 16 go out, the rest waits. */
	for (i = 0; i < 10000; i++) {
		assert_int_equal(
		    virtiofs_client_forget(f->c, 2 + i % 100, 1 + i % 3), 0);
		if (i % 100 == 40)
			expected += 1 + i % 3;
	}
	/* A request is not held up by them. */
	read_op(f, 1, 0);
	assert_int_equal(liar_pop(&f->l, 1, &req), 1);
	liar_reply(&f->l, &req, -EIO, NULL, 0);
	assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 1);
	assert_int_equal(res.error, -EIO);
	sum = forgotten(f, 42, &frames);
	assert_true(sum == expected);
	/* Merged while they waited. */
	assert_true(frames < 100);
	assert_int_equal(liar_pop(&f->l, 0, &req), 0);
}

/* What is asked for again, and for how long. covers: FUSE-DRV-10 */
static void interrupt_answered_eagain_is_sent_again_while_it_matters(
    void **state)
{
	struct virtiofs_result res;
	struct fix *f = *state;
	static struct liar_req target;
	uint64_t unique;

	read_op(f, 77, 0);
	assert_int_equal(liar_pop(&f->l, 1, &target), 1);
	assert_int_equal(virtiofs_client_interrupt(f->c, 77), 0);
	came_on(f, 0, FUSE_INTERRUPT);
	memcpy(&unique, req.data, 8);
	assert_true(unique == target.in.unique);
	liar_reply(&f->l, &req, -EAGAIN, NULL, 0);
	virtiofs_client_dispatch(f->c);
	/* Still pending: once more. */
	assert_int_equal(liar_pop(&f->l, 0, &req), 1);
	memcpy(&unique, req.data, 8);
	assert_true(unique == target.in.unique);
	/* It ends now, with EINTR; the answer that follows means nothing. */
	liar_reply(&f->l, &target, -EINTR, NULL, 0);
	assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 1);
	assert_int_equal(res.error, -EINTR);
	liar_reply(&f->l, &req, -EAGAIN, NULL, 0);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(liar_pop(&f->l, 0, &req), 0);
	assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 0);
}

/* covers: FUSE-DRV-10 */
static void server_without_interrupt_is_not_asked_again(void **state)
{
	struct fix *f = *state;
	static struct liar_req target;

	read_op(f, 77, 0);
	assert_int_equal(liar_pop(&f->l, 1, &target), 1);
	assert_int_equal(virtiofs_client_interrupt(f->c, 77), 0);
	came_on(f, 0, FUSE_INTERRUPT);
	liar_reply(&f->l, &req, -ENOSYS, NULL, 0);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(virtiofs_client_interrupt(f->c, 77), -EOPNOTSUPP);
	assert_int_equal(liar_pop(&f->l, 0, &req), 0);
}

static void interrupt_of_nothing_is_not_sent(void **state)
{
	struct fix *f = *state;

	assert_int_equal(virtiofs_client_interrupt(f->c, 4711), -ENOENT);
	assert_int_equal(liar_pop(&f->l, 0, &req), 0);
}

/* covers: FUSE-DRV-11 */
static void interrupted_request_keeps_its_buffers(void **state)
{
	struct virtiofs_result res;
	struct fix *f = *state;
	static struct liar_req target;
	char bytes[4096];

	memset(bytes, 'x', sizeof(bytes));
	read_op(f, 77, 0);
	assert_int_equal(liar_pop(&f->l, 1, &target), 1);
	assert_int_equal(virtiofs_client_interrupt(f->c, 77), 0);
	came_on(f, 0, FUSE_INTERRUPT);
	liar_used(&f->l, &req, 0);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 0);
	assert_int_equal(virtiofs_client_unmap_region(f->c, &f->mem), -EBUSY);
	assert_int_equal(virtiofs_cliq_release(f->q), -EBUSY);
	/* The server did it all the same. */
	liar_reply(&f->l, &target, 0, bytes, sizeof(bytes));
	assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 1);
	assert_int_equal(res.error, 0);
	assert_int_equal(res.len, 4096);
	assert_int_equal(((char *)f->mem.addr)[4095], 'x');
	assert_int_equal(virtiofs_client_unmap_region(f->c, &f->mem), 0);
}

static void wait_fd(struct fix *f)
{
	struct pollfd p = {virtiofs_cliq_fd(f->q), POLLIN, 0};

	while (virtiofs_cliq_arm(f->q) == 0)
		assert_int_equal(poll(&p, 1, 5000), 1);
}

/* covers: CLN-DRV-01 */
static void timed_out_request_stays_the_devices(void **state)
{
	struct virtiofs_result res;
	struct fix *f = *state;
	static struct liar_req target;
	unsigned char before[NUM * 16];
	const void *desc;

	read_op(f, 5, 1);
	assert_int_equal(liar_pop(&f->l, 1, &target), 1);
	desc = vtfs_table_ptr(f->l.table, f->l.q[1].setup.desc, sizeof(before));
	assert_non_null(desc);
	memcpy(before, desc, sizeof(before));
	wait_fd(f);
	assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 1);
	assert_int_equal(res.error, -ETIMEDOUT);
	assert_int_equal(res.flags, VIRTIOFS_RESULT_MORE);
	assert_int_equal(res.user_data, 5);
	/* Neither its descriptors nor its buffers are free. */
	assert_memory_equal(desc, before, sizeof(before));
	assert_int_equal(virtiofs_client_unmap_region(f->c, &f->mem), -EBUSY);
	read_op(f, 6, 0);
	assert_int_equal(liar_pop(&f->l, 1, &req), 1);
	assert_int_not_equal(req.id, target.id);
	liar_reply(&f->l, &target, 0, "late", 4);
	assert_int_equal(virtiofs_cliq_reap(f->q, &res, 1), 1);
	assert_int_equal(res.user_data, 5);
	assert_int_equal(res.flags, 0);
}

/* covers: INIT-DRV-08, STAT-DRV-04 */
static void device_that_needs_a_reset_ends_what_is_in_flight(void **state)
{
	struct virtiofs_result res[4];
	struct fix *f = *state;
	unsigned i;

	for (i = 0; i < 3; i++)
		read_op(f, i, 0);
	/* A change that is none. */
	f->l.sink->ops->config_changed(f->l.sink);
	virtiofs_client_dispatch(f->c);
	assert_non_null(strstr(f->l.text, "read_status;"));
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), 0);
	f->l.status |= VTFS_STATUS_NEEDS_RESET;
	f->l.sink->ops->config_changed(f->l.sink);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), 3);
	for (i = 0; i < 3; i++)
		assert_int_equal(res[i].error, -ENOTCONN);
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), -ENOTCONN);
	/* The next start begins with a reset. */
	liar_clear(&f->l);
	assert_int_equal(liar_start(&f->l, f->c), 0);
	assert_ptr_equal(strstr(f->l.text, "status 0;"),
			 strstr(f->l.text, "status"));
}

/* The device's side of the end: takes what comes until DESTROY. */
static void *serve_end(void *arg)
{
	static struct liar_req r;
	struct liar *l = arg;
	struct pollfd p[2] = {
	    {l->q[0].setup.kick_fd, POLLIN, 0},
	    {l->q[1].setup.kick_fd, POLLIN, 0},
	};
	unsigned *seen = calloc(2, sizeof(*seen));
	uint64_t n;

	for (;;) {
		while (liar_pop(l, 0, &r)) {
			/* DESTROY waits for it. */
			seen[0] += vtfs_vq_dev_arm(l->q[1].vq) == 0 &&
					   poll(&p[1], 1, 50) == 0
				       ? 1
				       : 100;
			liar_used(l, &r, 0);
		}
		while (liar_pop(l, 1, &r)) {
			seen[1] += r.in.opcode == FUSE_DESTROY ? 1 : 100;
			liar_reply(l, &r, 0, NULL, 0);
		}
		if (seen[1])
			return seen;
		if (vtfs_vq_dev_arm(l->q[0].vq) || vtfs_vq_dev_arm(l->q[1].vq))
			continue;
		if (poll(p, 2, 5000) < 1)
			return seen;
		for (unsigned i = 0; i < 2; i++)
			if (p[i].revents && read(p[i].fd, &n, sizeof(n)) < 0)
				return seen;
	}
}

/* covers: FUSE-DRV-09, CLN-DRV-02, RST-BTH-01 */
static void session_ends_in_order(void **state)
{
	struct fix *f = *state;
	static struct liar_req held;
	const char *text = f->l.text;
	pthread_t thread;
	unsigned *seen;
	uint64_t kicks;

	/* One that is never answered: its bytes are the device's to the end. */
	read_op(f, 1, 0);
	assert_int_equal(liar_pop(&f->l, 1, &held), 1);
	assert_int_equal(read(f->l.q[1].setup.kick_fd, &kicks, sizeof(kicks)),
			 sizeof(kicks));
	assert_int_equal(virtiofs_client_forget(f->c, 9, 4), 0);
	f->l.held = &held;
	assert_int_equal(pthread_create(&thread, NULL, serve_end, &f->l), 0);
	virtiofs_client_free(f->c);
	pthread_join(thread, (void **)&seen);
	f->c = NULL;
	assert_int_equal(seen[0], 1);
	assert_int_equal(seen[1], 1);
	free(seen);
	assert_non_null(strstr(text, "stop 0;stop 1;"));
	assert_non_null(strstr(strstr(text, "stop 1;"), "status 0;"));
	/* Written to at each stop and at the reset, without a fault. */
	assert_int_equal(f->l.touched, 3);
	assert_true(f->l.freed);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    T(every_opcode_takes_its_queue),
	    T(forgets_beyond_the_queue_wait_and_none_is_lost),
	    T(interrupt_answered_eagain_is_sent_again_while_it_matters),
	    T(server_without_interrupt_is_not_asked_again),
	    T(interrupt_of_nothing_is_not_sent),
	    T(interrupted_request_keeps_its_buffers),
	    T(timed_out_request_stays_the_devices),
	    T(device_that_needs_a_reset_ends_what_is_in_flight),
	    T(session_ends_in_order),
	};

	return cmocka_run_group_tests_name("client_routes", tests, NULL, NULL);
}
