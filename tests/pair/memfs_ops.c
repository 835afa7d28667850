/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- nodes ---- */

struct memfs_node *memfs_node(struct memfs *m, uint64_t id)
{
	return id && id < MEMFS_NODES && m->nodes[id].used ? &m->nodes[id]
							   : NULL;
}

static uint64_t node_find(struct memfs *m, uint64_t parent, const char *name)
{
	for (uint64_t i = 2; i < MEMFS_NODES; i++)
		if (m->nodes[i].used && m->nodes[i].parent == parent &&
		    !strcmp(m->nodes[i].name, name))
			return i;
	return 0;
}

static uint64_t node_new(struct memfs *m, uint64_t parent, const char *name,
			 uint32_t mode)
{
	uint64_t i = 2;

	while (i < MEMFS_NODES && m->nodes[i].used)
		i++;
	if (i == MEMFS_NODES || strlen(name) >= sizeof(m->nodes[i].name))
		return 0;
	memset(&m->nodes[i], 0, sizeof(m->nodes[i]));
	m->nodes[i].used = true;
	m->nodes[i].mode = mode;
	m->nodes[i].nlink = 1;
	m->nodes[i].parent = parent;
	strcpy(m->nodes[i].name, name);
	return i;
}

void memfs_drop(struct memfs_node *n)
{
	if (n->nlookup || n->nlink)
		return;
	free(n->data);
	memset(n, 0, sizeof(*n));
}

static int node_resize(struct memfs_node *n, size_t len)
{
	if (len > n->cap) {
		size_t cap = len < 4096 ? 4096 : len * 2;
		unsigned char *data = realloc(n->data, cap);

		if (!data)
			return -ENOMEM;
		n->data = data;
		n->cap = cap;
	}
	if (len > n->len)
		memset(n->data + n->len, 0, len - n->len);
	n->len = len;
	return 0;
}

static struct fuse_attr attr_of(struct memfs *m, uint64_t id)
{
	const struct memfs_node *n = &m->nodes[id];
	struct fuse_attr a = {.ino = id,
			      .size = n->len,
			      .mode = n->mode,
			      .nlink = n->nlink,
			      .blksize = 4096};

	return a;
}

static struct fuse_entry_out entry_of(struct memfs *m, uint64_t id)
{
	struct fuse_entry_out e = {.nodeid = id, .attr = attr_of(m, id)};

	return e;
}

/* ---- replies ---- */

static int reply_entry(struct memfs *m, struct virtiofs_req *req, uint64_t id)
{
	struct fuse_entry_out e;
	int r;

	if (!id)
		return virtiofs_req_error(req, -ENOSPC);
	e = entry_of(m, id);
	m->nodes[id].nlookup++;
	r = virtiofs_req_reply(req, &e, sizeof(e));
	if (r < 0)
		m->nodes[id].nlookup--;
	return r;
}

static int reply_created(struct memfs *m, struct virtiofs_req *req, uint64_t id)
{
	struct {
		struct fuse_entry_out e;
		struct fuse_open_out o;
	} out = {.e = entry_of(m, id), .o = {.fh = id}};
	int r;

	if (!id)
		return virtiofs_req_error(req, -ENOSPC);
	m->nodes[id].nlookup++;
	add(&m->handles, 1);
	r = virtiofs_req_reply(req, &out, sizeof(out));
	if (r < 0) {
		m->nodes[id].nlookup--;
		add(&m->handles, (uint64_t)-1);
	}
	return r;
}

static int reply_attr(struct memfs *m, struct virtiofs_req *req, uint64_t id)
{
	struct fuse_attr_out out = {.attr = attr_of(m, id)};

	return virtiofs_req_reply(req, &out, sizeof(out));
}

static int reply_open(struct memfs *m, struct virtiofs_req *req)
{
	struct fuse_open_out out = {.fh = req->in->nodeid};
	int r;

	add(&m->handles, 1);
	r = virtiofs_req_reply(req, &out, sizeof(out));
	if (r < 0)
		add(&m->handles, (uint64_t)-1);
	return r;
}

