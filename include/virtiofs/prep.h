/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_PREP_H
#define VIRTIOFS_PREP_H
/*
 * virtiofs_prep_NAME() fills an op for submit or client_call. It writes to
 * op->arg, which has VIRTIOFS_OP_ARG_MAX bytes: get_op's own, or the caller's
 * by virtiofs_op_init(). Bulk data stays where it is and is named by iovecs.
 * Room of a fixed-size reply is one part as long as the struct named. Preps
 * that take names return 0, or -ENAMETOOLONG and leave an op that submit drops.
 */
#include <errno.h>
#include <string.h>
#include <virtiofs/client.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline struct iovec virtiofs_iov(const void *base, size_t len)
{
	struct iovec v;

	v.iov_base = (void *)(uintptr_t)base;
	v.iov_len = len;
	return v;
}

/* What CREATE and TMPFILE answer. */
struct virtiofs_create_out {
	struct fuse_entry_out entry;
	struct fuse_open_out open;
};

/* An op of the caller's own; arg has VIRTIOFS_OP_ARG_MAX bytes. */
static inline void virtiofs_op_init(struct virtiofs_op *op, void *arg)
{
	memset(op, 0, sizeof(*op));
	op->size = sizeof(*op);
	op->arg = arg;
}

static inline void virtiofs_op_room(struct virtiofs_op *op,
				    const struct iovec *room)
{
	op->room = room;
	op->room_cnt = room ? 1 : 0;
}

/* Opcode, nodeid and the fixed arguments; names follow. */
static inline void virtiofs_prep_head(struct virtiofs_op *op, uint32_t opcode,
				      uint64_t nodeid, const void *arg,
				      size_t len)
{
	op->opcode = opcode;
	op->nodeid = nodeid;
	op->arg_len = (uint32_t)len;
	if (len)
		memcpy(op->arg, arg, len);
}

/* Append a name and its NUL to the arguments. */
static inline int virtiofs_prep_name(struct virtiofs_op *op, const char *name)
{
	size_t len = strlen(name) + 1;

	if (len > VIRTIOFS_OP_ARG_MAX - op->arg_len) {
		op->opcode = 0;
		return -ENAMETOOLONG;
	}
	memcpy((char *)op->arg + op->arg_len, name, len);
	op->arg_len += (uint32_t)len;
	return 0;
}

/* room: struct fuse_entry_out */
static inline int virtiofs_prep_lookup(struct virtiofs_op *op, uint64_t parent,
				       const char *name,
				       const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_LOOKUP, parent, NULL, 0);
	virtiofs_op_room(op, room);
	return virtiofs_prep_name(op, name);
}

/* room: struct fuse_attr_out */
static inline void virtiofs_prep_getattr(struct virtiofs_op *op,
					 uint64_t nodeid,
					 const struct iovec *room)
{
	struct fuse_getattr_in in;

	memset(&in, 0, sizeof(in));
	virtiofs_prep_head(op, FUSE_GETATTR, nodeid, &in, sizeof(in));
	virtiofs_op_room(op, room);
}

/* room: struct fuse_attr_out */
static inline void virtiofs_prep_setattr(struct virtiofs_op *op,
					 uint64_t nodeid,
					 const struct fuse_setattr_in *in,
					 const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_SETATTR, nodeid, in, sizeof(*in));
	virtiofs_op_room(op, room);
}

/* room: up to 4096 bytes, without NUL */
static inline void virtiofs_prep_readlink(struct virtiofs_op *op,
					  uint64_t nodeid,
					  const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_READLINK, nodeid, NULL, 0);
	virtiofs_op_room(op, room);
}

/* target includes its NUL; room: struct fuse_entry_out */
static inline int virtiofs_prep_symlink(struct virtiofs_op *op, uint64_t parent,
					const char *name,
					const struct iovec *target,
					const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_SYMLINK, parent, NULL, 0);
	op->data = target;
	op->data_cnt = 1;
	virtiofs_op_room(op, room);
	return virtiofs_prep_name(op, name);
}

/* room: struct fuse_entry_out */
static inline int virtiofs_prep_mknod(struct virtiofs_op *op, uint64_t parent,
				      const char *name,
				      const struct fuse_mknod_in *in,
				      const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_MKNOD, parent, in, sizeof(*in));
	virtiofs_op_room(op, room);
	return virtiofs_prep_name(op, name);
}

