/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dmahost.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <virtiofs/fuse_kernel.h>

#include "base/bytes.h"
#include "base/iovcur.h"

/* ---- the program ---- */

static int on_request(struct virtiofs_req *req)
{
	struct dmahost *d = req->userdata;
	const struct fuse_read_in *in = req->arg;
	struct vtfs_iovcur cur;

	d->requests++;
	if (req->data_cnt)
		d->data_at = (uintptr_t)req->data->iov_base % 4096;
	if (req->room_cnt)
		d->room_at = (uintptr_t)req->room->iov_base % 4096;
	if (d->hold && !d->held) {
		d->held = req;
		return 0;
	}
	if (req->in->opcode == FUSE_READ) {
		for (unsigned i = 0; i < req->room_cnt; i++)
			memset(req->room[i].iov_base, (int)in->offset,
			       req->room[i].iov_len);
		return virtiofs_req_filled(req, in->size);
	}
	if (req->in->opcode == FUSE_WRITE) {
		struct fuse_write_out out = {.size = req->data_len};

		vtfs_iovcur_init(&cur, req->data, req->data_cnt);
		d->written_len = vtfs_iovcur_pull(&cur, d->written,
						  req->data_len);
		return virtiofs_req_reply(req, &out, sizeof(out));
	}
	return virtiofs_req_error(req, -ENOSYS);
}

static void on_reset(void *userdata)
{
	((struct dmahost *)userdata)->resets++;
}

/* ---- the device's commands ---- */

unsigned char *dh_at(struct dmahost *d, uint64_t addr)
{
	return d->mem + (addr - DH_GUEST);
}

static char kind(const struct dmahost *d, const struct vfu_dma_io *io)
{
	uint64_t at = io->address - DH_GUEST;
	uint64_t in = at % DH_RING;

	if (at >= DH_RING * DH_QUEUES)
		return 'b';
	if (in < 0x4000)
		return 'd';
	if (in < 0x8000)
		return 'a';
	if (in == 0x8002)
		return 'i';
	return in == 0x8004 + 8 * d->num ? 'e' : 'u';
}

static void note(struct dmahost *d, const struct dh_io *in)
{
	size_t at = strlen(d->text);
	bool write = in->hdr.command == VFU_DMA_WRITE;

	d->writes += write;
	d->reads += !write;
	if (in->io.count > d->largest)
		d->largest = in->io.count;
	if (at + 4 < sizeof(d->text)) {
		d->text[at] = write ? 'w' : 'r';
		d->text[at + 1] = kind(d, &in->io);
		d->text[at + 2] = ' ';
	}
}

static void answer(struct dmahost *d, struct dh_io *in)
{
	struct dh_answer out = {.hdr = in->hdr, .len = sizeof(in->io)};
	bool ok = vtfs_range_ok(DH_GUEST, DH_MEM, in->io.address, in->io.count);

	out.hdr.flags = VFU_TYPE_REPLY;
	memcpy(out.bytes, &in->io, sizeof(in->io));
	d->outside += !ok;
	if (!ok) {
		out.hdr.flags |= VFU_ERROR;
		out.hdr.error = EFAULT;
		out.len = 0;
	} else if (in->hdr.command == VFU_DMA_READ) {
		memcpy(out.bytes + sizeof(in->io), dh_at(d, in->io.address),
		       in->io.count);
		out.len += in->io.count;
	}
	if (d->lie && !d->lie(d, in, &out))
		return;
	if (ok && !in->applied && in->hdr.command == VFU_DMA_WRITE &&
	    !(out.hdr.flags & VFU_ERROR))
		memcpy(dh_at(d, in->io.address), in->data, in->io.count);
	out.hdr.size = (uint32_t)(sizeof(out.hdr) + out.len);
	if (send(d->h.sock, &out.hdr, sizeof(out.hdr), MSG_NOSIGNAL) < 0)
		return;
	if (out.len)
		send(d->h.sock, out.bytes, out.len, MSG_NOSIGNAL);
}

static void serve(struct dmahost *d)
{
	struct dh_io *in = calloc(1, sizeof(*in));
	size_t len;

	assert_int_equal(recv(d->h.sock, &in->hdr, sizeof(in->hdr), 0),
			 sizeof(in->hdr));
	assert_int_equal(in->hdr.error, 0);
	assert_int_equal(in->hdr.flags, 0);
	assert_int_equal(recv(d->h.sock, &in->io, sizeof(in->io), MSG_WAITALL),
			 sizeof(in->io));
	len = in->hdr.size - sizeof(in->hdr) - sizeof(in->io);
	assert_int_equal(len,
			 in->hdr.command == VFU_DMA_WRITE ? in->io.count : 0);
	if (len)
		assert_int_equal(recv(d->h.sock, in->data, len, MSG_WAITALL),
				 len);
	in->len = len;
	note(d, in);
	if (d->keep) {
		assert_true(d->kept_cnt < 64);
		d->kept[d->kept_cnt++] = in;
		return;
	}
	answer(d, in);
	free(in);
}

