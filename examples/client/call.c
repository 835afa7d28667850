/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

void node_put(struct session *s, struct node *node)
{
	/* -ENOMEM: DESTROY, which ends the session, forgets them all */
	if (node->counted && !io_dead(s->io))
		virtiofs_client_forget(s->c, node->id, 1);
	node->counted = false;
}

static bool valid_attr(const struct fuse_attr *attr)
{
	switch (attr->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return attr->size <= INT64_MAX;
	default:
		return false;
	}
}

int node_from_entry(struct session *s, const struct fuse_entry_out *entry,
		    struct node *ret)
{
	struct node node = {
	    .id = entry->nodeid,
	    .counted = true,
	    .attr = entry->attr,
	};

	if (!node.id)
		return -ENOENT;
	if (!valid_attr(&node.attr)) {
		node_put(s, &node);
		return -EIO;
	}
	*ret = node;
	return 0;
}

/* A reply of fixed size: all of it, or the peer's fault. */
static int call_fixed(struct io_req *rq, void *buf, size_t size)
{
	ssize_t n = io_call(rq, buf, size);

	if (n >= 0 && (size_t)n != size)
		return -EPROTO;
	return n < 0 ? (int)n : 0;
}

/* prepared: what the prep function returned. */
static int call_entry(struct session *s, struct io_req *rq, int prepared,
		      struct node *ret)
{
	struct fuse_entry_out entry;
	int r;

	if (prepared < 0) {
		io_put(rq);
		return prepared;
	}
	r = call_fixed(rq, &entry, sizeof(entry));
	return r < 0 ? r : node_from_entry(s, &entry, ret);
}

static int call_empty(struct io_req *rq, int prepared)
{
	if (prepared < 0) {
		io_put(rq);
		return prepared;
	}
	return call_fixed(rq, NULL, 0);
}

int call_root(struct session *s, struct node *ret)
{
	ret->id = FUSE_ROOT_ID;
	ret->counted = false;
	return call_getattr(s, FUSE_ROOT_ID, &ret->attr);
}

int call_lookup(struct session *s, uint64_t parent, const char *name,
		struct node *ret)
{
	struct io_req *rq = io_get(s->io);
	const struct iovec *room = io_room(rq, sizeof(struct fuse_entry_out));
	int r = virtiofs_prep_lookup(&rq->op, parent, name, room);

	return call_entry(s, rq, r, ret);
}

int call_getattr(struct session *s, uint64_t nodeid, struct fuse_attr *ret)
{
	struct io_req *rq = io_get(s->io);
	struct fuse_attr_out out;
	int r;

	virtiofs_prep_getattr(&rq->op, nodeid, io_room(rq, sizeof(out)));
	r = call_fixed(rq, &out, sizeof(out));
	if (r < 0)
		return r;
	if (!valid_attr(&out.attr))
		return -EIO;
	*ret = out.attr;
	return 0;
}

int call_setattr(struct session *s, uint64_t nodeid,
		 const struct fuse_setattr_in *in)
{
	struct io_req *rq = io_get(s->io);
	struct fuse_attr_out out;

	virtiofs_prep_setattr(&rq->op, nodeid, in, io_room(rq, sizeof(out)));
	return call_fixed(rq, &out, sizeof(out));
}

int call_readlink(struct session *s, uint64_t nodeid, char *ret_target)
{
	struct io_req *rq = io_get(s->io);
	ssize_t n;

	virtiofs_prep_readlink(&rq->op, nodeid, io_room(rq, IO_REPLY_MAX));
	n = io_call(rq, ret_target, IO_REPLY_MAX);
	if (n < 0)
		return (int)n;
	if (n == 0 || n > (ssize_t)IO_REPLY_MAX ||
	    memchr(ret_target, 0, (size_t)n))
		return -EIO;
	ret_target[n] = '\0';
	return 0;
}

int call_symlink(struct session *s, uint64_t parent, const char *name,
		 const char *target, struct node *ret)
{
	size_t len = strlen(target) + 1;
	struct io_req *rq;
	int r;

	if (len > IO_TEXT_MAX)
		return -ENAMETOOLONG;
	rq = io_get(s->io);
	memcpy(rq->text, target, len);
	rq->data = virtiofs_iov(rq->text, len);
	r = virtiofs_prep_symlink(&rq->op, parent, name, &rq->data,
				  io_room(rq, sizeof(struct fuse_entry_out)));
	return call_entry(s, rq, r, ret);
}

