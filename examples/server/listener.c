/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* Does somebody listen there? 1, 0, or negative. */
static int is_live(const struct sockaddr_un *addr)
{
	int fd = new_socket(), r;

	if (fd < 0)
		return fd;
	r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
	/* EAGAIN: its backlog is full. */
	r = r == 0 || errno == EAGAIN ? 1 : errno == ECONNREFUSED ? 0 : -errno;
	close(fd);
	return r;
}

/* A socket that a server left behind is replaced, nothing else is. */
static int remove_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	int r;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode)) {
		log_err("%s exists and is not a socket", addr->sun_path);
		return -EEXIST;
	}
	r = is_live(addr);
	if (r > 0) {
		log_err("%s is in use by another server", addr->sun_path);
		return -EADDRINUSE;
	}
	if (r == 0 && unlink(addr->sun_path) < 0)
		r = -errno;
	return r;
}

static int set_group(const char *path, const char *name)
{
	struct group *g = getgrnam(name);

	if (!g) {
		log_err("--socket-group: no such group: %s", name);
		return -ENOENT;
	}
	return chown(path, (uid_t)-1, g->gr_gid) < 0 ? -errno : 0;
}

static int bind_and_listen(int fd, const struct sockaddr_un *addr,
			   const char *group)
{
	mode_t old = umask(group ? 007 : 077);
	int r = bind(fd, (const struct sockaddr *)addr, sizeof(*addr));

	r = r < 0 ? -errno : 0;
	umask(old);
	if (r < 0)
		return r;
	if (group)
		r = set_group(addr->sun_path, group);
	if (r == 0 && listen(fd, 4) < 0)
		r = -errno;
	if (r < 0)
		unlink(addr->sun_path);
	return r;
}

static int open_dir_of(char *path, const char **ret_name)
{
	char *slash = strrchr(path, '/');
	int fd;

	if (!slash) {
		*ret_name = path;
		fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} else {
		*ret_name = slash + 1;
		*slash = 0;
		fd = open(slash == path ? "/" : path,
			  O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

/* The lock keeps two servers that start at once from both finding the same
 * stale socket, one of them removing the other's new one. */
static int listen_locked(const struct sockaddr_un *addr, const char *group,
			 int dir_fd)
{
	int fd, r;

	if (flock(dir_fd, LOCK_EX) < 0)
		return -errno;
	r = remove_stale(addr);
	fd = r < 0 ? r : new_socket();
	if (fd >= 0) {
		r = bind_and_listen(fd, addr, group);
		if (r < 0)
			close(fd);
	}
	flock(dir_fd, LOCK_UN);
	return r < 0 ? r : fd;
}

static int open_path(const char *path, const char *group, struct listener *ret)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int r;

	if (!*path || strlen(path) >= sizeof(addr.sun_path)) {
		log_err("--socket-path: must have 1 to %zu bytes: %s",
			sizeof(addr.sun_path) - 1, path);
		return -ENAMETOOLONG;
	}
	strcpy(addr.sun_path, path);
	strcpy(ret->path, path);
	ret->dir_fd = open_dir_of(ret->path, &ret->name);
	r = ret->dir_fd;
	if (r >= 0)
		r = listen_locked(&addr, group, ret->dir_fd);
	if (r < 0) {
		if (r != -EADDRINUSE && r != -EEXIST)
			log_err("can't listen on %s: %s", path, strerror(-r));
		if (ret->dir_fd >= 0)
			close(ret->dir_fd);
		return r;
	}
	ret->fd = r;
	return 0;
}

static int open_fd(int fd, struct listener *ret)
{
	int listening = 0;
	socklen_t len = sizeof(listening);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0) {
		log_err("--fd: %d: %s", fd, strerror(errno));
		return -EINVAL;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	ret->fd = fd;
	ret->connected = !listening;
	return 0;
}

/* No socket of ours: the library has the fds that are needed later. */
static int open_uri(const char *uri, struct listener *ret)
{
	int r = virtiofs_transport_open_device(&ret->transport, uri);

	ret->fd = -1;
	if (r < 0)
		log_err("%s", virtiofs_last_error());
	return r;
}

int listener_open(const struct socket_opts *o, const char *group,
		  struct listener *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->dir_fd = -1;
	if (o->vduse)
		return open_uri(o->path, ret);
	return o->path ? open_path(o->path, group, ret) : open_fd(o->fd, ret);
}

void listener_forget(struct listener *l)
{
	if (l->dir_fd >= 0)
		close(l->dir_fd);
	l->dir_fd = -1;
}

void listener_close(struct listener *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	virtiofs_transport_free(l->transport);
	l->transport = NULL;
}

void listener_remove(struct listener *l)
{
	if (l->dir_fd >= 0)
		unlinkat(l->dir_fd, l->name, 0);
	listener_forget(l);
}
