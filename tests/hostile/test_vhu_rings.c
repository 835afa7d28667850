/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A front-end that keeps to vhost-user's messages, and lies with its ring and
 * its memory: chains, indices, pages that go away under requests in flight.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhuhost.h"

#define NOWHERE 0x1000u /* an address in no region */

static int err_fd;

static int set_up(void **state)
{
	struct host *h;
	uint64_t vq = HOST_VQ;

	host_set_up(state);
	h = *state;
	err_fd = host_eventfd();
	host_connect(h);
	host_tell(h, VU_SET_VRING_ERR, &vq, sizeof(vq), err_fd);
	host_init(h);
	return 0;
}

static int tear_down(void **state)
{
	close(err_fd);
	return host_tear_down(state);
}

static void post_chain(struct host *h, const struct vtfs_wire_desc *d,
		       unsigned cnt)
{
	/* Above what host_post() uses here. */
	for (unsigned i = 0; i < cnt; i++)
		h->desc[100 + i] = d[i];
	h->avail->ring[h->avail->idx % HOST_NUM] = 100;
	h->avail->idx++;
}

/* What is asked in cell i is answered. */
static void is_served(struct host *h, unsigned i)
{
	unsigned heard = h->heard;

	host_post(h, i, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->heard, heard + 1);
	assert_int_equal(host_error(h, i), -ENOENT);
}

static void connection_lives(struct host *h)
{
	raw_send(h->sock, VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	assert_true(host_status(h, VU_GET_FEATURES) & VIRTIOFS_F_VERSION_1);
}

/* The same guest, rebooted. */
static void next_guest_is_served(struct host *h)
{
	close(h->sock);
	host_pump(h);
	host_dial(h);
	memset(h->mem, 0, HOST_MEM);
	host_connect(h);
	host_init(h);
	is_served(h, 1);
}

/* ---- a chain's own fault ---- */

/* A frame in cell 9 whose parts d, from the second on, are as they are; n of
 * them. Its reply: an error, or 1 for a chain that came back with length 0. */
static int fault_of(struct host *h, struct vtfs_wire_desc *d, unsigned n)
{
	unsigned at = h->used->idx, heard = h->heard;
	struct fuse_out_header out;

	host_post(h, 9, FUSE_GETATTR);
	h->avail->idx--;
	d[0] = h->desc[18];
	d[0].next = 101;
	for (unsigned i = 1; i < n; i++) {
		d[i].next = (uint16_t)(101 + i);
		if (i + 1 < n)
			d[i].flags |= VTFS_DESC_F_NEXT;
	}
	memset(h->mem + HOST_CELL(9) + HOST_ROOM, 0, 0x100);
	post_chain(h, d, n);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->heard, heard);
	assert_int_equal((uint16_t)(h->used->idx - at), 1);
	assert_int_equal(h->used->ring[at % HOST_NUM].id, 100);
	memcpy(&out, h->mem + HOST_CELL(9) + HOST_ROOM, sizeof(out));
	assert_int_equal(h->used->ring[at % HOST_NUM].len, out.len);
	if (!out.len)
		return 1;
	assert_int_equal(out.len, sizeof(out));
	assert_int_equal(out.unique, 109);
	return out.error;
}

/* As user-mode Linux does for O_DIRECT from a page of zeroes that nobody wrote.
 * covers: SPLIT-DEV-31 */
static void buffer_in_no_region_fails_its_own_request_only(void **state)
{
	const uint64_t room = HOST_GUEST + HOST_CELL(9) + HOST_ROOM;
	const uint64_t places[] = {NOWHERE,
				   0,
				   HOST_GUEST - 0x80,
				   HOST_GUEST + HOST_MEM - 0x10,
				   HOST_GUEST + HOST_MEM,
				   UINT64_MAX - 0x10};
	struct host *h = *state;

	h->keep = true;
	for (unsigned i = 1; i <= 3; i++)
		host_post(h, i, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->kept_cnt, 3);
	for (unsigned i = 0; i < 6; i++) {
		struct vtfs_wire_desc data[3] = {
		    {0}, {places[i], 0x100, 0, 0}, {room, 0x80, 2, 0}};
		struct vtfs_wire_desc tail[3] = {
		    {0}, {room, 16, 2, 0}, {places[i], 0x100, 2, 0}};
		struct vtfs_wire_desc head[3] = {
		    {0}, {places[i], 0x100, 2, 0}, {room, 0x80, 2, 0}};

		assert_int_equal(fault_of(h, data, 3), -EFAULT);
		assert_int_equal(fault_of(h, tail, 3), -EFAULT);
		/* Where nothing begins, no header can be written. */
		if (places[i] + 0x10 != HOST_GUEST + HOST_MEM)
			assert_int_equal(fault_of(h, head, 3), 1);
	}
	host_answer_kept(h);
	host_pump(h);
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(host_error(h, i), -EINTR);
	h->keep = false;
	is_served(h, 4);
	assert_int_equal(host_called(err_fd), 0);
}

