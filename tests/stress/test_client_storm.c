/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring of 8 descriptors and 64 threads that call: a request, a forget of what
 * it granted, now and then a request that ends only when another thread
 * interrupts it. Every request is answered once, every lookup is given back.
 *
 * test_client_storm [REQUESTS]: a million of them prints how long a forget
 * takes on hiprio under that load, beside the idle one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <virtiofs/ops.h>

#include "storm_dev.h"

#define THREADS	    64u
#define IDLE_PROBES 2000u
#define HOLD_EVERY  100u /* one request of so many waits for an interrupt */
#define PROBE_EVERY 16u

static uint32_t requests = 20000;

struct storm {
	struct storm_dev d;
	struct virtiofs_client *c;
	unsigned char *done;	/* by token: how often its call returned */
	uint32_t held[THREADS]; /* atomic: token + 1 of the call that waits */
	sem_t holds;		/* calls that began to wait */
	uint32_t hold_cnt;	/* atomic: calls that have waited */
	uint32_t interrupts;	/* that found one */
	uint32_t mistakes;	/* atomic */
	uint32_t probes;	/* atomic: made */
};

struct caller {
	struct storm *s;
	unsigned i;
	pthread_t thread;
};

static void mistake(struct storm *s, const char *what, long r)
{
	if (__atomic_fetch_add(&s->mistakes, 1, __ATOMIC_RELAXED) < 10)
		fprintf(stderr, "%s: %ld\n", what, r);
}

static void probe(struct storm *s)
{
	uint32_t i = __atomic_fetch_add(&s->probes, 1, __ATOMIC_RELAXED);
	int r = virtiofs_client_forget(s->c, STORM_PROBE + i, storm_now());

	if (r < 0)
		mistake(s, "probe", r);
}

static void call_lookup(struct storm *s, uint32_t token)
{
	struct fuse_entry_out e;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "%u", token);
	r = virtiofs_call_lookup(s->c, FUSE_ROOT_ID, name, &e);
	if (r < 0 || e.attr.size != token) {
		mistake(s, "lookup", r);
		return;
	}
	r = virtiofs_client_forget(s->c, e.nodeid, 1);
	if (r < 0)
		mistake(s, "forget", r);
	if (token % PROBE_EVERY == 0)
		probe(s);
}

/* The server never answers it. */
static void call_held(struct storm *s, unsigned i, uint32_t token)
{
	struct virtiofs_easy e;
	ssize_t r;

	virtiofs_prep_fsync(virtiofs_easy_op(&e, NULL, 0), token + 1, 0, 0);
	e.op.user_data = token + 1;
	__atomic_store_n(&s->held[i], token + 1, __ATOMIC_RELEASE);
	__atomic_add_fetch(&s->hold_cnt, 1, __ATOMIC_RELAXED);
	sem_post(&s->holds);
	r = virtiofs_client_call(s->c, &e.op);
	if (r != -EINTR)
		mistake(s, "held", r);
}

static void *run_caller(void *arg)
{
	struct caller *me = arg;
	struct storm *s = me->s;

	for (uint32_t token = me->i; token < requests; token += THREADS) {
		if (token % HOLD_EVERY == HOLD_EVERY / 2)
			call_held(s, me->i, token);
		else
			call_lookup(s, token);
		s->done[token]++;
	}
	return NULL;
}

/* Every second one when the server has it, the others as soon as they wait. */
static bool is_due(struct storm *s, uint32_t id)
{
	return id && (id / HOLD_EVERY % 2 ||
		      __atomic_load_n(&s->d.seen[id - 1], __ATOMIC_RELAXED));
}

/* One that waits and was not interrupted yet; it may not have come as far as to
 * be found. */
static void interrupt_one(struct storm *s)
{
	for (unsigned i = 0;; i = (i + 1) % THREADS) {
		uint32_t id = __atomic_load_n(&s->held[i], __ATOMIC_ACQUIRE);
		int r;

		if (i == 0)
			sched_yield();
		if (!is_due(s, id))
			continue;
		r = virtiofs_client_interrupt(s->c, id);
		if (r == 0) {
			/* Its thread sets the next one only after it ended. */
			__atomic_compare_exchange_n(&s->held[i], &id, 0, false,
						    __ATOMIC_ACQ_REL,
						    __ATOMIC_RELAXED);
			s->interrupts++;
			return;
		}
		if (r != -ENOENT)
			mistake(s, "interrupt", r);
	}
}

static void *run_interrupter(void *arg)
{
	struct storm *s = arg;
	uint32_t all = 0;

	for (uint32_t t = 0; t < requests; t++)
		all += t % HOLD_EVERY == HOLD_EVERY / 2;
	while (all--) {
		sem_wait(&s->holds);
		interrupt_one(s);
	}
	return NULL;
}

/* Until the device has heard all; the client's fd tells when parked forgets can
 * go on. */
