/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/vhost_types.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vdpa/client.h"
#include "wire/virtio.h"

static int send_iotlb(struct vdpa_client *c, const struct vhost_iotlb_msg *m)
{
	struct vhost_msg_v2 msg = {.type = VHOST_IOTLB_MSG_V2, .iotlb = *m};
	ssize_t n = write(c->dev, &msg, sizeof(msg));

	if (n == (ssize_t)sizeof(msg))
		return 0;
	return vtfs_fail_sys(n < 0 ? -errno : -EIO,
			     "%s: the device takes no change of memory",
			     c->base.name);
}

static int begin_batch(struct vdpa_client *c)
{
	const struct vhost_iotlb_msg m = {.type = VHOST_IOTLB_BATCH_BEGIN};
	int r;

	if (c->batch || !vtfs_vdpa_has(c, VHOST_BACKEND_F_IOTLB_BATCH))
		return 0;
	r = send_iotlb(c, &m);
	c->batch = r >= 0;
	return r;
}

int vtfs_vdpa_end_batch(struct vdpa_client *c)
{
	const struct vhost_iotlb_msg m = {.type = VHOST_IOTLB_BATCH_END};

	if (!c->batch)
		return 0;
	c->batch = false;
	return send_iotlb(c, &m);
}

static int change(struct vdpa_client *c, const struct vhost_iotlb_msg *m)
{
	int r = begin_batch(c);

	if (r >= 0)
		r = send_iotlb(c, m);
	if (r >= 0 && c->status & VTFS_STATUS_DRIVER_OK)
		r = vtfs_vdpa_end_batch(c);
	return r;
}

/* The lowest place for len bytes, and which map it comes before. */
static int find_place(const struct vdpa_client *c, uint64_t len,
		      uint64_t *ret_addr, unsigned *ret_index)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t at = c->first ? c->first : page; /* 0 looks like nothing */
	unsigned i;

	if (at > UINT64_MAX - page)
		return -ENOSPC;
	at = VTFS_ALIGN_UP(at, page);
	for (i = 0; i < c->map_cnt; i++) {
		const struct vdpa_map *m = &c->maps[i];

		if (m->addr >= at && m->addr - at >= len)
			break;
		at = m->addr + m->len;
		if (!at)
			return -ENOSPC; /* up to the last address */
	}
	if (at > c->last || len - 1 > c->last - at)
		return -ENOSPC;
	*ret_addr = at;
	*ret_index = i;
	return 0;
}

static void insert(struct vdpa_client *c, unsigned i, struct vdpa_map m)
{
	memmove(&c->maps[i + 1], &c->maps[i],
		(c->map_cnt - i) * sizeof(c->maps[0]));
	c->maps[i] = m;
	c->map_cnt++;
}

static void drop(struct vdpa_client *c, unsigned i)
{
	c->map_cnt--;
	memmove(&c->maps[i], &c->maps[i + 1],
		(c->map_cnt - i) * sizeof(c->maps[0]));
}

static int check_region(const struct vdpa_client *c,
			const struct virtiofs_region *r)
{
	uint64_t mask = (uint64_t)sysconf(_SC_PAGESIZE) - 1;

	if (r->fd < 0)
		return vtfs_fail(-EINVAL,
				 "%s: only memory with a file can be shared",
				 c->base.name);
	if (!r->len || ((uintptr_t)r->addr | r->len) & mask)
		return vtfs_fail(-EINVAL, "%s: memory is not made of pages",
				 c->base.name);
	return 0;
}

int vtfs_vdpa_map(struct virtiofs_transport *t,
		  const struct virtiofs_region *region, uint64_t *ret_addr)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	struct vhost_iotlb_msg m = {.type = VHOST_IOTLB_UPDATE,
				    .perm = VHOST_ACCESS_RW,
				    .size = region->len,
				    .uaddr = (uintptr_t)region->addr};
	uint64_t addr;
	unsigned i;
	int r;

	if (c->dev < 0)
		return -ENOTCONN;
	r = check_region(c, region);
	if (r < 0)
		return r;
	if (c->map_cnt == VDPA_MAPS_MAX || find_place(c, m.size, &addr, &i) < 0)
		return vtfs_fail(-ENOSPC,
				 "%s: no address is left for %zu bytes",
				 c->base.name, region->len);
	m.iova = addr;
	r = change(c, &m);
	if (r < 0)
		return r;
	insert(c, i, (struct vdpa_map){.addr = addr, .len = m.size});
	*ret_addr = addr;
	return 0;
}

int vtfs_vdpa_unmap(struct virtiofs_transport *t, uint64_t addr)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	struct vhost_iotlb_msg m = {.type = VHOST_IOTLB_INVALIDATE,
				    .iova = addr};
	int r;

	if (c->dev < 0)
		return -ENOTCONN;
	for (unsigned i = 0; i < c->map_cnt; i++) {
		if (c->maps[i].addr != addr)
			continue;
		m.size = c->maps[i].len;
		r = change(c, &m);
		if (r >= 0)
			drop(c, i);
		return r;
	}
	return vtfs_fail(-ENOENT, "%s: no memory at %#llx", c->base.name,
			 (unsigned long long)addr);
}
