/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client session, and a device that may write anything at any time into the
 * memory that is shared with it: rings, slots, replies. The program submits
 * requests of all kinds, and checks what it is told of them.
 */
#include <endian.h>
#include <poll.h>

#include <virtiofs/ops.h>

#include "base/bytes.h"
#include "liar.h"
#include "notes.h"
#include "ops.h"
#include "wire/ring.h"

#define HELD  32u
#define WAITS 4u /* for what takes a millisecond, in one input */

struct fuzz {
	struct liar l;
	struct input *in;
	struct virtiofs_client *c;
	struct ops ops; /* on queue 1, taken */
	unsigned waits;
	struct liar_req held[HELD];
	unsigned held_cnt;
	uint32_t note_len; /* of a buffer for notifications, as we said */
	bool noting;	   /* in the callback */
};

static bool has_notes(const struct fuzz *f)
{
	return f->l.features & VIRTIOFS_F_NOTIFICATION;
}

static unsigned queue_cnt(const struct fuzz *f)
{
	return LIAR_QUEUES + has_notes(f);
}

/* Virtqueue of the requests that go by the program's queue 1. */
static unsigned first_vq(const struct fuzz *f)
{
	return has_notes(f) ? 2 : 1;
}

static void reap(struct fuzz *f)
{
	struct virtiofs_result res[4];
	int n;

	if (!f->ops.q)
		return;
	do {
		n = virtiofs_cliq_reap(f->ops.q, res, 4);
		for (int i = 0; i < n; i++)
			ops_check(&f->ops, &res[i]);
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
	uint8_t lie, len;
	uint32_t used;

	f->held[i] = f->held[--f->held_cnt];
	if (has_notes(f) && req.vq == 1) {
		notes_put(f->in, &f->l, &req);
		return;
	}
	lie = in_u8(f->in);
	len = in_u8(f->in);
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
	struct liar_queue *q = &f->l.q[in_u8(f->in) % queue_cnt(f)];
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
	unsigned vq = in_u8(f->in) % queue_cnt(f);
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
		hold(f, first_vq(f));
		if (f->held_cnt)
			answer(f, 0);
		virtiofs_client_dispatch(f->c);
		r = virtiofs_client_start(f->c, NULL);
	}
	if (!f->ops.q && r >= 0)
		must(!virtiofs_client_take_queue(f->c, 1, 0, &f->ops.q));
}

static void lose(struct fuzz *f)
{
	/* What was not submitted would end without a word. */
	if (f->ops.q)
		virtiofs_cliq_submit(f->ops.q);
	f->l.gone = true;
	f->held_cnt = 0;
	virtiofs_client_dispatch(f->c);
	reap(f);
	start(f);
}

/* Until a deadline has passed, or the device has called. */
static void wait_late(struct fuzz *f)
{
	struct pollfd p = {.events = POLLIN};

	if (!f->ops.q || f->waits++ >= WAITS)
		return;
	p.fd = virtiofs_cliq_fd(f->ops.q);
	virtiofs_cliq_submit(f->ops.q);
	if (virtiofs_cliq_arm(f->ops.q) == 0)
		poll(&p, 1, 2);
	reap(f);
}

/* On queue 2, where nobody answers in time. */
static void retrieve(struct fuzz *f,
		     const struct fuse_notify_retrieve_out *asked)
{
	static const unsigned char bytes[64];
	const struct iovec piece = {(void *)(uintptr_t)bytes, sizeof(bytes)};
	struct fuse_notify_retrieve_in arg = {.size = sizeof(bytes)};
	unsigned char room[sizeof(arg)];
	struct virtiofs_op op = {.size = sizeof(op), .arg = room};

	if (f->waits++ >= WAITS)
		return;
	virtiofs_prep_notify_reply(&op, asked, &arg, &piece);
	op.timeout_ms = 1;
	must(virtiofs_client_call(f->c, &op) <= 0);
}

static void call(struct fuzz *f)
{
	static const uint32_t opcodes[] = {FUSE_CREATE, FUSE_LOOKUP, FUSE_OPEN,
					   FUSE_READDIRPLUS};
	unsigned char arg[64] = {0}, buf[512];
	const struct iovec room = {buf, sizeof(buf)};
	const struct virtiofs_op op = {
	    .size = sizeof(op),
	    .opcode = opcodes[in_u8(f->in) % 4],
	    .nodeid = 1,
	    .arg = arg,
	    .arg_len = in_u8(f->in) % sizeof(arg),
	    .room = &room,
	    .room_cnt = 1,
	    .timeout_ms = 1,
	};
	ssize_t r;

	in_bytes(f->in, arg, op.arg_len);
	if (f->waits++ >= WAITS)
		return;
	r = virtiofs_client_call(f->c, &op);
	must(r <= (ssize_t)sizeof(buf) && r > -4096);
}

/* Once at a time; and what it may do meanwhile. */
static void on_notify(const struct virtiofs_notification *n, void *data)
{
	struct fuzz *f = data;

	must(!f->noting);
	notes_check(n, f->note_len);
	f->noting = true;
	if (n->code == FUSE_NOTIFY_RETRIEVE)
		retrieve(f, n->arg);
	else if (n->code == FUSE_NOTIFY_PRUNE && n->data_len)
		virtiofs_client_forget(f->c, *(const uint8_t *)n->data, 1);
	else if (n->code == FUSE_NOTIFY_RESEND)
		virtiofs_client_interrupt(f->c, in_u8(f->in) % OPS_MAX);
	f->noting = false;
}

