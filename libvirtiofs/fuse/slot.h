/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_FUSE_SLOT_H
#define VTFS_FUSE_SLOT_H
/*
 * Theory of operation
 *
 * One slot per chain that the device holds. A queue's slots are allocated when
 * it starts, as many as its ring has entries, and two more for slots that
 * outlive their chain for a moment (HOLD). Nothing is allocated afterwards.
 *
 * One thread takes slots (the side that pops chains); any thread gives them
 * back. So the free list is a stack that all push to with one compare-and-swap
 * and that its single taker empties with one exchange: no ABA.
 *
 * A request with more than VTFS_SLOT_ARG bytes of arguments or more than
 * VTFS_SLOT_PARTS parts borrows a block for as long as it lives. Blocks run
 * out; then the taker waits, having set starved, and whoever gives a slot back
 * sees that and wakes it.
 *
 * Behind an IOMMU the taker borrows a block before it pops, for the addresses
 * of a long chain have a place there too (vtfs_slot_ranges()), and returns it
 * if the chain turns out to be short. See session/dev_miss.c.
 *
 * state, one word that everybody changes by atomic operations only:
 *	TAKEN	from take until the chain went back to the ring
 *	HANDED	the program has the request
 *	INTR	interrupted; stays until the slot is free
 *	HOLD	somebody outside looks at it (ops.interrupt): the slot must not
 *		be used again. HOLD is set only on TAKEN without REPLIED.
 *	REPLIED	the one reply was claimed
 * The slot is free when the last of TAKEN and HOLD is cleared, and whoever
 * cleared it pushes the slot to the free list.
 */
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/device.h>

#include "base/bytes.h"
#include "base/iovcur.h"
#include "mem/table.h"
#include "vq/vq.h"
#include "wire/fuse_ops.h"

#define VTFS_SLOT_ARG	256u
#define VTFS_SLOT_PARTS 8u
#define VTFS_BLOCK_ARG	8192u
/* The longest reply of a request that may wait for long: statx's. */
#define VTFS_SLOT_BOUNCE 320u

#define VTFS_SLOT_TAKEN	  (1u << 0)
#define VTFS_SLOT_HANDED  (1u << 1)
#define VTFS_SLOT_INTR	  (1u << 2)
#define VTFS_SLOT_HOLD	  (1u << 3)
#define VTFS_SLOT_REPLIED (1u << 4)

#define VTFS_NONE UINT32_MAX

/* What frame.c found a chain to be. */
enum vtfs_verdict {
	VTFS_VERDICT_REQUEST, /* well-formed, for the program */
	VTFS_VERDICT_ERROR,   /* answer slot.error */
	VTFS_VERDICT_DROP,    /* give the chain back with length 0 */
	VTFS_VERDICT_DONE,    /* answered, not yet given back */
};

struct vtfs_run;

struct vtfs_slot {
	struct virtiofs_req req; /* first: what the program sees */
	struct fuse_in_header in;
	struct vtfs_run *run;
	const struct vtfs_fuse_op *op; /* NULL: opcode not in the table */
	uint32_t state;		       /* atomic */
	uint64_t match;		       /* atomic: in.unique, 0 while free */

	uint32_t idx;
	uint32_t next;		  /* in a free list */
	struct vtfs_slot *staged; /* next in the list for flush */
	uint32_t block;		  /* VTFS_NONE: none */
	uint16_t id;		  /* of the chain */
	uint16_t ring_cnt;
	uint32_t used_len; /* what the ring will be told */
	int error;	   /* of the reply; 0: none */
	uint64_t taken_at; /* if latencies are measured */
	uint8_t verdict;
	bool parsed;   /* head and body are done */
	bool swapped;  /* the client has the other byte order */
	bool raw_init; /* program's own INIT: look at its reply */
	bool waits;    /* counted among lock waiters */

	unsigned head_cnt; /* 0: no 16 writable bytes */

	struct vtfs_iovcur cursor; /* BATCH_FORGET: entries to come */
	uint32_t entries_left;
	bool counting; /* cursor is set */

	/* Behind an IOMMU: what the chain names. Read by dispatch while its bit
	 * of touching is set, so all of it is atomic; written by the taker. */
	struct vtfs_range *ranges;
	uint32_t range_cnt;
	uint32_t readable_ranges; /* in front */
	uint32_t table_len;	  /* parked: as in struct vtfs_late_chain */
	uint64_t table_addr;
	uint64_t hole;	      /* parked: the last byte that was asked for */
	unsigned hole_access; /* VTFS_MAP_; 0: nothing could be asked for */
	uint32_t asked;	      /* how much was known to be absent then */
	int late_fault;
	/* The reply's header, and a short reply's bytes, are written when the
	 * chain goes back. */
	bool mapped;
	bool answered;
	bool late; /* it waits for that */
	struct fuse_out_header out;
	unsigned char *bounce; /* VTFS_SLOT_BOUNCE bytes: its room */

