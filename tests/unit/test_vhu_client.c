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

/* ---- connecting ---- */

/* covers: VHU-DRV-04, VHU-DRV-03, VHU-BTH-01 */
static void each_connection_is_negotiated_from_the_start(void **state)
{
	static const uint32_t order[] = {
	    VU_SET_OWNER,
	    VU_GET_FEATURES,
	    VU_GET_PROTOCOL_FEATURES,
	    VU_SET_PROTOCOL_FEATURES,
	    VU_GET_QUEUE_NUM,
	    VU_GET_MAX_MEM_SLOTS,
	    VU_SET_BACKEND_REQ_FD,
	};
	struct vhuback *b = *state;

	for (unsigned round = 0; round < 10; round++) {
		vb_connect(b);
		assert_int_equal(b->cnt, 7);
		for (unsigned i = 0; i < 7; i++) {
			assert_int_equal(b->log[i].request, order[i]);
			/* need_reply only once REPLY_ACK is negotiated */
			assert_int_equal(b->log[i].flags, i == 6 ? 9 : 1);
		}
		assert_int_equal(b->log[0].size, 0);
		assert_int_equal(b->log[3].size, 8);
		assert_int_equal(b->log[3].u64, VB_PF);
		vb_forget(b);
		close(b->sock);
		b->sock = -1;
		assert_int_equal(b->t->cli->dispatch(b->t), -ENOTCONN);
		assert_int_equal(b->rc.losses, round + 1);
	}
}

/* covers: VHU-DRV-03, VHU-BTH-06, VHU-DRV-14, VHU-DRV-15 */
static void back_end_without_protocol_features(void **state)
{
	struct vhuback *b = *state;
	unsigned char buf[40];
	unsigned cnt;

	b->features = VIRTIOFS_F_VERSION_1;
	vb_go(b);
	assert_int_equal(vb_heard(b, VU_GET_PROTOCOL_FEATURES), 0);
	assert_int_equal(vb_heard(b, VU_SET_PROTOCOL_FEATURES), 0);
	assert_int_equal(vb_heard(b, VU_SET_VRING_ENABLE), 0);
	assert_int_equal(vb_heard(b, VU_GET_QUEUE_NUM), 0);
	assert_int_equal(vb_heard(b, VU_SET_STATUS), 0);
	assert_int_equal(vb_heard(b, VU_GET_STATUS), 0);
	assert_int_equal(vb_heard(b, VU_ADD_MEM_REG), 0);
	assert_int_equal(vb_heard(b, VU_SET_BACKEND_REQ_FD), 0);
	for (unsigned i = 0; i < b->cnt; i++)
		assert_int_equal(b->log[i].flags, VU_VERSION);
	assert_int_equal(vb_last(b, VU_SET_FEATURES)->u64,
			 VIRTIOFS_F_VERSION_1);
	/* A fixed layout works all the same; nothing is made up. */
	assert_int_equal(b->t->cli->queue_cnt(b->t, &cnt), -EOPNOTSUPP);
	assert_int_equal(b->t->cli->get_config(b->t, buf, 40, 0), -EOPNOTSUPP);
}

