/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queues of a function: set up, vectors, doorbells (virtio 1.4, 4.1.5.1). */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "transport/virtio_pci/driver_impl.h"
#include "vq/vq.h"
#include "wire/virtio.h"

#define BIT(name) (1ULL << VTFS_F_BIT_##name)

/* ---- vectors ---- */

void vtfs_pci_forget_queues(struct pci_driver *d)
{
	for (unsigned i = 0; i < VTFS_PCI_QUEUES_MAX; i++) {
		if (d->vector_fd[i] >= 0)
			close(d->vector_fd[i]);
		d->vector_fd[i] = -1;
		d->queue[i].running = false;
	}
}

int vtfs_pci_set_up_vectors(struct pci_driver *d)
{
	int fds[VTFS_PCI_QUEUES_MAX];
	uint32_t cnt = 0, value;
	int r;

	r = vtfs_pci_get(d, VTFS_PCI_NUM_QUEUES, 2, &cnt);
	if (r < 0)
		return r;
	cnt = vtfs_min_u32(cnt + 1, d->fn->vector_max);
	cnt = vtfs_min_u32(cnt, VTFS_PCI_QUEUES_MAX);
	for (unsigned i = 0; i < cnt; i++)
		fds[i] = i ? -1 : d->event;
	if (vtfs_pci_done(d, &value)) {
		cnt = value;
	} else {
		if (cnt)
			r = d->fn->ops->set_vectors(d->fn, 0, fds, cnt);
		/* There may be fewer to have: it says how many. */
		if (r > 0)
			cnt = (uint32_t)r;
		r = vtfs_pci_did(d, r, cnt);
	}
	if (r < 0)
		return r;
	d->vectors = cnt;
	/* virtio 1.4, 4.1.5.1.2: what can't be had reads as NO_VECTOR. */
	r = vtfs_pci_put(d, VTFS_PCI_CONFIG_VECTOR, 2,
			 cnt ? 0 : VTFS_PCI_NO_VECTOR);
	if (r >= 0)
		r = vtfs_pci_get(d, VTFS_PCI_CONFIG_VECTOR, 2, &value);
	if (r >= 0 && cnt && value != 0)
		vtfs_log(d->fn->log, LOG_WARNING,
			 "%s: no vector for its configuration: changes of it "
			 "are not heard of",
			 d->base.name);
	return r;
}

/* Vector 0 is everybody's where there is no other. */
static unsigned vector_of(const struct pci_driver *d, unsigned vq)
{
	return d->vectors > 1 ? 1 + vq % (d->vectors - 1) : 0;
}

/* The fd that the queue's vector rings. */
static int vector_rings(struct pci_driver *d, unsigned vector, int call_fd)
{
	if (!vector)
		return 0;
	if (d->vector_fd[vector] >= 0)
		return 0;
	d->vector_fd[vector] = fcntl(call_fd, F_DUPFD_CLOEXEC, 3);
	if (d->vector_fd[vector] < 0)
		return vtfs_fail_sys(-errno, "%s: dup", d->base.name);
	return 0;
}

static int connect_vector(struct pci_driver *d, unsigned vector, int call_fd)
{
	uint32_t dummy;
	int r;

	if (vtfs_pci_done(d, &dummy))
		return 0;
	r = vector_rings(d, vector, call_fd);
	if (r >= 0 && vector)
		r = d->fn->ops->set_vectors(d->fn, vector,
					    &d->vector_fd[vector], 1);
	return vtfs_pci_did(d, r, 0);
}

/* Sets line's shared_fd and mute. */
static int set_vector(struct pci_driver *d, const struct vtfs_queue_setup *q,
		      struct vtfs_queue_line *line)
{
	unsigned vector = VTFS_PCI_NO_VECTOR;
	uint32_t got;
	int r = 0;

	line->shared_fd = -1;
	if (d->vectors && q->call_fd >= 0) {
		vector = vector_of(d, q->vq);
		r = connect_vector(d, vector, q->call_fd);
	}
	if (r >= 0)
		r = vtfs_pci_put(d, VTFS_PCI_QUEUE_VECTOR, 2, vector);
	if (r >= 0)
		r = vtfs_pci_get(d, VTFS_PCI_QUEUE_VECTOR, 2, &got);
	if (r < 0)
		return r;
	line->mute = vector == VTFS_PCI_NO_VECTOR || got != vector;
	if (line->mute)
		return 0;
	if (!vector)
		line->shared_fd = d->event;
	else if (vector != q->vq + 1u)
		line->shared_fd = d->vector_fd[vector];
	return 0;
}

