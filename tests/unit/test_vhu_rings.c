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
/* ---- states ---- */

/* covers: VHU-DEV-33, VHU-DEV-34 */
static void started_and_enabled_are_independent(void **state)
{
	struct vhudev *v = *state;

	vd_ready(v, VD_FEATURES);
	vd_ring(v, 0);
	assert_false(v->rec.started[0]);
	/* enabled first */
	assert_int_equal(vd_enable(v, 0, 1), 0);
	assert_false(v->rec.started[0]);
	assert_int_equal(vd_kick(v, 0), 0);
	assert_true(v->rec.started[0]);
	/* stopped, still enabled */
	assert_int_equal(vd_base(v, 0), 0);
	assert_false(v->rec.started[0]);
	assert_int_equal(vd_kick(v, 0), 0);
	assert_true(v->rec.started[0]);
	/* stopped, disabled, then started first */
	assert_int_equal(vd_base(v, 0), 0);
	assert_int_equal(vd_enable(v, 0, 0), 0);
	assert_int_equal(vd_kick(v, 0), 0);
	assert_false(v->rec.started[0]);
	assert_int_equal(vd_enable(v, 0, 1), 0);
	assert_true(v->rec.started[0]);
}

/* covers: VHU-DEV-35 */
static void disabled_ring_executes_nothing(void **state)
{
	struct vhudev *v = *state;

	vd_ready(v, VD_FEATURES);
	vd_ring(v, 1);
	assert_int_equal(vd_kick(v, 1), 0);
	assert_string_equal(v->rec.text, "");
	assert_int_equal(vd_enable(v, 1, 1), 0);
	assert_string_equal(v->rec.text, "start 1 1;");
}

/* covers: VHU-DEV-36, VHU-DEV-37 */
static void ring_starts_with_set_vring_kick_not_with_a_kick(void **state)
{
	struct vhudev *v = *state;
	uint64_t one;
	int fd;

	vd_ready(v, VD_FEATURES);
	vd_ring(v, 0);
	assert_int_equal(vd_enable(v, 0, 1), 0);
	assert_int_equal(vd_kick(v, 0), 0);
	assert_true(v->rec.started[0]);
	/* that fd was never written */
	fd = v->rec.kick_fd[0];
	assert_int_equal(read(fd, &one, 8), -1);
	assert_int_equal(vd_base(v, 0), 0);
	assert_false(v->rec.started[0]);
	assert_int_equal(vd_kick(v, 0), 0);
	assert_true(v->rec.started[0]);
}

/* covers: VHU-DEV-38 */
static void without_bit_30_all_rings_are_enabled(void **state)
{
	struct vhudev *v = *state;
	uint64_t f = VIRTIOFS_F_VERSION_1, val = 2;
	struct vu_mem_table t = {.num = 1};
	struct vu_vring_state s = {.index = 2, .num = 8};
	struct vu_vring_addr a = vd_addr(2);
	int fd = vd_eventfd();

	t.regions[0] = (struct vu_region){VD_GUEST, VD_MEM, VD_USER, 0};
	vd_send(v, VU_SET_OWNER, NULL, 0);
	vd_send(v, VU_SET_FEATURES, &f, 8);
	vd_send_fd(v, VU_SET_MEM_TABLE, &t, 8 + 32, v->mem);
	vd_send(v, VU_SET_VRING_NUM, &s, sizeof(s));
	s.num = 0;
	vd_send(v, VU_SET_VRING_BASE, &s, sizeof(s));
	vd_send(v, VU_SET_VRING_ADDR, &a, sizeof(a));
	vd_send_fd(v, VU_SET_VRING_KICK, &val, 8, fd);
	assert_true(v->rec.started[2]);
	assert_true(raw_quiet(v->sock));
	close(fd);
}

