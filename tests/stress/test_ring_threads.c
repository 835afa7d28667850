/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two threads and one ring. Built plain, to see wake-ups that get lost, and
 * with TSan, to see an order that is missing.
 *
 * usage: test_ring_threads [REQUESTS]
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/shared.h"
#include "ring_both.h"

#define PATIENCE 20000 /* ms without a wake-up: it was lost */

static uint32_t requests = 20000;

static void notify(int fd)
{
	uint64_t one = 1;

	check(write(fd, &one, sizeof(one)) == sizeof(one));
}

static void wait_for(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t cnt;

	check(poll(&p, 1, PATIENCE) == 1);
	check(read(fd, &cnt, sizeof(cnt)) == sizeof(cnt));
}

static uint32_t rnd(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 12) % below;
}

/* ---- device ---- */

static void publish(struct both *b)
{
	if (vtfs_vq_dev_publish(b->dev) && !b->v.poll)
		notify(b->call);
}

/* The taking thread's part of a chain ends here; iov is the half's own, so the
 * other thread finds the answer's place in a copy. */
static void hand_over(struct pipe *p, const struct vtfs_chain *c)
{
	pthread_mutex_lock(&p->lock);
	while (p->cnt == VTFS_ARRAY_LEN(p->chains))
		pthread_cond_wait(&p->cond, &p->lock);
	p->chains[p->cnt] = *c;
	p->chains[p->cnt].iov = NULL;
	p->cnt++;
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

static void *give(void *arg)
{
	struct both *b = arg;
	struct pipe *p = &b->pipe;
	struct vtfs_chain chains[VTFS_ARRAY_LEN(p->chains)];
	unsigned cnt = 1;

	while (cnt) {
		pthread_mutex_lock(&p->lock);
		while (!p->cnt && !p->end)
			pthread_cond_wait(&p->cond, &p->lock);
		cnt = p->cnt;
		memcpy(chains, p->chains, cnt * sizeof(chains[0]));
		p->cnt = 0;
		pthread_cond_signal(&p->cond);
		pthread_mutex_unlock(&p->lock);
		for (unsigned i = 0; i < cnt; i++)
			vtfs_vq_dev_push(b->dev, chains[i].id,
					 chains[i].ring_cnt,
					 (uint32_t)chains[i].writable_len);
		publish(b);
	}
	return NULL;
}

static unsigned take_some(struct both *b, uint32_t max)
{
	struct vtfs_chain c;
	unsigned n = 0;
	int got;

	while (n < max && (got = vtfs_vq_dev_pop(b->dev, b->mem.table, &c))) {
		check(got == 1);
		n++;
		if (b->v.two) {
			both_answer(&c, both_read(&c));
			hand_over(&b->pipe, &c);
		} else {
			both_serve(b, &c);
		}
	}
	if (!b->v.two)
		publish(b);
	return n;
}

static void *device(void *arg)
{
	struct both *b = arg;
	uint32_t seed = 11;
	unsigned idle = 0;

	while (!vtfs_load_acquire(&b->end)) {
		if (take_some(b, 1 + rnd(&seed, 8)))
			continue;
		if (b->v.poll) {
			both_relax(&idle);
			continue;
		}
		if (vtfs_vq_dev_arm(b->dev))
			continue;
		wait_for(b->kick);
		vtfs_vq_dev_disarm(b->dev);
	}
	return NULL;
}

/* ---- driver ---- */

struct tokens {
	uint16_t free[1024];
	uint32_t cnt;
};

static uint32_t collect(struct both *b, struct tokens *t)
{
	uint16_t token;
	uint32_t len;
	uint32_t n = 0;
	int got;

	while ((got = vtfs_vq_drv_get(b->drv, &token, &len))) {
		check(got == 1);
		both_check(b, token, len);
		t->free[t->cnt++] = token;
		n++;
	}
	return n;
}

static uint32_t send_some(struct both *b, struct tokens *t, uint32_t seq,
			  uint32_t max)
{
	uint32_t n = 0;

	while (n < max && t->cnt && seq + n < requests &&
	       both_add(b, t->free[t->cnt - 1], seq + n)) {
		t->cnt--;
		n++;
	}
	if (vtfs_vq_drv_publish(b->drv) && !b->v.poll)
		notify(b->kick);
	return n;
}

static void drive(struct both *b)
{
	struct tokens t = {.cnt = 0};
	uint32_t sent = 0, done = 0;
	uint32_t seed = 5;
	unsigned idle = 0;

	for (; t.cnt < b->v.window; t.cnt++)
		t.free[t.cnt] = (uint16_t)t.cnt;
	while (done < requests) {
		uint32_t n = send_some(b, &t, sent, 1 + rnd(&seed, 8));
		uint32_t got = collect(b, &t);

		sent += n;
		done += got;
		if (n || got)
			continue;
		if (b->v.poll) {
			both_relax(&idle);
			continue;
		}
		if (vtfs_vq_drv_arm(b->drv))
			continue;
		wait_for(b->call);
		vtfs_vq_drv_disarm(b->drv);
	}
}

/* ---- together ---- */

static void run(const struct variant *v)
{
	static struct both b;
	pthread_t dev, giver;

	both_setup(&b, v);
	assert_int_equal(pthread_create(&dev, NULL, device, &b), 0);
	if (v->two)
		assert_int_equal(pthread_create(&giver, NULL, give, &b), 0);
	drive(&b);
	vtfs_store_release(&b.end, 1);
	notify(b.kick);
	pthread_join(dev, NULL);
	pthread_mutex_lock(&b.pipe.lock);
	b.pipe.end = true;
	pthread_cond_signal(&b.pipe.cond);
	pthread_mutex_unlock(&b.pipe.lock);
	if (v->two)
		pthread_join(giver, NULL);
	assert_int_equal(vtfs_vq_dev_inflight(b.dev), 0);
	both_teardown(&b);
}

/* covers: ROB-BTH-01 */
static void no_wake_up_is_lost(void **state)
{
	static const uint32_t windows[] = {1, 2, 64};
	struct variant v = {.flags = *(const uint32_t *)*state, .num = 64};

	for (size_t i = 0; i < VTFS_ARRAY_LEN(windows); i++) {
		v.window = windows[i];
		run(&v);
	}
}

/* covers: SPLIT-DEV-19, SPLIT-DEV-29, SPLIT-DRV-31, SPLIT-DRV-35 */
/* covers: PACK-DRV-06, PACK-DRV-19, PACK-DRV-23, PACK-DEV-14, PACK-DEV-15 */
static void contents_are_there_when_the_ring_says_so(void **state)
{
	struct variant v = {.flags = *(const uint32_t *)*state, .poll = true};
	static const uint32_t nums[] = {4, 64, 1024};

	for (size_t i = 0; i < VTFS_ARRAY_LEN(nums); i++) {
		v.num = nums[i];
		v.window = nums[i];
		run(&v);
	}
}

/* The contract of vq.h: pop and push in two threads of the device. */
static void taking_and_giving_are_two_threads(void **state)
{
	struct variant v = {.flags = *(const uint32_t *)*state,
			    .num = 64,
			    .window = 64,
			    .two = true};

	run(&v);
	v.num = 4;
	v.window = 3;
	run(&v);
}

int main(int argc, char **argv)
{
	static const struct both_case cases[] = {
	    BOTH_CASE(no_wake_up_is_lost),
	    BOTH_CASE(contents_are_there_when_the_ring_says_so),
	    BOTH_CASE(taking_and_giving_are_two_threads),
	};

	if (argc > 1)
		requests = (uint32_t)strtoul(argv[1], NULL, 0);
	return both_main("rings, two threads", cases, 3,
			 VTFS_VQ_PACKED | VTFS_VQ_EVENT | VTFS_VQ_INDIRECT);
}
