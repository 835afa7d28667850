/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a request costs in the rings alone: nanoseconds from add to get, through
 * the driver half and the device half, without buffers being touched. See
 * ring_opts.c for the options.
 */
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/bytes.h"
#include "base/shared.h"
#include "mem/table.h"
#include "vq/vq.h"
#include "ring_opts.h"

#define PEER_ADDR UINT64_C(0x100000000)
#define PART_LEN  64u

/* Both threads read it all the time: not on a line with anybody's locals. */
struct bench {
	struct opts o;
	struct vtfs_vq *drv, *dev;
	struct vtfs_region *region;
	struct vtfs_table *mem;
	unsigned char *map;
	size_t map_len;
	uint32_t end; /* atomic */
} __attribute__((aligned(2 * VTFS_CACHELINE)));

/* ---- one ring with both halves ---- */

static void make_memory(struct bench *b)
{
	struct vtfs_region_desc d = {.peer_addr = PEER_ADDR,
				     .len = b->map_len,
				     .fd = -1,
				     .addr = b->map};

	if (vtfs_region_new(&b->region, &d, 0) < 0 ||
	    vtfs_table_new(&b->mem, &b->region, 1) < 0)
		die("no memory");
}

/* Areas on pages of their own, tables and buffers after them. */
static void make_halves(struct bench *b, uint32_t flags)
{
	struct vtfs_vq_conf conf = {.flags = flags, .num = b->o.num};
	struct vtfs_vq_areas a;
	size_t desc, driver, device, tables;

	if (vtfs_vq_areas(&a, flags, b->o.num) < 0)
		die("a %s ring can't have %u entries",
		    flags & VTFS_VQ_PACKED ? "packed" : "split", b->o.num);
	desc = VTFS_ALIGN_UP(a.desc_len, (size_t)4096);
	driver = VTFS_ALIGN_UP(a.driver_len, (size_t)4096);
	device = VTFS_ALIGN_UP(a.device_len, (size_t)4096);
	tables = (size_t)b->o.num * PARTS_MAX * 16;
	b->map_len = desc + driver + device + tables +
		     (size_t)b->o.num * PARTS_MAX * PART_LEN;
	b->map = mmap(NULL, b->map_len, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (b->map == MAP_FAILED)
		die("no memory");
	make_memory(b);
	conf.desc = b->map;
	conf.driver = b->map + desc;
	conf.device = b->map + desc + driver;
	conf.avail_base = flags & VTFS_VQ_PACKED ? 0x8000 : 0;
	conf.used_base = conf.avail_base;
	conf.max_parts = PARTS_MAX;
	conf.indirect = b->map + desc + driver + device;
	conf.indirect_peer_addr = PEER_ADDR + desc + driver + device;
	conf.indirect_max = PARTS_MAX;
	if (vtfs_vq_drv_new(&b->drv, &conf) < 0 ||
	    vtfs_vq_dev_new(&b->dev, &conf) < 0)
		die("no ring");
}

static void drop(struct bench *b)
{
	vtfs_vq_drv_free(b->drv);
	vtfs_vq_dev_free(b->dev);
	vtfs_table_put(b->mem);
	vtfs_region_put(b->region);
	munmap(b->map, b->map_len);
}

static uint64_t now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		die("there is no processor %d for this program", cpu);
}

/* ---- the two sides of a request ---- */

static void add(struct bench *b, const struct vtfs_vq_buf *bufs, uint16_t token)
{
	if (vtfs_vq_drv_add(b->drv, bufs, b->o.readable, b->o.writable, token))
		die("add failed");
}

static unsigned serve(struct bench *b, unsigned max)
{
	struct vtfs_chain c;
	unsigned n = 0;

	while (n < max && vtfs_vq_dev_pop(b->dev, b->mem, &c) == 1) {
		vtfs_vq_dev_push(b->dev, c.id, c.ring_cnt,
				 (uint32_t)c.writable_len);
		n++;
	}
	if (n)
		vtfs_vq_dev_publish(b->dev);
	return n;
}

static unsigned collect(struct bench *b, unsigned max)
{
	uint16_t token;
	uint32_t len;
	unsigned n = 0;
	int got = 1;

	while (n < max && (got = vtfs_vq_drv_get(b->drv, &token, &len)) == 1)
		n++;
	if (got < 0)
		die("get failed");
	return n;
}

static void make_bufs(const struct bench *b, struct vtfs_vq_buf *bufs)
{
	uint64_t base = PEER_ADDR + b->map_len;

	/* Not adjacent: as many parts as there are buffers. */
	for (uint32_t i = 0; i < b->o.readable + b->o.writable; i++)
		bufs[i] = (struct vtfs_vq_buf){base - 2 * PART_LEN * (i + 1),
					       PART_LEN};
}

