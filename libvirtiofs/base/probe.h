/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_BASE_PROBE_H
#define VTFS_BASE_PROBE_H
/*
 * Places where a tracer can look in (virtiofs-probes(7)). Each is one nop, and
 * a note in the library of where its arguments are; arguments must be at hand
 * already. Names and arguments are part of what programs rely on.
 */
#include "vtfs_config.h"

#ifdef VTFS_HAVE_SDT
#define SDT_USE_VARIADIC
#include <sys/sdt.h>

/* clang-format off */
#define VTFS_PROBE(name, ...) STAP_PROBEV(virtiofs, name, __VA_ARGS__)
/* clang-format on */
#else
static inline void vtfs_probe_nothing(int unused, ...)
{
	(void)unused;
}

/* Evaluates nothing, but uses its arguments. */
#define VTFS_PROBE(name, ...)                                                  \
	do {                                                                   \
		if (0)                                                         \
			vtfs_probe_nothing(0, __VA_ARGS__);                    \
	} while (0)
#endif
#endif
