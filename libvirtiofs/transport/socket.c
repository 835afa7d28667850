/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/socket.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"

static int make_address(struct sockaddr_un *ret, const char *path)
{
	size_t len = strlen(path);

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	if (!len)
		return vtfs_fail(-EINVAL, "the path of the socket is empty");
	if (len >= sizeof(ret->sun_path))
		return vtfs_fail(-ENAMETOOLONG,
				 "%s: longer than a socket's name can be (%zu)",
				 path, sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, path, len);
	return 0;
}

static int new_socket(int *ret)
{
	*ret = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return *ret < 0 ? vtfs_fail_sys(-errno, "socket") : 0;
}

int vtfs_sock_connect(int *ret_fd, const char *path)
{
	struct sockaddr_un sa;
	int fd;
	int r;

	r = make_address(&sa, path);
	if (r >= 0)
		r = new_socket(&fd);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		r = vtfs_fail_sys(-errno, "%s: cannot connect", path);
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int in_use(const char *path, const char *why)
{
	return vtfs_fail(-EADDRINUSE, "%s: %s", path, why);
}

/* Something stands at path: unlink it if it is a socket nobody listens on. */
static int remove_stale(const char *path)
{
	struct stat st;
	int fd;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : vtfs_fail_sys(-errno, "%s", path);
	if (!S_ISSOCK(st.st_mode))
		return in_use(path, "exists and is not a socket");
	r = vtfs_sock_connect(&fd, path);
	if (r >= 0) {
		close(fd);
		return in_use(path, "another server listens on this socket");
	}
	/* EAGAIN: somebody listens, and his backlog is full. */
	if (r == -EAGAIN)
		return in_use(path, "another server listens on this socket");
	if (r != -ECONNREFUSED)
		return r;
	if (unlink(path) < 0 && errno != ENOENT)
		return vtfs_fail_sys(-errno, "%s: cannot replace", path);
	return 0;
}

static int bind_there(int fd, const struct sockaddr_un *sa)
{
	int r;

	if (bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return vtfs_fail_sys(-errno, "%s: cannot bind", sa->sun_path);
	r = remove_stale(sa->sun_path);
	if (r < 0)
		return r;
	if (bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0)
		return vtfs_fail_sys(-errno, "%s: cannot bind", sa->sun_path);
	return 0;
}

int vtfs_listener_open(struct vtfs_listener *ret, const char *path)
{
	struct vtfs_listener l = {.fd = -1};
	struct sockaddr_un sa;
	struct stat st;
	int r;

	r = make_address(&sa, path);
	if (r >= 0)
		r = new_socket(&l.fd);
	if (r < 0)
		return r;
	r = bind_there(l.fd, &sa);
	if (r >= 0 && (stat(path, &st) < 0 || listen(l.fd, 1) < 0))
		r = vtfs_fail_sys(-errno, "%s: cannot listen", path);
	if (r >= 0) {
		l.path = strdup(path);
		r = l.path ? 0 : -ENOMEM;
	}
	if (r < 0) {
		close(l.fd);
		return r;
	}
	l.dev = st.st_dev;
	l.ino = st.st_ino;
	*ret = l;
	return 0;
}

void vtfs_listener_close(struct vtfs_listener *l)
{
	struct stat st;

	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		unlink(l->path);
	free(l->path);
	l->path = NULL;
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

static int option(int fd, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	if (getsockopt(fd, SOL_SOCKET, name, &v, &len) < 0)
		return -errno;
	return v;
}

int vtfs_sock_check(int fd, bool listening)
{
	int domain = option(fd, SO_DOMAIN);

	if (domain < 0)
		return vtfs_fail_sys(domain, "fd %d", fd);
	if (domain != AF_UNIX || option(fd, SO_TYPE) != SOCK_STREAM)
		return vtfs_fail(-EINVAL, "fd %d is not a unix stream socket",
				 fd);
	if (option(fd, SO_ACCEPTCONN) != (listening ? 1 : 0))
		return vtfs_fail(-EINVAL, "fd %d %s", fd,
				 listening ? "does not listen" : "listens");
	return 0;
}

static int keep_fds(struct vtfs_sock_fds *fds, const struct cmsghdr *c)
{
	unsigned cnt = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	const unsigned char *p = CMSG_DATA(c);
	int r = 0;
	int fd;

	for (unsigned i = 0; i < cnt; i++) {
		memcpy(&fd, p + i * sizeof(int), sizeof(fd));
		if (fds->cnt < fds->max) {
			fds->fd[fds->cnt++] = fd;
			continue;
		}
		close(fd);
		r = -EPROTO;
	}
	return r;
}

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(VTFS_SOCK_FDS_MAX * sizeof(int))];
};

ssize_t vtfs_sock_recv(int sock, void *buf, size_t len,
		       struct vtfs_sock_fds *fds)
{
	union control ctl;
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl.buf,
			   .msg_controllen = sizeof(ctl.buf)};
	ssize_t n;
	int r = 0;

	do {
		n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : -ENOTCONN;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    keep_fds(fds, c) < 0)
			r = -EPROTO;
	if (m.msg_flags & MSG_CTRUNC)
		r = -EPROTO;
	return r < 0 ? r : n;
}