void dh_answer(struct dmahost *d, unsigned cnt)
{
	assert_true(cnt <= d->kept_cnt);
	for (unsigned i = 0; i < cnt; i++) {
		answer(d, d->kept[i]);
		free(d->kept[i]);
	}
	d->kept_cnt -= cnt;
	memmove(d->kept, d->kept + cnt, d->kept_cnt * sizeof(d->kept[0]));
	dh_pump(d);
}

void dh_apply(struct dmahost *d, unsigned i)
{
	struct dh_io *in = d->kept[i];

	in->applied = true;
	assert_int_equal(in->hdr.command, VFU_DMA_WRITE);
	memcpy(dh_at(d, in->io.address), in->data, in->io.count);
}

void dh_answer_one(struct dmahost *d, unsigned i)
{
	struct dh_io *in = d->kept[i];

	memmove(d->kept + 1, d->kept, i * sizeof(d->kept[0]));
	d->kept[0] = in;
	dh_answer(d, 1);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Is a whole command there? Half of one is as good as none. */
static bool is_command(struct dmahost *d)
{
	struct vfu_header hdr;

	return recv(d->h.sock, &hdr, sizeof(hdr), MSG_PEEK | MSG_DONTWAIT) ==
		   sizeof(hdr) &&
	       (hdr.flags & VFU_TYPE_MASK) == VFU_TYPE_COMMAND;
}

static void pump(struct vfuhost *h)
{
	struct dmahost *d = (struct dmahost *)h;
	bool more;

	do {
		more = false;
		while (readable(virtiofs_device_fd(d->dev))) {
			int r = virtiofs_device_dispatch(d->dev);

			assert_true(r >= 0);
		}
		while (h->sock >= 0 && is_command(d)) {
			serve(d);
			more = true;
		}
	} while (more);
}

void dh_pump(struct dmahost *d)
{
	pump(&d->h);
}

/* ---- set-up ---- */

int dh_set_up(void **state)
{
	struct dmahost *d = calloc(1, sizeof(*d));
	static const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops), .request = on_request, .reset = on_reset};
	struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = "dma",
	    .features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_PACKED |
			VIRTIOFS_F_IN_ORDER | VIRTIOFS_F_RING_RESET};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct virtiofs_transport *t;

	d->h.sa.sun_family = AF_UNIX;
	assert_int_equal(
	    bind(fd, (struct sockaddr *)&d->h.sa, sizeof(sa_family_t)), 0);
	d->h.sa_len = sizeof(d->h.sa);
	getsockname(fd, (struct sockaddr *)&d->h.sa, &d->h.sa_len);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(virtiofs_vfio_user_listen_fd(&t, fd), 0);
	assert_int_equal(virtiofs_device_new(&d->dev, t, &ops, &opts, d), 0);
	d->mem = calloc(1, DH_MEM);
	d->num = 64;
	d->h.t = t;
	d->h.pump = pump;
	d->h.sock = -1;
	for (unsigned i = 0; i <= DH_QUEUES; i++)
		d->calls[i] = vh_eventfd();
	dh_dial(d);
	*state = d;
	return 0;
}

static void forget(struct dmahost *d)
{
	for (unsigned i = 0; i < d->kept_cnt; i++)
		free(d->kept[i]);
	d->kept_cnt = 0;
	for (unsigned i = 0; i < DH_QUEUES; i++) {
		vtfs_vq_drv_free(d->drv[i]);
		d->drv[i] = NULL;
	}
}

int dh_tear_down(void **state)
{
	struct dmahost *d = *state;

	virtiofs_device_free(d->dev);
	assert_int_equal(d->outside, 0);
	forget(d);
	for (unsigned i = 0; i <= DH_QUEUES; i++)
		close(d->calls[i]);
	close(d->h.sock);
	free(d->mem);
	free(d);
	return 0;
}

void dh_dial(struct dmahost *d)
{
	forget(d);
	vh_dial(&d->h);
	vh_version(&d->h, "{\"capabilities\":{\"max_msg_fds\":8,"
			  "\"max_data_xfer_size\":1048576}}");
}

static void put(struct dmahost *d, uint32_t off, uint32_t len, uint32_t v)
{
	assert_int_equal(vh_write(&d->h, 0, off, len, v), 0);
}

