/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mem/region.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "mem/fault.h"

static int check_desc(const struct vtfs_region_desc *d)
{
	if (!d->len)
		return vtfs_fail(-EINVAL, "memory region of no bytes");
	if (vtfs_range_wraps(d->peer_addr, d->len) ||
	    vtfs_range_wraps(d->user_addr, d->len))
		return vtfs_fail(-EINVAL,
				 "memory region at 0x%llx wraps around",
				 (unsigned long long)d->peer_addr);
	if (d->fd < 0 && (!d->addr || d->len > SIZE_MAX ||
			  vtfs_range_wraps((uintptr_t)d->addr, d->len)))
		return vtfs_fail(-EINVAL, "memory region without memory");
	return 0;
}

/* Bytes that this file is mapped by; huge pages can't be cut. */
static int page_size(int fd, uint64_t *ret)
{
	struct statfs fs;

	*ret = (uint64_t)sysconf(_SC_PAGESIZE);
	if (fstatfs(fd, &fs) < 0)
		return vtfs_fail_sys(-errno, "memory region: statfs");
	if (fs.f_type == HUGETLBFS_MAGIC &&
	    vtfs_is_pow2((uint64_t)fs.f_bsize) && (uint64_t)fs.f_bsize > *ret)
		*ret = (uint64_t)fs.f_bsize;
	return 0;
}

static int check_file(const struct vtfs_region_desc *d, struct stat *st)
{
	if (fstat(d->fd, st) < 0)
		return vtfs_fail_sys(-errno, "memory region: fstat");
	if (d->anon && (st->st_mode & S_IFMT) == 0) {
		if (!vtfs_range_ok(0, INT64_MAX, d->fd_offset, d->len))
			return vtfs_fail(-EINVAL, "memory region too far");
		return 0;
	}
	if (!S_ISREG(st->st_mode))
		return vtfs_fail(-EINVAL, "memory region is no regular file");
	if (!vtfs_range_ok(0, (uint64_t)st->st_size, d->fd_offset, d->len))
		return vtfs_fail(
		    -EINVAL,
		    "memory region of %llu bytes at offset %llu of "
		    "a file of %llu",
		    (unsigned long long)d->len,
		    (unsigned long long)d->fd_offset,
		    (unsigned long long)st->st_size);
	return 0;
}

static int map_pages(struct vtfs_region *r, const struct vtfs_region_desc *d,
		     uint64_t page)
{
	/* fd_offset + len were checked: below 2^63, no sum wraps. */
	uint64_t from = d->fd_offset & ~(page - 1);
	uint64_t len = VTFS_ALIGN_UP(d->fd_offset + d->len, page) - from;
	void *map;

	if (len > SIZE_MAX / 2)
		return vtfs_fail(-ENOMEM, "memory region is too large");
	map = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_NORESERVE, d->fd, (off_t)from);
	if (map == MAP_FAILED)
		return vtfs_fail_sys(-errno, "memory region: mmap");
	r->fault = vtfs_fault_enter(map, (size_t)len, (size_t)page);
	if (!r->fault) {
		munmap(map, (size_t)len);
		return -ENOMEM;
	}
	/* A peer's memory has no place in our core files. */
	madvise(map, (size_t)len, MADV_DONTDUMP);
	r->map = map;
	r->map_len = (size_t)len;
	r->addr = (unsigned char *)map + (d->fd_offset - from);
	return 0;
}

static int map_file(struct vtfs_region *r, const struct vtfs_region_desc *d)
{
	struct stat st;
	uint64_t page;
	int err;

	err = check_file(d, &st);
	if (err < 0)
		return err;
	err = page_size(d->fd, &page);
	if (err < 0)
		return err;
	err = map_pages(r, d, page);
	if (err < 0)
		return err;
	r->dev = st.st_dev;
	r->ino = st.st_ino;
	r->fd_offset = d->fd_offset;
	r->anon = (st.st_mode & S_IFMT) == 0;
	return 0;
}

int vtfs_region_new(struct vtfs_region **ret, const struct vtfs_region_desc *d,
		    uint16_t id)
{
	struct vtfs_region *r;
	int err;

	if (id >= VTFS_REGION_MAX)
		return vtfs_fail(-EINVAL, "memory region %u: too many", id);
	err = check_desc(d);
	if (err < 0)
		return err;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->peer_addr = d->peer_addr;
	r->user_addr = d->user_addr;
	r->len = d->len;
	r->id = id;
	r->refs = 1;
	r->addr = d->addr;
	if (d->fd >= 0)
		err = map_file(r, d);
	if (err < 0) {
		free(r);
		return err;
	}
	*ret = r;
	return 0;
}

struct vtfs_region *vtfs_region_get(struct vtfs_region *r)
{
	__atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
	return r;
}

void vtfs_region_put(struct vtfs_region *r)
{
	/* All of everybody's accesses come before the one that unmaps. */
	if (!r || __atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL))
		return;
	vtfs_fault_leave(r->fault);
	if (r->map)
		munmap(r->map, r->map_len);
	free(r);
}

bool vtfs_region_same(const struct vtfs_region *r,
		      const struct vtfs_region_desc *d)
{
	struct stat st;

	if (r->peer_addr != d->peer_addr || r->user_addr != d->user_addr ||
	    r->len != d->len || vtfs_region_faulted(r))
		return false;
	if (d->fd < 0)
		return !r->map && r->addr == d->addr;
	return r->map && !r->anon && r->fd_offset == d->fd_offset &&
	       fstat(d->fd, &st) == 0 && st.st_dev == r->dev &&
	       st.st_ino == r->ino;
}

bool vtfs_region_faulted(const struct vtfs_region *r)
{
	return r->fault && __atomic_load_n(&r->fault->hit, __ATOMIC_ACQUIRE);
}
