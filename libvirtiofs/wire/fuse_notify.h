/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_WIRE_FUSE_NOTIFY_H
#define VTFS_WIRE_FUSE_NOTIFY_H
/* FUSE notifications: one table by code, and the judgement of a frame. */
#include <stddef.h>
#include <stdint.h>

#include <virtiofs/fuse_kernel.h>

/* Fixed part, name and NUL. */
#define VTFS_NOTIFY_NAME_MAX 4095u
#define VTFS_NOTIFY_ARG_MAX  (32u + VTFS_NOTIFY_NAME_MAX + 1u)

/* len bytes were used, of which head is a copy of the first 16 (if there are
 * so many). Their number with the header, or -EPROTO with a text. */
int64_t vtfs_notify_head(const struct fuse_out_header *head, uint32_t len);

/* A payload of len bytes; arg is a private copy of the first ARG_MAX of them.
 * The bytes of the fixed part and the name, 0 of a code that is in no table;
 * or -EPROTO with a text. */
int vtfs_notify_check(uint32_t code, const void *arg, uint32_t len);

/* "INVAL_ENTRY", or "?". */
const char *vtfs_notify_name(uint32_t code);
#endif
