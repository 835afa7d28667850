/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a FUSE session ends: another INIT, DESTROY, and what they wait for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"

#define ALL_FLAGS 0xffffffffu

/* covers: FS-DEV-12 */
static void init_again_is_a_new_session(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	struct fuse_init_out out;

	program_start(p, 0);
	assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
	assert_int_equal(p->resets, 0);
	/* What is in flight is answered before the old session ends. */
	p->keep = true;
	send_frame(p, 2, 1, FUSE_STATFS, "", 0, 200);
	program_run(p);
	in.minor = 31;
	send_frame(p, 1, 2, FUSE_INIT, &in, 16, 80);
	send_frame(p, 1, 3, FUSE_STATFS, "", 0, 200);
	program_run(p);
	no_reply(p, 1);
	assert_int_equal(p->interrupts, 1);
	assert_int_equal(p->resets, 0);
	assert_int_equal(p->cnt, 1);
	virtiofs_req_error(p->reqs[0], -EINTR);
	program_run(p);
	assert_int_equal(p->resets, 1);
	assert_int_equal(reply_of(p, 2, 1), -EINTR);
	assert_int_equal(reply_of(p, 1, 2), 0);
	memcpy(&out, reply_bytes(p, 2), sizeof(out));
	assert_int_equal(out.minor, 31);
	/* What came behind it belongs to the new one. */
	assert_int_equal(p->cnt, 2);
	virtiofs_req_error(p->reqs[1], 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 3), 0);
}

/* What INIT waits for may itself wait for a FORGET or an INTERRUPT. */
static void hiprio_goes_on_while_init_waits(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	const uint64_t nlookup = 1, unique = UNIQUE(1);

	program_open(p, 0);
	p->keep = true;
	send_frame(p, 2, 1, FUSE_STATFS, "", 0, 200);
	program_run(p);
	send_frame(p, 1, 2, FUSE_INIT, &in, 64, 80);
	program_run(p);
	no_reply(p, 1);
	send_frame(p, 0, 3, FUSE_FORGET, &nlookup, 8, 0);
	send_frame(p, 0, 4, FUSE_INTERRUPT, &unique, 8, 0);
	/* This does not belong there, and waits with what is behind it. */
	send_frame(p, 0, 5, FUSE_STATFS, "", 0, 200);
	send_frame(p, 0, 6, FUSE_FORGET, &nlookup, 8, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 3), 1);
	assert_int_equal(reply_of(p, 0, 4), 1);
	no_reply(p, 0);
	assert_int_equal(p->forget_cnt, 1);
	assert_int_equal(p->resets, 0);
	assert_int_equal(p->cnt, 1);
	assert_true(virtiofs_req_interrupted(p->reqs[0]));
	virtiofs_req_error(p->reqs[0], -EINTR);
	program_run(p);
	assert_int_equal(p->resets, 1);
	assert_int_equal(reply_of(p, 1, 2), 0);
	assert_int_equal(reply_of(p, 2, 1), -EINTR);
	/* Those belong to the new session. */
	assert_int_equal(p->cnt, 2);
	assert_int_equal(p->forget_cnt, 2);
	assert_int_equal(reply_of(p, 0, 6), 1);
	virtiofs_req_error(p->reqs[1], 0);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 5), 0);
}

static void count_resets(struct program *p)
{
	*(unsigned *)p->more += p->resets;
}

