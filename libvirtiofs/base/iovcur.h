/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_BASE_IOVCUR_H
#define VTFS_BASE_IOVCUR_H
/*
 * A place in a list of iovecs, from where bytes are copied out or in. The list
 * itself is never changed. Parts of no bytes are passed over.
 */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

struct vtfs_iovcur {
	const struct iovec *iov; /* the part the place is in */
	unsigned cnt;		 /* parts from there on */
	size_t off;		 /* bytes of the first that are passed */
};

static inline void vtfs_iovcur_init(struct vtfs_iovcur *c,
				    const struct iovec *iov, unsigned cnt)
{
	c->iov = iov;
	c->cnt = cnt;
	c->off = 0;
}

/* Each goes n bytes on, or to the end, and returns how many it went. */
size_t vtfs_iovcur_pull_any(struct vtfs_iovcur *c, void *dst, size_t n);
size_t vtfs_iovcur_fill_any(struct vtfs_iovcur *c, const void *src, size_t n);
size_t vtfs_iovcur_skip_any(struct vtfs_iovcur *c, size_t n);

/* Do the next n bytes lie in one part, as headers mostly do? None lie nowhere:
 * not even a place may be formed then. */
static inline bool vtfs_iovcur_one(const struct vtfs_iovcur *c, size_t n)
{
	return n && c->cnt && n <= c->iov->iov_len - c->off;
}

static inline void *vtfs_iovcur_here(const struct vtfs_iovcur *c)
{
	return (char *)c->iov->iov_base + c->off;
}

/* The same; what is nearly always the case goes without a call. */
static inline size_t vtfs_iovcur_pull(struct vtfs_iovcur *c, void *dst,
				      size_t n)
{
	if (!n)
		return 0;
	if (!vtfs_iovcur_one(c, n))
		return vtfs_iovcur_pull_any(c, dst, n);
	memcpy(dst, vtfs_iovcur_here(c), n);
	c->off += n;
	return n;
}

static inline size_t vtfs_iovcur_fill(struct vtfs_iovcur *c, const void *src,
				      size_t n)
{
	if (!vtfs_iovcur_one(c, n))
		return vtfs_iovcur_fill_any(c, src, n);
	memcpy(vtfs_iovcur_here(c), src, n);
	c->off += n;
	return n;
}

static inline size_t vtfs_iovcur_skip(struct vtfs_iovcur *c, size_t n)
{
	if (!vtfs_iovcur_one(c, n))
		return vtfs_iovcur_skip_any(c, n);
	c->off += n;
	return n;
}

/* The same bytes as pull, without going on. */
size_t vtfs_iovcur_peek(const struct vtfs_iovcur *c, void *dst, size_t n);

/* Parts that the next n bytes lie in. */
unsigned vtfs_iovcur_parts(const struct vtfs_iovcur *c, size_t n);

/* Go n bytes on and write the parts passed to out, which has space for
 * vtfs_iovcur_parts(c, n) of them. Returns their number. */
unsigned vtfs_iovcur_cut_any(struct vtfs_iovcur *c, size_t n,
			     struct iovec *out);

static inline unsigned vtfs_iovcur_cut(struct vtfs_iovcur *c, size_t n,
				       struct iovec *out)
{
	if (!n)
		return 0;
	if (!vtfs_iovcur_one(c, n))
		return vtfs_iovcur_cut_any(c, n, out);
	out->iov_base = vtfs_iovcur_here(c);
	out->iov_len = n;
	c->off += n;
	return 1;
}

/* Bytes of a whole list. */
size_t vtfs_iov_len(const struct iovec *iov, unsigned cnt);
#endif