/* ---- doorbells ---- */

static int ring_by_store(struct virtiofs_transport *t, unsigned vq,
			 uint32_t value)
{
	struct pci_driver *d = to_driver(t);
	const struct vtfs_doorbell *b = &d->queue[vq].line.doorbell;

	return d->fn->ops->store(d->fn, vq, (uint64_t)(uintptr_t)b->addr, value,
				 b->data ? 4 : 2);
}

static int find_fd(struct pci_driver *d, uint64_t off, unsigned len, int *ret)
{
	uint32_t value;
	int r = 0;

	*ret = -1;
	if (!d->fn->ops->doorbell_fd)
		return 0;
	if (vtfs_pci_done(d, &value)) {
		*ret = (int)value;
		return 0;
	}
	r = d->fn->ops->doorbell_fd(d->fn, d->caps.notify.bar, off, len, ret);
	return vtfs_pci_did(d, r, (uint32_t)*ret);
}

/* virtio 1.4, 4.1.4.4 and 4.1.5.2 */
static int set_doorbell(struct pci_driver *d, unsigned vq,
			struct vtfs_doorbell *b)
{
	const struct vtfs_pci_area *n = &d->caps.notify;
	uint32_t notify_off, id = vq;
	uint64_t off;
	unsigned len;
	int r;

	memset(b, 0, sizeof(*b));
	b->data = d->features & BIT(NOTIFICATION_DATA);
	b->dma_fence = d->features & BIT(ORDER_PLATFORM);
	b->vq = (uint16_t)vq;
	b->fd = -1;
	len = b->data ? 4 : 2;
	r = vtfs_pci_get(d, VTFS_PCI_QUEUE_NOTIFY_OFF, 2, &notify_off);
	if (r >= 0 && d->features & BIT(NOTIF_CONFIG_DATA))
		r = vtfs_pci_get(d, VTFS_PCI_QUEUE_NOTIF_DATA, 2, &id);
	if (r < 0)
		return r;
	b->id = (uint16_t)id;
	off = (uint64_t)notify_off * d->caps.multiplier;
	if (!vtfs_range_ok(0, n->len, off, len) || (n->off + off) % len)
		return vtfs_fail(-EPROTO,
				 "%s: the doorbell of queue %u is at %llu of "
				 "%llu bytes",
				 d->base.name, vq, (unsigned long long)off,
				 (unsigned long long)n->len);
	off += n->off;
	b->addr = d->fn->ops->bar(d->fn, n->bar, off, len);
	if (b->addr) {
		b->kind = VTFS_DOORBELL_STORE;
		return 0;
	}
	/* An eventfd can't carry a place in the ring. */
	r = b->data ? 0 : find_fd(d, off, len, &b->fd);
	if (r < 0)
		return r;
	if (b->fd >= 0) {
		b->kind = VTFS_DOORBELL_FD;
		return 0;
	}
	b->kind = VTFS_DOORBELL_CALL;
	b->call = ring_by_store;
	b->t = &d->base;
	/* Where in the BAR: nothing of ours. */
	b->addr = (volatile void *)(uintptr_t)off;
	return 0;
}

/* ---- queues ---- */

static int select_queue(struct pci_driver *d, unsigned vq)
{
	return vtfs_pci_put(d, VTFS_PCI_QUEUE_SELECT, 2, vq);
}

static int queue_max(struct pci_driver *d, unsigned cnt, uint32_t *ret)
{
	uint32_t max = VTFS_VQ_NUM_MAX, size;
	int r = 0;

	for (unsigned vq = 0; vq < cnt && r >= 0; vq++) {
		size = 0;
		r = select_queue(d, vq);
		if (r >= 0)
			r = vtfs_pci_get(d, VTFS_PCI_QUEUE_SIZE, 2, &size);
		if (r >= 0 && !size)
			r = vtfs_fail(-EPROTO, "%s: there is no queue %u of %u",
				      d->base.name, vq, cnt);
		max = vtfs_min_u32(max, size);
	}
	if (r >= 0)
		*ret = max;
	return r;
}

int vtfs_pci_queue_max(struct virtiofs_transport *t, unsigned cnt,
		       uint32_t *ret)
{
	struct pci_driver *d = to_driver(t);
	int r = vtfs_pci_begin(d, PCI_OP_QUEUE_MAX, cnt);

	if (r >= 0)
		r = queue_max(d, cnt, ret);
	return vtfs_pci_end(d, r);
}

