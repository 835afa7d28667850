/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rawdev.h"

#include <errno.h>
#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/shared.h"

/* As assert(), and there in release builds too. */
#define must(x)                                                                \
	do {                                                                   \
		if (!(x))                                                      \
			abort();                                               \
	} while (0)

static struct raw *to_raw(const struct virtiofs_transport *t)
{
	return (struct raw *)(uintptr_t)t;
}

static int raw_attach(struct virtiofs_transport *t, struct vtfs_dev_sink *sink)
{
	to_raw(t)->sink = sink;
	return 0;
}

static int raw_dispatch(struct virtiofs_transport *t)
{
	struct raw *raw = to_raw(t);
	void (*todo[64])(struct raw * raw, uint64_t arg);
	uint64_t arg[64];
	uint64_t n;
	unsigned cnt;

	(void)!read(raw->fd, &n, sizeof(n));
	pthread_mutex_lock(&raw->lock);
	cnt = raw->todo_cnt;
	memcpy(todo, raw->todo, sizeof(todo));
	memcpy(arg, raw->todo_arg, sizeof(arg));
	raw->todo_cnt = 0;
	pthread_mutex_unlock(&raw->lock);
	for (unsigned i = 0; i < cnt; i++)
		todo[i](raw, arg[i]);
	__atomic_add_fetch(&raw->done, cnt, __ATOMIC_RELEASE);
	return 0;
}

static void on_stopped(struct virtiofs_transport *t, unsigned vq,
		       uint16_t avail_base, uint16_t used_base)
{
	struct raw *raw = to_raw(t);

	raw->stopped_vq = vq;
	raw->avail_base = avail_base;
	raw->used_base = used_base;
	__atomic_add_fetch(&raw->stopped, 1, __ATOMIC_RELEASE);
}

static void on_retired(struct virtiofs_transport *t, uint64_t cookie)
{
	__atomic_store_n(&to_raw(t)->retired, cookie, __ATOMIC_RELEASE);
	__atomic_add_fetch(&to_raw(t)->retired_cnt, 1, __ATOMIC_RELEASE);
}

static void on_reset_done(struct virtiofs_transport *t)
{
	__atomic_add_fetch(&to_raw(t)->reset_done, 1, __ATOMIC_RELEASE);
}

static void on_broken(struct virtiofs_transport *t, unsigned vq)
{
	__atomic_or_fetch(&to_raw(t)->broken, 1u << vq, __ATOMIC_RELEASE);
}

static void on_miss(struct virtiofs_transport *t, const struct vtfs_miss *m)
{
	struct raw *raw = to_raw(t);
	uint64_t first = (m->addr - RAW_ADDR) / RAW_PAGE;
	uint64_t last = (m->addr + m->len - 1 - RAW_ADDR) / RAW_PAGE;

	raw->misses[raw->miss_cnt++ % RAW_MISSES] = *m;
	if (!raw->lazy && last < RAW_PAGES)
		raw_map(raw, RAW_RANGE(first, last - first + 1, RAW_RW));
}

static const struct vtfs_dev_ops raw_iommu_ops = {
    .attach = raw_attach,
    .dispatch = raw_dispatch,
    .queue_stopped = on_stopped,
    .table_retired = on_retired,
    .reset_done = on_reset_done,
    .broken = on_broken,
    .miss = on_miss,
};

static const struct vtfs_dev_ops raw_ops = {
    .attach = raw_attach,
    .dispatch = raw_dispatch,
    .queue_stopped = on_stopped,
    .table_retired = on_retired,
    .reset_done = on_reset_done,
    .broken = on_broken,
};

static void raw_free(struct virtiofs_transport *t)
{
	to_raw(t)->freed = true;
}

static int raw_fd(const struct virtiofs_transport *t)
{
	return to_raw(t)->fd;
}

void raw_queue_init(struct raw *raw, unsigned vq, unsigned num)
{
	struct raw_queue *q = &raw->q[vq];
	unsigned char *base = raw->mem + vq * RAW_RING;

	memset(base, 0, RAW_RING);
	q->vq = vq;
	q->num = num;
	q->desc = (void *)base;
	q->avail = (void *)(base + num * 16);
	q->used = (void *)(base + RAW_RING / 2);
	q->next_desc = 0;
	q->next_used = 0;
}

