/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rawfuse.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int on_request(struct virtiofs_req *req)
{
	struct program *p = req->userdata;

	assert_true(p->cnt < 1100);
	p->reqs[p->cnt++] = req;
	if (p->on_request)
		p->on_request(p, req);
	else if (!p->keep && req->flags & VIRTIOFS_REQ_NOREPLY)
		virtiofs_req_done(req);
	else if (!p->keep)
		return virtiofs_req_error(req, 0);
	return 0;
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
	struct program *p = userdata;

	assert_true(p->forget_cnt < 5000);
	p->forgets[p->forget_cnt].nodeid = nodeid;
	p->forgets[p->forget_cnt++].nlookup = nlookup;
	if (p->on_forget)
		p->on_forget(p);
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	struct program *p = userdata;

	assert_true(p->interrupts < 64);
	p->interrupted[p->interrupts++] = req;
	if (p->on_interrupt)
		p->on_interrupt(p);
}

static void on_init(const struct fuse_init_in *in, struct fuse_init_out *out,
		    void *userdata)
{
	struct program *p = userdata;

	p->inits++;
	if (p->on_init)
		p->on_init(out);
}

static void on_reset(void *userdata)
{
	struct program *p = userdata;

	p->resets++;
}

static void on_log(void *data, int level, const char *line)
{
	struct program *p = data;

	if (p->log_cnt < 8)
		snprintf(p->logged[p->log_cnt++], 256, "%s", line);
}

void program_start(struct program *p, uint64_t features)
{
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = p->no_forget ? NULL : on_forget,
	    .interrupt = on_interrupt,
	    .init = on_init,
	    .reset = on_reset,
	};
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = "raw",
	    .num_request_queues = p->queues ? p->queues : 2,
	    .max_write = p->max_write,
	    .flags = p->flags,
	    .hiprio_interval = p->hiprio_interval,
	    .forget_budget = p->forget_budget,
	    .interrupts_max = p->interrupts_max,
	    .dispatch_max = p->dispatch_max,
	    .notify_buf_size = p->notify_buf_size,
	    .notify_backlog = p->notify_backlog,
	    .log = on_log,
	    .log_data = p,
	};

	if (!p->num)
		p->num = 16;
	raw_init(&p->raw, features);
	assert_int_equal(
	    virtiofs_device_new(&p->dev, &p->raw.base, &ops, &opts, p), 0);
	raw_do(&p->raw, raw_setup, p->num);
	program_run(p);
	memset(p->raw.mem + RAW_BUFS, PATTERN, RAW_LEN - RAW_BUFS);
}

static void send_init(struct program *p)
{
	const struct fuse_init_in in = {
	    .major = 7,
	    .minor = 45,
	    .flags = 0x7fffffff,
	    .flags2 = 0xffffffff,
	};
	unsigned vq = p->raw.features & VIRTIOFS_F_NOTIFICATION ? 2 : 1;

	send_frame(p, vq, CELLS - 1, FUSE_INIT, &in, sizeof(in), 80);
	program_run(p);
	assert_int_equal(reply_of(p, vq, CELLS - 1), 0);
	p->cnt = 0;
}

void program_open(struct program *p, uint64_t features)
{
	program_start(p, features);
	send_init(p);
	raw_calls(&p->raw.q[1]);
}

void program_open_again(struct program *p,
			void (*answer)(struct fuse_init_out *))
{
	p->on_init = answer;
	send_init(p);
}

void agree_setxattr_ext(struct fuse_init_out *out)
{
	out->flags |= FUSE_SETXATTR_EXT;
}

void program_stop(struct program *p)
{
	virtiofs_device_free(p->dev);
	raw_fini(&p->raw);
}

int program_new(void **state)
{
	*state = calloc(1, sizeof(struct program));
	return 0;
}

int program_set_up(void **state)
{
	program_new(state);
	program_open(*state, 0);
	return 0;
}

int program_set_up_keeping(void **state)
{
	struct program *p;

	program_set_up(state);
	p = *state;
	p->keep = true;
	return 0;
}

int program_tear_down(void **state)
{
	program_stop(*state);
	free(*state);
	return 0;
}

void program_run(struct program *p)
{
	struct pollfd fd = {.fd = virtiofs_device_fd(p->dev), .events = POLLIN};

	while (poll(&fd, 1, 0) == 1)
		assert_true(virtiofs_device_dispatch(p->dev) >= 0);
}