/* A budget may leave forgets to be done when DESTROY is there. */
static void reset_comes_after_all_forgets(void **state)
{
	struct program *p = *state;
	char *args = calloc(1, 8 + 1000 * 16);
	const uint32_t cnt = 1000;
	unsigned resets = 0;

	memcpy(args, &cnt, 4);
	program_open(p, 0);
	for (unsigned i = 0; i < 4; i++)
		send_frame(p, 0, i, FUSE_BATCH_FORGET, args, 8 + 16000, 0);
	send_frame(p, 1, 9, FUSE_DESTROY, "", 0, 16);
	p->on_forget = count_resets;
	p->more = &resets;
	program_run(p);
	assert_int_equal(p->forget_cnt, 4000);
	assert_int_equal(p->resets, 1);
	assert_int_equal(resets, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(reply_of(p, 0, i), 1);
	assert_int_equal(reply_of(p, 1, 9), 0);
	free(args);
}

/* Until then its owner may still be in a callback, whatever ends the session.
 */
static void reset_waits_for_the_owners_flush(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	struct virtiofs_devq *q;
	struct virtiofs_req *req;

	program_open(p, 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(virtiofs_device_take_queue(p->dev, 1, 0, &q),
				 0);
		assert_int_equal(virtiofs_devq_dispatch(q), 0);
		send_frame(p, 1, 1, FUSE_STATFS, "", 0, 200);
		assert_int_equal(virtiofs_devq_pop(q, &req, 1), 1);
		if (i == 0)
			send_frame(p, 2, 2, FUSE_INIT, &in, 64, 80);
		else
			raw_do(&p->raw, raw_lost, 0);
		program_run(p);
		assert_int_equal(virtiofs_req_error(req, 0), i ? -ENOTCONN : 0);
		program_run(p);
		assert_int_equal(p->resets, i);
		assert_int_equal(virtiofs_devq_flush(q), 0);
		program_run(p);
		assert_int_equal(p->resets, i + 1);
		virtiofs_devq_release(q);
	}
}

/* covers: FUSE-DEV-19, FUSE-DEV-29 */
static void destroy_is_answered_and_ends_the_session(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	struct fuse_init_out out;

	program_start(p, 0);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
		send_frame(p, 1, 1, FUSE_DESTROY, "", 0, 16);
		program_run(p);
		assert_int_equal(p->resets, i * 3 + 1);
		assert_int_equal(reply_of(p, 1, 1), 0);
		assert_int_equal(getattr_of(p, 1), -EIO);
		/* a virtio reset, and a peer that goes */
		assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
		raw_do(&p->raw, raw_reset, 0);
		program_run(p);
		raw_do(&p->raw, raw_setup, p->num);
		program_run(p);
		assert_int_equal(p->resets, i * 3 + 2);
		assert_int_equal(init_of(p, 1, &in, 64, &out), 0);
		raw_do(&p->raw, raw_lost, 0);
		program_run(p);
		assert_int_equal(p->resets, i * 3 + 3);
		raw_do(&p->raw, raw_setup, p->num);
		program_run(p);
	}
}

/* The program answers INIT itself; flags and sizes are still confined. */
static void raw_init_passes_through_and_is_confined(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	struct fuse_init_out out = {.major = 7,
				    .minor = 45,
				    .flags = ALL_FLAGS,
				    .max_pages = 300,
				    .max_write = 2u << 20};

	p->flags = VIRTIOFS_DEVICE_RAW_INIT;
	p->keep = true;
	program_start(p, 0);
	send_frame(p, 1, 1, FUSE_INIT, &in, 64, 80);
	send_frame(p, 1, 2, FUSE_STATFS, "", 0, 200);
	program_run(p);
	assert_int_equal(p->cnt, 1);
	assert_int_equal(p->reqs[0]->in->opcode, FUSE_INIT);
	memcpy(p->reqs[0]->room[0].iov_base, &out, sizeof(out));
	assert_int_equal(virtiofs_req_filled(p->reqs[0], sizeof(out)), 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 1), 0);
	memcpy(&out, reply_bytes(p, 1), sizeof(out));
	assert_int_equal(out.flags & FUSE_SPLICE_READ, 0);
	assert_int_equal(out.flags & FUSE_INIT_RESERVED, 0);
	assert_int_equal(out.max_pages, 256);
	assert_int_equal(out.max_write, 1u << 20);
	assert_int_equal(p->cnt, 2);
	virtiofs_req_error(p->reqs[1], 0);
	/* DESTROY too, once nothing else is in flight. */
	send_frame(p, 1, 3, FUSE_DESTROY, "", 0, 16);
	program_run(p);
	assert_int_equal(p->cnt, 3);
	assert_int_equal(p->reqs[2]->in->opcode, FUSE_DESTROY);
	virtiofs_req_error(p->reqs[2], 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 2), 0);
	assert_int_equal(reply_of(p, 1, 3), 0);
	assert_int_equal(getattr_of(p, 1), -EIO);
}

