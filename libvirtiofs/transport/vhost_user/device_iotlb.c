/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "mem/view.h"
#include "transport/vhost_user/device.h"
#include "vq/vq.h"

/* An entry has several where it crosses regions. */
#define MAPS_MAX    (VU_TLB_MAX + VTFS_REGION_MAX)
#define VU_TLB_NEED (VU_PF(BACKEND_REQ) | VU_PF(REPLY_ACK))

bool vtfs_vu_tlb_can(const struct vu_device *d)
{
	return (d->protocol & VU_TLB_NEED) == VU_TLB_NEED;
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
		uint64_t user = e->user + done;
		const struct vtfs_region *r = region_of(d->mem.table, user);
		uint64_t off;
		uint64_t n;

		if (!r)
			break;
		off = user - r->user_addr;
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

static void adopt(struct vu_device *d, struct vtfs_table *t)
{
	join_rings(d, t);
	vtfs_table_put(d->tlb.table);
	d->tlb.table = t;
	d->tlb.changed = false;
}

/* The maps of entries that begin in there. */
static unsigned compile_some(struct vu_device *d, uint64_t addr, uint64_t last)
{
	struct vu_tlb *t = &d->tlb;
	unsigned cnt = 0;

	for (unsigned i = vtfs_vu_tlb_find(t, addr);
	     i < t->cnt && t->entries[i].iova <= last; i++)
		cnt += compile_one(d, &t->entries[i], t->maps + cnt,
				   MAPS_MAX - cnt);
	return cnt;
}

int vtfs_vu_tlb_compile(struct vu_device *d)
{
	const struct vtfs_table *m = d->mem.table;
	unsigned cnt = compile_some(d, 0, UINT64_MAX);
	struct vtfs_table *t;
	int r = vtfs_table_new_mapped(&t, m->regions, m->cnt, d->tlb.maps, cnt);

	if (r >= 0)
		adopt(d, t);
	return r;
}

/* The same, where only entries have changed since the last time. */
static int recompile(struct vu_device *d)
{
	struct vu_tlb *tlb = &d->tlb;
	struct vtfs_map_edit edit = {tlb->change_addr, tlb->change_last,
				     tlb->maps, 0};
	struct vtfs_table *t;
	int r;

	if (!tlb->table)
		return vtfs_vu_tlb_compile(d);
	if (!tlb->changed)
		return 0;
	edit.cnt = compile_some(d, edit.addr, edit.last);
	if (edit.cnt > MAPS_MAX - tlb->table->map_cnt)
		return vtfs_vu_tlb_compile(d);
	r = vtfs_table_edit(&t, tlb->table, &edit);
	if (r >= 0)
		adopt(d, t);
	return r;
}

static int tell(struct vu_device *d, const struct vtfs_miss *gone)
{
	d->wait = VU_WAIT_TABLE;
	d->sink->ops->invalidate(d->sink, d->tlb.table, gone, ++d->mem.cookie);
	return -EINPROGRESS;
}

static int publish(struct vu_device *d, const struct vtfs_miss *gone)
{
	int r = recompile(d);

	return r < 0 ? r : tell(d, gone);
}

/* Rings, or all entries, have changed: nobody uses what went. */
static int publish_all(struct vu_device *d)
{
	static const struct vtfs_miss nothing;
	int r = vtfs_vu_tlb_compile(d);

	return r < 0 ? r : tell(d, &nothing);
}

int vtfs_vu_tlb_switch(struct vu_device *d)
{
	bool on = d->status.chosen &&
		  d->status.features & VTFS_F_ACCESS_PLATFORM;
	bool was = d->tlb.on;

	if (on && !d->tlb.entries)
		d->tlb.entries = calloc(VU_TLB_MAX + 2,
					sizeof(d->tlb.entries[0]));
	if (on && !d->tlb.maps)
		d->tlb.maps = calloc(MAPS_MAX, sizeof(d->tlb.maps[0]));
	if (on && (!d->tlb.entries || !d->tlb.maps))
		return -ENOMEM;
	d->tlb.on = on;
	/* Questions that were sent will be answered. */
	d->tlb.cnt = 0;
	if (!d->mem.table || (!on && !was))
		return 0;
	if (on)
		return publish_all(d);
	d->wait = VU_WAIT_TABLE;
	d->sink->ops->set_table(d->sink, d->mem.table, ++d->mem.cookie);
	return -EINPROGRESS;
}

int vtfs_vu_tlb_ring(struct vu_device *d)
{
	return d->tlb.on && d->tlb.cnt && d->mem.table ? publish_all(d) : 0;
}

int vtfs_vu_tlb_rest(struct vu_device *d)
{
	if (!d->tlb.on || !d->tlb.cnt || vtfs_vu_vrings_running(d))
		return 0;
	d->tlb.cnt = 0;
	return publish_all(d);
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
	if (vtfs_vu_tlb_is_known(t, &e))
		return 0;
	/* What it replaces may be in use. */
	i = vtfs_vu_tlb_find(t, e.iova);
	if (i == t->cnt ||
	    !vtfs_range_overlap(t->entries[i].iova, t->entries[i].len, e.iova,
				e.len))
		gone.len = 0;
	vtfs_vu_tlb_remove(d, e.iova, e.len);
	vtfs_vu_tlb_add(d, &e);
	return publish(d, &gone);
}

static int invalidate(struct vu_device *d, const struct vu_iotlb *m)
{
	/* 2^64 bytes are said as 0, and nobody's address is the last one. */
	struct vtfs_miss gone = {m->iova, m->size,
				 VTFS_MAP_READ | VTFS_MAP_WRITE};

	if (!gone.len || vtfs_range_wraps(gone.addr, gone.len))
		gone.len = UINT64_MAX - gone.addr;
	vtfs_vu_tlb_remove(d, gone.addr, gone.len);
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
	free(d->tlb.maps);
	d->tlb = (struct vu_tlb){.on = false};
}
