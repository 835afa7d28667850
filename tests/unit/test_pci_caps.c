/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Capabilities that tell the truth, and such that don't. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fakefn.h"

static struct vtfs_pci_caps caps;

static int set_up(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));

	fake_init(f);
	memset(&caps, 0x5a, sizeof(caps));
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	fake_fini(*state);
	free(*state);
	return 0;
}

/* Of the BARs there are six: a seventh is seen by a sanitizer. */
static int find(struct fake *f)
{
	uint64_t *bar_len = malloc(sizeof(f->bar_len));
	int r;

	memcpy(bar_len, f->bar_len, sizeof(f->bar_len));
	r = vtfs_pci_caps_find(&caps, f->cfg, bar_len);
	free(bar_len);
	return r;
}

static void assert_usual(void)
{
	assert_int_equal(caps.common.bar, FAKE_BAR);
	assert_int_equal(caps.common.off, FAKE_COMMON);
	assert_int_equal(caps.device.off, FAKE_DEVICE);
	assert_int_equal(caps.notify.off, FAKE_NOTIFY);
	assert_int_equal(caps.multiplier, FAKE_MULTIPLIER);
}

/* covers: PCI-DRV-01 */
static void ids_are_matched_and_the_revision_is_not(void **state)
{
	static const unsigned char revisions[] = {0, 1, 2, 255};
	struct fake *f = *state;

	for (unsigned i = 0; i < 4; i++) {
		f->cfg[VTFS_PCI_REVISION] = revisions[i];
		assert_int_equal(find(f), 0);
	}
	fake_put32(f->cfg, VTFS_PCI_VENDOR | 0x1041u << 16);
	assert_int_equal(find(f), -ENODEV);
	fake_put32(f->cfg, 0x1af5u | VTFS_PCI_DEVICE_FS << 16);
	assert_int_equal(find(f), -ENODEV);
}

/* covers: PCI-DRV-02 */
static void subsystem_ids_do_not_matter(void **state)
{
	struct fake *f = *state;

	for (uint32_t i = 0; i < 8; i++) {
		fake_put32(f->cfg + VTFS_PCI_SUBSYS_VENDOR, i * 0x12345679u);
		assert_int_equal(find(f), 0);
	}
}

/* covers: PCI-DRV-23 */
static void no_virtio_capability_is_a_legacy_device(void **state)
{
	struct fake *f = *state;

	fake_no_caps(f);
	assert_int_equal(find(f), -ENODEV);
	fake_cap(f, VTFS_PCI_CAP_ID_MSIX, 12);
	assert_int_equal(find(f), -ENODEV);
	fake_usual_caps(f);
	assert_int_equal(find(f), 0);
	/* A list that the status register denies is none. */
	f->cfg[VTFS_PCI_STATUS] = 0;
	assert_int_equal(find(f), -ENODEV);
}

/* covers: PCI-DRV-04, PCI-DRV-21 */
static void reserved_and_vendor_types_are_ignored(void **state)
{
	static const unsigned types[] = {0, 6, 7, 9, 200};
	struct fake *f = *state;

	fake_no_caps(f);
	for (unsigned i = 0; i < 5; i++)
		memset(fake_virtio_cap(f, types[i], 1, 0xdeadbeef, 99) + 8,
		       0xa5 + (int)i, 8);
	fake_usual_caps(f);
	assert_int_equal(find(f), 0);
	assert_usual();
}

/* covers: PCI-DRV-07 */
static void bars_above_five_are_ignored(void **state)
{
	struct fake *f = *state;

	fake_no_caps(f);
	fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, 6, 0, 64);
	fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, 255, 0, 64);
	fake_usual_caps(f);
	assert_int_equal(find(f), 0);
	assert_usual();
}

/* covers: PCI-DRV-05 */
static void first_instance_that_can_be_used_counts(void **state)
{
	struct fake *f = *state;

	fake_no_caps(f);
	/* BAR 0 is for I/O ports: of no length here. */
	fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, 0, 0, 64);
	fake_usual_caps(f);
	fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, 0x5000, 64);
	fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0x6000, 64);
	assert_int_equal(find(f), 0);
	assert_usual();
}