/* Bytes [off, off + len) of the memory as region number id. */
static void add(struct raw *raw, uint64_t off, uint64_t len, uint16_t id)
{
	struct vtfs_region_desc d = {
	    .peer_addr = raw->iommu ? off : RAW_ADDR + off,
	    .user_addr = raw->iommu ? off : RAW_ADDR + off,
	    .len = len,
	    .fd_offset = off,
	    .fd = raw->one_view ? -1 : raw->memfd,
	    .addr = raw->mem + off,
	};

	must(vtfs_region_new(&raw->regions[id], &d, id) == 0);
}

void raw_init(struct raw *raw, uint64_t features)
{
	memset(raw, 0, sizeof(*raw));
	raw->base.name = "raw:";
	raw->iommu = features & VTFS_F_ACCESS_PLATFORM;
	raw->base.dev = raw->iommu ? &raw_iommu_ops : &raw_ops;
	memset(raw->access, RAW_RW, RAW_BUFS / RAW_PAGE);
	raw->base.free = raw_free;
	raw->base.fd = raw_fd;
	raw->features = features
			    ? features
			    : VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_INDIRECT_DESC;
	raw->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	raw->memfd = memfd_create("raw", MFD_CLOEXEC);
	must(raw->fd >= 0 && raw->memfd >= 0);
	must(ftruncate(raw->memfd, RAW_LEN + RAW_REGIONS * RAW_REGION_LEN) ==
	     0);
	raw->mem = mmap(NULL, RAW_LEN + RAW_REGIONS * RAW_REGION_LEN,
			PROT_READ | PROT_WRITE, MAP_SHARED, raw->memfd, 0);
	must(raw->mem != MAP_FAILED);
	add(raw, 0, RAW_LEN, 0);
	raw->region_cnt = 1;
	pthread_mutex_init(&raw->lock, NULL);
	for (unsigned i = 0; i < RAW_QUEUES; i++) {
		raw->q[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		raw->q[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
}

void raw_one_view(struct raw *raw)
{
	raw->one_view = true;
	vtfs_region_put(raw->regions[0]);
	add(raw, 0, RAW_LEN, 0);
}

void raw_fini(struct raw *raw)
{
	must(raw->freed);
	for (unsigned i = 0; i < raw->region_cnt; i++)
		vtfs_region_put(raw->regions[i]);
	for (unsigned i = 0; i < RAW_QUEUES; i++) {
		close(raw->q[i].kick);
		close(raw->q[i].call);
	}
	munmap(raw->mem, RAW_LEN + RAW_REGIONS * RAW_REGION_LEN);
	close(raw->memfd);
	close(raw->fd);
	pthread_mutex_destroy(&raw->lock);
}

void raw_do(struct raw *raw, void (*fn)(struct raw *, uint64_t), uint64_t arg)
{
	uint64_t one = 1;

	pthread_mutex_lock(&raw->lock);
	must(raw->todo_cnt < 64);
	raw->todo[raw->todo_cnt] = fn;
	raw->todo_arg[raw->todo_cnt++] = arg;
	pthread_mutex_unlock(&raw->lock);
	(void)!write(raw->fd, &one, sizeof(one));
}

/* A map for each run of pages that are alike. */
static struct vtfs_table *mapped_table(struct raw *raw)
{
	struct vtfs_map maps[RAW_PAGES];
	struct vtfs_table *t;
	unsigned cnt = 0;

	for (unsigned i = 0, n; i < RAW_PAGES; i += n) {
		for (n = 1; i + n < RAW_PAGES; n++)
			if (raw->access[i + n] != raw->access[i])
				break;
		if (raw->access[i])
			maps[cnt++] = (struct vtfs_map){
			    .addr = raw_addr(i * RAW_PAGE),
			    .len = n * RAW_PAGE,
			    .ptr = raw->regions[0]->addr + i * RAW_PAGE,
			    .access = raw->access[i],
			};
	}
	must(vtfs_table_new_mapped(&t, raw->regions, raw->region_cnt, maps,
				   cnt) == 0);
	return t;
}

static uint64_t next_cookie(struct raw *raw)
{
	return __atomic_add_fetch(&raw->cookie, 1, __ATOMIC_RELEASE);
}

static void give_table(struct raw *raw)
{
	struct vtfs_table *t;

	if (raw->iommu)
		t = mapped_table(raw);
	else
		must(vtfs_table_new(&t, raw->regions, raw->region_cnt) == 0);
	raw->sink->ops->set_table(raw->sink, t, next_cookie(raw));
	vtfs_table_put(t);
}

static struct vtfs_miss to_miss(uint64_t range)
{
	return (struct vtfs_miss){raw_addr((range >> 32) * RAW_PAGE),
				  (range >> 8 & 0xffffff) * RAW_PAGE,
				  range & 0xff};
}

static void invalidate(struct raw *raw, const struct vtfs_miss *gone)
{
	struct vtfs_table *t = mapped_table(raw);

	raw->sink->ops->invalidate(raw->sink, t, gone, next_cookie(raw));
	vtfs_table_put(t);
}

void raw_map(struct raw *raw, uint64_t range)
{
	struct vtfs_miss m = to_miss(range);
	uint8_t *access = raw->access + (range >> 32);
	uint64_t cnt = m.len / RAW_PAGE;

	/* As of vhost-user: what only comes takes nothing away. */
	m.len = 0;
	for (uint64_t i = 0; i < cnt; i++) {
		if (access[i] && access[i] != m.access)
			m.len = cnt * RAW_PAGE;
		access[i] = (uint8_t)m.access;
	}
	invalidate(raw, &m);
}

void raw_flush(struct raw *raw, uint64_t unused)
{
	const struct vtfs_miss all = {0, UINT64_MAX, RAW_RW};

	memset(raw->access, 0, sizeof(raw->access));
	invalidate(raw, &all);
}

void raw_deny(struct raw *raw, uint64_t range)
{
	const struct vtfs_miss m = to_miss(range);

	raw->sink->ops->absent(raw->sink, &m);
}

void raw_map_missed(struct raw *raw, uint64_t unused)
{
	while (raw->miss_cnt) {
		const struct vtfs_miss *m = &raw->misses[--raw->miss_cnt];
		uint64_t first = (m->addr - RAW_ADDR) / RAW_PAGE;
		uint64_t last = (m->addr + m->len - 1 - RAW_ADDR) / RAW_PAGE;

		memset(raw->access + first, RAW_RW, last - first + 1);
	}
	give_table(raw);
}

/* The ring may lie anywhere. */
static uint16_t used_idx(const struct raw_queue *q)
{
	uint16_t idx;

	memcpy(&idx, (const char *)q->used + 2, sizeof(idx));
	return le16toh(idx);
}

void raw_start(struct raw *raw, uint64_t vq)
{
	struct raw_queue *q = &raw->q[vq];
	struct vtfs_queue_setup s = {
	    .vq = (uint16_t)vq,
	    .num = q->num,
	    .desc = raw_addr((unsigned char *)q->desc - raw->mem),
	    .driver = raw_addr((unsigned char *)q->avail - raw->mem),
	    .device = raw_addr((unsigned char *)q->used - raw->mem),
	    .avail_base = used_idx(q),
	    .kick_fd = q->kick,
	    .call_fd = q->call,
	    .enabled = true,
	};

	raw->start_r = raw->sink->ops->start(raw->sink, &s);
}

void raw_accept(struct raw *raw, uint64_t features)
{
	raw->sink->ops->accept(raw->sink, features);
}

void raw_setup(struct raw *raw, uint64_t num)
{
	unsigned cnt = raw->sink->ops->queue_cnt(raw->sink);

	raw_accept(raw, raw->features);
	give_table(raw);
	/* Not taken: the last number is nobody's. */
	if (raw->sink->ops->offered(raw->sink) & ~raw->features &
	    VIRTIOFS_F_NOTIFICATION)
		cnt--;
	for (unsigned i = 0; i < cnt && i < RAW_QUEUES; i++) {
		raw_queue_init(raw, i, (unsigned)num);
		raw_start(raw, i);
		must(raw->start_r == 0);
	}
}

void raw_stop(struct raw *raw, uint64_t vq)
{
	raw->sink->ops->stop(raw->sink, (unsigned)vq);
}

void raw_reset(struct raw *raw, uint64_t unused)
{
	raw->sink->ops->reset(raw->sink);
}

void raw_lost(struct raw *raw, uint64_t unused)
{
	raw->sink->ops->lost(raw->sink, -ENOTCONN);
}

void raw_add_region(struct raw *raw, uint64_t unused)
{
	unsigned i = raw->region_cnt;

	must(i < RAW_REGIONS);
	add(raw, RAW_LEN + i * RAW_REGION_LEN, RAW_REGION_LEN, (uint16_t)i);
	raw->region_cnt++;
	give_table(raw);
}

void raw_drop_region(struct raw *raw, uint64_t unused)
{
	must(raw->region_cnt > 1);
	vtfs_region_put(raw->regions[--raw->region_cnt]);
	give_table(raw);
}

void raw_drop_all(struct raw *raw, uint64_t unused)
{
	struct vtfs_table *t;

	must(vtfs_table_new(&t, NULL, 0) == 0);
	raw->sink->ops->set_table(raw->sink, t, next_cookie(raw));
	vtfs_table_put(t);
}

void raw_disable(struct raw *raw, uint64_t vq)
{
	raw->sink->ops->enable(raw->sink, (unsigned)vq, false);
}

void raw_enable(struct raw *raw, uint64_t vq)
{
	raw->sink->ops->enable(raw->sink, (unsigned)vq, true);
}

void raw_new_call(struct raw *raw, uint64_t vq)
{
	struct raw_queue *q = &raw->q[vq];

	close(q->call);
	q->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	raw->sink->ops->set_call(raw->sink, (unsigned)vq, q->call);
}

void raw_new_kick(struct raw *raw, uint64_t vq)
{
	struct raw_queue *q = &raw->q[vq];

	close(q->kick);
	q->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	raw->sink->ops->set_kick(raw->sink, (unsigned)vq, q->kick);
}

uint16_t raw_chain(struct raw_queue *q, const struct raw_desc *d, unsigned cnt)
{
	uint16_t head = (uint16_t)(q->next_desc % q->num);

	for (unsigned i = 0; i < cnt; i++) {
		unsigned at = (head + i) % q->num;

		q->desc[at].addr = htole64(d[i].addr);
		q->desc[at].len = htole32(d[i].len);
		q->desc[at].flags = htole16(
		    (uint16_t)(d[i].flags |
			       (i + 1 < cnt ? VTFS_DESC_F_NEXT : 0)));
		q->desc[at].next = htole16((uint16_t)((at + 1) % q->num));
	}
	q->next_desc = (uint16_t)((head + cnt) % q->num);
	return head;
}

void raw_kick(struct raw_queue *q)
{
	uint64_t one = 1;

	(void)!write(q->kick, &one, sizeof(one));
}

void raw_post(struct raw_queue *q, uint16_t head)
{
	uint16_t idx = le16toh(q->avail->idx);

	q->avail->ring[idx % q->num] = htole16(head);
	vtfs_store_release(&q->avail->idx, htole16((uint16_t)(idx + 1)));
	raw_kick(q);
}

bool raw_used(struct raw_queue *q, uint32_t *ret_id, uint32_t *ret_len)
{
	uint16_t idx = le16toh(vtfs_load_acquire(&q->used->idx));

	if (idx == q->next_used)
		return false;
	*ret_id = le32toh(q->used->ring[q->next_used % q->num].id);
	*ret_len = le32toh(q->used->ring[q->next_used % q->num].len);
	q->next_used++;
	return true;
}

unsigned raw_calls(struct raw_queue *q)
{
	uint64_t n = 0;

	if (read(q->call, &n, sizeof(n)) < 0)
		return 0;
	return (unsigned)n;
}
