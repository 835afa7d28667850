/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File descriptors of queues. The peer's kick fd is watched edge-triggered and
 * never read: it may be a blocking one. While dispatch serves a queue its kick
 * and control fds are in the device's epoll, else in the queue's own.
 */
#include "session/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/error.h"

#define POLL_NS 1000000 /* look at a queue that has no kick that often */

static bool is_taken(const struct virtiofs_devq *q)
{
	return __atomic_load_n(&q->taken, __ATOMIC_ACQUIRE);
}

static int watch(int ep, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event ev = {.events = events, .data.u64 = tag};

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	return 0;
}

static void unwatch(int ep, int fd)
{
	struct epoll_event ev = {0};

	epoll_ctl(ep, EPOLL_CTL_DEL, fd, &ev);
}

static int polling_timer(void)
{
	const struct itimerspec each = {
	    .it_interval.tv_nsec = POLL_NS,
	    .it_value.tv_nsec = POLL_NS,
	};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd >= 0)
		timerfd_settime(fd, 0, &each, NULL);
	return fd;
}

int vtfs_devq_set_kick(struct virtiofs_devq *q, int fd)
{
	int kick = fd < 0 ? polling_timer() : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	int ep, r;

	if (kick < 0)
		return vtfs_fail_sys(-errno, "queue %u: kick fd", q->index);
	pthread_mutex_lock(&q->fd_lock);
	ep = is_taken(q) ? q->ep : q->dev->ep;
	r = watch(ep, kick, EPOLLIN | EPOLLET, q->index * 2);
	if (r < 0) {
		close(kick);
	} else {
		/* Closing alone would not end the watch: others have the same
		 * open file. */
		if (q->kick >= 0) {
			unwatch(ep, q->kick);
			close(q->kick);
		}
		q->kick = kick;
		q->kick_is_timer = fd < 0;
	}
	pthread_mutex_unlock(&q->fd_lock);
	return r;
}

void vtfs_devq_close_kick(struct virtiofs_devq *q)
{
	pthread_mutex_lock(&q->fd_lock);
	if (q->kick >= 0) {
		unwatch(is_taken(q) ? q->ep : q->dev->ep, q->kick);
		close(q->kick);
	}
	q->kick = -1;
	q->kick_is_timer = false;
	pthread_mutex_unlock(&q->fd_lock);
}

void vtfs_devq_kicked(struct virtiofs_devq *q)
{
	pthread_mutex_lock(&q->fd_lock);
	/* A timer goes on only when it is read. */
	if (q->kick_is_timer)
		vtfs_evfd_drain(q->kick);
	else
		vtfs_stat_add(&q->taking.kicks, 1);
	pthread_mutex_unlock(&q->fd_lock);
}

static int move_fds(struct virtiofs_devq *q, int from, int to)
{
	int r = watch(to, q->ctl, EPOLLIN, q->index * 2 + 1);

	if (r < 0)
		return r;
	if (q->kick >= 0)
		r = watch(to, q->kick, EPOLLIN | EPOLLET, q->index * 2);
	if (r < 0) {
		unwatch(to, q->ctl);
		return r;
	}
	unwatch(from, q->ctl);
	if (q->kick >= 0)
		unwatch(from, q->kick);
	return 0;
}

/* For good: replies may be on their way in other threads from now on. */
static void share(struct virtiofs_devq *q)
{
	q->shared = true;
	if (q->run)
		q->run->shared = true;
}

int virtiofs_device_take_queue(struct virtiofs_device *dev, unsigned index,
			       uint32_t flags, struct virtiofs_devq **ret)
{
	struct virtiofs_devq *q;
	int r;

	if (index >= dev->queue_cnt || flags & ~VIRTIOFS_DEVQ_SHARED_REPLY)
		return vtfs_fail(-EINVAL, "queue %u: no such queue or flag",
				 index);
	q = &dev->queues[index];
	if (is_taken(q))
		return vtfs_fail(-EBUSY, "queue %u is taken", index);
	vtfs_devq_flush(q);
	pthread_mutex_lock(&q->fd_lock);
	r = move_fds(q, dev->ep, q->ep);
	if (r >= 0)
		__atomic_store_n(&q->taken, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&q->fd_lock);
	if (r < 0)
		return r;
	if (flags & VIRTIOFS_DEVQ_SHARED_REPLY)
		share(q);
	q->batching = true;
	/* What came before the fds moved has to be looked at. */
	vtfs_devq_wake(q);
	*ret = q;
	return 0;
}

void virtiofs_devq_release(struct virtiofs_devq *q)
{
	if (!q)
		return;
	vtfs_devq_flush(q);
	q->batching = false;
	pthread_mutex_lock(&q->fd_lock);
	move_fds(q, q->ep, q->dev->ep);
	__atomic_store_n(&q->taken, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&q->fd_lock);
	vtfs_devq_wake(q);
}

int vtfs_devq_init(struct virtiofs_devq *q, struct virtiofs_device *dev,
		   unsigned index)
{
	int r;

	q->dev = dev;
	q->index = index;
	q->kick = -1;
	q->ctl = -1;
	q->shared = dev->opts.flags & VIRTIOFS_DEVICE_SHARED_REPLY;
	pthread_mutex_init(&q->fd_lock, NULL);
	q->ep = epoll_create1(EPOLL_CLOEXEC);
	if (q->ep < 0)
		return vtfs_fail_sys(-errno, "epoll_create1");
	r = vtfs_evfd_new(&q->ctl);
	if (r >= 0)
		r = vtfs_devq_init_latency(q);
	if (r >= 0)
		r = watch(q->ep, dev->stop_fd, EPOLLIN, VTFS_EV_STOP);
	if (r >= 0)
		r = watch(dev->ep, q->ctl, EPOLLIN, index * 2 + 1);
	return r;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vtfs_devq_fini(struct virtiofs_devq *q)
{
	close_fd(q->kick);
	close_fd(q->ctl);
	close_fd(q->ep);
	free(q->latency);
	pthread_mutex_destroy(&q->fd_lock);
}

int vtfs_device_init_fds(struct virtiofs_device *dev)
{
	int r;

	dev->ep = epoll_create1(EPOLL_CLOEXEC);
	if (dev->ep < 0)
		return vtfs_fail_sys(-errno, "epoll_create1");
	r = vtfs_evfd_new(&dev->wake);
	if (r >= 0)
		r = vtfs_evfd_new(&dev->stop_fd);
	if (r >= 0)
		r = watch(dev->ep, dev->wake, EPOLLIN, VTFS_EV_WAKE);
	if (r >= 0)
		r = watch(dev->ep, dev->stop_fd, EPOLLIN, VTFS_EV_STOP);
	if (r >= 0)
		r = watch(dev->ep, dev->t->fd(dev->t), EPOLLIN,
			  VTFS_EV_TRANSPORT);
	return r;
}

void vtfs_device_fini_fds(struct virtiofs_device *dev)
{
	close_fd(dev->ep);
	close_fd(dev->wake);
	close_fd(dev->stop_fd);
}
