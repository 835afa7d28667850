/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mem/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "mem/view.h"

static int by_peer_addr(const void *a, const void *b)
{
	const struct vtfs_region *x = *(struct vtfs_region *const *)a;
	const struct vtfs_region *y = *(struct vtfs_region *const *)b;

	return (x->peer_addr > y->peer_addr) - (x->peer_addr < y->peer_addr);
}

static int check_overlap(const struct vtfs_table *t)
{
	for (unsigned i = 1; i < t->cnt; i++) {
		const struct vtfs_region *x = t->regions[i - 1];
		const struct vtfs_region *y = t->regions[i];

		if (vtfs_range_overlap(x->peer_addr, x->len, y->peer_addr,
				       y->len))
			return vtfs_fail(-EINVAL,
					 "memory regions overlap at 0x%llx",
					 (unsigned long long)y->peer_addr);
	}
	return 0;
}

int vtfs_table_new(struct vtfs_table **ret, struct vtfs_region *const *regions,
		   unsigned cnt)
{
	struct vtfs_table *t;
	int err;

	if (cnt > VTFS_REGION_MAX)
		return vtfs_fail(-EINVAL, "%u memory regions: too many", cnt);
	t = malloc(sizeof(*t) + cnt * sizeof(t->regions[0]));
	if (!t)
		return -ENOMEM;
	t->refs = 1;
	t->cnt = t->hints = cnt;
	t->mapped = false;
	t->map_cnt = 0;
	t->maps = NULL;
	t->view_cnt = 0;
	t->views = NULL;
	for (unsigned i = 0; i < cnt; i++)
		t->regions[i] = regions[i];
	qsort(t->regions, cnt, sizeof(t->regions[0]), by_peer_addr);
	err = check_overlap(t);
	if (err < 0) {
		free(t);
		return err;
	}
	for (unsigned i = 0; i < cnt; i++)
		vtfs_region_get(t->regions[i]);
	*ret = t;
	return 0;
}

/* Is this map a piece of its region? */
static bool is_piece(const struct vtfs_table *t, const struct vtfs_map *m)
{
	for (unsigned i = 0; i < t->cnt; i++) {
		const struct vtfs_region *r = t->regions[i];

		if (r->id == m->region)
			return vtfs_range_ok((uintptr_t)r->addr, r->len,
					     (uintptr_t)m->ptr, m->len);
	}
	return false;
}

/* May it stand behind prev, which may be NULL? */
static bool is_next(const struct vtfs_map *prev, const struct vtfs_map *m)
{
	return !prev ||
	       (m->addr >= prev->addr && m->addr - prev->addr >= prev->len);
}

/* Those from first on, and where the next begins. */
static int check_maps(const struct vtfs_table *t, unsigned first, unsigned cnt)
{
	for (unsigned i = first; i < t->map_cnt && i <= first + cnt; i++) {
		const struct vtfs_map *m = &t->maps[i];
		bool fresh = i < first + cnt;

		if (!is_next(i ? m - 1 : NULL, m) ||
		    (fresh && (!m->len || vtfs_range_wraps(m->addr, m->len) ||
			       !m->access || !is_piece(t, m))))
			return vtfs_fail(-EINVAL, "map of %llu bytes at 0x%llx",
					 (unsigned long long)m->len,
					 (unsigned long long)m->addr);
	}
	return 0;
}

/* A mapped table with room for so many maps. */
static int new_mapped(struct vtfs_table **ret,
		      struct vtfs_region *const *regions, unsigned cnt,
		      unsigned map_cnt)
{
	struct vtfs_table *t;
	int r = vtfs_table_new(&t, regions, cnt);

	if (r < 0)
		return r;
	t->mapped = true;
	t->hints = 0;
	t->maps = malloc(((size_t)map_cnt + 1) * sizeof(t->maps[0]));
	if (!t->maps) {
		vtfs_table_put(t);
		return -ENOMEM;
	}
	*ret = t;
	return 0;
}

static void add_maps(struct vtfs_table *t, const struct vtfs_map *maps,
		     unsigned cnt)
{
	if (cnt)
		memcpy(t->maps + t->map_cnt, maps, cnt * sizeof(maps[0]));
	t->map_cnt += cnt;
}

int vtfs_table_new_mapped(struct vtfs_table **ret,
			  struct vtfs_region *const *regions, unsigned cnt,
			  const struct vtfs_map *maps, unsigned map_cnt)
{
	struct vtfs_table *t;
	int r = new_mapped(&t, regions, cnt, map_cnt);

	if (r < 0)
		return r;
	add_maps(t, maps, map_cnt);
	r = check_maps(t, 0, map_cnt);
	if (r < 0)
		vtfs_table_put(t);
	else
		*ret = t;
	return r;
}

