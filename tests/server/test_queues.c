/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The program's queues, each with its own thread: none holds up another. */
#include "harness.h"
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct virtiofs_client *connect_with_queues(uint32_t queues)
{
	const struct virtiofs_client_opts opts = {
	    .size = sizeof(opts),
	    .num_request_queues = queues,
	};
	struct virtiofs_transport *t;
	struct virtiofs_client *c;
	char uri[128];

	snprintf(uri, sizeof(uri), "vhost-user:%s", prog_sock);
	assert_int_equal(virtiofs_transport_open_client(&t, uri), 0);
	assert_int_equal(virtiofs_client_new(&c, t, &opts), 0);
	assert_int_equal(virtiofs_client_start(c, NULL), 0);
	return c;
}

static void submit(struct virtiofs_cliq *q, uint32_t opcode, uint64_t node,
		   uint32_t arg_len, const struct iovec *room)
{
	struct virtiofs_op *op = virtiofs_cliq_get_op(q);

	assert_non_null(op);
	op->user_data = opcode;
	op->opcode = opcode;
	op->nodeid = node;
	memset(op->arg, 0, arg_len);
	op->arg_len = arg_len;
	op->room = room;
	op->room_cnt = 1;
	assert_int_equal(virtiofs_cliq_submit(q), 1);
}

static struct virtiofs_result next_result(struct virtiofs_cliq *q)
{
	struct pollfd p = {.fd = virtiofs_cliq_fd(q), .events = POLLIN};
	struct virtiofs_result res;

	while (virtiofs_cliq_reap(q, &res, 1) == 0) {
		if (virtiofs_cliq_arm(q) == 0)
			assert_true(poll(&p, 1, -1) == 1);
	}
	return res;
}

static struct virtiofs_cliq *take(struct virtiofs_client *c, unsigned idx)
{
	struct virtiofs_cliq *q;

	assert_int_equal(
	    virtiofs_client_take_queue(c, VIRTIOFS_QUEUE_REQUEST(idx), 0, &q),
	    0);
	return q;
}

/* One GETATTR of the root, through this queue and no other. */
static void getattr_on(struct virtiofs_cliq *q)
{
	struct fuse_attr_out out;
	const struct iovec room = {.iov_base = &out, .iov_len = sizeof(out)};
	struct virtiofs_result res;

	submit(q, FUSE_GETATTR, FUSE_ROOT_ID, sizeof(struct fuse_getattr_in),
	       &room);
	res = next_result(q);
	assert_int_equal(res.user_data, FUSE_GETATTR);
	assert_int_equal(res.error, 0);
	assert_int_equal(res.len, sizeof(out));
	assert_int_equal(out.attr.mode, S_IFDIR | 0755);
}

/* Beside the first, which has INIT as well, each had one request or none. */
static void check_counts(struct program *p, unsigned has, unsigned used)
{
	char line[64], out[16384];

	assert_int_equal(kill(p->pid, SIGUSR1), 0);
	prog_read_out(p, out, sizeof(out), "descriptors");
	for (unsigned i = 2; i <= has; i++) {
		snprintf(line, sizeof(line), "queue %-14u %12u", i, i <= used);
		assert_non_null(strstr(out, line));
	}
}

static void every_queue_serves(void **state)
{
	static const struct {
		const char *more;
		unsigned has, used;
	} cases[] = {
	    {"--queues=2", 2, 2},
	    {"--queues=2", 2, 1},
	    {"--queues=5", 5, 5},
	    {"--queues=64", 64, 64},
	};

	for (size_t i = 0; i < 4; i++) {
		struct program p = prog_serve("none", cases[i].more);
		struct virtiofs_client *c = connect_with_queues(cases[i].used);
		struct virtiofs_client_info info = {.size = sizeof(info)};

		assert_int_equal(virtiofs_client_get_info(c, &info), 0);
		assert_int_equal(info.device_request_queues, cases[i].has);
		assert_int_equal(info.request_queues, cases[i].used);
		for (unsigned idx = 0; idx < cases[i].used; idx++) {
			struct virtiofs_cliq *q = take(c, idx);

			getattr_on(q);
			assert_int_equal(virtiofs_cliq_release(q), 0);
		}
		check_counts(&p, cases[i].has, cases[i].used);
		virtiofs_client_free(c);
		assert_int_equal(prog_end(&p), 0);
	}
}

