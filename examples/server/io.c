/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Data: from the file straight into the peer's memory, and back. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "block.h"
#include "creds.h"
#include "handle.h"
#include "ops.h"
#include "stats.h"

/* A walk over parts of the peer's memory, at most IOV_MAX at a time. */
struct walk {
	const struct iovec *iov;
	unsigned cnt;
	size_t skip; /* of the first part */
	size_t left; /* of all */
};

static struct walk walk_over(const struct iovec *iov, unsigned cnt, size_t len)
{
	return (struct walk){.iov = iov, .cnt = cnt, .left = len};
}

/* The next parts, cut to what is left. */
static int next_parts(const struct walk *w, struct iovec *parts)
{
	size_t skip = w->skip, left = w->left;
	unsigned n;

	for (n = 0; n < w->cnt && n < IOV_MAX && left > 0; n++) {
		size_t len = w->iov[n].iov_len - skip;

		if (len > left)
			len = left;
		parts[n].iov_base = (char *)w->iov[n].iov_base + skip;
		parts[n].iov_len = len;
		left -= len;
		skip = 0;
	}
	return (int)n;
}

static void advance(struct walk *w, size_t n)
{
	w->left -= n;
	n += w->skip;
	while (w->cnt && n >= w->iov->iov_len) {
		n -= w->iov->iov_len;
		w->iov++;
		w->cnt--;
	}
	w->skip = n;
}

/* Bytes read before the end of file; an error only if there are none. */
static ssize_t read_all(int fd, struct walk *w, uint64_t offset)
{
	struct iovec parts[IOV_MAX];
	size_t done = 0;

	while (w->left > 0) {
		int cnt = next_parts(w, parts);
		ssize_t n = preadv(fd, parts, cnt, (off_t)(offset + done));

		if (n < 0 && done == 0)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
		advance(w, (size_t)n);
	}
	return (ssize_t)done;
}

/* What is in a FIFO by now, or the first of what will be. */
static ssize_t read_fifo(struct virtiofs_req *req, int fd, const struct walk *w)
{
	struct iovec parts[IOV_MAX];
	int cnt = next_parts(w, parts);
	ssize_t n = block_enter(req);

	if (n < 0)
		return n;
	do {
		n = readv(fd, parts, cnt);
		n = n < 0 ? -errno : n;
	} while (n == -EINTR && !block_ended());
	block_leave();
	return n;
}

int op_read(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_read_in *in = req->arg;
	struct walk w = walk_over(req->room, req->room_cnt, in->size);
	struct handle *h;
	ssize_t n;

	if (in->size > req->room_len)
		w.left = req->room_len;
	h = handle_get(fs, in->fh, req->in->nodeid, 0);
	if (!h)
		return -EBADF;
	if (S_ISFIFO(h->type))
		n = read_fifo(req, h->fd, &w);
	else if (S_ISDIR(h->type))
		n = -EBADF;
	else if (in->offset > INT64_MAX)
		n = -EINVAL;
	else
		n = read_all(h->fd, &w, in->offset);
	handle_put(h);
	if (n < 0)
		return (int)n;
	stats_read_bytes((uint64_t)n);
	virtiofs_req_filled(req, (size_t)n);
	return 0;
}

static ssize_t write_all(int fd, struct walk *w, uint64_t offset, int flags)
{
	struct iovec parts[IOV_MAX];
	size_t done = 0;

	while (w->left > 0) {
		int cnt = next_parts(w, parts);
		ssize_t n = pwritev2(fd, parts, cnt, (off_t)(offset + done),
				     flags);

		if (n < 0 && done == 0)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
		advance(w, (size_t)n);
	}
	return (ssize_t)done;
}

/* All of it, or what there was room for when the client lost patience. */
static ssize_t write_fifo(struct virtiofs_req *req, int fd, struct walk *w)
{
	struct iovec parts[IOV_MAX];
	size_t done = 0;
	ssize_t n = block_enter(req);

	if (n < 0)
		return n;
	while (w->left > 0) {
		n = writev(fd, parts, next_parts(w, parts));
		n = n < 0 ? -errno : n;
		if (n == -EINTR && !block_ended())
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
		advance(w, (size_t)n);
	}
	block_leave();
	return done ? (ssize_t)done : n;
}

/* O_APPEND is done here, where all guests and the host meet; pages that were
 * written through a mapping have their place already. */
static int write_flags(const struct fuse_write_in *in)
{
	return (in->flags & O_APPEND) && !(in->write_flags & FUSE_WRITE_CACHE)
		   ? RWF_APPEND
		   : 0;
}

/* What is written counts as written by whoever opened the file. */
static int take_opener(const struct fs *fs, const struct virtiofs_req *req,
		       const struct handle *h, bool kill_set_id)
{
	return creds_take(fs, h->uid, h->gid,
			  creds_set_id(fs, req, kill_set_id));
}

static ssize_t write_to(struct virtiofs_req *req, const struct handle *h,
			struct walk *w)
{
	const struct fuse_write_in *in = req->arg;

	if (S_ISFIFO(h->type))
		return write_fifo(req, h->fd, w);
	if (S_ISDIR(h->type))
		return -EBADF;
	return write_all(h->fd, w, in->offset, write_flags(in));
}

