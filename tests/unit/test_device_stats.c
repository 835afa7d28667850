/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a device counts. Each number is that of frames sent by hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"

static struct virtiofs_queue_stats stats(struct program *p, uint32_t queue)
{
	struct virtiofs_queue_stats s = {.size = sizeof(s)};

	assert_int_equal(virtiofs_device_stats(p->dev, queue, &s), 0);
	assert_int_equal(s.size, sizeof(s));
	return s;
}

static void requests_and_replies_are_counted_by_queue(void **state)
{
	struct program *p = *state;
	struct virtiofs_queue_stats before = stats(p, 1), s;

	p->keep = true;
	send_statfs(p, 1, 0);
	send_statfs(p, 1, 1);
	send_statfs(p, 2, 2);
	program_run(p);
	s = stats(p, 1);
	assert_int_equal(s.requests - before.requests, 2);
	assert_int_equal(s.request_bytes - before.request_bytes, 80);
	assert_int_equal(s.replies, before.replies);
	assert_true(s.kicks > before.kicks);
	virtiofs_req_error(p->reqs[0], -ENOENT);
	virtiofs_req_reply(p->reqs[1], "eight by", 8);
	virtiofs_req_error(p->reqs[2], 0);
	program_run(p);
	s = stats(p, 1);
	assert_int_equal(s.replies - before.replies, 2);
	assert_int_equal(s.errors - before.errors, 1);
	assert_int_equal(s.reply_bytes - before.reply_bytes, 16 + 24);
	assert_int_equal(s.calls - before.calls, raw_calls(&p->raw.q[1]));
	s = stats(p, 2);
	assert_int_equal(s.requests, 1);
	assert_int_equal(s.replies, 1);
	assert_int_equal(s.errors, 0);
	s = stats(p, VIRTIOFS_QUEUE_ALL);
	assert_int_equal(s.requests - before.requests, 3);
	assert_int_equal(s.replies - before.replies, 3);
}

static void hiprio_counts_entries_and_wrong_queues(void **state)
{
	struct program *p = *state;
	const struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[3];
	} b = {{3, 0}, {{5, 1}, {6, 2}, {7, 9}}};
	const uint64_t nlookup = 4;

	send_frame(p, 0, 0, FUSE_FORGET, &nlookup, 8, 0);
	send_frame(p, 0, 1, FUSE_BATCH_FORGET, &b, sizeof(b), 0);
	send_frame(p, 1, 2, FUSE_FORGET, &nlookup, 8, 0);
	send_statfs(p, 0, 3);
	program_run(p);
	assert_int_equal(stats(p, 0).forgets, 4);
	assert_int_equal(stats(p, 0).misrouted, 1);
	assert_int_equal(stats(p, 0).requests, 3);
	assert_int_equal(stats(p, 0).replies, 1);
	assert_int_equal(stats(p, 1).forgets, 1);
	assert_int_equal(stats(p, 1).misrouted, 1);
	assert_int_equal(stats(p, VIRTIOFS_QUEUE_ALL).forgets, 5);
}

static void interrupt(struct program *p, unsigned i, uint64_t unique)
{
	send_frame(p, 0, i, FUSE_INTERRUPT, &unique, 8, 0);
	program_run(p);
}

static void interrupts_are_matched_early_or_late(void **state)
{
	struct program *p = *state;

	p->keep = true;
	send_statfs(p, 1, 0);
	program_run(p);
	interrupt(p, 10, UNIQUE(0));
	assert_int_equal(stats(p, 0).interrupts_matched, 1);
	interrupt(p, 11, UNIQUE(1));
	assert_int_equal(stats(p, 0).interrupts_early, 0);
	send_statfs(p, 2, 1);
	program_run(p);
	assert_int_equal(stats(p, 0).interrupts_early, 1);
	virtiofs_req_error(p->reqs[0], 0);
	virtiofs_req_error(p->reqs[1], 0);
	/* Still waited for, until the session ends. */
	interrupt(p, 12, UNIQUE(0));
	assert_int_equal(stats(p, 0).interrupts_late, 0);
	raw_do(&p->raw, raw_reset, 0);
	program_run(p);
	assert_int_equal(stats(p, 0).interrupts_late, 1);
	assert_int_equal(stats(p, 0).interrupts_early, 1);
	assert_int_equal(stats(p, 0).interrupts_matched, 1);
	assert_int_equal(stats(p, 1).interrupts_matched, 0);
}

static void faults_are_counted_by_what_they_cost(void **state)
{
	struct program *p = *state;
	struct raw_desc d = {1, 40, 0}; /* in no region */

	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], &d, 1));
	send_frame(p, 1, 0, FUSE_LOOKUP, "no NUL", 6, 200);
	send_frame(p, 1, 1, FUSE_STATFS, "", 0, 0);
	program_run(p);
	assert_int_equal(stats(p, 1).chain_faults, 1);
	assert_int_equal(stats(p, 1).frame_faults, 2);
	assert_int_equal(stats(p, 1).dropped, 2);
	assert_int_equal(stats(p, 1).errors, 1);
	raw_post(&p->raw.q[2], 60000);
	program_run(p);
	assert_int_equal(stats(p, 2).ring_faults, 1);
	assert_int_equal(stats(p, 1).ring_faults, 0);
	p->raw.sink->ops->lost(p->raw.sink, -EPROTO);
	program_run(p);
	assert_int_equal(stats(p, 0).message_faults, 1);
	assert_int_equal(stats(p, VIRTIOFS_QUEUE_ALL).message_faults, 1);
}

