/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GETLK, SETLK, SETLKW: what of them doesn't wait. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "handle.h"
#include "lock_owner.h"
#include "lock_wait.h"
#include "ops.h"

static int to_flock(const struct fuse_file_lock *in, struct flock *ret)
{
	if (in->start > in->end || in->end > INT64_MAX)
		return -EINVAL;
	if (in->type != F_RDLCK && in->type != F_WRLCK && in->type != F_UNLCK)
		return -EINVAL;
	memset(ret, 0, sizeof(*ret));
	ret->l_type = (short)in->type;
	ret->l_whence = SEEK_SET;
	ret->l_start = (off_t)in->start;
	/* Length 0: to the end, wherever that will be. */
	if (in->end != INT64_MAX)
		ret->l_len = (off_t)(in->end - in->start + 1);
	return 0;
}

static void from_flock(const struct flock *f, struct fuse_file_lock *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->type = (uint32_t)f->l_type;
	if (f->l_type == F_UNLCK)
		return;
	ret->start = (uint64_t)f->l_start;
	ret->end = f->l_len ? (uint64_t)(f->l_start + f->l_len - 1)
			    : (uint64_t)INT64_MAX;
}

static int get_lock(struct node_ref *ref, const struct fuse_lk_in *in,
		    struct fuse_lk_out *out)
{
	struct lock_owner *o;
	struct flock f;
	int r;

	r = to_flock(&in->lk, &f);
	if (r == 0)
		r = lock_owner_get(ref, in->owner, true, &o);
	if (r < 0)
		return r;
	r = fcntl(o->fd, F_OFD_GETLK, &f) < 0 ? -errno : 0;
	if (r == 0) {
		from_flock(&f, &out->lk);
		if (f.l_type != F_UNLCK && f.l_pid == -1)
			out->lk.pid = lock_owner_find_pid(ref->node, o, &f);
	}
	lock_owner_put(ref->node, o);
	return r;
}

/* The open file must be the guest's and the node's own. */
static int check_handle(struct fs *fs, const struct virtiofs_req *req)
{
	const struct fuse_lk_in *in = req->arg;
	struct handle *h = handle_get(fs, in->fh, req->in->nodeid, S_IFREG);

	if (!h)
		return -EBADF;
	handle_put(h);
	return 0;
}

int op_getlk(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_lk_in *in = req->arg;
	struct fuse_lk_out out;
	struct node_ref ref;
	int r;

	r = check_handle(fs, req);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	memset(&out, 0, sizeof(out));
	r = get_lock(&ref, in, &out);
	node_put(&ref);
	return r < 0 ? r : reply_bytes(req, &out, sizeof(out));
}

static int posix_lock(struct fs *fs, struct virtiofs_req *req, bool may_wait)
{
	const struct fuse_lk_in *in = req->arg;
	bool unlock = in->lk.type == F_UNLCK;
	struct lock_job job = {.req = req};
	struct node_ref ref;
	int r;

	r = to_flock(&in->lk, &job.flock);
	if (r == 0)
		r = check_handle(fs, req);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	/* Whoever holds nothing has nothing to unlock. */
	r = lock_owner_get(&ref, in->owner, !unlock, &job.owner);
	if (r == 0 && job.owner) {
		job.node = ref.node;
		slots_use(&fs->nodes, ref.node->id);
		r = lock_job_run(fs, &job, may_wait && !unlock);
	}
	node_put(&ref);
	return r;
}

static int bsd_lock(struct fs *fs, struct virtiofs_req *req, bool may_wait)
{
	const struct fuse_lk_in *in = req->arg;
	struct lock_job job = {.req = req};

	switch (in->lk.type) {
	case F_RDLCK:
		job.flock_op = LOCK_SH;
		break;
	case F_WRLCK:
		job.flock_op = LOCK_EX;
		break;
	case F_UNLCK:
		job.flock_op = LOCK_UN;
		break;
	default:
		return -EINVAL;
	}
	job.handle = handle_get(fs, in->fh, req->in->nodeid, S_IFREG);
	if (!job.handle)
		return -EBADF;
	return lock_job_run(fs, &job, may_wait && job.flock_op != LOCK_UN);
}

static int set_lock(struct fs *fs, struct virtiofs_req *req, bool may_wait)
{
	const struct fuse_lk_in *in = req->arg;
	int r;

	if (in->lk_flags & FUSE_LK_FLOCK)
		r = bsd_lock(fs, req, may_wait);
	else
		r = posix_lock(fs, req, may_wait);
	if (r == LOCK_WAITS)
		return OP_KEPT;
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}

int op_setlk(struct fs *fs, struct virtiofs_req *req)
{
	return set_lock(fs, req, false);
}

int op_setlkw(struct fs *fs, struct virtiofs_req *req)
{
	return set_lock(fs, req, true);
}
