/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One request's bytes: from the caller's buffers into the ring, and back. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "session/client.h"

_Static_assert(VTFS_SLOT_IN_LEN <= VTFS_SLOT_OUT, "slot areas overlap");
_Static_assert(VTFS_SLOT_OUT + 16 + VTFS_SLOT_ROOM <= VTFS_SLOT_BYTES,
	       "slot area too small");

static unsigned char *slot_room(const struct virtiofs_cliq *q,
				const struct vtfs_cslot *s)
{
	return vtfs_slot_area(q, s) + VTFS_SLOT_OUT +
	       sizeof(struct fuse_out_header);
}

/* ---- where the bytes go ---- */

static uint64_t pin_parts(struct virtiofs_cliq *q, struct vtfs_cslot *s,
			  struct vtfs_part *p, uint32_t cnt)
{
	uint64_t copy = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		struct iovec v = {p[i].base, p[i].len};

		if (vtfs_regs_pin(&q->c->regs, &q->pins, &v, &s->regs,
				  &p[i].peer))
			continue;
		p[i].peer = VTFS_NO_PEER;
		copy += p[i].len;
	}
	return copy;
}

static void inline_data(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	unsigned char *to = vtfs_slot_arg(q, s) + s->op.arg_len;

	for (uint32_t i = 0; i < s->data_cnt; i++) {
		memcpy(to, s->parts[i].base, s->parts[i].len);
		to += s->parts[i].len;
	}
	s->flags |= VTFS_SLOT_INLINE_DATA;
	s->data_copy = 0;
}

/* Small and unregistered bytes ride beside the headers. */
int vtfs_slot_place(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	s->data_copy = pin_parts(q, s, s->parts, s->data_cnt);
	s->room_copy = pin_parts(q, s, s->parts + s->data_cnt, s->room_cnt);
	if (s->data_cnt && s->data_copy == s->data_len &&
	    s->data_len <= VIRTIOFS_OP_ARG_MAX - s->op.arg_len)
		inline_data(q, s);
	if (s->room_cnt && s->room_copy == s->room_len &&
	    s->room_len <= VTFS_SLOT_ROOM) {
		s->flags |= VTFS_SLOT_INLINE_ROOM;
		s->room_copy = 0;
	}
	if (s->op.flags & VIRTIOFS_OP_NO_BOUNCE &&
	    (s->data_copy || s->room_copy))
		return vtfs_fail(-EFAULT, "%s: buffer is not registered",
				 vtfs_fuse_name(s->op.opcode));
	return 0;
}

/* ---- into the ring ---- */

struct chain {
	struct vtfs_vq_buf *bufs;
	unsigned cnt, max;
};

static int chain_add(struct chain *ch, uint64_t addr, uint64_t len)
{
	if (ch->cnt == ch->max)
		return vtfs_fail(-E2BIG, "more parts than the ring's %u",
				 ch->max);
	ch->bufs[ch->cnt].addr = addr;
	ch->bufs[ch->cnt].len = (uint32_t)len;
	ch->cnt++;
	return 0;
}

/* Bounced neighbours lie side by side: one descriptor for all of them. */
static int chain_parts(struct chain *ch, const struct vtfs_part *p,
		       uint32_t cnt, uint64_t bounce)
{
	uint64_t run = 0;
	int r = 0;

	for (uint32_t i = 0; i < cnt && r >= 0; i++) {
		if (p[i].peer == VTFS_NO_PEER) {
			run += p[i].len;
			if (i + 1 < cnt && p[i + 1].peer == VTFS_NO_PEER)
				continue;
			r = chain_add(ch, bounce, run);
			bounce += run;
			run = 0;
		} else {
			r = chain_add(ch, p[i].peer, p[i].len);
		}
	}
	return r;
}

static uint64_t room_off(const struct vtfs_cslot *s)
{
	return VTFS_ALIGN_UP(s->data_copy, (uint64_t)VTFS_CACHELINE);
}

static int chain_build(struct virtiofs_cliq *q, struct vtfs_cslot *s,
		       struct chain *ch, unsigned *ret_readable)
{
	uint64_t slot = q->area_peer +
			(uint64_t)(s - q->slots) * VTFS_SLOT_BYTES;
	uint64_t run = q->bounce.peer_addr + (uint64_t)s->run.first * VTFS_PAGE;
	uint64_t head = sizeof(struct fuse_in_header) + s->op.arg_len;
	int r;

	if (s->flags & VTFS_SLOT_INLINE_DATA)
		head += s->data_len;
	r = chain_add(ch, slot, head);
	if (r >= 0 && !(s->flags & VTFS_SLOT_INLINE_DATA))
		r = chain_parts(ch, s->parts, s->data_cnt, run);
	*ret_readable = ch->cnt;
	if (r < 0 || s->want.answer == VTFS_FUSE_ANSWER_NONE)
		return r;
	head = sizeof(struct fuse_out_header);
	if (s->flags & VTFS_SLOT_INLINE_ROOM)
		head += s->room_len;
	r = chain_add(ch, slot + VTFS_SLOT_OUT, head);
	if (r >= 0 && !(s->flags & VTFS_SLOT_INLINE_ROOM))
		r = chain_parts(ch, s->parts + s->data_cnt, s->room_cnt,
				run + room_off(s));
	return r;
}