static void wait_heard(struct storm *s, uint64_t probes)
{
	struct pollfd p[2] = {
	    {.fd = s->d.heard_fd, .events = POLLIN},
	    {.fd = virtiofs_client_fd(s->c), .events = POLLIN},
	};
	eventfd_t n;

	while (__atomic_load_n(&s->d.probes, __ATOMIC_ACQUIRE) < probes ||
	       __atomic_load_n(&s->d.forgotten, __ATOMIC_ACQUIRE) <
		   __atomic_load_n(&s->d.granted, __ATOMIC_RELAXED)) {
		assert_true(poll(p, 2, 20000) > 0);
		eventfd_read(s->d.heard_fd, &n);
		virtiofs_client_dispatch(s->c);
	}
}

static void start(struct storm *s, uint64_t features)
{
	struct virtiofs_client_opts opts = {
	    .size = sizeof(opts),
	    .queue_size = 8,
	    .features = VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_EVENT_IDX | features,
	};
	struct virtiofs_transport *dev, *cli;

	memset(s, 0, sizeof(*s));
	sem_init(&s->holds, 0, 0);
	s->done = calloc(requests, 1);
	assert_int_equal(virtiofs_inproc_pair(&dev, &cli), 0);
	storm_dev_start(&s->d, dev, requests,
			IDLE_PROBES + requests / PROBE_EVERY + 1);
	assert_int_equal(virtiofs_client_new(&s->c, cli, &opts), 0);
	assert_int_equal(virtiofs_client_start(s->c, NULL), 0);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print_latency(const char *what, uint64_t *ns, uint32_t cnt)
{
	qsort(ns, cnt, sizeof(*ns), by_size);
	printf("  hiprio, %s: p50 %.1f us, p99 %.1f us, worst %.1f us\n", what,
	       (double)ns[cnt / 2] / 1e3, (double)ns[cnt - 1 - cnt / 100] / 1e3,
	       (double)ns[cnt - 1] / 1e3);
}

static void check(struct storm *s)
{
	uint32_t held = 0;

	for (uint32_t t = 0; t < requests; t++) {
		bool hold = t % HOLD_EVERY == HOLD_EVERY / 2;

		held += hold;
		assert_int_equal(s->done[t], 1);
		/* One that is interrupted in time never goes out. */
		if (!hold || s->d.seen[t])
			assert_int_equal(s->d.seen[t], 1);
	}
	assert_int_equal(s->hold_cnt, held);
	assert_int_equal(s->interrupts, held);
	assert_int_equal(s->mistakes, 0);
	assert_int_equal(s->d.mistakes, 0);
	assert_int_equal(s->d.held_cnt, 0);
	for (unsigned i = 0; i < STORM_NODES; i++)
		assert_int_equal(s->d.lookups[i], 0);
	assert_true(s->d.granted == requests - held);
	assert_true(s->d.forgotten == s->d.granted);
}

static void storm(const char *name, uint64_t features)
{
	static struct caller callers[THREADS];
	static struct storm s;
	pthread_t interrupter;
	uint64_t began;

	start(&s, features);
	for (unsigned i = 0; i < IDLE_PROBES; i++) {
		probe(&s);
		wait_heard(&s, i + 1);
	}
	began = storm_now();
	pthread_create(&interrupter, NULL, run_interrupter, &s);
	for (unsigned i = 0; i < THREADS; i++) {
		callers[i].s = &s;
		callers[i].i = i;
		pthread_create(&callers[i].thread, NULL, run_caller,
			       &callers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(callers[i].thread, NULL);
	pthread_join(interrupter, NULL);
	wait_heard(&s, s.probes);
	printf("%s: %u requests by %u threads in %.1f s, %llu lookups given "
	       "back, %u interrupts, %llu of them told to the server\n",
	       name, requests, THREADS, (double)(storm_now() - began) / 1e9,
	       (unsigned long long)s.d.forgotten, s.interrupts,
	       (unsigned long long)s.d.told);
	virtiofs_client_free(s.c);
	storm_dev_stop(&s.d);
	check(&s);
	print_latency("idle", s.d.latency, IDLE_PROBES);
	print_latency("under load", s.d.latency + IDLE_PROBES,
		      s.probes - IDLE_PROBES);
	storm_dev_free(&s.d);
	sem_destroy(&s.holds);
	free(s.done);
}

static void each_is_answered_once_split(void **state)
{
	storm("split", 0);
	(void)state;
}

static void each_is_answered_once_packed(void **state)
{
	storm("packed", VIRTIOFS_F_RING_PACKED);
	(void)state;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_is_answered_once_split),
	    cmocka_unit_test(each_is_answered_once_packed),
	};

	if (argc > 1)
		requests = (uint32_t)strtoul(argv[1], NULL, 10);
	return cmocka_run_group_tests_name("client storm", tests, NULL, NULL);
}
