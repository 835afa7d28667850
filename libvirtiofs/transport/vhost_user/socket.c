/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "transport/vhost_user/vhost_user.h"

static int make_address(struct sockaddr_un *ret, const char *path)
{
	size_t len = strlen(path);

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	if (!len)
		return vtfs_fail(-EINVAL, "vhost-user: the path is empty");
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

int vtfs_vu_connect(int *ret_fd, const char *path)
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
	r = vtfs_vu_connect(&fd, path);
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

int vtfs_vu_listener_open(struct vtfs_vu_listener *ret, const char *path)
{
	struct vtfs_vu_listener l = {.fd = -1};
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

void vtfs_vu_listener_close(struct vtfs_vu_listener *l)
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

int vtfs_vu_check_socket(int fd, bool listening)
{
	int domain = option(fd, SO_DOMAIN);

	if (domain < 0)
		return vtfs_fail_sys(domain, "vhost-user: fd %d", fd);
	if (domain != AF_UNIX || option(fd, SO_TYPE) != SOCK_STREAM)
		return vtfs_fail(
		    -EINVAL, "vhost-user: fd %d is not a unix stream socket",
		    fd);
	if (option(fd, SO_ACCEPTCONN) != (listening ? 1 : 0))
		return vtfs_fail(-EINVAL, "vhost-user: fd %d %s", fd,
				 listening ? "does not listen" : "listens");
	return 0;
}
