/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device object: options, what it offers, its fds, taken queues. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"

static int answer_0(struct virtiofs_req *req)
{
	return virtiofs_req_error(req, 0);
}

static const struct virtiofs_device_ops plain_ops = {
    .size = sizeof(plain_ops),
    .request = answer_0,
};

static int try_opts(const struct virtiofs_device_opts *opts)
{
	struct virtiofs_device *dev;
	struct raw raw;
	int r;

	raw_init(&raw, 0);
	r = virtiofs_device_new(&dev, &raw.base, &plain_ops, opts, NULL);
	if (r == 0)
		virtiofs_device_free(dev);
	/* Owned, whatever came of it. */
	assert_true(raw.freed);
	raw_fini(&raw);
	return r;
}

#define OPTS(...)                                                              \
	(&(struct virtiofs_device_opts){                                       \
	    .size = sizeof(struct virtiofs_device_opts), __VA_ARGS__})

static void bad_options_are_refused_by_name(void **state)
{
	assert_int_equal(try_opts(NULL), 0);
	assert_int_equal(try_opts(OPTS(.tag = "t")), 0);
	assert_int_equal(
	    try_opts(OPTS(.tag = "123456789012345678901234567890123456")), 0);
	assert_int_equal(
	    try_opts(OPTS(.tag = "1234567890123456789012345678901234567")),
	    -EINVAL);
	assert_non_null(strstr(virtiofs_last_error(), "longer than 36"));
	assert_int_equal(try_opts(OPTS(.queue_size = 100)), -EINVAL);
	assert_int_equal(try_opts(OPTS(.queue_size = 65536)), -EINVAL);
	assert_int_equal(try_opts(OPTS(.queue_size = 32768)), 0);
	assert_int_equal(try_opts(OPTS(.num_request_queues = 1024)), -EINVAL);
	assert_int_equal(try_opts(OPTS(.max_write = 4095)), -EINVAL);
	assert_int_equal(try_opts(OPTS(.interrupts_max = 4096)), 0);
	assert_int_equal(try_opts(OPTS(.interrupts_max = 4097)), -EINVAL);
	assert_int_equal(try_opts(OPTS(.flags = 1u << 31)), -EINVAL);
	assert_int_equal(try_opts(OPTS(.features = 1)), -EOPNOTSUPP);
	assert_int_equal(try_opts(OPTS(.features = VIRTIOFS_F_EVENT_IDX)),
			 -EINVAL);
}

static void structs_of_other_sizes(void **state)
{
	struct {
		struct virtiofs_device_opts opts;
		uint64_t later;
	} big = {.opts.size = sizeof(big)};
	struct virtiofs_device_opts old = {
	    .size = offsetof(struct virtiofs_device_opts, max_write),
	    .max_write = 1, /* beyond its size: not there */
	};

	assert_int_equal(try_opts(&big.opts), 0);
	big.later = 1;
	assert_int_equal(try_opts(&big.opts), -E2BIG);
	assert_int_equal(try_opts(&old), 0);
	old.size = 0;
	assert_int_equal(try_opts(&old), -EINVAL);
}

static struct program *new_program(unsigned queues)
{
	struct program *p = calloc(1, sizeof(*p));

	p->queues = queues;
	program_open(p, 0);
	return p;
}

static void free_program(struct program *p)
{
	program_stop(p);
	free(p);
}

/* covers: RSVF-DEV-01, FEAT-DEV-01, FS-BTH-03 */
static void what_is_offered_can_be_honoured(void **state)
{
	struct program *p = new_program(1);
	uint64_t offered = p->raw.sink->ops->offered(p->raw.sink);

	assert_true(offered & (1ULL << 32));
	/* INDIRECT_DESC, EVENT_IDX and VERSION_1, none of which needs another;
	 * no notification queue, which is bit 0. */
	assert_int_equal(offered, 1ULL << 28 | 1ULL << 29 | 1ULL << 32);
	assert_int_equal(VIRTIOFS_F_NOTIFICATION, 1);
	free_program(p);
}

