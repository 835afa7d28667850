/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A front-end, and a back-end that lies: replies that are wrong, late, twice or
 * cut, with file descriptors, to what was asked and to what was not; its own
 * requests on its channel. What the front-end does is part of the input.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include <virtiofs/transport.h>

#include "sock.h"
#include "transport/socket.h"
#include "transport/transport.h"
#include "transport/vhost_user/vhost_user.h"
#include "wire/vhost_user.h"

#define SERVE_MAX 6u
#define TURNS_MAX 100
#define PENDING	  8192u

struct fuzz {
	struct input *in;
	struct virtiofs_transport *t;
	struct vtfs_cli_sink sink;
	struct vtfs_log log;
	unsigned losses;
	bool by_path; /* the front-end connects, and can do that again */
	int sock;     /* the back-end's end; -1: hung up */
	int channel;  /* or -1 */
	/* What the back-end says when it doesn't lie */
	uint64_t features, protocol, queues, slots;
	uint8_t status;
	unsigned char heard[PENDING]; /* not answered yet */
	size_t heard_len;
	uint64_t mapped[4];
};

static void on_change(struct vtfs_cli_sink *s)
{
}

static void on_lost(struct vtfs_cli_sink *s, int error)
{
	struct fuzz *f = (struct fuzz *)((char *)s -
					 offsetof(struct fuzz, sink));

	must(error < 0);
	f->losses++;
}

static const struct vtfs_cli_sink_ops sink_ops = {
    .config_changed = on_change,
    .lost = on_lost,
};

/* ---- the back-end ---- */

static char dir[96];
static char path[sizeof(dir) + 2];
static struct vtfs_listener listener = {.fd = -1};

static void remove_all(void)
{
	vtfs_listener_close(&listener);
	rmdir(dir);
}

static void listen_once(void)
{
	if (listener.fd >= 0)
		return;
	fuzz_make_dir(dir, sizeof(dir));
	atexit(remove_all);
	snprintf(path, sizeof(path), "%s/s", dir);
	must(!vtfs_listener_open(&listener, path));
}

