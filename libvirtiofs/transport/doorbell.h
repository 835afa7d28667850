/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_TRANSPORT_DOORBELL_H
#define VTFS_TRANSPORT_DOORBELL_H
/*
 * How a client tells a device of new chains in one queue: an eventfd, a store
 * into a register, or a call of the transport's that carries such a store.
 * Filled when the queue starts, rung by the queue's owner in any thread.
 */
#include <stdbool.h>
#include <stdint.h>

struct virtiofs_transport;

enum vtfs_doorbell_kind {
	VTFS_DOORBELL_FD,
	VTFS_DOORBELL_STORE,
	VTFS_DOORBELL_CALL,
};

struct vtfs_doorbell {
	enum vtfs_doorbell_kind kind;
	int fd; /* FD: the peer's description too; -1: none */
	/* NOTIFICATION_DATA: 32 bits, with the place in the ring; else 16. */
	bool data;
	bool dma_fence; /* ORDER_PLATFORM */
	uint16_t vq;	/* virtqueue number */
	uint16_t id;	/* what the register is told: vq, or the device's own */
	volatile void *addr; /* STORE: aligned for its width */
	int (*call)(struct virtiofs_transport *t, unsigned vq, uint32_t value);
	struct virtiofs_transport *t;
};

/* pos: vtfs_vq_drv_pos(), where the next chain will be made available. */
void vtfs_doorbell_ring(const struct vtfs_doorbell *b, uint16_t pos);
#endif
