/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_PROGRESS_H
#define CLIENT_PROGRESS_H
/*
 * One line on stderr for copies that take longer than a second. Nothing at
 * all where stderr is no terminal.
 */
#include <stdint.h>

/* total: bytes to come, 0 where nobody knows. */
void progress_start(uint64_t total);
void progress_bytes(uint64_t bytes);
void progress_file(void);
/* Milliseconds until tick wants to be called again, or -1. */
int progress_wait_ms(void);
void progress_tick(void);
/* Take the line away, before something else is written. */
void progress_clear(void);
void progress_end(void);

#endif
