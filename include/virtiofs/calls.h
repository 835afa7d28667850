/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_CALLS_H
#define VIRTIOFS_CALLS_H
/*
 * One blocking request by name, on nodes; on open files: calls_file.h. And
 * what goes with them: connecting, waiting for the results of a batch.
 * 0 (or a count of bytes where said) or a negative errno, the server's or the
 * transport's. ret is written on success only. All inline, from any thread;
 * see virtiofs_client_call().
 */
#include <poll.h>
#include <virtiofs/prep.h>
#include <virtiofs/transport.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Open a transport by URI, and connect. */
static inline int virtiofs_connect_uri(struct virtiofs_client **ret,
				       const char *uri)
{
	struct virtiofs_transport *t;
	int r = virtiofs_transport_open_client(&t, uri);

	return r < 0 ? r : virtiofs_connect(ret, t);
}

/* An op for client_call with memory for its arguments. */
struct virtiofs_easy {
	struct virtiofs_op op;
	struct iovec data;
	struct iovec room;
	unsigned char arg[VIRTIOFS_OP_ARG_MAX];
};

/* buf: where the reply goes; may be NULL with len 0. */
static inline struct virtiofs_op *virtiofs_easy_op(struct virtiofs_easy *e,
						   void *buf, size_t len)
{
	virtiofs_op_init(&e->op, e->arg);
	e->room = virtiofs_iov(buf, len);
	virtiofs_op_room(&e->op, len ? &e->room : NULL);
	return &e->op;
}

/* For replies of one size: no count to return. */
static inline int virtiofs_easy_call(struct virtiofs_client *c,
				     struct virtiofs_easy *e)
{
	ssize_t n = virtiofs_client_call(c, &e->op);

	return n < 0 ? (int)n : 0;
}

/* A struct as argument and a reply of any kind; for opcodes without a name
 * here. arg_len at most VIRTIOFS_OP_ARG_MAX. */
static inline ssize_t virtiofs_call_simple(struct virtiofs_client *c,
					   uint32_t opcode, uint64_t nodeid,
					   const void *arg, size_t arg_len,
					   void *buf, size_t len)
{
	struct virtiofs_easy e;

	if (arg_len > VIRTIOFS_OP_ARG_MAX)
		return -EINVAL;
	virtiofs_easy_op(&e, buf, len);
	virtiofs_prep_head(&e.op, opcode, nodeid, arg, arg_len);
	return virtiofs_client_call(c, &e.op);
}

/* On a taken queue: submit, then wait for results; 1 to max of them, or
 * negative. Not while nothing is in flight. */
static inline int virtiofs_cliq_wait(struct virtiofs_cliq *q,
				     struct virtiofs_result *res, unsigned max)
{
	struct pollfd p;
	int n;

	p.fd = virtiofs_cliq_fd(q);
	p.events = POLLIN;
	n = virtiofs_cliq_submit(q);
	while (n >= 0) {
		n = virtiofs_cliq_reap(q, res, max);
		if (n)
			return n;
		n = virtiofs_cliq_arm(q);
		/* Looked at again: poll may return early. */
		if (n == 0)
			poll(&p, 1, -1);
	}
	return n;
}

