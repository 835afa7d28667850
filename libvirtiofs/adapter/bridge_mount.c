/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A mount of /dev/fuse: by mount(2), or by fusermount3 for those who may not.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <virtiofs/bridge.h>

#include "base/bytes.h"
#include "base/error.h"

#define HELPER	     "fusermount3"
#define TEXT_MAX     1024u
#define FSNAME	     "virtiofs"
#define SUBTYPE	     "virtiofs"
#define FLAGS_ALWAYS (MS_NOSUID | MS_NODEV)

extern char **environ;

struct mount_opts {
	unsigned long flags;
	char data[TEXT_MAX]; /* for the kernel's fuse, ",a,b=c" */
	char fsname[TEXT_MAX];
	char type[TEXT_MAX]; /* "fuse.SUBTYPE" */
	char all[TEXT_MAX];  /* as given, for the helper */
};

static const struct {
	const char *name;
	unsigned long set, clear;
} flag_opts[] = {
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"noatime", MS_NOATIME, 0},
    {"atime", 0, MS_NOATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"relatime", MS_RELATIME, 0},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, 0},
    {"lazytime", MS_LAZYTIME, 0},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
};

/* ---- options ---- */

/* "a=b" of name "a": "b". */
static const char *value_of(const char *opt, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(opt, name, n) && opt[n] == '=' ? opt + n + 1 : NULL;
}

static bool take_flag(struct mount_opts *m, const char *opt)
{
	for (size_t i = 0; i < VTFS_ARRAY_LEN(flag_opts); i++) {
		if (strcmp(opt, flag_opts[i].name))
			continue;
		m->flags = (m->flags & ~flag_opts[i].clear) | flag_opts[i].set;
		return true;
	}
	return false;
}

static int take_option(struct mount_opts *m, const char *opt)
{
	const char *v;
	size_t n = strlen(m->data);

	if (!*opt || take_flag(m, opt))
		return 0;
	v = value_of(opt, "fsname");
	if (v) {
		snprintf(m->fsname, sizeof(m->fsname), "%s", v);
		return 0;
	}
	v = value_of(opt, "subtype");
	if (v) {
		snprintf(m->type, sizeof(m->type), "fuse.%s", v);
		return 0;
	}
	if (strcmp(opt, "allow_other") && strcmp(opt, "default_permissions") &&
	    !value_of(opt, "max_read"))
		return vtfs_fail(-EINVAL, "unknown mount option '%s'", opt);
	snprintf(m->data + n, sizeof(m->data) - n, ",%s", opt);
	return 0;
}

static int parse_options(struct mount_opts *m, const char *options)
{
	char text[TEXT_MAX], *rest = text, *opt;
	int r = 0;

	memset(m, 0, sizeof(*m));
	m->flags = FLAGS_ALWAYS;
	snprintf(m->fsname, sizeof(m->fsname), "%s", FSNAME);
	snprintf(m->type, sizeof(m->type), "fuse.%s", SUBTYPE);
	if (!options)
		options = "";
	/* Each text derived of them is shorter than this and ours together. */
	if (strlen(options) >= TEXT_MAX / 2)
		return vtfs_fail(-EINVAL, "mount options of %zu bytes",
				 strlen(options));
	snprintf(text, sizeof(text), "%s", options);
	while (r >= 0 && (opt = strsep(&rest, ",")))
		r = take_option(m, opt);
	snprintf(m->all, sizeof(m->all), "fsname=%s,subtype=%s%s%s", FSNAME,
		 SUBTYPE, *options ? "," : "", options);
	return r;
}

/* ---- by ourselves ---- */

static int mount_fuse(const char *dir, const struct mount_opts *m)
{
	char data[2 * TEXT_MAX];
	struct stat st;
	int fd, r;

	if (stat(dir, &st) < 0)
		return vtfs_fail_sys(-errno, "%s", dir);
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return vtfs_fail_sys(-errno, "/dev/fuse");
	snprintf(data, sizeof(data),
		 "fd=%d,rootmode=%o,user_id=%u,group_id=%u%s", fd,
		 st.st_mode & S_IFMT, getuid(), getgid(), m->data);
	if (mount(m->fsname, dir, m->type, m->flags, data) == 0)
		return fd;
	r = vtfs_fail_sys(-errno, "mount at %s", dir);
	close(fd);
	return r;
}

/* ---- by the helper ---- */

/* Start it with comm_fd named in its environment; -1: without. */
static int helper_start(const char *const argv[], int comm_fd, pid_t *ret_pid)
{
	char var[32], **env;
	size_t n = 0;
	int r;

	while (environ && environ[n])
		n++;
	env = calloc(n + 2, sizeof(*env));
	if (!env)
		return vtfs_fail(-ENOMEM, HELPER);
	if (n)
		memcpy(env, environ, n * sizeof(*env));
	snprintf(var, sizeof(var), "_FUSE_COMMFD=%d", comm_fd);
	env[n] = var;
	r = -posix_spawnp(ret_pid, HELPER, NULL, NULL, (char *const *)argv,
			  env);
	free(env);
	return r < 0 ? vtfs_fail_sys(r, HELPER) : 0;
}

static int helper_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return -EPERM;
	return 0;
}

/* The descriptor that came by a socket, or -errno. */
static int receive_fd(int sock)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = u.buf,
	    .msg_controllen = sizeof(u.buf),
	};
	struct cmsghdr *c;
	ssize_t n;
	int fd;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(fd)))
		return -EPERM;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static int mount_helper(const char *dir, struct mount_opts *m)
{
	const char *argv[] = {HELPER, "-o", m->all, "--", dir, NULL};
	int sv[2], fd, r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return vtfs_fail_sys(-errno, "socketpair");
	/* The helper's end alone outlives its exec. */
	fcntl(sv[0], F_SETFD, 0);
	r = helper_start(argv, sv[0], &pid);
	close(sv[0]);
	if (r >= 0) {
		fd = receive_fd(sv[1]);
		r = helper_wait(pid);
		if (r >= 0)
			r = fd;
		else if (fd >= 0)
			close(fd);
		if (r < 0)
			vtfs_fail_sys(r, HELPER " refuses %s", dir);
	}
	close(sv[1]);
	return r;
}

/* ---- public ---- */

int virtiofs_bridge_mount(const char *dir, const char *options)
{
	struct mount_opts m;
	int r = parse_options(&m, options);

	if (r < 0)
		return r;
	if (geteuid() == 0)
		return mount_fuse(dir, &m);
	return mount_helper(dir, &m);
}

static int umount_helper(const char *dir, bool lazy)
{
	const char *argv[] = {HELPER, lazy ? "-uz" : "-u", "--", dir, NULL};
	pid_t pid;
	int r;

	r = helper_start(argv, -1, &pid);
	if (r >= 0 && helper_wait(pid) < 0)
		r = vtfs_fail(-EBUSY, HELPER ": %s stays mounted", dir);
	return r;
}

int virtiofs_bridge_umount(const char *dir, uint32_t flags)
{
	bool lazy = flags & VIRTIOFS_BRIDGE_LAZY;

	if (flags & ~VIRTIOFS_BRIDGE_LAZY)
		return vtfs_fail(-EINVAL, "unknown flags %#x", flags);
	if (geteuid() != 0)
		return umount_helper(dir, lazy);
	if (umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0)
		return vtfs_fail_sys(-errno, "unmounting %s", dir);
	return 0;
}
