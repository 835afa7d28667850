/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests per second and CPU per request through a client and a device: reads
 * and lookups, over a transport of this process or against any server.
 *
 * One measurement is --rounds rounds of --count requests, of which --depth are
 * in flight; what is printed are medians over the rounds. CPU is that of the
 * thread that submits and reaps, and of the device's thread, or of the process
 * --pid. Lookups find the file that is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include <virtiofs/virtiofs.h>

#include "server.h"

#define LIST_MAX   16u
#define ROUNDS_MAX 101u

struct options {
	const char *transports[LIST_MAX];
	const char *ops[LIST_MAX];
	unsigned depths[LIST_MAX];
	unsigned transport_cnt, op_cnt, depth_cnt;
	const char *file;
	const char *tag;
	unsigned size, count, rounds, queue_size;
	pid_t pid;
	bool busy, packed, json;
};

static double now(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) < 0)
		return 0;
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* ---- one measurement ---- */

struct run {
	const struct options *opt;
	const char *transport, *op;
	unsigned depth;
	struct server server;
	struct virtiofs_client *c;
	struct virtiofs_cliq *q;
	struct virtiofs_region mem;
	struct fuse_entry_out *entries;
	struct iovec *room;
	uint64_t nodeid, fh, blocks, lookups;
	clockid_t server_clock;
	bool has_server_clock;
	bool packed; /* as negotiated */
};

static struct virtiofs_transport *open_pair(struct run *run)
{
	struct virtiofs_transport *d, *c;
	int sv[2];

	if (!strcmp(run->transport, "inproc")) {
		if (virtiofs_inproc_pair(&d, &c) < 0)
			die("inproc", 0);
	} else if (!strcmp(run->transport, "vhost-user")) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
			die("socketpair", -errno);
		if (virtiofs_vhost_user_device_fd(&d, sv[0]) < 0 ||
		    virtiofs_vhost_user_client_fd(&c, sv[1]) < 0)
			die("vhost-user", 0);
	} else {
		if (virtiofs_transport_open_client(&c, run->transport) < 0)
			die(run->transport, 0);
		return c;
	}
	server_start(&run->server, d);
	return c;
}

static void find_clock(struct run *run)
{
	pid_t pid = run->opt->pid;

	if (run->server.dev)
		run->has_server_clock = !pthread_getcpuclockid(
		    run->server.thread, &run->server_clock);
	else if (pid)
		run->has_server_clock = !clock_getcpuclockid(
		    pid, &run->server_clock);
}

static void open_file(struct run *run)
{
	const char *name = run->server.dev ? "file" : run->opt->file;
	struct fuse_entry_out e;
	struct fuse_open_out o;
	int r;

	if (!name)
		die("--file is missing", -EINVAL);
	r = virtiofs_call_lookup(run->c, FUSE_ROOT_ID, name, &e);
	if (r >= 0 && e.attr.size < run->opt->size)
		die("the file is smaller than --size", -EINVAL);
	if (r >= 0)
		r = virtiofs_call_open(run->c, e.nodeid, O_RDONLY, &o);
	if (r < 0)
		die(name, r);
	run->nodeid = e.nodeid;
	run->fh = o.fh;
	run->lookups = 1;
	run->blocks = e.attr.size / run->opt->size;
}

static void run_start(struct run *run)
{
	struct virtiofs_transport *t = open_pair(run);
	const struct options *o = run->opt;
	struct virtiofs_client_opts opts = {
	    .size = sizeof(opts),
	    .num_request_queues = 1,
	    .queue_size = o->queue_size,
	    .tag = o->tag,
	    .features = VIRTIOFS_FEATURES_DEFAULT,
	};
	struct virtiofs_client_info info = {.size = sizeof(info)};

	if (o->packed)
		opts.features |= VIRTIOFS_F_RING_PACKED;
	find_clock(run);
	if (virtiofs_client_new(&run->c, t, &opts) < 0 ||
	    virtiofs_client_start(run->c, NULL) < 0)
		die(run->transport, 0);
	if (virtiofs_client_get_info(run->c, &info) < 0)
		die("info", 0);
	run->packed = info.features & VIRTIOFS_F_RING_PACKED;
	open_file(run);
	if (virtiofs_client_alloc_region(run->c, (size_t)run->depth * o->size,
					 &run->mem) < 0 ||
	    virtiofs_client_take_queue(run->c, 1, 0, &run->q) < 0)
		die("queue", 0);
	run->entries = calloc(run->depth, sizeof(*run->entries));
	run->room = calloc(run->depth, sizeof(*run->room));
	if (!run->entries || !run->room)
		die("memory", -ENOMEM);
}

