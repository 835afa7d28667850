/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions that end while hiprio, in a thread of its own, is full of forgets
 * and interrupts. Meant to run under ThreadSanitizer too: what forget and reset
 * write has no lock.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/shared.h"
#include "rawfuse.h"

#define SESSIONS 200u
#define FORGETS	 8u
#define HELD	 20u /* the cell of a request that somebody waits for */

struct rig {
	struct program p;
	struct virtiofs_devq *hiprio;
	pthread_t dispatcher, owner;
	/* Without a lock: the library keeps their users apart. */
	unsigned long forgets, total;
	unsigned resets;
	unsigned told;
	struct virtiofs_req *held; /* owner: dispatch */
	uint32_t handed, answered; /* atomic */
	int wake;
};

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
	struct rig *rig = userdata;

	rig->forgets += nlookup;
}

static void on_reset(void *userdata)
{
	struct rig *rig = userdata;

	rig->total += rig->forgets;
	rig->forgets = 0;
	rig->resets++;
	rig->told = 0;
	assert_null(rig->held);
}

/* Kept until INIT, which waits for it, or INTERRUPT tells. */
static int on_request(struct virtiofs_req *req)
{
	struct rig *rig = req->userdata;

	rig->held = req;
	__atomic_add_fetch(&rig->handed, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	struct rig *rig = userdata;

	assert_int_equal(req->in->unique, UNIQUE(HELD));
	assert_int_equal(eventfd_write(rig->wake, 1), 0);
	/* The answer does not wait for this function, but reset does. */
	while (pthread_equal(pthread_self(), rig->owner) &&
	       vtfs_load_acquire(&rig->answered) <
		   vtfs_load_acquire(&rig->handed))
		sched_yield();
	rig->told++;
}

static void *run_dispatch(void *arg)
{
	struct rig *rig = arg;
	struct virtiofs_device *dev = rig->p.dev;
	struct pollfd fd[2] = {
	    {.fd = virtiofs_device_fd(dev), .events = POLLIN},
	    {.fd = rig->wake, .events = POLLIN},
	};
	eventfd_t v;

	while (virtiofs_device_dispatch(dev) >= 0) {
		eventfd_read(rig->wake, &v);
		if (rig->held && virtiofs_req_interrupted(rig->held)) {
			virtiofs_req_error(rig->held, -EINTR);
			rig->held = NULL;
			__atomic_add_fetch(&rig->answered, 1, __ATOMIC_SEQ_CST);
			continue;
		}
		poll(fd, 2, -1);
	}
	return NULL;
}

static void *run_owner(void *arg)
{
	struct rig *rig = arg;
	struct pollfd fd = {.fd = virtiofs_devq_fd(rig->hiprio),
			    .events = POLLIN};
	int n;

	while ((n = virtiofs_devq_dispatch(rig->hiprio)) >= 0)
		if (n == 0 && virtiofs_devq_arm(rig->hiprio) == 0)
			poll(&fd, 1, -1);
	assert_int_equal(n, -ESHUTDOWN);
	return NULL;
}

static void start(struct rig *rig)
{
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = on_forget,
	    .interrupt = on_interrupt,
	    .reset = on_reset,
	};
	const struct virtiofs_device_opts opts = {.size = sizeof(opts),
						  .num_request_queues = 2};

	rig->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(rig->wake >= 0);
	raw_init(&rig->p.raw, 0);
	raw_one_view(&rig->p.raw);
	assert_int_equal(virtiofs_device_new(&rig->p.dev, &rig->p.raw.base,
					     &ops, &opts, rig),
			 0);
	raw_do(&rig->p.raw, raw_setup, 16);
	program_run(&rig->p);
	assert_int_equal(
	    virtiofs_device_take_queue(rig->p.dev, 0, 0, &rig->hiprio), 0);
	pthread_create(&rig->dispatcher, NULL, run_dispatch, rig);
	pthread_create(&rig->owner, NULL, run_owner, rig);
}

static void finish(struct rig *rig)
{
	virtiofs_device_stop(rig->p.dev);
	pthread_join(rig->dispatcher, NULL);
	pthread_join(rig->owner, NULL);
	virtiofs_devq_release(rig->hiprio);
	virtiofs_device_free(rig->p.dev);
	raw_fini(&rig->p.raw);
	close(rig->wake);
}

static void wait_used(struct rig *rig, unsigned vq, unsigned cnt)
{
	struct raw_queue *q = &rig->p.raw.q[vq];
	struct pollfd fd = {.fd = q->call, .events = POLLIN};
	uint32_t id, len;

	while (cnt) {
		if (raw_used(q, &id, &len)) {
			cnt--;
			continue;
		}
		poll(&fd, 1, -1);
		raw_calls(q);
	}
}

static void send_init(struct rig *rig)
{
	struct fuse_init_in in = {.major = 7, .minor = 45};

	send_frame(&rig->p, 2, CELLS - 1, FUSE_INIT, &in, sizeof(in), 80);
}

static void forget_is_never_beside_reset(void **state)
{
	struct rig rig = {0};
	const uint64_t nlookup = 1, unique = UNIQUE(HELD);

	start(&rig);
	send_init(&rig);
	wait_used(&rig, 2, 1);
	for (unsigned i = 0; i < SESSIONS; i++) {
		send_frame(&rig.p, 1, HELD, FUSE_STATFS, "", 0, 200);
		while (vtfs_load_acquire(&rig.handed) == i)
			sched_yield();
		for (unsigned k = 0; k < FORGETS; k++) {
			send_frame(&rig.p, 0, k, FUSE_FORGET, &nlookup, 8, 0);
			if (k == i % FORGETS)
				send_frame(&rig.p, 0, FORGETS, FUSE_INTERRUPT,
					   &unique, 8, 0);
			if (k == i / FORGETS % FORGETS)
				send_init(&rig);
		}
		wait_used(&rig, 0, FORGETS + 1);
		wait_used(&rig, 1, 1);
		wait_used(&rig, 2, 1);
	}
	finish(&rig);
	assert_int_equal(rig.resets, SESSIONS);
	assert_int_equal(rig.total + rig.forgets, SESSIONS * FORGETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(forget_is_never_beside_reset),
	};

	return cmocka_run_group_tests_name("device sessions", tests, NULL,
					   NULL);
}
