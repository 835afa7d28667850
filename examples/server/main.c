/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtiofs-server: serve a directory over vhost-user. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <virtiofs/virtiofs.h>

#include "block.h"
#include "caps.h"
#include "creds.h"
#include "device.h"
#include "listener.h"
#include "lock.h"
#include "log.h"
#include "nofile.h"
#include "options.h"
#include "sandbox.h"
#include "stats.h"

struct server {
	struct options opts;
	struct listener listeners[SOCKETS_MAX];
	unsigned listener_cnt;
	struct device *devices; /* one for each listener */
	unsigned device_cnt;
	char names[SOCKETS_MAX][sizeof(((struct sockaddr_un *)0)->sun_path)];
	int signal_fd;
	int ended_fd; /* an eventfd: so many devices have ended */
};

/* Memory that a front-end shared and took away again reads as zeroes; any
 * other fault is ours. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (virtiofs_memory_fault(info->si_addr))
		return;
	signal(SIGBUS, SIG_DFL);
}

/* All threads start with these blocked; the main thread reads them. */
static int set_up_signals(void)
{
	struct sigaction bus = {
	    .sa_sigaction = on_sigbus,
	    .sa_flags = SA_SIGINFO | SA_ONSTACK,
	};
	sigset_t set;
	int r;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
	    sigaction(SIGBUS, &bus, NULL) < 0)
		return -errno;
	r = block_init();
	if (r < 0)
		return r;
	sigdelset(&set, SIGUSR2);
	sigdelset(&set, SIGCHLD);
	r = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return r < 0 ? -errno : r;
}

static int check_shared_dir(struct options *o)
{
	char *path = realpath(o->shared_dir, NULL);
	int fd;

	fd = path ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0) {
		log_err("can't serve %s: %s", o->shared_dir, strerror(errno));
		free(path);
		return -ENOENT;
	}
	close(fd);
	o->shared_dir = path;
	return 0;
}

static int drop_privileges(const struct options *o)
{
	int r = caps_drop(o->handles != HANDLES_NEVER);

	if (r == 0)
		r = caps_remember();
	if (r < 0)
		log_err("can't drop capabilities: %s", strerror(-r));
	creds_init();
	if (r == 0 && o->check_permissions && !creds_can_switch()) {
		log_err("--check-permissions: takes the right to become other "
			"users, as root has it");
		r = -EPERM;
	}
	return r;
}

static int start_fs(struct server *s, struct device *d,
		    const struct sandbox *sandbox, uint64_t fd_limit)
{
	const struct options *o = &s->opts;
	struct fs_opts opts = {
	    .cache = o->cache,
	    .handles = o->handles,
	    .readonly = o->readonly,
	    .xattr = o->xattr,
	    .posix_acl = o->posix_acl,
	    .allow_direct_io = o->allow_direct_io,
	    .announce_submounts = o->announce_submounts,
	    .readdirplus = o->readdirplus,
	    .killpriv_v2 = o->killpriv_v2,
	    .preserve_noatime = o->preserve_noatime,
	    .check_permissions = o->check_permissions,
	    .in_order = o->in_order,
	    .fd_limit = fd_limit,
	};
	int r;

	r = fs_init(&d->fs, &opts, sandbox->proc_fd, sandbox->root_fd);
	/* Every serving thread will do so; fail here while it is easy. */
	if (r == 0 && d == s->devices)
		r = fs_thread_start(&d->fs);
	if (r < 0)
		log_err("can't serve %s: %s", o->shared_dir, strerror(-r));
	return r;
}

/* Which of several devices it is, in what is said and counted. */
static const char *name_device(struct server *s, unsigned idx)
{
	const struct socket_opts *o = &s->opts.sockets[idx];
	char *name = s->names[idx];

	if (s->listener_cnt == 1)
		return NULL;
	if (o->path)
		snprintf(name, sizeof(s->names[0]), "%s", o->path);
	else
		snprintf(name, sizeof(s->names[0]), "fd %d", o->fd);
	return name;
}

static int start_devices(struct server *s, const struct sandbox *sandbox,
			 uint64_t fd_limit)
{
	int r = 0;

	s->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->devices = calloc(s->listener_cnt, sizeof(*s->devices));
	if (s->ended_fd < 0 || !s->devices)
		r = -ENOMEM;
	while (r == 0 && s->device_cnt < s->listener_cnt) {
		struct device *d = &s->devices[s->device_cnt];

		d->name = name_device(s, s->device_cnt);
		d->ended_fd = s->ended_fd;
		r = start_fs(s, d, sandbox, fd_limit);
		if (r == 0)
			r = device_start(d, &s->opts, s->device_cnt,
					 &s->listeners[s->device_cnt]);
		s->device_cnt++;
	}
	return r;
}