int op_write(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_write_in *in = req->arg;
	struct walk w = walk_over(req->data, req->data_cnt, req->data_len);
	struct fuse_write_out out = {.size = 0};
	struct handle *h;
	ssize_t n;

	if (in->size != req->data_len || in->offset > INT64_MAX)
		return -EINVAL;
	h = handle_get(fs, in->fh, req->in->nodeid, 0);
	if (!h)
		return -EBADF;
	n = take_opener(fs, req, h, in->write_flags & FUSE_WRITE_KILL_SUIDGID);
	if (n == 0)
		n = write_to(req, h, &w);
	handle_put(h);
	if (n < 0)
		return (int)n;
	stats_written_bytes((uint64_t)n);
	out.size = (uint32_t)n;
	return reply_bytes(req, &out, sizeof(out));
}

static int sync_handle(struct fs *fs, struct virtiofs_req *req, mode_t type)
{
	const struct fuse_fsync_in *in = req->arg;
	struct handle *h = handle_get(fs, in->fh, req->in->nodeid, type);
	int r;

	if (!h)
		return -EBADF;
	r = in->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd)
						   : fsync(h->fd);
	r = r < 0 ? -errno : 0;
	handle_put(h);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}

int op_fsync(struct fs *fs, struct virtiofs_req *req)
{
	return sync_handle(fs, req, S_IFREG);
}

int op_fsyncdir(struct fs *fs, struct virtiofs_req *req)
{
	return sync_handle(fs, req, S_IFDIR);
}

int op_fallocate(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_fallocate_in *in = req->arg;
	struct handle *h;
	int r;

	if (in->offset > INT64_MAX || in->length > INT64_MAX)
		return -EFBIG;
	h = handle_get(fs, in->fh, req->in->nodeid, S_IFREG);
	if (!h)
		return -EBADF;
	r = take_opener(fs, req, h, false);
	if (r == 0 && fallocate(h->fd, (int)in->mode, (off_t)in->offset,
				(off_t)in->length) < 0)
		r = -errno;
	handle_put(h);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}

/* The descriptor's own position means nothing here, so neither does a seek
 * relative to it. */
int op_lseek(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_lseek_in *in = req->arg;
	struct fuse_lseek_out out;
	struct handle *h;
	off_t n;
	int r;

	if (in->whence != SEEK_DATA && in->whence != SEEK_HOLE &&
	    in->whence != SEEK_END && in->whence != SEEK_SET)
		return -EINVAL;
	h = handle_get(fs, in->fh, req->in->nodeid, S_IFREG);
	if (!h)
		return -EBADF;
	n = lseek(h->fd, (off_t)in->offset, (int)in->whence);
	r = n < 0 ? -errno : 0;
	handle_put(h);
	if (r < 0)
		return r;
	out.offset = (uint64_t)n;
	return reply_bytes(req, &out, sizeof(out));
}

/* So much at a time, and then a look whether the client still wants it. */
#define COPY_SLICE (16ull << 20)

static ssize_t copy_slices(struct virtiofs_req *req, int src, int dst,
			   uint64_t len)
{
	const struct fuse_copy_file_range_in *in = req->arg;
	off_t from = (off_t)in->off_in, to = (off_t)in->off_out;
	size_t done = 0;
	ssize_t n = 0;

	while (done < len) {
		if (virtiofs_req_interrupted(req)) {
			n = -EINTR;
			break;
		}
		n = copy_file_range(
		    src, &from, dst, &to,
		    len - done < COPY_SLICE ? len - done : COPY_SLICE, 0);
		n = n < 0 ? -errno : n;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done ? (ssize_t)done : n;
}

static ssize_t copy(struct fs *fs, struct virtiofs_req *req, uint64_t max)
{
	const struct fuse_copy_file_range_in *in = req->arg;
	uint64_t len = in->len < max ? in->len : max;
	struct handle *src, *dst;
	ssize_t n = -EBADF;

	if (in->flags || in->off_in > INT64_MAX || in->off_out > INT64_MAX)
		return -EINVAL;
	src = handle_get(fs, in->fh_in, req->in->nodeid, S_IFREG);
	dst = handle_get(fs, in->fh_out, in->nodeid_out, S_IFREG);
	if (src && dst)
		n = take_opener(fs, req, dst, false);
	if (n == 0)
		n = copy_slices(req, src->fd, dst->fd, len);
	if (src)
		handle_put(src);
	if (dst)
		handle_put(dst);
	return n;
}

int op_copy_file_range(struct fs *fs, struct virtiofs_req *req)
{
	struct fuse_write_out out = {.size = 0};
	ssize_t n = copy(fs, req, INT32_MAX & ~4095u);

	if (n < 0)
		return (int)n;
	out.size = (uint32_t)n;
	return reply_bytes(req, &out, sizeof(out));
}

int op_copy_file_range_64(struct fs *fs, struct virtiofs_req *req)
{
	struct fuse_copy_file_range_out out;
	ssize_t n = copy(fs, req, INT64_MAX);

	if (n < 0)
		return (int)n;
	out.bytes_copied = (uint64_t)n;
	return reply_bytes(req, &out, sizeof(out));
}

int op_syncfs(struct fs *fs, struct virtiofs_req *req)
{
	struct node_ref ref;
	uint64_t lifted;
	int fd, r;

	r = node_get(fs, req->in->nodeid, &ref);
	if (r < 0)
		return r;
	lifted = creds_lift();
	fd = fs_reopen(fs, ref.fd, ref.node->type, O_RDONLY | O_NONBLOCK);
	creds_settle(lifted);
	node_put(&ref);
	if (fd < 0)
		return fd;
	r = syncfs(fd) < 0 ? -errno : 0;
	close(fd);
	return r < 0 ? r : reply_bytes(req, NULL, 0);
}
