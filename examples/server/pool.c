/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "stats.h"

#define RING_MIN 256u

struct pool {
	struct fs *fs;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct virtiofs_req **ring; /* all below: under lock */
	size_t size, first, cnt;
	bool stopped;
	unsigned started;
	pthread_t threads[];
};

/* Called with the lock held; waits for one. NULL: stopped and empty. */
static struct virtiofs_req *take(struct pool *p)
{
	struct virtiofs_req *req;

	while (p->cnt == 0 && !p->stopped)
		pthread_cond_wait(&p->more, &p->lock);
	if (p->cnt == 0)
		return NULL;
	req = p->ring[p->first];
	p->first = (p->first + 1) % p->size;
	p->cnt--;
	return req;
}

static void *pool_thread(void *arg)
{
	struct virtiofs_req *req;
	struct pool *p = arg;
	int r = fs_thread_start(p->fs);

	if (r < 0) {
		log_err("can't start a pool's thread: %s", strerror(-r));
		exit(1);
	}
	stats_thread_start(p->fs);
	for (;;) {
		pthread_mutex_lock(&p->lock);
		req = take(p);
		pthread_mutex_unlock(&p->lock);
		if (!req)
			break;
		fs_request(p->fs, req);
	}
	fs_thread_end();
	return NULL;
}

static int grow(struct pool *p)
{
	struct virtiofs_req **bigger = calloc(p->size * 2, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	for (size_t i = 0; i < p->cnt; i++)
		bigger[i] = p->ring[(p->first + i) % p->size];
	free(p->ring);
	p->ring = bigger;
	p->first = 0;
	p->size *= 2;
	return 0;
}

void pool_add(struct pool *p, struct virtiofs_req *req)
{
	int r = 0;

	pthread_mutex_lock(&p->lock);
	if (p->cnt == p->size)
		r = grow(p);
	if (r == 0) {
		p->ring[(p->first + p->cnt) % p->size] = req;
		p->cnt++;
		pthread_cond_signal(&p->more);
	}
	pthread_mutex_unlock(&p->lock);
	/* No memory to wait in: do it here and now. */
	if (r < 0)
		fs_request(p->fs, req);
}

static int start(struct pool *p, unsigned threads)
{
	while (p->started < threads) {
		int r = pthread_create(&p->threads[p->started], NULL,
				       pool_thread, p);

		if (r)
			return -r;
		p->started++;
	}
	return 0;
}

int pool_new(struct pool **ret, struct fs *fs, unsigned threads)
{
	struct pool *p;
	int r;

	p = calloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));
	if (!p)
		return -ENOMEM;
	p->fs = fs;
	p->size = RING_MIN;
	p->ring = calloc(p->size, sizeof(*p->ring));
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	r = p->ring ? start(p, threads) : -ENOMEM;
	if (r < 0) {
		pool_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopped = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	while (p->started > 0)
		pthread_join(p->threads[--p->started], NULL);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p->ring);
	free(p);
}