/* covers: FS-BTH-05, FS-DEV-02, CFG-BTH-01 */
static void config_space_is_tag_and_queues(void **state)
{
	const char *tag = "123456789012345678901234567890123456";
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts), .tag = tag, .num_request_queues = 259};
	struct virtiofs_device *dev;
	unsigned char config[48];
	struct raw raw;

	raw_init(&raw, 0);
	assert_int_equal(
	    virtiofs_device_new(&dev, &raw.base, &plain_ops, &opts, NULL), 0);
	memset(config, 0xee, sizeof(config));
	raw.sink->ops->config(raw.sink, config, sizeof(config), 0);
	assert_memory_equal(config, tag, 36);
	assert_memory_equal(config + 36, "\3\1\0\0\0\0\0\0\0\0\0\0", 12);
	/* Any piece of it is the same. */
	for (size_t off = 0; off < 48; off++) {
		unsigned char one = 0xee;

		raw.sink->ops->config(raw.sink, &one, 1, off);
		assert_int_equal(one, config[off]);
	}
	assert_int_equal(raw.sink->ops->queue_cnt(raw.sink), 260);
	virtiofs_device_free(dev);
	raw_fini(&raw);
}

static void fds_are_close_on_exec_and_do_not_change(void **state)
{
	struct program *p = new_program(1);
	struct virtiofs_devq *q;
	int fd = virtiofs_device_fd(p->dev);

	assert_int_equal(virtiofs_device_take_queue(p->dev, 1, 0, &q), 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(virtiofs_devq_fd(q), F_GETFD) & FD_CLOEXEC);
	assert_int_equal(virtiofs_device_fd(p->dev), fd);
	virtiofs_devq_release(q);
	free_program(p);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Sleep, wake, more: what arm and the fd say is what pop finds. */
static void taken_queue_sleeps_and_wakes(void **state)
{
	struct program *p = new_program(2);
	struct virtiofs_req *reqs[4];
	struct virtiofs_devq *q;
	int fd;

	assert_int_equal(virtiofs_device_take_queue(p->dev, 9, 0, &q), -EINVAL);
	assert_int_equal(virtiofs_device_take_queue(p->dev, 1, 64, &q),
			 -EINVAL);
	assert_int_equal(virtiofs_device_take_queue(p->dev, 1, 0, &q), 0);
	assert_int_equal(virtiofs_device_take_queue(p->dev, 1, 0, &q), -EBUSY);
	assert_int_equal(virtiofs_devq_size(q), 16);
	fd = virtiofs_devq_fd(q);
	assert_int_equal(virtiofs_devq_pop(q, reqs, 4), 0);
	assert_int_equal(virtiofs_devq_arm(q), 0);
	assert_false(readable(fd));
	send_frame(p, 1, 0, FUSE_STATFS, "", 0, 200);
	send_frame(p, 1, 1, FUSE_STATFS, "", 0, 200);
	assert_true(readable(fd));
	assert_true(readable(fd)); /* a level, until armed */
	/* It is not dispatch's any more. */
	program_run(p);
	assert_int_equal(p->cnt, 0);
	assert_int_equal(virtiofs_devq_pop(q, reqs, 1), 1);
	assert_int_equal(virtiofs_devq_arm(q), 1);
	assert_int_equal(virtiofs_devq_pop(q, reqs + 1, 4), 1);
	/* Replies are seen with the flush, all of them with one call. */
	virtiofs_req_error(reqs[0], 0);
	virtiofs_req_error(reqs[1], -ENOENT);
	no_reply(p, 1);
	assert_int_equal(virtiofs_devq_flush(q), 0);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_int_equal(reply_of(p, 1, 1), -ENOENT);
	assert_int_equal(raw_calls(&p->raw.q[1]), 1);
	assert_int_equal(virtiofs_devq_arm(q), 0);
	assert_false(readable(fd));
	/* Callbacks on a taken queue. */
	send_frame(p, 1, 2, FUSE_STATFS, "", 0, 200);
	assert_int_equal(virtiofs_devq_dispatch(q), 1);
	assert_int_equal(reply_of(p, 1, 2), 0);
	/* Given back while a request waits in the ring. */
	send_frame(p, 1, 3, FUSE_STATFS, "", 0, 200);
	virtiofs_devq_release(q);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 3), 0);
	free_program(p);
}

