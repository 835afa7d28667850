/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_TRANSPORT_STATUS_H
#define VTFS_TRANSPORT_STATUS_H
/*
 * The device half of feature negotiation and of the status byte, the same for
 * every transport (virtio 1.4, 2.1, 2.2 and 3.1).
 *
 * The driver chooses features once: after FEATURES_OK only a reset lets it
 * choose again. FEATURES_OK sticks only if the choice was good. Bits are never
 * cleared but by a reset; NEEDS_RESET is the device's.
 */
#include <stdbool.h>
#include <stdint.h>

#include "wire/virtio.h"

struct vtfs_status {
	uint8_t bits;
	bool chosen; /* features holds a good choice */
	uint64_t features;
};

/* 0, also when the same choice comes again; -EPROTO a bad choice (then none
 * is chosen); -EBUSY another choice after FEATURES_OK. */
int vtfs_status_choose(struct vtfs_status *s, uint64_t offered,
		       uint64_t features);

/* The driver writes a value that is not 0. Returns the bits that are new. */
uint8_t vtfs_status_write(struct vtfs_status *s, uint8_t value);

void vtfs_status_reset(struct vtfs_status *s);

/* May queues be served? A queue that broke leaves the others at work, so
 * NEEDS_RESET says nothing here. */
static inline bool vtfs_status_live(const struct vtfs_status *s)
{
	return (s->bits & VTFS_STATUS_DRIVER_OK) &&
	       !(s->bits & VTFS_STATUS_FAILED);
}
#endif
