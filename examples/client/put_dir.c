/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A remote directory from its making to its last SETATTR. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "local.h"
#include "path.h"
#include "put.h"

char *put_from(const struct put_dir *dir, const char *name)
{
	return dir->alias ? strdup(dir->alias) : path_join(dir->from, name);
}

char *put_to(const struct put_dir *dir, const char *name)
{
	return path_join(dir->to, name);
}

uint32_t put_keep_bits(const struct copy *cp, const struct stat *st,
		       const struct fuse_attr *now)
{
	uint32_t bits = FATTR_ATIME | FATTR_MTIME;

	if (!S_ISLNK(st->st_mode))
		bits |= FATTR_MODE;
	if (cp->root && (now->uid != st->st_uid || now->gid != st->st_gid))
		bits |= FATTR_UID | FATTR_GID;
	return bits;
}

uint32_t put_keep_next(uint32_t bits)
{
	if (bits & FATTR_SIZE)
		return FATTR_SIZE;
	if (bits & (FATTR_UID | FATTR_GID))
		return FATTR_UID | FATTR_GID;
	return bits;
}

void put_keep_mode(const struct copy *cp, struct stat *st,
		   const struct fuse_attr *now)
{
	if (cp->root || S_ISDIR(st->st_mode))
		return;
	if (now->uid != st->st_uid)
		st->st_mode &= ~(mode_t)S_ISUID;
	if (now->gid != st->st_gid)
		st->st_mode &= ~(mode_t)S_ISGID;
}

static void free_dir(struct put_dir *dir)
{
	free(dir->from);
	free(dir->to);
	free(dir);
}

struct put_dir *put_dir_new(struct copy *cp, struct put_dir *up,
			    const char *name, struct node *node)
{
	struct put_dir *dir = calloc(1, sizeof(*dir));

	if (dir) {
		dir->from = up ? put_from(up, name) : strdup(name);
		dir->to = up ? put_to(up, name) : strdup(name);
	}
	if (!dir || !dir->from || !dir->to) {
		copy_fail(cp, -ENOMEM, "cannot copy", name);
		node_put(cp->s, node);
		if (dir)
			free_dir(dir);
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

static void end(struct put_dir *dir)
{
	struct put_dir *up = dir->up;

	node_put(dir->cp->s, &dir->node);
	free_dir(dir);
	if (up)
		put_dir_put(up);
}

static void keep_next(struct put_dir *dir);

static void setattr_done(struct io_req *rq)
{
	struct put_dir *dir = rq->owner;
	uint32_t valid = rq->want;
	int error = rq->error;

	io_put(rq);
	if (error)
		copy_fail(dir->cp, error,
			  valid & FATTR_UID ? "cannot preserve the owner of"
					    : "cannot preserve attributes of",
			  dir->to);
	dir->keep_bits &= ~valid;
	keep_next(dir);
}

static void keep_next(struct put_dir *dir)
{
	struct session *s = dir->cp->s;
	struct fuse_setattr_in in;
	struct io_req *rq;

	if (!dir->keep_bits || io_dead(s->io)) {
		job_end(&dir->job);
		end(dir);
		return;
	}
	attr_from_stat(&dir->st, &in);
	in.valid = put_keep_next(dir->keep_bits);
	rq = io_get(s->io);
	virtiofs_prep_setattr(&rq->op, dir->node.id, &in,
			      io_room(rq, sizeof(struct fuse_attr_out)));
	rq->owner = dir;
	rq->done = setattr_done;
	rq->want = in.valid;
	io_start(rq);
}

void put_dir_put(struct put_dir *dir)
{
	if (--dir->refs)
		return;
	if (!dir->keep) {
		end(dir);
		return;
	}
	dir->keep_bits = put_keep_bits(dir->cp, &dir->st, &dir->node.attr);
	job_begin(dir->cp, &dir->job);
	keep_next(dir);
}
