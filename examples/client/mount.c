/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mount, the program's side: options, background, signals, threads. */
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>
#include <virtiofs/bridge.h>
#include <virtiofs/transport.h>

#include "mount_opts.h"
#include "msg.h"
#include "stats.h"
#include "stop.h"

struct mount {
	const struct options *opts;
	struct mount_opts mo;
	char *dir; /* absolute */
	struct virtiofs_client *c;
	struct virtiofs_bridge *b;
	pthread_t *threads;
	unsigned thread_cnt;
	int ended_fd; /* eventfd: a thread has ended */
	int result;   /* of the first that did */
	bool mounted;
};

struct server {
	struct mount *m;
	unsigned queue;
};

/* ---- talking, with or without a terminal ---- */

static bool to_syslog;

static void on_log(void *log_data, int level, const char *line)
{
	(void)log_data;
	if (to_syslog)
		syslog(level, "%s", line);
	else
		msg_error(0, "%s", line);
}

static int fail(const struct mount *m, const char *what)
{
	msg_error(0, "cannot %s %s: %s", what, quote(m->opts->session.uri),
		  virtiofs_last_error());
	return -1;
}

/* ---- set-up ---- */

static int connect_client(struct mount *m)
{
	struct virtiofs_client_opts copts = m->opts->session.client;
	struct virtiofs_transport *t;

	copts.flags |= VIRTIOFS_CLIENT_RAW_INIT;
	copts.log_level = LOG_WARNING;
	copts.log = on_log;
	copts.notify = virtiofs_bridge_notify;
	copts.notify_data = &m->b;
	if (virtiofs_transport_open_client(&t, m->opts->session.uri) < 0)
		return fail(m, "open");
	if (virtiofs_client_new(&m->c, t, &copts) < 0)
		return fail(m, "use");
	if (virtiofs_client_start(m->c, NULL) < 0)
		return fail(m, "connect to");
	return 0;
}

static int mount_bridge(struct mount *m)
{
	struct virtiofs_bridge_opts bopts = {.size = sizeof(bopts)};
	int fd;

	if (m->mo.default_permissions)
		bopts.flags = VIRTIOFS_BRIDGE_DEFAULT_PERMISSIONS;
	if (m->opts->session.timeout_given)
		bopts.timeout_ms = m->opts->session.client.timeout_ms;
	fd = virtiofs_bridge_mount(m->dir, m->mo.text);
	if (fd < 0)
		return fail(m, "mount");
	m->mounted = true;
	if (virtiofs_bridge_new(&m->b, m->c, fd, &bopts) < 0)
		return fail(m, "mount");
	return 0;
}

