/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/slot.h"

#define CNT 4u

static int setup(void **state)
{
	struct vtfs_slots *t;

	assert_int_equal(vtfs_slots_new(&t, CNT, 20), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	vtfs_slots_free(*state);
	return 0;
}

static struct vtfs_slot *take(struct vtfs_slots *t, uint64_t unique)
{
	struct vtfs_slot *s = vtfs_slot_take(t);

	if (s)
		vtfs_slot_start(s, unique);
	return s;
}

static void every_slot_once_then_none_until_one_is_back(void **state)
{
	struct vtfs_slots *t = *state;
	struct vtfs_slot *s[CNT + 2];

	for (unsigned i = 0; i < CNT + 2; i++) {
		s[i] = take(t, i + 1);
		assert_non_null(s[i]);
		for (unsigned k = 0; k < i; k++)
			assert_ptr_not_equal(s[i], s[k]);
	}
	assert_null(take(t, 99));
	/* The taker is told, once. */
	assert_true(vtfs_slot_give(t, s[2]));
	assert_false(vtfs_slot_give(t, s[0]));
	assert_ptr_equal(take(t, 9), s[0]);
	assert_ptr_equal(take(t, 9), s[2]);
	assert_null(take(t, 9));
}

static void untaken_slot_is_the_next_one(void **state)
{
	struct vtfs_slot *s = vtfs_slot_take(*state);

	vtfs_slot_untake(*state, s);
	assert_ptr_equal(vtfs_slot_take(*state), s);
}

static void reply_is_claimed_once_and_only_if_handed_out(void **state)
{
	struct vtfs_slots *t = *state;
	struct vtfs_slot *s = take(t, 1);

	vtfs_slot_hand(s);
	assert_true(vtfs_slot_claim(s));
	assert_false(vtfs_slot_claim(s));
	vtfs_slot_give(t, s);
	assert_false(vtfs_slot_claim(s));
}

static void held_slot_is_free_after_the_last_of_both(void **state)
{
	struct vtfs_slots *t = *state;
	struct vtfs_slot *s = take(t, 1);

	/* Held, then answered: free at unhold. */
	vtfs_slot_hand(s);
	assert_true(vtfs_slot_hold(s));
	assert_false(vtfs_slot_hold(s));
	assert_true(vtfs_slot_claim(s));
	vtfs_slot_give(t, s);
	for (unsigned i = 0; i < CNT + 1; i++)
		assert_ptr_not_equal(take(t, 5), s);
	assert_null(take(t, 5));
	assert_true(vtfs_slot_unhold(t, s));
	assert_ptr_equal(take(t, 6), s);
	/* Unheld, then answered: free at give. */
	vtfs_slot_hand(s);
	assert_true(vtfs_slot_hold(s));
	assert_false(vtfs_slot_unhold(t, s));
	assert_null(take(t, 7));
	assert_true(vtfs_slot_claim(s));
	assert_true(vtfs_slot_give(t, s));
	assert_ptr_equal(take(t, 8), s);
}

static void answered_or_free_slots_are_not_held(void **state)
{
	struct vtfs_slots *t = *state;
	struct vtfs_slot *s = take(t, 1);

	vtfs_slot_hand(s);
	vtfs_slot_claim(s);
	assert_false(vtfs_slot_hold(s));
	vtfs_slot_give(t, s);
	assert_false(vtfs_slot_hold(s));
}

static void interrupt_is_told_once_and_only_if_handed_out(void **state)
{
	struct vtfs_slots *t = *state;
	struct vtfs_slot *s = take(t, 1);

	assert_false(vtfs_slot_interrupt(s));
	vtfs_slot_hand(s);
	/* It came before: the program asks. */
	assert_false(vtfs_slot_interrupt(s));
	assert_int_equal(virtiofs_req_interrupted(&s->req), 1);
	s = take(t, 2);
	vtfs_slot_hand(s);
	assert_int_equal(virtiofs_req_interrupted(&s->req), 0);
	assert_true(vtfs_slot_interrupt(s));
	assert_false(vtfs_slot_interrupt(s));
}

static void blocks_are_lent_as_long_as_there_are_any(void **state)
{
	struct vtfs_slots *t = *state;
	struct vtfs_slot *s[CNT], *last;
	unsigned char *arg[CNT];

	for (unsigned i = 0; i < CNT; i++) {
		s[i] = take(t, 1);
		assert_int_equal(vtfs_slot_borrow(t, s[i]), 0);
		assert_int_equal(vtfs_slot_borrow(t, s[i]), 0);
		arg[i] = vtfs_slot_block_arg(t, s[i]);
		/* All of it is there, and nobody else's. */
		memset(arg[i], (int)i, VTFS_BLOCK_ARG);
		memset(vtfs_slot_block_parts(t, s[i]), (int)i,
		       20 * sizeof(struct iovec));
	}
	for (unsigned i = 0; i < CNT; i++) {
		assert_int_equal(arg[i][0], i);
		assert_int_equal(arg[i][VTFS_BLOCK_ARG - 1], i);
	}
	last = take(t, 2);
	assert_int_equal(vtfs_slot_borrow(t, last), -EAGAIN);
	assert_true(vtfs_slot_give(t, s[1]));
	assert_int_equal(vtfs_slot_borrow(t, last), 0);
	assert_ptr_equal(vtfs_slot_block_arg(t, last), arg[1]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(every_slot_once_then_none_until_one_is_back),
	    T(untaken_slot_is_the_next_one),
	    T(reply_is_claimed_once_and_only_if_handed_out),
	    T(held_slot_is_free_after_the_last_of_both),
	    T(answered_or_free_slots_are_not_held),
	    T(interrupt_is_told_once_and_only_if_handed_out),
	    T(blocks_are_lent_as_long_as_there_are_any),
	};

	return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}
