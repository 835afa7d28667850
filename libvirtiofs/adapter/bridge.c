/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bridge: made, run, freed; the theory is in adapter/bridge.h. */
#include "adapter/bridge.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/evfd.h"
#include "base/shared.h"
#include "session/client.h"

enum { EV_FUSE, EV_QUEUE, EV_CLIENT, EV_STOP, EV_GONE };

/* ---- options ---- */

static int take_opts(struct virtiofs_bridge *b,
		     const struct virtiofs_bridge_opts *opts)
{
	const unsigned char *at = (const unsigned char *)opts;

	if (!opts)
		return 0;
	if (opts->size < sizeof(opts->size))
		return vtfs_fail(-EINVAL, "bridge_opts.size is %zu",
				 opts->size);
	for (size_t i = sizeof(*opts); i < opts->size; i++)
		if (at[i])
			return vtfs_fail(-E2BIG, "options of a newer library");
	memcpy(&b->opts, opts, vtfs_min_size(opts->size, sizeof(b->opts)));
	if (b->opts.flags & ~VIRTIOFS_BRIDGE_DEFAULT_PERMISSIONS)
		return vtfs_fail(-EINVAL, "unknown bridge flags %#x",
				 b->opts.flags);
	return 0;
}

/* ---- a queue ---- */

/* The queue's own view of the connection. What can't be cloned (no rights to
 * /dev/fuse, or no /dev/fuse) is shared: then queues wait for each other. */
static int clone_fuse(int fuse_fd)
{
	uint32_t of = (uint32_t)fuse_fd;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, FUSE_DEV_IOC_CLONE, &of) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return fcntl(fuse_fd, F_DUPFD_CLOEXEC, 0);
}

static int watch(struct vtfs_bridge_queue *q, int fd, uint32_t events,
		 uint32_t tag)
{
	return vtfs_fd_watch(q->ep_fd, fd, events, tag);
}

/* Frames wake one queue, not all of them. A queue that is full hears of
 * nothing but the end. */
static int watch_fuse(struct vtfs_bridge_queue *q, bool full)
{
	q->full = full;
	vtfs_fd_forget(q->ep_fd, q->fuse_fd);
	return watch(q, q->fuse_fd, full ? 0 : EPOLLIN | EPOLLEXCLUSIVE,
		     EV_FUSE);
}

static int queue_fds(struct vtfs_bridge_queue *q, int fuse_fd)
{
	struct virtiofs_bridge *b = q->b;
	int r;

	/* The first has fuse_fd itself, which keeps the connection open. */
	q->fuse_fd = q->index == 1 ? fcntl(fuse_fd, F_DUPFD_CLOEXEC, 0)
				   : clone_fuse(fuse_fd);
	q->ep_fd = epoll_create1(EPOLL_CLOEXEC);
	if (q->fuse_fd < 0 || q->ep_fd < 0 ||
	    fcntl(q->fuse_fd, F_SETFL, O_NONBLOCK) < 0)
		return vtfs_fail_sys(-errno, "bridge: descriptors");
	r = watch_fuse(q, false);
	if (r >= 0)
		r = watch(q, virtiofs_cliq_fd(q->cliq), EPOLLIN, EV_QUEUE);
	if (r >= 0)
		r = watch(q, b->stop_fd, EPOLLIN, EV_STOP);
	if (r >= 0 && q->index == 1)
		r = watch(q, virtiofs_client_fd(b->c), EPOLLIN, EV_CLIENT);
	return r;
}

static int queue_tables(struct vtfs_bridge_queue *q)
{
	const struct virtiofs_bridge *b = q->b;
	uint32_t hash = 1;

	while (hash < b->slots)
		hash *= 2;
	q->hash_mask = hash - 1;
	q->heads = malloc(hash * sizeof(*q->heads));
	q->reqs = calloc(b->slots, sizeof(*q->reqs));
	q->free_bufs = calloc(b->bufs, sizeof(*q->free_bufs));
	if (!q->heads || !q->reqs || !q->free_bufs)
		return vtfs_fail(-ENOMEM, "bridge: queue of %u", b->slots);
	memset(q->heads, 0xff, hash * sizeof(*q->heads));
	for (uint32_t i = 0; i < b->slots; i++)
		q->reqs[i].next = i + 1 < b->slots ? i + 1 : BRIDGE_NONE;
	for (uint32_t i = 0; i < b->bufs; i++)
		q->free_bufs[q->free_buf_cnt++] = b->bufs - 1 - i;
	return 0;
}

