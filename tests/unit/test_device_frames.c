/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Honest frames through a device session, cut in every way. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "rawfuse.h"
#include "wire/fuse_ops.h"

static int setup(void **state)
{
	struct program *p = calloc(1, sizeof(*p));

	*state = p;
	p->queues = 3;
	p->num = 256;
	program_open(p, 0);
	return 0;
}

/* Arguments for any opcode, and their length: names are "a" and "b". */
static size_t make_args(const struct vtfs_fuse_op *op, char *buf)
{
	const struct vtfs_fuse_proto proto = {.minor = 45,
					      .flags = FUSE_SETXATTR_EXT};
	size_t len = vtfs_fuse_arg_len(op, &proto);
	uint32_t bulk = 3;

	memset(buf, 0, 256);
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(i % 7);
	if (op->bulk_unit)
		memcpy(buf + op->bulk_off, &bulk, 4);
	if (op->opcode == FUSE_READ || op->opcode == FUSE_READDIR ||
	    op->opcode == FUSE_READDIRPLUS)
		memcpy(buf + offsetof(struct fuse_read_in, size), "\0\20\0\0",
		       4);
	for (unsigned i = 0; i < op->names; i++) {
		buf[len++] = (char)('a' + i);
		buf[len++] = '\0';
	}
	if (op->bulk_unit) {
		memset(buf + len, 'D', bulk * op->bulk_unit);
		len += bulk * op->bulk_unit;
	}
	return len;
}

static bool is_plain(const struct vtfs_fuse_op *op)
{
	return op && op->opcode != FUSE_INIT && op->opcode != FUSE_DESTROY &&
	       !(op->flags & VTFS_FUSE_HIPRIO) &&
	       op->answer == VTFS_FUSE_ANSWER;
}

/* What the program saw of the last request, as bytes one after the other. */
static size_t flatten(const struct virtiofs_req *req, char *buf)
{
	size_t len = req->arg_len;

	memcpy(buf, req->arg, len);
	for (unsigned i = 0; i < req->data_cnt; i++) {
		memcpy(buf + len, req->data[i].iov_base, req->data[i].iov_len);
		len += req->data[i].iov_len;
	}
	return len;
}

/* The longest reply, or 64 bytes of one, from bytes that are not contiguous. */
static void answer_in_pieces(struct program *p, struct virtiofs_req *req)
{
	static const char reply[512] = "0123456789abcdefghijklmnopqrstuvwxyz";
	size_t len = req->room_len < 64 ? req->room_len : 64;
	const struct iovec iov[3] = {
	    {(char *)reply, len / 3},
	    {(char *)reply + len / 3, 0},
	    {(char *)reply + len / 3, len - len / 3},
	};
	char got[512];
	size_t got_len = flatten(req, got);

	assert_int_equal(got_len, req->in->len - 40);
	assert_memory_equal(got, p->more, got_len);
	assert_int_equal(virtiofs_req_replyv(req, iov, 3), 0);
}

/* Cut [off, off + len) of the memory into parts of step bytes. */
static unsigned cut(struct raw_desc *d, uint64_t addr, uint32_t len,
		    uint32_t step, uint16_t flags)
{
	unsigned cnt = 0;

	for (uint32_t at = 0; at < len; at += step)
		d[cnt++] = (struct raw_desc){
		    addr + at, step < len - at ? step : len - at, flags};
	return cnt;
}

static void send_cut(struct program *p, unsigned how, uint32_t len,
		     uint32_t room)
{
	struct raw_desc d[256];
	unsigned cnt = 0;
	uint64_t in = cell_addr(0), out = in + CELL_ROOM;

	switch (how) {
	case 0: /* a descriptor per part */
		cnt = cut(d, in, 40, 40, 0);
		cnt += cut(d + cnt, in + 40, len - 40, 4096, 0);
		cnt += cut(d + cnt, out, 16, 16, VTFS_DESC_F_WRITE);
		cnt += cut(d + cnt, out + 16, room - 16, 4096,
			   VTFS_DESC_F_WRITE);
		break;
	case 1: /* byte by byte */
		cnt = cut(d, in, len, 1, 0);
		cnt += cut(d + cnt, out, room, 7, VTFS_DESC_F_WRITE);
		break;
	case 2: /* all in one */
		cnt = cut(d, in, len, len, 0);
		cnt += cut(d + cnt, out, room, room, VTFS_DESC_F_WRITE);
		break;
	default: /* headers across descriptors, neither ends with one */
		cnt = cut(d, in, len, 33, 0);
		cnt += cut(d + cnt, out, room, 9, VTFS_DESC_F_WRITE);
	}
	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, cnt));
}