/* ---- a ring's fault ---- */

static void index_jumps(struct host *h)
{
	h->avail->idx += HOST_NUM + 1;
}

static void index_goes_back(struct host *h)
{
	h->avail->idx--;
}

static void head_out_of_range(struct host *h)
{
	h->avail->ring[h->avail->idx++ % HOST_NUM] = HOST_NUM;
}

static void post_two(struct host *h, uint16_t flags0, uint16_t next0,
		     uint16_t flags1, uint16_t next1)
{
	const uint64_t at = HOST_GUEST + HOST_CELL(9);
	const struct vtfs_wire_desc d[2] = {{at, 56, flags0, next0},
					    {at + 0x80, 0x80, flags1, next1}};

	post_chain(h, d, 2);
}

static void next_out_of_range(struct host *h)
{
	post_two(h, VTFS_DESC_F_NEXT, HOST_NUM, 0, 0);
}

static void chain_loops(struct host *h)
{
	post_two(h, VTFS_DESC_F_NEXT, 101, VTFS_DESC_F_NEXT, 100);
}

static void chain_is_its_own_next(struct host *h)
{
	post_two(h, VTFS_DESC_F_NEXT, 100, 0, 0);
}

static void readable_after_writable(struct host *h)
{
	post_two(h, VTFS_DESC_F_NEXT | VTFS_DESC_F_WRITE, 101, 0, 0);
}

static void indirect_that_nobody_agreed_to(struct host *h)
{
	post_two(h, VTFS_DESC_F_INDIRECT, 0, 0, 0);
}

static void head_already_in_flight(struct host *h)
{
	h->avail->ring[h->avail->idx++ % HOST_NUM] = 2; /* of cell 1 */
}

/* The one that was honest is answered, the lie breaks the ring and nothing
 * else, and a ring that starts anew is served. covers: ROB-DEV-01 */
static void ring_lies_and_starts_anew(struct host *h,
				      void (*lie)(struct host *))
{
	unsigned heard = h->heard;

	h->keep = true;
	host_post(h, 1, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->kept_cnt, 1);
	lie(h);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->heard, heard + 1);
	assert_true(host_called(err_fd) > 0);
	connection_lives(h);
	host_answer_kept(h);
	host_pump(h);
	assert_int_equal(host_error(h, 1), -EINTR);
	host_ask_base(h);
	host_status(h, VU_GET_VRING_BASE);
	h->keep = false;
	/* From where the device's half stands. */
	h->avail->idx = h->used->idx;
	host_ring_up(h);
	is_served(h, 2);
	assert_int_equal(host_called(err_fd), 0);
}

#define LIE(lie)                                                               \
	static void lie##_over_a_socket(void **state)                          \
	{                                                                      \
		ring_lies_and_starts_anew(*state, lie);                        \
	}
LIE(index_jumps)
LIE(index_goes_back)
LIE(head_out_of_range)
LIE(next_out_of_range)
LIE(chain_loops)
LIE(chain_is_its_own_next)
LIE(readable_after_writable)
LIE(indirect_that_nobody_agreed_to)
LIE(head_already_in_flight)

/* ---- pages that go away ---- */

static struct sigaction old_sigbus;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (!virtiofs_memory_fault(info->si_addr))
		_exit(99);
}

static void expect_sigbus(void)
{
	struct sigaction act = {.sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO};

	sigaction(SIGBUS, &act, &old_sigbus);
}

/* covers: ROB-DEV-03, VHU-DEV-12 */
static void memory_truncated_under_requests_in_flight(void **state)
{
	struct host *h = *state;
	int other = raw_memfd(HOST_MEM);
	unsigned char *bytes = mmap(NULL, HOST_MEM, PROT_READ | PROT_WRITE,
				    MAP_SHARED, other, 0);

	host_share(h, HOST_MEM, other);
	h->keep = true;
	host_post_at(h, 1, HOST_GUEST + HOST_MEM, bytes, FUSE_GETATTR);
	host_post(h, 2, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->kept_cnt, 2);
	expect_sigbus();
	assert_int_equal(ftruncate(other, 0), 0);
	virtiofs_req_reply(h->kept[0], "attributes", 10);
	virtiofs_req_error(h->kept[1], -EINTR);
	h->kept_cnt = 0;
	host_pump(h);
	sigaction(SIGBUS, &old_sigbus, NULL);
	/* Nothing that this peer says is believed any more. */
	host_post(h, 3, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->heard, 2);
	assert_true(host_called(err_fd) > 0);
	connection_lives(h);
	munmap(bytes, HOST_MEM);
	close(other);
	h->keep = false;
	next_guest_is_served(h);
}

