/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration space of the PCI function, and the window in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pcibus.h"
#include "wire/fs.h"

#define T(f) cmocka_unit_test_setup_teardown(f, bus_set_up, bus_tear_down)
#define CFG  VTFS_PCIFN_CONFIG

/* ---- the header ---- */

/* covers: PCI-DEV-01 */
static void ids_are_of_a_file_system(void **state)
{
	struct pcibus *b = *state;

	assert_int_equal(bus_get(b, CFG, 0, 2), 0x1af4);
	assert_int_equal(bus_get(b, CFG, 2, 2), 0x1040 + 26);
}

/* covers: PCI-DEV-02 */
static void there_is_nothing_transitional(void **state)
{
	struct pcibus *b = *state;

	assert_true(bus_get(b, CFG, 8, 1) >= 1);
	assert_true(bus_get(b, CFG, 0x2e, 2) >= 0x40);
}

static uint32_t sized(struct pcibus *b, uint32_t bar)
{
	uint32_t at = 0x10 + 4 * bar;
	uint32_t old = bus_get(b, CFG, at, 4);
	uint32_t v;

	bus_put(b, CFG, at, 4, 0xffffffff);
	v = bus_get(b, CFG, at, 4);
	bus_put(b, CFG, at, 4, old);
	assert_int_equal(bus_get(b, CFG, at, 4), old);
	return v;
}

/* covers: PCI-DEV-04 */
static void header_is_of_a_pci_function(void **state)
{
	struct pcibus *b = *state;

	assert_int_equal(bus_get(b, CFG, 0x0e, 1) & 0x7f, 0);
	assert_int_equal(bus_get(b, CFG, 6, 2) & 0x10, 0x10);
	assert_int_equal(bus_get(b, CFG, 0x3d, 1), 1);
	/* BAR 0 has 64 bits, and 2 has 32; the flags stand. */
	assert_int_equal(sized(b, 0), ~(0x2000u - 1) | 4);
	assert_int_equal(sized(b, 1), 0xffffffff);
	assert_int_equal(sized(b, 2), ~(0x2000u - 1));
	for (uint32_t bar = 3; bar < 6; bar++)
		assert_int_equal(sized(b, bar), 0);
	bus_put(b, CFG, 0x10, 4, 0xfe012345);
	assert_int_equal(bus_get(b, CFG, 0x10, 4), 0xfe012004);
	/* Identity can't be written; the command can, as far as it is there. */
	for (uint32_t at = 0; at < 4; at++)
		bus_put(b, CFG, at, 1, 0xa5);
	assert_int_equal(bus_get(b, CFG, 0, 4), 0x105a1af4);
	bus_put(b, CFG, 4, 2, 0xffff);
	assert_int_equal(bus_get(b, CFG, 4, 2), 0x0546);
}

/* covers: PCI-DEV-04 */
static void without_bus_mastering_no_queue_runs(void **state)
{
	struct pcibus *b = *state;

	bus_up(b);
	assert_true(b->rec.started[1]);
	b->rec.hold = true;
	bus_put(b, CFG, 4, 2, VTFS_PCI_COMMAND_MEMORY);
	assert_int_equal(b->rec.stops, 3);
	b->rec.hold = false;
	for (int i = 0; i < 3; i++) {
		b->rec.stopping = i;
		rec_answer_stop(&b->rec, (uint16_t)(7 + i), 5);
	}
	assert_false(b->rec.started[1]);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_ENABLE, 2), 1);
	/* It goes on where it was. */
	bus_put(b, CFG, 4, 2, VTFS_PCI_COMMAND_MASTER);
	assert_true(b->rec.started[1]);
	assert_int_equal(b->rec.setup[1].avail_base, 8);
	assert_int_equal(b->rec.setup[1].used_base, 5);
}

/* ---- capabilities ---- */

/* The next virtio capability of that type behind at; 0: none. */
static uint32_t find_cap(struct pcibus *b, uint32_t at, uint32_t type)
{
	unsigned left = 48;

	at = at ? bus_get(b, CFG, at + 1, 1) : bus_get(b, CFG, 0x34, 1);
	for (; at; at = bus_get(b, CFG, at + 1, 1)) {
		assert_true(left-- > 0);
		assert_true(at >= 0x40 && at % 4 == 0);
		if (bus_get(b, CFG, at, 1) == 9 &&
		    bus_get(b, CFG, at + 3, 1) == type)
			return at;
	}
	return 0;
}

struct cap {
	uint32_t at, len, bar, offset, length;
};

