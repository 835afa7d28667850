/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_SESSION_H
#define CLIENT_SESSION_H
/* One connection to one file system, and what is known about its server. */
#include <stdbool.h>
#include <virtiofs/client.h>

#include "block.h"
#include "io.h"

struct session {
	const char *uri;
	struct virtiofs_client *c;
	struct virtiofs_client_info info;
	struct fuse_init_out init;
	struct io *io;
	struct blocks blocks;
	bool connected; /* FUSE_INIT is done */
	bool told;	/* the library has said what went wrong */
	/* What the server does not implement, learnt from ENOSYS. */
	bool no_open, no_opendir, no_flush, no_create, no_lseek;
	bool no_readdirplus;
};

struct session_opts {
	const char *uri;
	struct virtiofs_client_opts client;
	bool timeout_given;
};

/* Says on stderr what went wrong; then the session is closed again. */
int session_open(struct session *s, const struct session_opts *opts);
void session_close(struct session *s);

/* Bytes for one READ or WRITE through a block. Memory is taken at the first
 * call; negative errno. */
int session_blocks(struct session *s);

#endif
