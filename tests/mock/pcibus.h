/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_PCIBUS_H
#define MOCK_PCIBUS_H
/*
 * A PCI function with nothing but a bus that reads and writes registers, and a
 * session that writes down what it is told.
 */
#include <stdbool.h>
#include <stdint.h>

#include "leaks.h"
#include "recsink.h"
#include "transport/virtio_pci/function.h"

struct pcibus {
	struct virtiofs_transport t;
	struct vtfs_pcifn fn;
	struct rec rec;
};

/* For cmocka. */
int bus_set_up(void **state);
int bus_tear_down(void **state);
/* As bus_set_up, with another session. */
void bus_restart(struct pcibus *b, unsigned queues, uint32_t queue_max,
		 uint64_t offered);

/* A register of len bytes, in the machine's order. */
uint32_t bus_get(struct pcibus *b, unsigned region, uint32_t off, uint32_t len);
void bus_put(struct pcibus *b, unsigned region, uint32_t off, uint32_t len,
	     uint32_t value);
/* Of the common structure. */
uint32_t bus_common(struct pcibus *b, uint32_t off, uint32_t len);
void bus_set_common(struct pcibus *b, uint32_t off, uint32_t len, uint32_t v);

uint8_t bus_status(struct pcibus *b);
void bus_set_status(struct pcibus *b, uint8_t v);
/* ACKNOWLEDGE to FEATURES_OK, with these features; bus mastering is on. */
void bus_negotiate(struct pcibus *b, uint64_t features);
/* A ring at an address made of the index; and all of it up to DRIVER_OK. */
void bus_enable(struct pcibus *b, unsigned vq, uint16_t vector);
void bus_up(struct pcibus *b);
/* MSI-X in the configuration space. */
void bus_msix(struct pcibus *b, bool on, bool mask_all);

int bus_eventfd(void);
/* How often, since the last time. */
unsigned bus_heard(int fd);
/* The session rings for vq. */
void bus_complete(struct pcibus *b, unsigned vq);
#endif
