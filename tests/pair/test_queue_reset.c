/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RING_RESET through both sessions: a queue is taken from a device that is busy
 * with its requests, while another queue goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "combo.h"
#include "session/client.h"
#include "vq/impl.h"

#define HOLD 99u /* a request for this node is kept until it is interrupted */
#define OPS  30u

struct slow {
	struct virtiofs_device *dev;
	pthread_t thread;
	unsigned held; /* atomic */
};

static int on_request(struct virtiofs_req *req)
{
	struct slow *s = req->userdata;
	struct fuse_attr_out out = {.attr.ino = req->in->nodeid};

	if (req->in->nodeid != HOLD)
		return virtiofs_req_reply(req, &out, sizeof(out));
	__atomic_add_fetch(&s->held, 1, __ATOMIC_RELEASE);
	return 0;
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	struct slow *s = userdata;

	__atomic_sub_fetch(&s->held, 1, __ATOMIC_RELEASE);
	virtiofs_req_error(req, -EINTR);
}

static void *serve(void *arg)
{
	virtiofs_device_run(((struct slow *)arg)->dev);
	return NULL;
}

static void ask(struct virtiofs_cliq *q, uint64_t nodeid, unsigned cnt)
{
	static struct fuse_attr_out out[OPS];
	struct iovec room[OPS];

	for (unsigned i = 0; i < cnt; i++) {
		struct virtiofs_op *op = virtiofs_cliq_get_op(q);

		assert_non_null(op);
		room[i] = virtiofs_iov(&out[i], sizeof(out[i]));
		virtiofs_prep_getattr(op, nodeid, &room[i]);
	}
	assert_int_equal(virtiofs_cliq_submit(q), cnt);
}

static void expect(struct virtiofs_cliq *q, int error, unsigned cnt)
{
	struct virtiofs_result res[OPS];

	while (cnt) {
		int n = virtiofs_cliq_wait(q, res, OPS);

		assert_in_range(n, 1, cnt);
		for (int i = 0; i < n; i++)
			assert_int_equal(res[i].error, error);
		cnt -= (unsigned)n;
	}
}

static void reset_and_go_on(struct virtiofs_client *c, struct slow *s,
			    unsigned max)
{
	struct virtiofs_cliq *q, *other;

	assert_int_equal(virtiofs_client_take_queue(c, 1, 0, &q), 0);
	assert_int_equal(virtiofs_client_take_queue(c, 2, 0, &other), 0);
	for (unsigned i = 0; i < 20; i++) {
		unsigned cnt = 1 + rnd(max);

		ask(q, HOLD, cnt);
		while (__atomic_load_n(&s->held, __ATOMIC_ACQUIRE) < cnt)
			sched_yield();
		ask(other, 5, 1);
		assert_int_equal(virtiofs_cliq_reset(q), 0);
		/* The program is done with all of them. */
		assert_int_equal(__atomic_load_n(&s->held, __ATOMIC_ACQUIRE),
				 0);
		expect(q, -EINTR, cnt);
		expect(other, 0, 1);
		cnt = 1 + rnd(max);
		ask(q, 7, cnt);
		expect(q, 0, cnt);
	}
	assert_int_equal(virtiofs_cliq_release(other), 0);
	assert_int_equal(virtiofs_cliq_release(q), 0);
}

/* covers: QRST-DEV-01, QRST-DEV-02 */
static void queue_is_reset_with_requests_in_flight(const struct combo *co)
{
	static const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .interrupt = on_interrupt,
	};
	struct virtiofs_device_opts dopts = {
	    .size = sizeof(dopts),
	    .tag = "slow",
	    .num_request_queues = 2,
	    .features = VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_RESET |
			co->features,
	};
	struct virtiofs_client_opts copts = {
	    .size = sizeof(copts),
	    .num_request_queues = 2,
	    .queue_size = co->num,
	    .features = dopts.features,
	};
	struct virtiofs_transport *dt, *ct;
	struct virtiofs_client *c;
	struct slow s = {0};

	make_pair(&dt, &ct);
	assert_int_equal(virtiofs_device_new(&s.dev, dt, &ops, &dopts, &s), 0);
	pthread_create(&s.thread, NULL, serve, &s);
	assert_int_equal(virtiofs_client_new(&c, ct, &copts), 0);
	assert_int_equal(virtiofs_client_start(c, NULL), 0);
	reset_and_go_on(c, &s, co->num / 4 < OPS ? co->num / 4 : OPS);
	virtiofs_client_free(c);
	virtiofs_device_stop(s.dev);
	pthread_join(s.thread, NULL);
	virtiofs_device_free(s.dev);
}
CASE(queue_is_reset_with_requests_in_flight)

/* ---- one thread for both ends ---- */

static int ask_again(struct virtiofs_device *dev, struct virtiofs_client *c,
		     struct virtiofs_cliq *q)
{
	int r = -EAGAIN;

