/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_HARNESS_H
#define SERVER_HARNESS_H
/*
 * The server's file system behind a real device and a real client, both in
 * this process, over a directory of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs.h"

struct lock_gate;
struct srv;

struct srv_opts {
	struct fs_opts fs;
	uint64_t init_flags; /* 0: all that the server knows */
	unsigned pool;	     /* threads */
	unsigned queue_size; /* of the client; default 128 */
};

/* NULL: the defaults of the program, with xattr. */
struct srv *srv_new(const struct srv_opts *opts);
struct srv_opts srv_defaults(void);
void srv_free(struct srv *s);
/* The directory that is served, and a path below it (static buffers). */
const char *srv_dir(const struct srv *s);
const char *srv_path(const struct srv *s, const char *name);
struct fs *srv_fs(struct srv *s);
struct lock_gate *srv_gate(struct srv *s);
struct virtiofs_client *srv_client(struct srv *s);
/* The client goes, whatever it has in flight. */
void srv_disconnect(struct srv *s);
/* A new session of the same client, as after a reboot. */
void srv_restart(struct srv *s);

struct call {
	uint32_t opcode;
	uint32_t uid, gid;
	uint64_t nodeid;
	const void *arg;
	size_t arg_len;
	const void *data;
	size_t data_len;
	void *room;
	size_t room_len;
	uint16_t extlen; /* of data's tail, in 8 bytes */
	uint64_t user_data;
};

/* Bytes of the reply, or a negative errno. From any thread. */
ssize_t srv_call(struct srv *s, const struct call *c);
void srv_interrupt(struct srv *s, uint64_t user_data);
void srv_forget(struct srv *s, uint64_t nodeid, uint64_t nlookup);
/* Forgets take their time: wait until the server knows so many nodes. */
void srv_wait_nodes(struct srv *s, unsigned cnt);

/* Who asks in the calls below; root at first. */
void srv_as(uint32_t uid, uint32_t gid);

int srv_lookup(struct srv *s, uint64_t dir, const char *name,
	       struct fuse_entry_out *ret);
/* An entry that must be there. */
uint64_t srv_node(struct srv *s, uint64_t dir, const char *name);
int srv_mkdir(struct srv *s, uint64_t dir, const char *name, uint32_t mode,
	      struct fuse_entry_out *ret);
int srv_mknod(struct srv *s, uint64_t dir, const char *name, uint32_t mode,
	      struct fuse_entry_out *ret);
int srv_symlink(struct srv *s, uint64_t dir, const char *name,
		const char *target, struct fuse_entry_out *ret);
int srv_link(struct srv *s, uint64_t node, uint64_t dir, const char *name,
	     struct fuse_entry_out *ret);
int srv_create(struct srv *s, uint64_t dir, const char *name, uint32_t flags,
	       uint32_t mode, struct fuse_entry_out *ret, uint64_t *ret_fh);
/* UNLINK and RMDIR */
int srv_remove(struct srv *s, uint32_t opcode, uint64_t dir, const char *name);
int srv_rename(struct srv *s, uint64_t dir, const char *from, uint64_t to_dir,
	       const char *to, uint32_t flags);
/* OPEN and OPENDIR; ret_flags may be NULL. */
int srv_open(struct srv *s, uint32_t opcode, uint64_t node, uint32_t flags,
	     uint64_t *ret_fh, uint32_t *ret_flags);
int srv_release(struct srv *s, uint32_t opcode, uint64_t node, uint64_t fh);
ssize_t srv_read(struct srv *s, uint64_t node, uint64_t fh, uint64_t offset,
		 void *buf, uint32_t size);
ssize_t srv_write(struct srv *s, uint64_t node, const struct fuse_write_in *in,
		  const void *data);
int srv_getattr(struct srv *s, uint64_t node, struct fuse_attr *ret);
int srv_setattr(struct srv *s, uint64_t node, const struct fuse_setattr_in *in,
		struct fuse_attr *ret);

int srv_setxattr(struct srv *s, uint64_t node, const char *name,
		 const char *value, uint32_t size);
/* name NULL: LISTXATTR. */
ssize_t srv_getxattr(struct srv *s, uint64_t node, const char *name, void *buf,
		     uint32_t size);
int srv_removexattr(struct srv *s, uint64_t node, const char *name);

/* Some thread of this process is that user now, and has that capability or
 * not. */
bool srv_thread_is(uint32_t uid, uint32_t gid, unsigned cap, bool has);

/* Directly in the directory. */
void host_write(const struct srv *s, const char *name, const char *text);
void host_check(const struct srv *s, const char *name, const char *text);

/* Tests that need root say so where they have not got it. */
bool need_root(void);
#define NEED_ROOT()                                                            \
	do {                                                                   \
		if (!need_root())                                              \
			skip();                                                \
	} while (0)

#endif
