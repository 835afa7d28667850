/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VHOST_USER_H
#define VTFS_VHOST_USER_H
/* Both ends of vhost-user, as transport/open.c sees them. */
#include <stdbool.h>
#include <sys/types.h>

#include "transport/transport.h"

int vtfs_vhost_user_listen(struct virtiofs_transport **ret, const char *path);
int vtfs_vhost_user_connect(struct virtiofs_transport **ret, const char *path);

/* A socket in the file system that we made. */
struct vtfs_vu_listener {
	int fd;
	char *path; /* NULL: not ours to unlink */
	dev_t dev;  /* what we made there */
	ino_t ino;
};

/* A stale socket is replaced. -EADDRINUSE: somebody listens there, or it is no
 * socket; -ENAMETOOLONG. */
int vtfs_vu_listener_open(struct vtfs_vu_listener *ret, const char *path);
/* Unlinks it if it is still ours. */
void vtfs_vu_listener_close(struct vtfs_vu_listener *l);
/* Begin to connect; a stream socket. -ECONNREFUSED, -ENOENT, ... */
int vtfs_vu_connect(int *ret_fd, const char *path);
/* Is fd a connected (or listening) stream socket of the unix family? */
int vtfs_vu_check_socket(int fd, bool listening);
#endif
