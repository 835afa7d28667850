/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two threads and one ring. Built plain, to see wake-ups that get lost, and
 * with TSan, to see an order that is missing: buffers are plain memory, so each
 * of their bytes is a witness of the rings' acquires and releases.
 *
 * usage: test_ring_threads [REQUESTS]
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/shared.h"
#include "ringmem.h"

#define PARTS	 4u
#define PART	 16u
#define SLOT	 (PARTS * PART)
#define PATIENCE 20000 /* ms without a wake-up: it was lost */

/* cmocka's asserts belong to the main thread. */
#define check(x)                                                               \
	do {                                                                   \
		if (!(x)) {                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,     \
				#x);                                           \
			_exit(1);                                              \
		}                                                              \
	} while (0)

static uint32_t requests = 20000;

struct variant {
	uint32_t flags, num, window;
	bool poll; /* nobody sleeps */
	bool two;  /* the device takes in one thread, gives in another */
};

/* Chains on their way from the taking to the giving thread. */
struct pipe {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct vtfs_chain chains[64];
	unsigned cnt;
	bool end;
};

struct both {
	struct variant v;
	struct ringmem mem;
	struct vtfs_vq *drv, *dev;
	int kick, call;
	uint32_t end; /* atomic */
	struct pipe pipe;
	uint32_t seq[1024]; /* driver: by token */
};

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

/* The peer may have no processor to run on. */
static void relax(unsigned *idle)
{
	if (++*idle % 64)
		vtfs_cpu_relax();
	else
		sched_yield();
}

/* ---- device ---- */

/* Bytes of both directions tell which request they belong to. */
static uint32_t read_request(const struct vtfs_chain *c)
{
	uint32_t seq = 0;

	check(c->fault == 0);
	check(c->readable_len % PART == 0 && c->readable_len);
	for (unsigned i = 0; i < c->readable_cnt; i++) {
		const uint32_t *w = c->iov[i].iov_base;

		for (size_t k = 0; k < c->iov[i].iov_len / 4; k++) {
			if (!i && !k)
				seq = w[0];
			check(w[k] == seq);
		}
	}
	return seq;
}

static void answer(const struct vtfs_chain *c, uint32_t seq)
{
	for (unsigned i = 0; i < c->writable_cnt; i++) {
		uint32_t *w = c->iov[c->readable_cnt + i].iov_base;

		for (size_t k = 0; k < c->iov[c->readable_cnt + i].iov_len / 4;
		     k++)
			w[k] = ~seq;
	}
}

static void publish(struct both *b)
{
	if (vtfs_vq_dev_publish(b->dev) && !b->v.poll)
		notify(b->call);
}

static void serve_one(struct both *b, const struct vtfs_chain *c)
{
	answer(c, read_request(c));
	vtfs_vq_dev_push(b->dev, c->id, c->ring_cnt, (uint32_t)c->writable_len);
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
			answer(&c, read_request(&c));
			hand_over(&b->pipe, &c);
		} else {
			serve_one(b, &c);
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
			relax(&idle);
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

static uint32_t *bytes(struct both *b, uint16_t token)
{
	return (void *)(b->mem.view[RINGMEM_DRV].bufs + token * SLOT);
}

/* Even parts only, so that none are merged. */
static bool add(struct both *b, uint16_t token, uint32_t seq)
{
	struct vtfs_vq_buf bufs[PARTS];
	uint32_t max = vtfs_min_u32(PARTS, b->v.num);
	uint32_t cnt = max < 2 ? 1 : 2 + seq % (max - 1);
	uint32_t readable = max < 2 ? 1 : 1 + seq % (cnt - 1);
	int r;

	for (uint32_t i = 0; i < cnt; i++) {
		bufs[i].addr = ringmem_addr(&b->mem, token * SLOT + i * PART);
		bufs[i].len = PART;
	}
	for (uint32_t k = 0; k < SLOT / 4; k++)
		bytes(b, token)[k] = seq;
	r = vtfs_vq_drv_add(b->drv, bufs, readable, cnt - readable, token);
	check(r == 0 || r == -ENOSPC);
	b->seq[token] = seq;
	return r == 0;
}

static void check_answer(struct both *b, uint16_t token, uint32_t len)
{
	uint32_t max = vtfs_min_u32(PARTS, b->v.num);
	uint32_t seq = b->seq[token];
	uint32_t cnt = max < 2 ? 1 : 2 + seq % (max - 1);
	uint32_t readable = max < 2 ? 1 : 1 + seq % (cnt - 1);
	const uint32_t *w = bytes(b, token);

	check(len == (cnt - readable) * PART);
	for (uint32_t k = 0; k < cnt * PART / 4; k++)
		check(w[k] == (k < readable * PART / 4 ? seq : ~seq));
}

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
		check_answer(b, token, len);
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
	       add(b, t->free[t->cnt - 1], seq + n)) {
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
			relax(&idle);
			continue;
		}
		if (vtfs_vq_drv_arm(b->drv))
			continue;
		wait_for(b->call);
		vtfs_vq_drv_disarm(b->drv);
	}
}