static int queue_open(struct virtiofs_bridge *b, unsigned i, int fuse_fd)
{
	struct vtfs_bridge_queue *q = &b->queues[i];
	size_t bufs = b->buf_len * b->bufs;
	size_t len = bufs + (size_t)b->slots * BRIDGE_CELL;
	int r;

	q->b = b;
	q->index = i + 1;
	q->fuse_fd = q->ep_fd = -1;
	b->queue_cnt = q->index;
	len = VTFS_ALIGN_UP(len, (size_t)BRIDGE_PAGE);
	q->bufs = (unsigned char *)b->region.addr + i * len;
	q->cells = q->bufs + bufs;
	r = virtiofs_client_take_queue(b->c, q->index, 0, &q->cliq);
	if (r >= 0)
		r = queue_tables(q);
	return r < 0 ? r : queue_fds(q, fuse_fd);
}

static void queue_close(struct vtfs_bridge_queue *q)
{
	if (q->fuse_fd >= 0)
		close(q->fuse_fd);
	if (q->ep_fd >= 0)
		close(q->ep_fd);
	if (q->cliq) {
		q->fuse_fd = -1;
		if (q->heads)
			vtfs_bridge_drop(q);
		virtiofs_cliq_release(q->cliq);
	}
	free(q->heads);
	free(q->reqs);
	free(q->free_bufs);
}

/* ---- life ---- */

static int start_client(struct virtiofs_client *c)
{
	if (!(c->opts.flags & VIRTIOFS_CLIENT_RAW_INIT))
		return vtfs_fail(-EINVAL, "the client sends INIT itself");
	return vtfs_client_running(c) ? 0 : virtiofs_client_start(c, NULL);
}

static int alloc_memory(struct virtiofs_bridge *b, unsigned queues)
{
	struct virtiofs_client_info info = {.size = sizeof(info)};
	size_t len;
	int r = virtiofs_client_get_info(b->c, &info);

	if (r < 0)
		return r;
	if (info.max_write > b->payload)
		b->payload = info.max_write;
	/* What the kernel wants of a read, and an xattr with its name. */
	if (b->payload < 17 * BRIDGE_PAGE)
		b->payload = 17 * BRIDGE_PAGE;
	b->slots = info.queue_size + b->c->opts.backlog;
	b->bufs = vtfs_min_u32(b->slots + 1, BRIDGE_BUFS);
	b->buf_len = (size_t)b->payload + 2 * BRIDGE_PAGE;
	len = b->buf_len * b->bufs + (size_t)b->slots * BRIDGE_CELL;
	len = VTFS_ALIGN_UP(len, (size_t)BRIDGE_PAGE);
	return virtiofs_client_alloc_region(b->c, len * queues, &b->region);
}

static int bridge_open(struct virtiofs_bridge *b, int fuse_fd)
{
	struct virtiofs_client_info info = {.size = sizeof(info)};
	unsigned cnt;
	int r = vtfs_evfd_new(&b->stop_fd);

	if (r >= 0)
		r = start_client(b->c);
	if (r >= 0)
		r = vtfs_bridge_notify_open(b);
	if (r >= 0)
		r = vtfs_bridge_init(b, fuse_fd);
	if (r >= 0)
		r = virtiofs_client_get_info(b->c, &info);
	if (r < 0)
		return r;
	cnt = b->opts.queues;
	if (!cnt || cnt > info.request_queues)
		cnt = info.request_queues;
	b->queues = calloc(cnt, sizeof(*b->queues));
	if (!b->queues)
		return vtfs_fail(-ENOMEM, "bridge of %u queues", cnt);
	r = alloc_memory(b, cnt);
	for (unsigned i = 0; i < cnt && r >= 0; i++)
		r = queue_open(b, i, fuse_fd);
	return r;
}

