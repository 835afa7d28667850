/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VFIO_VFIO_H
#define VTFS_VFIO_VFIO_H
/* The kernel's VFIO, as transport/open.c sees it. */
#include "transport/transport.h"

/* address: 0000:BB:DD.F */
int vtfs_vfio_open(struct virtiofs_transport **ret, const char *address);
#endif
