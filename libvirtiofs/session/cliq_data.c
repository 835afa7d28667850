/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One request's bytes: from the caller's op into the ring, and back. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "session/client.h"

_Static_assert(VTFS_SLOT_IN_LEN <= VTFS_SLOT_OUT, "slot areas overlap");
_Static_assert(VTFS_SLOT_OUT + 16 + VTFS_SLOT_ROOM <= VTFS_SLOT_BYTES,
	       "slot area too small");

static unsigned char *slot_arg(const struct virtiofs_cliq *q,
			       const struct vtfs_cslot *s)
{
	return vtfs_slot_area(q, s) + sizeof(struct fuse_in_header);
}

static unsigned char *slot_room(const struct virtiofs_cliq *q,
				const struct vtfs_cslot *s)
{
	return vtfs_slot_area(q, s) + VTFS_SLOT_OUT +
	       sizeof(struct fuse_out_header);
}

/* ---- the caller's op, judged ---- */

static int grow_parts(struct vtfs_cslot *s, uint32_t cnt)
{
	struct vtfs_part *p;

	if (!s->parts) {
		s->parts = s->parts_small;
		s->parts_max = VTFS_SLOT_PARTS;
	}
	if (cnt <= s->parts_max)
		return 0;
	if (cnt > VTFS_SLOT_PARTS_MAX)
		return vtfs_fail(-E2BIG, "%u parts in one request", cnt);
	/* Kept with the slot: the next one of this size finds it. */
	p = calloc(cnt, sizeof(*p));
	if (!p)
		return vtfs_fail(-ENOMEM, "%u parts", cnt);
	if (s->parts != s->parts_small)
		free(s->parts);
	s->parts = p;
	s->parts_max = cnt;
	return 0;
}

/* Copy the parts that are not empty; their sum. */
static int take_iov(struct vtfs_part *parts, const struct iovec *iov,
		    unsigned cnt, uint32_t *ret_cnt, uint64_t *ret_len)
{
	uint64_t len = 0;
	uint32_t n = 0;

	for (unsigned i = 0; i < cnt; i++) {
		if (!iov[i].iov_len)
			continue;
		if (iov[i].iov_len > UINT32_MAX - len)
			return vtfs_fail(-EMSGSIZE, "more than 4 GiB");
		parts[n].base = iov[i].iov_base;
		parts[n].len = (uint32_t)iov[i].iov_len;
		len += iov[i].iov_len;
		n++;
	}
	*ret_cnt = n;
	*ret_len = len;
	return 0;
}

static int take_parts(struct vtfs_cslot *s)
{
	const struct virtiofs_op *op = &s->op;
	int r;

	r = grow_parts(s, (uint32_t)op->data_cnt + op->room_cnt);
	if (r < 0)
		return r;
	r = take_iov(s->parts, op->data, op->data_cnt, &s->data_cnt,
		     &s->data_len);
	if (r < 0)
		return r;
	return take_iov(s->parts + s->data_cnt, op->room, op->room_cnt,
			&s->room_cnt, &s->room_len);
}

static int take_arg(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	unsigned char *arg = slot_arg(q, s);

	if (s->op.arg_len > VIRTIOFS_OP_ARG_MAX)
		return vtfs_fail(-EINVAL, "%u bytes of arguments",
				 s->op.arg_len);
	if (s->op.arg_len && s->op.arg != arg)
		memcpy(arg, s->op.arg, s->op.arg_len);
	return 0;
}

/* The fixed arguments, wherever the caller put them. */
static void gather_arg(struct virtiofs_cliq *q, struct vtfs_cslot *s,
		       unsigned char *buf, size_t len)
{
	size_t n = vtfs_min_size(len, s->op.arg_len);

	memset(buf, 0, len);
	memcpy(buf, slot_arg(q, s), n);
	for (uint32_t i = 0; i < s->data_cnt && n < len; i++) {
		size_t k = vtfs_min_size(len - n, s->parts[i].len);

		memcpy(buf + n, s->parts[i].base, k);
		n += k;
	}
}

static int check_opcode(const struct virtiofs_client *c,
			const struct vtfs_cslot *s)
{
	const struct vtfs_fuse_op *kind = s->kind;
	bool init = s->op.opcode == FUSE_INIT;
	bool raw = c->opts.flags & VIRTIOFS_CLIENT_RAW_INIT;

	if (kind && kind->flags & VTFS_FUSE_HIPRIO)
		return vtfs_fail(-EINVAL, "%s goes to the hiprio queue",
				 kind->name);
	if (s->flags & VTFS_SLOT_OURS)
		return 0;
	if ((init || s->op.opcode == FUSE_DESTROY) && !raw)
		return vtfs_fail(-EINVAL, "%s is the library's", kind->name);
	/* virtio 1.4, 5.11.5: the session starts with FUSE_INIT */
	if (!init && !vtfs_load_acquire(&c->init_done))
		return vtfs_fail(-EBUSY, "%s before INIT was answered",
				 vtfs_fuse_name(s->op.opcode));
	return 0;
}

