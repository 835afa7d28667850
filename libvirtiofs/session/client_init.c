/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FUSE_INIT and DESTROY: the library's own, and those that a caller sends. */
#include <string.h>
#include <sys/epoll.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "session/client.h"

/* What a client without wishes asks for. Nothing that changes what a request
 * means to a caller who does not know of it. */
#define USUAL_FLAGS                                                            \
	((uint64_t)(FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | \
		    FUSE_BIG_WRITES | FUSE_FLOCK_LOCKS | FUSE_DO_READDIRPLUS | \
		    FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_INIT_EXT))

static struct vtfs_cslot *own_request(struct virtiofs_client *c,
				      uint32_t opcode)
{
	struct vtfs_cslot *s = vtfs_cliq_get(&c->queues[0]);

	if (!s)
		return NULL;
	s->op.opcode = opcode;
	s->flags = VTFS_SLOT_OURS;
	return s;
}

int vtfs_client_init_send(struct virtiofs_client *c)
{
	uint64_t flags = c->opts.init_flags ? c->opts.init_flags : USUAL_FLAGS;
	struct iovec room = {&c->init_out, sizeof(c->init_out)};
	struct vtfs_cslot *s;

	c->init.proto.minor = VTFS_FUSE_MINOR_MAX;
	c->init.proto.flags = 0;
	c->init.max_pages = 1;
	c->init.max_write = VTFS_PAGE;
	if (c->opts.flags & VIRTIOFS_CLIENT_RAW_INIT)
		return 0;
	s = own_request(c, FUSE_INIT);
	if (!s)
		return vtfs_fail(-EBUSY, "queue 1: results not reaped");
	vtfs_init_request(&c->init_in, flags);
	s->op.arg = &c->init_in;
	s->op.arg_len = sizeof(c->init_in);
	s->op.room = &room;
	s->op.room_cnt = 1;
	c->init_slot = s;
	vtfs_cliq_stage(&c->queues[0], s);
	vtfs_cliq_push(&c->queues[0]);
	return 0;
}

/* Has our own request ended? Others of the same queue are for its owner. */
static bool own_ended(struct virtiofs_cliq *q, struct vtfs_cslot *own)
{
	while (own->state != VTFS_SLOT_DONE && vtfs_cliq_collect(q))
		;
	if (own->state != VTFS_SLOT_DONE)
		return false;
	vtfs_slots_remove(q, &q->done, own);
	return true;
}

int vtfs_client_init_wait(struct virtiofs_client *c)
{
	struct virtiofs_cliq *q = &c->queues[0];
	struct vtfs_cslot *s = c->init_slot;
	int r;

	if (!s)
		return 0;
	if (!own_ended(q, s) && (!vtfs_cliq_wait(q) || !own_ended(q, s)))
		return -EAGAIN;
	c->init_slot = NULL;
	r = s->error;
	if (r < 0 && r != -EPROTO)
		vtfs_fail_sys(r, "FUSE_INIT");
	vtfs_cliq_give(q, s);
	return r;
}

void vtfs_client_destroy(struct virtiofs_client *c, uint64_t deadline)
{
	struct virtiofs_cliq *q = &c->queues[0];
	struct vtfs_cslot *s = own_request(c, FUSE_DESTROY);
	int ep = q->taken ? q->ep_fd : c->ep_fd;
	struct epoll_event ev[8];

	if (!s)
		return;
	vtfs_cliq_stage(q, s);
	vtfs_cliq_push(q);
	while (!own_ended(q, s)) {
		int ms = vtfs_ms_left(deadline);

		if (!ms || c->t->cli->dispatch(c->t) < 0)
			return;
		if (!vtfs_cliq_wait(q))
			epoll_wait(ep, ev, VTFS_ARRAY_LEN(ev), ms);
		vtfs_evfd_drain(c->wake_fd);
		vtfs_evfd_drain(q->wake_fd);
	}
	vtfs_cliq_give(q, s);
}

/* ---- INIT that passes: a caller's in raw mode, or ours ---- */

int vtfs_client_init_mask(struct virtiofs_client *c, const struct vtfs_cslot *s,
			  void *arg)
{
	struct fuse_init_in in = {0};
	uint32_t len = vtfs_min_u32(s->op.arg_len, sizeof(in));
	uint64_t flags;

	if (len < 16)
		return vtfs_fail(-EINVAL, "INIT with %u bytes of arguments",
				 s->op.arg_len);
	memcpy(&in, arg, len);
	flags = vtfs_fuse_flags_fit(in.flags | (uint64_t)in.flags2 << 32,
				    in.minor);
	in.flags = (uint32_t)flags;
	in.flags2 = (uint32_t)(flags >> 32);
	memcpy(arg, &in, len);
	c->init_in = in;
	return 0;
}

/* The reply as it stands in the caller's room. */
static void room_copy(struct vtfs_cslot *s, void *buf, uint32_t len, bool back)
{
	unsigned char *at = buf;

	for (uint32_t i = 0; i < s->room_cnt && len; i++) {
		struct vtfs_part *p = &s->parts[s->data_cnt + i];
		uint32_t k = vtfs_min_u32(p->len, len);

		if (back)
			memcpy(p->base, at, k);
		else
			memcpy(at, p->base, k);
		at += k;
		len -= k;
	}
}

void vtfs_client_init_seen(struct virtiofs_client *c, struct vtfs_cslot *s)
{
	uint32_t len = vtfs_min_u32(s->len, sizeof(struct fuse_init_out));
	struct fuse_init_out out = {0};
	int r;

	room_copy(s, &out, len, false);
	r = vtfs_init_reply(&out, len, &c->init_in, c->ring_num, &c->init);
	if (r < 0) {
		s->error = r;
		s->len = 0;
		return;
	}
	room_copy(s, &out, len, true);
	c->init_out = out;
	vtfs_cnotes_begin(c);
	vtfs_store_release(&c->init_done, 1);
	/* Notifications are heard from now on, and their edges were taken. */
	vtfs_evfd_signal(c->wake_fd);
}
