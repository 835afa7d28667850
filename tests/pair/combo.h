/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_PAIR_COMBO_H
#define TESTS_PAIR_COMBO_H
/*
 * Both ends over one combination of transport, layout, features and ring size.
 * A program runs its cases over all of them for the transport and the layout
 * that it is called with.
 */
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/ops.h>

#include "memfs.h"

#define PAGE 4096u

struct vtfs_vq;

struct combo {
	uint64_t features;
	uint32_t num;
};

struct fix {
	struct memfs *m;
	struct virtiofs_client *c;
	struct virtiofs_client_info info;
};

/* The two ends of the transport. */
void make_pair(struct virtiofs_transport **d, struct virtiofs_transport **c);
/* To be called between the start of the device and that of the client. */
void join_ends(void);
/* The client does not hear what the device says of its own status: that it
 * needs a reset, that it is gone. */
bool hides_status(void);
/* Bits that the transport has beside what the device offers. */
uint64_t own_features(void);
/* The client breaks its ring, as a driver with a fault would: an index that
 * jumps, a buffer id that can't be. */
void spoil_ring(struct vtfs_vq *vq);
/* A device that runs and a client that was started. */
void fix_start(struct fix *f, const struct combo *co, unsigned queues);
void fix_end(struct fix *f);
/* The largest READ or WRITE. */
size_t most(const struct fix *f);
/* A new file in the root: its node. */
uint64_t create(struct fix *f, const char *name, uint64_t *ret_fh);

uint32_t rnd(uint32_t below);
void rnd_fill(unsigned char *p, size_t len);

/* fn over event index, indirect and all sizes; nothing is left open. With
 * VIRTIOFS_TEST_FEW in the environment four of the 16: for emulated machines.
 */
void over_all(void (*fn)(const struct combo *co));
#define CASE(fn)                                                               \
	static void test_##fn(void **state)                                    \
	{                                                                      \
		(void)state;                                                   \
		over_all(fn);                                                  \
	}

/* argv: inproc|vhost-user|vfio-user|vdpa split|packed [TEST]. Not 0: usage was
 * printed. */
int take_args(int argc, char **argv);
#endif