static void bounce_data(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	unsigned char *to = q->bounce.addr + (size_t)s->run.first * VTFS_PAGE;

	if (!s->data_copy)
		return;
	for (uint32_t i = 0; i < s->data_cnt; i++) {
		if (s->parts[i].peer != VTFS_NO_PEER)
			continue;
		memcpy(to, s->parts[i].base, s->parts[i].len);
		to += s->parts[i].len;
	}
}

int vtfs_slot_add(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	struct chain ch = {q->bufs, 0, q->num};
	uint64_t copy = s->data_copy + s->room_copy;
	unsigned readable;
	int r;

	if (copy) {
		r = vtfs_bounce_take(&q->bounce, room_off(s) + s->room_copy,
				     &s->run);
		if (r < 0)
			return r;
	}
	r = chain_build(q, s, &ch, &readable);
	if (r >= 0) {
		bounce_data(q, s);
		r = vtfs_vq_drv_add(q->vq, ch.bufs, readable, ch.cnt - readable,
				    (uint16_t)(s - q->slots));
	}
	if (r < 0 && s->run.cnt)
		vtfs_bounce_give(&q->bounce, &s->run);
	return r;
}

/* ---- and back ---- */

/* Where the next part of the reply lies on this side. */
static const unsigned char *reply_part(const struct virtiofs_cliq *q,
				       const struct vtfs_cslot *s, uint32_t i,
				       uint64_t *bounce)
{
	const struct vtfs_part *p = &s->parts[s->data_cnt + i];
	const unsigned char *at = p->base;

	if (s->flags & VTFS_SLOT_INLINE_ROOM)
		at = slot_room(q, s) + *bounce;
	else if (p->peer == VTFS_NO_PEER)
		at = q->bounce.addr + (size_t)s->run.first * VTFS_PAGE +
		     room_off(s) + *bounce;
	else
		return at;
	*bounce += p->len;
	return at;
}

static void copy_out(struct virtiofs_cliq *q, struct vtfs_cslot *s, uint64_t n)
{
	uint64_t bounce = 0;

	for (uint32_t i = 0; i < s->room_cnt && n; i++) {
		const struct vtfs_part *p = &s->parts[s->data_cnt + i];
		const unsigned char *from = reply_part(q, s, i, &bounce);
		uint64_t k = n < p->len ? n : p->len;

		if (from != p->base)
			memcpy(p->base, from, k);
		n -= k;
	}
}

void vtfs_slot_peek(const struct virtiofs_cliq *q, const struct vtfs_cslot *s,
		    uint64_t off, void *buf, size_t len)
{
	uint64_t bounce = 0, at = 0;
	unsigned char *to = buf;

	for (uint32_t i = 0; i < s->room_cnt && len; i++) {
		const struct vtfs_part *p = &s->parts[s->data_cnt + i];
		const unsigned char *from = reply_part(q, s, i, &bounce);

		if (off - at < p->len) {
			size_t k = vtfs_min_size(len, p->len - (off - at));

			memcpy(to, from + (off - at), k);
			to += k;
			off += k;
			len -= k;
		}
		at += p->len;
	}
	memset(to, 0, len);
}

void vtfs_slot_drop(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	vtfs_store_release(&s->live, 0);
	if (s->run.cnt)
		vtfs_bounce_give(&q->bounce, &s->run);
	vtfs_regs_unpin(&q->pins, s->regs);
	s->regs = 0;
}

static void load_head(const struct virtiofs_cliq *q, const struct vtfs_cslot *s,
		      struct fuse_out_header *ret)
{
	const void *at = vtfs_slot_area(q, s) + VTFS_SLOT_OUT;
	const uint64_t *shared = at;
	uint64_t word[2];

	_Static_assert(sizeof(*ret) == sizeof(word), "reply header");
	word[0] = vtfs_load_once(&shared[0]);
	word[1] = vtfs_load_once(&shared[1]);
	memcpy(ret, word, sizeof(word));
}

void vtfs_slot_finish(struct virtiofs_cliq *q, struct vtfs_cslot *s,
		      uint32_t len)
{
	struct fuse_out_header head;
	int64_t n;

	/* Answered before it was told that its time is up: a reply as any. */
	if (s->flags & VTFS_SLOT_LISTED)
		s->flags &= (uint8_t)~VTFS_SLOT_EXPIRED;
	load_head(q, s, &head);
	n = vtfs_reply_check(&head, len, &s->want, &s->error);
	s->len = 0;
	if (n < 0) {
		s->error = (int32_t)n;
		vtfs_stat_add(&q->stats.frame_faults, 1);
	} else if (s->error == 0 && s->flags & VTFS_SLOT_EXPIRED) {
		vtfs_slot_note_grants(q, s, (uint64_t)n);
	} else if (s->error == 0) {
		s->len = (uint32_t)n;
		copy_out(q, s, (uint64_t)n);
	}
	if (s->flags & VTFS_SLOT_EXPIRED)
		s->error = -ETIMEDOUT;
	if (s->op.opcode == FUSE_INIT && !s->error)
		vtfs_client_init_seen(q->c, s);
	if (s->op.opcode == FUSE_DESTROY && !s->error)
		vtfs_store_release(&q->c->init_done, 0);
	vtfs_slot_drop(q, s);
}
