/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_STATS_H
#define CLIENT_STATS_H
#include <virtiofs/client.h>

/* What the client counted and measured, on stderr. */
void stats_print(const struct virtiofs_client *c);

#endif
