/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_CALLS_FILE_H
#define VIRTIOFS_CALLS_FILE_H
/* One blocking request by name, on open files; the rules of calls.h. */
#include <virtiofs/calls.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of an open file, whatever became of its name. */
static inline int virtiofs_call_fgetattr(struct virtiofs_client *c,
					 uint64_t nodeid, uint64_t fh,
					 struct fuse_attr_out *ret)
{
	struct virtiofs_easy e;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	virtiofs_prep_fgetattr(&e.op, nodeid, fh, &e.room);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_open(struct virtiofs_client *c, uint64_t nodeid,
				     uint32_t flags, struct fuse_open_out *ret)
{
	struct virtiofs_easy e;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	virtiofs_prep_open(&e.op, FUSE_OPEN, nodeid, flags, &e.room);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_opendir(struct virtiofs_client *c,
					uint64_t nodeid, uint32_t flags,
					struct fuse_open_out *ret)
{
	struct virtiofs_easy e;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	virtiofs_prep_open(&e.op, FUSE_OPENDIR, nodeid, flags, &e.room);
	return virtiofs_easy_call(c, &e);
}

/* The arguments of READ, READDIR and READDIRPLUS. */
static inline struct fuse_read_in virtiofs_read_in(uint64_t fh, uint64_t offset,
						   size_t len)
{
	struct fuse_read_in arg;

	memset(&arg, 0, sizeof(arg));
	arg.fh = fh;
	arg.offset = offset;
	arg.size = len > UINT32_MAX ? UINT32_MAX : (uint32_t)len;
	return arg;
}

static inline ssize_t virtiofs_call_read_op(struct virtiofs_client *c,
					    uint32_t opcode, uint64_t nodeid,
					    const struct fuse_read_in *arg,
					    void *buf)
{
	struct virtiofs_easy e;

	virtiofs_easy_op(&e, buf, arg->size);
	virtiofs_prep_readdir(&e.op, opcode, nodeid, arg,
			      arg->size ? &e.room : NULL);
	return virtiofs_client_call(c, &e.op);
}

/* Bytes read. More than max_pages hold is -EMSGSIZE: see client_get_info. */
static inline ssize_t virtiofs_call_read(struct virtiofs_client *c,
					 uint64_t nodeid, uint64_t fh,
					 uint64_t offset, void *buf, size_t len)
{
	struct fuse_read_in arg = virtiofs_read_in(fh, offset, len);

	return virtiofs_call_read_op(c, FUSE_READ, nodeid, &arg, buf);
}

/* Bytes of entries, for virtiofs_next_dirent(); 0 at the end. */
static inline ssize_t virtiofs_call_readdir(struct virtiofs_client *c,
					    uint64_t nodeid, uint64_t fh,
					    uint64_t offset, void *buf,
					    size_t len)
{
	struct fuse_read_in arg = virtiofs_read_in(fh, offset, len);

	return virtiofs_call_read_op(c, FUSE_READDIR, nodeid, &arg, buf);
}

/* The same for virtiofs_next_direntplus(); each entry with a nodeid other
 * than that of "." and ".." is one lookup to forget. */
static inline ssize_t virtiofs_call_readdirplus(struct virtiofs_client *c,
						uint64_t nodeid, uint64_t fh,
						uint64_t offset, void *buf,
						size_t len)
{
	struct fuse_read_in arg = virtiofs_read_in(fh, offset, len);

	return virtiofs_call_read_op(c, FUSE_READDIRPLUS, nodeid, &arg, buf);
}

/* Bytes written, as the server says; never more than len. */
static inline ssize_t virtiofs_call_write(struct virtiofs_client *c,
					  uint64_t nodeid, uint64_t fh,
					  uint64_t offset, const void *buf,
					  size_t len)
{
	struct fuse_write_out out;
	struct fuse_write_in arg;
	struct virtiofs_easy e;
	int r;

	memset(&arg, 0, sizeof(arg));
	arg.fh = fh;
	arg.offset = offset;
	arg.size = len > UINT32_MAX ? UINT32_MAX : (uint32_t)len;
	virtiofs_easy_op(&e, &out, sizeof(out));
	e.data = virtiofs_iov(buf, arg.size);
	virtiofs_prep_write(&e.op, nodeid, &arg, &e.data, &e.room);
	r = virtiofs_easy_call(c, &e);
	if (r < 0)
		return r;
	return out.size > arg.size ? -EPROTO : (ssize_t)out.size;
}

/* Answers a RETRIEVE: bytes at its offset, as many as it asked for or less. */
static inline int virtiofs_call_notify_reply(
    struct virtiofs_client *c, const struct fuse_notify_retrieve_out *asked,
    const void *buf, uint32_t len)
{
	struct fuse_notify_retrieve_in arg;
	struct virtiofs_easy e;

	memset(&arg, 0, sizeof(arg));
	arg.offset = asked->offset;
	arg.size = len;
	virtiofs_easy_op(&e, NULL, 0);
	e.data = virtiofs_iov(buf, len);
	virtiofs_prep_notify_reply(&e.op, asked, &arg, &e.data);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_release(struct virtiofs_client *c,
					uint64_t nodeid, uint64_t fh,
					uint32_t flags)
{
	struct virtiofs_easy e;

	virtiofs_prep_release(virtiofs_easy_op(&e, NULL, 0), FUSE_RELEASE,
			      nodeid, fh, flags);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_releasedir(struct virtiofs_client *c,
					   uint64_t nodeid, uint64_t fh,
					   uint32_t flags)
{
	struct virtiofs_easy e;

	virtiofs_prep_release(virtiofs_easy_op(&e, NULL, 0), FUSE_RELEASEDIR,
			      nodeid, fh, flags);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_fsync(struct virtiofs_client *c,
				      uint64_t nodeid, uint64_t fh,
				      uint32_t flags)
{
	struct virtiofs_easy e;

	virtiofs_prep_fsync(virtiofs_easy_op(&e, NULL, 0), nodeid, fh, flags);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_fsyncdir(struct virtiofs_client *c,
					 uint64_t nodeid, uint64_t fh,
					 uint32_t flags)
{
	struct virtiofs_easy e;

	virtiofs_prep_fsyncdir(virtiofs_easy_op(&e, NULL, 0), nodeid, fh,
			       flags);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_flush(struct virtiofs_client *c,
				      uint64_t nodeid, uint64_t fh)
{
	struct virtiofs_easy e;

	virtiofs_prep_flush(virtiofs_easy_op(&e, NULL, 0), nodeid, fh);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_getlk(struct virtiofs_client *c,
				      uint64_t nodeid,
				      const struct fuse_lk_in *arg,
				      struct fuse_lk_out *ret)
{
	struct virtiofs_easy e;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	virtiofs_prep_lk(&e.op, FUSE_GETLK, nodeid, arg, &e.room);
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_setlk(struct virtiofs_client *c,
				      uint64_t nodeid,
				      const struct fuse_lk_in *arg)
{
	struct virtiofs_easy e;

	virtiofs_prep_lk(virtiofs_easy_op(&e, NULL, 0), FUSE_SETLK, nodeid, arg,
			 NULL);
	return virtiofs_easy_call(c, &e);
}

/* Waits for the lock; user_data is for virtiofs_client_interrupt(). */
static inline int virtiofs_call_setlkw(struct virtiofs_client *c,
				       uint64_t nodeid,
				       const struct fuse_lk_in *arg,
				       uint64_t user_data)
{
	struct virtiofs_easy e;

	virtiofs_prep_lk(virtiofs_easy_op(&e, NULL, 0), FUSE_SETLKW, nodeid,
			 arg, NULL);
	e.op.user_data = user_data;
	return virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_create(struct virtiofs_client *c,
				       uint64_t parent, const char *name,
				       const struct fuse_create_in *arg,
				       struct virtiofs_create_out *ret)
{
	struct virtiofs_easy e;
	int r;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	r = virtiofs_prep_create(&e.op, parent, name, arg, &e.room);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

/* A file without a name in the file system of parent. */
static inline int virtiofs_call_tmpfile(struct virtiofs_client *c,
					uint64_t parent,
					const struct fuse_create_in *arg,
					struct virtiofs_create_out *ret)
{
	struct virtiofs_easy e;
	int r;

	virtiofs_easy_op(&e, ret, sizeof(*ret));
	r = virtiofs_prep_tmpfile(&e.op, parent, arg, &e.room);
	return r < 0 ? r : virtiofs_easy_call(c, &e);
}

static inline int virtiofs_call_fallocate(struct virtiofs_client *c,
					  uint64_t nodeid,
					  const struct fuse_fallocate_in *arg)
{
	struct virtiofs_easy e;

	virtiofs_prep_fallocate(virtiofs_easy_op(&e, NULL, 0), nodeid, arg);
	return virtiofs_easy_call(c, &e);
}

/* whence: SEEK_DATA, SEEK_HOLE */
static inline int64_t virtiofs_call_lseek(struct virtiofs_client *c,
					  uint64_t nodeid, uint64_t fh,
					  uint64_t offset, uint32_t whence)
{
	struct fuse_lseek_out out;
	struct fuse_lseek_in arg;
	struct virtiofs_easy e;
	int r;

	memset(&arg, 0, sizeof(arg));
	arg.fh = fh;
	arg.offset = offset;
	arg.whence = whence;
	virtiofs_easy_op(&e, &out, sizeof(out));
	virtiofs_prep_lseek(&e.op, nodeid, &arg, &e.room);
	r = virtiofs_easy_call(c, &e);
	if (r < 0)
		return r;
	return out.offset > INT64_MAX ? -EPROTO : (int64_t)out.offset;
}

/* Bytes copied; never more than arg->len. */
static inline ssize_t virtiofs_call_copy_file_range(
    struct virtiofs_client *c, uint64_t nodeid,
    const struct fuse_copy_file_range_in *arg)
{
	struct fuse_write_out out;
	struct virtiofs_easy e;
	int r;

	virtiofs_easy_op(&e, &out, sizeof(out));
	virtiofs_prep_copy_file_range(&e.op, nodeid, arg, &e.room);
	r = virtiofs_easy_call(c, &e);
	if (r < 0)
		return r;
	return out.size > arg->len ? -EPROTO : (ssize_t)out.size;
}

#ifdef __cplusplus
}
#endif
#endif
