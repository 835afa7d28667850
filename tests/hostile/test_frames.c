/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames that lie, through a whole device session. Each is followed by an
 * honest one on the same queue, which has to be served.
 */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"

static int setup(void **state)
{
	struct program *p = calloc(1, sizeof(*p));

	*state = p;
	p->max_write = 8192;
	program_open(p, 0);
	return 0;
}

/* The queue goes on. */
static void still_serves(struct program *p, unsigned vq)
{
	unsigned cnt = p->cnt;

	send_frame(p, vq, CELLS - 2, FUSE_GETATTR, &(struct fuse_getattr_in){0},
		   16, 120);
	program_run(p);
	assert_int_equal(reply_of(p, vq, CELLS - 2), 0);
	assert_int_equal(p->cnt, cnt + 1);
	assert_int_equal(p->raw.broken, 0);
	p->cnt = cnt;
}

/* Send what is in the cell and expect -EINVAL, the program not asked. */
static void is_refused(struct program *p, unsigned i, uint32_t readable)
{
	struct raw_desc d[2] = {
	    {cell_addr(i), readable, 0},
	    {cell_addr(i) + CELL_ROOM, 256, VTFS_DESC_F_WRITE},
	};

	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, 2));
	program_run(p);
	assert_int_equal(reply_of(p, 1, i), -EINVAL);
	assert_int_equal(p->cnt, 0);
	still_serves(p, 1);
}

static void frame_is_refused(struct program *p, uint32_t opcode,
			     const void *args, size_t len)
{
	is_refused(p, 0, put_frame(p, 0, opcode, args, len));
}

/* covers: FUSE-DEV-07 */
static void in_len_is_not_what_is_readable(void **state)
{
	struct program *p = *state;
	const uint32_t lies[] = {0, 39, 56 - 1, 56 + 1, 0xffffffff};

	for (unsigned i = 0; i < 5; i++) {
		put_frame(p, 0, FUSE_GETATTR, "0123456789abcdef", 16);
		frame_of(p, 0)->len = lies[i];
		is_refused(p, 0, 56);
		/* Of an opcode whose length nothing else tells. */
		put_frame(p, 0, 0xbad, "0123456789abcdef", 16);
		frame_of(p, 0)->len = lies[i];
		is_refused(p, 0, 56);
	}
}

/* covers: FUSE-DEV-08 */
static void fewer_than_forty_readable_bytes(void **state)
{
	struct program *p = *state;
	const uint32_t rooms[] = {0, 8, 15, 16, 200};

	for (uint32_t n = 0; n < 40; n++) {
		for (unsigned k = 0; k < 5; k++) {
			struct raw_desc d[2] = {
			    {cell_addr(0), n, 0},
			    {cell_addr(0) + CELL_ROOM, rooms[k],
			     VTFS_DESC_F_WRITE},
			};
			bool answer = n >= 16 && rooms[k] >= 16;

			if (!n && !rooms[k])
				continue;
			put_frame(p, 0, FUSE_LOOKUP, "x", 2);
			raw_post(&p->raw.q[1],
				 raw_chain(&p->raw.q[1], n ? d : d + 1,
					   (n ? 1 : 0) + (rooms[k] ? 1 : 0)));
			program_run(p);
			assert_int_equal(reply_of(p, 1, 0),
					 answer ? -EINVAL : 1);
			if (!answer)
				assert_int_equal(cell(p, 0)[CELL_ROOM],
						 PATTERN);
			assert_int_equal(p->cnt, 0);
		}
	}
	still_serves(p, 1);
}

/* A request that wants an answer and has no space for its header. */
static void no_space_for_the_reply_header(void **state)
{
	struct program *p = *state;

	for (uint32_t room = 0; room < 16; room++) {
		send_frame(p, 1, 0, FUSE_LOOKUP, "name", 5, room);
		program_run(p);
		assert_int_equal(reply_of(p, 1, 0), 1);
		assert_int_equal(cell(p, 0)[CELL_ROOM], PATTERN);
		assert_int_equal(p->cnt, 0);
	}
	still_serves(p, 1);
}

static void unique_of_a_notification(void **state)
{
	struct program *p = *state;

	put_frame(p, 0, FUSE_LOOKUP, "name", 5);
	frame_of(p, 0)->unique = 0;
	post_cell(p, 1, 0, 200);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 1);
	assert_int_equal(cell(p, 0)[CELL_ROOM], PATTERN);
	assert_int_equal(p->cnt, 0);
	still_serves(p, 1);
}