static int check_sizes(const struct virtiofs_client *c,
		       const struct vtfs_cslot *s)
{
	uint64_t most = (uint64_t)c->init.max_pages * VTFS_PAGE;
	uint64_t fixed = s->kind ? vtfs_fuse_arg_len(s->kind, &c->init.proto)
				 : 0;
	uint64_t sent = s->op.arg_len + s->data_len;
	uint64_t bulk = sent > fixed ? sent - fixed : 0;

	if (s->op.opcode == FUSE_WRITE)
		most = c->init.max_write;
	/* Names and small values fit in any ring. */
	if (bulk > most && bulk > VIRTIOFS_OP_ARG_MAX)
		return vtfs_fail(-EMSGSIZE, "%s of %llu bytes, at most %llu",
				 vtfs_fuse_name(s->op.opcode),
				 (unsigned long long)bulk,
				 (unsigned long long)most);
	most = (uint64_t)c->init.max_pages * VTFS_PAGE;
	if (s->room_len > most)
		return vtfs_fail(-EMSGSIZE, "room for %llu bytes, at most %llu",
				 (unsigned long long)s->room_len,
				 (unsigned long long)most);
	return 0;
}

static int expect_reply(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	unsigned char arg[64];

	s->want.answer = s->kind ? s->kind->answer : VTFS_FUSE_ANSWER;
	s->want.min = 0;
	s->want.max = s->room_len;
	if (!s->kind)
		return 0;
	if (s->want.answer == VTFS_FUSE_ANSWER_NONE) {
		if (s->room_len)
			return vtfs_fail(-EINVAL, "%s has no reply",
					 s->kind->name);
		return 0;
	}
	gather_arg(q, s, arg, sizeof(arg));
	vtfs_fuse_reply_range(s->kind, &q->c->init.proto, arg, &s->want.min,
			      &s->want.max);
	if (s->want.max > s->room_len)
		s->want.max = s->room_len;
	if (s->want.min > s->room_len)
		return vtfs_fail(-EINVAL, "%s needs room for %llu bytes",
				 s->kind->name,
				 (unsigned long long)s->want.min);
	return 0;
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
	unsigned char *to = slot_arg(q, s) + s->op.arg_len;

	for (uint32_t i = 0; i < s->data_cnt; i++) {
		memcpy(to, s->parts[i].base, s->parts[i].len);
		to += s->parts[i].len;
	}
	s->flags |= VTFS_SLOT_INLINE_DATA;
	s->data_copy = 0;
}

/* Small and unregistered bytes ride beside the headers. */
static int place(struct virtiofs_cliq *q, struct vtfs_cslot *s)
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

static void write_header(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	const struct virtiofs_client *c = q->c;
	bool creds = s->op.flags & VIRTIOFS_OP_CREDS;
	struct fuse_in_header h = {0};

	h.len = (uint32_t)(sizeof(h) + s->op.arg_len + s->data_len);
	h.opcode = s->op.opcode;
	h.unique = s->want.unique;
	h.nodeid = s->op.nodeid;
	h.uid = creds ? s->op.uid : c->uid;
	h.gid = creds ? s->op.gid : c->gid;
	h.pid = creds ? s->op.pid : c->pid;
	h.total_extlen = s->op.total_extlen;
	memcpy(vtfs_slot_area(q, s), &h, sizeof(h));
}

int vtfs_slot_prepare(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	int r;

	s->kind = vtfs_fuse_op(s->op.opcode);
	s->want.unique = vtfs_unique_next(&q->seq, q->index);
	r = check_opcode(q->c, s);
	if (r >= 0)
		r = take_arg(q, s);
	if (r >= 0)
		r = take_parts(s);
	if (r >= 0)
		r = check_sizes(q->c, s);
	if (r >= 0)
		r = expect_reply(q, s);
	if (r >= 0 && s->op.opcode == FUSE_INIT)
		r = vtfs_client_init_mask(q->c, s, slot_arg(q, s));
	if (r < 0)
		return r;
	write_header(q, s);
	r = place(q, s);
	if (r < 0)
		vtfs_slot_drop(q, s);
	return r;
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
		q->faults++;
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
	vtfs_slot_drop(q, s);
}
