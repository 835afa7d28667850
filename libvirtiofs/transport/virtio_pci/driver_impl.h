/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VIRTIO_PCI_DRIVER_IMPL_H
#define VTFS_VIRTIO_PCI_DRIVER_IMPL_H
/* What the driver's files share; the theory is in driver.h. */
#include "base/error.h"
#include "transport/virtio_pci/driver.h"

#define PCI_JOURNAL 1024u /* accesses of one op */

/* Which op is under way; never 0. */
enum pci_op {
	PCI_OP_CONNECT = 1,
	PCI_OP_GET_FEATURES,
	PCI_OP_SET_FEATURES,
	PCI_OP_NUM_QUEUES,
	PCI_OP_CONFIG,
	PCI_OP_GET_STATUS,
	PCI_OP_SET_STATUS,
	PCI_OP_MAP,
	PCI_OP_UNMAP,
	PCI_OP_QUEUE_MAX,
	PCI_OP_START,
	PCI_OP_STOP,
};

struct pci_journal {
	enum pci_op op; /* 0: none */
	uint64_t arg;
	unsigned cnt; /* accesses that were carried out */
	unsigned at;  /* accesses of this run */
	uint32_t value[PCI_JOURNAL];
	uint64_t deadline; /* of what is waited for */
	unsigned tries;
};

struct pci_queue {
	bool running;
	struct vtfs_queue_line line;
};

struct pci_driver {
	struct virtiofs_transport base;
	char *name;
	struct vtfs_pci_fn *fn;
	struct vtfs_cli_sink *sink;
	int ep;	   /* what fd() gives: fn's fd, timer, event, wake */
	int timer; /* a wait for a register */
	int event; /* vector 0 */
	int wake;  /* lost has to be told */
	bool open; /* fn is */
	bool connected;
	bool changed; /* config_changed has to be told */
	int lost;
	bool lost_told;
	struct pci_journal j;
	struct vtfs_pci_caps caps;
	uint64_t features; /* accepted */
	unsigned vectors;  /* in use */
	/* What a vector of queues rings: a duplicate of the first one's fd. */
	int vector_fd[VTFS_PCI_QUEUES_MAX];
	struct pci_queue queue[VTFS_PCI_QUEUES_MAX];
	unsigned char cfg[VTFS_PCI_CFG_LEN];
};

static inline struct pci_driver *to_driver(const struct virtiofs_transport *t)
{
	return (struct pci_driver *)t;
}

/* ---- driver_regs.c: ops, and their accesses ---- */

/* Take what the fds tell. */
void vtfs_pci_look(struct pci_driver *d);
/* Run op from its beginning. -ENOTCONN: before connect. */
int vtfs_pci_begin(struct pci_driver *d, enum pci_op op, uint64_t arg);
/* The op's result: whatever it is but -EAGAIN, the op is over. */
int vtfs_pci_end(struct pci_driver *d, int r);
/* Begin the run of accesses anew. */
void vtfs_pci_again(struct pci_driver *d);

/* Something that may wait: 1 it was carried out in an earlier run, and gave
 * *ret; 0: do it, and tell with did. */
int vtfs_pci_done(struct pci_driver *d, uint32_t *ret);
int vtfs_pci_did(struct pci_driver *d, int r, uint32_t value);

int vtfs_pci_read(struct pci_driver *d, const struct vtfs_pci_area *a,
		  uint64_t off, unsigned len, uint32_t *ret);
int vtfs_pci_write(struct pci_driver *d, const struct vtfs_pci_area *a,
		   uint64_t off, unsigned len, uint32_t value);
/* Registers of the common structure; the width is the register's own. */
int vtfs_pci_get(struct pci_driver *d, unsigned off, unsigned len,
		 uint32_t *ret);
int vtfs_pci_put(struct pci_driver *d, unsigned off, unsigned len,
		 uint32_t value);
/* Two halves, low first. */
int vtfs_pci_put64(struct pci_driver *d, unsigned off, uint64_t value);
/* Until the register reads as 0: 0, -EAGAIN, -ETIMEDOUT. */
int vtfs_pci_await_zero(struct pci_driver *d, unsigned off, unsigned len);

/* ---- driver_queue.c ---- */

/* All vectors are there and ring nothing but event. */
int vtfs_pci_set_up_vectors(struct pci_driver *d);
/* After a reset, or when the function went. */
void vtfs_pci_forget_queues(struct pci_driver *d);
int vtfs_pci_queue_max(struct virtiofs_transport *t, unsigned cnt,
		       uint32_t *ret);
int vtfs_pci_start_queue(struct virtiofs_transport *t,
			 const struct vtfs_queue_setup *q);
int vtfs_pci_stop_queue(struct virtiofs_transport *t, unsigned vq);
void vtfs_pci_queue_line(struct virtiofs_transport *t, unsigned vq,
			 struct vtfs_queue_line *ret);
#endif
