/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "mem/view.h"
#include "transport/vhost_user/device.h"
#include "vq/vq.h"

#define VU_TLB_NEED (VU_PF(BACKEND_REQ) | VU_PF(REPLY_ACK))

bool vtfs_vu_tlb_can(const struct vu_device *d)
{
	return (d->protocol & VU_TLB_NEED) == VU_TLB_NEED;
}

/* ---- entries ---- */

/* The first entry that ends behind iova. */
static unsigned find(const struct vu_tlb *t, uint64_t iova)
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

static void erase(struct vu_tlb *t, unsigned i, unsigned cnt)
{
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
}

/* Entry i ends at iova; what it had from there on is an entry of its own. */
static void cut(struct vu_tlb *t, unsigned i, uint64_t iova)
{
	struct vu_tlb_entry *e = &t->entries[i];
	struct vu_tlb_entry rest = *e;

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

/* Requests that use it keep what they have: nothing was invalidated. */
static void make_room(struct vu_device *d)
{
	struct vu_tlb *t = &d->tlb;
	unsigned oldest = t->cnt;

	for (unsigned i = 0; i < t->cnt; i++)
		if ((oldest == t->cnt ||
		     t->entries[i].age < t->entries[oldest].age) &&
		    !holds_ring(d, &t->entries[i]))
			oldest = i;
	erase(t, oldest == t->cnt ? 0 : oldest, 1);
}

static void remove_range(struct vu_device *d, uint64_t iova, uint64_t len)
{
	struct vu_tlb *t = &d->tlb;
	unsigned cnt = 0;
	unsigned i;

	/* An entry may become two. */
	while (t->cnt >= VU_TLB_MAX)
		make_room(d);
	i = find(t, iova);
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

static void add(struct vu_device *d, const struct vu_tlb_entry *e)
{
	struct vu_tlb *t = &d->tlb;
	unsigned i;

	while (t->cnt >= VU_TLB_MAX)
		make_room(d);
	i = find(t, e->iova);
	insert(t, i, e);
	merge(t, i);
	if (i)
		merge(t, i - 1);
}

/* Does the IOTLB say all of e already? */
static bool is_known(const struct vu_tlb *t, const struct vu_tlb_entry *e)
{
	unsigned i = find(t, e->iova);
	const struct vu_tlb_entry *k = &t->entries[i];

	return i < t->cnt && vtfs_range_ok(k->iova, k->len, e->iova, e->len) &&
	       k->user + (e->iova - k->iova) == e->user &&
	       k->access == e->access;
}

/* ---- the session's table ---- */

static const struct vtfs_region *region_of(const struct vtfs_table *m,
					   uint64_t user)
{
	for (unsigned i = 0; m && i < m->cnt; i++)
		if (vtfs_range_ok(m->regions[i]->user_addr, m->regions[i]->len,
				  user, 1))
			return m->regions[i];
	return NULL;
}

static bool in_memory(const struct vu_device *d, uint64_t user, uint64_t len)
{
	while (len) {
		const struct vtfs_region *r = region_of(d->mem.table, user);
		uint64_t n;

		if (!r)
			return false;
		n = vtfs_min_u64(len, r->len - (user - r->user_addr));
		user += n;
		len -= n;
	}
	return true;
}

/* The maps of one entry; what is in no region any more has none. */
static unsigned compile_one(const struct vu_device *d,
			    const struct vu_tlb_entry *e, struct vtfs_map *to,
			    unsigned max)
{
	uint64_t done = 0;
	unsigned cnt = 0;

	while (done < e->len && cnt < max) {
		const struct vtfs_region *r = region_of(d->mem.table,
							e->user + done);
		uint64_t off;
		uint64_t n;

		if (!r)
			break;
		off = e->user + done - r->user_addr;
		n = vtfs_min_u64(e->len - done, r->len - off);
		to[cnt++] = (struct vtfs_map){.addr = e->iova + done,
					      .len = n,
					      .ptr = r->addr + off,
					      .region = r->id,
					      .access = (uint16_t)e->access};
		done += n;
	}
	return cnt;
}

/* A guest's ring is one piece by IOVAs only. */
static int join_ring(struct vu_device *d, const struct vu_vring *v,
		     struct vtfs_table *t)
{
	struct vtfs_vq_areas a;
	int r;

	if (!v->has_addr ||
	    vtfs_vq_areas(&a, vtfs_features_vq_flags(d->status.features),
			  v->num) < 0)
		return 0;
	r = vtfs_table_join(t, d->tlb.table, v->addr.desc, a.desc_len);
	if (r >= 0)
		r = vtfs_table_join(t, d->tlb.table, v->addr.avail,
				    a.driver_len);
	if (r >= 0)
		r = vtfs_table_join(t, d->tlb.table, v->addr.used,
				    a.device_len);
	return r;
}

/* One that can't be joined does not start, or stops: the session sees that. */
static void join_rings(struct vu_device *d, struct vtfs_table *t)
{
	for (unsigned i = 0; i < vtfs_vu_device_queues(d); i++)
		if (join_ring(d, &d->vrings[i], t) < 0)
			vtfs_log(d->sink->log, LOG_WARNING, "%s: ring %u: %s",
				 d->base.name, i, virtiofs_last_error());
}

int vtfs_vu_tlb_compile(struct vu_device *d)
{
	const struct vtfs_table *m = d->mem.table;
	unsigned max = VU_TLB_MAX + VTFS_REGION_MAX;
	struct vtfs_map *maps = calloc(max, sizeof(*maps));
	struct vtfs_table *t;
	unsigned cnt = 0;
	int r;

	if (!maps)
		return -ENOMEM;
	for (unsigned i = 0; i < d->tlb.cnt; i++)
		cnt += compile_one(d, &d->tlb.entries[i], maps + cnt,
				   max - cnt);
	r = vtfs_table_new_mapped(&t, m->regions, m->cnt, maps, cnt);
	free(maps);
	if (r < 0)
		return r;
	join_rings(d, t);
	vtfs_table_put(d->tlb.table);
	d->tlb.table = t;
	return 0;
}

static int publish(struct vu_device *d, const struct vtfs_miss *gone)
{
	int r = vtfs_vu_tlb_compile(d);

	if (r < 0)
		return r;
	d->wait = VU_WAIT_TABLE;
	d->sink->ops->invalidate(d->sink, d->tlb.table, gone, ++d->mem.cookie);
	return -EINPROGRESS;
}

static const struct vtfs_miss nothing;

int vtfs_vu_tlb_switch(struct vu_device *d)
{
	bool on = d->status.chosen &&
		  d->status.features & VTFS_F_ACCESS_PLATFORM;
	bool was = d->tlb.on;

	if (on && !d->tlb.entries) {
		d->tlb.entries = calloc(VU_TLB_MAX + 2,
					sizeof(d->tlb.entries[0]));
		if (!d->tlb.entries)
			return -ENOMEM;
	}
	d->tlb.on = on;
	/* Questions that were sent will be answered. */
	d->tlb.cnt = 0;
	if (!d->mem.table || (!on && !was))
		return 0;
	if (on)
		return publish(d, &nothing);
	d->wait = VU_WAIT_TABLE;
	d->sink->ops->set_table(d->sink, d->mem.table, ++d->mem.cookie);
	return -EINPROGRESS;
}

int vtfs_vu_tlb_ring(struct vu_device *d)
{
	return d->tlb.on && d->tlb.cnt && d->mem.table ? publish(d, &nothing)
						       : 0;
}

int vtfs_vu_tlb_rest(struct vu_device *d)
{
	if (!d->tlb.on || !d->tlb.cnt || vtfs_vu_vrings_running(d))
		return 0;
	d->tlb.cnt = 0;
	return publish(d, &nothing);
}

/* ---- IOTLB_MSG ---- */

static int update(struct vu_device *d, const struct vu_iotlb *m)
{
	struct vu_tlb *t = &d->tlb;
	struct vtfs_miss gone = {m->iova, m->size, m->perm};
	struct vu_tlb_entry e = {.iova = m->iova,
				 .len = m->size,
				 .user = m->user_addr,
				 .age = ++t->clock,
				 .access = m->perm};
	unsigned i;

	if (!m->size || vtfs_range_wraps(m->iova, m->size) ||
	    vtfs_range_wraps(m->user_addr, m->size) || !m->perm ||
	    m->perm > (VU_ACCESS_RO | VU_ACCESS_WO) ||
	    !in_memory(d, m->user_addr, m->size))
		return vtfs_fail(-EINVAL,
				 "IOTLB_MSG: %llu bytes at 0x%llx are 0x%llx, "
				 "access %u",
				 (unsigned long long)m->size,
				 (unsigned long long)m->iova,
				 (unsigned long long)m->user_addr, m->perm);
	vtfs_vu_tlb_seen(d, m);
	if (is_known(t, &e))
		return 0;
	/* What it replaces may be in use. */
	i = find(t, e.iova);
	if (i == t->cnt ||
	    !vtfs_range_overlap(t->entries[i].iova, t->entries[i].len, e.iova,
				e.len))
		gone.len = 0;
	remove_range(d, e.iova, e.len);
	add(d, &e);
	return publish(d, &gone);
}

static int invalidate(struct vu_device *d, const struct vu_iotlb *m)
{
	/* 2^64 bytes are said as 0, and nobody's address is the last one. */
	struct vtfs_miss gone = {m->iova, m->size,
				 VTFS_MAP_READ | VTFS_MAP_WRITE};

	if (!gone.len || vtfs_range_wraps(gone.addr, gone.len))
		gone.len = UINT64_MAX - gone.addr;
	remove_range(d, gone.addr, gone.len);
	/* In use may be, too, what made room for another. */
	return publish(d, &gone);
}

static int handle(struct vu_device *d)
{
	const struct vu_iotlb *m = &d->rx.payload.iotlb;

	if (!d->tlb.on || !d->mem.table)
		return vtfs_fail(-EINVAL, "IOTLB_MSG without %s",
				 d->tlb.on ? "memory" : "ACCESS_PLATFORM");
	if (m->type == VU_IOTLB_UPDATE)
		return update(d, m);
	if (m->type == VU_IOTLB_INVALIDATE)
		return invalidate(d, m);
	return vtfs_fail(-EINVAL, "IOTLB_MSG of type %u", m->type);
}

/* This message is answered in any case, and never costs the connection. */
static int reply(struct vu_device *d, int r, uint64_t status)
{
	if (r == -EINPROGRESS)
		return r;
	if (r < 0)
		vtfs_log(d->sink->log, LOG_WARNING, "%s: %s", d->base.name,
			 virtiofs_last_error());
	return vtfs_vu_device_reply_u64(d, status);
}

int vtfs_vu_tlb_msg(struct vu_device *d)
{
	int r = handle(d);

	return reply(d, r, r < 0);
}

int vtfs_vu_tlb_msg_done(struct vu_device *d)
{
	/* Rings that waited for their map; one that is wrong is logged. */
	return reply(d, vtfs_vu_vrings_update(d), 0);
}

void vtfs_vu_tlb_drop(struct vu_device *d)
{
	vtfs_table_put(d->tlb.table);
	free(d->tlb.entries);
	d->tlb = (struct vu_tlb){.on = false};
}
