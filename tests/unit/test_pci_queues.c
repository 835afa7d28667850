/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common structure of the PCI function: features, status, queues. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "pcibus.h"

#define T(f)   cmocka_unit_test_setup_teardown(f, bus_set_up, bus_tear_down)
#define RESETS (1ULL << VTFS_F_BIT_RING_RESET)

static void select_queue(struct pcibus *b, uint32_t vq)
{
	bus_set_common(b, VTFS_PCI_QUEUE_SELECT, 2, vq);
}

/* ---- features ---- */

/* covers: PCI-DEV-10, PCI-DEV-19 */
static void features_are_shown_in_words(void **state)
{
	uint64_t all = REC_OFFERED | VTFS_F_ACCESS_PLATFORM;
	struct pcibus *b = *state;

	bus_set_common(b, VTFS_PCI_DEVICE_FEATURE_SELECT, 4, 0);
	assert_int_equal(bus_common(b, VTFS_PCI_DEVICE_FEATURE, 4),
			 (uint32_t)all);
	bus_set_common(b, VTFS_PCI_DEVICE_FEATURE_SELECT, 4, 1);
	assert_int_equal(bus_common(b, VTFS_PCI_DEVICE_FEATURE, 4), all >> 32);
	assert_int_equal(bus_common(b, VTFS_PCI_DEVICE_FEATURE, 4) & 1u << 9,
			 0);
	for (uint32_t i = 2; i; i <<= 1) {
		bus_set_common(b, VTFS_PCI_DEVICE_FEATURE_SELECT, 4, i);
		assert_int_equal(
		    bus_common(b, VTFS_PCI_DEVICE_FEATURE_SELECT, 4), i);
		assert_int_equal(bus_common(b, VTFS_PCI_DEVICE_FEATURE, 4), 0);
	}
	assert_int_equal(bus_common(b, VTFS_PCI_ADMIN_QUEUE_INDEX, 2), 0);
	assert_int_equal(bus_common(b, VTFS_PCI_ADMIN_QUEUE_NUM, 2), 0);
}

static void choose_word(struct pcibus *b, uint32_t select, uint32_t v)
{
	bus_set_common(b, VTFS_PCI_DRIVER_FEATURE_SELECT, 4, select);
	bus_set_common(b, VTFS_PCI_DRIVER_FEATURE, 4, v);
}

/* covers: PCI-DEV-11 */
static void features_of_the_driver_read_back(void **state)
{
	struct pcibus *b = *state;

	choose_word(b, 0, 1u << 28);
	choose_word(b, 1, 1);
	choose_word(b, 7, 0xffffffff);
	assert_int_equal(bus_common(b, VTFS_PCI_DRIVER_FEATURE, 4), 0);
	bus_set_common(b, VTFS_PCI_DRIVER_FEATURE_SELECT, 4, 0);
	assert_int_equal(bus_common(b, VTFS_PCI_DRIVER_FEATURE, 4), 1u << 28);
	bus_set_common(b, VTFS_PCI_DRIVER_FEATURE_SELECT, 4, 1);
	assert_int_equal(bus_common(b, VTFS_PCI_DRIVER_FEATURE, 4), 1);
	/* And after FEATURES_OK they stand. */
	bus_set_status(b, 11);
	assert_int_equal(bus_status(b), 11);
	assert_int_equal(b->rec.features, 1ULL << 28 | VIRTIOFS_F_VERSION_1);
	choose_word(b, 1, 3);
	assert_int_equal(bus_common(b, VTFS_PCI_DRIVER_FEATURE, 4), 1);
}

static void bad_features_are_not_ok(void **state)
{
	struct pcibus *b = *state;

	bus_set_status(b, 3);
	choose_word(b, 1, 0);
	bus_set_status(b, 11);
	assert_int_equal(bus_status(b), 3);
	choose_word(b, 1, 0x80000001);
	bus_set_status(b, 11);
	assert_int_equal(bus_status(b), 3);
	choose_word(b, 1, 1);
	bus_set_status(b, 11);
	assert_int_equal(bus_status(b), 11);
}

/* The bus translates addresses: the session hears nothing of that. */
static void platform_access_is_the_business_of_the_bus(void **state)
{
	struct pcibus *b = *state;

	for (int i = 0; i < 2; i++) {
		bus_negotiate(b, VIRTIOFS_F_VERSION_1 | VTFS_F_ACCESS_PLATFORM);
		assert_true(b->rec.features == VIRTIOFS_F_VERSION_1);
		bus_restart(b, 2, 1024, REC_OFFERED | VTFS_F_ACCESS_PLATFORM);
	}
}

