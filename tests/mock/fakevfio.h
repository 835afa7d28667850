/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MOCK_FAKEVFIO_H
#define TESTS_MOCK_FAKEVFIO_H
/*
 * The kernel's VFIO for the function FV_ADDRESS: the linker sends the library's
 * calls here (--wrap). Behind its regions stands a fakefn, whose device answers
 * each request when its doorbell is rung. Everything is judged as the kernel
 * judges it and written down, and any answer may be a lie of the test's.
 */
#include <linux/vfio.h>
#include <sys/types.h>

#include "fakefn.h"

#define FV_ADDRESS   "0000:00:05.0"
#define FV_GROUP     "/dev/vfio/7"
#define FV_REGIONS   9u
#define FV_MAPS	     32u
#define FV_INFO	     40000u
#define FV_MSIX_PAGE 0x7000u /* of FAKE_BAR; only the kernel touches it */

struct fv_region {
	uint64_t off, size;
	uint32_t flags;
	/* A chain of capabilities behind the structure, from its beginning. */
	unsigned char caps[512];
	size_t caps_len;
	uint32_t cap_offset; /* 0: at their beginning */
	uint32_t argsz;	     /* 0: what is there */
};

struct fv_map {
	uint64_t iova, len, vaddr;
};

struct fakevfio {
	struct fake f;
	/* ---- /sys and /dev ---- */
	bool no_function, no_group, noiommu;
	const char *driver; /* NULL: none */
	int group_errno, container_errno;
	/* ---- group and container ---- */
	bool not_viable;
	int version, type1v2;
	int set_iommu_errno;
	/* ---- the IOMMU ---- */
	uint64_t pgsizes; /* 0: it does not tell */
	uint64_t first, last;
	unsigned map_max;
	int map_errno;
	uint64_t unmap_less; /* bytes that are left */
	unsigned char caps[FV_INFO];
	size_t caps_len;
	uint32_t cap_offset, argsz; /* 0: what is so */
	struct fv_map maps[FV_MAPS];
	unsigned map_cnt;
	/* ---- the device ---- */
	uint32_t flags, num_regions, num_irqs;
	struct fv_region region[FV_REGIONS];
	uint32_t irq_flags;
	unsigned vectors_had; /* what there is of them; 0: all */
	unsigned vectors;     /* enabled */
	int vector_fd[64];
	struct liar_req req;
	uint64_t pagemap[64]; /* by look */
	unsigned pagemap_cnt, pagemap_at;
	ino_t ino[4];	  /* of the files that stand for the kernel's */
	char text[16384]; /* "what;what;" */
};
extern struct fakevfio fv;

/* An honest function of two queues that can be reset, and an IOMMU that maps
 * all but its low MiB and what x86 has its interrupts in. */
void fv_init(void);
void fv_fini(void);
/* Append a capability to the IOMMU's info, which next points behind. */
void fv_cap(uint16_t id, const void *data, size_t len);
void fv_ranges(const struct vfio_iova_range *r, uint32_t cnt);
void fv_avail(uint32_t cnt);
/* Append one of sparse areas to a region's. */
void fv_sparse(unsigned region, const struct vfio_region_sparse_mmap_area *a,
	       uint32_t cnt);
/* What is stored in a mapped page of a region. */
uint32_t fv_stored(unsigned region, uint64_t off);
/* How often text occurs in what was written down. */
unsigned fv_count(const char *text);
/* Where it first occurs, behind the last thing found; fails if it does not. */
const char *fv_find(const char *from, const char *text);
#endif
