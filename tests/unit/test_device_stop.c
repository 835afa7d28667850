/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queues that stop, resets, peers that vanish: with requests in flight. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rawfuse.h"

static void is_unchanged(struct program *p, unsigned char *copy)
{
	assert_memory_equal(copy, p->raw.mem, RAW_LEN);
	free(copy);
}

static void stop_drains_and_tells_where_it_was(void **state)
{
	struct program *p = *state;

	for (unsigned i = 0; i < 3; i++)
		send_statfs(p, 1, i);
	program_run(p);
	assert_int_equal(p->cnt, 3);
	raw_do(&p->raw, raw_stop, 1);
	program_run(p);
	/* Those that hold it up are told, and nothing new is handed out. */
	assert_int_equal(p->interrupts, 3);
	assert_int_equal(p->raw.stopped, 0);
	send_statfs(p, 1, 3);
	send_statfs(p, 2, 4);
	program_run(p);
	assert_int_equal(p->cnt, 4);
	assert_int_equal(p->reqs[3]->in->unique, UNIQUE(4));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(p->raw.stopped, 0);
		assert_int_equal(virtiofs_req_error(p->reqs[i], -EINTR), 0);
		program_run(p);
		assert_int_equal(reply_of(p, 1, i), -EINTR);
	}
	assert_int_equal(p->raw.stopped, 1);
	assert_int_equal(p->raw.stopped_vq, 1);
	assert_int_equal(p->raw.avail_base, 4); /* INIT and three */
	assert_int_equal(p->raw.used_base, 4);
	/* A pause: the session goes on, with what was left in the ring. */
	assert_int_equal(p->resets, 0);
	raw_do(&p->raw, raw_start, 1);
	program_run(p);
	assert_int_equal(p->cnt, 5);
	virtiofs_req_error(p->reqs[3], 0);
	virtiofs_req_error(p->reqs[4], 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 3), 0);
}

static void stop_of_a_queue_that_does_not_run_is_answered(void **state)
{
	struct program *p = *state;

	raw_do(&p->raw, raw_stop, 1);
	program_run(p);
	assert_int_equal(p->raw.stopped, 1);
	raw_do(&p->raw, raw_stop, 1);
	program_run(p);
	assert_int_equal(p->raw.stopped, 2);
	raw_do(&p->raw, raw_stop, 200);
	program_run(p);
	assert_int_equal(p->raw.stopped, 3);
}

/* covers: FS-DEV-30, RST-DEV-02 */
static void reset_waits_and_then_no_byte_is_written(void **state)
{
	struct program *p = *state;
	unsigned char *copy;

	for (unsigned i = 0; i < 8; i++)
		send_statfs(p, 1 + i % 2, i);
	program_run(p);
	raw_do(&p->raw, raw_reset, 0);
	program_run(p);
	assert_int_equal(p->interrupts, 8);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(p->raw.reset_done, 0);
		assert_int_equal(p->resets, 0);
		virtiofs_req_error(p->reqs[i], -EINTR);
		program_run(p);
	}
	assert_int_equal(p->raw.reset_done, 1);
	assert_int_equal(p->resets, 1);
	/* From here on the memory is the driver's. */
	raw_calls(&p->raw.q[1]);
	send_statfs(p, 1, 20);
	copy = snapshot(p);
	program_run(p);
	is_unchanged(p, copy);
	assert_int_equal(p->cnt, 8);
	assert_int_equal(raw_calls(&p->raw.q[1]), 0);
}

/* covers: QRST-DEV-01, QRST-DEV-02, QRST-DEV-03 */
static void queue_comes_back_smaller_and_empty(void **state)
{
	struct program *p = *state;
	unsigned char *copy;

	send_statfs(p, 1, 0);
	program_run(p);
	raw_do(&p->raw, raw_stop, 1);
	program_run(p);
	virtiofs_req_error(p->reqs[0], 0);
	program_run(p);
	assert_int_equal(p->raw.stopped, 1);
	raw_calls(&p->raw.q[1]);
	copy = snapshot(p);
	program_run(p);
	is_unchanged(p, copy);
	assert_int_equal(raw_calls(&p->raw.q[1]), 0);
	raw_queue_init(&p->raw, 1, 8);
	/* Somewhere else, too. */
	memmove(p->raw.mem + 3 * RAW_RING, p->raw.mem + RAW_RING, RAW_RING);
	p->raw.q[1].desc = (void *)(p->raw.mem + 3 * RAW_RING);
	p->raw.q[1].avail = (void *)(p->raw.mem + 3 * RAW_RING + 128);
	p->raw.q[1].used = (void *)(p->raw.mem + 3 * RAW_RING + RAW_RING / 2);
	raw_do(&p->raw, raw_start, 1);
	program_run(p);
	p->keep = false;
	for (unsigned i = 0; i < 40; i++) {
		send_statfs(p, 1, 1);
		program_run(p);
		assert_int_equal(reply_of(p, 1, 1), 0);
	}
}

