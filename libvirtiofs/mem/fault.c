/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mem/fault.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <virtiofs/base.h>

#include "base/bytes.h"

#define CHUNK	64
#define FREE	((uintptr_t)0)
#define FILLING ((uintptr_t)1)

struct chunk {
	struct chunk *next; /* atomic; set once */
	struct vtfs_fault_slot slots[CHUNK];
};

static struct chunk first;
static uint32_t any; /* atomic; never cleared */

static struct vtfs_fault_slot *claim(struct chunk *c)
{
	for (unsigned i = 0; i < CHUNK; i++) {
		uintptr_t want = FREE;

		if (__atomic_compare_exchange_n(
			&c->slots[i].addr, &want, FILLING, false,
			__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return &c->slots[i];
	}
	return NULL;
}

/* The chunk after c, made if need be. */
static struct chunk *following(struct chunk *c)
{
	struct chunk *next = __atomic_load_n(&c->next, __ATOMIC_ACQUIRE);
	struct chunk *made;

	if (next)
		return next;
	made = calloc(1, sizeof(*made));
	if (!made)
		return NULL;
	if (__atomic_compare_exchange_n(&c->next, &next, made, false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return made;
	free(made);
	return next;
}

struct vtfs_fault_slot *vtfs_fault_enter(void *addr, size_t len, size_t page)
{
	struct vtfs_fault_slot *slot;

	for (struct chunk *c = &first; c; c = following(c)) {
		slot = claim(c);
		if (!slot)
			continue;
		__atomic_store_n(&slot->len, len, __ATOMIC_RELAXED);
		__atomic_store_n(&slot->page, page, __ATOMIC_RELAXED);
		__atomic_store_n(&slot->hit, 0, __ATOMIC_RELAXED);
		/* pairs with the acquire in find(): len and page are there */
		__atomic_store_n(&slot->addr, (uintptr_t)addr,
				 __ATOMIC_RELEASE);
		return slot;
	}
	return NULL;
}

void vtfs_fault_leave(struct vtfs_fault_slot *slot)
{
	if (slot)
		__atomic_store_n(&slot->addr, FREE, __ATOMIC_RELEASE);
}

static struct vtfs_fault_slot *find(struct chunk *c, uintptr_t addr)
{
	for (unsigned i = 0; i < CHUNK; i++) {
		struct vtfs_fault_slot *s = &c->slots[i];
		uintptr_t base = __atomic_load_n(&s->addr, __ATOMIC_ACQUIRE);
		size_t len = __atomic_load_n(&s->len, __ATOMIC_RELAXED);

		if (base > FILLING && vtfs_range_ok(base, len, addr, 1))
			return s;
	}
	return NULL;
}

static int replace(struct vtfs_fault_slot *s, uintptr_t addr)
{
	size_t page = __atomic_load_n(&s->page, __ATOMIC_RELAXED);
	void *at = (void *)(addr & ~(uintptr_t)(page - 1));
	int saved = errno;
	void *got;

	__atomic_store_n(&s->hit, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&any, 1, __ATOMIC_RELEASE);
	got = mmap(at, page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
		   0);
	errno = saved;
	return got != MAP_FAILED;
}

bool vtfs_fault_any(void)
{
	return __atomic_load_n(&any, __ATOMIC_ACQUIRE);
}

int virtiofs_memory_fault(const void *addr)
{
	struct vtfs_fault_slot *s;

	for (struct chunk *c = &first; c;
	     c = __atomic_load_n(&c->next, __ATOMIC_ACQUIRE)) {
		s = find(c, (uintptr_t)addr);
		if (s)
			return replace(s, (uintptr_t)addr);
	}
	return 0;
}
