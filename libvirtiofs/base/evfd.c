/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/evfd.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

int vtfs_evfd_new(int *ret_fd)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return vtfs_fail_sys(-errno, "eventfd");
	*ret_fd = fd;
	return 0;
}

void vtfs_evfd_signal(int fd)
{
	uint64_t one = 1;
	int saved = errno;

	/* EAGAIN: the counter is full, so it is readable. */
	(void)!write(fd, &one, sizeof(one));
	errno = saved;
}

void vtfs_evfd_drain(int fd)
{
	uint64_t n;

	(void)!read(fd, &n, sizeof(n));
}

bool vtfs_evfd_is(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0;
}

int vtfs_bell_open(struct vtfs_bell *ret, int fd)
{
	struct vtfs_bell b = VTFS_BELL_NONE;
	struct stat st;

	if (fd < 0) {
		*ret = b;
		return 0;
	}
	if (fstat(fd, &st) < 0)
		return vtfs_fail_sys(-errno, "notification fd");
	if (S_ISFIFO(st.st_mode))
		b.kind = VTFS_BELL_PIPE;
	else if (S_ISSOCK(st.st_mode))
		b.kind = VTFS_BELL_SOCKET;
	else if (st.st_mode & S_IFMT)
		return vtfs_fail(
		    -EINVAL, "notification fd is no eventfd, pipe or socket");
	b.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (b.fd < 0)
		return vtfs_fail_sys(-errno, "notification fd: dup");
	*ret = b;
	return 0;
}

int vtfs_bell_open_ioctl(struct vtfs_bell *ret, int fd, unsigned long request,
			 uint32_t arg)
{
	struct vtfs_bell b = {
	    .kind = VTFS_BELL_IOCTL, .request = request, .arg = arg};

	b.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (b.fd < 0)
		return vtfs_fail_sys(-errno, "notification fd: dup");
	*ret = b;
	return 0;
}

/* It has room, and somebody who reads. */
static bool can_write(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && p.revents == POLLOUT;
}

/* The reader can go between poll and write: a signal that this thread alone
 * would get is taken back, one that was pending before stays. */
static ssize_t write_quietly(int fd, const void *buf, size_t len)
{
	const struct timespec now = {0, 0};
	sigset_t pipe, old, pending;
	ssize_t n;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	pthread_sigmask(SIG_BLOCK, &pipe, &old);
	n = write(fd, buf, len);
	if (n < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return n;
}

int vtfs_pipe_write(int fd, const void *buf, size_t len)
{
	if (!can_write(fd) || write_quietly(fd, buf, len) != (ssize_t)len)
		return -EAGAIN;
	return 0;
}

void vtfs_bell_ring(const struct vtfs_bell *b)
{
	uint64_t one = 1;
	uint32_t arg = b->arg;

	if (b->fd < 0)
		return;
	if (b->kind == VTFS_BELL_IOCTL)
		(void)ioctl(b->fd, b->request, &arg);
	else if (b->kind == VTFS_BELL_PIPE)
		vtfs_pipe_write(b->fd, &one, sizeof(one));
	else if (b->kind == VTFS_BELL_SOCKET)
		send(b->fd, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (can_write(b->fd))
		(void)!write(b->fd, &one, sizeof(one));
}

void vtfs_bell_close(struct vtfs_bell *b)
{
	if (b->fd >= 0)
		close(b->fd);
	b->fd = -1;
}
