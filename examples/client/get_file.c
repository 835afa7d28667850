/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A file is OPENed, READ by as many requests as there are blocks for, written
 * under a temporary name at the offsets that were asked for, given its
 * attributes and its name, and RELEASEd. Up to the size that the server told,
 * requests go out together; where that size may be wrong (0, as in /proc, or a
 * file that is not cached) one more at a time finds the end. Files that occupy
 * less than they are long are read extent by extent, by LSEEK.
 *
 * The first error ends the asking; when the last answer is in, the temporary
 * file is removed and the error is told once.
 */
#include "get.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "local.h"
#include "msg.h"
#include "progress.h"
#include "stop.h"

#define READS_MAX 32 /* of one file, so that others get blocks too */

struct get_file {
	struct job job;
	struct get_dir *dir;
	struct node node;
	char *name;
	char tmp[TMP_NAME_MAX];
	int fd;
	struct handle h;
	bool opening, seeking, closing;
	bool sparse;
	bool probe;	   /* read on beyond limit, to the end */
	uint64_t limit;	   /* the size we were told */
	uint64_t next;	   /* first byte that nobody has asked for */
	uint64_t data_end; /* where sparse: of this extent */
	uint64_t end;	   /* of what was written */
	uint64_t eof;	   /* UINT64_MAX: not seen */
	unsigned reads;
	int error;
	const char *what;
};

static const char cannot_open[] = "cannot open";
static const char cannot_read[] = "error reading";
static const char cannot_write[] = "error writing";

static void step(struct job *job);

static void fail(struct get_file *f, int error, const char *what)
{
	if (f->error)
		return;
	f->error = error;
	f->what = what;
}

static void tell(struct get_file *f)
{
	char *from = get_from(f->dir, f->name);
	char *to = get_to(f->dir, f->name);

	f->job.cp->failed = true;
	if (!from || !to)
		msg_error(-ENOMEM, "cannot copy %s", quote(f->name));
	else if (f->what == cannot_open)
		msg_error(f->error, "%s %s for reading", f->what, quote(from));
	else
		msg_error(0, "%s %s: %s; the incomplete %s was removed",
			  f->what, quote(f->what == cannot_write ? to : from),
			  strerror(-f->error), quote(to));
	free(from);
	free(to);
}

/* Everything the local file still needs; closes it. */
static void seal(struct get_file *f)
{
	struct copy *cp = f->job.cp;
	uint64_t size = f->eof != UINT64_MAX ? f->eof
			: f->sparse	     ? f->limit
					     : f->end;
	int r = 0;

	if (size != f->end && ftruncate(f->fd, (off_t)size) < 0)
		r = -errno;
	if (r >= 0 && cp->keep)
		r = local_keep(f->fd, &f->node.attr, cp->root ? LOCAL_ROOT : 0);
	else if (r >= 0 &&
		 fchmod(f->fd, f->node.attr.mode & 0777 & ~cp->umask) < 0)
		r = -errno;
	if (close(f->fd) < 0 && r >= 0)
		r = -errno;
	f->fd = -1;
	if (r >= 0 && renameat(f->dir->fd, f->tmp, f->dir->fd, f->name) < 0)
		r = -errno;
	if (r < 0)
		fail(f, r, cannot_write);
}

static void end(struct get_file *f)
{
	struct get_dir *dir = f->dir;

	node_put(f->job.cp->s, &f->node);
	job_end(&f->job);
	free(f->name);
	free(f);
	get_dir_put(dir);
}

static void release_done(struct io_req *rq)
{
	struct get_file *f = rq->owner;

	io_put(rq);
	end(f);
}

static void finish(struct get_file *f)
{
	struct io_req *rq;

	f->closing = true;
	if (!f->error)
		seal(f);
	if (f->fd >= 0)
		close(f->fd);
	if (f->error) {
		unlinkat(f->dir->fd, f->tmp, 0);
		tell(f);
	} else {
		progress_file();
	}
	if (!f->h.opened) {
		end(f);
		return;
	}
	rq = io_get(f->job.cp->s->io);
	virtiofs_prep_release(&rq->op, FUSE_RELEASE, f->node.id, f->h.fh,
			      f->h.flags);
	rq->owner = f;
	rq->done = release_done;
	io_start(rq);
}

static void read_done(struct io_req *rq);

static void start_read(struct get_file *f, void *block, uint64_t offset,
		       uint32_t want)
{
	struct io_req *rq = io_get(f->job.cp->s->io);

	rq->room = virtiofs_iov(block, want);
	virtiofs_prep_read(&rq->op, f->node.id, f->h.fh, offset, want,
			   &rq->room, 1);
	rq->owner = f;
	rq->done = read_done;
	rq->block = block;
	rq->offset = offset;
	rq->want = want;
	f->reads++;
	io_start(rq);
}

static void take(struct get_file *f, const struct io_req *rq)
{
	int r;

	if (rq->len == 0) {
		if (rq->offset < f->eof)
			f->eof = rq->offset;
		return;
	}
	r = local_write(f->fd, rq->block, rq->len, (int64_t)rq->offset);
	if (r < 0) {
		fail(f, r, cannot_write);
		return;
	}
	progress_bytes(rq->len);
	if (rq->offset + rq->len > f->end)
		f->end = rq->offset + rq->len;
}

static void read_done(struct io_req *rq)
{
	struct get_file *f = rq->owner;
	void *block = rq->block;
	uint64_t offset = rq->offset + rq->len;
	uint32_t left = rq->want - rq->len;

	f->reads--;
	if (rq->error)
		fail(f, rq->error, cannot_read);
	else if (rq->len > rq->want)
		fail(f, -EPROTO, cannot_read);
	else if (!f->error)
		take(f, rq);
	/* A short answer is the end only if nothing comes after it. */
	if (!f->error && rq->len && left)
		start_read(f, block, offset, left);
	else
		block_put(&f->job.cp->s->blocks, block);
	io_put(rq);
	step(&f->job);
}

