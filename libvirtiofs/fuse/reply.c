/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuse/reply.h"

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "vq/vq.h"

/* Errors that /dev/fuse takes too: anything else is no errno. */
#define ERROR_MAX 511

static int64_t check_silence(uint32_t len, const struct vtfs_expect *want)
{
	if (len == 0)
		return 0;
	return vtfs_fail(
	    -EPROTO, "%u bytes used of a request without a reply, unique %llu",
	    len, (unsigned long long)want->unique);
}

static int64_t check_head(const struct fuse_out_header *head, uint32_t len,
			  const struct vtfs_expect *want)
{
	if (head->len != len)
		return vtfs_fail(-EPROTO, "reply of %u bytes, %u used",
				 head->len, len);
	if (head->unique != want->unique)
		return vtfs_fail(-EPROTO, "reply to %llu, not to %llu",
				 (unsigned long long)head->unique,
				 (unsigned long long)want->unique);
	if (head->error > 0 || head->error < -ERROR_MAX)
		return vtfs_fail(-EPROTO, "error %d in a reply", head->error);
	return 0;
}

int64_t vtfs_reply_check(const struct fuse_out_header *head, uint32_t len,
			 const struct vtfs_expect *want, int32_t *ret_error)
{
	uint32_t n;
	int64_t r;

	*ret_error = 0;
	/* virtio 1.4, 2.7.9: then the reply alone says how long it is. */
	if (len == VTFS_VQ_LEN_UNKNOWN)
		len = head->len;
	if (want->answer == VTFS_FUSE_ANSWER_NONE ||
	    (want->answer == VTFS_FUSE_ANSWER_MAYBE && !len))
		return check_silence(len, want);
	if (len < sizeof(*head))
		return vtfs_fail(-EPROTO, "reply of %u bytes has no header",
				 len);
	r = check_head(head, len, want);
	if (r < 0)
		return r;
	n = len - (uint32_t)sizeof(*head);
	if (head->error) {
		if (n)
			return vtfs_fail(-EPROTO, "error %d with %u bytes",
					 head->error, n);
		*ret_error = head->error;
		return 0;
	}
	if (n < want->min || n > want->max)
		return vtfs_fail(-EPROTO, "reply of %u bytes, not %llu to %llu",
				 n, (unsigned long long)want->min,
				 (unsigned long long)want->max);
	return n;
}

void vtfs_init_request(struct fuse_init_in *in, uint64_t flags)
{
	flags &= ~VTFS_FUSE_NEVER_FLAGS;
	if (flags >> 32)
		flags |= FUSE_INIT_EXT;
	memset(in, 0, sizeof(*in));
	in->major = FUSE_KERNEL_VERSION;
	in->minor = VTFS_FUSE_MINOR_MAX;
	in->max_readahead = UINT32_MAX;
	in->flags = (uint32_t)flags;
	in->flags2 = (uint32_t)(flags >> 32);
}

static int check_version(const struct fuse_init_out *out)
{
	if (out->major != FUSE_KERNEL_VERSION)
		return vtfs_fail(-EPROTO, "server speaks FUSE %u.%u, not 7",
				 out->major, out->minor);
	if (out->minor < VTFS_FUSE_MINOR_MIN)
		return vtfs_fail(-EPROTO, "server speaks FUSE 7.%u, below 7.%u",
				 out->minor, VTFS_FUSE_MINOR_MIN);
	return 0;
}

/* A chain of one page each way must fit the ring: header and data, reply
 * header and room take four descriptors. */
static uint32_t pages_max(uint32_t queue_size)
{
	uint32_t fit = queue_size > 4 ? queue_size - 4 : 1;

	return vtfs_min_u32(VTFS_FUSE_PAGES_MAX, fit);
}

static uint32_t settle_pages(const struct fuse_init_out *out, uint64_t flags,
			     uint32_t limit)
{
	uint32_t pages = VTFS_FUSE_PAGES_DEFAULT;

	if (flags & FUSE_MAX_PAGES)
		pages = out->max_pages ? out->max_pages : 1;
	return vtfs_min_u32(pages, limit);
}

int vtfs_init_reply(struct fuse_init_out *out, uint32_t len,
		    const struct fuse_init_in *in, uint32_t queue_size,
		    struct vtfs_init *ret)
{
	struct vtfs_init init;
	uint64_t flags;
	int r;

	if (len < FUSE_COMPAT_INIT_OUT_SIZE)
		return vtfs_fail(-EPROTO, "INIT reply of %u bytes", len);
	if (len < sizeof(*out))
		memset((char *)out + len, 0, sizeof(*out) - len);
	r = check_version(out);
	if (r < 0)
		return r;
	init.proto.minor = vtfs_min_u32(out->minor, in->minor);
	flags = vtfs_fuse_flags(out->flags, out->flags2) &
		vtfs_fuse_flags(in->flags, in->flags2);
	flags = vtfs_fuse_flags_fit(flags, init.proto.minor);
	out->flags = (uint32_t)flags;
	out->flags2 = (uint32_t)(flags >> 32);
	init.proto.flags = flags;
	init.max_pages = settle_pages(out, flags, pages_max(queue_size));
	/* The least that every server takes is 4096 bytes. */
	init.max_write = out->max_write > VTFS_FUSE_PAGE ? out->max_write
							 : VTFS_FUSE_PAGE;
	init.max_write = vtfs_min_u32(init.max_write,
				      init.max_pages * VTFS_FUSE_PAGE);
	*ret = init;
	return 0;
}
