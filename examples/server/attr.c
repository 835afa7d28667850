/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Looking up and reading attributes. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "creds.h"
#include "handle.h"
#include "ops.h"

int op_lookup(struct fs *fs, struct virtiofs_req *req)
{
	struct fuse_entry_out entry;
	struct node_ref parent;
	const char *name;
	int r;

	r = arg_names(req, 0, &name, NULL);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &parent);
	if (r < 0)
		return r;
	r = S_ISDIR(parent.node->type) ? node_lookup(fs, &parent, name, &entry)
				       : -ENOTDIR;
	node_put(&parent);
	return r < 0 ? r : reply_entry(fs, req, &entry);
}

/* By the open file if one is named, else by the node. */
static int stat_of(struct fs *fs, const struct virtiofs_req *req, bool has_fh,
		   uint64_t fh, struct statx *ret)
{
	struct node_ref ref;
	struct handle *h;
	int r;

	if (has_fh) {
		h = handle_get(fs, fh, req->in->nodeid, 0);
		if (!h)
			return -EBADF;
		r = node_stat(h->fd, ret);
		handle_put(h);
		return r;
	}
	r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	r = node_stat(ref.fd, ret);
	node_put(&ref);
	return r;
}

static int reply_attr(struct fs *fs, struct virtiofs_req *req,
		      const struct statx *st)
{
	struct fuse_attr_out out = {.attr_valid = fs->timeout};

	node_attr(st, &out.attr);
	return reply_bytes(req, &out, sizeof(out));
}

int op_getattr(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_getattr_in *in = req->arg;
	struct statx st;
	int r;

	r = stat_of(fs, req, in->getattr_flags & FUSE_GETATTR_FH, in->fh, &st);
	return r < 0 ? r : reply_attr(fs, req, &st);
}

static struct fuse_sx_time sx_time(const struct statx_timestamp *t)
{
	return (struct fuse_sx_time){.tv_sec = t->tv_sec,
				     .tv_nsec = t->tv_nsec};
}

static void fill_statx(const struct statx *st, struct fuse_statx *ret)
{
	ret->mask = st->stx_mask & (STATX_BASIC_STATS | STATX_BTIME);
	ret->blksize = st->stx_blksize;
	ret->attributes = st->stx_attributes;
	ret->attributes_mask = st->stx_attributes_mask;
	ret->nlink = st->stx_nlink;
	ret->uid = st->stx_uid;
	ret->gid = st->stx_gid;
	ret->mode = st->stx_mode;
	ret->ino = st->stx_ino;
	ret->size = st->stx_size;
	ret->blocks = st->stx_blocks;
	ret->atime = sx_time(&st->stx_atime);
	ret->btime = sx_time(&st->stx_btime);
	ret->ctime = sx_time(&st->stx_ctime);
	ret->mtime = sx_time(&st->stx_mtime);
	ret->rdev_major = st->stx_rdev_major;
	ret->rdev_minor = st->stx_rdev_minor;
	ret->dev_major = st->stx_dev_major;
	ret->dev_minor = st->stx_dev_minor;
}

int op_statx(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_statx_in *in = req->arg;
	struct fuse_statx_out out = {.attr_valid = fs->timeout};
	struct statx st;
	int r;

	r = stat_of(fs, req, in->getattr_flags & FUSE_GETATTR_FH, in->fh, &st);
	if (r < 0)
		return r;
	fill_statx(&st, &out.stat);
	return reply_bytes(req, &out, sizeof(out));
}

int op_readlink(struct fs *fs, struct virtiofs_req *req)
{
	char target[PATH_MAX];
	struct node_ref ref;
	ssize_t n;
	int r;

	r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	n = readlinkat(ref.fd, "", target, sizeof(target));
	/* An O_PATH descriptor of anything but a link gives ENOENT. */
	r = n >= 0 ? 0 : S_ISLNK(ref.node->type) ? -errno : -EINVAL;
	node_put(&ref);
	return r < 0 ? r : reply_bytes(req, target, (size_t)n);
}

int op_statfs(struct fs *fs, struct virtiofs_req *req)
{
	struct fuse_statfs_out out;
	struct node_ref ref;
	struct statfs st;
	int r;

	r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	r = fstatfs(ref.fd, &st) < 0 ? -errno : 0;
	node_put(&ref);
	if (r < 0)
		return r;
	memset(&out, 0, sizeof(out));
	out.st.blocks = st.f_blocks;
	out.st.bfree = st.f_bfree;
	out.st.bavail = st.f_bavail;
	out.st.files = st.f_files;
	out.st.ffree = st.f_ffree;
	out.st.bsize = (uint32_t)st.f_bsize;
	out.st.namelen = (uint32_t)st.f_namelen;
	out.st.frsize = (uint32_t)(st.f_frsize ? st.f_frsize : st.f_bsize);
	return reply_bytes(req, &out, sizeof(out));
}

/* The kernel's own judgement, as the requester. */
static int check_access(int fd, int mask)
{
	return syscall(SYS_faccessat2, fd, "", mask,
		       AT_EACCESS | AT_EMPTY_PATH) < 0
		   ? -errno
		   : 0;
}

int op_access(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_access_in *in = req->arg;
	struct node_ref ref;
	int r;

	if (in->mask & ~(uint32_t)(R_OK | W_OK | X_OK))
		return -EINVAL;
	r = creds_ask(fs, req, CREDS_CHECK);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	if ((in->mask & W_OK) && fs->opts.readonly &&
	    (S_ISREG(ref.node->type) || S_ISDIR(ref.node->type)))
		r = -EROFS;
	else
		r = check_access(ref.fd, (int)in->mask);
	node_put(&ref);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}
