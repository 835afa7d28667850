/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_MEM_TABLE_H
#define VTFS_MEM_TABLE_H
/*
 * Theory of operation
 *
 * A table is an immutable, sorted set of regions that do not overlap in peer
 * addresses. A change of memory makes a new table; readers keep the old one
 * until they adopt the new. All bytes of a peer are reached through here.
 *
 * Behind an IOMMU the peer names memory by addresses of the IOMMU's. A mapped
 * table has maps, sorted and not overlapping, each a piece of a region under
 * such a name, with what may be done to it; the regions' own addresses mean
 * nothing then. Where there is no map, or one that forbids it, a look-up leaves
 * a hole instead of failing: the translation may come later. So a mapped table
 * is asked in two steps, look and then see whether holes were left, and whoever
 * waits keeps the addresses, not the result. An ordinary table knows nothing of
 * this: its fast path is the same, and finds no hint (last) in a mapped one.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "mem/region.h"

#define VTFS_REGION_WORDS (VTFS_REGION_MAX / 64)

#define VTFS_MAP_READ  1u
#define VTFS_MAP_WRITE 2u

/* len bytes that the peer calls addr. */
struct vtfs_map {
	uint64_t addr;
	uint64_t len;
	unsigned char *ptr; /* within a region of the table */
	uint16_t region;    /* its id */
	uint16_t access;    /* VTFS_MAP_, not 0 */
};

struct vtfs_map_edit {
	uint64_t addr, last;
	const struct vtfs_map *maps;
	unsigned cnt;
};

struct vtfs_view;

struct vtfs_table {
	uint32_t refs; /* atomic */
	unsigned cnt;
	unsigned hints; /* regions that look-ups may begin at: none if mapped */
	bool mapped;
	unsigned map_cnt;
	struct vtfs_map *maps;
	unsigned view_cnt;
	struct vtfs_view **views;      /* mem/view.h */
	struct vtfs_region *regions[]; /* by peer_addr */
};

/* Takes a reference on each region. -EINVAL: they overlap; -ENOMEM. */
int vtfs_table_new(struct vtfs_table **ret, struct vtfs_region *const *regions,
		   unsigned cnt);
/* The same behind an IOMMU; maps is copied. -EINVAL too: maps that are not
 * sorted, overlap, wrap, or lie in no region. */
int vtfs_table_new_mapped(struct vtfs_table **ret,
			  struct vtfs_region *const *regions, unsigned cnt,
			  const struct vtfs_map *maps, unsigned map_cnt);
/* old, which is mapped, with these maps in the place of its own in [addr,
 * last]; none lies across either end. No views. Costs no more than a copy.
 * Errors as above. */
int vtfs_table_edit(struct vtfs_table **ret, const struct vtfs_table *old,
		    const struct vtfs_map_edit *edit);
struct vtfs_table *vtfs_table_get(struct vtfs_table *t);
void vtfs_table_put(struct vtfs_table *t);
/* Was a page of it taken back (vtfs_region_faulted())? */
bool vtfs_table_faulted(const struct vtfs_table *t);

/* [addr, addr + len) in one piece, maybe a view's, or NULL. t may be NULL (no
 * memory yet). Of a mapped table: to be read. */
void *vtfs_table_ptr(const struct vtfs_table *t, uint64_t addr, uint64_t len);
/* The same, to be written too. */
void *vtfs_table_ptr_rw(const struct vtfs_table *t, uint64_t addr,
			uint64_t len);
/* Mapped: may all of it be accessed so? If not, *ret_hole is the first byte
 * that may not. */
bool vtfs_table_covers(const struct vtfs_table *t, uint64_t addr, uint64_t len,
		       unsigned access, uint64_t *ret_hole);
/* Mapped: copy what covers() found, in as many pieces as it is. */
void vtfs_table_copy(const struct vtfs_table *t, uint64_t addr, void *buf,
		     size_t len);

/* vhost-user names rings by the front-end's own addresses. -EFAULT. */
int vtfs_table_user_to_peer(const struct vtfs_table *t, uint64_t user_addr,
			    uint64_t len, uint64_t *ret_peer_addr);

/* A list of parts that grows; the only function that appends checks max.
 * Adjacent parts are merged. last is a hint for the next look-up: clear it
 * whenever another table is used. */
struct vtfs_parts {
	struct iovec *iov;
	unsigned cnt;
	unsigned max;
	unsigned seal; /* parts below this index are not extended: set
			* it to cnt where something new begins */
	uint64_t regions[VTFS_REGION_WORDS]; /* bit per region id touched */
	const struct vtfs_region *last;	     /* where the last part was found */
	/* For mapped tables, else NULL: the peer's address of each part. Parts
	 * are merged only if these are adjacent too. */
	uint64_t *at;
	unsigned holes;	 /* parts without memory: iov_base is NULL */
	unsigned access; /* VTFS_MAP_, what the next parts are for */
};

/* Append [addr, addr + len), cut where it crosses regions. len may be 0, which
 * appends nothing. 0; -EFAULT a byte is in no region; -E2BIG list full. What
 * was appended before the fault stays. Of a mapped table (at is set) -EFAULT
 * means that addresses wrap; what may not be accessed is a hole. */
int vtfs_table_append_any(const struct vtfs_table *t, uint64_t addr,
			  uint32_t len, struct vtfs_parts *parts);

/* The same; what is nearly always the case goes without a call: one piece, in
 * the region of the last one, a part of its own. */
static inline int vtfs_table_append(const struct vtfs_table *t, uint64_t addr,
				    uint32_t len, struct vtfs_parts *parts)
{
	const struct vtfs_region *r = parts->last;
	struct iovec *part = &parts->iov[parts->cnt];
	unsigned char *p;

	if (!r || !len || parts->cnt >= parts->max ||
	    !vtfs_range_ok(r->peer_addr, r->len, addr, len))
		return vtfs_table_append_any(t, addr, len, parts);
	p = r->addr + (addr - r->peer_addr);
	if (parts->cnt > parts->seal &&
	    (unsigned char *)part[-1].iov_base + part[-1].iov_len == p)
		return vtfs_table_append_any(t, addr, len, parts);
	part->iov_base = p;
	part->iov_len = len;
	parts->cnt++;
	parts->regions[r->id / 64] |= UINT64_C(1) << r->id % 64;
	return 0;
}
#endif
