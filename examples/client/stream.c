/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A file's bytes in order: reads are in flight together, writing waits for
 * each in turn. */
#include <errno.h>
#include <string.h>

#include "get.h"
#include "local.h"
#include "msg.h"
#include "progress.h"
#include "stop.h"

#define PARTS 16u

static const char cannot_write[] = "error writing";

struct part {
	void *block;
	uint64_t offset;
	uint32_t want, len;
	int error;
	bool done;
};

struct stream {
	struct session *s;
	uint64_t nodeid, fh;
	uint64_t next, limit;
	bool probe;	    /* read on beyond limit, to the end */
	unsigned head, cnt; /* a ring in parts */
	struct part parts[PARTS];
};

static void part_done(struct io_req *rq)
{
	struct part *p = rq->owner;

	p->error = rq->error;
	p->len = rq->len;
	if (!p->error && p->len > p->want)
		p->error = -EPROTO;
	p->done = true;
	io_put(rq);
}

static void start_part(struct stream *st, struct part *p)
{
	struct io_req *rq = io_get(st->s->io);

	rq->room = virtiofs_iov(p->block, p->want);
	virtiofs_prep_read(&rq->op, st->nodeid, st->fh, p->offset, p->want,
			   &rq->room, 1);
	rq->owner = p;
	rq->done = part_done;
	io_start(rq);
}

static void ask(struct stream *st)
{
	while (st->cnt < PARTS) {
		struct part *p = &st->parts[(st->head + st->cnt) % PARTS];
		uint32_t want = st->s->blocks.size;

		if (st->next >= st->limit && (!st->probe || st->cnt))
			return;
		if (st->next < st->limit && st->limit - st->next < want)
			want = (uint32_t)(st->limit - st->next);
		*p = (struct part){.offset = st->next, .want = want};
		p->block = block_get(&st->s->blocks);
		if (!p->block)
			return;
		start_part(st, p);
		st->next += want;
		st->cnt++;
	}
}

static struct part *wait_head(struct stream *st)
{
	struct part *p = &st->parts[st->head];

	while (!p->done)
		io_run(st->s->io);
	return p;
}

static void pop(struct stream *st)
{
	block_put(&st->s->blocks, st->parts[st->head].block);
	st->head = (st->head + 1) % PARTS;
	st->cnt--;
}

static void drain(struct stream *st)
{
	while (st->cnt) {
		wait_head(st);
		pop(st);
	}
}

/* 1: there may be more. */
static int take_head(struct stream *st, int fd, const char **ret_what)
{
	struct part *p = wait_head(st);
	uint32_t len = p->len;
	int r = p->error ? p->error : stop_signal() ? -EINTR : 0;

	if (r >= 0) {
		*ret_what = cannot_write;
		r = local_write(fd, p->block, len, -1);
		progress_bytes(len);
	}
	if (r < 0)
		return r;
	if (len < p->want) {
		/* what was asked for behind it may not be what follows */
		st->next = p->offset + len;
		drain(st);
		return len > 0;
	}
	pop(st);
	return 1;
}

static int copy_out(struct stream *st, int fd, const char **ret_what)
{
	int r = 1;

	while (r > 0) {
		*ret_what = "error reading";
		ask(st);
		r = st->cnt ? take_head(st, fd, ret_what) : 0;
	}
	drain(st);
	return r;
}

int stream_file(struct copy *cp, const struct node *node, const char *from,
		const char *to, int fd)
{
	struct stream st = {.s = cp->s, .nodeid = node->id};
	const char *what = "cannot open";
	struct handle h;
	int r;

	r = call_open(cp->s, node->id, 0, &h);
	if (r >= 0) {
		st.fh = h.fh;
		st.limit = node->attr.size;
		st.probe = !st.limit || (h.open_flags & FOPEN_DIRECT_IO);
		r = copy_out(&st, fd, &what);
		call_release(cp->s, node->id, &h);
	}
	if (r < 0)
		copy_fail(cp, r, what, what == cannot_write ? to : from);
	return r;
}
