/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_HANDLE_H
#define SERVER_HANDLE_H
/* Files and directories that the guest has open. */
#include <pthread.h>
#include <stdint.h>

#include "fs.h"

struct handle {
	struct fs *fs;
	uint64_t id;
	uint64_t nodeid;
	uint32_t uid, gid; /* of whoever opened it */
	int fd;
	mode_t type;
	/* A directory: where the next getdents64 reads, under lock. */
	pthread_mutex_t lock;
	uint64_t dir_offset;
};

void handles_init(struct fs *fs);
/* Opened by req. fd is taken over, also in case of an error. */
int handle_add(const struct virtiofs_req *req, uint64_t nodeid, int fd,
	       mode_t type, uint64_t *ret_id);
/* NULL: no such handle of this node and type (S_IFREG, S_IFDIR, S_IFIFO or 0:
 * any). */
struct handle *handle_get(struct fs *fs, uint64_t id, uint64_t nodeid,
			  mode_t type);
void handle_put(struct handle *h);
/* -EBADF: no such handle of this node. */
int handle_close(struct fs *fs, uint64_t id, uint64_t nodeid);

#endif
