/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_CAPS_H
#define SERVER_CAPS_H
/*
 * Capabilities of the process and, between requests and inside of them, of
 * one thread. The raw system calls: libc's would change all threads.
 */
#include <stdbool.h>
#include <stdint.h>

#define CAP_BIT(cap) (1ull << (cap))

/* Keep what serving files takes, lose the rest for good. */
int caps_drop(bool keep_dac_read_search);
/* Remember what the process has now. Before the first request. */
int caps_remember(void);
/* Sets of CAP_BIT: does the process have all of them, any? */
bool caps_have(uint64_t caps);
bool caps_have_any(uint64_t caps);

/* The calling thread's effective set: all that the process has but these. */
int caps_lower(uint64_t caps);

#endif
