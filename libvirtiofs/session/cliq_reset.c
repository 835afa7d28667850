/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A queue is taken away from the device and begins anew, while the others run.
 * (virtio 1.4, 2.6.1) Until the device has said that it is done with it, all of
 * its memory is the device's; after that nothing of it is.
 *
 * Theory of operation
 *
 * A client has one reset under way at most (c->reset, under tlock). Two of its
 * steps are ops of the transport; whoever holds tlock may carry them on, so
 * with NONBLOCK dispatch does, and wakes the owner. What touches the queue is
 * done by its owner, who calls until the last step. A device that fails one is
 * lost, and the reset with it.
 */
#include "session/cliq.h"

#include "base/error.h"
#include "base/evfd.h"
#include "session/client.h"

/* Another one may have waited for this one's end. */
static void end(struct virtiofs_client *c)
{
	c->reset.q = NULL;
	for (unsigned i = 0; i < c->opts.num_request_queues; i++)
		vtfs_evfd_signal(c->queues[i].wake_fd);
}

static int fail(struct virtiofs_client *c, int r)
{
	end(c);
	/* Whose the memory is, nobody knows. */
	vtfs_client_hung_up(c, r);
	return r;
}

static int talk(struct virtiofs_client *c)
{
	const struct vtfs_queue_setup *s = &c->setup[c->reset.q->index];

	switch (c->reset.step) {
	case VTFS_RESET_SETTLE:
		return vtfs_client_check_status(c) == -EAGAIN ? -EAGAIN : 0;
	case VTFS_RESET_STOP:
		return c->t->cli->stop_queue(c->t, s->vq);
	case VTFS_RESET_START:
		return c->t->cli->start_queue(c->t, s);
	default:
		return 0;
	}
}

/* As far as the device answers, or to its owner's turn. */
static int go_on(struct virtiofs_client *c)
{
	struct vtfs_reset *rs = &c->reset;
	int r;

	while (rs->q && rs->step != VTFS_RESET_STOPPED &&
	       rs->step != VTFS_RESET_STARTED) {
		r = talk(c);
		if (r == -EAGAIN)
			return r;
		if (r < 0)
			return fail(c, r);
		/* Its status may have said that it needs a whole one. */
		if (!vtfs_client_running(c)) {
			end(c);
			return vtfs_fail(-ENOTCONN, "not connected");
		}
		rs->step++;
	}
	return 0;
}

int vtfs_client_reset_go_on(struct virtiofs_client *c)
{
	struct virtiofs_cliq *q = c->reset.q;
	int r = go_on(c);

	if (q && r != -EAGAIN)
		vtfs_evfd_signal(q->wake_fd);
	return r;
}

/* The device let go of it. */
static int begin_anew(struct virtiofs_client *c, struct virtiofs_cliq *q)
{
	/* What it answered before it let go counts. */
	while (vtfs_cliq_collect(q))
		;
	vtfs_cliq_fail(q, -ECANCELED);
	c->reset.step = VTFS_RESET_START;
	return vtfs_client_layout_queue(c, q->index);
}

/* The device has not answered. 0: perhaps now; -EAGAIN with NONBLOCK. */
static int wait_for_it(struct virtiofs_client *c)
{
	uint64_t deadline = c->reset.deadline;

	if (c->opts.flags & VIRTIOFS_CLIENT_NONBLOCK && vtfs_now() < deadline)
		return -EAGAIN;
	if (vtfs_client_transport_wait(c, deadline) >= 0)
		return 0;
	return vtfs_fail(-ETIMEDOUT, "queue %u: the device keeps it",
			 c->reset.q->index);
}

static int reset(struct virtiofs_client *c, struct virtiofs_cliq *q)
{
	struct vtfs_reset *rs = &c->reset;
	int r;

	if (rs->q && rs->q != q)
		return -EAGAIN;
	if (!rs->q) {
		rs->q = q;
		rs->step = VTFS_RESET_SETTLE;
		rs->deadline = vtfs_client_stop_deadline(c);
	}
	while (rs->step != VTFS_RESET_STARTED) {
		r = go_on(c);
		if (!rs->q)
			return r;
		if (r == -EAGAIN)
			r = wait_for_it(c);
		else if (rs->step == VTFS_RESET_STOPPED)
			r = begin_anew(c, q);
		if (r < 0)
			return r == -EAGAIN ? r : fail(c, r);
	}
	r = vtfs_client_open_line(c, q->index);
	if (r < 0)
		return fail(c, r);
	/* What was pushed meanwhile was told to nobody. */
	if (q->posted)
		vtfs_doorbell_ring(&q->line.bell, vtfs_vq_drv_pos(q->vq));
	end(c);
	return 0;
}

int virtiofs_cliq_reset(struct virtiofs_cliq *q)
{
	struct virtiofs_client *c = q->c;
	int r;

	if (!vtfs_client_running(c))
		return vtfs_fail(-ENOTCONN, "queue %u: not connected",
				 q->index);
	if (!(c->features & VIRTIOFS_F_RING_RESET))
		return vtfs_fail(-EOPNOTSUPP,
				 "queue %u: RING_RESET was not negotiated",
				 q->index);
	if (!(c->opts.flags & VIRTIOFS_CLIENT_NONBLOCK)) {
		pthread_mutex_lock(&c->tlock);
	} else if (pthread_mutex_trylock(&c->tlock)) {
		/* Who has it wakes nobody. */
		vtfs_evfd_signal(q->wake_fd);
		return -EAGAIN;
	}
	r = reset(c, q);
	pthread_mutex_unlock(&c->tlock);
	return r;
}
