/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client of vfio-user, the driver of virtio over PCI on top of it, and a
 * server that lies: replies that are wrong, late, twice or cut, with file
 * descriptors, to what was asked and to what was not; registers that read as
 * anything; its own commands on the client's memory.
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <virtiofs/transport.h>

#include "sock.h"
#include "transport/transport.h"
#include "wire/pci.h"
#include "wire/vfio_user.h"
#include "wire/virtio.h"

#define BAR	 4u
#define BAR_LEN	 0x1000u
#define DEVICE	 0x400u
#define NOTIFY	 0x800u
#define TABLE	 0xc00u
#define SERVES	 150u /* for one op: a connect has 80 */
#define WAITS	 3u   /* for what takes a millisecond, in one input */
#define HEARD	 0x24000u
#define SAID_MAX (256u + 16)
#define AT	 ((uintptr_t)sock_mem[0])

struct fuzz {
	struct input *in;
	struct virtiofs_transport *t;
	struct vtfs_cli_sink sink;
	struct vtfs_log log;
	unsigned connects, losses, waits;
	int sock; /* the server's end; -1: hung up */
	unsigned char cfg[VTFS_PCI_CFG_LEN];
	unsigned char bar[BAR_LEN];
	unsigned char heard[HEARD]; /* not answered yet */
	size_t heard_len;
	uint64_t mapped[4]; /* by number, for unmap */
	struct {
		uint64_t addr, len;
	} maps[256]; /* ever */
	unsigned map_cnt;
	struct vtfs_queue_line line;
	bool has_line;
	/* Of the last command that the server made of its own. */
	struct vfu_dma_io asked;
	uint16_t asked_command;
	unsigned asked_cnt;
	bool wild; /* nobody knows which commands it sent */
};

static void on_change(struct vtfs_cli_sink *s)
{
}

static void on_lost(struct vtfs_cli_sink *s, int error)
{
	struct fuzz *f = (struct fuzz *)((char *)s -
					 offsetof(struct fuzz, sink));

	must(error < 0);
	f->losses++;
}

static const struct vtfs_cli_sink_ops sink_ops = {
    .config_changed = on_change,
    .lost = on_lost,
};

/* ---- the function ---- */

