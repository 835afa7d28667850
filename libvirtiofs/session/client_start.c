/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a transport to a session, and back.
 *
 * Theory of operation
 *
 * Start is a list of steps (virtio 1.4, 3.1.1, then FUSE_INIT). A step that has
 * to wait for the peer returns -EAGAIN and is called again with nothing
 * changed; substep counts within a step that has several parts. A step that
 * fails ends the attempt: FAILED is written, and the next start begins with a
 * reset.
 *
 * Stop is bounded in time whatever the peer does: an op of the transport that
 * is not answered in time ends all further talk with it.
 */
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "session/client.h"
#include "wire/virtio.h"

/* Everything this driver knows; more is ignored (virtio 1.4, 2.2). */
#define FEATURES_KNOWN                                                         \
	(VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_INDIRECT_DESC |                     \
	 VIRTIOFS_F_EVENT_IDX | VIRTIOFS_F_RING_PACKED | VIRTIOFS_F_IN_ORDER | \
	 VIRTIOFS_F_RING_RESET)

#define STOP_MS	 1000u
#define RESET_MS 1000u

int vtfs_client_transport_wait(struct virtiofs_client *c, uint64_t deadline)
{
	struct pollfd p = {.fd = c->t->fd(c->t), .events = POLLIN};
	int r = poll(&p, 1, vtfs_ms_left(deadline));

	if (r == 0)
		return vtfs_fail(-ETIMEDOUT, "%s: no answer", c->t->name);
	return 0;
}

/* ---- steps ---- */

static int step_connect(struct virtiofs_client *c)
{
	int r;

	if (c->connected)
		return 0;
	r = c->t->cli->connect(c->t);
	if (r < 0)
		return r;
	c->connected = true;
	vtfs_client_share_none(c);
	return 0;
}

/* A device without a status is told by other means: no fault. */
static int set_status(struct virtiofs_client *c, uint8_t status)
{
	int r = c->t->cli->set_status(c->t, status);

	if (r == -EOPNOTSUPP)
		r = 0;
	if (r >= 0)
		c->status = status;
	return r;
}

static int step_reset(struct virtiofs_client *c)
{
	return set_status(c, 0);
}

/* A reset is done when status reads 0 (virtio 1.4, 2.4.2). A device that takes
 * its time is asked again every millisecond: nothing tells when it is done. */
static int step_reset_done(struct virtiofs_client *c)
{
	uint8_t status;
	int r;

	do {
		if (c->substep)
			poll(NULL, 0, 1);
		status = 0;
		r = c->t->cli->get_status(c->t, &status);
		if (r == -EOPNOTSUPP)
			return 0;
		if (r < 0)
			return r;
	} while (status && c->substep++ < RESET_MS);
	if (status)
		return vtfs_fail(-EPROTO, "status is %#x after a reset",
				 status);
	return 0;
}

static int step_acknowledge(struct virtiofs_client *c)
{
	return set_status(c, VTFS_STATUS_ACKNOWLEDGE);
}

static int step_driver(struct virtiofs_client *c)
{
	return set_status(c, VTFS_STATUS_ACKNOWLEDGE | VTFS_STATUS_DRIVER);
}

static int step_get_features(struct virtiofs_client *c)
{
	uint64_t want = c->opts.features | VIRTIOFS_F_VERSION_1;
	uint64_t own = 0;
	int r = c->t->cli->get_features(c->t, &c->offered);

	if (r < 0)
		return r;
	if (!(c->offered & VIRTIOFS_F_VERSION_1))
		return vtfs_fail(-EOPNOTSUPP,
				 "%s: a legacy device, without VERSION_1",
				 c->t->name);
	if (c->t->cli->own_features)
		own = c->t->cli->own_features(c->t, want);
	c->features = c->offered & ((want & FEATURES_KNOWN) | own);
	if (c->opts.notify)
		c->features |= c->offered & VIRTIOFS_F_NOTIFICATION;
	if (!(c->features & VIRTIOFS_F_RING_PACKED) &&
	    !vtfs_is_pow2(c->opts.queue_size))
		return vtfs_fail(-EINVAL, "queue size %u is no power of two",
				 c->opts.queue_size);
	return 0;
}

static int step_set_features(struct virtiofs_client *c)
{
	return c->t->cli->set_features(c->t, c->features);
}

static int step_features_ok(struct virtiofs_client *c)
{
	return set_status(c, VTFS_STATUS_ACKNOWLEDGE | VTFS_STATUS_DRIVER |
				 VTFS_STATUS_FEATURES_OK);
}

static int step_features_read(struct virtiofs_client *c)
{
	uint8_t status = 0;
	int r = c->t->cli->get_status(c->t, &status);

	if (r == -EOPNOTSUPP)
		return 0;
	if (r >= 0 && !(status & VTFS_STATUS_FEATURES_OK))
		return vtfs_fail(-EPROTO, "%s: refuses features %#llx",
				 c->t->name, (unsigned long long)c->features);
	return r;
}

