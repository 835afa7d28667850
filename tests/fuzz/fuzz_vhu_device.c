/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device behind a vhost-user socket, and a front-end that sends anything:
 * messages right or wrong, with file descriptors of all kinds, cut anywhere;
 * it writes into the memory it shared, cuts that too, leaves when it likes and
 * comes again.
 */
#include <errno.h>

#include "front.h"

#define KEPT_MAX 16u

struct fuzz {
	struct front front;
	struct virtiofs_req *kept[KEPT_MAX];
	unsigned kept_cnt;
};

/* ---- the program ---- */

static volatile uint8_t sink;

static void reply(struct fuzz *f, struct virtiofs_req *req)
{
	switch (in_u8(f->front.in) % 4) {
	case 0:
		virtiofs_req_error(req, -ENOENT);
		break;
	case 1:
		virtiofs_req_filled(req, req->room_len);
		break;
	case 2:
		virtiofs_req_reply(req, "reply", 6);
		break;
	case 3:
		virtiofs_req_done(req);
		break;
	}
}

static int on_request(struct virtiofs_req *req)
{
	struct fuzz *f = req->userdata;

	for (unsigned i = 0; i < req->data_cnt; i++)
		for (size_t k = 0; k < req->data[i].iov_len; k++)
			sink ^= ((uint8_t *)req->data[i].iov_base)[k];
	if (f->kept_cnt < KEPT_MAX && in_u8(f->front.in) % 2)
		f->kept[f->kept_cnt++] = req;
	else
		reply(f, req);
	return 0;
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	must(virtiofs_req_interrupted(req));
}

/* ---- the front-end ---- */

static void poke(struct fuzz *f, uint8_t how)
{
	uint16_t off = in_u16(f->front.in);

	if (how == 15)
		sock_truncate(KIND_MEM + off % 2, off / 2);
	else if (off <= KIND_LEN - 64)
		in_bytes(f->front.in, sock_mem[0] + off,
			 in_u8(f->front.in) % 64);
	sock_kick(how & 1 ? KIND_EVENT : KIND_BLOCKING);
	front_run(&f->front);
}

static void leave(struct fuzz *f, uint8_t how)
{
	if (how % 2)
		front_hang_up(&f->front);
	else
		front_again(&f->front);
}

static void command(struct fuzz *f)
{
	struct input *in = f->front.in;
	unsigned char buf[256];
	uint8_t op = in_u8(in);

	switch (op % 16) {
	case 9:
		in_bytes(in, buf, op);
		front_send(&f->front, buf, op, NULL, 0);
		break;
	case 10:
		poke(f, op >> 4);
		break;
	case 11:
	case 12:
		front_request(&f->front, (op >> 4) % 2);
		break;
	case 13:
		if (f->kept_cnt)
			reply(f, f->kept[--f->kept_cnt]);
		front_run(&f->front);
		break;
	case 14:
		front_say_all(&f->front, op >> 4);
		break;
	case 15:
		if (op >> 4 < 8)
			front_answer(&f->front);
		else
			leave(f, op >> 4);
		break;
	default:
		front_message(&f->front, in_u8(in) % (VU_REQUESTS + 2),
			      op >> 4);
	}
	front_hear(&f->front);
}

static void reply_all(struct fuzz *f)
{
	while (f->kept_cnt)
		reply(f, f->kept[--f->kept_cnt]);
}

/* Whatever is in its way, the device sees that nobody is left; and serves the
 * next one. */
static void finish(struct fuzz *f)
{
	struct front *front = &f->front;
	const struct vu_header ask = {VU_GET_FEATURES, VU_VERSION, 0};
	struct vu_header answer;

	front_hang_up(front);
	reply_all(f);
	front_run(front);
	must(front->over == !front->listens);
	if (!front->listens)
		return;
	front_again(front);
	front_send(front, &ask, sizeof(ask), NULL, 0);
	must(sock_recv(front->sock, &answer, sizeof(answer), NULL) ==
	     sizeof(answer));
	must(answer.request == VU_GET_FEATURES);
	front_hang_up(front);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	struct fuzz f = {.front.in = &in};
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = on_forget,
	    .interrupt = on_interrupt,
	};
	uint8_t how = in_u8(&in);
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = how & 1 ? "fuzz" : NULL,
	    .num_request_queues = FRONT_RINGS - 1,
	    .queue_size = 16,
	    .max_write = 4096,
	    .features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_PACKED |
			VIRTIOFS_F_IN_ORDER | VIRTIOFS_F_RING_RESET,
	};
	struct virtiofs_transport *t;
	int fd;

	sock_reset();
	sock_catch_faults();
	fd = fuzz_next_fd();
	t = front_open(&f.front, how & 64);
	must(!virtiofs_device_new(&f.front.dev, t, &ops, &opts, &f));
	front_run(&f.front);
	if (how & 2)
		front_say_all(&f.front, how >> 2);
	while (!in_end(&in))
		command(&f);
	finish(&f);
	virtiofs_device_free(f.front.dev);
	must(fuzz_next_fd() == fd);
	return 0;
}
