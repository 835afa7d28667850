/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/bytes.h"
#include "base/evfd.h"
#include "transport/virtio_pci/driver_impl.h"

#define WAIT_NS	   1000000L
#define WAIT_MAX_S 5

/* The eventfd of the vector is never read: whoever rings it shares it. It is
 * watched for edges, which are taken here. */
void vtfs_pci_look(struct pci_driver *d)
{
	struct epoll_event ev[4];
	int n = epoll_wait(d->ep, ev, VTFS_ARRAY_LEN(ev), 0);

	for (int i = 0; i < n; i++)
		if (ev[i].data.fd == d->event)
			d->changed = true;
	vtfs_evfd_drain(d->timer);
}

/* ---- the journal ---- */

int vtfs_pci_begin(struct pci_driver *d, enum pci_op op, uint64_t arg)
{
	struct pci_journal *j = &d->j;

	if (op != PCI_OP_CONNECT && !d->connected)
		return vtfs_fail(-ENOTCONN, "%s: not connected", d->base.name);
	if (j->op != op || j->arg != arg) {
		/* One that was given up is nobody's any more. */
		j->op = op;
		j->arg = arg;
		j->cnt = 0;
		j->tries = 0;
		j->deadline = 0;
	}
	j->at = 0;
	/* What is readable now shall not keep an op awake that waits. */
	vtfs_evfd_drain(d->wake);
	vtfs_pci_look(d);
	return 0;
}

int vtfs_pci_end(struct pci_driver *d, int r)
{
	if (r == -EAGAIN)
		return r;
	d->j.op = (enum pci_op)0;
	if (r == -ENOTCONN || r == -ETIMEDOUT) {
		d->connected = false;
		/* Told once, until there is a connection again. */
		d->lost_told &= d->lost != 0;
		d->lost = d->lost ? d->lost : r;
	}
	/* For dispatch; an op that begins takes it away. */
	if (d->changed || (d->lost && !d->lost_told))
		vtfs_evfd_signal(d->wake);
	return r;
}

void vtfs_pci_again(struct pci_driver *d)
{
	d->j.cnt = d->j.at = 0;
}

int vtfs_pci_done(struct pci_driver *d, uint32_t *ret)
{
	struct pci_journal *j = &d->j;

	if (j->at >= j->cnt)
		return 0;
	*ret = j->value[j->at++];
	return 1;
}

int vtfs_pci_did(struct pci_driver *d, int r, uint32_t value)
{
	struct pci_journal *j = &d->j;

	if (r < 0)
		return r;
	if (j->cnt >= PCI_JOURNAL)
		return vtfs_fail(-E2BIG, "%s: more accesses than an op has",
				 d->base.name);
	j->value[j->cnt++] = value;
	j->at = j->cnt;
	return 0;
}

/* ---- registers ---- */

static int check(const struct pci_driver *d, const struct vtfs_pci_area *a,
		 uint64_t off, unsigned len)
{
	if (vtfs_range_ok(0, a->len, off, len) && (a->off + off) % len == 0)
		return 0;
	return vtfs_fail(-EPROTO,
			 "%s: a register of %u bytes at %llu, the "
			 "structure has %llu",
			 d->base.name, len, (unsigned long long)off,
			 (unsigned long long)a->len);
}

int vtfs_pci_read(struct pci_driver *d, const struct vtfs_pci_area *a,
		  uint64_t off, unsigned len, uint32_t *ret)
{
	uint32_t value = 0;
	int r;

	if (vtfs_pci_done(d, ret))
		return 0;
	r = check(d, a, off, len);
	if (r >= 0)
		r = d->fn->ops->read(d->fn, a->bar, a->off + off, &value, len);
	value = le32toh(value);
	r = vtfs_pci_did(d, r, value);
	if (r >= 0)
		*ret = value;
	return r;
}

int vtfs_pci_write(struct pci_driver *d, const struct vtfs_pci_area *a,
		   uint64_t off, unsigned len, uint32_t value)
{
	uint32_t le = htole32(value);
	uint32_t dummy;
	int r;

	if (vtfs_pci_done(d, &dummy))
		return 0;
	r = check(d, a, off, len);
	if (r >= 0)
		r = d->fn->ops->write(d->fn, a->bar, a->off + off, &le, len);
	return vtfs_pci_did(d, r, 0);
}

int vtfs_pci_get(struct pci_driver *d, unsigned off, unsigned len,
		 uint32_t *ret)
{
	return vtfs_pci_read(d, &d->caps.common, off, len, ret);
}

int vtfs_pci_put(struct pci_driver *d, unsigned off, unsigned len,
		 uint32_t value)
{
	return vtfs_pci_write(d, &d->caps.common, off, len, value);
}

int vtfs_pci_put64(struct pci_driver *d, unsigned off, uint64_t value)
{
	int r = vtfs_pci_put(d, off, 4, (uint32_t)value);

	return r < 0 ? r : vtfs_pci_put(d, off + 4, 4, (uint32_t)(value >> 32));
}

/* ---- waiting ---- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static int look_later(struct pci_driver *d)
{
	struct itimerspec its = {.it_value.tv_nsec = WAIT_NS};

	timerfd_settime(d->timer, 0, &its, NULL);
	return -EAGAIN;
}

int vtfs_pci_await_zero(struct pci_driver *d, unsigned off, unsigned len)
{
	struct pci_journal *j = &d->j;
	uint32_t value = 0;
	int r = vtfs_pci_get(d, off, len, &value);

	if (r < 0 || !value)
		return r;
	/* Not this one: it is read again. */
	j->cnt = --j->at;
	if (value == (len == 1 ? 0xffu : 0xffffu))
		return vtfs_fail(-ENOTCONN,
				 "%s: its registers read as all ones: the "
				 "function is gone",
				 d->base.name);
	if (!j->deadline)
		j->deadline = now_ns() + WAIT_MAX_S * 1000000000ULL;
	if (now_ns() >= j->deadline)
		return vtfs_fail(
		    -ETIMEDOUT, "%s: %s does not end (%#x after %u s)",
		    d->base.name,
		    off == VTFS_PCI_DEVICE_STATUS ? "the reset"
						  : "a queue's reset",
		    value, WAIT_MAX_S);
	return look_later(d);
}