static void run_end(struct run *run)
{
	int r;

	r = virtiofs_cliq_release(run->q);
	if (r >= 0)
		r = virtiofs_call_release(run->c, run->nodeid, run->fh,
					  O_RDONLY);
	if (r >= 0)
		r = virtiofs_client_forget(run->c, run->nodeid, run->lookups);
	if (r < 0)
		die("end", r);
	virtiofs_client_free(run->c);
	server_stop(&run->server);
	free(run->entries);
	free(run->room);
}

/* Fill an op for place i; false: no slot. */
static bool fill(struct run *run, unsigned i, unsigned nr)
{
	const char *name = run->server.dev ? "file" : run->opt->file;
	struct virtiofs_op *op = virtiofs_cliq_get_op(run->q);
	unsigned size = run->opt->size;

	if (!op)
		return false;
	if (!strcmp(run->op, "read")) {
		run->room[i] = virtiofs_iov(
		    (char *)run->mem.addr + (size_t)i * size, size);
		virtiofs_prep_read(op, run->nodeid, run->fh,
				   nr % run->blocks * size, size, &run->room[i],
				   1);
	} else {
		run->room[i] = virtiofs_iov(&run->entries[i],
					    sizeof(run->entries[i]));
		if (virtiofs_prep_lookup(op, FUSE_ROOT_ID, name,
					 &run->room[i]) < 0)
			die(name, -ENAMETOOLONG);
		run->lookups++;
	}
	op->user_data = i;
	return true;
}

static void sleep_for_results(struct run *run)
{
	struct pollfd p = {.fd = virtiofs_cliq_fd(run->q), .events = POLLIN};

	if (run->opt->busy || virtiofs_cliq_arm(run->q))
		return;
	if (poll(&p, 1, 30000) == 0)
		die("no reply within 30 seconds", -ETIMEDOUT);
}

static void one_round(struct run *run, unsigned count)
{
	unsigned idle[1024], n = 0, sent = 0, done = 0;
	struct virtiofs_result res[64];
	int r;

	while (n < run->depth) {
		idle[n] = n;
		n++;
	}
	while (done < count) {
		while (n && sent < count && fill(run, idle[n - 1], sent)) {
			n--;
			sent++;
		}
		virtiofs_cliq_submit(run->q);
		r = virtiofs_cliq_reap(run->q, res, 64);
		if (r < 0)
			die("reap", 0);
		for (int k = 0; k < r; k++) {
			if (res[k].error)
				die(run->op, res[k].error);
			idle[n++] = (unsigned)res[k].user_data;
		}
		done += (unsigned)r;
		if (!r)
			sleep_for_results(run);
	}
}

/* ---- numbers ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, unsigned cnt)
{
	qsort(v, cnt, sizeof(*v), compare);
	return cnt % 2 ? v[cnt / 2] : (v[cnt / 2 - 1] + v[cnt / 2]) / 2;
}

static void print(const struct run *run, double wall, double client,
		  double server)
{
	static bool again;
	const char *layout = run->packed ? "packed" : "split";
	unsigned bytes = !strcmp(run->op, "read") ? run->opt->size : 0;

	if (run->opt->json)
		printf("%s{\"transport\":\"%s\",\"op\":\"%s\","
		       "\"layout\":\"%s\",\"depth\":%u,\"bytes\":%u,"
		       "\"per_second\":%.0f,\"ns\":%.0f,"
		       "\"client_cpu_ns\":%.0f,\"server_cpu_ns\":%.0f}",
		       again ? ",\n" : "", run->transport, run->op, layout,
		       run->depth, bytes, 1e9 / wall, wall, client, server);
	else
		printf("%s,%s,%s,%u,%u,%.0f,%.0f,%.0f,%.0f\n", run->transport,
		       run->op, layout, run->depth, bytes, 1e9 / wall, wall,
		       client, server);
	again = true;
	fflush(stdout);
}

static void measure(struct run *run)
{
	double wall[ROUNDS_MAX], client[ROUNDS_MAX], server[ROUNDS_MAX];
	unsigned count = run->opt->count, rounds = run->opt->rounds;
	double s, c, w;

	run_start(run);
	one_round(run, count / 10 + 1);
	for (unsigned i = 0; i < rounds; i++) {
		s = run->has_server_clock ? now(run->server_clock) : 0;
		c = now(CLOCK_THREAD_CPUTIME_ID);
		w = now(CLOCK_MONOTONIC);
		one_round(run, count);
		wall[i] = (now(CLOCK_MONOTONIC) - w) / count;
		client[i] = (now(CLOCK_THREAD_CPUTIME_ID) - c) / count;
		server[i] = 0;
		if (run->has_server_clock)
			server[i] = (now(run->server_clock) - s) / count;
	}
	print(run, median(wall, rounds), median(client, rounds),
	      median(server, rounds));
	run_end(run);
}

/* ---- options ---- */

