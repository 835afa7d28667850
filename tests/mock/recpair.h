/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_RECPAIR_H
#define MOCK_RECPAIR_H
/* The two halves of a pair in this process, with recording sessions on both
 * and memory to share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "recsink.h"

#define PAGE 4096u

struct pair {
	struct rec rec;
	struct rec_client rc;
	struct virtiofs_transport *d, *c;
	unsigned char *mem; /* a memfd of 4 pages, mapped */
	int fd;
};

int pair_set_up(void **state);
int pair_tear_down(void **state);
bool pair_readable(int fd);

/* Run a client's op to its end in this one thread. */
#define PAIR_RUN(p, op)                                                        \
	({                                                                     \
		int r_;                                                        \
		while ((r_ = (op)) == -EAGAIN) {                               \
			assert_true(pair_readable((p)->d->fd((p)->d)) ||       \
				    pair_readable((p)->c->fd((p)->c)));        \
			assert_int_equal((p)->d->dev->dispatch((p)->d), 0);    \
		}                                                              \
		r_;                                                            \
	})

/* A new status, and what it is. */
int pair_status(struct pair *p, uint8_t bits);
uint8_t pair_get_status(struct pair *p);
/* connect to FEATURES_OK, with VERSION_1. */
void pair_negotiate(struct pair *p);
/* The address of the memory, which is shared with that. */
uint64_t pair_map(struct pair *p);
/* A queue of 8 there: what start_queue returned. */
int pair_start(struct pair *p, unsigned vq, uint64_t addr);
#endif
