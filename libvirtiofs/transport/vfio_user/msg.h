/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VFIO_USER_MSG_H
#define VTFS_VFIO_USER_MSG_H
/*
 * Theory of operation
 *
 * One message in (vfu_rx) and one message out (vfu_tx), each with its state, so
 * that a stream may be cut or glued anywhere and nothing ever blocks. Never is
 * more read than one message. Payloads grow to the longest that came, which
 * max bounds: nothing is allocated for a longer one.
 *
 * fds that come with a message belong to vfu_rx until vtfs_vfu_rx_take_fd();
 * the rest is closed by vtfs_vfu_rx_next().
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/vfio_user.h"

#define VFU_FDS_MAX 16u /* with one message; what we say as max_msg_fds */

struct vfu_rx {
	struct vfu_header hdr;
	unsigned char *payload; /* aligned for any structure */
	size_t cap, max;	/* bytes of payload */
	size_t got;		/* bytes of both */
	int fds[VFU_FDS_MAX];
	unsigned fd_cnt;
};

void vtfs_vfu_rx_init(struct vfu_rx *rx, size_t max);
void vtfs_vfu_rx_fini(struct vfu_rx *rx);
/* Forget the message that was complete, close the fds nobody took. */
void vtfs_vfu_rx_next(struct vfu_rx *rx);
/* 1: complete; -EAGAIN; -ENOTCONN: the peer hung up between messages;
 * -EPROTO with a text: it broke the protocol; -ENOMEM. */
int vtfs_vfu_rx_recv(struct vfu_rx *rx, int sock);
/* Bytes behind the header. */
static inline size_t vtfs_vfu_rx_len(const struct vfu_rx *rx)
{
	return rx->hdr.size - sizeof(rx->hdr);
}
/* The i-th fd, now the caller's. */
int vtfs_vfu_rx_take_fd(struct vfu_rx *rx, unsigned i);

struct vfu_tx {
	unsigned char *buf;
	size_t cap, len, sent;
	int fds[VFU_FDS_MAX]; /* duplicates */
	unsigned fd_cnt;
};

static inline bool vtfs_vfu_tx_busy(const struct vfu_tx *tx)
{
	return tx->sent < tx->len;
}

/* What goes out; the payload is copied, fds are duplicated. */
struct vfu_out {
	uint16_t id;
	uint16_t command;
	uint32_t flags;
	uint32_t error;
	const void *payload;
	size_t len;
	const int *fds;
	unsigned fd_cnt;
};
/* tx must not be busy. */
int vtfs_vfu_tx_put(struct vfu_tx *tx, const struct vfu_out *out);
/* 0: all is sent; -EAGAIN; -ENOTCONN. */
int vtfs_vfu_tx_flush(struct vfu_tx *tx, int sock);
/* Forget what was not sent. */
void vtfs_vfu_tx_drop(struct vfu_tx *tx);
void vtfs_vfu_tx_fini(struct vfu_tx *tx);

/* For messages of errors. */
const char *vtfs_vfu_command_name(uint32_t command);
#endif