/* A front-end has one connection, the last that it made. */
static void answer_door(struct fuzz *f)
{
	int fd;

	while ((fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		if (f->sock >= 0)
			close(f->sock);
		if (f->channel >= 0)
			close(f->channel);
		f->sock = fd;
		f->channel = -1;
		f->heard_len = 0;
	}
}

struct message {
	struct vu_header h;
	unsigned char payload[sizeof(struct vu_config) + VU_CONFIG_MAX];
};

/* The next request that is there as a whole; the first ones are well-formed,
 * for they come from the library. */
static bool next_request(struct fuzz *f, struct message *m)
{
	size_t len;

	if (f->sock < 0)
		return false;
	f->heard_len += sock_recv(f->sock, f->heard + f->heard_len,
				  PENDING - f->heard_len,
				  f->channel < 0 ? &f->channel : NULL);
	if (f->heard_len < sizeof(m->h))
		return false;
	memcpy(&m->h, f->heard, sizeof(m->h));
	len = sizeof(m->h) + m->h.size;
	must((m->h.flags & ~VU_NEED_REPLY) == VU_VERSION);
	must(m->h.request && m->h.request < VU_REQUESTS);
	must(m->h.size <= sizeof(struct vu_mem_table) + 64);
	if (f->heard_len < len)
		return false;
	memset(m->payload, 0, sizeof(m->payload));
	memcpy(m->payload, f->heard + sizeof(m->h),
	       m->h.size < sizeof(m->payload) ? m->h.size : sizeof(m->payload));
	f->heard_len -= len;
	memmove(f->heard, f->heard + len, f->heard_len);
	return true;
}

/* The honest reply; false: none is due. */
static bool make_reply(struct fuzz *f, struct message *m)
{
	uint64_t v = 0;

	switch (m->h.request) {
	case VU_GET_FEATURES:
		v = f->features;
		break;
	case VU_GET_PROTOCOL_FEATURES:
		v = f->protocol;
		break;
	case VU_GET_QUEUE_NUM:
		v = f->queues;
		break;
	case VU_GET_MAX_MEM_SLOTS:
		v = f->slots;
		break;
	case VU_GET_STATUS:
		v = f->status;
		break;
	case VU_GET_VRING_BASE:
		memcpy(&v, m->payload, sizeof(v));
		break;
	case VU_GET_CONFIG:
		memset(m->payload + sizeof(struct vu_config), 'c',
		       m->h.size - sizeof(struct vu_config));
		m->h.flags = VU_VERSION | VU_REPLY;
		return true;
	case VU_SET_STATUS:
		f->status = m->payload[0];
		/* fall through */
	default:
		if (!(m->h.flags & VU_NEED_REPLY))
			return false;
	}
	m->h.flags = VU_VERSION | VU_REPLY;
	m->h.size = sizeof(v);
	memcpy(m->payload, &v, sizeof(v));
	return true;
}

static void say(struct fuzz *f, const void *buf, size_t len, const int *fds,
		unsigned cnt)
{
	if (f->sock >= 0 && len)
		sock_send(f->sock, buf, len, fds, cnt);
}

static void hang_up(struct fuzz *f)
{
	if (f->sock >= 0)
		close(f->sock);
	f->sock = -1;
}

static void lie(struct fuzz *f, struct message *m)
{
	int fds[KINDS_MAX];
	unsigned cnt = 0;
	size_t len = sizeof(m->h) + m->h.size;
	uint8_t at;

	switch (in_u8(f->in) % 12) {
	case 0:
		m->h.request = (uint32_t)in_number(f->in);
		break;
	case 1:
		m->h.flags = (uint32_t)in_number(f->in);
		break;
	case 2:
		m->h.size = (uint32_t)in_number(f->in);
		break;
	case 3:
		len = in_u8(f->in) % len;
		break;
	case 4:
		cnt = in_u8(f->in) % 10;
		for (unsigned i = 0; i < cnt; i++)
			fds[i] = sock_fd(in_u8(f->in) % KIND_CNT);
		break;
	case 5:
		at = in_u8(f->in) % sizeof(m->payload);
		in_bytes(f->in, m->payload + at,
			 in_u8(f->in) % (sizeof(m->payload) - at));
		break;
	case 6:
		say(f, m, len, NULL, 0);
		break;
	case 7:
		return;
	case 8:
		hang_up(f);
		return;
	case 9:
		say(f, m, len / 2, NULL, 0);
		hang_up(f);
		return;
	default: /* other bits, counts, statuses */
		in_bytes(f->in, m->payload, 8);
	}
	say(f, m, len, fds, cnt);
}

/* Answers at most one request. */
static void serve(struct fuzz *f)
{
	struct message m;

	if (f->by_path)
		answer_door(f);
	if (!next_request(f, &m) || !make_reply(f, &m))
		return;
	if (in_u8(f->in) < 0xe0)
		say(f, &m, sizeof(m.h) + m.h.size, NULL, 0);
	else
		lie(f, &m);
}

static void channel_message(struct fuzz *f)
{
	struct message m = {.h = {in_u8(f->in) % 10, VU_VERSION, 0}};
	uint8_t how = in_u8(f->in);
	int fd = sock_fd(how % KIND_CNT);

	if (f->channel < 0)
		return;
	m.h.flags |= how & 16 ? VU_NEED_REPLY : 0;
	if (how & 32)
		m.h.flags = (uint32_t)in_number(f->in);
	if (how & 64)
		m.h.size = in_u8(f->in) % 64;
	in_bytes(f->in, m.payload, m.h.size);
	sock_send(f->channel, &m, sizeof(m.h) + m.h.size, &fd, how >> 7);
}

/* ---- the front-end ---- */

static struct vtfs_queue_setup get_queue(uint8_t how)
{
	uint64_t at = (uintptr_t)sock_mem[0] + (how & 3) * 0x1000u;

	return (struct vtfs_queue_setup){
	    .vq = how & 3,
	    .num = 8,
	    .desc = at,
	    .driver = at + 0x400,
	    .device = at + 0x800,
	    .kick_fd = how & 4 ? -1 : sock_fd(KIND_EVENT),
	    .call_fd = how & 8 ? -1 : sock_fd(KIND_BLOCKING),
	    .enabled = true,
	};
}

static int map(struct fuzz *f, uint8_t how)
{
	const struct virtiofs_region r = {
	    .size = sizeof(r),
	    .addr = sock_mem[how & 1] + (how >> 1 & 3) * 0x4000u,
	    .len = how & 8 ? 0x1000 : 0x4000,
	    .fd_offset = (how >> 1 & 3) * 0x4000u,
	    .fd = sock_fd(KIND_MEM + (how & 1)),
	};

	return f->t->cli->map(f->t, &r, &f->mapped[how >> 1 & 3]);
}

static int call(struct fuzz *f, uint8_t op, uint8_t how)
{
	const struct vtfs_cli_ops *cli = f->t->cli;
	struct vtfs_queue_setup q = get_queue(how);
	unsigned char buf[VU_CONFIG_MAX];
	unsigned cnt;
	uint64_t v;
	uint8_t status;

	switch (op) {
	case 0:
		return cli->get_features(f->t, &v);
	case 1:
		return cli->set_features(f->t, f->features);
	case 2:
		return cli->queue_cnt(f->t, &cnt);
	case 3:
		return cli->get_config(f->t, buf, how % 64, how / 64 * 8);
	case 4:
		return cli->get_status(f->t, &status);
	case 5:
		return cli->set_status(f->t, how % 16);
	case 6:
	case 7:
		return map(f, how);
	case 8:
		return cli->unmap(f->t, f->mapped[how & 3]);
	case 9:
	case 10:
		return cli->start_queue(f->t, &q);
	case 11:
		return cli->stop_queue(f->t, how & 3);
	}
	return cli->connect(f->t);
}

static void look(struct fuzz *f)
{
	struct pollfd p = {.fd = f->t->fd(f->t), .events = POLLIN};
	unsigned turns = 0;
	int r = 0;

	while (poll(&p, 1, 0) == 1 && r >= 0 && turns++ < TURNS_MAX)
		r = f->t->cli->dispatch(f->t);
	must(r == 0 || r == -ENOTCONN);
}

/* An op with the back-end's answers in between; now and then it is given up. */
static int carry_out(struct fuzz *f, uint8_t op, uint8_t how)
{
	int r = call(f, op, how);

	for (unsigned i = 0; r == -EAGAIN && i < SERVE_MAX * 2; i++) {
		serve(f);
		r = call(f, op, how);
	}
	must(r <= 0);
	return r;
}

static void command(struct fuzz *f)
{
	unsigned char buf[64];
	uint8_t op = in_u8(f->in);

	switch (op % 32) {
	case 16:
		in_bytes(f->in, buf, op / 4);
		say(f, buf, op / 4, NULL, 0);
		break;
	case 17:
	case 18:
		channel_message(f);
		break;
	case 19:
		look(f);
		break;
	case 20:
		call(f, in_u8(f->in) % 13, in_u8(f->in));
		break;
	case 21:
		serve(f);
		break;
	default:
		carry_out(f, op % 13, in_u8(f->in));
	}
}

static struct virtiofs_transport *open_client(struct fuzz *f)
{
	struct virtiofs_transport *t;
	int sv[2];

	if (f->by_path) {
		must(!vtfs_vhost_user_connect(&t, path));
		return t;
	}
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv));
	must(!virtiofs_vhost_user_client_fd(&t, sv[0]));
	f->sock = sv[1];
	return t;
}

