/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost_user/msg.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/socket.h"

#define HDR sizeof(struct vu_header)

static_assert(VU_FDS_MAX <= VTFS_SOCK_FDS_MAX, "fds of a message");

void vtfs_vu_rx_init(struct vu_rx *rx)
{
	rx->got = 0;
	rx->fd_cnt = 0;
}

void vtfs_vu_rx_next(struct vu_rx *rx)
{
	vtfs_sock_close_fds(rx->fds, &rx->fd_cnt);
	vtfs_vu_rx_init(rx);
}

int vtfs_vu_rx_take_fd(struct vu_rx *rx, unsigned i)
{
	int fd = rx->fds[i];

	rx->fds[i] = -1;
	return fd;
}

/* Read on until rx->got is goal. 1, or negative. */
static int recv_until(struct vu_rx *rx, int sock, size_t goal)
{
	const struct vtfs_sock_in in = {
	    .name = "vhost-user",
	    .head = &rx->hdr,
	    .head_len = HDR,
	    .body = rx->payload.bytes,
	    .got = &rx->got,
	    .fds = rx->fds,
	    .fd_cnt = &rx->fd_cnt,
	    .fd_max = VU_FDS_MAX,
	};

	return vtfs_sock_recv_until(sock, &in, goal);
}

static int judge_header(const struct vu_header *h)
{
	if ((h->flags & VU_VERSION_MASK) != VU_VERSION ||
	    h->flags & ~(VU_VERSION_MASK | VU_REPLY | VU_NEED_REPLY))
		return vtfs_fail(-EPROTO, "vhost-user: %s with flags 0x%x",
				 vtfs_vu_request_name(h->request), h->flags);
	if (h->size > VU_PAYLOAD_MAX)
		return vtfs_fail(-EPROTO, "vhost-user: %s says it has %u bytes",
				 vtfs_vu_request_name(h->request), h->size);
	return 0;
}

int vtfs_vu_rx_recv(struct vu_rx *rx, int sock, vu_judge_fn judge, void *ctx)
{
	bool fresh = rx->got < HDR;
	int r;

	r = recv_until(rx, sock, HDR);
	if (r < 0)
		return r;
	if (fresh) {
		r = judge_header(&rx->hdr);
		if (r >= 0)
			r = judge(ctx, &rx->hdr);
		if (r < 0)
			return r;
	}
	return recv_until(rx, sock, HDR + rx->hdr.size);
}

int vtfs_vu_tx_put(struct vu_tx *tx, const struct vu_out *out)
{
	struct vu_header h = {.request = out->request,
			      .flags = out->flags | VU_VERSION,
			      .size = (uint32_t)out->len};
	int r;

	tx->fd_cnt = 0;
	r = vtfs_sock_dup_fds(tx->fds, &tx->fd_cnt, out->fds, out->fd_cnt);
	if (r < 0) {
		vtfs_vu_tx_drop(tx);
		return r;
	}
	memcpy(tx->buf, &h, HDR);
	if (out->len)
		memcpy(tx->buf + HDR, out->payload, out->len);
	tx->len = HDR + out->len;
	tx->sent = 0;
	return 0;
}

void vtfs_vu_tx_drop(struct vu_tx *tx)
{
	vtfs_sock_close_fds(tx->fds, &tx->fd_cnt);
	tx->len = tx->sent = 0;
}

int vtfs_vu_tx_flush(struct vu_tx *tx, int sock)
{
	const struct vtfs_sock_out out = {.buf = tx->buf,
					  .len = tx->len,
					  .sent = &tx->sent,
					  .fds = tx->fds,
					  .fd_cnt = &tx->fd_cnt};

	return vtfs_sock_flush(sock, &out);
}

static const char *const names[VU_REQUESTS] = {
    [VU_GET_FEATURES] = "GET_FEATURES",
    [VU_SET_FEATURES] = "SET_FEATURES",
    [VU_SET_OWNER] = "SET_OWNER",
    [VU_RESET_OWNER] = "RESET_OWNER",
    [VU_SET_MEM_TABLE] = "SET_MEM_TABLE",
    [VU_SET_LOG_BASE] = "SET_LOG_BASE",
    [VU_SET_LOG_FD] = "SET_LOG_FD",
    [VU_SET_VRING_NUM] = "SET_VRING_NUM",
    [VU_SET_VRING_ADDR] = "SET_VRING_ADDR",
    [VU_SET_VRING_BASE] = "SET_VRING_BASE",
    [VU_GET_VRING_BASE] = "GET_VRING_BASE",
    [VU_SET_VRING_KICK] = "SET_VRING_KICK",
    [VU_SET_VRING_CALL] = "SET_VRING_CALL",
    [VU_SET_VRING_ERR] = "SET_VRING_ERR",
    [VU_GET_PROTOCOL_FEATURES] = "GET_PROTOCOL_FEATURES",
    [VU_SET_PROTOCOL_FEATURES] = "SET_PROTOCOL_FEATURES",
    [VU_GET_QUEUE_NUM] = "GET_QUEUE_NUM",
    [VU_SET_VRING_ENABLE] = "SET_VRING_ENABLE",
    [VU_SEND_RARP] = "SEND_RARP",
    [VU_NET_SET_MTU] = "NET_SET_MTU",
    [VU_SET_BACKEND_REQ_FD] = "SET_BACKEND_REQ_FD",
    [VU_IOTLB_MSG] = "IOTLB_MSG",
    [VU_SET_VRING_ENDIAN] = "SET_VRING_ENDIAN",
    [VU_GET_CONFIG] = "GET_CONFIG",
    [VU_SET_CONFIG] = "SET_CONFIG",
    [VU_POSTCOPY_ADVISE] = "POSTCOPY_ADVISE",
    [VU_POSTCOPY_LISTEN] = "POSTCOPY_LISTEN",
    [VU_POSTCOPY_END] = "POSTCOPY_END",
    [VU_GET_INFLIGHT_FD] = "GET_INFLIGHT_FD",
    [VU_SET_INFLIGHT_FD] = "SET_INFLIGHT_FD",
    [VU_GPU_SET_SOCKET] = "GPU_SET_SOCKET",
    [VU_RESET_DEVICE] = "RESET_DEVICE",
    [VU_VRING_KICK] = "VRING_KICK",
    [VU_GET_MAX_MEM_SLOTS] = "GET_MAX_MEM_SLOTS",
    [VU_ADD_MEM_REG] = "ADD_MEM_REG",
    [VU_REM_MEM_REG] = "REM_MEM_REG",
    [VU_SET_STATUS] = "SET_STATUS",
    [VU_GET_STATUS] = "GET_STATUS",
    [VU_GET_SHARED_OBJECT] = "GET_SHARED_OBJECT",
    [VU_SET_DEVICE_STATE_FD] = "SET_DEVICE_STATE_FD",
    [VU_CHECK_DEVICE_STATE] = "CHECK_DEVICE_STATE",
    [VU_GET_SHMEM_CONFIG] = "GET_SHMEM_CONFIG",
};

const char *vtfs_vu_request_name(uint32_t request)
{
	if (request >= VTFS_ARRAY_LEN(names) || !names[request])
		return "unknown request";
	return names[request];
}
