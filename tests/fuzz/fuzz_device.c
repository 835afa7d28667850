/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device session, and a driver that may write anything at any time: ring,
 * chains, frames, and orders of its transport. The program replies at once or
 * later, rightly or wrongly.
 */
#include <virtiofs/prep.h>

#include "frame.h"
#include "guest.h"
#include "wire/ring.h"

#define KEPT_MAX  64u
#define PARTS	  6u
#define TURNS_MAX 3000

struct fuzz {
	struct guest g;
	struct input *in;
	struct virtiofs_devq *taken; /* queue 1, or NULL */
	struct {
		struct virtiofs_req *req;
		unsigned vq;
	} kept[KEPT_MAX];
	unsigned kept_cnt;
	unsigned popping; /* queue that requests come from, if known */
	uint64_t unique;
};

/* Whatever the driver does, the program sees parts of its memory only. */
static size_t check_parts(struct fuzz *f, const struct iovec *iov, unsigned cnt)
{
	size_t sum = 0;

	for (unsigned i = 0; i < cnt; i++) {
		must(guest_owns(&f->g, iov[i].iov_base, iov[i].iov_len));
		sum += iov[i].iov_len;
	}
	return sum;
}

static volatile uint8_t sink;

static void read_all(const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sink ^= ((const uint8_t *)p)[i];
}

static void check_req(struct fuzz *f, const struct virtiofs_req *req)
{
	size_t ext = req->in->total_extlen * 8ul;

	must(check_parts(f, req->data, req->data_cnt) == req->data_len);
	must(check_parts(f, req->room, req->room_cnt) == req->room_len);
	must(req->in->unique);
	must(req->in->len >= sizeof(*req->in) + req->data_len);
	read_all(req->in, sizeof(*req->in));
	read_all(req->arg, req->arg_len);
	if (ext && req->ext)
		read_all(req->ext, ext);
	for (unsigned i = 0; i < req->data_cnt; i++)
		read_all(req->data[i].iov_base, req->data[i].iov_len);
}

static void fill_room(const struct virtiofs_req *req)
{
	for (unsigned i = 0; i < req->room_cnt; i++)
		memset(req->room[i].iov_base, 0x77, req->room[i].iov_len);
}

static void reply(struct fuzz *f, struct virtiofs_req *req)
{
	static const uint8_t data[GUEST_LEN];
	struct iovec iov[3];
	uint8_t how = in_u8(f->in);

	switch (how % 8) {
	case 1:
		virtiofs_req_error(req, -(int)in_u8(f->in));
		return;
	case 2:
		virtiofs_req_reply(req, data, in_u16(f->in) % sizeof(data));
		return;
	case 3:
		if (!f->g.quiet && !f->g.lost)
			fill_room(req);
		virtiofs_req_filled(req, req->room_len);
		return;
	case 4:
		for (unsigned i = 0; i < 3; i++)
			iov[i] = virtiofs_iov(data, in_u8(f->in));
		virtiofs_req_replyv(req, iov, 3);
		return;
	case 5:
		virtiofs_req_reply_slice(req, data, in_u16(f->in) % 4096,
					 in_number(f->in));
		return;
	case 6: /* mistakes */
		virtiofs_req_filled(req, (size_t)in_number(f->in));
		return;
	case 7:
		virtiofs_req_done(req);
		return;
	}
	virtiofs_req_error(req, how > 8 ? how : 0);
}

static int on_request(struct virtiofs_req *req)
{
	struct fuzz *f = req->userdata;

	check_req(f, req);
	if (f->kept_cnt < KEPT_MAX && in_u8(f->in) % 2) {
		f->kept[f->kept_cnt].req = req;
		f->kept[f->kept_cnt++].vq = f->popping;
	} else {
		reply(f, req);
	}
	return 0;
}

static void reply_kept(struct fuzz *f, unsigned i)
{
	struct virtiofs_req *req = f->kept[i].req;

	f->kept[i] = f->kept[--f->kept_cnt];
	reply(f, req);
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	struct fuzz *f = userdata;
	bool known = false;

	for (unsigned i = 0; i < f->kept_cnt; i++)
		known |= f->kept[i].req == req;
	must(known);
	must(virtiofs_req_interrupted(req));
	read_all(req->arg, req->arg_len);
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
	sink ^= (uint8_t)(nodeid ^ nlookup);
}

