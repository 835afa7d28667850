/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* MSI-X, INTx and the ISR: who hears of a used buffer, and when. */
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/virtio_pci/function.h"

/* What a queue calls: nobody, its trap, or the fd with this serial. */
#define ROUTE_NOBODY  1u
#define ROUTE_TRAP    2u
#define ROUTE_VECTORS 3u

#define TRAPS_AT_ONCE 16

static bool msix_on(const struct vtfs_pcifn *fn)
{
	return vtfs_pcifn_msix_control(fn) & VTFS_PCI_MSIX_ENABLE;
}

static bool can_deliver(const struct vtfs_pcifn *fn,
			const struct vtfs_pcifn_vector *v)
{
	return v->bell.fd >= 0 && !v->masked &&
	       !(vtfs_pcifn_msix_control(fn) & VTFS_PCI_MSIX_MASK_ALL);
}

void vtfs_pcifn_irq_init(struct vtfs_pcifn *fn)
{
	fn->intx_masked = false;
	for (unsigned i = 0; i < fn->vector_cnt; i++) {
		struct vtfs_pcifn_vector *v = &fn->vectors[i];

		memset(v->message, 0, sizeof(v->message));
		v->masked = true;
		v->pending = false;
	}
}

void vtfs_pcifn_irq_drop(struct vtfs_pcifn *fn)
{
	vtfs_bell_close(&fn->intx);
	for (unsigned i = 0; i < fn->vector_cnt; i++)
		vtfs_bell_close(&fn->vectors[i].bell);
}

/* ---- raising ---- */

/* A level: it stands until the driver reads the ISR. Our side masks itself, and
 * rings again if it still stands when the client unmasks. */
static void intx_update(struct vtfs_pcifn *fn)
{
	if (!fn->isr || msix_on(fn) || fn->intx_masked || fn->intx.fd < 0 ||
	    (vtfs_pcifn_command(fn) & VTFS_PCI_COMMAND_INTX_DISABLE))
		return;
	fn->intx_masked = true;
	vtfs_bell_ring(&fn->intx);
}

static void raise_vector(struct vtfs_pcifn *fn, uint16_t vector)
{
	struct vtfs_pcifn_vector *v;

	if (vector >= fn->vector_cnt)
		return;
	v = &fn->vectors[vector];
	if (can_deliver(fn, v))
		vtfs_bell_ring(&v->bell);
	else
		v->pending = true;
}

void vtfs_pcifn_config_irq(struct vtfs_pcifn *fn)
{
	fn->isr |= VTFS_PCI_ISR_CONFIG;
	if (msix_on(fn))
		raise_vector(fn, fn->config_vector);
	else
		intx_update(fn);
}

static void trapped(struct vtfs_pcifn *fn, struct vtfs_pcifn_queue *q)
{
	vtfs_evfd_drain(q->trap);
	if (msix_on(fn)) {
		raise_vector(fn, q->vector);
		return;
	}
	fn->isr |= VTFS_PCI_ISR_QUEUE;
	intx_update(fn);
}

void vtfs_pcifn_dispatch(struct vtfs_pcifn *fn)
{
	struct epoll_event ev[TRAPS_AT_ONCE];
	int cnt;

	do {
		cnt = epoll_wait(fn->ep, ev, TRAPS_AT_ONCE, 0);
		for (int i = 0; i < cnt; i++)
			trapped(fn, &fn->queues[ev[i].data.u32]);
	} while (cnt == TRAPS_AT_ONCE);
}

/* ---- whom a queue calls ---- */

static int make_trap(struct vtfs_pcifn *fn, unsigned vq)
{
	struct vtfs_pcifn_queue *q = &fn->queues[vq];
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = vq};
	int r;

	if (q->trap >= 0)
		return q->trap;
	r = vtfs_evfd_new(&q->trap);
	if (r < 0)
		return r;
	if (epoll_ctl(fn->ep, EPOLL_CTL_ADD, q->trap, &ev) == 0)
		return q->trap;
	r = vtfs_fail_sys(-errno, "epoll_ctl");
	close(q->trap);
	q->trap = -1;
	return r;
}

int vtfs_pcifn_call_fd(struct vtfs_pcifn *fn, unsigned vq, int *ret)
{
	struct vtfs_pcifn_queue *q = &fn->queues[vq];
	const struct vtfs_pcifn_vector *v = NULL;

	if (q->vector < fn->vector_cnt)
		v = &fn->vectors[q->vector];
	*ret = -1;
	if (msix_on(fn) && !v) {
		q->route = ROUTE_NOBODY;
		return 0;
	}
	if (msix_on(fn) && can_deliver(fn, v)) {
		q->route = ROUTE_VECTORS + v->serial;
		*ret = v->bell.fd;
		return 0;
	}
	q->route = ROUTE_TRAP;
	*ret = make_trap(fn, vq);
	return *ret < 0 ? *ret : 0;
}

