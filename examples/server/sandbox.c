/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

static int fail(const char *what)
{
	int r = -errno;

	log_err("sandbox: %s: %s", what, strerror(errno));
	return r;
}

static int open_dir(const char *path)
{
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int open_fds(struct sandbox *s, const char *proc, const char *root)
{
	if (s->proc_fd < 0)
		s->proc_fd = open_dir(proc);
	if (s->proc_fd < 0)
		return fail(proc);
	s->root_fd = open_dir(root);
	return s->root_fd < 0 ? fail(root) : 0;
}

/* A /proc that shows nothing but our own descriptors: whoever gets hold of
 * the directory's descriptor finds no way up. Where that isn't allowed (in
 * some containers), the /proc that is there must do. */
static void open_private_proc(struct sandbox *s)
{
	const unsigned long flags = MS_NODEV | MS_NOEXEC | MS_NOSUID;

	if (mount("proc", "/proc", "proc", flags, NULL) < 0 ||
	    mount("/proc/self/fd", "/proc", NULL, MS_BIND, NULL) < 0) {
		log_warn("sandbox: no private /proc: %s", strerror(errno));
		return;
	}
	s->proc_fd = open_dir("/proc");
}

/* The current directory, a mount of its own, becomes the root; nothing of
 * the old root stays. */
static int switch_root(void)
{
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return fail("pivot_root");
	/* The old root now lies over the new one. */
	if (umount2(".", MNT_DETACH) < 0)
		return fail("umount of the old root");
	if (chdir("/") < 0)
		return fail("chdir");
	return 0;
}

static int set_up_mounts(const char *shared_dir, struct sandbox *s)
{
	int tree;

	if (mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0) {
		/* So it is in a chroot, which can't be pivoted away from. */
		if (errno == EINVAL)
			log_err("sandbox: / is no mount point here: use "
				"--sandbox=chroot");
		return fail("making mounts private");
	}
	/* Before /proc changes, so that the copy has the old one. */
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, shared_dir,
			    AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return fail("open_tree");
	open_private_proc(s);
	if (s->proc_fd < 0)
		s->proc_fd = open_dir("/proc/self/fd");
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, shared_dir,
		    MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fail("move_mount");
	if (fchdir(tree) < 0)
		return fail("fchdir");
	close(tree);
	return switch_root();
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return fail(path);
	if (write(fd, text, strlen(text)) < 0)
		r = fail(path);
	close(fd);
	return r;
}

/* In a new user namespace: we are who we were, and there is nobody else. */
static int map_ids(uid_t uid, gid_t gid)
{
	char map[64];
	int r;

	snprintf(map, sizeof(map), "%u %u 1", uid, uid);
	r = write_file("/proc/self/uid_map", map);
	if (r == 0)
		r = write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%u %u 1", gid, gid);
	return r < 0 ? r : write_file("/proc/self/gid_map", map);
}

static int unshare_all(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET;

	if (uid != 0)
		flags |= CLONE_NEWUSER;
	if (unshare(flags) < 0)
		return fail("unshare");
	return uid != 0 ? map_ids(uid, gid) : 0;
}

/* The child goes in; the parent stays outside, where it can remove the socket
 * at the end, so that no descriptor of the outside comes along. */
static int fork_server(struct sandbox *s)
{
	s->child = fork();
	if (s->child < 0)
		return fail("fork");
	if (s->child == 0)
		prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	return 0;
}

/* The new process namespace begins with a child. */
static int enter_namespace(const struct options *o, struct sandbox *s)
{
	int r = unshare_all();

	if (r == 0)
		r = fork_server(s);
	if (r < 0 || s->child > 0)
		return r;
	r = set_up_mounts(o->shared_dir, s);
	return r < 0 ? r : open_fds(s, "/proc/self/fd", "/");
}

static int enter_chroot(const struct options *o, struct sandbox *s)
{
	int r = fork_server(s);

	if (r < 0 || s->child > 0)
		return r;
	s->proc_fd = open_dir("/proc/self/fd");
	if (chroot(o->shared_dir) < 0)
		return fail("chroot");
	if (chdir("/") < 0)
		return fail("chdir");
	return open_fds(s, "/proc/self/fd", "/");
}

int sandbox_enter(const struct options *o, struct sandbox *ret)
{
	ret->proc_fd = -1;
	ret->root_fd = -1;
	ret->child = 0;
	/* The groups of whoever started us are nobody's business here. In a
	 * user namespace that denies it there are none to give away. */
	if (geteuid() == 0 && setgroups(0, NULL) < 0)
		log_debug("can't drop supplementary groups: %s",
			  strerror(errno));
	switch (o->sandbox) {
	case SANDBOX_NAMESPACE:
		return enter_namespace(o, ret);
	case SANDBOX_CHROOT:
		return enter_chroot(o, ret);
	default:
		return open_fds(ret, "/proc/self/fd", o->shared_dir);
	}
}

int sandbox_wait(pid_t child)
{
	sigset_t set;
	int sig, status;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	for (;;) {
		if (sigwait(&set, &sig) != 0)
			continue;
		if (sig != SIGCHLD) {
			kill(child, sig);
			continue;
		}
		if (waitpid(child, &status, WNOHANG) == child &&
		    (WIFEXITED(status) || WIFSIGNALED(status)))
			break;
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	log_err("the server ended by signal %d", WTERMSIG(status));
	return 1;
}
