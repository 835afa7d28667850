/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a client starts: status, features, configuration space, FUSE_INIT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <virtiofs/ops.h>

#include "liardev.h"

static struct liar_req req;

struct fix {
	struct liar l;
	struct virtiofs_client *c;
	struct virtiofs_client_opts opts;
};

static int set_up(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	liar_init(&f->l);
	f->opts.size = sizeof(f->opts);
	f->opts.flags = VIRTIOFS_CLIENT_NONBLOCK;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	f->l.gone = true;
	virtiofs_client_free(f->c);
	assert_true(!f->c || f->l.freed);
	liar_fini(&f->l);
	free(f);
	return 0;
}

static int start(struct fix *f)
{
	if (!f->c)
		assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts),
				 0);
	return liar_start(&f->l, f->c);
}

static struct virtiofs_client_info info(struct fix *f)
{
	struct virtiofs_client_info i = {.size = sizeof(i)};

	assert_int_equal(virtiofs_client_get_info(f->c, &i), 0);
	return i;
}

/* Status writes of a text, in order. */
static void statuses(const char *text, char *ret)
{
	*ret = 0;
	while ((text = strstr(text, ";status ")) != NULL) {
		text += 8;
		strncat(ret, text, strcspn(text, ";"));
		strcat(ret, " ");
	}
}

/* covers: STAT-DRV-01, INIT-DRV-01, INIT-DRV-07, RST-DRV-01 */
static void start_takes_the_steps_in_order(void **state)
{
	struct fix *f = *state;

	assert_int_equal(start(f), 0);
	assert_string_equal(
	    f->l.text,
	    "connect;status 0;read_status;status 1;status 3;get_features;"
	    "features 130000000;status 11;read_status;config;config;map;"
	    "start 0;start 1;status 15;");
	assert_int_equal(f->l.early_kicks, 0);
}

/* covers: STAT-DRV-02 */
static void status_only_grows_until_reset(void **state)
{
	struct fix *f = *state;
	char writes[256];

	assert_int_equal(start(f), 0);
	virtiofs_client_free(f->c);
	f->c = NULL;
	statuses(f->l.text, writes);
	assert_string_equal(writes, "0 1 3 11 15 0 ");
}

static void reset_is_waited_for(void **state)
{
	struct fix *f = *state;

	f->l.status_lag = 3;
	f->opts.flags = 0;
	f->opts.timeout_ms = 50;
	/* Blocking: nobody answers INIT here, but the reset was awaited. */
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -ETIMEDOUT);
	assert_non_null(strstr(f->l.text,
			       "status 0;read_status;read_status;read_status;"
			       "read_status;status 1;"));
}

/* covers: FEAT-DRV-01, FEAT-DRV-03, FEAT-DRV-04, RSVF-DRV-01, RSVF-DRV-08 */
static void every_bit_offered_takes_only_known_ones(void **state)
{
	struct fix *f = *state;

	f->l.offered = UINT64_MAX;
	f->opts.features = UINT64_MAX;
	assert_int_equal(start(f), 0);
	assert_int_equal(f->l.features,
			 VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_PACKED |
			     VIRTIOFS_F_IN_ORDER | VIRTIOFS_F_RING_RESET);
}

/* Every subset of what both may want. covers: FEAT-DRV-01, FEAT-DRV-05 */
static void accepted_is_offered_and_wanted(void **state)
{
	static const uint64_t bits[] = {VIRTIOFS_F_INDIRECT_DESC,
					VIRTIOFS_F_EVENT_IDX,
					VIRTIOFS_F_RING_PACKED};

	for (unsigned i = 0; i < 64; i++) {
		uint64_t offer = VIRTIOFS_F_VERSION_1;
		uint64_t want = VIRTIOFS_F_VERSION_1;
		struct fix *f;

		set_up((void **)&f);
		for (unsigned k = 0; k < 3; k++) {
			offer |= i & (1u << k) ? bits[k] : 0;
			want |= i & (8u << k) ? bits[k] : 0;
		}
		f->l.offered = offer;
		f->opts.features = want;
		assert_int_equal(start(f), 0);
		assert_int_equal(f->l.features, offer & want);
		assert_int_equal(info(f).features, offer & want);
		assert_int_equal(info(f).device_features, offer);
		tear_down((void **)&f);
	}
	(void)state;
}

/* covers: FEAT-DRV-05, RSVF-DRV-02, INIT-DRV-05, INIT-DRV-06 */
static void legacy_device_is_refused(void **state)
{
	struct fix *f = *state;

	f->l.offered = VIRTIOFS_F_EVENT_IDX;
	assert_int_equal(start(f), -EOPNOTSUPP);
	assert_non_null(strstr(f->l.text, "get_features;status 131;"));
	assert_null(strstr(f->l.text, "start"));
}

