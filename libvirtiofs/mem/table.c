/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mem/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

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
	t->cnt = cnt;
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

struct vtfs_table *vtfs_table_get(struct vtfs_table *t)
{
	__atomic_fetch_add(&t->refs, 1, __ATOMIC_RELAXED);
	return t;
}

void vtfs_table_put(struct vtfs_table *t)
{
	if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (unsigned i = 0; i < t->cnt; i++)
		vtfs_region_put(t->regions[i]);
	free(t);
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

void *vtfs_table_ptr(const struct vtfs_table *t, uint64_t addr, uint64_t len)
{
	const struct vtfs_region *r = find(t, addr);

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

int vtfs_table_append_any(const struct vtfs_table *t, uint64_t addr,
			  uint32_t len, struct vtfs_parts *parts)
{
	int err;

	if (vtfs_range_wraps(addr, len))
		return -EFAULT;
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
		parts->regions[r->id / 64] |= 1ULL << (r->id % 64);
		len -= n;
		addr += n;
	}
	return 0;
}
