/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/devmem.h"

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

/* The regions of a table that is being put together, with a reference each. */
struct draft {
	struct vtfs_region *regions[VTFS_REGION_MAX];
	unsigned cnt;
	uint64_t ids[VTFS_REGION_WORDS];
};

static void draft_keep(struct draft *d, struct vtfs_region *r)
{
	d->regions[d->cnt++] = vtfs_region_get(r);
}

static void draft_drop(struct draft *d)
{
	for (unsigned i = 0; i < d->cnt; i++)
		vtfs_region_put(d->regions[i]);
}

static int free_id(const uint64_t *ids)
{
	for (unsigned i = 0; i < VTFS_REGION_WORDS; i++)
		if (~ids[i])
			return (int)(i * 64) + __builtin_ctzll(~ids[i]);
	return -1;
}

static int draft_map(struct draft *d, const struct vtfs_region_desc *desc)
{
	int id = free_id(d->ids);
	struct vtfs_region *r;
	int err;

	if (id < 0 || d->cnt >= VTFS_REGION_MAX)
		return vtfs_fail(-EINVAL, "more than %u memory regions",
				 VTFS_REGION_MAX);
	err = vtfs_region_new(&r, desc, (uint16_t)id);
	if (err < 0)
		return err;
	d->ids[id / 64] |= 1ULL << (id % 64);
	d->regions[d->cnt++] = r;
	return 0;
}

/* The draft becomes what is shared, or nothing changes. */
static int publish(struct vtfs_devmem *m, struct draft *d)
{
	struct vtfs_table *t;
	int err;

	err = vtfs_table_new(&t, d->regions, d->cnt);
	draft_drop(d);
	if (err < 0)
		return err;
	memcpy(m->ids, d->ids, sizeof(m->ids));
	vtfs_table_put(m->table);
	m->table = t;
	m->cookie++;
	return 0;
}

static void draft_init(struct draft *d, const struct vtfs_devmem *m)
{
	d->cnt = 0;
	memcpy(d->ids, m->ids, sizeof(d->ids));
}

static unsigned region_cnt(const struct vtfs_devmem *m)
{
	return m->table ? m->table->cnt : 0;
}

int vtfs_devmem_add(struct vtfs_devmem *m, const struct vtfs_region_desc *desc)
{
	struct draft d;
	int err;

	draft_init(&d, m);
	for (unsigned i = 0; i < region_cnt(m); i++)
		draft_keep(&d, m->table->regions[i]);
	err = draft_map(&d, desc);
	if (err < 0) {
		draft_drop(&d);
		return err;
	}
	return publish(m, &d);
}

int vtfs_devmem_remove(struct vtfs_devmem *m, uint64_t peer_addr,
		       uint64_t user_addr, uint64_t len)
{
	struct draft d;

	draft_init(&d, m);
	for (unsigned i = 0; i < region_cnt(m); i++) {
		struct vtfs_region *r = m->table->regions[i];

		if (r->peer_addr != peer_addr || r->user_addr != user_addr ||
		    r->len != len)
			draft_keep(&d, r);
	}
	if (d.cnt == region_cnt(m)) {
		draft_drop(&d);
		return vtfs_fail(
		    -ENOENT, "no memory region at 0x%llx of %llu bytes",
		    (unsigned long long)peer_addr, (unsigned long long)len);
	}
	return publish(m, &d);
}

static struct vtfs_region *find_same(const struct vtfs_devmem *m,
				     const struct vtfs_region_desc *desc)
{
	for (unsigned i = 0; i < region_cnt(m); i++)
		if (vtfs_region_same(m->table->regions[i], desc))
			return m->table->regions[i];
	return NULL;
}

int vtfs_devmem_replace(struct vtfs_devmem *m,
			const struct vtfs_region_desc *descs, unsigned cnt)
{
	struct draft d;
	int err = 0;

	draft_init(&d, m);
	for (unsigned i = 0; i < cnt && err >= 0; i++) {
		struct vtfs_region *r = find_same(m, &descs[i]);

		if (r && d.cnt < VTFS_REGION_MAX)
			draft_keep(&d, r);
		else
			err = draft_map(&d, &descs[i]);
	}
	if (err < 0) {
		draft_drop(&d);
		return err;
	}
	return publish(m, &d);
}

void vtfs_devmem_retired(struct vtfs_devmem *m)
{
	memset(m->ids, 0, sizeof(m->ids));
	for (unsigned i = 0; i < region_cnt(m); i++) {
		unsigned id = m->table->regions[i]->id;

		m->ids[id / 64] |= 1ULL << (id % 64);
	}
}

void vtfs_devmem_clear(struct vtfs_devmem *m)
{
	vtfs_table_put(m->table);
	m->table = NULL;
	memset(m->ids, 0, sizeof(m->ids));
}
