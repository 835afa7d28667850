/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/stats.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

#define WORDS(type, first)                                                     \
	((sizeof(struct type) - offsetof(struct type, first)) /                \
	 sizeof(uint64_t))

void vtfs_stats_sum(struct virtiofs_queue_stats *sum,
		    const struct virtiofs_queue_stats *from)
{
	/* All that follows size is counters. */
	for (size_t i = 0; i < WORDS(virtiofs_queue_stats, requests); i++)
		(&sum->requests)[i] += vtfs_load_once(&(&from->requests)[i]);
}

void vtfs_hist_sum(struct virtiofs_hist *sum, const struct virtiofs_hist *from)
{
	uint64_t max = vtfs_load_once(&from->max);

	sum->cnt += vtfs_load_once(&from->cnt);
	sum->sum += vtfs_load_once(&from->sum);
	if (max > sum->max)
		sum->max = max;
	for (unsigned i = 0; i < VIRTIOFS_HIST_BUCKETS; i++)
		sum->bucket[i] += vtfs_load_once(&from->bucket[i]);
}

int vtfs_stats_copy(void *ret, const void *src, size_t len, const char *name)
{
	size_t size;

	memcpy(&size, ret, sizeof(size));
	if (size < sizeof(size))
		return vtfs_fail(-EINVAL, "%s.size is %zu", name, size);
	memset(ret, 0, size);
	memcpy(ret, src, vtfs_min_size(size, len));
	memcpy(ret, &size, sizeof(size));
	return 0;
}

uint64_t virtiofs_hist_floor(unsigned bucket)
{
	if (bucket < 16)
		return bucket;
	return (uint64_t)(8 + bucket % 8) << (bucket / 8 - 1);
}

/* The largest value that a bucket counts. */
static uint64_t ceiling(const struct virtiofs_hist *h, unsigned bucket)
{
	uint64_t next = virtiofs_hist_floor(bucket + 1);

	if (bucket + 1 == VIRTIOFS_HIST_BUCKETS || next - 1 > h->max)
		return h->max;
	return next - 1;
}

uint64_t virtiofs_hist_quantile(const struct virtiofs_hist *h, double q)
{
	uint64_t total = 0, sum = 0, want;
	unsigned i;

	/* By the buckets: cnt may have been read earlier or later. */
	for (i = 0; i < VIRTIOFS_HIST_BUCKETS; i++)
		total += h->bucket[i];
	if (!total)
		return 0;
	q = q < 0 ? 0 : q > 1 ? 1 : q;
	want = (uint64_t)(q * (double)total);
	want += (double)want < q * (double)total;
	for (i = 0; i < VIRTIOFS_HIST_BUCKETS - 1; i++) {
		sum += h->bucket[i];
		if (sum && sum >= want)
			break;
	}
	return ceiling(h, i);
}
