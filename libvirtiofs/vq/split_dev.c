/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Split ring, device half. (virtio 1.4, 2.7)
 *
 * Reads the descriptor table and the avail ring, writes the used ring, and
 * nothing else. next, in take, runs ahead of next, in give; as many chains as
 * lie between are in flight.
 *
 * With a record those are known by name, whenever the process ends: pop enters
 * a head; push writes the element, then the record's next, then strikes the
 * head out; publish stores the ring's index, which makes the element valid. So
 * what the record has, and what stands in the ring between its index and the
 * record's next, was taken and not given back.
 */
#include "vq/impl.h"

#include <endian.h>

#include "base/error.h"
#include "base/shared.h"
#include "vq/chain.h"
#include "vq/notify.h"

/* After the rings, at their ends, stand the two event indices. */
static uint16_t *avail_event(const struct vtfs_vq *vq)
{
	struct vtfs_wire_used *used = vq->device;

	return (uint16_t *)(void *)&used->ring[vq->num];
}

static const uint16_t *used_event(const struct vtfs_vq *vq)
{
	const struct vtfs_wire_avail *avail = vq->driver;

	return &avail->ring[vq->num];
}

/* Pushed and not published: in flight again. */
static void recall_staged(const struct vtfs_vq *vq, uint16_t idx)
{
	const struct vtfs_wire_used *used = vq->device;
	const struct vtfs_vq_record *rec = vq->dev.record;
	uint32_t cnt = (uint16_t)(rec->next - idx);

	/* The index is in the driver's memory: anything. */
	for (; cnt && cnt <= vq->num; cnt--, idx++) {
		uint32_t id = le32toh(
		    vtfs_load_once(&used->ring[idx & (vq->num - 1)].id));

		if (id < vq->num)
			vq->dev.held[id] = 1;
	}
}

/* Chains of a half that has ended are popped first; the ring goes on behind
 * them. */
static void go_on(struct vtfs_vq *vq)
{
	struct vtfs_vq_record *rec = vq->dev.record;
	struct vtfs_dev_take *take = &vq->dev.take;
	uint16_t idx = vq->dev.give.next;

	if (rec->live)
		recall_staged(vq, idx);
	rec->next = idx;
	rec->live = 1;
	for (uint32_t i = 0; i < vq->num; i++)
		take->redo += vq->dev.held[i] != 0;
	if (take->redo)
		take->next = take->seen = (uint16_t)(idx + take->redo);
}

void vtfs_split_dev_start(struct vtfs_vq *vq, const struct vtfs_vq_conf *conf)
{
	struct vtfs_wire_used *used = vq->device;
	struct vtfs_dev_take *take = &vq->dev.take;
	struct vtfs_dev_give *give = &vq->dev.give;

	take->next = conf->avail_base;
	take->seen = conf->avail_base;
	give->next = le16toh(vtfs_load_once(&used->idx));
	give->from = give->next;
	if (vq->dev.record)
		go_on(vq);
	give->resumed = take->next || give->next;
	vtfs_store_once(&used->flags, 0);
	if (!vtfs_vq_event(vq))
		return;
	take->notify = take->next;
	vtfs_store_once(avail_event(vq), htole16(take->next));
}

/* Look for chains that were made available since. 1, 0 or -EPROTO. */
static int refill(struct vtfs_vq *vq)
{
	const struct vtfs_wire_avail *avail = vq->driver;
	struct vtfs_dev_take *take = &vq->dev.take;
	uint16_t idx;

	/* Pairs with the driver's release of idx: the ring's entries up to idx
	 * and their descriptors are loaded after this. (2.7.13) */
	idx = le16toh(vtfs_load_acquire(&avail->idx));
	if (idx == take->next)
		return 0;
	if (vtfs_unlikely((uint16_t)(idx - take->next) > vq->num)) {
		take->broken = true;
		return vtfs_fail(-EPROTO, "avail index jumps from %u to %u",
				 take->next, idx);
	}
	take->seen = idx;
	return 1;
}

/* The next head, or -EPROTO: no chain may be available twice. */
static int load_head(const struct vtfs_vq *vq)
{
	const struct vtfs_wire_avail *avail = vq->driver;
	uint16_t at = vq->dev.take.next & (uint16_t)(vq->num - 1);
	uint16_t head = le16toh(vtfs_load_once(&avail->ring[at]));

	if (vtfs_unlikely(head >= vq->num))
		return vtfs_fail(-EPROTO, "head %u of %u", head, vq->num);
	/* Cleared by push before the used index that gave head back to the
	 * driver; so an honest one is seen cleared here. */
	if (vtfs_unlikely(vtfs_load_once(&vq->dev.held[head])))
		return vtfs_fail(-EPROTO, "head %u is in flight", head);
	return head;
}

/* Of the record. Those that were popped since it was counted are behind. */
static uint16_t redo_head(struct vtfs_vq *vq)
{
	struct vtfs_dev_take *take = &vq->dev.take;

	while (take->redo_at < vq->num - 1 && !vq->dev.held[take->redo_at])
		take->redo_at++;
	take->redo--;
	return take->redo_at++;
}

