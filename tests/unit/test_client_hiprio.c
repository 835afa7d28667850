/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the client guarantees of its hiprio queue, sentence by sentence. The
 * rings are of 8 descriptors, one for each part of a request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "liarfix.h"
#include "session/client.h"

#define NUM	   8u
#define HELD	   (NUM - 2) /* forgets that go out: two stay for INTERRUPT */
#define FIRST_NODE 10u

static struct liar_req sent[NUM];

static struct fix *start(void **state)
{
	struct fix *f = *state;

	f->opts.queue_size = NUM;
	f->l.offered &= ~VIRTIOFS_F_INDIRECT_DESC;
	fix_start(f);
	return f;
}

static void forget(struct fix *f, uint64_t nodeid, uint64_t n)
{
	assert_int_equal(virtiofs_client_forget(f->c, nodeid, n), 0);
}

/* Forget until one is parked; the device has taken the others, and keeps them.
 */
static void fill_hiprio(struct fix *f)
{
	for (unsigned i = 0; i < HELD; i++) {
		forget(f, FIRST_NODE + i, 1);
		assert_int_equal(liar_pop(&f->l, 0, &sent[i]), 1);
		assert_int_equal(sent[i].in.opcode, FUSE_FORGET);
	}
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
}

static void getattr_as(struct fix *f, struct fuse_attr_out *out,
		       uint64_t user_data)
{
	struct iovec room = virtiofs_iov(out, sizeof(*out));
	struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);

	assert_non_null(op);
	virtiofs_prep_getattr(op, 1, &room);
	op->user_data = user_data;
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
}