static int step_queue_cnt(struct virtiofs_client *c)
{
	unsigned cnt = 0, spare, least;
	int r = c->t->cli->queue_cnt(c->t, &cnt);

	c->device_queues = 0;
	if (r == -EOPNOTSUPP)
		return 0;
	if (r < 0)
		return r;
	/* The notification queue counts if it is offered. */
	spare = c->offered & VIRTIOFS_F_NOTIFICATION ? 1 : 0;
	least = c->features & VIRTIOFS_F_NOTIFICATION ? 3 : 2;
	if (cnt < least)
		return vtfs_fail(-EPROTO, "%s: %u queues, less than %u",
				 c->t->name, cnt, least);
	c->device_queues = cnt > 2 ? cnt - 1 - spare : 1;
	return 0;
}

/* How many there are, and how long their rings may be. */
static int step_queues(struct virtiofs_client *c)
{
	uint32_t cnt = c->opts.num_request_queues;
	uint32_t noted = c->features & VIRTIOFS_F_NOTIFICATION ? 1 : 0;
	uint32_t max = VTFS_VQ_NUM_MAX;
	int r = 0;

	if (c->device_queues)
		cnt = vtfs_min_u32(cnt, c->device_queues);
	if (c->t->cli->queue_max)
		r = c->t->cli->queue_max(c->t, cnt + 1 + noted, &max);
	if (r < 0)
		return r;
	if (max < VTFS_CLIENT_QUEUE_MIN)
		return vtfs_fail(-EPROTO, "%s: queues of %u entries",
				 c->t->name, max);
	c->ring_num = vtfs_min_u32(c->opts.queue_size, max);
	while (!(c->features & VIRTIOFS_F_RING_PACKED) &&
	       !vtfs_is_pow2(c->ring_num))
		c->ring_num &= c->ring_num - 1;
	c->queue_cnt = cnt;
	return 0;
}

static int step_driver_ok(struct virtiofs_client *c)
{
	return set_status(c, VTFS_STATUS_ACKNOWLEDGE | VTFS_STATUS_DRIVER |
				 VTFS_STATUS_FEATURES_OK |
				 VTFS_STATUS_DRIVER_OK);
}

static int (*const steps[])(struct virtiofs_client *c) = {
    step_connect,
    step_reset,
    step_reset_done,
    vtfs_client_unshare,
    step_acknowledge,
    step_driver,
    step_get_features,
    vtfs_client_read_notify_size,
    step_set_features,
    step_features_ok,
    step_features_read,
    step_queue_cnt,
    vtfs_client_read_config,
    step_queues,
    vtfs_client_share,
    vtfs_client_share_regions,
    vtfs_client_layout,
    vtfs_client_start_queues,
    step_driver_ok,
    vtfs_hiprio_begin,
    vtfs_cnotes_kick,
    vtfs_client_init_send,
    vtfs_client_init_wait,
};

#define STEP_INIT_WAIT (VTFS_ARRAY_LEN(steps) - 1)

/* The fd that tells when the step can go on. */
static int step_wait(struct virtiofs_client *c)
{
	struct virtiofs_cliq *q = &c->queues[0];
	struct epoll_event ev[8];
	int n;

	if (c->step != STEP_INIT_WAIT)
		return vtfs_client_transport_wait(c, c->start_deadline);
	n = epoll_wait(q->taken ? q->ep_fd : c->ep_fd, ev, VTFS_ARRAY_LEN(ev),
		       vtfs_ms_left(c->start_deadline));
	if (n == 0)
		return vtfs_fail(-ETIMEDOUT, "FUSE_INIT: no answer");
	return 0;
}

/* A peer that hangs up while INIT waits. */
static int step_dispatch(struct virtiofs_client *c)
{
	if (c->step != STEP_INIT_WAIT)
		return 0;
	vtfs_evfd_drain(c->wake_fd);
	return c->t->cli->dispatch(c->t);
}