/* One thread: a batch out, a batch back. */
static void run_one(struct bench *b)
{
	struct vtfs_vq_buf bufs[PARTS_MAX];

	make_bufs(b, bufs);
	pin(b->o.cpu[0]);
	vtfs_vq_drv_disarm(b->drv);
	vtfs_vq_dev_disarm(b->dev);
	for (uint64_t done = 0; done < b->o.requests;) {
		for (uint16_t i = 0; i < b->o.batch; i++)
			add(b, bufs, i);
		vtfs_vq_drv_publish(b->drv);
		if (serve(b, b->o.batch) != b->o.batch)
			die("a chain got lost");
		done += collect(b, b->o.batch);
	}
}

static inline void idle(const struct bench *b)
{
	if (b->o.relax)
		sched_yield();
}

static void *device(void *arg)
{
	struct bench *b = arg;

	pin(b->o.cpu[1]);
	vtfs_vq_dev_disarm(b->dev);
	while (!vtfs_load_acquire(&b->end))
		if (!serve(b, b->o.batch))
			idle(b);
	return NULL;
}

/* Two threads: as many in flight as allowed, each side polls. */
static void run_two(struct bench *b)
{
	struct vtfs_vq_buf bufs[PARTS_MAX];
	uint64_t sent = 0, done = 0;
	uint16_t token = 0;
	pthread_t t;

	make_bufs(b, bufs);
	if (pthread_create(&t, NULL, device, b))
		die("no thread");
	pin(b->o.cpu[0]);
	vtfs_vq_drv_disarm(b->drv);
	while (done < b->o.requests) {
		unsigned n = 0;
		unsigned got;

		while (n < b->o.batch && sent < done + b->o.outstanding &&
		       sent < b->o.requests) {
			add(b, bufs, token++ % (uint16_t)b->o.num);
			sent++;
			n++;
		}
		if (n)
			vtfs_vq_drv_publish(b->drv);
		got = collect(b, b->o.batch);
		done += got;
		if (!n && !got)
			idle(b);
	}
	vtfs_store_release(&b->end, 1);
	pthread_join(t, NULL);
}

/* ---- numbers ---- */

static int by_size(const void *x, const void *y)
{
	double a = *(const double *)x;
	double b = *(const double *)y;

	return (a > b) - (a < b);
}

static void print(const struct opts *o, bool two, bool packed, const double *ns)
{
	static bool more;
	const char *mode = two ? "two threads" : "one thread";
	const char *layout = packed ? "packed" : "split";
	int event = !!(o->features & VTFS_VQ_EVENT);
	int indirect = !!(o->features & VTFS_VQ_INDIRECT);
	double mid = ns[o->runs / 2], min = ns[0], max = ns[o->runs - 1];
	uint32_t out = two ? o->outstanding : o->batch;

	if (o->format == JSON)
		printf(
		    "%s\n  {\"mode\": \"%s\", \"layout\": \"%s\", \"event\": "
		    "%d, \"indirect\": %d, \"num\": %u, \"batch\": %u, "
		    "\"outstanding\": %u, \"readable\": %u, \"writable\": "
		    "%u, \"requests\": %llu, \"runs\": %u, \"ns_median\": "
		    "%.2f, \"ns_min\": %.2f, \"ns_max\": %.2f}",
		    more ? "," : "[", mode, layout, event, indirect, o->num,
		    o->batch, out, o->readable, o->writable,
		    (unsigned long long)o->requests, o->runs, mid, min, max);
	else if (o->format == CSV)
		printf("%s%s,%s,%d,%d,%u,%u,%u,%u,%u,%llu,%u,%.2f,%.2f,%.2f\n",
		       more
			   ? ""
			   : "mode,layout,event,indirect,num,batch,outstanding,"
			     "readable,writable,requests,runs,ns_median,"
			     "ns_min,ns_max\n",
		       mode, layout, event, indirect, o->num, o->batch, out,
		       o->readable, o->writable,
		       (unsigned long long)o->requests, o->runs, mid, min, max);
	else
		printf("%-11s  %-6s  batch %-4u outstanding %-4u %8.1f ns  "
		       "(%.1f to %.1f)\n",
		       mode, layout, o->batch, out, mid, min, max);
	fflush(stdout);
	more = true;
}

static void measure(const struct opts *o, bool two, bool packed)
{
	/* What others do on a busy machine is not part of one thread's cost;
	 * of two threads that wait for each other it can't be told apart. */
	clockid_t clock = two ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
	double ns[RUNS_MAX];

	for (unsigned i = 0; i < o->runs; i++) {
		struct bench b = {.o = *o};
		uint64_t start;

		make_halves(&b, o->features | (packed ? VTFS_VQ_PACKED : 0));
		start = now(clock);
		if (two)
			run_two(&b);
		else
			run_one(&b);
		ns[i] = (double)(now(clock) - start) / (double)o->requests;
		drop(&b);
	}
	qsort(ns, o->runs, sizeof(ns[0]), by_size);
	print(o, two, packed, ns);
}

int main(int argc, char **argv)
{
	struct opts o;

	parse_opts(&o, argc, argv);
	for (int two = 0; two < 2; two++)
		for (int packed = 0; packed < 2; packed++)
			if (o.modes >> two & 1 && o.layouts >> packed & 1)
				measure(&o, two, packed);
	if (o.format == JSON)
		puts("\n]");
	return 0;
}
