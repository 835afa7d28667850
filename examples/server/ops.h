/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_OPS_H
#define SERVER_OPS_H
/*
 * The operations. Each returns a negative errno, which becomes the reply, or
 * 0 after it has replied, or OP_KEPT: it replies, and counts, later.
 */
#include "fs.h"
#include "node.h"

#define OP_KEPT 1

/* clang-format off */
#define OPS(X) \
	X(lookup) X(getattr) X(setattr) X(readlink) X(symlink) X(mknod) \
	X(mkdir) X(unlink) X(rmdir) X(rename) X(rename2) X(link) X(open) \
	X(read) X(write) X(statfs) X(release) X(fsync) X(setxattr) \
	X(getxattr) X(listxattr) X(removexattr) X(flush) X(opendir) \
	X(readdir) X(readdirplus) X(releasedir) X(fsyncdir) X(getlk) \
	X(setlk) X(setlkw) X(access) X(create) X(tmpfile) X(fallocate) \
	X(lseek) X(copy_file_range) X(copy_file_range_64) X(syncfs) \
	X(statx)
/* clang-format on */

#define OPS_DECLARE(name)                                                      \
	int op_##name(struct fs *fs, struct virtiofs_req *req);
OPS(OPS_DECLARE)

/* The names behind fixed_len bytes of arguments. -EINVAL: not there, or not
 * the name of something in a directory. b may be NULL. */
int arg_names(const struct virtiofs_req *req, size_t fixed_len, const char **a,
	      const char **b);
/* A string without further rules. */
int arg_string(const struct virtiofs_req *req, size_t offset, const char **ret);

/* Reply with an entry; takes the lookup back if the peer didn't get it. */
int reply_entry(struct fs *fs, struct virtiofs_req *req,
		const struct fuse_entry_out *entry);
/* Fixed size; nothing to undo. */
int reply_bytes(struct virtiofs_req *req, const void *data, size_t len);

/* The answer to OPEN and its like for a new handle; see FOPEN_. */
uint32_t open_out_flags(const struct fs *fs, bool is_dir);
/* The guest's open(2) flags as far as they may reach the host. */
int open_flags(const struct fs *fs, uint32_t guest_flags, int *ret);

#endif