/* covers: SPLIT-DEV-01, FUSE-DEV-11, FUSE-DEV-12, FUSE-DEV-13, VQ-DEV-01 */
static void every_opcode_cut_in_every_way_is_the_same(void **state)
{
	struct program *p = *state;
	const char *want = "0123456789abcdefghijklmnopqrstuvwxyz";
	char args[512], text[128] = {0};
	unsigned ops = 0;

	memcpy(text, want, strlen(want));
	program_open_again(p, agree_setxattr_ext);
	p->on_request = answer_in_pieces;
	p->more = args;
	for (uint32_t opcode = 0; opcode < 64; opcode++) {
		const struct vtfs_fuse_op *op = vtfs_fuse_op(opcode);
		size_t len = is_plain(op) ? make_args(op, args) : 0;

		for (unsigned how = 0; is_plain(op) && how < 4; how++) {
			put_frame(p, 0, opcode, args, len);
			frame_of(p, 0)->unique = 0xfedcba9800000000u + opcode;
			send_cut(p, how, (uint32_t)len + 40, 16 + 304);
			program_run(p);
			assert_int_equal(p->cnt, 1);
			assert_int_equal(reply_of(p, 1, 0), 0);
			assert_memory_equal(reply_bytes(p, 0), text,
					    reply_len(p, 0));
			p->cnt = 0;
		}
		ops += is_plain(op);
	}
	assert_in_range(ops, 40, 60);
}

/* covers: SPLIT-DEV-04 */
static void readable_parts_are_only_read(void **state)
{
	struct program *p = *state;
	unsigned char *theirs = p->raw.regions[0]->addr + RAW_BUFS;
	char args[512];

	program_open_again(p, agree_setxattr_ext);
	/* The first half of cell 0 as the device sees it. */
	assert_int_equal(mprotect(theirs, CELL_ROOM, PROT_READ), 0);
	for (uint32_t opcode = 1; opcode < 64; opcode++) {
		const struct vtfs_fuse_op *op = vtfs_fuse_op(opcode);

		if (!op || opcode == FUSE_INIT || opcode == FUSE_DESTROY)
			continue;
		send_frame(p, op->flags & VTFS_FUSE_HIPRIO ? 0 : 1, 0, opcode,
			   args, make_args(op, args), 200);
		program_run(p);
		p->cnt = 0;
	}
	/* A fault is answered without it as well. */
	send_frame(p, 1, 0, FUSE_LOOKUP, "", 0, 200);
	program_run(p);
	assert_int_equal(mprotect(theirs, CELL_ROOM, PROT_READ | PROT_WRITE),
			 0);
}

static void answer_with_errno(struct program *p, struct virtiofs_req *req)
{
	int error = *(int *)p->more;
	int r = virtiofs_req_error(req, error);

	assert_int_equal(r, error <= 0 && error >= -511 ? 0 : -EINVAL);
}

/* covers: FUSE-DEV-14 */
static void errors_are_errnos_and_nothing_else(void **state)
{
	struct program *p = *state;
	static int error;

	p->on_request = answer_with_errno;
	p->more = &error;
	for (error = -600; error <= 10; error++) {
		send_frame(p, 1, 0, FUSE_STATFS, "", 0, 200);
		program_run(p);
		assert_int_equal(reply_of(p, 1, 0),
				 error > 0 || error < -511 ? -EIO : error);
		assert_int_equal(reply_len(p, 0), 0);
		p->cnt = 0;
	}
}

/* covers: FUSE-DEV-10 */
static void resend_bit_of_unique_is_echoed(void **state)
{
	struct program *p = *state;

	put_frame(p, 0, FUSE_MKDIR, "01234567d", 10);
	frame_of(p, 0)->unique |= FUSE_UNIQUE_RESEND;
	post_cell(p, 1, 0, 200);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_true(p->reqs[0]->in->unique & FUSE_UNIQUE_RESEND);
}

static void answer_too_long(struct program *p, struct virtiofs_req *req)
{
	static const char bytes[400];
	size_t len = *(size_t *)p->more;
	int r = virtiofs_req_reply(req, bytes, len);

	assert_int_equal(r, len > req->room_len ? -EMSGSIZE : 0);
}

/* covers: FUSE-DEV-15 */
static void reply_longer_than_its_room_is_an_error(void **state)
{
	struct program *p = *state;
	static size_t len;

	p->on_request = answer_too_long;
	p->more = &len;
	for (len = 0; len < 110; len++) {
		for (uint32_t room = 16; room < 140; room += 31) {
			send_frame(p, 1, 0, FUSE_GETATTR, "0123456789abcdef",
				   16, room);
			program_run(p);
			assert_int_equal(reply_of(p, 1, 0),
					 len > room - 16 ? -EIO : 0);
			p->cnt = 0;
		}
	}
}

static void answer_all_room(struct program *p, struct virtiofs_req *req)
{
	size_t want = *(size_t *)p->more;

	assert_int_equal(req->room_len, want);
	for (unsigned i = 0; i < req->room_cnt; i++)
		memset(req->room[i].iov_base, 'r', req->room[i].iov_len);
	assert_int_equal(virtiofs_req_filled(req, req->room_len), 0);
}

