/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory for a device behind the kernel's IOMMU, or beside it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "mem/pool.h"
#include "transport/vfio/client.h"

#define HUGE	  (2u << 20)
#define HUGE_MAX  512u	/* pages looked at for some that are side by side */
#define INFO_LEN  4096u /* of the IOMMU's info, at first */
#define INFO_MAX  (1u << 20)
#define IOVA_LOW  0x100000ULL
#define MSI_FIRST 0xfee00000ULL /* of an IOMMU that doesn't tell: x86 */
#define MSI_LAST  0xfeefffffULL

/* ---- what the IOMMU has ---- */

static void add_range(struct vfio_fn *v, uint64_t first, uint64_t last)
{
	/* Not 0, which looks like no address. */
	if (first < IOVA_LOW)
		first = IOVA_LOW;
	if (first < last && v->range_cnt < VFIO_RANGES)
		v->ranges[v->range_cnt++] = (struct vfio_range){first, last};
}

static void take_ranges(struct vfio_fn *v, const char *cap, size_t len)
{
	struct vfio_iommu_type1_info_cap_iova_range head;
	struct vfio_iova_range r;

	if (len < sizeof(head))
		return;
	memcpy(&head, cap, sizeof(head));
	for (uint32_t i = 0; i < head.nr_iovas; i++) {
		size_t at = sizeof(head) + i * sizeof(r);

		if (at + sizeof(r) > len)
			return;
		memcpy(&r, cap + at, sizeof(r));
		add_range(v, r.start, r.end);
	}
}

