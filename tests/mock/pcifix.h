/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MOCK_PCIFIX_H
#define TESTS_MOCK_PCIFIX_H
/* A whole client over a fakefn, NONBLOCK: whenever it waits, its fds must tell
 * that it can go on. */
#include <virtiofs/client.h>

#include "fakefn.h"
#include "leaks.h"

struct pcifix {
	struct fake f;
	struct virtiofs_client *c;
	struct virtiofs_cliq *q;
	struct virtiofs_client_opts opts;
	struct liar_req req;
	unsigned fds;
};

/* For cmocka. */
int px_set_up(void **state);
int px_tear_down(void **state);

/* Until it has ended; INIT is answered. */
int px_start(struct pcifix *x);
/* q becomes that one. */
void px_take(struct pcifix *x, unsigned index);
void px_submit(struct pcifix *x, struct fuse_attr_out *out);
/* Sleep as a program does, until its result is there. */
void px_await_result(struct pcifix *x);
void px_one_request(struct pcifix *x, unsigned vq);
int px_reset_queue(struct pcifix *x);
#endif
