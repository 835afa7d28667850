/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_STATS_H
#define VIRTIOFS_STATS_H
/*
 * What both ends count. Numbers only grow, from the object's creation on, over
 * resets and peers. Reading them disturbs nobody and may be done in any thread;
 * it is no snapshot: a queue goes on while its numbers are read one by one.
 */
#include <virtiofs/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In place of a queue's number: the sum of all, and the notification queue. */
#define VIRTIOFS_QUEUE_ALL    UINT32_MAX
#define VIRTIOFS_QUEUE_NOTIFY (UINT32_MAX - 1)

/* Of one queue. What an end has no use for stays 0. */
struct virtiofs_queue_stats {
	size_t size;
	uint64_t requests; /* device: taken from the ring; client: put on it */
	uint64_t replies;  /* given back, or collected, with a reply */
	uint64_t errors;   /* replies that carry an error */
	uint64_t request_bytes; /* headers included */
	uint64_t reply_bytes;
	uint64_t kicks; /* client: sent; device: seen, several may be one */
	uint64_t calls; /* device: sent; client: seen, several may be one */
	/* Requests that had to wait. Client: for room in the ring; device: for
	 * memory of an earlier one that had as many pages or arguments. */
	uint64_t parked;
	/* Device: requests of hiprio on another queue, or the reverse. */
	uint64_t misrouted;
	uint64_t forgets; /* FORGETs, and entries of BATCH_FORGETs */
	/* INTERRUPTs by where their request was. In the numbers of queue 0. */
	uint64_t interrupts_matched; /* in flight */
	uint64_t interrupts_early;   /* not there yet; it came afterwards */
	uint64_t interrupts_late; /* gone, or unknown: ignored. Counted when no
				   * longer waited for. */
	/* Faults of the peer, by what they cost it: virtiofs(7). */
	uint64_t ring_faults;
	uint64_t chain_faults;
	uint64_t frame_faults;
	uint64_t message_faults; /* in the numbers of queue 0 */
	uint64_t dropped;	 /* given back empty, for there was no room */
	uint64_t reply_faults;	 /* replies of your own that were refused */
	/* Device: sent; client: given to its callback. reply_bytes are theirs,
	 * parked had to wait for a buffer. */
	uint64_t notifications;
	/* Device: waited when the session ended; client: malformed, or
	 * of a session before. */
	uint64_t notifications_dropped;
};

/*
 * Latencies in nanoseconds, from zero to more than an hour. Buckets are
 * log-linear: 1 ns each up to 8, from there on 8 for each power of two, so what
 * is read off is at most 1/8 too high.
 */
#define VIRTIOFS_HIST_BUCKETS 320u
struct virtiofs_hist {
	size_t size;
	uint64_t cnt;
	uint64_t sum;
	uint64_t max;
	uint64_t bucket[VIRTIOFS_HIST_BUCKETS];
};

/* The least value that this bucket counts. */
VIRTIOFS_API uint64_t virtiofs_hist_floor(unsigned bucket);
/* What q (0.0 to 1.0; 0.99 is p99) of all values do not exceed, rounded up to
 * the end of a bucket, and never above max; 0 if there are none. */
VIRTIOFS_API uint64_t virtiofs_hist_quantile(const struct virtiofs_hist *h,
					     double q);

/* "LOOKUP"; "opcode ?" for one that the library does not know. */
VIRTIOFS_API const char *virtiofs_opcode_name(uint32_t opcode);

#ifdef __cplusplus
}
#endif
#endif