static int reply_size(struct virtiofs_req *req, uint32_t size)
{
	struct fuse_write_out out = {.size = size};

	return virtiofs_req_reply(req, &out, sizeof(out));
}

/* ---- requests ---- */

static int do_setattr(struct memfs *m, struct virtiofs_req *req,
		      struct memfs_node *n)
{
	const struct fuse_setattr_in *in = req->arg;

	if (in->valid & FATTR_SIZE && node_resize(n, in->size) < 0)
		return virtiofs_req_error(req, -ENOMEM);
	if (in->valid & FATTR_MODE)
		n->mode = (n->mode & S_IFMT) | (in->mode & 07777);
	return reply_attr(m, req, req->in->nodeid);
}

static int do_write(struct virtiofs_req *req, struct memfs_node *n)
{
	const struct fuse_write_in *in = req->arg;
	size_t at = in->offset;

	if (req->data_len != in->size)
		return virtiofs_req_error(req, -EINVAL);
	if (at + in->size > n->len && node_resize(n, at + in->size) < 0)
		return virtiofs_req_error(req, -ENOMEM);
	for (unsigned i = 0; i < req->data_cnt; i++) {
		memcpy(n->data + at, req->data[i].iov_base,
		       req->data[i].iov_len);
		at += req->data[i].iov_len;
	}
	return reply_size(req, in->size);
}

static int do_read(struct memfs *m, struct virtiofs_req *req,
		   struct memfs_node *n)
{
	const struct fuse_read_in *in = req->arg;
	size_t left = in->offset < n->len ? n->len - in->offset : 0;

	if (req->room_len > m->worst_room)
		m->worst_room = req->room_len;
	if (left > in->size)
		left = in->size;
	return virtiofs_req_reply(req, left ? n->data + in->offset : NULL,
				  left);
}

static int do_unlink(struct memfs *m, struct virtiofs_req *req)
{
	uint64_t id = node_find(m, req->in->nodeid, req->arg);

	if (!id)
		return virtiofs_req_error(req, -ENOENT);
	m->nodes[id].nlink = 0;
	m->nodes[id].parent = 0;
	memfs_drop(&m->nodes[id]);
	return virtiofs_req_error(req, 0);
}

static int rename_to(struct memfs *m, struct virtiofs_req *req, uint64_t dir,
		     const char *name)
{
	const char *newname = name + strlen(name) + 1;
	uint64_t id = node_find(m, req->in->nodeid, name);
	uint64_t old = node_find(m, dir, newname);

	if (!id)
		return virtiofs_req_error(req, -ENOENT);
	if (old) {
		m->nodes[old].nlink = 0;
		m->nodes[old].parent = 0;
		memfs_drop(&m->nodes[old]);
	}
	m->nodes[id].parent = dir;
	strcpy(m->nodes[id].name, newname);
	return virtiofs_req_error(req, 0);
}

static int do_symlink(struct memfs *m, struct virtiofs_req *req)
{
	const char *name = req->arg;
	const char *target = name + strlen(name) + 1;
	uint64_t id = node_new(m, req->in->nodeid, name, S_IFLNK | 0777);

	if (id && node_resize(&m->nodes[id], strlen(target)) == 0)
		memcpy(m->nodes[id].data, target, strlen(target));
	return reply_entry(m, req, id);
}

static size_t put_dirent(struct memfs *m, uint64_t id, bool plus,
			 unsigned char *to, size_t room)
{
	const char *name = m->nodes[id].name;
	struct fuse_entry_out e = entry_of(m, id);
	struct fuse_dirent d = {
	    .ino = id, .off = id + 1, .namelen = (uint32_t)strlen(name)};
	size_t head = plus ? sizeof(e) : 0;
	size_t len = head + sizeof(d) + d.namelen;

	len = (len + 7) / 8 * 8;
	if (len > room)
		return 0;
	memset(to, 0, len);
	memcpy(to, &e, head);
	memcpy(to + head, &d, sizeof(d));
	memcpy(to + head + sizeof(d), name, d.namelen);
	return len;
}

