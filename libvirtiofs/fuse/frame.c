/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/frame.h"

#include <byteswap.h>
#include <errno.h>
#include <string.h>

#define IN_LEN ((uint32_t)sizeof(struct fuse_in_header))

/* The longest arguments but INIT's, whose end is pulled later. */
_Static_assert(sizeof(struct fuse_setattr_in) <= VTFS_SLOT_ARG, "arguments");

/* Lengths of the readable side, all from private copies. */
struct shape {
	uint32_t fixed; /* arguments that everybody sends */
	uint32_t more;	/* INIT: what else came */
	uint32_t arg;	/* arguments as handed out */
	uint32_t names;
	uint32_t ext;
	uint32_t data;
};

/* A frame fault: an error if the client waits for one and it can be written. A
 * reply never has unique 0, which would make it a notification. */
static int fault(struct vtfs_slot *s, int error)
{
	bool silent = s->op && s->op->answer == VTFS_FUSE_ANSWER_NONE;

	s->error = error;
	s->verdict = VTFS_VERDICT_ERROR;
	if (silent || !s->head_cnt || !s->in.unique)
		s->verdict = VTFS_VERDICT_DROP;
	return 1;
}

void vtfs_frame_reset(struct vtfs_slot *s)
{
	void *userdata = s->req.userdata;

	memset(&s->req, 0, sizeof(s->req));
	memset(&s->in, 0, sizeof(s->in));
	s->req.userdata = userdata;
	s->req.in = &s->in;
	s->op = NULL;
	s->used_len = 0;
	s->error = 0;
	s->head_cnt = 0;
	s->parsed = false;
	s->swapped = false;
	s->raw_init = false;
	s->waits = false;
	s->counting = false;
	s->answered = false;
	s->late = false;
}

/* Writable bytes 0 to 15. */
static void keep_head(struct vtfs_slot *s, const struct vtfs_chain *chain)
{
	struct vtfs_iovcur cur;

	if (chain->writable_len < VTFS_OUT_LEN)
		return;
	vtfs_iovcur_init(&cur, chain->iov + chain->readable_cnt,
			 chain->writable_cnt);
	s->head_cnt = vtfs_iovcur_cut(&cur, VTFS_OUT_LEN, s->head);
}

static void set_flags(struct vtfs_slot *s)
{
	if (!s->op)
		s->req.flags |= VIRTIOFS_REQ_UNKNOWN;
	else if (s->op->answer == VTFS_FUSE_ANSWER_NONE)
		s->req.flags |= VIRTIOFS_REQ_NOREPLY;
}

/* INIT of a client of the other byte order: refused in its own order. */
static bool is_swapped(const struct fuse_in_header *in, uint64_t readable)
{
	return in->opcode == FUSE_INIT_BSWAP_RESERVED &&
	       bswap_32(in->len) == readable;
}

int vtfs_frame_head(struct vtfs_slot *s, const struct vtfs_chain *chain)
{
	struct vtfs_iovcur cur;
	size_t n;

	vtfs_frame_reset(s);
	keep_head(s, chain);
	vtfs_iovcur_init(&cur, chain->iov, chain->readable_cnt);
	n = vtfs_iovcur_pull(&cur, &s->in, IN_LEN);
	if (n < offsetof(struct fuse_in_header, nodeid))
		memset(&s->in, 0, sizeof(s->in));
	s->op = vtfs_fuse_op(s->in.opcode);
	set_flags(s);
	if (chain->fault)
		return fault(s, chain->fault == -EFAULT ? -EFAULT : -EIO);
	if (n < IN_LEN)
		return fault(s, -EINVAL);
	if (is_swapped(&s->in, chain->readable_len)) {
		s->swapped = true;
		return fault(s, -EPROTO);
	}
	if (s->in.len != chain->readable_len)
		return fault(s, -EINVAL);
	if (!s->op || s->op->answer == VTFS_FUSE_ANSWER) {
		if (!s->head_cnt || !s->in.unique)
			return fault(s, -EINVAL);
	}
	return 0;
}

/* Extensions the session agreed on. */
static bool ext_agreed(const struct vtfs_slot *s,
		       const struct vtfs_frame_rules *rules)
{
	return s->op->flags & VTFS_FUSE_EXT &&
	       rules->proto.flags &
		   (FUSE_SECURITY_CTX | FUSE_CREATE_SUPP_GROUP);
}

/* How long each piece is; fixed holds the arguments. */
static int measure(const struct vtfs_slot *s,
		   const struct vtfs_frame_rules *rules, const void *fixed,
		   struct shape *sh)
{
	uint32_t rest = s->in.len - IN_LEN;
	int r;

