/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_CREDS_H
#define SERVER_CREDS_H
/*
 * Whoever asked, for a while, in the calling thread only.
 *
 * What creates a file runs as the requester: owner, group, set-group-id and
 * the permission to create come out as on a local file system. Everything
 * else a virtio-fs client has already permitted, with groups, ACLs and
 * capabilities that only it knows; there the server's own rights are used.
 */
#include <stdbool.h>
#include <sys/types.h>

#include "fs.h"

struct creds {
	bool uid, gid, groups, umask;
};

/* Permission is checked strictly: no rights but the requester's, also for a
 * client that can't tell the requester's groups. */
#define CREDS_STRICT (1u << 0)

/* Become the requester. umask applies if the client leaves that to us.
 * Negative: nothing has changed. */
int creds_enter(struct fs *fs, const struct virtiofs_req *req, mode_t umask,
		unsigned flags, struct creds *ret);
void creds_leave(const struct creds *c);

/* Without CAP_FSETID: a write or truncate clears set-user-id bits. asked: the
 * client's flag for it; a client without such a flag gets it for all but
 * root. True: killpriv_leave() must follow. */
bool killpriv_enter(const struct fs *fs, const struct virtiofs_req *req,
		    bool asked);
void killpriv_leave(bool entered);

/* Before the first request. */
void creds_init(void);

#endif
