/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device behind a vhost-user socket, and a front-end that sends anything:
 * messages right or wrong, with file descriptors of all kinds, cut anywhere;
 * it writes into the memory it shared, and leaves when it likes.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <virtiofs/device.h>
#include <virtiofs/transport.h>

#include "sock.h"
#include "wire/ring.h"
#include "wire/vhost_user.h"

#define KEPT_MAX  16u
#define TURNS_MAX 300
#define GUEST	  UINT64_C(0x40000000)
#define USER	  UINT64_C(0x7f0000000000)
#define RINGS	  3u
#define RING_LEN  0x1000u
#define AVAIL_AT  0x400u
#define USED_AT	  0x800u
#define FRAMES_AT 0x8000u

struct fuzz {
	struct input *in;
	struct virtiofs_device *dev;
	int sock; /* -1: we hung up */
	bool over;
	bool packed;
	struct virtiofs_req *kept[KEPT_MAX];
	unsigned kept_cnt;
	unsigned frames;
	struct {
		uint16_t desc, avail;
		bool wrap;
	} ring[RINGS];
};

/* ---- the program ---- */

static volatile uint8_t sink;

static void reply(struct fuzz *f, struct virtiofs_req *req)
{
	switch (in_u8(f->in) % 4) {
	case 0:
		virtiofs_req_error(req, -ENOENT);
		break;
	case 1:
		virtiofs_req_filled(req, req->room_len);
		break;
	case 2:
		virtiofs_req_reply(req, "reply", 6);
		break;
	case 3:
		virtiofs_req_done(req);
		break;
	}
}

static int on_request(struct virtiofs_req *req)
{
	struct fuzz *f = req->userdata;

	for (unsigned i = 0; i < req->data_cnt; i++)
		for (size_t k = 0; k < req->data[i].iov_len; k++)
			sink ^= ((uint8_t *)req->data[i].iov_base)[k];
	if (f->kept_cnt < KEPT_MAX && in_u8(f->in) % 2)
		f->kept[f->kept_cnt++] = req;
	else
		reply(f, req);
	return 0;
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	must(virtiofs_req_interrupted(req));
}

static void run(struct fuzz *f)
{
	struct pollfd p = {.fd = virtiofs_device_fd(f->dev), .events = POLLIN};
	unsigned turns = 0;
	int r = 0;

	while (!f->over && poll(&p, 1, 0) == 1 && turns++ < TURNS_MAX) {
		r = virtiofs_device_dispatch(f->dev);
		must(r >= 0 || r == -ENOTCONN);
		f->over = r < 0;
	}
}

/* ---- the front-end ---- */

/* Every answer is one: the device never says what it does not mean. */
static void hear(struct fuzz *f)
{
	unsigned char buf[4096];
	struct vu_header h;
	size_t n, at = 0;

	if (f->sock < 0)
		return;
	n = sock_recv(f->sock, buf, sizeof(buf), NULL);
	while (n - at >= sizeof(h)) {
		memcpy(&h, buf + at, sizeof(h));
		must(h.flags == (VU_VERSION | VU_REPLY));
		must(h.size <= sizeof(struct vu_config) + VU_CONFIG_MAX);
		at += sizeof(h) + h.size;
	}
	must(at == n);
}

static uint64_t get_user_addr(struct input *in)
{
	uint64_t off = in_u8(in) * 16u;

	return in_u8(in) % 16 ? USER + off : USER + in_number(in);
}

static void put_region(struct input *in, struct vu_region *r)
{
	uint8_t how = in_u8(in);

	*r = (struct vu_region){GUEST, KIND_LEN, USER, 0};
	r->guest_addr += (uint64_t)(how & 7) * KIND_LEN;
	r->user_addr += (uint64_t)(how & 7) * KIND_LEN;
	if (how & 8)
		r->guest_addr += in_number(in);
	if (how & 16)
		r->user_addr += in_number(in);
	if (how & 32)
		r->size = in_number(in);
	if (how & 64)
		r->mmap_offset = in_number(in);
	if (how & 128)
		r->size /= 2;
}

static size_t put_table(struct input *in, unsigned char *buf)
{
	struct vu_mem_table m = {.num = in_u8(in) % 16};

	for (unsigned i = 0; i < m.num && i < VU_REGIONS_MAX; i++)
		put_region(in, &m.regions[i]);
	if (m.num > VU_REGIONS_MAX && in_u8(in) % 2)
		m.num = (uint32_t)in_number(in);
	memcpy(buf, &m, sizeof(m));
	return m.num <= VU_REGIONS_MAX ? 8 + m.num * sizeof(m.regions[0])
				       : sizeof(m);
}

