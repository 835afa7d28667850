/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The arena: memory of ours, which the session sees as a region of the client's
 * (dma.h). It is a file, so that the region maps it and keeps it as long as any
 * request may touch it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vfio_user/device.h"

#define ARENA_LEN ((uint64_t)VFU_DMA_PAGES * VFU_DMA_PAGE)

/* ---- pieces ---- */

static unsigned free_from(const struct vfu_pieces *p, unsigned at, unsigned max)
{
	unsigned n = 0;

	while (n < max && !p->used[at + n])
		n++;
	return n;
}

static int find(const struct vfu_pieces *p, unsigned from, unsigned to,
		unsigned n)
{
	while (from < to && to - from >= n) {
		unsigned got = free_from(p, from, n);

		if (got == n)
			return (int)from;
		from += got + 1;
	}
	return -ENOSPC;
}

int vtfs_vfu_pieces_take(struct vfu_pieces *p, unsigned n)
{
	int at = find(p, p->hint, p->cnt, n);

	if (at < 0)
		at = find(p, 0, p->cnt, n);
	if (at < 0)
		return at;
	memset(p->used + at, 1, n);
	p->hint = (unsigned)at + n;
	return at;
}

void vtfs_vfu_pieces_give(struct vfu_pieces *p, unsigned at, unsigned n)
{
	memset(p->used + at, 0, n);
}

static bool pieces_init(struct vfu_pieces *p, unsigned cnt)
{
	*p = (struct vfu_pieces){.used = calloc(cnt, 1), .cnt = cnt};
	return p->used;
}

/* ---- the arena ---- */

static struct vtfs_region *find_region(const struct vtfs_table *t)
{
	for (unsigned i = 0; i < t->cnt; i++)
		if (t->regions[i]->peer_addr == VFU_DMA_ARENA)
			return vtfs_region_get(t->regions[i]);
	return NULL;
}

void vtfs_vfu_arena_desc(const struct vfu_device *d,
			 struct vtfs_region_desc *ret)
{
	*ret = (struct vtfs_region_desc){.peer_addr = VFU_DMA_ARENA,
					 .user_addr = VFU_DMA_ARENA,
					 .len = ARENA_LEN,
					 .fd = d->dma.arena_fd};
}

static int make(struct vfu_device *d)
{
	struct vfu_dma *dma = &d->dma;
	struct vtfs_region_desc desc;
	int r;

	dma->arena_fd = memfd_create("virtiofs-dma", MFD_CLOEXEC);
	if (dma->arena_fd < 0)
		return vtfs_fail_sys(-errno, "memfd_create");
	if (ftruncate(dma->arena_fd, (off_t)ARENA_LEN) < 0)
		return vtfs_fail_sys(-errno, "ftruncate");
	dma->ranges = calloc(VFU_DMA_RANGES, sizeof(dma->ranges[0]));
	if (!dma->ranges || !pieces_init(&dma->pages, VFU_DMA_PAGES) ||
	    !pieces_init(&dma->pieces, VFU_DMA_RANGES))
		return -ENOMEM;
	r = vtfs_table_new_mapped(&dma->nothing, NULL, 0, NULL, 0);
	if (r < 0)
		return r;
	vtfs_vfu_arena_desc(d, &desc);
	r = vtfs_devmem_add(&d->mem, &desc);
	if (r < 0)
		return r;
	dma->arena = find_region(d->mem.table);
	return 0;
}

int vtfs_vfu_arena_make(struct vfu_device *d)
{
	int r;

	if (d->dma.arena)
		return 0;
	r = make(d);
	if (r < 0) {
		vtfs_vfu_arena_drop(d);
		return r;
	}
	/* Nobody waits for the answer: nothing left. */
	d->sink->ops->set_table(d->sink, d->mem.table, d->mem.cookie);
	return 0;
}

void vtfs_vfu_arena_drop(struct vfu_device *d)
{
	struct vfu_dma *dma = &d->dma;

	if (dma->arena_fd >= 0)
		close(dma->arena_fd);
	dma->arena_fd = -1;
	vtfs_region_put(dma->arena);
	dma->arena = NULL;
	vtfs_table_put(dma->nothing);
	dma->nothing = NULL;
	free(dma->ranges);
	free(dma->pages.used);
	free(dma->pieces.used);
	dma->ranges = NULL;
	dma->pages.used = dma->pieces.used = NULL;
}
