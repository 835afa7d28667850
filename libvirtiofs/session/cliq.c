/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taken queues: the calls of their owner's thread. */
#include "session/cliq.h"

#include <sys/epoll.h>

#include "base/error.h"
#include "base/shared.h"
#include "session/client.h"

/* What every call of the owner begins with. */
static void enter(struct virtiofs_cliq *q)
{
	vtfs_hiprio_try(q->c);
	if (!q->dead && vtfs_load_acquire(&q->c->state) == VTFS_CLIENT_LOST)
		vtfs_cliq_fail(q, -ENOTCONN);
}

static struct virtiofs_cliq *find_queue(struct virtiofs_client *c,
					unsigned index)
{
	if (index < 1 || index > c->opts.num_request_queues)
		return NULL;
	if (vtfs_client_running(c) && index > c->queue_cnt)
		return NULL;
	return &c->queues[index - 1];
}

/* Does a thread wait for it in client_call? */
static bool has_callers(const struct virtiofs_cliq *q)
{
	for (uint32_t i = 0; i < q->slot_cnt; i++)
		if (q->slots[i].waiter)
			return true;
	return false;
}

static int take(struct virtiofs_cliq *q)
{
	struct virtiofs_client *c = q->c;
	int r;

	if (q->taken)
		return vtfs_fail(-EBUSY, "queue %u is taken", q->index);
	if (has_callers(q))
		return vtfs_fail(-EBUSY, "queue %u has calls in flight",
				 q->index);
	r = vtfs_fd_watch(q->ep_fd, q->call_fd, EPOLLIN | EPOLLET,
			  VTFS_WAIT_CALL + q->index);
	if (r < 0)
		return r;
	r = vtfs_line_move(&q->line, c->ep_fd, q->ep_fd);
	if (r < 0) {
		vtfs_fd_forget(q->ep_fd, q->call_fd);
		return r;
	}
	vtfs_fd_forget(c->ep_fd, q->call_fd);
	q->taken = true;
	return 0;
}

int virtiofs_client_take_queue(struct virtiofs_client *c, unsigned index,
			       uint32_t flags, struct virtiofs_cliq **ret)
{
	struct virtiofs_cliq *q = find_queue(c, index);
	int r;

	if (!q || flags)
		return vtfs_fail(-EINVAL, "queue %u, flags %#x", index, flags);
	pthread_mutex_lock(&c->lock);
	r = take(q);
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		return r;
	/* Its events are its owner's from now on; what came before, too. */
	vtfs_evfd_signal(q->wake_fd);
	*ret = q;
	return 0;
}

static int release(struct virtiofs_cliq *q)
{
	struct virtiofs_client *c = q->c;
	int r;

	if (q->free.cnt != q->slot_cnt)
		return vtfs_fail(-EBUSY, "queue %u: %u ops not ended", q->index,
				 q->slot_cnt - q->free.cnt);
	r = vtfs_fd_watch(c->ep_fd, q->call_fd, EPOLLIN | EPOLLET,
			  VTFS_WAIT_CALL + q->index);
	if (r < 0)
		return r;
	r = vtfs_line_move(&q->line, q->ep_fd, c->ep_fd);
	if (r < 0) {
		vtfs_fd_forget(c->ep_fd, q->call_fd);
		return r;
	}
	vtfs_fd_forget(q->ep_fd, q->call_fd);
	q->taken = false;
	return 0;
}

int virtiofs_cliq_release(struct virtiofs_cliq *q)
{
	struct virtiofs_client *c = q->c;
	int r;

	enter(q);
	pthread_mutex_lock(&c->lock);
	r = release(q);
	pthread_mutex_unlock(&c->lock);
	return r;
}

struct virtiofs_op *virtiofs_cliq_get_op(struct virtiofs_cliq *q)
{
	struct vtfs_cslot *s;

	if (!q->area)
		return NULL;
	s = vtfs_cliq_get(q);
	if (!s)
		return NULL;
	s->op.arg = vtfs_slot_arg(q, s);
	vtfs_slots_push(q, &q->staged, s);
	return &s->op;
}

int virtiofs_cliq_submit(struct virtiofs_cliq *q)
{
	struct vtfs_cslot *s;
	int n = 0;

	enter(q);
	while ((s = vtfs_slots_pop(q, &q->staged))) {
		if (!s->op.opcode) {
			vtfs_slot_end(q, s);
			continue;
		}
		vtfs_cliq_stage(q, s);
		n++;
	}
	vtfs_cliq_push(q);
	return n;
}

static void fill_result(struct virtiofs_result *res, struct vtfs_cslot *s)
{
	bool more = s->state == VTFS_SLOT_POSTED;

	res->user_data = s->op.user_data;
	res->error = more ? -ETIMEDOUT : s->error;
	res->len = more ? 0 : s->len;
	res->flags = more ? VIRTIOFS_RESULT_MORE : 0;
	res->reserved[0] = 0;
	res->reserved[1] = 0;
	res->reserved[2] = 0;
}

int virtiofs_cliq_reap(struct virtiofs_cliq *q, struct virtiofs_result *res,
		       unsigned max)
{
	struct vtfs_cslot *s;
	unsigned n = 0;

	enter(q);
	vtfs_cliq_expire(q);
	while (n < max && (s = vtfs_cliq_next(q))) {
		fill_result(&res[n++], s);
		vtfs_cliq_give(q, s);
	}
	vtfs_cliq_push(q);
	if (!n && max && q->dead)
		return vtfs_fail(q->dead, "queue %u has no device", q->index);
	return (int)n;
}

int virtiofs_cliq_arm(struct virtiofs_cliq *q)
{
	struct epoll_event ev[4];

	enter(q);
	/* Edges seen so far are answered by the look that follows. */
	vtfs_cliq_count_calls(q, ev, epoll_wait(q->ep_fd, ev, 4, 0));
	vtfs_evfd_drain(q->wake_fd);
	vtfs_evfd_drain(q->timer_fd);
	q->timer_at = 0;
	if (!q->dead && vtfs_load_acquire(&q->c->state) == VTFS_CLIENT_LOST)
		vtfs_cliq_fail(q, -ENOTCONN);
	return vtfs_cliq_wait(q);
}

int virtiofs_cliq_fd(const struct virtiofs_cliq *q)
{
	return q->ep_fd;
}
