/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bridgefix.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the kernel's side ---- */

void send_frame(struct bridged *x, uint32_t opcode, uint64_t unique,
		const void *body, size_t len)
{
	struct frame *f = &x->frame;

	memset(&f->h, 0, sizeof(f->h));
	f->h.len = (uint32_t)(sizeof(f->h) + len);
	f->h.opcode = opcode;
	f->h.unique = unique;
	f->h.nodeid = 7;
	f->h.uid = 1001;
	f->h.gid = 1002;
	f->h.pid = 1003;
	if (len)
		memmove(f->body, body, len);
	assert_int_equal(send(x->kernel, f, f->h.len, 0), f->h.len);
}

void no_answer(struct bridged *x)
{
	struct pollfd p = {.fd = x->kernel, .events = POLLIN};

	assert_int_equal(poll(&p, 1, 0), 0);
}

void next_frame(struct bridged *x)
{
	struct pollfd p = {.fd = x->kernel, .events = POLLIN};
	ssize_t n;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	n = recv(x->kernel, &x->reply, sizeof(x->reply), 0);
	assert_true(n >= (ssize_t)sizeof(x->reply.h));
	assert_int_equal(x->reply.h.len, n);
	x->reply.len = (size_t)n - sizeof(x->reply.h);
}

/* The next answer, which is to unique. Its error. */
int answer(struct bridged *x, uint64_t unique)
{
	next_frame(x);
	assert_int_equal(x->reply.h.unique, unique);
	if (x->reply.h.error)
		assert_int_equal(x->reply.len, 0);
	return x->reply.h.error;
}

/* ---- the device's side ---- */

/* The next request of the hiprio queue. */
void pop_hiprio(struct bridged *x)
{
	struct liar *l = &x->f->l;
	struct pollfd p = {.fd = l->q[0].setup.kick_fd, .events = POLLIN};

	while (!liar_pop(l, 0, &x->f->req))
		if (!vtfs_vq_dev_arm(l->q[0].vq))
			assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

struct liar_req *pop(struct bridged *x)
{
	fix_pop_wait(x->f);
	return &x->f->req;
}

void reply(struct bridged *x, int error, const void *p, size_t len)
{
	liar_reply(&x->f->l, &x->f->req, error, p, len);
}

/* ---- life ---- */

static void *make(void *arg)
{
	struct bridged *x = arg;

	x->r = virtiofs_bridge_new(&x->b, x->f->c, x->fuse_fd, &x->opts);
	return NULL;
}

static void *run(void *arg)
{
	struct bridged *x = arg;

	x->r = virtiofs_bridge_run(x->b, 1);
	return NULL;
}

/* Up to the INIT that the device gets, in f->req. */
void begin(struct bridged *x, struct fix *f, const struct fuse_init_in *in)
{
	int sv[2], size = 1 << 20;

	memset(x, 0, sizeof(*x));
	x->f = f;
	x->opts.size = sizeof(x->opts);
	f->opts.flags |= VIRTIOFS_CLIENT_RAW_INIT;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(liar_start(&f->l, f->c), 0);
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size,
					    sizeof(size)),
				 0);
	x->kernel = sv[0];
	x->fuse_fd = sv[1];
	send_frame(x, FUSE_INIT, 2, in, sizeof(*in));
}

void go(struct bridged *x)
{
	assert_int_equal(pthread_create(&x->thread, NULL, make, x), 0);
	assert_int_equal(pop(x)->in.opcode, FUSE_INIT);
}

const struct fuse_init_in usual_init = {
    .major = 7,
    .minor = 45,
    .max_readahead = 131072,
    .flags = FUSE_ASYNC_READ | FUSE_MAX_PAGES | FUSE_POSIX_LOCKS |
	     FUSE_INIT_EXT,
};

/* The answer to INIT has come. */
void made(struct bridged *x)
{
	assert_int_equal(answer(x, 2), 0);
	pthread_join(x->thread, NULL);
	assert_int_equal(x->r, 0);
	assert_int_equal(pthread_create(&x->thread, NULL, run, x), 0);
}

void running(struct bridged *x, struct fix *f, uint32_t timeout_ms)
{
	struct fuse_init_out out;

	begin(x, f, &usual_init);
	x->opts.timeout_ms = timeout_ms;
	go(x);
	liar_init_reply(&out, &f->req);
	reply(x, 0, &out, sizeof(out));
	made(x);
	assert_int_equal(x->reply.len, sizeof(out));
}

/* What run returned. */
int ended(struct bridged *x)
{
	pthread_join(x->thread, NULL);
	virtiofs_bridge_free(x->b);
	if (x->kernel >= 0)
		close(x->kernel);
	return x->r;
}

/* As umount does. */
int unmounted(struct bridged *x)
{
	close(x->kernel);
	x->kernel = -1;
	return ended(x);
}
