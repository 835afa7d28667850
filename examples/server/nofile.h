/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_NOFILE_H
#define SERVER_NOFILE_H
#include <stdint.h>

/* Set how many files may be open (RLIMIT_DEFAULT, 0: leave it) and return in
 * *ret how many of them the guest of each device may have: the server keeps
 * some, so that a greedy guest takes nobody's memory and queues away. threads:
 * of each device, that serve requests. */
int nofile_set(uint64_t nofile, unsigned devices, unsigned threads,
	       uint64_t *ret);

#endif
