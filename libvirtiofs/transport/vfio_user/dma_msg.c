/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* DMA_READ and DMA_WRITE, and what the client answers. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vfio_user/device.h"

/* ---- what may be accessed ---- */

uint64_t vtfs_vfu_dma_allowed(const struct vfu_device *d, uint64_t addr,
			      uint64_t len, uint16_t command)
{
	uint32_t flag = command == VFU_DMA_READ ? VFU_DMA_READABLE
						: VFU_DMA_WRITABLE;

	for (unsigned i = 0; i < d->map_cnt; i++) {
		const struct vfu_map *m = &d->maps[i];

		if (!vtfs_range_ok(m->address, m->size, addr, 1))
			continue;
		if (!(m->flags & flag))
			return 0;
		return vtfs_min_u64(len, m->size - (addr - m->address));
	}
	return 0;
}

/* ---- jobs ---- */

void vtfs_vfu_job_submit(struct vfu_device *d, struct vfu_job *job)
{
	job->next = NULL;
	job->queued = true;
	job->range = 0;
	job->off = 0;
	job->sent = 0;
	job->good = job->len;
	job->waits = 0;
	job->error = 0;
	*d->dma.last = job;
	d->dma.last = &job->next;
}

static void unqueue(struct vfu_dma *dma, struct vfu_job *job)
{
	struct vfu_job **at = &dma->first;

	if (!job->queued)
		return;
	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	if (!*at)
		dma->last = at;
	job->queued = false;
}

void vtfs_vfu_job_drop(struct vfu_device *d, struct vfu_job *job)
{
	unqueue(&d->dma, job);
	for (unsigned i = 0; i < VFU_DMA_WINDOW; i++)
		if (d->dma.sent[i].job == job)
			d->dma.sent[i].job = NULL;
	job->waits = 0;
}

static void finish(struct vfu_job *job)
{
	if (!job->queued && !job->waits)
		job->done(job, job->error);
}

static void fail(struct vfu_dma *dma, struct vfu_job *job, uint64_t at, int r)
{
	job->error = r;
	job->good = vtfs_min_u64(job->good, at);
	unqueue(dma, job);
}

/* ---- sending ---- */

static int put(struct vfu_device *d, const struct vfu_sent *s)
{
	struct {
		struct vfu_dma_io io;
		unsigned char data[VFU_DMA_CHUNK];
	} msg;
	struct vfu_out out = {.id = (uint16_t)s->seq,
			      .command = s->command,
			      .flags = VFU_TYPE_COMMAND,
			      .payload = &msg,
			      .len = sizeof(msg.io)};

	msg.io = (struct vfu_dma_io){.address = s->addr, .count = s->len};
	if (s->command == VFU_DMA_WRITE) {
		memcpy(msg.data, s->job->base + s->at, s->len);
		out.len += s->len;
	}
	return vtfs_vfu_tx_put(&d->tx, &out);
}

/* The next bytes of job that go with one message; 0: they may not. */
static uint32_t next_piece(struct vfu_device *d, struct vfu_job *job,
			   uint64_t *ret_addr)
{
	const struct vtfs_range *r = &job->ranges[job->range];
	uint64_t len;

	while (job->off == r->len) {
		job->off = 0;
		r = &job->ranges[++job->range];
	}
	len = vtfs_min_u64(r->len - job->off, job->len - job->sent);
	len = vtfs_min_u64(len, vtfs_min_u64(VFU_DMA_CHUNK, d->peer.max_xfer));
	*ret_addr = r->addr + job->off;
	return (uint32_t)vtfs_vfu_dma_allowed(d, *ret_addr, len, job->command);
}

static void advance(struct vfu_dma *dma, struct vfu_job *job, uint32_t len)
{
	job->off += len;
	job->sent += len;
	if (job->sent == job->len)
		unqueue(dma, job);
}

/* Some of job. False: later. */
static bool send_some(struct vfu_device *d, struct vfu_job *job)
{
	struct vfu_dma *dma = &d->dma;
	struct vfu_sent *s = &dma->sent[dma->seq % VFU_DMA_WINDOW];
	uint64_t addr;
	uint32_t len = next_piece(d, job, &addr);

	if (!len) {
		fail(dma, job, job->sent, -EFAULT);
		finish(job);
		return true;
	}
	if (s->busy || (dma->bytes && dma->bytes + len > VFU_DMA_BUDGET))
		return false;
	*s = (struct vfu_sent){.busy = true,
			       .seq = dma->seq,
			       .job = job,
			       .command = job->command,
			       .addr = addr,
			       .at = job->sent,
			       .len = len};
	if (put(d, s) < 0) {
		s->busy = false;
		fail(dma, job, job->sent, -ENOMEM);
		finish(job);
		return true;
	}
	dma->seq++;
	dma->busy++;
	dma->bytes += len;
	job->waits++;
	advance(dma, job, len);
	return true;
}