static void on_init(const struct fuse_init_in *in, struct fuse_init_out *out,
		    void *userdata)
{
	struct fuzz *f = userdata;

	if (in_u8(f->in) % 4 == 3)
		in_bytes(f->in, out, sizeof(*out));
}

static void on_reset(void *userdata)
{
	struct fuzz *f = userdata;

	/* But for the INIT or DESTROY that ends the session. */
	must(f->kept_cnt <= 1);
}

/* A queue was reported as stopped, or all are: no request may be left. */
static void on_stopped(struct guest *g, int vq)
{
	struct fuzz *f = g->user;

	must(vq >= 0 || !f->kept_cnt);
}

/* ---- the driver's commands ---- */

static uint64_t get_addr(struct input *in)
{
	uint8_t kind = in_u8(in);

	switch (kind % 8) {
	case 1:
		return GUEST_MORE + in_u16(in) % GUEST_PAGE;
	case 2:
		return GUEST_MORE - in_u8(in);
	case 3:
		return GUEST_HIGH + in_u16(in) % GUEST_PAGE;
	case 4:
		return in_number(in);
	case 5: /* a ring */
		return GUEST_MAIN + in_u16(in) % GUEST_BUFS;
	default:
		return GUEST_MAIN + GUEST_BUFS + (kind >> 3) * 0x300u;
	}
}

static void get_descs(struct input *in, struct guest_desc *d, unsigned cnt)
{
	unsigned readable = in_u8(in) % (PARTS + 1);

	for (unsigned i = 0; i < cnt; i++) {
		d[i].addr = get_addr(in);
		d[i].len = (uint32_t)in_number(in);
		d[i].flags = i < readable ? 0 : VTFS_DESC_F_WRITE;
		if (in_u8(in) >= 0xf0)
			d[i].flags ^= in_u16(in);
	}
}

/* Chains of any shape; no frame of our making is in them. */
static void do_chain(struct fuzz *f, unsigned vq)
{
	struct guest_desc d[PARTS];
	unsigned cnt = 1 + in_u8(f->in) % PARTS;
	uint16_t id = in_u8(f->in);

	get_descs(f->in, d, cnt);
	guest_post(&f->g, vq, d, cnt, id);
}

static void put_frame(struct fuzz *f, uint64_t addr, uint32_t *ret_len)
{
	struct fuse_in_header head = {.nodeid = in_u8(f->in)};
	uint8_t lie = in_u8(f->in);
	uint8_t arg_len = in_u8(f->in);
	unsigned char *p = guest_ptr(&f->g, addr, sizeof(head) + arg_len);

	*ret_len = (uint32_t)sizeof(head) + arg_len;
	if (!p)
		return;
	head.len = *ret_len;
	head.opcode = in_u8(f->in) % 64;
	head.unique = ++f->unique * 2;
	if (lie & 1)
		head.len = (uint32_t)in_number(f->in);
	if (lie & 2)
		head.unique = in_number(f->in);
	if (lie & 4)
		head.opcode = (uint32_t)in_number(f->in);
	if (lie & 8)
		head.total_extlen = in_u8(f->in);
	if (lie & 16) { /* the other byte order */
		head.len = __builtin_bswap32(head.len);
		head.opcode = __builtin_bswap32(head.opcode);
	}
	memcpy(p, &head, sizeof(head));
	in_bytes(f->in, p + sizeof(head), arg_len);
}

/* A request as it should be, or nearly so: a frame in up to four parts, and
 * room; through a table if that is allowed. */
