/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mkdir, mv, ln */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "msg.h"
#include "path.h"

static int make_dir(struct session *s, const char *path)
{
	struct place place;
	struct node node;
	int r;

	r = path_place(s, path, &place);
	if (r == -EINVAL)
		return -EEXIST; /* the root, or what "." stands for */
	if (r < 0)
		return r;
	r = call_mkdir(s, place.dir.id, place.name, 0777 & ~current_umask(),
		       &node);
	if (r >= 0)
		node_put(s, &node);
	place_put(s, &place);
	return r;
}

/* -p: a directory that is there already is fine */
static int make_if_missing(struct session *s, const char *path)
{
	struct node node;
	bool is_dir;
	int r;

	r = make_dir(s, path);
	if (r != -EEXIST)
		return r;
	r = path_walk(s, path, PATH_FOLLOW, &node);
	if (r < 0)
		return r;
	is_dir = S_ISDIR(node.attr.mode);
	node_put(s, &node);
	return is_dir ? 0 : -EEXIST;
}

static int make_parents(struct session *s, const char *path)
{
	char *part = strdup(path), *end = part;
	int r = part ? 0 : -ENOMEM;

	while (r >= 0 && *end) {
		char saved;

		end += strspn(end, "/");
		end += strcspn(end, "/");
		saved = *end;
		*end = '\0';
		r = make_if_missing(s, part);
		*end = saved;
		if (!end[strspn(end, "/")])
			break;
		if (r == -EEXIST)
			r = -ENOTDIR;
	}
	free(part);
	return r;
}

int cmd_mkdir(struct session *s, const struct args *args)
{
	int i, r, failed = 0;

	for (i = 0; i < args->argc; i++) {
		const char *path = args->argv[i];

		r = args->on['p'] ? make_parents(s, path) : make_dir(s, path);
		if (r >= 0)
			continue;
		msg_error(r, "cannot create directory %s", quote(path));
		failed = 1;
	}
	return failed;
}

static int move_to(struct session *s, const struct place *src,
		   const struct node *node, struct place *dst)
{
	if (dst->slash && !S_ISDIR(node->attr.mode))
		return -ENOTDIR;
	return call_rename(s, src->dir.id, src->name, dst->dir.id, dst->name);
}

static int move(struct session *s, const char *from, const char *to)
{
	struct place src, dst;
	struct node node;
	int r;

	r = path_place(s, from, &src);
	if (r < 0)
		return r;
	r = call_lookup(s, src.dir.id, src.name, &node);
	if (r >= 0) {
		r = path_target(s, to, from, &dst);
		if (r >= 0) {
			r = move_to(s, &src, &node, &dst);
			place_put(s, &dst);
		}
		/* not before: servers are used to kernels, which hold it */
		node_put(s, &node);
	}
	place_put(s, &src);
	return r;
}

int cmd_mv(struct session *s, const struct args *args)
{
	const char *from = args->argv[0], *to = args->argv[1];
	int r = move(s, from, to);

	if (r == -EINVAL)
		msg_error(0, "cannot move %s to a subdirectory of itself, %s",
			  quote(from), quote(to));
	else if (r < 0)
		msg_error(r, "cannot move %s to %s", quote(from), quote(to));
	return r < 0;
}

static int make_link(struct session *s, const struct args *args,
		     const struct place *place)
{
	struct node source, node;
	int r;

	if (args->on['s']) {
		r = call_symlink(s, place->dir.id, place->name, args->argv[0],
				 &node);
	} else {
		r = path_walk(s, args->argv[0], 0, &source);
		if (r < 0)
			return r;
		r = call_link(s, source.id, place->dir.id, place->name, &node);
		node_put(s, &source);
	}
	if (r >= 0)
		node_put(s, &node);
	return r;
}

int cmd_ln(struct session *s, const struct args *args)
{
	const char *target = args->argv[0];
	const char *name = args->argc > 1 ? args->argv[1] : ".";
	struct place place;
	int r;

	r = path_target(s, name, target, &place);
	if (r >= 0) {
		/* a target without a last name, such as "/" */
		r = *place.name ? make_link(s, args, &place) : -EEXIST;
		place_put(s, &place);
	}
	if (r < 0)
		msg_error(r, "failed to create %s link %s to %s",
			  args->on['s'] ? "symbolic" : "hard", quote(name),
			  quote(target));
	return r < 0;
}
