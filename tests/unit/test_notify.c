/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vq/notify.h"

/* What the arithmetic stands for: walk over each index passed. */
static bool crossed_by_walking(uint16_t event, uint16_t from, uint16_t to)
{
	for (uint16_t i = from; i != to; i++)
		if (i == event)
			return true;
	return false;
}

/* covers: SPLIT-DEV-17, SPLIT-DRV-29 */
static void crossed_agrees_with_walking(void **state)
{
	static const uint16_t froms[] = {0,	 1,	 0x7ffe, 0x7fff,
					 0x8000, 0xfff0, 0xffff};
	uint32_t seed = 1;

	(void)state;
	for (size_t f = 0; f < sizeof(froms) / sizeof(froms[0]); f++)
		for (uint16_t n = 0; n <= 40; n++)
			for (int e = -3; e <= 44; e++) {
				uint16_t from = froms[f];
				uint16_t to = (uint16_t)(from + n);
				uint16_t ev = (uint16_t)(from + e);

				assert_int_equal(
				    vtfs_notify_crossed(ev, from, to),
				    crossed_by_walking(ev, from, to));
			}
	for (int i = 0; i < 3000; i++) {
		uint16_t from, to, ev;

		seed = seed * 1664525 + 1013904223;
		from = (uint16_t)(seed >> 16);
		ev = (uint16_t)seed;
		to = (uint16_t)(from + (seed >> 8) % 32769);
		assert_int_equal(vtfs_notify_crossed(ev, from, to),
				 crossed_by_walking(ev, from, to));
	}
}

struct place {
	uint16_t slot;
	bool wrap;
};

static struct place after(struct place p, uint32_t num)
{
	if (++p.slot == num)
		return (struct place){0, !p.wrap};
	return p;
}

static bool packed_by_walking(struct place event, struct place from,
			      uint32_t cnt, uint32_t num)
{
	for (; cnt; cnt--, from = after(from, num))
		if (from.slot == event.slot && from.wrap == event.wrap)
			return true;
	return false;
}

static void check_packed(uint32_t num, struct place from, struct place event,
			 uint32_t cnt)
{
	uint32_t word = vtfs_packed_event(
	    VTFS_PACKED_EVENT_DESC, vtfs_packed_pos(event.slot, event.wrap));
	bool got = vtfs_notify_packed(
	    word, true, vtfs_packed_pos(from.slot, from.wrap), cnt, num);

	assert_int_equal(got, packed_by_walking(event, from, cnt, num));
}

/* covers: PACK-BTH-08 */
static void packed_agrees_with_walking(void **state)
{
	static const uint32_t nums[] = {1, 2, 3, 5, 7, 8, 13};

	(void)state;
	for (size_t k = 0; k < sizeof(nums) / sizeof(nums[0]); k++) {
		uint32_t n = nums[k];

		for (uint32_t f = 0; f < 2 * n; f++)
			for (uint32_t e = 0; e < 2 * n; e++)
				for (uint32_t cnt = 1; cnt <= n; cnt++)
					check_packed(
					    n, (struct place){f % n, f < n},
					    (struct place){e % n, e < n}, cnt);
	}
	check_packed(32768, (struct place){32767, true},
		     (struct place){0, false}, 2);
	check_packed(32768, (struct place){32767, true},
		     (struct place){0, true}, 32768);
	check_packed(32768, (struct place){0, false},
		     (struct place){32767, false}, 32768);
}

/* covers: PACK-BTH-07 */
static void packed_flags_of_no_meaning_enable(void **state)
{
	uint16_t from = vtfs_packed_pos(4, true);
	uint16_t far = vtfs_packed_pos(7, true);

	(void)state;
	assert_true(vtfs_notify_packed(htole32(0), true, from, 1, 8));
	assert_false(vtfs_notify_packed(htole32(1u << 16), true, from, 1, 8));
	assert_true(
	    vtfs_notify_packed(htole32(3u << 16 | far), true, from, 1, 8));
	/* 2 means something with EVENT_IDX alone. */
	assert_false(
	    vtfs_notify_packed(htole32(2u << 16 | far), true, from, 1, 8));
	assert_true(
	    vtfs_notify_packed(htole32(2u << 16 | far), false, from, 1, 8));
	/* The upper bits are reserved, and not looked at. */
	assert_false(
	    vtfs_notify_packed(htole32(0xfffdu << 16), true, from, 1, 8));
}

static void packed_place_that_does_not_exist_enables(void **state)
{
	(void)state;
	assert_true(vtfs_notify_packed(htole32(2u << 16 | 0x8008), true,
				       vtfs_packed_pos(4, true), 1, 8));
	assert_true(vtfs_notify_packed(htole32(2u << 16 | 0x7fff), true,
				       vtfs_packed_pos(4, true), 1, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(crossed_agrees_with_walking),
	    cmocka_unit_test(packed_agrees_with_walking),
	    cmocka_unit_test(packed_flags_of_no_meaning_enable),
	    cmocka_unit_test(packed_place_that_does_not_exist_enables),
	};

	return cmocka_run_group_tests_name("vq/notify", tests, NULL, NULL);
}
