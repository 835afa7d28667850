/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VDUSE_H
#define VTFS_VDUSE_H
/* The device end of the kernel's vDPA bus, as transport/open.c sees it. */
#include "transport/transport.h"

int vtfs_vduse_open(struct virtiofs_transport **ret, const char *name);
#endif
