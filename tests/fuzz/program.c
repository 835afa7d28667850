/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "program.h"

#include <errno.h>

static volatile uint8_t sink;

static void reply(struct program *p, struct virtiofs_req *req)
{
	switch (in_u8(p->in) % 4) {
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
	struct program *p = req->userdata;

	for (unsigned i = 0; i < req->data_cnt; i++)
		for (size_t k = 0; k < req->data[i].iov_len; k++)
			sink ^= ((uint8_t *)req->data[i].iov_base)[k];
	if (p->kept_cnt < PROGRAM_KEPT && in_u8(p->in) % 2)
		p->kept[p->kept_cnt++] = req;
	else
		reply(p, req);
	return 0;
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	must(virtiofs_req_interrupted(req));
}

const struct virtiofs_device_ops program_ops = {
    .size = sizeof(program_ops),
    .request = on_request,
    .forget = on_forget,
    .interrupt = on_interrupt,
};

void program_reply(struct program *p)
{
	if (p->kept_cnt)
		reply(p, p->kept[--p->kept_cnt]);
}

void program_reply_all(struct program *p)
{
	while (p->kept_cnt)
		program_reply(p);
}
