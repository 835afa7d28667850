/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_SLOTS_H
#define SERVER_SLOTS_H
/*
 * Objects that the peer names by number: nodes and open files.
 *
 * Theory of operation. An id is a slot's index in its low half and the slot's
 * generation in its high half, so a number that the peer made up or kept too
 * long finds nothing. A slot's state holds the generation, a bit that says
 * that the table still lists the object, and a count of the threads that use
 * it; slots_get() takes no lock. Whoever takes the last of bit and count
 * away destroys the object and gives the slot a new generation.
 *
 * The first object of an empty table has the id 1.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#define SLOTS_CHUNK  1024u
#define SLOTS_CHUNKS 16384u

struct slot {
	_Atomic uint64_t state;
	void *obj;
	uint32_t next_free;
};

struct slots {
	pthread_mutex_t lock;
	_Atomic(struct slot *) chunks[SLOTS_CHUNKS];
	uint32_t cnt;	       /* slots that exist; lock */
	uint32_t free;	       /* first free one, or 0; lock */
	uint32_t seed;	       /* generation of a new slot; lock */
	_Atomic uint32_t live; /* objects listed */
	void (*destroy)(void *obj);
};

void slots_init(struct slots *s, void (*destroy)(void *obj));
/* *id is written before anybody can find obj. -ENOMEM: not added. */
int slots_add(struct slots *s, void *obj, uint64_t *id);
/* NULL: no such id. Else slots_put() must follow. */
void *slots_get(struct slots *s, uint64_t id);
/* One use more, for somebody who has one. */
void slots_use(struct slots *s, uint64_t id);
void slots_put(struct slots *s, uint64_t id);
/* The id ends now, the object with its last user. -ENOENT: ended before. */
int slots_close(struct slots *s, uint64_t id);
/* Everything, while nobody uses anything. */
void slots_clear(struct slots *s);

#endif
