/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_FHANDLE_H
#define SERVER_FHANDLE_H
/*
 * File handles: how a node is kept without a descriptor of its own. To open
 * one, the kernel wants a descriptor on the same mount; each mount that has
 * nodes keeps one, and is forgotten with its last node.
 */
#include <stdbool.h>
#include <stdint.h>

#include "node.h"

struct mount;

/* NULL in *ret, and 0: keep a descriptor. Free with free(). */
int fhandle_of(struct fs *fs, int path_fd, const struct statx *st,
	       struct fhandle **ret);
bool fhandle_equal(const struct fhandle *a, const struct fhandle *b);
/* An O_PATH descriptor; -ESTALE: the file is gone. */
int fhandle_open(const struct mount *m, const struct fhandle *fh);

/* A reference on the mount of n, which is path_fd. */
int fhandle_get_mount(struct fs *fs, const struct node *n, int path_fd,
		      const struct node_ref *parent, struct mount **ret);
void fhandle_put_mount(struct fs *fs, struct mount *m);

/* Do handles work here at all? -EOPNOTSUPP where they must and don't. */
int fhandle_check(struct fs *fs);

#endif