void vtfs_vfu_dma_pump(struct vfu_device *d)
{
	while (d->dma.first && d->port.conn >= 0) {
		if (vtfs_vfu_tx_flush(&d->tx, d->port.conn) < 0)
			return;
		if (!send_some(d, d->dma.first))
			return;
	}
}

/* ---- replies ---- */

/* Older clients count in 32 bits, and QEMU says nothing but that it is done. */
static int written_count(const struct vfu_device *d, struct vfu_dma_io *ret)
{
	size_t len = vtfs_vfu_rx_len(&d->rx);
	uint32_t count;

	if (!len)
		return 0;
	if (len == sizeof(*ret)) {
		memcpy(ret, d->rx.payload, sizeof(*ret));
		return 0;
	}
	if (len != sizeof(ret->address) + sizeof(count))
		return -EPROTO;
	memcpy(&ret->address, d->rx.payload, sizeof(ret->address));
	memcpy(&count, d->rx.payload + sizeof(ret->address), sizeof(count));
	ret->count = count;
	return 0;
}

static int read_count(const struct vfu_device *d, struct vfu_dma_io *ret)
{
	size_t len = vtfs_vfu_rx_len(&d->rx);

	if (len < sizeof(*ret))
		return -EPROTO;
	memcpy(ret, d->rx.payload, sizeof(*ret));
	return len - sizeof(*ret) == ret->count ? 0 : -EPROTO;
}

/* 0; -EFAULT: refused; -EIO: not all of it; -EPROTO. */
static int judge(const struct vfu_device *d, const struct vfu_sent *s)
{
	struct vfu_dma_io io = {.address = s->addr, .count = s->len};
	int r;

	if (d->rx.hdr.flags & VFU_ERROR)
		return vtfs_vfu_rx_len(&d->rx) ? -EPROTO : -EFAULT;
	r = s->command == VFU_DMA_READ ? read_count(d, &io)
				       : written_count(d, &io);
	if (r < 0 || io.address != s->addr || io.count > s->len)
		return -EPROTO;
	return io.count == s->len ? 0 : -EIO;
}

int vtfs_vfu_dma_reply(struct vfu_device *d)
{
	const struct vfu_header *h = &d->rx.hdr;
	struct vfu_dma *dma = &d->dma;
	struct vfu_sent *s = &dma->sent[h->id % VFU_DMA_WINDOW];
	struct vfu_job *job = s->job;
	int r;

	if (!s->busy || (uint16_t)s->seq != h->id || s->command != h->command)
		return vtfs_fail(-EPROTO,
				 "vfio-user: a reply to %s that nobody asked "
				 "for",
				 vtfs_vfu_command_name(h->command));
	r = d->rx.fd_cnt ? -EPROTO : judge(d, s);
	if (r == -EPROTO)
		return vtfs_fail(-EPROTO,
				 "vfio-user: a reply to %s of %zu bytes that "
				 "does not fit",
				 vtfs_vfu_command_name(h->command),
				 vtfs_vfu_rx_len(&d->rx));
	s->busy = false;
	s->job = NULL;
	dma->busy--;
	dma->bytes -= s->len;
	if (!job)
		return 0;
	job->waits--;
	if (r < 0)
		fail(dma, job, s->at, r);
	else if (s->command == VFU_DMA_READ)
		memcpy(job->base + s->at,
		       d->rx.payload + sizeof(struct vfu_dma_io), s->len);
	finish(job);
	return 0;
}

bool vtfs_vfu_dma_over(const struct vfu_dma *dma, uint64_t seq)
{
	for (unsigned i = 0; i < VFU_DMA_WINDOW; i++)
		if (dma->sent[i].busy && dma->sent[i].seq < seq)
			return false;
	return true;
}

void vtfs_vfu_dma_forget(struct vfu_dma *dma)
{
	memset(dma->sent, 0, sizeof(dma->sent));
	dma->first = NULL;
	dma->last = &dma->first;
	dma->seq = 0;
	dma->busy = 0;
	dma->bytes = 0;
}
