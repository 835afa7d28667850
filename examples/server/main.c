/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtiofs-server: serve a directory over vhost-user. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <virtiofs/virtiofs.h>

#include "block.h"
#include "caps.h"
#include "creds.h"
#include "fs.h"
#include "nofile.h"
#include "listener.h"
#include "lock.h"
#include "log.h"
#include "options.h"
#include "pool.h"
#include "queue.h"
#include "sandbox.h"
#include "stats.h"

struct server {
	struct options opts;
	struct fs fs;
	struct pool *pool;
	struct virtiofs_device *dev;
	struct queue *queues; /* hiprio, then the request queues */
	unsigned queue_cnt;
	int signal_fd;
	bool one_connection; /* and then it is over */
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

static int start_fs(struct server *s, const struct sandbox *sandbox,
		    uint64_t fd_limit)
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
	    .fd_limit = fd_limit,
	};
	int r;

	r = fs_init(&s->fs, &opts, sandbox->proc_fd, sandbox->root_fd);
	/* Every serving thread will do so; fail here while it is easy. */
	if (r == 0)
		r = fs_thread_start(&s->fs);
	if (r < 0)
		log_err("can't serve %s: %s", o->shared_dir, strerror(-r));
	return r;
}

/* For a queue that dispatch serves; there is none. */
static int on_request(struct virtiofs_req *req)
{
	return fs_request(req->userdata, req);
}

static int start_device(struct server *s, const struct listener *l)
{
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = fs_on_forget,
	    .interrupt = fs_on_interrupt,
	    .init = fs_on_init,
	    .reset = fs_on_reset,
	};
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = s->opts.tag,
	    .num_request_queues = s->opts.queues,
	    .queue_size = s->opts.queue_size,
	    .flags = s->opts.stats ? VIRTIOFS_DEVICE_LATENCY : 0,
	    .features = VIRTIOFS_FEATURES_DEFAULT |
			(s->opts.packed ? VIRTIOFS_F_RING_PACKED : 0),
	    .log_level = log_level(),
	    .log = log_from_library,
	};
	struct virtiofs_transport *t;
	int r;

	s->one_connection = l->connected;
	if (l->connected)
		r = virtiofs_vhost_user_device_fd(&t, l->fd);
	else
		r = virtiofs_vhost_user_listen_fd(&t, l->fd);
	if (r == 0)
		r = virtiofs_device_new(&s->dev, t, &ops, &opts, &s->fs);
	if (r < 0)
		log_err("can't start the device: %s", virtiofs_last_error());
	return r;
}

static int start_threads(struct server *s)
{
	unsigned cnt = s->opts.queues + 1;
	int r = 0;

	s->queues = calloc(cnt, sizeof(*s->queues));
	if (!s->queues)
		r = -ENOMEM;
	if (r == 0 && s->opts.thread_pool_size)
		r = pool_new(&s->pool, &s->fs, s->opts.thread_pool_size);
	while (r == 0 && s->queue_cnt < cnt) {
		r = queue_start(&s->queues[s->queue_cnt], s->dev, s->queue_cnt,
				&s->fs, s->pool);
		s->queue_cnt++;
	}
	if (r < 0)
		log_err("can't start threads: %s", strerror(-r));
	return r;
}

/* False: it is time to end. */
static bool handle_signals(struct server *s)
{
	struct signalfd_siginfo info;
	bool go_on = true;

	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGUSR1)
			stats_print(&s->fs, s->dev);
		else
			go_on = false;
	}
	return go_on;
}

static int serve(struct server *s)
{
	struct pollfd fds[2] = {
	    {.fd = virtiofs_device_fd(s->dev), .events = POLLIN},
	    {.fd = s->signal_fd, .events = POLLIN},
	};
	int r = 0;

	while (r >= 0) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents && !handle_signals(s))
			break;
		if (fds[0].revents)
			r = virtiofs_device_dispatch(s->dev);
	}
	if (r == -ENOTCONN && s->one_connection) {
		log_info("the front-end is gone");
		return 0;
	}
	if (r < 0)
		log_err("%s", virtiofs_last_error());
	return r < 0 ? r : 0;
}

/* No thread may use the device or the file system when they go. */
static void stop(struct server *s)
{
	if (s->dev)
		virtiofs_device_stop(s->dev);
	block_stop(&s->fs);
	for (unsigned i = 0; i < s->queue_cnt; i++)
		queue_join(&s->queues[i]);
	pool_free(s->pool);
	lock_wait_for_all();
	for (unsigned i = 0; i < s->queue_cnt; i++)
		queue_free(&s->queues[i]);
	if (s->opts.stats && s->dev)
		stats_print(&s->fs, s->dev);
	virtiofs_device_free(s->dev);
	fs_free(&s->fs);
	fs_thread_end();
	stats_free();
	free(s->queues);
}

static int run_in_sandbox(struct server *s, const struct sandbox *sandbox,
			  const struct listener *l, uint64_t fd_limit)
{
	int r;

	r = drop_privileges(&s->opts);
	if (r == 0)
		r = start_fs(s, sandbox, fd_limit);
	if (r == 0)
		r = start_device(s, l);
	if (r == 0)
		r = start_threads(s);
	if (r == 0) {
		log_info("serving %s", s->opts.shared_dir);
		r = serve(s);
	}
	stop(s);
	return r;
}

static int run(struct server *s)
{
	unsigned threads = s->opts.queues + s->opts.thread_pool_size + 2;
	struct sandbox sandbox;
	struct listener l;
	uint64_t fd_limit;
	int r;

	r = check_shared_dir(&s->opts);
	if (r == 0)
		r = nofile_set(s->opts.rlimit_nofile, threads, &fd_limit);
	if (r == 0)
		r = s->signal_fd = set_up_signals();
	if (r >= 0)
		r = listener_open(&s->opts, &l);
	if (r < 0)
		return r;
	r = sandbox_enter(&s->opts, &sandbox);
	if (r == 0 && sandbox.child > 0) {
		close(l.fd);
		r = sandbox_wait(sandbox.child) ? -ECHILD : 0;
	} else if (r == 0) {
		/* The parent removes the name; no way out stays in here. */
		if (s->opts.sandbox != SANDBOX_NONE)
			listener_forget(&l);
		r = run_in_sandbox(s, &sandbox, &l, fd_limit);
	}
	listener_remove(&l);
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
