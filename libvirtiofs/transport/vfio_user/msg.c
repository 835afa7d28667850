/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vfio_user/msg.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/socket.h"

#define HDR sizeof(struct vfu_header)

static_assert(VFU_FDS_MAX <= VTFS_SOCK_FDS_MAX, "fds of a message");

void vtfs_vfu_rx_init(struct vfu_rx *rx, size_t max)
{
	memset(rx, 0, sizeof(*rx));
	rx->max = max;
}

void vtfs_vfu_rx_next(struct vfu_rx *rx)
{
	vtfs_sock_close_fds(rx->fds, &rx->fd_cnt);
	rx->got = 0;
	rx->fd_cnt = 0;
}

void vtfs_vfu_rx_fini(struct vfu_rx *rx)
{
	vtfs_vfu_rx_next(rx);
	free(rx->payload);
	rx->payload = NULL;
	rx->cap = 0;
}

int vtfs_vfu_rx_take_fd(struct vfu_rx *rx, unsigned i)
{
	int fd = rx->fds[i];

	rx->fds[i] = -1;
	return fd;
}

/* Read on until rx->got is goal. 1, or negative. */
static int recv_until(struct vfu_rx *rx, int sock, size_t goal)
{
	const struct vtfs_sock_in in = {
	    .name = "vfio-user",
	    .head = &rx->hdr,
	    .head_len = HDR,
	    .body = rx->payload,
	    .got = &rx->got,
	    .fds = rx->fds,
	    .fd_cnt = &rx->fd_cnt,
	    .fd_max = VFU_FDS_MAX,
	};

	return vtfs_sock_recv_until(sock, &in, goal);
}

static int judge_header(const struct vfu_rx *rx)
{
	const struct vfu_header *h = &rx->hdr;

	if (h->size < HDR || h->size - HDR > rx->max)
		return vtfs_fail(-EPROTO, "vfio-user: %s says it has %u bytes",
				 vtfs_vfu_command_name(h->command), h->size);
	if ((h->flags & VFU_TYPE_MASK) > VFU_TYPE_REPLY)
		return vtfs_fail(-EPROTO, "vfio-user: %s with flags 0x%x",
				 vtfs_vfu_command_name(h->command), h->flags);
	return 0;
}

static int make_room(struct vfu_rx *rx)
{
	size_t len = vtfs_vfu_rx_len(rx);
	unsigned char *p;

	if (len <= rx->cap)
		return 0;
	p = realloc(rx->payload, len);
	if (!p)
		return -ENOMEM;
	rx->payload = p;
	rx->cap = len;
	return 0;
}

int vtfs_vfu_rx_recv(struct vfu_rx *rx, int sock)
{
	int r;

	r = recv_until(rx, sock, HDR);
	if (r >= 0)
		r = judge_header(rx);
	if (r >= 0)
		r = make_room(rx);
	if (r < 0)
		return r;
	return recv_until(rx, sock, rx->hdr.size);
}

static int grow(struct vfu_tx *tx, size_t len)
{
	unsigned char *p;

	if (len <= tx->cap)
		return 0;
	p = realloc(tx->buf, len);
	if (!p)
		return -ENOMEM;
	tx->buf = p;
	tx->cap = len;
	return 0;
}

int vtfs_vfu_tx_put(struct vfu_tx *tx, const struct vfu_out *out)
{
	struct vfu_header h = {.id = out->id,
			       .command = out->command,
			       .size = (uint32_t)(HDR + out->len),
			       .flags = out->flags,
			       .error = out->error};
	int r;

	r = grow(tx, HDR + out->len);
	if (r >= 0)
		r = vtfs_sock_dup_fds(tx->fds, &tx->fd_cnt, out->fds,
				      out->fd_cnt);
	if (r < 0) {
		vtfs_vfu_tx_drop(tx);
		return r;
	}
	memcpy(tx->buf, &h, HDR);
	if (out->len)
		memcpy(tx->buf + HDR, out->payload, out->len);
	tx->len = HDR + out->len;
	tx->sent = 0;
	return 0;
}

void vtfs_vfu_tx_drop(struct vfu_tx *tx)
{
	vtfs_sock_close_fds(tx->fds, &tx->fd_cnt);
	tx->len = tx->sent = 0;
}

void vtfs_vfu_tx_fini(struct vfu_tx *tx)
{
	vtfs_vfu_tx_drop(tx);
	free(tx->buf);
	tx->buf = NULL;
	tx->cap = 0;
}

int vtfs_vfu_tx_flush(struct vfu_tx *tx, int sock)
{
	const struct vtfs_sock_out out = {.buf = tx->buf,
					  .len = tx->len,
					  .sent = &tx->sent,
					  .fds = tx->fds,
					  .fd_cnt = &tx->fd_cnt};

	return vtfs_sock_flush(sock, &out);
}

static const char *const names[VFU_COMMANDS] = {
    [VFU_VERSION] = "VERSION",
    [VFU_DMA_MAP] = "DMA_MAP",
    [VFU_DMA_UNMAP] = "DMA_UNMAP",
    [VFU_GET_INFO] = "DEVICE_GET_INFO",
    [VFU_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
    [VFU_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
    [VFU_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
    [VFU_SET_IRQS] = "DEVICE_SET_IRQS",
    [VFU_REGION_READ] = "REGION_READ",
    [VFU_REGION_WRITE] = "REGION_WRITE",
    [VFU_DMA_READ] = "DMA_READ",
    [VFU_DMA_WRITE] = "DMA_WRITE",
    [VFU_RESET] = "DEVICE_RESET",
    [VFU_DIRTY_PAGES] = "DIRTY_PAGES",
    [VFU_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
    [VFU_FEATURE] = "DEVICE_FEATURE",
    [VFU_MIG_DATA_READ] = "MIG_DATA_READ",
    [VFU_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
};

const char *vtfs_vfu_command_name(uint32_t command)
{
	if (command >= VTFS_ARRAY_LEN(names) || !names[command])
		return "unknown command";
	return names[command];
}