static void seek(struct get_file *f, uint64_t offset, uint32_t whence);

/* The answer to SEEK_DATA, then to SEEK_HOLE; both have to lead forward. */
static void seek_done(struct io_req *rq)
{
	struct get_file *f = rq->owner;
	struct fuse_lseek_out out = {0};
	bool hole = rq->want == SEEK_HOLE;
	int error = io_reply(rq, &out, sizeof(out));

	io_put(rq);
	f->seeking = false;
	if (error == -ENXIO && !hole) {
		f->next = f->limit;
	} else if (error || out.offset < f->next + hole) {
		f->job.cp->s->no_lseek |= error == -ENOSYS;
		f->data_end = f->limit; /* no better than reading it all */
	} else if (out.offset >= f->limit) {
		f->data_end = f->limit;
		f->next = hole ? f->next : f->limit;
	} else if (hole) {
		f->data_end = out.offset;
	} else {
		f->next = out.offset;
		seek(f, f->next, SEEK_HOLE);
		return;
	}
	step(&f->job);
}

static void seek(struct get_file *f, uint64_t offset, uint32_t whence)
{
	struct fuse_lseek_in in = {
	    .fh = f->h.fh,
	    .offset = offset,
	    .whence = whence,
	};
	struct io_req *rq = io_get(f->job.cp->s->io);

	virtiofs_prep_lseek(&rq->op, f->node.id, &in,
			    io_room(rq, sizeof(struct fuse_lseek_out)));
	rq->owner = f;
	rq->done = seek_done;
	rq->want = whence;
	f->seeking = true;
	io_start(rq);
}

/* Is there anything to ask for, now or when what was asked is in? */
static bool more(const struct get_file *f)
{
	return f->eof == UINT64_MAX && (f->next < f->limit || f->probe);
}

static void ask(struct get_file *f)
{
	struct blocks *blocks = &f->job.cp->s->blocks;

	while (more(f) && !f->seeking && f->reads < READS_MAX) {
		uint64_t left = f->limit - f->next;
		uint32_t want = blocks->size;
		void *block;

		if (f->next >= f->limit) {
			if (f->reads)
				return;
		} else if (f->sparse && f->next >= f->data_end) {
			seek(f, f->next, SEEK_DATA);
			return;
		} else {
			if (f->sparse)
				left = f->data_end - f->next;
			if (left < want)
				want = (uint32_t)left;
		}
		block = block_get(blocks);
		if (!block)
			return;
		start_read(f, block, f->next, want);
		f->next += want;
	}
}

static void step(struct job *job)
{
	struct get_file *f = (struct get_file *)job;

	if (f->opening || f->closing)
		return;
	if (stop_signal())
		fail(f, -EINTR, cannot_read);
	if (!f->error)
		ask(f);
	if (!f->reads && !f->seeking && (f->error || !more(f)))
		finish(f);
}

static void opened(struct get_file *f)
{
	const struct fuse_attr *attr = &f->node.attr;
	bool direct = f->h.open_flags & FOPEN_DIRECT_IO;

	f->opening = false;
	f->limit = attr->size;
	f->probe = attr->size == 0 || direct;
	f->sparse = !f->probe && !f->job.cp->s->no_lseek &&
		    attr->blocks < attr->size / 512;
	step(&f->job);
}

static void open_done(struct io_req *rq)
{
	struct get_file *f = rq->owner;
	struct session *s = f->job.cp->s;
	struct fuse_open_out out;
	int error = io_reply(rq, &out, sizeof(out));

	io_put(rq);
	if (error == -ENOSYS)
		s->no_open = true;
	else if (error)
		fail(f, error, cannot_open);
	else
		f->h = handle_of(&out, O_RDONLY);
	opened(f);
}

static void start_open(struct get_file *f)
{
	struct session *s = f->job.cp->s;
	struct io_req *rq;

	if (s->no_open) {
		opened(f);
		return;
	}
	rq = io_get(s->io);
	virtiofs_prep_open(&rq->op, FUSE_OPEN, f->node.id, O_RDONLY,
			   io_room(rq, sizeof(struct fuse_open_out)));
	rq->owner = f;
	rq->done = open_done;
	io_start(rq);
}

/* Rename would refuse a directory's name too, but only after the copying. */
static int create(struct get_dir *dir, const char *name, char *ret_tmp)
{
	struct stat st;

	if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode))
		return -EISDIR;
	return local_create(dir->fd, ret_tmp);
}

static void refuse(struct get_dir *dir, const char *name, int error)
{
	char *path = get_to(dir, name);

	copy_fail(dir->cp, error, "cannot create regular file",
		  path ? path : name);
	free(path);
}

static struct get_file *new_file(struct get_dir *dir, const char *name)
{
	struct get_file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->name = strdup(name);
	if (!f->name) {
		free(f);
		return NULL;
	}
	f->fd = create(dir, name, f->tmp);
	f->dir = dir;
	f->job.step = step;
	f->eof = UINT64_MAX;
	f->opening = true;
	return f;
}

void get_file(struct get_dir *dir, const char *name, struct node *node)
{
	struct get_file *f = new_file(dir, name);

	if (!f || f->fd < 0) {
		refuse(dir, name, f ? f->fd : -ENOMEM);
		if (f)
			free(f->name);
		free(f);
		node_put(dir->cp->s, node);
		return;
	}
	f->node = *node;
	dir->refs++;
	job_begin(dir->cp, &f->job);
	start_open(f);
}
