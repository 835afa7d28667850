/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A file is CREATEd under a temporary name (MKNOD and OPEN where the server
 * has no CREATE), written by as many WRITEs as there are blocks for, then
 * goes through SETATTR, FLUSH, RELEASE and RENAME one by one. The first error
 * skips to RELEASE and from there to UNLINK of the temporary name, so that a
 * name on the share is never half a file.
 */
#include "put_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "msg.h"
#include "progress.h"
#include "stop.h"

const char put_cannot_create[] = "cannot create regular file";
const char put_cannot_read[] = "error reading";
const char put_cannot_write[] = "error writing";

void put_fail(struct put_file *f, int error, const char *what)
{
	if (f->error)
		return;
	f->error = error;
	f->what = what;
}

struct io_req *put_request(struct put_file *f, void (*done)(struct io_req *rq))
{
	struct io_req *rq = io_get(f->job.cp->s->io);

	rq->owner = f;
	rq->done = done;
	return rq;
}

static void tell(struct put_file *f, bool left)
{
	char *from = put_from(f->dir, f->name);
	char *to = put_to(f->dir, f->name);
	char *tmp = put_to(f->dir, f->tmp);

	f->job.cp->failed = true;
	if (!from || !to || !tmp)
		msg_error(-ENOMEM, "cannot copy %s", quote(f->name));
	else if (!f->made)
		msg_error(f->error, "%s %s", f->what, quote(to));
	else if (left)
		msg_error(0, "%s %s: %s; the incomplete copy may be left as %s",
			  f->what,
			  quote(f->what == put_cannot_read ? from : to),
			  strerror(-f->error), quote(tmp));
	else
		msg_error(0, "%s %s: %s; the incomplete %s was removed",
			  f->what,
			  quote(f->what == put_cannot_read ? from : to),
			  strerror(-f->error), quote(to));
	free(from);
	free(to);
	free(tmp);
}

static void end(struct put_file *f)
{
	struct put_dir *dir = f->dir;

	if (!f->error)
		progress_file();
	node_put(f->job.cp->s, &f->node);
	job_end(&f->job);
	close(f->fd);
	free(f->name);
	free(f);
	put_dir_put(dir);
}

static void setattr_done(struct io_req *rq)
{
	struct put_file *f = rq->owner;
	uint32_t valid = rq->want;
	int error = rq->error;

	io_put(rq);
	f->waiting = false;
	f->keep &= ~valid;
	if (valid & FATTR_SIZE)
		f->end = f->next;
	if (error && (valid & FATTR_SIZE)) {
		put_fail(f, error, put_cannot_write);
	} else if (error) {
		char *to = put_to(f->dir, f->name);

		copy_fail(f->job.cp, error,
			  valid & FATTR_UID ? "cannot preserve the owner of"
					    : "cannot preserve attributes of",
			  to ? to : f->name);
		free(to);
		if (valid & FATTR_UID)
			f->st.st_mode &= ~(mode_t)(S_ISUID | S_ISGID);
	}
	put_advance(f);
}

/* The hole at the end of a sparse file is no WRITE's: SETATTR makes it. */
static bool start_setattr(struct put_file *f)
{
	struct fuse_setattr_in in;
	struct io_req *rq;
	uint32_t valid;

	if (!f->error && f->sparse && f->next > f->end)
		f->keep |= FATTR_SIZE;
	valid = put_keep_next(f->keep);
	if (f->error || !valid) {
		f->phase = FLUSH;
		return false;
	}
	attr_from_stat(&f->st, &in);
	in.valid = valid;
	in.size = f->next;
	if (f->h.opened) {
		in.valid |= FATTR_FH;
		in.fh = f->h.fh;
	}
	rq = put_request(f, setattr_done);
	virtiofs_prep_setattr(&rq->op, f->node.id, &in,
			      io_room(rq, sizeof(struct fuse_attr_out)));
	rq->want = valid;
	io_start(rq);
	return true;
}

