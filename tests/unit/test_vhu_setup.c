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

/* ---- the header ---- */

/* covers: VHU-BTH-01, VHU-DEV-01 */
static void messages_are_twelve_bytes_and_a_payload(void **state)
{
	static const uint32_t get_features[3] = { 1, 1, 0 };
	struct vhudev *v = *state;
	uint32_t head[3];
	uint64_t features;

	raw_bytes(v->sock, get_features, 12, NULL, 0);
	vd_pump(v);
	assert_int_equal(recv(v->sock, head, 12, MSG_DONTWAIT), 12);
	assert_int_equal(head[0], 1);
	assert_int_equal(head[1], 5);
	assert_int_equal(head[2], 8);
	assert_int_equal(recv(v->sock, &features, 8, MSG_DONTWAIT), 8);
	assert_int_equal(features, REC_OFFERED | 1ULL << 30);
	assert_true(raw_quiet(v->sock));
}

/* covers: VHU-BTH-04 */
static void message_may_come_byte_by_byte(void **state)
{
	struct vhudev *v = *state;
	uint64_t features = VD_FEATURES;
	unsigned char buf[20];
	uint32_t head[3] = { VU_SET_FEATURES, VU_VERSION, 8 };

	memcpy(buf, head, 12);
	memcpy(buf + 12, &features, 8);
	for (unsigned i = 0; i < sizeof(buf); i++) {
		assert_int_equal(v->rec.features, 0);
		raw_bytes(v->sock, buf + i, 1, NULL, 0);
		vd_pump(v);
	}
	assert_int_equal(v->rec.features, VIRTIOFS_F_VERSION_1);
}

/* covers: VHU-BTH-04 */
static void messages_may_be_glued(void **state)
{
	struct vhudev *v = *state;
	unsigned char buf[60 * 12];
	struct raw_msg m;

	for (unsigned i = 0; i < 60; i++) {
		uint32_t head[3] = { i % 2 ? VU_GET_FEATURES :
					     VU_GET_PROTOCOL_FEATURES,
				     VU_VERSION, 0 };

		memcpy(buf + i * 12, head, 12);
	}
	raw_bytes(v->sock, buf, sizeof(buf), NULL, 0);
	vd_pump(v);
	for (unsigned i = 0; i < 60; i++) {
		raw_recv(v->sock, &m);
		assert_int_equal(m.request, i % 2 ? VU_GET_FEATURES :
						    VU_GET_PROTOCOL_FEATURES);
	}
	assert_true(raw_quiet(v->sock));
}

/* A peer that doesn't read its replies is not read from either. */
static void replies_nobody_reads_hold_up_nothing(void **state)
{
	static const uint32_t head[3] = { VU_GET_FEATURES, VU_VERSION, 0 };
	struct vhudev *v = *state;
	struct raw_msg m;
	unsigned sent = 0, got = 0;
	int small = 4096;

	setsockopt(v->sock, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (; sent < 20000; sent++) {
		if (send(v->sock, head, 12, MSG_DONTWAIT) != 12)
			break;
		vd_pump(v);
	}
	assert_true(sent < 20000);
	while (!raw_quiet(v->sock)) {
		raw_recv(v->sock, &m);
		assert_int_equal(m.request, VU_GET_FEATURES);
		got++;
		vd_pump(v);
	}
	assert_int_equal(got, sent);
}

/* ---- features ---- */

/* covers: VHU-BTH-07 */
static void protocol_feature_bits_have_their_numbers(void **state)
{
	static const uint64_t bits[] = {
		VU_PF(MQ), 0, VU_PF(LOG_SHMFD), 1, VU_PF(REPLY_ACK), 3,
		VU_PF(BACKEND_REQ), 5, VU_PF(CROSS_ENDIAN), 6,
		VU_PF(PAGEFAULT), 8, VU_PF(CONFIG), 9,
		VU_PF(BACKEND_SEND_FD), 10, VU_PF(HOST_NOTIFIER), 11,
		VU_PF(INFLIGHT_SHMFD), 12, VU_PF(RESET_DEVICE), 13,
		VU_PF(INBAND_NOTIFICATIONS), 14, VU_PF(CONFIGURE_MEM_SLOTS), 15,
		VU_PF(STATUS), 16, VU_PF(XEN_MMAP), 17,
		VU_PF(SHARED_OBJECT), 18, VU_PF(DEVICE_STATE), 19,
		VU_PF(GET_VRING_BASE_INFLIGHT), 20, VU_PF(GPA_ADDRESSES), 21,
		VU_PF(SHMEM), 22, VU_PF(GET_VRING_BASE_SKIP_DRAIN), 23,
	};
	struct vhudev *v = *state;

	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i += 2)
		assert_int_equal(bits[i], 1ULL << bits[i + 1]);
	/* MQ, REPLY_ACK, BACKEND_REQ, CONFIG, RESET, MEM_SLOTS, STATUS */
	assert_int_equal(vd_get(v, VU_GET_PROTOCOL_FEATURES), 0x1a229);
}

