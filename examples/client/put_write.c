/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The local file's bytes, as WRITEs. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "progress.h"
#include "put_file.h"
#include "stop.h"

#define WRITES_MAX 32 /* of one file, so that others get blocks too */

static void write_done(struct io_req *rq);

/* skip: bytes of the block that are written already. */
static void start_write(struct put_file *f, void *block, uint64_t offset,
			uint32_t skip, uint32_t want)
{
	struct fuse_write_in in = {
	    .fh = f->h.fh,
	    .offset = offset,
	    .size = want,
	    .flags = O_WRONLY,
	};
	struct io_req *rq = put_request(f, write_done);

	rq->data = virtiofs_iov((char *)block + skip, want);
	virtiofs_prep_write(&rq->op, f->node.id, &in, &rq->data,
			    io_room(rq, sizeof(struct fuse_write_out)));
	rq->block = block;
	rq->offset = offset;
	rq->want = want;
	f->writes++;
	io_start(rq);
}

static void write_done(struct io_req *rq)
{
	struct put_file *f = rq->owner;
	uint32_t skip = (uint32_t)((char *)rq->data.iov_base -
				   (char *)rq->block);
	struct fuse_write_out out;
	int error = io_reply(rq, &out, sizeof(out));

	f->writes--;
	if (!error && (out.size == 0 || out.size > rq->want))
		error = -EIO;
	if (error) {
		put_fail(f, error, put_cannot_write);
		out.size = rq->want;
	} else {
		progress_bytes(out.size);
		if (rq->offset + out.size > f->end)
			f->end = rq->offset + out.size;
	}
	if (out.size < rq->want && !f->error)
		start_write(f, rq->block, rq->offset + out.size,
			    skip + out.size, rq->want - out.size);
	else
		block_put(&f->job.cp->s->blocks, rq->block);
	io_put(rq);
	put_advance(f);
}

/* Skip a hole of the local file. false: its end. */
static bool find_data(struct put_file *f)
{
	off_t data = lseek(f->fd, (off_t)f->next, SEEK_DATA);
	off_t hole;

	if (data < 0 && errno == ENXIO) {
		f->next = (uint64_t)f->st.st_size;
		return false;
	}
	hole = data < 0 ? -1 : lseek(f->fd, data, SEEK_HOLE);
	if (hole <= data) {
		f->data_end = UINT64_MAX; /* read it all */
		return true;
	}
	f->next = (uint64_t)data;
	f->data_end = (uint64_t)hole;
	return true;
}

/* Bytes of the local file for the next block; 0 at its end. */
static ssize_t fill(struct put_file *f, void *block)
{
	size_t want = f->job.cp->s->blocks.size;
	ssize_t n;

	if (f->sparse && f->next >= f->data_end && !find_data(f))
		return 0;
	if (f->sparse && f->data_end - f->next < want)
		want = (size_t)(f->data_end - f->next);
	do
		n = f->seekable ? pread(f->fd, block, want, (off_t)f->next)
				: read(f->fd, block, want);
	while (n < 0 && errno == EINTR && !stop_signal());
	return n < 0 ? -errno : n;
}

static void write_more(struct put_file *f)
{
	struct blocks *blocks = &f->job.cp->s->blocks;

	while (!f->error && !f->local_end && f->writes < WRITES_MAX) {
		void *block = block_get(blocks);
		ssize_t n;

		if (!block)
			return;
		n = fill(f, block);
		if (n > 0) {
			uint64_t offset = f->next;

			f->next += (uint64_t)n;
			start_write(f, block, offset, 0, (uint32_t)n);
			continue;
		}
		block_put(blocks, block);
		f->local_end = true;
		if (n < 0)
			put_fail(f, (int)n, put_cannot_read);
	}
}

bool put_write(struct put_file *f)
{
	if (!f->error)
		write_more(f);
	return f->writes || !(f->error || f->local_end);
}