/* As many as lie in the ring, or of the record: 1, 0 or -EPROTO. */
static int more(struct vtfs_vq *vq)
{
	const struct vtfs_dev_take *take = &vq->dev.take;

	if (vtfs_unlikely(take->redo) || take->next != take->seen)
		return 1;
	return refill(vq);
}

int vtfs_split_dev_pop(struct vtfs_vq *vq, const struct vtfs_table *mem,
		       struct vtfs_chain *chain)
{
	struct vtfs_dev_take *take = &vq->dev.take;
	bool redo;
	int head;
	int r;

	if (vtfs_unlikely(take->broken))
		return -EPROTO;
	r = more(vq);
	if (r <= 0)
		return r;
	redo = take->redo;
	head = vtfs_unlikely(redo) ? redo_head(vq) : load_head(vq);
	r = head;
	if (vtfs_likely(head >= 0))
		r = vtfs_chain_split(vq, mem, (uint16_t)head, chain);
	if (vtfs_unlikely(r < 0)) {
		take->broken = true;
		return r;
	}
	chain->id = (uint16_t)head;
	chain->ring_cnt = 1;
	vtfs_store_once(&vq->dev.held[head], 1);
	if (vtfs_likely(!redo))
		take->next++;
	vtfs_store_once(&take->cnt, (uint16_t)(take->cnt + 1));
	return 1;
}

void vtfs_split_dev_push(struct vtfs_vq *vq, uint16_t id, uint32_t len)
{
	struct vtfs_wire_used *used = vq->device;
	struct vtfs_dev_give *give = &vq->dev.give;
	struct vtfs_wire_used_elem *elem;

	elem = &used->ring[give->next & (vq->num - 1)];
	vtfs_store_once(&elem->id, htole32(id));
	vtfs_store_once(&elem->len, htole32(len));
	give->next++;
	if (vtfs_unlikely(vq->dev.record))
		vtfs_store_release(&vq->dev.record->next, give->next);
	vtfs_store_once(&give->cnt, (uint16_t)(give->cnt + 1));
	give->staged++;
}

/* Does the driver want to hear of the elements since from? */
static bool driver_waits(const struct vtfs_vq *vq)
{
	const struct vtfs_wire_avail *avail = vq->driver;
	const struct vtfs_dev_give *give = &vq->dev.give;
	uint16_t event;

	if (!vtfs_vq_event(vq))
		return !(le16toh(vtfs_load_once(&avail->flags)) &
			 VTFS_AVAIL_F_NO_INTERRUPT);
	event = le16toh(vtfs_load_once(used_event(vq)));
	return vtfs_notify_crossed(event, give->from, give->next);
}

int vtfs_split_dev_publish(struct vtfs_vq *vq)
{
	struct vtfs_wire_used *used = vq->device;
	struct vtfs_dev_give *give = &vq->dev.give;
	int wanted;

	if (!give->staged)
		return 0;
	/* The elements, and what was written into their buffers, before idx;
	 * pairs with the driver's acquire of idx. (2.7.8.2) */
	vtfs_store_release(&used->idx, htole16(give->next));
	/* The store of idx before the load of the driver's flags or event; the
	 * driver, in arm, stores those, fences, and then loads idx. */
	vtfs_fence_full();
	wanted = driver_waits(vq) || vtfs_unlikely(give->resumed);
	give->resumed = false;
	give->from = give->next;
	give->staged = 0;
	return wanted;
}

void vtfs_split_dev_disarm(struct vtfs_vq *vq)
{
	struct vtfs_wire_used *used = vq->device;
	struct vtfs_dev_take *take = &vq->dev.take;

	/* With EVENT_IDX the index that arm asked for falls behind by itself,
	 * and flags stays 0. (2.7.10) */
	if (vtfs_vq_event(vq) || take->notify == VTFS_USED_F_NO_NOTIFY)
		return;
	take->notify = VTFS_USED_F_NO_NOTIFY;
	vtfs_store_once(&used->flags, htole16(VTFS_USED_F_NO_NOTIFY));
}

static void ask_for_kick(struct vtfs_vq *vq)
{
	struct vtfs_wire_used *used = vq->device;
	struct vtfs_dev_take *take = &vq->dev.take;
	uint16_t want = vtfs_vq_event(vq) ? take->next : 0;

	if (take->notify == want)
		return;
	take->notify = want;
	if (vtfs_vq_event(vq))
		vtfs_store_once(avail_event(vq), htole16(want));
	else
		vtfs_store_once(&used->flags, htole16(want));
}

int vtfs_split_dev_arm(struct vtfs_vq *vq)
{
	const struct vtfs_wire_avail *avail = vq->driver;
	struct vtfs_dev_take *take = &vq->dev.take;

	if (take->broken)
		return 0;
	if (take->redo || take->next != take->seen)
		return 1;
	ask_for_kick(vq);
	/* The store of flags or avail_event before the load of idx; the driver
	 * stores idx, fences, and then loads those (split_drv.c, publish). */
	vtfs_fence_full();
	return le16toh(vtfs_load_once(&avail->idx)) != take->next;
}
