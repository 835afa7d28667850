/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_BASE_IOVCUR_H
#define VTFS_BASE_IOVCUR_H
/*
 * A place in a list of iovecs, from where bytes are copied out or in. The list
 * itself is never changed. Parts of no bytes are passed over.
 */
#include <stddef.h>
#include <sys/uio.h>

struct vtfs_iovcur {
	const struct iovec *iov; /* the part the place is in */
	unsigned cnt;		 /* parts from there on */
	size_t off;		 /* bytes of the first that are passed */
};

void vtfs_iovcur_init(struct vtfs_iovcur *c, const struct iovec *iov,
		      unsigned cnt);

/* Each goes n bytes on, or to the end, and returns how many it went. */
size_t vtfs_iovcur_pull(struct vtfs_iovcur *c, void *dst, size_t n);
size_t vtfs_iovcur_fill(struct vtfs_iovcur *c, const void *src, size_t n);
size_t vtfs_iovcur_skip(struct vtfs_iovcur *c, size_t n);

/* The same bytes as pull, without going on. */
size_t vtfs_iovcur_peek(const struct vtfs_iovcur *c, void *dst, size_t n);

/* Parts that the next n bytes lie in. */
unsigned vtfs_iovcur_parts(const struct vtfs_iovcur *c, size_t n);

/* Go n bytes on and write the parts passed to out, which has space for
 * vtfs_iovcur_parts(c, n) of them. Returns their number. */
unsigned vtfs_iovcur_cut(struct vtfs_iovcur *c, size_t n, struct iovec *out);

/* Bytes of a whole list. */
size_t vtfs_iov_len(const struct iovec *iov, unsigned cnt);
#endif
