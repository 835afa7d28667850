/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_SHARE_H
#define TESTS_FUZZ_SHARE_H
/*
 * A shared directory, small and always the same at first, and beside it another
 * one, which links in the first name: nothing of it may ever be seen or
 * changed.
 */
#include "fuzz.h"

/* Both directories, until the program ends; open files of root. */
void share_make(void);
int share_open(int flags);
void share_fill(void);
void share_empty(void);
/* Nothing outside was changed. */
void share_check(void);
/* Is it outside? */
bool share_outside(uint64_t ino);
bool share_holds_secret(const unsigned char *p, size_t len);
#endif
