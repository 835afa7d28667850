/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device behind a vfio-user socket, and a client that sends anything:
 * commands right or wrong, with file descriptors of all kinds, cut anywhere;
 * registers in any order; rings of its own; it leaves when it likes and comes
 * again. Its memory may have no file descriptor: then it answers the device's
 * commands, right or wrong.
 */
#include "command.h"
#include "front.h"
#include "program.h"
#include "transport/virtio_pci/function.h"
#include "wire/vfio_user.h"
#include "wire/virtio.h"

#define HEAR_MAX 0x40000u
#define ROUNDS	 64u /* of commands of the device's, in a row */

struct fuzz {
	struct front front;
	struct program program;
	uint16_t id;
	bool no_fd; /* of the memory */
};

/* cut: bytes that are sent first, or 0. */
static void send_command(struct fuzz *f, const struct command *c,
			 const struct vfu_header *h, size_t cut)
{
	unsigned char buf[sizeof(*h) + COMMAND_MAX];
	size_t len = sizeof(*h) + c->len;

	memcpy(buf, h, sizeof(*h));
	memcpy(buf + sizeof(*h), c->payload, c->len);
	cut %= len;
	if (cut)
		front_send(&f->front, buf, cut, c->fds, c->fd_cnt);
	front_send(&f->front, buf + cut, len - cut, c->fds,
		   cut ? 0 : c->fd_cnt);
}

static struct vfu_header head_of(struct fuzz *f, const struct command *c)
{
	return (struct vfu_header){
	    .id = ++f->id,
	    .command = c->number,
	    .size = (uint32_t)(sizeof(struct vfu_header) + c->len),
	};
}

static void say(struct fuzz *f, const struct command *c)
{
	const struct vfu_header h = head_of(f, c);

	send_command(f, c, &h, 0);
}

/* ---- what the device says ---- */

struct dma {
	struct vfu_header h;
	struct vfu_dma_io io;
	unsigned char data[1 << 16];
};

/* Memory behind an address, if all of it is there. */
static unsigned char *memory_at(const struct vfu_dma_io *io)
{
	uint64_t off = io->address - FRONT_GUEST;

	if (off >= 2 * KIND_LEN || io->count > KIND_LEN - off % KIND_LEN)
		return NULL;
	return sock_mem[off / KIND_LEN] + off % KIND_LEN;
}

/* How an answer lies. */
static void spoil(struct fuzz *f, struct dma *d, size_t *len)
{
	struct input *in = f->front.in;

	switch (in_u8(in)) {
	case 1:
		d->h.flags |= VFU_ERROR;
		d->h.error = in_u8(in);
		*len = in_u8(in) % 2;
		break;
	case 2:
		d->io.count = in_number(in);
		break;
	case 3:
		d->io.address = in_number(in);
		break;
	case 4:
		*len = in_u16(in) % (sizeof(d->io) + sizeof(d->data));
		break;
	case 5:
		d->h.id = (uint16_t)(d->h.id + in_u8(in));
		break;
	case 6:
		d->h.command = in_u8(in);
		break;
	case 7:
		d->h.flags = in_u8(in);
		break;
	case 8: /* Less, and it says so. */
		d->io.count /= 2;
		*len = sizeof(d->io);
		if (d->h.command == VFU_DMA_READ)
			*len += d->io.count;
		break;
	default: /* Right. */
		break;
	}
}

static void answer(struct fuzz *f, const unsigned char *msg)
{
	static struct dma d;
	size_t len = sizeof(d.io);
	unsigned char *p;

	memcpy(&d, msg, sizeof(d.h) + sizeof(d.io));
	must(d.h.command == VFU_DMA_READ || d.h.command == VFU_DMA_WRITE);
	must(!d.h.error && d.io.count && d.io.count <= sizeof(d.data));
	p = memory_at(&d.io);
	d.h.flags = VFU_TYPE_REPLY;
	if (!p) {
		d.h.flags |= VFU_ERROR;
		d.h.error = 14;
		len = 0;
	} else if (d.h.command == VFU_DMA_READ) {
		must(d.h.size == sizeof(d.h) + sizeof(d.io));
		memcpy(d.data, p, d.io.count);
		len += d.io.count;
	} else {
		must(d.h.size == sizeof(d.h) + sizeof(d.io) + d.io.count);
		memcpy(p, msg + sizeof(d.h) + sizeof(d.io), d.io.count);
		len = 0;
	}
	spoil(f, &d, &len);
	d.h.size = (uint32_t)(sizeof(d.h) + len);
	if (f->front.sock >= 0)
		sock_send(f->front.sock, &d, d.h.size, NULL, 0);
}

