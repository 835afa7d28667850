/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vduse/device.h"

/* The first map that ends behind addr; cnt: none. */
static unsigned find_map(const struct vduse_mem *m, uint64_t addr)
{
	unsigned i = 0;

	while (i < m->cnt) {
		const struct vtfs_region *r = m->maps[i].region;

		if (addr < r->peer_addr || addr - r->peer_addr < r->len)
			break;
		i++;
	}
	return i;
}

static int free_id(const struct vduse_mem *m)
{
	for (unsigned i = 0; i < VTFS_REGION_WORDS; i++)
		if (~m->ids[i])
			return (int)(i * 64) + __builtin_ctzll(~m->ids[i]);
	return -1;
}

static void take_id(struct vduse_mem *m, unsigned id)
{
	m->ids[id / 64] |= 1ULL << (id % 64);
}

static unsigned to_access(const struct vduse_iotlb_entry *e)
{
	unsigned access = 0;

	if (e->perm & VDUSE_ACCESS_RO)
		access |= VTFS_MAP_READ;
	if (e->perm & VDUSE_ACCESS_WO)
		access |= VTFS_MAP_WRITE;
	return access;
}

/* What the kernel has at addr: its file to *ret_fd, which is the caller's. */
static int ask(const struct vduse_device *d, uint64_t addr,
	       struct vduse_iotlb_entry *e, int *ret_fd)
{
	int fd;

	*e = (struct vduse_iotlb_entry){.start = addr, .last = addr};
	fd = ioctl(d->dev, VDUSE_IOTLB_GET_FD, e);
	if (fd < 0)
		return vtfs_fail_sys(-errno, "%s: no memory at %#llx",
				     d->base.name, (unsigned long long)addr);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (e->start > addr || e->last < addr ||
	    e->last - e->start == UINT64_MAX) {
		close(fd);
		return vtfs_fail(-EFAULT, "%s: the range of %#llx is wrong",
				 d->base.name, (unsigned long long)addr);
	}
	*ret_fd = fd;
	return 0;
}

static struct vtfs_region_desc to_desc(const struct vduse_iotlb_entry *e,
				       int fd)
{
	return (struct vtfs_region_desc){.peer_addr = e->start,
					 .user_addr = e->start,
					 .len = e->last - e->start + 1,
					 .fd_offset = e->offset,
					 .fd = fd,
					 .anon = true};
}

/* As map number i, which begins behind it. */
static int insert(struct vduse_device *d, unsigned i,
		  const struct vduse_iotlb_entry *e, int fd)
{
	struct vduse_mem *m = &d->mem;
	struct vtfs_region_desc desc = to_desc(e, fd);
	struct vtfs_region *region;
	int id = free_id(m);
	int r;

	if (id < 0 || m->cnt == VTFS_REGION_MAX)
		return vtfs_fail(-ENOSPC, "%s: more than %u ranges of memory",
				 d->base.name, VTFS_REGION_MAX);
	if ((i < m->cnt && e->last >= m->maps[i].region->peer_addr) ||
	    find_map(m, e->start) != i)
		return vtfs_fail(-EFAULT,
				 "%s: memory at %#llx changed without a word",
				 d->base.name, (unsigned long long)e->start);
	r = vtfs_region_new(&region, &desc, (uint16_t)id);
	if (r < 0)
		return r;
	take_id(m, (unsigned)id);
	memmove(&m->maps[i + 1], &m->maps[i],
		(m->cnt - i) * sizeof(m->maps[0]));
	m->maps[i] = (struct vduse_map){region, to_access(e)};
	m->cnt++;
	m->dirty = true;
	return 0;
}

/* Map what is at addr, where nothing is mapped. */
static int add(struct vduse_device *d, uint64_t addr)
{
	struct vduse_iotlb_entry e;
	int fd;
	int r = ask(d, addr, &e, &fd);

	if (r < 0)
		return r;
	r = insert(d, find_map(&d->mem, addr), &e, fd);
	close(fd);
	return r;
}

