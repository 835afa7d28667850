/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What goes in at one side of the bridge comes out at the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bridgefix.h"

static const struct fuse_getattr_in getattr_in = {.fh = 5};

/* The smallest request; the device gets it with pop(). */
static void ask(struct bridged *x, uint64_t unique)
{
	send_frame(x, FUSE_GETATTR, unique, &getattr_in, sizeof(getattr_in));
}

static void ask_lock(struct bridged *x, uint32_t opcode, uint64_t unique)
{
	const struct fuse_lk_in lk = {.fh = 1};

	send_frame(x, opcode, unique, &lk, sizeof(lk));
}

/* ---- requests ---- */

static void request_and_reply_pass(void **state)
{
	struct fix *f = *state;
	struct fuse_attr_out attr = {.attr.ino = 99};
	struct bridged x;

	running(&x, f, 0);
	ask(&x, 4);
	assert_int_equal(pop(&x)->in.opcode, FUSE_GETATTR);
	assert_int_equal(f->req.in.nodeid, 7);
	assert_int_equal(f->req.in.uid, 1001);
	assert_int_equal(f->req.in.gid, 1002);
	assert_int_equal(f->req.in.pid, 1003);
	assert_int_equal(f->req.len, sizeof(getattr_in));
	assert_memory_equal(f->req.data, &getattr_in, sizeof(getattr_in));
	reply(&x, 0, &attr, sizeof(attr));
	assert_int_equal(answer(&x, 4), 0);
	assert_int_equal(x.reply.len, sizeof(attr));
	assert_memory_equal(x.reply.body, &attr, sizeof(attr));
	send_frame(&x, FUSE_LOOKUP, 6, "none", 5);
	pop(&x);
	reply(&x, -ENOENT, NULL, 0);
	assert_int_equal(answer(&x, 6), -ENOENT);
	assert_int_equal(unmounted(&x), 0);
}

/* Nobody here knows it: 4 KiB may be answered. */
static void request_of_a_later_protocol_passes(void **state)
{
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	send_frame(&x, 77, 4, "anything", 8);
	assert_int_equal(pop(&x)->in.opcode, 77);
	assert_memory_equal(f->req.data, "anything", 8);
	assert_int_equal(f->req.room_len, 16 + PAGE);
	reply(&x, 0, "else", 4);
	assert_int_equal(answer(&x, 4), 0);
	assert_int_equal(x.reply.len, 4);
	assert_memory_equal(x.reply.body, "else", 4);
	assert_int_equal(unmounted(&x), 0);
}

static void write_is_where_it_was_read_to(void **state)
{
	static unsigned char body[sizeof(struct fuse_write_in) + 65000];
	const size_t head = sizeof(struct fuse_write_in);
	struct fuse_write_in in = {.size = sizeof(body) - sizeof(in)};
	struct fuse_write_out out = {.size = in.size};
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (unsigned char)(i * 7 >> 3);
	memcpy(body, &in, head);
	send_frame(&x, FUSE_WRITE, 4, body, sizeof(body));
	assert_int_equal(pop(&x)->in.opcode, FUSE_WRITE);
	assert_int_equal(f->req.len, sizeof(body));
	assert_memory_equal(f->req.data, body, sizeof(body));
	reply(&x, 0, &out, sizeof(out));
	assert_int_equal(answer(&x, 4), 0);
	assert_memory_equal(x.reply.body, &out, sizeof(out));
	assert_int_equal(unmounted(&x), 0);
}

/* Two at once, answered in the other order; pages stay pages. */
static void reads_come_from_where_the_device_wrote(void **state)
{
	static unsigned char data[2][65536];
	struct fuse_read_in in = {.size = sizeof(data[0])};
	struct liar_req first;
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	memset(data[0], 1, sizeof(data[0]));
	memset(data[1], 2, sizeof(data[1]));
	send_frame(&x, FUSE_READ, 4, &in, sizeof(in));
	first = *pop(&x);
	send_frame(&x, FUSE_READ, 6, &in, sizeof(in));
	pop(&x);
	assert_int_equal(first.room_len, 16 + sizeof(data[0]));
	assert_int_equal(first.room_cnt, 2);
	assert_int_equal((uintptr_t)first.room[1].iov_base % PAGE, 0);
	reply(&x, 0, data[1], sizeof(data[1]));
	assert_int_equal(answer(&x, 6), 0);
	assert_int_equal(x.reply.len, sizeof(data[1]));
	assert_memory_equal(x.reply.body, data[1], sizeof(data[1]));
	f->req = first;
	reply(&x, 0, data[0], 4097);
	assert_int_equal(answer(&x, 4), 0);
	assert_int_equal(x.reply.len, 4097);
	assert_memory_equal(x.reply.body, data[0], 4097);
	assert_int_equal(unmounted(&x), 0);
}

