/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hiprio queue: forgets, interrupts, order, wrong queues. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"

static void forget(struct program *p, unsigned vq, unsigned i, uint64_t nodeid,
		   uint64_t nlookup, uint32_t room)
{
	put_frame(p, i, FUSE_FORGET, &nlookup, 8);
	frame_of(p, i)->nodeid = nodeid;
	post_cell(p, vq, i, room);
}

/* covers: FUSE-BTH-04, FS-DEV-16 */
static void forgets_come_back_with_length_0(void **state)
{
	struct program *p = *state;
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[3];
	} b = {{3, 0}, {{5, 1}, {6, 2}, {7, UINT64_MAX}}};

	forget(p, 0, 0, 4, 9, 0);
	send_frame(p, 0, 1, FUSE_BATCH_FORGET, &b, sizeof(b), 0);
	/* One that has a writable part all the same: it stays as it is. */
	forget(p, 0, 2, 8, 1, 64);
	program_run(p);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(reply_of(p, 0, i), 1);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(cell(p, 2)[CELL_ROOM + i], PATTERN);
	assert_int_equal(p->forget_cnt, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(p->forgets[i].nodeid, 4 + i);
	assert_int_equal(p->forgets[3].nlookup, UINT64_MAX);
	assert_int_equal(p->cnt, 0);
}

/* Entries at odd addresses, cut across descriptors. */
static void batch_forget_entries_may_lie_anywhere(void **state)
{
	struct program *p = *state;
	char args[8 + 16 * 2] = {2};
	const struct fuse_forget_one one[2] = {{77, 1}, {78, 2}};
	struct raw_desc d[4];

	memcpy(args + 8, one, 32);
	put_frame(p, 0, FUSE_BATCH_FORGET, args, sizeof(args));
	/* Everything one byte further, in four pieces. */
	memmove(cell(p, 0) + 1, cell(p, 0), 80);
	d[0] = (struct raw_desc){cell_addr(0) + 1, 47, 0};
	d[1] = (struct raw_desc){cell_addr(0) + 48, 3, 0};
	d[2] = (struct raw_desc){cell_addr(0) + 51, 20, 0};
	d[3] = (struct raw_desc){cell_addr(0) + 71, 10, 0};
	raw_post(&p->raw.q[0], raw_chain(&p->raw.q[0], d, 4));
	program_run(p);
	assert_int_equal(p->forget_cnt, 2);
	assert_int_equal(p->forgets[0].nodeid, 77);
	assert_int_equal(p->forgets[1].nodeid, 78);
	assert_int_equal(p->forgets[1].nlookup, 2);
}

static void without_forget_they_are_requests(void **state)
{
	struct program *p = *state;

	p->no_forget = true;
	p->keep = true;
	program_open(p, 0);
	p->keep = true;
	forget(p, 0, 0, 4, 9, 0);
	program_run(p);
	assert_int_equal(p->cnt, 1);
	assert_true(p->reqs[0]->flags & VIRTIOFS_REQ_NOREPLY);
	assert_true(p->reqs[0]->flags & VIRTIOFS_REQ_HIPRIO);
	no_reply(p, 0);
	virtiofs_req_done(p->reqs[0]);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 0), 1);
}

/* A handful of chains that carry thousands of entries: other queues are served
 * in between, and no entry is lost. */
static void storm_of_forgets_lets_requests_through(void **state)
{
	struct program *p = *state;
	char *args = calloc(1, 8 + 1000 * 16);
	uint32_t cnt = 1000;
	unsigned served = 0;

	memcpy(args, &cnt, 4);
	for (unsigned k = 0; k < 1000; k++)
		args[8 + k * 16] = 1;
	for (unsigned i = 0; i < 4; i++)
		send_frame(p, 0, i, FUSE_BATCH_FORGET, args, 8 + 16000, 0);
	send_frame(p, 1, 9, FUSE_STATFS, "", 0, 200);
	while (p->cnt == 0) {
		assert_true(virtiofs_device_dispatch(p->dev) >= 0);
		served++;
	}
	/* In the first dispatch, not after all of the storm. */
	assert_int_equal(served, 1);
	program_run(p);
	assert_int_equal(p->forget_cnt, 4000);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(reply_of(p, 0, i), 1);
	assert_int_equal(reply_of(p, 1, 9), 0);
	free(args);
}

static void hiprio_comes_first(void **state)
{
	struct program *p = *state;
	unsigned before[8];

	p->more = before;
	p->on_request = note_forgets;
	send_frame(p, 1, 0, FUSE_STATFS, "", 0, 200);
	send_frame(p, 2, 1, FUSE_STATFS, "", 0, 200);
	forget(p, 0, 2, 5, 1, 0);
	program_run(p);
	assert_int_equal(p->cnt, 2);
	assert_int_equal(before[0], 1);
	assert_int_equal(before[1], 1);
}

