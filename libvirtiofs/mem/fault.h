/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_MEM_FAULT_H
#define VTFS_MEM_FAULT_H
/*
 * Theory of operation
 *
 * What virtiofs_memory_fault() knows: every mapping of a peer's memory in this
 * process. A signal handler reads it, so there is no lock: a slot is claimed
 * and given back by one atomic word, chunks of slots are added and never
 * freed. A slot is left before its mapping goes, and no thread touches a
 * mapping whose region it holds no reference of: an address that faults is
 * therefore never found in the slot of a mapping that is gone.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vtfs_fault_slot {
	uintptr_t addr; /* atomic; 0: free, 1: being filled */
	size_t len;
	size_t page;  /* what can be replaced at once */
	uint32_t hit; /* atomic; a page was replaced */
};

/* NULL: no memory. addr and len are multiples of page. */
struct vtfs_fault_slot *vtfs_fault_enter(void *addr, size_t len, size_t page);
void vtfs_fault_leave(struct vtfs_fault_slot *slot);
/* Did any page ever fault, in this process? Then it is worth asking which. */
bool vtfs_fault_any(void);
#endif
