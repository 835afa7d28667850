/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_STRESS_RING_BOTH_H
#define TESTS_STRESS_RING_BOTH_H
/*
 * Both halves of a ring in one process, for tests that run them in threads.
 * Buffers are plain memory, so that TSan finds an order of the rings' that is
 * missing: each of their bytes is a witness.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "ringmem.h"

#define PARTS 4u
#define PART  16u
#define SLOT  (PARTS * PART)

/* cmocka's asserts belong to the main thread. */
#define check(x)                                                               \
	do {                                                                   \
		if (!(x)) {                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,     \
				#x);                                           \
			_exit(1);                                              \
		}                                                              \
	} while (0)

struct variant {
	uint32_t flags, num, window;
	bool poll; /* nobody sleeps */
	bool two;  /* the device takes in one thread, gives in another */
};

/* Chains on their way from the taking to the giving thread. */
struct pipe {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct vtfs_chain chains[64];
	unsigned cnt;
	bool end;
};

struct both {
	struct variant v;
	struct ringmem mem;
	struct vtfs_vq *drv, *dev;
	int kick, call;
	uint32_t end; /* atomic */
	struct pipe pipe;
	uint32_t seq[1024]; /* driver: by token */
};

void both_setup(struct both *b, const struct variant *v);
void both_teardown(struct both *b);

/* The peer may have no processor to run on. */
void both_relax(unsigned *idle);

/* The driver's side: a chain whose shape and bytes come from seq; false: full.
 * And what the device made of it. */
bool both_add(struct both *b, uint16_t token, uint32_t seq);
void both_check(struct both *b, uint16_t token, uint32_t len);

/* The device's side: check it, answer it; or both, and push. */
uint32_t both_read(const struct vtfs_chain *c);
void both_answer(const struct vtfs_chain *c, uint32_t seq);
void both_serve(struct both *b, const struct vtfs_chain *c);

struct both_case {
	const char *name;
	void (*fn)(void **state); /* *state: a uint32_t of flags */
};

#define BOTH_CASE(fn)                                                          \
	{                                                                      \
#fn, fn                                                        \
	}

/* Run each case with every combination of those flags; for main to return. */
int both_main(const char *title, const struct both_case *cases, unsigned cnt,
	      uint32_t flags);
#endif