/* room: struct fuse_entry_out */
static inline int virtiofs_prep_mkdir(struct virtiofs_op *op, uint64_t parent,
				      const char *name,
				      const struct fuse_mkdir_in *in,
				      const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_MKDIR, parent, in, sizeof(*in));
	virtiofs_op_room(op, room);
	return virtiofs_prep_name(op, name);
}

/* room: struct virtiofs_create_out */
static inline int virtiofs_prep_create(struct virtiofs_op *op, uint64_t parent,
				       const char *name,
				       const struct fuse_create_in *in,
				       const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_CREATE, parent, in, sizeof(*in));
	virtiofs_op_room(op, room);
	return virtiofs_prep_name(op, name);
}

static inline int virtiofs_prep_unlink(struct virtiofs_op *op, uint64_t parent,
				       const char *name)
{
	virtiofs_prep_head(op, FUSE_UNLINK, parent, NULL, 0);
	return virtiofs_prep_name(op, name);
}

static inline int virtiofs_prep_rmdir(struct virtiofs_op *op, uint64_t parent,
				      const char *name)
{
	virtiofs_prep_head(op, FUSE_RMDIR, parent, NULL, 0);
	return virtiofs_prep_name(op, name);
}

static inline int virtiofs_prep_rename(struct virtiofs_op *op, uint64_t parent,
				       const char *name, uint64_t newparent,
				       const char *newname)
{
	struct fuse_rename_in in;
	int r;

	in.newdir = newparent;
	virtiofs_prep_head(op, FUSE_RENAME, parent, &in, sizeof(in));
	r = virtiofs_prep_name(op, name);
	return r < 0 ? r : virtiofs_prep_name(op, newname);
}

/* room: struct fuse_entry_out */
static inline int virtiofs_prep_link(struct virtiofs_op *op, uint64_t nodeid,
				     uint64_t newparent, const char *newname,
				     const struct iovec *room)
{
	struct fuse_link_in in;

	in.oldnodeid = nodeid;
	virtiofs_prep_head(op, FUSE_LINK, newparent, &in, sizeof(in));
	virtiofs_op_room(op, room);
	return virtiofs_prep_name(op, newname);
}

/* opcode: OPEN or OPENDIR; room: struct fuse_open_out */
static inline void virtiofs_prep_open(struct virtiofs_op *op, uint32_t opcode,
				      uint64_t nodeid, uint32_t flags,
				      const struct iovec *room)
{
	struct fuse_open_in in;

	memset(&in, 0, sizeof(in));
	in.flags = flags;
	virtiofs_prep_head(op, opcode, nodeid, &in, sizeof(in));
	virtiofs_op_room(op, room);
}

/* opcode: RELEASE or RELEASEDIR; flags: those of OPEN */
static inline void virtiofs_prep_release(struct virtiofs_op *op,
					 uint32_t opcode, uint64_t nodeid,
					 uint64_t fh, uint32_t flags)
{
	struct fuse_release_in in;

	memset(&in, 0, sizeof(in));
	in.fh = fh;
	in.flags = flags;
	virtiofs_prep_head(op, opcode, nodeid, &in, sizeof(in));
}

static inline void virtiofs_prep_flush(struct virtiofs_op *op, uint64_t nodeid,
				       uint64_t fh)
{
	struct fuse_flush_in in;

	memset(&in, 0, sizeof(in));
	in.fh = fh;
	virtiofs_prep_head(op, FUSE_FLUSH, nodeid, &in, sizeof(in));
}

static inline void virtiofs_prep_fsync(struct virtiofs_op *op, uint64_t nodeid,
				       uint64_t fh, uint32_t fsync_flags)
{
	struct fuse_fsync_in in;

	memset(&in, 0, sizeof(in));
	in.fh = fh;
	in.fsync_flags = fsync_flags;
	virtiofs_prep_head(op, FUSE_FSYNC, nodeid, &in, sizeof(in));
}