/* covers: PCI-DRV-06 */
static void longer_capabilities_are_fine(void **state)
{
	struct fake *f = *state;

	for (unsigned len = 16; len <= 64; len += 4) {
		unsigned char *cap;

		fake_no_caps(f);
		cap = fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 64);
		cap[2] = (unsigned char)len;
		f->cap_at += len - 16;
		fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
				0x1000);
		assert_int_equal(find(f), 0);
		assert_int_equal(caps.common.len, 64);
		assert_int_equal(caps.isr.len, 0);
		assert_int_equal(caps.device.len, 0);
	}
}

/* Too long is cut, too short is no structure.
 * covers: PCI-DRV-09 */
static void length_is_cut_to_the_bar(void **state)
{
	struct fake *f = *state;

	fake_no_caps(f);
	fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 0xffffffff);
	fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
			0xffffffff);
	assert_int_equal(find(f), 0);
	assert_int_equal(caps.common.len, FAKE_BAR_LEN);
	assert_int_equal(caps.notify.len, FAKE_BAR_LEN - FAKE_NOTIFY);
	for (unsigned len = 0; len < VTFS_PCI_COMMON_LEN_MIN; len += 8) {
		fake_no_caps(f);
		fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, len);
		fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
				8);
		assert_int_equal(find(f), -EPROTO);
	}
}

/* covers: PCI-DRV-11 */
static void structure_beyond_its_bar_is_none(void **state)
{
	static const uint32_t offs[] = {FAKE_BAR_LEN - 52, FAKE_BAR_LEN,
					0xfffffffc, 0x80000000, 2};
	struct fake *f = *state;

	for (unsigned i = 0; i < 5; i++) {
		fake_no_caps(f);
		fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, offs[i], 64);
		fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
				8);
		assert_int_equal(find(f), -EPROTO);
	}
}

/* covers: PCI-DRV-11 */
static void capability_shorter_than_its_fields_is_none(void **state)
{
	struct fake *f = *state;

	for (unsigned len = 0; len < 16; len++) {
		fake_no_caps(f);
		fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0,
				64)[2] = (unsigned char)len;
		fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
				8);
		assert_int_equal(find(f), -EPROTO);
	}
	/* The multiplier is beyond what it has. */
	fake_no_caps(f);
	fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 64);
	fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
			8)[2] = 16;
	assert_int_equal(find(f), -EPROTO);
}

/* The last one ends with the config space, or would lie beyond. */
static void capability_at_the_end_is_cut_off(void **state)
{
	struct fake *f = *state;

	fake_no_caps(f);
	fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY, 8);
	f->cap_at = 0xf0;
	fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 64);
	assert_int_equal(find(f), 0);
	f->cfg[0xf2] = 17;
	assert_int_equal(find(f), -EPROTO);
	f->cfg[f->cap_last - 1 - 0xf0 + VTFS_PCI_CAP_FIRST + 1] = 0xf4;
	assert_int_equal(find(f), -EPROTO);
}

/* covers: PCI-DRV-11 */
static void list_that_loops_ends(void **state)
{
	struct fake *f = *state;

	f->cfg[f->cap_last] = f->cfg[VTFS_PCI_CAP_PTR];
	assert_int_equal(find(f), -EPROTO);
	/* To itself. */
	f->cfg[f->cap_last] = (unsigned char)(f->cap_last - 1);
	assert_int_equal(find(f), -EPROTO);
	/* Into the header. */
	f->cfg[f->cap_last] = 0x3c;
	assert_int_equal(find(f), -EPROTO);
}

static void multiplier_is_a_power_of_two(void **state)
{
	static const uint32_t bad[] = {1, 3, 6, 0xffffffff};
	struct fake *f = *state;

	for (unsigned i = 0; i < 4; i++) {
		fake_no_caps(f);
		fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 64);
		fake_put32(fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR,
					   FAKE_NOTIFY, 8) +
			       VTFS_PCI_CAP_NOTIFY_MULTIPLIER,
			   bad[i]);
		assert_int_equal(find(f), -EPROTO);
	}
}

static void add_shm(struct fake *f, uint64_t off, uint64_t len)
{
	unsigned char *cap = fake_virtio_cap(f, VTFS_PCI_CFG_SHARED_MEMORY, 2,
					     (uint32_t)off, (uint32_t)len);

	fake_put32(cap + VTFS_PCI_CAP_OFFSET_HI, (uint32_t)(off >> 32));
	fake_put32(cap + VTFS_PCI_CAP_LENGTH_HI, (uint32_t)(len >> 32));
}

