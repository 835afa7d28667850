/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A raw front-end, ring and all, against a whole device session. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhuhost.h"

#define T(f) cmocka_unit_test_setup_teardown(f, host_set_up, host_tear_down)

/* covers: VHU-DEV-36, VHU-DEV-37 */
static void requests_that_wait_are_served_without_a_kick(void **state)
{
	struct host *h = *state;

	host_post(h, 0, FUSE_INIT);
	host_post(h, 1, FUSE_GETATTR);
	host_connect(h);
	host_pump(h);
	assert_int_equal(h->used->idx, 2);
	assert_int_equal(host_error(h, 1), -ENOENT);
	assert_int_equal(host_called(h->kick), 0);
	assert_true(host_called(h->call) > 0);
}

/* covers: VHU-DEV-35, VHU-DEV-34 */
static void disabled_ring_leaves_requests_alone(void **state)
{
	struct host *h = *state;

	host_connect(h);
	host_init(h);
	host_ring_state(h, VU_SET_VRING_ENABLE, 0);
	host_post(h, 1, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->heard, 0);
	assert_int_equal(h->used->idx, 1);
	host_ring_state(h, VU_SET_VRING_ENABLE, 1);
	host_pump(h);
	assert_int_equal(h->heard, 1);
	assert_int_equal(host_error(h, 1), -ENOENT);
}

/* covers: VHU-DEV-27 */
static void get_vring_base_lets_requests_finish(void **state)
{
	struct host *h = *state;

	host_connect(h);
	host_init(h);
	h->keep = true;
	host_post(h, 1, FUSE_GETATTR);
	host_post(h, 2, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->kept_cnt, 2);
	host_ask_base(h);
	assert_true(raw_quiet(h->sock));
	assert_int_equal(h->interrupts, 2);
	/* what comes now is not begun */
	host_post(h, 3, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->heard, 2);
	host_answer_kept(h);
	assert_int_equal(host_status(h, VU_GET_VRING_BASE),
			 HOST_VQ | 3ULL << 32);
	assert_int_equal(h->used->idx, 3);
	/* and goes on where it was; the session is the same */
	h->keep = false;
	host_ring_up(h);
	host_pump(h);
	assert_int_equal(host_error(h, 3), -ENOENT);
	assert_int_equal(h->resets, 0);
}

