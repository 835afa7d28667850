/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_COMMAND_H
#define TESTS_FUZZ_COMMAND_H
/* A command of vfio-user, right or not quite. */
#include "sock.h"

#define COMMAND_MAX 512u

struct command {
	uint16_t number;
	size_t len;
	unsigned char payload[COMMAND_MAX];
	int fds[KINDS_MAX];
	unsigned fd_cnt;
};

void command_add(struct command *c, const void *p, size_t len);
/* What one with that number has. */
void command_put(struct input *in, struct command *c);
#endif