/* covers: FUSE-DEV-26 */
static void names_that_are_none(void **state)
{
	struct program *p = *state;
	char mkdir[8 + 4] = {0};

	frame_is_refused(p, FUSE_LOOKUP, "name", 4); /* no NUL */
	frame_is_refused(p, FUSE_LOOKUP, "", 1);     /* empty */
	frame_is_refused(p, FUSE_LOOKUP, "", 0);     /* nothing */
	frame_is_refused(p, FUSE_LOOKUP, "../x", 5); /* a path */
	frame_is_refused(p, FUSE_LOOKUP, "a\0b", 4); /* bytes behind it */
	frame_is_refused(p, FUSE_RENAME, "01234567a\0b", 11); /* 2nd: no NUL */
	frame_is_refused(p, FUSE_RENAME, "01234567ab", 11);   /* one only */
	frame_is_refused(p, FUSE_RENAME, "01234567a\0b\0c", 14); /* three */
	frame_is_refused(p, FUSE_RENAME, "01234567a\0", 11);	 /* 2nd empty */
	frame_is_refused(p, FUSE_SYMLINK, "a/b\0target", 11);
	memcpy(mkdir + 8, "dir/", 4);
	frame_is_refused(p, FUSE_MKDIR, mkdir, sizeof(mkdir));
	frame_is_refused(p, FUSE_UNLINK, "/", 2);
}

static void fixed_arguments_cut_or_grown(void **state)
{
	struct program *p = *state;
	char args[120] = {0};

	frame_is_refused(p, FUSE_GETATTR, args, 15);
	frame_is_refused(p, FUSE_GETATTR, args, 17);
	frame_is_refused(p, FUSE_SETATTR, args, 87);
	frame_is_refused(p, FUSE_READ, args, 0);
	frame_is_refused(p, FUSE_READ, args, 41);
	frame_is_refused(p, FUSE_STATFS, args, 1);
	frame_is_refused(p, FUSE_MKDIR, args, 7);
}

static void name_longer_than_any_buffer(void **state)
{
	struct program *p = *state;
	static char name[9000];

	memset(name, 'n', sizeof(name) - 1);
	put_frame(p, 0, FUSE_LOOKUP, name, sizeof(name));
	post_cell(p, 1, 0, 200);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -E2BIG);
	assert_int_equal(p->cnt, 0);
	still_serves(p, 1);
}

/* covers: FUSE-DEV-06 */
static void write_size_is_not_what_follows(void **state)
{
	struct program *p = *state;
	struct {
		struct fuse_write_in in;
		char data[100];
	} w = {.in.size = 100};
	const uint32_t lies[] = {0, 99, 101, 0x7fffffff, 0xffffffff};

	for (unsigned i = 0; i < 5; i++) {
		w.in.size = lies[i];
		frame_is_refused(p, FUSE_WRITE, &w, sizeof(w));
	}
}

/* covers: FUSE-DEV-06 */
static void write_is_longer_than_agreed(void **state)
{
	struct program *p = *state;
	struct {
		struct fuse_write_in in;
		char data[8192 + 1];
	} w = {.in.size = 0};

	for (uint32_t len = 8191; len <= 8193; len++) {
		w.in.size = len;
		if (len > 8192) {
			frame_is_refused(p, FUSE_WRITE, &w, 40 + len);
			continue;
		}
		send_frame(p, 1, 0, FUSE_WRITE, &w, 40 + len, 24);
		program_run(p);
		assert_int_equal(reply_of(p, 1, 0), 0);
		assert_int_equal(p->reqs[0]->data_len, len);
		p->cnt = 0;
	}
}

/* covers: FUSE-DEV-17 */
static void forget_count_is_not_what_follows(void **state)
{
	struct program *p = *state;
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[3];
	} b = {.in.count = 3};
	const uint32_t lies[] = {0, 2, 4, 0x10000003, 0xffffffff};

	for (unsigned i = 0; i < 5; i++) {
		b.in.count = lies[i];
		send_frame(p, 0, 0, FUSE_BATCH_FORGET, &b, sizeof(b), 0);
		program_run(p);
		assert_int_equal(reply_of(p, 0, 0), 1);
		assert_int_equal(p->forget_cnt, 0);
	}
	/* A count of nothing, and a list cut in the middle of an entry. */
	b.in.count = 0;
	send_frame(p, 0, 0, FUSE_BATCH_FORGET, &b, 8, 0);
	b.in.count = 1;
	send_frame(p, 0, 1, FUSE_BATCH_FORGET, &b, 8 + 15, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 0), 1);
	assert_int_equal(reply_of(p, 0, 1), 1);
	assert_int_equal(p->forget_cnt, 0);
	b.in.count = 3;
	send_frame(p, 0, 0, FUSE_BATCH_FORGET, &b, sizeof(b), 0);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 0), 1);
	assert_int_equal(p->forget_cnt, 3);
}

