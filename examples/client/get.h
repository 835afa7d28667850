/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_GET_H
#define CLIENT_GET_H
/* Copying from the share. */
#include "copy.h"

/* A local directory that is being filled. Finished, and freed, when its walk
 * and its last file have let go. */
struct get_dir {
	struct copy *cp;
	struct get_dir *up; /* holds a reference; NULL: the topmost */
	int fd;		    /* owned */
	unsigned refs;
	unsigned depth;
	bool keep;	   /* attributes of node, at the end */
	struct node node;  /* the remote directory, owned */
	char *from, *to;   /* names for messages, owned */
	const char *alias; /* what from/name is really called, or NULL */
};

void get_dir_put(struct get_dir *dir);
/* For messages; the caller frees them. */
char *get_from(const struct get_dir *dir, const char *name);
char *get_to(const struct get_dir *dir, const char *name);

/* Copy one regular file to name in dir. Takes node; returns at once. */
void get_file(struct get_dir *dir, const char *name, struct node *node);

/* In order, to a descriptor that can't seek. from, to: for messages. */
int stream_file(struct copy *cp, const struct node *node, const char *from,
		const char *to, int fd);

#endif
