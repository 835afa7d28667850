/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* INIT: what both the kernel and a server behind a virtqueue can do. */
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "adapter/bridge.h"
#include "base/bytes.h"
#include "base/error.h"
#include "fuse/reply.h"

/*
 * Not offered to the server. The client leaves out what is about descriptors
 * (splice, passthrough, io_uring). DAX needs the device's memory window, RESEND
 * would send again what the device has. FUSE_REQUEST_TIMEOUT stays: the
 * kernel keeps that time, and what a request waits in a ring is the server's
 * to answer for. FUSE_ABORT_ERROR is about what reads /dev/fuse, and that is
 * the bridge.
 */
#define NEVER                                                                  \
	((uint64_t)(FUSE_MAP_ALIGNMENT | FUSE_ABORT_ERROR) |                   \
	 FUSE_HAS_INODE_DAX | FUSE_HAS_RESEND | VTFS_FUSE_NEVER_FLAGS)
/* Only where the server can notify. */
#define WITH_NOTIFICATIONS                                                     \
	((uint64_t)FUSE_EXPLICIT_INVAL_DATA | FUSE_HAS_EXPIRE_ONLY)

#define INIT_WAIT_MS 10000

struct init_frame {
	struct fuse_in_header h;
	struct fuse_init_in in;
	unsigned char more[FUSE_MIN_READ_BUFFER];
	uint32_t flags; /* what the kernel offers, first word */
};

static int read_init(int fuse_fd, struct init_frame *f)
{
	struct pollfd p = {.fd = fuse_fd, .events = POLLIN};
	uint32_t least = sizeof(f->h) + 16;
	ssize_t n;

	if (poll(&p, 1, INIT_WAIT_MS) == 0)
		return vtfs_fail(-EPROTO, "/dev/fuse: no INIT, not mounted?");
	memset(f, 0, sizeof(*f));
	n = read(fuse_fd, f, offsetof(struct init_frame, flags));
	if (n < 0)
		return vtfs_fail_sys(-errno, "/dev/fuse");
	if ((size_t)n < least || f->h.len != n || f->h.opcode != FUSE_INIT)
		return vtfs_fail(-EPROTO, "/dev/fuse: no INIT but %s",
				 vtfs_fuse_name(f->h.opcode));
	f->flags = f->in.flags;
	return 0;
}

static uint64_t masked(const struct virtiofs_bridge *b, uint64_t flags)
{
	flags &= ~NEVER;
	if (!vtfs_bridge_hears(b))
		flags &= ~WITH_NOTIFICATIONS;
	if (!(b->opts.flags & VIRTIOFS_BRIDGE_DEFAULT_PERMISSIONS))
		flags &= ~FUSE_ALLOW_IDMAP;
	return flags;
}

/* The kernel's request as the server may see it. Its bytes. */
static uint32_t ask(const struct virtiofs_bridge *b, struct init_frame *f)
{
	uint64_t flags = masked(b, vtfs_fuse_flags(f->in.flags, f->in.flags2));

	f->in.minor = vtfs_min_u32(f->in.minor, VTFS_FUSE_MINOR_MAX);
	f->in.flags = (uint32_t)flags;
	f->in.flags2 = (uint32_t)(flags >> 32);
	return vtfs_min_u32(f->h.len - (uint32_t)sizeof(f->h), sizeof(f->in));
}

/* Requests of the kernel must fit both our buffers and the ring. */
static int bound(struct virtiofs_bridge *b, const struct init_frame *f,
		 struct fuse_init_out *out)
{
	struct virtiofs_client_info info = {.size = sizeof(info)};
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
	int r = virtiofs_client_get_info(b->c, &info);

	if (r < 0)
		return r;
	b->payload = info.max_pages * BRIDGE_PAGE;
	out->max_write = vtfs_min_u32(out->max_write, info.max_write);
	out->flags |= f->flags & FUSE_ABORT_ERROR;
	if (f->flags & FUSE_MAX_PAGES) {
		if (b->payload < page)
			return vtfs_fail(-EINVAL,
					 "queues too small for a page");
		out->flags |= FUSE_MAX_PAGES;
		out->max_pages = (uint16_t)(b->payload / page);
	}
	out->minor = vtfs_min_u32(out->minor, f->in.minor);
	out->map_alignment = 0;
	out->max_stack_depth = 0;
	b->proto.minor = info.fuse_minor;
	b->proto.flags = info.init_flags;
	return 0;
}

static int exchange(struct virtiofs_bridge *b, struct init_frame *f,
		    struct fuse_init_out *out)
{
	struct iovec room = {out, sizeof(*out)};
	struct virtiofs_op op = {
	    .size = sizeof(op),
	    .opcode = FUSE_INIT,
	    .user_data = f->h.unique,
	    .flags = VIRTIOFS_OP_CREDS,
	    .uid = f->h.uid,
	    .gid = f->h.gid,
	    .pid = f->h.pid,
	    .arg = &f->in,
	    .arg_len = ask(b, f),
	    .room = &room,
	    .room_cnt = 1,
	};
	ssize_t n = virtiofs_client_call(b->c, &op);

	return n < 0 ? (int)n : bound(b, f, out);
}

int vtfs_bridge_init(struct virtiofs_bridge *b, int fuse_fd)
{
	struct init_frame f;
	int r = read_init(fuse_fd, &f);

	if (r < 0)
		return r;
	b->init_unique = f.h.unique;
	return exchange(b, &f, &b->init_out);
}

int vtfs_bridge_init_answer(struct virtiofs_bridge *b, int fuse_fd, int error)
{
	struct iovec room = {&b->init_out, 0};
	int r;

	if (!b->init_unique)
		return 0;
	room.iov_len = vtfs_fuse_init_out_len(b->init_out.minor);
	r = vtfs_bridge_answer(fuse_fd, b->init_unique, error ? -EIO : 0,
			       &room);
	return r < 0 ? vtfs_fail_sys(r, "/dev/fuse: answer to INIT") : 0;
}