/* covers: FUSE-DEV-24, SPLIT-DEV-20 */
static void room_is_what_was_asked_and_fits(void **state)
{
	struct program *p = *state;
	const uint32_t ops[] = {FUSE_READ, FUSE_READDIR, FUSE_READDIRPLUS};
	size_t want;

	p->on_request = answer_all_room;
	p->more = &want;
	for (uint32_t size = 0; size < 3000; size += 500) {
		for (uint32_t room = 0; room < 3000; room += 700) {
			struct fuse_read_in rd = {.size = size};
			uint32_t op = ops[(size + room) % 3];

			want = size < room ? size : room;
			send_frame(p, 1, 0, op, &rd, sizeof(rd), 16 + room);
			program_run(p);
			assert_int_equal(reply_of(p, 1, 0), 0);
			assert_int_equal(reply_len(p, 0), want);
			for (size_t i = 0; i < want; i++)
				assert_int_equal(((char *)reply_bytes(p, 0))[i],
						 'r');
			p->cnt = 0;
		}
	}
	want = 8; /* GETXATTR of size 0 asks for the length */
	send_frame(p, 1, 0, FUSE_LISTXATTR, "\0\0\0\0\0\0\0", 8, 200);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
}

static void answer_slice(struct program *p, struct virtiofs_req *req)
{
	const struct fuse_read_in *rd = req->arg;

	assert_int_equal(
	    virtiofs_req_reply_slice(req, "0123456789", 10, rd->offset), 0);
}

/* covers: FS-DEV-10 */
static void read_across_the_end_is_short(void **state)
{
	struct program *p = *state;

	p->on_request = answer_slice;
	for (uint64_t off = 0; off < 13; off++) {
		struct fuse_read_in rd = {.offset = off, .size = 4};
		uint64_t left = off < 10 ? 10 - off : 0;

		send_frame(p, 1, 0, FUSE_READ, &rd, sizeof(rd), 16 + 4096);
		program_run(p);
		assert_int_equal(reply_of(p, 1, 0), 0);
		assert_int_equal(reply_len(p, 0), left < 4 ? left : 4);
		assert_memory_equal(reply_bytes(p, 0), &"0123456789"[10 - left],
				    reply_len(p, 0));
		p->cnt = 0;
	}
}

/* covers: FUSE-DEV-18 */
static void notify_reply_has_no_reply(void **state)
{
	struct program *p = *state;
	struct {
		struct fuse_notify_retrieve_in in;
		char data[10];
	} n = {.in = {.offset = 7, .size = 10}};

	send_frame(p, 1, 0, FUSE_NOTIFY_REPLY, &n, 50, 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 1);
	assert_int_equal(p->cnt, 1);
	assert_true(p->reqs[0]->flags & VIRTIOFS_REQ_NOREPLY);
	assert_int_equal(p->reqs[0]->in->unique, UNIQUE(0));
}

/* covers: FS-DEV-05 */
static void every_queue_serves_every_opcode(void **state)
{
	struct program *p = *state;
	char args[512];

	program_open_again(p, agree_setxattr_ext);
	for (unsigned vq = 1; vq <= 3; vq++) {
		for (uint32_t opcode = 1; opcode < 64; opcode++) {
			const struct vtfs_fuse_op *op = vtfs_fuse_op(opcode);

			if (!is_plain(op))
				continue;
			send_frame(p, vq, 0, opcode, args, make_args(op, args),
				   16);
			program_run(p);
			assert_int_equal(reply_of(p, vq, 0), 0);
			assert_int_equal(p->cnt, 1);
			assert_int_equal(p->reqs[0]->in->opcode, opcode);
			p->cnt = 0;
		}
	}
}

/* covers: ROB-DEV-04 */
static void second_reply_is_refused_and_sends_nothing(void **state)
{
	struct program *p = *state;
	struct virtiofs_req *req;

	p->keep = true;
	send_frame(p, 1, 0, FUSE_STATFS, "", 0, 200);
	send_frame(p, 1, 1, FUSE_STATFS, "", 0, 200);
	program_run(p);
	req = p->reqs[0];
	assert_int_equal(virtiofs_req_error(req, -EPERM), 0);
	assert_int_equal(virtiofs_req_error(req, -EPERM), -EINVAL);
	assert_int_equal(virtiofs_req_reply(req, "x", 1), -EINVAL);
	assert_int_equal(virtiofs_req_filled(req, 1), -EINVAL);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -EPERM);
	no_reply(p, 1);
	virtiofs_req_error(p->reqs[1], 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 1), 0);
	no_reply(p, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, program_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(every_opcode_cut_in_every_way_is_the_same),
	    T(readable_parts_are_only_read),
	    T(errors_are_errnos_and_nothing_else),
	    T(resend_bit_of_unique_is_echoed),
	    T(reply_longer_than_its_room_is_an_error),
	    T(room_is_what_was_asked_and_fits),
	    T(read_across_the_end_is_short),
	    T(notify_reply_has_no_reply),
	    T(every_queue_serves_every_opcode),
	    T(second_reply_is_refused_and_sends_nothing),
	};

	return cmocka_run_group_tests_name("device frames", tests, NULL, NULL);
}
