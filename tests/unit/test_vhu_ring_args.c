/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhudev.h"
#include "wire/virtio.h"

#define T(f) cmocka_unit_test_setup_teardown(f, vd_set_up, vd_tear_down)
/* covers: VHU-DEV-24 */
static void ring_sizes_follow_the_layout(void **state)
{
	static const uint32_t never[] = {0,	REC_QUEUE_MAX + 1, 32769,
					 65536, 0x80000000,	   0xffffffff};
	static const uint32_t odd[] = {3, 5, 7, 100, 1000, 1023};
	struct vhudev *v = *state;

	vd_ready(v, VD_FEATURES);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 0, never[i]),
				 1);
		assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 0, odd[i]),
				 1);
	}
	for (uint32_t n = 1; n <= REC_QUEUE_MAX; n *= 2)
		assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 0, n), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES,
				    VD_FEATURES | VIRTIOFS_F_RING_PACKED),
			 0);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 0, never[i]),
				 1);
		assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 0, odd[i]),
				 0);
	}
}

/* Said before the features are known, judged when they are. */
static void ring_size_is_judged_again_at_start(void **state)
{
	struct vhudev *v = *state;
	uint64_t pf = VD_PF_ALL;

	vd_send(v, VU_SET_PROTOCOL_FEATURES, &pf, 8);
	vd_share(v);
	vd_ring(v, 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 0, 3), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	assert_int_equal(vd_enable(v, 0, 1), 0);
	assert_int_equal(vd_kick(v, 0), 1);
	assert_false(v->rec.started[0]);
}

/* covers: VHU-BTH-12, VHU-BTH-10 */
static void ring_addresses_are_the_front_ends_own(void **state)
{
	struct vhudev *v = *state;
	unsigned char a[40] = {0};
	uint32_t index = 1;
	uint64_t desc = VD_USER + 0x3000, used = VD_USER + 0x5000,
		 avail = VD_USER + 0x4000;

	vd_ready(v, VD_FEATURES);
	vd_ring(v, 1);
	memcpy(a, &index, 4);
	memcpy(a + 8, &desc, 8);
	memcpy(a + 16, &used, 8);
	memcpy(a + 24, &avail, 8);
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, a, 40), 0);
	assert_int_equal(vd_kick(v, 1), 0);
	assert_int_equal(vd_enable(v, 1, 1), 0);
	/* the session gets guest addresses, which its table knows */
	assert_int_equal(v->rec.setup[1].desc, VD_GUEST + 0x3000);
	assert_int_equal(v->rec.setup[1].driver, VD_GUEST + 0x4000);
	assert_int_equal(v->rec.setup[1].device, VD_GUEST + 0x5000);
	assert_non_null(vtfs_table_ptr(v->rec.table, VD_GUEST + 0x3000, 128));
	assert_null(vtfs_table_ptr(v->rec.table, VD_USER + 0x3000, 1));
	/* and a guest address is none for a ring */
	assert_int_equal(vd_base(v, 1), 0);
	desc = VD_GUEST + 0x3000;
	memcpy(a + 8, &desc, 8);
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, a, 40), 1);
}

/* covers: VHU-DEV-25 */
static void ring_areas_are_aligned_and_in_one_region(void **state)
{
	struct vhudev *v = *state;
	struct vu_vring_addr good = vd_addr(0), a;
	unsigned i;

	vd_ready(v, VD_FEATURES);
	vd_ring(v, 0);
	a = good;
	a.desc += 8; /* 16 */
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 1);
	a = good;
	a.avail += 1; /* 2 */
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 1);
	a = good;
	a.used += 2; /* 4 */
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 1);
	a = good;
	a.desc = VD_USER + VD_MEM - 8 * 16;
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 0);
	a.desc += 16;
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 1);
	a = good;
	a.avail = VD_USER + VD_MEM - 20; /* 22 with the event field */
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 1);
	a = good;
	a.used = VD_USER + VD_MEM - 68; /* 70 */
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 1);
	a.used = UINT64_MAX - 3;
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 1);
	assert_int_equal(vd_enable(v, 0, 1), 0);
	/* What was refused left the last good address in force. */
	assert_int_equal(vd_kick(v, 0), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(v->rec.started[i], i == 0);
}

