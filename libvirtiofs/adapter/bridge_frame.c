/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames from /dev/fuse to the queues, replies back. */
#include <string.h>
#include <unistd.h>

#include "adapter/bridge.h"
#include "base/bytes.h"
#include "base/error.h"
#include "session/client.h"

#define READLINK_MAX (BRIDGE_PAGE - 1)

int vtfs_bridge_answer(int fuse_fd, uint64_t unique, int error,
		       const struct iovec *room)
{
	struct fuse_out_header h = {.error = error, .unique = unique};
	struct iovec v[2] = {{&h, sizeof(h)}};
	int cnt = 1;
	ssize_t n;

	if (room && room->iov_len && !error)
		v[cnt++] = *room;
	h.len = (uint32_t)(sizeof(h) + (cnt > 1 ? room->iov_len : 0));
	do
		n = writev(fuse_fd, v, cnt);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* ---- requests in flight, by unique ---- */

static uint32_t *head_of(struct vtfs_bridge_queue *q, uint64_t unique)
{
	/* The kernel counts in steps of two. */
	return &q->heads[(unique >> 1) & q->hash_mask];
}

static struct vtfs_bridge_req *req_new(struct vtfs_bridge_queue *q,
				       uint64_t unique)
{
	struct vtfs_bridge_req *req = &q->reqs[q->free_req];
	uint32_t *head = head_of(q, unique);

	q->free_req = req->next;
	memset(req, 0, sizeof(*req));
	req->unique = unique;
	req->buf = BRIDGE_NONE;
	req->next = *head;
	*head = (uint32_t)(req - q->reqs);
	return req;
}

/* The place that holds its number; NULL: none. */
static uint32_t *req_find(struct vtfs_bridge_queue *q, uint64_t unique)
{
	uint32_t *i = head_of(q, unique);

	while (*i != BRIDGE_NONE && q->reqs[*i].unique != unique)
		i = &q->reqs[*i].next;
	return *i == BRIDGE_NONE ? NULL : i;
}

static void req_end(struct vtfs_bridge_queue *q, uint32_t *place)
{
	uint32_t i = *place;
	struct vtfs_bridge_req *req = &q->reqs[i];

	*place = req->next;
	if (req->buf != BRIDGE_NONE)
		q->free_bufs[q->free_buf_cnt++] = req->buf;
	req->next = q->free_req;
	q->free_req = i;
}

/* ---- memory of a request ---- */

static unsigned char *buf_at(const struct vtfs_bridge_queue *q, uint32_t buf)
{
	return q->bufs + (size_t)buf * q->b->buf_len;
}

/* The buffer that the frame was read to stays with its request. */
static unsigned char *keep_buf(struct vtfs_bridge_queue *q,
			       struct vtfs_bridge_req *req)
{
	if (req->buf == BRIDGE_NONE)
		req->buf = q->free_bufs[--q->free_buf_cnt];
	return buf_at(q, req->buf);
}

/* Bytes that a reply may have after its header. */
static uint64_t reply_max(const struct vtfs_bridge_queue *q,
			  const struct vtfs_bridge_frame *f)
{
	uint64_t min, max;

	if (!f->kind)
		return BRIDGE_PAGE;
	vtfs_fuse_reply_range(f->kind, &q->b->proto, f->arg, &min, &max);
	if (f->h.opcode == FUSE_READLINK)
		max = READLINK_MAX;
	return max;
}

static void place_data(struct vtfs_bridge_queue *q,
		       const struct vtfs_bridge_frame *f,
		       struct vtfs_bridge_req *req)
{
	struct virtiofs_op *op = q->op;
	uint32_t n = f->len - (uint32_t)sizeof(f->h);
	unsigned char *arg = f->at + sizeof(f->h);

	if (n <= VIRTIOFS_OP_ARG_MAX) {
		memcpy(op->arg, arg, n);
		op->arg_len = n;
		return;
	}
	keep_buf(q, req);
	memcpy(op->arg, f->arg, f->fixed);
	op->arg_len = f->fixed;
	req->data.iov_base = arg + f->fixed;
	req->data.iov_len = n - f->fixed;
	op->data = &req->data;
	op->data_cnt = 1;
}

static int place_room(struct vtfs_bridge_queue *q,
		      const struct vtfs_bridge_frame *f,
		      struct vtfs_bridge_req *req)
{
	uint64_t len = reply_max(q, f);
	unsigned char *buf;
	size_t off = BRIDGE_PAGE;

	if (!len)
		return 0;
	if (len <= BRIDGE_CELL) {
		req->room.iov_base = q->cells +
				     (size_t)(req - q->reqs) * BRIDGE_CELL;
	} else {
		buf = keep_buf(q, req);
		if (req->data.iov_len)
			off = VTFS_ALIGN_UP((size_t)(f->at + f->len - buf),
					    (size_t)VTFS_CACHELINE);
		/* A short READ would be the end of the file. */
		if (len > q->b->buf_len - off && f->h.opcode == FUSE_READ)
			return -EIO;
		len = vtfs_min_size(len, q->b->buf_len - off);
		req->room.iov_base = buf + off;
	}
	req->room.iov_len = len;
	q->op->room = &req->room;
	q->op->room_cnt = 1;
	return 0;
}

/* ---- from the kernel ---- */

/* What it is listed under. */
static uint64_t number_of(struct vtfs_bridge_queue *q,
			  const struct vtfs_bridge_frame *f)
{
	if (f->h.opcode != FUSE_NOTIFY_REPLY)
		return f->h.unique;
	q->replies += 2;
	return q->replies | BRIDGE_REPLY;
}

static void pass(struct vtfs_bridge_queue *q, const struct vtfs_bridge_frame *f)
{
	struct vtfs_bridge_req *req = req_new(q, number_of(q, f));
	struct virtiofs_op *op = q->op;
	int r;

	place_data(q, f, req);
	r = place_room(q, f, req);
	if (r < 0) {
		vtfs_bridge_answer(q->fuse_fd, f->h.unique, r, NULL);
		req_end(q, req_find(q, req->unique));
		/* Still ours, for the next frame. */
		op->data_cnt = op->room_cnt = 0;
		return;
	}
	if (f->h.opcode == FUSE_NOTIFY_REPLY) {
		op->notify_unique = f->h.unique;
		req->answered = true; /* it wants none */
	}
	op->user_data = req->unique;
	op->nodeid = f->h.nodeid;
	op->opcode = f->h.opcode;
	op->flags = VIRTIOFS_OP_CREDS;
	op->uid = f->h.uid;
	op->gid = f->h.gid;
	op->pid = f->h.pid;
	op->total_extlen = f->h.total_extlen;
	/* A lock takes as long as it takes; 0 would be the client's. */
	op->timeout_ms = q->b->opts.timeout_ms;
	if (!op->timeout_ms || f->h.opcode == FUSE_SETLKW)
		op->timeout_ms = UINT32_MAX;
	q->op = NULL;
	q->staged++;
}

static void submit(struct vtfs_bridge_queue *q)
{
	if (q->staged)
		virtiofs_cliq_submit(q->cliq);
	/* What was got and not filled is dropped. */
	if (q->staged)
		q->op = NULL;
	q->staged = 0;
}

static void take_forgets(struct vtfs_bridge_queue *q,
			 const struct vtfs_bridge_frame *f)
{
	const size_t head = sizeof(f->h) + sizeof(struct fuse_batch_forget_in);
	struct fuse_batch_forget_in batch;
	struct fuse_forget_one some[64];
	uint32_t n;

	memcpy(&batch, f->arg, sizeof(batch));
	if (f->len < head + (uint64_t)batch.count * sizeof(some[0]))
		return;
	for (uint32_t i = 0; i < batch.count; i += n) {
		n = vtfs_min_u32(batch.count - i, VTFS_ARRAY_LEN(some));
		memcpy(some, f->at + head + (size_t)i * sizeof(some[0]),
		       n * sizeof(some[0]));
		vtfs_client_forgets(q->b->c, some, n);
	}
}

static void take_forget(struct vtfs_bridge_queue *q,
			const struct vtfs_bridge_frame *f)
{
	struct fuse_forget_in in;
	struct fuse_forget_one one = {.nodeid = f->h.nodeid};

	memcpy(&in, f->arg, sizeof(in));
	one.nlookup = in.nlookup;
	vtfs_client_forgets(q->b->c, &one, 1);
}

static void take_interrupt(struct vtfs_bridge_queue *q,
			   const struct vtfs_bridge_frame *f)
{
	struct fuse_interrupt_in in;
	int r;

	memcpy(&in, f->arg, sizeof(in));
	/* It may be one of those that were read just now. */
	submit(q);
	r = virtiofs_client_interrupt(q->b->c, in.unique);
	if (r == -EOPNOTSUPP)
		r = -ENOSYS;
	else if (r == -ENOENT)
		r = -EAGAIN;
	else
		return;
	for (unsigned i = 0; i < q->b->queue_cnt; i++)
		vtfs_bridge_answer(q->b->queues[i].fuse_fd, f->h.unique, r,
				   NULL);
}

/* A free buffer stays for the next frame. */
static bool can_pass(struct vtfs_bridge_queue *q)
{
	if (!q->op)
		q->op = virtiofs_cliq_get_op(q->cliq);
	return q->op && q->free_buf_cnt > 1 && q->free_req != BRIDGE_NONE;
}

/* With the buffer that it was read to. */
static void park(struct vtfs_bridge_queue *q, const struct vtfs_bridge_frame *f)
{
	q->parked = *f;
	q->parked_buf = q->free_bufs[--q->free_buf_cnt];
	q->is_parked = true;
}

static void unpark(struct vtfs_bridge_queue *q)
{
	q->free_bufs[q->free_buf_cnt++] = q->parked_buf;
	q->is_parked = false;
	pass(q, &q->parked);
	submit(q);
}

static void pass_or_park(struct vtfs_bridge_queue *q,
			 const struct vtfs_bridge_frame *f)
{
	if (can_pass(q))
		pass(q, f);
	else
		park(q, f);
}

static void take_frame(struct vtfs_bridge_queue *q,
		       const struct vtfs_bridge_frame *f)
{
	switch (f->h.opcode) {
	case FUSE_FORGET:
		take_forget(q, f);
		break;
	case FUSE_BATCH_FORGET:
		take_forgets(q, f);
		break;
	case FUSE_INTERRUPT:
		take_interrupt(q, f);
		break;
	case FUSE_NOTIFY_REPLY:
		if (vtfs_bridge_hears(q->b))
			pass_or_park(q, f);
		break;
	case FUSE_INIT:
		vtfs_bridge_answer(q->fuse_fd, f->h.unique, -EIO, NULL);
		break; /* it has been */
	case FUSE_POLL:
		if (vtfs_bridge_hears(q->b))
			pass_or_park(q, f);
		else /* Nothing would tell who waits that it is ready. */
			vtfs_bridge_answer(q->fuse_fd, f->h.unique, -ENOSYS,
					   NULL);
		break;
	default:
		pass_or_park(q, f);
	}
}

/* n bytes were read to at. */
static int parse(const struct virtiofs_bridge *b, struct vtfs_bridge_frame *f,
		 unsigned char *at, size_t n)
{
	if (n < sizeof(f->h))
		return -EINVAL;
	memset(f->arg, 0, sizeof(f->arg));
	memcpy(&f->h, at, sizeof(f->h));
	memcpy(f->arg, at + sizeof(f->h),
	       vtfs_min_size(n - sizeof(f->h), sizeof(f->arg)));
	f->at = at;
	f->len = (uint32_t)n;
	f->kind = vtfs_fuse_op(f->h.opcode);
	f->fixed = f->kind ? vtfs_fuse_arg_len(f->kind, &b->proto) : 0;
	if (f->h.len != n || n < sizeof(f->h) + f->fixed)
		return -EINVAL;
	return 0;
}

/* 1: one was read; 0: none there; or the end. */
static int read_frame(struct vtfs_bridge_queue *q)
{
	uint32_t buf = q->free_bufs[q->free_buf_cnt - 1];
	unsigned char *at = buf_at(q, buf) + BRIDGE_PAGE - BRIDGE_HEAD;
	struct vtfs_bridge_frame f;
	ssize_t n;

	n = read(q->fuse_fd, at, BRIDGE_HEAD + q->b->payload);
	if (n < 0 && (errno == EAGAIN))
		return 0;
	/* ENOENT: it was given up while it was read. */
	if (n < 0 && (errno == EINTR || errno == ENOENT))
		return 1;
	if (n < 0)
		return errno == ENODEV ? -ESHUTDOWN
				       : vtfs_fail_sys(-errno, "/dev/fuse");
	if (n == 0)
		return -ESHUTDOWN;
	if (parse(q->b, &f, at, (size_t)n) < 0)
		return vtfs_fail(-EPROTO, "/dev/fuse: %zd bytes are no frame",
				 n);
	take_frame(q, &f);
	return 1;
}

bool vtfs_bridge_has_room(struct vtfs_bridge_queue *q)
{
	if (q->is_parked && can_pass(q))
		unpark(q);
	return !q->is_parked;
}

int vtfs_bridge_take(struct vtfs_bridge_queue *q)
{
	int r = 1;

	for (unsigned n = 0; n < BRIDGE_BATCH && r > 0; n++)
		r = vtfs_bridge_has_room(q) ? read_frame(q) : 0;
	submit(q);
	if (r == -ESHUTDOWN)
		return 1;
	return r < 0 ? r : 0;
}

/* ---- to the kernel ---- */

/* The device's faults are EIO for the program that waits. */
static int told_error(const struct vtfs_bridge_queue *q, int error)
{
	if (error == -EPROTO)
		return -EIO;
	if (error == -ENOTCONN && !vtfs_client_running(q->b->c))
		return -EIO;
	return error;
}

static void give_one(struct vtfs_bridge_queue *q,
		     const struct virtiofs_result *res)
{
	uint32_t *place = req_find(q, res->user_data);
	struct vtfs_bridge_req *req;
	struct iovec room;
	int r = 0;

	if (!place)
		return;
	req = &q->reqs[*place];
	room.iov_base = req->room.iov_base;
	room.iov_len = res->len;
	if (!req->answered)
		r = vtfs_bridge_answer(q->fuse_fd, req->unique,
				       told_error(q, res->error), &room);
	/* A reply that the kernel does not take would leave its program
	 * waiting. ENOENT: nobody does any more. */
	if (r < 0 && r != -ENOENT && r != -ENODEV)
		vtfs_bridge_answer(q->fuse_fd, req->unique, -EIO, NULL);
	req->answered = true;
	if (!(res->flags & VIRTIOFS_RESULT_MORE))
		req_end(q, place);
}

bool vtfs_bridge_give(struct vtfs_bridge_queue *q)
{
	struct virtiofs_result res[BRIDGE_BATCH];
	int n = virtiofs_cliq_reap(q->cliq, res, VTFS_ARRAY_LEN(res));

	/* It broke its ring. Half a mount is worse than none. */
	if (n == -EPROTO)
		vtfs_client_lost(q->b->c, n);
	for (int i = 0; i < n; i++)
		give_one(q, &res[i]);
	return n == (int)VTFS_ARRAY_LEN(res);
}

void vtfs_bridge_drop(struct vtfs_bridge_queue *q)
{
	virtiofs_cliq_submit(q->cliq);
	q->op = NULL;
	while (vtfs_bridge_give(q))
		;
}
