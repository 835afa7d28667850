/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/hiprio.h"

static void pending_entry_is_claimed_once(void **state)
{
	struct vtfs_pending p;

	assert_int_equal(vtfs_pending_init(&p, 4), 0);
	assert_false(vtfs_pending_any(&p));
	vtfs_pending_enter(&p, 5);
	vtfs_pending_enter(&p, 7);
	assert_true(vtfs_pending_any(&p));
	assert_false(vtfs_pending_claim(&p, 6, true));
	assert_false(vtfs_pending_claim(&p, 0, true));
	assert_true(vtfs_pending_claim(&p, 5, true));
	assert_false(vtfs_pending_claim(&p, 5, true));
	assert_true(vtfs_pending_claim(&p, 7, true));
	assert_false(vtfs_pending_any(&p));
	vtfs_pending_fini(&p);
}

static void pending_ring_forgets_the_oldest(void **state)
{
	const uint32_t max = 5;
	struct vtfs_pending p;

	assert_int_equal(vtfs_pending_init(&p, max), 0);
	for (uint64_t u = 1; u <= max + 3; u++)
		vtfs_pending_enter(&p, u);
	assert_int_equal(p.cnt, max);
	for (uint64_t u = 1; u <= max + 3; u++)
		assert_int_equal(vtfs_pending_claim(&p, u, true), u > 3);
	assert_int_equal(p.cnt, 0);
	vtfs_pending_enter(&p, 9);
	vtfs_pending_clear(&p);
	assert_false(vtfs_pending_any(&p));
	assert_false(vtfs_pending_claim(&p, 9, true));
	vtfs_pending_fini(&p);
}

static uint64_t sum;

static void add(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
	assert_ptr_equal(userdata, &sum);
	sum += nodeid * 1000 + nlookup;
}

static void budget_cuts_a_batch_and_the_cursor_goes_on(void **state)
{
	struct fuse_batch_forget_in in = {.count = 10};
	struct fuse_forget_one one[10];
	const struct iovec data[2] = {{one, 40},
				      {(char *)one + 40, sizeof(one) - 40}};
	struct vtfs_slot s = {.op = vtfs_fuse_op(FUSE_BATCH_FORGET)};
	unsigned rounds = 0, n = 0;
	bool more = true;

	for (unsigned i = 0; i < 10; i++)
		one[i] = (struct fuse_forget_one){i, 1};
	s.req.arg = &in;
	s.req.data = data;
	s.req.data_cnt = 2;
	s.req.userdata = &sum;
	sum = 0;
	while (more) {
		n += vtfs_forget_run(&s, 3, add, &more);
		rounds++;
	}
	assert_int_equal(n, 10);
	assert_int_equal(rounds, 4);
	assert_int_equal(sum, 45 * 1000 + 10);
}

static void single_forget_is_one_entry(void **state)
{
	struct fuse_forget_in in = {.nlookup = 6};
	struct vtfs_slot s = {.op = vtfs_fuse_op(FUSE_FORGET), .in.nodeid = 4};
	bool more = true;

	s.req.arg = &in;
	s.req.userdata = &sum;
	sum = 0;
	assert_int_equal(vtfs_forget_run(&s, 0, add, &more), 0);
	assert_true(more);
	assert_int_equal(vtfs_forget_run(&s, 8, add, &more), 1);
	assert_false(more);
	assert_int_equal(sum, 4006);
}

static void find_holds_the_request_of_that_unique(void **state)
{
	struct vtfs_slot *s, *found;
	struct vtfs_slots *t;
	bool wake = false;

	assert_int_equal(vtfs_slots_new(&t, 4, 4), 0);
	for (uint64_t u = 10; u < 14; u++) {
		s = vtfs_slot_take(t);
		vtfs_slot_start(s, u);
		vtfs_slot_hand(s);
	}
	assert_null(vtfs_interrupt_find(t, 9, &wake));
	assert_null(vtfs_interrupt_find(t, 0, &wake));
	found = vtfs_interrupt_find(t, 12, &wake);
	assert_non_null(found);
	assert_int_equal(found->match, 12);
	assert_null(vtfs_interrupt_find(t, 12, &wake)); /* held */
	vtfs_slot_unhold(t, found);
	/* Answered: no longer a target. */
	assert_true(vtfs_slot_claim(found));
	assert_null(vtfs_interrupt_find(t, 12, &wake));
	assert_false(wake);
	vtfs_slots_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pending_entry_is_claimed_once),
	    cmocka_unit_test(pending_ring_forgets_the_oldest),
	    cmocka_unit_test(budget_cuts_a_batch_and_the_cursor_goes_on),
	    cmocka_unit_test(single_forget_is_one_entry),
	    cmocka_unit_test(find_holds_the_request_of_that_unique),
	};

	return cmocka_run_group_tests_name("hiprio", tests, NULL, NULL);
}