static bool in_region(const struct fuzz *f, const struct liar_req *req)
{
	for (unsigned i = 0; i < req->room_cnt; i++)
		if (vtfs_range_ok((uintptr_t)f->ops.region.addr,
				  f->ops.region.len,
				  (uintptr_t)req->room[i].iov_base, 1))
			return true;
	return false;
}

/* Those of the program's queue, or with room in the registered memory, are the
 * device's no more. */
static void let_go(struct fuzz *f, bool queue)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < f->held_cnt; i++)
		if (queue ? f->held[i].vq != first_vq(f)
			  : !in_region(f, &f->held[i]))
			f->held[kept++] = f->held[i];
	f->held_cnt = f->l.gone ? 0 : kept;
}

static void reset_queue(struct fuzz *f)
{
	if (!f->ops.q)
		return;
	/* What was not submitted would end without a word. */
	virtiofs_cliq_submit(f->ops.q);
	virtiofs_cliq_reset(f->ops.q);
	let_go(f, true);
}

/* The registered memory goes, or comes. */
static void swap_region(struct fuzz *f)
{
	if (f->ops.q)
		virtiofs_cliq_submit(f->ops.q);
	if (!f->ops.mapped) {
		f->ops.mapped = !virtiofs_client_alloc_region(f->c, OPS_REGION,
							      &f->ops.region);
		return;
	}
	f->ops.mapped = virtiofs_client_unmap_region(f->c, &f->ops.region) < 0;
	if (!f->ops.mapped)
		let_go(f, false);
}

static void session(struct fuzz *f, uint8_t what)
{
	switch (what % 16) {
	case 4:
		wait_late(f);
		break;
	case 5:
		call(f);
		break;
	case 6:
		reset_queue(f);
		break;
	case 7:
		swap_region(f);
		break;
	case 0:
		virtiofs_client_forget(f->c, in_u8(f->in), in_u8(f->in));
		break;
	case 1:
		virtiofs_client_interrupt(f->c, in_u8(f->in) % OPS_MAX);
		break;
	case 2:
		if (in_u8(f->in) == 1)
			lose(f);
		break;
	case 3:
		if (f->ops.q)
			virtiofs_cliq_arm(f->ops.q);
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
		ops_get(&f->ops, op >> 4);
		break;
	case 4:
	case 5:
		if (f->ops.q)
			virtiofs_cliq_submit(f->ops.q);
		hold(f, (op >> 4) % queue_cnt(f));
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
	if (f->ops.q)
		virtiofs_cliq_submit(f->ops.q);
	reap(f);
	for (unsigned i = 0; i < OPS_MAX; i++)
		must(!f->ops.list[i].busy);
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
			    (how & 4 ? VIRTIOFS_F_INDIRECT_DESC : 0) |
			    (lie & 16 ? VIRTIOFS_F_IN_ORDER : 0) |
			    (lie & 32 ? VIRTIOFS_F_RING_RESET : 0);
	/* Both ends want them, or the client does: without a config space it
	 * can't have them. */
	bool notes = how & 32;
	const struct virtiofs_client_opts opts = {
	    .size = sizeof(opts),
	    .num_request_queues = how & 8 ? 2 : 1,
	    .queue_size = how & 16 ? 4 : 16,
	    .flags = VIRTIOFS_CLIENT_NONBLOCK |
		     (lie & 64 ? VIRTIOFS_CLIENT_LATENCY : 0),
	    .backlog = how & 128 ? 8 : 0,
	    .features = features,
	    .tag = how & 32 ? "mine" : NULL,
	    .bounce_bytes = 0x4000,
	    .notify = notes ? on_notify : NULL,
	    .notify_data = &f,
	    .notify_buffers = notes ? in_u8(&in) % (how & 16 ? 5 : 17) : 0,
	};
	int fd = fuzz_next_fd();
	uint32_t said;

	memset(&f, 0, sizeof(f));
	f.in = f.ops.in = &in;
	f.ops.hurries = lie & 128;
	liar_init(&f.l, features | (notes ? VIRTIOFS_F_NOTIFICATION : 0));
	if (notes) {
		f.note_len = 64u + in_u8(&in) * 8u;
		if (f.note_len == 64u + 0xff * 8u)
			f.note_len = in_u32(&in);
		said = htole32(f.note_len);
		memcpy(f.l.config + VTFS_CONFIG_NOTIFY, &said, sizeof(said));
	}
	if (lie & 1)
		in_bytes(&in, f.l.config, VTFS_CONFIG_LEN);
	if (lie & 2)
		f.l.queue_cnt = in_u8(&in);
	if (lie & 4)
		f.l.offered = in_u64(&in);
	f.l.no_config = lie & 8;
	must(!virtiofs_client_new(&f.c, &f.l.base, &opts));
	f.ops.mapped = how & 64 && !virtiofs_client_alloc_region(
				       f.c, OPS_REGION, &f.ops.region);
	start(&f);
	while (!in_end(&in))
		command(&f);
	finish(&f);
	must(fuzz_next_fd() == fd);
	return 0;
}