static int do_readdir(struct memfs *m, struct virtiofs_req *req)
{
	const struct fuse_read_in *in = req->arg;
	bool plus = req->in->opcode == FUSE_READDIRPLUS;
	unsigned char *buf = malloc(in->size ? in->size : 1);
	size_t at = 0, n;
	int r;

	for (uint64_t i = in->offset > 2 ? in->offset : 2; i < MEMFS_NODES;
	     i++) {
		if (!m->nodes[i].used || m->nodes[i].parent != req->in->nodeid)
			continue;
		n = put_dirent(m, i, plus, buf + at, in->size - at);
		if (!n)
			break;
		at += n;
		m->nodes[i].nlookup += plus ? 1 : 0;
	}
	r = virtiofs_req_reply(req, buf, at);
	free(buf);
	return r;
}

static int do_setxattr(struct virtiofs_req *req, struct memfs_node *n)
{
	const struct fuse_setxattr_in *in = req->arg;

	if (in->size > sizeof(n->xattr))
		return virtiofs_req_error(req, -E2BIG);
	n->xattr_len = 0;
	for (unsigned i = 0; i < req->data_cnt; i++) {
		memcpy(n->xattr + n->xattr_len, req->data[i].iov_base,
		       req->data[i].iov_len);
		n->xattr_len += (uint32_t)req->data[i].iov_len;
	}
	return virtiofs_req_error(req, 0);
}

/* What is there, or how long it is. */
static int reply_xattr(struct virtiofs_req *req, const void *p, uint32_t len)
{
	const struct fuse_getxattr_in *in = req->arg;
	struct fuse_getxattr_out out = {.size = len};

	if (!in->size)
		return virtiofs_req_reply(req, &out, sizeof(out));
	if (in->size < len)
		return virtiofs_req_error(req, -ERANGE);
	return virtiofs_req_reply(req, p, len);
}

static int do_getxattr(struct virtiofs_req *req, const struct memfs_node *n)
{
	if (!n->xattr_len)
		return virtiofs_req_error(req, -ENODATA);
	return reply_xattr(req, n->xattr, n->xattr_len);
}

static int do_statfs(struct virtiofs_req *req)
{
	struct fuse_statfs_out out = {
	    .st = {.blocks = 1000, .bfree = 10, .bsize = 4096}};

	return virtiofs_req_reply(req, &out, sizeof(out));
}

static int do_lseek(struct virtiofs_req *req, const struct memfs_node *n)
{
	const struct fuse_lseek_in *in = req->arg;
	struct fuse_lseek_out out = {.offset = in->offset};

	if (in->offset >= n->len)
		return virtiofs_req_error(req, -ENXIO);
	if (in->whence == SEEK_HOLE)
		out.offset = n->len;
	return virtiofs_req_reply(req, &out, sizeof(out));
}

static int do_copy(struct memfs *m, struct virtiofs_req *req,
		   const struct memfs_node *n)
{
	const struct fuse_copy_file_range_in *in = req->arg;
	struct memfs_node *to = memfs_node(m, in->nodeid_out);
	size_t len = in->len;

	if (!to || in->off_in > n->len)
		return virtiofs_req_error(req, -EINVAL);
	if (len > n->len - in->off_in)
		len = n->len - in->off_in;
	if (in->off_out + len > to->len && node_resize(to, in->off_out + len))
		return virtiofs_req_error(req, -ENOMEM);
	memmove(to->data + in->off_out, n->data + in->off_in, len);
	return reply_size(req, (uint32_t)len);
}

static int do_fallocate(struct virtiofs_req *req, struct memfs_node *n)
{
	const struct fuse_fallocate_in *in = req->arg;

	if (in->offset + in->length > n->len &&
	    node_resize(n, in->offset + in->length) < 0)
		return virtiofs_req_error(req, -ENOMEM);
	return virtiofs_req_error(req, 0);
}

static int do_statx(struct memfs *m, struct virtiofs_req *req)
{
	struct fuse_statx_out out = {0};

	out.stat.ino = req->in->nodeid;
	out.stat.size = m->nodes[req->in->nodeid].len;
	return virtiofs_req_reply(req, &out, sizeof(out));
}

