/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stats.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <virtiofs/stats.h>

#define OPCODES 64u

static bool print_queue(const struct virtiofs_client *c, uint32_t queue)
{
	struct virtiofs_queue_stats q = {.size = sizeof(q)};

	if (virtiofs_client_stats(c, queue, &q) < 0)
		return false;
	if (!q.requests)
		return true;
	fprintf(stderr,
		"queue %" PRIu32 ": %" PRIu64 " requests, %" PRIu64
		" bytes; %" PRIu64 " replies, %" PRIu64 " bytes, %" PRIu64
		" errors; %" PRIu64 " kicks, %" PRIu64 " calls, %" PRIu64
		" waited, %" PRIu64 " forgets\n",
		queue, q.requests, q.request_bytes, q.replies, q.reply_bytes,
		q.errors, q.kicks, q.calls, q.parked, q.forgets);
	return true;
}

static double us(uint64_t ns)
{
	return (double)ns / 1e3;
}

static void print_opcode(const struct virtiofs_client *c, uint32_t opcode)
{
	struct virtiofs_hist h = {.size = sizeof(h)};

	if (virtiofs_client_latency(c, VIRTIOFS_QUEUE_ALL, opcode, &h) < 0 ||
	    !h.cnt)
		return;
	fprintf(stderr, "%-16s %8" PRIu64 " %10.1f %10.1f %10.1f\n",
		virtiofs_opcode_name(opcode), h.cnt,
		us(virtiofs_hist_quantile(&h, 0.5)),
		us(virtiofs_hist_quantile(&h, 0.99)), us(h.max));
}

void stats_print(const struct virtiofs_client *c)
{
	uint32_t i = 0;

	while (print_queue(c, i))
		i++;
	fprintf(stderr, "%-16s %8s %10s %10s %10s\n", "latency, us", "number",
		"p50", "p99", "worst");
	for (i = 0; i < OPCODES; i++)
		print_opcode(c, i);
}
