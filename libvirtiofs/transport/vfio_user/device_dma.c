/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory of the client. */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vfio_user/device.h"

static int publish(struct vfu_device *d)
{
	d->wait = VFU_WAIT_TABLE;
	d->sink->ops->set_table(d->sink, d->mem.table, d->mem.cookie);
	return -EINPROGRESS;
}

/* ---- DMA_MAP ---- */

static int check_range(const struct vfu_device *d, const struct vfu_dma_map *m)
{
	if (!m->size || vtfs_range_wraps(m->address, m->size) ||
	    (m->address | m->size) % VFU_PAGE)
		return vtfs_fail(-EINVAL, "memory of 0x%llx bytes at 0x%llx",
				 (unsigned long long)m->size,
				 (unsigned long long)m->address);
	for (unsigned i = 0; i < d->map_cnt; i++)
		if (vtfs_range_overlap(d->maps[i].address, d->maps[i].size,
				       m->address, m->size))
			return vtfs_fail(-EEXIST,
					 "memory at 0x%llx is there already",
					 (unsigned long long)m->address);
	if (d->map_cnt == VFU_MAPS_MAX)
		return vtfs_fail(-ENOSPC, "more than %u pieces of memory",
				 VFU_MAPS_MAX);
	return 0;
}

static int check_flags(const struct vfu_device *d, const struct vfu_dma_map *m)
{
	uint32_t modes = m->flags & (VFU_DMA_MODE_MMAP | VFU_DMA_MODE_FILE);

	if (m->argsz < sizeof(*m) ||
	    m->flags & ~(VFU_DMA_READABLE | VFU_DMA_WRITABLE |
			 VFU_DMA_MODE_MMAP | VFU_DMA_MODE_FILE))
		return vtfs_fail(-EINVAL, "flags 0x%x, argsz %u", m->flags,
				 m->argsz);
	if (modes && !d->rx.fd_cnt)
		return vtfs_fail(
		    -EINVAL, "flags 0x%x without a file descriptor", m->flags);
	if (modes == VFU_DMA_MODE_FILE)
		return vtfs_fail(-EOPNOTSUPP,
				 "memory that can't be mapped is not served");
	return 0;
}

/* Our mappings are for reading and writing; memory that is only half shared,
 * or without a file, is reached by messages (dma.h). */
static bool reachable(const struct vfu_device *d, const struct vfu_dma_map *m)
{
	uint32_t both = VFU_DMA_READABLE | VFU_DMA_WRITABLE;

	return d->rx.fd_cnt && (m->flags & both) == both;
}

int vtfs_vfu_dma_map(struct vfu_device *d)
{
	struct vfu_dma_map m;
	struct vtfs_region_desc desc;
	bool shared;
	int r;

	memcpy(&m, d->rx.payload, sizeof(m));
	r = check_flags(d, &m);
	if (r >= 0)
		r = check_range(d, &m);
	if (r < 0)
		return r;
	shared = reachable(d, &m);
	if (shared) {
		desc = (struct vtfs_region_desc){.peer_addr = m.address,
						 .user_addr = m.address,
						 .len = m.size,
						 .fd_offset = m.offset,
						 .fd = d->rx.fds[0]};
		r = vtfs_devmem_add(&d->mem, &desc);
		if (r < 0)
			return r;
	}
	d->maps[d->map_cnt++] = (struct vfu_map){.address = m.address,
						 .size = m.size,
						 .flags = m.flags,
						 .shared = shared};
	if (shared)
		return publish(d);
	vtfs_log(d->sink->log, LOG_DEBUG,
		 "%s: memory of 0x%llx bytes at 0x%llx is not mapped: %s",
		 d->base.name, (unsigned long long)m.size,
		 (unsigned long long)m.address,
		 d->rx.fd_cnt ? "not for reading and writing"
			      : "it came without a file descriptor");
	return 0;
}

int vtfs_vfu_dma_map_done(struct vfu_device *d)
{
	vtfs_devmem_retired(&d->mem);
	return 0;
}

/* ---- DMA_UNMAP ---- */

static int unmap_all(struct vfu_device *d, const struct vfu_dma_unmap *u)
{
	struct vtfs_region_desc arena;
	int r;

	if (u->address || u->size)
		return vtfs_fail(-EINVAL, "all memory, and 0x%llx bytes of it",
				 (unsigned long long)u->size);
	/* Our own stays. */
	vtfs_vfu_arena_desc(d, &arena);
	r = vtfs_devmem_replace(&d->mem, &arena, d->dma.arena ? 1 : 0);
	if (r < 0)
		return r;
	d->map_cnt = 0;
	return publish(d);
}

static int unmap_one(struct vfu_device *d, const struct vfu_dma_unmap *u)
{
	struct vfu_map *m = d->maps;
	struct vfu_map *end = d->maps + d->map_cnt;
	bool shared;
	int r = 0;

	while (m < end && (m->address != u->address || m->size != u->size))
		m++;
	if (m == end)
		return vtfs_fail(-ENOENT, "no memory of 0x%llx bytes at 0x%llx",
				 (unsigned long long)u->size,
				 (unsigned long long)u->address);
	shared = m->shared;
	if (shared)
		r = vtfs_devmem_remove(&d->mem, m->address, m->address,
				       m->size);
	if (r < 0)
		return r;
	*m = *--end;
	d->map_cnt--;
	return shared ? publish(d) : vtfs_vfu_reply(d, u, sizeof(*u));
}

int vtfs_vfu_dma_unmap(struct vfu_device *d)
{
	struct vfu_dma_unmap u;

	memcpy(&u, d->rx.payload, sizeof(u));
	if (u.argsz < sizeof(u) || u.flags & ~VFU_DMA_UNMAP_ALL)
		return vtfs_fail(-EINVAL, "flags 0x%x, argsz %u", u.flags,
				 u.argsz);
	return u.flags ? unmap_all(d, &u) : unmap_one(d, &u);
}

int vtfs_vfu_dma_unmap_done(struct vfu_device *d)
{
	vtfs_devmem_retired(&d->mem);
	return vtfs_vfu_reply(d, d->rx.payload, sizeof(struct vfu_dma_unmap));
}