/* covers: INIT-DRV-04, INIT-DRV-05, INIT-DRV-06 */
static void features_ok_that_reads_back_clear_ends_it(void **state)
{
	struct fix *f = *state;

	f->l.refuses_features = true;
	assert_int_equal(start(f), -EPROTO);
	assert_non_null(strstr(f->l.text, "status 11;read_status;status 139;"));
	assert_null(strstr(f->l.text, "start"));
	assert_null(strstr(f->l.text, "map"));
}

/* covers: STAT-DRV-03, INIT-DRV-06 */
static void failed_start_resets_before_the_next(void **state)
{
	struct fix *f = *state;

	f->l.fail_op = LIAR_START_QUEUE;
	f->l.fail_r = -EINVAL;
	assert_int_equal(start(f), -EINVAL);
	assert_non_null(strstr(f->l.text, "start 0;status 139;"));
	liar_clear(&f->l);
	f->l.fail_op = LIAR_NONE;
	assert_int_equal(start(f), 0);
	/* It still has our memory by then, and gives it back. */
	assert_ptr_equal(
	    strstr(f->l.text, "status 0;read_status;unmap;status 1;"),
	    f->l.text);
}

/* covers: INIT-DRV-03, INIT-DRV-02 */
static void features_are_said_once(void **state)
{
	struct fix *f = *state;
	char *first;

	assert_int_equal(start(f), 0);
	first = strstr(f->l.text, "features 1");
	assert_non_null(first);
	assert_null(strstr(first + 1, ";features "));
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EBUSY);
	assert_null(strstr(first + 1, ";features "));
}

/* covers: CFG-DRV-02 */
static void config_is_not_read_beyond_what_was_negotiated(void **state)
{
	struct fix *f = *state;

	f->l.offered |= VIRTIOFS_F_NOTIFICATION;
	assert_int_equal(start(f), 0);
	assert_int_equal(f->l.config_end, 40);
	assert_int_equal(f->l.features & VIRTIOFS_F_NOTIFICATION, 0);
}

/* covers: CFG-DRV-01 */
static void config_that_changes_is_read_again(void **state)
{
	struct fix *f = *state;

	f->l.config_changes = 3;
	assert_int_equal(start(f), 0);
	assert_string_equal(virtiofs_client_tag(f->c), "oiar");
	assert_non_null(strstr(f->l.text, "config;config;config;config;"));
}

static void config_that_never_settles_is_a_fault(void **state)
{
	struct fix *f = *state;

	f->l.config_changes = 1000;
	assert_int_equal(start(f), -EPROTO);
	assert_true(f->l.config_changes > 900);
}

/* covers: CFG-DRV-03, CFG-DRV-04 */
static void config_may_be_larger_but_not_smaller(void **state)
{
	static const size_t lens[] = {40, 44, 60, 256};
	static const size_t bad[] = {0, 36, 39};

	for (unsigned i = 0; i < 7; i++) {
		struct fix *f;

		set_up((void **)&f);
		f->l.config_len = i < 4 ? lens[i] : bad[i - 4];
		assert_int_equal(start(f), i < 4 ? 0 : -EINVAL);
		tear_down((void **)&f);
	}
	(void)state;
}

/* covers: FS-DRV-01 */
static void tags_that_make_no_name_are_refused(void **state)
{
	struct fix *f = *state;

	memset(f->l.config, 0, VIRTIOFS_TAG_MAX);
	assert_int_equal(start(f), -EPROTO);
	memcpy(f->l.config, "a\nb", 3);
	assert_int_equal(start(f), -EPROTO);
	memset(f->l.config, 'x', VIRTIOFS_TAG_MAX);
	assert_int_equal(start(f), 0);
	assert_int_equal(strlen(virtiofs_client_tag(f->c)), VIRTIOFS_TAG_MAX);
}

static void tag_option_is_for_devices_without_config(void **state)
{
	struct fix *f = *state;

	f->opts.tag = "mine";
	f->l.config_r = -EOPNOTSUPP;
	assert_int_equal(start(f), 0);
	assert_string_equal(virtiofs_client_tag(f->c), "mine");
	assert_string_equal(info(f).tag, "mine");
}