static void put32(unsigned char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static unsigned add_cap(struct fuzz *f, unsigned at, uint8_t id, uint8_t type,
			uint32_t off, uint32_t len)
{
	unsigned char *c = f->cfg + at;
	unsigned size = id == VTFS_PCI_CAP_ID_MSIX    ? 12
			: type == VTFS_PCI_CFG_NOTIFY ? 20
						      : 16;

	c[0] = id;
	c[1] = (unsigned char)(at + size);
	c[2] = (unsigned char)size;
	c[3] = type;
	c[4] = BAR;
	put32(c + 8, off);
	put32(c + 12, len);
	if (size == 20)
		put32(c + 16, 4);
	if (size == 12) {
		c[2] = 2; /* three vectors */
		c[3] = 0;
		put32(c + 4, TABLE | BAR);
		put32(c + 8, (TABLE + 0x100) | BAR);
	}
	return at + size;
}

static void make_function(struct fuzz *f)
{
	unsigned at = VTFS_PCI_CAP_FIRST;

	put32(f->cfg, VTFS_PCI_VENDOR | VTFS_PCI_DEVICE_FS << 16);
	f->cfg[VTFS_PCI_STATUS] = VTFS_PCI_STATUS_CAP_LIST;
	f->cfg[VTFS_PCI_CAP_PTR] = (unsigned char)at;
	at = add_cap(f, at, VTFS_PCI_CAP_ID_VNDR, VTFS_PCI_CFG_COMMON, 0,
		     VTFS_PCI_COMMON_LEN);
	at = add_cap(f, at, VTFS_PCI_CAP_ID_VNDR, VTFS_PCI_CFG_DEVICE, DEVICE,
		     VTFS_CONFIG_LEN);
	at = add_cap(f, at, VTFS_PCI_CAP_ID_VNDR, VTFS_PCI_CFG_NOTIFY, NOTIFY,
		     0x400);
	at = add_cap(f, at, VTFS_PCI_CAP_ID_MSIX, 0, 0, 0);
	f->cfg[at] = 0;
	f->cfg[at + 1] = 0;
	/* What reads as one value whatever is selected is no worse. */
	put32(f->bar + VTFS_PCI_DEVICE_FEATURE, 3);
	put32(f->bar + VTFS_PCI_CONFIG_VECTOR, 3u << 16);
	put32(f->bar + VTFS_PCI_QUEUE_SIZE - 2, 8u << 16);
	memcpy(f->bar + DEVICE, "fuzz", 4);
	f->bar[DEVICE + VTFS_CONFIG_QUEUES] = 2;
}

static unsigned char *place(struct fuzz *f, const struct vfu_region_io *io)
{
	size_t len = io->region == VFU_REGION_CONFIG ? sizeof(f->cfg) : BAR_LEN;

	/* The client asks for nothing that the server said is not there. */
	must(io->region == BAR || io->region == VFU_REGION_CONFIG);
	must(io->offset <= len && io->count <= len - io->offset);
	return (io->region == BAR ? f->bar : f->cfg) + io->offset;
}

static void write_reg(struct fuzz *f, const struct vfu_region_io *io,
		      const unsigned char *data)
{
	memcpy(place(f, io), data, io->count);
	/* Another queue, or all of them: not enabled. */
	if (io->region == BAR && (io->offset == VTFS_PCI_QUEUE_SELECT ||
				  io->offset == VTFS_PCI_DEVICE_STATUS))
		memset(f->bar + VTFS_PCI_QUEUE_ENABLE, 0, 2);
	if (io->region == BAR && io->offset == VTFS_PCI_QUEUE_RESET)
		memset(f->bar + VTFS_PCI_QUEUE_RESET, 0, 2);
}

/* ---- the server ---- */

struct message {
	struct vfu_header h;
	unsigned char payload[1024];
};

static void say(struct fuzz *f, const void *buf, size_t len, const int *fds,
		unsigned cnt)
{
	if (f->sock >= 0 && len)
		sock_send(f->sock, buf, len, fds, cnt);
}

static void hang_up(struct fuzz *f)
{
	if (f->sock >= 0)
		close(f->sock);
	f->sock = -1;
}

static bool is_mapped(const struct fuzz *f, const struct vfu_dma_io *io)
{
	for (unsigned i = 0; i < f->map_cnt; i++) {
		uint64_t at = io->address - f->maps[i].addr;

		if (at <= f->maps[i].len && io->count <= f->maps[i].len - at)
			return true;
	}
	return false;
}

/* An answer to a command of the server's: as long as it has to be, and nothing
 * of what was not mapped. */
static void hear_answer(struct fuzz *f, const struct vfu_header *h)
{
	must((h->flags & ~VFU_ERROR) == VFU_TYPE_REPLY);
	must(h->size >= sizeof(*h) && h->size <= HEARD);
	must(!(h->flags & VFU_ERROR) == !h->error);
	if (f->wild)
		return;
	must(f->asked_cnt);
	if (--f->asked_cnt)
		return;
	must(h->command == f->asked_command);
	if (h->flags & VFU_ERROR) {
		must(h->size == sizeof(*h) && h->error);
		return;
	}
	must(is_mapped(f, &f->asked));
	must(h->size == sizeof(*h) + sizeof(f->asked) +
			    (h->command == VFU_DMA_READ ? f->asked.count : 0));
}

/* The next command that is there as a whole. */
static bool next_command(struct fuzz *f, struct message *m)
{
	size_t len;

	if (f->sock < 0)
		return false;
	f->heard_len += sock_recv(f->sock, f->heard + f->heard_len,
				  HEARD - f->heard_len, NULL);
	while (f->heard_len >= sizeof(m->h)) {
		memcpy(&m->h, f->heard, sizeof(m->h));
		len = m->h.size;
		must(len >= sizeof(m->h) && len <= HEARD);
		if (f->heard_len < len)
			return false;
		if ((m->h.flags & VFU_TYPE_MASK) == VFU_TYPE_COMMAND) {
			must(len <= SAID_MAX && !m->h.error);
			memset(m->payload, 0, sizeof(m->payload));
			memcpy(m->payload, f->heard + sizeof(m->h),
			       len - sizeof(m->h));
		} else {
			hear_answer(f, &m->h);
		}
		f->heard_len -= len;
		memmove(f->heard, f->heard + len, f->heard_len);
		if ((m->h.flags & VFU_TYPE_MASK) == VFU_TYPE_COMMAND)
			return true;
	}
	return false;
}

static size_t region_reply(struct message *m)
{
	struct vfu_region_info i;

	memcpy(&i, m->payload, sizeof(i));
	i.flags = VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE;
	i.size = i.index == BAR			? BAR_LEN
		 : i.index == VFU_REGION_CONFIG ? VTFS_PCI_CFG_LEN
						: 0;
	memcpy(m->payload, &i, sizeof(i));
	return sizeof(i);
}

static size_t io_reply(struct fuzz *f, struct message *m)
{
	struct vfu_region_io io;

	memcpy(&io, m->payload, sizeof(io));
	if (m->h.command == VFU_REGION_WRITE) {
		write_reg(f, &io, m->payload + sizeof(io));
		return sizeof(io);
	}
	memcpy(m->payload + sizeof(io), place(f, &io), io.count);
	return sizeof(io) + io.count;
}

static size_t bells_reply(struct message *m)
{
	struct vfu_io_fds head = {.argsz = sizeof(head), .count = 1};
	struct vfu_io_fd sub = {.offset = NOTIFY};

	memcpy(m->payload, &head, sizeof(head));
	memcpy(m->payload + sizeof(head), &sub, sizeof(sub));
	return sizeof(head) + sizeof(sub);
}

/* The honest reply; false: none is due. */
static bool make_reply(struct fuzz *f, struct message *m)
{
	const struct vfu_version v = {VFU_MAJOR, VFU_MINOR};
	const struct vfu_device_info info = {sizeof(info),
					     VFU_DEVICE_PCI | VFU_DEVICE_RESET,
					     VFU_REGIONS, VFU_IRQS};
	const struct vfu_irq_info irq = {sizeof(irq), VFU_IRQ_EVENTFD,
					 VFU_IRQ_MSIX, 3};
	size_t len = 0;

	switch (m->h.command) {
	case VFU_VERSION:
		len = sizeof(v);
		memcpy(m->payload, &v, len);
		break;
	case VFU_GET_INFO:
		len = sizeof(info);
		memcpy(m->payload, &info, len);
		break;
	case VFU_GET_REGION_INFO:
		len = region_reply(m);
		break;
	case VFU_GET_IRQ_INFO:
		len = sizeof(irq);
		memcpy(m->payload, &irq, len);
		break;
	case VFU_GET_REGION_IO_FDS:
		len = bells_reply(m);
		break;
	case VFU_REGION_READ:
	case VFU_REGION_WRITE:
		len = io_reply(f, m);
		break;
	case VFU_DMA_UNMAP:
		len = sizeof(struct vfu_dma_unmap);
		break;
	default:
		must(m->h.command == VFU_RESET || m->h.command == VFU_DMA_MAP ||
		     m->h.command == VFU_SET_IRQS);
	}
	if (m->h.flags & VFU_NO_REPLY)
		return false;
	m->h.flags = VFU_TYPE_REPLY;
	m->h.size = (uint32_t)(sizeof(m->h) + len);
	return true;
}

static void lie(struct fuzz *f, struct message *m)
{
	int fds[KINDS_MAX];
	unsigned cnt = 0;
	size_t len = m->h.size;
	uint16_t at;

	f->wild = true;
	switch (in_u8(f->in) % 12) {
	case 0:
		m->h.command = (uint16_t)in_number(f->in);
		break;
	case 1:
		m->h.flags = (uint32_t)in_number(f->in);
		break;
	case 2:
		m->h.size = (uint32_t)in_number(f->in);
		break;
	case 3:
		len = in_u8(f->in) % len;
		break;
	case 4:
		cnt = in_u8(f->in) % 16;
		for (unsigned i = 0; i < cnt; i++)
			fds[i] = sock_fd(in_u8(f->in) % KIND_CNT);
		break;
	case 5: /* more bytes than are due */
		at = in_u8(f->in);
		in_bytes(f->in, m->payload + (len - sizeof(m->h)), at);
		m->h.size += at;
		len += at;
		break;
	case 6:
		say(f, m, len, NULL, 0);
		break;
	case 7:
		return;
	case 8:
		hang_up(f);
		return;
	case 9:
		say(f, m, len / 2, NULL, 0);
		hang_up(f);
		return;
	case 10:
		m->h.id++;
		break;
	default:
		at = in_u8(f->in) % sizeof(m->payload);
		in_bytes(f->in, m->payload + at, in_u8(f->in) % 64);
	}
	say(f, m, len, fds, cnt);
}

/* Answers at most one command. */
static bool serve(struct fuzz *f)
{
	struct message m;
	int bell = sock_fd(KIND_EVENT);

	if (!next_command(f, &m))
		return false;
	if (!make_reply(f, &m))
		return true;
	/* Most are what they should be, or an input would have to say so
	 * eighty times. */
	if (f->in->len && f->in->p[0] >= 0xf0) {
		in_u8(f->in);
		lie(f, &m);
	} else {
		say(f, &m, m.h.size, &bell,
		    m.h.command == VFU_GET_REGION_IO_FDS);
	}
	return true;
}

/* A command of its own, on memory or on what is none. */
static void ask(struct fuzz *f)
{
	uint8_t how = in_u8(f->in);
	struct message m = {
	    .h = {.id = how,
		  .command = how & 1 ? VFU_DMA_READ : VFU_DMA_WRITE}};
	struct vfu_dma_io io = {AT + in_u16(f->in), in_number(f->in)};

	if (how & 2)
		io.address = in_u64(f->in);
	if (how & 4)
		m.h.command = (uint16_t)in_number(f->in);
	m.h.size = sizeof(m.h) + sizeof(io);
	memcpy(m.payload, &io, sizeof(io));
	if (m.h.command == VFU_DMA_WRITE && io.count <= 64)
		m.h.size += (uint32_t)io.count;
	if (how & 8)
		m.h.size = (uint32_t)(sizeof(m.h) + in_u8(f->in) % 64);
	if (how & 16)
		m.h.flags = VFU_NO_REPLY;
	if (!(how & 24)) {
		f->asked = io;
		f->asked_command = m.h.command;
	}
	f->asked_cnt += !(how & 16);
	f->wild |= how & 8;
	say(f, &m, m.h.size, NULL, 0);
}

/* ---- the client ---- */

static int map(struct fuzz *f, uint8_t how)
{
	const struct virtiofs_region r = {
	    .size = sizeof(r),
	    .addr = sock_mem[0] + (how >> 1 & 3) * 0x4000u,
	    .len = how & 8 ? 0x1000 : 0x4000,
	    .fd_offset = (how >> 1 & 3) * 0x4000u,
	    .fd = sock_fd(KIND_MEM),
	};
	int ret = f->t->cli->map(f->t, &r, &f->mapped[how >> 1 & 3]);

	if (ret == 0) {
		must(f->map_cnt < 256);
		f->maps[f->map_cnt].addr = (uintptr_t)r.addr;
		f->maps[f->map_cnt++].len = r.len;
	}
	return ret;
}

static int start_queue(struct fuzz *f, uint8_t how)
{
	uint64_t at = AT + (how & 3) * 0x1000u;
	const struct vtfs_queue_setup q = {
	    .vq = how & 3,
	    .num = 8,
	    .desc = at,
	    .driver = at + 0x400,
	    .device = at + 0x800,
	    .kick_fd = sock_fd(KIND_EVENT),
	    .call_fd = how & 8 ? -1 : sock_fd(KIND_BLOCKING),
	    .enabled = true,
	};
	int r = f->t->cli->start_queue(f->t, &q);

	f->has_line = r >= 0;
	if (r >= 0)
		f->t->cli->queue_line(f->t, q.vq, &f->line);
	return r;
}

static int call(struct fuzz *f, uint8_t op, uint8_t how)
{
	const struct vtfs_cli_ops *cli = f->t->cli;
	uint64_t features = VIRTIOFS_F_VERSION_1;
	unsigned char buf[VTFS_CONFIG_MAX];
	uint32_t max;
	unsigned cnt;
	uint8_t status;
	int r;

	switch (op) {
	case 0:
		return cli->get_features(f->t, &features);
	case 1:
		if (how & 1)
			features |= VIRTIOFS_F_RING_RESET;
		return cli->set_features(f->t, features | (uint64_t)(how >> 1)
							      << 33);
	case 2:
		return cli->queue_cnt(f->t, &cnt);
	case 3:
		return cli->get_config(f->t, buf, how % sizeof(buf), 0);
	case 4:
		return cli->get_status(f->t, &status);
	case 5:
		return cli->set_status(f->t, how % 16);
	case 6:
		return map(f, how);
	case 7:
		return cli->unmap(f->t, f->mapped[how & 3]);
	case 8:
		return cli->queue_max(f->t, how & 7, &max);
	case 9:
	case 10:
		return start_queue(f, how);
	case 11:
		return cli->stop_queue(f->t, how & 3);
	}
	r = cli->connect(f->t);
	f->connects += r == 0;
	return r;
}

/* Until nothing is to be done: what is, takes a bounded number of calls. */
static void look(struct fuzz *f)
{
	struct pollfd p = {.fd = f->t->fd(f->t), .events = POLLIN};
	unsigned turns = 0;
	int r = 0;

	while (poll(&p, 1, 0) == 1 && r >= 0 && turns++ < 100)
		r = f->t->cli->dispatch(f->t);
	must(r == 0 || r == -ENOTCONN);
}

/* An op with the server's answers in between; now and then it is given up. */
static int carry_out(struct fuzz *f, uint8_t op, uint8_t how)
{
	struct pollfd p = {.fd = f->t->fd(f->t), .events = POLLIN};
	int r = call(f, op, how);

	for (unsigned i = 0; r == -EAGAIN && i < SERVES; i++) {
		if (!serve(f) && poll(&p, 1, 0) != 1) {
			if (f->waits++ >= WAITS || poll(&p, 1, 2) != 1)
				break;
		}
		r = call(f, op, how);
	}
	must(r <= 0);
	return r;
}

static void ring(struct fuzz *f, uint8_t how)
{
	if (f->has_line && f->line.doorbell.kind == VTFS_DOORBELL_CALL)
		f->line.doorbell.call(f->t, how & 3, how);
}

static void command(struct fuzz *f)
{
	unsigned char buf[64];
	uint8_t op = in_u8(f->in);

	switch (op % 32) {
	case 16:
		in_bytes(f->in, buf, op / 4);
		f->wild = true;
		say(f, buf, op / 4, NULL, 0);
		break;
	case 17:
	case 18:
		ask(f);
		break;
	case 19:
		look(f);
		break;
	case 20:
		call(f, in_u8(f->in) % 13, in_u8(f->in));
		break;
	case 21:
		serve(f);
		break;
	case 22: /* registers */
		op = in_u8(f->in);
		in_bytes(f->in, f->bar + op, in_u8(f->in) % 16);
		break;
	case 23:
		ring(f, in_u8(f->in));
		break;
	default:
		carry_out(f, op % 13, in_u8(f->in));
	}
}

/* What the function claims to be. */
static void poke_cfg(struct fuzz *f)
{
	uint8_t cnt = in_u8(f->in) % 8;

	while (cnt--) {
		uint8_t at = in_u8(f->in);

		f->cfg[at] = in_u8(f->in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	static struct fuzz f;
	int sv[2], fd;

	sock_reset();
	memset(&f, 0, sizeof(f));
	f.in = &in;
	make_function(&f);
	poke_cfg(&f);
	fd = fuzz_next_fd();
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
	must(!virtiofs_vfio_user_client_fd(&f.t, sv[0]));
	f.sock = sv[1];
	f.sink.ops = &sink_ops;
	f.sink.log = &f.log;
	must(!f.t->cli->attach(f.t, &f.sink));
	carry_out(&f, 12, 0);
	while (!in_end(&in))
		command(&f);
	hang_up(&f);
	/* Lost, and there is no second connection. */
	for (unsigned i = 0; i < 4; i++)
		carry_out(&f, 12, 0);
	must(carry_out(&f, 4, 0) == -ENOTCONN);
	look(&f);
	/* Each is told once. */
	must(f.losses <= f.connects + 1);
	virtiofs_transport_free(f.t);
	must(fuzz_next_fd() == fd);
	return 0;
}
