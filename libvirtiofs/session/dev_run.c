/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session/dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Columns have one writer at a time; other threads read them. */
static void count(uint32_t *n)
{
	__atomic_store_n(n, *n + 1, __ATOMIC_RELEASE);
}

static uint32_t load(const uint32_t *n)
{
	return __atomic_load_n(n, __ATOMIC_ACQUIRE);
}

struct vtfs_peermem *vtfs_peermem_new(void)
{
	struct vtfs_peermem *mem = calloc(1, sizeof(*mem));

	if (mem)
		mem->refs = 1;
	return mem;
}

void vtfs_peermem_put(struct vtfs_peermem *mem)
{
	if (!mem || __atomic_sub_fetch(&mem->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (unsigned i = 0; i < mem->retire_cnt; i++) {
		vtfs_table_put(mem->retires[i].old);
		vtfs_table_put(mem->retires[i].now);
	}
	vtfs_table_put(mem->table);
	free(mem);
}

void vtfs_run_free(struct vtfs_run *run)
{
	if (!run)
		return;
	vtfs_vq_dev_free(run->vq);
	vtfs_slots_free(run->slots);
	vtfs_peermem_put(run->mem);
	pthread_mutex_destroy(&run->push_lock);
	free(run);
}

static void fill_slots(struct vtfs_run *run, void *userdata)
{
	for (unsigned i = 0; run->slots && i < run->slots->cnt; i++) {
		run->slots->slots[i].run = run;
		run->slots->slots[i].req.userdata = userdata;
	}
}

int vtfs_run_new(struct vtfs_run **ret, struct virtiofs_devq *q,
		 const struct vtfs_vq_conf *conf)
{
	struct vtfs_run *run;
	int r;

	run = aligned_alloc(
	    VTFS_CACHELINE,
	    VTFS_ALIGN_UP(sizeof(*run), (size_t)VTFS_CACHELINE));
	if (!run)
		return -ENOMEM;
	memset(run, 0, sizeof(*run));
	pthread_mutex_init(&run->push_lock, NULL);
	run->q = q;
	run->shared = q->shared;
	run->num = conf->num;
	run->lock_max = conf->num / 8 ? conf->num / 8 : 1;
	run->mapped = conf->flags & VTFS_VQ_IOMMU;
	run->mem = q->dev->mem;
	__atomic_add_fetch(&run->mem->refs, 1, __ATOMIC_RELAXED);
	r = vtfs_vq_dev_new(&run->vq, conf);
	if (r < 0 || q == q->dev->notes.q)
		; /* no slots */
	else if (run->mapped)
		r = vtfs_slots_new_mapped(&run->slots, conf->num,
					  conf->max_parts + 1);
	else
		r = vtfs_slots_new(&run->slots, conf->num, conf->max_parts + 1);
	if (r < 0) {
		vtfs_run_free(run);
		return r;
	}
	fill_slots(run, q->dev->userdata);
	*ret = run;
	return 0;
}

static void count_regions(struct vtfs_tally *tally, const uint64_t *regions)
{
	for (unsigned w = 0; w < VTFS_REGION_WORDS; w++)
		for (uint64_t bits = regions[w]; bits; bits &= bits - 1)
			count(&tally->regions[w * 64 +
					      (unsigned)__builtin_ctzll(bits)]);
}

void vtfs_run_park(struct vtfs_run *run, struct vtfs_slot *s,
		   const struct vtfs_chain *chain)
{
	s->id = chain->id;
	s->ring_cnt = chain->ring_cnt;
	memset(s->regions, 0, sizeof(s->regions));
	count(&run->taken.chains);
}

void vtfs_run_pin(struct vtfs_run *run, struct vtfs_slot *s,
		  const struct vtfs_chain *chain)
{
	memcpy(s->regions, chain->regions, sizeof(s->regions));
	count_regions(&run->taken, s->regions);
}

void vtfs_run_unpin(struct vtfs_run *run, struct vtfs_slot *s)
{
	count_regions(&run->given, s->regions);
	memset(s->regions, 0, sizeof(s->regions));
}

void vtfs_run_take(struct vtfs_run *run, struct vtfs_slot *s,
		   const struct vtfs_chain *chain)
{
	s->id = chain->id;
	s->ring_cnt = chain->ring_cnt;
	vtfs_run_pin(run, s, chain);
	count(&run->taken.chains);
}

void vtfs_run_end_wait(struct vtfs_run *run, struct vtfs_slot *s)
{
	if (s->waits)
		count(&run->given.locks);
	s->waits = false;
}

void vtfs_run_give(struct vtfs_run *run, struct vtfs_slot *s)
{
	vtfs_run_end_wait(run, s);
	count_regions(&run->given, s->regions);
	if (vtfs_slot_give(run->slots, s) && !run->orphan)
		vtfs_devq_wake(run->q);
}

bool vtfs_run_given(struct vtfs_run *run, uint32_t cnt)
{
	/* Counted before watch is read; dispatch sets watch before it reads the
	 * count (dev_settle.c). */
	__atomic_add_fetch(&run->given.chains, cnt, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&run->watch, __ATOMIC_SEQ_CST);
}

uint32_t vtfs_run_inflight(const struct vtfs_run *run)
{
	uint32_t given = __atomic_load_n(&run->given.chains, __ATOMIC_SEQ_CST);

	return load(&run->taken.chains) - given;
}

uint32_t vtfs_run_pins(const struct vtfs_run *run, unsigned region)
{
	uint32_t given = load(&run->given.regions[region]);

	return load(&run->taken.regions[region]) - given;
}

void vtfs_run_orphan(struct vtfs_run *run)
{
	bool last;

	__atomic_store_n(&run->lost, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&run->push_lock);
	run->orphan = true;
	last = vtfs_run_inflight(run) == 0;
	pthread_mutex_unlock(&run->push_lock);
	if (last)
		vtfs_run_free(run);
}
