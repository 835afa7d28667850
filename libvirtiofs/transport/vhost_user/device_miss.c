/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the session misses: see device_iotlb.h. */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vhost_user/device.h"

static const struct vtfs_miss again;

static bool is_there(const struct vu_device *d, const struct vu_tlb_ask *a)
{
	uint64_t hole;

	return d->tlb.table &&
	       vtfs_table_covers(d->tlb.table, a->page, 1, a->access, &hole);
}

static bool is_asked(const struct vu_tlb *t, const struct vu_tlb_ask *a)
{
	for (unsigned i = 0; i < t->ask_cnt; i++)
		if (t->asks[i].page == a->page &&
		    t->asks[i].access == a->access)
			return true;
	return false;
}

static void deny(struct vu_device *d, const struct vu_tlb_ask *a)
{
	const struct vtfs_miss m = {a->page, VU_TLB_PAGE, a->access};

	d->sink->ops->absent(d->sink, &m);
}

static bool has_channel(const struct vu_device *d)
{
	return d->back >= 0 && !d->back_pipe && vtfs_vu_tlb_can(d);
}

void vtfs_vu_tlb_miss(struct vu_device *d, const struct vtfs_miss *m)
{
	struct vu_tlb *t = &d->tlb;
	uint64_t last = m->addr + (m->len - 1);
	struct vu_tlb_ask a = {m->addr & ~(VU_TLB_PAGE - 1), m->access, false};

	if (!t->on || !m->len || d->port.conn < 0)
		return;
	if (!has_channel(d)) {
		d->sink->ops->absent(d->sink, m);
		return;
	}
	for (;; a.page += VU_TLB_PAGE) {
		if (!is_there(d, &a) && !is_asked(t, &a)) {
			if (t->ask_cnt == VU_TLB_ASKS) {
				t->dropped = true;
				return;
			}
			t->asks[t->ask_cnt++] = a;
		}
		if (last - a.page < VU_TLB_PAGE)
			return;
	}
}

void vtfs_vu_tlb_seen(struct vu_device *d, const struct vu_iotlb *m)
{
	struct vu_tlb *t = &d->tlb;

	for (unsigned i = 0; i < t->answered_cnt + t->sent_cnt; i++)
		t->asks[i].seen |= vtfs_range_overlap(
		    t->asks[i].page, VU_TLB_PAGE, m->iova, m->size);
}

static void forget_ask(struct vu_tlb *t, unsigned i)
{
	t->ask_cnt--;
	memmove(&t->asks[i], &t->asks[i + 1],
		(t->ask_cnt - i) * sizeof(t->asks[0]));
}

bool vtfs_vu_tlb_next(struct vu_device *d, struct vu_iotlb *ret)
{
	struct vu_tlb *t = &d->tlb;
	unsigned i = t->answered_cnt + t->sent_cnt;
	uint64_t hole;

	if (!t->on || !t->table)
		return false;
	/* Some entries come by themselves, or with another's answer. */
	while (i < t->ask_cnt && is_there(d, &t->asks[i]))
		forget_ask(t, i);
	if (i == t->ask_cnt || t->sent_cnt == VU_TLB_SENT)
		return false;
	*ret = (struct vu_iotlb){.iova = t->asks[i].page,
				 .perm = (uint8_t)t->asks[i].access,
				 .type = VU_IOTLB_MISS};
	/* There is an entry, which does not permit it. */
	if (vtfs_table_covers(t->table, ret->iova, 1, VTFS_MAP_READ, &hole) ||
	    vtfs_table_covers(t->table, ret->iova, 1, VTFS_MAP_WRITE, &hole))
		ret->type = VU_IOTLB_ACCESS_FAIL;
	return true;
}

void vtfs_vu_tlb_sent(struct vu_device *d)
{
	d->tlb.sent_cnt++;
}

/* Answers come in the order of questions. */
void vtfs_vu_tlb_answer(struct vu_device *d, uint64_t status)
{
	struct vu_tlb *t = &d->tlb;
	unsigned i = t->answered_cnt;
	struct vu_tlb_ask a = t->asks[i];

	t->sent_cnt--;
	if (!status && !is_there(d, &a)) {
		t->answered_cnt++;
		return;
	}
	forget_ask(t, i);
	if (status)
		deny(d, &a);
}

void vtfs_vu_tlb_settle(struct vu_device *d, bool idle)
{
	struct vu_tlb *t = &d->tlb;

	for (unsigned i = 0; i < t->answered_cnt;) {
		struct vu_tlb_ask a = t->asks[i];
		bool there = is_there(d, &a);

		if (!there && !idle && !a.seen) {
			i++;
			continue;
		}
		forget_ask(t, i);
		t->answered_cnt--;
		if (there)
			continue;
		if (a.seen)
			t->dropped = true;
		else
			deny(d, &a);
	}
	if (!t->dropped || t->ask_cnt >= VU_TLB_ASKS / 2 || d->handling)
		return;
	t->dropped = false;
	d->sink->ops->absent(d->sink, &again);
	/* Rings that do not run yet are asked for here. */
	if (vtfs_vu_vrings_update(d) < 0)
		vtfs_log(d->sink->log, LOG_WARNING, "%s: %s", d->base.name,
			 virtiofs_last_error());
}

void vtfs_vu_tlb_no_channel(struct vu_device *d)
{
	struct vu_tlb *t = &d->tlb;
	unsigned cnt = t->ask_cnt;

	t->ask_cnt = t->answered_cnt = t->sent_cnt = 0;
	for (unsigned i = 0; i < cnt; i++)
		deny(d, &t->asks[i]);
}
