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
/* covers: VHU-BTH-02 */
static void wrong_version(void **state)
{
	static const uint32_t flags[] = {0, 2, 3};

	for (unsigned i = 0; i < 3; i++) {
		struct vhudev *v = *state;

		raw_send(v->sock, VU_GET_FEATURES, flags[i], NULL, 0, NULL, 0);
		vd_pump(v);
		assert_true(raw_closed(v->sock));
		vd_tear_down(state);
		vd_set_up(state);
	}
}

/* covers: VHU-BTH-02 */
static void unknown_flag_set(void **state)
{
	for (unsigned bit = 4; bit < 32; bit++) {
		struct vhudev *v = *state;

		raw_send(v->sock, VU_GET_FEATURES, VU_VERSION | 1u << bit, NULL,
			 0, NULL, 0);
		vd_pump(v);
		assert_true(raw_closed(v->sock));
		vd_tear_down(state);
		vd_set_up(state);
	}
}

static void reply_flag_set(void **state)
{
	struct vhudev *v = *state;
	uint64_t f = VD_FEATURES;

	vd_working(v);
	raw_send(v->sock, VU_SET_FEATURES, VU_VERSION | VU_REPLY, &f, 8, NULL,
		 0);
	vd_is_over(v);
}

/* covers: VHU-BTH-03 */
static void size_of_another_message(void **state)
{
	static const uint32_t sizes[] = {
	    0, 1, 7, 9, 39, 41, 273, 4096, 4097, 0x7fffffff, 0xffffffff};
	static const struct {
		uint32_t request, min, max;
	} served[] = {
	    {1, 0, 0},	{2, 8, 8},    {3, 0, 0},     {4, 0, 0},	    {5, 8, 264},
	    {8, 8, 8},	{9, 40, 40},  {10, 8, 8},    {11, 8, 8},    {12, 8, 8},
	    {13, 8, 8}, {14, 8, 8},   {15, 0, 0},    {16, 8, 8},    {17, 0, 0},
	    {18, 8, 8}, {21, 0, 0},   {24, 12, 268}, {25, 12, 268}, {34, 0, 0},
	    {36, 0, 0}, {37, 40, 40}, {38, 40, 40},  {39, 8, 8},    {40, 0, 0},
	};

	for (unsigned r = 0; r < sizeof(served) / sizeof(served[0]); r++)
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]);
		     i++) {
			uint32_t head[3] = {served[r].request, VU_VERSION,
					    sizes[i]};
			struct vhudev *v = *state;

			if (sizes[i] >= served[r].min &&
			    sizes[i] <= served[r].max)
				continue;
			/* Judged before any of the payload is there. */
			raw_bytes(v->sock, head, sizeof(head), NULL, 0);
			vd_pump(v);
			assert_true(raw_closed(v->sock));
			vd_tear_down(state);
			vd_set_up(state);
		}
}

static void size_larger_than_anything(void **state)
{
	uint32_t head[3] = {999, VU_VERSION, 0xffffffff};
	struct vhudev *v = *state;

	vd_working(v);
	raw_bytes(v->sock, head, sizeof(head), NULL, 0);
	vd_is_over(v);
}

static void config_size_larger_than_its_payload(void **state)
{
	struct vhudev *v = *state;
	struct vu_config c = {.offset = 0, .size = 256};

	vd_working(v);
	raw_send(v->sock, VU_GET_CONFIG, VU_VERSION, &c, sizeof(c), NULL, 0);
	vd_is_over(v);
}

static void config_size_smaller_than_its_payload(void **state)
{
	struct vhudev *v = *state;
	unsigned char buf[12 + 100] = {0};

	vd_working(v);
	raw_send(v->sock, VU_GET_CONFIG, VU_VERSION, buf, sizeof(buf), NULL, 0);
	vd_is_over(v);
}

