/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VFIO_CLIENT_H
#define VTFS_VFIO_CLIENT_H
/*
 * A PCI function that the kernel's vfio-pci driver holds, for the driver of
 * transport/virtio_pci/: container and group (kernels 6.1 to 7.x).
 *
 * Theory of operation
 *
 * The function is opened, reset, and let go of in this order: no bus master,
 * reset, memory unmapped, closed; so that nothing is written to memory that was
 * given back. Registers are read and written by the kernel's calls, at the
 * offsets that it tells; of a BAR only the page of a doorbell is mapped.
 *
 * Memory. A device behind the IOMMU (VIRTIO_F_ACCESS_PLATFORM) sees addresses
 * that are chosen here, inside the ranges that the IOMMU has. One that is not
 * sees those of the machine: then memory has to be of huge pages that lie side
 * by side, and is mapped all the same, for that pins it: while it is pinned
 * what /proc/self/pagemap says stays true.
 */
#include <linux/vfio.h>

#include "transport/vfio/vfio.h"
#include "transport/virtio_pci/driver.h"

#define VFIO_MAPS   80u
#define VFIO_RANGES 32u
#define VFIO_PAGES  264u /* of doorbells */

struct vfio_range {
	uint64_t first, last;
};

struct vfio_map {
	uint64_t iova, len;
	uint64_t phys; /* 0: the device uses iova */
};

struct vfio_page {
	unsigned bar;
	uint64_t off;
	void *addr;
};

struct vfio_region {
	uint64_t off; /* in the device's file */
	uint64_t len;
	bool mmap;
	/* The part that may be mapped. */
	uint64_t mmap_off, mmap_len;
};

struct vfio_fn {
	struct vtfs_pci_fn fn;
	char *address;
	int container, group, device; /* -1: not open */
	bool resets;		      /* the function can be */
	bool vectors;		      /* are set */
	struct vfio_region regions[VFIO_PCI_NUM_REGIONS];
	uint64_t page; /* the IOMMU's smallest */
	unsigned maps_left;
	struct vfio_range ranges[VFIO_RANGES];
	unsigned range_cnt;
	struct vfio_map maps[VFIO_MAPS];
	unsigned map_cnt;
	struct vfio_page pages[VFIO_PAGES];
	unsigned page_cnt;
};

/* ---- open.c ---- */

/* Container, group and device; every usual mistake has its text. */
int vtfs_vfio_attach(struct vfio_fn *v);
void vtfs_vfio_detach(struct vfio_fn *v);

/* ---- memory.c ---- */

/* What the IOMMU tells of itself. */
int vtfs_vfio_iommu_info(struct vfio_fn *v);
int vtfs_vfio_map(struct vfio_fn *v, const struct virtiofs_region *region,
		  bool iova, uint64_t *ret);
int vtfs_vfio_unmap(struct vfio_fn *v, uint64_t addr);
void vtfs_vfio_unmap_all(struct vfio_fn *v);
/* Huge pages side by side in the machine's memory. */
int vtfs_vfio_alloc(struct vfio_fn *v, size_t len, struct vtfs_share *ret);
#endif
