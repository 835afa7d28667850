/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "creds.h"
#include "handle.h"
#include "ops.h"

/* What is changed: the node, by the name of its O_PATH descriptor in the
 * working directory, which is /proc/self/fd, or the open file. */
struct target {
	struct node_ref ref;
	struct fd_name name;
	struct handle *handle;
};

static int change_owner(const struct target *t,
			const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	if (!(in->valid & (FATTR_UID | FATTR_GID)))
		return 0;
	if (fchownat(t->ref.fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

static int change_mode(const struct target *t, const struct fuse_setattr_in *in)
{
	if (!(in->valid & FATTR_MODE))
		return 0;
	return chmod(t->name.s, in->mode & 07777) < 0 ? -errno : 0;
}

static int change_size(const struct target *t, const struct fuse_setattr_in *in)
{
	int r;

	if (!(in->valid & FATTR_SIZE))
		return 0;
	/* Not a device, nor a pipe that would block. */
	if (!S_ISREG(t->ref.node->type))
		return S_ISDIR(t->ref.node->type) ? -EISDIR : -EINVAL;
	if (in->size > INT64_MAX)
		return -EFBIG;
	if (t->handle)
		r = ftruncate(t->handle->fd, (off_t)in->size);
	else
		r = truncate(t->name.s, (off_t)in->size);
	return r < 0 ? -errno : 0;
}

static struct timespec time_of(uint32_t valid, uint32_t now, uint64_t sec,
			       uint32_t nsec)
{
	struct timespec t = {.tv_sec = (time_t)sec, .tv_nsec = (long)nsec};

	if (!valid)
		t.tv_nsec = UTIME_OMIT;
	else if (now)
		t.tv_nsec = UTIME_NOW;
	return t;
}

static int change_times(const struct target *t,
			const struct fuse_setattr_in *in)
{
	struct timespec tv[2];

	if (!(in->valid & (FATTR_ATIME | FATTR_MTIME)))
		return 0;
	/* More than a second of them would be read as UTIME_NOW or _OMIT. */
	if (in->atimensec > 999999999 || in->mtimensec > 999999999)
		return -EINVAL;
	tv[0] = time_of(in->valid & FATTR_ATIME, in->valid & FATTR_ATIME_NOW,
			in->atime, in->atimensec);
	tv[1] = time_of(in->valid & FATTR_MTIME, in->valid & FATTR_MTIME_NOW,
			in->mtime, in->mtimensec);
	return utimensat(AT_FDCWD, t->name.s, tv, 0) < 0 ? -errno : 0;
}

/* The owner before the mode, which a change of owner would take bits from;
 * times last, which a change of size would overwrite. */
static int change(const struct target *t, const struct fuse_setattr_in *in)
{
	int r;

	r = change_owner(t, in);
	if (r == 0)
		r = change_mode(t, in);
	if (r == 0)
		r = change_size(t, in);
	if (r == 0)
		r = change_times(t, in);
	return r;
}

static int take_creds(const struct fs *fs, const struct virtiofs_req *req)
{
	const struct fuse_setattr_in *in = req->arg;
	unsigned flags = 0;

	if (in->valid & FATTR_MODE)
		flags = CREDS_KEEP_SET_ID;
	else if (in->valid & FATTR_SIZE)
		flags = creds_set_id(fs, req, in->valid & FATTR_KILL_SUIDGID);
	return creds_ask(fs, req, flags);
}

int op_setattr(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_setattr_in *in = req->arg;
	struct fuse_attr_out out = {.attr_valid = fs->timeout};
	struct target t = {.handle = NULL};
	struct statx st;
	int r;

	r = take_creds(fs, req);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &t.ref);
	if (r < 0)
		return r;
	t.name = fs_fd_name(t.ref.fd);
	if (in->valid & FATTR_FH) {
		t.handle = handle_get(fs, in->fh, req->in->nodeid, 0);
		r = t.handle ? 0 : -EBADF;
	}
	if (r == 0)
		r = change(&t, in);
	if (r == 0)
		r = node_stat(t.ref.fd, &st);
	if (t.handle)
		handle_put(t.handle);
	node_put(&t.ref);
	if (r < 0)
		return r;
	node_attr(&st, &out.attr);
	return reply_bytes(req, &out, sizeof(out));
}
