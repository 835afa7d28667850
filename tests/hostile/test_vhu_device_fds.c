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
/* covers: VHU-DEV-03, VHU-DEV-02 */
static void fd_extra(void **state)
{
	static const struct {
		uint32_t request, len;
	} none[] = {
	    {1, 0},   {2, 8},	{3, 0},	 {4, 0},  {8, 8},  {9, 40},
	    {10, 8},  {11, 8},	{15, 0}, {16, 8}, {17, 0}, {18, 8},
	    {24, 12}, {25, 12}, {34, 0}, {36, 0}, {39, 8}, {40, 0},
	};
	static const unsigned char zeroes[64];
	struct vhudev *v = *state;
	int p[2];
	char byte;

	vd_working(v);
	rec_clear(&v->rec);
	for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
		assert_int_equal(
		    vd_ask_fd(v, none[i].request, zeroes, none[i].len, p[1]),
		    1);
		close(p[1]);
		/* nobody has it */
		assert_int_equal(read(p[0], &byte, 1), 0);
		close(p[0]);
	}
	assert_string_equal(v->rec.text, "");
	assert_true(v->rec.started[1]);
}

/* covers: VHU-BTH-05, VHU-DEV-02 */
static void fds_more_than_anyone_takes(void **state)
{
	struct vhudev *v = *state;
	unsigned open;
	int fds[12];

	vd_working(v);
	open = raw_fd_cnt();
	for (unsigned i = 0; i < 12; i++)
		fds[i] = v->mem;
	raw_send(v->sock, VU_SET_MEM_TABLE, VU_VERSION | VU_NEED_REPLY,
		 &(struct vu_mem_table){.num = 8}, 264, fds, 12);
	vd_is_over(v);
	/* the connection and the ring's two went, nothing came */
	assert_true(raw_fd_cnt() < open);
}

/* covers: VHU-BTH-05 */
static void fd_missing(void **state)
{
	static const uint32_t requests[] = {
	    VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR};
	struct vhudev *v = *state;
	struct vu_mem_reg m = {
	    .region = {VD_GUEST + VD_MEM, 0x1000, VD_USER + VD_MEM, 0}};

	vd_working(v);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vd_ask_u64(v, requests[i], 0), 1);
	assert_int_equal(vd_ask(v, VU_SET_BACKEND_REQ_FD, NULL, 0), 1);
	assert_int_equal(vd_ask(v, VU_ADD_MEM_REG, &m, sizeof(m)), 1);
	vd_send(v, VU_SET_BACKEND_REQ_FD, NULL, 0);
	vd_is_over(v);
}

static unsigned inheritable(void)
{
	unsigned cnt = 0;

	for (int fd = 0; fd < 1000; fd++) {
		int flags = fcntl(fd, F_GETFD);

		cnt += flags >= 0 && !(flags & FD_CLOEXEC);
	}
	return cnt;
}

/* covers: VHU-BTH-05 */
static void fds_are_close_on_exec(void **state)
{
	struct vhudev *v = *state;
	unsigned before = inheritable();
	uint64_t idx = 1;
	int fd = eventfd(0, 0);

	vd_working(v);
	assert_int_equal(inheritable(), before + 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_ERR, &idx, 8, fd), 0);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_CALL, &idx, 8, fd), 0);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_KICK, &idx, 8, fd), 0);
	close(fd);
	assert_int_equal(inheritable(), before);
}

/* covers: VHU-DEV-30 */
static void kick_fd_is_something_else(void **state)
{
	struct vhudev *v = *state;
	uint64_t idx = 1;
	int p[2];

	vd_working(v);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_KICK, &idx, 8, p[0]), 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_KICK, &idx, 8, v->sock), 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_KICK, &idx, 8, v->mem), 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_CALL, &idx, 8, v->mem), 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_VRING_ERR, &idx, 8, v->mem), 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_BACKEND_REQ_FD, NULL, 0, v->mem),
			 1);
	assert_true(v->rec.started[1]);
	close(p[0]);
	close(p[1]);
}

static void memory_is_no_file(void **state)
{
	struct vhudev *v = *state;
	struct vu_mem_reg m = {
	    .region = {VD_GUEST + VD_MEM, 0x1000, VD_USER + VD_MEM, 0}};
	int p[2];

	vd_working(v);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(vd_ask_fd(v, VU_ADD_MEM_REG, &m, sizeof(m), p[0]), 1);
	assert_int_equal(vd_ask_fd(v, VU_ADD_MEM_REG, &m, sizeof(m), v->sock),
			 1);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(fd_extra),
	    T(fds_more_than_anyone_takes),
	    T(fd_missing),
	    T(fds_are_close_on_exec),
	    T(kick_fd_is_something_else),
	    T(memory_is_no_file),
	};

	return cmocka_run_group_tests_name("vhu_device_fds", tests, NULL, NULL);
}
