/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>

#include <virtiofs/dirent.h>
#include <virtiofs/ops.h>

#define UNSAID 0xa5 /* in room that no reply has reached */

/* In registered memory, or a piece of its own. */
static bool get_piece(struct ops *f, struct iovec *v, size_t len, int byte)
{
	uint8_t where = in_u8(f->in);
	bool shared = where & 1 && f->mapped && len <= OPS_REGION / 2;

	v->iov_len = len;
	if (shared) {
		v->iov_base = (unsigned char *)f->region.addr + where * 32u;
	} else {
		v->iov_base = malloc(len ? len : 1);
		must(v->iov_base);
		memset(v->iov_base, byte, len);
	}
	return shared;
}

static const struct iovec *get_room(struct ops *f, struct op *o, size_t len)
{
	o->shared = get_piece(f, &o->room, len, UNSAID);
	return &o->room;
}

static const struct iovec *get_data(struct ops *f, struct op *o, size_t len)
{
	o->shared_data = get_piece(f, &o->data, len, 0x11);
	return &o->data;
}

static void prep_names(struct ops *f, struct op *o, struct virtiofs_op *op)
{
	const struct iovec *room = get_room(f, o,
					    sizeof(struct fuse_entry_out));
	const struct fuse_mkdir_in mkdir = {.mode = 0755};

	if (in_u8(f->in) % 2)
		virtiofs_prep_lookup(op, 1, "name", room);
	else
		virtiofs_prep_mkdir(op, 1, "name", &mkdir, room);
}

static void prep_io(struct ops *f, struct op *o, struct virtiofs_op *op)
{
	uint16_t len = in_u16(f->in) % 0x3000u;
	struct fuse_write_in w = {.size = len};
	struct fuse_read_in r = {.size = len};

	switch (in_u8(f->in) % 3) {
	case 0:
		virtiofs_prep_read(op, 1, 2, 0, len, get_room(f, o, len), 1);
		break;
	case 1:
		virtiofs_prep_readdir(op,
				      len & 1 ? FUSE_READDIR : FUSE_READDIRPLUS,
				      1, &r, get_room(f, o, len));
		break;
	case 2:
		virtiofs_prep_write(
		    op, 1, &w, get_data(f, o, len),
		    get_room(f, o, sizeof(struct fuse_write_out)));
		break;
	}
}

static void prep_fixed(struct ops *f, struct op *o, struct virtiofs_op *op)
{
	const struct fuse_create_in create = {.flags = O_RDWR};
	const struct fuse_lk_in lk = {.fh = 3};

	switch (in_u8(f->in) % 6) {
	case 0:
		virtiofs_prep_getattr(
		    op, 1, get_room(f, o, sizeof(struct fuse_attr_out)));
		break;
	case 1:
		virtiofs_prep_open(
		    op, FUSE_OPEN, 1, 0,
		    get_room(f, o, sizeof(struct fuse_open_out)));
		break;
	case 2:
		virtiofs_prep_create(
		    op, 1, "new", &create,
		    get_room(f, o, sizeof(struct virtiofs_create_out)));
		break;
	case 3:
		virtiofs_prep_lk(op, FUSE_SETLKW, 1, &lk, NULL);
		break;
	case 4:
		get_room(f, o, in_u8(f->in));
		virtiofs_prep_getxattr(op, 1, "user.x",
				       (uint32_t)o->room.iov_len, &o->room);
		break;
	case 5:
		virtiofs_prep_flush(op, 1, 3);
		break;
	}
}

/* Anything that a struct virtiofs_op can say. */
static void prep_any(struct ops *f, struct op *o, struct virtiofs_op *op)
{
	op->room = get_room(f, o, in_u8(f->in));
	op->room_cnt = in_u8(f->in) % 2;
	op->data = get_data(f, o, in_u8(f->in));
	op->data_cnt = in_u8(f->in) % 2;
	op->opcode = in_u8(f->in);
	op->nodeid = in_u8(f->in);
	if (op->opcode == FUSE_NOTIFY_REPLY)
		op->notify_unique = op->nodeid;
	op->arg_len = in_u8(f->in);
	in_bytes(f->in, op->arg, op->arg_len);
	op->flags = in_u8(f->in) % 4;
	op->total_extlen = in_u8(f->in) % 3;
}

static void end_op(struct op *o)
{
	if (!o->shared)
		free(o->room.iov_base);
	if (!o->shared_data)
		free(o->data.iov_base);
	memset(o, 0, sizeof(*o));
}

void ops_get(struct ops *f, uint8_t kind)
{
	static void (*const prep[])(struct ops * f, struct op * o,
				    struct virtiofs_op * op) = {
	    prep_names,
	    prep_io,
	    prep_fixed,
	    prep_any,
	};
	struct virtiofs_op *op;
	unsigned i = 0;

	while (i < OPS_MAX && f->list[i].busy)
		i++;
	op = f->q && i < OPS_MAX ? virtiofs_cliq_get_op(f->q) : NULL;
	if (!op)
		return;
	op->user_data = i;
	op->timeout_ms = f->hurries && kind & 4;
	prep[kind % 4](f, &f->list[i], op);
	f->list[i].busy = true;
	f->list[i].opcode = op->opcode;
	/* Dropped by the library: no result will come. */
	if (!op->opcode)
		end_op(&f->list[i]);
}

static void walk_names(const struct op *o, size_t len)
{
	const char *buf = o->room.iov_base;
	struct virtiofs_dirent d;
	size_t pos = 0;

	while ((o->opcode == FUSE_READDIR
		    ? virtiofs_next_dirent(buf, len, &pos, &d)
		    : virtiofs_next_direntplus(buf, len, &pos, &d)) > 0) {
		must(d.name >= buf && d.name + d.namelen <= buf + len);
		must(d.namelen && !memchr(d.name, '/', d.namelen));
		must(pos <= len);
	}
}

void ops_check(struct ops *f, const struct virtiofs_result *res)
{
	struct op *o = &f->list[res->user_data % OPS_MAX];
	const unsigned char *room = o->room.iov_base;

	must(res->user_data < OPS_MAX && o->busy);
	must(res->error <= 0 && res->error > -4096);
	must(res->len <= o->room.iov_len && (!res->error || !res->len));
	if (res->flags) { /* the device has its buffers still */
		must(res->flags == VIRTIOFS_RESULT_MORE && !o->timed_out);
		must(res->error == -ETIMEDOUT);
		o->timed_out = true;
		return;
	}
	must(!o->timed_out || res->error < 0);
	for (size_t i = res->len; !o->shared && i < o->room.iov_len; i++)
		must(room[i] == UNSAID);
	if (!res->error && !o->shared &&
	    (o->opcode == FUSE_READDIR || o->opcode == FUSE_READDIRPLUS))
		walk_names(o, res->len);
	end_op(o);
}
