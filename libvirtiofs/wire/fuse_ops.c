/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire/fuse_ops.h"

#include <errno.h>
#include <string.h>

#include <virtiofs/stats.h>

#include "base/bytes.h"

/* clang-format off */

/* Columns of a row: how the arguments, what follows and the reply look. */
#define ARG(type)		.arg_len = sizeof(struct type)
#define ARG_OLD(len, minor)	.arg_old = (len), .arg_minor = (minor)
#define NAMES_ENTRY		.names = 1, .names_kind = VTFS_FUSE_NAMES_ENTRY
#define NAMES_ENTRY2		.names = 2, .names_kind = VTFS_FUSE_NAMES_ENTRY2
#define NAMES_LINK		.names = 2, .names_kind = VTFS_FUSE_NAMES_LINK
#define NAMES_XATTR		.names = 1, .names_kind = VTFS_FUSE_NAMES_XATTR
#define NAMES_IGNORED		.names = 1, .names_kind = VTFS_FUSE_NAMES_IGNORED
#define BULK(unit, type, field) \
	.bulk_unit = (unit), .bulk_off = offsetof(struct type, field)
#define REPLY(type)		.reply_len = sizeof(struct type)
#define REPLY_OLD(len, minor)	.reply_old = (len), .reply_minor = (minor)
#define REPLY_ENTRY \
	REPLY(fuse_entry_out), REPLY_OLD(FUSE_COMPAT_ENTRY_OUT_SIZE, 9)
#define REPLY_ATTR \
	REPLY(fuse_attr_out), REPLY_OLD(FUSE_COMPAT_ATTR_OUT_SIZE, 9)
#define ENTRY_OPEN_LEN \
	(sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out))
#define ENTRY_OPEN_OLD \
	(FUSE_COMPAT_ENTRY_OUT_SIZE + sizeof(struct fuse_open_out))
#define REPLY_ENTRY_OPEN \
	.reply_len = ENTRY_OPEN_LEN, REPLY_OLD(ENTRY_OPEN_OLD, 9)