/* covers: ROB-DEV-03, VHU-DEV-12 */
static void ring_truncated_under_the_device(void **state)
{
	struct host *h = *state;

	h->keep = true;
	host_post(h, 1, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->kept_cnt, 1);
	expect_sigbus();
	assert_int_equal(ftruncate(h->mem_fd, 0x1000), 0);
	host_kick(h);
	host_pump(h);
	assert_true(host_called(err_fd) > 0);
	host_answer_kept(h);
	host_pump(h);
	sigaction(SIGBUS, &old_sigbus, NULL);
	connection_lives(h);
	assert_int_equal(h->heard, 1);
	h->keep = false;
	assert_int_equal(ftruncate(h->mem_fd, HOST_MEM), 0);
	next_guest_is_served(h);
}

/* ---- after the last word ---- */

static void reply_late(struct host *h)
{
	static const char data[64] = "late";

	for (unsigned i = 0; i < h->kept_cnt; i++)
		virtiofs_req_reply(h->kept[i], data, sizeof(data));
	h->kept_cnt = 0;
	host_pump(h);
}

static void keep_three(struct host *h)
{
	h->keep = true;
	for (unsigned i = 1; i <= 3; i++)
		host_post(h, i, FUSE_GETATTR);
	host_kick(h);
	host_pump(h);
	assert_int_equal(h->kept_cnt, 3);
	host_called(h->call);
}

/* Whatever the driver does now, the memory is its own. */
static void memory_is_left_alone(struct host *h)
{
	uint64_t before;

	host_called(h->call);
	host_post(h, 5, FUSE_GETATTR);
	h->avail->idx += 7;
	before = host_hash(h);
	host_kick(h);
	host_pump(h);
	reply_late(h);
	assert_int_equal(host_hash(h), before);
	assert_int_equal(host_called(h->call), 0);
}

static void hang_up_with_requests_in_flight(void **state)
{
	struct host *h = *state;

	keep_three(h);
	close(h->sock);
	host_pump(h);
	memory_is_left_alone(h);
	assert_int_equal(h->resets, 1);
	h->keep = false;
	host_dial(h);
	next_guest_is_served(h);
}

/* covers: FS-DEV-30, RST-DEV-02 */
static void reset_with_requests_in_flight(void **state)
{
	struct host *h = *state;

	keep_three(h);
	raw_send(h->sock, VU_RESET_DEVICE, VU_VERSION | VU_NEED_REPLY, NULL, 0,
		 NULL, 0);
	host_pump(h);
	assert_int_equal(h->interrupts, 3);
	assert_true(raw_quiet(h->sock));
	virtiofs_req_error(h->kept[2], -EINTR);
	h->kept_cnt = 2;
	host_pump(h);
	/* Two of them may still write. */
	assert_true(raw_quiet(h->sock));
	reply_late(h);
	assert_int_equal(host_status(h, VU_RESET_DEVICE), 0);
	memory_is_left_alone(h);
	assert_int_equal(h->resets, 1);
}

/* covers: VHU-DEV-27 */
static void ring_stopped_with_requests_in_flight(void **state)
{
	struct host *h = *state;

	keep_three(h);
	host_ask_base(h);
	assert_true(raw_quiet(h->sock));
	reply_late(h);
	assert_int_equal(host_status(h, VU_GET_VRING_BASE),
			 HOST_VQ | 4ULL << 32);
	memory_is_left_alone(h);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(buffer_in_no_region_fails_its_own_request_only),
	    T(index_jumps_over_a_socket),
	    T(index_goes_back_over_a_socket),
	    T(head_out_of_range_over_a_socket),
	    T(next_out_of_range_over_a_socket),
	    T(chain_loops_over_a_socket),
	    T(chain_is_its_own_next_over_a_socket),
	    T(readable_after_writable_over_a_socket),
	    T(indirect_that_nobody_agreed_to_over_a_socket),
	    T(head_already_in_flight_over_a_socket),
	    T(memory_truncated_under_requests_in_flight),
	    T(ring_truncated_under_the_device),
	    T(hang_up_with_requests_in_flight),
	    T(reset_with_requests_in_flight),
	    T(ring_stopped_with_requests_in_flight),
	};

	return cmocka_run_group_tests_name("vhu_rings", tests, NULL, NULL);
}
