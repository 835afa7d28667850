/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session/dev.h"

#include <sched.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/probe.h"
#include "base/shared.h"

#define INSIDE (1u << 0)
#define WANTED (1u << 1) /* dispatch was here */
#define SPINS  64u

void vtfs_device_wake(struct virtiofs_device *dev)
{
	vtfs_evfd_signal(dev->wake);
}

void vtfs_devq_wake(struct virtiofs_devq *q)
{
	vtfs_evfd_signal(q->ctl);
}

void vtfs_devq_call(struct virtiofs_devq *q, const struct vtfs_call *call)
{
	VTFS_PROBE(call, q->index);
	vtfs_stat_add(&q->giving.calls, 1);
	vtfs_bell_ring(&call->bell);
}

/* What was left goes on a stack that only dispatch takes from, all at once. */
static void leave_conf(struct virtiofs_devq *q, struct vtfs_conf *c)
{
	struct vtfs_conf *old = __atomic_load_n(&q->old, __ATOMIC_RELAXED);

	do {
		c->next = old;
	} while (!__atomic_compare_exchange_n(
	    &q->old, &old, c, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
}

/* Is there more to c than another table? */
static bool is_more(const struct vtfs_conf *have, const struct vtfs_conf *c)
{
	return !have || !c->mapped || have->run != c->run ||
	       have->ring != c->ring || have->take != c->take ||
	       have->drop != c->drop || have->fail != c->fail;
}

/* Gate held, and the push lock of whichever run is concerned. True: the owner
 * has something to do. */
static bool change_conf(struct virtiofs_devq *q, struct vtfs_conf *c)
{
	struct vtfs_conf *have = q->have;
	bool more = is_more(have, c);

	if (c->ring)
		vtfs_vq_dev_move(c->run->vq, c->desc, c->driver, c->device);
	/* A bell that was rung just before it changed hands would be lost. */
	if (c->ring && c->call && (!have || have->call != c->call))
		vtfs_devq_call(q, c->call);
	q->have = c;
	if (c->mapped) {
		if (vtfs_devq_has_retry(q)) {
			__atomic_store_n(&q->retry, 1, __ATOMIC_RELEASE);
			more = true;
		}
		vtfs_run_push_late(c->run, c);
	}
	__atomic_store_n(&q->size, c->run ? c->run->num : 0, __ATOMIC_RELAXED);
	return more;
}

/* Gate held. Whoever adopts wakes the owner: it may be asleep, or have looked
 * already. */
static void adopt(struct virtiofs_devq *q)
{
	struct vtfs_conf *c, *have = q->have;
	struct vtfs_run *run;
	bool more;

	if (!__atomic_load_n(&q->want, __ATOMIC_RELAXED))
		return;
	c = __atomic_exchange_n(&q->want, NULL, __ATOMIC_ACQUIRE);
	if (!c)
		return;
	run = c->run ? c->run : have ? have->run : NULL;
	if (run)
		pthread_mutex_lock(&run->push_lock);
	more = change_conf(q, c);
	if (run)
		pthread_mutex_unlock(&run->push_lock);
	if (have)
		leave_conf(q, have);
	if (more)
		vtfs_devq_wake(q);
}

static bool enter(struct virtiofs_devq *q)
{
	uint32_t none = 0;

	return __atomic_compare_exchange_n(&q->gate, &none, INSIDE, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

void vtfs_gate_enter(struct virtiofs_devq *q)
{
	/* Whoever is inside is dispatch, for a few instructions. */
	for (unsigned i = 0; !enter(q); i++) {
		if (i < SPINS)
			vtfs_cpu_relax();
		else
			sched_yield();
	}
	adopt(q);
}

void vtfs_gate_leave(struct virtiofs_devq *q)
{
	while (__atomic_exchange_n(&q->gate, 0, __ATOMIC_SEQ_CST) & WANTED) {
		bool in = enter(q);

		if (in)
			adopt(q);
		vtfs_device_wake(q->dev);
		if (!in)
			return;
	}
}

bool vtfs_gate_try(struct virtiofs_devq *q)
{
	uint32_t v = __atomic_load_n(&q->gate, __ATOMIC_SEQ_CST);

	for (;;) {
		uint32_t to = v & INSIDE ? v | WANTED : INSIDE;

		if (__atomic_compare_exchange_n(&q->gate, &v, to, false,
						__ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST))
			break;
	}
	if (v & INSIDE)
		return false;
	adopt(q);
	return true;
}

struct vtfs_call *vtfs_call_new(int fd, unsigned long request, uint32_t vq)
{
	struct vtfs_call *call = malloc(sizeof(*call));
	int r;

	if (!call)
		return NULL;
	call->refs = 1;
	if (request)
		r = vtfs_bell_open_ioctl(&call->bell, fd, request, vq);
	else
		r = vtfs_bell_open(&call->bell, fd);
	if (r < 0) {
		free(call);
		return NULL;
	}
	return call;
}

void vtfs_call_put(struct vtfs_call *call)
{
	if (!call || --call->refs)
		return;
	vtfs_bell_close(&call->bell);
	free(call);
}

static void free_conf(struct vtfs_conf *c)
{
	vtfs_table_put(c->table);
	vtfs_call_put(c->call);
	c->used = false;
}

void vtfs_devq_collect(struct virtiofs_devq *q)
{
	struct vtfs_conf *c, *next;

	for (c = __atomic_exchange_n(&q->old, NULL, __ATOMIC_ACQUIRE); c;
	     c = next) {
		next = c->next;
		free_conf(c);
	}
}

/* At most three of the four are in use here: have, want, and one that was left
 * since collect. */
static struct vtfs_conf *get_conf(struct virtiofs_devq *q)
{
	unsigned i = 0;

	vtfs_devq_collect(q);
	while (q->confs[i].used)
		i++;
	q->confs[i].used = true;
	return &q->confs[i];
}

struct area {
	uint64_t addr;
	size_t len, align;
	unsigned access;
};

static int ring_areas(const struct virtiofs_devq *q, struct area ret[3])
{
	const struct vtfs_queue_setup *s = &q->setup;
	uint32_t flags = vtfs_features_vq_flags(q->dev->features);
	unsigned both = VTFS_MAP_READ | VTFS_MAP_WRITE;
	struct vtfs_vq_areas a;
	int r = vtfs_vq_areas(&a, flags, s->num);

	if (r < 0)
		return r;
	ret[0] = (struct area){s->desc, a.desc_len, a.desc_align,
			       flags & VTFS_VQ_PACKED ? both : VTFS_MAP_READ};
	ret[1] = (struct area){s->driver, a.driver_len, a.driver_align,
			       VTFS_MAP_READ};
	ret[2] = (struct area){s->device, a.device_len, a.device_align, both};
	return 0;
}

int vtfs_devq_find_ring(const struct virtiofs_devq *q,
			const struct vtfs_table *t, void *ret[3])
{
	struct area a[3];
	int r = ring_areas(q, a);

	if (r < 0)
		return r;
	if (t && t->mapped != vtfs_device_is_mapped(q->dev))
		return vtfs_fail(-EFAULT, "queue %u: not this memory",
				 q->index);
	for (unsigned i = 0; i < 3; i++) {
		ret[i] = a[i].access & VTFS_MAP_WRITE
			     ? vtfs_table_ptr_rw(t, a[i].addr, a[i].len)
			     : vtfs_table_ptr(t, a[i].addr, a[i].len);
		if (!ret[i])
			return vtfs_fail(-EFAULT,
					 "queue %u: its ring is in no memory",
					 q->index);
		if ((uintptr_t)ret[i] % a[i].align)
			return vtfs_fail(-EINVAL,
					 "queue %u: its ring is not aligned",
					 q->index);
	}
	return 0;
}

static void ask_for_ring(struct virtiofs_devq *q)
{
	struct area a[3];

	if (ring_areas(q, a) < 0)
		return;
	for (unsigned i = 0; i < 3; i++) {
		const struct vtfs_miss m = {a[i].addr, a[i].len, a[i].access};

		vtfs_device_ask(q->dev, &m);
	}
}

static void fill_ring(struct virtiofs_devq *q, struct vtfs_conf *c)
{
	void *at[3];

	if (__atomic_load_n(&q->run->lost, __ATOMIC_RELAXED) ||
	    vtfs_devq_find_ring(q, c->table, at) < 0)
		return;
	c->ring = true;
	c->desc = at[0];
	c->driver = at[1];
	c->device = at[2];
}

static void fill_conf(struct virtiofs_devq *q, struct vtfs_conf *c)
{
	bool running = q->state == VTFS_DEVQ_RUNNING;

	*c = (struct vtfs_conf){.used = true, .run = q->run};
	if (!q->run)
		return;
	if (q->dev->mem->table)
		c->table = vtfs_table_get(q->dev->mem->table);
	c->call = q->call;
	if (c->call)
		c->call->refs++;
	c->mapped = q->run->mapped;
	fill_ring(q, c);
	c->take = c->ring && running && q->setup.enabled;
	c->drop = q->drop;
	c->fail = !running;
	if (c->ring || !running)
		return;
	if (c->mapped)
		ask_for_ring(q);
	else
		__atomic_store_n(&q->broken, 1, __ATOMIC_RELAXED);
}

/* What went with a conf that nobody adopted, went with the next. */
static void add_gone(struct vtfs_miss *to, const struct vtfs_miss *from)
{
	uint64_t last;

	if (!from->len)
		return;
	if (!to->len) {
		*to = *from;
		return;
	}
	last = to->addr + (to->len - 1);
	if (last < from->addr + (from->len - 1))
		last = from->addr + (from->len - 1);
	to->addr = vtfs_min_u64(to->addr, from->addr);
	to->len = last - to->addr + 1;
}

void vtfs_devq_post_gone(struct virtiofs_devq *q, const struct vtfs_miss *gone)
{
	struct vtfs_conf *old = __atomic_exchange_n(&q->want, NULL,
						    __ATOMIC_SEQ_CST);
	struct vtfs_conf *c = get_conf(q);

	fill_conf(q, c);
	c->gone = *gone;
	if (old) {
		add_gone(&c->gone, &old->gone);
		free_conf(old);
	}
	__atomic_store_n(&q->want, c, __ATOMIC_SEQ_CST);
	vtfs_devq_adopted(q);
}

void vtfs_devq_post(struct virtiofs_devq *q)
{
	vtfs_devq_post_gone(q, &vtfs_no_miss);
}

bool vtfs_devq_adopted(struct virtiofs_devq *q)
{
	if (vtfs_gate_try(q))
		vtfs_gate_leave(q);
	return !__atomic_load_n(&q->want, __ATOMIC_SEQ_CST);
}
