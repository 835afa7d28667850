/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <virtiofs/base.h>

#include "vtfs_config.h"

static _Thread_local char text[256];

int vtfs_fail(int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return r;
}

int vtfs_fail_sys(int r, const char *fmt, ...)
{
	char why[64];
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, ": %s",
		 strerror_r(-r, why, sizeof(why)));
	return r;
}

const char *virtiofs_last_error(void)
{
	return text[0] ? text : "no error";
}

const char *virtiofs_version(void)
{
	return VTFS_VERSION;
}
