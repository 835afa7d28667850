/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MOCK_LIARFIX_H
#define TESTS_MOCK_LIARFIX_H
/* A started client with its first request queue taken, before a liar. */
#include <pthread.h>

#include <virtiofs/ops.h>

#include "liardev.h"

struct fix {
	struct liar l;
	struct virtiofs_client *c;
	struct virtiofs_cliq *q;
	struct virtiofs_client_opts opts;
	struct liar_req req; /* the last that was popped */
};

/* Group fixtures: made, not started. */
int fix_set_up(void **state);
int fix_tear_down(void **state);
/* With fix->opts as they are now. */
void fix_start(struct fix *f);
/* The next request of a queue must be there. */
void fix_pop(struct fix *f, unsigned vq);
/* The only result. */
struct virtiofs_result fix_reap(struct fix *f);
/* The next request of any request queue: waits for it. */
void fix_pop_wait(struct fix *f);
/* Nothing is there to reap. */
void fix_idle(struct fix *f);
/* Post a GETATTR with room in out; its user_data is 1. */
void fix_getattr(struct fix *f, struct fuse_attr_out *out);

/* A GETATTR by client_call, in a thread of its own. */
struct fix_call {
	uint64_t nodeid;
	uint32_t timeout_ms;
	int cpu; /* to run on, plus 1; 0: any */
	struct fix *f;
	pthread_t thread;
	ssize_t r;
};
void fix_call_start(struct fix *f, struct fix_call *call);
/* What it returned. */
ssize_t fix_call_join(struct fix_call *call);
#endif