/* covers: VHU-DEV-39 */
static void enable_switches_one_ring(void **state)
{
	struct vhudev *v = *state;

	vd_ready(v, VD_FEATURES);
	for (unsigned i = 0; i < 3; i++)
		vd_start(v, i);
	assert_int_equal(vd_enable(v, 2, 0), 0);
	assert_true(v->rec.started[0]);
	assert_true(v->rec.started[1]);
	assert_false(v->rec.started[2]);
	assert_int_equal(vd_enable(v, 2, 1), 0);
	assert_true(v->rec.started[2]);
}

/* User-mode Linux frees a ring when it has disabled it. */
static void disable_is_acknowledged_when_the_ring_is_drained(void **state)
{
	struct vhudev *v = *state;
	struct vu_vring_state s = {.index = 1, .num = 0};

	vd_ready(v, VD_FEATURES);
	vd_start(v, 1);
	v->rec.hold = true;
	raw_send(v->sock, VU_SET_VRING_ENABLE, VU_VERSION | VU_NEED_REPLY, &s,
		 sizeof(s), NULL, 0);
	raw_send(v->sock, VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	vd_pump(v);
	assert_int_equal(v->rec.stopping, 1);
	assert_true(raw_quiet(v->sock));
	rec_answer_stop(&v->rec, 7, 7);
	v->rec.hold = false;
	vd_pump(v);
	assert_int_equal(recv(v->sock, &(char[20]){0}, 20, MSG_DONTWAIT), 20);
	vd_status(v, VU_GET_FEATURES);
	/* It goes on where it was. */
	assert_int_equal(vd_enable(v, 1, 1), 0);
	assert_true(v->rec.started[1]);
	assert_int_equal(v->rec.setup[1].avail_base, 7);
}

static void ring_waits_for_memory_and_features(void **state)
{
	struct vhudev *v = *state;
	uint64_t pf = VD_PF_ALL;

	vd_send(v, VU_SET_PROTOCOL_FEATURES, &pf, 8);
	vd_ring(v, 0);
	assert_int_equal(vd_kick(v, 0), 0);
	assert_int_equal(vd_enable(v, 0, 1), 0);
	assert_false(v->rec.started[0]);
	vd_share(v);
	assert_false(v->rec.started[0]);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	assert_true(v->rec.started[0]);
}

/* ---- stop ---- */

/* covers: VHU-DEV-27 */
static void get_vring_base_is_answered_after_the_drain(void **state)
{
	struct vhudev *v = *state;
	struct vu_vring_state s = {.index = 1};

	vd_ready(v, VD_FEATURES);
	vd_start(v, 1);
	v->rec.hold = true;
	vd_send(v, VU_GET_VRING_BASE, &s, sizeof(s));
	assert_int_equal(v->rec.stopping, 1);
	assert_true(raw_quiet(v->sock));
	rec_answer_stop(&v->rec, 1234, 1234);
	vd_pump(v);
	assert_int_equal(vd_status(v, VU_GET_VRING_BASE), 1 | 1234ULL << 32);
	/* A ring that doesn't run has its base too. */
	assert_int_equal(vd_base(v, 1), 1234);
	assert_int_equal(vd_base(v, 0), 0);
}

/* covers: VHU-BTH-13 */
static void split_base_is_the_avail_index(void **state)
{
	struct vhudev *v = *state;
	uint16_t used;
	void *p;

	vd_ready(v, VD_FEATURES);
	vd_ring(v, 0);
	/* The used index is in the ring: 70000 modulo 65536. */
	p = vtfs_table_ptr(v->rec.table, VD_GUEST + 0x2002, 2);
	used = 70000 % 65536;
	memcpy(p, &used, 2);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, used), 0);
	assert_int_equal(vd_kick(v, 0), 0);
	assert_int_equal(vd_enable(v, 0, 1), 0);
	assert_int_equal(v->rec.setup[0].avail_base, used);
	v->rec.hold = true;
	raw_send(v->sock, VU_GET_VRING_BASE, VU_VERSION,
		 &(struct vu_vring_state){0}, 8, NULL, 0);
	vd_pump(v);
	/* upper half zero whatever the session says of used */
	rec_answer_stop(&v->rec, 65535, 9);
	vd_pump(v);
	assert_int_equal(vd_status(v, VU_GET_VRING_BASE), 65535ULL << 32);
}