static int do_getlk(struct virtiofs_req *req)
{
	struct fuse_lk_out out = {.lk = {.type = F_UNLCK}};

	return virtiofs_req_reply(req, &out, sizeof(out));
}

/* Waits until it is interrupted: nobody ever unlocks. */
static int do_setlkw(struct memfs *m, struct virtiofs_req *req)
{
	if (m->lock_cnt == MEMFS_LOCKS)
		return virtiofs_req_error(req, -ENOLCK);
	m->locks[m->lock_cnt++] = req;
	add(&m->lock_waits, 1);
	if (virtiofs_req_interrupted(req)) {
		m->lock_cnt--;
		return virtiofs_req_error(req, -EINTR);
	}
	return 0;
}

int memfs_on_node(struct memfs *m, struct virtiofs_req *req,
		  struct memfs_node *n)
{
	static const char names[] = "user.test";
	const struct fuse_rename_in *ren = req->arg;
	const struct fuse_link_in *link = req->arg;
	const char *arg = req->arg;
	uint64_t id = req->in->nodeid;

	switch (req->in->opcode) {
	case FUSE_LOOKUP:
		id = node_find(m, id, arg);
		return id ? reply_entry(m, req, id)
			  : virtiofs_req_error(req, -ENOENT);
	case FUSE_GETATTR:
		return reply_attr(m, req, id);
	case FUSE_SETATTR:
		return do_setattr(m, req, n);
	case FUSE_READLINK:
		return virtiofs_req_reply(req, n->data, n->len);
	case FUSE_SYMLINK:
		return do_symlink(m, req);
	case FUSE_MKNOD:
		arg += sizeof(struct fuse_mknod_in);
		return reply_entry(m, req,
				   node_new(m, id, arg, S_IFREG | 0644));
	case FUSE_MKDIR:
		arg += sizeof(struct fuse_mkdir_in);
		return reply_entry(m, req,
				   node_new(m, id, arg, S_IFDIR | 0755));
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		arg += sizeof(struct fuse_create_in);
		if (req->in->opcode == FUSE_TMPFILE)
			id = 0;
		return reply_created(m, req,
				     node_new(m, id, arg, S_IFREG | 0644));
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		return do_unlink(m, req);
	case FUSE_RENAME:
		return rename_to(m, req, ren->newdir, arg + sizeof(*ren));
	case FUSE_RENAME2:
		return rename_to(m, req, ren->newdir,
				 arg + sizeof(struct fuse_rename2_in));
	case FUSE_LINK:
		return reply_entry(m, req, link->oldnodeid);
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		return reply_open(m, req);
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		add(&m->handles, (uint64_t)-1);
		return virtiofs_req_error(req, 0);
	case FUSE_READ:
		return do_read(m, req, n);
	case FUSE_WRITE:
		return do_write(req, n);
	case FUSE_STATFS:
		return do_statfs(req);
	case FUSE_SETXATTR:
		return do_setxattr(req, n);
	case FUSE_GETXATTR:
		return do_getxattr(req, n);
	case FUSE_LISTXATTR:
		return reply_xattr(req, names, n->xattr_len ? 10 : 0);
	case FUSE_REMOVEXATTR:
		n->xattr_len = 0;
		return virtiofs_req_error(req, 0);
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return do_readdir(m, req);
	case FUSE_GETLK:
		return do_getlk(req);
	case FUSE_SETLKW:
		return do_setlkw(m, req);
	case FUSE_LSEEK:
		return do_lseek(req, n);
	case FUSE_FALLOCATE:
		return do_fallocate(req, n);
	case FUSE_COPY_FILE_RANGE:
		return do_copy(m, req, n);
	case FUSE_STATX:
		return do_statx(m, req);
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
	case FUSE_FLUSH:
	case FUSE_SETLK:
	case FUSE_ACCESS:
	case FUSE_SYNCFS:
		return virtiofs_req_error(req, 0);
	}
	return virtiofs_req_error(req, -ENOSYS);
}