static struct cap only_cap(struct pcibus *b, uint32_t type)
{
	uint32_t at = find_cap(b, 0, type);
	struct cap c;

	assert_true(at);
	assert_int_equal(find_cap(b, at, type), 0);
	c.at = at;
	c.len = bus_get(b, CFG, at + 2, 1);
	c.bar = bus_get(b, CFG, at + 4, 1);
	c.offset = bus_get(b, CFG, at + 8, 4);
	c.length = bus_get(b, CFG, at + 12, 4);
	return c;
}

/* covers: PCI-DEV-07, PCI-DEV-09, PCI-DEV-25, PCI-DEV-30 */
static void structures_are_announced(void **state)
{
	struct pcibus *b = *state;
	struct cap c = only_cap(b, 1);

	assert_int_equal(c.len, 16);
	assert_int_equal(c.offset % 4, 0);
	assert_int_equal(c.length, 64);
	c = only_cap(b, 3);
	assert_int_equal(c.len, 16);
	assert_true(c.length >= 1);
	c = only_cap(b, 4);
	assert_int_equal(c.len, 16);
	assert_int_equal(c.offset % 4, 0);
	assert_int_equal(c.length, 40);
	assert_int_equal(bus_get(b, c.bar, c.offset, 1), 'r');
	assert_int_equal(bus_get(b, c.bar, c.offset + 36, 4), 2);
	assert_int_equal(only_cap(b, 2).len, 20);
	assert_int_equal(only_cap(b, 5).len, 20);
	assert_int_equal(find_cap(b, 0, 8), 0);
	bus_restart(b, 4, 1024, REC_OFFERED | VIRTIOFS_F_NOTIFICATION);
	assert_int_equal(only_cap(b, 4).length, 44);
}

/* covers: PCI-DEV-22, PCI-DEV-23, PCI-DEV-24 */
static void each_queue_has_a_doorbell(void **state)
{
	struct pcibus *b = *state;
	uint64_t data = 1ULL << VTFS_F_BIT_NOTIFICATION_DATA;

	for (unsigned queues = 2; queues <= 66; queues += 64) {
		struct cap c;
		uint32_t mult;

		bus_restart(b, queues, 1024, REC_OFFERED | data);
		c = only_cap(b, 2);
		mult = bus_get(b, CFG, c.at + 16, 4);
		assert_int_equal(c.offset % 4, 0);
		assert_true(mult >= 4 && !(mult & (mult - 1)));
		for (unsigned i = 0; i < queues; i++) {
			uint32_t off;

			bus_set_common(b, VTFS_PCI_QUEUE_SELECT, 2, i);
			off = bus_common(b, VTFS_PCI_QUEUE_NOTIFY_OFF, 2);
			assert_true(off * mult + 4 <= c.length);
		}
		assert_true(c.offset + c.length <= 0x2000);
	}
}

/* covers: PCI-DEV-36, PCI-DEV-37 */
static void msix_has_a_vector_for_each(void **state)
{
	struct pcibus *b = *state;
	uint32_t at = bus_get(b, CFG, 0x34, 1);

	while (bus_get(b, CFG, at, 1) != 0x11)
		at = bus_get(b, CFG, at + 1, 1);
	assert_int_equal((bus_get(b, CFG, at + 2, 2) & 0x7ff) + 1,
			 REC_QUEUES + 1);
	assert_int_equal(bus_get(b, CFG, at + 4, 4), 2);
	assert_int_equal(bus_get(b, CFG, at + 8, 4), 0x1002);
	/* As many entries as that: all begin masked. */
	for (uint32_t i = 0; i <= REC_QUEUES; i++)
		assert_int_equal(bus_get(b, 2, 16 * i + 12, 4), 1);
	assert_int_equal(bus_get(b, 2, 16 * (REC_QUEUES + 1) + 12, 4), 0);
}

/* ---- the window ---- */

static void aim(struct pcibus *b, uint32_t bar, uint32_t off, uint32_t len)
{
	uint32_t at = find_cap(b, 0, 5);

	bus_put(b, CFG, at + 4, 1, bar);
	bus_put(b, CFG, at + 8, 4, off);
	bus_put(b, CFG, at + 12, 4, len);
}

static uint32_t window_get(struct pcibus *b, uint32_t bar, uint32_t off,
			   uint32_t len)
{
	aim(b, bar, off, len);
	return bus_get(b, CFG, find_cap(b, 0, 5) + 16, len);
}

static void window_put(struct pcibus *b, uint32_t off, uint32_t len, uint32_t v)
{
	aim(b, 0, off, len);
	bus_put(b, CFG, find_cap(b, 0, 5) + 16, len, v);
}