static void make_queue(struct dmahost *d, unsigned i)
{
	uint64_t at = DH_GUEST + DH_RING * i;
	unsigned char *mem = dh_at(d, at);
	const struct vtfs_vq_conf conf = {
	    .flags = vtfs_features_vq_flags(d->features),
	    .num = d->num,
	    .desc = mem,
	    .driver = mem + 0x4000,
	    .device = mem + 0x8000,
	    .indirect = mem + 0xa000,
	    .indirect_peer_addr = at + 0xa000,
	    .indirect_max = 16};

	assert_int_equal(vtfs_vq_drv_new(&d->drv[i], &conf), 0);
	vtfs_vq_drv_arm(d->drv[i]);
	put(d, VTFS_PCI_QUEUE_SELECT, 2, i);
	put(d, VTFS_PCI_QUEUE_SIZE, 2, d->num);
	put(d, VTFS_PCI_QUEUE_VECTOR, 2, i + 1);
	put(d, VTFS_PCI_QUEUE_DESC, 4, (uint32_t)at);
	put(d, VTFS_PCI_QUEUE_DRIVER, 4, (uint32_t)at + 0x4000);
	put(d, VTFS_PCI_QUEUE_DEVICE, 4, (uint32_t)at + 0x8000);
	put(d, VTFS_PCI_QUEUE_ENABLE, 2, 1);
}

void dh_up(struct dmahost *d, uint64_t features)
{
	struct vfuhost *h = &d->h;

	d->features = features | VIRTIOFS_F_VERSION_1;
	features = d->features | VTFS_F_ACCESS_PLATFORM;
	assert_int_equal(vh_irq_fds(h, d->calls, DH_QUEUES + 1), 0);
	vh_write(h, VFU_REGION_CONFIG, VTFS_PCI_COMMAND, 2, 6);
	vh_write(h, VFU_REGION_CONFIG,
		 VTFS_PCIFN_CAP_MSIX + VTFS_PCI_MSIX_CONTROL, 2,
		 VTFS_PCI_MSIX_ENABLE);
	put(d, VTFS_PCI_DEVICE_STATUS, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		put(d, VTFS_PCI_DRIVER_FEATURE_SELECT, 4, i);
		put(d, VTFS_PCI_DRIVER_FEATURE, 4,
		    (uint32_t)(features >> 32 * i));
	}
	put(d, VTFS_PCI_DEVICE_STATUS, 1, 11);
	for (unsigned i = 0; i < DH_QUEUES; i++)
		make_queue(d, i);
	put(d, VTFS_PCI_DEVICE_STATUS, 1, 15);
}

void dh_open(struct dmahost *d, uint64_t features)
{
	struct fuse_init_in in = {.major = 7, .minor = 45};
	const uint64_t at = DH_GUEST + DH_BUFS;
	uint16_t token;
	uint32_t len;

	assert_int_equal(vh_map(&d->h, DH_GUEST, DH_MEM, 3, -1), 0);
	dh_up(d, features);
	assert_int_equal(vh_status(&d->h), 15);
	len = dh_frame(d, DH_BUFS, FUSE_INIT, &in, sizeof(in), 0);
	dh_post(d, 1, (struct vtfs_vq_buf[]){{at, len}, {at + 4096, 16 + 64}},
		1, 1, 3);
	dh_pump(d);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(token, 3);
	assert_int_equal(len, 16 + 64);
	for (unsigned i = 0; i <= DH_QUEUES; i++)
		vh_heard(d->calls[i]);
	memset(d->text, 0, sizeof(d->text));
	d->reads = d->writes = 0;
}

/* ---- the driver ---- */

void dh_kick(struct dmahost *d, unsigned vq)
{
	struct {
		struct vfu_region_io io;
		uint16_t v;
	} msg = {{VTFS_PCIFN_NOTIFY + vq * 4, 0, 2}, htole16((uint16_t)vq)};

	vh_send(&d->h, VFU_REGION_WRITE, VFU_NO_REPLY, &msg,
		sizeof(msg.io) + 2);
}

void dh_post(struct dmahost *d, unsigned vq, const struct vtfs_vq_buf *bufs,
	     unsigned readable_cnt, unsigned writable_cnt, uint16_t token)
{
	assert_int_equal(vtfs_vq_drv_add(d->drv[vq], bufs, readable_cnt,
					 writable_cnt, token),
			 0);
	if (vtfs_vq_drv_publish(d->drv[vq]))
		dh_kick(d, vq);
}

bool dh_used(struct dmahost *d, unsigned vq, uint16_t *token, uint32_t *len)
{
	int r = vtfs_vq_drv_get(d->drv[vq], token, len);

	assert_true(r >= 0);
	if (!r && vtfs_vq_drv_arm(d->drv[vq]) == 1)
		r = vtfs_vq_drv_get(d->drv[vq], token, len);
	return r == 1;
}

uint32_t dh_frame(struct dmahost *d, uint32_t off, uint32_t opcode,
		  const void *args, uint32_t len, uint32_t data)
{
	struct fuse_in_header in = {.len = (uint32_t)sizeof(in) + len + data,
				    .opcode = opcode,
				    .unique = 0x1000 + off,
				    .nodeid = 1};

	memcpy(d->mem + off, &in, sizeof(in));
	if (len)
		memcpy(d->mem + off + sizeof(in), args, len);
	return (uint32_t)sizeof(in) + len;
}
