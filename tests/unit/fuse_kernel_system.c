/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The facts as the system's header says them, and that ours, included after
 * it, adds what it lacks. */
#include <linux/fuse.h>
#include <virtiofs/fuse_kernel.h>

#include "fuse_kernel_facts.h"

const struct fact systems[] = {
#include "fuse_kernel_rows.h"
    {NULL, 0},
};

_Static_assert(FUSE_STATX == 52, "7.39");
_Static_assert(FUSE_COPY_FILE_RANGE_64 == 53, "7.45");
_Static_assert(FUSE_NOTIFY_PRUNE == 9, "7.45");
_Static_assert(FUSE_EXT_GROUPS == 32, "7.38");
_Static_assert(FUSE_ALLOW_IDMAP == 1ULL << 40, "7.41");
_Static_assert(sizeof(struct fuse_statx_out) == 288, "7.39");
_Static_assert(sizeof(struct fuse_supp_groups) == 4, "7.38");