	for (unsigned i = 0; r == -EAGAIN && i < 1000; i++) {
		r = q ? virtiofs_cliq_reset(q) : virtiofs_client_start(c, NULL);
		assert_true(virtiofs_device_dispatch(dev) >= 0);
		assert_true(virtiofs_client_dispatch(c) >= 0);
	}
	return r;
}

static void reap(struct virtiofs_device *dev, struct virtiofs_cliq *q,
		 int error)
{
	struct virtiofs_result res;

	assert_true(virtiofs_device_dispatch(dev) >= 0);
	assert_int_equal(virtiofs_cliq_reap(q, &res, 1), 1);
	assert_int_equal(res.error, error);
}

static void nonblocking_reset_waits_for_nothing(const struct combo *co)
{
	static const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .interrupt = on_interrupt,
	};
	struct virtiofs_device_opts dopts = {
	    .size = sizeof(dopts),
	    .tag = "slow",
	    .features = VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_RESET |
			co->features,
	};
	struct virtiofs_client_opts copts = {
	    .size = sizeof(copts),
	    .queue_size = co->num,
	    .flags = VIRTIOFS_CLIENT_NONBLOCK,
	    .features = dopts.features,
	};
	struct virtiofs_transport *dt, *ct;
	struct virtiofs_client *c;
	struct virtiofs_cliq *q;
	struct slow s = {0};

	make_pair(&dt, &ct);
	assert_int_equal(virtiofs_device_new(&s.dev, dt, &ops, &dopts, &s), 0);
	assert_int_equal(virtiofs_client_new(&c, ct, &copts), 0);
	assert_int_equal(ask_again(s.dev, c, NULL), 0);
	assert_int_equal(virtiofs_client_take_queue(c, 1, 0, &q), 0);
	for (unsigned i = 0; i < 3; i++) {
		ask(q, HOLD, 1);
		assert_int_equal(virtiofs_device_dispatch(s.dev), 1);
		assert_int_equal(ask_again(s.dev, c, q), 0);
		reap(s.dev, q, -EINTR);
		ask(q, 7, 1);
		reap(s.dev, q, 0);
	}
	assert_int_equal(virtiofs_cliq_release(q), 0);
	virtiofs_device_free(s.dev);
	virtiofs_client_free(c);
}
CASE(nonblocking_reset_waits_for_nothing)

/* ---- watched memory ---- */

#define THREADS	   3u
#define ROOM	   PAGE
#define RESETS	   10u
#define ROOMS	   16u
#define LOOK_AGAIN 50u

/* Requests that several threads answer. */
struct pool {
	struct virtiofs_device *dev;
	pthread_t serve, reply[THREADS];
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct virtiofs_req *req[ROOMS];
	unsigned cnt;
	unsigned busy; /* taken from the ring, reply not returned */
	bool end;
};

