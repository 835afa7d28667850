/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "put.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "command.h"
#include "local.h"
#include "msg.h"
#include "path.h"
#include "progress.h"

/* An entry of a local directory, and what it shall be called. */
struct source {
	int dirfd;
	const char *local;
	const char *name;
};

static void put_entry(struct put_dir *dir, const struct source *src);

static void fail_from(struct put_dir *dir, int error, const char *what,
		      const char *name)
{
	char *path = put_from(dir, name);

	copy_fail(dir->cp, error, what, path ? path : name);
	free(path);
}

static void fail_to(struct put_dir *dir, int error, const char *what,
		    const char *name)
{
	char *path = put_to(dir, name);

	copy_fail(dir->cp, error, what, path ? path : name);
	free(path);
}

/* A remote name that may be taken by a directory is looked at first. */
static bool is_remote_dir(struct put_dir *dir, const char *name)
{
	struct node node;
	bool is_dir;

	if (dir->fresh ||
	    call_lookup(dir->cp->s, dir->node.id, name, &node) < 0)
		return false;
	is_dir = S_ISDIR(node.attr.mode);
	node_put(dir->cp->s, &node);
	return is_dir;
}

static void put_opened(struct put_dir *dir, const char *name, int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		char *path = put_from(dir, name);

		dir->cp->failed = true;
		msg_error(-errno, "cannot open %s for reading",
			  quote(path ? path : name));
		free(path);
	} else if (is_remote_dir(dir, name)) {
		fail_to(dir, -EISDIR, put_cannot_create, name);
	} else if (copy_room(dir->cp) >= 0) {
		put_file(dir, name, fd, &st);
		return;
	}
	if (fd >= 0)
		close(fd);
}

static void put_regular(struct put_dir *dir, const struct source *src)
{
	/* O_NONBLOCK: should it have become a FIFO meanwhile */
	int fd = openat(src->dirfd, src->local,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	put_opened(dir, src->name, fd);
}

static int make_link(struct put_dir *dir, const char *name, const void *target,
		     struct node *ret)
{
	return call_symlink(dir->cp->s, dir->node.id, name, target, ret);
}

static int make_node(struct put_dir *dir, const char *name, const void *arg,
		     struct node *ret)
{
	const struct stat *st = arg;
	unsigned major_no = major(st->st_rdev), minor_no = minor(st->st_rdev);
	struct fuse_mknod_in in = {
	    .mode = st->st_mode & (S_IFMT | 0777),
	    /* the kernel's 32-bit form of a device number */
	    .rdev = (minor_no & 0xff) | major_no << 8 |
		    (minor_no & ~0xffu) << 12,
	};

	return call_mknod(dir->cp->s, dir->node.id, name, &in, ret);
}

/* Under another name first where name is taken: what is there stays if it
 * can't be replaced. */
static int make_and_rename(struct put_dir *dir, const char *name,
			   int (*make)(struct put_dir *dir, const char *name,
				       const void *arg, struct node *ret),
			   const void *arg, struct node *ret)
{
	struct session *s = dir->cp->s;
	char tmp[TMP_NAME_MAX];
	int r;

	r = make(dir, name, arg, ret);
	if (r != -EEXIST)
		return r;
	tmp_name(tmp);
	r = make(dir, tmp, arg, ret);
	if (r < 0)
		return r;
	r = call_rename(s, dir->node.id, tmp, dir->node.id, name);
	if (r < 0) {
		call_unlink(s, dir->node.id, tmp);
		node_put(s, ret);
	}
	return r;
}

/* A link or special file can't be opened: its attributes by node. */
static int keep_node(struct copy *cp, const struct node *node,
		     const struct stat *st)
{
	uint32_t bits = put_keep_bits(cp, st, &node->attr);
	struct fuse_setattr_in in;
	int r = 0;

	attr_from_stat(st, &in);
	while (bits && r >= 0) {
		in.valid = put_keep_next(bits);
		bits &= ~in.valid;
		r = call_setattr(cp->s, node->id, &in);
	}
	return r;
}

static void put_special(struct put_dir *dir, const struct source *src,
			const struct stat *st)
{
	char target[IO_TEXT_MAX];
	struct node node;
	ssize_t n;
	int r;

	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(src->dirfd, src->local, target,
			       sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		r = n < 0 ? -errno
			  : make_and_rename(dir, src->name, make_link, target,
					    &node);
	} else {
		r = make_and_rename(dir, src->name, make_node, st, &node);
	}
	if (r < 0) {
		fail_to(dir, r, "cannot create", src->name);
		return;
	}
	if (dir->cp->keep) {
		r = keep_node(dir->cp, &node, st);
		/* not every server can set a link's times */
		if (r < 0 && !(S_ISLNK(st->st_mode) &&
			       (r == -EOPNOTSUPP || r == -ENOSYS)))
			fail_to(dir, r, "cannot preserve attributes of",
				src->name);
	}
	node_put(dir->cp->s, &node);
}

/* The remote directory, made or there already. */
static int enter_remote(struct put_dir *up, const char *name, struct node *ret,
			bool *ret_fresh)
{
	struct session *s = up->cp->s;
	int r;

	r = call_mkdir(s, up->node.id, name, 0700, ret);
	*ret_fresh = r >= 0;
	if (r != -EEXIST)
		return r;
	r = call_lookup(s, up->node.id, name, ret);
	if (r >= 0 && !S_ISDIR(ret->attr.mode)) {
		node_put(s, ret);
		return -ENOTDIR;
	}
	return r;
}

static void put_entries(struct put_dir *dir, int fd)
{
	DIR *list = fdopendir(fd);
	struct dirent *de;

	if (!list) {
		copy_fail(dir->cp, -errno, "cannot read directory", dir->from);
		close(fd);
		return;
	}
	while (copy_room(dir->cp) >= 0 && (errno = 0, de = readdir(list))) {
		struct source src = {fd, de->d_name, de->d_name};

		if (strcmp(de->d_name, ".") != 0 &&
		    strcmp(de->d_name, "..") != 0)
			put_entry(dir, &src);
		errno = 0;
	}
	if (errno && copy_room(dir->cp) >= 0)
		copy_fail(dir->cp, -errno, "cannot read directory", dir->from);
	closedir(list);
}

/* Is it the directory that we have made on the share? */
static bool is_copy(struct copy *cp, const struct stat *st)
{
	struct fuse_attr attr;

	return cp->made_id && st->st_ino == cp->made_ino &&
	       call_getattr(cp->s, cp->made_id, &attr) >= 0 &&
	       attr.ctime == (uint64_t)st->st_ctim.tv_sec &&
	       attr.ctimensec == (uint64_t)st->st_ctim.tv_nsec;
}

static int open_source(struct put_dir *up, const struct source *src,
		       struct stat *ret_st)
{
	int fd;

	if (up->depth >= COPY_DEPTH_MAX)
		return -ELOOP;
	fd = openat(src->dirfd, src->local,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, ret_st) < 0 || is_copy(up->cp, ret_st)) {
		close(fd);
		return -ELOOP;
	}
	return fd;
}

