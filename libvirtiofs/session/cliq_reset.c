/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A queue is taken away from the device and begins anew, while the others run.
 * (virtio 1.4, 2.6.1) Until the device has said that it is done with it, all of
 * its memory is the device's; after that nothing of it is.
 */
#include "session/cliq.h"

#include "base/error.h"
#include "session/client.h"

static int begin_anew(struct virtiofs_client *c, struct virtiofs_cliq *q)
{
	uint64_t deadline = vtfs_client_stop_deadline(c);
	unsigned vq = (unsigned)(q - c->queues) + 1;
	int r;

	vtfs_client_settle(c);
	r = vtfs_client_stop_queue(c, vq, deadline);
	if (r < 0)
		return r;
	/* What it answered before it let go counts. */
	while (vtfs_cliq_collect(q))
		;
	vtfs_cliq_fail(q, -ECANCELED);
	r = vtfs_client_layout_queue(c, vq);
	return r < 0 ? r : vtfs_client_start_queue(c, vq, deadline);
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
	pthread_mutex_lock(&c->tlock);
	r = begin_anew(c, q);
	/* Whose the memory is, nobody knows. */
	if (r < 0)
		vtfs_client_hung_up(c, r);
	pthread_mutex_unlock(&c->tlock);
	if (r == -EAGAIN)
		r = vtfs_fail(-ETIMEDOUT, "queue %u: the device keeps it",
			      q->index);
	return r;
}
