/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Read one file with 32 requests in flight: fast_client URI NAME */
#include <fcntl.h>
#include <stdio.h>
#include <virtiofs/virtiofs.h>

enum { DEPTH = 32, BLOCK = 65536 };

struct reader {
	struct virtiofs_cliq *q;
	struct virtiofs_region mem; /* the server writes here: no copies */
	struct iovec iov[DEPTH];
	struct fuse_entry_out entry;
	struct fuse_open_out file;
	uint64_t next, bytes, in_flight;
};

/* The next block, into part i of the memory. */
static void ask(struct reader *r, uint64_t i)
{
	struct virtiofs_op *op = virtiofs_cliq_get_op(r->q);

	if (!op)
		return; /* a ring smaller than DEPTH */
	r->iov[i] = virtiofs_iov((char *)r->mem.addr + i * BLOCK, BLOCK);
	virtiofs_prep_read(op, r->entry.nodeid, r->file.fh, r->next, BLOCK,
			   &r->iov[i], 1);
	op->user_data = i;
	r->next += BLOCK;
	r->in_flight++;
}

static int read_all(struct reader *r)
{
	struct virtiofs_result res[DEPTH];
	int n = 0;

	for (unsigned i = 0; i < DEPTH && r->next < r->entry.attr.size; i++)
		ask(r, i);
	while (r->in_flight && (n = virtiofs_cliq_wait(r->q, res, DEPTH)) > 0)
		for (int k = 0; k < n; k++) {
			if (res[k].error)
				return res[k].error;
			r->bytes += res[k].len;
			r->in_flight--;
			if (r->next < r->entry.attr.size)
				ask(r, res[k].user_data);
		}
	return n;
}

static int run(struct virtiofs_client *c, const char *name)
{
	struct reader r = {.mem = {.size = sizeof(r.mem)}};
	int e = virtiofs_call_lookup(c, FUSE_ROOT_ID, name, &r.entry);

	if (e >= 0)
		e = virtiofs_call_open(c, r.entry.nodeid, O_RDONLY, &r.file);
	if (e >= 0)
		e = virtiofs_client_alloc_region(c, DEPTH * BLOCK, &r.mem);
	if (e >= 0)
		e = virtiofs_client_take_queue(c, 1, 0, &r.q);
	if (e >= 0)
		e = read_all(&r);
	if (e >= 0)
		printf("%llu bytes\n", (unsigned long long)r.bytes);
	return e; /* free gives back what is open and looked up */
}

int main(int argc, char **argv)
{
	struct virtiofs_client *c = NULL;
	int r = argc == 3 ? virtiofs_connect_uri(&c, argv[1]) : -1;

	if (r >= 0)
		r = run(c, argv[2]);
	if (r < 0)
		fprintf(stderr, "fast_client: %s\n",
			argc == 3 ? virtiofs_last_error()
				  : "usage: fast_client URI NAME");
	virtiofs_client_free(c);
	return r < 0;
}
