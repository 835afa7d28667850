/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * For tests of devices: the front-end behaves as one with an IOMMU. Addresses
 * that it tells the device, of rings and in descriptors, are off by a constant
 * from those of the memory; the device has to ask for each page, and gets just
 * that. Every VU_FLUSH misses the whole IOTLB is taken back first, with all
 * that is in flight, and memory that is unmapped is taken back before it goes.
 *
 * A miss stays in back_rx until its entry was acknowledged on the other
 * channel, which takes a script of its own: it waits for the op under way, and
 * an op that comes meanwhile finishes it first.
 */
#include "base/bytes.h"
#include "base/error.h"
#include "base/evfd.h"
#include "transport/vhost_user/client_ops.h"

#define VU_IOVA	 (UINT64_C(1) << 56)
#define VU_FLUSH 640u
#define VU_PAGE	 UINT64_C(4096)

void vtfs_vhost_user_client_iommu(struct virtiofs_transport *t)
{
	vtfs_vu_to_client(t)->iommu = true;
}

uint64_t vtfs_vu_client_iova(const struct vu_client *c, uint64_t addr)
{
	return c->iommu ? addr + VU_IOVA : addr;
}

uint64_t vtfs_vu_client_unmapped(const struct vu_client *c, uint64_t iova)
{
	return c->iommu ? iova - VU_IOVA : iova;
}

int vtfs_vu_client_check_iommu(const struct vu_client *c)
{
	if (!c->iommu || c->offered & VTFS_F_ACCESS_PLATFORM)
		return 0;
	return vtfs_fail(-EOPNOTSUPP, "%s: the back-end does not translate",
			 c->base.name);
}

static int add_message(struct vu_client *c, const struct vu_iotlb *m)
{
	return vtfs_vu_script_add(c, VU_IOTLB_MSG, VU_REPLY_ACK, m, sizeof(*m));
}

int vtfs_vu_client_invalidate(struct vu_client *c, uint64_t addr, uint64_t len)
{
	const struct vu_iotlb m = {.iova = vtfs_vu_client_iova(c, addr),
				   .size = len,
				   .type = VU_IOTLB_INVALIDATE};

	return c->iommu ? add_message(c, &m) : 0;
}

static bool is_shared(const struct vu_client *c, uint64_t addr)
{
	for (unsigned i = 0; i < c->shared_cnt; i++)
		if (vtfs_range_ok(c->shared[i].addr, c->shared[i].len, addr, 1))
			return true;
	return false;
}

void vtfs_vu_client_later(struct vu_client *c)
{
	c->again = true;
	vtfs_evfd_signal(c->wake);
}

int vtfs_vu_client_miss(struct vu_client *c)
{
	const struct vu_iotlb *m = &c->back_rx.payload.iotlb;

	if (!c->iommu ||
	    (m->type != VU_IOTLB_MISS && m->type != VU_IOTLB_ACCESS_FAIL) ||
	    !is_shared(c, vtfs_vu_client_unmapped(c, m->iova)))
		return 0;
	c->missed = true;
	vtfs_vu_client_serve_miss(c);
	return 1;
}

static int add_entry(struct vu_client *c)
{
	const struct vu_iotlb all = {.type = VU_IOTLB_INVALIDATE};
	struct vu_iotlb m = c->back_rx.payload.iotlb;
	int r = 0;

	m.iova &= ~(VU_PAGE - 1);
	m.size = VU_PAGE;
	m.user_addr = vtfs_vu_client_unmapped(c, m.iova);
	/* No more than was asked for, until that is not enough. */
	if (m.type == VU_IOTLB_ACCESS_FAIL)
		m.perm = VU_ACCESS_RO | VU_ACCESS_WO;
	m.type = VU_IOTLB_UPDATE;
	if (++c->misses % VU_FLUSH == 0)
		r = add_message(c, &all);
	return r < 0 ? r : add_message(c, &m);
}

void vtfs_vu_client_serve_miss(struct vu_client *c)
{
	int r;

	if (!c->missed || (c->script.op && c->script.op != VU_OP_IOTLB))
		return;
	r = vtfs_vu_script_begin(c, VU_OP_IOTLB, 0);
	if (r > 0)
		r = add_entry(c);
	vtfs_vu_script_go(c, r);
}

void vtfs_vu_client_miss_done(struct vu_client *c, int r)
{
	c->missed = false;
	vtfs_vu_client_answer_back(c, r < 0);
	vtfs_vu_client_later(c);
}