static size_t put_addr(struct input *in, unsigned char *buf)
{
	struct vu_vring_addr a = {.index = in_u8(in) % 4};
	uint64_t at = USER + a.index * RING_LEN;
	uint8_t lie = in_u8(in);

	a.desc = lie & 1 ? get_user_addr(in) : at;
	a.avail = lie & 2 ? get_user_addr(in) : at + AVAIL_AT;
	a.used = lie & 4 ? get_user_addr(in) : at + USED_AT;
	if (lie & 8)
		a.flags = in_u8(in);
	memcpy(buf, &a, sizeof(a));
	return sizeof(a);
}

static size_t put_config(struct input *in, unsigned char *buf)
{
	struct vu_config c = {.offset = in_u8(in), .size = in_u8(in) % 80};
	size_t len = sizeof(c) + c.size;

	c.flags = in_u8(in) % 3;
	in_bytes(in, buf + sizeof(c), c.size);
	if (in_u8(in) % 8 == 7)
		c.size = (uint32_t)in_number(in);
	memcpy(buf, &c, sizeof(c));
	return len;
}

static size_t put_state(struct input *in, unsigned char *buf)
{
	struct vu_vring_state s = {in_u8(in) % 4, (uint32_t)in_number(in)};

	memcpy(buf, &s, sizeof(s));
	return sizeof(s);
}

static size_t put_payload(struct input *in, uint32_t request,
			  unsigned char *buf)
{
	struct vu_mem_reg reg = {0};
	uint64_t v;

	switch (request) {
	case VU_SET_MEM_TABLE:
		return put_table(in, buf);
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		put_region(in, &reg.region);
		memcpy(buf, &reg, sizeof(reg));
		return sizeof(reg);
	case VU_SET_VRING_ADDR:
		return put_addr(in, buf);
	case VU_SET_VRING_NUM:
	case VU_SET_VRING_BASE:
	case VU_GET_VRING_BASE:
	case VU_SET_VRING_ENABLE:
		return put_state(in, buf);
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		return put_config(in, buf);
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		v = in_u8(in) & (VU_VRING_NOFD | 3u);
		v |= in_u8(in) % 16 == 15 ? VU_VRING_NOFD : 0;
		break;
	case VU_SET_FEATURES:
	case VU_SET_PROTOCOL_FEATURES:
	case VU_SET_STATUS:
		v = in_number(in);
		break;
	default:
		return 0;
	}
	memcpy(buf, &v, sizeof(v));
	return sizeof(v);
}

static unsigned put_fds(struct input *in, uint32_t request, int *fds)
{
	uint8_t how = in_u8(in);
	unsigned cnt = 0;

	if (how >= 0x80) { /* any number of any kind */
		for (; cnt < how % 11u; cnt++)
			fds[cnt] = sock_fd(in_u8(in) % KIND_CNT);
		return cnt;
	}
	switch (request) {
	case VU_SET_MEM_TABLE:
		for (; cnt < how % 9u; cnt++)
			fds[cnt] = sock_fd(KIND_MEM + cnt % 2);
		return cnt;
	case VU_ADD_MEM_REG:
		fds[cnt++] = sock_fd(how % 8 ? KIND_MEM : how / 8 % KIND_CNT);
		return cnt;
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		if (how % 4 != 3)
			fds[cnt++] = sock_fd(how % 4 ? KIND_EVENT
						     : KIND_BLOCKING);
		return cnt;
	case VU_SET_BACKEND_REQ_FD:
		fds[cnt++] = sock_fd(how % 4 ? KIND_SOCKET : KIND_PIPE_WRITE);
		return cnt;
	}
	return 0;
}

static void send_bytes(struct fuzz *f, const void *buf, size_t len,
		       const int *fds, unsigned cnt)
{
	if (f->sock >= 0 && len)
		sock_send(f->sock, buf, len, fds, cnt);
	run(f);
}