/* covers: FUSE-DEV-27 */
static void mapping_count_is_not_what_follows(void **state)
{
	struct program *p = *state;
	char args[4 + 2 * 16] = {0};
	const uint32_t lies[] = {1, 3, 4097, 0x10000002, 0xffffffff};
	uint32_t two = 2;

	for (unsigned i = 0; i < 5; i++) {
		memcpy(args, &lies[i], 4);
		frame_is_refused(p, FUSE_REMOVEMAPPING, args, sizeof(args));
	}
	memcpy(args, &two, 4);
	send_frame(p, 1, 0, FUSE_REMOVEMAPPING, args, sizeof(args), 16);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_int_equal(p->reqs[0]->arg_len, 4);
	assert_int_equal(p->reqs[0]->data_len, 32);
}

/* covers: FS-DEV-17 */
static void forget_cut_short(void **state)
{
	struct program *p = *state;
	const char args[9] = {1};

	for (unsigned len = 0; len < 10; len++) {
		if (len == 8)
			continue;
		send_frame(p, 0, 0, FUSE_FORGET, args, len, 0);
		program_run(p);
		assert_int_equal(reply_of(p, 0, 0), 1);
		assert_int_equal(p->forget_cnt, 0);
	}
	/* Not even a header, and an opcode that exists nowhere. */
	send_frame(p, 0, 0, 0xdeadbeef, args, 8, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 0), 1);
	send_frame(p, 0, 0, FUSE_FORGET, args, 8, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 0), 1);
	assert_int_equal(p->forget_cnt, 1);
}

static void put_ext(char *buf, uint32_t size, uint32_t type)
{
	memcpy(buf, &size, 4);
	memcpy(buf + 4, &type, 4);
}

static void ext_is_refused(struct program *p, const char *ext, size_t len,
			   uint16_t units)
{
	char args[16 + 2 + 64] = {0};

	memcpy(args + 16, "n", 2);
	memcpy(args + 18, ext, len);
	put_frame(p, 0, FUSE_CREATE, args, 18 + len);
	frame_of(p, 0)->total_extlen = units;
	is_refused(p, 0, (uint32_t)(40 + 18 + len));
}

/* covers: FUSE-DEV-09 */
static void extensions_of_impossible_sizes(void **state)
{
	struct program *p = *state;
	char ext[64] = {0};

	put_ext(ext, 16, FUSE_EXT_GROUPS);
	ext_is_refused(p, ext, 16, 1); /* bytes without an owner */
	ext_is_refused(p, ext, 16, 3); /* more than there is */
	ext_is_refused(p, ext, 16, 0xffff);
	put_ext(ext, 7, FUSE_EXT_GROUPS); /* less than its header */
	ext_is_refused(p, ext, 16, 2);
	put_ext(ext, 12, FUSE_EXT_GROUPS); /* not a multiple of 8 */
	ext_is_refused(p, ext, 16, 2);
	put_ext(ext, 24, FUSE_EXT_GROUPS); /* reaches out */
	ext_is_refused(p, ext, 16, 2);
	put_ext(ext, 0, FUSE_EXT_GROUPS); /* would never end */
	ext_is_refused(p, ext, 16, 2);
	put_ext(ext, 16, FUSE_EXT_GROUPS); /* groups that do not fit */
	memset(ext + 8, 0x40, 4);
	ext_is_refused(p, ext, 16, 2);
	put_ext(ext, 24, 2); /* one of two contexts */
	memset(ext + 8, 0, 16);
	ext_is_refused(p, ext, 24, 3);
}

