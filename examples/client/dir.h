/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_DIR_H
#define CLIENT_DIR_H
/*
 * Reading a directory that a peer describes. "." and ".." are left out; a
 * name that is none, a record that does not fit and a list that comes round to
 * where it was end the reading with an error.
 */
#include <dirent.h>

#include "call.h"

#define DIR_NAME_MAX 1024u
#define DIR_CNT_MAX  (1u << 22) /* entries that a list in memory may have */

struct dir {
	struct session *s;
	uint64_t nodeid;
	struct handle h;
	bool plus;
	bool end;
	uint64_t offset;
	/* Brent: an offset seen at a power of two, to notice a round trip;
	 * the first is 0 */
	uint64_t seen_offset, seen_at, batches;
	char *buf; /* private copy of one reply */
	size_t len, pos;
};

struct dir_entry {
	char name[DIR_NAME_MAX + 1];
	uint32_t type; /* DT_; DT_UNKNOWN where the server does not say */
	bool has_node; /* node is valid, to be put */
	struct node node;
};

#define DIR_PLUS (1u << 0) /* nodes too, where the server can */

int dir_open(struct session *s, uint64_t nodeid, unsigned flags,
	     struct dir *ret);
/* 1: an entry; 0: the end; negative errno. */
int dir_next(struct dir *d, struct dir_entry *ret);
void dir_close(struct dir *d);
/* The entry's node: as read, or by LOOKUP. Then it is in e->node. */
int dir_entry_node(struct dir *d, struct dir_entry *e);
void dir_entry_put(struct dir *d, struct dir_entry *e);

/* All names of a directory. */
struct dir_names {
	size_t cnt, room;
	struct dir_name {
		char *name;
		uint32_t type;
	} * names;
};

int dir_names_add(struct dir_names *n, const char *name, uint32_t type);
int dir_names_read(struct session *s, uint64_t nodeid, struct dir_names *ret);
void dir_names_free(struct dir_names *n);

#endif