/* covers: VHU-DEV-41 */
static void suspended_device_touches_and_tells_nothing(void **state)
{
	struct host *h = *state;
	uint64_t before, one = HOST_VQ;
	struct raw_msg m;
	int sv[2];

	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv);
	host_connect(h);
	host_tell(h, VU_SET_BACKEND_REQ_FD, NULL, 0, sv[1]);
	host_init(h);
	host_post(h, 1, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	host_called(h->call);
	host_ask_base(h);
	assert_int_equal(host_status(h, VU_GET_VRING_BASE),
			 HOST_VQ | 2ULL << 32);
	/* requests, a kick, a broken index: nobody looks */
	host_post(h, 2, FUSE_GETATTR);
	h->avail->idx += 1000;
	before = host_hash(h);
	host_kick(h);
	host_tell(h, VU_SET_VRING_CALL, &one, 8, h->call);
	host_pump(h);
	assert_int_equal(host_hash(h), before);
	assert_int_equal(host_called(h->call), 0);
	assert_true(raw_quiet(sv[0]));
	assert_true(raw_quiet(h->sock));
	raw_send(h->sock, VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	host_pump(h);
	raw_recv(h->sock, &m);
	assert_int_equal(host_hash(h), before);
	close(sv[0]);
	close(sv[1]);
}

/* covers: VHU-DEV-29, VHU-DEV-40 */
static void swapped_call_fd_loses_no_completion(void **state)
{
	struct host *h = *state;
	uint64_t idx = HOST_VQ;
	int fresh = host_eventfd();

	host_connect(h);
	host_init(h);
	h->keep = true;
	host_post(h, 1, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	host_tell(h, VU_SET_VRING_CALL, &idx, 8, fresh);
	host_called(fresh);
	host_called(h->call);
	host_answer_kept(h);
	host_pump(h);
	assert_int_equal(host_error(h, 1), -EINTR);
	assert_true(host_called(fresh) > 0);
	assert_int_equal(host_called(h->call), 0);
	close(fresh);
}

/* covers: VHU-DEV-30 */
static void kick_fd_that_is_always_readable_does_not_spin(void **state)
{
	struct host *h = *state;

	host_connect(h);
	host_init(h);
	/* never read by us, so it stays readable */
	for (int i = 0; i < 20; i++) {
		host_kick(h);
		host_pump(h);
	}
	assert_true(host_called(h->kick) > 0);
	host_post(h, 1, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(host_error(h, 1), -ENOENT);
}

/* covers: VHU-DEV-13 */
static void table_changes_under_requests(void **state)
{
	struct host *h = *state;
	int other = raw_memfd(HOST_MEM);
	unsigned char *bytes = mmap(NULL, HOST_MEM, PROT_READ | PROT_WRITE,
				    MAP_SHARED, other, 0);
	struct vu_mem_table t = {.num = 2};
	int fds[2] = {h->mem_fd, other};
	struct fuse_out_header out;

	host_connect(h);
	host_init(h);
	h->keep = true;
	for (unsigned i = 1; i <= 32; i++)
		host_post(h, i, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->kept_cnt, 32);
	/* The old region comes again, beside a new one: nobody has to wait. */
	t.regions[0] = (struct vu_region){HOST_GUEST, HOST_MEM, HOST_USER, 0};
	t.regions[1] = (struct vu_region){HOST_GUEST + HOST_MEM, HOST_MEM,
					  HOST_USER + HOST_MEM, 0};
	raw_send(h->sock, VU_SET_MEM_TABLE, VU_VERSION | VU_NEED_REPLY, &t,
		 8 + 64, fds, 2);
	assert_int_equal(host_status(h, VU_SET_MEM_TABLE), 0);
	host_answer_kept(h);
	host_pump(h);
	assert_int_equal(h->used->idx, 33);
	for (unsigned i = 1; i <= 32; i++)
		assert_int_equal(host_error(h, i), -EINTR);
	/* The new memory is of use, and the ring is where it was. */
	h->keep = false;
	host_post_at(h, 40, HOST_GUEST + HOST_MEM + 0x800, bytes + 0x800,
		     FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	memcpy(&out, bytes + 0x800 + HOST_ROOM, sizeof(out));
	assert_int_equal(out.unique, 140);
	munmap(bytes, HOST_MEM);
	close(other);
}

/* covers: VHU-DEV-13, VHU-DEV-19 */
static void memory_that_goes_is_let_go_of_first(void **state)
{
	struct host *h = *state;
	int other = raw_memfd(HOST_MEM);
	unsigned char *bytes = mmap(NULL, HOST_MEM, PROT_READ | PROT_WRITE,
				    MAP_SHARED, other, 0);
	struct vu_mem_reg m = {.region = {HOST_GUEST + HOST_MEM, HOST_MEM,
					  HOST_USER + HOST_MEM, 0}};
	struct fuse_out_header out;

	host_connect(h);
	host_init(h);
	host_share(h, HOST_MEM, other);
	h->keep = true;
	host_post_at(h, 1, HOST_GUEST + HOST_MEM + 0x800, bytes + 0x800,
		     FUSE_GETATTR);
	host_post(h, 2, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->kept_cnt, 2);
	raw_send(h->sock, VU_REM_MEM_REG, VU_VERSION | VU_NEED_REPLY, &m,
		 sizeof(m), NULL, 0);
	host_pump(h);
	assert_true(raw_quiet(h->sock));
	/* Only the one that is in the way is waited for. */
	virtiofs_req_error(h->kept[0], -EINTR);
	assert_int_equal(host_status(h, VU_REM_MEM_REG), 0);
	memcpy(&out, bytes + 0x800 + HOST_ROOM, sizeof(out));
	assert_int_equal(out.error, -EINTR);
	h->kept[0] = h->kept[1];
	h->kept_cnt = 1;
	host_answer_kept(h);
	host_pump(h);
	assert_int_equal(host_error(h, 2), -EINTR);
	/* Now its addresses name nothing. */
	memset(bytes, 0, HOST_MEM);
	h->keep = false;
	host_post_at(h, 3, HOST_GUEST + HOST_MEM + 0x800, bytes + 0x800,
		     FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->heard, 2);
	assert_int_equal(h->used->idx, 4);
	memcpy(&out, bytes + 0x800 + HOST_ROOM, sizeof(out));
	assert_int_equal(out.len, 0);
	munmap(bytes, HOST_MEM);
	close(other);
}

/* covers: VHU-DEV-71, RST-DEV-02 */
static void reset_device_ends_requests_and_session(void **state)
{
	struct host *h = *state;
	uint64_t before;

	host_connect(h);
	host_init(h);
	h->keep = true;
	host_post(h, 1, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	raw_send(h->sock, VU_RESET_DEVICE, VU_VERSION | VU_NEED_REPLY, NULL, 0,
		 NULL, 0);
	host_pump(h);
	/* whether it waits or not, an acknowledged reset is final */
	if (raw_quiet(h->sock))
		host_answer_kept(h);
	assert_int_equal(host_status(h, VU_RESET_DEVICE), 0);
	before = host_hash(h);
	host_called(h->call);
	host_answer_kept(h);
	host_kick(h);
	host_pump(h);
	assert_int_equal(host_hash(h), before);
	assert_int_equal(host_called(h->call), 0);
	assert_int_equal(h->resets, 1);
}

/* covers: VHU-DEV-77 */
static void next_connection_has_to_init_anew(void **state)
{
	struct host *h = *state;

	host_connect(h);
	host_init(h);
	host_post(h, 1, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(host_error(h, 1), -ENOENT);
	close(h->sock);
	host_pump(h);
	assert_int_equal(h->resets, 1);
	host_dial(h);
	memset(h->mem, 0, HOST_MEM);
	host_connect(h);
	host_post(h, 1, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(host_error(h, 1), -EIO);
	assert_int_equal(h->heard, 1);
	host_init(h);
	host_post(h, 2, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(host_error(h, 2), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(requests_that_wait_are_served_without_a_kick),
	    T(disabled_ring_leaves_requests_alone),
	    T(get_vring_base_lets_requests_finish),
	    T(suspended_device_touches_and_tells_nothing),
	    T(swapped_call_fd_loses_no_completion),
	    T(kick_fd_that_is_always_readable_does_not_spin),
	    T(table_changes_under_requests),
	    T(memory_that_goes_is_let_go_of_first),
	    T(reset_device_ends_requests_and_session),
	    T(next_connection_has_to_init_anew),
	};

	return cmocka_run_group_tests_name("front_end", tests, NULL, NULL);
}