static void send_forget_too(struct program *p, struct virtiofs_req *req)
{
	((unsigned *)p->more)[p->cnt - 1] = p->forget_cnt;
	if (p->cnt == 1)
		forget(p, 0, 90, 5, 1, 0);
	virtiofs_req_error(req, 0);
}

/* covers: FS-DEV-13 */
static void hiprio_is_looked_at_again_while_requests_queue_up(void **state)
{
	struct program *p = *state;
	unsigned before[64];

	p->hiprio_interval = 4;
	p->num = 64;
	program_open(p, 0);
	p->more = before;
	p->on_request = send_forget_too;
	for (unsigned i = 0; i < 30; i++)
		send_frame(p, 1 + i % 2, i, FUSE_STATFS, "", 0, 200);
	assert_true(virtiofs_device_dispatch(p->dev) >= 0);
	assert_int_equal(p->cnt, 30);
	/* The forget came during the first request. */
	assert_int_equal(before[3], 0);
	assert_int_equal(before[4], 1);
	/* And with every request ring full of requests that nobody answers. */
	p->on_request = NULL;
	p->keep = true;
	program_run(p);
	for (unsigned i = 0; i < 64; i++)
		send_frame(p, 1 + i % 2, i, FUSE_STATFS, "", 0, 200);
	program_run(p);
	forget(p, 0, 91, 6, 1, 0);
	assert_true(virtiofs_device_dispatch(p->dev) >= 0);
	assert_int_equal(p->forget_cnt, 2);
	assert_int_equal(reply_of(p, 0, 90), 1);
	assert_int_equal(reply_of(p, 0, 91), 1);
	for (unsigned i = 30; i < p->cnt; i++)
		assert_int_equal(virtiofs_req_error(p->reqs[i], 0), 0);
}

/* covers: FS-DEV-15 */
static void wrong_queue_is_served_and_noted(void **state)
{
	struct program *p = *state;

	forget(p, 1, 0, 5, 1, 0);
	send_frame(p, 0, 1, FUSE_LOOKUP, "n", 2, 200);
	forget(p, 0, 2, 6, 1, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 1);
	/* A request that waits does not hold hiprio. */
	assert_int_equal(p->forget_cnt, 2);
	assert_int_equal(p->cnt, 1);
	assert_true(p->reqs[0]->flags & VIRTIOFS_REQ_HIPRIO);
	assert_int_equal(p->raw.broken, 0);
}

/* ---- interrupts ---- */

static void interrupt(struct program *p, unsigned i, uint64_t unique,
		      uint32_t room)
{
	put_frame(p, i, FUSE_INTERRUPT, &unique, 8);
	frame_of(p, i)->unique = unique | 1;
	post_cell(p, 0, i, room);
}

/* covers: FUSE-DEV-22 */
static void interrupt_finds_its_target_and_returns_at_once(void **state)
{
	struct program *p = *state;

	p->keep = true;
	for (unsigned i = 0; i < 3; i++)
		send_frame(p, 1 + i % 2, i, FUSE_STATFS, "", 0, 200);
	program_run(p);
	interrupt(p, 10, UNIQUE(1), 0);
	interrupt(p, 11, UNIQUE(2), 16);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 10), 1);
	assert_int_equal(reply_of(p, 0, 11), 0);
	assert_int_equal(p->interrupts, 2);
	assert_int_equal(p->interrupted[0]->in->unique, UNIQUE(1));
	assert_int_equal(p->interrupted[1]->in->unique, UNIQUE(2));
	for (unsigned i = 0; i < 3; i++) {
		uint64_t u = p->reqs[i]->in->unique;

		assert_int_equal(virtiofs_req_interrupted(p->reqs[i]),
				 u == UNIQUE(1) || u == UNIQUE(2));
	}
	/* Told once, however often the client says it. */
	interrupt(p, 12, UNIQUE(1), 0);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 12), 1);
	assert_int_equal(p->interrupts, 2);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(virtiofs_req_error(p->reqs[i], -EINTR), 0);
}

