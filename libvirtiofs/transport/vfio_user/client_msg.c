/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands, their replies, and the server's own commands. */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vfio_user/client.h"

#define AT_ONCE 64u /* messages of the server, in a row */

/* ---- out; with lock ---- */

static int put_ring(struct vfu_client *c)
{
	struct {
		struct vfu_region_io io;
		uint32_t value;
	} msg = {.io = {.region = c->fn.notify_bar}};
	struct vfu_out out = {.command = VFU_REGION_WRITE,
			      .flags = VFU_NO_REPLY,
			      .payload = &msg};
	int err;

	for (unsigned i = 0; i < VTFS_PCI_QUEUES_MAX; i++) {
		struct vfu_ring *r = &c->rings[i];

		if (!r->waits)
			continue;
		msg.io.offset = r->off;
		msg.io.count = r->len;
		msg.value = htole32(r->value);
		out.id = c->next_id++;
		out.len = sizeof(msg.io) + r->len;
		err = vtfs_vfu_tx_put(&c->tx, &out);
		r->waits = err < 0;
		c->ring_cnt -= err >= 0;
		return err;
	}
	return 0;
}

static int put_asked(struct vfu_client *c)
{
	struct vfu_out out = {.command = c->asked.command,
			      .payload = c->asked.payload,
			      .len = c->asked.len,
			      .fds = c->asked.fds,
			      .fd_cnt = c->asked.fd_cnt};
	int r;

	c->asked_id = out.id = c->next_id++;
	r = vtfs_vfu_tx_put(&c->tx, &out);
	c->asked_sent = r >= 0;
	return r;
}

static void watch(struct vfu_client *c)
{
	/* Nothing is read before an answer is out: see hear(). */
	uint32_t want = (c->answering ? 0u : (uint32_t)EPOLLIN) |
			(vtfs_vfu_tx_busy(&c->tx) ? (uint32_t)EPOLLOUT : 0u);
	struct epoll_event ev = {.events = want, .data.fd = c->sock};

	if (want == c->events)
		return;
	c->events = want;
	epoll_ctl(c->fn.fd, EPOLL_CTL_MOD, c->sock, &ev);
}

/* Everything that may go now. 0 all of it, -EAGAIN, or the end. */
static int pump(struct vfu_client *c)
{
	int r = 0;

	while (r >= 0) {
		r = vtfs_vfu_tx_flush(&c->tx, c->sock);
		if (r < 0)
			break;
		if (c->answering) {
			c->answering = false;
			r = vtfs_vfu_tx_put(&c->tx, &c->answer);
		} else if (c->ring_cnt) {
			r = put_ring(c);
		} else if (c->asked.command && !c->asked_sent) {
			r = put_asked(c);
		} else {
			break;
		}
	}
	watch(c);
	return r;
}

/* 0: it may be read on; -EAGAIN: not before an answer is out; or the end. */
static int send_all(struct vfu_client *c)
{
	int r;

	pthread_mutex_lock(&c->lock);
	r = c->sock < 0 ? -ENOTCONN : pump(c);
	if (r == -EAGAIN && !c->answering)
		r = 0;
	pthread_mutex_unlock(&c->lock);
	return r;
}

