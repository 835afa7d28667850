/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/forgets.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/probe.h"

static size_t forget_at(const struct vtfs_forgets *f, uint64_t nodeid)
{
	size_t i = (size_t)((nodeid * 0x9e3779b97f4a7c15ULL) >> 20);

	for (i &= f->cap - 1; f->tab[i].nlookup && f->tab[i].nodeid != nodeid;)
		i = (i + 1) & (f->cap - 1);
	return i;
}

static int forgets_grow(struct vtfs_forgets *f)
{
	struct vtfs_forgets n = {.cap = f->cap ? f->cap * 2 : 64};

	if (f->cap && f->cnt * 4 < f->cap * 3)
		return 0;
	n.tab = calloc(n.cap, sizeof(*n.tab));
	if (!n.tab)
		return vtfs_fail(-ENOMEM, "%zu forgets wait", f->cnt);
	for (size_t i = 0; i < f->cap; i++)
		if (f->tab[i].nlookup)
			n.tab[forget_at(&n, f->tab[i].nodeid)] = f->tab[i];
	n.cnt = f->cnt;
	free(f->tab);
	*f = n;
	return 0;
}

int vtfs_forgets_add(struct vtfs_forgets *f, uint64_t nodeid, uint64_t count)
{
	size_t i = f->cap ? forget_at(f, nodeid) : 0;
	int r;

	/* Only a new node takes memory. */
	if (!f->cap || !f->tab[i].nlookup) {
		r = forgets_grow(f);
		if (r < 0)
			return r;
		i = forget_at(f, nodeid);
		f->cnt++;
	} else if (count > UINT64_MAX - f->tab[i].nlookup) {
		return vtfs_fail(-EINVAL, "more than 2^64 lookups");
	} else {
		VTFS_PROBE(forget__merge, nodeid, count, f->tab[i].nlookup);
	}
	f->tab[i].nodeid = nodeid;
	f->tab[i].nlookup += count;
	return 0;
}

/* Close the gap at i: move up what a search would now miss. */
static void forgets_remove(struct vtfs_forgets *f, size_t i)
{
	size_t j = i;

	f->tab[i].nlookup = 0;
	f->cnt--;
	for (;;) {
		struct fuse_forget_one one;

		j = (j + 1) & (f->cap - 1);
		if (!f->tab[j].nlookup)
			return;
		one = f->tab[j];
		f->tab[j].nlookup = 0;
		f->tab[forget_at(f, one.nodeid)] = one;
	}
}

/* Up to max of them, taken out. */
uint32_t vtfs_forgets_take(struct vtfs_forgets *f, struct fuse_forget_one *to,
			   size_t max)
{
	uint32_t n = 0;

	for (size_t i = 0; i < f->cap && n < max && f->cnt;) {
		if (!f->tab[i].nlookup) {
			i++;
			continue;
		}
		to[n++] = f->tab[i];
		/* Another may have moved here. */
		forgets_remove(f, i);
	}
	return n;
}

void vtfs_forgets_clear(struct vtfs_forgets *f)
{
	if (f->tab)
		memset(f->tab, 0, f->cap * sizeof(*f->tab));
	f->cnt = 0;
}

void vtfs_forgets_free(struct vtfs_forgets *f)
{
	free(f->tab);
	memset(f, 0, sizeof(*f));
}
