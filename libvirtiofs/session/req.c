/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replies. The first call for a request claims it; bytes are written into the
 * peer's memory, which the slot's pins keep mapped; then the chain goes back:
 * staged for the owner's next flush, or, where other threads reply too, at once
 * under the run's push lock. A request that outlived its device, or whose peer
 * is lost, ends here and touches no byte of the peer.
 */
#include "session/dev.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/probe.h"

#define ERRNO_MAX 511

static bool is_lost(const struct vtfs_run *run)
{
	return __atomic_load_n(&run->lost, __ATOMIC_ACQUIRE);
}

/* Push lock held, run no orphan. */
static void push_one(struct vtfs_run *run, struct vtfs_slot *s)
{
	struct vtfs_conf *conf = run->q->have;

	if (!conf->ring || is_lost(run))
		return;
	vtfs_run_end_wait(run, s);
	vtfs_vq_dev_push(run->vq, s->id, s->ring_cnt, s->used_len);
	if (vtfs_vq_dev_publish(run->vq) && conf->call)
		vtfs_devq_call(run->q, conf->call);
}

static void give_back_now(struct vtfs_run *run, struct vtfs_slot *s)
{
	bool tell, last;

	pthread_mutex_lock(&run->push_lock);
	if (!run->orphan && run->mapped) {
		s->staged = NULL;
		vtfs_run_push_mapped(run, run->q->have, s);
		vtfs_devq_check_memory(run->q);
		pthread_mutex_unlock(&run->push_lock);
		return;
	}
	if (!run->orphan) {
		push_one(run, s);
		vtfs_devq_count_reply(run->q, s, vtfs_devq_now(run->q));
		vtfs_devq_check_memory(run->q);
	}
	vtfs_run_give(run, s);
	tell = vtfs_run_given(run, 1);
	if (tell && !run->orphan)
		vtfs_device_wake(run->q->dev);
	last = run->orphan && vtfs_run_inflight(run) == 0;
	pthread_mutex_unlock(&run->push_lock);
	if (last)
		vtfs_run_free(run);
}

static void give_back(struct vtfs_slot *s)
{
	struct vtfs_run *run = s->run;
	struct virtiofs_devq *q = run->q;

	VTFS_PROBE(request__end, s->in.unique, s->in.opcode, s->error,
		   s->used_len);
	if (run->shared || run->orphan) {
		give_back_now(run, s);
		return;
	}
	vtfs_devq_stage(q, s);
	if (!q->batching && !q->dev->dispatching)
		vtfs_devq_flush(q);
}

static int claim(struct vtfs_slot *s)
{
	if (vtfs_slot_claim(s))
		return 0;
	return vtfs_fail(-EINVAL, "request was answered before");
}

static int lost(struct vtfs_slot *s)
{
	if (s->raw_init)
		vtfs_device_raw_reply(s->run->q->dev, s, NULL);
	give_back(s);
	return vtfs_fail(-ENOTCONN, "the client is gone");
}

/* Send -EIO in place of what the program said. */
static int spoilt(struct vtfs_slot *s, int r)
{
	if (s->req.flags & VIRTIOFS_REQ_NOREPLY)
		s->used_len = 0;
	else
		vtfs_frame_error(s, -EIO);
	if (s->raw_init)
		vtfs_device_raw_reply(s->run->q->dev, s, NULL);
	give_back(s);
	return r;
}

int virtiofs_req_error(struct virtiofs_req *req, int error)
{
	struct vtfs_slot *s = vtfs_slot_of(req);
	int r = claim(s);

	if (r < 0)
		return r;
	if (is_lost(s->run))
		return lost(s);
	if (error > 0 || error < -ERRNO_MAX)
		return spoilt(
		    s, vtfs_fail(-EINVAL, "error %d is no errno", error));
	if (req->flags & VIRTIOFS_REQ_NOREPLY)
		s->used_len = 0;
	else
		vtfs_frame_error(s, error);
	if (s->raw_init)
		vtfs_device_raw_reply(s->run->q->dev, s, NULL);
	give_back(s);
	return 0;
}