/* More than there are buffers for: the rest waits in the kernel. */
static void reads_beyond_the_buffers_wait(void **state)
{
	struct fuse_read_in in = {.size = 8192};
	static struct liar_req reqs[64];
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	for (unsigned i = 0; i < 80; i++)
		send_frame(&x, FUSE_READ, 4 + 2 * i, &in, sizeof(in));
	for (unsigned i = 0; i < 64; i++)
		reqs[i] = *pop(&x);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	for (unsigned i = 0; i < 80; i++) {
		f->req = i < 64 ? reqs[i] : *pop(&x);
		reply(&x, 0, &i, sizeof(i));
		assert_int_equal(answer(&x, 4 + 2 * i), 0);
		assert_memory_equal(x.reply.body, &i, sizeof(i));
	}
	assert_int_equal(unmounted(&x), 0);
}

/* Nor is there a slot in a small ring. */
static void requests_beyond_the_slots_wait(void **state)
{
	struct fuse_attr_out attr = {0};
	struct fix *f = *state;
	struct bridged x;

	f->opts.queue_size = 4;
	running(&x, f, 0);
	for (unsigned i = 0; i < 20; i++)
		ask(&x, 4 + 2 * i);
	for (unsigned i = 0; i < 20; i++) {
		pop(&x);
		attr.attr.ino = i;
		reply(&x, 0, &attr, sizeof(attr));
		assert_int_equal(answer(&x, 4 + 2 * i), 0);
		assert_memory_equal(x.reply.body, &attr, sizeof(attr));
	}
	assert_int_equal(unmounted(&x), 0);
}

/* ---- without the device ---- */

static void poll_is_not_asked(void **state)
{
	struct fuse_poll_in in = {.fh = 1};
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	send_frame(&x, FUSE_POLL, 4, &in, sizeof(in));
	assert_int_equal(answer(&x, 4), -ENOSYS);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	assert_int_equal(unmounted(&x), 0);
}

static void frame_that_is_none_ends_it(void **state)
{
	struct bridged x;

	running(&x, *state, 0);
	assert_int_equal(send(x.kernel, "no", 2, 0), 2);
	assert_int_equal(ended(&x), -EPROTO);
}

/* ---- hiprio ---- */

/* covers: FS-DRV-11 */
static void forgets_take_the_hiprio_queue(void **state)
{
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[3];
	} batch = {{.count = 3}, {{11, 1}, {12, 2}, {13, 3}}};
	struct fuse_forget_in in = {.nlookup = 9};
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	send_frame(&x, FUSE_FORGET, 4, &in, sizeof(in));
	pop_hiprio(&x);
	assert_int_equal(f->req.in.opcode, FUSE_FORGET);
	assert_int_equal(f->req.in.nodeid, 7);
	assert_memory_equal(f->req.data, &in, sizeof(in));
	liar_used(&f->l, &f->req, 0);
	send_frame(&x, FUSE_BATCH_FORGET, 6, &batch, sizeof(batch));
	pop_hiprio(&x);
	assert_int_equal(f->req.in.opcode, FUSE_BATCH_FORGET);
	assert_memory_equal(f->req.data, &batch, sizeof(batch));
	liar_used(&f->l, &f->req, 0);
	assert_int_equal(liar_pop(&f->l, 1, &f->req), 0);
	no_answer(&x);
	assert_int_equal(unmounted(&x), 0);
}

static void interrupt(struct bridged *x, uint64_t target)
{
	struct fuse_interrupt_in in = {.unique = target};

	send_frame(x, FUSE_INTERRUPT, target | 1, &in, sizeof(in));
}

/* covers: FS-DRV-11 */
static void interrupt_finds_its_target(void **state)
{
	struct fuse_interrupt_in in;
	struct fix *f = *state;
	struct liar_req other, target;
	struct bridged x;

	running(&x, f, 0);
	ask_lock(&x, FUSE_SETLK, 4);
	other = *pop(&x);
	ask_lock(&x, FUSE_SETLKW, 6);
	target = *pop(&x);
	interrupt(&x, 6);
	pop_hiprio(&x);
	assert_int_equal(f->req.in.opcode, FUSE_INTERRUPT);
	memcpy(&in, f->req.data, sizeof(in));
	assert_int_equal(in.unique, target.in.unique);
	assert_int_not_equal(in.unique, other.in.unique);
	liar_used(&f->l, &f->req, 0);
	no_answer(&x);
	f->req = target;
	reply(&x, -EINTR, NULL, 0);
	assert_int_equal(answer(&x, 6), -EINTR);
	f->req = other;
	reply(&x, 0, NULL, 0);
	assert_int_equal(answer(&x, 4), 0);
	assert_int_equal(unmounted(&x), 0);
}

