/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void vtfs_log(const struct vtfs_log *log, int level, const char *fmt, ...)
{
	int limit = log->level ? log->level : LOG_WARNING;
	char line[256];
	va_list ap;

	if (!log->fn || level > limit)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log->fn(log->data, level, line);
}
