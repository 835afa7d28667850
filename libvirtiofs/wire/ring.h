/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_WIRE_RING_H
#define VTFS_WIRE_RING_H
/* Virtqueues as they lie in memory, little endian (virtio 1.4, 2.7, 2.8). */
#include <stddef.h>
#include <stdint.h>

/* Descriptor flags, both layouts. */
#define VTFS_DESC_F_NEXT     (1u << 0)
#define VTFS_DESC_F_WRITE    (1u << 1)
#define VTFS_DESC_F_INDIRECT (1u << 2)

/* Split: 2.7.5 */
struct vtfs_wire_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

#define VTFS_AVAIL_F_NO_INTERRUPT 1u
#define VTFS_USED_F_NO_NOTIFY	  1u

/* Split: 2.7.6. After ring[num] stands used_event. */
struct vtfs_wire_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[];
};

/* Split: 2.7.8. After ring[num] stands avail_event. */
struct vtfs_wire_used_elem {
	uint32_t id;
	uint32_t len;
};

struct vtfs_wire_used {
	uint16_t flags;
	uint16_t idx;
	struct vtfs_wire_used_elem ring[];
};

/* Packed: 2.8.13. The same for available and for used ones. */
struct vtfs_wire_packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};

#define VTFS_PACKED_F_AVAIL (1u << 7)
#define VTFS_PACKED_F_USED  (1u << 15)

/* Packed: 2.8.14. One aligned word, so that it is never seen half changed. */
struct vtfs_wire_packed_event {
	uint16_t off_wrap; /* offset in bits 0-14, wrap counter in bit 15 */
	uint16_t flags;	   /* bits 0-1 */
};

#define VTFS_PACKED_EVENT_ENABLE  0u
#define VTFS_PACKED_EVENT_DISABLE 1u
#define VTFS_PACKED_EVENT_DESC	  2u
#define VTFS_PACKED_EVENT_MASK	  3u
#define VTFS_PACKED_WRAP	  (1u << 15)

#define VTFS_DESC_SIZE		16u
#define VTFS_DESC_ALIGN		16u
#define VTFS_AVAIL_ALIGN	2u
#define VTFS_USED_ALIGN		4u
#define VTFS_PACKED_EVENT_ALIGN 4u

_Static_assert(sizeof(struct vtfs_wire_desc) == 16, "2.7.5");
_Static_assert(offsetof(struct vtfs_wire_desc, len) == 8, "2.7.5");
_Static_assert(offsetof(struct vtfs_wire_desc, flags) == 12, "2.7.5");
_Static_assert(offsetof(struct vtfs_wire_desc, next) == 14, "2.7.5");
_Static_assert(offsetof(struct vtfs_wire_avail, ring) == 4, "2.7.6");
_Static_assert(sizeof(struct vtfs_wire_used_elem) == 8, "2.7.8");
_Static_assert(offsetof(struct vtfs_wire_used, ring) == 4, "2.7.8");
_Static_assert(sizeof(struct vtfs_wire_packed_desc) == 16, "2.8.13");
_Static_assert(offsetof(struct vtfs_wire_packed_desc, id) == 12, "2.8.13");
_Static_assert(offsetof(struct vtfs_wire_packed_desc, flags) == 14, "2.8.13");
_Static_assert(sizeof(struct vtfs_wire_packed_event) == 4, "2.8.14");
#endif
