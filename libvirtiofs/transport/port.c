/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/port.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/evfd.h"

#define RETRY_NS 100000000L /* until the next accept */

void vtfs_port_init(struct vtfs_port *p)
{
	memset(p, 0, sizeof(*p));
	p->listener.fd = p->ep = p->wake = p->retry = p->conn = -1;
	p->listen_events = EPOLLIN;
}

int vtfs_port_watch(struct vtfs_port *p, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(p->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	return 0;
}

int vtfs_port_open(struct vtfs_port *p)
{
	int r;

	p->ep = epoll_create1(EPOLL_CLOEXEC);
	if (p->ep < 0)
		return vtfs_fail_sys(-errno, "epoll_create1");
	r = vtfs_evfd_new(&p->wake);
	return r < 0 ? r : vtfs_port_watch(p, p->wake);
}

static int watch_listener(struct vtfs_port *p, int fd)
{
	int r;

	p->retry = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (p->retry < 0)
		return vtfs_fail_sys(-errno, "timerfd_create");
	r = vtfs_port_watch(p, p->retry);
	return r < 0 ? r : vtfs_port_watch(p, fd);
}

int vtfs_port_listen(struct vtfs_port *p, const char *path)
{
	int r = vtfs_listener_open(&p->listener, path);

	return r < 0 ? r : watch_listener(p, p->listener.fd);
}

int vtfs_port_listen_fd(struct vtfs_port *p, int fd)
{
	int r = vtfs_sock_check(fd, true);

	if (r >= 0)
		r = watch_listener(p, fd);
	if (r >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		r = vtfs_fail_sys(-errno, "fd %d", fd);
	if (r >= 0)
		p->listener.fd = fd;
	return r;
}

static int serve(struct vtfs_port *p, int fd)
{
	int r = vtfs_port_watch(p, fd);

	if (r < 0)
		return r;
	p->conn = fd;
	p->conn_events = EPOLLIN;
	return 0;
}

int vtfs_port_serve_fd(struct vtfs_port *p, int fd)
{
	int r = vtfs_sock_check(fd, false);

	return r < 0 ? r : serve(p, fd);
}

void vtfs_port_fini(struct vtfs_port *p)
{
	const int fds[] = {p->conn, p->retry, p->wake, p->ep};

	vtfs_listener_close(&p->listener);
	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Whoever waits keeps the listener readable, so it is not asked again before
 * there may be fds or memory for him: nothing tells us when. ns 0: no wait. A
 * setting clears what the timer had to tell. */
static void accept_later(struct vtfs_port *p, long ns)
{
	const struct itimerspec t = {.it_value.tv_nsec = ns};

	p->full = timerfd_settime(p->retry, 0, &t, NULL) == 0 && ns;
}

static bool runs_short(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM ||
	       error == ENOBUFS;
}

void vtfs_port_accept(struct vtfs_port *p, const struct vtfs_log *log,
		      const char *name)
{
	int fd;

	if (p->conn >= 0 || p->listener.fd < 0)
		return;
	fd = accept4(p->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 && runs_short(errno)) {
		if (!p->full)
			vtfs_log(log, LOG_WARNING, "%s: a peer has to wait: %s",
				 name, strerror(errno));
		accept_later(p, RETRY_NS);
		return;
	}
	if (p->full)
		accept_later(p, 0);
	if (fd >= 0 && serve(p, fd) < 0)
		close(fd);
}

void vtfs_port_drop(struct vtfs_port *p)
{
	/* The caller may hold a duplicate: closing is not leaving. */
	epoll_ctl(p->ep, EPOLL_CTL_DEL, p->conn, NULL);
	close(p->conn);
	p->conn = -1;
}

bool vtfs_port_hung_up(const struct vtfs_port *p)
{
	struct pollfd f = {.fd = p->conn};

	return poll(&f, 1, 0) == 1 && (f.revents & POLLHUP);
}

static void ask(struct vtfs_port *p, int fd, uint32_t *have, uint32_t want)
{
	struct epoll_event ev = {.events = want, .data.fd = fd};

	if (fd < 0 || *have == want)
		return;
	*have = want;
	epoll_ctl(p->ep, EPOLL_CTL_MOD, fd, &ev);
}

void vtfs_port_arm(struct vtfs_port *p, uint32_t conn_events, bool accepts)
{
	ask(p, p->conn, &p->conn_events, conn_events);
	ask(p, p->listener.fd, &p->listen_events,
	    p->conn < 0 && accepts && !p->full ? EPOLLIN : 0);
}