/* Each message is one, and whole. True: the device asked for something. */
static bool hear_some(struct fuzz *f)
{
	static unsigned char buf[HEAR_MAX];
	size_t n = 0, at = 0, more;
	bool asked = false;
	struct vfu_header h;

	if (f->front.sock < 0)
		return false;
	while ((more = sock_recv(f->front.sock, buf + n, sizeof(buf) - n,
				 NULL)) > 0)
		n += more;
	while (n - at >= sizeof(h)) {
		memcpy(&h, buf + at, sizeof(h));
		must(h.size >= sizeof(h) && h.size <= n - at);
		if (h.flags) {
			must((h.flags & ~VFU_ERROR) == VFU_TYPE_REPLY);
			must(!(h.flags & VFU_ERROR) == !h.error);
		} else {
			answer(f, buf + at);
			asked = true;
		}
		at += h.size;
	}
	must(at == n);
	return asked;
}

static void hear(struct fuzz *f)
{
	for (unsigned i = 0; i < ROUNDS && hear_some(f); i++)
		front_run(&f->front);
}

/* ---- as it should be ---- */

static void say_version(struct fuzz *f)
{
	static const char json[] = "{\"capabilities\":{\"max_msg_fds\":8,"
				   "\"write_multiple\":true}}";
	const struct vfu_version v = {VFU_MAJOR, VFU_MINOR};
	struct command c = {.number = VFU_VERSION};

	command_add(&c, &v, sizeof(v));
	command_add(&c, json, sizeof(json));
	say(f, &c);
}

static void say_memory(struct fuzz *f, unsigned i)
{
	const struct vfu_dma_map m = {
	    .argsz = sizeof(m),
	    .flags = VFU_DMA_READABLE | VFU_DMA_WRITABLE,
	    .address = FRONT_GUEST + i * KIND_LEN,
	    .size = KIND_LEN,
	};
	struct command c = {.number = VFU_DMA_MAP,
			    .fds = {sock_fd(KIND_MEM + i)},
			    .fd_cnt = !f->no_fd};

	command_add(&c, &m, sizeof(m));
	say(f, &c);
}

static void say_irqs(struct fuzz *f)
{
	const struct vfu_irq_set s = {
	    .argsz = sizeof(s),
	    .flags = VFU_IRQ_DATA_EVENTFD | VFU_IRQ_ACTION_TRIGGER,
	    .index = VFU_IRQ_MSIX,
	    .count = 2,
	};
	struct command c = {
	    .number = VFU_SET_IRQS,
	    .fds = {sock_fd(KIND_BLOCKING), sock_fd(KIND_BLOCKING)},
	    .fd_cnt = 2};

	command_add(&c, &s, sizeof(s));
	say(f, &c);
}

static void say_reg(struct fuzz *f, uint32_t region, uint64_t offset,
		    uint64_t value, uint32_t width)
{
	const struct vfu_region_io io = {offset, region, width};
	struct command c = {.number = VFU_REGION_WRITE};

	command_add(&c, &io, sizeof(io));
	command_add(&c, &value, width);
	say(f, &c);
}

static void say_ring(struct fuzz *f, unsigned i)
{
	uint64_t at = FRONT_GUEST + i * FRONT_RING_LEN;

	front_clear_ring(&f->front, i);
	say_reg(f, 0, VTFS_PCI_QUEUE_SELECT, i, 2);
	say_reg(f, 0, VTFS_PCI_QUEUE_SIZE, FRONT_RING_NUM, 2);
	say_reg(f, 0, VTFS_PCI_QUEUE_VECTOR, i, 2);
	say_reg(f, 0, VTFS_PCI_QUEUE_DESC, at, 8);
	say_reg(f, 0, VTFS_PCI_QUEUE_DRIVER, at + FRONT_AVAIL_AT, 8);
	say_reg(f, 0, VTFS_PCI_QUEUE_DEVICE, at + FRONT_USED_AT, 8);
	say_reg(f, 0, VTFS_PCI_QUEUE_ENABLE, 1, 2);
}

static void ring_bell(struct fuzz *f, unsigned i)
{
	say_reg(f, 0, VTFS_PCIFN_NOTIFY + i * VTFS_PCIFN_NOTIFY_STEP, i, 2);
}

