/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/doorbell.h"

#include <endian.h>
#include <poll.h>

#include "base/evfd.h"
#include "base/shared.h"
#include "vq/notify.h"

static void ring_fd(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	/* Not writable: the peer filled it, and so it is signalled. */
	if (poll(&p, 1, 0) == 1 && p.revents & POLLOUT)
		vtfs_evfd_signal(fd);
}

/* What the register is to hold, as a number. (virtio 1.4, 4.1.5.2) */
static uint32_t value_of(const struct vtfs_doorbell *b, uint16_t pos)
{
	return b->data ? le32toh(vtfs_notify_data(b->id, pos)) : b->id;
}

static void store(const struct vtfs_doorbell *b, uint32_t value)
{
	/* The ring's index before the doorbell: the device reads the ring when
	 * it sees this store. */
	if (b->dma_fence)
		vtfs_fence_dma();
	else
		vtfs_fence_full();
	if (b->data)
		*(volatile uint32_t *)b->addr = htole32(value);
	else
		*(volatile uint16_t *)b->addr = htole16((uint16_t)value);
}

void vtfs_doorbell_ring(const struct vtfs_doorbell *b, uint16_t pos)
{
	switch (b->kind) {
	case VTFS_DOORBELL_FD:
		ring_fd(b->fd);
		break;
	case VTFS_DOORBELL_STORE:
		store(b, value_of(b, pos));
		break;
	case VTFS_DOORBELL_CALL:
		b->call(b->t, b->vq, value_of(b, pos));
		break;
	}
}