static void do_frame(struct fuzz *f, unsigned vq)
{
	uint64_t addr = get_addr(f->in);
	uint8_t shape = in_u8(f->in);
	struct guest_desc d[PARTS], table;
	unsigned cnt = 0;
	uint32_t len, cut;

	put_frame(f, addr, &len);
	for (unsigned i = 0; i < shape % 4u && len; i++) {
		cut = in_u8(f->in) % len;
		d[cnt++] = (struct guest_desc){addr, cut, 0};
		addr += cut;
		len -= cut;
	}
	d[cnt++] = (struct guest_desc){addr, len, 0};
	for (unsigned i = 0; i < (shape >> 2) % 3u && cnt < PARTS; i++) {
		d[cnt].addr = get_addr(f->in);
		d[cnt].len = (uint32_t)in_number(f->in);
		d[cnt++].flags = VTFS_DESC_F_WRITE;
	}
	table.addr = GUEST_MAIN + GUEST_BUFS + 0x5000u + in_u8(f->in) * 16u;
	table.len = cnt * 16u;
	table.flags = VTFS_DESC_F_INDIRECT;
	if (shape & 64 && guest_table(&f->g, table.addr, d, cnt))
		guest_post(&f->g, vq, &table, 1, (uint16_t)(shape >> 4));
	else
		guest_post(&f->g, vq, d, cnt, (uint16_t)f->unique % GUEST_NUM);
}

/* Where the frames lie that are as they should be: a place for each of the
 * last ones. */
#define CELLS	 16u
#define CELL_AT	 (GUEST_MAIN + 0x4000u)
#define CELL_LEN 0x400u
#define ROOM_AT	 0x300u

static void post_pair(struct fuzz *f, unsigned vq, uint32_t len,
		      uint32_t room_len)
{
	uint64_t addr = CELL_AT + f->unique % CELLS * CELL_LEN;
	const struct guest_desc d[2] = {
	    {addr, len, 0},
	    {addr + ROOM_AT, room_len, VTFS_DESC_F_WRITE},
	};

	guest_post(&f->g, vq, d, room_len ? 2 : 1,
		   (uint16_t)f->unique % GUEST_NUM);
}

static unsigned char *next_cell(struct fuzz *f)
{
	return guest_ptr(&f->g, CELL_AT + ++f->unique % CELLS * CELL_LEN,
			 CELL_LEN);
}

static void send_init(struct fuzz *f)
{
	struct frame_init frame;
	unsigned char *p = next_cell(f);

	frame = frame_init(f->unique * 2);
	memcpy(p, &frame, sizeof(frame));
	post_pair(f, 1, sizeof(frame), FRAME_INIT_ROOM);
}

static void do_request(struct fuzz *f, unsigned vq)
{
	const struct vtfs_fuse_op *op = frame_op(in_u8(f->in));
	unsigned char *p = next_cell(f);
	size_t len = frame_put(f->in, op, f->unique * 2, p, ROOM_AT);

	post_pair(f, vq, (uint32_t)len,
		  op->answer == VTFS_FUSE_ANSWER_NONE ? 0 : CELL_LEN - ROOM_AT);
}

static void do_poke(struct fuzz *f)
{
	uint64_t addr = get_addr(f->in);
	uint8_t len = in_u8(f->in) % 64;
	unsigned char *p = guest_ptr(&f->g, addr, len);
	unsigned char buf[64];

	in_bytes(f->in, buf, len);
	if (p)
		memcpy(p, buf, len);
}

/* True: there is more. */
static bool serve_taken(struct fuzz *f, uint8_t how)
{
	struct virtiofs_req *reqs[8];
	int n;

	if (!f->taken)
		return false;
	if (how & 1) {
		n = virtiofs_devq_pop(f->taken, reqs, 1 + how / 8 % 8);
		for (int i = 0; i < n; i++)
			on_request(reqs[i]);
	} else {
		virtiofs_devq_dispatch(f->taken);
	}
	if (how & 2)
		virtiofs_devq_flush(f->taken);
	return how & 4 && virtiofs_devq_arm(f->taken) == 1;
}

static void all_quiet(struct fuzz *f)
{
	bool more = false;

	/* What was taken off the ring before may still be handed out. */
	for (unsigned i = 0; i < 4 || f->kept_cnt || more; i++) {
		must(i < TURNS_MAX);
		while (f->kept_cnt)
			reply_kept(f, 0);
		more = serve_taken(f, 6);
		guest_run(&f->g);
	}
	guest_still(&f->g);
	/* Nothing is in flight, so nothing may be owed. */
	must(!f->g.lost && !f->g.resetting && f->g.cookie == f->g.retired);
	for (unsigned i = 0; i < GUEST_QUEUES; i++)
		must(!f->g.q[i].stopping);
}

