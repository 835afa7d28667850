/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What makes a new name: all of it as the requester. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "creds.h"
#include "handle.h"
#include "ops.h"

/* One creation, until its reply. */
struct creation {
	struct node_ref parent;
	const char *name;
	const char *target; /* of a symbolic link */
	mode_t mode, umask;
	dev_t rdev;
};

static int make(int dir_fd, const struct creation *c)
{
	int r;

	if (c->target)
		r = symlinkat(c->target, dir_fd, c->name);
	else if (S_ISDIR(c->mode))
		r = mkdirat(dir_fd, c->name, c->mode & 07777);
	else
		r = mknodat(dir_fd, c->name, c->mode, c->rdev);
	return r < 0 ? -errno : 0;
}

static int create_node(struct fs *fs, struct virtiofs_req *req,
		       struct creation *c)
{
	struct fuse_entry_out entry;
	int r;

	r = creds_make(fs, req, c->umask);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &c->parent);
	if (r < 0)
		return r;
	r = make(c->parent.fd, c);
	if (r == 0)
		r = node_lookup(fs, &c->parent, c->name, &entry);
	node_put(&c->parent);
	return r < 0 ? r : reply_entry(fs, req, &entry);
}

int op_mknod(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_mknod_in *in = req->arg;
	struct creation c = {
	    .mode = in->mode,
	    .umask = in->umask,
	    .rdev = in->rdev,
	};
	int r;

	r = arg_names(req, sizeof(*in), &c.name, NULL);
	if (r == 0 && (S_ISDIR(in->mode) || S_ISLNK(in->mode)))
		r = -EINVAL;
	return r < 0 ? r : create_node(fs, req, &c);
}

int op_mkdir(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_mkdir_in *in = req->arg;
	struct creation c = {
	    .mode = S_IFDIR | (in->mode & 07777),
	    .umask = in->umask,
	};
	int r;

	r = arg_names(req, sizeof(*in), &c.name, NULL);
	return r < 0 ? r : create_node(fs, req, &c);
}

int op_symlink(struct fs *fs, struct virtiofs_req *req)
{
	struct creation c = {.mode = S_IFLNK};
	int r;

	r = arg_names(req, 0, &c.name, NULL);
	if (r == 0)
		r = arg_string(req, strlen(c.name) + 1, &c.target);
	return r < 0 ? r : create_node(fs, req, &c);
}

static int link_to(struct fs *fs, const struct node_ref *node,
		   const struct node_ref *dir, const char *name,
		   struct fuse_entry_out *ret)
{
	struct fd_name old = fs_fd_name(node->fd);
	int fd;

	/* AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH. */
	if (linkat(AT_FDCWD, old.s, dir->fd, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	/* The file itself, whatever stands at that name by now. */
	fd = fcntl(node->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : node_enter(fs, fd, dir, ret);
}

int op_link(struct fs *fs, struct virtiofs_req *req)
{
	const struct fuse_link_in *in = req->arg;
	struct fuse_entry_out entry;
	struct node_ref node, dir;
	const char *name;
	int r;

	r = arg_names(req, sizeof(*in), &name, NULL);
	if (r == 0)
		r = node_get(fs, in->oldnodeid, &node);
	if (r < 0)
		return r;
	r = node_get(fs, req->in->nodeid, &dir);
	if (r == 0) {
		r = link_to(fs, &node, &dir, name, &entry);
		node_put(&dir);
	}
	node_put(&node);
	return r < 0 ? r : reply_entry(fs, req, &entry);
}

/* An open file's node: by its descriptor, not by a name that may have moved
 * on. fd stays the caller's. */
static int enter_open_file(struct fs *fs, int fd, const struct node_ref *parent,
			   struct fuse_entry_out *ret)
{
	struct fd_name name = fs_fd_name(fd);
	int path_fd = openat(fs->proc_fd, name.s, O_PATH | O_CLOEXEC);

	return path_fd < 0 ? -errno : node_enter(fs, path_fd, parent, ret);
}

/* Somebody was faster. The client didn't see the file, so it hasn't judged
 * whether its user may open it: open it as that user. */
static int open_existing(struct fs *fs, struct virtiofs_req *req,
			 const struct creation *c, int flags)
{
	const struct fuse_create_in *in = req->arg;
	struct statx st;
	int path_fd, r;

	path_fd = node_open_child(c->parent.fd, c->name);
	if (path_fd < 0)
		return path_fd;
	r = node_stat(path_fd, &st);
	if (r == 0 && S_ISDIR(st.stx_mode))
		r = -EISDIR;
	if (r == 0)
		r = creds_change(
		    fs, CREDS_CHECK | creds_set_id(fs, req,
						   in->open_flags &
						       FUSE_OPEN_KILL_SUIDGID));
	if (r == 0)
		r = fs_reopen(fs, path_fd, st.stx_mode & S_IFMT, flags);
	close(path_fd);
	return r;
}

static int create_file(struct fs *fs, struct virtiofs_req *req,
		       const struct creation *c, int flags)
{
	const struct fuse_create_in *in = req->arg;
	int fd, r;

	if (c->name)
		fd = openat(c->parent.fd, c->name,
			    flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    c->mode & 07777);
	else
		fd = openat(c->parent.fd, ".",
			    flags | O_TMPFILE | O_CLOEXEC |
				(int)(in->flags & O_EXCL),
			    c->mode & 07777);
	r = fd < 0 ? -errno : fd;
	if (r == -EEXIST && c->name && !(in->flags & O_EXCL))
		r = open_existing(fs, req, c, flags);
	return r;
}

struct create_out {
	struct fuse_entry_out entry;
	struct fuse_open_out open;
};

/* The node and the handle of a file just opened; fd is taken over. */
static int reply_create(struct fs *fs, struct virtiofs_req *req, int fd,
			const struct node_ref *parent)
{
	struct create_out out;
	int r;

	memset(&out, 0, sizeof(out));
	r = enter_open_file(fs, fd, parent, &out.entry);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = handle_add(req, out.entry.nodeid, fd, S_IFREG, &out.open.fh);
	if (r < 0) {
		node_forget(fs, out.entry.nodeid, 1);
		return r;
	}
	out.open.open_flags = open_out_flags(fs, false);
	if (virtiofs_req_reply(req, &out, sizeof(out)) < 0) {
		handle_close(fs, out.open.fh, out.entry.nodeid);
		node_forget(fs, out.entry.nodeid, 1);
	}
	return 0;
}

static int create_and_open(struct fs *fs, struct virtiofs_req *req,
			   const char *name)
{
	const struct fuse_create_in *in = req->arg;
	struct creation c = {
	    .name = name,
	    .mode = in->mode,
	    .umask = in->umask,
	};
	int flags, r;

	r = open_flags(fs, in->flags & ~(uint32_t)O_DIRECTORY, &flags);
	if (r == 0)
		r = creds_make(fs, req, c.umask);
	if (r == 0)
		r = node_get(fs, req->in->nodeid, &c.parent);
	if (r < 0)
		return r;
	r = create_file(fs, req, &c, flags);
	if (r >= 0)
		r = reply_create(fs, req, r, &c.parent);
	node_put(&c.parent);
	return r;
}

int op_create(struct fs *fs, struct virtiofs_req *req)
{
	const char *name;
	int r = arg_names(req, sizeof(struct fuse_create_in), &name, NULL);

	return r < 0 ? r : create_and_open(fs, req, name);
}

/* Its name means nothing: Linux sends "/". */
int op_tmpfile(struct fs *fs, struct virtiofs_req *req)
{
	return create_and_open(fs, req, NULL);
}
