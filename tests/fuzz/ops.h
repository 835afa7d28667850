/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_OPS_H
#define TESTS_FUZZ_OPS_H
/* A program's requests of all kinds on a client's queue, and what it checks of
 * their results. */
#include <virtiofs/client.h>

#include "fuzz.h"

#define OPS_MAX	   64u
#define OPS_REGION 0x8000u

struct op {
	bool busy;
	bool shared; /* room lies in registered memory */
	bool shared_data;
	bool timed_out;
	uint32_t opcode;
	struct iovec data, room; /* pieces of their own size */
};

struct ops {
	struct input *in;
	struct virtiofs_cliq *q; /* NULL: none yet */
	struct virtiofs_region region;
	bool mapped;
	bool hurries; /* ops have deadlines */
	struct op list[OPS_MAX];
};

/* One more op, not submitted yet. */
void ops_get(struct ops *f, uint8_t kind);
void ops_check(struct ops *f, const struct virtiofs_result *res);
#endif
