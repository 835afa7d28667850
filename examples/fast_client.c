/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Read one file with 32 requests in flight: fast_client URI NAME */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <virtiofs/virtiofs.h>

enum { DEPTH = 32, BLOCK = 65536 };

struct reader {
	struct virtiofs_cliq *q;
	struct virtiofs_region mem;
	struct iovec iov[DEPTH];
	uint64_t nodeid, fh, next, size, bytes;
	unsigned idle[DEPTH], nidle;
};

static void ask(struct reader *r)
{
	struct virtiofs_op *op;

	while (r->nidle && r->next < r->size &&
	       (op = virtiofs_cliq_get_op(r->q))) {
		unsigned i = r->idle[--r->nidle];

		virtiofs_prep_read(op, r->nodeid, r->fh, r->next, BLOCK,
				   &r->iov[i], 1);
		op->user_data = i;
		op->flags = VIRTIOFS_OP_NO_BOUNCE;
		r->next += BLOCK;
	}
}

/* Sleep only when arm says that nothing came meanwhile. */
static int wait_results(struct reader *r, struct virtiofs_result *res)
{
	struct pollfd fd = {.fd = virtiofs_cliq_fd(r->q), .events = POLLIN};
	int n;

	while ((n = virtiofs_cliq_reap(r->q, res, DEPTH)) == 0) {
		n = virtiofs_cliq_arm(r->q);
		if (n < 0)
			return n;
		if (n == 0)
			poll(&fd, 1, -1);
	}
	return n;
}

static int read_all(struct reader *r)
{
	struct virtiofs_result res[DEPTH];
	int error = 0, n;

	while (!error && (r->next < r->size || r->nidle < DEPTH)) {
		ask(r);
		n = virtiofs_cliq_submit(r->q);
		if (n >= 0)
			n = wait_results(r, res);
		for (int k = 0; k < n; k++) {
			r->idle[r->nidle++] = (unsigned)res[k].user_data;
			r->bytes += res[k].len;
			error = res[k].error ? res[k].error : error;
		}
		error = n < 0 ? n : error;
	}
	return error;
}

static int run(struct virtiofs_client *c, const char *name)
{
	struct reader r = {.mem = {.size = sizeof(r.mem)}};
	struct fuse_entry_out entry;
	struct fuse_open_out file;
	struct timespec a, b;
	double s;
	int error;

	error = virtiofs_call_lookup(c, FUSE_ROOT_ID, name, &entry);
	if (error < 0 ||
	    (error = virtiofs_call_open(c, entry.nodeid, O_RDONLY, &file)) <
		0 ||
	    (error = virtiofs_client_alloc_region(c, DEPTH * BLOCK, &r.mem)) <
		0 ||
	    (error = virtiofs_client_take_queue(c, VIRTIOFS_QUEUE_REQUEST(0), 0,
						&r.q)) < 0)
		return error;
	r.nodeid = entry.nodeid;
	r.fh = file.fh;
	r.size = entry.attr.size;
	for (unsigned i = 0; i < DEPTH; i++) {
		r.iov[i] = virtiofs_iov((char *)r.mem.addr + i * BLOCK, BLOCK);
		r.idle[r.nidle++] = i;
	}
	clock_gettime(CLOCK_MONOTONIC, &a);
	error = read_all(&r);
	clock_gettime(CLOCK_MONOTONIC, &b);
	s = (double)(b.tv_sec - a.tv_sec) +
	    (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	printf("%llu bytes in %.3f s\n", (unsigned long long)r.bytes, s);
	if (!error)
		virtiofs_cliq_release(r.q);
	return error; /* free gives back what is open and looked up */
}

int main(int argc, char **argv)
{
	struct virtiofs_transport *t;
	struct virtiofs_client *c = NULL;
	int r = argc == 3 ? virtiofs_transport_open_client(&t, argv[1]) : -1;

	if (r >= 0)
		r = virtiofs_connect(&c, t);
	if (r >= 0)
		r = run(c, argv[2]);
	if (r < 0)
		fprintf(stderr, "fast_client: %s\n",
			argc == 3 ? virtiofs_last_error()
				  : "usage: fast_client URI NAME");
	virtiofs_client_free(c);
	return r < 0;
}
