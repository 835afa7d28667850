/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhuback.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define REGION 0x10000u

static struct vhuback back;

static void common(struct vhuback *b)
{
	rec_client_init(&b->rc, b->t);
	b->features = REC_OFFERED | VU_F_PROTOCOL_FEATURES;
	b->pf = VB_PF;
	b->queues = 3;
	b->slots = 32;
	b->channel = -1;
	memcpy(b->config, "scripted", 9);
	b->config[36] = 2;
	b->mem_fd = raw_memfd(4 * REGION);
	b->mem = mmap(NULL, 4 * REGION, PROT_READ | PROT_WRITE, MAP_SHARED,
		      b->mem_fd, 0);
	assert_true(b->mem != MAP_FAILED);
}

int vb_set_up(void **state)
{
	struct vhuback *b = &back;
	int sv[2];

	memset(b, 0, sizeof(*b));
	b->fds = raw_fd_cnt();
	b->listener = -1;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	assert_int_equal(virtiofs_vhost_user_client_fd(&b->t, sv[0]), 0);
	b->sock = sv[1];
	common(b);
	*state = b;
	return 0;
}

int vb_set_up_path(void **state)
{
	struct vhuback *b = &back;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char uri[100];

	memset(b, 0, sizeof(*b));
	b->fds = raw_fd_cnt();
	strcpy(b->dir, "/tmp/vhuback-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/sock", b->dir);
	snprintf(uri, sizeof(uri), "vhost-user:%.80s", b->path);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.80s", b->path);
	b->listener = socket(AF_UNIX,
			     SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(b->listener, (struct sockaddr *)&sa, sizeof(sa)),
			 0);
	assert_int_equal(listen(b->listener, 1), 0);
	b->sock = -1;
	assert_int_equal(virtiofs_transport_open_client(&b->t, uri), 0);
	common(b);
	*state = b;
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vb_forget(struct vhuback *b)
{
	for (unsigned i = 0; i < b->cnt; i++)
		raw_close_fds(&b->log[i]);
	b->cnt = 0;
}

int vb_tear_down(void **state)
{
	struct vhuback *b = *state;

	virtiofs_transport_free(b->t);
	vb_forget(b);
	close_fd(&b->channel);
	close_fd(&b->sock);
	close_fd(&b->listener);
	if (b->path[0]) {
		unlink(b->path);
		rmdir(b->dir);
	}
	munmap(b->mem, 4 * REGION);
	close(b->mem_fd);
	assert_int_equal(raw_fd_cnt(), b->fds);
	return 0;
}

/* ---- answers ---- */

static void reply(struct vhuback *b, uint32_t request, void *payload,
		  size_t len)
{
	unsigned char buf[12 + 600] = {0};
	uint32_t head[3] = {request, VU_VERSION | VU_REPLY, (uint32_t)len};
	enum vb_lie lie = request == b->lie_at ? b->lie : VB_HONEST;
	size_t send_len = 12 + len;

	memcpy(buf + 12, payload, len);
	switch (lie) {
	case VB_OTHER_REQUEST:
		head[0]++;
		break;
	case VB_NO_REPLY_FLAG:
		head[1] = VU_VERSION;
		break;
	case VB_NEED_REPLY_FLAG:
		head[1] |= VU_NEED_REPLY;
		break;
	case VB_OTHER_VERSION:
		head[1] = VU_REPLY | 2;
		break;
	case VB_TOO_LONG:
		head[2] += 8;
		send_len += 8;
		break;
	case VB_TOO_SHORT:
		head[2] -= 1;
		send_len -= 1;
		break;
	case VB_HUGE:
		head[2] = 0xffffffff;
		break;
	case VB_OTHER_INDEX:
		buf[12]++;
		break;
	case VB_CUT:
		send_len = 12 + len / 2;
		break;
	case VB_REFUSE:
		if (request == VU_GET_CONFIG) {
			head[2] = 0;
			send_len = 12;
		} else {
			buf[12] = 1;
		}
		break;
	default:
		break;
	}
	memcpy(buf, head, 12);
	if (lie == VB_SILENT)
		return;
	if (lie != VB_HANG_UP)
		raw_bytes(b->sock, buf, send_len, &b->mem_fd,
			  lie == VB_WITH_FD ? 1 : 0);
	if (lie == VB_TWICE)
		raw_bytes(b->sock, buf, send_len, NULL, 0);
	if (lie == VB_CUT || lie == VB_HANG_UP)
		close_fd(&b->sock);
}

static void reply_u64(struct vhuback *b, uint32_t request, uint64_t v)
{
	reply(b, request, &v, sizeof(v));
}

static void hear_config(struct vhuback *b, struct raw_msg *m)
{
	memcpy(m->bytes + 12, b->config + m->config.offset, m->config.size);
	reply(b, m->request, m->bytes, m->size);
}

static void hear_set(struct vhuback *b, const struct raw_msg *m)
{
	if (m->request == VU_SET_PROTOCOL_FEATURES)
		b->acked_pf = m->u64;
	if (m->request == VU_SET_STATUS)
		b->status = m->u64 ? (uint8_t)m->u64 : 0;
	if (m->request == VU_SET_BACKEND_REQ_FD && m->fd_cnt == 1) {
		close_fd(&b->channel);
		b->channel = dup(m->fds[0]);
	}
	if (m->flags & VU_NEED_REPLY)
		reply_u64(b, m->request, 0);
}

static void hear(struct vhuback *b, struct raw_msg *m)
{
	switch (m->request) {
	case VU_GET_FEATURES:
		reply_u64(b, m->request, b->features);
		break;
	case VU_GET_PROTOCOL_FEATURES:
		reply_u64(b, m->request, b->pf);
		break;
	case VU_GET_QUEUE_NUM:
		reply_u64(b, m->request, b->queues);
		break;
	case VU_GET_MAX_MEM_SLOTS:
		reply_u64(b, m->request, b->slots);
		break;
	case VU_GET_STATUS:
		reply_u64(b, m->request, b->status);
		break;
	case VU_GET_VRING_BASE:
		reply(b, m->request, &m->state, sizeof(m->state));
		break;
	case VU_GET_CONFIG:
		hear_config(b, m);
		break;
	default:
		hear_set(b, m);
		break;
	}
}

static bool waiting(int sock)
{
	char byte;

	return sock >= 0 && recv(sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

void vb_serve(struct vhuback *b)
{
	struct raw_msg copy;

	if (b->sock < 0 && b->listener >= 0)
		b->sock = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC);
	while (waiting(b->sock)) {
		assert_true(b->cnt < VB_LOG);
		raw_recv(b->sock, &b->log[b->cnt]);
		copy = b->log[b->cnt++];
		hear(b, &copy);
	}
}

unsigned vb_heard(const struct vhuback *b, uint32_t request)
{
	unsigned cnt = 0;

	for (unsigned i = 0; i < b->cnt; i++)
		cnt += b->log[i].request == request;
	return cnt;
}

const struct raw_msg *vb_last(const struct vhuback *b, uint32_t request)
{
	for (unsigned i = b->cnt; i-- > 0;)
		if (b->log[i].request == request)
			return &b->log[i];
	return NULL;
}

/* ---- the client's side ---- */

struct virtiofs_region vb_region(struct vhuback *b, unsigned i)
{
	return (struct virtiofs_region){.size = sizeof(struct virtiofs_region),
					.addr = b->mem + i * REGION,
					.len = REGION,
					.fd_offset = i * REGION,
					.fd = b->mem_fd};
}

struct vtfs_queue_setup vb_queue(struct vhuback *b, unsigned vq)
{
	uint64_t at = (uintptr_t)b->mem + vq * 0x3000;

	return (struct vtfs_queue_setup){.vq = (uint16_t)vq,
					 .num = 8,
					 .desc = at,
					 .driver = at + 0x1000,
					 .device = at + 0x2000,
					 .kick_fd = -1,
					 .call_fd = -1,
					 .enabled = true};
}

void vb_connect(struct vhuback *b)
{
	assert_int_equal(VB_RUN(b, b->t->cli->connect(b->t)), 0);
}

void vb_go(struct vhuback *b)
{
	const struct vtfs_cli_ops *ops = b->t->cli;
	struct virtiofs_region m = vb_region(b, 0);
	uint64_t addr;

	vb_connect(b);
	assert_int_equal(VB_RUN(b, ops->set_status(b->t, 0)), 0);
	assert_int_equal(VB_RUN(b, ops->set_status(b->t, 3)), 0);
	assert_int_equal(
	    VB_RUN(b, ops->set_features(b->t, VIRTIOFS_F_VERSION_1)), 0);
	assert_int_equal(VB_RUN(b, ops->set_status(b->t, 11)), 0);
	assert_int_equal(VB_RUN(b, ops->map(b->t, &m, &addr)), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct vtfs_queue_setup q = vb_queue(b, i);

		q.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		q.call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_int_equal(VB_RUN(b, ops->start_queue(b->t, &q)), 0);
		close(q.kick_fd);
		close(q.call_fd);
	}
	assert_int_equal(VB_RUN(b, ops->set_status(b->t, 15)), 0);
}

int vb_map(struct vhuback *b, unsigned i)
{
	struct virtiofs_region m = vb_region(b, i);
	uint64_t addr = 0;
	int r = VB_RUN(b, b->t->cli->map(b->t, &m, &addr));

	if (r >= 0)
		assert_int_equal(addr, (uintptr_t)m.addr);
	return r;
}

int vb_unmap(struct vhuback *b, unsigned i)
{
	uint64_t addr = (uintptr_t)vb_region(b, i).addr;

	return VB_RUN(b, b->t->cli->unmap(b->t, addr));
}
