/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a request costs in the rings alone: nanoseconds from add to get, through
 * the driver half and the device half, without buffers being touched. See
 * usage() for the options.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
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

#define PEER_ADDR UINT64_C(0x100000000)
#define PARTS_MAX 16u
#define PART_LEN  64u
#define RUNS_MAX  101u

enum format { TABLE, JSON, CSV };

struct opts {
	unsigned layouts, modes; /* bit 0 and bit 1 of each */
	uint32_t num, batch, outstanding, readable, writable;
	uint64_t requests;
	unsigned runs;
	uint32_t features;
	bool relax;
	int cpu[2];
	enum format format;
};

struct bench {
	struct opts o;
	struct vtfs_vq *drv, *dev;
	struct vtfs_region *region;
	struct vtfs_table *mem;
	unsigned char *map;
	size_t map_len;
	uint32_t end; /* atomic */
};

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("ring: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n", stderr);
	va_end(ap);
	exit(1);
}

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

/* ---- options ---- */

static void usage(void)
{
	puts("usage: ring [OPTION]...\n"
	     "Nanoseconds per request through both halves of a ring.\n"
	     "\n"
	     "  --mode one|two|all       one thread, or two that poll (all)\n"
	     "  --layout split|packed|all  (all)\n"
	     "  --num N                  ring size (256)\n"
	     "  --batch N                requests per publish, at most (1)\n"
	     "  --outstanding N          in flight, two threads (= batch)\n"
	     "  --readable N             readable buffers per request (1)\n"
	     "  --writable N             writable buffers per request (1)\n"
	     "  --event                  with VIRTIO_F_EVENT_IDX\n"
	     "  --indirect               with VIRTIO_F_INDIRECT_DESC\n"
	     "  --relax                  yield the processor while polling\n"
	     "  --requests N             per run (2000000)\n"
	     "  --runs N                 the median of this many (5)\n"
	     "  --cpus A,B               driver's and device's processor (the "
	     "first\n"
	     "                           two that this program may use)\n"
	     "  --format table|json|csv  (table)\n"
	     "  --help                   this text");
}

static unsigned long number(const char *name, const char *text,
			    unsigned long min, unsigned long max)
{
	char *rest;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &rest, 0);
	if (errno || *rest || rest == text || n < min || n > max)
		die("--%s %s: not a number from %lu to %lu", name, text, min,
		    max);
	return n;
}

/* The place of text in names, which end with NULL. */
static unsigned choice(const char *name, const char *text,
		       const char *const *names)
{
	for (unsigned i = 0; names[i]; i++)
		if (!strcmp(names[i], text))
			return i;
	die("--%s: there is no '%s'", name, text);
	return 0;
}

static void parse_cpus(struct opts *o, const char *text)
{
	const char *comma = strchr(text, ',');
	char first[16] = "";

	if (!comma || (size_t)(comma - text) >= sizeof(first))
		die("--cpus %s: not two numbers", text);
	memcpy(first, text, (size_t)(comma - text));
	o->cpu[0] = (int)number("cpus", first, 0, CPU_SETSIZE - 1);
	o->cpu[1] = (int)number("cpus", comma + 1, 0, CPU_SETSIZE - 1);
}

static void default_cpus(struct opts *o)
{
	unsigned found = 0;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		die("no processors: %s", strerror(errno));
	for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
		if (CPU_ISSET((unsigned)i, &set))
			o->cpu[found++] = i;
	if (found == 1)
		o->cpu[1] = o->cpu[0];
}

static const struct option longs[] = {
    {"mode", 1, NULL, 'm'},	   {"layout", 1, NULL, 'l'},
    {"num", 1, NULL, 'n'},	   {"batch", 1, NULL, 'b'},
    {"outstanding", 1, NULL, 'o'}, {"readable", 1, NULL, 'r'},
    {"writable", 1, NULL, 'w'},	   {"event", 0, NULL, 'e'},
    {"indirect", 0, NULL, 'i'},	   {"relax", 0, NULL, 'x'},
    {"requests", 1, NULL, 'q'},	   {"runs", 1, NULL, 'u'},
    {"cpus", 1, NULL, 'c'},	   {"format", 1, NULL, 'f'},
    {"help", 0, NULL, 'h'},	   {NULL, 0, NULL, 0},
};

static void parse_one(struct opts *o, int c, const char *name, const char *arg)
{
	static const char *const modes[] = {"all", "one", "two", NULL};
	static const char *const layouts[] = {"all", "split", "packed", NULL};
	static const char *const formats[] = {"table", "json", "csv", NULL};
	unsigned pick;

	switch (c) {
	case 'm':
		pick = choice(name, arg, modes);
		o->modes = pick ? pick : 3;
		break;
	case 'l':
		pick = choice(name, arg, layouts);
		o->layouts = pick ? pick : 3;
		break;
	case 'n':
		o->num = (uint32_t)number(name, arg, 1, VTFS_VQ_NUM_MAX);
		break;
	case 'b':
		o->batch = (uint32_t)number(name, arg, 1, VTFS_VQ_NUM_MAX);
		break;
	case 'o':
		o->outstanding = (uint32_t)number(name, arg, 1,
						  VTFS_VQ_NUM_MAX);
		break;
	case 'r':
		o->readable = (uint32_t)number(name, arg, 0, PARTS_MAX / 2);
		break;
	case 'w':
		o->writable = (uint32_t)number(name, arg, 0, PARTS_MAX / 2);
		break;
	case 'e':
		o->features |= VTFS_VQ_EVENT;
		break;
	case 'i':
		o->features |= VTFS_VQ_INDIRECT;
		break;
	case 'x':
		o->relax = true;
		break;
	case 'q':
		o->requests = number(name, arg, 1, 1000000000);
		break;
	case 'u':
		o->runs = (unsigned)number(name, arg, 1, RUNS_MAX);
		break;
	case 'c':
		parse_cpus(o, arg);
		break;
	case 'f':
		o->format = choice(name, arg, formats);
		break;
	case 'h':
		usage();
		exit(0);
	default:
		fputs("try 'ring --help'\n", stderr);
		exit(1);
	}
}

/* What is in flight must fit into the ring. */
static void check_sizes(struct opts *o)
{
	uint32_t parts = o->readable + o->writable;
	uint32_t entries = o->features & VTFS_VQ_INDIRECT ? 1 : parts;

	if (!o->outstanding)
		o->outstanding = o->batch;
	if (!parts)
		die("a request without buffers");
	if (o->batch > o->num / entries || o->outstanding > o->num / entries)
		die("%u requests of %u descriptors don't fit into %u",
		    o->batch > o->outstanding ? o->batch : o->outstanding,
		    entries, o->num);
	/* Whole batches only. */
	o->requests = (o->requests + o->batch - 1) / o->batch * o->batch;
}

int main(int argc, char **argv)
{
	struct opts o = {.layouts = 3,
			 .modes = 3,
			 .num = 256,
			 .batch = 1,
			 .readable = 1,
			 .writable = 1,
			 .requests = 2000000,
			 .runs = 5};
	int at = 0;
	int c;

	default_cpus(&o);
	while ((c = getopt_long(argc, argv, "", longs, &at)) != -1)
		parse_one(&o, c, longs[at].name, optarg);
	if (optind < argc)
		die("what is '%s'? try 'ring --help'", argv[optind]);
	check_sizes(&o);
	for (int two = 0; two < 2; two++)
		for (int packed = 0; packed < 2; packed++)
			if (o.modes >> two & 1 && o.layouts >> packed & 1)
				measure(&o, two, packed);
	if (o.format == JSON)
		puts("\n]");
	return 0;
}
