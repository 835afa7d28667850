/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Listing directories. */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "handle.h"
#include "ops.h"

/* What getdents64(2) writes. */
struct host_dirent {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* The longest: a name of 255 bytes and its NUL. */
#define HOST_DIRENT_MAX 280u

/* One listing: entries of the host in, entries of FUSE out. */
struct listing {
	struct fs *fs;
	struct node_ref dir;
	char *out;
	size_t len, max;
};

typedef int (*add_fn)(struct listing *l, const struct host_dirent *d);

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The parent of the root is nothing that the guest should hear of. */
static uint64_t ino_of(const struct listing *l, const struct host_dirent *d)
{
	if (l->dir.node->id == FUSE_ROOT_ID && is_dots(d->name))
		return l->dir.node->ino;
	return d->ino;
}

static size_t put_dirent(const struct listing *l, char *to,
			 const struct host_dirent *d)
{
	size_t name_len = strlen(d->name);
	struct fuse_dirent out = {
	    .ino = ino_of(l, d),
	    .off = (uint64_t)d->off,
	    .namelen = (uint32_t)name_len,
	    .type = d->type,
	};
	size_t len = FUSE_NAME_OFFSET + name_len;

	memcpy(to, &out, FUSE_NAME_OFFSET);
	memcpy(to + FUSE_NAME_OFFSET, d->name, name_len);
	memset(to + len, 0, FUSE_DIRENT_ALIGN(len) - len);
	return FUSE_DIRENT_ALIGN(len);
}

static size_t dirent_size(const struct host_dirent *d)
{
	return FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + strlen(d->name));
}

/* 1: no room for this one. */
static int add_entry(struct listing *l, const struct host_dirent *d)
{
	if (dirent_size(d) > l->max - l->len)
		return 1;
	l->len += put_dirent(l, l->out + l->len, d);
	return 0;
}

/* With its attributes and one more lookup. What can't be looked up (it has
 * gone, or descriptors have run out) is listed without: node 0. */
static int add_entry_plus(struct listing *l, const struct host_dirent *d)
{
	struct fuse_entry_out entry;
	char *to = l->out + l->len;

	if (sizeof(entry) + dirent_size(d) > l->max - l->len)
		return 1;
	if (is_dots(d->name) ||
	    node_lookup(l->fs, &l->dir, d->name, &entry) < 0) {
		memset(&entry, 0, sizeof(entry));
		entry.attr.ino = ino_of(l, d);
		entry.attr.mode = DTTOIF(d->type);
	}
	memcpy(to, &entry, sizeof(entry));
	l->len += sizeof(entry) + put_dirent(l, to + sizeof(entry), d);
	return 0;
}

/* The peer didn't get the entries: take the lookups back. */
static void undo(struct listing *l)
{
	struct fuse_entry_out entry;
	struct fuse_dirent d;
	size_t at = 0;

	while (at < l->len) {
		memcpy(&entry, l->out + at, sizeof(entry));
		memcpy(&d, l->out + at + sizeof(entry), FUSE_NAME_OFFSET);
		if (entry.nodeid)
			node_forget(l->fs, entry.nodeid, 1);
		at += sizeof(entry) +
		      FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen);
	}
}

/* The next entries of the host from offset on. Called with h's lock. */
static ssize_t read_host(struct handle *h, uint64_t offset, char *buf,
			 size_t len)
{
	const struct host_dirent *d;
	ssize_t n, at = 0;

	if (offset != h->dir_offset &&
	    lseek(h->fd, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	h->dir_offset = offset;
	n = syscall(SYS_getdents64, h->fd, buf, len);
	if (n < 0)
		return -errno;
	while (at < n) {
		d = (const struct host_dirent *)(buf + at);
		h->dir_offset = (uint64_t)d->off;
		at += d->reclen;
	}
	return n;
}

static int fill(struct listing *l, struct handle *h, uint64_t offset,
		size_t host_len, add_fn add)
{
	char *buf = fs_scratch(1);
	const struct host_dirent *d;
	ssize_t n, at = 0;

	n = read_host(h, offset, buf, host_len);
	if (n < 0)
		return (int)n;
	while (at < n) {
		d = (const struct host_dirent *)(buf + at);
		if (add(l, d))
			break;
		at += d->reclen;
	}
	/* Not even one: nothing would look like the end. */
	return n > 0 && l->len == 0 ? -EINVAL : 0;
}

/* A FUSE entry is at least as long as the host's, with attributes at least
 * four times: don't read what won't fit. */
static size_t host_size(size_t max, add_fn add)
{
	size_t len = add == add_entry_plus ? max / 4 : max;

	return len < HOST_DIRENT_MAX ? HOST_DIRENT_MAX : len;
}

static int list(struct fs *fs, struct virtiofs_req *req, add_fn add)
{
	const struct fuse_read_in *in = req->arg;
	struct listing l = {.fs = fs, .out = fs_scratch(0)};
	struct handle *h;
	int r = -ESTALE;

	l.max = in->size < req->room_len ? in->size : req->room_len;
	if (l.max > SCRATCH_SIZE)
		l.max = SCRATCH_SIZE;
	h = handle_get(fs, in->fh, req->in->nodeid, S_IFDIR);
	if (!h)
		return -EBADF;
	l.dir.node = slots_get(&fs->nodes, req->in->nodeid);
	l.dir.fd = h->fd;
	if (l.dir.node) {
		pthread_mutex_lock(&h->lock);
		r = fill(&l, h, in->offset, host_size(l.max, add), add);
		pthread_mutex_unlock(&h->lock);
		slots_put(&fs->nodes, req->in->nodeid);
	}
	handle_put(h);
	if (r < 0)
		return r;
	if (virtiofs_req_reply(req, l.out, l.len) < 0 && add == add_entry_plus)
		undo(&l);
	return 0;
}

int op_readdir(struct fs *fs, struct virtiofs_req *req)
{
	return list(fs, req, add_entry);
}

int op_readdirplus(struct fs *fs, struct virtiofs_req *req)
{
	return list(fs, req, add_entry_plus);
}
