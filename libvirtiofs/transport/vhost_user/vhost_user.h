/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VHOST_USER_H
#define VTFS_VHOST_USER_H
/* Both ends of vhost-user, as transport/open.c sees them. */
#include "transport/transport.h"

int vtfs_vhost_user_listen(struct virtiofs_transport **ret, const char *path);
int vtfs_vhost_user_connect(struct virtiofs_transport **ret, const char *path);
#endif
