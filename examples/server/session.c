/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is agreed with a client at FUSE_INIT. */
#include "fs.h"
#include "log.h"

/* What this server does for every client that knows of it. The library adds
 * what concerns the transfer (MAX_PAGES, INIT_EXT). */
#define ALWAYS                                                                 \
	(FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC |            \
	 FUSE_BIG_WRITES | FUSE_FLOCK_LOCKS | FUSE_AUTO_INVAL_DATA |           \
	 FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS)

#define ACL_FLAGS (FUSE_POSIX_ACL | FUSE_DONT_MASK | FUSE_SETXATTR_EXT)

static uint64_t wanted(const struct fs_opts *o)
{
	uint64_t flags = ALWAYS | FUSE_CREATE_SUPP_GROUP;

	/* Names that may not be kept are not worth looking up in advance. */
	if (o->readdirplus && o->cache != CACHE_NEVER)
		flags |= FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO;
	if (o->killpriv_v2)
		flags |= FUSE_HANDLE_KILLPRIV_V2;
	if (o->announce_submounts)
		flags |= FUSE_SUBMOUNTS;
	if (o->posix_acl)
		flags |= ACL_FLAGS;
	return flags;
}

/* Of these the server makes the choice, whatever the library would say. After
 * ALLOW_IDMAP a client would tell no more who asks. */
#define OURS                                                                   \
	(ALWAYS | FUSE_CREATE_SUPP_GROUP | FUSE_ALLOW_IDMAP |                  \
	 FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |                         \
	 FUSE_HANDLE_KILLPRIV_V2 | FUSE_HANDLE_KILLPRIV | FUSE_SUBMOUNTS |     \
	 ACL_FLAGS | FUSE_WRITEBACK_CACHE | FUSE_EXPORT_SUPPORT |              \
	 FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT | FUSE_SECURITY_CTX |  \
	 FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA)

static uint64_t offered_flags(const struct fuse_init_in *in)
{
	uint64_t flags = in->flags;

	if (flags & FUSE_INIT_EXT)
		flags |= (uint64_t)in->flags2 << 32;
	return flags;
}

static uint32_t agreed_bits(uint64_t flags)
{
	uint32_t bits = 0;

	if (flags & FUSE_POSIX_ACL)
		bits |= FS_ACL;
	if (flags & FUSE_CREATE_SUPP_GROUP)
		bits |= FS_SUPP_GROUP;
	if (flags & FUSE_SUBMOUNTS)
		bits |= FS_SUBMOUNTS;
	if (flags & FUSE_HANDLE_KILLPRIV_V2)
		bits |= FS_KILLPRIV;
	return bits;
}

void fs_on_init(const struct fuse_init_in *in, struct fuse_init_out *out,
		void *userdata)
{
	struct fs *fs = userdata;
	uint64_t offered = offered_flags(in);
	uint64_t flags = wanted(&fs->opts) & offered;
	uint64_t other = (out->flags | (uint64_t)out->flags2 << 32) & ~OURS;

	/* ACLs go together, or the client would set them and not obey. */
	if (fs->opts.posix_acl && (offered & ACL_FLAGS) != ACL_FLAGS) {
		flags &= ~(uint64_t)ACL_FLAGS;
		log_err("the client doesn't know POSIX ACLs: not enforced");
	}
	out->flags = (uint32_t)(flags | other);
	out->flags2 = (uint32_t)((flags | other) >> 32);
	out->time_gran = 1;
	atomic_store(&fs->agreed, agreed_bits(flags));
	log_debug("client speaks FUSE 7.%u", in->minor);
}