static int refuses(struct virtiofs_req *req)
{
	return virtiofs_req_error(req, 7);
}

static void replies_that_are_refused_are_counted(void **state)
{
	const struct virtiofs_device_ops ops = {.size = sizeof(ops),
						.request = refuses};
	const struct virtiofs_device_opts opts = {.size = sizeof(opts),
						  .num_request_queues = 2};
	const struct fuse_init_in in = {.major = 7, .minor = 45};
	struct program *p = *state;

	raw_init(&p->raw, 0);
	assert_int_equal(
	    virtiofs_device_new(&p->dev, &p->raw.base, &ops, &opts, p), 0);
	raw_do(&p->raw, raw_setup, 16);
	program_run(p);
	send_frame(p, 1, 0, FUSE_INIT, &in, sizeof(in), 80);
	send_statfs(p, 1, 1);
	program_run(p);
	assert_int_equal(stats(p, 1).reply_faults, 1);
	assert_int_equal(stats(p, 1).errors, 1);
}

/* Parts of many pages: 128 requests have memory for that, one more waits. */
static void waiting_for_memory_is_counted_once(void **state)
{
	struct program *p = *state;
	struct raw_desc d[15];

	p->num = 256;
	p->keep = true;
	program_open(p, 0);
	p->keep = true;
	put_frame(p, 0, FUSE_STATFS, "", 0);
	d[0] = (struct raw_desc){cell_addr(0), 40, 0};
	for (unsigned k = 1; k < 15; k++)
		d[k] = (struct raw_desc){cell_addr(0) + CELL_ROOM + k * 32, 16,
					 VTFS_DESC_F_WRITE};
	for (unsigned i = 0; i < 129; i += 16) {
		for (unsigned k = i; k < i + 16 && k < 129; k++)
			raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, 15));
		program_run(p);
	}
	assert_int_equal(p->cnt, 128);
	assert_int_equal(stats(p, 1).parked, 1);
	/* It is tried again, with all queues. */
	send_statfs(p, 2, 1);
	program_run(p);
	assert_int_equal(p->cnt, 129);
	virtiofs_req_error(p->reqs[0], 0);
	program_run(p);
	assert_int_equal(p->cnt, 130);
	assert_int_equal(stats(p, 1).parked, 1);
	for (unsigned i = 1; i < 130; i++)
		virtiofs_req_error(p->reqs[i], 0);
}

static struct virtiofs_hist latency(struct program *p, uint32_t queue,
				    uint32_t opcode)
{
	struct virtiofs_hist h = {.size = sizeof(h)};

	assert_int_equal(virtiofs_device_latency(p->dev, queue, opcode, &h), 0);
	return h;
}

static void wait_a_little(struct program *p, struct virtiofs_req *req)
{
	const struct timespec *least = p->more;

	nanosleep(least, NULL);
	virtiofs_req_error(req, 0);
}

static void latencies_are_those_of_the_requests(void **state)
{
	struct program *p = *state;
	const struct timespec least = {0, 2000000};
	struct virtiofs_hist h;

	p->flags = VIRTIOFS_DEVICE_LATENCY;
	program_open(p, 0);
	p->more = (void *)(uintptr_t)&least;
	p->on_request = wait_a_little;
	send_statfs(p, 1, 0);
	send_statfs(p, 2, 1);
	send_frame(p, 1, 2, 4321, "", 0, 200);
	program_run(p);
	h = latency(p, 1, FUSE_STATFS);
	assert_int_equal(h.cnt, 1);
	assert_true(h.sum >= 2000000);
	assert_int_equal(h.max, h.sum);
	assert_true(virtiofs_hist_quantile(&h, 0.5) >= 2000000);
	assert_int_equal(latency(p, VIRTIOFS_QUEUE_ALL, FUSE_STATFS).cnt, 2);
	assert_int_equal(latency(p, 0, FUSE_STATFS).cnt, 0);
	assert_int_equal(latency(p, 1, FUSE_LOOKUP).cnt, 0);
	assert_int_equal(latency(p, 1, 0).cnt, 1);
}

static void what_is_not_there_is_refused(void **state)
{
	struct program *p = *state;
	struct virtiofs_queue_stats s = {.size = sizeof(s)};
	struct virtiofs_hist h = {.size = sizeof(h)};

	assert_int_equal(virtiofs_device_stats(p->dev, 3, &s), -EINVAL);
	assert_int_equal(virtiofs_device_latency(p->dev, 1, 1, &h),
			 -EOPNOTSUPP);
	assert_int_equal(virtiofs_device_latency(p->dev, 3, 1, &h), -EINVAL);
	assert_int_equal(virtiofs_device_latency(p->dev, 1, 64, &h), -EINVAL);
	s.size = 0;
	assert_int_equal(virtiofs_device_stats(p->dev, 1, &s), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    PROGRAM_TEST(requests_and_replies_are_counted_by_queue),
	    PROGRAM_TEST(hiprio_counts_entries_and_wrong_queues),
	    PROGRAM_TEST(interrupts_are_matched_early_or_late),
	    PROGRAM_TEST(faults_are_counted_by_what_they_cost),
	    PROGRAM_TEST_CLOSED(replies_that_are_refused_are_counted),
	    PROGRAM_TEST_CLOSED(waiting_for_memory_is_counted_once),
	    PROGRAM_TEST_CLOSED(latencies_are_those_of_the_requests),
	    PROGRAM_TEST(what_is_not_there_is_refused),
	};

	return cmocka_run_group_tests_name("device stats", tests, NULL, NULL);
}