/* covers: VHU-BTH-14 */
static void packed_base_is_both_indices_and_wrap_counters(void **state)
{
	static const uint32_t bases[] = {0x80008000, 0x00050003, 0x80058003,
					 0x00058003, 0x80050003};
	struct vhudev *v = *state;

	vd_ready(v, VD_FEATURES | VIRTIOFS_F_RING_PACKED);
	for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		vd_ring(v, 0);
		assert_int_equal(
		    vd_ask_state(v, VU_SET_VRING_BASE, 0, bases[i]), 0);
		assert_int_equal(vd_kick(v, 0), 0);
		assert_int_equal(vd_enable(v, 0, 1), 0);
		assert_int_equal(v->rec.setup[0].avail_base, bases[i] & 0xffff);
		assert_int_equal(v->rec.setup[0].used_base, bases[i] >> 16);
		assert_int_equal(vd_base(v, 0), bases[i]);
	}
}

/* ---- changes on the fly ---- */

/* covers: VHU-DEV-40, VHU-DEV-29 */
static void fds_change_while_a_ring_runs(void **state)
{
	struct vhudev *v = *state;
	uint64_t idx = 1;
	int p[2], q[2];
	int kick = vd_eventfd();

	vd_ready(v, VD_FEATURES);
	vd_start(v, 1);
	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(pipe2(q, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_CALL, &idx, 8, p[1]), 0);
	close(p[1]);
	assert_non_null(strstr(v->rec.text, "call 1 1;"));
	assert_int_equal(read(p[0], &idx, 8), -1);
	idx = 1;
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_CALL, &idx, 8, q[1]), 0);
	close(q[1]);
	/* Nobody holds the first any more. */
	assert_int_equal(read(p[0], &idx, 8), 0);
	idx = 1 | VU_VRING_NOFD;
	assert_int_equal(vd_ask_u64(v, VU_SET_VRING_CALL, idx), 0);
	assert_int_equal(read(q[0], &idx, 8), 0);
	assert_int_equal(v->rec.call_fd[1], -1);
	idx = 1;
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_KICK, &idx, 8, kick), 0);
	assert_non_null(strstr(v->rec.text, "kick 1 1;"));
	assert_true(v->rec.started[1]);
	assert_int_equal(v->rec.stops, 0);
	close(p[0]);
	close(q[0]);
	close(kick);
}

static void size_base_and_place_do_not_change_while_a_ring_runs(void **state)
{
	struct vhudev *v = *state;
	struct vu_vring_addr a = vd_addr(1);

	vd_ready(v, VD_FEATURES);
	vd_start(v, 1);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 1, 16), 1);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 1, 1), 1);
	/* the same again, as when logging is switched */
	a.flags = 1;
	a.log = 0x1000;
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 0);
	a.used += 0x100;
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 1);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	assert_int_equal(
	    vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES | VIRTIOFS_F_EVENT_IDX),
	    1);
	assert_true(v->rec.started[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(started_and_enabled_are_independent),
	    T(disabled_ring_executes_nothing),
	    T(ring_starts_with_set_vring_kick_not_with_a_kick),
	    T(without_bit_30_all_rings_are_enabled),
	    T(enable_switches_one_ring),
	    T(disable_is_acknowledged_when_the_ring_is_drained),
	    T(ring_waits_for_memory_and_features),
	    T(get_vring_base_is_answered_after_the_drain),
	    T(split_base_is_the_avail_index),
	    T(packed_base_is_both_indices_and_wrap_counters),
	    T(fds_change_while_a_ring_runs),
	    T(size_base_and_place_do_not_change_while_a_ring_runs),
	};

	return cmocka_run_group_tests_name("vhu_rings", tests, NULL, NULL);
}
