/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_BENCH_RING_OPTS_H
#define TESTS_BENCH_RING_OPTS_H
#include <stdbool.h>
#include <stdint.h>

#define PARTS_MAX 16u
#define RUNS_MAX  101u

enum format { TABLE, JSON, CSV };

struct opts {
	unsigned layouts, modes; /* bit 0 and bit 1 of each */
	uint32_t num, batch, outstanding, readable, writable;
	uint64_t requests;
	unsigned runs;
	uint32_t features;
	bool relax;
	int cpu[2];
	enum format format;
};

/* A message, and exit status 1. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Exits where the options are wrong, or ask for help. */
void parse_opts(struct opts *o, int argc, char **argv);
#endif