int call_mknod(struct session *s, uint64_t parent, const char *name,
	       const struct fuse_mknod_in *in, struct node *ret)
{
	struct io_req *rq = io_get(s->io);
	int r = virtiofs_prep_mknod(&rq->op, parent, name, in,
				    io_room(rq, sizeof(struct fuse_entry_out)));

	return call_entry(s, rq, r, ret);
}

int call_mkdir(struct session *s, uint64_t parent, const char *name,
	       uint32_t mode, struct node *ret)
{
	struct fuse_mkdir_in in = {.mode = mode, .umask = current_umask()};
	struct io_req *rq = io_get(s->io);
	int r = virtiofs_prep_mkdir(&rq->op, parent, name, &in,
				    io_room(rq, sizeof(struct fuse_entry_out)));

	return call_entry(s, rq, r, ret);
}

int call_unlink(struct session *s, uint64_t parent, const char *name)
{
	struct io_req *rq = io_get(s->io);

	return call_empty(rq, virtiofs_prep_unlink(&rq->op, parent, name));
}

int call_rmdir(struct session *s, uint64_t parent, const char *name)
{
	struct io_req *rq = io_get(s->io);

	return call_empty(rq, virtiofs_prep_rmdir(&rq->op, parent, name));
}

int call_rename(struct session *s, uint64_t parent, const char *name,
		uint64_t newparent, const char *newname)
{
	struct io_req *rq = io_get(s->io);
	int r = virtiofs_prep_rename(&rq->op, parent, name, newparent, newname);

	return call_empty(rq, r);
}

int call_link(struct session *s, uint64_t nodeid, uint64_t newparent,
	      const char *newname, struct node *ret)
{
	struct io_req *rq = io_get(s->io);
	int r = virtiofs_prep_link(&rq->op, nodeid, newparent, newname,
				   io_room(rq, sizeof(struct fuse_entry_out)));

	return call_entry(s, rq, r, ret);
}

static int open_as(struct session *s, uint32_t opcode, uint64_t nodeid,
		   struct handle *h)
{
	struct io_req *rq = io_get(s->io);
	struct fuse_open_out out;
	int r;

	virtiofs_prep_open(&rq->op, opcode, nodeid, h->flags,
			   io_room(rq, sizeof(out)));
	r = call_fixed(rq, &out, sizeof(out));
	if (r < 0)
		return r;
	h->fh = out.fh;
	h->open_flags = out.open_flags;
	h->opened = true;
	return 0;
}

int call_open(struct session *s, uint64_t nodeid, uint32_t flags,
	      struct handle *ret)
{
	int r = -ENOSYS;

	*ret = (struct handle){.flags = flags};
	if (!s->no_open)
		r = open_as(s, FUSE_OPEN, nodeid, ret);
	s->no_open = r == -ENOSYS;
	return s->no_open ? 0 : r;
}

int call_opendir(struct session *s, uint64_t nodeid, struct handle *ret)
{
	int r = -ENOSYS;

	*ret = (struct handle){.flags = O_RDONLY | O_DIRECTORY};
	if (!s->no_opendir)
		r = open_as(s, FUSE_OPENDIR, nodeid, ret);
	s->no_opendir = r == -ENOSYS;
	return s->no_opendir ? 0 : r;
}

/* What RELEASE answers changes nothing: the handle is gone. */
static void release_as(struct session *s, uint32_t opcode, uint64_t nodeid,
		       struct handle *h)
{
	struct io_req *rq;

	if (!h->opened)
		return;
	h->opened = false;
	rq = io_get(s->io);
	virtiofs_prep_release(&rq->op, opcode, nodeid, h->fh, h->flags);
	io_call(rq, NULL, 0);
}

void call_release(struct session *s, uint64_t nodeid, struct handle *h)
{
	release_as(s, FUSE_RELEASE, nodeid, h);
}

void call_releasedir(struct session *s, uint64_t nodeid, struct handle *h)
{
	release_as(s, FUSE_RELEASEDIR, nodeid, h);
}

int call_statfs(struct session *s, uint64_t nodeid, struct fuse_kstatfs *ret)
{
	struct io_req *rq = io_get(s->io);
	struct fuse_statfs_out out;
	int r;

	virtiofs_prep_statfs(&rq->op, nodeid, io_room(rq, sizeof(out)));
	r = call_fixed(rq, &out, sizeof(out));
	if (r >= 0)
		*ret = out.st;
	return r;
}

uint32_t current_umask(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return mask;
}