/* covers: VHU-DEV-06 */
static void protocol_features_come_before_features(void **state)
{
	struct vhudev *v = *state;
	uint64_t pf = VU_PF(REPLY_ACK) | VU_PF(MQ);

	vd_get(v, VU_GET_PROTOCOL_FEATURES);
	vd_send(v, VU_SET_PROTOCOL_FEATURES, &pf, 8);
	assert_int_equal(vd_ask(v, VU_SET_OWNER, NULL, 0), 0);
	assert_int_equal(vd_get(v, VU_GET_QUEUE_NUM), REC_QUEUES);
	assert_int_equal(v->rec.features, 0);
	/* bit 30 need not be in SET_FEATURES for that */
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VIRTIOFS_F_VERSION_1),
			 0);
}

/* covers: VHU-DEV-07 */
static void protocol_features_not_offered_are_refused(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VU_PF(REPLY_ACK), VD_FEATURES);
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t pf = VU_PF(REPLY_ACK) | 1ULL << bit;
		bool ok = (pf & ~0x1a229ULL) == 0;

		assert_int_equal(vd_ask_u64(v, VU_SET_PROTOCOL_FEATURES, pf) ==
					 0,
				 ok);
	}
	assert_int_not_equal(vd_ask_u64(v, VU_SET_PROTOCOL_FEATURES, ~0ULL),
			     0);
}

/* covers: VHU-DEV-08 */
static void features_not_offered_are_refused(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VU_PF(REPLY_ACK), VD_FEATURES);
	rec_clear(&v->rec);
	assert_int_not_equal(vd_ask_u64(v, VU_SET_FEATURES, ~0ULL), 0);
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t f = VIRTIOFS_F_VERSION_1 | 1ULL << bit;
		bool ok = !(f & ~(REC_OFFERED | 1ULL << 30));

		assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, f) == 0, ok);
	}
	/* The session never sees bit 30, nor what was refused. */
	assert_int_equal(v->rec.features & ~REC_OFFERED, 0);
}

static void legacy_driver_is_turned_away(void **state)
{
	struct vhudev *v = *state;
	uint64_t f = VU_F_PROTOCOL_FEATURES;

	vd_send(v, VU_SET_FEATURES, &f, 8);
	assert_true(raw_closed(v->sock));
	assert_non_null(strstr(v->rec.logged, "VERSION_1"));
}

