/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VIRTIO_PCI_DRIVER_H
#define VTFS_VIRTIO_PCI_DRIVER_H
/*
 * A modern virtio function, driven from user space: the client half of every
 * transport that reaches one. Whoever holds the function (the kernel's VFIO, a
 * vfio-user socket, a test) gives reads and writes of its regions, interrupts
 * and DMA; registers, capabilities and queues are done here, once.
 *
 * Theory of operation
 *
 * An access may have to wait for the other side of a socket, and an op of
 * struct vtfs_cli_ops must not. So an op is written straight on and is run
 * again from its beginning, with what its accesses gave so far taken from a
 * journal; the first that is not in there is carried out, and may end the run
 * with -EAGAIN. What a register tells to wait for (a reset) is looked at again
 * when a timer of a millisecond has run out, and not for ever.
 *
 * The function's config space is read once, at connect. All sizes it claims
 * are held against the BARs' (caps.c), and a register is only touched where
 * its structure lies inside.
 *
 * Vector 0 is the configuration's, the others are the queues'. With fewer
 * vectors than queues, queues share: each listens to the one eventfd. A
 * function without vectors, or a queue without one, is polled by the client.
 */
#include <stdbool.h>
#include <stdint.h>

#include "transport/transport.h"
#include "transport/virtio_pci/caps.h"

#define VTFS_PCI_CONFIG_REGION 7u   /* as VFIO numbers them; 0 to 5: BARs */
#define VTFS_PCI_QUEUES_MAX    258u /* hiprio, notifications, 256 more */

struct vtfs_pci_fn;

/* Those that may wait return -EAGAIN, and are called again with the same
 * arguments when fd() is readable, or with others: then the answer to the
 * first is nobody's. -ENOTCONN: the function is gone. */
struct vtfs_pci_fn_ops {
	/* Reach it, reset it if it can be, and fill bar_len and vector_max.
	 * May wait. Again after it was lost. */
	int (*open)(struct vtfs_pci_fn *f);
	/* len bytes, 1, 2 or 4; buf is little endian. May wait. */
	int (*read)(struct vtfs_pci_fn *f, unsigned region, uint64_t off,
		    void *buf, unsigned len);
	int (*write)(struct vtfs_pci_fn *f, unsigned region, uint64_t off,
		     const void *buf, unsigned len);
	/* Vectors first to first + cnt ring fds, -1 none. The first call for a
	 * function names all of them. May wait. */
	int (*set_vectors)(struct vtfs_pci_fn *f, unsigned first,
			   const int *fds, unsigned cnt);
	/* As in struct vtfs_cli_ops; iova: the device stands behind an IOMMU
	 * (ACCESS_PLATFORM). May wait. */
	int (*map)(struct vtfs_pci_fn *f, const struct virtiofs_region *region,
		   bool iova, uint64_t *ret);
	int (*unmap)(struct vtfs_pci_fn *f, uint64_t addr);
	/* Memory that map takes. NULL: vtfs_share_new(). */
	int (*alloc)(struct vtfs_pci_fn *f, size_t len, bool iova,
		     struct vtfs_share *ret);
	/* Where a store to [off, off + len) of a BAR goes, or NULL. Stays valid
	 * until close. */
	volatile void *(*bar)(struct vtfs_pci_fn *f, unsigned bar, uint64_t off,
			      unsigned len);
	/* An eventfd that stands for a store to that register, or -1; the
	 * function's own. May wait. NULL: there are none. */
	int (*doorbell_fd)(struct vtfs_pci_fn *f, unsigned bar, uint64_t off,
			   unsigned len, int *ret);
	/* A store to a register, from any thread, for queue vq: nobody waits
	 * for it. Two for the same queue may become the later one. */
	int (*store)(struct vtfs_pci_fn *f, unsigned vq, uint64_t off,
		     uint32_t value, unsigned len);
	/* Hear what comes unasked; 0 or -ENOTCONN. NULL: nothing does. */
	int (*dispatch)(struct vtfs_pci_fn *f);
	/* Let go of it: no more DMA. What was mapped is forgotten. */
	void (*close)(struct vtfs_pci_fn *f);
	void (*free)(struct vtfs_pci_fn *f);
};

struct vtfs_pci_fn {
	const struct vtfs_pci_fn_ops *ops;
	/* For life: readable when something that waited may go on; or -1. */
	int fd;
	uint64_t bar_len[VTFS_PCI_BARS]; /* 0: none, or not memory */
	unsigned vector_max;		 /* MSI-X vectors, 0: none */
	unsigned notify_bar;		 /* the driver's note, for store */
	const struct vtfs_log *log;	 /* from attach on */
};

/* Owns f on success, which has everything but what open fills. name is copied.
 */
int vtfs_pci_driver_new(struct virtiofs_transport **ret, struct vtfs_pci_fn *f,
			const char *name);
#endif
