/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VQ_NOTIFY_H
#define VTFS_VQ_NOTIFY_H
/*
 * When the other side wants to hear of new elements: arithmetic only. What it
 * asks for is its own business: a wrong value costs it a notification.
 */
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>

#include "wire/ring.h"

/* Split: is event, an index, among those just passed, [from, to)? All of them
 * run freely modulo 2^16; a batch is at most 2^15 long. (2.7.7.2) */
static inline bool vtfs_notify_crossed(uint16_t event, uint16_t from,
				       uint16_t to)
{
	return (uint16_t)(event - from) < (uint16_t)(to - from);
}

/* Packed: a place in the ring, as the event word and vring bases carry it. */
static inline uint16_t vtfs_packed_pos(uint16_t slot, bool wrap)
{
	return (uint16_t)(slot | (wrap ? VTFS_PACKED_WRAP : 0));
}

/* The number of steps from one place to another, below 2 * num: places repeat
 * after two rounds, one per value of the wrap counter. */
static inline uint32_t vtfs_packed_dist(uint16_t from, uint16_t to,
					uint32_t num)
{
	uint32_t a = from & ~VTFS_PACKED_WRAP;
	uint32_t b = to & ~VTFS_PACKED_WRAP;

	if ((from ^ to) & VTFS_PACKED_WRAP)
		b += num;
	else if (b < a)
		b += 2 * num;
	return b - a;
}

/* Packed: the event word as the peer stored it, and what to do about the cnt
 * slots passed from place from on. A flag that means nothing (3, or 2 without
 * EVENT_IDX) and a place that does not exist count as "enable". (2.8.10) */
static inline bool vtfs_notify_packed(uint32_t word_le, bool event_idx,
				      uint16_t from, uint32_t cnt, uint32_t num)
{
	uint32_t word = le32toh(word_le);
	uint32_t flags = word >> 16 & VTFS_PACKED_EVENT_MASK;
	uint16_t off_wrap = (uint16_t)word;

	if (flags == VTFS_PACKED_EVENT_DISABLE)
		return false;
	if (flags != VTFS_PACKED_EVENT_DESC || !event_idx)
		return true;
	if ((off_wrap & ~VTFS_PACKED_WRAP) >= num)
		return true;
	return vtfs_packed_dist(from, off_wrap, num) < cnt;
}

/*
 * VIRTIO_F_NOTIFICATION_DATA: what the driver stores into the doorbell of
 * virtqueue vq. pos is the avail index, or a place in a packed ring; both have
 * their wrap in bit 15. Only a doorbell carries it: an eventfd counts, so
 * neither vhost-user nor the in-process pair offers the feature. A device needs
 * nothing of it but vq, and looks at the ring itself. (2.9)
 */
static inline uint32_t vtfs_notify_data(uint16_t vq, uint16_t pos)
{
	return htole32(vq | (uint32_t)pos << 16);
}

/* The word that asks for a notification, little endian. */
static inline uint32_t vtfs_packed_event(uint32_t flags, uint16_t off_wrap)
{
	return htole32(flags << 16 | off_wrap);
}
#endif