/* What the answer to FLUSH, RELEASE, RENAME or UNLINK leads to. */
static void settle(struct put_file *f, int error)
{
	switch (f->phase) {
	case FLUSH:
		if (error == -ENOSYS)
			f->job.cp->s->no_flush = true;
		else if (error)
			put_fail(f, error, put_cannot_write);
		f->phase = RELEASE;
		return;
	case RELEASE:
		f->phase = RENAME;
		return;
	case RENAME:
		if (error)
			put_fail(f, error, put_cannot_create);
		f->phase = error ? UNLINK : END;
		return;
	default:
		tell(f, error && error != -ENOENT);
		f->phase = END;
	}
}

static void empty_done(struct io_req *rq)
{
	struct put_file *f = rq->owner;
	int error = rq->error;

	io_put(rq);
	f->waiting = false;
	settle(f, error);
	put_advance(f);
}

static bool start_flush(struct put_file *f)
{
	struct io_req *rq;

	if (f->error || !f->h.opened || f->job.cp->s->no_flush ||
	    (f->h.open_flags & FOPEN_NOFLUSH)) {
		f->phase = RELEASE;
		return false;
	}
	rq = put_request(f, empty_done);
	virtiofs_prep_flush(&rq->op, f->node.id, f->h.fh);
	io_start(rq);
	return true;
}

static bool start_release(struct put_file *f)
{
	struct io_req *rq;

	if (!f->h.opened) {
		f->phase = RENAME;
		return false;
	}
	f->h.opened = false;
	rq = put_request(f, empty_done);
	virtiofs_prep_release(&rq->op, FUSE_RELEASE, f->node.id, f->h.fh,
			      f->h.flags);
	io_start(rq);
	return true;
}

static bool start_rename(struct put_file *f)
{
	uint64_t parent = f->dir->node.id;
	struct io_req *rq;
	int r;

	if (f->error) {
		f->phase = UNLINK;
		return false;
	}
	rq = put_request(f, empty_done);
	r = virtiofs_prep_rename(&rq->op, parent, f->tmp, parent, f->name);
	if (r < 0) {
		io_put(rq);
		put_fail(f, r, put_cannot_create);
		f->phase = UNLINK;
		return false;
	}
	io_start(rq);
	return true;
}

static bool start_unlink(struct put_file *f)
{
	struct io_req *rq;

	if (!f->made) {
		tell(f, false);
		f->phase = END;
		return false;
	}
	rq = put_request(f, empty_done);
	virtiofs_prep_unlink(&rq->op, f->dir->node.id, f->tmp);
	io_start(rq);
	return true;
}

static bool start_phase(struct put_file *f)
{
	switch (f->phase) {
	case CREATE:
		return put_start_create(f);
	case OPEN:
		return put_start_open(f);
	case SETATTR:
		return start_setattr(f);
	case FLUSH:
		return start_flush(f);
	case RELEASE:
		return start_release(f);
	case RENAME:
		return start_rename(f);
	default:
		return start_unlink(f);
	}
}

void put_advance(struct put_file *f)
{
	while (!f->waiting && f->phase != END) {
		if (stop_signal())
			put_fail(f, -EINTR, put_cannot_write);
		if (f->phase != WRITE)
			f->waiting = start_phase(f);
		else if (put_write(f))
			return;
		else
			f->phase = SETATTR;
	}
	if (!f->waiting)
		end(f);
}

static void step(struct job *job)
{
	put_advance((struct put_file *)job);
}

void put_file(struct put_dir *dir, const char *name, int fd,
	      const struct stat *st)
{
	struct put_file *f = calloc(1, sizeof(*f));

	if (f)
		f->name = strdup(name);
	if (!f || !f->name) {
		copy_fail(dir->cp, -ENOMEM, "cannot copy", name);
		free(f);
		close(fd);
		return;
	}
	f->fd = fd;
	f->st = *st;
	f->dir = dir;
	f->job.step = step;
	f->seekable = S_ISREG(st->st_mode);
	f->sparse = f->seekable && st->st_blocks < st->st_size / 512;
	tmp_name(f->tmp);
	dir->refs++;
	job_begin(dir->cp, &f->job);
	put_advance(f);
}