static void raw_init_refused_by_the_program_opens_nothing(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	struct fuse_init_out out;

	p->flags = VIRTIOFS_DEVICE_RAW_INIT;
	program_start(p, 0);
	/* The test's program answers error 0 and no data. */
	send_frame(p, 1, 1, FUSE_INIT, &in, 64, 80);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 1), 0);
	assert_int_equal(getattr_of(p, 1), -EIO);
	(void)out;
}

/* Taken off the ring, awaited by nobody any more. The session that DESTROY
 * would have ended is ended by the loss. */
static void raw_barrier_is_not_handed_out_after_the_peer_is_lost(void **state)
{
	struct program *p = *state;
	struct fuse_init_in in = make_init(7, 45);
	struct fuse_init_out out = {.major = 7, .minor = 45, .max_write = 4096};
	struct virtiofs_devq *q;
	struct virtiofs_req *req;

	p->flags = VIRTIOFS_DEVICE_RAW_INIT;
	program_start(p, 0);
	assert_int_equal(virtiofs_device_take_queue(p->dev, 1, 0, &q), 0);
	for (unsigned i = 0; i < 4; i++) {
		bool destroy = i & 2;

		if (destroy) {
			send_frame(p, 1, 2, FUSE_INIT, &in, 64, 80);
			virtiofs_devq_pop(q, &req, 1);
			program_run(p);
			assert_int_equal(virtiofs_devq_pop(q, &req, 1), 1);
			virtiofs_req_reply(req, &out, sizeof(out));
			virtiofs_devq_flush(q);
			program_run(p);
		}
		send_frame(p, 1, 1, destroy ? FUSE_DESTROY : FUSE_INIT, &in,
			   destroy ? 0 : 64, 80);
		assert_int_equal(virtiofs_devq_pop(q, &req, 1), 0);
		program_run(p);
		raw_do(&p->raw, i & 1 ? raw_reset : raw_lost, 0);
		program_run(p);
		assert_int_equal(p->raw.reset_done, i);
		assert_int_equal(virtiofs_devq_pop(q, &req, 1), 0);
		virtiofs_devq_flush(q);
		program_run(p);
		assert_int_equal(p->raw.reset_done, i + 1);
		assert_int_equal(p->resets, destroy ? i - 1 : 0);
		raw_do(&p->raw, raw_setup, p->num);
		program_run(p);
	}
	/* No barrier was left behind. */
	send_frame(p, 1, 1, FUSE_INIT, &in, 64, 80);
	assert_int_equal(virtiofs_devq_pop(q, &req, 1), 0);
	program_run(p);
	assert_int_equal(virtiofs_devq_pop(q, &req, 1), 1);
	virtiofs_req_error(req, -EIO);
	virtiofs_devq_release(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    PROGRAM_TEST_CLOSED(init_again_is_a_new_session),
	    PROGRAM_TEST_CLOSED(hiprio_goes_on_while_init_waits),
	    PROGRAM_TEST_CLOSED(reset_comes_after_all_forgets),
	    PROGRAM_TEST_CLOSED(reset_waits_for_the_owners_flush),
	    PROGRAM_TEST_CLOSED(destroy_is_answered_and_ends_the_session),
	    PROGRAM_TEST_CLOSED(raw_init_passes_through_and_is_confined),
	    PROGRAM_TEST_CLOSED(raw_init_refused_by_the_program_opens_nothing),
	    PROGRAM_TEST_CLOSED(
		raw_barrier_is_not_handed_out_after_the_peer_is_lost),
	};

	return cmocka_run_group_tests_name("device session", tests, NULL, NULL);
}