static void print_stats(const struct server *s)
{
	for (unsigned i = 0; i < s->device_cnt; i++)
		device_print_stats(&s->devices[i]);
}

/* False: it is time to end. */
static bool handle_signals(struct server *s)
{
	struct signalfd_siginfo info;
	bool go_on = true;

	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGUSR1)
			print_stats(s);
		else
			go_on = false;
	}
	return go_on;
}

/* The first failure of a device that has ended, if any. */
static int result(const struct server *s)
{
	int r = 0;

	for (unsigned i = 0; i < s->device_cnt && r == 0; i++)
		r = atomic_load(&s->devices[i].result);
	return r;
}

/* Until all devices have ended, or a signal says so. */
static int serve(struct server *s)
{
	struct pollfd fds[2] = {
	    {.fd = s->ended_fd, .events = POLLIN},
	    {.fd = s->signal_fd, .events = POLLIN},
	};
	uint64_t left = s->device_cnt, cnt;

	while (left > 0) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents && !handle_signals(s))
			break;
		if (fds[0].revents &&
		    read(s->ended_fd, &cnt, sizeof(cnt)) == sizeof(cnt))
			left -= cnt;
	}
	return result(s);
}

/* No thread may use a device or its file system when they go. */
static void stop(struct server *s)
{
	for (unsigned i = 0; i < s->device_cnt; i++)
		device_stop(&s->devices[i]);
	for (unsigned i = 0; i < s->device_cnt; i++)
		device_join(&s->devices[i]);
	lock_wait_for_all();
	if (s->opts.stats)
		print_stats(s);
	for (unsigned i = 0; i < s->device_cnt; i++)
		device_free(&s->devices[i]);
	fs_thread_end();
	stats_free();
	free(s->devices);
}

static int run_in_sandbox(struct server *s, const struct sandbox *sandbox,
			  uint64_t fd_limit)
{
	int r;

	r = drop_privileges(&s->opts);
	if (r == 0)
		r = start_devices(s, sandbox, fd_limit);
	if (r == 0) {
		log_info("serving %s", s->opts.shared_dir);
		r = serve(s);
	}
	stop(s);
	return r;
}

static int open_listeners(struct server *s)
{
	const struct options *o = &s->opts;
	int r = 0;

	while (r == 0 && s->listener_cnt < o->socket_cnt) {
		r = listener_open(&o->sockets[s->listener_cnt], o->socket_group,
				  &s->listeners[s->listener_cnt]);
		s->listener_cnt += r == 0;
	}
	return r;
}

static void for_listeners(struct server *s, void (*fn)(struct listener *))
{
	for (unsigned i = 0; i < s->listener_cnt; i++)
		fn(&s->listeners[i]);
}

static int serve_sandboxed(struct server *s, uint64_t fd_limit)
{
	struct sandbox sandbox;
	int r = sandbox_enter(&s->opts, &sandbox);

	if (r < 0)
		return r;
	if (sandbox.child > 0) {
		for_listeners(s, listener_close);
		return sandbox_wait(sandbox.child) ? -ECHILD : 0;
	}
	/* The parent removes the names; no way out stays in here. */
	if (s->opts.sandbox != SANDBOX_NONE)
		for_listeners(s, listener_forget);
	return run_in_sandbox(s, &sandbox, fd_limit);
}

static int run(struct server *s)
{
	unsigned threads = s->opts.queues + s->opts.thread_pool_size + 2;
	uint64_t fd_limit;
	int r;

	r = check_shared_dir(&s->opts);
	if (r == 0)
		r = nofile_set(s->opts.rlimit_nofile, s->opts.socket_cnt,
			       threads, &fd_limit);
	if (r == 0)
		r = s->signal_fd = set_up_signals();
	if (r >= 0)
		r = open_listeners(s);
	if (r == 0)
		r = serve_sandboxed(s, fd_limit);
	for_listeners(s, listener_remove);
	return r;
}

int main(int argc, char **argv)
{
	static struct server s;
	int r = options_parse(&s.opts, argc, argv);

	if (r > 0)
		return fflush(stdout) ? 1 : 0;
	if (r < 0)
		return 1;
	log_open(s.opts.log_level, s.opts.syslog);
	return run(&s) < 0 ? 1 : 0;
}
