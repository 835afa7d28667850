/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_MSG_H
#define CLIENT_MSG_H
/*
 * What goes to stderr. Names come from the peer or the command line and may
 * hold anything: they pass through quote() on their way to a terminal.
 */
#include <stdint.h>

#define PROGRAM "virtiofs-client"

/* "virtiofs-client: TEXT", and ": strerror" where err is a negative errno. */
__attribute__((format(printf, 2, 3))) void msg_error(int err, const char *fmt,
						     ...);

/* The name in quotes a shell would understand; one of a few static buffers. */
const char *quote(const char *name);

/* A copy in which every unprintable character is '?'; the caller frees it. */
char *printable(const char *name);

/* 1536 -> "1.5K"; ret_buf has HUMAN_MAX bytes. */
#define HUMAN_MAX 16
const char *human_size(char *ret_buf, uint64_t bytes);

#endif
