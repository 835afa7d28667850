/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vhost_user/client_ops.h"

void vtfs_vu_client_forget_memory(struct vu_client *c)
{
	for (unsigned i = 0; i < c->shared_cnt; i++)
		close(c->shared[i].fd);
	free(c->shared);
	c->shared = NULL;
	c->shared_cnt = 0;
}

static struct vu_region to_region(const struct vu_shared *m)
{
	return (struct vu_region){.guest_addr = m->addr,
				  .size = m->len,
				  .user_addr = m->addr,
				  .mmap_offset = m->offset};
}

/* All regions but skip, which is UINT_MAX for none. */
static int add_table(struct vu_client *c, unsigned skip)
{
	struct vu_mem_table m = {0};
	int r;

	for (unsigned i = 0; i < c->shared_cnt; i++)
		if (i != skip)
			m.regions[m.num++] = to_region(&c->shared[i]);
	r = vtfs_vu_script_add(c, VU_SET_MEM_TABLE, VU_REPLY_ACK, &m,
			       8 + m.num * sizeof(m.regions[0]));
	for (unsigned i = 0; i < c->shared_cnt && r >= 0; i++)
		if (i != skip)
			r = vtfs_vu_script_add_fd(c, c->shared[i].fd);
	return r < 0 ? r : vtfs_vu_script_barrier(c);
}

static int add_region(struct vu_client *c, uint32_t request,
		      const struct vu_shared *m)
{
	struct vu_mem_reg msg = {.region = to_region(m)};
	int r;

	r = vtfs_vu_script_add(c, request, VU_REPLY_ACK, &msg, sizeof(msg));
	if (r >= 0 && request == VU_ADD_MEM_REG)
		r = vtfs_vu_script_add_fd(c, m->fd);
	return r < 0 ? r : vtfs_vu_script_barrier(c);
}

static unsigned region_max(const struct vu_client *c)
{
	if (!vtfs_vu_client_has(c, VU_PF(CONFIGURE_MEM_SLOTS)))
		return VU_REGIONS_MAX;
	return c->slots < VTFS_REGION_MAX ? (unsigned)c->slots
					  : VTFS_REGION_MAX;
}

static int check_region(const struct vu_client *c,
			const struct virtiofs_region *r)
{
	uint64_t mask = (uint64_t)sysconf(_SC_PAGESIZE) - 1;

	if (r->fd < 0)
		return vtfs_fail(-EINVAL,
				 "%s: only memory with a file can be shared",
				 c->base.name);
	if (!r->len || ((uintptr_t)r->addr | r->len | r->fd_offset) & mask)
		return vtfs_fail(-EINVAL, "%s: memory is not made of pages",
				 c->base.name);
	for (unsigned i = 0; i < c->shared_cnt; i++)
		if (vtfs_range_overlap(c->shared[i].addr, c->shared[i].len,
				       (uintptr_t)r->addr, r->len))
			return vtfs_fail(-EINVAL,
					 "%s: this memory is shared already",
					 c->base.name);
	if (c->shared_cnt >= region_max(c))
		return vtfs_fail(-ENOSPC,
				 "%s: the back-end takes %u memory regions",
				 c->base.name, region_max(c));
	return 0;
}

/* One more entry, which counts only once the back-end has it. */
static int remember(struct vu_client *c, const struct virtiofs_region *r)
{
	struct vu_shared *m;
	int fd;

	m = realloc(c->shared, (c->shared_cnt + 1) * sizeof(*m));
	if (!m)
		return -ENOMEM;
	c->shared = m;
	fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return vtfs_fail_sys(-errno, "%s: dup", c->base.name);
	m[c->shared_cnt++] = (struct vu_shared){.addr = (uintptr_t)r->addr,
						.len = r->len,
						.offset = r->fd_offset,
						.fd = fd};
	return 0;
}

static void forget_one(struct vu_client *c, unsigned i)
{
	close(c->shared[i].fd);
	c->shared[i] = c->shared[--c->shared_cnt];
}

static int begin_map(struct vu_client *c, const struct virtiofs_region *region)
{
	int r = check_region(c, region);

	if (r >= 0)
		r = remember(c, region);
	if (r < 0)
		return r;
	if (vtfs_vu_client_has(c, VU_PF(CONFIGURE_MEM_SLOTS)))
		r = add_region(c, VU_ADD_MEM_REG,
			       &c->shared[c->shared_cnt - 1]);
	else
		r = add_table(c, ~0u);
	if (r < 0)
		forget_one(c, c->shared_cnt - 1);
	return r;
}

int vtfs_vu_client_map(struct virtiofs_transport *t,
		       const struct virtiofs_region *region,
		       uint64_t *ret_peer_addr)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	uint64_t addr = (uintptr_t)region->addr;
	int r = vtfs_vu_client_ready(c);

	if (r >= 0)
		r = vtfs_vu_script_begin(c, VU_OP_MAP, addr);
	if (r > 0)
		r = begin_map(c, region);
	r = vtfs_vu_script_go(c, r);
	if (r == -EIO)
		forget_one(c, c->shared_cnt - 1);
	if (r >= 0)
		*ret_peer_addr = vtfs_vu_client_iova(c, addr);
	return r;
}

static int find(const struct vu_client *c, uint64_t addr, unsigned *ret)
{
	for (unsigned i = 0; i < c->shared_cnt; i++)
		if (c->shared[i].addr == addr) {
			*ret = i;
			return 0;
		}
	return vtfs_fail(-ENOENT, "%s: no memory is shared at 0x%llx",
			 c->base.name, (unsigned long long)addr);
}

int vtfs_vu_client_unmap(struct virtiofs_transport *t, uint64_t peer_addr)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	unsigned i = 0;
	int r = vtfs_vu_client_ready(c);

	peer_addr = vtfs_vu_client_unmapped(c, peer_addr);
	if (r >= 0)
		r = find(c, peer_addr, &i);
	if (r >= 0)
		r = vtfs_vu_script_begin(c, VU_OP_UNMAP, peer_addr);
	if (r > 0) {
		r = vtfs_vu_client_invalidate(c, peer_addr, c->shared[i].len);
		r = r < 0 ? r : 1;
	}
	if (r > 0 && vtfs_vu_client_has(c, VU_PF(CONFIGURE_MEM_SLOTS)))
		r = add_region(c, VU_REM_MEM_REG, &c->shared[i]);
	else if (r > 0)
		r = add_table(c, i);
	r = vtfs_vu_script_go(c, r);
	if (r >= 0)
		forget_one(c, i);
	return r;
}