static void interrupt_that_overtakes_waits(void **state)
{
	struct program *p = *state;

	p->keep = true;
	interrupt(p, 10, UNIQUE(3), 0);
	interrupt(p, 11, UNIQUE(4), 0);
	program_run(p);
	/* Its chain does not wait. */
	assert_int_equal(reply_of(p, 0, 10), 1);
	assert_int_equal(reply_of(p, 0, 11), 1);
	send_frame(p, 1, 2, FUSE_STATFS, "", 0, 200);
	send_frame(p, 1, 3, FUSE_STATFS, "", 0, 200);
	send_frame(p, 2, 4, FUSE_STATFS, "", 0, 200);
	program_run(p);
	assert_int_equal(p->cnt, 3);
	assert_int_equal(p->interrupts, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(virtiofs_req_interrupted(p->reqs[i]),
				 p->reqs[i]->in->unique != UNIQUE(2));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(virtiofs_req_error(p->reqs[i], -EINTR), 0);
}

/* Both are taken off a queue at once, the INTERRUPT on the wrong one: the
 * program is told of no request that it has not seen. */
static void interrupt_behind_its_target_is_told_with_it(void **state)
{
	struct program *p = *state;
	const uint64_t unique = UNIQUE(0);

	p->keep = true;
	send_frame(p, 1, 0, FUSE_STATFS, "", 0, 200);
	put_frame(p, 10, FUSE_INTERRUPT, &unique, 8);
	frame_of(p, 10)->unique = unique | 1;
	post_cell(p, 1, 10, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 10), 1);
	assert_int_equal(p->cnt, 1);
	assert_int_equal(p->interrupts, 0);
	assert_true(virtiofs_req_interrupted(p->reqs[0]));
	assert_int_equal(virtiofs_req_error(p->reqs[0], -EINTR), 0);
}

/* More than are remembered: none is waited for, none is lost as a chain. */
static void interrupts_of_nothing_are_bounded(void **state)
{
	struct program *p = *state;

	for (unsigned i = 0; i < 1000; i++) {
		interrupt(p, 10, 1000000 + i * 2, 0);
		program_run(p);
		assert_int_equal(reply_of(p, 0, 10), 1);
	}
	assert_int_equal(p->interrupts, 0);
	/* The newest is still remembered. */
	p->keep = true;
	put_frame(p, 0, FUSE_STATFS, "", 0);
	frame_of(p, 0)->unique = 1000000 + 999 * 2;
	post_cell(p, 1, 0, 200);
	put_frame(p, 1, FUSE_STATFS, "", 0);
	frame_of(p, 1)->unique = 1000000;
	post_cell(p, 1, 1, 200);
	program_run(p);
	assert_true(virtiofs_req_interrupted(p->reqs[0]));
	assert_false(virtiofs_req_interrupted(p->reqs[1]));
	virtiofs_req_error(p->reqs[0], 0);
	virtiofs_req_error(p->reqs[1], 0);
}

static void interrupt_after_the_reply_hits_nobody(void **state)
{
	struct program *p = *state;

	send_frame(p, 1, 0, FUSE_STATFS, "", 0, 200);
	program_run(p);
	interrupt(p, 10, UNIQUE(0), 0);
	program_run(p);
	assert_int_equal(p->interrupts, 0);
	assert_int_equal(reply_of(p, 1, 0), 0);
}

/* At most an eighth of a ring may wait for locks: the unlock has to get in. */
static void lock_waiters_leave_room_for_the_unlock(void **state)
{
	struct program *p = *state;
	struct fuse_lk_in lk = {.fh = 1};

	p->keep = true;
	for (unsigned i = 0; i < 4; i++)
		send_frame(p, 1, i, FUSE_SETLKW, &lk, sizeof(lk), 16);
	send_frame(p, 1, 4, FUSE_SETLK, &lk, sizeof(lk), 16);
	program_run(p);
	/* Of 16 entries two wait; the others are told, the unlock is there. */
	assert_int_equal(p->cnt, 3);
	assert_int_equal(reply_of(p, 1, 2), -ENOLCK);
	assert_int_equal(reply_of(p, 1, 3), -ENOLCK);
	assert_int_equal(p->reqs[2]->in->opcode, FUSE_SETLK);
	virtiofs_req_error(p->reqs[0], 0);
	send_frame(p, 1, 5, FUSE_SETLKW, &lk, sizeof(lk), 16);
	program_run(p);
	assert_int_equal(p->cnt, 4);
	for (unsigned i = 1; i < 4; i++)
		virtiofs_req_error(p->reqs[i], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    PROGRAM_TEST(forgets_come_back_with_length_0),
	    PROGRAM_TEST(batch_forget_entries_may_lie_anywhere),
	    PROGRAM_TEST_CLOSED(without_forget_they_are_requests),
	    PROGRAM_TEST(storm_of_forgets_lets_requests_through),
	    PROGRAM_TEST(hiprio_comes_first),
	    PROGRAM_TEST_CLOSED(
		hiprio_is_looked_at_again_while_requests_queue_up),
	    PROGRAM_TEST(wrong_queue_is_served_and_noted),
	    PROGRAM_TEST(interrupt_finds_its_target_and_returns_at_once),
	    PROGRAM_TEST(interrupt_that_overtakes_waits),
	    PROGRAM_TEST(interrupt_behind_its_target_is_told_with_it),
	    PROGRAM_TEST(interrupts_of_nothing_are_bounded),
	    PROGRAM_TEST(interrupt_after_the_reply_hits_nobody),
	    PROGRAM_TEST(lock_waiters_leave_room_for_the_unlock),
	};

	return cmocka_run_group_tests_name("device hiprio", tests, NULL, NULL);
}