#define OP(op, ...) \
	[FUSE_##op] = { .opcode = FUSE_##op, .name = #op, __VA_ARGS__ }

/* Short names of flags, for this table. */
#define HIPRIO	VTFS_FUSE_HIPRIO
#define EXT	VTFS_FUSE_EXT
#define VAR	VTFS_FUSE_VARIABLE
#define MOD	VTFS_FUSE_MODIFIES
#define ENTRY	VTFS_FUSE_GRANTS_ENTRY
#define FH	VTFS_FUSE_GRANTS_FH
#define SILENT	.answer = VTFS_FUSE_ANSWER_NONE

static const struct vtfs_fuse_op ops[] = {
	OP(LOOKUP, NAMES_ENTRY, REPLY_ENTRY, .flags = ENTRY),
	OP(FORGET, ARG(fuse_forget_in), SILENT, .flags = HIPRIO),
	OP(GETATTR, ARG(fuse_getattr_in), ARG_OLD(0, 9), REPLY_ATTR),
	OP(SETATTR, ARG(fuse_setattr_in), REPLY_ATTR, .flags = MOD),
	OP(READLINK, .flags = VAR),
	OP(SYMLINK, NAMES_LINK, REPLY_ENTRY, .flags = EXT | MOD | ENTRY),
	OP(MKNOD, ARG(fuse_mknod_in), ARG_OLD(FUSE_COMPAT_MKNOD_IN_SIZE, 12),
	   NAMES_ENTRY, REPLY_ENTRY, .flags = EXT | MOD | ENTRY),
	OP(MKDIR, ARG(fuse_mkdir_in), NAMES_ENTRY, REPLY_ENTRY,
	   .flags = EXT | MOD | ENTRY),
	OP(UNLINK, NAMES_ENTRY, .flags = MOD),
	OP(RMDIR, NAMES_ENTRY, .flags = MOD),
	OP(RENAME, ARG(fuse_rename_in), NAMES_ENTRY2, .flags = MOD),
	OP(LINK, ARG(fuse_link_in), NAMES_ENTRY, REPLY_ENTRY,
	   .flags = MOD | ENTRY),
	OP(OPEN, ARG(fuse_open_in), REPLY(fuse_open_out), .flags = FH),
	OP(READ, ARG(fuse_read_in), ARG_OLD(24, 9), .flags = VAR),
	OP(WRITE, ARG(fuse_write_in), ARG_OLD(FUSE_COMPAT_WRITE_IN_SIZE, 9),
	   BULK(1, fuse_write_in, size), REPLY(fuse_write_out), .flags = MOD),
	OP(STATFS, REPLY(fuse_statfs_out), REPLY_OLD(FUSE_COMPAT_STATFS_SIZE, 4)),
	OP(RELEASE, ARG(fuse_release_in), .flags = MOD),
	OP(FSYNC, ARG(fuse_fsync_in)),
	OP(SETXATTR, ARG(fuse_setxattr_in), NAMES_XATTR,
	   BULK(1, fuse_setxattr_in, size), .flags = MOD),
	OP(GETXATTR, ARG(fuse_getxattr_in), NAMES_XATTR, .flags = VAR),
	OP(LISTXATTR, ARG(fuse_getxattr_in), .flags = VAR),
	OP(REMOVEXATTR, NAMES_XATTR, .flags = MOD),
	OP(FLUSH, ARG(fuse_flush_in)),
	OP(INIT, ARG(fuse_init_in), ARG_OLD(16, 36),
	   .reply_len = FUSE_COMPAT_INIT_OUT_SIZE, .flags = VAR),
	OP(OPENDIR, ARG(fuse_open_in), REPLY(fuse_open_out), .flags = FH),
	OP(READDIR, ARG(fuse_read_in), ARG_OLD(24, 9), .flags = VAR),
	OP(RELEASEDIR, ARG(fuse_release_in), .flags = MOD),
	OP(FSYNCDIR, ARG(fuse_fsync_in)),
	OP(GETLK, ARG(fuse_lk_in), REPLY(fuse_lk_out)),
	OP(SETLK, ARG(fuse_lk_in), .flags = MOD),
	OP(SETLKW, ARG(fuse_lk_in), .flags = MOD | VTFS_FUSE_WAITS),
	OP(ACCESS, ARG(fuse_access_in)),
	OP(CREATE, ARG(fuse_create_in),
	   ARG_OLD(sizeof(struct fuse_open_in), 12), NAMES_ENTRY,
	   REPLY_ENTRY_OPEN, .flags = EXT | MOD | ENTRY | FH),
	OP(INTERRUPT, ARG(fuse_interrupt_in),
	   .answer = VTFS_FUSE_ANSWER_MAYBE, .flags = HIPRIO),
	OP(BMAP, ARG(fuse_bmap_in), REPLY(fuse_bmap_out)),
	OP(DESTROY, .flags = MOD),
	OP(IOCTL, ARG(fuse_ioctl_in), BULK(1, fuse_ioctl_in, in_size),
	   REPLY(fuse_ioctl_out), .flags = VAR | MOD),
	OP(POLL, ARG(fuse_poll_in), REPLY(fuse_poll_out)),
	OP(NOTIFY_REPLY, ARG(fuse_notify_retrieve_in),
	   BULK(1, fuse_notify_retrieve_in, size), SILENT),
	OP(BATCH_FORGET, ARG(fuse_batch_forget_in),
	   BULK(sizeof(struct fuse_forget_one), fuse_batch_forget_in, count),
	   SILENT, .flags = HIPRIO),
	OP(FALLOCATE, ARG(fuse_fallocate_in), .flags = MOD),
	OP(READDIRPLUS, ARG(fuse_read_in), .flags = VAR),
	OP(RENAME2, ARG(fuse_rename2_in), NAMES_ENTRY2, .flags = MOD),
	OP(LSEEK, ARG(fuse_lseek_in), REPLY(fuse_lseek_out)),
	OP(COPY_FILE_RANGE, ARG(fuse_copy_file_range_in),
	   REPLY(fuse_write_out), .flags = MOD),
	OP(SETUPMAPPING, ARG(fuse_setupmapping_in)),
	OP(REMOVEMAPPING, ARG(fuse_removemapping_in),
	   BULK(sizeof(struct fuse_removemapping_one), fuse_removemapping_in,
		count)),
	OP(SYNCFS, ARG(fuse_syncfs_in)),
	OP(TMPFILE, ARG(fuse_create_in), NAMES_IGNORED, REPLY_ENTRY_OPEN,
	   .flags = EXT | MOD | ENTRY | FH),
	OP(STATX, ARG(fuse_statx_in), REPLY(fuse_statx_out)),
	OP(COPY_FILE_RANGE_64, ARG(fuse_copy_file_range_in),
	   REPLY(fuse_copy_file_range_out), .flags = MOD),
};
/* clang-format on */

const struct vtfs_fuse_op *vtfs_fuse_op(uint32_t opcode)
{
	if (opcode >= VTFS_ARRAY_LEN(ops) || !ops[opcode].name)
		return NULL;
	return &ops[opcode];
}

const char *vtfs_fuse_name(uint32_t opcode)
{
	const struct vtfs_fuse_op *op = vtfs_fuse_op(opcode);

	return op ? op->name : "opcode ?";
}

const char *virtiofs_opcode_name(uint32_t opcode)
{
	return vtfs_fuse_name(opcode);
}

uint32_t vtfs_fuse_arg_len(const struct vtfs_fuse_op *op,
			   const struct vtfs_fuse_proto *proto)
{
	if (op->opcode == FUSE_INIT)
		return op->arg_old;
	if (op->opcode == FUSE_SETXATTR && !(proto->flags & FUSE_SETXATTR_EXT))
		return FUSE_COMPAT_SETXATTR_IN_SIZE;
	if (op->arg_minor && proto->minor < op->arg_minor)
		return op->arg_old;
	return op->arg_len;
}

/* The uint32_t at off of bytes that need not be aligned. */
static uint32_t get_u32(const void *p, size_t off)
{
	uint32_t v;

	memcpy(&v, (const char *)p + off, sizeof(v));
	return v;
}

uint64_t vtfs_fuse_bulk_len(const struct vtfs_fuse_op *op, const void *arg)
{
	if (!op->bulk_unit)
		return 0;
	return (uint64_t)get_u32(arg, op->bulk_off) * op->bulk_unit;
}

int vtfs_fuse_split(const struct vtfs_fuse_op *op, const void *arg,
		    uint64_t len, uint32_t *ret_names_len)
{
	uint64_t bulk = vtfs_fuse_bulk_len(op, arg);

	/* INIT may grow in later minors; what we don't know is not ours. */
	if (op->opcode == FUSE_INIT) {
		*ret_names_len = 0;
		return 0;
	}
	if (bulk > len || len - bulk > UINT32_MAX)
		return -EINVAL;
	len -= bulk;
	if (op->names ? len < op->names : len)
		return -EINVAL;
	*ret_names_len = (uint32_t)len;
	return 0;
}

/* A name that can stand in a directory. */
static bool entry_name_ok(const char *name, size_t len)
{
	return len && !memchr(name, '/', len);
}

static bool name_ok(const struct vtfs_fuse_op *op, unsigned i, const char *name,
		    size_t len)
{
	switch (op->names_kind) {
	case VTFS_FUSE_NAMES_IGNORED:
		return true;
	case VTFS_FUSE_NAMES_XATTR:
		return len;
	case VTFS_FUSE_NAMES_LINK:
		return i || entry_name_ok(name, len);
	default:
		return entry_name_ok(name, len);
	}
}

int vtfs_fuse_check_names(const struct vtfs_fuse_op *op, const char *names,
			  size_t len)
{
	const char *nul;
	size_t n;
	unsigned i;

	for (i = 0; i < op->names; i++) {
		nul = len ? memchr(names, '\0', len) : NULL;
		if (!nul)
			return -EINVAL;
		n = (size_t)(nul - names);
		if (!name_ok(op, i, names, n))
			return -EINVAL;
		names += n + 1;
		len -= n + 1;
	}
	return len ? -EINVAL : 0;
}

/* One security context: bytes it takes, or 0 if it doesn't fit in len. */
static size_t secctx_len(const char *p, size_t len)
{
	size_t head = sizeof(struct fuse_secctx);
	const char *nul;
	size_t n, size;

	if (len <= head)
		return 0;
	nul = memchr(p + head, '\0', len - head);
	if (!nul)
		return 0;
	n = (size_t)(nul - p) + 1;
	size = get_u32(p, offsetof(struct fuse_secctx, size));
	if (size > len - n)
		return 0;
	n = VTFS_ALIGN_UP(n + size, 8);
	return n <= len ? n : 0;
}

static bool secctxs_ok(const char *p, size_t len, uint32_t cnt)
{
	size_t n;

	for (; cnt; cnt--) {
		n = secctx_len(p, len);
		if (!n)
			return false;
		p += n;
		len -= n;
	}
	return !len;
}

static bool groups_ok(const char *p, size_t len)
{
	uint64_t head = sizeof(struct fuse_supp_groups);

	if (len < head)
		return false;
	return head + (uint64_t)get_u32(p, 0) * sizeof(uint32_t) <= len;
}

/* The body of one extension. */
static bool ext_ok(uint32_t type, const char *body, size_t len)
{
	if (type <= FUSE_MAX_NR_SECCTX)
		return secctxs_ok(body, len, type);
	if (type == FUSE_EXT_GROUPS)
		return groups_ok(body, len);
	return true;
}

int vtfs_fuse_check_ext(const void *ext, size_t len)
{
	const size_t head = sizeof(struct fuse_ext_header);
	const char *p = ext;
	uint32_t size, type;

	while (len) {
		if (len < head)
			return -EINVAL;
		size = get_u32(p, offsetof(struct fuse_ext_header, size));
		type = get_u32(p, offsetof(struct fuse_ext_header, type));
		if (size < head || size > len || size % 8)
			return -EINVAL;
		if (!ext_ok(type, p + head, size - head))
			return -EINVAL;
		p += size;
		len -= size;
	}
	return 0;
}

/* The request's own limit for a reply of variable length. */
static uint64_t variable_max(const struct vtfs_fuse_op *op, const void *arg)
{
	switch (op->opcode) {
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return get_u32(arg, offsetof(struct fuse_read_in, size));
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		return get_u32(arg, offsetof(struct fuse_getxattr_in, size));
	case FUSE_IOCTL:
		return sizeof(struct fuse_ioctl_out) +
		       (uint64_t)get_u32(
			   arg, offsetof(struct fuse_ioctl_in, out_size));
	default:
		return UINT32_MAX; /* READLINK, INIT: the room */
	}
}

void vtfs_fuse_reply_range(const struct vtfs_fuse_op *op,
			   const struct vtfs_fuse_proto *proto, const void *arg,
			   uint64_t *ret_min, uint64_t *ret_max)
{
	uint64_t len = op->reply_len;

	if (op->reply_minor && proto->minor < op->reply_minor)
		len = op->reply_old;
	*ret_min = len;
	*ret_max = len;
	if (!(op->flags & VTFS_FUSE_VARIABLE))
		return;
	*ret_max = variable_max(op, arg);
	/* Size 0 asks how much there is. */
	if (!*ret_max &&
	    (op->opcode == FUSE_GETXATTR || op->opcode == FUSE_LISTXATTR)) {
		*ret_min = sizeof(struct fuse_getxattr_out);
		*ret_max = sizeof(struct fuse_getxattr_out);
	}
}

uint32_t vtfs_fuse_init_out_len(uint32_t minor)
{
	if (minor < 5)
		return FUSE_COMPAT_INIT_OUT_SIZE;
	if (minor < 23)
		return FUSE_COMPAT_22_INIT_OUT_SIZE;
	return sizeof(struct fuse_init_out);
}
