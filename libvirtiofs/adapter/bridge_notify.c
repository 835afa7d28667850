/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the device says unasked, to the kernel. In a thread of its own: the
 * kernel may wait in it for a page or a folder that a request of this very
 * mount holds, which the other threads have to serve meanwhile. For the same
 * reason they go on after a stop until this one has returned.
 */
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "adapter/bridge.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/evfd.h"
#include "base/shared.h"
#include "session/client.h"

/* Not those that it does not know, and not RESEND: what the kernel sends again
 * is with the device already. */
static bool is_for_kernel(uint32_t code)
{
	return code <= FUSE_NOTIFY_PRUNE && code != FUSE_NOTIFY_RESEND;
}

void virtiofs_bridge_notify(const struct virtiofs_notification *n, void *data)
{
	struct virtiofs_bridge *b = *(struct virtiofs_bridge **)data;
	struct fuse_out_header h = {
	    .len = (uint32_t)sizeof(h) + n->arg_len + n->data_len,
	    .error = (int32_t)n->code,
	};
	struct iovec v[3] = {{&h, sizeof(h)},
			     {(void *)(uintptr_t)n->arg, n->arg_len},
			     {(void *)(uintptr_t)n->data, n->data_len}};
	ssize_t r;

	if (!b || !is_for_kernel(n->code))
		return;
	do
		r = writev(b->queues[0].fuse_fd, v, 3);
	while (r < 0 && errno == EINTR);
	/* ENOENT: it knows no such node, and so nothing is stale. Whatever else
	 * it may say, there is nobody to tell. */
}

bool vtfs_bridge_hears(const struct virtiofs_bridge *b)
{
	return b->c->opts.notify == virtiofs_bridge_notify &&
	       b->c->features & VIRTIOFS_F_NOTIFICATION;
}

int vtfs_bridge_notify_open(struct virtiofs_bridge *b)
{
	struct virtiofs_client *c = b->c;
	int r;

	b->note_ep_fd = epoll_create1(EPOLL_CLOEXEC);
	if (b->note_ep_fd < 0)
		return vtfs_fail_sys(-errno, "bridge: descriptors");
	r = vtfs_evfd_new(&b->gone_fd);
	if (r >= 0)
		r = vtfs_fd_watch(b->note_ep_fd, b->stop_fd, EPOLLIN, 0);
	if (r < 0 || !vtfs_bridge_hears(b))
		return r;
	/* Not by those who serve requests. */
	c->notes.elsewhere = true;
	b->note_taken = true;
	return vtfs_cnotes_move(c, b->note_ep_fd);
}

void vtfs_bridge_notify_close(struct virtiofs_bridge *b)
{
	if (b->note_taken)
		vtfs_cnotes_move(b->c, b->c->ep_fd);
	if (b->note_ep_fd >= 0)
		close(b->note_ep_fd);
	if (b->gone_fd >= 0)
		close(b->gone_fd);
}

int vtfs_bridge_hear(struct virtiofs_bridge *b)
{
	struct epoll_event ev[2];

	/* First that, then end; a queue's thread looks the other way round. */
	__atomic_store_n(&b->hearing, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&b->end, __ATOMIC_SEQ_CST))
		if (!vtfs_cnotes_deliver(b->c))
			epoll_wait(b->note_ep_fd, ev, 2, -1);
	__atomic_store_n(&b->hearing, 0, __ATOMIC_SEQ_CST);
	vtfs_evfd_signal(b->gone_fd);
	return vtfs_load_acquire(&b->end);
}
