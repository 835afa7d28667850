/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_PATH_H
#define CLIENT_PATH_H
/*
 * Paths inside the share, walked one LOOKUP per component. They start at the
 * share's root, with or without a leading '/'; ".." ends at the root, and
 * symbolic links are followed inside the share only: an absolute target
 * starts at the share's root again.
 */
#include "call.h"

#define PATH_LINKS_MAX 40 /* symbolic links in one walk: then -ELOOP */

#define PATH_FOLLOW (1u << 0) /* the last component too */

/* The node, to be put; negative errno. */
int path_walk(struct session *s, const char *path, unsigned flags,
	      struct node *ret);

/* Where a name is, or is to be made. */
struct place {
	struct node dir;
	char *name;  /* one component, not "." or ".." */
	bool slash;  /* '/' followed it: it has to be a directory */
	bool inside; /* path_target: dir is what dest named */
};

/* -EINVAL where path has no last name: the root, ".", "..". */
int path_place(struct session *s, const char *path, struct place *ret);
void place_put(struct session *s, struct place *place);

/* The place that copying a thing called source to dest means: inside dest if
 * that is a directory (then the name may be "", "." or ".."), else dest. */
int path_target(struct session *s, const char *dest, const char *source,
		struct place *ret);

/* The last component without slashes, "" for the root; the caller frees it. */
char *path_last(const char *path);
/* dir/name, for messages; the caller frees it. */
char *path_join(const char *dir, const char *name);

#endif
