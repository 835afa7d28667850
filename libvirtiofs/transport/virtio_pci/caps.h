/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VIRTIO_PCI_CAPS_H
#define VTFS_VIRTIO_PCI_CAPS_H
/*
 * Where a virtio function keeps its structures, as its capabilities say
 * (virtio 1.4, 4.1.4). They are judged on a private copy of the config space.
 */
#include <stdbool.h>
#include <stdint.h>

#include "wire/pci.h"

/* A structure, or what of it lies in its BAR; len 0: there is none. */
struct vtfs_pci_area {
	uint8_t bar;
	uint64_t off;
	uint64_t len;
};

struct vtfs_pci_caps {
	struct vtfs_pci_area common;
	struct vtfs_pci_area notify;
	struct vtfs_pci_area isr;    /* may be missing: we don't need it */
	struct vtfs_pci_area device; /* may be missing */
	struct vtfs_pci_area shm;    /* the first with id 0: DAX */
	uint32_t multiplier;	     /* of notify */
};

/* Where the first MSI-X capability is that lies inside; 0: nowhere, or the list
 * is broken. */
unsigned vtfs_pci_caps_msix(const unsigned char cfg[VTFS_PCI_CFG_LEN]);

/* bar_len: bytes of each BAR, 0 for those that are no memory. -ENODEV: not a
 * virtio file system, or a legacy one; -EPROTO: the list loops, or no
 * instance of a structure that we need can be used. */
int vtfs_pci_caps_find(struct vtfs_pci_caps *ret,
		       const unsigned char cfg[VTFS_PCI_CFG_LEN],
		       const uint64_t bar_len[VTFS_PCI_BARS]);
#endif
