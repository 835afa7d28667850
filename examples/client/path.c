/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DEPTH_MAX 4096u
#define TEXT_MAX  65536u

/* Nodes from the root down to where the walk stands, and what is to come. */
struct walk {
	struct session *s;
	struct node *nodes;
	size_t depth, room;
	char *text; /* owned */
	char *rest; /* in text */
	unsigned links;
};

static struct node *top(struct walk *w)
{
	return &w->nodes[w->depth - 1];
}

static void pop_to(struct walk *w, size_t depth)
{
	while (w->depth > depth)
		node_put(w->s, &w->nodes[--w->depth]);
}

static int push(struct walk *w, struct node *node)
{
	if (w->depth == w->room) {
		size_t room = w->room ? w->room * 2 : 16;
		struct node *nodes = NULL;

		if (room <= DEPTH_MAX)
			nodes = realloc(w->nodes, room * sizeof(*nodes));
		if (!nodes) {
			node_put(w->s, node);
			return room > DEPTH_MAX ? -ENAMETOOLONG : -ENOMEM;
		}
		w->nodes = nodes;
		w->room = room;
	}
	w->nodes[w->depth++] = *node;
	return 0;
}

/* The link's text takes the place of its name. */
static int expand(struct walk *w, uint64_t link)
{
	char target[IO_TEXT_MAX];
	char *text;
	size_t len;
	int r;

	if (++w->links > PATH_LINKS_MAX)
		return -ELOOP;
	r = call_readlink(w->s, link, target);
	if (r < 0)
		return r;
	len = strlen(target) + strlen(w->rest) + 1;
	if (len > TEXT_MAX)
		return -ENAMETOOLONG;
	text = malloc(len);
	if (!text)
		return -ENOMEM;
	strcpy(text, target);
	strcat(text, w->rest);
	free(w->text);
	w->text = w->rest = text;
	if (target[0] == '/')
		pop_to(w, 1);
	return 0;
}

/* One component, ended in place; rest starts behind it, with its slashes. */
static int step(struct walk *w, const char *name, unsigned flags)
{
	struct node node;
	int r;

	if (!S_ISDIR(top(w)->attr.mode))
		return -ENOTDIR;
	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0) {
		pop_to(w, w->depth > 1 ? w->depth - 1 : 1);
		return 0;
	}
	r = call_lookup(w->s, top(w)->id, name, &node);
	if (r < 0)
		return r;
	if (!S_ISLNK(node.attr.mode) || (!*w->rest && !(flags & PATH_FOLLOW)))
		return push(w, &node);
	r = expand(w, node.id);
	node_put(w->s, &node);
	return r;
}

static int run(struct walk *w, unsigned flags)
{
	char *name = NULL;
	bool slash = false;
	size_t len;
	int r = 0;

	while (r >= 0) {
		len = strspn(w->rest, "/");
		slash = len > 0;
		w->rest += len;
		if (!*w->rest)
			break;
		len = strcspn(w->rest, "/");
		free(name);
		name = strndup(w->rest, len);
		if (!name)
			return -ENOMEM;
		w->rest += len;
		r = step(w, name, flags);
	}
	free(name);
	if (r >= 0 && slash && !S_ISDIR(top(w)->attr.mode))
		return -ENOTDIR;
	return r;
}

int path_walk(struct session *s, const char *path, unsigned flags,
	      struct node *ret)
{
	struct walk w = {.s = s};
	struct node root;
	int r;

	r = call_root(s, &root);
	if (r < 0)
		return r;
	r = push(&w, &root);
	w.text = w.rest = strdup(path);
	if (!w.text)
		r = -ENOMEM;
	if (r >= 0)
		r = run(&w, flags);
	if (r >= 0)
		*ret = w.nodes[--w.depth];
	pop_to(&w, 0);
	free(w.nodes);
	free(w.text);
	return r;
}

/* Length of path without the slashes at its end. */
static size_t trimmed(const char *path)
{
	size_t len = strlen(path);

	while (len && path[len - 1] == '/')
		len--;
	return len;
}

static size_t last_start(const char *path, size_t len)
{
	while (len && path[len - 1] != '/')
		len--;
	return len;
}

char *path_last(const char *path)
{
	size_t len = trimmed(path), start = last_start(path, len);

	return strndup(path + start, len - start);
}

char *path_join(const char *dir, const char *name)
{
	size_t len = trimmed(dir);
	char *path = malloc(strlen(dir) + strlen(name) + 2);

	if (!path)
		return NULL;
	if (!*dir)
		return strcpy(path, name);
	memcpy(path, dir, len);
	path[len] = '/';
	strcpy(path + len + 1, name);
	return path;
}

int path_place(struct session *s, const char *path, struct place *ret)
{
	size_t len = trimmed(path), start = last_start(path, len);
	struct place place = {.slash = path[len] == '/'};
	char *dir;
	int r;

	place.name = strndup(path + start, len - start);
	dir = strndup(path, start);
	if (!place.name || !dir)
		r = -ENOMEM;
	else if (!*place.name || strcmp(place.name, ".") == 0 ||
		 strcmp(place.name, "..") == 0)
		r = -EINVAL;
	else
		r = path_walk(s, dir, PATH_FOLLOW, &place.dir);
	free(dir);
	if (r >= 0 && !S_ISDIR(place.dir.attr.mode)) {
		node_put(s, &place.dir);
		r = -ENOTDIR;
	}
	if (r < 0) {
		free(place.name);
		return r;
	}
	*ret = place;
	return 0;
}

void place_put(struct session *s, struct place *place)
{
	node_put(s, &place->dir);
	free(place->name);
	place->name = NULL;
}

int path_target(struct session *s, const char *dest, const char *source,
		struct place *ret)
{
	struct node node;
	int r;

	r = path_walk(s, dest, PATH_FOLLOW, &node);
	if (r == -ENOENT)
		return path_place(s, dest, ret);
	if (r < 0)
		return r;
	if (!S_ISDIR(node.attr.mode)) {
		node_put(s, &node);
		return path_place(s, dest, ret);
	}
	*ret = (struct place){
	    .dir = node,
	    .name = path_last(source),
	    .inside = true,
	};
	if (!ret->name) {
		node_put(s, &node);
		return -ENOMEM;
	}
	return 0;
}