static void message(struct fuzz *f, uint32_t request, uint8_t lie)
{
	unsigned char buf[sizeof(struct vu_header) + 512];
	struct vu_header h = {.request = request, .flags = VU_VERSION};
	int fds[KINDS_MAX];
	size_t len = put_payload(f->in, request, buf + sizeof(h));
	unsigned cnt = put_fds(f->in, request, fds);

	h.size = (uint32_t)len;
	if (lie & 1)
		h.flags |= VU_NEED_REPLY;
	if ((lie & 6) == 6)
		h.flags ^= in_u8(f->in);
	if ((lie & 14) == 10)
		h.size = (uint32_t)in_number(f->in);
	memcpy(buf, &h, sizeof(h));
	len += sizeof(h);
	if ((lie & 14) == 4) { /* in two pieces */
		size_t cut = in_u8(f->in) % len;

		send_bytes(f, buf, cut, fds, cnt);
		send_bytes(f, buf + cut, len - cut, fds, cut ? 0 : cnt);
		return;
	}
	send_bytes(f, buf, len, fds, cnt);
}

static void say_u64(struct fuzz *f, uint32_t request, uint64_t v, int fd)
{
	struct {
		struct vu_header h;
		unsigned char v[8];
	} msg = {.h = {request, VU_VERSION, 8}};

	memcpy(msg.v, &v, sizeof(v));
	send_bytes(f, &msg, sizeof(msg), &fd, fd >= 0);
}

static void say_ring(struct fuzz *f, unsigned i)
{
	struct {
		struct vu_header h;
		struct vu_vring_addr a;
	} __attribute__((packed)) msg = {
	    .h = {VU_SET_VRING_ADDR, VU_VERSION, sizeof(msg.a)},
	    .a = {.index = i,
		  .desc = USER + i * RING_LEN,
		  .avail = USER + i * RING_LEN + AVAIL_AT,
		  .used = USER + i * RING_LEN + USED_AT},
	};
	uint64_t base = f->packed ? UINT64_C(0x80008000) << 32 : 0;

	say_u64(f, VU_SET_VRING_NUM, i | UINT64_C(8) << 32, -1);
	say_u64(f, VU_SET_VRING_BASE, i | base, -1);
	send_bytes(f, &msg, sizeof(msg), NULL, 0);
	say_u64(f, VU_SET_VRING_CALL, i, sock_fd(KIND_BLOCKING));
	say_u64(f, VU_SET_VRING_KICK, i, sock_fd(KIND_EVENT));
	say_u64(f, VU_SET_VRING_ENABLE, i | UINT64_C(1) << 32, -1);
	f->ring[i].desc = f->ring[i].avail = 0;
	f->ring[i].wrap = true;
	memset(sock_mem[0] + i * RING_LEN, 0, RING_LEN);
}

/* All that a front-end says before the first request. */
static void say_all(struct fuzz *f, uint8_t how)
{
	struct {
		struct vu_header h;
		struct vu_mem_table m;
	} __attribute__((packed)) msg = {
	    .h = {VU_SET_MEM_TABLE, VU_VERSION, 8 + 2 * 32},
	    .m = {.num = 2,
		  .regions = {{GUEST, KIND_LEN, USER, 0},
			      {GUEST + KIND_LEN, KIND_LEN, USER + KIND_LEN,
			       0}}},
	};
	const int fds[2] = {sock_fd(KIND_MEM), sock_fd(KIND_MEM_2)};
	uint64_t features = VIRTIOFS_F_VERSION_1 | VU_F_PROTOCOL_FEATURES;

	f->packed = how & 1;
	if (f->packed)
		features |= VIRTIOFS_F_RING_PACKED;
	if (how & 2)
		features |= VIRTIOFS_F_EVENT_IDX;
	say_u64(f, VU_SET_PROTOCOL_FEATURES,
		VU_PF(MQ) | VU_PF(REPLY_ACK) | VU_PF(BACKEND_REQ) |
		    VU_PF(CONFIG) | VU_PF(RESET_DEVICE) |
		    VU_PF(CONFIGURE_MEM_SLOTS) | VU_PF(STATUS),
		-1);
	say_u64(f, VU_SET_FEATURES, features, -1);
	send_bytes(f, &msg, sizeof(msg.h) + msg.h.size, fds, 2);
	for (unsigned i = 0; i < 2; i++)
		say_ring(f, i);
}

/* ---- requests ---- */

