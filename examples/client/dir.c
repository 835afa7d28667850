/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <virtiofs/dirent.h>

int dir_open(struct session *s, uint64_t nodeid, unsigned flags,
	     struct dir *ret)
{
	struct dir d = {
	    .s = s,
	    .nodeid = nodeid,
	    .plus = (flags & DIR_PLUS) && !s->no_readdirplus,
	    .seen_at = 2,
	};
	int r;

	r = session_blocks(s);
	if (r < 0)
		return r;
	d.buf = malloc(s->blocks.size);
	if (!d.buf)
		return -ENOMEM;
	r = call_opendir(s, nodeid, &d.h);
	if (r < 0) {
		free(d.buf);
		return r;
	}
	*ret = d;
	return 0;
}

static ssize_t call_readdir(struct dir *d, uint32_t opcode)
{
	struct fuse_read_in in = {.fh = d->h.fh, .offset = d->offset};
	struct session *s = d->s;
	struct io_req *rq = io_get(s->io);
	void *own = rq->reply, *block = block_get(&s->blocks);
	ssize_t n;

	/* files being copied may have them all; then a small one does */
	in.size = block ? s->blocks.size : IO_REPLY_MAX;
	if (block)
		rq->reply = block;
	virtiofs_prep_readdir(&rq->op, opcode, d->nodeid, &in,
			      io_room(rq, in.size));
	n = io_call(rq, d->buf, in.size);
	rq->reply = own;
	if (block && !io_dead(s->io))
		block_put(&s->blocks, block);
	return n > (ssize_t)in.size ? -EPROTO : n;
}

/* Offsets have no order, but none comes twice before the end. */
static int check_offset(struct dir *d)
{
	if (d->batches == 0) {
		d->batches = 1;
		return 0;
	}
	if (d->offset == d->seen_offset)
		return -ELOOP;
	if (++d->batches == d->seen_at) {
		d->seen_offset = d->offset;
		d->seen_at *= 2;
	}
	return 0;
}

static int fill(struct dir *d)
{
	ssize_t n;
	int r;

	r = check_offset(d);
	if (r < 0)
		return r;
	n = call_readdir(d, d->plus ? FUSE_READDIRPLUS : FUSE_READDIR);
	if (n == -ENOSYS && d->plus) {
		d->s->no_readdirplus = true;
		d->plus = false;
		n = call_readdir(d, FUSE_READDIR);
	}
	if (n < 0)
		return (int)n;
	d->len = (size_t)n;
	d->pos = 0;
	d->end = n == 0;
	return 0;
}

static bool is_dots(const struct virtiofs_dirent *de)
{
	return de->name[0] == '.' &&
	       (de->namelen == 1 || (de->namelen == 2 && de->name[1] == '.'));
}

/* As virtiofs_next_dirent(), and the node where there is one. */
static int parse(struct dir *d, struct virtiofs_dirent *de,
		 struct dir_entry *ret)
{
	int r;

	if (d->plus)
		r = virtiofs_next_direntplus(d->buf, d->len, &d->pos, de);
	else
		r = virtiofs_next_dirent(d->buf, d->len, &d->pos, de);
	if (r <= 0)
		return r;
	d->offset = de->off;
	/* The server counts no lookup of these two. */
	if (is_dots(de))
		return 1;
	ret->has_node = d->plus &&
			node_from_entry(d->s, &de->entry, &ret->node) >= 0;
	return 1;
}

int dir_next(struct dir *d, struct dir_entry *ret)
{
	struct virtiofs_dirent de;
	int r;

	ret->has_node = false;
	do {
		r = 0;
		if (d->pos >= d->len && !d->end)
			r = fill(d);
		if (r < 0 || d->end)
			return r;
		r = parse(d, &de, ret);
		if (r < 0)
			return r;
	} while (r == 0 || is_dots(&de));
	memcpy(ret->name, de.name, de.namelen);
	ret->name[de.namelen] = '\0';
	ret->type = de.type;
	if (ret->has_node)
		ret->type = IFTODT(ret->node.attr.mode);
	return 1;
}

void dir_close(struct dir *d)
{
	struct virtiofs_dirent de;
	struct dir_entry e;

	/* Nodes that came and nobody saw count as looked up. */
	while (d->plus && parse(d, &de, &e) > 0)
		if (!is_dots(&de))
			dir_entry_put(d, &e);
	free(d->buf);
	d->buf = NULL;
	call_releasedir(d->s, d->nodeid, &d->h);
}

int dir_entry_node(struct dir *d, struct dir_entry *e)
{
	int r;

	if (e->has_node)
		return 0;
	r = call_lookup(d->s, d->nodeid, e->name, &e->node);
	if (r < 0)
		return r;
	e->has_node = true;
	e->type = IFTODT(e->node.attr.mode);
	return 0;
}

void dir_entry_put(struct dir *d, struct dir_entry *e)
{
	if (e->has_node)
		node_put(d->s, &e->node);
	e->has_node = false;
}

int dir_names_add(struct dir_names *n, const char *name, uint32_t type)
{
	if (n->cnt == n->room) {
		size_t room = n->room ? n->room * 2 : 64;
		void *names;

		if (n->cnt >= DIR_CNT_MAX)
			return -EOVERFLOW;
		names = realloc(n->names, room * sizeof(*n->names));
		if (!names)
			return -ENOMEM;
		n->names = names;
		n->room = room;
	}
	n->names[n->cnt].name = strdup(name);
	if (!n->names[n->cnt].name)
		return -ENOMEM;
	n->names[n->cnt++].type = type;
	return 0;
}

int dir_names_read(struct session *s, uint64_t nodeid, struct dir_names *ret)
{
	struct dir_names names = {0};
	struct dir_entry e;
	struct dir d;
	int r;

	r = dir_open(s, nodeid, 0, &d);
	if (r < 0)
		return r;
	while ((r = dir_next(&d, &e)) > 0) {
		r = dir_names_add(&names, e.name, e.type);
		if (r < 0)
			break;
	}
	dir_close(&d);
	if (r < 0) {
		dir_names_free(&names);
		return r;
	}
	*ret = names;
	return 0;
}

void dir_names_free(struct dir_names *n)
{
	while (n->cnt)
		free(n->names[--n->cnt].name);
	free(n->names);
	*n = (struct dir_names){0};
}
