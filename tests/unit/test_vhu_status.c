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
static void get_config(struct vhudev *v, uint32_t off, uint32_t size,
		       struct raw_msg *ret)
{
	unsigned char buf[12 + 256] = {0};
	struct vu_config c = {.offset = off, .size = size};

	memcpy(buf, &c, sizeof(c));
	vd_send(v, VU_GET_CONFIG, buf, 12 + size);
	raw_recv(v->sock, ret);
	assert_int_equal(ret->request, VU_GET_CONFIG);
}

/* covers: VHU-DEV-46, CFG-DEV-01 */
static void config_is_read_in_any_part_before_features(void **state)
{
	struct vhudev *v = *state;
	uint64_t pf = VU_PF(CONFIG);
	struct raw_msg m;

	vd_send(v, VU_SET_PROTOCOL_FEATURES, &pf, 8);
	get_config(v, 0, 40, &m);
	assert_int_equal(m.size, 52);
	assert_int_equal(m.config.size, 40);
	assert_string_equal((char *)m.bytes + 12, "recorder");
	assert_int_equal(m.bytes[12 + 36], REC_QUEUES - 1);
	for (uint32_t off = 0; off < 44; off++) {
		get_config(v, off, 1, &m);
		assert_int_equal(m.size, 13);
		assert_int_equal(m.config.offset, off);
		assert_int_equal(m.bytes[12],
				 off < 40 ? v->rec.config[off] : 0);
	}
	get_config(v, 0, 44, &m);
	assert_int_equal(m.size, 56);
}

/* User-mode Linux reads from 0 each time, up to the byte it wants. */
static void config_is_read_as_user_mode_linux_does(void **state)
{
	struct vhudev *v = *state;
	uint64_t pf = VU_PF(CONFIG) | VU_PF(REPLY_ACK);
	struct raw_msg m;

	vd_send(v, VU_SET_PROTOCOL_FEATURES, &pf, 8);
	for (uint32_t i = 0; i < 36; i++) {
		get_config(v, 0, i + 1, &m);
		assert_int_equal(m.size, 12 + i + 1);
		assert_int_equal(m.bytes[12 + i], v->rec.config[i]);
	}
}

/* covers: VHU-DEV-46 */
static void config_beyond_the_end_is_an_empty_answer(void **state)
{
	static const uint32_t bad[][2] = {
	    {0, 45},	     {44, 1},		{40, 5},  {0, 256},
	    {0xffffffff, 1}, {0xffffffff, 256}, {256, 1},
	};
	struct vhudev *v = *state;
	uint64_t pf = VU_PF(CONFIG);
	struct raw_msg m;

	vd_send(v, VU_SET_PROTOCOL_FEATURES, &pf, 8);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		get_config(v, bad[i][0], bad[i][1], &m);
		assert_int_equal(m.size, 0);
		assert_int_equal(m.flags, VU_VERSION | VU_REPLY);
	}
	get_config(v, 0, 1, &m);
	assert_int_equal(m.size, 13);
}

static uint64_t set_config(struct vhudev *v, uint32_t off, uint32_t flags,
			   const char *val)
{
	unsigned char buf[12 + 64];
	struct vu_config c = {
	    .offset = off, .size = (uint32_t)strlen(val), .flags = flags};

	memcpy(buf, &c, sizeof(c));
	memcpy(buf + 12, val, c.size);
	return vd_ask(v, VU_SET_CONFIG, buf, 12 + c.size);
}

/* covers: VHU-DEV-47 */
static void config_is_read_only_but_for_a_migration(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	assert_int_equal(set_config(v, 0, 0, "recorder"), 1);
	assert_int_equal(set_config(v, 0, 0, "other"), 1);
	assert_int_equal(set_config(v, 0, 1, "recorder"), 0);
	assert_int_equal(set_config(v, 3, 1, "order"), 0);
	assert_int_equal(set_config(v, 0, 1, "other"), 1);
	assert_int_equal(set_config(v, 0, 2, "recorder"), 1);
	assert_int_equal(set_config(v, 40, 1, "12345"), 1);
	assert_string_equal((char *)v->rec.config, "recorder");
}

/* covers: VHU-BTH-17 */
static void device_works_without_config(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL & ~VU_PF(CONFIG), VD_FEATURES);
	vd_share(v);
	vd_start(v, 0);
	vd_start(v, 1);
}