/* covers: VHU-BTH-06 */
static void requests_of_features_not_taken_are_refused(void **state)
{
	static const struct {
		uint32_t request;
		uint32_t len;
		uint64_t pf;
	} gated[] = {
		{ VU_GET_QUEUE_NUM, 0, VU_PF(MQ) },
		{ VU_SET_BACKEND_REQ_FD, 0, VU_PF(BACKEND_REQ) },
		{ VU_GET_CONFIG, 16, VU_PF(CONFIG) },
		{ VU_SET_CONFIG, 16, VU_PF(CONFIG) },
		{ VU_RESET_DEVICE, 0, VU_PF(RESET_DEVICE) },
		{ VU_GET_MAX_MEM_SLOTS, 0, VU_PF(CONFIGURE_MEM_SLOTS) },
		{ VU_ADD_MEM_REG, 40, VU_PF(CONFIGURE_MEM_SLOTS) },
		{ VU_REM_MEM_REG, 40, VU_PF(CONFIGURE_MEM_SLOTS) },
		{ VU_SET_STATUS, 8, VU_PF(STATUS) },
		{ VU_GET_STATUS, 0, VU_PF(STATUS) },
	};
	static const unsigned char zeroes[64];
	struct vhudev *v = *state;

	vd_negotiate(v, 0x1a229, VD_FEATURES);
	for (unsigned i = 0; i < sizeof(gated) / sizeof(gated[0]); i++) {
		assert_int_equal(vd_ask_u64(v, VU_SET_PROTOCOL_FEATURES,
					    0x1a229 & ~gated[i].pf),
				 0);
		rec_clear(&v->rec);
		assert_int_equal(vd_ask(v, gated[i].request, zeroes,
					gated[i].len),
				 1);
		assert_string_equal(v->rec.text, "");
	}
}

/* ---- replies and acknowledgements ---- */

/* covers: VHU-DEV-05, VHU-DEV-44, VHU-DEV-01 */
static void requests_with_a_reply_get_exactly_one(void **state)
{
	static const struct {
		uint32_t request;
		uint32_t len;
		uint32_t reply;
	} gets[] = {
		{ VU_GET_FEATURES, 0, 8 },
		{ VU_GET_PROTOCOL_FEATURES, 0, 8 },
		{ VU_GET_VRING_BASE, 8, 8 },
		{ VU_GET_QUEUE_NUM, 0, 8 },
		{ VU_GET_CONFIG, 12, 12 },
		{ VU_GET_MAX_MEM_SLOTS, 0, 8 },
		{ VU_GET_STATUS, 0, 8 },
	};
	static const unsigned char zeroes[12];
	struct vhudev *v = *state;
	struct raw_msg m;

	vd_negotiate(v, 0x1a229, VD_FEATURES);
	for (unsigned i = 0; i < 2 * sizeof(gets) / sizeof(gets[0]); i++) {
		raw_send(v->sock, gets[i / 2].request,
			 VU_VERSION | (i % 2 ? VU_NEED_REPLY : 0), zeroes,
			 gets[i / 2].len, NULL, 0);
		vd_pump(v);
		raw_recv(v->sock, &m);
		assert_int_equal(m.request, gets[i / 2].request);
		assert_int_equal(m.flags, VU_VERSION | VU_REPLY);
		assert_int_equal(m.size, gets[i / 2].reply);
		assert_true(raw_quiet(v->sock));
	}
}

/* covers: VHU-DEV-43 */
static void need_reply_is_answered_with_how_it_went(void **state)
{
	struct vhudev *v = *state;
	struct vu_vring_addr a = vd_addr(0);
	uint64_t val = 0;
	int fd = vd_eventfd();

	vd_negotiate(v, VD_PF_ALL | VU_PF(STATUS), VD_FEATURES);
	assert_int_equal(vd_ask(v, VU_SET_OWNER, NULL, 0), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, 0), 1);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	vd_share(v);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 0, 8), 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 0, 7), 1);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 0, 0), 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, 9, 0), 1);
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 0);
	a.desc++;
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_CALL, &val, 8, fd), 0);
	assert_int_equal(vd_ask(v, VU_SET_VRING_CALL, &val, 8), 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_ERR, &val, 8, fd), 0);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_KICK, &val, 8, fd), 0);
	val = 200;
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_KICK, &val, 8, fd), 1);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_ENABLE, 0, 2), 1);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 1), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 256), 1);
	assert_int_equal(vd_ask(v, VU_RESET_DEVICE, NULL, 0), 0);
	close(fd);
}

/* The session's failure is the message's. */
static void ring_the_session_can_not_run_is_refused(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	vd_share(v);
	vd_ring(v, 0);
	v->rec.start_r = -EFAULT;
	assert_int_equal(vd_kick(v, 0), 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_ENABLE, 0, 1), 1);
	v->rec.start_r = 0;
	assert_int_equal(vd_kick(v, 0), 0);
	assert_true(v->rec.started[0]);
}

