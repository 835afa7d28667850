/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_CREDS_H
#define SERVER_CREDS_H
/*
 * Theory of operation. An operation that depends on who asks runs with that
 * user and group, in its thread only. A thread stays who it has become until
 * an operation needs somebody else: requests of one user in a row change
 * nothing, and those of root are served as what the server is.
 *
 * A client has judged, by groups, ACLs and capabilities that only it knows,
 * whether the operation is permitted: so the server's capabilities stay. With
 * check_permissions only root's do, and the kernel judges everybody else.
 *
 * A server that can't become another user serves all as itself, but makes
 * nothing in another's name.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs.h"

/* Set-id bits of files that are written stay (the client has judged), or go.
 * Neither: they stay for root. */
#define CREDS_KEEP_SET_ID (1u << 0)
#define CREDS_KILL_SET_ID (1u << 1)
/* The kernel judges, with or without check_permissions. */
#define CREDS_CHECK (1u << 2)

/* Before the first request. */
void creds_init(void);

/* May it become others? */
bool creds_can_switch(void);

/* -EPERM: can't be, and permissions are to be checked. */
int creds_take(const struct fs *fs, uint32_t uid, uint32_t gid, unsigned flags);
/* The requester. */
int creds_ask(const struct fs *fs, const struct virtiofs_req *req,
	      unsigned flags);
/* The requester, groups as well, if there is something to be made. umask
 * applies if the client leaves that to us. */
int creds_make(const struct fs *fs, const struct virtiofs_req *req,
	       mode_t umask);
/* Other flags for whom the thread is now. */
int creds_change(const struct fs *fs, unsigned flags);
/* The flags for a write or truncate. asked: the client's own for set-id bits;
 * a client that has none gets them cleared for all but root. */
unsigned creds_set_id(const struct fs *fs, const struct virtiofs_req *req,
		      bool asked);

/* Around what the server does for itself, in the middle of an operation. */
uint64_t creds_lift(void);
void creds_settle(uint64_t lifted);

#endif
