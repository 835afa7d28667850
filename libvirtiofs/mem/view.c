/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mem/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/error.h"
#include "mem/fault.h"

/* No page is smaller, and what the peer maps is in pages of this size. */
#define PAGE ((size_t)4096)

void vtfs_view_put(struct vtfs_view *v)
{
	if (!v || __atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL))
		return;
	vtfs_fault_leave(v->fault);
	if (v->map)
		munmap(v->map, (size_t)v->len);
	free(v);
}

bool vtfs_view_faulted(const struct vtfs_view *v)
{
	return __atomic_load_n(&v->fault->hit, __ATOMIC_ACQUIRE);
}

void *vtfs_view_ptr(const struct vtfs_table *t, uint64_t addr, uint64_t len,
		    unsigned access)
{
	for (unsigned i = 0; i < t->view_cnt; i++) {
		const struct vtfs_view *v = t->views[i];

		if (vtfs_range_ok(v->addr, v->len, addr, len) &&
		    (v->access & access) == access)
			return v->map + (addr - v->addr);
	}
	return NULL;
}

/* Where its pages are now. */
static int find_pages(struct vtfs_view *v, const struct vtfs_table *t)
{
	v->access = VTFS_MAP_READ;
	if (vtfs_table_covers(t, v->addr, v->len,
			      VTFS_MAP_READ | VTFS_MAP_WRITE, &(uint64_t){0}))
		v->access |= VTFS_MAP_WRITE;
	for (size_t i = 0; i < v->len / PAGE; i++) {
		v->pages[i] = vtfs_table_ptr(t, v->addr + i * PAGE, PAGE);
		if (!v->pages[i] || (uintptr_t)v->pages[i] % PAGE)
			return vtfs_fail(-EINVAL, "no whole page at 0x%llx",
					 (unsigned long long)v->addr +
					     i * PAGE);
	}
	return 0;
}

/* A length of 0 means another mapping of the same pages. */
static int map_pages(struct vtfs_view *v)
{
	void *map = mmap(NULL, (size_t)v->len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return vtfs_fail_sys(-errno, "view: mmap");
	v->map = map;
	for (size_t i = 0; i < v->len / PAGE; i++)
		if (mremap(v->pages[i], 0, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   v->map + i * PAGE) == MAP_FAILED)
			return vtfs_fail_sys(-errno, "view: mremap");
	v->fault = vtfs_fault_enter(v->map, (size_t)v->len, PAGE);
	return v->fault ? 0 : -ENOMEM;
}

static bool is_same(const struct vtfs_view *a, const struct vtfs_view *b)
{
	return a->addr == b->addr && a->len == b->len &&
	       a->access == b->access &&
	       !memcmp(a->pages, b->pages,
		       (size_t)(a->len / PAGE) * sizeof(a->pages[0]));
}

static struct vtfs_view *find_same(const struct vtfs_table *t,
				   const struct vtfs_view *v)
{
	for (unsigned i = 0; t && i < t->view_cnt; i++)
		if (is_same(t->views[i], v))
			return t->views[i];
	return NULL;
}

static int append(struct vtfs_table *t, struct vtfs_view *v)
{
	struct vtfs_view **views = realloc(t->views, (t->view_cnt + 1) *
							 sizeof(t->views[0]));

	if (!views)
		return -ENOMEM;
	t->views = views;
	t->views[t->view_cnt++] = v;
	return 0;
}

/* v, or what old has of it; v's reference is the table's then. */
static int enter(struct vtfs_table *t, const struct vtfs_table *old,
		 struct vtfs_view *v)
{
	struct vtfs_view *same;
	int r = find_pages(v, t);

	if (r < 0)
		return r;
	same = find_same(old, v);
	if (!same)
		r = map_pages(v);
	if (r >= 0)
		r = append(t, same ? same : v);
	if (r < 0 || !same)
		return r;
	__atomic_fetch_add(&same->refs, 1, __ATOMIC_RELAXED);
	vtfs_view_put(v);
	return 0;
}

int vtfs_table_join(struct vtfs_table *t, const struct vtfs_table *old,
		    uint64_t addr, uint64_t len)
{
	uint64_t first = addr & ~(uint64_t)(PAGE - 1);
	uint64_t hole, pages, used = 0;
	struct vtfs_view *v;
	int r;

	if (!len || vtfs_range_wraps(addr, len) ||
	    vtfs_table_ptr(t, addr, len) ||
	    !vtfs_table_covers(t, addr, len, VTFS_MAP_READ, &hole))
		return 0;
	pages = (addr + (len - 1) - first) / PAGE + 1;
	for (unsigned i = 0; i < t->view_cnt; i++)
		used += t->views[i]->len / PAGE;
	if (pages > VTFS_VIEW_PAGES - used)
		return vtfs_fail(-E2BIG, "rings in too many pieces");
	v = calloc(1, sizeof(*v) + (size_t)pages * sizeof(v->pages[0]));
	if (!v)
		return -ENOMEM;
	v->refs = 1;
	v->addr = first;
	v->len = pages * PAGE;
	r = enter(t, old, v);
	if (r < 0)
		vtfs_view_put(v);
	return r;
}
