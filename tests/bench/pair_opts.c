/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pair_opts.h"

#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

static void usage(FILE *to)
{
	fputs("usage: pair [OPTION...] [URI...]\n"
	      "Requests per second and CPU per request, client to device. URI "
	      "is one of\n"
	      "  inproc            both ends in this process\n"
	      "  vhost-user, vfio-user\n"
	      "                    a device of its own, on a pair of sockets\n"
	      "  vhost-user:PATH, vfio-user:PATH\n"
	      "                    a device of its own that listens there or, "
	      "with\n"
	      "                    --client-only, a server that does\n"
	      "  vdpa:/dev/vhost-vdpa-N, vfio:0000:BB:DD.F\n"
	      "                    the device that is there; of its own with "
	      "--device\n"
	      "The default is inproc vhost-user vfio-user.\n"
	      "  --client-only     the servers run already\n"
	      "  --file NAME       in a server's root, to be read (file); "
	      "implies\n"
	      "                    --client-only\n"
	      "  --device URI      serve a device here, which the URI leads "
	      "to:\n"
	      "                    --device vduse:NAME vdpa:/dev/vhost-vdpa-N "
	      "waits until\n"
	      "                    it was put on the bus and bound\n"
	      "  --op LIST         read,lookup (default: both)\n"
	      "  --depth LIST      requests in flight, up to 1024 (1,32)\n"
	      "  --size BYTES      of one read (4096)\n"
	      "  --count N         requests in a round (20000)\n"
	      "  --rounds N        rounds; medians are printed (5)\n"
	      "  --queue-size N    descriptors of the ring (128)\n"
	      "  --packed          packed rings, if the device has them\n"
	      "  --busy            never sleep, look for replies all the time\n"
	      "  --tag TAG         for a server that tells none\n"
	      "  --pid PID         of a server, for its CPU time\n"
	      "  --json            not CSV\n"
	      "  --help\n"
	      "CSV: transport,op,layout,depth,bytes,per_second,ns,"
	      "client_cpu_ns,server_cpu_ns\n",
	      to);
}

static unsigned number(const char *s, unsigned most)
{
	char *end;
	unsigned long n = strtoul(s, &end, 10);

	if (*s < '0' || *s > '9' || *end || !n || n > most) {
		fprintf(stderr, "pair: '%s' is not 1 to %u\n", s, most);
		exit(1);
	}
	return (unsigned)n;
}

static void take_depths(struct options *o, char *list)
{
	char *save, *s;

	o->depth_cnt = 0;
	for (s = strtok_r(list, ",", &save); s && o->depth_cnt < LIST_MAX;
	     s = strtok_r(NULL, ",", &save))
		o->depths[o->depth_cnt++] = number(s, 1024);
}

static void take_ops(struct options *o, char *list)
{
	char *save, *s;

	o->op_cnt = 0;
	for (s = strtok_r(list, ",", &save); s && o->op_cnt < LIST_MAX;
	     s = strtok_r(NULL, ",", &save)) {
		if (strcmp(s, "read") && strcmp(s, "lookup"))
			die(s, -EINVAL);
		o->ops[o->op_cnt++] = s;
	}
}

static void take_option(struct options *o, int opt)
{
	switch (opt) {
	case 'o':
		take_ops(o, optarg);
		return;
	case 'd':
		take_depths(o, optarg);
		return;
	case 's':
		o->size = number(optarg, FILE_BYTES);
		return;
	case 'n':
		o->count = number(optarg, 1u << 30);
		return;
	case 'r':
		o->rounds = number(optarg, ROUNDS_MAX);
		return;
	case 'q':
		o->queue_size = number(optarg, 32768);
		return;
	case 'f':
		o->file = optarg;
		o->client_only = true;
		return;
	case 'D':
		o->device = optarg;
		return;
	case 't':
		o->tag = optarg;
		return;
	case 'P':
		o->pid = (pid_t)number(optarg, INT32_MAX);
		return;
	case 'h':
		usage(stdout);
		exit(0);
	case '?':
		usage(stderr);
		exit(1);
	}
}

void take_options(struct options *o, int argc, char **argv)
{
	static int busy, packed, json, client_only;
	static const struct option longs[] = {
	    {"op", 1, NULL, 'o'},
	    {"depth", 1, NULL, 'd'},
	    {"size", 1, NULL, 's'},
	    {"count", 1, NULL, 'n'},
	    {"rounds", 1, NULL, 'r'},
	    {"queue-size", 1, NULL, 'q'},
	    {"packed", 0, &packed, 1},
	    {"busy", 0, &busy, 1},
	    {"file", 1, NULL, 'f'},
	    {"tag", 1, NULL, 't'},
	    {"pid", 1, NULL, 'P'},
	    {"json", 0, &json, 1},
	    {"client-only", 0, &client_only, 1},
	    {"device", 1, NULL, 'D'},
	    {"help", 0, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int opt;

	*o = (struct options){.ops = {"read", "lookup"},
			      .op_cnt = 2,
			      .depths = {1, 32},
			      .depth_cnt = 2,
			      .size = 4096,
			      .count = 20000,
			      .rounds = 5,
			      .queue_size = 128};
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
		take_option(o, opt);
	while (optind < argc && o->transport_cnt < LIST_MAX)
		o->transports[o->transport_cnt++] = argv[optind++];
	o->client_only |= client_only;
	if (o->client_only && !o->transport_cnt)
		die("which server? Its URI is missing", -EINVAL);
	if (o->client_only && o->device)
		die("--device, but the server runs already", -EINVAL);
	if (!o->transport_cnt) {
		o->transports[o->transport_cnt++] = "inproc";
		o->transports[o->transport_cnt++] = "vhost-user";
		o->transports[o->transport_cnt++] = "vfio-user";
	}
	o->busy = busy;
	o->packed = packed;
	o->json = json;
}
