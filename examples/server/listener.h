/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_LISTENER_H
#define SERVER_LISTENER_H
/*
 * The socket that a front-end connects to, or what there is instead. Made
 * before the sandbox, which its path is outside of.
 */
#include <stdbool.h>
#include <sys/un.h>

#include <virtiofs/transport.h>

#include "options.h"

struct listener {
	int fd;
	struct virtiofs_transport *transport; /* instead of fd; or NULL */
	bool connected;	  /* fd is a connection, not a listening socket */
	int dir_fd;	  /* of the path, to remove it; -1: not ours */
	const char *name; /* in the path */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* in pieces */
};

/* A --fd or --socket-path. Negative: said why. */
int listener_open(const struct socket_opts *o, const char *group,
		  struct listener *ret);
/* Remove the socket's name, unless it is not ours. */
void listener_remove(struct listener *l);
/* The name is somebody else's from now on. */
void listener_forget(struct listener *l);
/* A device has it, or nobody is to have it. */
void listener_close(struct listener *l);

#endif
