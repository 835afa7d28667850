/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <virtiofs/base.h>

#include "sendfds.h"

unsigned char *sock_mem[2];

static int fds[KIND_CNT];
static int other;
static bool made;

static int memory(size_t len, unsigned char **ret)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	must(fd >= 0 && ftruncate(fd, (off_t)len) == 0);
	if (!ret)
		return fd;
	*ret = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(*ret != MAP_FAILED);
	return fd;
}

static int reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

static void make(void)
{
	int two[2];

	fds[KIND_MEM] = memory(KIND_LEN, &sock_mem[0]);
	fds[KIND_MEM_2] = memory(KIND_LEN, &sock_mem[1]);
	fds[KIND_ODD] = memory(100, NULL);
	fds[KIND_SEALED] = memory(KIND_LEN, NULL);
	must(!fcntl(fds[KIND_SEALED], F_ADD_SEALS, F_SEAL_SHRINK));
	fds[KIND_READ_ONLY] = reopen(fds[KIND_MEM], O_RDONLY);
	fds[KIND_EVENT] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fds[KIND_BLOCKING] = eventfd(0, EFD_CLOEXEC);
	must(!pipe2(two, O_CLOEXEC));
	fds[KIND_PIPE_READ] = two[0];
	fds[KIND_PIPE_WRITE] = two[1];
	fds[KIND_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[KIND_EPOLL] = epoll_create1(EPOLL_CLOEXEC);
	fds[KIND_DIR] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fds[KIND_PATH] = open("/", O_PATH | O_CLOEXEC);
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, two));
	fds[KIND_SOCKET] = two[0];
	other = two[1];
	for (unsigned i = 0; i < KIND_CNT; i++)
		must(fds[i] >= 0);
	made = true;
}

/* An epoll, a pipe and a socket may be watched, never read: they stay as they
 * are but for what is in them. */
static void drain(int fd)
{
	char buf[4096];
	int flags = fcntl(fd, F_GETFL);

	must(!fcntl(fd, F_SETFL, flags | O_NONBLOCK));
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	must(!fcntl(fd, F_SETFL, flags));
}

void sock_reset(void)
{
	static const unsigned files[] = {KIND_MEM, KIND_MEM_2, KIND_SEALED};

	if (!made)
		make();
	for (unsigned i = 0; i < 3; i++) {
		must(!ftruncate(fds[files[i]], KIND_LEN));
		lseek(fds[files[i]], 0, SEEK_SET);
	}
	must(!ftruncate(fds[KIND_ODD], 100));
	lseek(fds[KIND_ODD], 0, SEEK_SET);
	memset(sock_mem[0], 0, KIND_LEN);
	memset(sock_mem[1], 0, KIND_LEN);
	drain(fds[KIND_EVENT]);
	drain(fds[KIND_BLOCKING]);
	drain(fds[KIND_PIPE_READ]);
	drain(fds[KIND_SOCKET]);
	drain(other);
}

int sock_fd(unsigned kind)
{
	return fds[kind];
}

int sock_other(void)
{
	return other;
}

void sock_truncate(unsigned kind, size_t len)
{
	must(!ftruncate(fds[kind], (off_t)len));
}

/* Those who touch memory that is no longer there: the program's own mapping
 * gets its bytes back, the library sees to its own. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	for (unsigned i = 0; i < 2; i++) {
		uintptr_t at = (uintptr_t)info->si_addr -
			       (uintptr_t)sock_mem[i];

		if (at < KIND_LEN && !ftruncate(fds[KIND_MEM + i], KIND_LEN))
			return;
	}
	if (!virtiofs_memory_fault(info->si_addr))
		abort();
}

void sock_catch_faults(void)
{
	const struct sigaction sa = {.sa_sigaction = on_sigbus,
				     .sa_flags = SA_SIGINFO | SA_NODEFER};

	must(!sigaction(SIGBUS, &sa, NULL));
}

void sock_kick(unsigned kind)
{
	uint64_t one = 1;

	(void)!write(fds[kind], &one, sizeof(one));
}

bool sock_send(int sock, const void *buf, size_t len, const int *pass,
	       unsigned fd_cnt)
{
	must(fd_cnt <= SENDFDS_MAX);
	return send_fds(sock, buf, len, pass, fd_cnt) == (ssize_t)len;
}

static void take_fds(const struct msghdr *m, int *ret_fd)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	int list[KINDS_MAX];
	size_t cnt;

	if (!c)
		return;
	cnt = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(list, CMSG_DATA(c), cnt * sizeof(int));
	while (cnt--) {
		if (ret_fd && *ret_fd < 0)
			*ret_fd = list[cnt];
		else
			close(list[cnt]);
	}
}

size_t sock_recv(int sock, void *buf, size_t len, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(KINDS_MAX * sizeof(int))];
	} ctl;
	struct iovec iov = {buf, len};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl.buf,
			   .msg_controllen = sizeof(ctl.buf)};
	ssize_t n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n <= 0)
		return 0;
	take_fds(&m, ret_fd);
	return (size_t)n;
}
