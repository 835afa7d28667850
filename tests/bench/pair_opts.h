/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_BENCH_PAIR_OPTS_H
#define TESTS_BENCH_PAIR_OPTS_H
#include <stdbool.h>
#include <sys/types.h>

#define LIST_MAX   16u
#define ROUNDS_MAX 101u

struct options {
	const char *transports[LIST_MAX];
	const char *ops[LIST_MAX];
	unsigned depths[LIST_MAX];
	unsigned transport_cnt, op_cnt, depth_cnt;
	const char *file;
	const char *tag;
	const char *device; /* its end, where the client's doesn't tell */
	unsigned size, count, rounds, queue_size;
	pid_t pid;
	bool busy, packed, json;
	bool client_only;
};

/* Ends the process if they are wrong, or ask for help. */
void take_options(struct options *o, int argc, char **argv);
#endif