void vtfs_pcifn_irq_update(struct vtfs_pcifn *fn)
{
	for (unsigned i = 0; i < fn->queue_cnt; i++) {
		struct vtfs_pcifn_queue *q = &fn->queues[i];
		uint64_t route = q->route;
		int fd;

		if (!q->running)
			continue;
		if (vtfs_pcifn_call_fd(fn, i, &fd) < 0)
			vtfs_pcifn_broken(fn);
		else if (q->route != route)
			fn->sink->ops->set_call(fn->sink, i, fd);
	}
	for (unsigned i = 0; i < fn->vector_cnt; i++) {
		struct vtfs_pcifn_vector *v = &fn->vectors[i];

		if (!v->pending || !msix_on(fn) || !can_deliver(fn, v))
			continue;
		v->pending = false;
		vtfs_bell_ring(&v->bell);
	}
	intx_update(fn);
}

/* ---- what the client says ---- */

int vtfs_pcifn_intx_fd(struct vtfs_pcifn *fn, int fd)
{
	struct vtfs_bell bell;
	int r = vtfs_bell_open(&bell, fd);

	if (r < 0)
		return r;
	vtfs_bell_close(&fn->intx);
	fn->intx = bell;
	fn->intx_masked = false;
	intx_update(fn);
	return 0;
}

void vtfs_pcifn_intx_mask(struct vtfs_pcifn *fn, bool mask)
{
	fn->intx_masked = mask;
	intx_update(fn);
}

int vtfs_pcifn_vector_fd(struct vtfs_pcifn *fn, unsigned vector, int fd)
{
	struct vtfs_pcifn_vector *v = &fn->vectors[vector];
	struct vtfs_bell bell;
	int r = vtfs_bell_open(&bell, fd);

	if (r < 0)
		return r;
	vtfs_bell_close(&v->bell);
	v->bell = bell;
	v->serial = ++fn->serial;
	if (fd >= 0)
		v->masked = false;
	vtfs_pcifn_irq_update(fn);
	return 0;
}

void vtfs_pcifn_vector_mask(struct vtfs_pcifn *fn, unsigned vector, bool mask)
{
	fn->vectors[vector].masked = mask;
	vtfs_pcifn_irq_update(fn);
}

/* ---- registers ---- */

uint8_t vtfs_pcifn_isr_read(struct vtfs_pcifn *fn)
{
	uint8_t isr;

	vtfs_pcifn_dispatch(fn);
	isr = fn->isr;
	fn->isr = 0;
	return isr;
}

static void put32(uint8_t *p, uint32_t v)
{
	uint32_t le = htole32(v);

	memcpy(p, &le, sizeof(le));
}

void vtfs_pcifn_table_read(struct vtfs_pcifn *fn, uint8_t *image)
{
	vtfs_pcifn_dispatch(fn);
	for (unsigned i = 0; i < fn->vector_cnt; i++) {
		const struct vtfs_pcifn_vector *v = &fn->vectors[i];
		uint8_t *entry = image + VTFS_PCIFN_TABLE +
				 i * VTFS_PCI_MSIX_ENTRY_LEN;

		for (unsigned j = 0; j < 3; j++)
			put32(entry + 4 * j, v->message[j]);
		put32(entry + VTFS_PCI_MSIX_ENTRY_CONTROL, v->masked);
		if (v->pending)
			image[VTFS_PCIFN_PBA + i / 8] |= (uint8_t)(1u << i % 8);
	}
}

static void write_word(struct vtfs_pcifn *fn, uint32_t off, uint32_t value)
{
	uint32_t i = off / VTFS_PCI_MSIX_ENTRY_LEN;
	uint32_t field = off % VTFS_PCI_MSIX_ENTRY_LEN;

	if (i >= fn->vector_cnt)
		return;
	if (field != VTFS_PCI_MSIX_ENTRY_CONTROL)
		fn->vectors[i].message[field / 4] = value;
	else
		vtfs_pcifn_vector_mask(fn, i,
				       value & VTFS_PCI_MSIX_ENTRY_MASKED);
}

/* PCI 3.0, 6.8.2: words of 4 or 8 bytes. The PBA is read only. */
void vtfs_pcifn_table_write(struct vtfs_pcifn *fn, uint32_t off,
			    const void *buf, uint32_t len)
{
	uint32_t le[2];

	if ((len != 4 && len != 8) || off % len)
		return;
	memcpy(le, buf, len);
	for (uint32_t i = 0; i < len / 4; i++)
		write_word(fn, off + 4 * i, le32toh(le[i]));
}
