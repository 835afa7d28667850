/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a device's fuzzers begin and end, over either kind of socket. */
#include "front.h"
#include "program.h"

void front_begin(struct front *f, struct program *program, const char *tag,
		 bool listens)
{
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = tag,
	    .num_request_queues = FRONT_RINGS - 1,
	    .queue_size = 16,
	    .max_write = 4096,
	    .features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_PACKED |
			VIRTIOFS_F_IN_ORDER | VIRTIOFS_F_RING_RESET,
	};
	struct virtiofs_transport *t;

	sock_reset();
	sock_catch_faults();
	f->next_fd = fuzz_next_fd();
	t = front_open(f, listens);
	must(!virtiofs_device_new(&f->dev, t, &program_ops, &opts, program));
	front_run(f);
}

void front_poke(struct front *f, uint8_t how)
{
	uint16_t off = in_u16(f->in);

	if (how == 15)
		sock_truncate(KIND_MEM + off % 2, off / 2);
	else if (off <= KIND_LEN - 64)
		in_bytes(f->in, sock_mem[0] + off, in_u8(f->in) % 64);
}

bool front_leave(struct front *f, struct program *program)
{
	front_hang_up(f);
	program_reply_all(program);
	front_run(f);
	must(f->over == !f->listens);
	if (f->listens)
		front_again(f);
	return f->listens;
}

void front_end(struct front *f)
{
	front_hang_up(f);
	virtiofs_device_free(f->dev);
	must(fuzz_next_fd() == f->next_fd);
}
