/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rm. A directory's names are read before the first is removed: where an
 * offset leads in a directory that changes is each server's own affair. Files
 * go many at once; links are removed, not followed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "copy.h"
#include "dir.h"
#include "msg.h"
#include "path.h"

/* LOOKUP, UNLINK, FORGET: servers are used to kernels, which never remove what
 * they have not looked up. */
struct removal {
	struct job job;
	uint64_t parent;
	char *name, *path;
	struct node node;
};

static void end(struct removal *rm, int error)
{
	if (error)
		copy_fail(rm->job.cp, error, "cannot remove", rm->path);
	node_put(rm->job.cp->s, &rm->node);
	job_end(&rm->job);
	free(rm->name);
	free(rm->path);
	free(rm);
}

static void unlinked(struct io_req *rq)
{
	int error = rq->error;

	io_put(rq);
	end(rq->owner, error);
}

static void looked_up(struct io_req *rq)
{
	struct removal *rm = rq->owner;
	struct fuse_entry_out out;
	int error = io_reply(rq, &out, sizeof(out));

	io_put(rq);
	if (!error)
		error = node_from_entry(rm->job.cp->s, &out, &rm->node);
	if (error) {
		end(rm, error);
		return;
	}
	rq = io_get(rm->job.cp->s->io);
	/* it fitted before */
	virtiofs_prep_unlink(&rq->op, rm->parent, rm->name);
	rq->owner = rm;
	rq->done = unlinked;
	io_start(rq);
}

/* Takes path. */
static void start_unlink(struct copy *cp, uint64_t parent, const char *name,
			 char *path)
{
	struct removal *rm = calloc(1, sizeof(*rm));
	struct io_req *rq = io_get(cp->s->io);
	int r = -ENOMEM;

	if (rm)
		rm->name = strdup(name);
	if (rm && rm->name)
		r = virtiofs_prep_lookup(
		    &rq->op, parent, name,
		    io_room(rq, sizeof(struct fuse_entry_out)));
	if (r < 0) {
		copy_fail(cp, r, "cannot remove", path);
		io_put(rq);
		if (rm)
			free(rm->name);
		free(rm);
		free(path);
		return;
	}
	rm->parent = parent;
	rm->path = path;
	rq->owner = rm;
	rq->done = looked_up;
	job_begin(cp, &rm->job);
	io_start(rq);
}

static void remove_dir(struct copy *cp, uint64_t parent, const char *name,
		       const char *path, unsigned depth);

/* Takes path. */
static void remove_entry(struct copy *cp, uint64_t parent,
			 const struct dir_name *entry, char *path,
			 unsigned depth)
{
	uint32_t type = entry->type;
	struct node node;
	int r = 0;

	if (type == DT_UNKNOWN) {
		r = call_lookup(cp->s, parent, entry->name, &node);
		if (r >= 0) {
			type = IFTODT(node.attr.mode);
			node_put(cp->s, &node);
		}
	}
	if (r >= 0 && type != DT_DIR) {
		start_unlink(cp, parent, entry->name, path);
		return;
	}
	if (r < 0)
		copy_fail(cp, r, "cannot remove", path);
	else
		remove_dir(cp, parent, entry->name, path, depth);
	free(path);
}

/* A directory is empty when what was asked to go is gone. */
static void wait_all(struct copy *cp)
{
	while (cp->job_cnt)
		io_run(cp->s->io);
}

static int remove_contents(struct copy *cp, uint64_t nodeid, const char *path,
			   unsigned depth)
{
	struct dir_names names = {0};
	size_t i;
	int r;

	r = dir_names_read(cp->s, nodeid, &names);
	for (i = 0; r >= 0 && i < names.cnt; i++) {
		char *sub = path_join(path, names.names[i].name);

		if (!sub)
			r = -ENOMEM;
		else if (copy_room(cp) < 0)
			r = -ECANCELED; /* the reason is told elsewhere */
		if (r < 0)
			free(sub);
		else
			remove_entry(cp, nodeid, &names.names[i], sub, depth);
	}
	dir_names_free(&names);
	wait_all(cp);
	return r;
}

static void remove_dir(struct copy *cp, uint64_t parent, const char *name,
		       const char *path, unsigned depth)
{
	bool failed = cp->failed;
	struct node node;
	int r;

	r = depth < COPY_DEPTH_MAX ? call_lookup(cp->s, parent, name, &node)
				   : -ELOOP;
	if (r < 0) {
		copy_fail(cp, r, "cannot remove", path);
		return;
	}
	cp->failed = false;
	r = remove_contents(cp, node.id, path, depth + 1);
	/* What stayed has been told; then so much for the directory. */
	if (r >= 0 && !cp->failed)
		r = call_rmdir(cp->s, parent, name);
	node_put(cp->s, &node);
	if (r < 0 && r != -ECANCELED)
		copy_fail(cp, r, "cannot remove", path);
	cp->failed |= failed || r < 0;
}

static int remove_place(struct copy *cp, const struct place *place,
			const char *path, bool recursive)
{
	struct node node;
	bool is_dir;
	int r;

	r = call_lookup(cp->s, place->dir.id, place->name, &node);
	if (r < 0)
		return r;
	is_dir = S_ISDIR(node.attr.mode);
	if (!is_dir && place->slash)
		r = -ENOTDIR;
	else if (!is_dir)
		r = call_unlink(cp->s, place->dir.id, place->name);
	else if (!recursive)
		r = -EISDIR;
	else
		remove_dir(cp, place->dir.id, place->name, path, 0);
	node_put(cp->s, &node);
	return r;
}

static void remove_operand(struct copy *cp, const char *path,
			   const struct args *args)
{
	struct place place;
	int r;

	r = path_place(cp->s, path, &place);
	if (r == -EINVAL) {
		cp->failed = true;
		msg_error(0, "refusing to remove the root, '.' or '..': %s",
			  quote(path));
		return;
	}
	if (r >= 0) {
		r = remove_place(cp, &place, path, args->on['r']);
		place_put(cp->s, &place);
	}
	if (r < 0 && !(r == -ENOENT && args->on['f']))
		copy_fail(cp, r, "cannot remove", path);
}

int cmd_rm(struct session *s, const struct args *args)
{
	struct copy cp;
	int i;

	if (copy_begin(&cp, s, false) < 0)
		return 1;
	for (i = 0; i < args->argc && copy_room(&cp) >= 0; i++)
		remove_operand(&cp, args->argv[i], args);
	return copy_end(&cp);
}
