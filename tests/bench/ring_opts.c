/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ring_opts.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vq/vq.h"

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("ring: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n", stderr);
	va_end(ap);
	exit(1);
}

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

void parse_opts(struct opts *o, int argc, char **argv)
{
	int at = 0;
	int c;

	*o = (struct opts){.layouts = 3,
			   .modes = 3,
			   .num = 256,
			   .batch = 1,
			   .readable = 1,
			   .writable = 1,
			   .runs = 5,
			   .requests = 2000000};
	default_cpus(o);
	while ((c = getopt_long(argc, argv, "", longs, &at)) != -1)
		parse_one(o, c, longs[at].name, optarg);
	if (optind < argc)
		die("what is '%s'? try 'ring --help'", argv[optind]);
	check_sizes(o);
}