/* ---- together ---- */

static void setup(struct both *b, const struct variant *v)
{
	struct vtfs_vq_conf conf = {
	    .flags = v->flags,
	    .num = v->num,
	    .max_parts = PARTS,
	    .indirect_max = v->flags & VTFS_VQ_INDIRECT ? PARTS : 0,
	};

	memset(b, 0, sizeof(*b));
	b->v = *v;
	ringmem_init(&b->mem, &conf, 1024 * SLOT, RINGMEM_SHARED_VIEW);
	conf = ringmem_conf(&b->mem, RINGMEM_DRV);
	assert_int_equal(vtfs_vq_drv_new(&b->drv, &conf), 0);
	conf = ringmem_conf(&b->mem, RINGMEM_DEV);
	assert_int_equal(vtfs_vq_dev_new(&b->dev, &conf), 0);
	b->kick = eventfd(0, EFD_CLOEXEC);
	b->call = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_init(&b->pipe.lock, NULL);
	pthread_cond_init(&b->pipe.cond, NULL);
}

static void teardown(struct both *b)
{
	vtfs_vq_drv_free(b->drv);
	vtfs_vq_dev_free(b->dev);
	ringmem_fini(&b->mem);
	close(b->kick);
	close(b->call);
	pthread_mutex_destroy(&b->pipe.lock);
	pthread_cond_destroy(&b->pipe.cond);
}

static void run(const struct variant *v)
{
	static struct both b;
	pthread_t dev, giver;

	setup(&b, v);
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
	teardown(&b);
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

/* covers: SPLIT-DEV-19, SPLIT-DEV-29, SPLIT-DRV-31, SPLIT-DRV-35, PACK-DRV-06,
 * PACK-DRV-19, PACK-DRV-23, PACK-DEV-14, PACK-DEV-15 */
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

/* ---- the last look before sleep, and the publish that it may miss ---- */

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
	serve_one(b, &c);
}

static int finish(struct both *b)
{
	uint16_t token;
	uint32_t len;
	int got = vtfs_vq_drv_get(b->drv, &token, &len);

	if (got == 1)
		check_answer(b, token, len);
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
			serve_one(b, &r->c);
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
	check(add(b, 0, seq));
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
	setup(&r.b, &v);
	assert_int_equal(pthread_create(&t, NULL, arm, &r), 0);
	for (uint32_t i = 1; i <= requests; i++)
		race(&r, i);
	pthread_join(t, NULL);
	teardown(&r.b);
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

#define VARIANTS 8
#define TESTS	 (5 * VARIANTS)
static uint32_t flags[VARIANTS];
static char names[TESTS][80];
static struct CMUnitTest tests[TESTS];

static void name_test(unsigned i, const char *name, CMUnitTestFunction f,
		      uint32_t *state)
{
	snprintf(names[i], sizeof(names[i]), "%s %s%s%s", name,
		 *state & VTFS_VQ_PACKED ? "packed" : "split",
		 *state & VTFS_VQ_EVENT ? " event" : "",
		 *state & VTFS_VQ_INDIRECT ? " indirect" : "");
	tests[i] = (struct CMUnitTest){
	    .name = names[i], .test_func = f, .initial_state = state};
}

#define both_threads(f) name_test(n++, #f, f, &flags[i])

int main(int argc, char **argv)
{
	unsigned n = 0;

	if (argc > 1)
		requests = (uint32_t)strtoul(argv[1], NULL, 0);
	for (uint32_t i = 0; i < VARIANTS; i++) {
		flags[i] = i;
		both_threads(no_wake_up_is_lost);
		both_threads(contents_are_there_when_the_ring_says_so);
		both_threads(taking_and_giving_are_two_threads);
		/* How a chain is laid out is no matter here. */
		if (i & VTFS_VQ_INDIRECT)
			continue;
		both_threads(kick_is_seen_or_sees);
		both_threads(call_is_seen_or_sees);
	}
	return _cmocka_run_group_tests("rings, two threads", tests, n, NULL,
				       NULL);
}
