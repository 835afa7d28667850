/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_BASE_BYTES_H
#define VTFS_BASE_BYTES_H
/* Sizes, ranges and byte order. No pointer of a peer is ever compared with
 * "addr + len" outside of this file. */
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define vtfs_container_of(ptr, type, member)                                   \
	((type *)((char *)(ptr)-offsetof(type, member)))
#define VTFS_ARRAY_LEN(a)   (sizeof(a) / sizeof((a)[0]))
#define VTFS_ALIGN_UP(x, a) (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))
#define VTFS_CACHELINE	    64

/* Is [addr, addr + len) inside [base, base + size)? Neither sum is formed. */
static inline bool vtfs_range_ok(uint64_t base, uint64_t size, uint64_t addr,
				 uint64_t len)
{
	return addr >= base && len <= size && addr - base <= size - len;
}

/* Do two non-empty ranges share a byte? Both must not wrap. */
static inline bool vtfs_range_overlap(uint64_t a, uint64_t alen, uint64_t b,
				      uint64_t blen)
{
	return a < b ? b - a < alen : a - b < blen;
}

/* Does [addr, addr + len) stay below 2^64? */
static inline bool vtfs_range_wraps(uint64_t addr, uint64_t len)
{
	return len && len - 1 > UINT64_MAX - addr;
}

static inline bool vtfs_is_pow2(uint64_t n)
{
	return n && !(n & (n - 1));
}

static inline uint32_t vtfs_min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline uint64_t vtfs_min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline size_t vtfs_min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}
#endif