int virtiofs_bridge_new(struct virtiofs_bridge **ret, struct virtiofs_client *c,
			int fuse_fd, const struct virtiofs_bridge_opts *opts)
{
	struct virtiofs_bridge *b = calloc(1, sizeof(*b));
	int r;

	if (!b) {
		close(fuse_fd);
		return vtfs_fail(-ENOMEM, "bridge");
	}
	b->c = c;
	b->stop_fd = b->gone_fd = b->note_ep_fd = -1;
	r = take_opts(b, opts);
	if (r >= 0)
		r = bridge_open(b, fuse_fd);
	if (r >= 0)
		r = vtfs_bridge_init_answer(b, fuse_fd, 0);
	else
		vtfs_bridge_init_answer(b, fuse_fd, r);
	close(fuse_fd);
	if (r < 0) {
		virtiofs_bridge_free(b);
		return r;
	}
	*ret = b;
	return 0;
}

void virtiofs_bridge_free(struct virtiofs_bridge *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->queue_cnt; i++)
		queue_close(&b->queues[i]);
	/* In use: it goes with the client. */
	if (b->region.addr)
		virtiofs_client_unmap_region(b->c, &b->region);
	vtfs_bridge_notify_close(b);
	if (b->stop_fd >= 0)
		close(b->stop_fd);
	free(b->queues);
	free(b);
}

unsigned virtiofs_bridge_queues(const struct virtiofs_bridge *b)
{
	return b->queue_cnt;
}

/* ---- running ---- */

/* The first that sees the end says why, to all. */
static void end(struct virtiofs_bridge *b, int why)
{
	int none = 0;

	__atomic_compare_exchange_n(&b->end, &none, why, false,
				    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	vtfs_evfd_signal(b->stop_fd);
}

void virtiofs_bridge_stop(struct virtiofs_bridge *b)
{
	end(b, -ESHUTDOWN);
}

/* Sleep, or only look. The events, a bit each. */
static unsigned wait_events(struct vtfs_bridge_queue *q, bool sleep)
{
	struct epoll_event ev[8];
	int n = epoll_wait(q->ep_fd, ev, VTFS_ARRAY_LEN(ev), sleep ? -1 : 0);
	unsigned set = 0;

	for (int i = 0; i < n; i++)
		set |= 1u << ev[i].data.u32;
	return set;
}

/* May this thread leave? Not while another may wait in the kernel for what it
 * serves; it is told then. */
static bool may_leave(struct vtfs_bridge_queue *q)
{
	struct virtiofs_bridge *b = q->b;

	if (!__atomic_load_n(&b->hearing, __ATOMIC_SEQ_CST))
		return true;
	vtfs_fd_forget(q->ep_fd, b->stop_fd);
	return watch(q, b->gone_fd, EPOLLIN, EV_GONE) < 0;
}

static int serve(struct vtfs_bridge_queue *q)
{
	bool more = true, room;
	int r = 0;

	while (!r) {
		unsigned ev = wait_events(q, !more);

		if (ev & 1u << EV_GONE || (ev & 1u << EV_STOP && may_leave(q)))
			return vtfs_load_acquire(&q->b->end);
		if (ev & 1u << EV_CLIENT)
			virtiofs_client_dispatch(q->b->c);
		/* Full: nothing but the end is told. */
		if (ev & 1u << EV_FUSE)
			r = q->full ? 1 : vtfs_bridge_take(q);
		more = vtfs_bridge_give(q);
		/* Before arm, for it may send something. */
		room = vtfs_bridge_has_room(q);
		more = more || virtiofs_cliq_arm(q->cliq);
		if (!r && q->full == room)
			r = watch_fuse(q, !room);
	}
	return r;
}

int virtiofs_bridge_run(struct virtiofs_bridge *b, unsigned queue)
{
	int r;

	if (queue > b->queue_cnt)
		return vtfs_fail(-EINVAL, "queue %u of %u", queue,
				 b->queue_cnt);
	r = queue ? serve(&b->queues[queue - 1]) : vtfs_bridge_hear(b);
	end(b, r);
	if (r == -ESHUTDOWN)
		return vtfs_fail(r, "the bridge was stopped");
	if (r < 0)
		return r;
	if (!vtfs_client_running(b->c))
		return vtfs_fail(-ENOTCONN, "the device is gone");
	return 0;
}
