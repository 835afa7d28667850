/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VHOST_USER_DEVICE_IOTLB_H
#define VTFS_VHOST_USER_DEVICE_IOTLB_H
/*
 * The back-end behind its front-end's IOMMU.
 *
 * Theory of operation
 *
 * With ACCESS_PLATFORM rings and descriptors name IOVAs. The IOTLB maps them to
 * the front-end's own addresses, and the memory regions map those to ours; both
 * together are the table that the session gets, anew at each change. ring
 * addresses are IOVAs as well.
 *
 * Entries come by IOTLB_MSG, are merged with their neighbours, and leave by
 * IOTLB_MSG, with the memory, with the negotiation, or when all rings have
 * stopped: QEMU invalidates nothing while a device is stopped. There are
 * VU_TLB_MAX; the oldest that holds no ring makes room for the next.
 *
 * What the session misses is asked for on the back-end's channel, page by page
 * (the front-end says how large the page was), VU_TLB_SENT at a time, and each
 * with a reply: one that says no, or yes without an entry, means that there is
 * nothing. (If the entry came and has gone by then, it is asked for again.) A
 * front-end sends the entry first, on its own channel, so a yes counts when all
 * that came there was read. Without a channel that can answer there is nothing
 * either.
 */
#include <stdbool.h>
#include <stdint.h>

#include "mem/table.h"
#include "transport/transport.h"
#include "wire/vhost_user.h"

#define VU_TLB_MAX  4096u
#define VU_TLB_ASKS 512u
#define VU_TLB_SENT 32u
#define VU_TLB_PAGE UINT64_C(4096)

struct vu_tlb_entry {
	uint64_t iova;
	uint64_t len;
	uint64_t user;
	uint64_t age; /* when it came */
	unsigned access;
};

struct vu_tlb_ask {
	uint64_t page;
	unsigned access;
	bool seen; /* an entry came since */
};

struct vu_tlb {
	bool on;		      /* ACCESS_PLATFORM was negotiated */
	struct vu_tlb_entry *entries; /* sorted; room for VU_TLB_MAX + 2 */
	unsigned cnt;
	/* Where entries are not as in table. */
	bool changed;
	uint64_t change_addr, change_last;
	struct vtfs_map *maps; /* where a table is composed */
	uint64_t clock;
	struct vtfs_table *table; /* what the session has */
	/* In the order of asking: answered, sent, waiting. */
	struct vu_tlb_ask asks[VU_TLB_ASKS];
	unsigned answered_cnt, sent_cnt, ask_cnt;
	bool dropped; /* the session has to ask again */
};

struct vu_device;

/* device_entries.c: the first entry that ends behind iova. */
unsigned vtfs_vu_tlb_find(const struct vu_tlb *t, uint64_t iova);
/* Does the IOTLB say all of e already? */
bool vtfs_vu_tlb_is_known(const struct vu_tlb *t, const struct vu_tlb_entry *e);
/* Nothing is there then. */
void vtfs_vu_tlb_remove(struct vu_device *d, uint64_t iova, uint64_t len);
/* Where nothing is. */
void vtfs_vu_tlb_add(struct vu_device *d, const struct vu_tlb_entry *e);

/* device_iotlb.c */
bool vtfs_vu_tlb_can(const struct vu_device *d);
/* Features were chosen, or memory changed: -EINPROGRESS, the session gets a
 * table; 0 nothing to do. */
int vtfs_vu_tlb_switch(struct vu_device *d);
/* The addresses of a ring changed, whose pages may be known. As above. */
int vtfs_vu_tlb_ring(struct vu_device *d);
/* No ring runs any more: forget what nobody would invalidate. As above. */
int vtfs_vu_tlb_rest(struct vu_device *d);
int vtfs_vu_tlb_msg(struct vu_device *d);
int vtfs_vu_tlb_msg_done(struct vu_device *d);
/* The table for the memory there is. */
int vtfs_vu_tlb_compile(struct vu_device *d);

/* device_miss.c */
void vtfs_vu_tlb_miss(struct vu_device *d, const struct vtfs_miss *m);
/* The next question, if there is one to be sent; it was sent; its answer. */
/* An entry came. */
void vtfs_vu_tlb_seen(struct vu_device *d, const struct vu_iotlb *m);
bool vtfs_vu_tlb_next(struct vu_device *d, struct vu_iotlb *ret);
void vtfs_vu_tlb_sent(struct vu_device *d);
void vtfs_vu_tlb_answer(struct vu_device *d, uint64_t status);
/* idle: all that the front-end sent was read. */
void vtfs_vu_tlb_settle(struct vu_device *d, bool idle);
/* The channel is gone: nothing that waits will come. */
void vtfs_vu_tlb_no_channel(struct vu_device *d);
void vtfs_vu_tlb_drop(struct vu_device *d);
#endif