struct vtfs_table *vtfs_table_get(struct vtfs_table *t)
{
	__atomic_fetch_add(&t->refs, 1, __ATOMIC_RELAXED);
	return t;
}

void vtfs_table_put(struct vtfs_table *t)
{
	if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (unsigned i = 0; i < t->view_cnt; i++)
		vtfs_view_put(t->views[i]);
	for (unsigned i = 0; i < t->cnt; i++)
		vtfs_region_put(t->regions[i]);
	free(t->views);
	free(t->maps);
	free(t);
}

bool vtfs_table_faulted(const struct vtfs_table *t)
{
	bool hit = false;

	for (unsigned i = 0; t && i < t->cnt; i++)
		hit |= vtfs_region_faulted(t->regions[i]);
	for (unsigned i = 0; t && i < t->view_cnt; i++)
		hit |= vtfs_view_faulted(t->views[i]);
	return hit;
}

/* The region that holds the byte at addr, or NULL. */
static const struct vtfs_region *find(const struct vtfs_table *t, uint64_t addr)
{
	unsigned lo = 0;
	unsigned hi = t ? t->cnt : 0;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		const struct vtfs_region *r = t->regions[mid];

		if (addr < r->peer_addr)
			hi = mid;
		else if (addr - r->peer_addr >= r->len)
			lo = mid + 1;
		else
			return r;
	}
	return NULL;
}

/* ---- maps ---- */

