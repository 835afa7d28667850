/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a queue counts: in taking, written by who pops, and in giving, written
 * by who pushes, so that neither needs a locked instruction. Readers add them
 * up.
 */
#include "session/dev.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

#define OPCODES 64u /* 0 stands for all that the table does not know */

int vtfs_devq_init_latency(struct virtiofs_devq *q)
{
	if (!(q->dev->opts.flags & VIRTIOFS_DEVICE_LATENCY) ||
	    q == q->dev->notes.q)
		return 0;
	q->latency = calloc(OPCODES, sizeof(*q->latency));
	return q->latency ? 0 : -ENOMEM;
}

uint64_t vtfs_devq_now(const struct virtiofs_devq *q)
{
	return q->latency ? vtfs_now() : 0;
}

static unsigned opcode_of(const struct vtfs_slot *s)
{
	return s->op && s->op->opcode < OPCODES ? s->op->opcode : 0;
}

void vtfs_devq_count_reply(struct virtiofs_devq *q, const struct vtfs_slot *s,
			   uint64_t now)
{
	struct virtiofs_queue_stats *st = &q->giving;

	if (s->used_len) {
		vtfs_stat_add(&st->replies, 1);
		vtfs_stat_add(&st->reply_bytes, s->used_len);
		vtfs_stat_add(&st->errors, s->error != 0);
	}
	if (q->latency)
		vtfs_hist_add(&q->latency[opcode_of(s)], now - s->taken_at);
}

static void sum_queue(struct virtiofs_queue_stats *sum,
		      const struct virtiofs_devq *q)
{
	const struct virtiofs_device *dev = q->dev;

	vtfs_stats_sum(sum, &q->taking);
	vtfs_stats_sum(sum, &q->giving);
	if (q->index != VIRTIOFS_QUEUE_HIPRIO)
		return;
	vtfs_pending_stats(&dev->pending, sum);
	sum->message_faults += vtfs_load_once(&dev->message_faults);
}

static int check_queue(const struct virtiofs_device *dev, uint32_t queue)
{
	if (queue < dev->queue_cnt || queue == VIRTIOFS_QUEUE_ALL)
		return 0;
	if (queue == VIRTIOFS_QUEUE_NOTIFY && dev->notes.q)
		return 0;
	return vtfs_fail(-EINVAL, "queue %u: no such queue", queue);
}

static bool is_meant(const struct virtiofs_devq *q, uint32_t queue)
{
	if (q == q->dev->notes.q && queue == VIRTIOFS_QUEUE_NOTIFY)
		return true;
	return queue == VIRTIOFS_QUEUE_ALL || queue == q->index;
}

int virtiofs_device_stats(const struct virtiofs_device *dev, uint32_t queue,
			  struct virtiofs_queue_stats *ret)
{
	struct virtiofs_queue_stats sum = {0};
	int r = check_queue(dev, queue);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < dev->all_cnt; i++)
		if (is_meant(&dev->queues[i], queue))
			sum_queue(&sum, &dev->queues[i]);
	return vtfs_stats_copy(ret, &sum, sizeof(sum), "queue_stats");
}

int virtiofs_device_latency(const struct virtiofs_device *dev, uint32_t queue,
			    uint32_t opcode, struct virtiofs_hist *ret)
{
	struct virtiofs_hist sum = {0};
	int r = check_queue(dev, queue);

	if (r < 0)
		return r;
	if (opcode >= OPCODES)
		return vtfs_fail(-EINVAL, "opcode %u: no such opcode", opcode);
	if (!(dev->opts.flags & VIRTIOFS_DEVICE_LATENCY))
		return vtfs_fail(-EOPNOTSUPP, "latencies are not measured");
	for (unsigned i = 0; i < dev->queue_cnt; i++)
		if (is_meant(&dev->queues[i], queue))
			vtfs_hist_sum(&sum, &dev->queues[i].latency[opcode]);
	return vtfs_stats_copy(ret, &sum, sizeof(sum), "hist");
}