/* covers: VHU-DEV-70, STAT-BTH-01, STAT-DEV-04 */
static void status_follows_the_ladder(void **state)
{
	struct vhudev *v = *state;
	uint64_t pf = VU_PF(REPLY_ACK) | VU_PF(STATUS);

	vd_send(v, VU_SET_PROTOCOL_FEATURES, &pf, 8);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 1), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 3), 0);
	/* FEATURES_OK before a good choice does not stick, nor what follows */
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 11), 0);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 3);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, 1ULL << 5), 1);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 15), 0);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 3);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 11), 0);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 11);
	/* no bit goes but by a reset, and NEEDS_RESET is not the driver's */
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 0x44), 0);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 15);
	v->t->dev->broken(v->t, 0);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 15 | 64);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 128), 0);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 15 | 64 | 128);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 0), 0);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 0);
}

/* covers: FEAT-BTH-01 */
static void features_are_fixed_by_features_ok(void **state)
{
	struct vhudev *v = *state;
	uint64_t other = VD_FEATURES | VIRTIOFS_F_EVENT_IDX;

	vd_negotiate(v, VU_PF(REPLY_ACK) | VU_PF(STATUS), VD_FEATURES);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 11), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, other), 1);
	assert_int_equal(v->rec.features, VIRTIOFS_F_VERSION_1);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 0), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, other), 0);
	assert_int_equal(v->rec.features,
			 VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_EVENT_IDX);
}

/* covers: STAT-DEV-01 */
static void rings_wait_for_driver_ok(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL | VU_PF(STATUS), VD_FEATURES);
	vd_share(v);
	vd_ring(v, 0);
	assert_int_equal(vd_kick(v, 0), 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 3), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 11), 0);
	assert_null(strstr(v->rec.text, "start"));
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 15), 0);
	assert_true(v->rec.started[0]);
	/* FAILED: the driver gave up */
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 128), 0);
	assert_false(v->rec.started[0]);
}

/* QEMU 7.2 writes FEATURES_OK and nothing else. */
static void front_end_without_a_ladder_is_served(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL | VU_PF(STATUS), VD_FEATURES);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 8), 0);
	vd_share(v);
	vd_start(v, 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 8 | 128), 0);
	assert_false(v->rec.started[0]);
}

/* QEMU writes 0 when it stops a device, before it asks for the bases, and also
 * for a guest that is only paused: no FUSE session ends. */
static void status_zero_drains_and_keeps_the_bases(void **state)
{
	struct vhudev *v = *state;
	struct vu_vring_state s = {.index = 1};
	uint64_t zero = 0;

	vd_negotiate(v, VD_PF_ALL | VU_PF(STATUS), VD_FEATURES);
	vd_share(v);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 15), 0);
	vd_start(v, 0);
	vd_start(v, 1);
	v->rec.hold = true;
	raw_send(v->sock, VU_SET_STATUS, VU_VERSION | VU_NEED_REPLY, &zero, 8,
		 NULL, 0);
	vd_pump(v);
	assert_int_equal(v->rec.stops, 2);
	assert_true(raw_quiet(v->sock));
	v->t->dev->queue_stopped(v->t, 0, 3, 3);
	vd_pump(v);
	assert_true(raw_quiet(v->sock));
	v->t->dev->queue_stopped(v->t, 1, 70, 70);
	vd_pump(v);
	assert_int_equal(vd_status(v, VU_SET_STATUS), 0);
	assert_int_equal(v->rec.resets, 0);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 0);
	vd_send(v, VU_GET_VRING_BASE, &s, sizeof(s));
	assert_int_equal(vd_status(v, VU_GET_VRING_BASE), 1 | 70ULL << 32);
}

/* covers: VHU-DEV-71 */
static void reset_device_waits_and_keeps_the_connection(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	vd_share(v);
	vd_start(v, 1);
	v->rec.hold = true;
	raw_send(v->sock, VU_RESET_DEVICE, VU_VERSION | VU_NEED_REPLY, NULL, 0,
		 NULL, 0);
	raw_send(v->sock, VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	vd_pump(v);
	assert_int_equal(v->rec.resets, 1);
	assert_true(raw_quiet(v->sock));
	rec_answer_reset(&v->rec);
	v->rec.hold = false;
	vd_pump(v);
	assert_int_equal(recv(v->sock, &(char[20]){0}, 20, MSG_DONTWAIT), 20);
	assert_int_equal(vd_status(v, VU_GET_FEATURES),
			 REC_OFFERED | 1ULL << 30 | 1ULL << 33);
	/* Neither owner nor protocol features have to be set again. */
	assert_int_equal(vd_kick(v, 1), 1);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	vd_start(v, 1);
}

static void open_channel(struct vhudev *v, int *ret)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	assert_int_equal(vd_ask_fd(v, VU_SET_BACKEND_REQ_FD, NULL, 0, sv[1]),
			 0);
	close(sv[1]);
	*ret = sv[0];
}

