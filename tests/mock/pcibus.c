/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pcibus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"

static struct pcibus *to_bus(struct virtiofs_transport *t)
{
	return vtfs_container_of(t, struct pcibus, t);
}

static int bus_attach(struct virtiofs_transport *t, struct vtfs_dev_sink *sink)
{
	return 0;
}

static void bus_stopped(struct virtiofs_transport *t, unsigned vq,
			uint16_t avail, uint16_t used)
{
	vtfs_pcifn_queue_stopped(&to_bus(t)->fn, vq, avail, used);
}

static void bus_reset_done(struct virtiofs_transport *t)
{
	vtfs_pcifn_reset_done(&to_bus(t)->fn);
}

static void bus_free(struct virtiofs_transport *t)
{
	vtfs_pcifn_fini(&to_bus(t)->fn);
}

static const struct vtfs_dev_ops bus_ops = {
    .attach = bus_attach,
    .queue_stopped = bus_stopped,
    .reset_done = bus_reset_done,
};

static void begin(struct pcibus *b, unsigned queues, uint32_t queue_max,
		  uint64_t offered)
{
	b->t.dev = &bus_ops;
	b->t.free = bus_free;
	assert_int_equal(vtfs_pcifn_init(&b->fn), 0);
	rec_init(&b->rec, &b->t);
	b->rec.queue_cnt = queues;
	b->rec.queue_max = queue_max;
	b->rec.offered = offered;
	vtfs_pcifn_attach(&b->fn, &b->rec.sink, VTFS_F_ACCESS_PLATFORM);
}

int bus_set_up(void **state)
{
	struct pcibus *b = calloc(1, sizeof(*b));

	begin(b, REC_QUEUES, REC_QUEUE_MAX, REC_OFFERED);
	*state = b;
	return 0;
}

int bus_tear_down(void **state)
{
	struct pcibus *b = *state;

	rec_fini(&b->rec);
	free(b);
	return 0;
}

void bus_restart(struct pcibus *b, unsigned queues, uint32_t queue_max,
		 uint64_t offered)
{
	rec_fini(&b->rec);
	begin(b, queues, queue_max, offered);
}

uint32_t bus_get(struct pcibus *b, unsigned region, uint32_t off, uint32_t len)
{
	uint32_t le = 0;

	assert_int_equal(vtfs_pcifn_read(&b->fn, region, off, &le, len), 0);
	return le32toh(le);
}

void bus_put(struct pcibus *b, unsigned region, uint32_t off, uint32_t len,
	     uint32_t value)
{
	uint32_t le = htole32(value);

	assert_int_equal(vtfs_pcifn_write(&b->fn, region, off, &le, len), 0);
}

uint32_t bus_common(struct pcibus *b, uint32_t off, uint32_t len)
{
	return bus_get(b, 0, VTFS_PCIFN_COMMON + off, len);
}

void bus_set_common(struct pcibus *b, uint32_t off, uint32_t len, uint32_t v)
{
	bus_put(b, 0, VTFS_PCIFN_COMMON + off, len, v);
}

uint8_t bus_status(struct pcibus *b)
{
	return (uint8_t)bus_common(b, VTFS_PCI_DEVICE_STATUS, 1);
}

void bus_set_status(struct pcibus *b, uint8_t v)
{
	bus_set_common(b, VTFS_PCI_DEVICE_STATUS, 1, v);
}

void bus_negotiate(struct pcibus *b, uint64_t features)
{
	bus_put(b, VTFS_PCIFN_CONFIG, VTFS_PCI_COMMAND, 2,
		VTFS_PCI_COMMAND_MEMORY | VTFS_PCI_COMMAND_MASTER);
	bus_set_status(b, 1);
	bus_set_status(b, 3);
	for (uint32_t i = 0; i < 2; i++) {
		bus_set_common(b, VTFS_PCI_DRIVER_FEATURE_SELECT, 4, i);
		bus_set_common(b, VTFS_PCI_DRIVER_FEATURE, 4,
			       (uint32_t)(features >> (32 * i)));
	}
	bus_set_status(b, 11);
	assert_int_equal(bus_status(b), 11);
}

void bus_enable(struct pcibus *b, unsigned vq, uint16_t vector)
{
	bus_set_common(b, VTFS_PCI_QUEUE_SELECT, 2, vq);
	bus_set_common(b, VTFS_PCI_QUEUE_SIZE, 2, 64);
	bus_set_common(b, VTFS_PCI_QUEUE_VECTOR, 2, vector);
	bus_set_common(b, VTFS_PCI_QUEUE_DESC, 4, vq << 16 | 0x1000);
	bus_set_common(b, VTFS_PCI_QUEUE_DESC + 4, 4, 1);
	bus_set_common(b, VTFS_PCI_QUEUE_DRIVER, 4, vq << 16 | 0x2000);
	bus_set_common(b, VTFS_PCI_QUEUE_DRIVER + 4, 4, 2);
	bus_set_common(b, VTFS_PCI_QUEUE_DEVICE, 4, vq << 16 | 0x3000);
	bus_set_common(b, VTFS_PCI_QUEUE_DEVICE + 4, 4, 3);
	bus_set_common(b, VTFS_PCI_QUEUE_ENABLE, 2, 1);
}

void bus_up(struct pcibus *b)
{
	bus_negotiate(b, VIRTIOFS_F_VERSION_1);
	for (unsigned i = 0; i < b->rec.queue_cnt; i++)
		bus_enable(b, i, (uint16_t)(i + 1));
	bus_set_status(b, 15);
}

void bus_msix(struct pcibus *b, bool on, bool mask_all)
{
	bus_put(b, VTFS_PCIFN_CONFIG,
		VTFS_PCIFN_CAP_MSIX + VTFS_PCI_MSIX_CONTROL, 2,
		(on ? VTFS_PCI_MSIX_ENABLE : 0) |
		    (mask_all ? VTFS_PCI_MSIX_MASK_ALL : 0));
}

int bus_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

unsigned bus_heard(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? (unsigned)n : 0;
}

void bus_complete(struct pcibus *b, unsigned vq)
{
	if (b->rec.call_fd[vq] >= 0)
		vtfs_evfd_signal(b->rec.call_fd[vq]);
	vtfs_pcifn_dispatch(&b->fn);
}
