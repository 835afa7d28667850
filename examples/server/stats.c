/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stats.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs.h"

#define OPCODES 64u /* 0 stands for all that are unknown */

struct stats {
	_Atomic uint64_t done[OPCODES], failed[OPCODES];
	_Atomic uint64_t read_bytes, written_bytes;
	const struct fs *fs;
	struct stats *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct stats *all; /* under lock */
static __thread struct stats *mine;

void stats_thread_start(const struct fs *fs)
{
	mine = calloc(1, sizeof(*mine));
	if (!mine)
		return;
	mine->fs = fs;
	pthread_mutex_lock(&lock);
	mine->next = all;
	all = mine;
	pthread_mutex_unlock(&lock);
}

/* One thread writes, so no atomic addition is needed. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

void stats_count(uint32_t opcode, bool failed)
{
	uint32_t i = opcode < OPCODES ? opcode : 0;

	if (!mine)
		return;
	add(&mine->done[i], 1);
	if (failed)
		add(&mine->failed[i], 1);
}

void stats_count_wait(struct fs *fs, bool failed)
{
	atomic_fetch_add(&fs->waits_ended, 1);
	if (failed)
		atomic_fetch_add(&fs->waits_failed, 1);
}

void stats_read_bytes(uint64_t n)
{
	if (mine)
		add(&mine->read_bytes, n);
}

void stats_written_bytes(uint64_t n)
{
	if (mine)
		add(&mine->written_bytes, n);
}

static double us(uint64_t ns)
{
	return (double)ns / 1000;
}

/* If they are measured. */
static void print_latency(const struct virtiofs_device *dev, uint32_t opcode)
{
	struct virtiofs_hist h = {.size = sizeof(h)};

	if (virtiofs_device_latency(dev, VIRTIOFS_QUEUE_ALL, opcode, &h) < 0 ||
	    !h.cnt)
		return;
	printf("  us p50 %.1f  p99 %.1f  max %.1f",
	       us(virtiofs_hist_quantile(&h, 0.5)),
	       us(virtiofs_hist_quantile(&h, 0.99)), us(h.max));
}

static void print_opcode(const struct fs *fs, const struct virtiofs_device *dev,
			 uint32_t i)
{
	uint64_t done = 0, failed = 0;

	if (i == FUSE_SETLKW) {
		done = atomic_load(&fs->waits_ended);
		failed = atomic_load(&fs->waits_failed);
	}
	for (struct stats *s = all; s; s = s->next) {
		if (s->fs != fs)
			continue;
		done += atomic_load_explicit(&s->done[i], memory_order_relaxed);
		failed += atomic_load_explicit(&s->failed[i],
					       memory_order_relaxed);
	}
	if (!done)
		return;
	printf("%-20s %12" PRIu64 "  failed %" PRIu64,
	       i ? virtiofs_opcode_name(i) : "unknown", done, failed);
	print_latency(dev, i);
	printf("\n");
}

static void print_bytes(const struct fs *fs)
{
	uint64_t rd = 0, wr = 0;

	for (struct stats *s = all; s; s = s->next) {
		if (s->fs != fs)
			continue;
		rd += atomic_load_explicit(&s->read_bytes,
					   memory_order_relaxed);
		wr += atomic_load_explicit(&s->written_bytes,
					   memory_order_relaxed);
	}
	printf("%-20s %12" PRIu64 "\n%-20s %12" PRIu64 "\n", "bytes read", rd,
	       "bytes written", wr);
}

static void print_if(const char *name, uint64_t n)
{
	if (n)
		printf("  %s %" PRIu64, name, n);
}

/* False: there is no such queue. */
static bool print_queue(const struct virtiofs_device *dev, uint32_t idx)
{
	struct virtiofs_queue_stats s = {.size = sizeof(s)};

	if (virtiofs_device_stats(dev, idx, &s) < 0)
		return false;
	printf("queue %-14" PRIu32 " %12" PRIu64, idx, s.requests);
	print_if("replies", s.replies);
	print_if("errors", s.errors);
	print_if("request bytes", s.request_bytes);
	print_if("reply bytes", s.reply_bytes);
	print_if("kicks", s.kicks);
	print_if("calls", s.calls);
	print_if("parked", s.parked);
	print_if("misrouted", s.misrouted);
	print_if("forgets", s.forgets);
	print_if("interrupts", s.interrupts_matched);
	print_if("early interrupts", s.interrupts_early);
	print_if("late interrupts", s.interrupts_late);
	print_if("ring faults", s.ring_faults);
	print_if("chain faults", s.chain_faults);
	print_if("frame faults", s.frame_faults);
	print_if("message faults", s.message_faults);
	print_if("dropped", s.dropped);
	print_if("reply faults", s.reply_faults);
	printf("\n");
	return true;
}

void stats_print(const char *name, const struct fs *fs,
		 const struct virtiofs_device *dev)
{
	uint32_t queue = 0;

	if (name)
		printf("%s:\n", name);
	while (print_queue(dev, queue))
		queue++;
	pthread_mutex_lock(&lock);
	for (uint32_t i = 0; i < OPCODES; i++)
		print_opcode(fs, dev, i);
	print_bytes(fs);
	pthread_mutex_unlock(&lock);
	printf("%-20s %12u\n%-20s %12u\n%-20s %12" PRIu64 "\n", "nodes",
	       atomic_load(&fs->nodes.live), "open files",
	       atomic_load(&fs->handles.live), "descriptors",
	       atomic_load(&fs->fd_cnt));
	fflush(stdout);
}

void stats_free(void)
{
	while (all) {
		struct stats *s = all;

		all = s->next;
		free(s);
	}
}
