/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From an opcode to its operation. */
#include <errno.h>
#include <string.h>

#include "creds.h"
#include "ops.h"
#include "stats.h"

typedef int (*op_fn)(struct fs *fs, struct virtiofs_req *req);

struct op {
	op_fn fn;
	uint16_t arg_min;
	uint16_t flags;
};

#define CHANGES (1u << 0) /* refused on a read-only export */
/* Runs as whoever asks. Others see to that themselves, or only use what was
 * opened, or don't depend on it. */
#define ASKS (1u << 1)

static const struct op ops[] = {
    [FUSE_LOOKUP] = {op_lookup, 2, ASKS},
    [FUSE_GETATTR] = {op_getattr, sizeof(struct fuse_getattr_in)},
    [FUSE_SETATTR] = {op_setattr, sizeof(struct fuse_setattr_in), CHANGES},
    [FUSE_READLINK] = {op_readlink, 0},
    [FUSE_SYMLINK] = {op_symlink, 4, CHANGES},
    [FUSE_MKNOD] = {op_mknod, sizeof(struct fuse_mknod_in) + 2, CHANGES},
    [FUSE_MKDIR] = {op_mkdir, sizeof(struct fuse_mkdir_in) + 2, CHANGES},
    [FUSE_UNLINK] = {op_unlink, 2, CHANGES | ASKS},
    [FUSE_RMDIR] = {op_rmdir, 2, CHANGES | ASKS},
    [FUSE_RENAME] = {op_rename, sizeof(struct fuse_rename_in) + 4,
		     CHANGES | ASKS},
    [FUSE_LINK] = {op_link, sizeof(struct fuse_link_in) + 2, CHANGES | ASKS},
    [FUSE_OPEN] = {op_open, sizeof(struct fuse_open_in)},
    [FUSE_READ] = {op_read, sizeof(struct fuse_read_in)},
    [FUSE_WRITE] = {op_write, sizeof(struct fuse_write_in), CHANGES},
    [FUSE_STATFS] = {op_statfs, 0},
    [FUSE_RELEASE] = {op_release, sizeof(struct fuse_release_in)},
    [FUSE_FSYNC] = {op_fsync, sizeof(struct fuse_fsync_in)},
    [FUSE_SETXATTR] = {op_setxattr, sizeof(struct fuse_setxattr_in) + 2,
		       CHANGES},
    [FUSE_GETXATTR] = {op_getxattr, sizeof(struct fuse_getxattr_in) + 2, ASKS},
    [FUSE_LISTXATTR] = {op_listxattr, sizeof(struct fuse_getxattr_in), ASKS},
    [FUSE_REMOVEXATTR] = {op_removexattr, 2, CHANGES | ASKS},
    [FUSE_FLUSH] = {op_flush, sizeof(struct fuse_flush_in)},
    [FUSE_OPENDIR] = {op_opendir, sizeof(struct fuse_open_in), ASKS},
    [FUSE_READDIR] = {op_readdir, sizeof(struct fuse_read_in)},
    [FUSE_RELEASEDIR] = {op_releasedir, sizeof(struct fuse_release_in)},
    [FUSE_FSYNCDIR] = {op_fsyncdir, sizeof(struct fuse_fsync_in)},
    [FUSE_GETLK] = {op_getlk, sizeof(struct fuse_lk_in), ASKS},
    [FUSE_SETLK] = {op_setlk, sizeof(struct fuse_lk_in), ASKS},
    [FUSE_SETLKW] = {op_setlkw, sizeof(struct fuse_lk_in), ASKS},
    [FUSE_ACCESS] = {op_access, sizeof(struct fuse_access_in)},
    [FUSE_CREATE] = {op_create, sizeof(struct fuse_create_in) + 2, CHANGES},
    [FUSE_FALLOCATE] = {op_fallocate, sizeof(struct fuse_fallocate_in),
			CHANGES},
    [FUSE_READDIRPLUS] = {op_readdirplus, sizeof(struct fuse_read_in), ASKS},
    [FUSE_RENAME2] = {op_rename2, sizeof(struct fuse_rename2_in) + 4,
		      CHANGES | ASKS},
    [FUSE_LSEEK] = {op_lseek, sizeof(struct fuse_lseek_in)},
    [FUSE_COPY_FILE_RANGE] = {op_copy_file_range,
			      sizeof(struct fuse_copy_file_range_in), CHANGES},
    [FUSE_COPY_FILE_RANGE_64] = {op_copy_file_range_64,
				 sizeof(struct fuse_copy_file_range_in),
				 CHANGES},
    [FUSE_SYNCFS] = {op_syncfs, 0},
    [FUSE_TMPFILE] = {op_tmpfile, sizeof(struct fuse_create_in), CHANGES},
    [FUSE_STATX] = {op_statx, sizeof(struct fuse_statx_in)},
};

static const struct op *find(const struct virtiofs_req *req)
{
	uint32_t opcode = req->in->opcode;

	if (opcode >= sizeof(ops) / sizeof(ops[0]) || !ops[opcode].fn ||
	    (req->flags & VIRTIOFS_REQ_UNKNOWN))
		return NULL;
	return &ops[opcode];
}

static int run(struct fs *fs, struct virtiofs_req *req)
{
	const struct op *op = find(req);
	int r = 0;

	if (!op)
		return -ENOSYS;
	if (req->arg_len < op->arg_min)
		return -EINVAL;
	if ((op->flags & CHANGES) && fs->opts.readonly)
		return -EROFS;
	if (op->flags & ASKS)
		r = creds_ask(fs, req, 0);
	return r < 0 ? r : op->fn(fs, req);
}

static int serve(struct fs *fs, struct virtiofs_req *req)
{
	uint32_t opcode = req->in->opcode;
	int r;

	if (req->flags & VIRTIOFS_REQ_NOREPLY) {
		virtiofs_req_done(req);
		return 0;
	}
	r = run(fs, req);
	if (r != OP_KEPT)
		stats_count(opcode, r < 0);
	return r < 0 ? virtiofs_req_error(req, r) : 0;
}

int fs_request(struct fs *fs, struct virtiofs_req *req)
{
	int r;

	fs_thread_busy(true);
	r = serve(fs, req);
	fs_thread_busy(false);
	return r;
}

int arg_string(const struct virtiofs_req *req, size_t offset, const char **ret)
{
	const char *s = (const char *)req->arg + offset;

	if (offset >= req->arg_len || !memchr(s, 0, req->arg_len - offset))
		return -EINVAL;
	*ret = s;
	return 0;
}

/* No way into another directory, neither up nor down. */
static int check_name(const char *name)
{
	if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return -EINVAL;
	return 0;
}

int arg_names(const struct virtiofs_req *req, size_t fixed_len, const char **a,
	      const char **b)
{
	int r = arg_string(req, fixed_len, a);

	if (r == 0)
		r = check_name(*a);
	if (r < 0 || !b)
		return r;
	r = arg_string(req, fixed_len + strlen(*a) + 1, b);
	return r < 0 ? r : check_name(*b);
}

int reply_bytes(struct virtiofs_req *req, const void *data, size_t len)
{
	virtiofs_req_reply(req, data, len);
	return 0;
}

int reply_entry(struct fs *fs, struct virtiofs_req *req,
		const struct fuse_entry_out *entry)
{
	if (virtiofs_req_reply(req, entry, sizeof(*entry)) < 0)
		node_forget(fs, entry->nodeid, 1);
	return 0;
}
