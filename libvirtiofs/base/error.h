/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_BASE_ERROR_H
#define VTFS_BASE_ERROR_H
/*
 * The text behind virtiofs_last_error(). Set once, where a fault is seen;
 * callers above only pass the number on.
 */
#include <errno.h>

/* Keep the text for this thread and return r, a negative errno. */
int vtfs_fail(int r, const char *fmt, ...)
    __attribute__((cold, format(printf, 2, 3)));

/* The same, followed by ": " and what strerror() says of -r. */
int vtfs_fail_sys(int r, const char *fmt, ...)
    __attribute__((cold, format(printf, 2, 3)));

#endif
