/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VDPA_H
#define VTFS_VDPA_H
/* The client end of the kernel's vDPA bus, as transport/open.c sees it. */
#include "transport/transport.h"

int vtfs_vdpa_connect(struct virtiofs_transport **ret, const char *path);
#endif
