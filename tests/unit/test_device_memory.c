/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that changes and goes, with requests in flight. */
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

/* ---- memory ---- */

/* Frames whose room lies in the region that was added last. */
static void send_to_region(struct program *p, unsigned vq, unsigned i)
{
	struct raw_desc d[2] = {
	    {cell_addr(i), put_frame(p, i, FUSE_STATFS, "", 0), 0},
	    {RAW_ADDR + RAW_LEN + RAW_REGION_LEN + 64, 200, VTFS_DESC_F_WRITE},
	};

	raw_post(&p->raw.q[vq], raw_chain(&p->raw.q[vq], d, 2));
}

static void removal_waits_for_those_inside_and_no_others(void **state)
{
	struct program *p = *state;
	uint32_t id, len;

	raw_do(&p->raw, raw_add_region, 0);
	program_run(p);
	assert_int_equal(p->raw.retired, 2);
	send_to_region(p, 1, 0);
	send_statfs(p, 1, 1);
	send_statfs(p, 2, 2);
	program_run(p);
	assert_int_equal(p->cnt, 3);
	raw_do(&p->raw, raw_drop_region, 0);
	program_run(p);
	/* Only the one with buffers there holds it up, and is told. */
	assert_int_equal(p->raw.retired, 2);
	assert_int_equal(p->interrupts, 1);
	assert_int_equal(p->interrupted[0]->in->unique, UNIQUE(0));
	/* The queues go on meanwhile. */
	send_statfs(p, 1, 3);
	program_run(p);
	assert_int_equal(p->cnt, 4);
	/* Its bytes are still there to be written. */
	assert_int_equal(virtiofs_req_reply(p->reqs[0], "written", 8), 0);
	program_run(p);
	assert_int_equal(p->raw.retired, 3);
	assert_true(raw_used(&p->raw.q[1], &id, &len));
	assert_int_equal(len, 24);
	assert_string_equal((char *)p->raw.mem + RAW_LEN + RAW_REGION_LEN + 80,
			    "written");
	/* And now they are in no region. */
	send_to_region(p, 2, 5);
	program_run(p);
	assert_int_equal(p->cnt, 4);
	assert_true(raw_used(&p->raw.q[2], &id, &len));
	assert_int_equal(len, 0);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(virtiofs_req_error(p->reqs[i], 0), 0);
}

static void ring_in_no_region_breaks_the_queue(void **state)
{
	struct program *p = *state;
	unsigned char *copy;

	send_statfs(p, 1, 0);
	program_run(p);
	raw_do(&p->raw, raw_drop_all, 0);
	program_run(p);
	assert_int_equal(p->raw.broken, 7);
	copy = snapshot(p);
	virtiofs_req_error(p->reqs[0], 0);
	program_run(p);
	/* The header went to memory that was pinned; the ring was not touched.
	 */
	assert_memory_equal(copy, p->raw.mem, 3 * RAW_RING);
	free(copy);
	assert_int_equal(p->raw.retired, 2);
	raw_do(&p->raw, raw_reset, 0);
	program_run(p);
	assert_int_equal(p->raw.reset_done, 1);
}

static void ring_in_no_region_is_not_started(void **state)
{
	struct program *p = *state;

	raw_do(&p->raw, raw_stop, 1);
	program_run(p);
	p->raw.q[1].used = (void *)(p->raw.mem + RAW_LEN - 16);
	raw_do(&p->raw, raw_start, 1);
	program_run(p);
	assert_int_equal(p->raw.start_r, -EFAULT);
	p->raw.q[1].used = (void *)(p->raw.mem + RAW_LEN / 2 + 2);
	raw_do(&p->raw, raw_start, 1);
	program_run(p);
	assert_int_equal(p->raw.start_r, -EINVAL);
	p->raw.q[1].num = 12;
	raw_do(&p->raw, raw_start, 1);
	program_run(p);
	assert_int_equal(p->raw.start_r, -EINVAL);
}

/* ---- memory that the peer takes back ---- */

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (!virtiofs_memory_fault(info->si_addr))
		_exit(99);
}

static void truncate_and_answer(struct program *p, struct virtiofs_req *req)
{
	if (p->cnt == 1)
		assert_int_equal(
		    ftruncate(p->raw.memfd, RAW_BUFS + CELL_LEN / 4), 0);
	virtiofs_req_reply(req, "x", 1);
}

/* covers: ROB-DEV-03 */
static void memory_that_is_cut_off_fails_that_peer_alone(void **state)
{
	struct program *p = *state;
	struct program other = {.num = 8};
	struct sigaction act = {.sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO};
	struct sigaction old;

	program_open(&other, 0);
	sigaction(SIGBUS, &act, &old);
	p->on_request = truncate_and_answer;
	send_statfs(p, 1, 0);
	program_run(p);
	/* The reply went to where nothing is; all of its queues are broken. */
	assert_int_equal(p->raw.broken, 7);
	send_statfs(&other, 1, 0);
	program_run(&other);
	assert_int_equal(reply_of(&other, 1, 0), 0);
	sigaction(SIGBUS, &old, NULL);
	program_stop(&other);
}

static bool is_told(const struct virtiofs_device *dev)
{
	struct pollfd p = {.fd = virtiofs_device_fd(dev), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Where dispatch serves none of it: the reply itself wakes it.
 * covers: ROB-DEV-03 */
static void fault_in_a_reply_wakes_dispatch(void **state)
{
	struct sigaction act = {.sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO};
	struct sigaction old;
	struct virtiofs_devq *q;
	struct virtiofs_req *req[2];

	sigaction(SIGBUS, &act, &old);
	for (uint32_t flags = 0; flags <= VIRTIOFS_DEVQ_SHARED_REPLY; flags++) {
		struct program other = {.num = 8};

		program_open(&other, 0);
		assert_int_equal(
		    virtiofs_device_take_queue(other.dev, 1, flags, &q), 0);
		send_statfs(&other, 1, 0);
		send_statfs(&other, 1, 1);
		assert_int_equal(virtiofs_devq_pop(q, req, 2), 2);
		program_run(&other);
		assert_false(is_told(other.dev));
		assert_int_equal(ftruncate(other.raw.memfd, RAW_BUFS), 0);
		virtiofs_req_reply(req[0], "x", 1);
		virtiofs_devq_flush(q);
		assert_true(is_told(other.dev));
		program_run(&other);
		assert_int_equal(other.raw.broken, 7);
		virtiofs_req_reply(req[1], "x", 1);
		virtiofs_devq_flush(q);
		assert_int_equal(virtiofs_devq_pop(q, req, 2), 0);
		virtiofs_devq_release(q);
		program_stop(&other);
	}
	sigaction(SIGBUS, &old, NULL);
}

#define T(f)                                                                   \
	cmocka_unit_test_setup_teardown(f, program_set_up_keeping,             \
					program_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(removal_waits_for_those_inside_and_no_others),
	    T(ring_in_no_region_breaks_the_queue),
	    T(ring_in_no_region_is_not_started),
	    T(memory_that_is_cut_off_fails_that_peer_alone),
	    cmocka_unit_test(fault_in_a_reply_wakes_dispatch),
	};

	return cmocka_run_group_tests_name("device memory", tests, NULL, NULL);
}