/* covers: VHU-DEV-78, VHU-DEV-79, VHU-DEV-14 */
static void unknown_request(void **state)
{
	static const uint32_t requests[] = {
	    0,	6,  7,	19, 20, 23, 26, 27, 28, 29,  30,	 31,
	    32, 33, 35, 41, 42, 43, 44, 45, 46, 999, 0x80000000, 0xffffffff};
	static const unsigned char payload[100];
	struct vhudev *v = *state;

	vd_working(v);
	rec_clear(&v->rec);
	for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		assert_int_equal(vd_ask(v, requests[i], payload, 0), 1);
		assert_int_equal(vd_ask(v, requests[i], payload, 100), 1);
		/* still in step */
		assert_int_equal(vd_get(v, VU_GET_QUEUE_NUM), REC_QUEUES);
	}
	assert_string_equal(v->rec.text, "");
	vd_send(v, 999, payload, 100);
	vd_is_over(v);
}

/* covers: VHU-DEV-52 */
static void in_band_notifications_without_what_they_need(void **state)
{
	struct vhudev *v = *state;
	uint64_t pf = VU_PF(INBAND_NOTIFICATIONS);

	vd_send(v, VU_SET_PROTOCOL_FEATURES, &pf, 8);
	vd_is_over(v);
}

static void kick_before_addr(void **state)
{
	struct vhudev *v = *state;

	vd_working(v);
	assert_int_equal(vd_kick(v, 2), 1);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, 2, 8), 0);
	assert_int_equal(vd_kick(v, 2), 1);
	assert_false(v->rec.started[2]);
}

static void lie_without_need_reply_ends_the_connection(void **state)
{
	struct vhudev *v = *state;
	struct vu_vring_state s = {.index = 77, .num = 8};

	vd_working(v);
	vd_send(v, VU_SET_VRING_NUM, &s, sizeof(s));
	vd_is_over(v);
	assert_int_equal(v->rec.losses, 1);
}

/* covers: VHU-BTH-04 */
static void header_cut_in_pieces_then_hang_up(void **state)
{
	static const uint32_t head[3] = {VU_GET_FEATURES, VU_VERSION, 0};
	struct vhudev *v = *state;

	for (unsigned i = 0; i < 11; i++) {
		raw_bytes(v->sock, (const char *)head + i, 1, NULL, 0);
		vd_pump(v);
		assert_true(raw_quiet(v->sock));
	}
	shutdown(v->sock, SHUT_WR);
	vd_pump(v);
	assert_true(raw_closed(v->sock));
}

static void hang_up_in_mid_message(void **state)
{
	uint32_t head[3] = {VU_SET_FEATURES, VU_VERSION, 8};
	struct vhudev *v = *state;

	vd_working(v);
	raw_bytes(v->sock, head, 12, NULL, 0);
	raw_bytes(v->sock, "abc", 3, NULL, 0);
	vd_pump(v);
	close(v->sock);
	v->sock = -1;
	vd_pump(v);
	assert_int_equal(v->rec.losses, 1);
	assert_non_null(strstr(v->rec.logged, "middle of a message"));
}

