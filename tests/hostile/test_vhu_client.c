/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhuback.h"

#define T(f) cmocka_unit_test_setup_teardown(f, vb_set_up, vb_tear_down)

/* Go through a whole life until something fails; what failed. */
static int live(struct vhuback *b)
{
	const struct vtfs_cli_ops *ops = b->t->cli;
	struct virtiofs_region m = vb_region(b, 0);
	struct vtfs_queue_setup q = vb_queue(b, 0);
	unsigned char buf[40];
	uint64_t addr;
	uint8_t s;
	int r;

	r = VB_RUN(b, ops->connect(b->t));
	if (r >= 0)
		r = VB_RUN(b, ops->get_config(b->t, buf, 40, 0));
	if (r >= 0)
		r = VB_RUN(b, ops->set_status(b->t, 3));
	if (r >= 0)
		r = VB_RUN(b, ops->get_status(b->t, &s));
	if (r >= 0)
		r = VB_RUN(b, ops->set_features(b->t, VIRTIOFS_F_VERSION_1));
	if (r >= 0)
		r = VB_RUN(b, ops->map(b->t, &m, &addr));
	if (r >= 0)
		r = VB_RUN(b, ops->start_queue(b->t, &q));
	if (r >= 0)
		r = VB_RUN(b, ops->stop_queue(b->t, 0));
	if (r >= 0)
		r = VB_RUN(b, ops->unmap(b->t, addr));
	return r;
}

static const uint32_t replied[] = {
    VU_GET_FEATURES,	   VU_GET_PROTOCOL_FEATURES,
    VU_GET_QUEUE_NUM,	   VU_GET_MAX_MEM_SLOTS,
    VU_SET_BACKEND_REQ_FD, VU_GET_CONFIG,
    VU_SET_STATUS,	   VU_GET_STATUS,
    VU_SET_FEATURES,	   VU_ADD_MEM_REG,
    VU_SET_VRING_NUM,	   VU_SET_VRING_ADDR,
    VU_SET_VRING_KICK,	   VU_SET_VRING_ENABLE,
    VU_GET_VRING_BASE,	   VU_REM_MEM_REG,
};

/* In place of each reply once: the connection ends, with a text. */
static void lie_everywhere(void **state, enum vb_lie lie, int expected)
{
	for (unsigned i = 0; i < sizeof(replied) / 4; i++) {
		struct vhuback *b = *state;
		uint64_t f;

		b->lie_at = replied[i];
		b->lie = lie;
		assert_int_equal(live(b), expected);
		assert_non_null(strstr(virtiofs_last_error(), "vhost-user"));
		assert_true(b->sock < 0 || raw_closed(b->sock));
		assert_int_equal(b->t->cli->get_features(b->t, &f), -ENOTCONN);
		assert_int_equal(b->t->cli->dispatch(b->t), -ENOTCONN);
		assert_int_equal(b->rc.losses, 1);
		assert_int_equal(b->rc.error, expected);
		assert_int_equal(b->t->cli->dispatch(b->t), -ENOTCONN);
		assert_int_equal(b->rc.losses, 1);
		vb_tear_down(state);
		vb_set_up(state);
	}
}

static void an_honest_life_works(void **state)
{
	assert_int_equal(live(*state), 0);
}

/* covers: VHU-DRV-01 */
static void reply_to_another_request(void **state)
{
	lie_everywhere(state, VB_OTHER_REQUEST, -EPROTO);
}

/* covers: VHU-DRV-01 */
static void reply_without_its_flag(void **state)
{
	lie_everywhere(state, VB_NO_REPLY_FLAG, -EPROTO);
}

/* covers: VHU-BTH-02 */
static void reply_of_another_version(void **state)
{
	lie_everywhere(state, VB_OTHER_VERSION, -EPROTO);
}

static void reply_that_needs_a_reply(void **state)
{
	lie_everywhere(state, VB_NEED_REPLY_FLAG, -EPROTO);
}

