/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The facts as our header says them. The system's comes second: nothing of it
 * may get in the way. */
#include <virtiofs/fuse_kernel.h>
#include <linux/fuse.h>

#include "fuse_kernel_facts.h"

const struct fact ours[] = {
#include "fuse_kernel_rows.h"
    {NULL, 0},
};
