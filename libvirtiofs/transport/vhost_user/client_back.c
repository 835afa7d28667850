/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/evfd.h"
#include "transport/vhost_user/client.h"

#define BACK_MAX 64u /* messages in a row */

int vtfs_vu_client_open_back(struct vu_client *c, int *ret_fd)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int sv[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return vtfs_fail_sys(-errno, "socketpair");
	ev.data.fd = sv[0];
	if (epoll_ctl(c->ep, EPOLL_CTL_ADD, sv[0], &ev) < 0) {
		r = vtfs_fail_sys(-errno, "epoll_ctl");
		close(sv[0]);
		close(sv[1]);
		return r;
	}
	c->back = sv[0];
	*ret_fd = sv[1];
	return 0;
}

void vtfs_vu_client_close_back(struct vu_client *c)
{
	if (c->back >= 0)
		close(c->back);
	c->back = -1;
	c->missed = false;
	vtfs_vu_rx_next(&c->back_rx);
	vtfs_vu_tx_drop(&c->back_tx);
}

static int judge(void *ctx, const struct vu_header *h)
{
	const struct vu_client *c = ctx;

	if (h->flags & VU_REPLY)
		return vtfs_fail(-EPROTO,
				 "%s: back-end request %u came as a reply",
				 c->base.name, h->request);
	if (h->request == VU_BACKEND_CONFIG_CHANGE && h->size)
		return vtfs_fail(-EPROTO, "%s: CONFIG_CHANGE with %u bytes",
				 c->base.name, h->size);
	return 0;
}

/* 0 done; else what the answer says. Only CONFIG_CHANGE can mean us. */
static uint64_t handle(struct vu_client *c)
{
	if (c->back_rx.hdr.request != VU_BACKEND_CONFIG_CHANGE ||
	    c->back_rx.fd_cnt || !vtfs_vu_client_has(c, VU_PF(CONFIG)))
		return 1;
	c->changed = true;
	vtfs_evfd_signal(c->wake);
	return 0;
}

int vtfs_vu_client_answer_back(struct vu_client *c, uint64_t status)
{
	const struct vu_out out = {.request = c->back_rx.hdr.request,
				   .flags = VU_REPLY,
				   .payload = &status,
				   .len = sizeof(status)};

	bool asked = c->back_rx.hdr.flags & VU_NEED_REPLY;

	vtfs_vu_rx_next(&c->back_rx);
	if (!asked || !vtfs_vu_client_has(c, VU_PF(REPLY_ACK)))
		return 0;
	return vtfs_vu_tx_put(&c->back_tx, &out);
}

static bool is_miss(const struct vu_client *c)
{
	return c->back_rx.hdr.request == VU_BACKEND_IOTLB_MSG &&
	       c->back_rx.hdr.size == sizeof(struct vu_iotlb);
}

int vtfs_vu_client_serve_back(struct vu_client *c)
{
	int r;

	/* One that never ends shall not keep us; the fd stays readable. */
	for (unsigned i = 0; i < BACK_MAX && c->back >= 0; i++) {
		r = vtfs_vu_tx_flush(&c->back_tx, c->back);
		if (r >= 0 && c->missed)
			return -EAGAIN;
		if (r >= 0)
			r = vtfs_vu_rx_recv(&c->back_rx, c->back, judge, c);
		if (r >= 0 && is_miss(c) && vtfs_vu_client_miss(c))
			return -EAGAIN;
		if (r >= 0)
			r = vtfs_vu_client_answer_back(c, handle(c));
		if (r == -ENOTCONN) {
			/* It needs no channel. */
			vtfs_vu_client_close_back(c);
			break;
		}
		if (r < 0)
			return r;
	}
	return -EAGAIN;
}