/* The first map that ends behind addr, or map_cnt. */
static unsigned find_map(const struct vtfs_table *t, uint64_t addr)
{
	unsigned lo = 0;
	unsigned hi = t->map_cnt;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		const struct vtfs_map *m = &t->maps[mid];

		if (addr >= m->addr && addr - m->addr >= m->len)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int vtfs_table_edit(struct vtfs_table **ret, const struct vtfs_table *old,
		    const struct vtfs_map_edit *edit)
{
	unsigned first = find_map(old, edit->addr);
	unsigned end = first;
	struct vtfs_table *t;
	int r;

	while (end < old->map_cnt && old->maps[end].addr <= edit->last)
		end++;
	r = new_mapped(&t, old->regions, old->cnt,
		       old->map_cnt - (end - first) + edit->cnt);
	if (r < 0)
		return r;
	add_maps(t, old->maps, first);
	add_maps(t, edit->maps, edit->cnt);
	add_maps(t, old->maps + end, old->map_cnt - end);
	r = check_maps(t, first, edit->cnt);
	if (r < 0)
		vtfs_table_put(t);
	else
		*ret = t;
	return r;
}

/* The map that has addr, if it permits this access, or NULL for a hole. *len
 * becomes no more than is alike. */
static const struct vtfs_map *map_at(const struct vtfs_table *t, uint64_t addr,
				     unsigned access, uint64_t *len)
{
	unsigned i = find_map(t, addr);
	const struct vtfs_map *m = &t->maps[i];
	uint64_t n;

	if (i == t->map_cnt)
		return NULL;
	n = addr < m->addr ? m->addr - addr : m->len - (addr - m->addr);
	if (*len > n)
		*len = n;
	if (addr < m->addr || (m->access & access) != access)
		return NULL;
	return m;
}

static unsigned char *ptr_in(const struct vtfs_map *m, uint64_t addr)
{
	return m ? m->ptr + (addr - m->addr) : NULL;
}

bool vtfs_table_covers(const struct vtfs_table *t, uint64_t addr, uint64_t len,
		       unsigned access, uint64_t *ret_hole)
{
	while (len) {
		uint64_t n = len;

		if (!map_at(t, addr, access, &n)) {
			*ret_hole = addr;
			return false;
		}
		addr += n;
		len -= n;
	}
	return true;
}

void vtfs_table_copy(const struct vtfs_table *t, uint64_t addr, void *buf,
		     size_t len)
{
	unsigned char *to = buf;

	while (len) {
		uint64_t n = len;
		const struct vtfs_map *m = map_at(t, addr, VTFS_MAP_READ, &n);
		const unsigned char *p = ptr_in(m, addr);

		for (uint64_t i = 0; i < n; i++)
			to[i] = p ? vtfs_load_once(&p[i]) : 0;
		to += n;
		addr += n;
		len -= (size_t)n;
	}
}

/* One piece of our memory, though it may have several maps. */
static void *mapped_ptr(const struct vtfs_table *t, uint64_t addr, uint64_t len,
			unsigned access)
{
	unsigned char *first = NULL;
	uint64_t done = 0;

	if (vtfs_range_wraps(addr, len))
		return NULL;
	while (done < len) {
		uint64_t n = len - done;
		const struct vtfs_map *m = map_at(t, addr + done, access, &n);
		unsigned char *p = ptr_in(m, addr + done);

		if (!first)
			first = p;
		if (!p || p != first + done)
			return vtfs_view_ptr(t, addr, len, access);
		done += n;
	}
	return first;
}

void *vtfs_table_ptr_rw(const struct vtfs_table *t, uint64_t addr, uint64_t len)
{
	if (t && t->mapped)
		return mapped_ptr(t, addr, len, VTFS_MAP_READ | VTFS_MAP_WRITE);
	return vtfs_table_ptr(t, addr, len);
}

void *vtfs_table_ptr(const struct vtfs_table *t, uint64_t addr, uint64_t len)
{
	const struct vtfs_region *r;

	if (t && t->mapped)
		return mapped_ptr(t, addr, len, VTFS_MAP_READ);
	r = find(t, addr);
	if (!r || !vtfs_range_ok(r->peer_addr, r->len, addr, len))
		return NULL;
	return r->addr + (addr - r->peer_addr);
}

int vtfs_table_user_to_peer(const struct vtfs_table *t, uint64_t user_addr,
			    uint64_t len, uint64_t *ret_peer_addr)
{
	for (unsigned i = 0; t && i < t->cnt; i++) {
		const struct vtfs_region *r = t->regions[i];

		if (!vtfs_range_ok(r->user_addr, r->len, user_addr, len))
			continue;
		*ret_peer_addr = r->peer_addr + (user_addr - r->user_addr);
		return 0;
	}
	return -EFAULT;
}

static int append_part(struct vtfs_parts *parts, void *base, size_t len)
{
	struct iovec *last;

	if (parts->cnt > parts->seal) {
		last = &parts->iov[parts->cnt - 1];
		if ((char *)last->iov_base + last->iov_len == base) {
			last->iov_len += len;
			return 0;
		}
	}
	if (parts->cnt >= parts->max)
		return -E2BIG;
	parts->iov[parts->cnt].iov_base = base;
	parts->iov[parts->cnt].iov_len = len;
	parts->cnt++;
	return 0;
}

/* As append_part(); base NULL is a hole. */
static int append_at(struct vtfs_parts *parts, unsigned char *base,
		     uint64_t addr, uint64_t len)
{
	unsigned i = parts->cnt;
	const struct iovec *last = i ? &parts->iov[i - 1] : NULL;

	if (i > parts->seal && parts->at[i - 1] + last->iov_len == addr &&
	    last->iov_len + len <= UINT32_MAX &&
	    (base ? last->iov_base &&
			(unsigned char *)last->iov_base + last->iov_len == base
		  : !last->iov_base)) {
		parts->iov[i - 1].iov_len += (size_t)len;
		return 0;
	}
	if (i >= parts->max)
		return -E2BIG;
	parts->iov[i] = (struct iovec){base, (size_t)len};
	parts->at[i] = addr;
	parts->cnt++;
	parts->holes += !base;
	return 0;
}

static void mark(struct vtfs_parts *parts, unsigned region)
{
	parts->regions[region / 64] |= UINT64_C(1) << region % 64;
}

static int append_mapped(const struct vtfs_table *t, uint64_t addr,
			 uint32_t len, struct vtfs_parts *parts)
{
	while (len) {
		uint64_t n = len;
		const struct vtfs_map *m = map_at(t, addr, parts->access, &n);
		int err = append_at(parts, ptr_in(m, addr), addr, n);

		if (err < 0)
			return err;
		if (m)
			mark(parts, m->region);
		addr += n;
		len -= (uint32_t)n;
	}
	return 0;
}

int vtfs_table_append_any(const struct vtfs_table *t, uint64_t addr,
			  uint32_t len, struct vtfs_parts *parts)
{
	int err;

	if (vtfs_range_wraps(addr, len))
		return -EFAULT;
	if (t && t->mapped)
		return append_mapped(t, addr, len, parts);
	while (len) {
		const struct vtfs_region *r = parts->last;
		uint64_t off;
		uint32_t n = len;

		if (!r || addr < r->peer_addr || addr - r->peer_addr >= r->len)
			r = find(t, addr);
		if (!r)
			return -EFAULT;
		off = addr - r->peer_addr;
		if (n > r->len - off)
			n = (uint32_t)(r->len - off);
		err = append_part(parts, r->addr + off, n);
		if (err < 0)
			return err;
		parts->last = r;
		mark(parts, r->id);
		len -= n;
		addr += n;
	}
	return 0;
}
