/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Many requests in flight: of a taken queue, of several threads, of both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combo.h"

/* ---- many in flight ---- */

#define SLICES 200u
#define SLICE  8192u

struct batch {
	struct fix f;
	struct virtiofs_cliq *q;
	struct virtiofs_region mem;
	uint64_t id, fh;
	unsigned char *model;	    /* what the file must hold */
	unsigned char *reg, *plain; /* buffers, registered or not */
	struct iovec iov[SLICES][3];
	struct fuse_write_out wrote[SLICES];
	struct iovec wroom[SLICES];
	uint32_t len[SLICES], off[SLICES];
	unsigned done;
};

/* Slice i's buffer, cut in up to three pieces, some of them registered. */
static uint16_t cut(struct batch *b, unsigned i)
{
	uint32_t left = b->len[i], at = i * SLICE;
	uint16_t n = 0;

	while (left) {
		uint32_t k = n == 2 ? left : 1 + rnd(left);
		unsigned char *base = rnd(2) ? b->reg : b->plain;

		b->iov[i][n++] = virtiofs_iov(base + at, k);
		at += k;
		left -= k;
	}
	return n;
}

/* Between the caller's pieces and what the file holds there. */
static void move(struct batch *b, unsigned i, uint16_t cnt, bool compare)
{
	unsigned char *file = b->model + b->off[i];

	for (uint16_t k = 0; k < cnt; k++) {
		const struct iovec *v = &b->iov[i][k];

		if (compare)
			assert_memory_equal(v->iov_base, file, v->iov_len);
		else
			memcpy(file, v->iov_base, v->iov_len);
		file += v->iov_len;
	}
}

static void reap_some(struct batch *b, bool reading, const uint16_t *cnt)
{
	struct virtiofs_result res[16];
	int n = virtiofs_cliq_reap(b->q, res, 16);

	assert_true(n >= 0);
	for (int k = 0; k < n; k++) {
		unsigned i = (unsigned)res[k].user_data;

		assert_int_equal(res[k].error, 0);
		assert_int_equal(res[k].flags, 0);
		if (reading) {
			assert_int_equal(res[k].len, b->len[i]);
			move(b, i, cnt[i], true);
		} else {
			assert_int_equal(res[k].len, sizeof(b->wrote[i]));
			assert_int_equal(b->wrote[i].size, b->len[i]);
		}
		b->done++;
	}
	if (!n && virtiofs_cliq_arm(b->q) == 0) {
		struct pollfd p = {.fd = virtiofs_cliq_fd(b->q),
				   .events = POLLIN};

		assert_int_equal(poll(&p, 1, 20000), 1);
	}
}

static void run_batch(struct batch *b, bool reading)
{
	uint16_t cnt[SLICES];
	unsigned next = 0;

	for (unsigned i = 0; i < SLICES; i++) {
		cnt[i] = cut(b, i);
		if (!reading)
			move(b, i, cnt[i], false);
	}
	b->done = 0;
	while (b->done < SLICES) {
		struct virtiofs_op *op;

		while (next < SLICES && (op = virtiofs_cliq_get_op(b->q))) {
			struct fuse_write_in w = {.fh = b->fh,
						  .offset = b->off[next],
						  .size = b->len[next]};

			if (reading) {
				virtiofs_prep_read(op, b->id, b->fh,
						   b->off[next], b->len[next],
						   b->iov[next], cnt[next]);
			} else {
				b->wroom[next] = virtiofs_iov(
				    &b->wrote[next], sizeof(b->wrote[next]));
				virtiofs_prep_write(op, b->id, &w, b->iov[next],
						    &b->wroom[next]);
				op->data_cnt = cnt[next];
			}
			op->user_data = next++;
			if (!rnd(4))
				break;
		}
		assert_true(virtiofs_cliq_submit(b->q) >= 0);
		reap_some(b, reading, cnt);
	}
}

static struct batch *batch_new(const struct combo *co)
{
	struct batch *b = calloc(1, sizeof(*b));

	fix_start(&b->f, co, 2);
	b->id = create(&b->f, "batch", &b->fh);
	b->model = calloc(SLICES, SLICE);
	b->plain = malloc(SLICES * SLICE);
	b->mem.size = sizeof(b->mem);
	assert_int_equal(
	    virtiofs_client_alloc_region(b->f.c, SLICES * SLICE, &b->mem), 0);
	b->reg = b->mem.addr;
	rnd_fill(b->plain, SLICES * SLICE);
	memcpy(b->reg, b->plain, SLICES * SLICE);
	for (unsigned i = 0; i < SLICES; i++) {
		size_t max = most(&b->f) < SLICE ? most(&b->f) : SLICE;

		b->len[i] = 1 + rnd((uint32_t)max);
		b->off[i] = i * SLICE + rnd(SLICE - b->len[i] + 1);
	}
	assert_int_equal(virtiofs_client_take_queue(b->f.c, 1, 0, &b->q), 0);
	return b;
}