static void bad_options_are_named(void **state)
{
	struct fix *f = *state;
	char tag[40];

	memset(tag, 'x', sizeof(tag));
	tag[37] = 0;
	f->opts.tag = tag;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts),
			 -EINVAL);
	assert_true(f->l.freed);
	assert_non_null(strstr(virtiofs_last_error(), "37 bytes"));
	f->opts.tag = NULL;
	f->opts.queue_size = 100;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts),
			 -EINVAL);
	f->opts.queue_size = 2;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts),
			 -EINVAL);
	f->opts.queue_size = 0;
	f->opts.flags = 1u << 31;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts),
			 -EINVAL);
}

static void options_of_another_size(void **state)
{
	struct {
		struct virtiofs_client_opts opts;
		uint64_t tail;
	} wide = {0};
	struct fix *f = *state;

	wide.opts = f->opts;
	wide.opts.size = sizeof(wide);
	wide.tail = 1;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &wide.opts),
			 -E2BIG);
	wide.tail = 0;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &wide.opts), 0);
}

/* covers: FS-DRV-03 */
static void uses_as_many_queues_as_both_have(void **state)
{
	static const struct {
		unsigned device, want, use;
	} cases[] = {{8, 1, 1}, {8, 8, 8}, {2, 8, 2}};

	for (unsigned i = 0; i < 3; i++) {
		struct fix *f;
		char last[16];

		set_up((void **)&f);
		f->l.config[VTFS_CONFIG_QUEUES] =
		    (unsigned char)cases[i].device;
		f->l.queue_cnt = cases[i].device + 1;
		f->opts.num_request_queues = cases[i].want;
		assert_int_equal(start(f), 0);
		assert_int_equal(info(f).request_queues, cases[i].use);
		assert_int_equal(info(f).device_request_queues,
				 cases[i].device);
		snprintf(last, sizeof(last), "start %u;status", cases[i].use);
		assert_non_null(strstr(f->l.text, last));
		tear_down((void **)&f);
	}
	(void)state;
}

/* covers: FS-DRV-05, FUSE-DRV-06 */
static void first_request_is_init_and_others_wait(void **state)
{
	struct fix *f = *state;
	struct virtiofs_op op = {.size = sizeof(op), .opcode = FUSE_STATFS};
	const struct fuse_init_in *in = (const void *)req.data;
	struct fuse_init_out out;

	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EAGAIN);
	assert_int_equal(virtiofs_client_call(f->c, &op), -ENOTCONN);
	assert_int_equal(virtiofs_client_forget(f->c, 5, 1), 0);
	assert_int_equal(liar_pop(&f->l, 1, &req), 1);
	assert_int_equal(req.in.opcode, FUSE_INIT);
	assert_true(req.in.unique && !(req.in.unique & 1));
	assert_int_equal(in->major, 7);
	assert_int_equal(in->minor, 45);
	assert_int_equal(req.len, sizeof(*in));
	assert_int_equal(req.room_len, 16 + sizeof(out));
	assert_int_equal(liar_pop(&f->l, 1, &req), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EAGAIN);
}

/* A forget that comes while the start is under way. */
static void hiprio_waits_for_driver_ok(void **state)
{
	struct fix *f = *state;

	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	f->l.fail_op = LIAR_START_QUEUE;
	f->l.fail_r = -EAGAIN;
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EAGAIN);
	assert_int_equal(virtiofs_client_forget(f->c, 5, 1), -ENOTCONN);
	f->l.fail_op = LIAR_NONE;
	assert_int_equal(start(f), 0);
	assert_int_equal(f->l.early_kicks, 0);
	assert_int_equal(f->l.early_idx[0], 0);
	/* No node of this session's. */
	assert_int_equal(liar_pop(&f->l, 0, &req), 0);
	assert_int_equal(virtiofs_client_forget(f->c, 6, 1), 0);
	assert_int_equal(liar_pop(&f->l, 0, &req), 1);
}

/* The negotiated numbers. covers: FUSE-BTH-01, FUSE-DRV-03, FUSE-BTH-09 */
static void init_takes_the_smaller_of_both(void **state)
{
	struct fix *f = *state;
	struct fuse_init_out out;

	f->opts.init_flags = UINT64_MAX;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EAGAIN);
	assert_int_equal(liar_pop(&f->l, 1, &req), 1);
	liar_init_reply(&out, &req);
	assert_int_equal(out.flags & (FUSE_SPLICE_READ | FUSE_SPLICE_WRITE |
				      FUSE_SPLICE_MOVE | FUSE_INIT_RESERVED),
			 0);
	assert_int_equal((uint64_t)out.flags2 << 32 &
			     (FUSE_OVER_IO_URING | FUSE_PASSTHROUGH),
			 0);
	out.minor = 31;
	out.flags = UINT32_MAX;
	out.flags2 = UINT32_MAX;
	liar_reply(&f->l, &req, 0, &out, sizeof(out));
	assert_int_equal(virtiofs_client_start(f->c, &out), 0);
	assert_int_equal(info(f).fuse_minor, 31);
	assert_int_equal(
	    info(f).init_flags &
		(FUSE_SPLICE_READ | FUSE_OVER_IO_URING | FUSE_PASSTHROUGH),
	    0);
	assert_int_equal(out.flags & FUSE_SPLICE_READ, 0);
}