int vtfs_vfu_ring(struct vfu_client *c, unsigned vq, const struct vfu_ring *r)
{
	int ret = -ENOTCONN;

	pthread_mutex_lock(&c->lock);
	if (c->sock >= 0) {
		c->ring_cnt += !c->rings[vq].waits;
		c->rings[vq] = *r;
		c->rings[vq].waits = true;
		/* What can't be sent now goes with the next that can; an end
		 * is noticed by who reads. */
		ret = pump(c);
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

/* ---- the server's commands ---- */

static bool mapped(const struct vfu_client *c, const struct vfu_dma_io *io)
{
	for (unsigned i = 0; i < c->map_cnt; i++)
		if (vtfs_range_ok(c->maps[i].address, c->maps[i].size,
				  io->address, io->count))
			return true;
	return false;
}

static int judge_dma(const struct vfu_client *c, const struct vfu_dma_io *io,
		     size_t data)
{
	const struct vfu_header *h = &c->rx.hdr;

	if (io->count > VFU_CLIENT_XFER || !mapped(c, io))
		return -EFAULT;
	return h->command == VFU_DMA_WRITE && data != io->count ? -EINVAL : 0;
}

static int serve_dma(struct vfu_client *c, struct vfu_out *out)
{
	size_t len = vtfs_vfu_rx_len(&c->rx);
	struct vfu_dma_io io;
	unsigned char *p;
	int r;

	if (len < sizeof(io))
		return -EINVAL;
	memcpy(&io, c->rx.payload, sizeof(io));
	r = judge_dma(c, &io, len - sizeof(io));
	if (r < 0)
		return r;
	out->len = sizeof(io);
	if (c->rx.hdr.command == VFU_DMA_READ)
		out->len += io.count;
	p = realloc(c->answer_buf, out->len);
	if (!p)
		return -ENOMEM;
	c->answer_buf = p;
	out->payload = p;
	memcpy(p, &io, sizeof(io));
	if (c->rx.hdr.command == VFU_DMA_READ)
		memcpy(p + sizeof(io), (void *)(uintptr_t)io.address, io.count);
	else
		memcpy((void *)(uintptr_t)io.address,
		       c->rx.payload + sizeof(io), io.count);
	return 0;
}

/* Memory is all that a server may ask for. */
static void serve(struct vfu_client *c)
{
	const struct vfu_header *h = &c->rx.hdr;
	struct vfu_out out = {
	    .id = h->id, .command = h->command, .flags = VFU_TYPE_REPLY};
	int r = -EOPNOTSUPP;

	if (h->command == VFU_DMA_READ || h->command == VFU_DMA_WRITE)
		r = serve_dma(c, &out);
	if (h->flags & VFU_NO_REPLY)
		return;
	if (r < 0) {
		out.flags |= VFU_ERROR;
		out.error = (uint32_t)-r;
		out.len = 0;
	}
	pthread_mutex_lock(&c->lock);
	c->answer = out;
	c->answering = true;
	pthread_mutex_unlock(&c->lock);
}

/* ---- replies ---- */

static const struct vfu_ask nothing;

/* Whoever sends looks at it. true: the last one was sent. */
static bool set_asked(struct vfu_client *c, const struct vfu_ask *ask)
{
	bool sent;

	pthread_mutex_lock(&c->lock);
	sent = c->asked_sent;
	c->asked = *ask;
	c->asked_sent = false;
	pthread_mutex_unlock(&c->lock);
	return sent;
}

static int refused(const struct vfu_client *c)
{
	const struct vfu_header *h = &c->rx.hdr;

	if (vtfs_vfu_rx_len(&c->rx))
		return vtfs_fail(-EPROTO,
				 "vfio-user:%s: an error with %zu "
				 "bytes behind it",
				 c->path, vtfs_vfu_rx_len(&c->rx));
	return vtfs_fail_sys(-EIO, "vfio-user:%s: the server refused %s (%u)",
			     c->path, vtfs_vfu_command_name(h->command),
			     h->error);
}

/* Is it to the command that is waited for? Whoever sends writes down that it
 * went, and under which number. */
static bool is_awaited(struct vfu_client *c, const struct vfu_header *h)
{
	bool r;

	pthread_mutex_lock(&c->lock);
	r = c->asked.command == h->command && c->asked_sent &&
	    c->asked_id == h->id;
	pthread_mutex_unlock(&c->lock);
	return r && h->command;
}

/* 1: the one that is waited for; 0: of no interest; negative. */
static int judge_reply(struct vfu_client *c)
{
	const struct vfu_header *h = &c->rx.hdr;
	size_t len = vtfs_vfu_rx_len(&c->rx);
	size_t min = c->asked.min, max = c->asked.max;

	if (!is_awaited(c, h)) {
		if (!c->dropped)
			return vtfs_fail(-EPROTO,
					 "vfio-user:%s: a reply to %s that "
					 "nobody asked for",
					 c->path,
					 vtfs_vfu_command_name(h->command));
		c->dropped--;
		return 0;
	}
	set_asked(c, &nothing);
	if (h->flags & VFU_ERROR)
		return refused(c);
	if (len < min || len > max)
		return vtfs_fail(-EPROTO,
				 "vfio-user:%s: reply to %s of %zu "
				 "bytes",
				 c->path, vtfs_vfu_command_name(h->command),
				 len);
	return 1;
}

static int judge(struct vfu_client *c)
{
	if ((c->rx.hdr.flags & VFU_TYPE_MASK) == VFU_TYPE_REPLY)
		return judge_reply(c);
	serve(c);
	return 0;
}

/* 1 the reply is in rx; -EAGAIN; negative. */
static int hear(struct vfu_client *c)
{
	int r;

	for (unsigned i = 0; i < AT_ONCE; i++) {
		/* One answer at a time: before it is out, no more is read. */
		r = send_all(c);
		if (r < 0)
			return r;
		if (c->rx_full)
			vtfs_vfu_rx_next(&c->rx);
		c->rx_full = false;
		r = vtfs_vfu_rx_recv(&c->rx, c->sock);
		if (r < 0)
			return r;
		c->rx_full = true;
		r = judge(c);
		if (r)
			return r;
	}
	return -EAGAIN;
}

void vtfs_vfu_drop_socket(struct vfu_client *c)
{
	pthread_mutex_lock(&c->lock);
	if (c->sock >= 0) {
		/* The caller may hold a duplicate: closing is not leaving. */
		epoll_ctl(c->fn.fd, EPOLL_CTL_DEL, c->sock, NULL);
		close(c->sock);
	}
	c->sock = -1;
	vtfs_vfu_tx_drop(&c->tx);
	c->answering = false;
	c->ring_cnt = 0;
	memset(c->rings, 0, sizeof(c->rings));
	pthread_mutex_unlock(&c->lock);
	set_asked(c, &nothing);
	vtfs_vfu_rx_next(&c->rx);
	c->rx_full = false;
	c->dropped = 0;
}

static bool same(const struct vfu_ask *a, const struct vfu_ask *b)
{
	return a->command == b->command && a->len == b->len &&
	       !memcmp(a->payload, b->payload, a->len);
}

static int ended(struct vfu_client *c, int r)
{
	if (r == -ENOTCONN)
		vtfs_fail(r, "vfio-user:%s: the server hung up", c->path);
	if (r == -EAGAIN)
		return r;
	/* After that nothing in the stream can be trusted. */
	vtfs_vfu_drop_socket(c);
	return -ENOTCONN;
}

int vtfs_vfu_ask(struct vfu_client *c, const struct vfu_ask *ask)
{
	int r;

	if (c->sock < 0)
		return vtfs_fail(-ENOTCONN, "vfio-user:%s: not connected",
				 c->path);
	if (c->asked.command && !same(&c->asked, ask)) {
		/* Given up; if it went out, its reply will come. */
		c->dropped += set_asked(c, &nothing);
	}
	if (!c->asked.command)
		set_asked(c, ask);
	r = hear(c);
	if (r == -EIO)
		return r;
	return r < 0 ? ended(c, r) : 0;
}

int vtfs_vfu_listen(struct vfu_client *c)
{
	int r;

	/* A reply that is awaited stays for who asked: he reads. */
	if (c->asked.command)
		return 0;
	r = hear(c);
	if (r == -EAGAIN)
		return 0;
	return r < 0 ? ended(c, r) : 0;
}