/* covers: VHU-BTH-06, VHU-DRV-12, VHU-DRV-19, VHU-DRV-17, VHU-DRV-24 */
static void only_what_is_offered_and_known_is_taken(void **state)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		struct vhuback *b = *state;
		uint64_t pf;

		/* every bit alone, then all but one */
		for (unsigned i = 0; i < 2; i++) {
			b = *state;
			b->pf = i ? ~(1ULL << bit) : 1ULL << bit;
			vb_go(b);
			pf = b->acked_pf;
			assert_int_equal(pf, b->pf & VB_PF);
			if (pf & VU_PF(INBAND_NOTIFICATIONS))
				assert_true(pf & VU_PF(BACKEND_REQ) &&
					    pf & VU_PF(REPLY_ACK));
			if (pf & VU_PF(GET_VRING_BASE_SKIP_DRAIN))
				assert_true(pf & VU_PF(INFLIGHT_SHMFD) &&
					    pf &
						VU_PF(GET_VRING_BASE_INFLIGHT));
			assert_int_equal(vb_heard(b, VU_GET_QUEUE_NUM),
					 !!(pf & VU_PF(MQ)));
			assert_int_equal(vb_heard(b, VU_SET_BACKEND_REQ_FD),
					 !!(pf & VU_PF(BACKEND_REQ)));
			if (pf & VU_PF(BACKEND_REQ))
				assert_int_equal(
				    vb_last(b, VU_SET_BACKEND_REQ_FD)->fd_cnt,
				    1);
			assert_int_equal(vb_heard(b, VU_SET_STATUS) > 0,
					 !!(pf & VU_PF(STATUS)));
			assert_int_equal(vb_heard(b, VU_ADD_MEM_REG) > 0,
					 !!(pf & VU_PF(CONFIGURE_MEM_SLOTS)));
			vb_tear_down(state);
			vb_set_up(state);
		}
	}
}

/* covers: RSVF-BTH-01 */
static void bit_30_is_not_a_feature_of_the_device(void **state)
{
	struct vhuback *b = *state;
	uint64_t f = 0;

	b->features = ~0ULL;
	vb_connect(b);
	assert_int_equal(b->t->cli->get_features(b->t, &f), 0);
	assert_int_equal(f & (1ULL << 30 | 1ULL << 26), 0);
	assert_int_equal(
	    VB_RUN(b, b->t->cli->set_features(b->t, VIRTIOFS_F_VERSION_1)), 0);
	assert_int_equal(vb_last(b, VU_SET_FEATURES)->u64,
			 VIRTIOFS_F_VERSION_1 | 1ULL << 30);
}

static void nothing_works_before_connect(void **state)
{
	struct vhuback *b = *state;
	struct virtiofs_region m = vb_region(b, 0);
	struct vtfs_queue_setup q = vb_queue(b, 0);
	uint64_t v;
	uint8_t s;
	unsigned n;

	assert_int_equal(b->t->cli->get_features(b->t, &v), -ENOTCONN);
	assert_int_equal(b->t->cli->set_features(b->t, 0), -ENOTCONN);
	assert_int_equal(b->t->cli->queue_cnt(b->t, &n), -ENOTCONN);
	assert_int_equal(b->t->cli->get_status(b->t, &s), -ENOTCONN);
	assert_int_equal(b->t->cli->set_status(b->t, 1), -ENOTCONN);
	assert_int_equal(b->t->cli->map(b->t, &m, &v), -ENOTCONN);
	assert_int_equal(b->t->cli->unmap(b->t, 1), -ENOTCONN);
	assert_int_equal(b->t->cli->start_queue(b->t, &q), -ENOTCONN);
	assert_int_equal(b->t->cli->stop_queue(b->t, 0), -ENOTCONN);
	assert_int_equal(b->t->cli->dispatch(b->t), 0);
	assert_true(raw_quiet(b->sock));
}

/* covers: VHU-BTH-23 */
static void reconnecting_drops_all_of_the_old_connection(void **state)
{
	struct vhuback *b = *state;
	unsigned fds = 0;

	for (unsigned round = 0; round < 200; round++) {
		vb_go(b);
		assert_int_equal(vb_heard(b, VU_SET_OWNER), 1);
		assert_int_equal(vb_heard(b, VU_SET_FEATURES), 1);
		assert_int_equal(vb_heard(b, VU_ADD_MEM_REG), 1);
		assert_int_equal(vb_heard(b, VU_SET_VRING_KICK), 2);
		vb_forget(b);
		close(b->sock);
		b->sock = -1;
		close(b->channel);
		b->channel = -1;
		assert_true(readable(b));
		assert_int_equal(b->t->cli->dispatch(b->t), -ENOTCONN);
		assert_int_equal(b->t->cli->protocol_features(b->t), 0);
		if (!round)
			fds = raw_fd_cnt();
		assert_int_equal(raw_fd_cnt(), fds);
	}
	assert_int_equal(b->rc.losses, 200);
}

