/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhudev.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

int vd_set_up(void **state)
{
	static struct vhudev v;
	int sv[2];

	v.fds = raw_fd_cnt();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	assert_int_equal(virtiofs_vhost_user_device_fd(&v.t, sv[0]), 0);
	rec_init(&v.rec, v.t);
	v.sock = sv[1];
	v.mem = raw_memfd(VD_MEM);
	v.fatal = 0;
	*state = &v;
	return 0;
}

int vd_tear_down(void **state)
{
	struct vhudev *v = *state;

	rec_fini(&v->rec);
	if (v->sock >= 0)
		close(v->sock);
	close(v->mem);
	assert_int_equal(raw_fd_cnt(), v->fds);
	return 0;
}

void vd_pump(struct vhudev *v)
{
	struct pollfd p = {.fd = v->t->fd(v->t), .events = POLLIN};

	for (int i = 0; i < 1000 && poll(&p, 1, 0) == 1; i++) {
		v->fatal = v->t->dev->dispatch(v->t);
		if (v->fatal < 0)
			return;
	}
	/* Nothing may stay readable that dispatch doesn't take away. */
	assert_int_equal(poll(&p, 1, 0), 0);
}

void vd_send(struct vhudev *v, uint32_t request, const void *payload,
	     size_t len)
{
	raw_send(v->sock, request, VU_VERSION, payload, len, NULL, 0);
	vd_pump(v);
}

void vd_send_fd(struct vhudev *v, uint32_t request, const void *payload,
		size_t len, int fd)
{
	raw_send(v->sock, request, VU_VERSION, payload, len, &fd, 1);
	vd_pump(v);
}

uint64_t vd_status(struct vhudev *v, uint32_t request)
{
	struct raw_msg m;

	raw_recv(v->sock, &m);
	assert_int_equal(m.request, request);
	assert_int_equal(m.flags, VU_VERSION | VU_REPLY);
	assert_int_equal(m.size, 8);
	assert_int_equal(m.fd_cnt, 0);
	assert_true(raw_quiet(v->sock) || raw_closed(v->sock));
	return m.u64;
}

uint64_t vd_ask(struct vhudev *v, uint32_t request, const void *payload,
		size_t len)
{
	raw_send(v->sock, request, VU_VERSION | VU_NEED_REPLY, payload, len,
		 NULL, 0);
	vd_pump(v);
	return vd_status(v, request);
}

uint64_t vd_ask_fd(struct vhudev *v, uint32_t request, const void *payload,
		   size_t len, int fd)
{
	raw_send(v->sock, request, VU_VERSION | VU_NEED_REPLY, payload, len,
		 &fd, 1);
	vd_pump(v);
	return vd_status(v, request);
}

uint64_t vd_ask_u64(struct vhudev *v, uint32_t request, uint64_t val)
{
	return vd_ask(v, request, &val, sizeof(val));
}

uint64_t vd_ask_state(struct vhudev *v, uint32_t request, uint32_t index,
		      uint32_t num)
{
	struct vu_vring_state s = {.index = index, .num = num};

	return vd_ask(v, request, &s, sizeof(s));
}

uint64_t vd_get(struct vhudev *v, uint32_t request)
{
	vd_send(v, request, NULL, 0);
	return vd_status(v, request);
}

void vd_negotiate(struct vhudev *v, uint64_t protocol, uint64_t features)
{
	vd_send(v, VU_SET_OWNER, NULL, 0);
	if (protocol)
		vd_send(v, VU_SET_PROTOCOL_FEATURES, &protocol, 8);
	vd_send(v, VU_SET_FEATURES, &features, 8);
	assert_true(raw_quiet(v->sock));
	assert_int_equal(v->rec.features, features & ~VU_F_PROTOCOL_FEATURES);
}

void vd_share(struct vhudev *v)
{
	struct vu_mem_reg m = {.region = {VD_GUEST, VD_MEM, VD_USER, 0}};

	assert_int_equal(vd_ask_fd(v, VU_ADD_MEM_REG, &m, sizeof(m), v->mem),
			 0);
}

struct vu_vring_addr vd_addr(unsigned index)
{
	uint64_t at = VD_USER + index * 0x3000ULL;

	return (struct vu_vring_addr){.index = index,
				      .desc = at,
				      .avail = at + 0x1000,
				      .used = at + 0x2000};
}

void vd_ring(struct vhudev *v, unsigned index)
{
	struct vu_vring_addr a = vd_addr(index);

	assert_int_equal(vd_ask_state(v, VU_SET_VRING_NUM, index, 8), 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_BASE, index, 0), 0);
	assert_int_equal(vd_ask(v, VU_SET_VRING_ADDR, &a, sizeof(a)), 0);
}

int vd_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

uint64_t vd_kick(struct vhudev *v, unsigned index)
{
	uint64_t val = index;
	int fd = vd_eventfd();
	uint64_t r = vd_ask_fd(v, VU_SET_VRING_KICK, &val, sizeof(val), fd);

	close(fd);
	return r;
}

void vd_start(struct vhudev *v, unsigned index)
{
	vd_ring(v, index);
	assert_int_equal(vd_kick(v, index), 0);
	assert_int_equal(vd_ask_state(v, VU_SET_VRING_ENABLE, index, 1), 0);
	assert_true(v->rec.started[index]);
}

uint64_t vd_base(struct vhudev *v, unsigned index)
{
	struct vu_vring_state s = {.index = index};
	uint64_t r;

	vd_send(v, VU_GET_VRING_BASE, &s, sizeof(s));
	r = vd_status(v, VU_GET_VRING_BASE);
	assert_int_equal((uint32_t)r, index);
	return r >> 32;
}

uint64_t vd_enable(struct vhudev *v, unsigned index, unsigned on)
{
	return vd_ask_state(v, VU_SET_VRING_ENABLE, index, on);
}

void vd_ready(struct vhudev *v, uint64_t features)
{
	vd_negotiate(v, VD_PF_ALL, features);
	vd_share(v);
	rec_clear(&v->rec);
}

void vd_working(struct vhudev *v)
{
	vd_negotiate(v, VD_PF_ALL | VU_PF(STATUS), VD_FEATURES);
	vd_share(v);
	assert_int_equal(vd_ask_u64(v, VU_SET_STATUS, 15), 0);
	vd_start(v, 1);
	v->rec.logged[0] = '\0';
}

void vd_is_over(struct vhudev *v)
{
	vd_pump(v);
	assert_true(raw_closed(v->sock));
	assert_non_null(strstr(v->rec.logged, "connection ended"));
	assert_null(v->rec.table);
}
