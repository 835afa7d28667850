/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting and waking.
 *
 * Theory of operation
 *
 * One thread at a time has the role of the poller (c->poller, under lock): it
 * collects from all queues that nobody took and from hiprio, and sleeps on the
 * client's epoll fd without the lock. Threads in client_call that find the role
 * taken sleep on a condition of their own. Whoever gives up the role or gets
 * its reply wakes one more, who takes it over: while anybody waits, somebody
 * polls. client_dispatch takes the same role, without sleeping.
 *
 * The eventfds that the peer writes are its file descriptions too: it may clear
 * O_NONBLOCK. They are watched edge-triggered and never read.
 */
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "session/client.h"
#include "wire/virtio.h"

#define NS_PER_MS 1000000ULL

int vtfs_fd_watch(int ep, int fd, uint32_t events, uint32_t tag)
{
	struct epoll_event ev = {.events = events, .data.u32 = tag};

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	return 0;
}

void vtfs_fd_forget(int ep, int fd)
{
	epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
}

int vtfs_ms_left(uint64_t deadline)
{
	uint64_t now;

	if (!deadline)
		return -1;
	now = vtfs_now();
	if (now >= deadline)
		return 0;
	now = (deadline - now + NS_PER_MS - 1) / NS_PER_MS;
	return now > INT32_MAX ? INT32_MAX : (int)now;
}

/* ---- the transport ---- */

void vtfs_client_lost(struct virtiofs_client *c, int error)
{
	uint32_t state = vtfs_load_acquire(&c->state);

	if (state != VTFS_CLIENT_RUNNING && state != VTFS_CLIENT_STARTING)
		return;
	vtfs_log(&c->log, LOG_WARNING, "%s: the device is gone (%d)",
		 c->t->name, error);
	vtfs_store_release(&c->state, VTFS_CLIENT_LOST);
	vtfs_fd_forget(c->ep_fd, c->t->fd(c->t));
	vtfs_hiprio_fail(c, -ENOTCONN);
	vtfs_evfd_signal(c->wake_fd);
	for (unsigned i = 0; i < c->opts.num_request_queues; i++)
		vtfs_evfd_signal(c->queues[i].wake_fd);
}

void vtfs_client_hung_up(struct virtiofs_client *c, int error)
{
	c->connected = false;
	vtfs_client_lost(c, error);
}

/* A configuration change: is it DEVICE_NEEDS_RESET? virtio 1.4, 3.2.1 */
int vtfs_client_check_status(struct virtiofs_client *c)
{
	uint8_t status = 0;
	int r;

	if (!c->status_asked &&
	    !__atomic_exchange_n(&c->config_changed, 0, __ATOMIC_ACQUIRE))
		return 0;
	r = c->t->cli->get_status(c->t, &status);
	c->status_asked = r == -EAGAIN;
	if (r >= 0 && status & VTFS_STATUS_NEEDS_RESET) {
		vtfs_log(&c->log, LOG_WARNING, "the device needs a reset");
		vtfs_client_lost(c, -ENOTCONN);
	}
	return r;
}

void vtfs_client_settle(struct virtiofs_client *c)
{
	uint64_t deadline = vtfs_client_stop_deadline(c);

	while ((c->status_asked && vtfs_client_check_status(c) == -EAGAIN) ||
	       vtfs_client_reset_go_on(c) == -EAGAIN) {
		if (vtfs_client_transport_wait(c, deadline) >= 0)
			continue;
		/* The next op has to wait for it; asked again later. */
		if (c->status_asked)
			vtfs_store_release(&c->config_changed, 1);
		c->status_asked = false;
		return;
	}
}

void vtfs_client_look(struct virtiofs_client *c)
{
	int r;

	/* Who holds it waits for the peer, and sees what comes. */
	if (pthread_mutex_trylock(&c->tlock))
		return;
	if (vtfs_client_running(c)) {
		r = c->t->cli->dispatch(c->t);
		if (r < 0)
			vtfs_client_hung_up(c, r);
		else if (vtfs_client_reset_go_on(c) != -EAGAIN)
			vtfs_client_check_status(c);
	}
	pthread_mutex_unlock(&c->tlock);
}

/* ---- queues that nobody took ---- */

static void complete(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	struct vtfs_waiter *w = s->waiter;

	w->error = s->state == VTFS_SLOT_POSTED ? -ETIMEDOUT : s->error;
	w->len = s->len;
	w->done = true;
	w->slot = NULL;
	pthread_cond_signal(&w->cond);
	if (s->state == VTFS_SLOT_POSTED)
		vtfs_cliq_abandon(q, s);
	else
		vtfs_cliq_give(q, s);
}

static unsigned drain_queue(struct virtiofs_cliq *q)
{
	struct vtfs_cslot *s;
	unsigned n = 0;

	if (vtfs_load_acquire(&q->c->state) == VTFS_CLIENT_LOST && !q->dead)
		vtfs_cliq_fail(q, -ENOTCONN);
	vtfs_cliq_expire(q);
	/* At most what was in flight when this began. */
	while (n < q->slot_cnt && (s = vtfs_cliq_next(q))) {
		complete(q, s);
		n++;
	}
	vtfs_cliq_push(q);
	return n;
}

unsigned vtfs_client_drain(struct virtiofs_client *c)
{
	unsigned n = 0;

	vtfs_hiprio_try(c);
	for (unsigned i = 0; i < c->opts.num_request_queues; i++) {
		struct virtiofs_cliq *q = &c->queues[i];

		if (q->taken)
			continue;
		n += drain_queue(q);
	}
	vtfs_client_give_slots(c);
	return n;
}

int vtfs_client_arm(struct virtiofs_client *c)
{
	int more = vtfs_hiprio_arm(c);

	for (unsigned i = 0; i < c->opts.num_request_queues; i++)
		if (!c->queues[i].taken)
			more |= vtfs_cliq_wait(&c->queues[i]);
	return more;
}

int virtiofs_client_fd(const struct virtiofs_client *c)
{
	return c->ep_fd;
}

int virtiofs_client_dispatch(struct virtiofs_client *c)
{
	struct epoll_event ev[8];
	unsigned n = 0;
	int more, cnt;

	pthread_mutex_lock(&c->lock);
	if (c->poller) {
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	/* Takes the edges; what they mean is looked at in any case. */
	cnt = epoll_wait(c->ep_fd, ev, VTFS_ARRAY_LEN(ev), 0);
	vtfs_client_count_calls(c, ev, cnt);
	vtfs_evfd_drain(c->wake_fd);
	/* INIT has no waiter: start looks for its reply itself. */
	if (vtfs_load_acquire(&c->state) == VTFS_CLIENT_STARTING) {
		pthread_mutex_unlock(&c->lock);
		return 0;
	}
	vtfs_client_look(c);
	n = vtfs_client_drain(c);
	more = vtfs_client_arm(c);
	pthread_mutex_unlock(&c->lock);
	if (vtfs_cnotes_any(c))
		more |= vtfs_cnotes_deliver(c);
	if (more)
		vtfs_evfd_signal(c->wake_fd);
	return (int)n;
}