/* The reply to a raw INIT passes through our hands. */
static int reply_init(struct vtfs_slot *s, const struct iovec *iov,
		      unsigned cnt)
{
	struct fuse_init_out out = {0};
	struct iovec one = {.iov_base = &out};
	struct vtfs_iovcur cur;
	int r;

	if (s->op->opcode != FUSE_INIT) {
		r = vtfs_frame_reply(s, iov, cnt);
		vtfs_device_raw_reply(s->run->q->dev, s, NULL);
		return r;
	}
	vtfs_iovcur_init(&cur, iov, cnt);
	one.iov_len = vtfs_iovcur_pull(&cur, &out, sizeof(out));
	if (one.iov_len > s->req.room_len || vtfs_iovcur_skip(&cur, 1))
		return -EMSGSIZE;
	vtfs_device_raw_reply(s->run->q->dev, s, &out);
	return vtfs_frame_reply(s, &one, 1);
}

int virtiofs_req_replyv(struct virtiofs_req *req, const struct iovec *iov,
			unsigned cnt)
{
	struct vtfs_slot *s = vtfs_slot_of(req);
	int r = claim(s);

	if (r < 0)
		return r;
	if (is_lost(s->run))
		return lost(s);
	if (req->flags & VIRTIOFS_REQ_NOREPLY)
		return spoilt(s, vtfs_fail(-EINVAL, "%s has no reply",
					   vtfs_fuse_name(s->in.opcode)));
	r = s->raw_init ? reply_init(s, iov, cnt)
			: vtfs_frame_reply(s, iov, cnt);
	if (r < 0)
		return spoilt(s, vtfs_fail(r,
					   "reply to %s is longer than its "
					   "room of %u bytes",
					   vtfs_fuse_name(s->in.opcode),
					   req->room_len));
	give_back(s);
	return 0;
}

int virtiofs_req_reply(struct virtiofs_req *req, const void *data, size_t len)
{
	const struct iovec iov = {(void *)(uintptr_t)data, len};

	return virtiofs_req_replyv(req, &iov, 1);
}

int virtiofs_req_reply_slice(struct virtiofs_req *req, const void *buf,
			     size_t size, uint64_t offset)
{
	size_t len = 0;

	if (offset < size)
		len = vtfs_min_size(size - (size_t)offset, req->room_len);
	else
		offset = 0;
	return virtiofs_req_reply(req, (const char *)buf + offset, len);
}

int virtiofs_req_filled(struct virtiofs_req *req, size_t len)
{
	struct vtfs_slot *s = vtfs_slot_of(req);
	int r;

	/* Read back once, judged, and written again. */
	if (s->raw_init) {
		struct fuse_init_out out;
		struct vtfs_iovcur cur;

		vtfs_iovcur_init(&cur, req->room, req->room_cnt);
		vtfs_iovcur_pull(&cur, &out, vtfs_min_size(len, sizeof(out)));
		return virtiofs_req_reply(req, &out, len);
	}
	r = claim(s);
	if (r < 0)
		return r;
	if (is_lost(s->run))
		return lost(s);
	if (req->flags & VIRTIOFS_REQ_NOREPLY)
		return spoilt(s, vtfs_fail(-EINVAL, "%s has no reply",
					   vtfs_fuse_name(s->in.opcode)));
	if (len > req->room_len)
		return spoilt(s,
			      vtfs_fail(-EMSGSIZE, "%zu bytes in a room of %u",
					len, req->room_len));
	vtfs_frame_filled(s, (uint32_t)len);
	give_back(s);
	return 0;
}

void virtiofs_req_done(struct virtiofs_req *req)
{
	struct vtfs_slot *s = vtfs_slot_of(req);

	if (req->flags & VIRTIOFS_REQ_NOREPLY)
		virtiofs_req_error(req, 0);
	else if (claim(s) == 0)
		is_lost(s->run) ? lost(s) : spoilt(s, 0);
}

int virtiofs_req_interrupted(const struct virtiofs_req *req)
{
	const struct vtfs_slot *s = vtfs_slot_of(req);

	return !!(__atomic_load_n(&s->state, __ATOMIC_ACQUIRE) &
		  VTFS_SLOT_INTR);
}
