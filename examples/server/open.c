/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening and closing. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "block.h"
#include "creds.h"
#include "handle.h"
#include "lock.h"
#include "ops.h"

/* What a guest may say about how to open. O_APPEND is left to each WRITE:
 * the guest can change it later, and mapped pages are not appended. */
#define FLAGS_PASSED                                                           \
	(O_ACCMODE | O_TRUNC | O_NONBLOCK | O_SYNC | O_DSYNC | O_DIRECT |      \
	 O_NOATIME | O_LARGEFILE)

int open_flags(const struct fs *fs, uint32_t guest_flags, int *ret)
{
	int flags = (int)guest_flags & FLAGS_PASSED;

	if ((flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if (!fs->opts.allow_direct_io)
		flags &= ~O_DIRECT;
	if (!fs->opts.preserve_noatime)
		flags &= ~O_NOATIME;
	*ret = flags;
	return 0;
}

uint32_t open_out_flags(const struct fs *fs, bool is_dir)
{
	switch (fs->opts.cache) {
	case CACHE_NEVER:
		return is_dir ? 0 : FOPEN_DIRECT_IO;
	case CACHE_METADATA:
		return is_dir ? FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE
			      : FOPEN_DIRECT_IO;
	case CACHE_ALWAYS:
		return is_dir ? FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE
			      : FOPEN_KEEP_CACHE;
	default:
		return 0;
	}
}

static int reply_open(struct fs *fs, struct virtiofs_req *req, int fd,
		      mode_t type)
{
	struct fuse_open_out out = {.open_flags = 0};
	uint64_t nodeid = req->in->nodeid;
	int r;

	r = handle_add(req, nodeid, fd, type, &out.fh);
	if (r < 0)
		return r;
	out.open_flags = S_ISFIFO(type) ? FOPEN_DIRECT_IO | FOPEN_STREAM
					: open_out_flags(fs, S_ISDIR(type));
	if (virtiofs_req_reply(req, &out, sizeof(out)) < 0)
		handle_close(fs, out.fh, nodeid);
	return 0;
}

static bool writes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* It waits for the other end. */
static int open_fifo(const struct fs *fs, struct virtiofs_req *req, int path_fd,
		     int flags)
{
	struct fd_name name = fs_fd_name(path_fd);
	int r = block_enter(req);

	if (r < 0)
		return r;
	flags &= ~(O_TRUNC | O_DIRECT);
	do {
		r = openat(fs->proc_fd, name.s, flags | O_CLOEXEC | O_NOCTTY);
		r = r < 0 ? -errno : r;
	} while (r == -EINTR && !block_ended());
	block_leave();
	return r;
}

static int open_file(const struct fs *fs, struct virtiofs_req *req,
		     const struct node_ref *ref, int flags)
{
	switch (ref->node->type) {
	case S_IFDIR: /* would be opened, and never listed */
		return -EISDIR;
	case S_IFIFO:
		return open_fifo(fs, req, ref->fd, flags);
	default:
		return fs_reopen(fs, ref->fd, ref->node->type, flags);
	}
}

int op_open(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_open_in *in = req->arg;
	struct node_ref ref;
	unsigned set_id = 0;
	int flags, fd, r;
	mode_t type;

	r = open_flags(fs, in->flags, &flags);
	if (r == 0 && fs->opts.readonly && writes(flags))
		r = -EROFS;
	if (flags & O_TRUNC)
		set_id = creds_set_id(fs, req,
				      in->open_flags & FUSE_OPEN_KILL_SUIDGID);
	if (r == 0)
		r = creds_ask(fs, req, set_id);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	type = ref.node->type;
	fd = open_file(fs, req, &ref, flags);
	node_put(&ref);
	return fd < 0 ? fd : reply_open(fs, req, fd, type);
}

int op_opendir(struct fs *fs, struct virtiofs_req *req)
{
	struct node_ref ref;
	int fd, r;

	r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	fd = S_ISDIR(ref.node->type)
		 ? fs_reopen(fs, ref.fd, S_IFDIR, O_RDONLY | O_DIRECTORY)
		 : -ENOTDIR;
	node_put(&ref);
	return fd < 0 ? fd : reply_open(fs, req, fd, S_IFDIR);
}

/* close(2) in the guest: locks of that process go, and errors that the host
 * reports at close come out here. */
int op_flush(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_flush_in *in = req->arg;
	struct handle *h = handle_get(fs, in->fh, req->in->nodeid, 0);
	int fd, r = 0;

	if (!h)
		return -EBADF;
	lock_release_owner(fs, req->in->nodeid, in->lock_owner);
	fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && close(fd) < 0)
		r = -errno;
	handle_put(h);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}

static int release(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_release_in *in = req->arg;
	int r;

	if (in->release_flags & FUSE_RELEASE_FLUSH)
		lock_release_owner(fs, req->in->nodeid, in->lock_owner);
	lock_release_handle(fs, req->in->nodeid, in->fh);
	/* flock(2)'s lock goes with the descriptor. */
	r = handle_close(fs, in->fh, req->in->nodeid);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}

int op_release(struct fs *fs, struct virtiofs_req *req)
{
	return release(fs, req);
}

int op_releasedir(struct fs *fs, struct virtiofs_req *req)
{
	return release(fs, req);
}
