/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/error.h"
#include "transport/vhost_user/client.h"

static void close_fds(struct vu_call *call)
{
	for (unsigned i = 0; i < call->fd_cnt; i++)
		close(call->fds[i]);
	call->fd_cnt = 0;
}

void vtfs_vu_script_drop(struct vu_client *c)
{
	for (unsigned i = 0; i < c->script.cnt; i++)
		close_fds(&c->script.calls[i]);
	c->script.cnt = c->script.at = 0;
	c->script.sent = c->script.refused = false;
	c->script.op = (enum vu_op)0;
}

int vtfs_vu_script_begin(struct vu_client *c, enum vu_op op, uint64_t arg)
{
	struct vu_script *s = &c->script;
	int r;

	if (c->sock < 0)
		return vtfs_fail(-ENOTCONN, "%s: not connected", c->base.name);
	if (s->op == op && s->arg == arg)
		return 0;
	if (s->op) {
		/* Given up; its result is nobody's. */
		r = vtfs_vu_script_run(c);
		if (r == -EAGAIN || c->sock < 0)
			return r;
	}
	s->op = op;
	s->arg = arg;
	return 1;
}

int vtfs_vu_script_add(struct vu_client *c, uint32_t request,
		       enum vu_reply reply, const void *payload, size_t len)
{
	struct vu_script *s = &c->script;
	struct vu_call *call = &s->calls[s->cnt];

	if (s->cnt >= VU_CALLS_MAX || len > sizeof(call->payload))
		return -E2BIG;
	call->request = request;
	call->reply = reply;
	call->ret = &c->scratch;
	call->len = len;
	call->fd_cnt = 0;
	if (len)
		memcpy(call->payload, payload, len);
	s->cnt++;
	return 0;
}

int vtfs_vu_script_add_fd(struct vu_client *c, int fd)
{
	struct vu_call *call = &c->script.calls[c->script.cnt - 1];

	call->fds[call->fd_cnt] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (call->fds[call->fd_cnt] < 0)
		return vtfs_fail_sys(-errno, "%s: dup", c->base.name);
	call->fd_cnt++;
	return 0;
}

void vtfs_vu_script_ret(struct vu_client *c, uint64_t *ret)
{
	c->script.calls[c->script.cnt - 1].ret = ret;
}

int vtfs_vu_script_barrier(struct vu_client *c)
{
	if (vtfs_vu_client_has(c, VU_PF(REPLY_ACK)))
		return 0;
	return vtfs_vu_script_add(c, VU_GET_FEATURES, VU_REPLY_U64, NULL, 0);
}

int vtfs_vu_script_go(struct vu_client *c, int r)
{
	if (r >= 0)
		return vtfs_vu_script_run(c);
	/* Not written to its end: it was not begun. */
	if (!c->script.at && !c->script.sent)
		vtfs_vu_script_drop(c);
	return r;
}

static bool wants_reply(const struct vu_client *c, const struct vu_call *call)
{
	if (call->reply == VU_REPLY_ACK)
		return vtfs_vu_client_has(c, VU_PF(REPLY_ACK));
	return call->reply != VU_REPLY_NONE;
}

/* ---- sending ---- */

static int put(struct vu_client *c, struct vu_call *call)
{
	struct vu_out out = {.request = call->request,
			     .payload = call->payload,
			     .len = call->len,
			     .fds = call->fds,
			     .fd_cnt = call->fd_cnt};
	int r;

	if (call->reply == VU_REPLY_ACK && wants_reply(c, call))
		out.flags = VU_NEED_REPLY;
	r = vtfs_vu_tx_put(&c->tx, &out);
	close_fds(call);
	return r;
}

/* ---- replies ---- */

static size_t reply_len(const struct vu_call *call)
{
	return call->reply == VU_REPLY_CONFIG ? call->len : 8;
}

static int judge(void *ctx, const struct vu_header *h)
{
	struct vu_client *c = ctx;
	const struct vu_call *call = &c->script.calls[c->script.at];

	if (h->request != call->request)
		return vtfs_fail(-EPROTO,
				 "%s: a reply to request %u, not to %s",
				 c->base.name, h->request,
				 vtfs_vu_request_name(call->request));
	if (h->flags != (VU_VERSION | VU_REPLY))
		return vtfs_fail(-EPROTO, "%s: reply to %s with flags 0x%x",
				 c->base.name,
				 vtfs_vu_request_name(call->request), h->flags);
	/* The config space's own way to say no. */
	if (call->reply == VU_REPLY_CONFIG && h->size == 0)
		return 0;
	if (h->size != reply_len(call))
		return vtfs_fail(-EPROTO, "%s: reply to %s of %u bytes",
				 c->base.name,
				 vtfs_vu_request_name(call->request), h->size);
	return 0;
}

