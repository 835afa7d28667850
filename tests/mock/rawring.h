/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MOCK_RAWRING_H
#define TESTS_MOCK_RAWRING_H
/*
 * A peer that knows a ring as bytes only: one half of ours runs against memory
 * that the test writes and reads itself, right or wrong. Offsets and bit
 * numbers are written out here again, so that a wrong layout in the library
 * doesn't go unseen.
 */
#include <stdbool.h>
#include <stdint.h>

#include "ringmem.h"

#define RAW_NEXT     1u
#define RAW_WRITE    2u
#define RAW_INDIRECT 4u
#define RAW_AVAIL    0x80u
#define RAW_USED     0x8000u
#define RAW_WRAP     0x8000u

#define RAW_BUFS_LEN 65536u

struct rawring {
	struct ringmem mem;
	const struct ringmem_view *v; /* the raw side's */
	struct vtfs_vq *vq;	      /* the real half */
	bool device;		      /* which is the device half */
	bool packed;
	uint32_t num;
	/* Where the raw side stands, as long as the test leaves it to us. */
	uint16_t avail, used; /* split: index; packed: slot */
	bool avail_wrap, used_wrap;
	uint16_t next_desc; /* split: where the next chain begins */
};

/* Our device half and a raw driver, or the reverse. flags: VTFS_VQ_*. */
void raw_driver_start(struct rawring *r, uint32_t flags, uint32_t num,
		      uint32_t max_parts);
void raw_device_start(struct rawring *r, uint32_t flags, uint32_t num,
		      uint32_t indirect_max);
void raw_stop(struct rawring *r);

void raw_put16(void *p, uint16_t x);
void raw_put32(void *p, uint32_t x);
void raw_put64(void *p, uint64_t x);
uint16_t raw_get16(const void *p);
uint32_t raw_get32(const void *p);
uint64_t raw_get64(const void *p);

/* Where things are, on the raw side's mapping. */
unsigned char *raw_desc(const struct rawring *r, uint32_t i);
unsigned char *raw_avail_flags(const struct rawring *r);
unsigned char *raw_avail_idx(const struct rawring *r);
unsigned char *raw_avail_ring(const struct rawring *r, uint32_t i);
unsigned char *raw_used_event(const struct rawring *r);
unsigned char *raw_used_flags(const struct rawring *r);
unsigned char *raw_used_idx(const struct rawring *r);
unsigned char *raw_used_ring(const struct rawring *r, uint32_t i);
unsigned char *raw_avail_event(const struct rawring *r);
/* Packed: off_wrap is at p, flags at p + 2. */
unsigned char *raw_drv_event(const struct rawring *r);
unsigned char *raw_dev_event(const struct rawring *r);

/* One descriptor or table entry. x, y: split flags, next; packed id, flags. */
void raw_put_desc(void *p, uint64_t addr, uint32_t len, uint16_t x, uint16_t y);

/* Bytes of the buffers by offset. */
uint64_t raw_addr(const struct rawring *r, size_t off);
unsigned char *raw_bytes(const struct rawring *r, size_t off);

/* ---- the raw driver, when it keeps the rules or nearly so ---- */

struct raw_part {
	uint64_t addr;
	uint32_t len;
	uint16_t flags; /* RAW_WRITE, RAW_INDIRECT, extra RAW_NEXT */
};

/* One chain of cnt descriptors at the next places; linked in order. id: packed
 * only (split: the head is the id). Not visible before raw_offer_end(). */
uint16_t raw_offer(struct rawring *r, const struct raw_part *parts,
		   unsigned cnt, uint16_t id);
void raw_offer_end(struct rawring *r);
/* Both. */
uint16_t raw_send(struct rawring *r, const struct raw_part *parts, unsigned cnt,
		  uint16_t id);
/* An indirect table at off of the buffers, linked in order; the part for it. */
struct raw_part raw_table(struct rawring *r, size_t off,
			  const struct raw_part *parts, unsigned cnt);
/* What the device returned next: 1 or 0. ring_cnt: that chain's, for packed. */
int raw_collect(struct rawring *r, uint16_t ring_cnt, uint32_t *ret_id,
		uint32_t *ret_len);

/* ---- the raw device ---- */

/* Look at the next available chain: 1 and its head (split) or id, or 0. */
int raw_take(struct rawring *r, uint16_t *ret_id, uint16_t *ret_ring_cnt);
/* Return something, with or without WRITE (packed). */
void raw_return(struct rawring *r, uint32_t id, uint32_t len,
		uint16_t ring_cnt);
#endif
