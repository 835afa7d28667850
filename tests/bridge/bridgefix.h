/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_BRIDGE_FIX_H
#define TESTS_BRIDGE_FIX_H
/*
 * The bridge between a kernel and a device that are both scripted. A socket
 * that keeps messages apart stands for /dev/fuse.
 */
#include <virtiofs/bridge.h>

#include "liarfix.h"

#define PAGE	4096u
#define WAIT_MS 10000

struct frame {
	struct fuse_in_header h;
	unsigned char body[70000];
};

struct reply {
	struct fuse_out_header h;
	unsigned char body[70000];
	size_t len; /* of body */
};

/* b, and the thread that makes it, or that runs it */
struct bridged {
	struct fix *f;
	int kernel;
	int fuse_fd;
	struct virtiofs_bridge_opts opts;
	struct virtiofs_bridge *b;
	pthread_t thread;
	int r;
	struct frame frame;
	struct reply reply;
};

/* The kernel sends a frame, as user 1001, about node 7. */
void send_frame(struct bridged *x, uint32_t opcode, uint64_t unique,
		const void *body, size_t len);
void no_answer(struct bridged *x);
/* What the kernel gets next. */
void next_frame(struct bridged *x);
/* The next answer, which is to unique. Its error. */
int answer(struct bridged *x, uint64_t unique);

/* The device gets the next request of hiprio, or of a request queue. */
void pop_hiprio(struct bridged *x);
struct liar_req *pop(struct bridged *x);
/* And answers it. */
void reply(struct bridged *x, int error, const void *p, size_t len);

extern const struct fuse_init_in usual_init;
/* The kernel has sent INIT; f->opts are the client's. */
void begin(struct bridged *x, struct fix *f, const struct fuse_init_in *in);
/* The bridge is being made, and the device has got INIT. */
void go(struct bridged *x);
/* The answer to INIT has come; it runs. */
void made(struct bridged *x);
/* All of these. */
void running(struct bridged *x, struct fix *f, uint32_t timeout_ms);
/* What run returned, or new. */
int ended(struct bridged *x);
/* The same, after the kernel's end closed, as umount does. */
int unmounted(struct bridged *x);
#endif
