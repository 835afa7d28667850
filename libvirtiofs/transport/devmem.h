/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_TRANSPORT_DEVMEM_H
#define VTFS_TRANSPORT_DEVMEM_H
/*
 * The device half's memory: which regions the peer shares now.
 *
 * Theory of operation
 *
 * Each change makes a new table. One change is under way at a time, until
 * vtfs_devmem_retired(): only then are the ids of the regions that left free
 * for others. A failed change leaves
 * everything as it was.
 */
#include "mem/table.h"

struct vtfs_devmem {
	struct vtfs_table *table;	 /* NULL: none yet */
	uint64_t ids[VTFS_REGION_WORDS]; /* in use */
	uint64_t cookie;		 /* of the last change */
};

/* One more region. -EINVAL: overlaps, bad, too many. */
int vtfs_devmem_add(struct vtfs_devmem *m, const struct vtfs_region_desc *d);
/* One less, by addresses and length. -ENOENT. */
int vtfs_devmem_remove(struct vtfs_devmem *m, uint64_t peer_addr,
		       uint64_t user_addr, uint64_t len);
/* Exactly these. Those that are there already stay the same. */
int vtfs_devmem_replace(struct vtfs_devmem *m,
			const struct vtfs_region_desc *descs, unsigned cnt);
void vtfs_devmem_retired(struct vtfs_devmem *m);
/* Nothing is shared; for a lost peer once nobody holds a table of it, or
 * before free. */
void vtfs_devmem_clear(struct vtfs_devmem *m);
#endif