static void put_tree(struct put_dir *up, const struct source *src)
{
	struct copy *cp = up->cp;
	struct put_dir *dir;
	struct stat st;
	struct node node;
	bool fresh;
	int fd, r;

	fd = open_source(up, src, &st);
	if (fd < 0) {
		fail_from(up, fd, "cannot copy directory", src->name);
		return;
	}
	r = enter_remote(up, src->name, &node, &fresh);
	if (r < 0) {
		fail_to(up, r, "cannot create directory", src->name);
		close(fd);
		return;
	}
	if (!cp->made_id) {
		cp->made_id = node.id;
		cp->made_ino = node.attr.ino;
	}
	dir = put_dir_new(cp, up, src->name, &node);
	if (!dir) {
		close(fd);
		return;
	}
	dir->fresh = fresh;
	dir->keep = cp->keep;
	dir->st = st;
	put_entries(dir, fd);
	put_dir_put(dir);
}

static void put_entry(struct put_dir *dir, const struct source *src)
{
	struct stat st;

	if (fstatat(src->dirfd, src->local, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_from(dir, -errno, "cannot stat", src->name);
	else if (S_ISREG(st.st_mode))
		put_regular(dir, src);
	else if (S_ISDIR(st.st_mode))
		put_tree(dir, src);
	else
		put_special(dir, src, &st);
}

/* The contents of a directory without a name of its own: ".", "/". */
static void put_contents(struct put_dir *dir, const char *local)
{
	int fd = open(local, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		copy_fail(dir->cp, -errno, "cannot read directory", local);
		return;
	}
	free(dir->from);
	dir->from = strdup(local);
	dir->alias = NULL;
	if (dir->from)
		put_entries(dir, fd);
	else
		close(fd);
}

static bool is_nameless(const char *name)
{
	return !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Takes place. */
static int put_to_place(struct copy *cp, struct place *place, const char *local,
			const char *remote)
{
	struct source src = {AT_FDCWD, local, place->name};
	struct put_dir *dir;

	dir = put_dir_new(cp, NULL, remote, &place->dir);
	if (dir) {
		size_t len = strlen(dir->to);

		dir->alias = local;
		if (!place->inside) {
			while (len && dir->to[len - 1] == '/')
				len--;
			dir->to[len - strlen(place->name)] = '\0';
		}
		if (is_nameless(place->name))
			put_contents(dir, local);
		else if (cp->keep)
			put_entry(dir, &src);
		else
			put_opened(dir, place->name,
				   open(local, O_RDONLY | O_CLOEXEC));
		put_dir_put(dir);
	}
	free(place->name);
	return copy_end(cp);
}

/* "link/" is the directory behind a link, and its name has no slash. */
static int check_local(const char *local, bool recursive, struct stat *ret_st)
{
	int r = recursive ? lstat(local, ret_st) : stat(local, ret_st);

	if (r < 0) {
		msg_error(-errno, "cannot stat %s", quote(local));
		return -1;
	}
	if (S_ISDIR(ret_st->st_mode) && !recursive) {
		msg_error(0, "-r not specified; omitting directory %s",
			  quote(local));
		return -1;
	}
	return 0;
}

int cmd_put(struct session *s, const struct args *args)
{
	const char *local = args->argv[0], *remote = args->argv[1];
	struct place place;
	struct copy cp;
	struct stat st;
	int r;

	if (check_local(local, args->on['r'], &st) < 0 ||
	    copy_begin(&cp, s, args->on['r']) < 0)
		return 1;
	r = path_target(s, remote, local, &place);
	if (r >= 0 && place.slash && !S_ISDIR(st.st_mode)) {
		place_put(s, &place);
		r = -ENOTDIR;
	}
	if (r < 0) {
		msg_error(r, "cannot create %s", quote(remote));
		return 1;
	}
	progress_start(S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0);
	return put_to_place(&cp, &place, local, remote);
}
