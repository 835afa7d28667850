/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_PROGRAM_H
#define TESTS_FUZZ_PROGRAM_H
/* A device's program that reads all it is given, and replies at once or later,
 * rightly or not. */
#include <virtiofs/device.h>

#include "fuzz.h"

#define PROGRAM_KEPT 16u

struct program { /* the device's userdata */
	struct input *in;
	struct virtiofs_req *kept[PROGRAM_KEPT];
	unsigned kept_cnt;
};

extern const struct virtiofs_device_ops program_ops;
/* To the last one that it kept. */
void program_reply(struct program *p);
void program_reply_all(struct program *p);
#endif
