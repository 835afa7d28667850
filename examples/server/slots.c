/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "slots.h"

#include <errno.h>
#include <stdlib.h>

#define LISTED (1ull << 31)
#define USERS  (LISTED - 1)
#define LOW    0xffffffffull

void slots_init(struct slots *s, void (*destroy)(void *obj))
{
	pthread_mutex_init(&s->lock, NULL);
	s->destroy = destroy;
	s->cnt = 1; /* index 0 is no slot */
}

static struct slot *find(struct slots *s, uint64_t id)
{
	uint32_t idx = (uint32_t)id;
	struct slot *chunk;

	if (idx == 0 || idx >= SLOTS_CHUNK * SLOTS_CHUNKS)
		return NULL;
	chunk = atomic_load_explicit(&s->chunks[idx / SLOTS_CHUNK],
				     memory_order_acquire);
	return chunk ? &chunk[idx % SLOTS_CHUNK] : NULL;
}

/* A slot that was never used. Called with the lock held. */
static uint32_t new_slot(struct slots *s)
{
	uint32_t idx = s->cnt;
	_Atomic(struct slot *) *chunk = &s->chunks[idx / SLOTS_CHUNK];
	struct slot *mem;

	if (idx >= SLOTS_CHUNK * SLOTS_CHUNKS)
		return 0;
	if (!atomic_load_explicit(chunk, memory_order_relaxed)) {
		mem = calloc(SLOTS_CHUNK, sizeof(*mem));
		if (!mem)
			return 0;
		atomic_store_explicit(chunk, mem, memory_order_release);
	}
	s->cnt = idx + 1;
	/* The first slot starts at generation 0: FUSE's root has the id 1. */
	atomic_store_explicit(&find(s, idx)->state,
			      idx == 1 ? 0 : (uint64_t)s->seed << 32,
			      memory_order_relaxed);
	return idx;
}

int slots_add(struct slots *s, void *obj, uint64_t *id)
{
	struct slot *slot;
	uint64_t gen;
	uint32_t idx;

	pthread_mutex_lock(&s->lock);
	idx = s->free;
	if (idx)
		s->free = find(s, idx)->next_free;
	else
		idx = new_slot(s);
	pthread_mutex_unlock(&s->lock);
	if (!idx)
		return -ENOMEM;

	slot = find(s, idx);
	slot->obj = obj;
	gen = atomic_load_explicit(&slot->state, memory_order_relaxed) & ~LOW;
	*id = gen | idx;
	atomic_fetch_add_explicit(&s->live, 1, memory_order_relaxed);
	/* Orders obj, and what it points to, before the load in slots_get(). */
	atomic_store_explicit(&slot->state, gen | LISTED, memory_order_release);
	return 0;
}

void *slots_get(struct slots *s, uint64_t id)
{
	struct slot *slot = find(s, id);
	uint64_t state;

	if (!slot)
		return NULL;
	state = atomic_load_explicit(&slot->state, memory_order_relaxed);
	do {
		if (state >> 32 != id >> 32 || !(state & LISTED))
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
	    &slot->state, &state, state + 1, memory_order_acquire,
	    memory_order_relaxed));
	return slot->obj;
}

void slots_use(struct slots *s, uint64_t id)
{
	atomic_fetch_add_explicit(&find(s, id)->state, 1, memory_order_relaxed);
}

static void end_slot(struct slots *s, struct slot *slot, uint32_t idx)
{
	uint64_t gen;

	s->destroy(slot->obj);
	slot->obj = NULL;
	gen = atomic_load_explicit(&slot->state, memory_order_relaxed) >> 32;
	atomic_store_explicit(&slot->state, (gen + 1) << 32,
			      memory_order_relaxed);
	pthread_mutex_lock(&s->lock);
	slot->next_free = s->free;
	s->free = idx;
	pthread_mutex_unlock(&s->lock);
}

void slots_put(struct slots *s, uint64_t id)
{
	struct slot *slot = find(s, id);
	uint64_t old = atomic_fetch_sub_explicit(&slot->state, 1,
						 memory_order_acq_rel);

	if ((old & LOW) == 1)
		end_slot(s, slot, (uint32_t)id);
}

int slots_close(struct slots *s, uint64_t id)
{
	struct slot *slot = find(s, id);
	uint64_t state;

	if (!slot)
		return -ENOENT;
	state = atomic_load_explicit(&slot->state, memory_order_relaxed);
	do {
		if (state >> 32 != id >> 32 || !(state & LISTED))
			return -ENOENT;
	} while (!atomic_compare_exchange_weak_explicit(
	    &slot->state, &state, state & ~LISTED, memory_order_acq_rel,
	    memory_order_relaxed));
	atomic_fetch_sub_explicit(&s->live, 1, memory_order_relaxed);
	if ((state & USERS) == 0)
		end_slot(s, slot, (uint32_t)id);
	return 0;
}

static void clear_chunk(struct slots *s, struct slot *chunk)
{
	for (uint32_t i = 0; i < SLOTS_CHUNK; i++) {
		if (chunk[i].obj)
			s->destroy(chunk[i].obj);
	}
	free(chunk);
}

void slots_clear(struct slots *s)
{
	pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < SLOTS_CHUNKS; i++) {
		struct slot *chunk = atomic_load(&s->chunks[i]);

		if (!chunk)
			break;
		clear_chunk(s, chunk);
		atomic_store(&s->chunks[i], NULL);
	}
	s->cnt = 1;
	s->free = 0;
	/* So that ids of the session that ended find nothing in the next. */
	s->seed += 1000003;
	atomic_store(&s->live, 0);
	pthread_mutex_unlock(&s->lock);
}
