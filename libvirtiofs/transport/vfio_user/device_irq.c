/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interrupts: what there is, and who is told of them. */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vfio_user/device.h"

static uint32_t irq_cnt(const struct vfu_device *d, uint32_t index)
{
	switch (index) {
	case VFU_IRQ_INTX:
		return 1;
	case VFU_IRQ_MSIX:
		return d->fn.vector_cnt;
	default:
		return 0;
	}
}

static uint32_t irq_flags(uint32_t index)
{
	switch (index) {
	case VFU_IRQ_INTX:
		return VFU_IRQ_EVENTFD | VFU_IRQ_MASKABLE | VFU_IRQ_AUTOMASKED;
	case VFU_IRQ_MSIX:
		return VFU_IRQ_EVENTFD | VFU_IRQ_MASKABLE | VFU_IRQ_NORESIZE;
	default:
		return 0;
	}
}

int vtfs_vfu_irq_info(struct vfu_device *d)
{
	struct vfu_irq_info info;

	memcpy(&info, d->rx.payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFU_IRQS)
		return vtfs_fail(-EINVAL, "interrupt %u, argsz %u", info.index,
				 info.argsz);
	info.argsz = sizeof(info);
	info.flags = irq_flags(info.index);
	info.count = irq_cnt(d, info.index);
	return vtfs_vfu_reply(d, &info, sizeof(info));
}

/* ---- SET_IRQS ---- */

static int set_fd(struct vfu_device *d, uint32_t index, uint32_t i, int fd)
{
	if (index == VFU_IRQ_INTX)
		return vtfs_pcifn_intx_fd(&d->fn, fd);
	return vtfs_pcifn_vector_fd(&d->fn, i, fd);
}

static void act(struct vfu_device *d, uint32_t action, uint32_t index,
		uint32_t i)
{
	bool mask = action == VFU_IRQ_ACTION_MASK;

	if (action == VFU_IRQ_ACTION_TRIGGER)
		vtfs_bell_ring(index == VFU_IRQ_INTX ? &d->fn.intx
						     : &d->fn.vectors[i].bell);
	else if (index == VFU_IRQ_INTX)
		vtfs_pcifn_intx_mask(&d->fn, mask);
	else
		vtfs_pcifn_vector_mask(&d->fn, i, mask);
}

static int check_set(const struct vfu_device *d, const struct vfu_irq_set *s)
{
	uint32_t data = s->flags & VFU_IRQ_DATA_MASK;
	uint32_t action = s->flags & VFU_IRQ_ACTIONS;
	uint32_t cnt = irq_cnt(d, s->index);
	size_t len = data == VFU_IRQ_DATA_BOOL ? s->count : 0;

	if (!vtfs_is_pow2(data) || !vtfs_is_pow2(action) ||
	    s->flags & ~(VFU_IRQ_DATA_MASK | VFU_IRQ_ACTIONS))
		return vtfs_fail(-EINVAL, "flags 0x%x", s->flags);
	if (!vtfs_range_ok(0, cnt, s->start, s->count))
		return vtfs_fail(-EINVAL, "interrupts %u to %u+%u of %u",
				 s->index, s->start, s->count, cnt);
	if (vtfs_vfu_rx_len(&d->rx) != sizeof(*s) + len)
		return vtfs_fail(-EINVAL, "%zu bytes for %u interrupts",
				 vtfs_vfu_rx_len(&d->rx), s->count);
	if (data != VFU_IRQ_DATA_EVENTFD && d->rx.fd_cnt)
		return vtfs_fail(-EINVAL, "file descriptors with flags 0x%x",
				 s->flags);
	return 0;
}

/* fds for all, or for none: those give theirs back. */
static int set_fds(struct vfu_device *d, const struct vfu_irq_set *s)
{
	int r = 0;

	/* The kernel has eventfds by which it is told to mask; only a client
	 * with KVM uses them, and can do without. */
	if ((s->flags & VFU_IRQ_ACTIONS) != VFU_IRQ_ACTION_TRIGGER)
		return vtfs_fail(-EINVAL, "no eventfds for flags 0x%x",
				 s->flags);
	if (d->rx.fd_cnt && d->rx.fd_cnt != s->count)
		return vtfs_fail(-EINVAL,
				 "%u file descriptors for %u interrupts",
				 d->rx.fd_cnt, s->count);
	for (uint32_t i = 0; i < s->count && r >= 0; i++)
		r = set_fd(d, s->index, s->start + i,
			   d->rx.fd_cnt ? d->rx.fds[i] : -1);
	return r;
}

/* DATA_NONE, TRIGGER and no interrupt at all: the whole index is over. */
static int disable(struct vfu_device *d, const struct vfu_irq_set *s)
{
	for (uint32_t i = 0; i < irq_cnt(d, s->index); i++)
		set_fd(d, s->index, i, -1);
	return 0;
}

int vtfs_vfu_set_irqs(struct vfu_device *d)
{
	const unsigned char *chosen = d->rx.payload +
				      sizeof(struct vfu_irq_set);
	struct vfu_irq_set s;
	int r;

	memcpy(&s, d->rx.payload, sizeof(s));
	r = check_set(d, &s);
	if (r < 0)
		return r;
	if (s.flags & VFU_IRQ_DATA_EVENTFD)
		return set_fds(d, &s);
	if (s.flags == (VFU_IRQ_DATA_NONE | VFU_IRQ_ACTION_TRIGGER) && !s.count)
		return disable(d, &s);
	for (uint32_t i = 0; i < s.count; i++)
		if (s.flags & VFU_IRQ_DATA_NONE || chosen[i])
			act(d, s.flags & VFU_IRQ_ACTIONS, s.index, s.start + i);
	return 0;
}