/* covers: VHU-DEV-45 */
static void need_reply_without_reply_ack_is_not_answered(void **state)
{
	struct vhudev *v = *state;
	uint64_t f = VD_FEATURES;

	raw_send(v->sock, VU_SET_OWNER, VU_VERSION | VU_NEED_REPLY, NULL, 0,
		 NULL, 0);
	raw_send(v->sock, VU_SET_FEATURES, VU_VERSION | VU_NEED_REPLY, &f, 8,
		 NULL, 0);
	vd_pump(v);
	assert_true(raw_quiet(v->sock));
	assert_int_equal(v->rec.features, VIRTIOFS_F_VERSION_1);
}

/* User-mode Linux asks for the acknowledgement of the message that negotiates
 * acknowledgements, and waits for it. */
static void set_protocol_features_acknowledges_itself(void **state)
{
	struct vhudev *v = *state;
	uint64_t pf = VU_PF(REPLY_ACK);

	assert_int_equal(vd_ask_u64(v, VU_SET_PROTOCOL_FEATURES, pf), 0);
}

/* covers: VHU-DEV-09 */
static void reset_owner_discards_nothing(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	vd_share(v);
	vd_start(v, 1);
	rec_clear(&v->rec);
	assert_int_equal(vd_ask(v, VU_RESET_OWNER, NULL, 0), 0);
	assert_string_equal(v->rec.text, "");
	assert_true(v->rec.started[1]);
}

/* ---- queues, config space ---- */

/* covers: VHU-DEV-42, VHU-BTH-16 */
static void queue_num_tells_all_queues_up_to_256(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VU_PF(MQ), VD_FEATURES);
	assert_int_equal(vd_get(v, VU_GET_QUEUE_NUM), REC_QUEUES);
	v->rec.queue_cnt = 1000;
	assert_int_equal(vd_get(v, VU_GET_QUEUE_NUM), 256);
}

static void get_config(struct vhudev *v, uint32_t off, uint32_t size,
		       struct raw_msg *ret)
{
	unsigned char buf[12 + 256] = { 0 };
	struct vu_config c = { .offset = off, .size = size };

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
		assert_int_equal(m.bytes[12], off < 40 ? v->rec.config[off] :
							 0);
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
		{ 0, 45 }, { 44, 1 }, { 40, 5 }, { 0, 256 },
		{ 0xffffffff, 1 }, { 0xffffffff, 256 }, { 256, 1 },
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
	struct vu_config c = { .offset = off,
			       .size = (uint32_t)strlen(val),
			       .flags = flags };

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

/* ---- status ---- */

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
	struct vu_vring_state s = { .index = 1 };
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
	assert_int_equal(recv(v->sock, &(char[20]){ 0 }, 20, MSG_DONTWAIT), 20);
	assert_int_equal(vd_status(v, VU_GET_FEATURES),
			 REC_OFFERED | 1ULL << 30);
	/* Neither owner nor protocol features have to be set again. */
	assert_int_equal(vd_kick(v, 1), 1);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	vd_start(v, 1);
}

/* ---- the back-end's channel ---- */

static void open_channel(struct vhudev *v, int *ret)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				    sv),
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
	struct vu_vring_state s = { .index = 1 };
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
		T(messages_are_twelve_bytes_and_a_payload),
		T(message_may_come_byte_by_byte),
		T(messages_may_be_glued),
		T(replies_nobody_reads_hold_up_nothing),
		T(protocol_feature_bits_have_their_numbers),
		T(protocol_features_come_before_features),
		T(protocol_features_not_offered_are_refused),
		T(features_not_offered_are_refused),
		T(legacy_driver_is_turned_away),
		T(requests_of_features_not_taken_are_refused),
		T(requests_with_a_reply_get_exactly_one),
		T(need_reply_is_answered_with_how_it_went),
		T(ring_the_session_can_not_run_is_refused),
		T(need_reply_without_reply_ack_is_not_answered),
		T(set_protocol_features_acknowledges_itself),
		T(reset_owner_discards_nothing),
		T(queue_num_tells_all_queues_up_to_256),
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

	return cmocka_run_group_tests_name("vhu_setup", tests, NULL, NULL);
}