/* ---- registers ---- */

/* covers: PCI-BTH-01, PCI-DEV-20 */
static void registers_are_little_endian(void **state)
{
	static const uint8_t desc[] = {0xe0, 0xcd, 0xab, 0x89,
				       0x67, 0x45, 0x23, 0x01};
	static const uint8_t feature[] = {0, 0, 0, 0x10};
	struct pcibus *b = *state;
	uint8_t raw[64];

	bus_put(b, 0, VTFS_PCI_QUEUE_DESC, 4, 0x89abcde0);
	bus_put(b, 0, VTFS_PCI_QUEUE_DESC + 4, 4, 0x01234567);
	assert_int_equal(vtfs_pcifn_write(&b->fn, 0, 12, feature, 4), 0);
	assert_int_equal(vtfs_pcifn_read(&b->fn, 0, 0, raw, sizeof(raw)), 0);
	assert_memory_equal(raw + 32, desc, sizeof(desc));
	assert_memory_equal(raw + 12, feature, sizeof(feature));
	assert_int_equal(b->fn.driver_features, 1ULL << 28);
	assert_int_equal(raw[16], 0xff);
	assert_int_equal(raw[17], 0xff);
	assert_int_equal(raw[18], REC_QUEUES);
	assert_int_equal(raw[19], 0);
	assert_int_equal(raw[24], 0);
	assert_int_equal(raw[25], 4);
}

/* covers: PCI-DEV-05 */
static void halves_are_independent(void **state)
{
	static const uint32_t regs[] = {
	    VTFS_PCI_QUEUE_DESC, VTFS_PCI_QUEUE_DRIVER, VTFS_PCI_QUEUE_DEVICE};
	struct pcibus *b = *state;

	for (unsigned i = 0; i < 3; i++) {
		uint32_t at = regs[i];

		bus_set_common(b, at + 4, 4, 0x11111111);
		bus_set_common(b, at, 4, 0x22222222);
		assert_int_equal(bus_common(b, at, 4), 0x22222222);
		assert_int_equal(bus_common(b, at + 4, 4), 0x11111111);
		bus_set_common(b, at, 4, 0x33333333);
		bus_set_common(b, at + 4, 4, 0x44444444);
		assert_int_equal(bus_common(b, at, 4), 0x33333333);
		assert_int_equal(bus_common(b, at + 4, 4), 0x44444444);
	}
}

static void writes_of_another_width_are_dropped(void **state)
{
	struct pcibus *b = *state;
	uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	bus_set_common(b, VTFS_PCI_DEVICE_STATUS, 2, 3);
	bus_set_common(b, VTFS_PCI_QUEUE_SELECT, 1, 2);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 4, 2);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE + 1, 1, 2);
	assert_int_equal(
	    vtfs_pcifn_write(&b->fn, 0, VTFS_PCI_QUEUE_DESC, bytes, 8), 0);
	assert_int_equal(bus_status(b), 0);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SELECT, 2), 0);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 1024);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_DESC, 4), 0);
}

/* ---- queues ---- */

/* covers: PCI-DEV-17 */
static void queues_that_are_not_there_have_no_size(void **state)
{
	static const uint32_t none[] = {REC_QUEUES, REC_QUEUES + 1, 0x8000,
					0xffff};
	struct pcibus *b = *state;

	select_queue(b, REC_QUEUES - 1);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 1024);
	bus_negotiate(b, VIRTIOFS_F_VERSION_1);
	for (unsigned i = 0; i < 4; i++) {
		select_queue(b, none[i]);
		assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 0);
		bus_enable(b, none[i], 0);
		assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 0);
		assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_ENABLE, 2), 0);
		assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_VECTOR, 2),
				 0xffff);
	}
}

/* covers: PCI-DEV-18 */
static void sizes_of_split_rings_are_powers_of_two(void **state)
{
	struct pcibus *b = *state;

	bus_restart(b, 2, 100, REC_OFFERED);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 64);
	bus_negotiate(b, VIRTIOFS_F_VERSION_1);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 64);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 2, 33);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 64);
	bus_restart(b, 2, 100, REC_OFFERED);
	bus_negotiate(b, VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_PACKED);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 100);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 2, 33);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 33);
}

static void sizes_do_not_grow_beyond_what_was_shown(void **state)
{
	struct pcibus *b = *state;

	bus_negotiate(b, VIRTIOFS_F_VERSION_1);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 2, 2048);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 1024);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 2, 8);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 2, 0);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 2, 0x8000);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 8);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 2, 1024);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 1024);
}