struct fuse_in_header *frame_of(struct program *p, unsigned i)
{
	return (struct fuse_in_header *)(void *)cell(p, i);
}

uint32_t put_frame(struct program *p, unsigned i, uint32_t opcode,
		   const void *args, size_t len)
{
	struct fuse_in_header in = {
	    .len = (uint32_t)(sizeof(in) + len),
	    .opcode = opcode,
	    .unique = UNIQUE(i),
	    .nodeid = 1,
	};

	assert_true(i < CELLS && in.len <= CELL_ROOM);
	memset(cell(p, i), PATTERN, CELL_LEN);
	memcpy(cell(p, i), &in, sizeof(in));
	if (len)
		memcpy(cell(p, i) + sizeof(in), args, len);
	return in.len;
}

uint16_t post_cell(struct program *p, unsigned vq, unsigned i, uint32_t room)
{
	struct raw_desc d[2] = {
	    {cell_addr(i), frame_of(p, i)->len, 0},
	    {cell_addr(i) + CELL_ROOM, room, VTFS_DESC_F_WRITE},
	};
	uint16_t head = raw_chain(&p->raw.q[vq], d, room ? 2 : 1);

	raw_post(&p->raw.q[vq], head);
	return head;
}

uint16_t send_frame(struct program *p, unsigned vq, unsigned i, uint32_t opcode,
		    const void *args, size_t len, uint32_t room)
{
	put_frame(p, i, opcode, args, len);
	return post_cell(p, vq, i, room);
}

int reply_of(struct program *p, unsigned vq, unsigned i)
{
	struct fuse_out_header out;
	uint32_t id, len;

	assert_true(raw_used(&p->raw.q[vq], &id, &len));
	if (!len)
		return 1;
	memcpy(&out, cell(p, i) + CELL_ROOM, sizeof(out));
	assert_int_equal(out.len, len);
	assert_int_equal(out.unique, frame_of(p, i)->unique);
	assert_in_range(-out.error, 0, 511);
	if (out.error)
		assert_int_equal(out.len, 16);
	/* Nothing behind what was said. */
	assert_int_equal(cell(p, i)[CELL_ROOM + len], PATTERN);
	return out.error;
}

const void *reply_bytes(struct program *p, unsigned i)
{
	return cell(p, i) + CELL_ROOM + 16;
}

uint32_t reply_len(struct program *p, unsigned i)
{
	struct fuse_out_header out;

	memcpy(&out, cell(p, i) + CELL_ROOM, sizeof(out));
	return out.len - 16;
}

void no_reply(struct program *p, unsigned vq)
{
	uint32_t id, len;

	assert_false(raw_used(&p->raw.q[vq], &id, &len));
}

void send_statfs(struct program *p, unsigned vq, unsigned i)
{
	send_frame(p, vq, i, FUSE_STATFS, "", 0, 200);
}

unsigned char *snapshot(struct program *p)
{
	unsigned char *copy = malloc(RAW_LEN);

	memcpy(copy, p->raw.mem, RAW_LEN);
	return copy;
}

struct fuse_init_in make_init(uint32_t major, uint32_t minor)
{
	return (struct fuse_init_in){
	    .major = major,
	    .minor = minor,
	    .max_readahead = 131072,
	    .flags = ~FUSE_INIT_RESERVED,
	    .flags2 = ~0u,
	};
}

int init_of(struct program *p, unsigned vq, const struct fuse_init_in *in,
	    size_t len, struct fuse_init_out *ret)
{
	int r;

	send_frame(p, vq, CELLS - 1, FUSE_INIT, in, len, 80);
	program_run(p);
	r = reply_of(p, vq, CELLS - 1);
	if (r == 0) {
		assert_int_equal(reply_len(p, CELLS - 1), sizeof(*ret));
		memcpy(ret, reply_bytes(p, CELLS - 1), sizeof(*ret));
	}
	return r;
}

int getattr_of(struct program *p, unsigned vq)
{
	send_frame(p, vq, 0, FUSE_GETATTR, &(struct fuse_getattr_in){0}, 16,
		   120);
	program_run(p);
	return reply_of(p, vq, 0);
}

void note_forgets(struct program *p, struct virtiofs_req *req)
{
	((unsigned *)p->more)[p->cnt - 1] = p->forget_cnt;
	virtiofs_req_error(req, 0);
}