/* covers: PCI-DRV-20 */
static void shared_memory_has_64_bits_and_lies_in_its_bar(void **state)
{
	struct fake *f = *state;

	f->bar_len[2] = 1ULL << 36;
	/* The sum would wrap; the end is beyond; all of it fits. */
	add_shm(f, 0xffffffff00000000, 0x200000000);
	assert_int_equal(find(f), 0);
	assert_int_equal(caps.shm.len, 0);
	add_shm(f, 0x800000000, 0x800001000);
	assert_int_equal(find(f), 0);
	assert_int_equal(caps.shm.len, 0);
	add_shm(f, 0x800000000, 0x800000000);
	assert_int_equal(find(f), 0);
	assert_int_equal(caps.shm.bar, 2);
	assert_int_equal(caps.shm.off, 0x800000000);
	assert_int_equal(caps.shm.len, 0x800000000);
}

/* Whatever stands there: an answer, inside the BARs. */
static void any_bytes_end_well(void **state)
{
	struct fake *f = *state;
	uint32_t seed = 1;
	unsigned found = 0;

	for (unsigned i = 0; i < 20000; i++) {
		fake_no_caps(f);
		fake_usual_caps(f);
		for (unsigned k = VTFS_PCI_CAP_PTR; k < sizeof(f->cfg); k++) {
			seed = seed * 1103515245u + 12345u;
			if (seed >> 24 < 3)
				f->cfg[k] = seed >> 23 & 1
						? (unsigned char)(seed >> 16)
						: (unsigned char)(seed >> 16 &
								  15);
		}
		if (find(f) < 0)
			continue;
		found++;
		assert_true(caps.common.off + caps.common.len <=
			    f->bar_len[caps.common.bar]);
		assert_true(caps.notify.off + caps.notify.len <=
			    f->bar_len[caps.notify.bar]);
	}
	assert_in_range(found, 1000, 19000);
}

/* By the same walk. */
static void msix_is_found_where_it_is_whole(void **state)
{
	struct fake *f = *state;
	unsigned char *cap;

	assert_int_equal(vtfs_pci_caps_msix(f->cfg), 0);
	cap = fake_cap(f, VTFS_PCI_CAP_ID_MSIX, 12);
	assert_int_equal(vtfs_pci_caps_msix(f->cfg), cap - f->cfg);
	f->cfg[VTFS_PCI_STATUS] = 0;
	assert_int_equal(vtfs_pci_caps_msix(f->cfg), 0);
	f->cfg[VTFS_PCI_STATUS] = VTFS_PCI_STATUS_CAP_LIST;
	/* A list that loops has one before the loop, and none in it. */
	cap[1] = VTFS_PCI_CAP_FIRST;
	assert_int_equal(vtfs_pci_caps_msix(f->cfg), cap - f->cfg);
	cap[0] = VTFS_PCI_CAP_ID_EXP;
	assert_int_equal(vtfs_pci_caps_msix(f->cfg), 0);
	/* The last bytes of the space are too few. */
	for (unsigned at = 244; at < 256; at += 4) {
		cap[1] = (unsigned char)at;
		f->cfg[at] = VTFS_PCI_CAP_ID_MSIX;
		f->cfg[at + 1] = 0;
		assert_int_equal(vtfs_pci_caps_msix(f->cfg),
				 at == 244 ? at : 0);
	}
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    T(ids_are_matched_and_the_revision_is_not),
	    T(subsystem_ids_do_not_matter),
	    T(no_virtio_capability_is_a_legacy_device),
	    T(reserved_and_vendor_types_are_ignored),
	    T(bars_above_five_are_ignored),
	    T(first_instance_that_can_be_used_counts),
	    T(longer_capabilities_are_fine),
	    T(length_is_cut_to_the_bar),
	    T(structure_beyond_its_bar_is_none),
	    T(capability_shorter_than_its_fields_is_none),
	    T(capability_at_the_end_is_cut_off),
	    T(list_that_loops_ends),
	    T(multiplier_is_a_power_of_two),
	    T(shared_memory_has_64_bits_and_lies_in_its_bar),
	    T(any_bytes_end_well),
	    T(msix_is_found_where_it_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
