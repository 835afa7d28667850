/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_BASE_STATS_H
#define VTFS_BASE_STATS_H
/*
 * Counters and histograms. Each has one writer at a time, which needs no locked
 * instruction, and readers that take what they find.
 */
#include <time.h>

#include <virtiofs/stats.h>

#include "base/bytes.h"
#include "base/shared.h"

static inline void vtfs_stat_add(uint64_t *counter, uint64_t n)
{
	vtfs_store_once(counter, *counter + n);
}

/* For what happens seldom, and in any thread. */
static inline void vtfs_stat_add_shared(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* Add from, which is being written, to sum, which is the caller's. */
void vtfs_stats_sum(struct virtiofs_queue_stats *sum,
		    const struct virtiofs_queue_stats *from);
void vtfs_hist_sum(struct virtiofs_hist *sum, const struct virtiofs_hist *from);

/* Hand len bytes at src to a caller, whose struct begins with its size and may
 * be older or newer. -EINVAL: that size is none. */
int vtfs_stats_copy(void *ret, const void *src, size_t len, const char *name);

static inline unsigned vtfs_hist_bucket(uint64_t v)
{
	unsigned log;

	if (v < 8)
		return (unsigned)v;
	log = 63u - (unsigned)__builtin_clzll(v);
	return vtfs_min_u32((log - 2) * 8 + ((unsigned)(v >> (log - 3)) & 7),
			    VIRTIOFS_HIST_BUCKETS - 1);
}

static inline void vtfs_hist_add(struct virtiofs_hist *h, uint64_t v)
{
	vtfs_stat_add(&h->cnt, 1);
	vtfs_stat_add(&h->sum, v);
	vtfs_stat_add(&h->bucket[vtfs_hist_bucket(v)], 1);
	if (v > h->max)
		vtfs_store_once(&h->max, v);
}

/* Nanoseconds of a clock that only goes on; about 25 of them to read it. */
static inline uint64_t vtfs_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
#endif