/* Two bytes of header and arguments where nothing is mapped. */
static void chain_outside_memory(void **state)
{
	struct program *p = *state;
	const uint64_t lies[] = {0, RAW_ADDR + RAW_LEN, UINT64_MAX,
				 RAW_ADDR - 1, RAW_ADDR + RAW_LEN - 1};

	for (unsigned i = 0; i < 5; i++) {
		struct raw_desc d[3] = {
		    {cell_addr(0), 40, 0},
		    {lies[i], 2, 0},
		    {cell_addr(0) + CELL_ROOM, 256, VTFS_DESC_F_WRITE},
		};

		put_frame(p, 0, FUSE_LOOKUP, "x", 2);
		raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, 3));
		program_run(p);
		assert_int_equal(reply_of(p, 1, 0), -EFAULT);
		assert_int_equal(p->cnt, 0);
		still_serves(p, 1);
	}
}

static void room_outside_memory(void **state)
{
	struct program *p = *state;
	struct raw_desc d[3] = {
	    {cell_addr(0), 45, 0},
	    {cell_addr(0) + CELL_ROOM, 16, VTFS_DESC_F_WRITE},
	    {RAW_ADDR + RAW_LEN, 128, VTFS_DESC_F_WRITE},
	};

	/* The header can be written, the rest can't. */
	put_frame(p, 0, FUSE_LOOKUP, "name", 5);
	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, 3));
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -EFAULT);
	/* Not even that. */
	d[1].addr = RAW_ADDR + RAW_LEN - 8;
	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, 3));
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 1);
	assert_int_equal(p->cnt, 0);
	still_serves(p, 1);
}

/* covers: ROB-DEV-01 */
static void ring_broken_on_one_queue_of_three(void **state)
{
	struct program *p = *state;
	struct raw_queue *q = &p->raw.q[1];

	q->avail->idx = htole16((uint16_t)(le16toh(q->avail->idx) + 1000));
	raw_kick(q);
	program_run(p);
	assert_int_equal(p->raw.broken, 1u << 1);
	p->raw.broken = 0;
	still_serves(p, 2);
	send_frame(p, 0, 0, FUSE_FORGET, "01234567", 8, 0);
	program_run(p);
	assert_int_equal(p->forget_cnt, 1);
	/* Queue 1 is not looked at any more, and one reset brings it back. */
	q->avail->idx = q->used->idx;
	send_frame(p, 1, 1, FUSE_STATFS, "", 0, 16);
	program_run(p);
	no_reply(p, 1);
	raw_do(&p->raw, raw_stop, 1);
	program_run(p);
	assert_int_equal(p->raw.stopped, 1);
	raw_queue_init(&p->raw, 1, 8);
	raw_do(&p->raw, raw_start, 1);
	program_run(p);
	still_serves(p, 1);
}

/* covers: SPLIT-DEV-03 */
static void readable_after_writable(void **state)
{
	struct program *p = *state;
	struct raw_desc d[2] = {
	    {cell_addr(0) + CELL_ROOM, 256, VTFS_DESC_F_WRITE},
	    {cell_addr(0), 45, 0},
	};

	put_frame(p, 0, FUSE_LOOKUP, "name", 5);
	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, 2));
	program_run(p);
	no_reply(p, 1);
	assert_int_equal(p->cnt, 0);
	assert_int_equal(p->raw.broken, 1u << 1);
	assert_int_equal(p->log_cnt, 2); /* the fault, and its outcome */
}

static void faults_by_the_thousand_are_one_line(void **state)
{
	struct program *p = *state;

	for (unsigned i = 0; i < 1000; i++) {
		send_frame(p, 1, 0, FUSE_LOOKUP, "", 1, 200);
		program_run(p);
		assert_int_equal(reply_of(p, 1, 0), -EINVAL);
	}
	assert_int_equal(p->log_cnt, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, program_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(in_len_is_not_what_is_readable),
	    T(fewer_than_forty_readable_bytes),
	    T(no_space_for_the_reply_header),
	    T(unique_of_a_notification),
	    T(names_that_are_none),
	    T(fixed_arguments_cut_or_grown),
	    T(name_longer_than_any_buffer),
	    T(write_size_is_not_what_follows),
	    T(write_is_longer_than_agreed),
	    T(forget_count_is_not_what_follows),
	    T(mapping_count_is_not_what_follows),
	    T(forget_cut_short),
	    T(extensions_of_impossible_sizes),
	    T(chain_outside_memory),
	    T(room_outside_memory),
	    T(ring_broken_on_one_queue_of_three),
	    T(readable_after_writable),
	    T(faults_by_the_thousand_are_one_line),
	};

	return cmocka_run_group_tests_name("hostile frames", tests, NULL, NULL);
}