/* Is it there, off, and as large as it said before? */
static int check_queue(struct pci_driver *d, const struct vtfs_queue_setup *q)
{
	uint32_t size = 0, enabled = 0;
	int r = vtfs_pci_get(d, VTFS_PCI_QUEUE_SIZE, 2, &size);

	if (r >= 0)
		r = vtfs_pci_get(d, VTFS_PCI_QUEUE_ENABLE, 2, &enabled);
	if (r < 0)
		return r;
	if (q->num > size)
		return vtfs_fail(-EPROTO, "%s: queue %u has %u entries, not %u",
				 d->base.name, q->vq, size, q->num);
	if (enabled)
		return vtfs_fail(-EPROTO,
				 "%s: queue %u runs before it was set up",
				 d->base.name, q->vq);
	return 0;
}

static int start_queue(struct pci_driver *d, const struct vtfs_queue_setup *q)
{
	struct vtfs_queue_line *line = &d->queue[q->vq].line;
	int r = select_queue(d, q->vq);

	if (r >= 0)
		r = check_queue(d, q);
	if (r >= 0)
		r = vtfs_pci_put(d, VTFS_PCI_QUEUE_SIZE, 2, q->num);
	if (r >= 0)
		r = set_vector(d, q, line);
	if (r >= 0)
		r = vtfs_pci_put64(d, VTFS_PCI_QUEUE_DESC, q->desc);
	if (r >= 0)
		r = vtfs_pci_put64(d, VTFS_PCI_QUEUE_DRIVER, q->driver);
	if (r >= 0)
		r = vtfs_pci_put64(d, VTFS_PCI_QUEUE_DEVICE, q->device);
	if (r >= 0)
		r = set_doorbell(d, q->vq, &line->doorbell);
	if (r >= 0)
		r = vtfs_pci_put(d, VTFS_PCI_QUEUE_ENABLE, 2, 1);
	return r;
}

int vtfs_pci_start_queue(struct virtiofs_transport *t,
			 const struct vtfs_queue_setup *q)
{
	struct pci_driver *d = to_driver(t);
	int r;

	if (q->vq >= VTFS_PCI_QUEUES_MAX)
		return vtfs_fail(-EINVAL, "%s: queue %u, at most %u",
				 d->base.name, q->vq, VTFS_PCI_QUEUES_MAX - 1);
	r = vtfs_pci_begin(d, PCI_OP_START, q->vq);
	if (r >= 0)
		r = start_queue(d, q);
	r = vtfs_pci_end(d, r);
	if (r >= 0)
		d->queue[q->vq].running = true;
	return r;
}

/* A reset of one queue is over when its register reads 0 (4.1.4.3.2). */
static int stop_queue(struct pci_driver *d, unsigned vq)
{
	uint32_t enabled = 0;
	int r = select_queue(d, vq);

	if (r >= 0)
		r = vtfs_pci_put(d, VTFS_PCI_QUEUE_RESET, 2, 1);
	if (r >= 0)
		r = vtfs_pci_await_zero(d, VTFS_PCI_QUEUE_RESET, 2);
	if (r >= 0)
		r = vtfs_pci_get(d, VTFS_PCI_QUEUE_ENABLE, 2, &enabled);
	if (r >= 0 && enabled)
		r = vtfs_fail(-EPROTO, "%s: queue %u runs after its reset",
			      d->base.name, vq);
	return r;
}

int vtfs_pci_stop_queue(struct virtiofs_transport *t, unsigned vq)
{
	struct pci_driver *d = to_driver(t);
	int r;

	if (vq >= VTFS_PCI_QUEUES_MAX)
		return vtfs_fail(-EINVAL, "%s: queue %u", d->base.name, vq);
	if (!d->queue[vq].running)
		return 0;
	if (!(d->features & VIRTIOFS_F_RING_RESET))
		return vtfs_fail(-EOPNOTSUPP,
				 "%s: only a reset of the device ends a queue",
				 d->base.name);
	r = vtfs_pci_begin(d, PCI_OP_STOP, vq);
	if (r >= 0)
		r = stop_queue(d, vq);
	r = vtfs_pci_end(d, r);
	if (r >= 0)
		d->queue[vq].running = false;
	return r;
}

void vtfs_pci_queue_line(struct virtiofs_transport *t, unsigned vq,
			 struct vtfs_queue_line *ret)
{
	*ret = to_driver(t)->queue[vq].line;
}