static void hang_up_while_an_answer_is_owed(void **state)
{
	struct vhudev *v = *state;
	struct vu_vring_state s = {.index = 1};

	vd_working(v);
	v->rec.hold = true;
	vd_send(v, VU_GET_VRING_BASE, &s, sizeof(s));
	assert_int_equal(v->rec.stopping, 1);
	/* more behind it, which nobody will read */
	raw_send(v->sock, VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	close(v->sock);
	v->sock = -1;
	vd_pump(v);
	assert_int_equal(v->rec.losses, 1);
	v->t->dev->queue_stopped(v->t, 1, 5, 5);
	vd_pump(v);
	rec_answer_reset(&v->rec);
	vd_pump(v);
	assert_int_equal(v->fatal, -ENOTCONN);
}

static void channel_answers_what_was_not_asked(void **state)
{
	static const struct {
		uint32_t request, flags, size;
	} lies[] = {
	    {1, 5, 8},	  {2, 1, 8},  {2, 5, 0},
	    {2, 5, 4096}, {2, 13, 8}, {999, 5, 8},
	};
	struct vhudev *v = *state;
	uint64_t zero = 0;
	int sv[2];

	vd_working(v);
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		assert_int_equal(
		    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
		assert_int_equal(
		    vd_ask_fd(v, VU_SET_BACKEND_REQ_FD, NULL, 0, sv[1]), 0);
		close(sv[1]);
		v->t->dev->broken(v->t, 1);
		raw_bytes(sv[0], &lies[i], 12, NULL, 0);
		raw_bytes(sv[0], &zero, 8, NULL, 0);
		vd_pump(v);
		/* the channel ends, the connection goes on */
		assert_int_equal(recv(sv[0], &(char[12]){0}, 12, MSG_DONTWAIT),
				 12);
		assert_true(raw_closed(sv[0]));
		close(sv[0]);
		assert_int_equal(vd_get(v, VU_GET_QUEUE_NUM), REC_QUEUES);
	}
}

static void channel_that_is_never_read(void **state)
{
	struct vhudev *v = *state;
	int sv[2], p[2];
	char junk[4096] = {0};

	vd_working(v);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	while (send(sv[1], junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(vd_ask_fd(v, VU_SET_BACKEND_REQ_FD, NULL, 0, sv[1]),
			 0);
	v->t->dev->broken(v->t, 1);
	assert_int_equal(vd_get(v, VU_GET_QUEUE_NUM), REC_QUEUES);
	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(p[1], junk, sizeof(junk)) > 0)
		;
	/* blocking, as far as the front-end goes */
	fcntl(p[1], F_SETFL, 0);
	assert_int_equal(vd_ask_fd(v, VU_SET_BACKEND_REQ_FD, NULL, 0, p[1]), 0);
	v->t->dev->broken(v->t, 1);
	assert_int_equal(vd_get(v, VU_GET_QUEUE_NUM), REC_QUEUES);
	close(sv[0]);
	close(sv[1]);
	close(p[0]);
	close(p[1]);
}

/* Bytes without sense, of which some are messages. */
static void noise(void **state)
{
	unsigned seed = 1;

	for (unsigned round = 0; round < 200; round++) {
		struct vhudev *v = *state;

		vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
		for (unsigned i = 0; i < 50 && !raw_closed(v->sock); i++) {
			unsigned char buf[300];
			uint32_t head[3];

			for (unsigned b = 0; b < sizeof(buf); b++)
				buf[b] = (unsigned char)rand_r(&seed);
			head[0] = (uint32_t)rand_r(&seed) % 48;
			head[1] = VU_VERSION | VU_NEED_REPLY;
			head[2] = (uint32_t)(rand_r(&seed) % 8) * 8;
			memcpy(buf, head, 12);
			if (rand_r(&seed) % 4)
				memset(buf + 12, 0, 8);
			if (send(v->sock, buf, 12 + head[2],
				 MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
				break;
			vd_pump(v);
			while (recv(v->sock, buf, sizeof(buf), MSG_DONTWAIT) >
			       0)
				;
		}
		vd_tear_down(state);
		vd_set_up(state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(wrong_version),
	    T(unknown_flag_set),
	    T(reply_flag_set),
	    T(size_of_another_message),
	    T(size_larger_than_anything),
	    T(config_size_larger_than_its_payload),
	    T(config_size_smaller_than_its_payload),
	    T(unknown_request),
	    T(in_band_notifications_without_what_they_need),
	    T(kick_before_addr),
	    T(lie_without_need_reply_ends_the_connection),
	    T(header_cut_in_pieces_then_hang_up),
	    T(hang_up_in_mid_message),
	    T(hang_up_while_an_answer_is_owed),
	    T(channel_answers_what_was_not_asked),
	    T(channel_that_is_never_read),
	    T(noise),
	};

	return cmocka_run_group_tests_name("vhu_device", tests, NULL, NULL);
}
