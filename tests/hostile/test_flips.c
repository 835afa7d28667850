/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A driver that changes its frames and descriptors while they are read: what
 * the program gets has been judged as it is. */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/shared.h"
#include "rawfuse.h"

struct flipper {
	pthread_t thread;
	uint32_t stop;
	unsigned char *at; /* a byte that takes one value after the other */
	unsigned char values[4];
};

static void *flip(void *arg)
{
	struct flipper *f = arg;

	for (unsigned i = 0; !__atomic_load_n(&f->stop, __ATOMIC_RELAXED); i++)
		vtfs_store_once(f->at, f->values[i % 4]);
	return NULL;
}

static void begin(struct flipper *f)
{
	pthread_create(&f->thread, NULL, flip, f);
}

static void end(struct flipper *f)
{
	__atomic_store_n(&f->stop, 1, __ATOMIC_RELAXED);
	pthread_join(f->thread, NULL);
}

/* Whatever the frame says now, what was handed out agrees with itself. */
static void check_request(struct program *p, struct virtiofs_req *req)
{
	const struct fuse_in_header *in = req->in;

	if (in->opcode == FUSE_LOOKUP) {
		assert_int_equal(req->arg_len, in->len - 40);
		assert_int_equal(strlen(req->arg) + 1, req->arg_len);
		assert_null(strchr(req->arg, '/'));
		assert_int_equal(req->data_len, 0);
	} else if (in->opcode == FUSE_WRITE) {
		const struct fuse_write_in *w = req->arg;

		assert_int_equal(req->data_len, w->size);
		assert_int_equal(in->len, 80 + w->size);
	}
	virtiofs_req_error(req, 0);
}

static void run(struct program *p, uint32_t opcode, const void *args,
		size_t len, struct flipper *f)
{
	struct raw_desc d[2] = {
	    {cell_addr(0), (uint32_t)len + 40, 0},
	    {cell_addr(0) + CELL_ROOM, 200, VTFS_DESC_F_WRITE},
	};
	uint32_t id, used;
	unsigned replies = 0;

	p->on_request = check_request;
	put_frame(p, 0, opcode, args, len);
	begin(f);
	for (unsigned i = 0; i < 20000; i++) {
		raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, 2));
		assert_true(virtiofs_device_dispatch(p->dev) >= 0);
		while (raw_used(&p->raw.q[1], &id, &used))
			replies++;
		p->cnt = 0;
	}
	end(f);
	program_run(p);
	while (raw_used(&p->raw.q[1], &id, &used))
		replies++;
	assert_int_equal(replies, 20000);
	assert_int_equal(p->raw.broken, 0);
}

static void name_grows_slashes_and_loses_its_end(void **state)
{
	struct program p = {0};
	struct flipper f = {.values = {'x', '/', '\0', 'y'}};

	program_open(&p, 0);
	f.at = cell(&p, 0) + 40 + 3;
	run(&p, FUSE_LOOKUP, "abcd\0", 5, &f);
	f = (struct flipper){.values = {'\0', 'x', '/', '\0'}};
	f.at = cell(&p, 0) + 40 + 4;
	run(&p, FUSE_LOOKUP, "abcd\0", 5, &f);
	program_stop(&p);
}

/* covers: SPLIT-DEV-30 */
static void header_and_sizes_change_under_the_reader(void **state)
{
	struct program p = {0};
	struct flipper f = {.values = {145, 144, 255, 0}};
	struct {
		struct fuse_write_in in;
		char data[64];
	} w = {.in.size = 64};

	program_open(&p, 0);
	f.at = cell(&p, 0); /* in.len */
	run(&p, FUSE_WRITE, &w, 104, &f);
	f = (struct flipper){
	    .values = {FUSE_WRITE, FUSE_LOOKUP, FUSE_SETXATTR, FUSE_IOCTL}};
	f.at = cell(&p, 0) + 4; /* opcode */
	run(&p, FUSE_WRITE, &w, 104, &f);
	f = (struct flipper){.values = {64, 63, 65, 255}};
	f.at = cell(&p, 0) + 40 + offsetof(struct fuse_write_in, size);
	run(&p, FUSE_WRITE, &w, 104, &f);
	/* The length and the address of a descriptor. */
	f = (struct flipper){.values = {144, 40, 255, 1}};
	f.at = (unsigned char *)&p.raw.q[1].desc[0].len;
	run(&p, FUSE_WRITE, &w, 104, &f);
	f = (struct flipper){.values = {1, 0, 0xff, 2}};
	f.at = (unsigned char *)&p.raw.q[1].desc[2].addr + 4;
	run(&p, FUSE_WRITE, &w, 104, &f);
	program_stop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(name_grows_slashes_and_loses_its_end),
	    cmocka_unit_test(header_and_sizes_change_under_the_reader),
	};

	return cmocka_run_group_tests_name("flips", tests, NULL, NULL);
}