static void server_that_is_not_there(void **state)
{
	struct vhuback *b = *state;

	close(b->listener);
	b->listener = -1;
	assert_int_equal(b->t->cli->connect(b->t), -ECONNREFUSED);
	unlink(b->path);
	assert_int_equal(b->t->cli->connect(b->t), -ENOENT);
	assert_non_null(strstr(virtiofs_last_error(), b->path));
}

/* ---- memory ---- */

/* covers: VHU-BTH-08, VHU-BTH-09, VHU-DRV-07, VHU-BTH-10 */
static void regions_are_added_and_removed_singly(void **state)
{
	struct vhuback *b = *state;
	const struct raw_msg *m;
	uint64_t addr, val;

	vb_connect(b);
	assert_int_equal(vb_map(b, 2), 0);
	m = vb_last(b, VU_ADD_MEM_REG);
	assert_int_equal(m->size, 40);
	assert_int_equal(m->fd_cnt, 1);
	assert_int_equal(m->fds_at, 0);
	addr = (uintptr_t)(b->mem + 0x20000);
	memcpy(&val, m->bytes, 8);
	assert_int_equal(val, 0);
	memcpy(&val, m->bytes + 8, 8);
	assert_int_equal(val, addr);
	memcpy(&val, m->bytes + 16, 8);
	assert_int_equal(val, 0x10000);
	memcpy(&val, m->bytes + 24, 8);
	assert_int_equal(val, addr);
	memcpy(&val, m->bytes + 32, 8);
	assert_int_equal(val, 0x20000);
	assert_int_equal(vb_unmap(b, 2), 0);
	m = vb_last(b, VU_REM_MEM_REG);
	assert_int_equal(m->size, 40);
	assert_int_equal(m->fd_cnt, 0);
	assert_int_equal(m->reg.region.guest_addr, addr);
	assert_int_equal(vb_unmap(b, 2), -ENOENT);
}

/* covers: VHU-DRV-06 */
static void regions_stay_within_the_slots(void **state)
{
	struct vhuback *b = *state;

	b->slots = 2;
	vb_connect(b);
	assert_int_equal(vb_map(b, 0), 0);
	assert_int_equal(vb_map(b, 1), 0);
	assert_int_equal(vb_map(b, 2), -ENOSPC);
	assert_int_equal(vb_heard(b, VU_ADD_MEM_REG), 2);
	assert_int_equal(vb_unmap(b, 0), 0);
	assert_int_equal(vb_map(b, 2), 0);
	assert_int_equal(vb_heard(b, VU_SET_MEM_TABLE), 0);
}

/* covers: VHU-DRV-06, VHU-DRV-02 */
static void without_slots_whole_tables_are_sent(void **state)
{
	struct vhuback *b = *state;
	const struct raw_msg *m;

	b->pf &= ~VU_PF(CONFIGURE_MEM_SLOTS);
	vb_connect(b);
	assert_int_equal(vb_map(b, 0), 0);
	assert_int_equal(vb_map(b, 1), 0);
	m = vb_last(b, VU_SET_MEM_TABLE);
	assert_int_equal(m->size, 8 + 64);
	assert_int_equal(m->mem.num, 2);
	assert_int_equal(m->fd_cnt, 2);
	assert_int_equal(m->fds_at, 0);
	assert_int_equal(m->mem.regions[1].mmap_offset, 0x10000);
	assert_int_equal(vb_unmap(b, 0), 0);
	m = vb_last(b, VU_SET_MEM_TABLE);
	assert_int_equal(m->mem.num, 1);
	assert_int_equal(m->mem.regions[0].guest_addr,
			 (uintptr_t)b->mem + 0x10000);
	assert_int_equal(vb_heard(b, VU_ADD_MEM_REG), 0);
	assert_int_equal(vb_heard(b, VU_REM_MEM_REG), 0);
	assert_int_equal(vb_heard(b, VU_GET_MAX_MEM_SLOTS), 0);
}