static void take_caps(struct vfio_fn *v, const char *info, size_t size,
		      uint32_t at)
{
	struct vfio_iommu_type1_info_dma_avail avail;
	struct vfio_info_cap_header h;

	for (unsigned n = 0; at && n < 16; n++) {
		if (at < sizeof(struct vfio_iommu_type1_info) ||
		    at > size - sizeof(h))
			return;
		memcpy(&h, info + at, sizeof(h));
		if (h.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			take_ranges(v, info + at, size - at);
		if (h.id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL &&
		    size - at >= sizeof(avail)) {
			memcpy(&avail, info + at, sizeof(avail));
			v->maps_left = avail.avail;
		}
		at = h.next;
	}
}

/* To be freed by the caller. The kernel tells how long it would be. */
static struct vfio_iommu_type1_info *get_info(const struct vfio_fn *v,
					      uint32_t size, int *ret_error)
{
	struct vfio_iommu_type1_info *info = calloc(1, size);

	if (!info) {
		*ret_error = vtfs_fail(-ENOMEM, "vfio:%s", v->address);
		return NULL;
	}
	info->argsz = size;
	if (ioctl(v->container, VFIO_IOMMU_GET_INFO, info) >= 0)
		return info;
	*ret_error = vtfs_fail_sys(-errno, "vfio:%s: the IOMMU's info",
				   v->address);
	free(info);
	return NULL;
}

static void take_info(struct vfio_fn *v,
		      const struct vfio_iommu_type1_info *info, size_t size)
{
	v->range_cnt = 0;
	v->maps_left = UINT32_MAX;
	v->page = VTFS_PAGE;
	if (info->flags & VFIO_IOMMU_INFO_PGSIZES &&
	    (info->iova_pgsizes & -info->iova_pgsizes) > v->page)
		v->page = info->iova_pgsizes & -info->iova_pgsizes;
	if (info->flags & VFIO_IOMMU_INFO_CAPS && info->argsz <= size)
		take_caps(v, (const char *)info, size, info->cap_offset);
	if (!v->range_cnt) {
		add_range(v, 0, MSI_FIRST - 1);
		add_range(v, MSI_LAST + 1, (1ULL << 39) - 1);
	}
}

int vtfs_vfio_iommu_info(struct vfio_fn *v)
{
	struct vfio_iommu_type1_info *info;
	uint32_t size = INFO_LEN;
	int r = 0;

	info = get_info(v, size, &r);
	if (info && info->argsz > size && info->argsz <= INFO_MAX) {
		size = info->argsz;
		free(info);
		info = get_info(v, size, &r);
	}
	if (!info)
		return r;
	take_info(v, info, size);
	free(info);
	return 0;
}

/* ---- addresses ---- */

static const struct vfio_map *map_in(const struct vfio_fn *v, uint64_t at,
				     uint64_t len)
{
	for (unsigned i = 0; i < v->map_cnt; i++)
		if (vtfs_range_overlap(v->maps[i].iova, v->maps[i].len, at,
				       len))
			return &v->maps[i];
	return NULL;
}

/* The lowest place for len bytes. */
static int find_iova(const struct vfio_fn *v, uint64_t len, uint64_t *ret)
{
	uint64_t align = len >= HUGE && v->page < HUGE ? HUGE : v->page;

	for (unsigned i = 0; i < v->range_cnt; i++) {
		const struct vfio_range *r = &v->ranges[i];
		const struct vfio_map *m;
		uint64_t at = VTFS_ALIGN_UP(r->first, align);

		while (at >= r->first && at <= r->last &&
		       len - 1 <= r->last - at) {
			m = map_in(v, at, len);
			if (!m) {
				*ret = at;
				return 0;
			}
			at = VTFS_ALIGN_UP(m->iova + m->len, align);
		}
	}
	return vtfs_fail(-ENOSPC,
			 "vfio:%s: no room for 0x%llx bytes in the IOMMU's "
			 "ranges",
			 v->address, (unsigned long long)len);
}

/* ---- the machine's own ---- */

/* Where the page at addr is; it has to be there already. */
static int phys_of(int pagemap, const void *addr, uint64_t *ret)
{
	uint64_t entry, at = (uintptr_t)addr / 4096 * sizeof(entry);

	if (pread(pagemap, &entry, sizeof(entry), (off_t)at) !=
	    (ssize_t)sizeof(entry))
		return vtfs_fail_sys(-EIO, "/proc/self/pagemap");
	if (!(entry >> 63))
		return vtfs_fail(-EFAULT, "a page of shared memory is not "
					  "there");
	entry &= (1ULL << 55) - 1;
	if (!entry)
		return vtfs_fail(-EPERM,
				 "the device has no ACCESS_PLATFORM and takes "
				 "the machine's addresses, which only root "
				 "may know");
	*ret = entry * 4096;
	return 0;
}

static int open_pagemap(int *ret)
{
	*ret = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (*ret < 0)
		return vtfs_fail_sys(-errno, "/proc/self/pagemap");
	return 0;
}

/* Are all pages side by side? */
static int phys_of_all(const struct virtiofs_region *region, uint64_t *ret)
{
	uint64_t first = 0, at = 0;
	int pagemap;
	int r = open_pagemap(&pagemap);

	if (r < 0)
		return r;
	for (size_t i = 0; i < region->len && r >= 0; i += 4096) {
		/* It is there, and stays: it is pinned. */
		(void)*((volatile char *)region->addr + i);
		r = phys_of(pagemap, (char *)region->addr + i, &at);
		if (r >= 0 && i == 0)
			first = at;
		if (r >= 0 && at != first + i)
			r = vtfs_fail(-EOPNOTSUPP,
				      "the device has no ACCESS_PLATFORM and "
				      "takes the machine's addresses: this "
				      "memory is not in one piece there; use "
				      "virtiofs_client_alloc_region()");
	}
	close(pagemap);
	*ret = first;
	return r;
}

struct huge {
	uint64_t phys;
	uint32_t index; /* in the file */
};

static int by_phys(const void *a, const void *b)
{
	const struct huge *x = a, *y = b;

	return x->phys < y->phys ? -1 : x->phys > y->phys;
}

/* cnt of n pages that are side by side, or NULL. */
static const struct huge *find_run(const struct huge *all, unsigned n,
				   unsigned cnt)
{
	unsigned run = 1;

	for (unsigned i = 0; i < n; i++) {
		if (i && all[i].phys == all[i - 1].phys + HUGE)
			run++;
		else
			run = 1;
		if (run == cnt)
			return &all[i + 1 - cnt];
	}
	return NULL;
}

/* Huge pages of a file, as many as there are up to HUGE_MAX. */
static int touch_all(int fd, unsigned want, struct huge *all, unsigned *ret_n)
{
	int pagemap;
	int r = open_pagemap(&pagemap);
	unsigned n = 0;

	while (r >= 0 && n < HUGE_MAX && n < want + 64) {
		off_t off = (off_t)n * HUGE;
		char *p;

		/* More than there are is no fault here. */
		if (ftruncate(fd, off + HUGE) < 0)
			break;
		p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, fd, off);
		if (p == MAP_FAILED)
			break;
		*(volatile char *)p = 0;
		r = phys_of(pagemap, p, &all[n].phys);
		all[n].index = n;
		munmap(p, HUGE);
		n++;
	}
	close(pagemap);
	*ret_n = n;
	return r;
}

