/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests per second and CPU per request through a client and a device: reads
 * and lookups, over any transport, on a device of our own or of any server.
 *
 * One measurement is --rounds rounds of --count requests, of which --depth are
 * in flight; what is printed are medians over the rounds. CPU is that of the
 * thread that submits and reaps, and of the device's thread, or of the process
 * --pid. Lookups find the file that is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <virtiofs/virtiofs.h>

#include "pair_opts.h"
#include "server.h"

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

/* ---- both ends, by URI ---- */

static bool begins(const char *uri, const char *scheme)
{
	return !strncmp(uri, scheme, strlen(scheme));
}

/* The device that the client is to find: a device of our own there? */
static const char *device_uri(const struct run *run)
{
	const char *uri = run->transport;

	if (run->opt->client_only)
		return NULL;
	if (run->opt->device)
		return run->opt->device;
	if (begins(uri, "vhost-user:") || begins(uri, "vfio-user:"))
		return uri;
	return NULL;
}

/* A vDPA device has a client's end when somebody has put it on the bus and
 * bound it. */
static void wait_for_bus(const char *uri)
{
	const struct timespec nap = {.tv_nsec = 50000000};

	if (!begins(uri, "vdpa:"))
		return;
	for (unsigned i = 0; access(uri + strlen("vdpa:"), F_OK) < 0; i++) {
		if (i == 600)
			die("nobody bound the device to vhost_vdpa within 30 "
			    "seconds",
			    -ETIMEDOUT);
		nanosleep(&nap, NULL);
	}
}

static struct virtiofs_transport *open_named(struct run *run)
{
	const char *device = device_uri(run);
	struct virtiofs_transport *t;

	if (device) {
		if (virtiofs_transport_open_device(&t, device) < 0)
			die(device, 0);
		server_start(&run->server, t);
		wait_for_bus(run->transport);
	}
	if (virtiofs_transport_open_client(&t, run->transport) < 0)
		die(run->transport, 0);
	return t;
}

static struct virtiofs_transport *open_pair(struct run *run)
{
	struct virtiofs_transport *d, *c;
	int sv[2], r;

	if (run->opt->client_only)
		return open_named(run);
	if (!strcmp(run->transport, "inproc")) {
		if (virtiofs_inproc_pair(&d, &c) < 0)
			die("inproc", 0);
		server_start(&run->server, d);
		return c;
	}
	if (strcmp(run->transport, "vhost-user") &&
	    strcmp(run->transport, "vfio-user"))
		return open_named(run);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		die("socketpair", -errno);
	if (!strcmp(run->transport, "vhost-user")) {
		r = virtiofs_vhost_user_device_fd(&d, sv[0]);
		if (r >= 0)
			r = virtiofs_vhost_user_client_fd(&c, sv[1]);
	} else {
		r = virtiofs_vfio_user_device_fd(&d, sv[0]);
		if (r >= 0)
			r = virtiofs_vfio_user_client_fd(&c, sv[1]);
	}
	if (r < 0)
		die(run->transport, 0);
	server_start(&run->server, d);
	return c;
}

/* Of a server that is not ours, in its root. */
static const char *file_name(const struct run *run)
{
	return run->opt->file ? run->opt->file : "file";
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
	const char *name = file_name(run);
	struct fuse_entry_out e;
	struct fuse_open_out o;
	int r;

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
	const char *name = file_name(run);
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
	struct options o;

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
