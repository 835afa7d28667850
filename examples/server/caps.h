/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_CAPS_H
#define SERVER_CAPS_H
/*
 * Capabilities of the process and, between requests and inside of them, of
 * one thread. The raw system calls: libc's would change all threads.
 */
#include <stdbool.h>
#include <stdint.h>

/* Root only: keep what serving files takes, lose the rest for good. */
int caps_drop(bool keep_dac_read_search);
/* Remember what the process has now. Before the first request. */
int caps_remember(void);
bool caps_have(int cap);

/* The calling thread's effective set: only cap, of those the process has. */
int caps_only(int cap);
int caps_none(void);
/* All but cap. */
int caps_without(int cap);
/* All again. */
int caps_all(void);

#endif
