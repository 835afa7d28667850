/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes of queues, and their doorbells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "pcifix.h"
#include "vq/notify.h"
#include "wire/virtio.h"

#define BIT(name) (1ULL << VTFS_F_BIT_##name)

/* covers: PCI-DRV-13 */
static void rings_are_no_larger_than_the_device_says(void **state)
{
	static const unsigned sizes[] = {4, 5, 64, 100, 128, 256, 32768};

	for (unsigned packed = 0; packed < 2; packed++)
		for (unsigned i = 0; i < 7; i++) {
			struct pcifix *x;
			unsigned size = sizes[i], want = size;

			px_set_up((void **)&x);
			x->f.q[1].max = x->f.q[1].size = (uint16_t)size;
			if (packed) {
				x->f.l.offered |= VIRTIOFS_F_RING_PACKED;
				x->opts.features = x->f.l.offered;
			}
			x->opts.queue_size = 512;
			assert_int_equal(px_start(x), 0);
			if (want > 256)
				want = 256; /* hiprio's */
			while (!packed && want & (want - 1))
				want &= want - 1;
			assert_int_equal(x->f.q[1].size, want);
			assert_int_equal(x->f.q[0].size, want);
			px_take(x, 1);
			for (unsigned k = 0; k < 3; k++)
				px_one_request(x, 1);
			px_tear_down((void **)&x);
		}
}

static void ring_too_small_for_a_request(void **state)
{
	struct pcifix *x = *state;

	x->f.q[1].max = x->f.q[1].size = 2;
	assert_int_equal(px_start(x), -EPROTO);
	x->f.q[1].max = x->f.q[1].size = 0;
	assert_int_equal(px_start(x), -EPROTO);
}

/* What was allocated is what counts. */
static void size_that_grows_changes_nothing(void **state)
{
	struct pcifix *x = *state;

	x->f.grows = true;
	x->f.q[0].max = x->f.q[0].size = 16;
	x->f.q[1].max = x->f.q[1].size = 16;
	assert_int_equal(px_start(x), 0);
	assert_int_equal(x->f.q[1].size, 16);
	px_take(x, 1);
	for (unsigned k = 0; k < 40; k++)
		px_one_request(x, 1);
}

/* Set up for more than there is now. */
static void size_that_shrinks_is_refused(void **state)
{
	struct pcifix *x = *state;

	x->f.shrinks = true;
	x->opts.queue_size = 256;
	assert_int_equal(px_start(x), -EPROTO);
}

/* ---- doorbells ---- */

/* covers: PCI-DRV-18, PCI-DRV-27, PCI-DRV-28 */
static void doorbell_says_what_was_negotiated(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		bool data = i & 1, config = i & 2, mapped = i & 4;
		uint32_t id = config ? 0x701 : 1, value;
		struct pcifix *x;

		px_set_up((void **)&x);
		x->f.mapped = mapped;
		x->f.l.offered &= ~VIRTIOFS_F_EVENT_IDX;
		x->f.l.offered |= data ? BIT(NOTIFICATION_DATA) : 0;
		x->f.l.offered |= config ? BIT(NOTIF_CONFIG_DATA) : 0;
		assert_int_equal(px_start(x), 0);
		px_take(x, 1);
		memset(x->f.bells, 0xee, sizeof(x->f.bells));
		x->f.q[1].bells = 0;
		px_one_request(x, 1);
		if (mapped) {
			assert_true(fake_rung(&x->f, 1, &value));
			if (!data)
				id |= 0xeeee0000;
		} else {
			value = x->f.q[1].bell;
			assert_int_equal(x->f.q[1].bells, 1);
			assert_int_equal(x->f.q[1].bell_len, data ? 4 : 2);
		}
		/* INIT was the first request. */
		if (data)
			id = le32toh(vtfs_notify_data((uint16_t)id, 2));
		assert_int_equal(value, id);
		px_tear_down((void **)&x);
	}
	(void)state;
}

static void eventfd_that_stands_for_a_doorbell_is_rung(void **state)
{
	struct pcifix *x = *state;
	uint64_t n;

	x->f.mapped = false;
	x->f.bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	x->f.l.offered &= ~VIRTIOFS_F_EVENT_IDX;
	x->fds++;
	assert_int_equal(px_start(x), 0);
	px_take(x, 1);
	px_one_request(x, 1);
	assert_int_equal(read(x->f.bell_fd, &n, 8), 8);
	assert_int_equal(n, 2);
	assert_int_equal(x->f.q[1].bells, 0);
	virtiofs_client_free(x->c);
	x->c = NULL;
	close(x->f.bell_fd);
	x->fds--;
}

/* covers: PCI-DRV-18 */
static void doorbell_outside_of_its_structure(void **state)
{
	static const uint16_t offs[] = {0x400, 0xffff, 0x3fff};
	struct pcifix *x = *state;

	for (unsigned i = 0; i < 3; i++) {
		x->f.q[1].notify_off = offs[i];
		assert_int_equal(px_start(x), -EPROTO);
	}
	x->f.q[1].notify_off = 0x3ff;
	assert_int_equal(px_start(x), 0);
}

static void all_queues_may_share_a_doorbell(void **state)
{
	struct pcifix *x = *state;
	uint32_t value;

	x->f.l.offered &= ~VIRTIOFS_F_EVENT_IDX;
	fake_no_caps(&x->f);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 64);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_DEVICE, FAKE_BAR, FAKE_DEVICE, 44);
	fake_put32(fake_virtio_cap(&x->f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR,
				   FAKE_NOTIFY, 2) +
		       VTFS_PCI_CAP_NOTIFY_MULTIPLIER,
		   0);
	assert_int_equal(px_start(x), 0);
	memset(x->f.bells, 0xee, sizeof(x->f.bells));
	px_take(x, 1);
	px_one_request(x, 1);
	x->f.q[0].notify_off = 0;
	assert_true(fake_rung(&x->f, 0, &value));
	assert_int_equal(value, 0xeeee0001);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, px_set_up, px_tear_down)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rings_are_no_larger_than_the_device_says),
	    T(ring_too_small_for_a_request),
	    T(size_that_grows_changes_nothing),
	    T(size_that_shrinks_is_refused),
	    cmocka_unit_test(doorbell_says_what_was_negotiated),
	    T(eventfd_that_stands_for_a_doorbell_is_rung),
	    T(doorbell_outside_of_its_structure),
	    T(all_queues_may_share_a_doorbell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
