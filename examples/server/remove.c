/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names that go away or move. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ops.h"

static int unlink_name(struct fs *fs, struct virtiofs_req *req, int flags)
{
	struct node_ref dir;
	const char *name;
	int r;

	r = arg_names(req, 0, &name, NULL);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &dir);
	if (r < 0)
		return r;
	r = unlinkat(dir.fd, name, flags) < 0 ? -errno : 0;
	node_put(&dir);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}

int op_unlink(struct fs *fs, struct virtiofs_req *req)
{
	return unlink_name(fs, req, 0);
}

int op_rmdir(struct fs *fs, struct virtiofs_req *req)
{
	return unlink_name(fs, req, AT_REMOVEDIR);
}

static int rename_names(struct fs *fs, struct virtiofs_req *req, size_t arg_len,
			uint64_t new_dir_id, unsigned flags)
{
	struct node_ref old_dir, new_dir;
	const char *old_name, *new_name;
	int r;

	r = arg_names(req, arg_len, &old_name, &new_name);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &old_dir);
	if (r < 0)
		return r;
	r = node_get(fs, new_dir_id, &new_dir);
	if (r == 0) {
		if (syscall(SYS_renameat2, old_dir.fd, old_name, new_dir.fd,
			    new_name, flags) < 0)
			r = -errno;
		node_put(&new_dir);
	}
	node_put(&old_dir);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}

int op_rename(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_rename_in *in = req->arg;

	return rename_names(fs, req, sizeof(*in), in->newdir, 0);
}

int op_rename2(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_rename2_in *in = req->arg;

	if (in->flags &
	    ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
		return -EINVAL;
	return rename_names(fs, req, sizeof(*in), in->newdir, in->flags);
}
