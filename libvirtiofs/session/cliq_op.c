/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The caller's op: judged, and what it may reuse after submit copied. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "session/client.h"

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
	unsigned char *arg = vtfs_slot_arg(q, s);

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
	memcpy(buf, vtfs_slot_arg(q, s), n);
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
	if (s->op.notify_unique && s->op.opcode != FUSE_NOTIFY_REPLY)
		return vtfs_fail(-EINVAL, "%s with a notification's unique",
				 vtfs_fuse_name(s->op.opcode));
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
	if (s->op.opcode == FUSE_SETLK || s->op.opcode == FUSE_SETLKW)
		memcpy(&s->lock, arg, sizeof(s->lock));
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

static void write_header(struct virtiofs_cliq *q, struct vtfs_cslot *s)
{
	const struct virtiofs_client *c = q->c;
	bool creds = s->op.flags & VIRTIOFS_OP_CREDS;
	struct fuse_in_header h = {0};

	h.len = (uint32_t)(sizeof(h) + s->op.arg_len + s->data_len);
	h.opcode = s->op.opcode;
	/* NOTIFY_REPLY's is the server's number, not ours. */
	h.unique = s->op.opcode == FUSE_NOTIFY_REPLY ? s->op.notify_unique
						     : s->want.unique;
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
		r = vtfs_client_init_mask(q->c, s, vtfs_slot_arg(q, s));
	if (r < 0)
		return r;
	write_header(q, s);
	r = vtfs_slot_place(q, s);
	if (r < 0)
		vtfs_slot_drop(q, s);
	return r;
}
