/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_MOUNT_H
#define CLIENT_MOUNT_H
/* mount: the share as a directory of this host. */
#include "options.h"

/* The exit status. In the background unless told otherwise. */
int mount_run(const struct options *opts);

#endif
