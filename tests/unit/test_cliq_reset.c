/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RING_RESET: a client that takes a queue back from its device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/evfd.h"
#include "liarfix.h"

static int set_up(void **state)
{
	struct fix *f;

	fix_set_up(state);
	f = *state;
	f->l.offered |= VIRTIOFS_F_RING_RESET;
	f->opts.features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_RESET;
	return 0;
}

/* One request goes there and back. */
static void works(struct fix *f)
{
	struct fuse_attr_out out, good = {.attr.ino = 77};
	struct virtiofs_result res;

	fix_getattr(f, &out);
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, &good, sizeof(good));
	res = fix_reap(f);
	assert_int_equal(res.error, 0);
	assert_int_equal(out.attr.ino, 77);
}

/* covers: QRST-DRV-03 */
static void queue_is_set_up_again_as_a_whole(void **state)
{
	struct fix *f = *state;
	struct vtfs_queue_setup old;

	fix_start(f);
	for (unsigned i = 0; i < 300; i++) {
		works(f);
		old = f->l.q[1].setup;
		liar_clear(&f->l);
		assert_int_equal(virtiofs_cliq_reset(f->q), 0);
		assert_string_equal(f->l.text, "stop 1;start 1;");
		assert_int_equal(f->l.q[1].setup.num, old.num);
		assert_int_equal(f->l.q[1].setup.avail_base, 0);
		assert_int_equal(f->l.q[1].setup.desc, old.desc);
		assert_true(f->l.q[1].setup.enabled);
		fix_idle(f);
	}
	works(f);
}

/* covers: QRST-DRV-02 */
static void answered_ops_count_and_others_are_cancelled(void **state)
{
	struct fix *f = *state;
	struct fuse_attr_out out[3], zero = {0}, good = {.attr.ino = 5};
	struct virtiofs_result res[4];
	struct liar_req late;

	memset(out, 0, sizeof(out));
	fix_start(f);
	for (unsigned i = 0; i < 3; i++)
		fix_getattr(f, &out[i]);
	fix_pop(f, 1);
	late = f->req;
	fix_pop(f, 1);
	liar_reply(&f->l, &f->req, 0, &good, sizeof(good));
	/* The last moment for a write is that at which it lets go. */
	f->l.held = &late;
	assert_int_equal(virtiofs_cliq_reset(f->q), 0);
	f->l.held = NULL;
	assert_int_equal(virtiofs_cliq_reap(f->q, res, 4), 3);
	for (unsigned i = 0, ok = 0; i < 3; i++) {
		ok += res[i].error == 0;
		assert_true(res[i].error == 0 || res[i].error == -ECANCELED);
		assert_int_equal(ok, i == 2 ? 1 : ok);
	}
	assert_int_equal(out[1].attr.ino, 5);
	assert_memory_equal(&out[0], &zero, sizeof(zero));
	assert_memory_equal(&out[2], &zero, sizeof(zero));
	works(f);
}

static void broken_queue_is_mended(void **state)
{
	struct fix *f = *state;
	struct fuse_attr_out out;

	fix_start(f);
	fix_getattr(f, &out);
	liar_raw_used(&f->l, 1, 1000, 0);
	assert_int_equal(fix_reap(f).error, -EPROTO);
	fix_getattr(f, &out);
	assert_int_equal(fix_reap(f).error, -EPROTO);
	assert_int_equal(virtiofs_cliq_reset(f->q), 0);
	works(f);
}

/* covers: QRST-DRV-01 */
static void device_that_does_not_let_go_is_lost(void **state)
{
	struct fix *f = *state;
	struct fuse_attr_out out;
	int r;

	f->opts.timeout_ms = 20;
	fix_start(f);
	fix_getattr(f, &out);
	fix_pop(f, 1);
	f->l.fail_op = LIAR_STOP_QUEUE;
	f->l.fail_r = -EAGAIN;
	do {
		liar_clear(&f->l);
		r = virtiofs_cliq_reset(f->q);
		/* Nothing of the queue was begun anew. */
		assert_string_equal(f->l.text, "stop 1;");
	} while (r == -EAGAIN);
	assert_int_equal(r, -ETIMEDOUT);
	assert_int_equal(fix_reap(f).error, -ENOTCONN);
	assert_int_equal(virtiofs_cliq_reset(f->q), -ENOTCONN);
}

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static bool is_told(const struct virtiofs_cliq *q)
{
	return is_readable(virtiofs_cliq_fd(q));
}

/* The answer to what was given up may still come. Nobody reads it before the
 * next start, and a poll loop must not spin on it. */
static void lost_client_does_not_listen_to_its_transport(void **state)
{
	struct fix *f = *state;
	int fd;

	fix_start(f);
	fd = virtiofs_client_fd(f->c);
	f->l.fail_op = LIAR_STOP_QUEUE;
	f->l.fail_r = -EIO;
	for (unsigned i = 0; i < 3; i++) {
		/* While it runs the transport's word is heard. */
		virtiofs_client_dispatch(f->c);
		assert_false(is_readable(fd));
		vtfs_evfd_signal(f->l.fd);
		assert_true(is_readable(fd));
		assert_int_equal(virtiofs_cliq_reset(f->q), -EIO);
		assert_true(is_readable(fd));
		virtiofs_client_dispatch(f->c);
		assert_false(is_readable(fd));
		vtfs_evfd_drain(f->l.fd);
		assert_int_equal(liar_start(&f->l, f->c), 0);
	}
}

/* Nobody waits; the transport goes on by dispatch, and the queue's owner is
 * told when it is his turn. */
