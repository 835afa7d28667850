/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_MEM_VIEW_H
#define VTFS_MEM_VIEW_H
/*
 * Theory of operation
 *
 * Behind an IOMMU what is one piece for the peer may be many pages here: Linux
 * allocates the rings of its drivers page by page. A view maps such pages a
 * second time, one behind the other, so that a ring is an array again. It is
 * immutable, and the tables that have it hold a reference each: the next table
 * takes it over as long as the pages are the same ones.
 */
#include <stdint.h>

#include "mem/table.h"

struct vtfs_view {
	uint64_t addr; /* the peer's, of the first page */
	uint64_t len;
	unsigned char *map;
	unsigned access; /* VTFS_MAP_, of all of it */
	uint32_t refs;	 /* atomic */
	struct vtfs_fault_slot *fault;
	unsigned char *pages[]; /* where they are in the regions */
};

#define VTFS_VIEW_PAGES 16384u /* of all views of a table */

/* Make [addr, addr + len) of t, which nobody else has yet, one piece for
 * vtfs_table_ptr(). old: the table before, or NULL. Nothing is done where that
 * is so already, or where there are holes. -EINVAL: memory that can't be
 * mapped by pages (huge ones, or what is no shared file); -E2BIG: too much;
 * -ENOMEM; -errno of mremap. */
int vtfs_table_join(struct vtfs_table *t, const struct vtfs_table *old,
		    uint64_t addr, uint64_t len);
/* Within a view, or NULL. */
void *vtfs_view_ptr(const struct vtfs_table *t, uint64_t addr, uint64_t len,
		    unsigned access);
void vtfs_view_put(struct vtfs_view *v);
bool vtfs_view_faulted(const struct vtfs_view *v);
#endif
