/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_MEM_POOL_H
#define VTFS_MEM_POOL_H
/*
 * Memory of the client half: what the library shares of its own, what the
 * caller registered, and pages for the bytes of everybody else.
 *
 * Theory of operation
 *
 * Own memory (vtfs_share) is a memfd sealed against shrinking, so that the
 * device can't take pages away from us.
 *
 * Registered regions live in a fixed table that queue threads read without a
 * lock while the owner of the client changes it. Each entry has a sequence
 * word: odd while it is valid, and another odd value each time it is filled. A
 * reader pins an entry by counting it in an array of its own queue, fences, and
 * looks at the word again; whoever removes an entry makes the word even,
 * fences, and sums up the counts. One of the two sees the other.
 *
 * Bounce pages (vtfs_bounce) belong to one queue and its owner; a request takes
 * one run of adjacent pages or none.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <virtiofs/base.h>

/* ---- memory of our own, seen by the device ---- */

struct vtfs_share {
	unsigned char *addr; /* NULL: none */
	size_t len;
	int fd;
	uint64_t peer_addr; /* the owner's note */
};

/* Zeroed, len rounded up to pages. */
int vtfs_share_new(struct vtfs_share *ret, size_t len);
void vtfs_share_free(struct vtfs_share *s);

/* ---- registered regions ---- */

#define VTFS_REG_MAX 64u

struct vtfs_reg {
	uint64_t seq;	    /* atomic; odd: valid */
	uint64_t addr;	    /* atomic; the caller's */
	uint64_t len;	    /* atomic */
	uint64_t peer_addr; /* atomic */
	int fd;		    /* our duplicate */
	uint64_t fd_offset;
	bool ours; /* alloc: unmapped and closed with the entry */
	bool used;
	bool shared; /* the device has it, by this connection */
};

struct vtfs_regs {
	struct vtfs_reg reg[VTFS_REG_MAX];
	uint32_t cnt; /* atomic; entries ever used */
};

/* What one queue holds; written by its owner. */
struct vtfs_pins {
	uint32_t cnt[VTFS_REG_MAX]; /* atomic */
};

/* A free entry, filled but not valid; -ENOSPC, -EEXIST (overlaps one), -errno
 * of dup. fd may be -1. */
int vtfs_regs_add(struct vtfs_regs *rs, const struct virtiofs_region *region,
		  struct vtfs_reg **ret);
/* Readers find it from now on. */
void vtfs_regs_publish(struct vtfs_reg *reg, uint64_t peer_addr);
/* No reader finds it from now on. */
void vtfs_regs_hide(struct vtfs_reg *reg);
/* Close and free what is its own; hidden, and nobody holds it. */
void vtfs_regs_drop(struct vtfs_reg *reg);
/* The entry of exactly this memory, or NULL. */
struct vtfs_reg *vtfs_regs_find(struct vtfs_regs *rs, const void *addr,
				size_t len);

/* Is [addr, addr + len) registered? Then it is pinned, unless *mask says that
 * the caller's request holds it already; its bit is set. */
bool vtfs_regs_pin(const struct vtfs_regs *rs, struct vtfs_pins *pins,
		   const struct iovec *v, uint64_t *mask, uint64_t *ret_peer);
void vtfs_regs_unpin(struct vtfs_pins *pins, uint64_t mask);

/* ---- bounce pages ---- */

#define VTFS_PAGE 4096u

struct vtfs_bounce {
	unsigned char *addr;
	uint64_t peer_addr;
	uint32_t cnt;  /* pages */
	uint32_t hint; /* where the last run ended */
	uint8_t *used; /* one byte per page */
};

struct vtfs_run {
	uint32_t first;
	uint32_t cnt; /* 0: none */
};

int vtfs_bounce_new(struct vtfs_bounce *b, uint32_t pages);
void vtfs_bounce_free(struct vtfs_bounce *b);
/* All pages are free again, at this address. */
void vtfs_bounce_reset(struct vtfs_bounce *b, unsigned char *addr,
		       uint64_t peer_addr);
/* -ENOSPC for now; -EMSGSIZE never. */
int vtfs_bounce_take(struct vtfs_bounce *b, size_t len, struct vtfs_run *ret);
void vtfs_bounce_give(struct vtfs_bounce *b, struct vtfs_run *run);
#endif
