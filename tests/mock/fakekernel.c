/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fakekernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct fakekernel fk = {.ours = -1};
static ino_t theirs, control;

int __real_open64(const char *path, int flags, ...);
int __real_openat64(int dir, const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_openat64(int dir, const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

void fk_reset(void)
{
	if (fk.ours >= 0)
		close(fk.ours);
	memset(&fk, 0, sizeof(fk));
	fk.ours = -1;
	theirs = control = 0;
}

void fk_log(const char *fmt, ...)
{
	size_t len = strlen(fk.text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(fk.text + len, sizeof(fk.text) - len, fmt, ap);
	va_end(ap);
}

/* A duplicate is the same socket. */
bool fk_is_theirs(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) &&
	       (st.st_ino == theirs || st.st_ino == control);
}

static int open_device(void)
{
	struct stat st;
	int pair[2];

	if (fk.open_errno) {
		errno = fk.open_errno;
		return -1;
	}
	if (fk.ours >= 0)
		close(fk.ours);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
	    fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0 || fstat(pair[1], &st) < 0)
		return -1;
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	fk.ours = pair[0];
	fk.opens++;
	theirs = st.st_ino;
	return pair[1];
}

/* Nobody is at its other end: there are ioctls only. */
static int open_control(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0)
		control = st.st_ino;
	return fd;
}

static bool is_device(const char *path)
{
	return strncmp(path, "/dev/vhost-vdpa-", 16) == 0 ||
	       strcmp(path, "fake0") == 0;
}

int __wrap_open64(const char *path, int flags, ...)
{
	if (strcmp(path, "/dev/vduse") == 0)
		path = "/";
	if (strcmp(path, "/run") == 0)
		path = fk.run ? fk.run : "/nowhere";
	return is_device(path) ? open_device() : __real_open64(path, flags);
}

int __wrap_openat64(int dir, const char *path, int flags, ...)
{
	unsigned mode = 0;
	va_list ap;

	if (strcmp(path, "control") == 0)
		return open_control();
	if (is_device(path))
		return open_device();
	if (flags & O_CREAT) {
		va_start(ap, flags);
		mode = va_arg(ap, unsigned);
		va_end(ap);
	}
	return __real_openat64(dir, path, flags, mode);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!fk_is_theirs(fd))
		return __real_ioctl(fd, request, arg);
	r = fk.ioctl(fd, request, arg);
	if (r >= 0)
		return r;
	errno = -r;
	return -1;
}
