/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VQ_VQ_H
#define VTFS_VQ_VQ_H
/*
 * Rings: split and packed, device half and driver half, behind one set of
 * calls. Nothing here knows FUSE, transports, eventfds or threads.
 *
 * Theory of operation
 *
 * A half belongs to one thread at a time. (The device half's push and publish
 * may run in another thread than pop, arm and disarm: they share no field that
 * is written; the caller serialises each of the two groups.)
 *
 * Device half: pop copies one chain out of shared memory, each descriptor
 * loaded once, judges it and translates it. What the peer did wrong is either
 *  - a ring fault: the index jumped, a head is out of range or in flight, a
 *    loop, a bad next, a readable after a writable: pop returns -EPROTO, now
 *    and for ever (broken); or
 *  - a chain fault: a byte in no region, too many parts: pop returns 1 and
 *    chain.fault says why; parts then holds, of each direction, what stands
 *    before its first fault. Such a chain is pushed back like any other.
 * push stages a used element; publish makes all staged ones visible with one
 * release store and says whether the driver wants a notification.
 *
 * Driver half: add writes one chain, publish makes all added ones available,
 * get collects one used element after checking it against private state. It
 * keeps the free list, lengths and tokens privately and reads back nothing it
 * wrote. -EPROTO breaks it for ever.
 *
 * With IN_ORDER used elements come in the order of the chains. The device half
 * keeps what is pushed before its turn, and writes an element for each chain,
 * although it need not: one that is skipped has no used length. The driver half
 * takes devices that do skip.
 *
 * disarm asks the peer for no notifications (a hint); arm asks for one with
 * the next element, fences, and looks again: 1 means more is there already,
 * 0 means that the caller may sleep.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/table.h"

#define VTFS_VQ_PACKED	 (1u << 0)
#define VTFS_VQ_EVENT	 (1u << 1) /* VIRTIO_F_EVENT_IDX */
#define VTFS_VQ_INDIRECT (1u << 2)
#define VTFS_VQ_IN_ORDER (1u << 3) /* VIRTIO_F_IN_ORDER */
#define VTFS_VQ_IOMMU	 (1u << 4) /* device half: tables are mapped ones */

#define VTFS_VQ_NUM_MAX 32768u

/*
 * Device half, split, not IN_ORDER: which chains are in flight, in memory that
 * outlives this process. Whoever goes on with the ring pops them first. All
 * zeroes: none, of a ring that nobody served yet. Between what pop, push and
 * publish write, a process may end anywhere.
 */
struct vtfs_vq_record {
	uint16_t live;
	uint16_t next;	 /* used index behind what was pushed */
	uint16_t held[]; /* num, by head: 1 in flight */
};

struct vtfs_vq_conf {
	uint32_t flags;
	uint32_t num; /* split: a power of two; packed: any, 1..32768 */
	/* Ring areas: split desc/avail/used, packed desc/driver/device events.
	 */
	void *desc;
	void *driver;
	void *device;
	/* Where to go on: split: the next avail index; packed: ring index in
	 * bits 0-14, wrap counter in bit 15. A new packed ring: 0x8000. */
	uint16_t avail_base;
	uint16_t used_base; /* split device half: read from the ring instead */
	/* Device half: parts that one chain may have after translation. */
	uint32_t max_parts;
	/* Device half: NULL, or the caller's, longer than the half's. What is
	 * in flight by it wins over avail_base. */
	struct vtfs_vq_record *record;
	/* Driver half with INDIRECT: num tables of indirect_max descriptors of
	 * 16 bytes each, at this address here and at that one for the peer. */
	void *indirect;
	uint64_t indirect_peer_addr;
	uint32_t indirect_max;
};

struct vtfs_vq;

/* Bytes and alignment of the three areas (virtio 1.4, 2.7 and 2.8.10). */
struct vtfs_vq_areas {
	size_t desc_len, driver_len, device_len;
	size_t desc_align, driver_align, device_align;
};
/* -EINVAL: num not possible for that layout. */
int vtfs_vq_areas(struct vtfs_vq_areas *ret, uint32_t flags, uint32_t num);

/* ---- device half ---- */

struct vtfs_chain {
	uint16_t id;	       /* split: head; packed: buffer id */
	uint16_t ring_cnt;     /* ring entries taken; push wants it back */
	int fault;	       /* 0, -EFAULT, -E2BIG */
	unsigned readable_cnt; /* parts, in front */
	unsigned writable_cnt; /* parts that follow */
	uint64_t readable_len; /* bytes of those parts */
	uint64_t writable_len;
	struct iovec *iov;	 /* the half's own array, until the next pop */
	const uint64_t *regions; /* VTFS_REGION_WORDS bits, likewise */
	/* With IOMMU. Holes are parts without memory (iov_base is NULL), and
	 * the indirect table if that can't be read: then what it lists is still
	 * to come. Such a chain must not be served, only be tried later. */
	uint64_t *at; /* the parts' addresses */
	unsigned holes;
	uint64_t table_addr;
	uint32_t table_len; /* 0: no such table */
};

