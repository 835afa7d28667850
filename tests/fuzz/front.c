/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "front.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>

#include <virtiofs/transport.h>

#include "frame.h"
#include "transport/transport.h"
#include "wire/ring.h"
#include "wire/virtio.h"

#define TURNS_MAX 300
#define NUM	  FRONT_RING_NUM
/* In KIND_MEM, behind the rings: a piece for each of the last requests. */
#define CELLS	 16u
#define CELL_AT	 0x8000u
#define CELL_LEN 0x800u
#define TABLE_AT 0x400u
#define ROOM_AT	 0x600u

/* ---- the connection ---- */

/* While the device waits for requests of those who came before, there is not
 * place for all that want to come. */
static void reach(struct front *f)
{
	f->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			 0);
	must(f->sock >= 0);
	if (connect(f->sock, (struct sockaddr *)&f->addr, f->addr_len) < 0) {
		must(errno == EAGAIN);
		close(f->sock);
		f->sock = -1;
	}
}

struct virtiofs_transport *front_open(struct front *f, bool listens)
{
	struct virtiofs_transport *t;
	int sv[2], fd;

	f->listens = listens;
	if (!listens) {
		must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
		f->sock = sv[1];
		must(!(f->vfio_user
			   ? virtiofs_vfio_user_device_fd
			   : virtiofs_vhost_user_device_fd)(&t, sv[0]));
		return t;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	f->addr.sun_family = AF_UNIX;
	/* Linux gives it an abstract name. */
	must(fd >= 0 && !bind(fd, (struct sockaddr *)&f->addr,
			      sizeof(f->addr.sun_family)));
	f->addr_len = sizeof(f->addr);
	must(!getsockname(fd, (struct sockaddr *)&f->addr, &f->addr_len));
	must(!listen(fd, 1));
	must(!(f->vfio_user ? virtiofs_vfio_user_listen_fd
			    : virtiofs_vhost_user_listen_fd)(&t, fd));
	reach(f);
	return t;
}

void front_hang_up(struct front *f)
{
	if (f->sock >= 0)
		close(f->sock);
	f->sock = -1;
	front_run(f);
}

void front_again(struct front *f)
{
	front_hang_up(f);
	if (f->listens)
		reach(f);
	front_run(f);
}

void front_run(struct front *f)
{
	struct pollfd p = {.fd = virtiofs_device_fd(f->dev), .events = POLLIN};
	unsigned turns = 0;
	int r = 0;

	while (!f->over && poll(&p, 1, 0) == 1 && turns++ < TURNS_MAX) {
		r = virtiofs_device_dispatch(f->dev);
		must(r >= 0 || (r == -ENOTCONN && !f->listens));
		f->over = r < 0;
	}
}

void front_send(struct front *f, const void *buf, size_t len, const int *fds,
		unsigned cnt)
{
	if (f->sock >= 0 && len)
		sock_send(f->sock, buf, len, fds, cnt);
	front_run(f);
}

void front_hear(struct front *f)
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

/* ---- set-up ---- */

static void say_u64(struct front *f, uint32_t request, uint64_t v, int fd)
{
	struct {
		struct vu_header h;
		unsigned char v[8];
	} msg = {.h = {request, VU_VERSION, 8}};

	memcpy(msg.v, &v, sizeof(v));
	front_send(f, &msg, sizeof(msg), &fd, fd >= 0);
}

void front_clear_ring(struct front *f, unsigned i)
{
	f->ring[i].desc = f->ring[i].avail = 0;
	f->ring[i].wrap = true;
	memset(sock_mem[0] + i * FRONT_RING_LEN, 0, FRONT_RING_LEN);
}

static void say_ring(struct front *f, unsigned i)
{
	struct {
		struct vu_header h;
		struct vu_vring_addr a;
	} __attribute__((packed)) msg = {
	    .h = {VU_SET_VRING_ADDR, VU_VERSION, sizeof(msg.a)},
	    .a = {.index = i,
		  .desc = FRONT_USER + i * FRONT_RING_LEN,
		  .avail = FRONT_USER + i * FRONT_RING_LEN + FRONT_AVAIL_AT,
		  .used = FRONT_USER + i * FRONT_RING_LEN + FRONT_USED_AT},
	};
	uint64_t base = f->features & VIRTIOFS_F_RING_PACKED
			    ? UINT64_C(0x80008000) << 32
			    : 0;

	say_u64(f, VU_SET_VRING_NUM, i | (uint64_t)NUM << 32, -1);
	say_u64(f, VU_SET_VRING_BASE, i | base, -1);
	front_send(f, &msg, sizeof(msg), NULL, 0);
	say_u64(f, VU_SET_VRING_CALL, i, sock_fd(KIND_BLOCKING));
	say_u64(f, VU_SET_VRING_KICK, i, sock_fd(KIND_EVENT));
	say_u64(f, VU_SET_VRING_ENABLE, i | UINT64_C(1) << 32, -1);
	front_clear_ring(f, i);
}

static void say_memory(struct front *f)
{
	struct {
		struct vu_header h;
		struct vu_mem_table m;
	} __attribute__((packed)) msg = {
	    .h = {VU_SET_MEM_TABLE, VU_VERSION, 8 + 2 * 32},
	    .m = {.num = 2,
		  .regions = {{FRONT_GUEST, KIND_LEN, FRONT_USER, 0},
			      {FRONT_GUEST + KIND_LEN, KIND_LEN,
			       FRONT_USER + KIND_LEN, 0}}},
	};
	const int fds[2] = {sock_fd(KIND_MEM), sock_fd(KIND_MEM_2)};

	front_send(f, &msg, sizeof(msg.h) + msg.h.size, fds, 2);
}

/* ---- the IOMMU: guest addresses, and rings by ours ---- */

bool front_has_iommu(const struct front *f)
{
	return f->features & VTFS_F_ACCESS_PLATFORM;
}

static void say_iotlb(struct front *f, uint8_t type, uint64_t iova,
		      uint64_t size)
{
	struct {
		struct vu_header h;
		struct vu_iotlb m;
	} __attribute__((packed)) msg = {
	    .h = {VU_IOTLB_MSG, VU_VERSION | VU_NEED_REPLY, sizeof(msg.m)},
	    .m = {.iova = iova,
		  .size = size,
		  .user_addr = iova >= FRONT_USER
				   ? iova
				   : iova - FRONT_GUEST + FRONT_USER,
		  .perm = VU_ACCESS_RO | VU_ACCESS_WO,
		  .type = type},
	};

	front_send(f, &msg, sizeof(msg), NULL, 0);
}

void front_iotlb(struct front *f, uint8_t how)
{
	uint64_t page = FRONT_GUEST +
			(how % 16 ? in_u8(f->in) % 32 * 0x1000u : CELL_AT);

	if (how & 1)
		say_iotlb(f, VU_IOTLB_UPDATE, page, 0x1000u * (1 + how / 16u));
	else if (how < 0xf0)
		say_iotlb(f, VU_IOTLB_INVALIDATE, page,
			  0x1000u * (1 + how / 16u));
	else
		say_iotlb(f, VU_IOTLB_INVALIDATE, 0, 0);
}

static uint64_t wanted_features(uint8_t how)
{
	uint64_t features = VIRTIOFS_F_VERSION_1;

	if (how & FRONT_PACKED)
		features |= VIRTIOFS_F_RING_PACKED;
	if (how & FRONT_EVENT_IDX)
		features |= VIRTIOFS_F_EVENT_IDX;
	if (how & FRONT_IN_ORDER)
		features |= VIRTIOFS_F_IN_ORDER | VIRTIOFS_F_INDIRECT_DESC;
	if (how & FRONT_IOMMU)
		features |= VTFS_F_ACCESS_PLATFORM;
	return features;
}

/* ---- requests ---- */

static bool is_packed(const struct front *f)
{
	return f->features & VIRTIOFS_F_RING_PACKED;
}

static void put_desc(struct front *f, unsigned i, uint64_t addr, uint32_t len,
		     uint16_t flags)
{
	unsigned char *ring = sock_mem[0] + i * FRONT_RING_LEN;
	unsigned at = f->ring[i].desc++ % NUM;
	struct vtfs_wire_desc d = {htole64(addr), htole32(len), htole16(flags),
				   htole16((at + 1) % NUM)};

	if (is_packed(f)) {
		d.flags = htole16((uint16_t)f->frames); /* the buffer's id */
		d.next = htole16(flags |
				 (f->ring[i].wrap ? VTFS_PACKED_F_AVAIL
						  : VTFS_PACKED_F_USED));
		if (at == NUM - 1)
			f->ring[i].wrap = !f->ring[i].wrap;
	}
	memcpy(ring + at * sizeof(d), &d, sizeof(d));
}

static void put_table(struct front *f, unsigned char *p,
		      const struct vtfs_wire_desc *d)
{
	struct vtfs_wire_desc t[2] = {
	    {htole64(d[0].addr), htole32(d[0].len), htole16(VTFS_DESC_F_NEXT),
	     htole16(1)},
	    {htole64(d[1].addr), htole32(d[1].len), htole16(VTFS_DESC_F_WRITE),
	     0},
	};

	if (is_packed(f)) { /* id, flags */
		t[0].flags = t[0].next = 0;
		t[1].flags = 0;
		t[1].next = htole16(VTFS_DESC_F_WRITE);
	}
	memcpy(p, t, sizeof(t));
}

/* A chain of a readable and a writable part, or a table with them. */
static void post(struct front *f, unsigned i, const struct vtfs_wire_desc *d,
		 bool table)
{
	struct vtfs_wire_avail *avail = (void *)(sock_mem[0] +
						 i * FRONT_RING_LEN +
						 FRONT_AVAIL_AT);
	uint16_t first = f->ring[i].desc % NUM;
	uint32_t at = CELL_AT + f->frames % CELLS * CELL_LEN + TABLE_AT;

	if (table) {
		put_table(f, sock_mem[0] + at, d);
		put_desc(f, i, FRONT_GUEST + at, 2 * sizeof(*d),
			 VTFS_DESC_F_INDIRECT);
	} else {
		put_desc(f, i, d[0].addr, d[0].len, VTFS_DESC_F_NEXT);
		put_desc(f, i, d[1].addr, d[1].len, VTFS_DESC_F_WRITE);
	}
	if (!is_packed(f)) {
		avail->ring[f->ring[i].avail++ % NUM] = htole16(first);
		avail->idx = htole16(f->ring[i].avail);
	}
	sock_kick(KIND_EVENT);
	front_run(f);
}

static unsigned char *next_cell(struct front *f, uint64_t *ret_addr)
{
	uint32_t at = CELL_AT + ++f->frames % CELLS * CELL_LEN;

	*ret_addr = FRONT_GUEST + at;
	return sock_mem[0] + at;
}

void front_init(struct front *f)
{
	const struct frame_init frame = frame_init(1);
	uint64_t addr;
	unsigned char *p = next_cell(f, &addr);
	const struct vtfs_wire_desc d[2] = {
	    {.addr = addr, .len = sizeof(frame)},
	    {.addr = addr + ROOM_AT, .len = FRAME_INIT_ROOM},
	};

	memcpy(p, &frame, sizeof(frame));
	post(f, 1, d, false);
}

void front_request(struct front *f, unsigned i)
{
	const struct vtfs_fuse_op *op = frame_op(in_u8(f->in));
	uint8_t lie = in_u8(f->in);
	uint64_t addr;
	unsigned char *p = next_cell(f, &addr);
	struct vtfs_wire_desc d[2] = {
	    {.addr = addr},
	    {.addr = addr + ROOM_AT, .len = CELL_LEN - ROOM_AT},
	};

	d[0].len = (uint32_t)frame_put(f->in, op, f->frames * 2ull, p,
				       TABLE_AT);
	if (lie & 1) /* room in the other region, or across both */
		d[1].addr = FRONT_GUEST + KIND_LEN - lie / 4u;
	if ((lie & 0xf0) == 0xf0)
		d[lie / 8 & 1].addr = FRONT_GUEST + in_number(f->in);
	post(f, i, d, lie & 2);
}

/* ---- all of it ---- */

void front_say_all(struct front *f, uint8_t how)
{
	uint64_t protocol = VU_PF(MQ) | VU_PF(REPLY_ACK) | VU_PF(BACKEND_REQ) |
			    VU_PF(CONFIG) | VU_PF(RESET_DEVICE) |
			    VU_PF(CONFIGURE_MEM_SLOTS);
	const struct vu_header channel = {VU_SET_BACKEND_REQ_FD, VU_VERSION, 0};
	const int fd = sock_fd(KIND_SOCKET);

	if (!(how & FRONT_NO_STATUS))
		protocol |= VU_PF(STATUS);
	f->features = wanted_features(how);
	say_u64(f, VU_SET_PROTOCOL_FEATURES, protocol, -1);
	say_u64(f, VU_SET_FEATURES, f->features | VU_F_PROTOCOL_FEATURES, -1);
	front_send(f, &channel, sizeof(channel), &fd, 1);
	say_memory(f);
	if (front_has_iommu(f))
		say_iotlb(f, VU_IOTLB_UPDATE, FRONT_USER, 2 * FRONT_RING_LEN);
	for (unsigned i = 0; i < 2; i++)
		say_ring(f, i);
	if (!(how & FRONT_NO_STATUS))
		say_u64(f, VU_SET_STATUS,
			VTFS_STATUS_ACKNOWLEDGE | VTFS_STATUS_DRIVER |
			    VTFS_STATUS_FEATURES_OK | VTFS_STATUS_DRIVER_OK,
			-1);
	front_init(f);
}

void front_answer(struct front *f)
{
	struct {
		struct vu_header h;
		unsigned char v[8];
	} msg = {.h = {VU_BACKEND_CONFIG_CHANGE, VU_VERSION | VU_REPLY, 8}};
	uint8_t lie = in_u8(f->in);

	sock_recv(sock_other(), msg.v, sizeof(msg.v), NULL);
	if (front_has_iommu(f))
		msg.h.request = VU_BACKEND_IOTLB_MSG;
	if (lie & 1)
		msg.h.request = in_u8(f->in);
	if (lie & 2)
		msg.h.flags = in_u8(f->in);
	if (lie & 4)
		msg.h.size = (uint32_t)in_number(f->in);
	in_bytes(f->in, msg.v, sizeof(msg.v));
	sock_send(sock_other(), &msg, lie & 8 ? lie / 16u : sizeof(msg), NULL,
		  0);
	front_run(f);
}
