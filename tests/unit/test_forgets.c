/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Forgets that wait: merged, bounded, none lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "fuse/forgets.h"

static bool no_memory;

/* The linker puts it in the place of the library's calls. */
void *__real_calloc(size_t cnt, size_t size);
void *__wrap_calloc(size_t cnt, size_t size);
void *__wrap_calloc(size_t cnt, size_t size)
{
	return no_memory ? NULL : __real_calloc(cnt, size);
}

/* Take them all, a few at a time; the counts by nodeid below max. */
static void take_all(struct vtfs_forgets *f, uint64_t *counts, uint64_t max)
{
	struct fuse_forget_one some[7];
	uint32_t n;

	while ((n = vtfs_forgets_take(f, some, 7)))
		for (uint32_t i = 0; i < n; i++) {
			assert_true(some[i].nodeid < max);
			/* Each node once. */
			assert_int_equal(counts[some[i].nodeid], 0);
			counts[some[i].nodeid] = some[i].nlookup;
		}
	assert_int_equal(f->cnt, 0);
}

static void counts_are_merged_and_memory_is_bounded_by_nodes(void **state)
{
	struct vtfs_forgets f = {0};
	uint64_t counts[100] = {0};

	for (unsigned i = 0; i < 1000000; i++)
		assert_int_equal(vtfs_forgets_add(&f, i % 100, 1 + i % 2), 0);
	assert_int_equal(f.cnt, 100);
	assert_true(f.cap <= 256);
	take_all(&f, counts, 100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(counts[i], 10000 * (1 + i % 2));
	vtfs_forgets_free(&f);
	(void)state;
}

/* Nodes that differ in their highest bits only all hash alike. */
#define NODES	64u
#define NODE(i) ((uint64_t)(i) << 55)

static void taking_and_adding_in_turns_loses_nothing(void **state)
{
	uint64_t owed[NODES] = {0}, got[NODES] = {0};
	struct vtfs_forgets f = {0};
	struct fuse_forget_one some[2];
	unsigned seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		seed = seed * 1103515245 + 12345;
		if (seed >> 16 & 3) {
			unsigned k = seed >> 18 & (NODES - 1);

			assert_int_equal(vtfs_forgets_add(&f, NODE(k), 3), 0);
			owed[k] += 3;
		} else {
			uint32_t n = vtfs_forgets_take(&f, some, 2);

			while (n--)
				got[some[n].nodeid >> 55] += some[n].nlookup;
		}
		/* None is there twice. */
		assert_true(f.cnt <= NODES);
	}
	while (vtfs_forgets_take(&f, some, 1))
		got[some[0].nodeid >> 55] += some[0].nlookup;
	assert_memory_equal(owed, got, sizeof(owed));
	vtfs_forgets_free(&f);
	(void)state;
}

static void without_memory_a_new_node_is_refused_and_the_others_stay(
    void **state)
{
	struct vtfs_forgets f = {0};
	uint64_t counts[100] = {0};
	unsigned nodes = 0;

	no_memory = true;
	assert_int_equal(vtfs_forgets_add(&f, 1, 1), -ENOMEM);
	no_memory = false;
	assert_int_equal(vtfs_forgets_add(&f, nodes++, 5), 0);
	no_memory = true;
	while (vtfs_forgets_add(&f, nodes, 5) == 0)
		nodes++;
	assert_int_equal(vtfs_forgets_add(&f, nodes, 5), -ENOMEM);
	assert_int_equal(f.cnt, nodes);
	/* Those that wait are merged without any. */
	for (unsigned i = 0; i < nodes; i++)
		assert_int_equal(vtfs_forgets_add(&f, i, 1), 0);
	no_memory = false;
	take_all(&f, counts, 100);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(counts[i], i < nodes ? 6 : 0);
	vtfs_forgets_free(&f);
	(void)state;
}

static void count_beyond_64_bits_is_refused(void **state)
{
	struct vtfs_forgets f = {0};
	uint64_t counts[2] = {0};

	assert_int_equal(vtfs_forgets_add(&f, 1, UINT64_MAX - 1), 0);
	assert_int_equal(vtfs_forgets_add(&f, 1, 2), -EINVAL);
	assert_int_equal(vtfs_forgets_add(&f, 1, 1), 0);
	take_all(&f, counts, 2);
	assert_true(counts[1] == UINT64_MAX);
	vtfs_forgets_free(&f);
	(void)state;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(counts_are_merged_and_memory_is_bounded_by_nodes),
	    cmocka_unit_test(taking_and_adding_in_turns_loses_nothing),
	    cmocka_unit_test(
		without_memory_a_new_node_is_refused_and_the_others_stay),
	    cmocka_unit_test(count_beyond_64_bits_is_refused),
	};

	return cmocka_run_group_tests_name("forgets", tests, NULL, NULL);
}