static int run_steps(struct virtiofs_client *c)
{
	int r;

	while (c->step < VTFS_ARRAY_LEN(steps)) {
		r = step_dispatch(c);
		if (r >= 0)
			r = steps[c->step](c);
		if (r >= 0 && vtfs_load_acquire(&c->state) == VTFS_CLIENT_LOST)
			r = vtfs_fail(-ENOTCONN, "%s: hung up", c->t->name);
		if (r >= 0) {
			c->step++;
			c->substep = 0;
			continue;
		}
		if (r != -EAGAIN || c->opts.flags & VIRTIOFS_CLIENT_NONBLOCK)
			return r;
		r = step_wait(c);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- one op, in bounded time ---- */

struct stop_call {
	int (*op)(struct virtiofs_client *c, unsigned arg);
	unsigned arg;
};

static int op_status(struct virtiofs_client *c, unsigned status)
{
	return set_status(c, (uint8_t)status);
}

static int op_stop_queue(struct virtiofs_client *c, unsigned place)
{
	return c->t->cli->stop_queue(c->t, vtfs_client_vq(c, place));
}

static int op_read_status(struct virtiofs_client *c, unsigned arg)
{
	uint8_t status;

	return c->t->cli->get_status(c->t, &status);
}

static int bounded(struct virtiofs_client *c, const struct stop_call *call,
		   uint64_t deadline)
{
	int r;

	if (!c->connected)
		return -ENOTCONN;
	do
		r = call->op(c, call->arg);
	while (r == -EAGAIN && vtfs_client_transport_wait(c, deadline) >= 0);
	/* What it still owes would be taken for another answer. */
	if (r == -EAGAIN || r == -ENOTCONN)
		c->connected = false;
	return r;
}

static int stop_queue(struct virtiofs_client *c, unsigned place,
		      uint64_t deadline)
{
	return bounded(c, &(struct stop_call){op_stop_queue, place}, deadline);
}

uint64_t vtfs_client_stop_deadline(const struct virtiofs_client *c)
{
	uint32_t ms = STOP_MS;

	if (c->opts.timeout_ms)
		ms = vtfs_min_u32(ms, c->opts.timeout_ms);
	return vtfs_now() + ms * 1000000ULL;
}

static void start_failed(struct virtiofs_client *c, int r)
{
	uint64_t deadline = vtfs_now() + STOP_MS * 1000000ULL;
	struct stop_call failed = {op_status, c->status | VTFS_STATUS_FAILED};
	unsigned step = c->step;

	/* The FAILED bit must not replace the text of the fault. */
	if (r == -ENOTCONN || r == -ETIMEDOUT)
		c->connected = false;
	if (c->connected && c->status && step > 2)
		bounded(c, &failed, deadline);
	for (unsigned i = 0; i < c->opts.num_request_queues; i++)
		vtfs_cliq_fail(&c->queues[i], -ENOTCONN);
	vtfs_hiprio_fail(c, -ENOTCONN);
	c->init_slot = NULL;
	vtfs_store_release(&c->state, VTFS_CLIENT_LOST);
	vtfs_fd_forget(c->ep_fd, c->t->fd(c->t));
}

static int start_begin(struct virtiofs_client *c)
{
	int r;

	if (vtfs_load_acquire(&c->state) == VTFS_CLIENT_STARTING)
		return 0;
	/* Until it is lost: then nobody reads what comes by it. */
	r = vtfs_fd_watch(c->ep_fd, c->t->fd(c->t), EPOLLIN,
			  VTFS_WAIT_TRANSPORT);
	if (r < 0)
		return r;
	c->step = 0;
	c->substep = 0;
	c->status = 0;
	c->status_asked = false;
	c->reset.q = NULL;
	c->start_deadline = 0;
	if (c->opts.timeout_ms)
		c->start_deadline = vtfs_now() +
				    c->opts.timeout_ms * 1000000ULL;
	vtfs_store_release(&c->init_done, 0);
	vtfs_store_release(&c->config_changed, 0);
	vtfs_store_release(&c->state, VTFS_CLIENT_STARTING);
	return 0;
}

int virtiofs_client_start(struct virtiofs_client *c,
			  struct fuse_init_out *ret_init)
{
	int r;

	if (vtfs_client_running(c))
		return vtfs_fail(-EBUSY, "%s: started", c->t->name);
	pthread_mutex_lock(&c->tlock);
	r = start_begin(c);
	if (r >= 0)
		r = run_steps(c);
	if (r >= 0)
		vtfs_store_release(&c->state, VTFS_CLIENT_RUNNING);
	else if (r != -EAGAIN)
		start_failed(c, r);
	pthread_mutex_unlock(&c->tlock);
	if (r >= 0 && ret_init)
		*ret_init = c->init_out;
	return r;
}

/* ---- the end ---- */

/* Forgets that wait go first (the server may be sent DESTROY in vain). */
static void drain_hiprio(struct virtiofs_client *c, uint64_t deadline)
{
	struct epoll_event ev[8];
	int ms;

	for (;;) {
		vtfs_hiprio_try(c);
		if (vtfs_hiprio_idle(c))
			return;
		ms = vtfs_ms_left(deadline);
		if (!ms || c->t->cli->dispatch(c->t) < 0)
			return;
		if (!vtfs_hiprio_arm(c))
			epoll_wait(c->ep_fd, ev, VTFS_ARRAY_LEN(ev), ms);
		vtfs_evfd_drain(c->wake_fd);
	}
}

void vtfs_client_stop(struct virtiofs_client *c)
{
	uint64_t deadline = vtfs_client_stop_deadline(c);

	if (vtfs_client_running(c)) {
		drain_hiprio(c, deadline);
		if (vtfs_load_acquire(&c->init_done))
			vtfs_client_destroy(c, deadline);
		for (unsigned i = 0; i < vtfs_client_places(c); i++)
			stop_queue(c, i, deadline);
	}
	if (c->connected && c->status) {
		struct stop_call reset = {op_status, 0};
		struct stop_call wait = {op_read_status, 0};

		/* Read back: nothing is touched after that (2.4.2). */
		if (bounded(c, &reset, deadline) >= 0)
			bounded(c, &wait, deadline);
	}
}
