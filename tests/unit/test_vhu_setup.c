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
	static const uint32_t get_features[3] = {1, 1, 0};
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
	uint32_t head[3] = {VU_SET_FEATURES, VU_VERSION, 8};

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
		uint32_t head[3] = {i % 2 ? VU_GET_FEATURES
					  : VU_GET_PROTOCOL_FEATURES,
				    VU_VERSION, 0};

		memcpy(buf + i * 12, head, 12);
	}
	raw_bytes(v->sock, buf, sizeof(buf), NULL, 0);
	vd_pump(v);
	for (unsigned i = 0; i < 60; i++) {
		raw_recv(v->sock, &m);
		assert_int_equal(m.request, i % 2 ? VU_GET_FEATURES
						  : VU_GET_PROTOCOL_FEATURES);
	}
	assert_true(raw_quiet(v->sock));
}

/* A peer that doesn't read its replies is not read from either. */
static void replies_nobody_reads_hold_up_nothing(void **state)
{
	static const uint32_t head[3] = {VU_GET_FEATURES, VU_VERSION, 0};
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
	    VU_PF(MQ),
	    0,
	    VU_PF(LOG_SHMFD),
	    1,
	    VU_PF(REPLY_ACK),
	    3,
	    VU_PF(BACKEND_REQ),
	    5,
	    VU_PF(CROSS_ENDIAN),
	    6,
	    VU_PF(PAGEFAULT),
	    8,
	    VU_PF(CONFIG),
	    9,
	    VU_PF(BACKEND_SEND_FD),
	    10,
	    VU_PF(HOST_NOTIFIER),
	    11,
	    VU_PF(INFLIGHT_SHMFD),
	    12,
	    VU_PF(RESET_DEVICE),
	    13,
	    VU_PF(INBAND_NOTIFICATIONS),
	    14,
	    VU_PF(CONFIGURE_MEM_SLOTS),
	    15,
	    VU_PF(STATUS),
	    16,
	    VU_PF(XEN_MMAP),
	    17,
	    VU_PF(SHARED_OBJECT),
	    18,
	    VU_PF(DEVICE_STATE),
	    19,
	    VU_PF(GET_VRING_BASE_INFLIGHT),
	    20,
	    VU_PF(GPA_ADDRESSES),
	    21,
	    VU_PF(SHMEM),
	    22,
	    VU_PF(GET_VRING_BASE_SKIP_DRAIN),
	    23,
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

		assert_int_equal(
		    vd_ask_u64(v, VU_SET_PROTOCOL_FEATURES, pf) == 0, ok);
	}
	assert_int_not_equal(vd_ask_u64(v, VU_SET_PROTOCOL_FEATURES, ~0ULL), 0);
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
	    {VU_GET_QUEUE_NUM, 0, VU_PF(MQ)},
	    {VU_SET_BACKEND_REQ_FD, 0, VU_PF(BACKEND_REQ)},
	    {VU_GET_CONFIG, 16, VU_PF(CONFIG)},
	    {VU_SET_CONFIG, 16, VU_PF(CONFIG)},
	    {VU_RESET_DEVICE, 0, VU_PF(RESET_DEVICE)},
	    {VU_GET_MAX_MEM_SLOTS, 0, VU_PF(CONFIGURE_MEM_SLOTS)},
	    {VU_ADD_MEM_REG, 40, VU_PF(CONFIGURE_MEM_SLOTS)},
	    {VU_REM_MEM_REG, 40, VU_PF(CONFIGURE_MEM_SLOTS)},
	    {VU_SET_STATUS, 8, VU_PF(STATUS)},
	    {VU_GET_STATUS, 0, VU_PF(STATUS)},
	};
	static const unsigned char zeroes[64];
	struct vhudev *v = *state;

	vd_negotiate(v, 0x1a229, VD_FEATURES);
	for (unsigned i = 0; i < sizeof(gated) / sizeof(gated[0]); i++) {
		assert_int_equal(vd_ask_u64(v, VU_SET_PROTOCOL_FEATURES,
					    0x1a229 & ~gated[i].pf),
				 0);
		rec_clear(&v->rec);
		assert_int_equal(
		    vd_ask(v, gated[i].request, zeroes, gated[i].len), 1);
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
	    {VU_GET_FEATURES, 0, 8},   {VU_GET_PROTOCOL_FEATURES, 0, 8},
	    {VU_GET_VRING_BASE, 8, 8}, {VU_GET_QUEUE_NUM, 0, 8},
	    {VU_GET_CONFIG, 12, 12},   {VU_GET_MAX_MEM_SLOTS, 0, 8},
	    {VU_GET_STATUS, 0, 8},
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
	};

	return cmocka_run_group_tests_name("vhu_setup", tests, NULL, NULL);
}
