/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Behind an IOMMU: chains that go back, and translations that go. The theory is
 * in dev_miss.c.
 */
#include "session/dev.h"

#include <errno.h>

/* ---- chains that go back ---- */

/* -EAGAIN; or -EFAULT, if a hole was said to be absent since s waits. */
static int ask_room(struct vtfs_run *run, struct vtfs_slot *s,
		    const struct vtfs_parts *parts)
{
	struct vtfs_miss m = {.access = VTFS_MAP_WRITE};
	bool denied = false;

	for (unsigned i = 0; i < parts->cnt; i++) {
		if (parts->iov[i].iov_base)
			continue;
		m.addr = parts->at[i];
		m.len = parts->iov[i].iov_len;
		denied |= s->late && vtfs_miss_denied(run->q->dev, s, &m);
		vtfs_device_ask(run->q->dev, &m);
	}
	return denied ? -EFAULT : -EAGAIN;
}

static int look_up(const struct vtfs_table *t, const struct vtfs_slot *s,
		   uint32_t len, struct vtfs_parts *parts)
{
	int r = 0;

	for (uint32_t i = s->readable_ranges; len && r >= 0; i++) {
		uint32_t n = vtfs_min_u32(len, s->ranges[i].len);

		r = vtfs_table_append_any(t, s->ranges[i].addr, n, parts);
		len -= n;
	}
	return r;
}

static bool is_bounced(const struct vtfs_slot *s)
{
	return s->req.room_cnt && s->req.room->iov_base == s->bounce;
}

/* The header, and what is bounced behind it. */
static int write_reply(struct vtfs_run *run, const struct vtfs_table *t,
		       struct vtfs_slot *s)
{
	struct iovec iov[VTFS_OUT_LEN + VTFS_SLOT_BOUNCE];
	uint64_t at[VTFS_OUT_LEN + VTFS_SLOT_BOUNCE];
	struct vtfs_parts parts = {.iov = iov,
				   .at = at,
				   .max = VTFS_OUT_LEN + VTFS_SLOT_BOUNCE,
				   .access = VTFS_MAP_WRITE};
	uint32_t more = is_bounced(s) ? s->used_len - VTFS_OUT_LEN : 0;
	struct vtfs_iovcur cur;
	int r = look_up(t, s, VTFS_OUT_LEN + more, &parts);

	if (r >= 0 && parts.holes)
		r = ask_room(run, s, &parts);
	if (r < 0)
		return r;
	vtfs_iovcur_init(&cur, iov, parts.cnt);
	vtfs_iovcur_fill(&cur, &s->out, VTFS_OUT_LEN);
	vtfs_iovcur_fill(&cur, s->bounce, more);
	return 0;
}

static void make_late(struct vtfs_run *run, struct vtfs_slot *s)
{
	vtfs_run_unpin(run, s);
	if (!s->late)
		s->asked = vtfs_miss_denials(run->q->dev);
	s->late = true;
	s->staged = NULL;
	if (!run->late)
		run->late_end = &run->late;
	*run->late_end = s;
	run->late_end = &s->staged;
}

/* True: s went to the ring, or is not to. */
static bool push(struct vtfs_run *run, const struct vtfs_conf *conf,
		 struct vtfs_slot *s)
{
	int r = -EAGAIN;

	vtfs_slot_untouch(run->slots, s);
	if (__atomic_load_n(&run->lost, __ATOMIC_ACQUIRE))
		return true;
	if (conf->ring)
		r = s->answered ? write_reply(run, conf->table, s) : 0;
	if (r == -EAGAIN && !conf->fail) {
		make_late(run, s);
		return false;
	}
	if (r < 0)
		s->used_len = 0;
	vtfs_run_end_wait(run, s);
	if (conf->ring)
		vtfs_vq_dev_push(run->vq, s->id, s->ring_cnt, s->used_len);
	return true;
}

void vtfs_run_push_mapped(struct vtfs_run *run, const struct vtfs_conf *conf,
			  struct vtfs_slot *list)
{
	struct vtfs_slot *next, *done = NULL;
	uint64_t now = vtfs_devq_now(run->q);
	uint32_t cnt = 0;

	for (; list; list = next) {
		next = list->staged;
		if (!push(run, conf, list))
			continue;
		list->staged = done;
		done = list;
	}
	if (conf->ring && vtfs_vq_dev_publish(run->vq) && conf->call)
		vtfs_devq_call(run->q, conf->call);
	for (; done; done = next) {
		next = done->staged;
		vtfs_devq_count_reply(run->q, done, now);
		vtfs_run_give(run, done);
		cnt++;
	}
	/* Late ones let something go as well. */
	if (vtfs_run_given(run, cnt))
		vtfs_device_wake(run->q->dev);
}

void vtfs_run_push_late(struct vtfs_run *run, const struct vtfs_conf *conf)
{
	struct vtfs_slot *list = run->late;

	run->late = NULL;
	if (list)
		vtfs_run_push_mapped(run, conf, list);
}

/* ---- translations that go ---- */

static bool overlaps(const struct vtfs_slot *s, const struct vtfs_miss *gone)
{
	const struct vtfs_range *v = __atomic_load_n(&s->ranges,
						     __ATOMIC_RELAXED);
	uint32_t cnt = __atomic_load_n(&s->range_cnt, __ATOMIC_RELAXED);

	for (uint32_t i = 0; i < cnt; i++) {
		uint64_t addr = __atomic_load_n(&v[i].addr, __ATOMIC_RELAXED);
		uint32_t len = __atomic_load_n(&v[i].len, __ATOMIC_RELAXED);

		if (vtfs_range_overlap(addr, len, gone->addr, gone->len))
			return true;
	}
	return false;
}

static bool touches(const struct vtfs_run *run, const struct vtfs_slot *s,
		    const struct vtfs_miss *gone)
{
	uint64_t word = __atomic_load_n(&run->slots->touching[s->idx / 64],
					__ATOMIC_SEQ_CST);

	return word >> s->idx % 64 & 1 && overlaps(s, gone);
}

bool vtfs_run_touches(struct vtfs_run *run, const struct vtfs_miss *gone)
{
	struct vtfs_slots *t = run->slots;
	bool any = false;

	if (!gone->len || !run->mapped || !t)
		return false;
	for (unsigned i = 0; i < vtfs_slot_words(t); i++) {
		uint64_t bits = __atomic_load_n(&t->touching[i],
						__ATOMIC_SEQ_CST);

		for (; bits; bits &= bits - 1) {
			struct vtfs_slot *s =
			    &t->slots[i * 64 + (unsigned)__builtin_ctzll(bits)];

			if (touches(run, s, gone) && vtfs_slot_hold(s))
				vtfs_slot_tell(run, s);
			any |= touches(run, s, gone);
		}
	}
	return any;
}
