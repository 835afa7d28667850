/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client session, and a device that may write anything at any time into the
 * memory that is shared with it: rings, slots, replies. The program submits
 * requests of all kinds, and checks what it is told of them.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include <virtiofs/dirent.h>
#include <virtiofs/ops.h>

#include "liar.h"
#include "wire/ring.h"

#define OPS    64u
#define HELD   32u
#define REGION 0x8000u
#define UNSAID 0xa5 /* in room that no reply has reached */

struct op {
	bool busy;
	bool shared; /* room lies in registered memory */
	bool shared_data;
	uint32_t opcode;
	struct iovec data, room; /* pieces of their own size */
};

struct fuzz {
	struct liar l;
	struct input *in;
	struct virtiofs_client *c;
	struct virtiofs_cliq *q; /* queue 1, taken */
	struct virtiofs_region region;
	bool mapped;
	struct op ops[OPS];
	struct liar_req held[HELD];
	unsigned held_cnt;
};

/* ---- the program ---- */

/* In registered memory, or a piece of its own. */
static bool get_piece(struct fuzz *f, struct iovec *v, size_t len, int byte)
{
	uint8_t where = in_u8(f->in);
	bool shared = where & 1 && f->mapped && len <= REGION / 2;

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

static const struct iovec *get_room(struct fuzz *f, struct op *o, size_t len)
{
	o->shared = get_piece(f, &o->room, len, UNSAID);
	return &o->room;
}

static const struct iovec *get_data(struct fuzz *f, struct op *o, size_t len)
{
	o->shared_data = get_piece(f, &o->data, len, 0x11);
	return &o->data;
}

static void prep_names(struct fuzz *f, struct op *o, struct virtiofs_op *op)
{
	const struct iovec *room = get_room(f, o,
					    sizeof(struct fuse_entry_out));
	const struct fuse_mkdir_in mkdir = {.mode = 0755};

	if (in_u8(f->in) % 2)
		virtiofs_prep_lookup(op, 1, "name", room);
	else
		virtiofs_prep_mkdir(op, 1, "name", &mkdir, room);
}

static void prep_io(struct fuzz *f, struct op *o, struct virtiofs_op *op)
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

static void prep_fixed(struct fuzz *f, struct op *o, struct virtiofs_op *op)
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
static void prep_any(struct fuzz *f, struct op *o, struct virtiofs_op *op)
{
	op->room = get_room(f, o, in_u8(f->in));
	op->room_cnt = in_u8(f->in) % 2;
	op->data = get_data(f, o, in_u8(f->in));
	op->data_cnt = in_u8(f->in) % 2;
	op->opcode = in_u8(f->in);
	op->nodeid = in_u8(f->in);
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

static void submit(struct fuzz *f, uint8_t kind)
{
	static void (*const prep[])(struct fuzz * f, struct op * o,
				    struct virtiofs_op * op) = {
	    prep_names,
	    prep_io,
	    prep_fixed,
	    prep_any,
	};
	struct virtiofs_op *op;
	unsigned i = 0;

	while (i < OPS && f->ops[i].busy)
		i++;
	op = f->q && i < OPS ? virtiofs_cliq_get_op(f->q) : NULL;
	if (!op)
		return;
	op->user_data = i;
	prep[kind % 4](f, &f->ops[i], op);
	f->ops[i].busy = true;
	f->ops[i].opcode = op->opcode;
	/* Dropped by the library: no result will come. */
	if (!op->opcode)
		end_op(&f->ops[i]);
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

static void check_result(struct fuzz *f, const struct virtiofs_result *res)
{
	struct op *o = &f->ops[res->user_data % OPS];
	const unsigned char *room = o->room.iov_base;

	must(res->user_data < OPS && o->busy);
	must(res->error <= 0 && res->error > -4096 && !res->flags);
	must(res->len <= o->room.iov_len && (!res->error || !res->len));
	for (size_t i = res->len; !o->shared && i < o->room.iov_len; i++)
		must(room[i] == UNSAID);
	if (!res->error && !o->shared &&
	    (o->opcode == FUSE_READDIR || o->opcode == FUSE_READDIRPLUS))
		walk_names(o, res->len);
	end_op(o);
}

static void reap(struct fuzz *f)
{
	struct virtiofs_result res[4];
	int n;

	if (!f->q)
		return;
	do {
		n = virtiofs_cliq_reap(f->q, res, 4);
		for (int i = 0; i < n; i++)
			check_result(f, &res[i]);
	} while (n > 0);
}

/* ---- the device ---- */

static void hold(struct fuzz *f, unsigned vq)
{
	while (f->held_cnt < HELD && liar_pop(&f->l, vq, &f->held[f->held_cnt]))
		f->held_cnt++;
}

/* An INIT that can be lived with, or nearly so. */
static void put_init(struct fuzz *f, struct fuse_init_out *out)
{
	uint8_t lie = in_u8(f->in);

	memset(out, 0, sizeof(*out));
	out->major = lie & 1 ? in_u8(f->in) : 7;
	out->minor = lie & 2 ? in_u8(f->in) : 45;
	out->flags = lie & 4 ? in_u32(f->in) : FUSE_MAX_PAGES | FUSE_INIT_EXT;
	out->max_write = lie & 8 ? (uint32_t)in_number(f->in) : 65536;
	out->max_pages = lie & 16 ? in_u16(f->in) : 16;
	out->flags2 = lie & 32 ? in_u32(f->in) : 0;
}

static void answer(struct fuzz *f, unsigned i)
{
	struct liar_req req = f->held[i];
	struct {
		struct fuse_out_header head;
		unsigned char bytes[256];
	} out = {.head.unique = req.in.unique};
	uint8_t lie = in_u8(f->in);
	uint8_t len = in_u8(f->in);
	uint32_t used;

	f->held[i] = f->held[--f->held_cnt];
	if (req.in.opcode == FUSE_INIT) {
		put_init(f, (void *)out.bytes);
		len = lie & 32 ? len : sizeof(struct fuse_init_out);
	} else {
		in_bytes(f->in, out.bytes, len);
	}
	if (lie & 16) { /* an error */
		out.head.error = -(int)in_u8(f->in);
		len = 0;
	}
	used = out.head.len = (uint32_t)sizeof(out.head) + len;
	if (lie & 1)
		out.head.len = (uint32_t)in_number(f->in);
	if (lie & 2)
		out.head.unique = in_number(f->in);
	if (lie & 4)
		out.head.error = (int32_t)in_number(f->in);
	if (lie & 8)
		used = (uint32_t)in_number(f->in);
	liar_write(&req, &out, sizeof(out.head) + len);
	liar_used(&f->l, &req, used);
}

static void poke(struct fuzz *f)
{
	struct liar_queue *q = &f->l.q[in_u8(f->in) % LIAR_QUEUES];
	struct liar_region *r = &f->l.regions[0];
	uint8_t where = in_u8(f->in);
	uint16_t off = in_u16(f->in);
	uint8_t len = in_u8(f->in) % 32;
	size_t end = r->addr && f->l.region_cnt ? r->len : 0;
	unsigned char *p = r->addr;

	if (q->vq && where % 4 == 0)
		p = q->device, end = q->areas.device_len;
	else if (q->vq && where % 4 == 1)
		p = q->desc, end = q->areas.desc_len;
	else if (q->vq && where % 4 == 2)
		p = q->driver, end = q->areas.driver_len;
	else
		off = (uint16_t)(off * 8u);
	if (end && off + (size_t)len <= end)
		in_bytes(f->in, p + off, len);
}

static void put_used_packed(const struct liar_queue *q, uint16_t base,
			    const struct vtfs_wire_used_elem *e, bool write)
{
	struct vtfs_wire_packed_desc d = {.len = e->len, .id = (uint16_t)e->id};

	if (base & VTFS_PACKED_WRAP)
		d.flags = VTFS_PACKED_F_AVAIL | VTFS_PACKED_F_USED;
	if (write)
		d.flags |= VTFS_DESC_F_WRITE;
	memcpy(q->desc + (base & ~VTFS_PACKED_WRAP) * sizeof(d), &d, sizeof(d));
}

/* A used element where the next one belongs; the half that takes chains knows
 * nothing of it. */
static void raw_used(struct fuzz *f)
{
	unsigned vq = in_u8(f->in) % LIAR_QUEUES;
	struct liar_queue *q = &f->l.q[vq];
	struct vtfs_wire_used *used = (void *)q->device;
	uint8_t id = in_u8(f->in);
	struct vtfs_wire_used_elem e = {
	    .id = id < 0xf0 ? id % 20 : (uint32_t)in_number(f->in),
	    .len = (uint32_t)in_number(f->in),
	};
	uint16_t avail, base;

	if (!q->vq)
		return;
	vtfs_vq_dev_bases(q->vq, &avail, &base);
	if (f->l.features & VIRTIOFS_F_RING_PACKED) {
		put_used_packed(q, base, &e, id & 1);
	} else {
		used->ring[used->idx % q->num] = e;
		used->idx++;
	}
	liar_call(&f->l, vq);
}

/* ---- the session ---- */

static void start(struct fuzz *f)
{
	int r = virtiofs_client_start(f->c, NULL);

	f->held_cnt = 0;
	for (unsigned i = 0; r == -EAGAIN && i < 2; i++) {
		hold(f, 1);
		if (f->held_cnt)
			answer(f, 0);
		virtiofs_client_dispatch(f->c);
		r = virtiofs_client_start(f->c, NULL);
	}
	if (!f->q && r >= 0)
		must(!virtiofs_client_take_queue(f->c, 1, 0, &f->q));
}

static void lose(struct fuzz *f)
{
	/* What was not submitted would end without a word. */
	if (f->q)
		virtiofs_cliq_submit(f->q);
	f->l.gone = true;
	f->held_cnt = 0;
	virtiofs_client_dispatch(f->c);
	reap(f);
	start(f);
}

static void session(struct fuzz *f, uint8_t what)
{
	switch (what % 8) {
	case 0:
		virtiofs_client_forget(f->c, in_u8(f->in), in_u8(f->in));
		break;
	case 1:
		virtiofs_client_interrupt(f->c, in_u8(f->in) % OPS);
		break;
	case 2:
		if (in_u8(f->in) == 1)
			lose(f);
		break;
	case 3:
		if (f->q)
			virtiofs_cliq_arm(f->q);
		break;
	default:
		virtiofs_client_dispatch(f->c);
	}
}

static void command(struct fuzz *f)
{
	uint8_t op = in_u8(f->in);

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
		submit(f, op >> 4);
		break;
	case 4:
	case 5:
		if (f->q)
			virtiofs_cliq_submit(f->q);
		hold(f, (op >> 4) % LIAR_QUEUES);
		break;
	case 6:
	case 7:
	case 8:
		if (f->held_cnt)
			answer(f, (op >> 4) % f->held_cnt);
		break;
	case 9:
		poke(f);
		break;
	case 10:
		raw_used(f);
		break;
	case 11:
		session(f, op >> 4);
		break;
	default:
		reap(f);
	}
}

static void finish(struct fuzz *f)
{
	f->l.gone = true;
	virtiofs_client_dispatch(f->c);
	/* Everything that was submitted ends, each once. */
	if (f->q)
		virtiofs_cliq_submit(f->q);
	reap(f);
	for (unsigned i = 0; i < OPS; i++)
		must(!f->ops[i].busy);
	virtiofs_client_free(f->c);
	liar_fini(&f->l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	static struct fuzz f;
	uint8_t how = in_u8(&in), lie = in_u8(&in);
	uint64_t features = VIRTIOFS_F_VERSION_1 |
			    (how & 1 ? VIRTIOFS_F_RING_PACKED : 0) |
			    (how & 2 ? VIRTIOFS_F_EVENT_IDX : 0) |
			    (how & 4 ? VIRTIOFS_F_INDIRECT_DESC : 0);
	const struct virtiofs_client_opts opts = {
	    .size = sizeof(opts),
	    .num_request_queues = how & 8 ? 2 : 1,
	    .queue_size = how & 16 ? 4 : 16,
	    .flags = VIRTIOFS_CLIENT_NONBLOCK,
	    .features = features,
	    .tag = how & 32 ? "mine" : NULL,
	    .bounce_bytes = 0x4000,
	};
	int fd = fuzz_next_fd();

	memset(&f, 0, sizeof(f));
	f.in = &in;
	liar_init(&f.l, features);
	if (lie & 1)
		in_bytes(&in, f.l.config, sizeof(f.l.config));
	if (lie & 2)
		f.l.queue_cnt = in_u8(&in);
	if (lie & 4)
		f.l.offered = in_u64(&in);
	f.l.no_config = lie & 8;
	must(!virtiofs_client_new(&f.c, &f.l.base, &opts));
	f.mapped = how & 64 &&
		   !virtiofs_client_alloc_region(f.c, REGION, &f.region);
	start(&f);
	while (!in_end(&in))
		command(&f);
	finish(&f);
	must(fuzz_next_fd() == fd);
	return 0;
}
