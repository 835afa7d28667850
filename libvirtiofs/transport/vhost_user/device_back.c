/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
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
	if (S_ISSOCK(st.st_mode) &&
	    epoll_ctl(d->ep, EPOLL_CTL_ADD, fd, &ev) < 0) {
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
			epoll_ctl(d->ep, EPOLL_CTL_DEL, d->back, NULL);
		close(d->back);
	}
	d->back = -1;
	d->back_waits = d->back_change = false;
	vtfs_vu_rx_next(&d->back_rx);
}

static int send_change(const struct vu_device *d, bool need_reply)
{
	struct vu_header h = {.request = VU_BACKEND_CONFIG_CHANGE,
			      .flags = VU_VERSION};

	if (need_reply)
		h.flags |= VU_NEED_REPLY;
	if (d->back_pipe)
		return vtfs_pipe_write(d->back, &h, sizeof(h));
	if (send(d->back, &h, sizeof(h), MSG_DONTWAIT | MSG_NOSIGNAL) !=
	    (ssize_t)sizeof(h))
		return -ENOTCONN;
	return 0;
}

/* Nothing is sent while the device is suspended, i.e. no ring runs. */
static void send_waiting(struct vu_device *d)
{
	bool ask = vtfs_vu_device_has(d, VU_PF(REPLY_ACK)) && !d->back_pipe;

	if (d->back < 0 || !d->back_change || d->back_waits ||
	    !vtfs_vu_vrings_running(d))
		return;
	d->back_change = false;
	if (send_change(d, ask) < 0) {
		vtfs_log(d->sink->log, LOG_WARNING,
			 "%s: the front-end does not read its channel",
			 d->base.name);
		vtfs_vu_back_close(d);
		return;
	}
	d->back_waits = ask;
}

void vtfs_vu_back_changed(struct vu_device *d)
{
	if (d->back < 0 || !vtfs_vu_device_has(d, VU_PF(CONFIG)))
		return;
	d->back_change = true;
	send_waiting(d);
}

static int judge_answer(void *ctx, const struct vu_header *h)
{
	const struct vu_device *d = ctx;

	if (!d->back_waits || h->request != VU_BACKEND_CONFIG_CHANGE ||
	    h->flags != (VU_VERSION | VU_REPLY) || h->size != sizeof(uint64_t))
		return vtfs_fail(-EPROTO,
				 "not the answer to CONFIG_CHANGE: request %u, "
				 "flags 0x%x, %u bytes",
				 h->request, h->flags, h->size);
	return 0;
}

void vtfs_vu_back_dispatch(struct vu_device *d)
{
	int r = -EAGAIN;

	if (d->back >= 0 && !d->back_pipe)
		r = vtfs_vu_rx_recv(&d->back_rx, d->back, judge_answer, d);
	if (r > 0) {
		d->back_waits = false;
		vtfs_vu_rx_next(&d->back_rx);
	} else if (r != -EAGAIN) {
		if (r != -ENOTCONN)
			vtfs_log(d->sink->log, LOG_WARNING,
				 "%s: back-end channel: %s", d->base.name,
				 virtiofs_last_error());
		vtfs_vu_back_close(d);
	}
	send_waiting(d);
}