static void nonblocking_reset_goes_on_by_dispatch(void **state)
{
	struct fix *f = *state;
	struct fuse_attr_out out;

	fix_start(f);
	fix_getattr(f, &out);
	fix_pop(f, 1);
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
	f->l.fail_op = LIAR_STOP_QUEUE;
	f->l.fail_r = -EAGAIN;
	assert_int_equal(virtiofs_cliq_reset(f->q), -EAGAIN);
	virtiofs_client_dispatch(f->c);
	assert_false(is_told(f->q));
	assert_int_equal(virtiofs_cliq_reset(f->q), -EAGAIN);
	fix_idle(f);

	f->l.fail_op = LIAR_START_QUEUE;
	liar_clear(&f->l);
	virtiofs_client_dispatch(f->c);
	assert_string_equal(f->l.text, "stop 1;");
	assert_true(is_told(f->q));
	assert_int_equal(virtiofs_cliq_reset(f->q), -EAGAIN);
	assert_int_equal(fix_reap(f).error, -ECANCELED);
	assert_int_equal(virtiofs_cliq_arm(f->q), 0);
	virtiofs_client_dispatch(f->c);
	assert_false(is_told(f->q));

	f->l.fail_op = LIAR_NONE;
	virtiofs_client_dispatch(f->c);
	assert_true(is_told(f->q));
	liar_clear(&f->l);
	assert_int_equal(virtiofs_cliq_reset(f->q), 0);
	assert_string_equal(f->l.text, "");
	works(f);
}

/* The device heard nothing of it, whatever kind of bell that was. */
static void what_was_pushed_meanwhile_is_kicked(void **state)
{
	struct fix *f = *state;
	struct fuse_attr_out out;
	int kick;

	fix_start(f);
	kick = dup(f->l.q[1].setup.kick_fd);
	f->l.fail_op = LIAR_START_QUEUE;
	f->l.fail_r = -EAGAIN;
	assert_int_equal(virtiofs_cliq_reset(f->q), -EAGAIN);
	fix_getattr(f, &out);
	vtfs_evfd_drain(kick);
	f->l.fail_op = LIAR_NONE;
	assert_int_equal(virtiofs_cliq_reset(f->q), 0);
	assert_true(is_readable(kick));
	fix_pop(f, 1);
	close(kick);
}

static void resets_of_two_queues_take_turns(void **state)
{
	struct fix *f = *state;
	struct virtiofs_cliq *other;

	f->opts.num_request_queues = 2;
	f->l.queue_cnt = 3;
	f->l.config[36] = 2;
	fix_start(f);
	assert_int_equal(virtiofs_client_take_queue(f->c, 2, 0, &other), 0);
	f->l.fail_op = LIAR_STOP_QUEUE;
	f->l.fail_r = -EAGAIN;
	assert_int_equal(virtiofs_cliq_reset(f->q), -EAGAIN);
	liar_clear(&f->l);
	assert_int_equal(virtiofs_cliq_reset(other), -EAGAIN);
	assert_string_equal(f->l.text, "");
	assert_int_equal(virtiofs_cliq_arm(other), 0);
	f->l.fail_op = LIAR_NONE;
	assert_int_equal(virtiofs_cliq_reset(f->q), 0);
	assert_true(is_told(other));
	assert_int_equal(virtiofs_cliq_reset(other), 0);
	assert_string_equal(f->l.text, "stop 1;start 1;stop 2;start 2;");
	works(f);
	assert_int_equal(virtiofs_cliq_release(other), 0);
}

/* What it began with the transport is ended first. */
static void mapping_waits_for_a_reset_that_is_under_way(void **state)
{
	struct fix *f = *state;
	struct virtiofs_region region = {.size = sizeof(region)};

	fix_start(f);
	f->l.fail_op = LIAR_START_QUEUE;
	f->l.fail_r = -EAGAIN;
	assert_int_equal(virtiofs_cliq_reset(f->q), -EAGAIN);
	f->l.fail_op = LIAR_NONE;
	liar_clear(&f->l);
	assert_int_equal(virtiofs_client_alloc_region(f->c, 4096, &region), 0);
	assert_memory_equal(f->l.text, "start 1;map", 11);
	liar_clear(&f->l);
	assert_int_equal(virtiofs_cliq_reset(f->q), 0);
	assert_string_equal(f->l.text, "");
	works(f);
	assert_int_equal(virtiofs_client_unmap_region(f->c, &region), 0);
}

static void feature_that_was_not_negotiated(void **state)
{
	struct fix *f = *state;

	f->l.offered &= ~VIRTIOFS_F_RING_RESET;
	fix_start(f);
	liar_clear(&f->l);
	assert_int_equal(virtiofs_cliq_reset(f->q), -EOPNOTSUPP);
	assert_string_equal(f->l.text, "");
	works(f);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(queue_is_set_up_again_as_a_whole),
	    T(answered_ops_count_and_others_are_cancelled),
	    T(broken_queue_is_mended),
	    T(device_that_does_not_let_go_is_lost),
	    T(lost_client_does_not_listen_to_its_transport),
	    T(nonblocking_reset_goes_on_by_dispatch),
	    T(what_was_pushed_meanwhile_is_kicked),
	    T(resets_of_two_queues_take_turns),
	    T(mapping_waits_for_a_reset_that_is_under_way),
	    T(feature_that_was_not_negotiated),
	};

	return cmocka_run_group_tests_name("cliq_reset", tests, NULL, NULL);
}