ssize_t vtfs_sock_send(int sock, const void *buf, size_t len, const int *fds,
		       unsigned fd_cnt)
{
	union control ctl = {0};
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	size_t bytes = fd_cnt * sizeof(int);
	ssize_t n;

	if (fd_cnt) {
		m.msg_control = ctl.buf;
		m.msg_controllen = CMSG_SPACE(bytes);
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(&ctl.align), fds, bytes);
	}
	do {
		n = sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : -ENOTCONN;
	return n;
}

/* ---- messages ---- */

void vtfs_sock_close_fds(int *fds, unsigned *cnt)
{
	for (unsigned i = 0; i < *cnt; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	*cnt = 0;
}

int vtfs_sock_dup_fds(int *ret, unsigned *ret_cnt, const int *fds, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			return vtfs_fail_sys(-errno, "dup");
		ret[(*ret_cnt)++] = fd;
	}
	return 0;
}

static ssize_t recv_some(int sock, const struct vtfs_sock_in *in, size_t goal)
{
	struct vtfs_sock_fds fds = {in->fds, *in->fd_cnt, in->fd_max};
	size_t got = *in->got;
	unsigned char *at = got < in->head_len
				? (unsigned char *)in->head + got
				: in->body + (got - in->head_len);
	ssize_t n = vtfs_sock_recv(sock, at, goal - got, &fds);

	*in->fd_cnt = fds.cnt;
	if (n == -EPROTO)
		return vtfs_fail(-EPROTO,
				 "%s: more than %u file descriptors with one "
				 "message",
				 in->name, in->fd_max);
	return n;
}

int vtfs_sock_recv_until(int sock, const struct vtfs_sock_in *in, size_t goal)
{
	while (*in->got < goal) {
		ssize_t n = recv_some(sock, in, goal);

		if (n < 0)
			return (int)n;
		if (n == 0 && *in->got)
			return vtfs_fail(-EPROTO,
					 "%s: hung up in the middle of a "
					 "message",
					 in->name);
		if (n == 0)
			return -ENOTCONN;
		*in->got += (size_t)n;
	}
	return 1;
}

int vtfs_sock_flush(int sock, const struct vtfs_sock_out *out)
{
	while (*out->sent < out->len) {
		ssize_t n = vtfs_sock_send(sock, out->buf + *out->sent,
					   out->len - *out->sent, out->fds,
					   *out->fd_cnt);

		if (n < 0)
			return (int)n;
		/* They went with the first byte. */
		vtfs_sock_close_fds(out->fds, out->fd_cnt);
		*out->sent += (size_t)n;
	}
	return 0;
}