/* covers: VHU-DRV-01, VHU-BTH-03 */
static void reply_too_long(void **state)
{
	lie_everywhere(state, VB_TOO_LONG, -EPROTO);
}

/* covers: VHU-DRV-01, VHU-BTH-03 */
static void reply_too_short(void **state)
{
	lie_everywhere(state, VB_TOO_SHORT, -EPROTO);
}

/* covers: VHU-BTH-03 */
static void reply_of_four_gigabytes(void **state)
{
	lie_everywhere(state, VB_HUGE, -EPROTO);
}

/* covers: VHU-BTH-05 */
static void reply_with_a_fd(void **state)
{
	lie_everywhere(state, VB_WITH_FD, -EPROTO);
}

static void reply_cut_by_hanging_up(void **state)
{
	lie_everywhere(state, VB_CUT, -EPROTO);
}

static void hang_up_in_place_of_a_reply(void **state)
{
	lie_everywhere(state, VB_HANG_UP, -ENOTCONN);
}

static void base_of_another_ring(void **state)
{
	struct vhuback *b = *state;

	b->lie_at = VU_GET_VRING_BASE;
	b->lie = VB_OTHER_INDEX;
	assert_int_equal(live(b), -EPROTO);
}

static void config_of_another_place(void **state)
{
	struct vhuback *b = *state;

	b->lie_at = VU_GET_CONFIG;
	b->lie = VB_OTHER_INDEX;
	assert_int_equal(live(b), -EPROTO);
}

static void status_of_more_than_a_byte(void **state)
{
	struct vhuback *b = *state;
	uint64_t v = 0x100;
	uint8_t s = 7;

	vb_connect(b);
	b->lie_at = VU_GET_STATUS;
	b->lie = VB_SILENT;
	assert_int_equal(b->t->cli->get_status(b->t, &s), -EAGAIN);
	vb_serve(b);
	raw_send(b->sock, VU_GET_STATUS, VU_VERSION | VU_REPLY, &v, 8, NULL, 0);
	assert_int_equal(b->t->cli->get_status(b->t, &s), -EPROTO);
	assert_int_equal(s, 7);
}

/* covers: VHU-DRV-01 */
static void reply_nobody_asked_for(void **state)
{
	struct vhuback *b = *state;

	b->lie_at = VU_GET_VRING_BASE;
	b->lie = VB_TWICE;
	vb_go(b);
	assert_int_equal(VB_RUN(b, b->t->cli->stop_queue(b->t, 0)), 0);
	assert_int_equal(b->t->cli->dispatch(b->t), -ENOTCONN);
	assert_int_equal(b->rc.error, -EPROTO);
	assert_non_null(strstr(virtiofs_last_error(), "nobody asked"));
}

/* A refusal is no lie: the op fails, the connection goes on. */
static void refusal_everywhere(void **state)
{
	static const uint32_t acked[] = {VU_SET_STATUS,	      VU_SET_FEATURES,
					 VU_ADD_MEM_REG,      VU_SET_VRING_NUM,
					 VU_SET_VRING_BASE,   VU_SET_VRING_ADDR,
					 VU_SET_VRING_CALL,   VU_SET_VRING_KICK,
					 VU_SET_VRING_ENABLE, VU_REM_MEM_REG};

	for (unsigned i = 0; i < sizeof(acked) / 4; i++) {
		struct vhuback *b = *state;
		uint8_t s;

		b->lie_at = acked[i];
		b->lie = VB_REFUSE;
		assert_int_equal(live(b), -EIO);
		b->lie = VB_HONEST;
		assert_int_equal(VB_RUN(b, b->t->cli->get_status(b->t, &s)), 0);
		assert_int_equal(b->t->cli->dispatch(b->t), 0);
		vb_tear_down(state);
		vb_set_up(state);
	}
}

