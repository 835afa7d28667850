/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_COPY_H
#define CLIENT_COPY_H
/*
 * Many files at once, in one thread. A job is a file on its way, or a
 * directory being finished; its step() is called whenever something moved. The
 * tree is walked by the code that begins jobs and waits for room for them.
 */
#include <sys/types.h>

#include "call.h"

/* Levels of directories below the one named: a peer can invent more. */
#define COPY_DEPTH_MAX 1024u

struct copy {
	struct session *s;
	struct job *jobs;
	unsigned job_cnt;
	bool keep;   /* -r: modes, times, and owners if root */
	bool root;   /* the owners, too */
	bool failed; /* said on stderr already */
	mode_t umask;
	/* The topmost directory made, if any: inside the tree that is copied,
	 * the copying would not end. */
	uint64_t made_ino;
	uint64_t made_id; /* put: its nodeid; get: its descriptor */
};

struct job {
	struct copy *cp;
	/* May end the job and free it. NULL: it has callbacks only. */
	void (*step)(struct job *job);
	struct job *next, *prev;
};

int copy_begin(struct copy *cp, struct session *s, bool recursive);
/* Wait for all jobs; the exit status. */
int copy_end(struct copy *cp);
/* A failure, told: "what 'name': why". */
void copy_fail(struct copy *cp, int error, const char *what, const char *name);
/* Wait until one more job may begin. Negative: none may, for good. */
int copy_room(struct copy *cp);

void job_begin(struct copy *cp, struct job *job);
void job_end(struct job *job);

#endif