static int pool_request(struct virtiofs_req *req)
{
	struct pool *p = req->userdata;

	pthread_mutex_lock(&p->lock);
	p->req[p->cnt++] = req;
	p->busy++;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static void *pool_serve(void *arg)
{
	virtiofs_device_run(((struct pool *)arg)->dev);
	return NULL;
}

static void *pool_reply(void *arg)
{
	unsigned char data[ROOM];
	struct virtiofs_req *req;
	struct pool *p = arg;

	memset(data, 0x5a, sizeof(data));
	pthread_mutex_lock(&p->lock);
	while (!p->end) {
		if (!p->cnt) {
			pthread_cond_wait(&p->more, &p->lock);
			continue;
		}
		req = p->req[--p->cnt];
		pthread_mutex_unlock(&p->lock);
		sched_yield();
		virtiofs_req_reply(req, data, sizeof(data));
		pthread_mutex_lock(&p->lock);
		p->busy--;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* What the device could write of queue 1, and what it was when the device said
 * that it lets go. */
static struct {
	struct vtfs_cli_ops ops;
	const struct vtfs_cli_ops *real;
	struct virtiofs_cliq *q;
	struct virtiofs_region rooms;
	uint64_t slots; /* these and the rooms, at that moment */
	bool touched;
} watch;

static uint64_t hash(uint64_t h, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return h;
}

static uint64_t hash_slots(void)
{
	const struct virtiofs_cliq *q = watch.q;
	uint64_t h = hash(1, q->area, (size_t)q->slot_cnt * VTFS_SLOT_BYTES);

	return hash(h, watch.rooms.addr, watch.rooms.len);
}

static uint64_t hash_ring(void)
{
	const struct vtfs_vq *vq = watch.q->vq;
	struct vtfs_vq_areas a;
	uint64_t h;

	vtfs_vq_areas(&a, vq->flags, vq->num);
	h = hash(1, vq->desc, a.desc_len);
	h = hash(h, vq->driver, a.driver_len);
	return hash(h, vq->device, a.device_len);
}

static int watched_stop(struct virtiofs_transport *t, unsigned vq)
{
	int r = watch.real->stop_queue(t, vq);
	uint64_t ring;

	if (r < 0 || !watch.q || vq != 1)
		return r;
	ring = hash_ring();
	watch.slots = hash_slots();
	/* The ring is begun anew after this: now or never. */
	for (unsigned i = 0; i < LOOK_AGAIN; i++) {
		sched_yield();
		watch.touched |= hash_ring() != ring;
	}
	return r;
}

static void post_reads(struct virtiofs_cliq *q, unsigned cnt)
{
	struct iovec room[ROOMS];

	for (unsigned i = 0; i < cnt; i++) {
		struct virtiofs_op *op = virtiofs_cliq_get_op(q);

		assert_non_null(op);
		room[i] = virtiofs_iov((char *)watch.rooms.addr + i * ROOM,
				       ROOM);
		virtiofs_prep_read(op, 5, 1, 0, ROOM, &room[i], 1);
	}
	assert_int_equal(virtiofs_cliq_submit(q), cnt);
}

static void reset_and_watch(struct pool *p, unsigned max)
{
	struct virtiofs_cliq *q = watch.q;
	struct virtiofs_result res[ROOMS];
	unsigned cnt = 1 + rnd(max), n = 0;
	bool busy = true;

	memset(watch.rooms.addr, 0, watch.rooms.len);
	post_reads(q, cnt);
	for (unsigned i = rnd(20); i; i--)
		sched_yield();
	assert_int_equal(virtiofs_cliq_reset(q), 0);
	while (busy) {
		sched_yield();
		pthread_mutex_lock(&p->lock);
		busy = p->busy;
		pthread_mutex_unlock(&p->lock);
	}
	assert_false(watch.touched);
	assert_int_equal(hash_slots(), watch.slots);
	while (n < cnt)
		n += (unsigned)virtiofs_cliq_wait(q, res, ROOMS);
}

/* covers: QRST-DEV-01, QRST-DEV-02 */
static void nothing_is_written_after_a_reset(const struct combo *co)
{
	static const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = pool_request,
	};
	struct virtiofs_device_opts dopts = {
	    .size = sizeof(dopts),
	    .tag = "pool",
	    .flags = VIRTIOFS_DEVICE_SHARED_REPLY,
	    .features = VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_RESET |
			co->features,
	};
	struct virtiofs_client_opts copts = {
	    .size = sizeof(copts),
	    .queue_size = co->num,
	    .features = dopts.features,
	};
	struct pool p = {.lock = PTHREAD_MUTEX_INITIALIZER,
			 .more = PTHREAD_COND_INITIALIZER};
	struct virtiofs_transport *dt, *ct;
	struct virtiofs_client *c;
	unsigned max = co->num / 4;

	memset(&watch, 0, sizeof(watch));
	make_pair(&dt, &ct);
	watch.real = ct->cli;
	watch.ops = *ct->cli;
	watch.ops.stop_queue = watched_stop;
	ct->cli = &watch.ops;
	assert_int_equal(virtiofs_device_new(&p.dev, dt, &ops, &dopts, &p), 0);
	pthread_create(&p.serve, NULL, pool_serve, &p);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&p.reply[i], NULL, pool_reply, &p);
	assert_int_equal(virtiofs_client_new(&c, ct, &copts), 0);
	assert_int_equal(virtiofs_client_start(c, NULL), 0);
	watch.rooms.size = sizeof(watch.rooms);
	assert_int_equal(
	    virtiofs_client_alloc_region(c, ROOMS * ROOM, &watch.rooms), 0);
	assert_int_equal(virtiofs_client_take_queue(c, 1, 0, &watch.q), 0);
	for (unsigned i = 0; i < RESETS; i++)
		reset_and_watch(&p, max < ROOMS ? max : ROOMS);
	assert_int_equal(virtiofs_cliq_release(watch.q), 0);
	watch.q = NULL;
	virtiofs_client_free(c);
	virtiofs_device_stop(p.dev);
	pthread_join(p.serve, NULL);
	pthread_mutex_lock(&p.lock);
	p.end = true;
	pthread_cond_broadcast(&p.more);
	pthread_mutex_unlock(&p.lock);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(p.reply[i], NULL);
	virtiofs_device_free(p.dev);
}
CASE(nothing_is_written_after_a_reset)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_queue_is_reset_with_requests_in_flight),
	    cmocka_unit_test(test_nonblocking_reset_waits_for_nothing),
	    cmocka_unit_test(test_nothing_is_written_after_a_reset),
	};

	return take_args(argc, argv) ? 2
				     : cmocka_run_group_tests_name(
					   "queue reset", tests, NULL, NULL);
}
