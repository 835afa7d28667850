/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_STRESS_STORM_DEV_H
#define TESTS_STRESS_STORM_DEV_H
/*
 * The device of a storm: a file system of nothing but lookup counts, in a
 * thread of its own, that keeps book of every request and every forget.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/device.h>
#include <virtiofs/transport.h>

#define STORM_NODES 200u /* nodeids 2 and up */
/* A forget of PROBE + i tells the time at which it was made by its count. */
#define STORM_PROBE (1ULL << 40)

struct storm_dev {
	struct virtiofs_device *dev;
	pthread_t thread;
	uint32_t tokens;
	unsigned char *seen;	       /* by token: how often it came */
	uint64_t lookups[STORM_NODES]; /* owed for each node */
	uint64_t granted, forgotten;   /* atomic: sums over nodes */
	uint64_t probes;	       /* atomic: heard */
	uint64_t *latency;	       /* ns, of each probe in turn */
	uint32_t probe_max;
	struct virtiofs_req *held[64];
	unsigned held_cnt;
	uint64_t told; /* held ones that were interrupted */
	uint32_t mistakes;
	int heard_fd; /* eventfd: a forget was heard */
};

uint64_t storm_now(void);
/* Owns t. Tokens and probes are numbered from 0. */
void storm_dev_start(struct storm_dev *d, struct virtiofs_transport *t,
		     uint32_t tokens, uint32_t probes);
void storm_dev_stop(struct storm_dev *d);
void storm_dev_free(struct storm_dev *d);
#endif
