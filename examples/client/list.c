/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ls */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "dir.h"
#include "format.h"
#include "msg.h"
#include "path.h"
#include "stop.h"

#define LIST_DEPTH_MAX 1024u

struct item {
	char *name;
	char *link;	       /* where a symbolic link leads */
	uint32_t type;	       /* DT_ */
	struct fuse_attr attr; /* -l only */
};

struct items {
	size_t cnt, room;
	struct item *items;
};

struct list {
	struct session *s;
	const struct args *args;
	bool lng; /* -l */
	bool terminal;
	bool begun; /* something was printed */
	bool failed;
	unsigned depth;
	uint64_t path[LIST_DEPTH_MAX + 1]; /* nodeids down to here */
};

/* Widths of the columns of -l. */
struct widths {
	int nlink, user, group, size;
};

static void list_fail(struct list *l, int error, const char *what,
		      const char *name)
{
	l->failed = true;
	msg_error(error, "%s %s", what, quote(name));
}

static void items_free(struct items *items)
{
	while (items->cnt) {
		free(items->items[--items->cnt].name);
		free(items->items[items->cnt].link);
	}
	free(items->items);
	*items = (struct items){0};
}

static int items_add(struct items *items, const struct item *item)
{
	if (items->cnt == items->room) {
		size_t room = items->room ? items->room * 2 : 64;
		void *more;

		if (items->cnt >= DIR_CNT_MAX)
			return -EOVERFLOW;
		more = realloc(items->items, room * sizeof(*items->items));
		if (!more)
			return -ENOMEM;
		items->items = more;
		items->room = room;
	}
	items->items[items->cnt++] = *item;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcoll(((const struct item *)a)->name,
		       ((const struct item *)b)->name);
}

static char *read_link(struct list *l, const struct node *node)
{
	char target[IO_TEXT_MAX];

	if (!S_ISLNK(node->attr.mode) ||
	    call_readlink(l->s, node->id, target) < 0)
		return NULL;
	return strdup(target);
}

/* What -l and -R have to know beyond the name. */
static int look_at(struct list *l, struct dir *d, struct dir_entry *e,
		   struct item *item)
{
	bool need_type = l->args->on['R'] && e->type == DT_UNKNOWN;
	int r;

	if (!l->lng && !need_type) {
		item->type = e->type;
		return 0;
	}
	r = dir_entry_node(d, e);
	if (r < 0)
		return r;
	item->type = e->type;
	item->attr = e->node.attr;
	if (l->lng)
		item->link = read_link(l, &e->node);
	return 0;
}

static int add_entry(struct list *l, struct dir *d, struct dir_entry *e,
		     struct items *items)
{
	struct item item = {0};
	int r;

	if (e->name[0] == '.' && !l->args->on['a'] && !l->args->on['A'])
		return 0;
	r = look_at(l, d, e, &item);
	if (r < 0 && io_dead(l->s->io))
		return r;
	if (r < 0) {
		list_fail(l, r, "cannot access", e->name);
		return 0;
	}
	item.name = strdup(e->name);
	r = item.name ? items_add(items, &item) : -ENOMEM;
	if (r < 0) {
		free(item.name);
		free(item.link);
	}
	return r;
}

static int read_items(struct list *l, uint64_t nodeid, struct items *ret)
{
	struct dir_entry e;
	struct dir d;
	int r;

	r = dir_open(l->s, nodeid, l->lng ? DIR_PLUS : 0, &d);
	if (r < 0)
		return r;
	while ((r = dir_next(&d, &e)) > 0) {
		r = stop_signal() ? -EINTR : add_entry(l, &d, &e, ret);
		dir_entry_put(&d, &e);
		if (r < 0)
			break;
	}
	dir_close(&d);
	if (ret->cnt)
		qsort(ret->items, ret->cnt, sizeof(*ret->items), by_name);
	return r;
}

static void print_name(struct list *l, const char *name)
{
	char *shown = l->terminal ? printable(name) : NULL;

	fputs(shown ? shown : name, stdout);
	free(shown);
}

static int digits(uint64_t v)
{
	int n = 1;

	while (v >= 10) {
		v /= 10;
		n++;
	}
	return n;
}

static int max_of(int a, int b)
{
	return a > b ? a : b;
}

static const char *owner(const struct list *l, uint32_t uid)
{
	static char text[16];

	if (!l->args->on['n'])
		return user_name(uid);
	snprintf(text, sizeof(text), "%u", uid);
	return text;
}

static const char *group(const struct list *l, uint32_t gid)
{
	static char text[16];

	if (!l->args->on['n'])
		return group_name(gid);
	snprintf(text, sizeof(text), "%u", gid);
	return text;
}

static bool is_device(const struct fuse_attr *attr)
{
	return S_ISCHR(attr->mode) || S_ISBLK(attr->mode);
}

static const char *size_text(const struct list *l, const struct fuse_attr *attr)
{
	static char text[48];

	if (is_device(attr))
		snprintf(text, sizeof(text), "%u, %u", rdev_major(attr->rdev),
			 rdev_minor(attr->rdev));
	else if (l->args->on['h'])
		human_size(text, attr->size);
	else
		snprintf(text, sizeof(text), "%" PRIu64, attr->size);
	return text;
}