static void usage(FILE *to)
{
	fputs("usage: pair [OPTION...] [URI...]\n"
	      "Requests per second and CPU per request, client to device.\n"
	      "Without URI: a device of its own, over inproc and vhost-user.\n"
	      "  --op LIST         read,lookup (default: both)\n"
	      "  --depth LIST      requests in flight, up to 1024 (1,32)\n"
	      "  --size BYTES      of one read (4096)\n"
	      "  --count N         requests in a round (20000)\n"
	      "  --rounds N        rounds; medians are printed (5)\n"
	      "  --queue-size N    descriptors of the ring (128)\n"
	      "  --packed          packed rings, if the device has them\n"
	      "  --busy            never sleep, look for replies all the time\n"
	      "  --file NAME       with URI: in its root, to be read\n"
	      "  --tag TAG         with URI: for devices that tell none\n"
	      "  --pid PID         with URI: the server, for its CPU time\n"
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

static void take_options(struct options *o, int argc, char **argv)
{
	static int busy, packed, json;
	static const struct option longs[] = {
	    {"op", 1, NULL, 'o'},      {"depth", 1, NULL, 'd'},
	    {"size", 1, NULL, 's'},    {"count", 1, NULL, 'n'},
	    {"rounds", 1, NULL, 'r'},  {"queue-size", 1, NULL, 'q'},
	    {"packed", 0, &packed, 1}, {"busy", 0, &busy, 1},
	    {"file", 1, NULL, 'f'},    {"tag", 1, NULL, 't'},
	    {"pid", 1, NULL, 'P'},     {"json", 0, &json, 1},
	    {"help", 0, NULL, 'h'},    {NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1)
		take_option(o, opt);
	while (optind < argc && o->transport_cnt < LIST_MAX)
		o->transports[o->transport_cnt++] = argv[optind++];
	if (!o->transport_cnt) {
		o->transports[o->transport_cnt++] = "inproc";
		o->transports[o->transport_cnt++] = "vhost-user";
	}
	o->busy = busy;
	o->packed = packed;
	o->json = json;
}

static void measure_all(const struct options *o, const char *transport)
{
	for (unsigned k = 0; k < o->op_cnt; k++) {
		for (unsigned d = 0; d < o->depth_cnt; d++) {
			struct run run = {.opt = o,
					  .transport = transport,
					  .op = o->ops[k],
					  .depth = o->depths[d]};

			measure(&run);
		}
	}
}

int main(int argc, char **argv)
{
	struct options o = {.ops = {"read", "lookup"},
			    .op_cnt = 2,
			    .depths = {1, 32},
			    .depth_cnt = 2,
			    .size = 4096,
			    .count = 20000,
			    .rounds = 5,
			    .queue_size = 128};

	take_options(&o, argc, argv);
	if (o.json)
		printf("[");
	else
		printf("transport,op,layout,depth,bytes,per_second,ns,"
		       "client_cpu_ns,server_cpu_ns\n");
	for (unsigned i = 0; i < o.transport_cnt; i++)
		measure_all(&o, o.transports[i]);
	if (o.json)
		printf("]\n");
	return 0;
}
