/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device behind a vhost-user socket, and a front-end that sends anything:
 * messages right or wrong, with file descriptors of all kinds, cut anywhere;
 * it writes into the memory it shared, cuts that too, leaves when it likes and
 * comes again.
 */
#include "front.h"
#include "program.h"

struct fuzz {
	struct front front;
	struct program program;
};

/* ---- the front-end ---- */

static void poke(struct fuzz *f, uint8_t how)
{
	front_poke(&f->front, how);
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
		if (op >> 4 < 8 && front_has_iommu(&f->front)) {
			front_iotlb(&f->front, in_u8(in));
			break;
		}
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
		program_reply(&f->program);
		front_run(&f->front);
		break;
	case 14:
		front_say_all(
		    &f->front,
		    (uint8_t)(op >> 4 |
			      (front_has_iommu(&f->front) ? FRONT_IOMMU : 0)));
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

/* The next one is served. */
static void finish(struct fuzz *f)
{
	struct front *front = &f->front;
	const struct vu_header ask = {VU_GET_FEATURES, VU_VERSION, 0};
	struct vu_header answer;

	if (!front_leave(front, &f->program))
		return;
	front_send(front, &ask, sizeof(ask), NULL, 0);
	must(sock_recv(front->sock, &answer, sizeof(answer), NULL) ==
	     sizeof(answer));
	must(answer.request == VU_GET_FEATURES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	struct fuzz f = {.front.in = &in, .program.in = &in};
	uint8_t how = in_u8(&in);

	front_begin(&f.front, &f.program, how & 1 ? "fuzz" : NULL, how & 64);
	if (how & 2)
		front_say_all(&f.front, how >> 2);
	while (!in_end(&in))
		command(&f);
	finish(&f);
	front_end(&f.front);
	return 0;
}