static inline int virtiofs_call_lookup(struct virtiofs_client *c,
				       uint64_t parent, const char *name,
				       struct fuse_entry_out *ret)
{
	struct virtiofs_easy e;
	int r;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	r = virtiofs_prep_lookup(&e.op, parent, name, &e.room);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_getattr(struct virtiofs_client *c,
					uint64_t nodeid,
					struct fuse_attr_out *ret)
{
	struct virtiofs_easy e;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	virtiofs_prep_getattr(&e.op, nodeid, &e.room);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_setattr(struct virtiofs_client *c,
					uint64_t nodeid,
					const struct fuse_setattr_in *arg,
					struct fuse_attr_out *ret)
{
	struct virtiofs_easy e;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	virtiofs_prep_setattr(&e.op, nodeid, arg, &e.room);
	return virtiofs_easy_call(c, &e);
}

/* Bytes of the target, which has no NUL; len should be PATH_MAX. */
static inline ssize_t virtiofs_call_readlink(struct virtiofs_client *c,
					     uint64_t nodeid, char *buf,
					     size_t len)
{
	return virtiofs_call_simple(c, FUSE_READLINK, nodeid, NULL, 0, buf,
				    len);
}

static inline int virtiofs_call_symlink(struct virtiofs_client *c,
					uint64_t parent, const char *name,
					const char *target,
					struct fuse_entry_out *ret)
{
	struct virtiofs_easy e;
	int r;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	e.data = virtiofs_iov(target, strlen(target) + 1);
	r = virtiofs_prep_symlink(&e.op, parent, name, &e.data, &e.room);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_mknod(struct virtiofs_client *c,
				      uint64_t parent, const char *name,
				      const struct fuse_mknod_in *arg,
				      struct fuse_entry_out *ret)
{
	struct virtiofs_easy e;
	int r;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	r = virtiofs_prep_mknod(&e.op, parent, name, arg, &e.room);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_mkdir(struct virtiofs_client *c,
				      uint64_t parent, const char *name,
				      uint32_t mode, struct fuse_entry_out *ret)
{
	struct fuse_mkdir_in arg;
	struct virtiofs_easy e;
	int r;

	arg.mode = mode;
	arg.umask = 0;
	virtiofs_easy_op(&e, ret, sizeof(*ret));
	r = virtiofs_prep_mkdir(&e.op, parent, name, &arg, &e.room);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_unlink(struct virtiofs_client *c,
				       uint64_t parent, const char *name)
{
	struct virtiofs_easy e;
	int r;

	r = virtiofs_prep_unlink(virtiofs_easy_op(&e, NULL, 0), parent, name);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_rmdir(struct virtiofs_client *c,
				      uint64_t parent, const char *name)
{
	struct virtiofs_easy e;
	int r;

	r = virtiofs_prep_rmdir(virtiofs_easy_op(&e, NULL, 0), parent, name);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_rename(struct virtiofs_client *c,
				       uint64_t parent, const char *name,
				       uint64_t newparent, const char *newname)
{
	struct virtiofs_easy e;
	int r;

	r = virtiofs_prep_rename(virtiofs_easy_op(&e, NULL, 0), parent, name,
				 newparent, newname);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_rename2(struct virtiofs_client *c,
					uint64_t parent, const char *name,
					const struct fuse_rename2_in *arg,
					const char *newname)
{
	struct virtiofs_easy e;
	int r;

	r = virtiofs_prep_rename2(virtiofs_easy_op(&e, NULL, 0), parent, name,
				  arg, newname);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_link(struct virtiofs_client *c, uint64_t nodeid,
				     uint64_t newparent, const char *newname,
				     struct fuse_entry_out *ret)
{
	struct virtiofs_easy e;
	int r;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	r = virtiofs_prep_link(&e.op, nodeid, newparent, newname, &e.room);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_statfs(struct virtiofs_client *c,
				       uint64_t nodeid,
				       struct fuse_statfs_out *ret)
{
	struct virtiofs_easy e;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	virtiofs_prep_statfs(&e.op, nodeid, &e.room);
	return virtiofs_easy_call(c, &e);
}

/* flags: XATTR_CREATE, XATTR_REPLACE */
static inline int virtiofs_call_setxattr(struct virtiofs_client *c,
					 uint64_t nodeid, const char *name,
					 const void *value, uint32_t len,
					 uint32_t flags)
{
	struct fuse_setxattr_in arg;
	struct virtiofs_easy e;
	int r;

	memset(&arg, 0, sizeof(arg));
	arg.size = len;
	arg.flags = flags;
	virtiofs_easy_op(&e, NULL, 0);
	e.data = virtiofs_iov(value, len);
	r = virtiofs_prep_setxattr(&e.op, nodeid, name, &arg,
				   len ? &e.data : NULL,
				   virtiofs_client_init_flags(c));
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

/* Bytes of the value; with len 0 the bytes it would take. */
static inline ssize_t virtiofs_call_getxattr(struct virtiofs_client *c,
					     uint64_t nodeid, const char *name,
					     void *buf, uint32_t len)
{
	struct fuse_getxattr_out out;
	struct virtiofs_easy e;
	ssize_t n;
	int r;

	virtiofs_easy_op(&e, len ? buf : &out, len ? len : sizeof(out));
	r = virtiofs_prep_getxattr(&e.op, nodeid, name, len, &e.room);
	if (r < 0)
		return r;
	n = virtiofs_client_call(c, &e.op);
	return n < 0 || len ? n : (ssize_t)out.size;
}

/* Bytes of names, each with its NUL; with len 0 the bytes they would take. */
static inline ssize_t virtiofs_call_listxattr(struct virtiofs_client *c,
					      uint64_t nodeid, void *buf,
					      uint32_t len)
{
	struct fuse_getxattr_out out;
	struct virtiofs_easy e;
	ssize_t n;

	virtiofs_easy_op(&e, len ? buf : &out, len ? len : sizeof(out));
	virtiofs_prep_listxattr(&e.op, nodeid, len, &e.room);
	n = virtiofs_client_call(c, &e.op);
	return n < 0 || len ? n : (ssize_t)out.size;
}

static inline int virtiofs_call_removexattr(struct virtiofs_client *c,
					    uint64_t nodeid, const char *name)
{
	struct virtiofs_easy e;
	int r;

	r = virtiofs_prep_removexattr(virtiofs_easy_op(&e, NULL, 0), nodeid,
				      name);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

/* mask: R_OK, W_OK, X_OK, or 0 */
static inline int virtiofs_call_access(struct virtiofs_client *c,
				       uint64_t nodeid, uint32_t mask)
{
	struct virtiofs_easy e;

	virtiofs_prep_access(virtiofs_easy_op(&e, NULL, 0), nodeid, mask);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_syncfs(struct virtiofs_client *c,
				       uint64_t nodeid)
{
	struct virtiofs_easy e;

	virtiofs_prep_syncfs(virtiofs_easy_op(&e, NULL, 0), nodeid);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_statx(struct virtiofs_client *c,
				      uint64_t nodeid,
				      const struct fuse_statx_in *arg,
				      struct fuse_statx_out *ret)
{
	struct virtiofs_easy e;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	virtiofs_prep_statx(&e.op, nodeid, arg, &e.room);
	return virtiofs_easy_call(c, &e);
}

#ifdef __cplusplus
}
#endif
#endif