/* The pages of a run one behind the other, those of no use given back. */
static int arrange(int fd, const struct huge *run, unsigned cnt,
		   unsigned all_cnt, struct vtfs_share *ret)
{
	size_t len = (size_t)cnt * HUGE;
	char *at = mmap(NULL, len + HUGE, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *base;
	bool used[HUGE_MAX] = {false};

	if (at == MAP_FAILED)
		return vtfs_fail_sys(-errno, "mapping %zu bytes", len);
	base = (char *)VTFS_ALIGN_UP((uintptr_t)at, (uintptr_t)HUGE);
	for (unsigned i = 0; i < cnt; i++) {
		used[run[i].index] = true;
		if (mmap(base + (size_t)i * HUGE, HUGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd,
			 (off_t)run[i].index * HUGE) != MAP_FAILED)
			continue;
		munmap(at, len + HUGE);
		return vtfs_fail_sys(-errno, "mapping huge pages");
	}
	/* What stands before and after. */
	if (base > at)
		munmap(at, (size_t)(base - at));
	munmap(base + len, (size_t)(at + HUGE - base));
	for (unsigned i = 0; i < all_cnt; i++)
		if (!used[i])
			fallocate(fd,
				  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				  (off_t)i * HUGE, HUGE);
	*ret = (struct vtfs_share){
	    .addr = (unsigned char *)base, .len = len, .fd = fd};
	return 0;
}

int vtfs_vfio_alloc(struct vfio_fn *v, size_t len, struct vtfs_share *ret)
{
	unsigned cnt = (unsigned)((len + HUGE - 1) / HUGE), n = 0;
	const struct huge *run;
	struct huge *all;
	int r, fd;

	if (!len || len > (size_t)HUGE * HUGE_MAX)
		return vtfs_fail(-EINVAL, "memory of %zu bytes", len);
	fd = memfd_create("virtiofs", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	all = calloc(HUGE_MAX, sizeof(*all));
	if (fd < 0 || !all) {
		r = vtfs_fail_sys(all ? -errno : -ENOMEM, "huge pages");
		if (fd >= 0)
			close(fd);
		free(all);
		return r;
	}
	r = touch_all(fd, cnt, all, &n);
	if (r >= 0) {
		qsort(all, n, sizeof(*all), by_phys);
		run = find_run(all, n, cnt);
		r = run ? arrange(fd, run, cnt, n, ret)
			: vtfs_fail(-ENOMEM,
				    "vfio:%s: without ACCESS_PLATFORM it takes "
				    "the machine's addresses, and there are "
				    "not %u huge pages of 2 MiB side by side "
				    "among %u (vm.nr_hugepages)",
				    v->address, cnt, n);
	}
	if (r < 0)
		close(fd);
	free(all);
	return r;
}

/* ---- maps ---- */

static int map_failed(const struct vfio_fn *v, uint64_t len, int error)
{
	struct rlimit lim = {0};

	getrlimit(RLIMIT_MEMLOCK, &lim);
	if (error == -ENOMEM)
		return vtfs_fail(error,
				 "vfio:%s: 0x%llx bytes can't be pinned: "
				 "RLIMIT_MEMLOCK is %llu bytes (ulimit -l)",
				 v->address, (unsigned long long)len,
				 (unsigned long long)lim.rlim_cur);
	return vtfs_fail_sys(error, "vfio:%s: mapping 0x%llx bytes", v->address,
			     (unsigned long long)len);
}

static int check_map(const struct vfio_fn *v,
		     const struct virtiofs_region *region)
{
	if (v->map_cnt == VFIO_MAPS || !v->maps_left)
		return vtfs_fail(-ENOSPC,
				 "vfio:%s: the IOMMU takes no more pieces of "
				 "memory than %u",
				 v->address, v->map_cnt);
	if (((uintptr_t)region->addr | region->len) % v->page)
		return vtfs_fail(-EINVAL,
				 "vfio:%s: memory is not made of the IOMMU's "
				 "pages of %llu bytes",
				 v->address, (unsigned long long)v->page);
	return 0;
}

static int unmap(struct vfio_fn *v, struct vfio_map *m)
{
	struct vfio_iommu_type1_dma_unmap u = {
	    .argsz = sizeof(u), .iova = m->iova, .size = m->len};
	uint64_t len = m->len;

	if (ioctl(v->container, VFIO_IOMMU_UNMAP_DMA, &u) < 0)
		return vtfs_fail_sys(-errno, "vfio:%s: unmapping", v->address);
	*m = v->maps[--v->map_cnt];
	v->maps_left++;
	if (u.size != len)
		return vtfs_fail(-ENOTCONN,
				 "vfio:%s: 0x%llx of 0x%llx bytes unmapped",
				 v->address, (unsigned long long)u.size,
				 (unsigned long long)len);
	return 0;
}

int vtfs_vfio_map(struct vfio_fn *v, const struct virtiofs_region *region,
		  bool iova, uint64_t *ret)
{
	struct vfio_iommu_type1_dma_map m = {
	    .argsz = sizeof(m),
	    .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
	    .vaddr = (uintptr_t)region->addr,
	    .size = region->len,
	};
	uint64_t phys = 0, at = 0;
	int r = check_map(v, region);

	if (r >= 0)
		r = find_iova(v, region->len, &at);
	if (r < 0)
		return r;
	m.iova = at;
	if (ioctl(v->container, VFIO_IOMMU_MAP_DMA, &m) < 0)
		return map_failed(v, region->len, -errno);
	v->maps[v->map_cnt++] = (struct vfio_map){at, region->len, 0};
	v->maps_left--;
	*ret = at;
	if (iova)
		return 0;
	/* Pinned, so that it stays where it is found now. */
	r = phys_of_all(region, &phys);
	if (r < 0) {
		unmap(v, &v->maps[v->map_cnt - 1]);
		return r;
	}
	v->maps[v->map_cnt - 1].phys = phys;
	*ret = phys;
	return 0;
}

int vtfs_vfio_unmap(struct vfio_fn *v, uint64_t addr)
{
	for (unsigned i = 0; i < v->map_cnt; i++)
		if (v->maps[i].phys == addr ||
		    (!v->maps[i].phys && v->maps[i].iova == addr))
			return unmap(v, &v->maps[i]);
	return vtfs_fail(-EINVAL, "vfio:%s: no memory at 0x%llx", v->address,
			 (unsigned long long)addr);
}

void vtfs_vfio_unmap_all(struct vfio_fn *v)
{
	/* The container's end takes what is left. */
	while (v->map_cnt && unmap(v, &v->maps[v->map_cnt - 1]) >= 0)
		;
	v->map_cnt = 0;
}
