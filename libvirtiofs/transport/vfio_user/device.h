/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VFIO_USER_DEVICE_H
#define VTFS_VFIO_USER_DEVICE_H
/*
 * The server: a PCI function on a socket.
 *
 * Theory of operation
 *
 * One command at a time: it stays in rx until it is answered. What needs the
 * session's time leaves wait != 0; the session's answer clears it and wakes the
 * next dispatch, which finishes the command. Meanwhile nothing is read from the
 * socket, so that the client's order is kept without blocking anybody.
 *
 * A command that is wrong gets an error as its reply, and changes nothing. What
 * leaves the stream in doubt ends the connection; the device listens again.
 *
 * The device's own commands are DMA_READ and DMA_WRITE, for queues in memory
 * that came without a file descriptor (dma.h). They share tx with replies: one
 * message at a time. While one of them can't be sent the device reads on until
 * a command comes, whose reply would have to wait for it (held).
 *
 * Registers are all in transport/virtio_pci/function.c. A doorbell is a write
 * of a region, which rings an eventfd of ours. No region can be mapped: a
 * doorbell in memory would wake nobody.
 */
#include "transport/devmem.h"
#include "transport/port.h"
#include "transport/vfio_user/caps.h"
#include "transport/vfio_user/dma.h"
#include "transport/vfio_user/msg.h"
#include "transport/vfio_user/vfio_user.h"
#include "transport/virtio_pci/function.h"

/* What we take: one of the client's commands moves that many bytes, and before
 * VERSION there is only that. */
#define VFU_XFER_MAX	VFU_DEFAULT_MAX_XFER
#define VFU_PAYLOAD_MAX (VFU_XFER_MAX + sizeof(struct vfu_region_io))
#define VFU_VERSION_MAX 4096u
#define VFU_MAPS_MAX	VTFS_REGION_MAX
#define VFU_PAGE	4096u

/* One DMA_MAP. */
struct vfu_map {
	uint64_t address, size;
	uint32_t flags; /* VFU_DMA_ */
	bool shared;	/* it is in mem: the device can reach it */
};

enum vfu_wait {
	VFU_WAIT_NOTHING,
	VFU_WAIT_TABLE,
	VFU_WAIT_RESET,
	VFU_WAIT_LOST, /* the connection is gone */
};

struct vfu_device {
	struct virtiofs_transport base;
	char *name;
	struct vtfs_dev_sink *sink;
	struct vtfs_port port;
	bool told; /* the session may know of this connection */
	bool versioned;
	enum vfu_wait wait;
	struct vfu_rx rx;
	bool handling;	  /* rx holds a command that is not answered */
	bool held;	  /* rx holds one that was not looked at */
	uint64_t written; /* by REGION_WRITE_MULTI, so far */
	struct vfu_tx tx;
	struct vfu_caps peer;
	struct vtfs_devmem mem;
	struct vfu_map maps[VFU_MAPS_MAX];
	unsigned map_cnt;
	struct vtfs_pcifn fn;
	struct vfu_dma dma;
};

/* device.c: the reply to the command in rx. 1, or negative. */
int vtfs_vfu_reply(struct vfu_device *d, const void *payload, size_t len);
int vtfs_vfu_reply_fds(struct vfu_device *d, const void *payload, size_t len,
		       const int *fds, unsigned fd_cnt);

/* device_msg.c: 0 done, with an empty reply; 1 replied; -EINPROGRESS wait is
 * set; other negative: why not, as an errno. */
int vtfs_vfu_handle(struct vfu_device *d);
/* wait is over: the rest of what handle began, with the same answers. */
int vtfs_vfu_resume(struct vfu_device *d);

/* device_dma.c, device_irq.c: commands; results as of handle. */
int vtfs_vfu_dma_map(struct vfu_device *d);
int vtfs_vfu_dma_map_done(struct vfu_device *d);
int vtfs_vfu_dma_unmap(struct vfu_device *d);
int vtfs_vfu_dma_unmap_done(struct vfu_device *d);
int vtfs_vfu_irq_info(struct vfu_device *d);
int vtfs_vfu_set_irqs(struct vfu_device *d);
#endif
