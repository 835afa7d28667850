/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "get.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "dir.h"
#include "local.h"
#include "msg.h"
#include "path.h"
#include "progress.h"

static void get_node(struct get_dir *dir, const char *name, struct node *node);

static void free_dir(struct get_dir *dir)
{
	if (dir->fd >= 0)
		close(dir->fd);
	free(dir->from);
	free(dir->to);
	free(dir);
}

char *get_from(const struct get_dir *dir, const char *name)
{
	return dir->alias ? strdup(dir->alias) : path_join(dir->from, name);
}

char *get_to(const struct get_dir *dir, const char *name)
{
	return path_join(dir->to, name);
}

void get_dir_put(struct get_dir *dir)
{
	while (dir && --dir->refs == 0) {
		struct get_dir *up = dir->up;
		struct copy *cp = dir->cp;
		int r = 0;

		if (dir->keep)
			r = local_keep(dir->fd, &dir->node.attr,
				       cp->root ? LOCAL_ROOT : 0);
		if (r < 0)
			copy_fail(cp, r, "cannot preserve attributes of",
				  dir->to);
		node_put(cp->s, &dir->node);
		free_dir(dir);
		dir = up;
	}
}

/* name: in up, or the path itself where there is none. fd and node are the new
 * one's. NULL: out of memory, both are gone. */
static struct get_dir *new_dir(struct copy *cp, struct get_dir *up,
			       const char *name, struct node *node, int fd)
{
	struct get_dir *dir = calloc(1, sizeof(*dir));

	if (dir) {
		dir->fd = fd;
		dir->from = up ? get_from(up, name) : strdup(name);
		dir->to = up ? get_to(up, name) : strdup(name);
	}
	if (!dir || !dir->from || !dir->to) {
		copy_fail(cp, -ENOMEM, "cannot copy", name);
		node_put(cp->s, node);
		if (dir)
			free_dir(dir);
		else
			close(fd);
		return NULL;
	}
	dir->cp = cp;
	dir->up = up;
	dir->node = *node;
	dir->refs = 1;
	if (up) {
		up->refs++;
		dir->depth = up->depth + 1;
	}
	return dir;
}

static void fail_from(struct get_dir *dir, int error, const char *what,
		      const char *name)
{
	char *path = get_from(dir, name);

	copy_fail(dir->cp, error, what, path ? path : name);
	free(path);
}

static void fail_to(struct get_dir *dir, int error, const char *what,
		    const char *name)
{
	char *path = get_to(dir, name);

	copy_fail(dir->cp, error, what, path ? path : name);
	free(path);
}

/* A directory goes on the list for later, all else begins now. */
static int get_entry(struct get_dir *dir, struct dir *from, struct dir_entry *e,
		     struct dir_names *subdirs)
{
	int r;

	if (e->type != DT_DIR) {
		r = dir_entry_node(from, e);
		if (r < 0) {
			fail_from(dir, r, "cannot stat", e->name);
			return 0;
		}
	}
	if (e->type == DT_DIR) {
		/* the server need not keep it open until its turn comes */
		dir_entry_put(from, e);
		return dir_names_add(subdirs, e->name, DT_DIR);
	}
	e->has_node = false;
	get_node(dir, e->name, &e->node);
	return 0;
}

static int get_entries(struct get_dir *dir, struct dir_names *subdirs)
{
	struct dir_entry e;
	struct dir d;
	int r;

	r = dir_open(dir->cp->s, dir->node.id, DIR_PLUS, &d);
	if (r < 0)
		return r;
	while (copy_room(dir->cp) >= 0 && (r = dir_next(&d, &e)) > 0) {
		r = get_entry(dir, &d, &e, subdirs);
		if (r < 0)
			break;
	}
	dir_close(&d);
	return r;
}

static void get_contents(struct get_dir *dir)
{
	struct dir_names subdirs = {0};
	struct copy *cp = dir->cp;
	struct node node;
	size_t i;
	int r;

	r = get_entries(dir, &subdirs);
	if (r < 0)
		copy_fail(cp, r, "cannot read directory", dir->from);
	for (i = 0; i < subdirs.cnt && copy_room(cp) >= 0; i++) {
		const char *name = subdirs.names[i].name;

		r = call_lookup(cp->s, dir->node.id, name, &node);
		if (r < 0)
			fail_from(dir, r, "cannot stat", name);
		else
			get_node(dir, name, &node);
	}
	dir_names_free(&subdirs);
}