	sh->ext = s->in.total_extlen * 8u;
	if (sh->ext && !ext_agreed(s, rules))
		return -EINVAL;
	if (sh->fixed > rest || sh->ext > rest - sh->fixed)
		return -EINVAL;
	rest -= sh->fixed + sh->ext;
	r = vtfs_fuse_split(s->op, fixed, rest, &sh->names);
	if (r < 0)
		return r;
	sh->arg = sh->fixed;
	if (s->op->opcode == FUSE_INIT) {
		sh->arg = sizeof(struct fuse_init_in);
		sh->more = vtfs_min_u32(rest, sh->arg - sh->fixed);
		return 0;
	}
	if (s->op->opcode == FUSE_SETXATTR && !rules->raw)
		sh->arg = sizeof(struct fuse_setxattr_in);
	sh->data = rest - sh->names;
	if (s->op->opcode == FUSE_WRITE && sh->data > rules->max_write)
		return -EINVAL;
	return 0;
}

/* The pieces that are copied, one after the other in buf: arguments, zeroes for
 * those not sent, names, then extensions at a multiple of 8. */
static int copy_args(struct vtfs_slot *s, struct vtfs_iovcur *cur,
		     const struct shape *sh, const void *fixed,
		     unsigned char *buf)
{
	unsigned char *names = buf + sh->arg;
	unsigned char *ext = buf + VTFS_ALIGN_UP(sh->arg + sh->names, 8u);

	if (buf != fixed)
		memcpy(buf, fixed, sh->fixed);
	if (sh->arg > sh->fixed)
		memset(buf + sh->fixed, 0, sh->arg - sh->fixed);
	vtfs_iovcur_pull(cur, buf + sh->fixed, sh->more);
	vtfs_iovcur_pull(cur, names, sh->names);
	vtfs_iovcur_pull(cur, ext, sh->ext);
	s->req.arg = buf;
	s->req.arg_len = sh->arg + sh->names;
	s->req.ext = sh->ext ? ext : NULL;
	if (vtfs_fuse_check_names(s->op, (char *)names, sh->names) < 0)
		return -EINVAL;
	return vtfs_fuse_check_ext(ext, sh->ext);
}

/* What this request can use of the writable bytes behind the header. */
static uint32_t room_len(const struct vtfs_slot *s,
			 const struct vtfs_frame_rules *rules,
			 const struct vtfs_chain *chain)
{
	uint64_t room = chain->writable_len - VTFS_OUT_LEN;
	uint64_t min, max;

	if (s->op && s->op->flags & VTFS_FUSE_VARIABLE) {
		vtfs_fuse_reply_range(s->op, &rules->proto, s->req.arg, &min,
				      &max);
		room = room < max ? room : max;
	}
	if (room > UINT32_MAX - VTFS_OUT_LEN)
		room = UINT32_MAX - VTFS_OUT_LEN;
	return (uint32_t)room;
}

/* Nothing of the peer's is lent out: translations may come and go while the
 * request waits, perhaps for a lock. */
static void bounce_room(struct vtfs_slot *s)
{
	s->parts[0] = (struct iovec){s->bounce, s->req.room_len};
	s->req.data = s->req.room = s->parts;
	s->req.room_cnt = s->req.room_len ? 1 : 0;
}

/* Parts of bulk input, which the cursor stands at, and of the room. */
static int keep_parts(struct vtfs_slots *t, struct vtfs_slot *s,
		      const struct vtfs_chain *chain, struct vtfs_iovcur *data)
{
	struct virtiofs_req *req = &s->req;
	struct vtfs_iovcur room;
	struct iovec *parts;
	unsigned cnt;
	int r;

	vtfs_iovcur_init(&room, chain->iov + chain->readable_cnt,
			 chain->writable_cnt);
	vtfs_iovcur_skip(&room, VTFS_OUT_LEN);
	if (s->mapped && !req->data_len && req->room_len <= VTFS_SLOT_BOUNCE) {
		bounce_room(s);
		return 0;
	}
	cnt = chain->readable_cnt + chain->writable_cnt;
	if (cnt > VTFS_SLOT_PARTS)
		cnt = vtfs_iovcur_parts(data, req->data_len) +
		      vtfs_iovcur_parts(&room, req->room_len);
	if (cnt > VTFS_SLOT_PARTS) {
		r = vtfs_slot_borrow(t, s);
		if (r < 0)
			return r;
	}
	parts = cnt > VTFS_SLOT_PARTS ? vtfs_slot_block_parts(t, s) : s->parts;
	req->data = parts;
	req->data_cnt = (uint16_t)vtfs_iovcur_cut(data, req->data_len, parts);
	req->room = parts + req->data_cnt;
	req->room_cnt = (uint16_t)vtfs_iovcur_cut(&room, req->room_len,
						  parts + req->data_cnt);
	return 0;
}