int vtfs_vduse_mem_find(struct vduse_device *d, uint64_t addr, uint64_t len,
			unsigned access)
{
	struct vduse_mem *m = &d->mem;
	int fresh = 0;
	int r;

	if (vtfs_range_wraps(addr, len))
		return vtfs_fail(-EFAULT, "%s: a range that wraps",
				 d->base.name);
	while (len) {
		unsigned i = find_map(m, addr);
		const struct vtfs_region *region;
		uint64_t n;

		if (i == m->cnt || m->maps[i].region->peer_addr > addr) {
			r = add(d, addr);
			if (r < 0)
				return r;
			fresh = 1;
			continue;
		}
		region = m->maps[i].region;
		if ((m->maps[i].access & access) != access)
			return vtfs_fail(
			    -EFAULT, "%s: memory at %#llx is not to be %s",
			    d->base.name, (unsigned long long)addr,
			    access & VTFS_MAP_WRITE ? "written" : "read");
		n = region->len - (addr - region->peer_addr);
		if (n >= len)
			break;
		addr += n;
		len -= n;
	}
	return fresh;
}

static bool still_there(const struct vduse_device *d,
			const struct vduse_map *map)
{
	struct vduse_iotlb_entry e;
	struct vtfs_region_desc desc;
	bool same;
	int fd;

	if (ask(d, map->region->peer_addr, &e, &fd) < 0)
		return false;
	desc = to_desc(&e, fd);
	same = to_access(&e) == map->access &&
	       vtfs_region_same(map->region, &desc);
	close(fd);
	return same;
}

void vtfs_vduse_mem_update(struct vduse_device *d, uint64_t start,
			   uint64_t last)
{
	struct vduse_mem *m = &d->mem;
	unsigned kept = 0;

	for (unsigned i = 0; i < m->cnt; i++) {
		struct vduse_map map = m->maps[i];
		uint64_t end = map.region->peer_addr + (map.region->len - 1);

		if (end < start || map.region->peer_addr > last ||
		    still_there(d, &map))
			m->maps[kept++] = map;
		else
			vtfs_region_put(map.region);
	}
	m->dirty |= kept != m->cnt;
	m->cnt = kept;
}

void vtfs_vduse_mem_clear(struct vduse_device *d)
{
	struct vduse_mem *m = &d->mem;

	for (unsigned i = 0; i < m->cnt; i++)
		vtfs_region_put(m->maps[i].region);
	m->dirty |= m->cnt != 0;
	m->cnt = 0;
}

int vtfs_vduse_mem_publish(struct vduse_device *d)
{
	struct vduse_mem *m = &d->mem;
	struct vtfs_region *regions[VTFS_REGION_MAX];
	struct vtfs_map maps[VTFS_REGION_MAX];
	struct vtfs_table *t;
	int r;

	if (!m->dirty || m->owed)
		return 0;
	for (unsigned i = 0; i < m->cnt; i++) {
		struct vtfs_region *region = m->maps[i].region;

		regions[i] = region;
		maps[i] = (struct vtfs_map){region->peer_addr, region->len,
					    region->addr, region->id,
					    (uint16_t)m->maps[i].access};
	}
	r = vtfs_table_new_mapped(&t, regions, m->cnt, maps, m->cnt);
	if (r < 0)
		return r;
	memset(m->told, 0, sizeof(m->told));
	for (unsigned i = 0; i < m->cnt; i++)
		m->told[maps[i].region / 64] |= UINT64_C(1)
						<< maps[i].region % 64;
	m->dirty = false;
	m->owed = true;
	d->sink->ops->set_table(d->sink, t, ++m->cookie);
	vtfs_table_put(t);
	return 0;
}

void vtfs_vduse_mem_retired(struct vduse_device *d, uint64_t cookie)
{
	struct vduse_mem *m = &d->mem;

	if (!m->owed || cookie != m->cookie)
		return;
	m->owed = false;
	/* In use: what that table has, and what came since. */
	memcpy(m->ids, m->told, sizeof(m->ids));
	for (unsigned i = 0; i < m->cnt; i++)
		take_id(m, m->maps[i].region->id);
}

bool vtfs_vduse_mem_settled(const struct vduse_device *d)
{
	return !d->mem.owed && !d->mem.dirty;
}