static void batch_free(struct batch *b)
{
	assert_int_equal(virtiofs_client_unmap_region(b->f.c, &b->mem), 0);
	assert_int_equal(virtiofs_cliq_release(b->q), 0);
	fix_end(&b->f);
	free(b->model);
	free(b->plain);
	free(b);
}

static void batches(const struct combo *co)
{
	struct batch *b = batch_new(co);

	/* A ring of four has room for one part each way. */
	if (co->num > 4) {
		run_batch(b, false);
		memset(b->plain, 0, SLICES * SLICE);
		memset(b->reg, 0, SLICES * SLICE);
		run_batch(b, true);
	}
	batch_free(b);
}

/* ---- threads ---- */

#define THREADS 4

struct worker {
	struct fix *f;
	pthread_t thread;
	unsigned nr;
	const char *bad; /* what failed */
};

static const char *try_work(struct worker *w)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = 0644};
	struct virtiofs_create_out out;
	unsigned char a[3000], b[3000];
	char name[16];

	snprintf(name, sizeof(name), "thread%u", w->nr);
	if (virtiofs_call_create(w->f->c, 1, name, &in, &out) < 0)
		return "create";
	for (unsigned i = 0; i < 60; i++) {
		size_t len = 1 + (i * 997 + w->nr * 131) % sizeof(a);

		for (size_t k = 0; k < len; k++)
			a[k] = (unsigned char)(k * 7 + i * 13 + w->nr);
		if (virtiofs_call_write(w->f->c, out.entry.nodeid, out.open.fh,
					i * 100, a, len) != (ssize_t)len)
			return "write";
		if (virtiofs_call_read(w->f->c, out.entry.nodeid, out.open.fh,
				       i * 100, b, len) != (ssize_t)len)
			return "read";
		if (memcmp(a, b, len))
			return "bytes";
	}
	if (virtiofs_call_release(w->f->c, out.entry.nodeid, out.open.fh, 0))
		return "release";
	return virtiofs_client_forget(w->f->c, out.entry.nodeid, 1) ? "forget"
								    : NULL;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	w->bad = try_work(w);
	return NULL;
}

static void threads(const struct combo *co)
{
	struct worker w[THREADS];
	struct fix f;

	fix_start(&f, co, 1 + co->num % 3);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].f = &f;
		w[i].nr = i;
		assert_int_equal(
		    pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		if (w[i].bad)
			fail_msg("thread %u: %s", i, w[i].bad);
	}
	virtiofs_client_free(f.c);
	memfs_stop(f.m);
	assert_int_equal(f.m->left, 0);
	assert_int_equal(f.m->left_handles, 0);
	memfs_free(f.m);
}

/* ---- a taken queue beside calls, and memory that comes and goes ---- */

struct mapper {
	struct fix *f;
	int stop; /* atomic */
	const char *bad;
};

static void *map_and_unmap(void *arg)
{
	struct virtiofs_region mem = {.size = sizeof(mem)};
	struct mapper *m = arg;

	while (!m->bad && !__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		if (virtiofs_client_alloc_region(m->f->c, 4 * PAGE, &mem) < 0)
			m->bad = "map";
		else if (virtiofs_client_unmap_region(m->f->c, &mem) < 0)
			m->bad = "unmap";
	}
	return NULL;
}

static void everything_at_once(const struct combo *co)
{
	struct batch *b = batch_new(co);
	struct mapper m = {.f = &b->f};
	struct worker w[2];
	pthread_t mapper;

	for (unsigned i = 0; i < 2; i++) {
		w[i].f = &b->f;
		w[i].nr = i;
		assert_int_equal(
		    pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	assert_int_equal(pthread_create(&mapper, NULL, map_and_unmap, &m), 0);
	if (co->num > 4) {
		run_batch(b, false);
		run_batch(b, true);
	}
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(w[i].thread, NULL);
		if (w[i].bad)
			fail_msg("thread %u: %s", i, w[i].bad);
	}
	__atomic_store_n(&m.stop, 1, __ATOMIC_RELAXED);
	pthread_join(mapper, NULL);
	if (m.bad)
		fail_msg("%s: %s", m.bad, virtiofs_last_error());
	batch_free(b);
}

CASE(batches)
CASE(threads)
CASE(everything_at_once)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_batches),
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_everything_at_once),
	};
	int r = take_args(argc, argv);

	return r ? r
		 : cmocka_run_group_tests_name("batches", tests, NULL, NULL);
}
