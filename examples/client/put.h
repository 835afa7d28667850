/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_PUT_H
#define CLIENT_PUT_H
/* Copying to the share. */
#include <sys/stat.h>

#include "copy.h"

/* A remote directory that is being filled. Finished by SETATTR, and freed,
 * when its walk and its last file have let go. */
struct put_dir {
	struct job job;	    /* while it is being finished */
	struct put_dir *up; /* holds a reference; NULL: the topmost */
	struct copy *cp;
	unsigned refs;
	unsigned depth;
	bool keep;	    /* attributes of st, at the end */
	bool fresh;	    /* we made it: no name in it is taken */
	uint32_t keep_bits; /* FATTR_ bits still to be sent */
	struct stat st;
	struct node node;  /* owned */
	char *from, *to;   /* names for messages, owned */
	const char *alias; /* what from/name is really called, or NULL */
};

/* name: in up, or the path itself where there is none. Takes node. NULL: told,
 * and node is gone. */
struct put_dir *put_dir_new(struct copy *cp, struct put_dir *up,
			    const char *name, struct node *node);
void put_dir_put(struct put_dir *dir);
/* For messages; the caller frees them. */
char *put_from(const struct put_dir *dir, const char *name);
char *put_to(const struct put_dir *dir, const char *name);

extern const char put_cannot_create[], put_cannot_read[], put_cannot_write[];

/* Copy what fd reads, st says what it is, to name in dir. Takes fd; returns at
 * once. */
void put_file(struct put_dir *dir, const char *name, int fd,
	      const struct stat *st);

/* The SETATTRs that keep a file as st says it is; valid: the FATTR_ bits that
 * are still to be sent, which go down with each. Owners go first, for chown
 * clears set-id bits. */
uint32_t put_keep_bits(const struct copy *cp, const struct stat *st,
		       const struct fuse_attr *now);
uint32_t put_keep_next(uint32_t bits);
/* Set-id bits are kept only with the owner they were meant for. */
void put_keep_mode(const struct copy *cp, struct stat *st,
		   const struct fuse_attr *now);

#endif