static void lost_peer_gets_nothing_more(void **state)
{
	struct program *p = *state;
	struct fuse_read_in rd = {.size = 100};
	unsigned char *copy;

	send_frame(p, 1, 0, FUSE_READ, &rd, sizeof(rd), 200);
	send_statfs(p, 2, 1);
	program_run(p);
	raw_do(&p->raw, raw_lost, 0);
	program_run(p);
	assert_int_equal(p->interrupts, 2);
	assert_int_equal(p->raw.reset_done, 0);
	copy = snapshot(p);
	assert_int_equal(virtiofs_req_reply(p->reqs[0], "data", 4), -ENOTCONN);
	assert_int_equal(virtiofs_req_error(p->reqs[1], 0), -ENOTCONN);
	program_run(p);
	is_unchanged(p, copy);
	assert_int_equal(p->resets, 1);
	assert_int_equal(p->raw.reset_done, 1);
	/* The next one. */
	p->keep = false;
	raw_do(&p->raw, raw_setup, 16);
	program_run(p);
	send_statfs(p, 1, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -EIO); /* no INIT yet */
}

static void lost_peer_with_a_barrier_up(void **state)
{
	struct program *p = *state;

	send_statfs(p, 2, 1);
	program_run(p);
	send_frame(p, 1, 0, FUSE_DESTROY, "", 0, 16);
	send_frame(p, 2, 2, FUSE_DESTROY, "", 0, 16);
	program_run(p);
	raw_do(&p->raw, raw_lost, 0);
	program_run(p);
	assert_int_equal(p->raw.reset_done, 0);
	assert_int_equal(virtiofs_req_error(p->reqs[0], 0), -ENOTCONN);
	program_run(p);
	assert_int_equal(p->raw.reset_done, 1);
	assert_int_equal(p->resets, 1);
	no_reply(p, 1);
	no_reply(p, 2);
}

static void freed_device_leaves_requests_inert(void **state)
{
	struct program *p = *state;
	struct program other = {.keep = true};
	unsigned char *copy;

	program_open(&other, 0);
	other.keep = true;
	for (unsigned i = 0; i < 4; i++)
		send_statfs(&other, 1 + i % 2, i);
	program_run(&other);
	virtiofs_req_error(other.reqs[0], 0);
	virtiofs_device_free(other.dev);
	copy = snapshot(&other);
	for (unsigned i = 1; i < 4; i++) {
		assert_int_equal(other.reqs[i]->in->opcode, FUSE_STATFS);
		assert_int_equal(virtiofs_req_reply(other.reqs[i], "x", 1),
				 -ENOTCONN);
	}
	is_unchanged(&other, copy);
	raw_fini(&other.raw);
	(void)p;
}

/* ---- notifications ---- */

static void bell_changes_while_the_queue_runs(void **state)
{
	struct program *p = *state;

	p->keep = false;
	raw_do(&p->raw, raw_new_call, 1);
	program_run(p);
	/* One that came just before is not lost. */
	assert_int_equal(raw_calls(&p->raw.q[1]), 1);
	send_statfs(p, 1, 0);
	program_run(p);
	assert_int_equal(raw_calls(&p->raw.q[1]), 1);
	raw_do(&p->raw, raw_new_kick, 1);
	program_run(p);
	send_statfs(p, 1, 1);
	program_run(p);
	assert_int_equal(p->cnt, 2);
}

