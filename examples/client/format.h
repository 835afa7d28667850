/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_FORMAT_H
#define CLIENT_FORMAT_H
/* How attributes are written, as coreutils writes them. */
#include <virtiofs/fuse_kernel.h>

#define MODE_TEXT_MAX 11
#define TIME_TEXT_MAX 64

/* "drwxr-xr-x" */
const char *mode_text(char *ret, uint32_t mode);
/* "Nov 21 23:19", or with the year where it is long ago */
const char *time_short(char *ret, uint64_t sec);
/* "2026-11-21 23:19:43.000000000 +0000" */
const char *time_full(char *ret, uint64_t sec, uint32_t nsec);
/* A name of this machine, or the number; static, until the next call. */
const char *user_name(uint32_t uid);
const char *group_name(uint32_t gid);
const char *type_name(uint32_t mode);
unsigned rdev_major(uint32_t rdev);
unsigned rdev_minor(uint32_t rdev);

#endif