static void reply_outside_dispatch_is_seen_at_once(void **state)
{
	struct program *p = new_program(1);

	p->keep = true;
	send_frame(p, 1, 0, FUSE_STATFS, "", 0, 200);
	program_run(p);
	assert_int_equal(virtiofs_req_error(p->reqs[0], 0), 0);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_int_equal(raw_calls(&p->raw.q[1]), 1);
	free_program(p);
}

static void stop_wakes_everybody_for_good(void **state)
{
	struct program *p = new_program(1);
	struct virtiofs_req *reqs[4];
	struct virtiofs_devq *q;

	assert_int_equal(virtiofs_device_take_queue(p->dev, 1, 0, &q), 0);
	assert_int_equal(virtiofs_devq_pop(q, reqs, 4), 0);
	assert_int_equal(virtiofs_devq_arm(q), 0);
	program_run(p);
	errno = 1234;
	virtiofs_device_stop(p->dev);
	assert_int_equal(errno, 1234);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(readable(virtiofs_device_fd(p->dev)));
		assert_true(readable(virtiofs_devq_fd(q)));
		assert_int_equal(virtiofs_devq_arm(q), 1);
		assert_int_equal(virtiofs_devq_pop(q, reqs, 4), -ESHUTDOWN);
		assert_int_equal(virtiofs_device_run(p->dev), 0);
		assert_int_equal(virtiofs_device_dispatch(p->dev), -ESHUTDOWN);
	}
	virtiofs_devq_release(q);
	free_program(p);
}

static struct virtiofs_device *stoppable;

static void on_alarm(int sig)
{
	virtiofs_device_stop(stoppable);
}

static int stop_and_answer(struct virtiofs_req *req)
{
	raise(SIGALRM);
	return virtiofs_req_error(req, 0);
}

static void stop_from_a_signal_handler_ends_run(void **state)
{
	struct virtiofs_device_ops ops = plain_ops;
	struct program p = {.queues = 1};

	raw_init(&p.raw, 0);
	ops.request = stop_and_answer;
	assert_int_equal(
	    virtiofs_device_new(&p.dev, &p.raw.base, &ops, NULL, NULL), 0);
	stoppable = p.dev;
	signal(SIGALRM, on_alarm);
	raw_do(&p.raw, raw_setup, 16);
	program_run(&p);
	send_frame(&p, 1, 0, FUSE_INIT,
		   &(struct fuse_init_in){.major = 7, .minor = 45}, 64, 80);
	send_frame(&p, 1, 1, FUSE_STATFS, "", 0, 200);
	assert_int_equal(virtiofs_device_run(p.dev), 0);
	assert_int_equal(reply_of(&p, 1, 0), 0);
	assert_int_equal(reply_of(&p, 1, 1), 0);
	signal(SIGALRM, SIG_DFL);
	program_stop(&p);
}

/* A chain of 12 parts behind one indirect descriptor; any number of them. */
static void post_indirect(struct program *p, unsigned cnt)
{
	struct vtfs_wire_desc *table = (void *)cell(p, 1);
	struct raw_desc d = {cell_addr(1), 12 * 16, VTFS_DESC_F_INDIRECT};
	const uint16_t in = VTFS_DESC_F_NEXT;
	const uint16_t out = VTFS_DESC_F_WRITE | VTFS_DESC_F_NEXT;

	put_frame(p, 0, FUSE_STATFS, "", 0);
	for (unsigned k = 0; k < 12; k++)
		table[k] = (struct vtfs_wire_desc){
		    .addr = htole64(cell_addr(0) + k * 64),
		    .len = htole32(k ? 16 : 40),
		    .flags = htole16(k == 11 ? VTFS_DESC_F_WRITE
				     : k     ? out
					     : in),
		    .next = htole16((uint16_t)(k + 1)),
		};
	while (cnt--)
		raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], &d, 1));
}

