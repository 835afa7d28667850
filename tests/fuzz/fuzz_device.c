/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device session, and a driver that may write anything at any time: ring,
 * chains, frames, and orders of its transport. The program replies at once or
 * later, rightly or wrongly.
 */
#include <errno.h>

#include <virtiofs/prep.h>

#include "chains.h"

#define TURNS_MAX 3000

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

static bool owns(const struct fuzz *f, const struct iovec *iov)
{
	return guest_owns(&f->g, iov->iov_base, iov->iov_len);
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
	/* Behind an IOMMU a short reply is made in private memory. */
	if (!f->g.iommu || req->room_cnt != 1 || owns(f, req->room))
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

/* To the client, unasked. */
static void notify(struct fuzz *f)
{
	static const uint8_t data[GUEST_PAGE];
	uint32_t code = (uint32_t)in_number(f->in);
	size_t left = f->note_max - sizeof(struct fuse_out_header);
	unsigned cnt = in_u8(f->in) % 18;
	bool fits = true, on = f->g.queues > GUEST_QUEUES;
	struct iovec iov[18];
	int r;

	for (unsigned i = 0; i < cnt; i++) {
		iov[i] = virtiofs_iov(data, in_u8(f->in) * 8u);
		fits &= iov[i].iov_len <= left;
		left -= fits ? iov[i].iov_len : 0;
	}
	r = virtiofs_device_notify(f->g.dev, code, iov, cnt);
	if (cnt > 16 || !code || code > INT32_MAX)
		must(r == -EINVAL);
	else if (!fits)
		must(r == -EMSGSIZE);
	else if (!on)
		must(r == -EOPNOTSUPP);
	else
		must(r == 0 || r == -ENOSPC || r == -ENOTCONN);
}

static int on_request(struct virtiofs_req *req)
{
	struct fuzz *f = req->userdata;

	check_req(f, req);
	if (f->note_max && in_u8(f->in) % 4 == 3)
		notify(f);
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

static void check_maps(struct fuzz *f, const struct iovec *iov, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++)
		must(!owns(f, &iov[i]) ||
		     guest_maps(&f->g, iov[i].iov_base, iov[i].iov_len));
}

/* Nobody reaches any more what the IOMMU does not map. */
static void on_retired(struct guest *g)
{
	struct fuzz *f = g->user;

	for (unsigned i = 0; g->iommu && i < f->kept_cnt; i++) {
		const struct virtiofs_req *req = f->kept[i].req;

		check_maps(f, req->data, req->data_cnt);
		check_maps(f, req->room, req->room_cnt);
	}
}

/* ---- the driver's commands ---- */

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
	bool more;

	/* What was taken off the ring before may still be handed out, and a
	 * barrier comes after all of it. */
	for (unsigned i = 0, calm = 0; calm < 4; i++) {
		must(i < TURNS_MAX);
		while (f->kept_cnt)
			reply_kept(f, 0);
		more = serve_taken(f, 6);
		guest_run(&f->g);
		calm = more || f->kept_cnt ? 0 : calm + 1;
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
		chains_init(f);
}

static void do_order(struct fuzz *f, unsigned vq)
{
	unsigned cnt = f->g.iommu ? GUEST_ORDERS : GUEST_MAP;
	unsigned order = in_u8(f->in) % cnt;

	guest_order(&f->g, order, order < GUEST_MAP ? vq : in_u8(f->in));
}

/* Rings, and what the input says, are mapped from the start. */
static void set_maps(struct fuzz *f)
{
	uint16_t which = in_u16(f->in);

	for (unsigned i = 0; i < GUEST_PAGES; i++)
		f->g.access[i] = i < 2 || which >> i & 1 ? 3 : 0;
	f->g.maps_missed = which & 1;
}

static void command(struct fuzz *f)
{
	uint8_t op = in_u8(f->in);
	unsigned vq = (op >> 4) % f->g.queues;

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
		chains_frame(f, vq);
		break;
	case 4:
	case 5:
		chains_any(f, vq);
		break;
	case 6:
	case 7:
		chains_poke(f);
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
		do_order(f, vq);
		break;
	case 12:
	case 13:
		if (vq && vq < f->first)
			chains_buffer(f);
		else
			chains_request(f, vq);
		break;
	case 14:
		if (f->note_max)
			notify(f);
		guest_run(&f->g);
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
			    (rare & 8 ? VIRTIOFS_F_RING_RESET : 0) |
			    (rare % 4 == 3 ? VTFS_F_ACCESS_PLATFORM : 0);
	/* Offered; who takes them, most do. */
	bool notes = rare % 4 == 2, taken = notes && in_u8(&in) % 8;
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .num_request_queues = GUEST_QUEUES - 1,
	    .max_write = size & 0x80 ? 65536 : 4096,
	    .hiprio_interval = 1u + size / 16 % 8,
	    .features = features & ~VTFS_F_ACCESS_PLATFORM,
	    .forget_budget = rare & 16 ? 3 : 0,
	    .interrupts_max = rare & 32 ? 2 : 0,
	    .dispatch_max = rare & 64 ? 4 : 0,
	    .flags = (how & 8 ? VIRTIOFS_DEVICE_RAW_INIT : 0) |
		     (rare & 128 ? VIRTIOFS_DEVICE_LATENCY : 0) |
		     (how & 16 ? VIRTIOFS_DEVICE_SHARED_REPLY : 0),
	    .notify_buf_size = notes ? 64u + in_u8(&in) * 8u : 0,
	    .notify_backlog = notes ? in_u8(&in) % 8 : 0,
	};
	int fd = fuzz_next_fd();

	memset(&f, 0, sizeof(f));
	f.in = &in;
	f.note_max = opts.notify_buf_size;
	f.first = taken ? 2 : 1;
	guest_init(&f.g, features | (taken ? VIRTIOFS_F_NOTIFICATION : 0),
		   how & 1 ? 1 + size % GUEST_NUM : 1u << size % 5);
	f.g.user = &f;
	f.g.on_stopped = on_stopped;
	f.g.on_retired = on_retired;
	if (f.g.iommu)
		set_maps(&f);
	must(!virtiofs_device_new(&f.g.dev, &f.g.base, &ops, &opts, &f));
	if (how & 32)
		must(!virtiofs_device_take_queue(
		    f.g.dev, 1, how & 64 ? VIRTIOFS_DEVQ_SHARED_REPLY : 0,
		    &f.taken));
	guest_order(&f.g, GUEST_START_ALL, 0);
	if (!(how & 128))
		chains_init(&f);
	while (!in_end(&in))
		command(&f);
	guest_run(&f.g);
	finish(&f, size & 0x40);
	guest_fini(&f.g);
	must(fuzz_next_fd() == fd);
	return 0;
}