static void channel_lies(void **state)
{
	static const struct {
		uint32_t request, flags, size;
	} lies[] = {
	    {VU_BACKEND_CONFIG_CHANGE, 0, 0},
	    {VU_BACKEND_CONFIG_CHANGE, 2, 0},
	    {VU_BACKEND_CONFIG_CHANGE, 5, 0},
	    {VU_BACKEND_CONFIG_CHANGE, 17, 0},
	    {VU_BACKEND_CONFIG_CHANGE, 1, 8},
	    {VU_BACKEND_IOTLB_MSG, 1, 0xffffffff},
	    {999, 1, 4097},
	};

	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct vhuback *b = *state;

		vb_connect(b);
		raw_bytes(b->channel, &lies[i], 12, NULL, 0);
		assert_int_equal(b->t->cli->dispatch(b->t), -ENOTCONN);
		assert_int_equal(b->rc.error, -EPROTO);
		assert_true(raw_closed(b->sock));
		vb_tear_down(state);
		vb_set_up(state);
	}
}

static void channel_with_too_many_fds(void **state)
{
	struct vhuback *b = *state;
	int fds[12];

	vb_connect(b);
	for (unsigned i = 0; i < 12; i++)
		fds[i] = b->mem_fd;
	raw_send(b->channel, VU_BACKEND_CONFIG_CHANGE, VU_VERSION, NULL, 0, fds,
		 12);
	assert_int_equal(b->t->cli->dispatch(b->t), -ENOTCONN);
	assert_int_equal(b->rc.error, -EPROTO);
}

/* Requests without end, whose answers nobody reads. */
static void channel_flood(void **state)
{
	static const uint32_t head[3] = {VU_BACKEND_CONFIG_CHANGE,
					 VU_VERSION | VU_NEED_REPLY, 0};
	struct vhuback *b = *state;
	unsigned sent = 0;
	uint8_t s;

	vb_connect(b);
	while (sent < 100000 &&
	       send(b->channel, head, 12, MSG_DONTWAIT | MSG_NOSIGNAL) == 12) {
		assert_int_equal(b->t->cli->dispatch(b->t), 0);
		sent++;
	}
	assert_true(sent < 100000);
	assert_int_equal(VB_RUN(b, b->t->cli->get_status(b->t, &s)), 0);
}

/* Who talks without end is heard in pieces: nothing else has to wait. */
static void channel_that_never_ends(void **state)
{
	static const uint32_t head[3] = {VU_BACKEND_CONFIG_CHANGE, VU_VERSION,
					 0};
	struct vhuback *b = *state;
	struct pollfd p = {.fd = b->t->fd(b->t), .events = POLLIN};
	unsigned sent = 0, turns = 0;

	vb_connect(b);
	while (send(b->channel, head, 12, MSG_DONTWAIT | MSG_NOSIGNAL) == 12)
		sent++;
	assert_true(sent > 128);
	while (poll(&p, 1, 0) == 1) {
		assert_int_equal(b->t->cli->dispatch(b->t), 0);
		turns++;
	}
	assert_true(turns > 2);
	assert_true(b->rc.changes > 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(an_honest_life_works),
	    T(reply_to_another_request),
	    T(reply_without_its_flag),
	    T(reply_of_another_version),
	    T(reply_that_needs_a_reply),
	    T(reply_too_long),
	    T(reply_too_short),
	    T(reply_of_four_gigabytes),
	    T(reply_with_a_fd),
	    T(reply_cut_by_hanging_up),
	    T(hang_up_in_place_of_a_reply),
	    T(base_of_another_ring),
	    T(config_of_another_place),
	    T(status_of_more_than_a_byte),
	    T(reply_nobody_asked_for),
	    T(refusal_everywhere),
	    T(channel_lies),
	    T(channel_with_too_many_fds),
	    T(channel_flood),
	    T(channel_that_never_ends),
	};

	return cmocka_run_group_tests_name("vhu_client_lies", tests, NULL,
					   NULL);
}