static void say_driver(struct fuzz *f, uint8_t how)
{
	uint8_t status = VTFS_STATUS_ACKNOWLEDGE | VTFS_STATUS_DRIVER;
	uint64_t features = VIRTIOFS_F_VERSION_1;

	if (how & 1)
		features |= VIRTIOFS_F_RING_PACKED;
	if (how & 2)
		features |= VIRTIOFS_F_EVENT_IDX | VIRTIOFS_F_INDIRECT_DESC;
	if (how & 4)
		features |= VIRTIOFS_F_RING_RESET;
	f->front.features = features;
	say_reg(f, VFU_REGION_CONFIG, VTFS_PCI_COMMAND,
		VTFS_PCI_COMMAND_MEMORY | VTFS_PCI_COMMAND_MASTER, 2);
	if (how & 8)
		say_reg(f, VFU_REGION_CONFIG,
			VTFS_PCIFN_CAP_MSIX + VTFS_PCI_MSIX_CONTROL,
			VTFS_PCI_MSIX_ENABLE, 2);
	say_reg(f, 0, VTFS_PCI_DEVICE_STATUS, 0, 1);
	say_reg(f, 0, VTFS_PCI_DEVICE_STATUS, status, 1);
	for (unsigned i = 0; i < 2; i++) {
		say_reg(f, 0, VTFS_PCI_DRIVER_FEATURE_SELECT, i, 4);
		say_reg(f, 0, VTFS_PCI_DRIVER_FEATURE,
			(uint32_t)(features >> 32 * i), 4);
	}
	status |= VTFS_STATUS_FEATURES_OK;
	say_reg(f, 0, VTFS_PCI_DEVICE_STATUS, status, 1);
	for (unsigned i = 0; i < 2; i++)
		say_ring(f, i);
	status |= VTFS_STATUS_DRIVER_OK;
	say_reg(f, 0, VTFS_PCI_DEVICE_STATUS, status, 1);
	front_init(&f->front);
	ring_bell(f, 1);
}

static void say_all(struct fuzz *f, uint8_t how)
{
	say_version(f);
	say_memory(f, 0);
	say_memory(f, 1);
	say_irqs(f);
	say_driver(f, how);
}

/* ---- or not ---- */

static void message(struct fuzz *f, uint8_t lie)
{
	struct input *in = f->front.in;
	struct command c = {.number = in_u8(in) % (VFU_COMMANDS + 1)};
	struct vfu_header h;

	command_put(in, &c);
	if (lie & 1 && (lie & 14) == 12)
		for (c.fd_cnt = 0; c.fd_cnt < lie / 16u; c.fd_cnt++)
			c.fds[c.fd_cnt] = sock_fd(in_u8(in) % KIND_CNT);
	h = head_of(f, &c);
	if ((lie & 14) == 6)
		h.flags = in_u8(in);
	if ((lie & 14) == 10)
		h.size = (uint32_t)in_number(in);
	send_command(f, &c, &h, (lie & 14) == 4 ? in_u8(in) : 0);
}

static void poke(struct fuzz *f, uint8_t how)
{
	front_poke(&f->front, how);
	ring_bell(f, how % 2);
}

static void command(struct fuzz *f)
{
	struct input *in = f->front.in;
	uint8_t op = in_u8(in);
	unsigned i = (op >> 4) % 2;

	switch (op % 16) {
	case 9:
		poke(f, op >> 4);
		break;
	case 10:
	case 11:
		front_request(&f->front, i);
		ring_bell(f, i);
		break;
	case 12:
		program_reply(&f->program);
		front_run(&f->front);
		break;
	case 13:
		say_driver(f, op >> 4);
		break;
	case 14:
		say_all(f, op >> 4);
		break;
	case 15:
		if (op >> 4 < 12)
			break;
		if (op & 16)
			front_hang_up(&f->front);
		else
			front_again(&f->front);
		break;
	default:
		message(f, in_u8(in));
	}
	hear(f);
}

/* The next one is served. */
static void finish(struct fuzz *f)
{
	struct vfu_header answer;

	if (!front_leave(&f->front, &f->program))
		return;
	say_version(f);
	must(sock_recv(f->front.sock, &answer, sizeof(answer), NULL) ==
	     sizeof(answer));
	must(answer.command == VFU_VERSION && !answer.error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	struct fuzz f = {.front = {.in = &in, .vfio_user = true},
			 .program.in = &in};
	uint8_t how = in_u8(&in);

	front_begin(&f.front, &f.program, "fuzz", how & 64);
	f.no_fd = how & 1;
	if (how & 2)
		say_all(&f, how >> 2);
	while (!in_end(&in))
		command(&f);
	finish(&f);
	front_end(&f.front);
	return 0;
}