static void flags_nobody_asked_for_are_ignored(void **state)
{
	struct fix *f = *state;
	struct fuse_init_out out;

	f->opts.init_flags = FUSE_ASYNC_READ;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EAGAIN);
	assert_int_equal(liar_pop(&f->l, 1, &req), 1);
	liar_init_reply(&out, &req);
	out.flags = UINT32_MAX;
	out.flags2 = UINT32_MAX;
	liar_reply(&f->l, &req, 0, &out, sizeof(out));
	assert_int_equal(virtiofs_client_start(f->c, NULL), 0);
	assert_int_equal(virtiofs_client_init_flags(f->c), FUSE_ASYNC_READ);
	/* Without MAX_PAGES: 32. */
	assert_int_equal(info(f).max_pages, 32);
}

static void raw_init_is_the_callers(void **state)
{
	struct fix *f = *state;
	struct virtiofs_result res;
	struct fuse_init_out out, got;
	struct fuse_init_in in = {.major = 7, .minor = 31};
	struct iovec room = {&got, sizeof(got)};
	struct virtiofs_cliq *q;
	struct virtiofs_op *op;

	f->opts.flags |= VIRTIOFS_CLIENT_RAW_INIT;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), 0);
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &q), 0);
	/* Anything else has to wait for it. */
	op = virtiofs_cliq_get_op(q);
	virtiofs_prep_head(op, FUSE_STATFS, 1, NULL, 0);
	assert_int_equal(virtiofs_cliq_submit(q), 1);
	assert_int_equal(virtiofs_cliq_reap(q, &res, 1), 1);
	assert_int_equal(res.error, -EBUSY);
	in.flags = FUSE_MAX_PAGES | FUSE_SPLICE_READ;
	op = virtiofs_cliq_get_op(q);
	virtiofs_prep_head(op, FUSE_INIT, 0, &in, sizeof(in));
	virtiofs_op_room(op, &room);
	assert_int_equal(virtiofs_cliq_submit(q), 1);
	assert_int_equal(liar_pop(&f->l, 1, &req), 1);
	liar_init_reply(&out, &req);
	assert_int_equal(out.flags, FUSE_MAX_PAGES);
	out.flags |= FUSE_SPLICE_READ;
	out.max_pages = 7;
	liar_reply(&f->l, &req, 0, &out, sizeof(out));
	assert_int_equal(virtiofs_cliq_reap(q, &res, 1), 1);
	assert_int_equal(res.error, 0);
	assert_int_equal(res.len, sizeof(got));
	assert_int_equal(got.flags, FUSE_MAX_PAGES);
	assert_int_equal(info(f).max_pages, 7);
	assert_int_equal(info(f).fuse_minor, 31);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
	    T(start_takes_the_steps_in_order),
	    T(status_only_grows_until_reset),
	    T(reset_is_waited_for),
	    T(every_bit_offered_takes_only_known_ones),
	    cmocka_unit_test(accepted_is_offered_and_wanted),
	    T(legacy_device_is_refused),
	    T(features_ok_that_reads_back_clear_ends_it),
	    T(failed_start_resets_before_the_next),
	    T(features_are_said_once),
	    T(config_is_not_read_beyond_what_was_negotiated),
	    T(config_that_changes_is_read_again),
	    T(config_that_never_settles_is_a_fault),
	    cmocka_unit_test(config_may_be_larger_but_not_smaller),
	    T(tags_that_make_no_name_are_refused),
	    T(tag_option_is_for_devices_without_config),
	    T(bad_options_are_named),
	    T(options_of_another_size),
	    cmocka_unit_test(uses_as_many_queues_as_both_have),
	    T(first_request_is_init_and_others_wait),
	    T(hiprio_waits_for_driver_ok),
	    T(init_takes_the_smaller_of_both),
	    T(flags_nobody_asked_for_are_ignored),
	    T(raw_init_is_the_callers),
	};

	return cmocka_run_group_tests_name("client_start", tests, NULL, NULL);
}
