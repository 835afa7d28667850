/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VHOST_USER_DEVICE_H
#define VTFS_VHOST_USER_DEVICE_H
/*
 * The back-end.
 *
 * Theory of operation
 *
 * One message at a time: it stays in rx until it is answered. What needs the
 * session's time leaves wait != 0; the session's answer clears it and wakes the
 * next dispatch, which finishes the message. Meanwhile nothing is read from
 * the socket, so that the peer's order is kept without blocking anybody.
 *
 * A ring runs in the session exactly while vring_wants(): the front-end has
 * started it (SET_VRING_KICK), enabled it, shared memory and chosen features,
 * and, where STATUS was negotiated, set DRIVER_OK. When it ceases to, the
 * session drains it and only then the message is answered: a front-end that
 * only disables (user-mode Linux) reuses the memory of the ring at once.
 *
 * What a message got wrong is answered with a status that is not 0 if the
 * front-end asked for one, and ends the connection otherwise; so does what
 * leaves the stream in doubt.
 *
 * SET_STATUS 0 stops and forgets the rings, but does not end the session: QEMU
 * writes it whenever it stops a device, also for a guest that is only paused.
 * The FUSE session ends with the guest's next INIT, RESET_DEVICE, or the
 * connection.
 */
#include "base/evfd.h"
#include "transport/devmem.h"
#include "transport/port.h"
#include "transport/status.h"
#include "transport/vhost_user/device_iotlb.h"
#include "transport/vhost_user/msg.h"
#include "transport/vhost_user/vhost_user.h"

#define VU_VRINGS 256u /* an index has 8 bits */

/* Protocol features that we offer. */
#define VU_DEVICE_PF                                                           \
	(VU_PF(MQ) | VU_PF(REPLY_ACK) | VU_PF(BACKEND_REQ) | VU_PF(CONFIG) |   \
	 VU_PF(RESET_DEVICE) | VU_PF(CONFIGURE_MEM_SLOTS) | VU_PF(STATUS))

struct vu_vring {
	uint32_t num;		   /* 0: not said */
	struct vu_vring_addr addr; /* valid if has_addr */
	uint32_t base;		   /* as in SET_VRING_BASE */
	int kick_fd;
	int call_fd;
	struct vtfs_bell err;
	bool has_addr;
	bool started;
	bool enabled;
	bool running;  /* told to the session */
	bool stopping; /* queue_stopped is owed */
};

enum vu_wait {
	VU_WAIT_NOTHING,
	VU_WAIT_DRAIN, /* rings that stop */
	VU_WAIT_TABLE,
	VU_WAIT_RESET,
	VU_WAIT_LOST, /* the connection is gone */
};

struct vu_device {
	struct virtiofs_transport base;
	char *name;
	struct vtfs_dev_sink *sink;
	struct vtfs_port port; /* its ep has the back-end channel too */
	bool told;	       /* the session may know of this connection */
	enum vu_wait wait;
	unsigned drains; /* rings with stopping set */
	struct vu_rx rx;
	bool handling; /* rx holds a message that is not answered */
	bool busy;     /* it is begun just now */
	struct vu_tx tx;
	uint64_t protocol; /* negotiated */
	struct vtfs_status status;
	struct vtfs_devmem mem;
	struct vu_vring vrings[VU_VRINGS];
	/* Back-end channel */
	int back;	/* -1: none */
	bool back_pipe; /* can't be read: no answers */
	/* An answer to CONFIG_CHANGE is awaited; before it come those to so
	 * many IOTLB messages that were sent earlier. */
	bool back_waits;
	unsigned back_first;
	bool back_change; /* CONFIG_CHANGE has to be sent */
	struct vu_rx back_rx;
	struct vu_tlb tlb;
};

/* device.c */
bool vtfs_vu_device_has(const struct vu_device *d, uint64_t pf);
unsigned vtfs_vu_device_queues(const struct vu_device *d);
/* What the session has: by guest addresses, or by IOVAs. */
static inline const struct vtfs_table *vtfs_vu_device_table(
    const struct vu_device *d)
{
	return d->tlb.on ? d->tlb.table : d->mem.table;
}
/* Answer the message in rx. */
int vtfs_vu_device_reply(struct vu_device *d, const void *payload, size_t len);
int vtfs_vu_device_reply_u64(struct vu_device *d, uint64_t v);

/* device_msg.c: 0 done, 1 it sent its own reply, -EINPROGRESS wait is set,
 * other negative: what is wrong with it. */
int vtfs_vu_device_judge(void *ctx, const struct vu_header *h);
int vtfs_vu_device_handle(struct vu_device *d);
/* wait is over: the rest of what handle began, with the same answers. */
int vtfs_vu_device_resume(struct vu_device *d);

/* device_vring.c: messages about one ring; results as of handle. */
int vtfs_vu_vring_num(struct vu_device *d);
int vtfs_vu_vring_addr(struct vu_device *d);
int vtfs_vu_vring_base(struct vu_device *d);
int vtfs_vu_vring_get_base(struct vu_device *d);
int vtfs_vu_vring_reply_base(struct vu_device *d);
int vtfs_vu_vring_kick(struct vu_device *d);
int vtfs_vu_vring_call(struct vu_device *d);
int vtfs_vu_vring_err(struct vu_device *d);
int vtfs_vu_vring_enable(struct vu_device *d);
void vtfs_vu_vring_stopped(struct vu_device *d, unsigned vq, uint16_t avail,
			   uint16_t used);
/* Start and stop what has to be by now. */
int vtfs_vu_vrings_update(struct vu_device *d);
bool vtfs_vu_vrings_running(const struct vu_device *d);
void vtfs_vu_vrings_enable_all(struct vu_device *d);
void vtfs_vu_vrings_init(struct vu_device *d);
/* As after a reset. What QEMU says once per connection stays: fds for calls and
 * errors; so do bases, for GET_VRING_BASE may follow. The session was told. */
void vtfs_vu_vrings_reset(struct vu_device *d);
/* The connection is gone. */
void vtfs_vu_vrings_drop(struct vu_device *d);

/* device_back.c: the channel to the front-end. */
int vtfs_vu_back_open(struct vu_device *d, int fd);
void vtfs_vu_back_close(struct vu_device *d);
/* The config space, or the status, changed. */
void vtfs_vu_back_changed(struct vu_device *d);
/* Send what waits. */
void vtfs_vu_back_send(struct vu_device *d);
/* Read answers. */
void vtfs_vu_back_dispatch(struct vu_device *d);
#endif
