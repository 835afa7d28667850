/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counters and histograms. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/stats.h"

static void buckets_touch_and_grow_by_an_eighth(void **state)
{
	const unsigned last = VIRTIOFS_HIST_BUCKETS - 1;

	for (unsigned i = 0; i < last; i++) {
		uint64_t lo = virtiofs_hist_floor(i);
		uint64_t hi = virtiofs_hist_floor(i + 1) - 1;

		assert_int_equal(vtfs_hist_bucket(lo), i);
		assert_int_equal(vtfs_hist_bucket(hi), i);
		assert_true(hi - lo <= lo / 8);
	}
	assert_int_equal(vtfs_hist_bucket(virtiofs_hist_floor(last)), last);
	assert_int_equal(vtfs_hist_bucket(UINT64_MAX), last);
	/* More than an hour. */
	assert_true(virtiofs_hist_floor(last) > UINT64_C(3600000000000));
}

static void quantiles_are_what_was_put_in(void **state)
{
	struct virtiofs_hist h = {.size = sizeof(h)};

	assert_int_equal(virtiofs_hist_quantile(&h, 0.5), 0);
	for (uint64_t v = 1; v <= 1000; v++)
		vtfs_hist_add(&h, v * 1000);
	assert_int_equal(h.cnt, 1000);
	assert_int_equal(h.sum, 500500 * 1000);
	for (unsigned p = 1; p <= 100; p++) {
		uint64_t is = (uint64_t)p * 10000;
		uint64_t got = virtiofs_hist_quantile(&h, p / 100.0);

		assert_in_range(got, is, is + is / 8);
	}
	assert_int_equal(virtiofs_hist_quantile(&h, 1), 1000000);
	assert_int_equal(virtiofs_hist_quantile(&h, 7), 1000000);
	assert_in_range(virtiofs_hist_quantile(&h, 0), 1000, 1125);
	vtfs_hist_add(&h, UINT64_MAX);
	assert_int_equal(virtiofs_hist_quantile(&h, 1), UINT64_MAX);
}

static void sums_are_of_all_counters(void **state)
{
	struct virtiofs_queue_stats a, b;
	struct virtiofs_hist h = {0}, sum = {0};
	const unsigned char *at = (const unsigned char *)&a;

	memset(&a, 0, sizeof(a));
	memset(&b, 1, sizeof(b));
	vtfs_stats_sum(&a, &b);
	vtfs_stats_sum(&a, &b);
	for (size_t i = offsetof(struct virtiofs_queue_stats, requests);
	     i < sizeof(a); i++)
		assert_int_equal(at[i], 2);
	assert_int_equal(a.size, 0);
	vtfs_hist_add(&h, 5);
	vtfs_hist_add(&h, 500);
	vtfs_hist_sum(&sum, &h);
	vtfs_hist_sum(&sum, &h);
	assert_int_equal(sum.cnt, 4);
	assert_int_equal(sum.sum, 1010);
	assert_int_equal(sum.max, 500);
	assert_int_equal(sum.bucket[5], 2);
	assert_int_equal(sum.bucket[vtfs_hist_bucket(500)], 2);
}

/* Programs are compiled with one version and run with another. */
static void copies_fit_older_and_newer_callers(void **state)
{
	struct {
		struct virtiofs_queue_stats s;
		uint64_t later, behind;
	} to;
	struct virtiofs_queue_stats from;

	memset(&from, 1, sizeof(from));
	memset(&to, 0xff, sizeof(to));
	to.s.size = offsetof(struct virtiofs_queue_stats, errors);
	assert_int_equal(vtfs_stats_copy(&to, &from, sizeof(from), "x"), 0);
	assert_int_equal(to.s.size,
			 offsetof(struct virtiofs_queue_stats, errors));
	assert_int_equal(to.s.replies, UINT64_C(0x0101010101010101));
	assert_int_equal(to.s.errors, UINT64_MAX);
	to.s.size = sizeof(to) - 8;
	assert_int_equal(vtfs_stats_copy(&to, &from, sizeof(from), "x"), 0);
	assert_int_equal(to.s.reply_faults, UINT64_C(0x0101010101010101));
	assert_int_equal(to.later, 0);
	assert_int_equal(to.behind, UINT64_MAX);
	to.s.size = sizeof(size_t) - 1;
	assert_int_equal(vtfs_stats_copy(&to, &from, sizeof(from), "x"),
			 -EINVAL);
}

static void opcodes_have_names(void **state)
{
	assert_string_equal(virtiofs_opcode_name(1), "LOOKUP");
	assert_string_equal(virtiofs_opcode_name(0), "opcode ?");
	assert_string_equal(virtiofs_opcode_name(UINT32_MAX), "opcode ?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(buckets_touch_and_grow_by_an_eighth),
	    cmocka_unit_test(quantiles_are_what_was_put_in),
	    cmocka_unit_test(sums_are_of_all_counters),
	    cmocka_unit_test(copies_fit_older_and_newer_callers),
	    cmocka_unit_test(opcodes_have_names),
	};

	return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