static bool is_inside_itself(const struct get_dir *dir, uint64_t nodeid)
{
	for (; dir; dir = dir->up)
		if (dir->node.id == nodeid)
			return true;
	return false;
}

/* Is it the directory that we have made here? */
static bool is_copy(const struct copy *cp, const struct fuse_attr *attr)
{
	struct stat st;

	return cp->made_ino && attr->ino == cp->made_ino &&
	       fstat((int)cp->made_id, &st) == 0 &&
	       attr->ctime == (uint64_t)st.st_ctim.tv_sec &&
	       attr->ctimensec == (uint64_t)st.st_ctim.tv_nsec;
}

static int enter_local(struct get_dir *up, const char *name,
		       const struct node *node)
{
	struct copy *cp = up->cp;
	struct stat st;
	int fd;

	if (up->depth >= COPY_DEPTH_MAX || is_inside_itself(up, node->id) ||
	    is_copy(cp, &node->attr))
		return -ELOOP;
	fd = local_mkdir(up->fd, name);
	if (fd >= 0 && !cp->made_ino && fstat(fd, &st) == 0) {
		cp->made_ino = st.st_ino;
		cp->made_id = (uint64_t)fd;
	}
	return fd;
}

static void get_tree(struct get_dir *up, const char *name, struct node *node)
{
	struct copy *cp = up->cp;
	struct get_dir *dir;
	int fd = enter_local(up, name, node);

	if (fd < 0) {
		if (fd == -EEXIST)
			fail_to(up, 0,
				"not a directory, so not replaced:", name);
		else
			fail_to(up, fd, "cannot create directory", name);
		node_put(cp->s, node);
		return;
	}
	dir = new_dir(cp, up, name, node, fd);
	if (!dir)
		return;
	dir->keep = cp->keep;
	get_contents(dir);
	get_dir_put(dir);
}

static int get_special(struct get_dir *dir, const char *name,
		       const struct node *node)
{
	struct copy *cp = dir->cp;
	char target[IO_TEXT_MAX];
	int r;

	if (S_ISLNK(node->attr.mode)) {
		r = call_readlink(cp->s, node->id, target);
		if (r >= 0)
			r = local_symlink(dir->fd, name, target);
	} else {
		r = local_mknod(dir->fd, name, &node->attr);
	}
	if (r >= 0 && cp->keep)
		r = local_keep_at(dir->fd, name, &node->attr,
				  cp->root ? LOCAL_ROOT : 0);
	return r;
}

/* Takes node. */
static void get_node(struct get_dir *dir, const char *name, struct node *node)
{
	int r;

	if (S_ISREG(node->attr.mode)) {
		get_file(dir, name, node);
		return;
	}
	if (S_ISDIR(node->attr.mode)) {
		get_tree(dir, name, node);
		return;
	}
	r = get_special(dir, name, node);
	if (r < 0)
		fail_to(dir, r, "cannot create", name);
	node_put(dir->cp->s, node);
}

/* Where a copy goes on this machine. */
struct goal {
	char *dir, *name; /* owned; name "": the contents go into dir */
	char *shown;	  /* dir as the user wrote it, perhaps "", owned */
	bool stream;	  /* dir/name is a device or a FIFO */
};

static int set_goal(struct goal *goal, const char *dir, const char *name)
{
	goal->dir = strdup(*dir ? dir : ".");
	goal->name = strdup(name);
	goal->shown = strdup(dir);
	return goal->dir && goal->name && goal->shown ? 0 : -ENOMEM;
}

/* path's last component, in the directory before it. */
static int split_goal(struct goal *goal, const char *path)
{
	char *name = path_last(path), *dir = strdup(path);
	int r = -ENOMEM;

	if (name && dir) {
		size_t len = strlen(dir);

		while (len && dir[len - 1] == '/')
			len--;
		dir[len - strlen(name)] = '\0';
		r = set_goal(goal, dir, name);
	}
	free(name);
	free(dir);
	return r;
}

static int goal_in_dir(struct goal *goal, const char *dir, const char *remote)
{
	char *name = path_last(remote);
	bool itself;
	int r = -ENOMEM;

	if (name) {
		itself = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
		r = set_goal(goal, dir, itself ? "" : name);
	}
	free(name);
	return r;
}

