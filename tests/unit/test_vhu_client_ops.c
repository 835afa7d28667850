/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhuback.h"
#include "wire/virtio.h"

#define T(f)  cmocka_unit_test_setup_teardown(f, vb_set_up, vb_tear_down)
#define TP(f) cmocka_unit_test_setup_teardown(f, vb_set_up_path, vb_tear_down)
static bool readable(struct vhuback *b)
{
	struct pollfd p = {.fd = b->t->fd(b->t), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static int stop(struct vhuback *b, unsigned vq)
{
	return VB_RUN(b, b->t->cli->stop_queue(b->t, vq));
}

static int set_status(struct vhuback *b, uint8_t s)
{
	return VB_RUN(b, b->t->cli->set_status(b->t, s));
}

/* covers: VHU-BTH-12, VHU-BTH-15, VHU-DRV-02 */
static void a_queue_is_set_up_message_by_message(void **state)
{
	static const uint32_t order[] = {
	    VU_SET_VRING_NUM,  VU_SET_VRING_BASE, VU_SET_VRING_ADDR,
	    VU_SET_VRING_CALL, VU_SET_VRING_KICK, VU_SET_VRING_ENABLE,
	};
	struct vhuback *b = *state;
	struct vtfs_queue_setup q = vb_queue(b, 1);
	const struct raw_msg *m;
	uint64_t a[4];
	uint32_t head[2];

	vb_connect(b);
	assert_int_equal(
	    VB_RUN(b, b->t->cli->set_features(b->t, VIRTIOFS_F_VERSION_1)), 0);
	vb_forget(b);
	q.call_fd = eventfd(0, EFD_CLOEXEC);
	q.avail_base = 77;
	assert_int_equal(VB_RUN(b, b->t->cli->start_queue(b->t, &q)), 0);
	assert_int_equal(b->cnt, 6);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(b->log[i].request, order[i]);
		assert_int_equal(b->log[i].flags, VU_VERSION | VU_NEED_REPLY);
	}
	assert_int_equal(b->log[0].state.index, 1);
	assert_int_equal(b->log[0].state.num, 8);
	assert_int_equal(b->log[1].state.num, 77);
	m = vb_last(b, VU_SET_VRING_ADDR);
	assert_int_equal(m->size, 40);
	memcpy(head, m->bytes, 8);
	memcpy(a, m->bytes + 8, 32);
	assert_int_equal(head[0], 1);
	assert_int_equal(head[1], 0);
	assert_int_equal(a[0], q.desc);
	assert_int_equal(a[1], q.device);
	assert_int_equal(a[2], q.driver);
	assert_int_equal(a[3], 0);
	/* with a fd, and without: polling */
	m = vb_last(b, VU_SET_VRING_CALL);
	assert_int_equal(m->u64, 1);
	assert_int_equal(m->fd_cnt, 1);
	assert_int_equal(m->fds_at, 0);
	m = vb_last(b, VU_SET_VRING_KICK);
	assert_int_equal(m->u64, 1 | 1 << 8);
	assert_int_equal(m->fd_cnt, 0);
	close(q.call_fd);
}

/* covers: VHU-DRV-13, VHU-DRV-14 */
static void each_ring_is_kicked_and_enabled_at_its_start(void **state)
{
	struct vhuback *b = *state;
	unsigned seen = 0;

	vb_go(b);
	assert_int_equal(vb_heard(b, VU_SET_VRING_ENABLE), 2);
	for (unsigned i = 0; i < b->cnt; i++) {
		uint64_t one = 0;

		if (b->log[i].request == VU_SET_VRING_ENABLE)
			assert_int_equal(b->log[i].state.num, 1);
		if (b->log[i].request != VU_SET_VRING_KICK)
			continue;
		assert_int_equal(read(b->log[i].fds[0], &one, 8), 8);
		seen++;
	}
	assert_int_equal(seen, 2);
}

/* covers: VHU-BTH-14 */
static void packed_base_holds_both_indices(void **state)
{
	struct vhuback *b = *state;
	struct vtfs_queue_setup q = vb_queue(b, 0);

	vb_connect(b);
	assert_int_equal(
	    VB_RUN(b, b->t->cli->set_features(
			  b->t, VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_PACKED)),
	    0);
	q.avail_base = 0x8003;
	q.used_base = 0x0005;
	assert_int_equal(VB_RUN(b, b->t->cli->start_queue(b->t, &q)), 0);
	assert_int_equal(vb_last(b, VU_SET_VRING_BASE)->state.num, 0x00058003);
}

/* covers: VHU-DRV-11 */
static void get_vring_base_has_num_zero(void **state)
{
	struct vhuback *b = *state;

	vb_go(b);
	assert_int_equal(stop(b, 1), 0);
	assert_int_equal(vb_last(b, VU_GET_VRING_BASE)->state.index, 1);
	assert_int_equal(vb_last(b, VU_GET_VRING_BASE)->state.num, 0);
	assert_int_equal(vb_last(b, VU_GET_VRING_BASE)->flags, VU_VERSION);
}

/* covers: VHU-DRV-15, VHU-BTH-16 */
static void queues_the_back_end_lacks_are_not_started(void **state)
{
	struct vhuback *b = *state;
	struct vtfs_queue_setup q = vb_queue(b, 2);
	unsigned cnt = 0;

	b->queues = 2;
	vb_connect(b);
	assert_int_equal(b->t->cli->queue_cnt(b->t, &cnt), 0);
	assert_int_equal(cnt, 2);
	vb_forget(b);
	assert_int_equal(b->t->cli->start_queue(b->t, &q), -EINVAL);
	assert_int_equal(b->cnt, 0);
	vb_tear_down(state);
	vb_set_up(state);
	b->queues = 100000;
	vb_connect(b);
	assert_int_equal(b->t->cli->queue_cnt(b->t, &cnt), 0);
	assert_int_equal(cnt, 256);
	q.vq = 256;
	assert_int_equal(b->t->cli->start_queue(b->t, &q), -EINVAL);
}

/* covers: VHU-DRV-24, STAT-BTH-01 */
static void status_goes_to_the_back_end(void **state)
{
	struct vhuback *b = *state;
	static const uint8_t values[] = {0, 1, 3, 11, 15, 128};
	uint8_t got = 0;

	vb_connect(b);
	for (unsigned i = 0; i < sizeof(values); i++) {
		assert_int_equal(set_status(b, values[i]), 0);
		assert_int_equal(vb_last(b, VU_SET_STATUS)->size, 8);
		assert_int_equal(vb_last(b, VU_SET_STATUS)->u64, values[i]);
	}
	b->status = 64 | 15;
	assert_int_equal(VB_RUN(b, b->t->cli->get_status(b->t, &got)), 0);
	assert_int_equal(got, 64 | 15);
}

/* covers: VHU-DRV-25, VHU-DRV-24 */
static void reset_without_status_is_reset_device_or_every_ring(void **state)
{
	struct vhuback *b = *state;
	uint8_t got = 99;

	b->pf &= ~VU_PF(STATUS);
	vb_go(b);
	assert_int_equal(b->t->cli->get_status(b->t, &got), 0);
	assert_int_equal(got, 15);
	vb_forget(b);
	assert_int_equal(set_status(b, 0), 0);
	assert_int_equal(vb_heard(b, VU_RESET_DEVICE), 1);
	assert_int_equal(vb_heard(b, VU_GET_VRING_BASE), 0);
	vb_tear_down(state);
	vb_set_up(state);
	b->pf &= ~(VU_PF(STATUS) | VU_PF(RESET_DEVICE));
	vb_go(b);
	vb_forget(b);
	assert_int_equal(set_status(b, 0), 0);
	assert_int_equal(vb_heard(b, VU_RESET_DEVICE), 0);
	assert_int_equal(vb_heard(b, VU_GET_VRING_BASE), 2);
	assert_int_equal(vb_heard(b, VU_SET_STATUS), 0);
	vb_forget(b);
	assert_int_equal(set_status(b, 0), 0);
	assert_int_equal(b->cnt, 0);
}

static void config_comes_in_parts_or_whole(void **state)
{
	struct vhuback *b = *state;
	unsigned char buf[44];

	vb_connect(b);
	assert_int_equal(VB_RUN(b, b->t->cli->get_config(b->t, buf, 40, 0)), 0);
	assert_memory_equal(buf, b->config, 40);
	assert_int_equal(VB_RUN(b, b->t->cli->get_config(b->t, buf, 4, 36)), 0);
	assert_int_equal(buf[0], 2);
	assert_int_equal(vb_last(b, VU_GET_CONFIG)->size, 16);
	b->lie_at = VU_GET_CONFIG;
	b->lie = VB_REFUSE;
	assert_int_equal(VB_RUN(b, b->t->cli->get_config(b->t, buf, 40, 0)),
			 -EIO);
	b->lie = VB_HONEST;
	assert_int_equal(VB_RUN(b, b->t->cli->get_config(b->t, buf, 40, 0)), 0);
}

/* covers: VHU-BTH-17 */
static void client_works_without_config(void **state)
{
	struct vhuback *b = *state;
	unsigned char buf[40];

	b->pf &= ~VU_PF(CONFIG);
	vb_go(b);
	assert_int_equal(b->t->cli->get_config(b->t, buf, 40, 0), -EOPNOTSUPP);
	assert_int_equal(vb_heard(b, VU_GET_CONFIG), 0);
}

static uint64_t ask_client(struct vhuback *b, uint32_t request, size_t len,
			   unsigned fd_cnt)
{
	static const unsigned char zeroes[64];
	struct raw_msg m;

	raw_send(b->channel, request, VU_VERSION | VU_NEED_REPLY, zeroes, len,
		 &b->mem_fd, fd_cnt);
	assert_true(readable(b));
	assert_int_equal(b->t->cli->dispatch(b->t), 0);
	raw_recv(b->channel, &m);
	assert_int_equal(m.request, request);
	assert_int_equal(m.flags, VU_VERSION | VU_REPLY);
	assert_int_equal(m.size, 8);
	return m.u64;
}

/* covers: VHU-DRV-18 */
static void back_end_requests_are_answered(void **state)
{
	struct vhuback *b = *state;
	unsigned fds;

	vb_connect(b);
	fds = raw_fd_cnt();
	assert_int_equal(ask_client(b, VU_BACKEND_CONFIG_CHANGE, 0, 0), 0);
	assert_int_equal(b->rc.changes, 1);
	assert_int_equal(ask_client(b, VU_BACKEND_IOTLB_MSG, 32, 0), 1);
	assert_int_equal(ask_client(b, VU_BACKEND_VRING_HOST_NOTIFIER, 24, 1),
			 1);
	assert_int_equal(ask_client(b, VU_BACKEND_VRING_CALL, 8, 0), 1);
	assert_int_equal(ask_client(b, 9, 40, 1), 1);
	assert_int_equal(ask_client(b, 999, 0, 0), 1);
	assert_int_equal(b->rc.changes, 1);
	assert_int_equal(raw_fd_cnt(), fds);
	/* and not answered if that was not asked */
	raw_send(b->channel, VU_BACKEND_CONFIG_CHANGE, VU_VERSION, NULL, 0,
		 NULL, 0);
	assert_int_equal(b->t->cli->dispatch(b->t), 0);
	assert_int_equal(b->rc.changes, 2);
	assert_true(raw_quiet(b->channel));
	assert_false(readable(b));
}

/* covers: VHU-BTH-18 */
static void back_end_requests_are_answered_while_a_reply_is_awaited(
    void **state)
{
	struct vhuback *b = *state;
	struct raw_msg m;
	uint64_t reply = 1ULL << 32;

	vb_go(b);
	b->lie_at = VU_GET_VRING_BASE;
	b->lie = VB_SILENT;
	assert_int_equal(b->t->cli->stop_queue(b->t, 0), -EAGAIN);
	vb_serve(b);
	raw_send(b->channel, VU_BACKEND_CONFIG_CHANGE,
		 VU_VERSION | VU_NEED_REPLY, NULL, 0, NULL, 0);
	assert_true(readable(b));
	assert_int_equal(b->t->cli->stop_queue(b->t, 0), -EAGAIN);
	raw_recv(b->channel, &m);
	assert_int_equal(m.u64, 0);
	raw_send(b->sock, VU_GET_VRING_BASE, VU_VERSION | VU_REPLY, &reply, 8,
		 NULL, 0);
	assert_int_equal(b->t->cli->stop_queue(b->t, 0), 0);
	/* the change itself is told by dispatch */
	assert_true(readable(b));
	assert_int_equal(b->t->cli->dispatch(b->t), 0);
	assert_int_equal(b->rc.changes, 1);
}

static void back_end_that_needs_no_channel_may_close_it(void **state)
{
	struct vhuback *b = *state;

	vb_connect(b);
	vb_forget(b);
	close(b->channel);
	b->channel = -1;
	assert_int_equal(b->t->cli->dispatch(b->t), 0);
	assert_false(readable(b));
	assert_int_equal(vb_map(b, 0), 0);
}

/* covers: VHU-DRV-08, VHU-BTH-01, VHU-BTH-04 */
static void no_message_is_sent_that_was_not_negotiated(void **state)
{
	static const uint32_t allowed[] = {1,  2,  3,  8,  9,  10, 11,
					   12, 13, 15, 16, 17, 18, 21,
					   24, 34, 36, 37, 38, 39, 40};
	struct vhuback *b = *state;

	vb_go(b);
	assert_int_equal(stop(b, 0), 0);
	assert_int_equal(stop(b, 1), 0);
	assert_int_equal(set_status(b, 0), 0);
	assert_int_equal(vb_unmap(b, 0), 0);
	for (unsigned i = 0; i < b->cnt; i++) {
		const struct raw_msg *m = &b->log[i];
		bool ok = false;

		for (unsigned k = 0; k < sizeof(allowed) / 4; k++)
			ok |= m->request == allowed[k];
		assert_true(ok);
		assert_int_equal(m->flags & ~VU_NEED_REPLY, VU_VERSION);
	}
}

static void op_given_up_is_finished_before_the_next(void **state)
{
	struct vhuback *b = *state;
	struct vtfs_queue_setup q = vb_queue(b, 0);
	uint8_t got = 99;

	vb_connect(b);
	assert_int_equal(b->t->cli->start_queue(b->t, &q), -EAGAIN);
	assert_int_equal(VB_RUN(b, b->t->cli->get_status(b->t, &got)), 0);
	assert_int_equal(got, 0);
	assert_int_equal(vb_heard(b, VU_SET_VRING_KICK), 1);
	assert_int_equal(b->log[b->cnt - 1].request, VU_GET_STATUS);
}

/* Without REPLY_ACK an op ends with a reply that tells it was carried out. */
static void without_reply_ack_a_question_is_the_barrier(void **state)
{
	struct vhuback *b = *state;
	struct vtfs_queue_setup q = vb_queue(b, 0);

	b->pf &= ~VU_PF(REPLY_ACK);
	vb_connect(b);
	vb_serve(b);
	vb_forget(b);
	assert_int_equal(vb_map(b, 0), 0);
	assert_int_equal(b->cnt, 2);
	assert_int_equal(b->log[0].request, VU_ADD_MEM_REG);
	assert_int_equal(b->log[0].flags, VU_VERSION);
	assert_int_equal(b->log[1].request, VU_GET_FEATURES);
	vb_forget(b);
	assert_int_equal(VB_RUN(b, b->t->cli->start_queue(b->t, &q)), 0);
	assert_int_equal(b->log[b->cnt - 1].request, VU_GET_FEATURES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(a_queue_is_set_up_message_by_message),
	    T(each_ring_is_kicked_and_enabled_at_its_start),
	    T(packed_base_holds_both_indices),
	    T(get_vring_base_has_num_zero),
	    T(queues_the_back_end_lacks_are_not_started),
	    T(status_goes_to_the_back_end),
	    T(reset_without_status_is_reset_device_or_every_ring),
	    T(config_comes_in_parts_or_whole),
	    T(client_works_without_config),
	    T(back_end_requests_are_answered),
	    T(back_end_requests_are_answered_while_a_reply_is_awaited),
	    T(back_end_that_needs_no_channel_may_close_it),
	    T(no_message_is_sent_that_was_not_negotiated),
	    T(op_given_up_is_finished_before_the_next),
	    T(without_reply_ack_a_question_is_the_barrier),
	};

	return cmocka_run_group_tests_name("vhu_client_ops", tests, NULL, NULL);
}