static uint64_t look_up(struct virtiofs_client *c, const char *name)
{
	struct fuse_entry_out e;

	assert_int_equal(
	    prog_call(c, FUSE_LOOKUP, name, strlen(name) + 1, &e, sizeof(e)),
	    sizeof(e));
	return e.nodeid;
}

/* The program's own statistics, until they show it. */
static void until_forgotten(struct program *p, unsigned cnt)
{
	char line[64], forgets[32], out[4096];

	snprintf(line, sizeof(line), "%-20s %12u  failed 0\n", "FORGET", cnt);
	snprintf(forgets, sizeof(forgets), "  forgets %u\n", cnt);
	do {
		assert_int_equal(kill(p->pid, SIGUSR1), 0);
		prog_read_out(p, out, sizeof(out), "descriptors");
	} while (!strstr(out, line) || !strstr(out, forgets));
}

static uint64_t make_fifo(struct virtiofs_client *c)
{
	char path[128];

	/* The test's set-up takes it away. */
	snprintf(path, sizeof(path), "%s/made", prog_share);
	assert_int_equal(mkfifo(path, 0600), 0);
	return look_up(c, "made");
}

/* Its handler waits in open(2): requests behind it wait, others and hiprio do
 * not. */
static void blocked_queue_holds_up_nobody_else(void **state)
{
	struct program p = prog_serve("none", "--queues=2");
	struct virtiofs_client *c = connect_with_queues(2);
	uint64_t fifo = make_fifo(c);
	struct virtiofs_cliq *q[2] = {take(c, 0), take(c, 1)};
	struct fuse_open_out open_out;
	struct fuse_attr_out attr_out;
	const struct iovec rooms[2] = {
	    {.iov_base = &open_out, .iov_len = sizeof(open_out)},
	    {.iov_base = &attr_out, .iov_len = sizeof(attr_out)},
	};
	struct virtiofs_result res;

	submit(q[0], FUSE_OPEN, fifo, sizeof(struct fuse_open_in), &rooms[0]);
	submit(q[0], FUSE_GETATTR, FUSE_ROOT_ID, sizeof(struct fuse_getattr_in),
	       &rooms[1]);
	for (unsigned i = 1; i <= 20; i++) {
		getattr_on(q[1]);
		/* Of a node that it doesn't know: counted, and no more. */
		assert_int_equal(virtiofs_client_forget(c, fifo + i, 1), 0);
		until_forgotten(&p, i);
	}
	assert_int_equal(virtiofs_cliq_reap(q[0], &res, 1), 0);
	assert_int_equal(virtiofs_client_interrupt(c, FUSE_OPEN), 0);
	res = next_result(q[0]);
	assert_int_equal(res.user_data, FUSE_OPEN);
	assert_int_equal(res.error, -EINTR);
	res = next_result(q[0]);
	assert_int_equal(res.user_data, FUSE_GETATTR);
	assert_int_equal(res.error, 0);
	virtiofs_client_free(c);
	assert_int_equal(prog_end(&p), 0);
}

static void blocked_requests_end_with_the_program(void **state)
{
	static const char *const more[] = {"--queues=1",
					   "--thread-pool-size=1"};

	for (size_t i = 0; i < 2; i++) {
		struct program p = prog_serve("none", more[i]);
		struct virtiofs_client *c = connect_with_queues(1);
		uint64_t fifo = i ? look_up(c, "made") : make_fifo(c);
		struct virtiofs_cliq *q = take(c, 0);
		struct fuse_open_out out;
		const struct iovec room = {.iov_base = &out,
					   .iov_len = sizeof(out)};

		submit(q, FUSE_OPEN, fifo, sizeof(struct fuse_open_in), &room);
		/* Whoever answers this has taken that. */
		assert_int_equal(virtiofs_client_forget(c, fifo + 1, 1), 0);
		until_forgotten(&p, 1);
		assert_int_equal(prog_end(&p), 0);
		virtiofs_client_free(c);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, prog_set_up, prog_tear_down)
	const struct CMUnitTest tests[] = {
	    T(every_queue_serves),
	    T(blocked_queue_holds_up_nobody_else),
	    T(blocked_requests_end_with_the_program),
	};

	return cmocka_run_group_tests_name("server/queues", tests, NULL, NULL);
}