static void measure(const struct list *l, const struct items *items,
		    struct widths *w)
{
	size_t i;

	*w = (struct widths){0};
	for (i = 0; i < items->cnt; i++) {
		const struct fuse_attr *a = &items->items[i].attr;

		w->nlink = max_of(w->nlink, digits(a->nlink));
		w->user = max_of(w->user, (int)strlen(owner(l, a->uid)));
		w->group = max_of(w->group, (int)strlen(group(l, a->gid)));
		w->size = max_of(w->size, (int)strlen(size_text(l, a)));
	}
}

static void print_long(struct list *l, const struct item *item,
		       const struct widths *w)
{
	const struct fuse_attr *a = &item->attr;
	char mode[MODE_TEXT_MAX], when[TIME_TEXT_MAX];

	printf("%s %*u %-*s ", mode_text(mode, a->mode), w->nlink, a->nlink,
	       w->user, owner(l, a->uid));
	printf("%-*s %*s %s ", w->group, group(l, a->gid), w->size,
	       size_text(l, a), time_short(when, a->mtime));
	print_name(l, item->name);
	if (item->link) {
		fputs(" -> ", stdout);
		print_name(l, item->link);
	}
	putchar('\n');
}

static void print_items(struct list *l, const struct items *items, bool total)
{
	struct widths w;
	uint64_t blocks = 0;
	size_t i;

	if (!l->lng) {
		for (i = 0; i < items->cnt; i++) {
			print_name(l, items->items[i].name);
			putchar('\n');
		}
		return;
	}
	for (i = 0; i < items->cnt; i++)
		blocks += items->items[i].attr.blocks;
	if (total)
		printf("total %" PRIu64 "\n", blocks / 2);
	measure(l, items, &w);
	for (i = 0; i < items->cnt; i++)
		print_long(l, &items->items[i], &w);
}

static void list_dir(struct list *l, uint64_t nodeid, const char *path,
		     bool heading);

static bool may_enter(struct list *l, uint64_t nodeid)
{
	unsigned i;

	if (l->depth >= LIST_DEPTH_MAX)
		return false;
	for (i = 0; i < l->depth; i++)
		if (l->path[i] == nodeid)
			return false;
	return true;
}

static void list_subdir(struct list *l, uint64_t parent, const char *dir,
			const char *name)
{
	char *path = path_join(dir, name);
	struct node node;
	int r;

	if (!path)
		return;
	r = call_lookup(l->s, parent, name, &node);
	if (r < 0) {
		list_fail(l, r, "cannot access", path);
	} else {
		if (may_enter(l, node.id))
			list_dir(l, node.id, path, true);
		else
			list_fail(l, -ELOOP, "not listing", path);
		node_put(l->s, &node);
	}
	free(path);
}

static void list_dir(struct list *l, uint64_t nodeid, const char *path,
		     bool heading)
{
	struct items items = {0};
	size_t i;
	int r;

	l->path[l->depth++] = nodeid;
	r = read_items(l, nodeid, &items);
	if (r < 0 && !stop_signal())
		list_fail(l, r, "cannot read directory", path);
	if (heading) {
		if (l->begun)
			putchar('\n');
		print_name(l, path);
		puts(":");
	}
	l->begun = true;
	print_items(l, &items, true);
	for (i = 0; i < items.cnt && l->args->on['R']; i++) {
		if (io_dead(l->s->io) || stop_signal())
			break;
		if (items.items[i].type == DT_DIR)
			list_subdir(l, nodeid, path, items.items[i].name);
	}
	items_free(&items);
	l->depth--;
}

static void list_operand(struct list *l, const char *path, bool heading)
{
	/* as coreutils: -l shows a link itself, unless a '/' follows it */
	unsigned flags = l->lng || l->args->on['d'] ? 0 : PATH_FOLLOW;
	struct items one = {0};
	struct item item = {0};
	struct node node;
	int r;

	r = path_walk(l->s, path, flags, &node);
	if (r == -ENOENT && flags)
		r = path_walk(l->s, path, 0, &node); /* a dangling link */
	if (r < 0) {
		list_fail(l, r, "cannot access", path);
		return;
	}
	if (S_ISDIR(node.attr.mode) && !l->args->on['d']) {
		list_dir(l, node.id, path, heading || l->args->on['R']);
	} else {
		item.name = strdup(path);
		item.link = read_link(l, &node);
		item.attr = node.attr;
		if (item.name && items_add(&one, &item) == 0)
			print_items(l, &one, false);
		items_free(&one);
		l->begun = true;
	}
	node_put(l->s, &node);
}

int cmd_ls(struct session *s, const struct args *args)
{
	struct list *l = calloc(1, sizeof(*l));
	bool failed;
	int i;

	if (!l) {
		msg_error(-ENOMEM, "cannot list");
		return 1;
	}
	l->s = s;
	l->args = args;
	l->lng = args->on['l'] || args->on['n'];
	l->terminal = isatty(STDOUT_FILENO);
	if (!args->argc)
		list_operand(l, "/", false);
	for (i = 0; i < args->argc && !io_dead(s->io); i++)
		list_operand(l, args->argv[i], args->argc > 1);
	failed = l->failed;
	free(l);
	return failed;
}