static void put_desc(struct fuzz *f, unsigned i, uint64_t addr, uint32_t len,
		     uint16_t flags)
{
	unsigned char *ring = sock_mem[0] + i * RING_LEN;
	unsigned at = f->ring[i].desc++ % 8;
	struct vtfs_wire_desc d = {htole64(addr), htole32(len), htole16(flags),
				   htole16((at + 1) % 8)};

	if (f->packed) {
		d.flags = 0; /* the buffer's id */
		d.next = htole16(flags |
				 (f->ring[i].wrap ? VTFS_PACKED_F_AVAIL
						  : VTFS_PACKED_F_USED));
		if (at == 7)
			f->ring[i].wrap = !f->ring[i].wrap;
	}
	memcpy(ring + at * sizeof(d), &d, sizeof(d));
}

static void request(struct fuzz *f, unsigned i)
{
	uint32_t at = FRAMES_AT + f->frames++ % 64 * 0x100u;
	unsigned char *p = sock_mem[0] + at;
	struct vtfs_wire_avail *avail = (void *)(sock_mem[0] + i * RING_LEN +
						 AVAIL_AT);
	uint8_t arg_len = in_u8(f->in) % 100;
	struct fuse_in_header head = {
	    .len = (uint32_t)sizeof(head) + arg_len,
	    .opcode = in_u8(f->in) % 64,
	    .unique = f->frames * 2ul,
	    .nodeid = 1,
	};
	uint16_t first = f->ring[i].desc % 8;
	uint8_t cross = in_u8(f->in);

	memcpy(p, &head, sizeof(head));
	in_bytes(f->in, p + sizeof(head), arg_len);
	put_desc(f, i, GUEST + at, head.len, VTFS_DESC_F_NEXT);
	/* Now and then room in the other region, or across both. */
	put_desc(f, i, cross & 1 ? GUEST + KIND_LEN - cross : GUEST + at + 0x90,
		 0x70, VTFS_DESC_F_WRITE);
	if (!f->packed) {
		avail->ring[f->ring[i].avail++ % 8] = htole16(first);
		avail->idx = htole16(f->ring[i].avail);
	}
	sock_kick(KIND_EVENT);
	run(f);
}

static void command(struct fuzz *f)
{
	unsigned char buf[256];
	uint8_t op = in_u8(f->in);
	uint16_t off;

	switch (op % 16) {
	case 9:
		in_bytes(f->in, buf, op);
		send_bytes(f, buf, op, NULL, 0);
		break;
	case 10:
		off = in_u16(f->in);
		if (off <= KIND_LEN - 64)
			in_bytes(f->in, sock_mem[0] + off, in_u8(f->in) % 64);
		sock_kick(op & 16 ? KIND_EVENT : KIND_BLOCKING);
		run(f);
		break;
	case 11:
	case 12:
		request(f, (op >> 4) % 2);
		break;
	case 13:
		if (f->kept_cnt)
			reply(f, f->kept[--f->kept_cnt]);
		run(f);
		break;
	case 14:
		say_all(f, op >> 4);
		break;
	case 15: /* an answer on the device's own channel; or we leave */
		in_bytes(f->in, buf, 32);
		if (op >> 4)
			sock_send(sock_other(), buf, 12 + op % 3 * 8, NULL, 0);
		else if (f->sock >= 0 && !close(f->sock))
			f->sock = -1;
		run(f);
		break;
	default:
		message(f, in_u8(f->in) % (VU_REQUESTS + 2), op >> 4);
	}
	hear(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	struct fuzz f = {.in = &in};
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = on_forget,
	    .interrupt = on_interrupt,
	};
	uint8_t how = in_u8(&in);
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = how & 1 ? "fuzz" : NULL,
	    .num_request_queues = RINGS - 1,
	    .queue_size = 16,
	    .max_write = 4096,
	    .features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_PACKED,
	};
	struct virtiofs_transport *t;
	int sv[2], fd;

	sock_reset();
	fd = fuzz_next_fd();
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
	f.sock = sv[1];
	must(!virtiofs_vhost_user_device_fd(&t, sv[0]));
	must(!virtiofs_device_new(&f.dev, t, &ops, &opts, &f));
	if (how & 2)
		say_all(&f, how >> 2);
	while (!in_end(&in))
		command(&f);
	if (f.sock >= 0)
		close(f.sock);
	while (f.kept_cnt)
		reply(&f, f.kept[--f.kept_cnt]);
	/* Whatever is in its way, the device sees that nobody is left. */
	run(&f);
	must(f.over);
	virtiofs_device_free(f.dev);
	must(fuzz_next_fd() == fd);
	return 0;
}