/* The user's own link to a file: the file is replaced, as cp would. */
static int goal_behind_link(struct goal *goal, const char *local)
{
	char path[PATH_MAX];

	if (!realpath(local, path))
		return -errno;
	return split_goal(goal, path);
}

static int find_goal(struct goal *goal, const char *local, const char *remote,
		     const struct node *node)
{
	bool is_dir = S_ISDIR(node->attr.mode);
	size_t len = strlen(local);
	struct stat st;

	if (stat(local, &st) < 0) {
		if (errno != ENOENT)
			return -errno;
		if (lstat(local, &st) == 0)
			return -ELOOP; /* a link to nowhere */
		if (!is_dir && len && local[len - 1] == '/')
			return -ENOTDIR;
		return len ? split_goal(goal, local) : -ENOENT;
	}
	if (S_ISDIR(st.st_mode))
		return goal_in_dir(goal, local, remote);
	if (is_dir)
		return -ENOTDIR;
	goal->stream = !S_ISREG(st.st_mode) && S_ISREG(node->attr.mode);
	if (goal->stream)
		return set_goal(goal, local, "");
	if (lstat(local, &st) == 0 && S_ISLNK(st.st_mode))
		return goal_behind_link(goal, local);
	return split_goal(goal, local);
}

static void get_stream(struct copy *cp, const char *local, const char *remote,
		       struct node *node)
{
	int fd = open(local, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		copy_fail(cp, -errno, "cannot open", local);
	else
		stream_file(cp, node, remote, local, fd);
	if (fd >= 0 && close(fd) < 0)
		copy_fail(cp, -errno, "error writing", local);
	node_put(cp->s, node);
}

/* Takes node. */
static void get_all(struct copy *cp, const struct goal *goal,
		    const char *remote, struct node *node)
{
	struct node none = {0};
	bool contents = !*goal->name;
	struct get_dir *dir;
	int fd;

	fd = open(goal->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		copy_fail(cp, -errno, "cannot open directory", goal->dir);
		node_put(cp->s, node);
		return;
	}
	dir = new_dir(cp, NULL, goal->shown, contents ? node : &none, fd);
	if (!dir)
		return;
	dir->alias = remote;
	if (!contents) {
		get_node(dir, goal->name, node);
	} else {
		free(dir->from);
		dir->from = strdup(remote);
		dir->alias = NULL;
		if (dir->from)
			get_contents(dir);
		else
			copy_fail(cp, -ENOMEM, "cannot copy", remote);
	}
	get_dir_put(dir);
}

static int check_source(const struct node *node, const char *remote,
			bool recursive)
{
	if (recursive || S_ISREG(node->attr.mode))
		return 0;
	if (S_ISDIR(node->attr.mode))
		msg_error(0, "-r not specified; omitting directory %s",
			  quote(remote));
	else
		msg_error(0, "-r not specified; omitting special file %s",
			  quote(remote));
	return -1;
}

static int get_start(struct copy *cp, const char *remote, const char *local,
		     struct node *node)
{
	struct goal goal = {0};
	int r;

	r = find_goal(&goal, local, remote, node);
	if (r < 0) {
		copy_fail(cp, r, "cannot create", local);
		node_put(cp->s, node);
	} else {
		progress_start(S_ISREG(node->attr.mode) ? node->attr.size : 0);
		if (goal.stream)
			get_stream(cp, local, remote, node);
		else
			get_all(cp, &goal, remote, node);
	}
	free(goal.dir);
	free(goal.name);
	free(goal.shown);
	return copy_end(cp);
}

int cmd_get(struct session *s, const struct args *args)
{
	const char *remote = args->argv[0];
	const char *local = args->argc > 1 ? args->argv[1] : ".";
	struct node node;
	struct copy cp;
	int r;

	if (copy_begin(&cp, s, args->on['r']) < 0)
		return 1;
	r = path_walk(s, remote, cp.keep ? 0 : PATH_FOLLOW, &node);
	if (r < 0) {
		msg_error(r, "cannot stat %s", quote(remote));
		return 1;
	}
	if (check_source(&node, remote, cp.keep) < 0) {
		node_put(s, &node);
		return 1;
	}
	return get_start(&cp, remote, local, &node);
}
