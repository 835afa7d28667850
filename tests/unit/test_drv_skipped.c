/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* IN_ORDER: replies whose used elements the device left out. Their length is
 * what they say themselves, and no more than their room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "liarfix.h"

#define OPS 3u

struct batch {
	struct liar_req req[OPS];
	struct fuse_out_header head[OPS];
	struct fuse_attr_out out[OPS];
	struct virtiofs_result res[OPS];
};

static struct batch b;

static int set_up(void **state)
{
	struct fix *f;

	fix_set_up(state);
	f = *state;
	f->l.offered |= VIRTIOFS_F_IN_ORDER;
	f->opts.features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_IN_ORDER;
	return 0;
}

/* Requests, and headers of their replies as they should be. */
static void ask(struct fix *f)
{
	memset(&b, 0, sizeof(b));
	fix_start(f);
	for (unsigned i = 0; i < OPS; i++)
		fix_getattr(f, &b.out[i]);
	for (unsigned i = 0; i < OPS; i++) {
		fix_pop(f, 1);
		b.req[i] = f->req;
		b.head[i] = (struct fuse_out_header){
		    .len = 16 + sizeof(b.out[i]),
		    .unique = f->req.in.unique,
		};
	}
}

/* All of them by one used element. */
static void answer(struct fix *f)
{
	for (unsigned i = 0; i < OPS; i++) {
		struct fuse_attr_out attr = {.attr.ino = 70 + i};

		liar_write(&b.req[i], 16, &attr, sizeof(attr));
		liar_write(&b.req[i], 0, &b.head[i], 16);
	}
	liar_raw_used(&f->l, 1, b.req[OPS - 1].id, b.head[OPS - 1].len);
	liar_raw_index(&f->l, 1, OPS - 1);
	assert_int_equal(virtiofs_cliq_reap(f->q, b.res, OPS), OPS);
	assert_int_equal(b.res[0].error, 0);
	assert_int_equal(b.out[0].attr.ino, 70);
	assert_int_equal(b.res[2].error, 0);
	assert_int_equal(b.out[2].attr.ino, 72);
}

/* covers: SPLIT-DRV-23 */
static void skipped_replies_say_their_own_length(void **state)
{
	struct fix *f = *state;

	ask(f);
	answer(f);
	assert_int_equal(b.res[1].error, 0);
	assert_int_equal(b.res[1].len, sizeof(b.out[1]));
	assert_int_equal(b.out[1].attr.ino, 71);
}

static void skipped_reply_may_be_an_error(void **state)
{
	struct fix *f = *state;

	ask(f);
	b.head[1].len = 16;
	b.head[1].error = -ENOENT;
	answer(f);
	assert_int_equal(b.res[1].error, -ENOENT);
}

/* The lies. */
static void skipped_reply_longer_than_room(void **state)
{
	struct fix *f = *state;

	ask(f);
	b.head[1].len += 1;
	answer(f);
	assert_int_equal(b.res[1].error, -EPROTO);
	assert_int_equal(b.out[1].attr.ino, 0);
}

static void skipped_reply_shorter_than_a_header(void **state)
{
	struct fix *f = *state;

	ask(f);
	b.head[1].len = 15;
	answer(f);
	assert_int_equal(b.res[1].error, -EPROTO);
}

static void skipped_reply_of_no_known_length(void **state)
{
	struct fix *f = *state;

	ask(f);
	b.head[1].len = UINT32_MAX;
	answer(f);
	assert_int_equal(b.res[1].error, -EPROTO);
	assert_int_equal(b.out[1].attr.ino, 0);
}

static void skipped_reply_of_another(void **state)
{
	struct fix *f = *state;

	ask(f);
	b.head[1].unique = b.head[0].unique;
	answer(f);
	assert_int_equal(b.res[1].error, -EPROTO);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, fix_tear_down)
	static const struct CMUnitTest tests[] = {
	    T(skipped_replies_say_their_own_length),
	    T(skipped_reply_may_be_an_error),
	    T(skipped_reply_longer_than_room),
	    T(skipped_reply_shorter_than_a_header),
	    T(skipped_reply_of_no_known_length),
	    T(skipped_reply_of_another),
	};

	return cmocka_run_group_tests_name("skipped", tests, NULL, NULL);
}