static void *serve(void *data)
{
	struct server *s = data;
	struct mount *m = s->m;
	const uint64_t one = 1;
	int r = virtiofs_bridge_run(m->b, s->queue);
	int none = 1;
	ssize_t n;

	free(s);
	__atomic_compare_exchange_n(&m->result, &none, r, false,
				    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	n = write(m->ended_fd, &one, sizeof(one));
	(void)n;
	return NULL;
}

static int start_thread(struct mount *m, unsigned queue)
{
	struct server *s = malloc(sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->m = m;
	s->queue = queue;
	r = pthread_create(&m->threads[m->thread_cnt], NULL, serve, s);
	if (r)
		free(s);
	else
		m->thread_cnt++;
	return -r;
}

/* One for each queue, and one for notifications if the server has any. Signals
 * are for the main thread. */
static int start_threads(struct mount *m)
{
	struct virtiofs_client_info info = {.size = sizeof(info)};
	unsigned cnt = virtiofs_bridge_queues(m->b);
	sigset_t all, old;
	int r = 0;

	m->result = 1;
	m->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->threads = calloc(cnt + 1, sizeof(*m->threads));
	if (m->ended_fd < 0 || !m->threads)
		r = -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (r == 0 && m->thread_cnt < cnt)
		r = start_thread(m, m->thread_cnt + 1);
	virtiofs_client_get_info(m->c, &info);
	if (r == 0 && info.notify_buf_size)
		r = start_thread(m, 0);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0)
		msg_error(r, "cannot start %u threads", cnt);
	return r;
}

/* ---- the end ---- */

/* Plainly if nobody uses it; else it goes from the tree, and who still uses it
 * gets errors. */
static void unmount(struct mount *m)
{
	int r = virtiofs_bridge_umount(m->dir, 0);

	if (r < 0 && r != -EINVAL)
		virtiofs_bridge_umount(m->dir, VIRTIOFS_BRIDGE_LAZY);
	m->mounted = false;
}

static void wait_end(struct mount *m)
{
	struct pollfd p[2] = {
	    {.fd = m->ended_fd, .events = POLLIN},
	    {.fd = stop_fd(), .events = POLLIN},
	};
	int r;

	while (!p[0].revents && !p[1].revents)
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
	if (p[0].revents) {
		/* Unmounted, but by an abort it is not. */
		r = __atomic_load_n(&m->result, __ATOMIC_ACQUIRE);
		m->mounted = r < 0 && r != -ENOTCONN;
		return;
	}
	unmount(m);
}

static int end_threads(struct mount *m)
{
	if (m->mounted)
		unmount(m);
	if (m->b)
		virtiofs_bridge_stop(m->b);
	for (unsigned i = 0; i < m->thread_cnt; i++)
		pthread_join(m->threads[i], NULL);
	if (m->result == 1 || m->result == 0 || m->result == -ESHUTDOWN)
		return 0;
	return m->result;
}

static void mount_free(struct mount *m)
{
	virtiofs_bridge_free(m->b);
	virtiofs_client_free(m->c);
	free(m->threads);
	free(m->dir);
	mount_opts_free(&m->mo);
}

/* ---- background ---- */

/* In the child: the descriptor that takes its exit status, or -1: this is the
 * foreground. In the parent it ends with what the child said. */
static int go_background(void)
{
	unsigned char status = 1;
	int fds[2];
	pid_t pid;
	ssize_t n;

	if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		msg_error(-errno, "cannot go to the background");
		exit(1);
	}
	if (pid) {
		close(fds[1]);
		/* Nothing: it has died, and said why. */
		do
			n = read(fds[0], &status, 1);
		while (n < 0 && errno == EINTR);
		_exit(n == 1 ? status : 1);
	}
	close(fds[0]);
	setsid();
	return fds[1];
}

/* Mounted: let the parent go, and the terminal. */
static void detach(int status_fd)
{
	const unsigned char ok = 0;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ssize_t n;

	openlog(PROGRAM, LOG_PID, LOG_DAEMON);
	to_syslog = true;
	if (chdir("/") < 0 || null < 0)
		syslog(LOG_WARNING, "still in the terminal's directory");
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
	n = write(status_fd, &ok, 1);
	(void)n;
	close(status_fd);
}

static int serve_mount(struct mount *m, int status_fd)
{
	int r;

	if (connect_client(m) < 0 || mount_bridge(m) < 0 ||
	    start_threads(m) < 0) {
		end_threads(m);
		return 1;
	}
	if (status_fd >= 0)
		detach(status_fd);
	wait_end(m);
	r = end_threads(m);
	if (r < 0)
		on_log(NULL, LOG_ERR, strerror(-r));
	if (m->opts->session.client.flags & VIRTIOFS_CLIENT_LATENCY)
		stats_print(m->c);
	return r < 0;
}

int mount_run(const struct options *opts)
{
	struct mount m = {.opts = opts, .ended_fd = -1};
	int status = 1, status_fd = -1;
	int r = mount_opts_parse(&m.mo, opts->args.mount_opts,
				 opts->session.uri);

	free(opts->args.mount_opts);
	if (r < 0)
		return 1;
	m.dir = realpath(opts->args.argv[0], NULL);
	if (!m.dir) {
		msg_error(-errno, "%s", quote(opts->args.argv[0]));
		mount_opts_free(&m.mo);
		return 1;
	}
	if (!opts->args.on['f'])
		status_fd = go_background();
	if (stop_init() >= 0)
		status = serve_mount(&m, status_fd);
	mount_free(&m);
	return status;
}
