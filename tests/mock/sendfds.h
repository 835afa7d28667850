/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MOCK_SENDFDS_H
#define TESTS_MOCK_SENDFDS_H
/* Bytes and file descriptors in one piece over a unix socket. */
#include <string.h>
#include <sys/socket.h>

#define SENDFDS_MAX 32u

/* As sendmsg(2), without waiting. */
static inline ssize_t send_fds(int sock, const void *buf, size_t len,
			       const int *fds, unsigned fd_cnt)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(SENDFDS_MAX * sizeof(int))];
	} ctl = {0};
	struct iovec iov = {(void *)(uintptr_t)buf, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd_cnt) {
		m.msg_control = ctl.buf;
		m.msg_controllen = CMSG_SPACE(fd_cnt * sizeof(int));
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(fd_cnt * sizeof(int));
		memcpy(CMSG_DATA(&ctl.align), fds, fd_cnt * sizeof(int));
	}
	return sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}
#endif
