/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rawvhu.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "sendfds.h"

void raw_bytes(int sock, const void *buf, size_t len, const int *fds,
	       unsigned fd_cnt)
{
	assert_true(fd_cnt <= SENDFDS_MAX);
	assert_int_equal(send_fds(sock, buf, len, fds, fd_cnt), len);
}

void raw_send(int sock, uint32_t request, uint32_t flags, const void *payload,
	      size_t len, const int *fds, unsigned fd_cnt)
{
	unsigned char buf[12 + 4096];
	uint32_t head[3] = {request, flags, (uint32_t)len};

	assert_true(len <= 4096);
	memcpy(buf, head, 12);
	if (len)
		memcpy(buf + 12, payload, len);
	raw_bytes(sock, buf, 12 + len, fds, fd_cnt);
}

static void keep_fds(struct raw_msg *m, struct msghdr *h, unsigned at)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(h);
	unsigned cnt;

	assert_int_equal(h->msg_flags & MSG_CTRUNC, 0);
	if (!c)
		return;
	cnt = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	assert_true(m->fd_cnt + cnt <= RAW_FDS);
	memcpy(m->fds + m->fd_cnt, CMSG_DATA(c), cnt * sizeof(int));
	m->fd_cnt += cnt;
	m->fds_at = at;
}

static void recv_all(int sock, struct raw_msg *m, void *buf, size_t len,
		     unsigned at)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(RAW_FDS * sizeof(int))];
	} ctl;
	size_t got = 0;

	while (got < len) {
		struct iovec iov = {.iov_base = (char *)buf + got,
				    .iov_len = len - got};
		struct msghdr h = {.msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = ctl.buf,
				   .msg_controllen = sizeof(ctl.buf)};
		ssize_t n = recvmsg(sock, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		assert_true(n > 0);
		keep_fds(m, &h, at + (unsigned)got);
		got += (size_t)n;
	}
}

void raw_recv(int sock, struct raw_msg *m)
{
	uint32_t head[3];

	memset(m, 0, sizeof(*m));
	recv_all(sock, m, head, sizeof(head), 0);
	m->request = head[0];
	m->flags = head[1];
	m->size = head[2];
	assert_true(m->size <= sizeof(m->bytes));
	recv_all(sock, m, m->bytes, m->size, 12);
}

void raw_close_fds(struct raw_msg *m)
{
	for (unsigned i = 0; i < m->fd_cnt; i++)
		close(m->fds[i]);
	m->fd_cnt = 0;
}

bool raw_quiet(int sock)
{
	char byte;

	return recv(sock, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 &&
	       errno == EAGAIN;
}

bool raw_closed(int sock)
{
	char byte;
	ssize_t n = recv(sock, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

int raw_memfd(size_t len)
{
	int fd = memfd_create("raw", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}
