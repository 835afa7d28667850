/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extended attributes. By the name of the O_PATH descriptor in the working
 * directory /proc/self/fd: that works for every type of file, and opens none.
 */
#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "creds.h"
#include "ops.h"

/* ACLs that the client doesn't enforce must not be set or shown: they would
 * look as if they were obeyed. */
static bool is_hidden(const struct fs *fs, const char *name)
{
	return !fs_agreed(fs, FS_ACL) &&
	       (strcmp(name, "system.posix_acl_access") == 0 ||
		strcmp(name, "system.posix_acl_default") == 0);
}

static int check_name(const struct fs *fs, const char *name)
{
	if (!*name || strlen(name) > XATTR_NAME_MAX)
		return -ERANGE;
	return is_hidden(fs, name) ? -EOPNOTSUPP : 0;
}

static ssize_t take_data(const struct virtiofs_req *req, char *buf)
{
	size_t len = 0;

	if (req->data_len > XATTR_SIZE_MAX)
		return -E2BIG;
	for (unsigned i = 0; i < req->data_cnt; i++) {
		memcpy(buf + len, req->data[i].iov_base, req->data[i].iov_len);
		len += req->data[i].iov_len;
	}
	return (ssize_t)len;
}

/* The client asks for it when a non-member of the group sets an ACL. */
static int clear_sgid(const struct node_ref *ref, const char *proc_name)
{
	struct statx st;
	int r = node_stat(ref->fd, &st);

	if (r < 0)
		return r;
	return chmod(proc_name, st.stx_mode & 07777 & ~S_ISGID) < 0 ? -errno
								    : 0;
}

static int set(struct fs *fs, const struct virtiofs_req *req, const char *name,
	       bool kill_sgid)
{
	const struct fuse_setxattr_in *in = req->arg;
	bool is_acl = strcmp(name, "system.posix_acl_access") == 0;
	char *value = fs_scratch(0);
	struct node_ref ref;
	struct fd_name file;
	ssize_t len;
	int r;

	len = take_data(req, value);
	if (len < 0)
		return (int)len;
	if (in->size != (size_t)len)
		return -EINVAL;
	/* It may take set-group-id away, which is for the client to say. */
	r = creds_ask(fs, req, is_acl ? CREDS_KEEP_SET_ID : 0);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	file = fs_fd_name(ref.fd);
	if (kill_sgid && is_acl)
		r = clear_sgid(&ref, file.s);
	if (r == 0 &&
	    setxattr(file.s, name, value, (size_t)len, (int)in->flags) < 0)
		r = -errno;
	node_put(&ref);
	return r;
}

int op_setxattr(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_setxattr_in *in = req->arg;
	const char *name;
	int r;

	if (!fs->opts.xattr)
		return -ENOSYS;
	r = arg_string(req, sizeof(*in), &name);
	if (r == 0)
		r = check_name(fs, name);
	if (r == 0)
		r = set(fs, req, name,
			in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}

/* size 0 asks for the size, else for the bytes. */
static int reply_sized(struct virtiofs_req *req, uint32_t size,
		       const void *data, ssize_t len)
{
	struct fuse_getxattr_out out = {.size = (uint32_t)len};

	if (size == 0)
		return reply_bytes(req, &out, sizeof(out));
	if ((size_t)len > size)
		return -ERANGE;
	return reply_bytes(req, data, (size_t)len);
}

int op_getxattr(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_getxattr_in *in = req->arg;
	char *value = fs_scratch(0);
	const char *name;
	struct node_ref ref;
	ssize_t len;
	int r;

	if (!fs->opts.xattr)
		return -ENOSYS;
	r = arg_string(req, sizeof(*in), &name);
	if (r == 0)
		r = check_name(fs, name);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	len = getxattr(fs_fd_name(ref.fd).s, name, value, SCRATCH_SIZE);
	r = len < 0 ? -errno : 0;
	node_put(&ref);
	return r < 0 ? r : reply_sized(req, in->size, value, len);
}

static ssize_t drop_hidden(const struct fs *fs, char *list, ssize_t len)
{
	ssize_t kept = 0, at = 0;

	while (at < len) {
		size_t n = strlen(list + at) + 1;

		if (!is_hidden(fs, list + at)) {
			memmove(list + kept, list + at, n);
			kept += (ssize_t)n;
		}
		at += (ssize_t)n;
	}
	return kept;
}

int op_listxattr(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_getxattr_in *in = req->arg;
	char *list = fs_scratch(0);
	struct node_ref ref;
	ssize_t len;
	int r;

	if (!fs->opts.xattr)
		return -ENOSYS;
	r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	len = listxattr(fs_fd_name(ref.fd).s, list, SCRATCH_SIZE);
	r = len < 0 ? -errno : 0;
	node_put(&ref);
	if (r < 0)
		return r;
	return reply_sized(req, in->size, list, drop_hidden(fs, list, len));
}

int op_removexattr(struct fs *fs, struct virtiofs_req *req)
{
	const char *name;
	struct node_ref ref;
	int r;

	if (!fs->opts.xattr)
		return -ENOSYS;
	r = arg_string(req, 0, &name);
	if (r == 0)
		r = check_name(fs, name);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	if (removexattr(fs_fd_name(ref.fd).s, name) < 0)
		r = -errno;
	node_put(&ref);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}
