/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_SANDBOX_H
#define SERVER_SANDBOX_H
/*
 * What keeps a server that was taken over from the rest of the host.
 *
 * namespace: the shared directory becomes the root of a new mount namespace,
 * with new process and network namespaces; without root's rights in a new user
 * namespace, too. chroot: the same root, nothing else. Both in a child. none:
 * all stays as it is.
 */
#include <sys/types.h>

#include "options.h"

struct sandbox {
	int proc_fd; /* /proc/self/fd, O_PATH */
	int root_fd; /* the shared directory, O_PATH */
	pid_t child; /* > 0: we are the parent, and only wait */
};

/* Negative: said why. */
int sandbox_enter(const struct options *o, struct sandbox *ret);
/* The parent: hand signals on, until the child ends; its exit status. */
int sandbox_wait(pid_t child);

#endif