/* covers: PCI-DEV-34 */
static void device_can_be_driven_through_the_window(void **state)
{
	struct pcibus *b = *state;

	bus_put(b, CFG, 4, 2, VTFS_PCI_COMMAND_MASTER);
	window_put(b, VTFS_PCI_DEVICE_STATUS, 1, 3);
	assert_int_equal(window_get(b, 0, VTFS_PCI_DEVICE_STATUS, 1), 3);
	window_put(b, VTFS_PCI_DRIVER_FEATURE_SELECT, 4, 1);
	window_put(b, VTFS_PCI_DRIVER_FEATURE, 4, 1);
	window_put(b, VTFS_PCI_DEVICE_STATUS, 1, 11);
	assert_int_equal(b->rec.features, VIRTIOFS_F_VERSION_1);
	window_put(b, VTFS_PCI_QUEUE_SELECT, 2, 1);
	assert_int_equal(window_get(b, 0, VTFS_PCI_QUEUE_SIZE, 2), 1024);
	window_put(b, VTFS_PCI_QUEUE_SIZE, 2, 32);
	window_put(b, VTFS_PCI_QUEUE_DESC, 4, 0x5000);
	window_put(b, VTFS_PCI_QUEUE_ENABLE, 2, 1);
	window_put(b, VTFS_PCI_DEVICE_STATUS, 1, 15);
	assert_string_equal(b->rec.text, "accept 100000000;start 1 1;");
	assert_int_equal(b->rec.setup[1].num, 32);
	assert_int_equal(b->rec.setup[1].desc, 0x5000);
	window_put(b, VTFS_PCIFN_NOTIFY + 4, 2, 1);
	assert_int_equal(bus_heard(b->rec.kick_fd[1]), 1);
	assert_int_equal(window_get(b, 0, VTFS_PCIFN_DEVICE, 4), 0x6f636572);
}

/* covers: PCI-DEV-35 */
static void window_to_nowhere_does_nothing(void **state)
{
	static const struct {
		uint32_t bar, off, len;
	} bad[] = {
	    {1, 20, 1}, {6, 20, 1},	    {7, 4, 1},	{255, 20, 1},
	    {0, 20, 0}, {0, 20, 3},	    {0, 20, 8}, {0, 0x2000, 1},
	    {0, 18, 4}, {0, 0x1fff, 4},	    {2, 0, 16}, {0, 0xfffffffe, 2},
	    {0, 21, 2}, {0, 0xffffffff, 1},
	};
	struct pcibus *b = *state;
	uint32_t data = find_cap(b, 0, 5) + 16;

	bus_set_status(b, 3);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		aim(b, bad[i].bar, bad[i].off, bad[i].len);
		bus_put(b, CFG, data, 4, 0x0f0f0f0f);
		assert_int_equal(bus_get(b, CFG, data, 4), 0x0f0f0f0f);
		assert_int_equal(bus_status(b), 3);
	}
	assert_string_equal(b->rec.text, "");
}

/* ---- function level reset ---- */

static void flr_is_a_reset_of_all(void **state)
{
	struct pcibus *b = *state;
	uint32_t at = bus_get(b, CFG, 0x34, 1);

	while (bus_get(b, CFG, at, 1) != 0x13)
		at = bus_get(b, CFG, at + 1, 1);
	assert_int_equal(bus_get(b, CFG, at + 2, 1), 6);
	assert_int_equal(bus_get(b, CFG, at + 3, 1), 3);
	bus_up(b);
	bus_put(b, CFG, at + 4, 1, 0);
	assert_int_equal(b->rec.resets, 0);
	b->rec.hold = true;
	bus_put(b, CFG, at + 4, 1, 1);
	assert_int_equal(b->rec.resets, 1);
	assert_true(vtfs_pcifn_resets(&b->fn));
	rec_answer_reset(&b->rec);
	assert_false(vtfs_pcifn_resets(&b->fn));
	assert_int_equal(bus_get(b, CFG, at + 4, 1), 0);
	assert_int_equal(bus_get(b, CFG, 4, 2), 0);
	assert_int_equal(bus_status(b), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    T(ids_are_of_a_file_system),
	    T(there_is_nothing_transitional),
	    T(header_is_of_a_pci_function),
	    T(without_bus_mastering_no_queue_runs),
	    T(structures_are_announced),
	    T(each_queue_has_a_doorbell),
	    T(msix_has_a_vector_for_each),
	    T(device_can_be_driven_through_the_window),
	    T(window_to_nowhere_does_nothing),
	    T(flr_is_a_reset_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