static bool readable(struct fix *f)
{
	struct pollfd p = {.fd = virtiofs_client_fd(f->c), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* What f->req, a BATCH_FORGET of cnt nodes, says of a node. */
static uint64_t batch_count(struct fix *f, uint32_t cnt, uint64_t nodeid)
{
	struct fuse_batch_forget_in head;
	struct fuse_forget_one one;

	assert_int_equal(f->req.in.opcode, FUSE_BATCH_FORGET);
	memcpy(&head, f->req.data, sizeof(head));
	assert_int_equal(head.count, cnt);
	assert_int_equal(f->req.len, sizeof(head) + cnt * sizeof(one));
	for (uint32_t i = 0; i < cnt; i++) {
		memcpy(&one, f->req.data + sizeof(head) + i * sizeof(one),
		       sizeof(one));
		if (one.nodeid == nodeid)
			return one.nlookup;
	}
	return 0;
}

/* "Those that don't fit wait merged by nodeid, and go out as BATCH_FORGET when
 * hiprio completions free descriptors." covers: FS-DRV-14 */
static void parked_forgets_are_one_batch_on_one_completion(void **state)
{
	struct fix *f = start(state);

	fill_hiprio(f);
	for (unsigned i = 0; i < 300; i++)
		forget(f, 20 + i % 3, 1 + i % 3);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	liar_used(&f->l, &sent[0], 0);
	virtiofs_client_dispatch(f->c);
	fix_pop(f, 0);
	assert_int_equal(batch_count(f, 3, 20), 100);
	assert_int_equal(batch_count(f, 3, 21), 200);
	assert_int_equal(batch_count(f, 3, 22), 300);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
}

/* "No timers": the completion itself wakes the event loop, though the forgets
 * came long after the last dispatch. */
static void completion_wakes_the_loop_for_parked_forgets(void **state)
{
	struct fix *f = start(state);

	/* The first use of the ring is told in any case. */
	forget(f, 5, 1);
	fix_pop(f, 0);
	liar_used(&f->l, &f->req, 0);
	while (readable(f))
		virtiofs_client_dispatch(f->c);
	fill_hiprio(f);
	forget(f, 20, 7);
	assert_false(readable(f));
	liar_used(&f->l, &sent[0], 0);
	assert_true(readable(f));
	virtiofs_client_dispatch(f->c);
	fix_pop(f, 0);
	assert_int_equal(f->req.in.opcode, FUSE_FORGET);
	assert_int_equal(f->req.in.nodeid, 20);
}

/* Any entry into the client moves them, not dispatch alone. */
static void parked_forgets_move_with_any_call(void **state)
{
	struct fix *f = start(state);

	fill_hiprio(f);
	forget(f, 20, 7);
	liar_used(&f->l, &sent[0], 0);
	fix_idle(f);
	fix_pop(f, 0);
	assert_int_equal(f->req.in.nodeid, 20);
}

/* A later forget does not overtake those that wait: it joins them. */
static void forgets_keep_waiting_together(void **state)
{
	struct fix *f = start(state);

	fill_hiprio(f);
	forget(f, 20, 1);
	liar_used(&f->l, &sent[0], 0);
	forget(f, 20, 2);
	fix_pop(f, 0);
	assert_int_equal(f->req.in.opcode, FUSE_FORGET);
	assert_int_equal(f->req.in.nodeid, 20);
	assert_memory_equal(f->req.data, &(uint64_t){3}, 8);
}

/* "An interrupt is sent even when every request queue is full." */
static void interrupt_is_sent_when_the_queue_is_full(void **state)
{
	static struct fuse_attr_out out[NUM];
	struct fix *f = start(state);
	unsigned posted = 1;
	uint64_t target;

	getattr_as(f, &out[0], 77);
	fix_pop(f, 1);
	target = f->req.in.unique;
	for (unsigned i = 1; i < NUM; i++)
		fix_getattr(f, &out[i]);
	assert_null(virtiofs_cliq_get_op(f->q));
	while (liar_pop(&f->l, 1, &f->req))
		posted++;
	assert_int_equal(posted, NUM / 2);
	assert_int_equal(virtiofs_client_interrupt(f->c, 77), 0);
	fix_pop(f, 0);
	assert_int_equal(f->req.in.opcode, FUSE_INTERRUPT);
	assert_int_equal(f->req.in.unique, target | 1);
	assert_memory_equal(f->req.data, &target, 8);
}

/* One that the device has not seen is taken back, and nothing is sent; where
 * the server knows no INTERRUPT, too. */
static void interrupt_of_a_request_that_waits_is_not_sent(void **state)
{
	static struct fuse_attr_out out[NUM];
	struct fix *f = start(state);
	struct virtiofs_result res;
	static struct liar_req first;

	for (unsigned i = 0; i < NUM; i++)
		getattr_as(f, &out[i], i);
	fix_pop(f, 1);
	first = f->req;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(virtiofs_client_interrupt(f->c, NUM - 1), 0);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	assert_int_equal(virtiofs_cliq_arm(f->q), 1);
	res = fix_reap(f);
	assert_int_equal(res.user_data, NUM - 1);
	assert_int_equal(res.error, -EINTR);
	assert_int_equal(virtiofs_client_interrupt(f->c, NUM - 1), -ENOENT);

	assert_int_equal(virtiofs_client_interrupt(f->c, 0), 0);
	fix_pop(f, 0);
	liar_reply(&f->l, &f->req, -ENOSYS, NULL, 0);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(virtiofs_client_interrupt(f->c, 0), -EOPNOTSUPP);
	assert_int_equal(virtiofs_client_interrupt(f->c, NUM - 2), 0);
	assert_int_equal(virtiofs_cliq_arm(f->q), 1);
	res = fix_reap(f);
	assert_int_equal(res.user_data, NUM - 2);
	assert_int_equal(res.error, -EINTR);

	/* The others come, and those do not. */
	liar_reply(&f->l, &first, 0, &out[0], sizeof(out[0]));
	assert_int_equal(fix_reap(f).user_data, 0);
	for (unsigned i = 1; i < NUM - 2; i++) {
		fix_pop(f, 1);
		liar_reply(&f->l, &f->req, 0, &out[0], sizeof(out[0]));
		assert_int_equal(fix_reap(f).user_data, i);
	}
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	fix_idle(f);
}

/* Nor do forgets keep it out. */
static void interrupt_is_sent_when_forgets_wait(void **state)
{
	struct fix *f = start(state);
	struct fuse_attr_out out;

	fix_getattr(f, &out);
	fix_pop(f, 1);
	fill_hiprio(f);
	forget(f, 20, 1);
	assert_int_equal(virtiofs_client_interrupt(f->c, 1), 0);
	fix_pop(f, 0);
	assert_int_equal(f->req.in.opcode, FUSE_INTERRUPT);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
}

/* Interrupts that find hiprio full of interrupts wait, too. */
static void waiting_interrupt_goes_out_on_a_completion(void **state)
{
	static struct liar_req first;
	struct fix *f = start(state);
	struct fuse_attr_out out[2];

	getattr_as(f, &out[0], 1);
	getattr_as(f, &out[1], 2);
	fix_pop(f, 1);
	fix_pop(f, 1);
	fill_hiprio(f);
	forget(f, 20, 1);
	assert_int_equal(virtiofs_client_interrupt(f->c, 1), 0);
	assert_int_equal(liar_pop(&f->l, 0, &first), 1);
	assert_int_equal(virtiofs_client_interrupt(f->c, 2), 0);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	liar_used(&f->l, &first, 0);
	assert_true(readable(f));
	virtiofs_client_dispatch(f->c);
	fix_pop(f, 0);
	assert_int_equal(f->req.in.opcode, FUSE_INTERRUPT);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	for (unsigned i = 0; i < HELD; i++)
		liar_used(&f->l, &sent[i], 0);
	virtiofs_client_dispatch(f->c);
	fix_pop(f, 0);
	assert_int_equal(f->req.in.nodeid, 20);
}

/* So many come and go, one after the other: slots are used in turn. */
static void come_and_go(struct fix *f, unsigned cnt)
{
	struct fuse_attr_out out = {0};

	while (cnt--) {
		fix_getattr(f, &out);
		fix_pop(f, 1);
		liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
		assert_int_equal(fix_reap(f).error, 0);
	}
}

/* What the device has now in the same slot is another. */
static void waiting_interrupt_is_not_for_the_next_in_its_slot(void **state)
{
	static struct liar_req asked[2], first;
	struct fuse_attr_out out = {0};
	struct fix *f = start(state);

	for (unsigned i = 0; i < 2; i++) {
		fix_getattr(f, &out);
		assert_int_equal(liar_pop(&f->l, 1, &asked[i]), 1);
	}
	fill_hiprio(f);
	assert_int_equal(virtiofs_client_interrupt(f->c, 1), 0);
	assert_int_equal(liar_pop(&f->l, 0, &first), 1);
	/* A thread in the middle of a forget; nobody waits for it. */
	pthread_mutex_lock(&f->c->hi.lock);
	for (unsigned i = 0; i < 2; i++) {
		liar_reply(&f->l, &asked[i], 0, &out, sizeof(out));
		assert_int_equal(fix_reap(f).error, 0);
	}
	come_and_go(f, NUM - 2);
	for (unsigned i = 0; i < 2; i++) {
		fix_getattr(f, &out);
		fix_pop(f, 1);
	}
	pthread_mutex_unlock(&f->c->hi.lock);
	liar_used(&f->l, &first, 0);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	f->l.gone = true;
}

/* "EAGAIN sends it again while the target is in flight", and no longer. */
static void interrupt_is_sent_again_for_its_target_alone(void **state)
{
	static struct liar_req asked, intr;
	struct fuse_attr_out out = {0};
	struct fix *f = start(state);

	fix_getattr(f, &out);
	assert_int_equal(liar_pop(&f->l, 1, &asked), 1);
	assert_int_equal(virtiofs_client_interrupt(f->c, 1), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(liar_pop(&f->l, 0, &intr), 1);
		assert_int_equal(intr.in.unique, asked.in.unique | 1);
		if (i == 2)
			break;
		liar_reply(&f->l, &intr, -EAGAIN, NULL, 0);
		virtiofs_client_dispatch(f->c);
	}
	liar_reply(&f->l, &asked, 0, &out, sizeof(out));
	assert_int_equal(fix_reap(f).error, 0);
	come_and_go(f, NUM - 1);
	fix_getattr(f, &out);
	fix_pop(f, 1);
	liar_reply(&f->l, &intr, -EAGAIN, NULL, 0);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(liar_pop(&f->l, 0, &intr), 0);
	f->l.gone = true;
}

/* One that ended while its INTERRUPT waited is not interrupted any more; what
 * took its slot is another. */
static void waiting_interrupt_of_a_request_that_ended_is_dropped(void **state)
{
	static struct liar_req asked[2], first;
	struct fuse_attr_out out = {0};
	struct fix *f = start(state);

	fix_getattr(f, &out);
	fix_getattr(f, &out);
	fix_pop(f, 1);
	asked[0] = f->req;
	fix_pop(f, 1);
	asked[1] = f->req;
	fill_hiprio(f);
	/* Two: one goes out, one waits. */
	assert_int_equal(virtiofs_client_interrupt(f->c, 1), 0);
	assert_int_equal(liar_pop(&f->l, 0, &first), 1);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	for (unsigned i = 0; i < 2; i++) {
		liar_reply(&f->l, &asked[i], 0, &out, sizeof(out));
		assert_int_equal(fix_reap(f).error, 0);
	}
	getattr_as(f, &out, 55);
	for (unsigned i = 1; i < NUM; i++)
		fix_getattr(f, &out);
	liar_used(&f->l, &first, 0);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	/* Nor by an interrupt of somebody else. */
	assert_int_equal(virtiofs_client_interrupt(f->c, 55), 0);
	fix_pop(f, 0);
	assert_int_equal(liar_pop(&f->l, 0, &f->req), 0);
	for (unsigned i = 0; i < NUM; i++) {
		fix_pop(f, 1);
		liar_reply(&f->l, &f->req, 0, &out, sizeof(out));
		assert_int_equal(fix_reap(f).error, 0);
	}
}

/* "-ENOMEM leaves the count with the caller": so does a session that ended. */
static void forget_without_a_session_is_refused(void **state)
{
	struct fix *f = start(state);

	fill_hiprio(f);
	forget(f, 20, 1);
	f->l.gone = true;
	virtiofs_client_dispatch(f->c);
	assert_int_equal(virtiofs_client_forget(f->c, 21, 1), -ENOTCONN);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, fix_set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(parked_forgets_are_one_batch_on_one_completion),
	    T(completion_wakes_the_loop_for_parked_forgets),
	    T(parked_forgets_move_with_any_call),
	    T(forgets_keep_waiting_together),
	    T(interrupt_is_sent_when_the_queue_is_full),
	    T(interrupt_of_a_request_that_waits_is_not_sent),
	    T(interrupt_is_sent_when_forgets_wait),
	    T(waiting_interrupt_goes_out_on_a_completion),
	    T(waiting_interrupt_of_a_request_that_ended_is_dropped),
	    T(waiting_interrupt_is_not_for_the_next_in_its_slot),
	    T(interrupt_is_sent_again_for_its_target_alone),
	    T(forget_without_a_session_is_refused),
	};

	return cmocka_run_group_tests_name("client_hiprio", tests, NULL, NULL);
}