/* After a reset or a loss the device leaves the memory alone; then it runs
 * again. */
static void start_again(struct fuzz *f)
{
	all_quiet(f);
	guest_order(&f->g, GUEST_START_ALL, 0);
	if (in_u8(f->in) % 2)
		send_init(f);
}

static void command(struct fuzz *f)
{
	uint8_t op = in_u8(f->in);
	unsigned vq = (op >> 4) % GUEST_QUEUES;

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
		do_frame(f, vq);
		break;
	case 4:
	case 5:
		do_chain(f, vq);
		break;
	case 6:
	case 7:
		do_poke(f);
		guest_kick(&f->g, vq);
		break;
	case 8:
	case 9:
		if (f->kept_cnt)
			reply_kept(f, in_u8(f->in) % f->kept_cnt);
		break;
	case 10:
		serve_taken(f, in_u8(f->in));
		break;
	case 11:
		guest_order(&f->g, in_u8(f->in) % GUEST_ORDERS, vq);
		break;
	case 12:
	case 13:
		do_request(f, vq);
		break;
	default:
		guest_run(&f->g);
	}
	if (f->g.quiet)
		start_again(f);
}

static void finish(struct fuzz *f, bool late)
{
	if (!late)
		all_quiet(f);
	virtiofs_devq_release(f->taken);
	f->taken = NULL;
	virtiofs_device_free(f->g.dev);
	guest_watch(&f->g);
	while (f->kept_cnt)
		reply_kept(f, 0);
	guest_still(&f->g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	static struct fuzz f;
	uint8_t rare = in_u8(&in);
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = rare % 4 ? on_forget : NULL,
	    .interrupt = on_interrupt,
	    .init = on_init,
	    .reset = on_reset,
	};
	uint8_t how = in_u8(&in), size = in_u8(&in);
	uint64_t features = VIRTIOFS_F_VERSION_1 |
			    (how & 1 ? VIRTIOFS_F_RING_PACKED : 0) |
			    (how & 2 ? VIRTIOFS_F_EVENT_IDX : 0) |
			    (how & 4 ? VIRTIOFS_F_INDIRECT_DESC : 0) |
			    (rare & 4 ? VIRTIOFS_F_IN_ORDER : 0) |
			    (rare & 8 ? VIRTIOFS_F_RING_RESET : 0);
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .num_request_queues = GUEST_QUEUES - 1,
	    .max_write = size & 0x80 ? 65536 : 4096,
	    .hiprio_interval = 1u + size / 16 % 8,
	    .features = features,
	    .forget_budget = rare & 16 ? 3 : 0,
	    .interrupts_max = rare & 32 ? 2 : 0,
	    .dispatch_max = rare & 64 ? 4 : 0,
	    .flags = (how & 8 ? VIRTIOFS_DEVICE_RAW_INIT : 0) |
		     (rare & 128 ? VIRTIOFS_DEVICE_LATENCY : 0) |
		     (how & 16 ? VIRTIOFS_DEVICE_SHARED_REPLY : 0),
	};
	int fd = fuzz_next_fd();

	memset(&f, 0, sizeof(f));
	f.in = &in;
	guest_init(&f.g, features,
		   how & 1 ? 1 + size % GUEST_NUM : 1u << size % 5);
	f.g.user = &f;
	f.g.on_stopped = on_stopped;
	must(!virtiofs_device_new(&f.g.dev, &f.g.base, &ops, &opts, &f));
	if (how & 32)
		must(!virtiofs_device_take_queue(
		    f.g.dev, 1, how & 64 ? VIRTIOFS_DEVQ_SHARED_REPLY : 0,
		    &f.taken));
	guest_order(&f.g, GUEST_START_ALL, 0);
	if (!(how & 128))
		send_init(&f);
	while (!in_end(&in))
		command(&f);
	guest_run(&f.g);
	finish(&f, size & 0x40);
	guest_fini(&f.g);
	must(fuzz_next_fd() == fd);
	return 0;
}
