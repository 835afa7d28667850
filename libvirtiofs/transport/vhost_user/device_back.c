/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "transport/vhost_user/device.h"

/* A pipe can carry what we send, but no answers. */
int vtfs_vu_back_open(struct vu_device *d, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
	struct stat st;

	if (fstat(fd, &st) < 0 ||
	    (!S_ISSOCK(st.st_mode) && !S_ISFIFO(st.st_mode))) {
		close(fd);
		return vtfs_fail(
		    -EINVAL, "SET_BACKEND_REQ_FD: not a socket, not a pipe");
	}
	vtfs_vu_back_close(d);
	vtfs_vu_tlb_no_channel(d);
	if (S_ISSOCK(st.st_mode) &&
	    epoll_ctl(d->port.ep, EPOLL_CTL_ADD, fd, &ev) < 0) {
		close(fd);
		return vtfs_fail_sys(-errno, "epoll_ctl");
	}
	d->back = fd;
	d->back_pipe = S_ISFIFO(st.st_mode);
	return 0;
}

void vtfs_vu_back_close(struct vu_device *d)
{
	if (d->back >= 0) {
		/* The peer may hold a duplicate: closing isn't leaving. */
		if (!d->back_pipe)
			epoll_ctl(d->port.ep, EPOLL_CTL_DEL, d->back, NULL);
		close(d->back);
	}
	d->back = -1;
	d->back_waits = d->back_change = false;
	vtfs_vu_rx_next(&d->back_rx);
}

static int send_message(const struct vu_device *d, struct vu_header h,
			const void *payload)
{
	unsigned char buf[sizeof(h) + sizeof(struct vu_iotlb)];
	size_t len = sizeof(h) + h.size;

	memcpy(buf, &h, sizeof(h));
	if (payload)
		memcpy(buf + sizeof(h), payload, h.size);
	if (d->back_pipe)
		return vtfs_pipe_write(d->back, buf, len);
	if (send(d->back, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) !=
	    (ssize_t)len)
		return -ENOTCONN;
	return 0;
}

static void give_up(struct vu_device *d)
{
	vtfs_log(d->sink->log, LOG_WARNING,
		 "%s: the front-end does not read its channel", d->base.name);
	vtfs_vu_back_close(d);
	vtfs_vu_tlb_no_channel(d);
}

/* Nothing is sent while the device is suspended, i.e. no ring runs. */
static void send_change(struct vu_device *d)
{
	struct vu_header h = {.request = VU_BACKEND_CONFIG_CHANGE,
			      .flags = VU_VERSION};
	bool ask = vtfs_vu_device_has(d, VU_PF(REPLY_ACK)) && !d->back_pipe;

	if (d->back < 0 || !d->back_change || d->back_waits ||
	    !vtfs_vu_vrings_running(d))
		return;
	d->back_change = false;
	if (ask)
		h.flags |= VU_NEED_REPLY;
	if (send_message(d, h, NULL) < 0) {
		give_up(d);
		return;
	}
	d->back_waits = ask;
	d->back_first = d->tlb.sent_cnt;
}

/* So few at a time that a front-end that reads has space for them. */
static void send_misses(struct vu_device *d)
{
	struct vu_header h = {.request = VU_BACKEND_IOTLB_MSG,
			      .flags = VU_VERSION | VU_NEED_REPLY,
			      .size = sizeof(struct vu_iotlb)};
	struct vu_iotlb m;

	while (d->back >= 0 && vtfs_vu_tlb_next(d, &m)) {
		if (send_message(d, h, &m) < 0)
			give_up(d);
		else
			vtfs_vu_tlb_sent(d);
	}
}

void vtfs_vu_back_send(struct vu_device *d)
{
	send_change(d);
	send_misses(d);
}

void vtfs_vu_back_changed(struct vu_device *d)
{
	if (d->back < 0 || !vtfs_vu_device_has(d, VU_PF(CONFIG)))
		return;
	d->back_change = true;
	send_change(d);
}

/* Answers come in the order of the messages. */
static uint32_t awaited(const struct vu_device *d)
{
	if (d->back_waits && !d->back_first)
		return VU_BACKEND_CONFIG_CHANGE;
	return d->tlb.sent_cnt ? VU_BACKEND_IOTLB_MSG : 0;
}

static int judge_answer(void *ctx, const struct vu_header *h)
{
	const struct vu_device *d = ctx;

	if (!h->request || h->request != awaited(d) ||
	    h->flags != (VU_VERSION | VU_REPLY) || h->size != sizeof(uint64_t))
		return vtfs_fail(-EPROTO,
				 "not the answer to a message: request %u, "
				 "flags 0x%x, %u bytes",
				 h->request, h->flags, h->size);
	return 0;
}

static void take_answer(struct vu_device *d)
{
	uint64_t status = d->back_rx.payload.u64;
	uint32_t request = d->back_rx.hdr.request;

	vtfs_vu_rx_next(&d->back_rx);
	if (request == VU_BACKEND_CONFIG_CHANGE) {
		d->back_waits = false;
		return;
	}
	if (d->back_waits)
		d->back_first--;
	vtfs_vu_tlb_answer(d, status);
}

void vtfs_vu_back_dispatch(struct vu_device *d)
{
	int r = -EAGAIN;

	for (unsigned i = 0; i < VU_TLB_SENT; i++) {
		if (d->back < 0 || d->back_pipe)
			break;
		r = vtfs_vu_rx_recv(&d->back_rx, d->back, judge_answer, d);
		if (r < 0)
			break;
		take_answer(d);
	}
	if (r >= 0 || r == -EAGAIN)
		return;
	if (r != -ENOTCONN)
		vtfs_log(d->sink->log, LOG_WARNING, "%s: back-end channel: %s",
			 d->base.name, virtiofs_last_error());
	vtfs_vu_back_close(d);
	vtfs_vu_tlb_no_channel(d);
}
