/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The last look before sleep, and the publish that it may miss. Threads that
 * really sleep meet in this moment too seldom: here each round is one.
 *
 * usage: test_ring_race [ROUNDS]
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/shared.h"
#include "ring_both.h"

static uint32_t requests = 20000;

struct race {
	struct both b;
	bool kick;	     /* the device arms, or the driver */
	uint32_t go, done;   /* atomic: rounds */
	int got;	     /* there was something before arm */
	int more;	     /* what arm said */
	struct vtfs_chain c; /* what the device got */
};

/* At once, if the peer runs: a pause would spread the moment over too much. */
static void await(const uint32_t *word, uint32_t value)
{
	unsigned idle = 0;

	while (vtfs_load_acquire(word) != value)
		if (++idle % 4096 == 0)
			sched_yield();
}

static void take_one(struct both *b)
{
	struct vtfs_chain c;

	check(vtfs_vq_dev_pop(b->dev, b->mem.table, &c) == 1);
	both_serve(b, &c);
}

static int finish(struct both *b)
{
	uint16_t token;
	uint32_t len;
	int got = vtfs_vq_drv_get(b->drv, &token, &len);

	if (got == 1)
		both_check(b, token, len);
	return got;
}

/* As before every sleep: nothing there, so ask for a notification. */
static void look_and_arm(struct race *r)
{
	struct both *b = &r->b;

	r->got = r->kick ? vtfs_vq_dev_pop(b->dev, b->mem.table, &r->c)
			 : finish(b);
	check(r->got >= 0);
	if (r->got)
		return;
	r->more = r->kick ? vtfs_vq_dev_arm(b->dev) : vtfs_vq_drv_arm(b->drv);
}

static void *arm(void *arg)
{
	struct race *r = arg;

	for (uint32_t i = 1; i <= requests; i++) {
		await(&r->go, i);
		look_and_arm(r);
		vtfs_store_release(&r->done, i);
	}
	return NULL;
}

static int publish_one(struct race *r, uint32_t seq)
{
	struct both *b = &r->b;

	/* From right now to some hundred nanoseconds later. */
	for (uint32_t spin = seq * 7 % 1021; spin; spin--)
		__asm__ volatile("" ::: "memory");
	return r->kick ? vtfs_vq_drv_publish(b->drv)
		       : vtfs_vq_dev_publish(b->dev);
}

/* The rest of the chain's way, from where the race left it. */
static void complete(struct race *r)
{
	struct both *b = &r->b;

	if (r->kick) {
		if (r->got)
			both_serve(b, &r->c);
		else
			take_one(b);
		vtfs_vq_dev_publish(b->dev);
	}
	if (r->kick || !r->got)
		check(finish(b) == 1);
}

static void race(struct race *r, uint32_t seq)
{
	struct both *b = &r->b;
	int notified;

	vtfs_vq_drv_disarm(b->drv);
	vtfs_vq_dev_disarm(b->dev);
	check(both_add(b, 0, seq));
	if (!r->kick) {
		vtfs_vq_drv_publish(b->drv);
		take_one(b);
	}
	vtfs_store_release(&r->go, seq);
	notified = publish_one(r, seq);
	await(&r->done, seq);
	/* It saw what was published, or it was seen. */
	check(r->got || r->more || notified);
	complete(r);
}

static void race_all(uint32_t flags, bool kick)
{
	struct variant v = {.flags = flags, .num = 4};
	static struct race r;
	pthread_t t;

	r = (struct race){.kick = kick};
	both_setup(&r.b, &v);
	assert_int_equal(pthread_create(&t, NULL, arm, &r), 0);
	for (uint32_t i = 1; i <= requests; i++)
		race(&r, i);
	pthread_join(t, NULL);
	both_teardown(&r.b);
}

/* covers: ROB-BTH-01, SPLIT-DEV-28, SPLIT-DRV-32, PACK-DRV-24, PACK-DEV-18 */
static void kick_is_seen_or_sees(void **state)
{
	race_all(*(const uint32_t *)*state, true);
}

/* covers: ROB-BTH-01, SPLIT-DRV-34, PACK-DEV-18 */
static void call_is_seen_or_sees(void **state)
{
	race_all(*(const uint32_t *)*state, false);
}

int main(int argc, char **argv)
{
	static const struct both_case cases[] = {
	    BOTH_CASE(kick_is_seen_or_sees),
	    BOTH_CASE(call_is_seen_or_sees),
	};

	if (argc > 1)
		requests = (uint32_t)strtoul(argv[1], NULL, 0);
	/* How a chain is laid out is no matter here: no INDIRECT. */
	return both_main("arm against publish", cases, 2,
			 VTFS_VQ_PACKED | VTFS_VQ_EVENT);
}
