/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/init.h"

#include <limits.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

/* Descriptors of a request beside its pages: header, arguments, and the same
 * for the reply (as Linux cuts them). */
#define HEAD_PARTS 4u

/* What costs the program nothing: it sees no request that it would not see
 * without, nor another meaning of one. */
#define USUAL_FLAGS                                                            \
	(FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS |            \
	 FUSE_ASYNC_DIO | FUSE_MAX_PAGES)

uint32_t vtfs_init_pages(uint32_t max_write, uint32_t direct)
{
	uint32_t pages = max_write / VTFS_INIT_PAGE +
			 !!(max_write % VTFS_INIT_PAGE);

	pages = vtfs_min_u32(pages, IOV_MAX - HEAD_PARTS);
	if (direct)
		pages = vtfs_min_u32(
		    pages, direct > HEAD_PARTS ? direct - HEAD_PARTS : 1);
	return pages ? pages : 1;
}

int vtfs_init_check(const struct fuse_init_in *in)
{
	if (in->major > FUSE_KERNEL_VERSION)
		return 1;
	if (in->major < FUSE_KERNEL_VERSION || in->minor < VTFS_INIT_MINOR_MIN)
		return vtfs_fail(-EPROTO, "client speaks FUSE %u.%u, not %u.%u",
				 in->major, in->minor, FUSE_KERNEL_VERSION,
				 VTFS_INIT_MINOR_MIN);
	return 0;
}

static void set_flags(struct fuse_init_out *out, uint64_t flags)
{
	out->flags = (uint32_t)flags;
	out->flags2 = (uint32_t)(flags >> 32);
}

static uint64_t offered(const struct fuse_init_in *in)
{
	return vtfs_fuse_flags_fit(vtfs_fuse_flags(in->flags, in->flags2),
				   in->minor);
}

void vtfs_init_answer(const struct fuse_init_in *in,
		      const struct vtfs_init_limits *lim,
		      struct fuse_init_out *out)
{
	memset(out, 0, sizeof(*out));
	out->major = FUSE_KERNEL_VERSION;
	out->minor = FUSE_KERNEL_MINOR_VERSION;
	if (in->major != FUSE_KERNEL_VERSION)
		return;
	out->minor = vtfs_min_u32(out->minor, in->minor);
	out->max_readahead = in->max_readahead;
	out->max_write = lim->max_write;
	out->max_pages = (uint16_t)lim->max_pages;
	out->max_background = (uint16_t)vtfs_min_u32(lim->max_background,
						     UINT16_MAX);
	out->congestion_threshold = (uint16_t)(out->max_background / 4 * 3);
	out->time_gran = 1;
	set_flags(out, offered(in) & (USUAL_FLAGS | FUSE_INIT_EXT));
	vtfs_init_confine(in, lim, out);
}

void vtfs_init_confine(const struct fuse_init_in *in,
		       const struct vtfs_init_limits *lim,
		       struct fuse_init_out *out)
{
	uint64_t flags = out->flags | (uint64_t)out->flags2 << 32;
	uint32_t pages = VTFS_INIT_PAGES_OLD;

	out->major = FUSE_KERNEL_VERSION;
	out->minor = vtfs_min_u32(
	    out->minor, vtfs_min_u32(in->minor, FUSE_KERNEL_MINOR_VERSION));
	flags = vtfs_fuse_flags_fit(flags & offered(in), out->minor);
	if (!(flags & FUSE_INIT_EXT))
		flags = (uint32_t)flags;
	set_flags(out, flags);
	if (!(flags & FUSE_MAX_PAGES))
		out->max_pages = 0;
	else
		pages = out->max_pages ? out->max_pages : 1;
	pages = vtfs_min_u32(pages, lim->max_pages);
	if (flags & FUSE_MAX_PAGES)
		out->max_pages = (uint16_t)pages;
	out->max_write = vtfs_min_u32(out->max_write, lim->max_write);
	out->max_write = vtfs_min_u32(out->max_write, pages * VTFS_INIT_PAGE);
}

void vtfs_init_proto(const struct fuse_init_in *in,
		     const struct fuse_init_out *out,
		     struct vtfs_fuse_proto *ret_proto, uint32_t *ret_max_write)
{
	ret_proto->minor = vtfs_min_u32(in->minor, out->minor);
	ret_proto->flags = vtfs_fuse_flags(out->flags, out->flags2);
	/* Linux takes less than a page for a page. */
	*ret_max_write = out->max_write < VTFS_INIT_PAGE ? VTFS_INIT_PAGE
							 : out->max_write;
}
