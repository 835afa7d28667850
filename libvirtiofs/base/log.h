/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_BASE_LOG_H
#define VTFS_BASE_LOG_H
/* What can't be returned: faults of a peer, changes of state. */
#include <syslog.h>

#include <virtiofs/base.h>

struct vtfs_log {
	virtiofs_log_fn fn; /* NULL: silent */
	void *data;
	int level; /* lines above it are dropped; 0: LOG_WARNING */
};

void vtfs_log(const struct vtfs_log *log, int level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#endif