/* covers: VHU-DRV-05 */
static void overlapping_memory_is_never_sent(void **state)
{
	struct vhuback *b = *state;
	uint64_t start[32], len[32];
	unsigned cnt = 0, seed = 7, refused = 0;

	vb_connect(b);
	for (unsigned i = 0; i < 300; i++) {
		struct virtiofs_region m = vb_region(b, 0);
		size_t off = (size_t)(rand_r(&seed) % 48) * 4096;
		uint64_t addr;
		bool clash = false;
		int r;

		m.addr = b->mem + off;
		m.fd_offset = off;
		m.len = (size_t)(1 + rand_r(&seed) % 16) * 4096;
		if (cnt && rand_r(&seed) % 3 == 0) {
			unsigned k = (unsigned)rand_r(&seed) % cnt;

			assert_int_equal(
			    VB_RUN(b, b->t->cli->unmap(b->t, start[k])), 0);
			start[k] = start[--cnt];
			len[k] = len[cnt];
		}
		for (unsigned k = 0; k < cnt; k++)
			clash |= start[k] < (uintptr_t)m.addr + m.len &&
				 (uintptr_t)m.addr < start[k] + len[k];
		vb_forget(b);
		r = VB_RUN(b, b->t->cli->map(b->t, &m, &addr));
		assert_int_equal(r, clash ? -EINVAL : 0);
		assert_int_equal(vb_heard(b, VU_ADD_MEM_REG), !clash);
		refused += clash;
		if (!clash) {
			start[cnt] = addr;
			len[cnt++] = m.len;
		}
	}
	assert_true(refused > 10);
}

static void memory_that_can_not_be_shared_is_refused(void **state)
{
	struct vhuback *b = *state;
	struct virtiofs_region m = vb_region(b, 0);
	uint64_t addr;

	vb_connect(b);
	vb_forget(b);
	m.fd = -1;
	assert_int_equal(b->t->cli->map(b->t, &m, &addr), -EINVAL);
	m = vb_region(b, 0);
	m.len = 100;
	assert_int_equal(b->t->cli->map(b->t, &m, &addr), -EINVAL);
	m = vb_region(b, 0);
	m.addr = b->mem + 1;
	assert_int_equal(b->t->cli->map(b->t, &m, &addr), -EINVAL);
	m = vb_region(b, 0);
	m.len = 0;
	assert_int_equal(b->t->cli->map(b->t, &m, &addr), -EINVAL);
	assert_int_equal(b->cnt, 0);
	assert_int_equal(vb_map(b, 0), 0);
}

static void region_the_back_end_refused_is_not_shared(void **state)
{
	struct vhuback *b = *state;

	vb_connect(b);
	b->lie_at = VU_ADD_MEM_REG;
	b->lie = VB_REFUSE;
	assert_int_equal(vb_map(b, 0), -EIO);
	assert_non_null(strstr(virtiofs_last_error(), "ADD_MEM_REG"));
	b->lie = VB_HONEST;
	assert_int_equal(vb_map(b, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TP(each_connection_is_negotiated_from_the_start),
	    T(back_end_without_protocol_features),
	    T(only_what_is_offered_and_known_is_taken),
	    T(bit_30_is_not_a_feature_of_the_device),
	    T(nothing_works_before_connect),
	    TP(reconnecting_drops_all_of_the_old_connection),
	    TP(server_that_is_not_there),
	    T(regions_are_added_and_removed_singly),
	    T(regions_stay_within_the_slots),
	    T(without_slots_whole_tables_are_sent),
	    T(overlapping_memory_is_never_sent),
	    T(memory_that_can_not_be_shared_is_refused),
	    T(region_the_back_end_refused_is_not_shared),
	};

	return cmocka_run_group_tests_name("vhu_client", tests, NULL, NULL);
}