/* What is kept of a chain with holes: addresses instead of memory. */
struct vtfs_range {
	uint64_t addr;
	uint32_t len;
};
struct vtfs_late_chain {
	uint16_t id;
	uint16_t ring_cnt;
	int fault;
	const struct vtfs_range *ranges;
	unsigned readable_cnt; /* in front */
	unsigned cnt;
	uint64_t table_addr;
	uint32_t table_len;
};

int vtfs_vq_dev_new(struct vtfs_vq **ret, const struct vtfs_vq_conf *conf);
void vtfs_vq_dev_free(struct vtfs_vq *vq);
/* The same ring at other addresses of this process. */
void vtfs_vq_dev_move(struct vtfs_vq *vq, void *desc, void *driver,
		      void *device);

/* 1 a chain; 0 none; -EPROTO broken. */
int vtfs_vq_dev_pop(struct vtfs_vq *vq, const struct vtfs_table *mem,
		    struct vtfs_chain *chain);
/* A chain that was popped with holes, by another table. 0, perhaps with holes
 * again; -EPROTO: its indirect table breaks the rules, as in pop. */
int vtfs_vq_dev_later(struct vtfs_vq *vq, const struct vtfs_table *mem,
		      const struct vtfs_late_chain *late,
		      struct vtfs_chain *chain);
/* A chain with holes that nothing will fill: it keeps what stands before the
 * first hole of each direction, and this fault. */
void vtfs_chain_cut(struct vtfs_chain *chain, int fault);
/* Nothing of the chain may be touched after this. len: bytes written. With
 * IN_ORDER nothing is staged until all that were popped before were pushed. */
void vtfs_vq_dev_push(struct vtfs_vq *vq, uint16_t id, uint16_t ring_cnt,
		      uint32_t len);
/* 1: notify the driver; 0: not wanted, or nothing was staged. */
int vtfs_vq_dev_publish(struct vtfs_vq *vq);
void vtfs_vq_dev_disarm(struct vtfs_vq *vq);
int vtfs_vq_dev_arm(struct vtfs_vq *vq);

/* Chains popped and not pushed yet; exact only while nobody does either. */
unsigned vtfs_vq_dev_inflight(const struct vtfs_vq *vq);
/* As in conf, for GET_VRING_BASE; for split used_base is the used index. */
void vtfs_vq_dev_bases(const struct vtfs_vq *vq, uint16_t *ret_avail,
		       uint16_t *ret_used);

/* ---- driver half ---- */

/* Clears the areas: a new ring. */
int vtfs_vq_drv_new(struct vtfs_vq **ret, const struct vtfs_vq_conf *conf);
void vtfs_vq_drv_free(struct vtfs_vq *vq);

struct vtfs_vq_buf {
	uint64_t addr; /* as the device sees it */
	uint32_t len;  /* not 0 */
};

/* Readable buffers first. token comes back with get, and is unique among the
 * chains in flight: below num. -ENOSPC ring full, for now; -E2BIG never fits;
 * -EPROTO broken. */
int vtfs_vq_drv_add(struct vtfs_vq *vq, const struct vtfs_vq_buf *bufs,
		    unsigned readable_cnt, unsigned writable_cnt,
		    uint16_t token);
/* 1: kick the device. */
int vtfs_vq_drv_publish(struct vtfs_vq *vq);
/* Given for len: the device skipped the used element (IN_ORDER). */
#define VTFS_VQ_LEN_UNKNOWN UINT32_MAX
/* Where the next chain will be made available: what a notification with
 * VIRTIO_F_NOTIFICATION_DATA carries (vtfs_notify_data()). */
uint16_t vtfs_vq_drv_pos(const struct vtfs_vq *vq);
/* 1 and token, len (at most the sum of that chain's writable buffers, or
 * LEN_UNKNOWN if it has any); 0 none; -EPROTO broken. */
int vtfs_vq_drv_get(struct vtfs_vq *vq, uint16_t *ret_token, uint32_t *ret_len);
void vtfs_vq_drv_disarm(struct vtfs_vq *vq);
int vtfs_vq_drv_arm(struct vtfs_vq *vq);
/* Entries that add can use now (one per chain if it goes indirect). */
unsigned vtfs_vq_drv_free_cnt(const struct vtfs_vq *vq);
#endif
