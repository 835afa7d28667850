/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/iovcur.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

/* Up to n bytes in one piece, at *ret; 0 at the end. */
static size_t step(struct vtfs_iovcur *c, size_t n, void **ret)
{
	while (c->cnt && c->off == c->iov->iov_len) {
		c->iov++;
		c->cnt--;
		c->off = 0;
	}
	if (!c->cnt || !n)
		return 0;
	*ret = vtfs_iovcur_here(c);
	n = vtfs_min_size(n, c->iov->iov_len - c->off);
	c->off += n;
	return n;
}

size_t vtfs_iovcur_pull_any(struct vtfs_iovcur *c, void *dst, size_t n)
{
	size_t done = 0;
	size_t len;
	void *p;

	while ((len = step(c, n - done, &p)) > 0) {
		memcpy((char *)dst + done, p, len);
		done += len;
	}
	return done;
}

size_t vtfs_iovcur_fill_any(struct vtfs_iovcur *c, const void *src, size_t n)
{
	size_t done = 0;
	size_t len;
	void *p;

	while ((len = step(c, n - done, &p)) > 0) {
		memcpy(p, (const char *)src + done, len);
		done += len;
	}
	return done;
}

size_t vtfs_iovcur_skip_any(struct vtfs_iovcur *c, size_t n)
{
	size_t done = 0;
	size_t len;
	void *p;

	while ((len = step(c, n - done, &p)) > 0)
		done += len;
	return done;
}

size_t vtfs_iovcur_peek(const struct vtfs_iovcur *c, void *dst, size_t n)
{
	struct vtfs_iovcur copy = *c;

	return vtfs_iovcur_pull(&copy, dst, n);
}

unsigned vtfs_iovcur_parts(const struct vtfs_iovcur *c, size_t n)
{
	struct vtfs_iovcur copy = *c;
	unsigned cnt = 0;
	size_t len;
	void *p;

	while ((len = step(&copy, n, &p)) > 0) {
		n -= len;
		cnt++;
	}
	return cnt;
}

unsigned vtfs_iovcur_cut_any(struct vtfs_iovcur *c, size_t n, struct iovec *out)
{
	unsigned cnt = 0;
	size_t len;
	void *p;

	while ((len = step(c, n, &p)) > 0) {
		out[cnt].iov_base = p;
		out[cnt].iov_len = len;
		n -= len;
		cnt++;
	}
	return cnt;
}

size_t vtfs_iov_len(const struct iovec *iov, unsigned cnt)
{
	size_t len = 0;

	for (unsigned i = 0; i < cnt; i++)
		len += iov[i].iov_len;
	return len;
}
