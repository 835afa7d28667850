/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The entries of the IOTLB: see device_iotlb.h. */
#include <string.h>

#include "base/bytes.h"
#include "transport/vhost_user/device.h"
#include "vq/vq.h"

unsigned vtfs_vu_tlb_find(const struct vu_tlb *t, uint64_t iova)
{
	unsigned i = 0;
	unsigned end = t->cnt;

	while (i < end) {
		unsigned mid = i + (end - i) / 2;
		const struct vu_tlb_entry *e = &t->entries[mid];

		if (iova >= e->iova && iova - e->iova >= e->len)
			i = mid + 1;
		else
			end = mid;
	}
	return i;
}

/* Something of e's changes: the session's table does, between these ends. Other
 * entries lie inside or outside as a whole. */
static void note(struct vu_tlb *t, const struct vu_tlb_entry *e)
{
	uint64_t last = e->iova + (e->len - 1);

	if (!t->changed || e->iova < t->change_addr)
		t->change_addr = e->iova;
	if (!t->changed || last > t->change_last)
		t->change_last = last;
	t->changed = true;
}

static void erase(struct vu_tlb *t, unsigned i, unsigned cnt)
{
	if (cnt) {
		note(t, &t->entries[i]);
		note(t, &t->entries[i + cnt - 1]);
	}
	t->cnt -= cnt;
	memmove(&t->entries[i], &t->entries[i + cnt],
		(t->cnt - i) * sizeof(t->entries[0]));
}

static void insert(struct vu_tlb *t, unsigned i, const struct vu_tlb_entry *e)
{
	memmove(&t->entries[i + 1], &t->entries[i],
		(t->cnt - i) * sizeof(t->entries[0]));
	t->entries[i] = *e;
	t->cnt++;
	note(t, e);
}

/* Entry i ends at iova; what it had from there on is an entry of its own. */
static void cut(struct vu_tlb *t, unsigned i, uint64_t iova)
{
	struct vu_tlb_entry *e = &t->entries[i];
	struct vu_tlb_entry rest = *e;

	note(t, e);
	rest.iova = iova;
	rest.len = e->len - (iova - e->iova);
	rest.user = e->user + (iova - e->iova);
	e->len = iova - e->iova;
	insert(t, i + 1, &rest);
}

static bool follows(const struct vu_tlb_entry *a, const struct vu_tlb_entry *b)
{
	return a->iova + a->len == b->iova && a->user + a->len == b->user &&
	       a->access == b->access;
}

/* Entries i and i + 1 are one if they can be. */
static void merge(struct vu_tlb *t, unsigned i)
{
	struct vu_tlb_entry *e = &t->entries[i];

	if (i + 1 >= t->cnt || !follows(e, e + 1))
		return;
	note(t, e);
	e->len += e[1].len;
	e->age = e->age > e[1].age ? e->age : e[1].age;
	erase(t, i + 1, 1);
}

static bool holds_ring(const struct vu_device *d, const struct vu_tlb_entry *e)
{
	uint32_t flags = vtfs_features_vq_flags(d->status.features);

	for (unsigned i = 0; i < vtfs_vu_device_queues(d); i++) {
		const struct vu_vring *v = &d->vrings[i];
		const struct vu_vring_addr *at = &v->addr;
		struct vtfs_vq_areas a;

		if (v->has_addr && vtfs_vq_areas(&a, flags, v->num) >= 0 &&
		    (vtfs_range_overlap(e->iova, e->len, at->desc,
					a.desc_len) ||
		     vtfs_range_overlap(e->iova, e->len, at->avail,
					a.driver_len) ||
		     vtfs_range_overlap(e->iova, e->len, at->used,
					a.device_len)))
			return true;
	}
	return false;
}

static uint64_t oldest_age(const struct vu_device *d)
{
	const struct vu_tlb *t = &d->tlb;
	uint64_t age = UINT64_MAX;

	for (unsigned i = 0; i < t->cnt; i++)
		if (t->entries[i].age < age && !holds_ring(d, &t->entries[i]))
			age = t->entries[i].age;
	return age;
}

/* The oldest go, and some with them: each time the session gets a table that is
 * new all over. Requests that use them keep what they have: nothing was
 * invalidated. */
static void make_room(struct vu_device *d)
{
	struct vu_tlb *t = &d->tlb;
	uint64_t age = oldest_age(d);
	unsigned left = VU_TLB_MAX / 16;
	unsigned kept = 0;

	if (age == UINT64_MAX) {
		erase(t, 0, 1);
		return;
	}
	age += (t->clock - age) / 16;
	for (unsigned i = 0; i < t->cnt; i++) {
		const struct vu_tlb_entry *e = &t->entries[i];

		if (left && e->age <= age && !holds_ring(d, e)) {
			note(t, e);
			left--;
		} else {
			t->entries[kept++] = *e;
		}
	}
	t->cnt = kept;
}

void vtfs_vu_tlb_remove(struct vu_device *d, uint64_t iova, uint64_t len)
{
	struct vu_tlb *t = &d->tlb;
	unsigned cnt = 0;
	unsigned i;

	/* An entry may become two. */
	while (t->cnt >= VU_TLB_MAX)
		make_room(d);
	i = vtfs_vu_tlb_find(t, iova);
	if (i < t->cnt && t->entries[i].iova < iova)
		cut(t, i++, iova);
	while (i + cnt < t->cnt && t->entries[i + cnt].iova - iova < len) {
		struct vu_tlb_entry *e = &t->entries[i + cnt];

		if (!vtfs_range_ok(iova, len, e->iova, e->len))
			cut(t, i + cnt, iova + len);
		cnt++;
	}
	erase(t, i, cnt);
}

void vtfs_vu_tlb_add(struct vu_device *d, const struct vu_tlb_entry *e)
{
	struct vu_tlb *t = &d->tlb;
	unsigned i;

	while (t->cnt >= VU_TLB_MAX)
		make_room(d);
	i = vtfs_vu_tlb_find(t, e->iova);
	insert(t, i, e);
	merge(t, i);
	if (i)
		merge(t, i - 1);
}

bool vtfs_vu_tlb_is_known(const struct vu_tlb *t, const struct vu_tlb_entry *e)
{
	unsigned i = vtfs_vu_tlb_find(t, e->iova);
	const struct vu_tlb_entry *k = &t->entries[i];

	return i < t->cnt && vtfs_range_ok(k->iova, k->len, e->iova, e->len) &&
	       k->user + (e->iova - k->iova) == e->user &&
	       k->access == e->access;
}