/* covers: VHU-DEV-48 */
static void second_channel_closes_the_first(void **state)
{
	struct vhudev *v = *state;
	int a, b;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	open_channel(v, &a);
	assert_true(raw_quiet(a));
	open_channel(v, &b);
	assert_true(raw_closed(a));
	assert_true(raw_quiet(b));
	close(a);
	close(b);
	vd_pump(v);
	assert_true(raw_quiet(v->sock));
}

/* covers: VHU-DEV-50, STAT-DEV-03, VHU-DEV-49 */
static void broken_ring_sends_config_change(void **state)
{
	struct vhudev *v = *state;
	struct raw_msg m;
	uint64_t ok = 0;
	int ch;

	vd_negotiate(v, VD_PF_ALL | VU_PF(STATUS), VD_FEATURES);
	vd_share(v);
	open_channel(v, &ch);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 15), 0);
	vd_start(v, 1);
	v->t->dev->broken(v->t, 1);
	raw_recv(ch, &m);
	assert_int_equal(m.request, VU_BACKEND_CONFIG_CHANGE);
	assert_int_equal(m.flags, VU_VERSION | VU_NEED_REPLY);
	assert_int_equal(m.size, 0);
	assert_int_equal(m.fd_cnt, 0);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 15 | 64);
	/* One at a time: the next waits for the answer. */
	v->t->dev->broken(v->t, 1);
	vd_pump(v);
	assert_true(raw_quiet(ch));
	raw_send(ch, VU_BACKEND_CONFIG_CHANGE, VU_VERSION | VU_REPLY, &ok, 8,
		 NULL, 0);
	vd_pump(v);
	raw_recv(ch, &m);
	assert_int_equal(m.request, VU_BACKEND_CONFIG_CHANGE);
	close(ch);
}

/* covers: VHU-DEV-50 */
static void config_change_needs_config(void **state)
{
	struct vhudev *v = *state;
	int ch;

	vd_negotiate(v, VD_PF_ALL & ~VU_PF(CONFIG), VD_FEATURES);
	vd_share(v);
	open_channel(v, &ch);
	vd_start(v, 1);
	v->t->dev->broken(v->t, 1);
	vd_pump(v);
	assert_true(raw_quiet(ch));
	close(ch);
}

/* A channel that is a pipe can't carry answers: none are asked for. */
static void channel_may_be_a_pipe(void **state)
{
	struct vhudev *v = *state;
	uint32_t head[3];
	int p[2];

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	vd_share(v);
	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(vd_ask_fd(v, VU_SET_BACKEND_REQ_FD, NULL, 0, p[1]), 0);
	close(p[1]);
	vd_start(v, 1);
	v->t->dev->broken(v->t, 1);
	assert_int_equal(read(p[0], head, 12), 12);
	assert_int_equal(head[1], VU_VERSION);
	close(p[0]);
	v->t->dev->broken(v->t, 1);
	vd_pump(v);
	assert_true(raw_quiet(v->sock));
}

static void suspended_device_sends_nothing_but_answers(void **state)
{
	struct vhudev *v = *state;
	struct vu_vring_state s = {.index = 1};
	int ch, call = vd_eventfd();
	uint64_t one = 1;

	vd_negotiate(v, VD_PF_ALL | VU_PF(STATUS), VD_FEATURES);
	vd_share(v);
	open_channel(v, &ch);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 15), 0);
	vd_start(v, 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_CALL, &one, 8, call), 0);
	vd_send(v, VU_GET_VRING_BASE, &s, sizeof(s));
	assert_int_equal(vd_status(v, VU_GET_VRING_BASE), 1);
	v->t->dev->broken(v->t, 1);
	vd_pump(v);
	assert_true(raw_quiet(ch));
	assert_true(raw_quiet(v->sock));
	assert_int_equal(read(call, &one, 8), -1);
	assert_int_equal(vd_get(v, VU_GET_STATUS), 15 | 64);
	assert_int_equal(vd_get(v, VU_GET_QUEUE_NUM), REC_QUEUES);
	close(ch);
	close(call);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(config_is_read_in_any_part_before_features),
	    T(config_is_read_as_user_mode_linux_does),
	    T(config_beyond_the_end_is_an_empty_answer),
	    T(config_is_read_only_but_for_a_migration),
	    T(device_works_without_config),
	    T(status_follows_the_ladder),
	    T(features_are_fixed_by_features_ok),
	    T(rings_wait_for_driver_ok),
	    T(front_end_without_a_ladder_is_served),
	    T(status_zero_drains_and_keeps_the_bases),
	    T(reset_device_waits_and_keeps_the_connection),
	    T(second_channel_closes_the_first),
	    T(broken_ring_sends_config_change),
	    T(config_change_needs_config),
	    T(channel_may_be_a_pipe),
	    T(suspended_device_sends_nothing_but_answers),
	};

	return cmocka_run_group_tests_name("vhu_status", tests, NULL, NULL);
}
