/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VFIO_USER_H
#define VTFS_VFIO_USER_H
/* vfio-user, as transport/open.c sees it. */
#include "transport/transport.h"

int vtfs_vfio_user_connect(struct virtiofs_transport **ret, const char *path);
int vtfs_vfio_user_listen(struct virtiofs_transport **ret, const char *path);
#endif
