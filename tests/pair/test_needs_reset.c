/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DEVICE_NEEDS_RESET through both sessions: a ring goes bad, the device says
 * so, the client ends what it has, and start begins with a reset.
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
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "combo.h"
#include "session/client.h"
#include "vq/impl.h"
#include "wire/virtio.h"

/* Of the first request queue. */
static void spoil(struct virtiofs_client *c)
{
	spoil_ring(c->queues[0].vq);
	vtfs_doorbell_ring(&c->queues[0].line.bell, 0);
}

static void wait_for_the_end(struct virtiofs_client *c)
{
	struct pollfd p = {.fd = virtiofs_client_fd(c), .events = POLLIN};
	struct virtiofs_client_info info = {.size = sizeof(info)};

	while (virtiofs_client_get_info(c, &info) == 0) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		assert_int_equal(virtiofs_client_dispatch(c), 0);
	}
}

/* covers: STAT-DEV-02, STAT-DEV-03, STAT-DRV-04, INIT-DRV-08 */
static void client_starts_again(const struct combo *co)
{
	struct virtiofs_region mem = {.size = sizeof(mem)};
	struct fuse_statfs_out *out;
	struct fix f;

	fix_start(&f, co, 2);
	/* Registered memory is the client's, not the session's. */
	assert_int_equal(virtiofs_client_alloc_region(f.c, PAGE, &mem), 0);
	out = mem.addr;
	for (unsigned i = 0; i < 5; i++) {
		uint8_t status = VTFS_STATUS_NEEDS_RESET;

		assert_int_equal(virtiofs_call_statfs(f.c, 1, out), 0);
		spoil(f.c);
		wait_for_the_end(f.c);
		assert_int_equal(virtiofs_call_statfs(f.c, 1, out), -ENOTCONN);
		if (virtiofs_client_start(f.c, NULL) < 0)
			fail_msg("start: %s", virtiofs_last_error());
		/* Not by itself: by a reset. */
		while (f.c->t->cli->get_status(f.c->t, &status) == -EAGAIN) {
			struct pollfd p = {.fd = f.c->t->fd(f.c->t),
					   .events = POLLIN};

			assert_int_equal(poll(&p, 1, 20000), 1);
		}
		assert_false(status & VTFS_STATUS_NEEDS_RESET);
	}
	assert_int_equal(virtiofs_call_statfs(f.c, 1, out), 0);
	fix_end(&f);
}
CASE(client_starts_again)

/* ---- memory that is taken back ---- */

#define WAITERS 3u

struct kept {
	struct virtiofs_device *dev;
	pthread_t thread;
	struct virtiofs_req *req[WAITERS];
	unsigned cnt; /* atomic */
};

static int keep(struct virtiofs_req *req)
{
	struct kept *k = req->userdata;

	k->req[k->cnt] = req;
	__atomic_add_fetch(&k->cnt, 1, __ATOMIC_RELEASE);
	return 0;
}

static void *serve(void *arg)
{
	virtiofs_device_run(((struct kept *)arg)->dev);
	return NULL;
}

struct waiter {
	struct virtiofs_client *c;
	struct fuse_statfs_out *out;
	pthread_t thread;
	int r;
};

static void *ask(void *arg)
{
	struct waiter *w = arg;

	w->r = virtiofs_call_statfs(w->c, 1, w->out);
	return NULL;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	if (!virtiofs_memory_fault(info->si_addr))
		_exit(99);
}

/* One reply finds out, in a thread that serves no queue; nothing else happens
 * on any of them. */
static void take_it_back(struct kept *k, struct virtiofs_client *c,
			 struct virtiofs_region *mem)
{
	const struct fuse_statfs_out out = {.st.bsize = 1};
	struct waiter w[WAITERS];
	unsigned ended = 0;

	for (unsigned i = 0; i < WAITERS; i++) {
		w[i].c = c;
		w[i].out = (void *)((char *)mem->addr + i * PAGE);
		pthread_create(&w[i].thread, NULL, ask, &w[i]);
	}
	while (__atomic_load_n(&k->cnt, __ATOMIC_ACQUIRE) < WAITERS)
		sched_yield();
	assert_int_equal(ftruncate(mem->fd, 0), 0);
	virtiofs_req_reply(k->req[0], &out, sizeof(out));
	for (unsigned i = 0; i < WAITERS; i++) {
		pthread_join(w[i].thread, NULL);
		ended += w[i].r == -ENOTCONN;
	}
	assert_in_range(ended, WAITERS - 1, WAITERS);
	for (unsigned i = 1; i < WAITERS; i++)
		virtiofs_req_error(k->req[i], -EIO);
}

/* covers: ROB-DEV-03 */
static void all_who_wait_hear_of_memory_taken_back(const struct combo *co)
{
	static const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = keep,
	};
	struct virtiofs_device_opts dopts = {
	    .size = sizeof(dopts),
	    .tag = "kept",
	    .flags = VIRTIOFS_DEVICE_SHARED_REPLY,
	    .features = VIRTIOFS_F_VERSION_1 | co->features,
	};
	struct virtiofs_client_opts copts = {
	    .size = sizeof(copts),
	    .queue_size = co->num,
	    .features = dopts.features,
	};
	struct virtiofs_region mem = {
	    .size = sizeof(mem),
	    .len = WAITERS * PAGE,
	    .fd = memfd_create("not sealed", MFD_CLOEXEC),
	};
	struct sigaction act = {.sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO};
	struct virtiofs_transport *dt, *ct;
	struct virtiofs_client *c;
	struct kept k = {0};
	struct sigaction old;

	if (co->num < 4 * WAITERS) {
		/* They would not all be with the device. */
		close(mem.fd);
		return;
	}
	sigaction(SIGBUS, &act, &old);
	assert_int_equal(ftruncate(mem.fd, (off_t)mem.len), 0);
	mem.addr = mmap(NULL, mem.len, PROT_READ | PROT_WRITE, MAP_SHARED,
			mem.fd, 0);
	make_pair(&dt, &ct);
	assert_int_equal(virtiofs_device_new(&k.dev, dt, &ops, &dopts, &k), 0);
	pthread_create(&k.thread, NULL, serve, &k);
	assert_int_equal(virtiofs_client_new(&c, ct, &copts), 0);
	assert_int_equal(virtiofs_client_start(c, NULL), 0);
	assert_int_equal(virtiofs_client_map_region(c, &mem), 0);
	take_it_back(&k, c, &mem);
	virtiofs_client_free(c);
	virtiofs_device_stop(k.dev);
	pthread_join(k.thread, NULL);
	virtiofs_device_free(k.dev);
	sigaction(SIGBUS, &old, NULL);
	munmap(mem.addr, mem.len);
	close(mem.fd);
}
CASE(all_who_wait_hear_of_memory_taken_back)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_client_starts_again),
	    cmocka_unit_test(test_all_who_wait_hear_of_memory_taken_back),
	};

	return take_args(argc, argv) ? 2
				     : cmocka_run_group_tests_name(
					   "needs reset", tests, NULL, NULL);
}
