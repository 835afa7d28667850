/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a client counts. A queue's numbers are written by its owner, hiprio's
 * under hi.lock but for calls, so that none needs a locked instruction; readers
 * take what they find.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "session/client.h"

#define OPCODES 64u /* 0 stands for all that the table does not know */

int vtfs_cliq_init_latency(struct virtiofs_cliq *q)
{
	if (!(q->c->opts.flags & VIRTIOFS_CLIENT_LATENCY))
		return 0;
	q->latency = calloc(OPCODES, sizeof(*q->latency));
	return q->latency ? 0 : vtfs_fail(-ENOMEM, "latencies");
}

void vtfs_cliq_count_post(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	vtfs_stat_add(&q->stats.requests, 1);
	vtfs_stat_add(&q->stats.request_bytes, sizeof(struct fuse_in_header) +
						   s->op.arg_len + s->data_len);
	if (q->latency)
		s->posted_at = vtfs_now();
}

void vtfs_cliq_count_reply(struct virtiofs_cliq *q, const struct vtfs_cslot *s,
			   uint32_t len)
{
	unsigned opcode = s->kind && s->kind->opcode < OPCODES ? s->kind->opcode
							       : 0;

	if (len) {
		vtfs_stat_add(&q->stats.replies, 1);
		vtfs_stat_add(&q->stats.errors, s->error != 0);
		vtfs_stat_add(&q->stats.reply_bytes, len);
	}
	if (q->latency)
		vtfs_hist_add(&q->latency[opcode], vtfs_now() - s->posted_at);
}

/* They stand at the end of their lists. */
void vtfs_cliq_count_parked(struct virtiofs_cliq *q)
{
	vtfs_stat_add(
	    &q->stats.parked,
	    vtfs_min_u32(q->fresh, q->waiting.cnt + q->locks_waiting.cnt));
	q->fresh = 0;
}

void vtfs_cliq_count_calls(struct virtiofs_cliq *q,
			   const struct epoll_event *ev, int cnt)
{
	for (int i = 0; i < cnt; i++)
		if (ev[i].data.u32 == VTFS_WAIT_CALL + q->index)
			vtfs_stat_add(&q->stats.calls, 1);
}

void vtfs_client_count_calls(struct virtiofs_client *c,
			     const struct epoll_event *ev, int cnt)
{
	/* These of their numbers are under the client's lock. */
	for (int i = 0; i < cnt; i++) {
		if (ev[i].data.u32 == VTFS_WAIT_CALL + VIRTIOFS_QUEUE_HIPRIO)
			vtfs_stat_add(&c->hi.stats.calls, 1);
		if (ev[i].data.u32 == VTFS_WAIT_NOTES)
			vtfs_stat_add(&c->notes.stats.calls, 1);
	}
	/* Once taken, a queue is its owner's to count. */
	for (unsigned i = 0; cnt > 0 && i < c->opts.num_request_queues; i++)
		if (!c->queues[i].taken)
			vtfs_cliq_count_calls(&c->queues[i], ev, cnt);
}

static int check_queue(const struct virtiofs_client *c, uint32_t queue)
{
	if (queue <= c->opts.num_request_queues || queue == VIRTIOFS_QUEUE_ALL)
		return 0;
	if (queue == VIRTIOFS_QUEUE_NOTIFY && c->opts.notify)
		return 0;
	return vtfs_fail(-EINVAL, "queue %u: no such queue", queue);
}

static bool is_meant(uint32_t index, uint32_t queue)
{
	return queue == VIRTIOFS_QUEUE_ALL || queue == index;
}

int virtiofs_client_stats(const struct virtiofs_client *c, uint32_t queue,
			  struct virtiofs_queue_stats *ret)
{
	struct virtiofs_queue_stats sum = {0};
	int r = check_queue(c, queue);

	if (r < 0)
		return r;
	if (is_meant(VIRTIOFS_QUEUE_HIPRIO, queue))
		vtfs_stats_sum(&sum, &c->hi.stats);
	if (is_meant(VIRTIOFS_QUEUE_NOTIFY, queue))
		vtfs_stats_sum(&sum, &c->notes.stats);
	for (unsigned i = 0; i < c->opts.num_request_queues; i++)
		if (is_meant(c->queues[i].index, queue))
			vtfs_stats_sum(&sum, &c->queues[i].stats);
	return vtfs_stats_copy(ret, &sum, sizeof(sum), "queue_stats");
}

int virtiofs_client_latency(const struct virtiofs_client *c, uint32_t queue,
			    uint32_t opcode, struct virtiofs_hist *ret)
{
	struct virtiofs_hist sum = {0};
	int r = check_queue(c, queue);

	if (r < 0)
		return r;
	if (opcode >= OPCODES)
		return vtfs_fail(-EINVAL, "opcode %u: no such opcode", opcode);
	if (!(c->opts.flags & VIRTIOFS_CLIENT_LATENCY))
		return vtfs_fail(-EOPNOTSUPP, "latencies are not measured");
	for (unsigned i = 0; i < c->opts.num_request_queues; i++)
		if (is_meant(c->queues[i].index, queue))
			vtfs_hist_sum(&sum, &c->queues[i].latency[opcode]);
	return vtfs_stats_copy(ret, &sum, sizeof(sum), "hist");
}