static void queues_start_with_driver_ok(void **state)
{
	struct pcibus *b = *state;

	bus_negotiate(b, VIRTIOFS_F_VERSION_1);
	bus_enable(b, 1, 2);
	assert_string_equal(b->rec.text, "accept 100000000;");
	bus_set_status(b, 15);
	assert_string_equal(b->rec.text, "accept 100000000;start 1 1;");
	assert_int_equal(b->rec.setup[1].num, 64);
	assert_true(b->rec.setup[1].desc == 0x100011000ULL);
	assert_true(b->rec.setup[1].driver == 0x200012000ULL);
	assert_true(b->rec.setup[1].device == 0x300013000ULL);
	assert_int_equal(b->rec.setup[1].avail_base, 0);
	bus_restart(b, 2, 1024, REC_OFFERED);
	bus_negotiate(b, VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_PACKED);
	bus_enable(b, 0, 2);
	bus_set_status(b, 15);
	assert_int_equal(b->rec.setup[0].avail_base, 0x8000);
	assert_int_equal(b->rec.setup[0].used_base, 0x8000);
}

/* covers: PCI-DEV-21 */
static void registers_of_a_running_queue_stand(void **state)
{
	struct pcibus *b = *state;

	bus_up(b);
	rec_clear(&b->rec);
	select_queue(b, 1);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 2, 8);
	bus_set_common(b, VTFS_PCI_QUEUE_DESC, 4, 0xdead0000);
	bus_set_common(b, VTFS_PCI_QUEUE_DRIVER + 4, 4, 0xdead0000);
	bus_set_common(b, VTFS_PCI_QUEUE_DEVICE, 4, 0xdead0000);
	bus_set_common(b, VTFS_PCI_QUEUE_ENABLE, 2, 0);
	bus_set_common(b, VTFS_PCI_QUEUE_ENABLE, 2, 1);
	bus_set_common(b, VTFS_PCI_QUEUE_RESET, 2, 1);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 64);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_DESC, 4), 0x11000);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_DRIVER + 4, 4), 2);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_DEVICE, 4), 0x13000);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_ENABLE, 2), 1);
	assert_string_equal(b->rec.text, "");
}

static void queue_that_cannot_start_needs_a_reset(void **state)
{
	struct pcibus *b = *state;

	bus_negotiate(b, VIRTIOFS_F_VERSION_1);
	b->rec.start_r = -EFAULT;
	bus_enable(b, 1, 0);
	bus_set_status(b, 15);
	assert_int_equal(bus_status(b), 15 | 64);
	/* Nor is it tried again and again. */
	rec_clear(&b->rec);
	bus_set_status(b, 15);
	assert_string_equal(b->rec.text, "");
	b->rec.start_r = 0;
	bus_set_status(b, 0);
	bus_up(b);
	assert_int_equal(bus_status(b), 15);
	assert_true(b->rec.started[1]);
}

/* ---- doorbells ---- */

static void ring(struct pcibus *b, uint32_t off, uint32_t len, uint32_t v)
{
	bus_put(b, 0, VTFS_PCIFN_NOTIFY + off, len, v);
}

/* covers: PCI-DEV-41 */
static void doorbell_rings_its_queue_only(void **state)
{
	struct pcibus *b = *state;

	bus_negotiate(b, VIRTIOFS_F_VERSION_1);
	bus_enable(b, 0, 0);
	bus_enable(b, 1, 0);
	bus_set_status(b, 15);
	ring(b, 4, 2, 1);
	assert_int_equal(bus_heard(b->rec.kick_fd[0]), 0);
	assert_int_equal(bus_heard(b->rec.kick_fd[1]), 1);
	/* With NOTIFICATION_DATA. */
	ring(b, 4, 4, 0x12340001);
	assert_int_equal(bus_heard(b->rec.kick_fd[1]), 1);
	ring(b, 4, 2, 0xffff);
	ring(b, 4, 2, 0);
	ring(b, 4, 1, 1);
	ring(b, 5, 2, 1);
	ring(b, 6, 2, 1);
	ring(b, 8, 2, 2);
	ring(b, 4 * REC_QUEUES, 2, REC_QUEUES);
	ring(b, 0xffc, 4, 0x3ff);
	assert_int_equal(bus_heard(b->rec.kick_fd[0]), 0);
	assert_int_equal(bus_heard(b->rec.kick_fd[1]), 0);
	assert_int_equal(b->fn.queues[2].kick, -1);
	/* One that ran, and does no more. */
	bus_set_status(b, 0);
	ring(b, 4, 2, 1);
	assert_int_equal(bus_heard(b->fn.queues[1].kick), 0);
}

/* ---- resets ---- */

