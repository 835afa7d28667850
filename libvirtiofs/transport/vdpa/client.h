/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VDPA_CLIENT_H
#define VTFS_VDPA_CLIENT_H
/*
 * A device on the kernel's vDPA bus that is bound to vhost_vdpa, driven through
 * /dev/vhost-vdpa-N.
 *
 * Theory of operation
 *
 * Each op is a few ioctls, done when it returns: none is ever -EAGAIN. A device
 * that is a program itself (VDUSE) answers the kernel in its own time; until
 * then the ioctl waits, at most as long as the kernel lets it (30 s).
 *
 * Descriptors name memory by addresses that are given out here (maps), within
 * the range that the device has. Changes of memory go to the kernel as
 * messages, in a batch where it knows batches: one that lasts from the first
 * change until DRIVER_OK, so that the device hears of all memory at once, and
 * one for each change after that. The kernel finds the pages by our own
 * addresses: memory has to be a mapping of a file, or a VDUSE device can't have
 * it.
 *
 * One queue can't be stopped: the bus has no such call. Where the device can
 * be suspended that stops all, and what starts a queue again resumes it; else
 * only a reset (status 0) does. So RING_RESET is never offered.
 */
#include <stdbool.h>
#include <stdint.h>

#include "transport/vdpa/vdpa.h"

#define VDPA_MAPS_MAX 128u

struct vdpa_map {
	uint64_t addr; /* the device's */
	uint64_t len;
};

struct vdpa_client {
	struct virtiofs_transport base;
	char *name;
	const char *path; /* within name */
	struct vtfs_cli_sink *sink;
	int ep;		  /* what fd() gives */
	int config;	  /* eventfd: the configuration changed */
	int dev;	  /* -1: not connected */
	uint64_t backend; /* VHOST_BACKEND_F_ that were agreed, as bits */
	uint64_t offered, features;
	uint64_t first, last; /* addresses that the device may use */
	uint8_t status;
	bool batch; /* begun */
	bool suspended;
	struct vdpa_map maps[VDPA_MAPS_MAX]; /* by addr */
	unsigned map_cnt;
};

/* client_mem.c */
int vtfs_vdpa_map(struct virtiofs_transport *t,
		  const struct virtiofs_region *region, uint64_t *ret_addr);
int vtfs_vdpa_unmap(struct virtiofs_transport *t, uint64_t addr);
/* All changes so far take effect. */
int vtfs_vdpa_end_batch(struct vdpa_client *c);

/* client.c */
struct vdpa_client *vtfs_vdpa_to_client(const struct virtiofs_transport *t);
bool vtfs_vdpa_has(const struct vdpa_client *c, unsigned backend_bit);
#endif
