/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_MOUNT_OPTS_H
#define CLIENT_MOUNT_OPTS_H
/* mount's -o. */
#include <stdbool.h>

struct mount_opts {
	char *text; /* for virtiofs_bridge_mount() */
	bool default_permissions;
};

/* -1: said what is wrong. */
int mount_opts_parse(struct mount_opts *mo, const char *given, const char *uri);
void mount_opts_free(struct mount_opts *mo);

#endif
