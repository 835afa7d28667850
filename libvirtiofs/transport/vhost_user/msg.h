/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VHOST_USER_MSG_H
#define VTFS_VHOST_USER_MSG_H
/*
 * Theory of operation
 *
 * One message in (vu_rx) and one message out (vu_tx), each with its state, so
 * that a stream may be cut or glued anywhere and nothing ever blocks: all
 * calls use MSG_DONTWAIT, since O_NONBLOCK belongs to an open file description
 * that others may share. Never is more read than one message.
 *
 * fds that come with a message belong to vu_rx until vtfs_vu_rx_take_fd(); the
 * rest is closed by vtfs_vu_rx_next().
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/vhost_user.h"

#define VU_PAYLOAD_MAX 4096u

union vu_payload {
	uint64_t u64;
	struct vu_vring_state state;
	struct vu_vring_addr addr;
	struct vu_mem_table mem;
	struct vu_mem_reg reg;
	struct vu_config config;
	struct vu_iotlb iotlb;
	unsigned char bytes[VU_PAYLOAD_MAX];
};

struct vu_rx {
	struct vu_header hdr;
	union vu_payload payload;
	size_t got; /* bytes of both */
	int fds[VU_FDS_MAX];
	unsigned fd_cnt;
};

void vtfs_vu_rx_init(struct vu_rx *rx);
/* Forget the message that was complete, close the fds nobody took. */
void vtfs_vu_rx_next(struct vu_rx *rx);
/* Judges a header before any byte of the payload is awaited. */
typedef int (*vu_judge_fn)(void *ctx, const struct vu_header *hdr);
/* 1: complete; -EAGAIN; -ENOTCONN: the peer hung up between messages;
 * -EPROTO with a text: it broke the protocol; judge's answer. */
int vtfs_vu_rx_recv(struct vu_rx *rx, int sock, vu_judge_fn judge, void *ctx);
/* The i-th fd, now the caller's. */
int vtfs_vu_rx_take_fd(struct vu_rx *rx, unsigned i);

struct vu_tx {
	unsigned char buf[sizeof(struct vu_header) + VU_PAYLOAD_MAX];
	size_t len, sent;
	int fds[VU_FDS_MAX]; /* duplicates */
	unsigned fd_cnt;
};

static inline bool vtfs_vu_tx_busy(const struct vu_tx *tx)
{
	return tx->sent < tx->len;
}

/* What goes out; the payload is copied, fds are duplicated. */
struct vu_out {
	uint32_t request;
	uint32_t flags; /* version is added */
	const void *payload;
	size_t len;
	const int *fds;
	unsigned fd_cnt;
};
/* tx must not be busy. */
int vtfs_vu_tx_put(struct vu_tx *tx, const struct vu_out *out);
/* 0: all is sent; -EAGAIN; -ENOTCONN. */
int vtfs_vu_tx_flush(struct vu_tx *tx, int sock);
void vtfs_vu_tx_drop(struct vu_tx *tx);

/* For messages of errors. */
const char *vtfs_vu_request_name(uint32_t request);
#endif
