/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CREATE, or MKNOD and OPEN. */
#include <errno.h>
#include <fcntl.h>

#include "put_file.h"

/* What to keep, once it is known what the server made of it. */
static void created(struct put_file *f)
{
	f->made = true;
	if (!f->job.cp->keep)
		return;
	put_keep_mode(f->job.cp, &f->st, &f->node.attr);
	f->keep = put_keep_bits(f->job.cp, &f->st, &f->node.attr);
}

static void create_done(struct io_req *rq)
{
	struct put_file *f = rq->owner;
	struct session *s = f->job.cp->s;
	struct virtiofs_create_out out;
	int error = io_reply(rq, &out, sizeof(out));

	io_put(rq);
	f->waiting = false;
	if (error == -ENOSYS) {
		s->no_create = true; /* and again, by MKNOD */
		put_advance(f);
		return;
	}
	if (!error)
		error = node_from_entry(s, &out.entry, &f->node);
	if (error) {
		put_fail(f, error, put_cannot_create);
	} else {
		created(f);
		f->h = handle_of(&out.open, O_WRONLY);
	}
	f->phase = WRITE;
	put_advance(f);
}

static void mknod_done(struct io_req *rq)
{
	struct put_file *f = rq->owner;
	struct fuse_entry_out out;
	int error = io_reply(rq, &out, sizeof(out));

	io_put(rq);
	f->waiting = false;
	if (!error)
		error = node_from_entry(f->job.cp->s, &out, &f->node);
	if (error)
		put_fail(f, error, put_cannot_create);
	else
		created(f);
	f->phase = error ? WRITE : OPEN;
	put_advance(f);
}

static uint32_t create_mode(const struct put_file *f)
{
	/* Nobody else's until it has its owner; the rest of it comes then. */
	if (f->job.cp->keep)
		return S_IFREG | 0600;
	return S_IFREG | (f->st.st_mode & 0777 & ~f->job.cp->umask);
}

bool put_start_create(struct put_file *f)
{
	struct copy *cp = f->job.cp;
	struct io_req *rq;

	if (!cp->s->no_create) {
		struct fuse_create_in in = {
		    .flags = O_WRONLY | O_CREAT | O_EXCL,
		    .mode = create_mode(f),
		    .umask = cp->umask,
		};

		rq = put_request(f, create_done);
		virtiofs_prep_create(
		    &rq->op, f->dir->node.id, f->tmp, &in,
		    io_room(rq, sizeof(struct virtiofs_create_out)));
	} else {
		struct fuse_mknod_in in = {
		    .mode = create_mode(f),
		    .umask = cp->umask,
		};

		rq = put_request(f, mknod_done);
		virtiofs_prep_mknod(&rq->op, f->dir->node.id, f->tmp, &in,
				    io_room(rq, sizeof(struct fuse_entry_out)));
	}
	io_start(rq);
	return true;
}

static void open_done(struct io_req *rq)
{
	struct put_file *f = rq->owner;
	struct fuse_open_out out;
	int error = io_reply(rq, &out, sizeof(out));

	io_put(rq);
	f->waiting = false;
	if (error == -ENOSYS)
		f->job.cp->s->no_open = true;
	else if (error)
		put_fail(f, error, put_cannot_create);
	else
		f->h = handle_of(&out, O_WRONLY);
	f->phase = WRITE;
	put_advance(f);
}

bool put_start_open(struct put_file *f)
{
	struct io_req *rq;

	if (f->job.cp->s->no_open) {
		f->phase = WRITE;
		return false;
	}
	rq = put_request(f, open_done);
	virtiofs_prep_open(&rq->op, FUSE_OPEN, f->node.id, O_WRONLY,
			   io_room(rq, sizeof(struct fuse_open_out)));
	io_start(rq);
	return true;
}