/* What was given up comes to its end; lost once, and told once. */
static void end_lost(struct fuzz *f)
{
	carry_out(f, 12, 0);
	carry_out(f, 1, 0); /* perhaps answered before */
	carry_out(f, 1, 0);
	must(f->t->cli->dispatch(f->t) == -ENOTCONN);
	must(f->losses == 1);
	must(carry_out(f, 1, 0) == -ENOTCONN);
}

/* Whatever there was before, one that tells the truth is found. */
static void end_again(struct fuzz *f)
{
	int r = -EAGAIN;

	f->queues = 4;
	f->slots = 8;
	/* First what was given up comes to its end, perhaps on the connection
	 * that is gone. */
	for (unsigned i = 0; r != 0 && i < 4; i++) {
		answer_door(f);
		r = carry_out(f, 12, 0);
		if (r == 0)
			r = carry_out(f, 1, 0);
	}
	must(r == 0);
	hang_up(f);
	look(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	static struct fuzz f;
	uint8_t how = in_u8(&in), door = in_u8(&in);
	int fd;

	sock_reset();
	listen_once();
	memset(&f, 0, sizeof(f));
	f.in = &in;
	f.sock = f.channel = -1;
	f.by_path = door & 1;
	/* Who came before is still at the door. */
	answer_door(&f);
	hang_up(&f);
	fd = fuzz_next_fd();
	f.t = open_client(&f);
	f.sink.ops = &sink_ops;
	f.sink.log = &f.log;
	f.features = VIRTIOFS_FEATURES_DEFAULT |
		     (how & 1 ? 0 : VU_F_PROTOCOL_FEATURES) |
		     (how & 2 ? VIRTIOFS_F_RING_PACKED : 0);
	f.protocol = VU_PF(MQ) | VU_PF(BACKEND_REQ) | VU_PF(CONFIG) |
		     (how & 4 ? VU_PF(REPLY_ACK) : 0) |
		     (how & 8 ? VU_PF(STATUS) : 0) |
		     (how & 16 ? VU_PF(RESET_DEVICE) : 0) |
		     (how & 32 ? VU_PF(CONFIGURE_MEM_SLOTS) : 0);
	f.queues = how & 64 ? in_number(&in) : 4;
	f.slots = how & 128 ? in_number(&in) : 8;
	must(!f.t->cli->attach(f.t, &f.sink));
	carry_out(&f, 12, 0);
	while (!in_end(&in))
		command(&f);
	hang_up(&f);
	look(&f);
	if (f.by_path)
		end_again(&f);
	else
		end_lost(&f);
	virtiofs_transport_free(f.t);
	if (f.channel >= 0)
		close(f.channel);
	must(fuzz_next_fd() == fd);
	return 0;
}
