/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MOCK_RINGMEM_H
#define TESTS_MOCK_RINGMEM_H
/*
 * Memory for one ring and its buffers: a memfd that each side maps for itself,
 * so that each side can lack the right to write what is not its own.
 */
#include <stddef.h>
#include <stdint.h>

#include "mem/table.h"
#include "vq/vq.h"

/* What descriptors call the first byte of bufs. */
#define RINGMEM_PEER_ADDR UINT64_C(0x140000000)

enum ringmem_side { RINGMEM_DRV, RINGMEM_DEV, RINGMEM_SIDES };

struct ringmem_view {
	unsigned char *base;
	void *desc, *driver, *device;
	unsigned char *indirect;
	unsigned char *bufs;
};

struct ringmem {
	struct vtfs_vq_conf conf; /* flags, num, max_parts, indirect_max */
	struct vtfs_vq_areas areas;
	size_t bufs_len;
	size_t off_driver, off_device, off_indirect, off_bufs, len;
	int fd;
	struct ringmem_view view[RINGMEM_SIDES];
	struct vtfs_region *region; /* indirect tables and buffers */
	struct vtfs_table *table;
};

/* One mapping for both sides: what TSan needs to see races. */
#define RINGMEM_SHARED_VIEW (1u << 0)

void ringmem_init(struct ringmem *m, const struct vtfs_vq_conf *conf,
		  size_t bufs_len, unsigned flags);
void ringmem_fini(struct ringmem *m);

/* conf with the addresses as that side sees them. */
struct vtfs_vq_conf ringmem_conf(const struct ringmem *m,
				 enum ringmem_side side);

/* From here on a side that writes what it must not gets SIGSEGV: the device
 * the driver area (and the split descriptor table and indirect tables), the
 * driver the device area. */
void ringmem_protect(struct ringmem *m);

/* The peer address of a byte of bufs. */
static inline uint64_t ringmem_addr(const struct ringmem *m, size_t off)
{
	(void)m;
	return RINGMEM_PEER_ADDR + off;
}
#endif