/* A full eventfd that blocks its writer: the device does not write it. */
static void bell_that_would_block_is_not_rung(void **state)
{
	struct program *p = *state;
	uint64_t full = UINT64_MAX - 1;

	p->keep = false;
	assert_int_equal(write(p->raw.q[1].call, &full, sizeof(full)), 8);
	assert_int_equal(fcntl(p->raw.q[1].call, F_SETFL, 0), 0);
	send_statfs(p, 1, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
}

static void disabled_queue_is_left_alone(void **state)
{
	struct program *p = *state;

	raw_do(&p->raw, raw_disable, 1);
	program_run(p);
	send_statfs(p, 1, 0);
	program_run(p);
	assert_int_equal(p->cnt, 0);
	raw_do(&p->raw, raw_enable, 1);
	program_run(p);
	assert_int_equal(p->cnt, 1);
	virtiofs_req_error(p->reqs[0], 0);
}

/* covers: FS-DEV-04 */
static void some_queues_are_enough(void **state)
{
	struct program *p = *state;

	p->queues = 8; /* of which the driver starts three */
	program_open(p, 0);
	send_statfs(p, 1, 0);
	send_frame(p, 0, 1, FUSE_FORGET, "01234567", 8, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_int_equal(p->forget_cnt, 1);
}

static void post_before_start(struct raw *raw, uint64_t vq)
{
	struct raw_queue *q = &raw->q[vq];
	struct raw_desc d[2] = {
	    {cell_addr(0), 40, 0},
	    {cell_addr(0) + CELL_ROOM, 200, VTFS_DESC_F_WRITE},
	};

	/* No kick. */
	q->avail->ring[0] = htole16(raw_chain(q, d, 2));
	q->avail->idx = htole16(1);
	raw_start(raw, vq);
}

/* covers: INIT-DEV-01 */
static void chains_from_before_the_start_need_no_kick(void **state)
{
	struct program *p = *state;

	raw_do(&p->raw, raw_stop, 2);
	program_run(p);
	put_frame(p, 0, FUSE_STATFS, "", 0);
	raw_queue_init(&p->raw, 2, 16);
	raw_do(&p->raw, post_before_start, 2);
	program_run(p);
	assert_int_equal(p->cnt, 1);
	virtiofs_req_error(p->reqs[0], 0);
}

/* covers: SPLIT-DEV-27 */
static void kicks_for_nothing_cost_nothing_else(void **state)
{
	struct program *p = *state;

	for (unsigned i = 0; i < 10000; i++) {
		raw_kick(&p->raw.q[1]);
		if (i % 100 == 0)
			program_run(p);
	}
	program_run(p);
	assert_int_equal(p->cnt, 0);
	assert_int_equal(p->raw.broken, 0);
	p->keep = false;
	send_statfs(p, 1, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
}

/* covers: SPLIT-DEV-15 */
static void every_publish_rings_unless_told_not_to(void **state)
{
	struct program *p = *state;
	struct raw_queue *q = &p->raw.q[1];

	p->keep = false;
	for (unsigned i = 0; i < 20; i++) {
		send_statfs(p, 1, 0);
		program_run(p);
		assert_int_equal(reply_of(p, 1, 0), 0);
		assert_int_equal(raw_calls(q), 1);
	}
	q->avail->flags = htole16(1);
	for (unsigned i = 0; i < 20; i++) {
		send_statfs(p, 1, 0);
		program_run(p);
		assert_int_equal(reply_of(p, 1, 0), 0);
	}
	assert_int_equal(raw_calls(q), 0);
}

#define T(f)                                                                   \
	cmocka_unit_test_setup_teardown(f, program_set_up_keeping,             \
					program_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(stop_drains_and_tells_where_it_was),
	    T(stop_of_a_queue_that_does_not_run_is_answered),
	    T(reset_waits_and_then_no_byte_is_written),
	    T(queue_comes_back_smaller_and_empty),
	    T(lost_peer_gets_nothing_more),
	    T(lost_peer_with_a_barrier_up),
	    T(freed_device_leaves_requests_inert),
	    T(bell_changes_while_the_queue_runs),
	    T(bell_that_would_block_is_not_rung),
	    T(disabled_queue_is_left_alone),
	    PROGRAM_TEST_CLOSED(some_queues_are_enough),
	    T(chains_from_before_the_start_need_no_kick),
	    T(kicks_for_nothing_cost_nothing_else),
	    T(every_publish_rings_unless_told_not_to),
	};

	return cmocka_run_group_tests_name("device stop", tests, NULL, NULL);
}