/* Where arguments go, or -EAGAIN, -E2BIG. */
static int arg_space(struct vtfs_slots *t, struct vtfs_slot *s, uint32_t len,
		     unsigned char **ret)
{
	if (len > VTFS_BLOCK_ARG)
		return -E2BIG;
	if (len > VTFS_SLOT_ARG && vtfs_slot_borrow(t, s) < 0)
		return -EAGAIN;
	*ret = len > VTFS_SLOT_ARG ? vtfs_slot_block_arg(t, s) : s->arg;
	return 0;
}

/* Arguments of a request that the table knows. 1: a fault. */
static int parse_args(struct vtfs_slots *t, struct vtfs_slot *s,
		      struct vtfs_iovcur *cur,
		      const struct vtfs_frame_rules *rules, struct shape *sh)
{
	unsigned char *buf;
	int r;

	sh->fixed = vtfs_fuse_arg_len(s->op, &rules->proto);
	vtfs_iovcur_pull(cur, s->arg, sh->fixed);
	r = measure(s, rules, s->arg, sh);
	if (r < 0)
		return fault(s, r);
	r = arg_space(t, s, VTFS_ALIGN_UP(sh->arg + sh->names, 8u) + sh->ext,
		      &buf);
	if (r == -EAGAIN)
		return r;
	if (r < 0)
		return fault(s, r);
	if (copy_args(s, cur, sh, s->arg, buf) < 0)
		return fault(s, -EINVAL);
	return 0;
}

int vtfs_frame_body(struct vtfs_slots *t, struct vtfs_slot *s,
		    const struct vtfs_chain *chain,
		    const struct vtfs_frame_rules *rules)
{
	struct shape sh = {.data = s->in.len - IN_LEN};
	struct vtfs_iovcur cur;
	int r;

	vtfs_iovcur_init(&cur, chain->iov, chain->readable_cnt);
	vtfs_iovcur_skip(&cur, IN_LEN);
	if (s->op) {
		sh.data = 0;
		r = parse_args(t, s, &cur, rules, &sh);
		if (r)
			return r < 0 ? r : 0;
	}
	s->req.data_len = sh.data;
	s->req.room_len = 0;
	if (s->head_cnt && !(s->req.flags & VIRTIOFS_REQ_NOREPLY))
		s->req.room_len = room_len(s, rules, chain);
	r = keep_parts(t, s, chain, &cur);
	if (r < 0)
		return r;
	s->verdict = VTFS_VERDICT_REQUEST;
	return 0;
}

static void put_header(struct vtfs_slot *s, uint32_t payload, int error)
{
	struct fuse_out_header out = {
	    .len = VTFS_OUT_LEN + payload,
	    .error = error,
	    .unique = s->in.unique,
	};
	struct vtfs_iovcur cur;

	s->used_len = out.len;
	s->error = error;
	if (s->swapped) {
		out.len = bswap_32(out.len);
		out.error = (int32_t)bswap_32((uint32_t)out.error);
	}
	if (s->mapped) {
		s->out = out;
		s->answered = true;
		return;
	}
	vtfs_iovcur_init(&cur, s->head, s->head_cnt);
	vtfs_iovcur_fill(&cur, &out, sizeof(out));
}

void vtfs_frame_error(struct vtfs_slot *s, int error)
{
	put_header(s, 0, error);
}

void vtfs_frame_filled(struct vtfs_slot *s, uint32_t len)
{
	put_header(s, len, 0);
}

int vtfs_frame_reply(struct vtfs_slot *s, const struct iovec *iov, unsigned cnt)
{
	struct vtfs_iovcur room;
	size_t len = 0;

	for (unsigned i = 0; i < cnt; i++) {
		if (iov[i].iov_len > s->req.room_len - len)
			return -EMSGSIZE;
		len += iov[i].iov_len;
	}
	vtfs_iovcur_init(&room, s->req.room, s->req.room_cnt);
	for (unsigned i = 0; i < cnt; i++)
		vtfs_iovcur_fill(&room, iov[i].iov_base, iov[i].iov_len);
	put_header(s, (uint32_t)len, 0);
	return 0;
}