static inline void virtiofs_prep_read(struct virtiofs_op *op, uint64_t nodeid,
				      uint64_t fh, uint64_t offset,
				      uint32_t size, const struct iovec *room,
				      uint16_t room_cnt)
{
	struct fuse_read_in in;

	memset(&in, 0, sizeof(in));
	in.fh = fh;
	in.offset = offset;
	in.size = size;
	virtiofs_prep_head(op, FUSE_READ, nodeid, &in, sizeof(in));
	op->room = room;
	op->room_cnt = room_cnt;
}

/* opcode: READDIR or READDIRPLUS; offset 0, then the last entry's off */
static inline void virtiofs_prep_readdir(struct virtiofs_op *op,
					 uint32_t opcode, uint64_t nodeid,
					 const struct fuse_read_in *in,
					 const struct iovec *room)
{
	virtiofs_prep_head(op, opcode, nodeid, in, sizeof(*in));
	virtiofs_op_room(op, room);
}

/* in->size is data->iov_len; room: struct fuse_write_out */
static inline void virtiofs_prep_write(struct virtiofs_op *op, uint64_t nodeid,
				       const struct fuse_write_in *in,
				       const struct iovec *data,
				       const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_WRITE, nodeid, in, sizeof(*in));
	op->data = data;
	op->data_cnt = 1;
	virtiofs_op_room(op, room);
}

/* What RETRIEVE asked for, or less: data, one part, lies at in->offset, and
 * in->size is data->iov_len; no room */
static inline void virtiofs_prep_notify_reply(
    struct virtiofs_op *op, const struct fuse_notify_retrieve_out *asked,
    const struct fuse_notify_retrieve_in *in, const struct iovec *data)
{
	virtiofs_prep_head(op, FUSE_NOTIFY_REPLY, asked->nodeid, in,
			   sizeof(*in));
	op->notify_unique = asked->notify_unique;
	op->data = data;
	op->data_cnt = 1;
}

/* whence: SEEK_DATA or SEEK_HOLE; room: struct fuse_lseek_out */
static inline void virtiofs_prep_lseek(struct virtiofs_op *op, uint64_t nodeid,
				       const struct fuse_lseek_in *in,
				       const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_LSEEK, nodeid, in, sizeof(*in));
	virtiofs_op_room(op, room);
}

/* room: struct fuse_statfs_out */
static inline void virtiofs_prep_statfs(struct virtiofs_op *op, uint64_t nodeid,
					const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_STATFS, nodeid, NULL, 0);
	virtiofs_op_room(op, room);
}

/* As create, for a file without a name in the file system of parent.
 * room: struct virtiofs_create_out */
static inline int virtiofs_prep_tmpfile(struct virtiofs_op *op, uint64_t parent,
					const struct fuse_create_in *in,
					const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_TMPFILE, parent, in, sizeof(*in));
	virtiofs_op_room(op, room);
	return virtiofs_prep_name(op, "/");
}

/* in: newdir, and RENAME_ flags of <linux/fs.h> */
static inline int virtiofs_prep_rename2(struct virtiofs_op *op, uint64_t parent,
					const char *name,
					const struct fuse_rename2_in *in,
					const char *newname)
{
	int r;

	virtiofs_prep_head(op, FUSE_RENAME2, parent, in, sizeof(*in));
	r = virtiofs_prep_name(op, name);
	return r < 0 ? r : virtiofs_prep_name(op, newname);
}

/* Of an open file. room: struct fuse_attr_out */
static inline void virtiofs_prep_fgetattr(struct virtiofs_op *op,
					  uint64_t nodeid, uint64_t fh,
					  const struct iovec *room)
{
	struct fuse_getattr_in in;

	memset(&in, 0, sizeof(in));
	in.getattr_flags = FUSE_GETATTR_FH;
	in.fh = fh;
	virtiofs_prep_head(op, FUSE_GETATTR, nodeid, &in, sizeof(in));
	virtiofs_op_room(op, room);
}

static inline void virtiofs_prep_fsyncdir(struct virtiofs_op *op,
					  uint64_t nodeid, uint64_t fh,
					  uint32_t fsync_flags)
{
	struct fuse_fsync_in in;

	memset(&in, 0, sizeof(in));
	in.fh = fh;
	in.fsync_flags = fsync_flags;
	virtiofs_prep_head(op, FUSE_FSYNCDIR, nodeid, &in, sizeof(in));
}