/* covers: VHU-DEV-26 */
static void bases_beyond_the_ring_are_refused(void **state)
{
	struct vhudev *v = *state;

	vd_ready(v, VD_FEATURES);
	vd_ring(v, 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, 0x10000), 1);
	assert_int_equal(vd_enable(v, 0, 1), 0);
	/* 8 entries, used index 0 */
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, 9), 0);
	assert_int_equal(vd_kick(v, 0), 1);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, 65535), 0);
	assert_int_equal(vd_kick(v, 0), 1);
	assert_false(v->rec.started[0]);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, 8), 0);
	assert_int_equal(vd_kick(v, 0), 0);
	assert_int_equal(vd_base(v, 0), 8);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES,
				    VD_FEATURES | VIRTIOFS_F_RING_PACKED),
			 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, 0x80008), 1);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, 0x8008), 1);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, 0x80000), 1);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, 0x80078007), 0);
}

/* covers: VHU-BTH-15 */
static void vring_fds_and_their_absence(void **state)
{
	static const uint32_t requests[] = {VU_SET_VRING_CALL, VU_SET_VRING_ERR,
					    VU_SET_VRING_KICK};
	struct vhudev *v = *state;
	unsigned fds;
	int fd = vd_eventfd();

	vd_ready(v, VD_FEATURES);
	vd_ring(v, 1);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t with = 1, without = 1 | 1 << 8, bad = 1 | 1 << 9;

		assert_int_equal(vd_ask_u64(v, requests[i], without), 0);
		assert_int_equal(vd_ask_fd(v, requests[i], &with, 8, fd), 0);
		fds = raw_fd_cnt();
		assert_int_equal(vd_ask_u64(v, requests[i], with), 1);
		assert_int_equal(vd_ask_fd(v, requests[i], &without, 8, fd), 1);
		assert_int_equal(vd_ask_fd(v, requests[i], &bad, 8, fd), 1);
		assert_int_equal(raw_fd_cnt(), fds);
	}
	assert_int_equal(vd_enable(v, 1, 1), 0);
	assert_true(v->rec.started[1]);
	assert_true(v->rec.kick_fd[1] >= 0);
	/* polling */
	assert_int_equal(vd_base(v, 1), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_VRING_KICK, 1 | 1 << 8), 0);
	assert_true(v->rec.started[1]);
	assert_int_equal(v->rec.kick_fd[1], -1);
	close(fd);
}

/* covers: VHU-DEV-32 */
static void broken_ring_signals_its_error_fd(void **state)
{
	struct vhudev *v = *state;
	uint64_t idx = 1, got = 0;
	int err = vd_eventfd(), other = vd_eventfd();

	vd_ready(v, VD_FEATURES);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_ERR, &idx, 8, err), 0);
	idx = 0;
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_ERR, &idx, 8, other), 0);
	vd_start(v, 1);
	v->t->dev->broken(v->t, 1);
	assert_int_equal(read(err, &got, 8), 8);
	assert_int_equal(read(other, &got, 8), -1);
	close(err);
	close(other);
}

/* covers: VHU-DEV-23 */
static void ring_indices_are_checked_in_every_message(void **state)
{
	static const uint32_t bad[] = {REC_QUEUES, 255, 256, 1u << 31,
				       0xffffffff};
	struct vhudev *v = *state;
	int fd = vd_eventfd();

	vd_ready(v, VD_FEATURES);
	for (unsigned i = 0; i < 5; i++) {
		struct vu_vring_addr a = vd_addr(0);
		uint64_t small = bad[i] & 0xff;

		a.index = bad[i];
		assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, bad[i], 8),
				 1);
		assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, bad[i], 0),
				 1);
		assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)),
				 1);
		assert_int_equal(vd_enable(v, bad[i], 1), 1);
		assert_int_equal(vd_ask_state(v, VU_GET_VRING_BASE, bad[i], 0),
				 1);
		if (small < REC_QUEUES)
			small = bad[i];
		assert_int_equal(vd_ask_fd(v, VU_SET_VRING_KICK, &small, 8, fd),
				 1);
		assert_int_equal(vd_ask_fd(v, VU_SET_VRING_CALL, &small, 8, fd),
				 1);
		assert_int_equal(vd_ask_fd(v, VU_SET_VRING_ERR, &small, 8, fd),
				 1);
	}
	assert_string_equal(v->rec.text, "");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(ring_sizes_follow_the_layout),
	    T(ring_size_is_judged_again_at_start),
	    T(ring_addresses_are_the_front_ends_own),
	    T(ring_areas_are_aligned_and_in_one_region),
	    T(bases_beyond_the_ring_are_refused),
	    T(vring_fds_and_their_absence),
	    T(broken_ring_signals_its_error_fd),
	    T(ring_indices_are_checked_in_every_message),
	};

	return cmocka_run_group_tests_name("vhu_ring_args", tests, NULL, NULL);
}