/* Every slot is in use, and some requests wait in the client: the kernel has an
 * INTERRUPT for one of those that the device has. */
static void interrupt_gets_through_a_full_queue(void **state)
{
	struct fuse_getattr_in in = {.fh = 5};
	struct fuse_attr_out attr = {0};
	static struct liar_req first;
	struct fix *f = *state;
	struct bridged x;

	f->opts.queue_size = 8;
	running(&x, f, 0);
	for (unsigned i = 0; i < 8; i++)
		send_frame(&x, FUSE_GETATTR, 4 + 2 * i, &in, sizeof(in));
	first = *pop(&x);
	interrupt(&x, 4);
	pop_hiprio(&x);
	assert_int_equal(f->req.in.opcode, FUSE_INTERRUPT);
	assert_int_equal(f->req.in.unique, first.in.unique | 1);
	liar_used(&f->l, &f->req, 0);
	/* One more is taken, and goes out when there is a slot; no other. */
	for (unsigned i = 8; i < 10; i++)
		send_frame(&x, FUSE_GETATTR, 4 + 2 * i, &in, sizeof(in));
	f->req = first;
	for (unsigned i = 0; i < 10; i++) {
		if (i)
			pop(&x);
		attr.attr.ino = i;
		reply(&x, 0, &attr, sizeof(attr));
		assert_int_equal(answer(&x, 4 + 2 * i), 0);
		assert_memory_equal(x.reply.body, &attr, sizeof(attr));
	}
	assert_int_equal(unmounted(&x), 0);
}

/* Read by another clone, perhaps, and not sent yet. */
static void interrupt_without_target_is_to_come_again(void **state)
{
	struct bridged x;

	running(&x, *state, 0);
	interrupt(&x, 40);
	assert_int_equal(answer(&x, 41), -EAGAIN);
	assert_int_equal(unmounted(&x), 0);
}

static void interrupt_that_the_server_does_not_know(void **state)
{
	struct fix *f = *state;
	struct liar_req target;
	struct bridged x;

	running(&x, f, 0);
	ask_lock(&x, FUSE_SETLKW, 4);
	target = *pop(&x);
	interrupt(&x, 4);
	pop_hiprio(&x);
	reply(&x, -ENOSYS, NULL, 0);
	/* It is known once the answer was looked at, which the next one
	 * does. */
	interrupt(&x, 6);
	if (answer(&x, 7) == -EAGAIN) {
		interrupt(&x, 6);
		assert_int_equal(answer(&x, 7), -ENOSYS);
	}
	f->req = target;
	reply(&x, 0, NULL, 0);
	assert_int_equal(answer(&x, 4), 0);
	assert_int_equal(unmounted(&x), 0);
}

/* ---- faults ---- */

static void lost_device_is_eio(void **state)
{
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	ask(&x, 4);
	pop(&x);
	f->l.sink->ops->lost(f->l.sink, -ENOTCONN);
	assert_int_equal(answer(&x, 4), -EIO);
	ask(&x, 6);
	assert_int_equal(answer(&x, 6), -EIO);
	assert_int_equal(unmounted(&x), -ENOTCONN);
}

/* A reply that is none costs its request only. */
static void reply_that_lies_is_eio(void **state)
{
	struct fuse_attr_out attr = {0};
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	ask(&x, 4);
	pop(&x);
	reply(&x, 0, &attr, 8);
	assert_int_equal(answer(&x, 4), -EIO);
	ask(&x, 6);
	pop(&x);
	reply(&x, 0, &attr, sizeof(attr));
	assert_int_equal(answer(&x, 6), 0);
	assert_int_equal(unmounted(&x), 0);
}

static void broken_ring_is_a_lost_device(void **state)
{
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	ask(&x, 4);
	pop(&x);
	liar_raw_used(&f->l, 1, 99999, 16);
	assert_int_equal(eventfd_write(f->l.q[1].setup.call_fd, 1), 0);
	assert_int_equal(answer(&x, 4), -EIO);
	ask(&x, 6);
	assert_int_equal(answer(&x, 6), -EIO);
	assert_int_equal(unmounted(&x), -ENOTCONN);
}