static int check_config(struct vu_client *c, const struct vu_call *call)
{
	const struct vu_config *got = &c->rx.payload.config;
	struct vu_config asked;

	memcpy(&asked, call->payload, sizeof(asked));
	if (!c->rx.hdr.size) {
		c->script.refused = true;
		return 0;
	}
	if (got->size != asked.size || got->offset != asked.offset)
		return vtfs_fail(-EPROTO,
				 "%s: GET_CONFIG of %u bytes at %u, answered "
				 "with %u at %u",
				 c->base.name, asked.size, asked.offset,
				 got->size, got->offset);
	memcpy(c->script.config, c->rx.payload.bytes + sizeof(*got),
	       asked.size);
	return 0;
}

static int check_state(struct vu_client *c, const struct vu_call *call)
{
	struct vu_vring_state asked;

	memcpy(&asked, call->payload, sizeof(asked));
	if (c->rx.payload.state.index != asked.index)
		return vtfs_fail(
		    -EPROTO, "%s: %s of ring %u, answered for ring %u",
		    c->base.name, vtfs_vu_request_name(call->request),
		    asked.index, c->rx.payload.state.index);
	*call->ret = c->rx.payload.state.num;
	return 0;
}

static int take_reply(struct vu_client *c, const struct vu_call *call)
{
	if (c->rx.fd_cnt)
		return vtfs_fail(
		    -EPROTO, "%s: reply to %s with %u file descriptors",
		    c->base.name, vtfs_vu_request_name(call->request),
		    c->rx.fd_cnt);
	switch (call->reply) {
	case VU_REPLY_ACK:
		if (c->rx.payload.u64)
			c->script.refused = true;
		return 0;
	case VU_REPLY_STATE:
		return check_state(c, call);
	case VU_REPLY_CONFIG:
		return check_config(c, call);
	default:
		*call->ret = c->rx.payload.u64;
		return 0;
	}
}

/* ---- the engine ---- */

static void watch(struct vu_client *c)
{
	uint32_t want = EPOLLIN | (vtfs_vu_tx_busy(&c->tx) ? EPOLLOUT : 0);
	struct epoll_event ev = {.events = want, .data.fd = c->sock};

	if (want == c->sock_events)
		return;
	c->sock_events = want;
	epoll_ctl(c->ep, EPOLL_CTL_MOD, c->sock, &ev);
}

/* One message further. 0, -EAGAIN, or the connection's end. */
static int step(struct vu_client *c)
{
	struct vu_call *call = &c->script.calls[c->script.at];
	int r;

	if (!c->script.sent) {
		r = put(c, call);
		if (r < 0)
			return r;
		c->script.sent = true;
	}
	r = vtfs_vu_tx_flush(&c->tx, c->sock);
	if (r >= 0 && wants_reply(c, call)) {
		r = vtfs_vu_rx_recv(&c->rx, c->sock, judge, c);
		if (r >= 0)
			r = take_reply(c, call);
		if (r >= 0)
			vtfs_vu_rx_next(&c->rx);
	}
	if (r < 0)
		return r;
	c->script.sent = false;
	c->script.at++;
	return 0;
}

int vtfs_vu_script_run(struct vu_client *c)
{
	struct vu_script *s = &c->script;
	uint32_t last = 0;
	int r = 0;

	while (s->at < s->cnt && !s->refused) {
		/* The back-end may wait for us before it answers. */
		r = vtfs_vu_client_serve_back(c);
		last = s->calls[s->at].request;
		if (r == -EAGAIN)
			r = step(c);
		if (r < 0)
			break;
	}
	if (r == -EAGAIN) {
		watch(c);
		return r;
	}
	if (r == -ENOTCONN)
		vtfs_fail(r, "%s: the back-end hung up at %s", c->base.name,
			  vtfs_vu_request_name(last));
	if (r < 0)
		return vtfs_vu_client_lose(c, r);
	if (s->op == VU_OP_IOTLB)
		vtfs_vu_client_miss_done(c, s->refused ? -EIO : 0);
	else if (c->missed)
		vtfs_vu_client_later(c);
	if (s->refused)
		r = vtfs_fail(-EIO, "%s: the back-end refused %s", c->base.name,
			      vtfs_vu_request_name(last));
	watch(c);
	vtfs_vu_script_drop(c);
	return r;
}