/* value: one part of in->size bytes, NULL for an empty one. init_flags:
 * virtiofs_client_init_flags(); FUSE_SETXATTR_EXT decides the struct's size. */
static inline int virtiofs_prep_setxattr(struct virtiofs_op *op,
					 uint64_t nodeid, const char *name,
					 const struct fuse_setxattr_in *in,
					 const struct iovec *value,
					 uint64_t init_flags)
{
	size_t len = init_flags & FUSE_SETXATTR_EXT
			 ? sizeof(*in)
			 : FUSE_COMPAT_SETXATTR_IN_SIZE;

	virtiofs_prep_head(op, FUSE_SETXATTR, nodeid, in, len);
	op->data = value;
	op->data_cnt = value ? 1 : 0;
	return virtiofs_prep_name(op, name);
}

/* size 0: room is struct fuse_getxattr_out, else size bytes for the value */
static inline int virtiofs_prep_getxattr(struct virtiofs_op *op,
					 uint64_t nodeid, const char *name,
					 uint32_t size,
					 const struct iovec *room)
{
	struct fuse_getxattr_in in;

	in.size = size;
	in.padding = 0;
	virtiofs_prep_head(op, FUSE_GETXATTR, nodeid, &in, sizeof(in));
	virtiofs_op_room(op, room);
	return virtiofs_prep_name(op, name);
}

/* As getxattr; the value is names, each with its NUL. */
static inline void virtiofs_prep_listxattr(struct virtiofs_op *op,
					   uint64_t nodeid, uint32_t size,
					   const struct iovec *room)
{
	struct fuse_getxattr_in in;

	in.size = size;
	in.padding = 0;
	virtiofs_prep_head(op, FUSE_LISTXATTR, nodeid, &in, sizeof(in));
	virtiofs_op_room(op, room);
}

static inline int virtiofs_prep_removexattr(struct virtiofs_op *op,
					    uint64_t nodeid, const char *name)
{
	virtiofs_prep_head(op, FUSE_REMOVEXATTR, nodeid, NULL, 0);
	return virtiofs_prep_name(op, name);
}

/* opcode: SETLK, SETLKW (room NULL), or GETLK (room: struct fuse_lk_out) */
static inline void virtiofs_prep_lk(struct virtiofs_op *op, uint32_t opcode,
				    uint64_t nodeid,
				    const struct fuse_lk_in *in,
				    const struct iovec *room)
{
	virtiofs_prep_head(op, opcode, nodeid, in, sizeof(*in));
	virtiofs_op_room(op, room);
}

/* mask: R_OK, W_OK, X_OK, or 0 */
static inline void virtiofs_prep_access(struct virtiofs_op *op, uint64_t nodeid,
					uint32_t mask)
{
	struct fuse_access_in in;

	in.mask = mask;
	in.padding = 0;
	virtiofs_prep_head(op, FUSE_ACCESS, nodeid, &in, sizeof(in));
}

static inline void virtiofs_prep_fallocate(struct virtiofs_op *op,
					   uint64_t nodeid,
					   const struct fuse_fallocate_in *in)
{
	virtiofs_prep_head(op, FUSE_FALLOCATE, nodeid, in, sizeof(*in));
}

/* room: struct fuse_write_out */
static inline void virtiofs_prep_copy_file_range(
    struct virtiofs_op *op, uint64_t nodeid,
    const struct fuse_copy_file_range_in *in, const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_COPY_FILE_RANGE, nodeid, in, sizeof(*in));
	virtiofs_op_room(op, room);
}

static inline void virtiofs_prep_syncfs(struct virtiofs_op *op, uint64_t nodeid)
{
	struct fuse_syncfs_in in;

	in.padding = 0;
	virtiofs_prep_head(op, FUSE_SYNCFS, nodeid, &in, sizeof(in));
}

/* room: struct fuse_statx_out */
static inline void virtiofs_prep_statx(struct virtiofs_op *op, uint64_t nodeid,
				       const struct fuse_statx_in *in,
				       const struct iovec *room)
{
	virtiofs_prep_head(op, FUSE_STATX, nodeid, in, sizeof(*in));
	virtiofs_op_room(op, room);
}

#ifdef __cplusplus
}
#endif
#endif
