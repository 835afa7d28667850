/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_PUT_FILE_H
#define CLIENT_PUT_FILE_H
/* One file on its way to the share; see put_file.c. */
#include "local.h"
#include "put.h"

enum phase {
	CREATE,
	OPEN,
	WRITE,
	SETATTR,
	FLUSH,
	RELEASE,
	RENAME,
	UNLINK,
	END
};

struct put_file {
	struct job job;
	struct put_dir *dir;
	char *name;
	char tmp[TMP_NAME_MAX];
	int fd;
	struct stat st;
	enum phase phase;
	bool waiting; /* for the answer to what phase asked */
	bool made;    /* tmp exists on the share */
	bool seekable, sparse;
	bool local_end;
	uint32_t keep; /* FATTR_ bits still to be sent */
	struct node node;
	struct handle h;
	uint64_t next, data_end;
	uint64_t end; /* of what was written */
	unsigned writes;
	int error;
	const char *what;
};

/* The first failure counts. */
void put_fail(struct put_file *f, int error, const char *what);
/* A request whose done() gets f by rq->owner. */
struct io_req *put_request(struct put_file *f, void (*done)(struct io_req *rq));
/* Take the next step; the file may be gone when this returns. */
void put_advance(struct put_file *f);

/* Begin a phase. true: an answer is awaited; false: on with f->phase. */
bool put_start_create(struct put_file *f);
bool put_start_open(struct put_file *f);
/* WRITE: as many as there are blocks for; true: not all is written. */
bool put_write(struct put_file *f);

#endif
