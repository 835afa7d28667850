/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Any access to the PCI function, of any width, at any place. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pcibus.h"

#define T(f) cmocka_unit_test_setup_teardown(f, bus_set_up, bus_tear_down)

static const unsigned regions[] = {0, 2, VTFS_PCIFN_CONFIG};

/* BARs are mostly empty: look where something begins or ends. */
static bool is_worth_it(unsigned region, uint32_t off)
{
	return region == VTFS_PCIFN_CONFIG || off % 0x1000 < 0x110 ||
	       off % 0x1000 > 0xfe0;
}

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* covers: PCI-DEV-06 */
static void any_width_at_any_place_stays_inside(void **state)
{
	struct pcibus *b = *state;
	uint32_t seed = 1;

	for (unsigned i = 0; i < 3; i++) {
		uint32_t size = vtfs_pcifn_region_len(regions[i]);

		for (uint32_t off = 0; off < size; off++) {
			if (!is_worth_it(regions[i], off))
				continue;
			for (uint32_t len = 1; len <= 16; len++) {
				bool fits = len <= size - off;
				uint8_t buf[16];
				int r;

				memset(buf, (int)next(&seed), sizeof(buf));
				r = vtfs_pcifn_write(&b->fn, regions[i], off,
						     buf, len);
				assert_int_equal(r, fits ? 0 : -EINVAL);
				r = vtfs_pcifn_read(&b->fn, regions[i], off,
						    buf, len);
				assert_int_equal(r, fits ? 0 : -EINVAL);
			}
		}
	}
}

static void what_is_not_there_is_refused(void **state)
{
	struct pcibus *b = *state;
	uint8_t byte = 0;

	for (unsigned region = 0; region < 20; region++) {
		uint32_t size = vtfs_pcifn_region_len(region);

		assert_int_equal(
		    vtfs_pcifn_read(&b->fn, region, size, &byte, 1), -EINVAL);
		assert_int_equal(
		    vtfs_pcifn_write(&b->fn, region, UINT64_MAX, &byte, 1),
		    -EINVAL);
		assert_int_equal(
		    vtfs_pcifn_write(&b->fn, region, 1ULL << 32, &byte, 1),
		    -EINVAL);
	}
}

/* The registers that matter, with values that mean something. */
static void poke(struct pcibus *b, uint32_t *seed)
{
	static const uint8_t offs[] = {0,  4,  8,  12, 16, 18, 20, 21, 22, 24,
				       26, 28, 30, 32, 36, 40, 48, 56, 58, 60};
	static const uint8_t widths[] = {1, 2, 2, 4};
	uint32_t off = offs[next(seed) % sizeof(offs)];
	uint32_t len = widths[next(seed) % sizeof(widths)];
	uint32_t v = next(seed) % 20;

	switch (next(seed) % 8) {
	case 0:
		bus_put(b, 0, VTFS_PCIFN_NOTIFY + 4 * (next(seed) % 5), 2,
			next(seed) % 5);
		break;
	case 1:
		bus_put(b, VTFS_PCIFN_CONFIG, next(seed) % 252, len, v);
		break;
	case 2:
		bus_put(b, 2, 4 * (next(seed) % 24), 4, v & 1);
		break;
	case 3:
		b->rec.hold = v & 1;
		if (v & 2 && b->rec.stopping >= 0)
			rec_answer_stop(&b->rec, 0, 0);
		else if (v & 4)
			rec_answer_reset(&b->rec);
		break;
	case 4:
		bus_set_status(b, (uint8_t)v);
		break;
	default:
		bus_set_common(b, off, len, v);
	}
}

/* covers: PCI-DEV-21 */
static void any_order_of_writes_is_survived(void **state)
{
	struct pcibus *b = *state;

	for (uint32_t i = 0; i < 100; i++) {
		uint32_t seed = i;

		bus_restart(b, 3, 1024,
			    REC_OFFERED | 1ULL << VTFS_F_BIT_RING_RESET);
		if (i % 2)
			bus_up(b);
		for (int j = 0; j < 200; j++) {
			poke(b, &seed);
			b->rec.text[0] = '\0';
		}
		b->rec.hold = false;
		rec_answer_reset(&b->rec);
		bus_set_status(b, 0);
		rec_answer_reset(&b->rec);
		bus_up(b);
		assert_int_equal(bus_status(b), 15);
		assert_true(b->rec.started[0] && b->rec.started[2]);
		bus_put(b, 0, VTFS_PCIFN_NOTIFY + 4, 2, 1);
		assert_true(bus_heard(b->rec.kick_fd[1]) >= 1);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    T(any_width_at_any_place_stays_inside),
	    T(what_is_not_there_is_refused),
	    T(any_order_of_writes_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