/* covers: PCI-DEV-13, PCI-DEV-14, PCI-DEV-40 */
static void reset_takes_its_time(void **state)
{
	struct pcibus *b = *state;

	bus_up(b);
	bus_set_common(b, VTFS_PCI_CONFIG_VECTOR, 2, 0);
	b->rec.hold = true;
	bus_set_status(b, 0);
	assert_int_equal(b->rec.resets, 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(bus_status(b), 15);
	/* Nothing begins meanwhile. */
	bus_set_status(b, 0);
	bus_set_status(b, 1);
	bus_enable(b, 0, 0);
	assert_int_equal(b->rec.resets, 1);
	rec_answer_reset(&b->rec);
	assert_int_equal(bus_status(b), 0);
	for (uint32_t i = 0; i < REC_QUEUES; i++) {
		select_queue(b, i);
		assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_ENABLE, 2), 0);
		assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_VECTOR, 2),
				 0xffff);
		assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_SIZE, 2), 1024);
	}
	assert_int_equal(bus_common(b, VTFS_PCI_CONFIG_VECTOR, 2), 0xffff);
	b->rec.hold = false;
	bus_up(b);
	assert_int_equal(bus_status(b), 15);
}

/* covers: PCI-DEV-15, PCI-DEV-16 */
static void one_queue_can_be_reset(void **state)
{
	struct pcibus *b = *state;

	bus_restart(b, 3, 1024, REC_OFFERED | RESETS);
	bus_negotiate(b, VIRTIOFS_F_VERSION_1 | RESETS);
	for (unsigned i = 0; i < 3; i++)
		bus_enable(b, i, 0);
	bus_set_status(b, 15);
	b->rec.hold = true;
	select_queue(b, 1);
	bus_set_common(b, VTFS_PCI_QUEUE_RESET, 2, 1);
	assert_int_equal(b->rec.stopping, 1);
	for (int i = 0; i < 3; i++)
		assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_RESET, 2), 1);
	bus_enable(b, 1, 0);
	assert_int_equal(b->rec.stops, 1);
	rec_answer_stop(&b->rec, 9, 9);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_RESET, 2), 0);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_ENABLE, 2), 0);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_DESC, 4), 0);
	/* Again, from the beginning, and another one. */
	rec_clear(&b->rec);
	bus_enable(b, 1, 0);
	assert_string_equal(b->rec.text, "start 1 1;");
	assert_int_equal(b->rec.setup[1].avail_base, 0);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_RESET, 2), 0);
	bus_set_common(b, VTFS_PCI_QUEUE_RESET, 2, 1);
	bus_set_status(b, 0);
	rec_answer_reset(&b->rec);
	select_queue(b, 1);
	assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_RESET, 2), 0);
}

static void answer_after_a_reset_is_nobodys(void **state)
{
	struct pcibus *b = *state;

	bus_up(b);
	b->rec.hold = true;
	bus_put(b, VTFS_PCIFN_CONFIG, VTFS_PCI_COMMAND, 2, 0);
	bus_set_status(b, 0);
	rec_answer_reset(&b->rec);
	vtfs_pcifn_queue_stopped(&b->fn, 1, 5, 5);
	vtfs_pcifn_queue_stopped(&b->fn, 1000, 5, 5);
	vtfs_pcifn_reset_done(&b->fn);
	b->rec.hold = false;
	bus_up(b);
	assert_int_equal(b->rec.setup[1].avail_base, 0);
}

static void fd_count_stays(void **state)
{
	struct pcibus *b = *state;
	unsigned before;

	bus_up(b);
	bus_set_status(b, 0);
	before = raw_fd_cnt();
	for (int i = 0; i < 100; i++) {
		bus_up(b);
		bus_set_status(b, 0);
	}
	assert_int_equal(raw_fd_cnt(), before);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    T(features_are_shown_in_words),
	    T(features_of_the_driver_read_back),
	    T(bad_features_are_not_ok),
	    T(platform_access_is_the_business_of_the_bus),
	    T(registers_are_little_endian),
	    T(halves_are_independent),
	    T(writes_of_another_width_are_dropped),
	    T(queues_that_are_not_there_have_no_size),
	    T(sizes_of_split_rings_are_powers_of_two),
	    T(sizes_do_not_grow_beyond_what_was_shown),
	    T(queues_start_with_driver_ok),
	    T(registers_of_a_running_queue_stand),
	    T(queue_that_cannot_start_needs_a_reset),
	    T(doorbell_rings_its_queue_only),
	    T(reset_takes_its_time),
	    T(one_queue_can_be_reset),
	    T(answer_after_a_reset_is_nobodys),
	    T(fd_count_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