	uint64_t regions[VTFS_REGION_WORDS];
	struct iovec parts[VTFS_SLOT_PARTS];
	_Alignas(8) unsigned char arg[VTFS_SLOT_ARG];
	/* Writable bytes 0 to 15, mostly one part. */
	struct iovec head[sizeof(struct fuse_out_header)];
};

struct vtfs_slots {
	struct vtfs_slot *slots;
	unsigned cnt;
	uint32_t local;	      /* owner: taker */
	uint32_t block_local; /* owner: taker */
	uint32_t starved;     /* atomic: the taker waits */
	unsigned block_cnt;
	size_t block_len;
	unsigned char *blocks;
	uint32_t *block_next;
	struct vtfs_range *ranges; /* behind an IOMMU, else NULL */
	struct vtfs_range *block_ranges;
	/* Atomic: bit per slot: bytes of its ranges may be accessed. Few are at
	 * a time, and every translation that goes has them looked for. */
	uint64_t *touching;
	unsigned char *bounce;
	unsigned range_max; /* of a block */
	/* Written by all who give back. */
	_Alignas(VTFS_CACHELINE) uint32_t free;
	uint32_t block_free;
};

/* cnt chains of at most max_parts parts each. */
int vtfs_slots_new(struct vtfs_slots **ret, unsigned cnt, unsigned max_parts);
/* The same behind an IOMMU: with places for addresses. */
int vtfs_slots_new_mapped(struct vtfs_slots **ret, unsigned cnt,
			  unsigned max_parts);
void vtfs_slots_free(struct vtfs_slots *t);
/* Of touching. */
static inline unsigned vtfs_slot_words(const struct vtfs_slots *t)
{
	return (t->cnt + 63) / 64;
}

/* ---- the taker ---- */

/* NULL: all in use; starved is set and the taker will be woken. */
struct vtfs_slot *vtfs_slot_take(struct vtfs_slots *t);
/* Back at once: no chain was there. */
void vtfs_slot_untake(struct vtfs_slots *t, struct vtfs_slot *s);
/* A chain was popped into s. Interrupts may find it from the next line on. */
void vtfs_slot_start(struct vtfs_slot *s, uint64_t unique);
/* 0, or -EAGAIN: none left; starved is set. */
int vtfs_slot_borrow(struct vtfs_slots *t, struct vtfs_slot *s);
/* It is not needed after all. */
void vtfs_slot_unborrow(struct vtfs_slots *t, struct vtfs_slot *s);
/* Room for cnt addresses, at most those of a chain: in s, or in its block. */
struct vtfs_range *vtfs_slot_ranges(struct vtfs_slots *t, struct vtfs_slot *s,
				    unsigned cnt);
/* Of a slot that has borrowed. */
struct iovec *vtfs_slot_block_parts(struct vtfs_slots *t, struct vtfs_slot *s);
unsigned char *vtfs_slot_block_arg(struct vtfs_slots *t, struct vtfs_slot *s);
/* From now on the program has it. */
void vtfs_slot_hand(struct vtfs_slot *s);

/* Behind an IOMMU, whoever has s: its bytes may be accessed, or not any more.
 * True: they could. */
void vtfs_slot_touch(struct vtfs_slots *t, const struct vtfs_slot *s);
bool vtfs_slot_untouch(struct vtfs_slots *t, const struct vtfs_slot *s);

/* ---- anybody ---- */

/* Once true for each request that was handed out. */
bool vtfs_slot_claim(struct vtfs_slot *s);
/* The chain went back. True: the taker starved, wake it. */
bool vtfs_slot_give(struct vtfs_slots *t, struct vtfs_slot *s);
/* Keep s from being used again, if it is an unanswered request: which one, can
 * be looked at afterwards. */
bool vtfs_slot_hold(struct vtfs_slot *s);
/* Mark as interrupted. True: the program has it and did not know yet. */
bool vtfs_slot_interrupt(struct vtfs_slot *s);
/* True as with give. */
bool vtfs_slot_unhold(struct vtfs_slots *t, struct vtfs_slot *s);

static inline struct vtfs_slot *vtfs_slot_of(const struct virtiofs_req *req)
{
	return (struct vtfs_slot *)(uintptr_t)req;
}
#endif
