/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_CALL_H
#define CLIENT_CALL_H
/*
 * One request, one answer, waited for. 0 or more, or a negative errno.
 *
 * Whatever returns a node has the server count a lookup of it, which
 * node_put() takes back; a node is put once.
 */
#include "session.h"

struct node {
	uint64_t id;
	bool counted; /* not for the root, and not after put */
	struct fuse_attr attr;
};

struct handle {
	uint64_t fh;
	uint32_t flags;	     /* as given to OPEN */
	uint32_t open_flags; /* FOPEN_ */
	bool opened;	     /* false: the server needs no OPEN */
};

static inline struct handle handle_of(const struct fuse_open_out *out,
				      uint32_t flags)
{
	return (struct handle){
	    .fh = out->fh,
	    .open_flags = out->open_flags,
	    .flags = flags,
	    .opened = true,
	};
}

void node_put(struct session *s, struct node *node);
/* An entry from the peer, checked: 0, -ENOENT, or -EIO where it makes no sense
 * (then its lookup is taken back). */
int node_from_entry(struct session *s, const struct fuse_entry_out *entry,
		    struct node *ret);

int call_root(struct session *s, struct node *ret);
int call_lookup(struct session *s, uint64_t parent, const char *name,
		struct node *ret);
int call_getattr(struct session *s, uint64_t nodeid, struct fuse_attr *ret);
int call_setattr(struct session *s, uint64_t nodeid,
		 const struct fuse_setattr_in *in);
/* ret_target: IO_TEXT_MAX bytes */
int call_readlink(struct session *s, uint64_t nodeid, char *ret_target);
int call_symlink(struct session *s, uint64_t parent, const char *name,
		 const char *target, struct node *ret);
int call_mknod(struct session *s, uint64_t parent, const char *name,
	       const struct fuse_mknod_in *in, struct node *ret);
int call_mkdir(struct session *s, uint64_t parent, const char *name,
	       uint32_t mode, struct node *ret);
int call_unlink(struct session *s, uint64_t parent, const char *name);
int call_rmdir(struct session *s, uint64_t parent, const char *name);
int call_rename(struct session *s, uint64_t parent, const char *name,
		uint64_t newparent, const char *newname);
int call_link(struct session *s, uint64_t nodeid, uint64_t newparent,
	      const char *newname, struct node *ret);
int call_open(struct session *s, uint64_t nodeid, uint32_t flags,
	      struct handle *ret);
int call_opendir(struct session *s, uint64_t nodeid, struct handle *ret);
void call_release(struct session *s, uint64_t nodeid, struct handle *h);
void call_releasedir(struct session *s, uint64_t nodeid, struct handle *h);
int call_statfs(struct session *s, uint64_t nodeid, struct fuse_kstatfs *ret);

/* What may be asked of the server to create with: nothing a umask hides. */
uint32_t current_umask(void);

#endif