/* More parts than a slot has, more often than there are blocks.
 * covers: ROB-DEV-02 */
static void starved_queue_wakes_when_a_block_comes_back(void **state)
{
	struct program *p = calloc(1, sizeof(*p));
	struct virtiofs_req *reqs[256], *more[256];
	struct virtiofs_devq *q;
	uint32_t id, len;
	unsigned n = 0;

	p->num = 256;
	program_open(p, 0);
	assert_int_equal(virtiofs_device_take_queue(p->dev, 1, 0, &q), 0);
	post_indirect(p, 200);
	/* As many as blocks; the next one waits, and is not "more". */
	assert_int_equal(virtiofs_devq_pop(q, reqs, 256), 128);
	assert_int_equal(virtiofs_devq_pop(q, more, 256), 0);
	assert_int_equal(virtiofs_devq_arm(q), 0);
	assert_false(readable(virtiofs_devq_fd(q)));
	virtiofs_req_error(reqs[0], 0);
	virtiofs_devq_flush(q);
	assert_true(readable(virtiofs_devq_fd(q)));
	assert_int_equal(virtiofs_devq_pop(q, more, 256), 1);
	assert_int_equal(virtiofs_devq_arm(q), 0);
	for (unsigned i = 1; i < 128; i++)
		virtiofs_req_error(reqs[i], 0);
	virtiofs_req_error(more[0], 0);
	assert_int_equal(virtiofs_devq_pop(q, reqs, 256), 71);
	for (unsigned i = 0; i < 71; i++)
		virtiofs_req_error(reqs[i], 0);
	virtiofs_devq_flush(q);
	while (raw_used(&p->raw.q[1], &id, &len))
		n++;
	assert_int_equal(n, 200);
	virtiofs_devq_release(q);
	free_program(p);
}

/* A client without a kick: looked at by the clock. */
static void queue_without_a_kick_is_polled(void **state)
{
	struct program *p = new_program(1);
	struct pollfd fd = {.fd = virtiofs_device_fd(p->dev), .events = POLLIN};
	int kick = p->raw.q[1].kick;

	raw_do(&p->raw, raw_stop, 1);
	program_run(p);
	p->raw.q[1].kick = -1;
	raw_do(&p->raw, raw_start, 1);
	program_run(p);
	for (unsigned i = 0; i < 4; i++) {
		send_frame(p, 1, i, FUSE_STATFS, "", 0, 200);
		while (p->cnt == i) {
			assert_int_equal(poll(&fd, 1, 10000), 1);
			assert_true(virtiofs_device_dispatch(p->dev) >= 0);
		}
		assert_int_equal(reply_of(p, 1, i), 0);
	}
	p->raw.q[1].kick = kick;
	free_program(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bad_options_are_refused_by_name),
	    cmocka_unit_test(structs_of_other_sizes),
	    cmocka_unit_test(what_is_offered_can_be_honoured),
	    cmocka_unit_test(config_space_is_tag_and_queues),
	    cmocka_unit_test(fds_are_close_on_exec_and_do_not_change),
	    cmocka_unit_test(taken_queue_sleeps_and_wakes),
	    cmocka_unit_test(reply_outside_dispatch_is_seen_at_once),
	    cmocka_unit_test(stop_wakes_everybody_for_good),
	    cmocka_unit_test(stop_from_a_signal_handler_ends_run),
	    cmocka_unit_test(queue_without_a_kick_is_polled),
	    cmocka_unit_test(starved_queue_wakes_when_a_block_comes_back),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