static void late_reply_is_not_told_twice(void **state)
{
	struct fuse_attr_out attr = {0};
	struct fix *f = *state;
	struct liar_req lock;
	struct bridged x;

	running(&x, f, 1);
	ask_lock(&x, FUSE_SETLKW, 4);
	lock = *pop(&x);
	ask(&x, 6);
	pop(&x);
	assert_int_equal(answer(&x, 6), -ETIMEDOUT);
	reply(&x, 0, &attr, sizeof(attr));
	f->req = lock;
	reply(&x, 0, NULL, 0);
	assert_int_equal(answer(&x, 4), 0);
	no_answer(&x);
	assert_int_equal(unmounted(&x), 0);
}

/* ---- the end ---- */

/* What is in flight stays with the device, and the memory with it. */
static void stopped_with_requests_in_flight(void **state)
{
	struct fuse_read_in in = {.size = 65536};
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	send_frame(&x, FUSE_READ, 4, &in, sizeof(in));
	pop(&x);
	virtiofs_bridge_stop(x.b);
	assert_int_equal(ended(&x), -ESHUTDOWN);
	for (unsigned i = 0; i < f->req.room_cnt; i++)
		memset(f->req.room[i].iov_base, 0, f->req.room[i].iov_len);
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &f->q), -EBUSY);
}

static void queues_are_given_back(void **state)
{
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	assert_int_equal(virtiofs_bridge_queues(x.b), 1);
	assert_int_equal(unmounted(&x), 0);
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &f->q), 0);
}

static void client_that_sends_init_itself_is_refused(void **state)
{
	struct virtiofs_bridge *b;
	struct fix *f = *state;
	int sv[2];

	fix_start(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	assert_int_equal(virtiofs_bridge_new(&b, f->c, sv[0], NULL), -EINVAL);
	/* It was the bridge's. */
	assert_int_equal(fcntl(sv[0], F_GETFD), -1);
	close(sv[1]);
}

/* Codes of its own are the program's; what RESEND asks for, the device has. */
static void notifications_that_a_kernel_knows_pass(void **state)
{
	unsigned char arg[40], data[8];
	struct virtiofs_notification n = {
	    .arg = arg, .arg_len = 40, .data = data, .data_len = 8};
	struct virtiofs_bridge *none = NULL;
	struct fix *f = *state;
	struct bridged x;

	memset(arg, 'a', sizeof(arg));
	memset(data, 'd', sizeof(data));
	running(&x, f, 0);
	for (n.code = 1; n.code < 20; n.code++) {
		virtiofs_bridge_notify(&n, &none);
		virtiofs_bridge_notify(&n, &x.b);
		if (n.code > FUSE_NOTIFY_PRUNE ||
		    n.code == FUSE_NOTIFY_RESEND) {
			no_answer(&x);
			continue;
		}
		next_frame(&x);
		assert_int_equal(x.reply.h.unique, 0);
		assert_int_equal(x.reply.h.error, n.code);
		assert_int_equal(x.reply.len, 48);
		assert_memory_equal(x.reply.body, arg, 40);
		assert_memory_equal(x.reply.body + 40, data, 8);
		no_answer(&x);
	}
	assert_int_equal(unmounted(&x), 0);
}

/* A kernel that sends it (fuseblk) has ended the session: the client does not
 * end it once more, nor does anything pass. */
static void destroy_ends_the_session(void **state)
{
	struct fix *f = *state;
	struct bridged x;

	running(&x, f, 0);
	send_frame(&x, FUSE_DESTROY, 4, NULL, 0);
	assert_int_equal(pop(&x)->in.opcode, FUSE_DESTROY);
	reply(&x, 0, NULL, 0);
	assert_int_equal(answer(&x, 4), 0);
	ask(&x, 6);
	assert_int_equal(answer(&x, 6), -EBUSY);
	assert_int_equal(unmounted(&x), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fix_set_up, fix_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(request_and_reply_pass),
	    T(request_of_a_later_protocol_passes),
	    T(write_is_where_it_was_read_to),
	    T(reads_come_from_where_the_device_wrote),
	    T(reads_beyond_the_buffers_wait),
	    T(requests_beyond_the_slots_wait),
	    T(poll_is_not_asked),
	    T(frame_that_is_none_ends_it),
	    T(forgets_take_the_hiprio_queue),
	    T(interrupt_finds_its_target),
	    T(interrupt_gets_through_a_full_queue),
	    T(interrupt_without_target_is_to_come_again),
	    T(interrupt_that_the_server_does_not_know),
	    T(lost_device_is_eio),
	    T(reply_that_lies_is_eio),
	    T(broken_ring_is_a_lost_device),
	    T(late_reply_is_not_told_twice),
	    T(stopped_with_requests_in_flight),
	    T(notifications_that_a_kernel_knows_pass),
	    T(destroy_ends_the_session),
	    T(queues_are_given_back),
	    T(client_that_sends_init_itself_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
