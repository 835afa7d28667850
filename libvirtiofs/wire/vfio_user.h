/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_WIRE_VFIO_USER_H
#define VTFS_WIRE_VFIO_USER_H
/*
 * The vfio-user protocol (vfio-user.rst, version 0.x). All numbers in host byte
 * order. What it has in common with <linux/vfio.h> has the same layout and the
 * same numbers, under names of our own: the header is not needed to build.
 */
#include <assert.h>
#include <stdint.h>

#define VFU_MAJOR 0u
#define VFU_MINOR 1u

/* "Header" */
struct vfu_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; /* with the header */
	uint32_t flags;
	uint32_t error; /* errno, in a reply with VFU_ERROR; may be 0 */
};
static_assert(sizeof(struct vfu_header) == 16, "vfio-user header");

#define VFU_TYPE_MASK	 0xfu
#define VFU_TYPE_COMMAND 0x0u
#define VFU_TYPE_REPLY	 0x1u
#define VFU_NO_REPLY	 0x10u
#define VFU_ERROR	 0x20u

enum vfu_command {
	VFU_VERSION = 1,
	VFU_DMA_MAP = 2,
	VFU_DMA_UNMAP = 3,
	VFU_GET_INFO = 4,
	VFU_GET_REGION_INFO = 5,
	VFU_GET_REGION_IO_FDS = 6,
	VFU_GET_IRQ_INFO = 7,
	VFU_SET_IRQS = 8,
	VFU_REGION_READ = 9,
	VFU_REGION_WRITE = 10,
	VFU_DMA_READ = 11,  /* server to client */
	VFU_DMA_WRITE = 12, /* server to client */
	VFU_RESET = 13,
	VFU_DIRTY_PAGES = 14, /* of older versions */
	VFU_REGION_WRITE_MULTI = 15,
	VFU_FEATURE = 16,
	VFU_MIG_DATA_READ = 17,
	VFU_MIG_DATA_WRITE = 18,
	VFU_COMMANDS,
};

/* VERSION, both ways; JSON with a NUL may follow. */
struct vfu_version {
	uint16_t major;
	uint16_t minor;
};
static_assert(sizeof(struct vfu_version) == 4, "VERSION");

/* What counts where the JSON says nothing. */
#define VFU_DEFAULT_MAX_FDS  1u
#define VFU_DEFAULT_MAX_XFER 1048576u
#define VFU_DEFAULT_MAX_MAPS 65535u
#define VFU_DEFAULT_PGSIZES  4096u

struct vfu_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset; /* in the file */
	uint64_t address;
	uint64_t size;
};
static_assert(sizeof(struct vfu_dma_map) == 32, "DMA_MAP");
#define VFU_DMA_READABLE  0x1u
#define VFU_DMA_WRITABLE  0x2u
#define VFU_DMA_MODE_MMAP 0x4u
#define VFU_DMA_MODE_FILE 0x8u /* pread(2) and pwrite(2) */

/* The reply has the same. */
struct vfu_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t address;
	uint64_t size;
};
static_assert(sizeof(struct vfu_dma_unmap) == 24, "DMA_UNMAP");
#define VFU_DMA_UNMAP_ALL 0x2u /* address and size are 0 */

/* GET_INFO, both ways */
struct vfu_device_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t num_regions;
	uint32_t num_irqs;
};
static_assert(sizeof(struct vfu_device_info) == 16, "DEVICE_GET_INFO");
#define VFU_DEVICE_RESET 0x1u
#define VFU_DEVICE_PCI	 0x2u

enum vfu_region {
	VFU_REGION_BAR0 = 0, /* to 5 */
	VFU_REGION_ROM = 6,
	VFU_REGION_CONFIG = 7,
	VFU_REGION_VGA = 8,
	VFU_REGIONS = 9,
};

/* GET_REGION_INFO, both ways; capabilities may follow the reply. */
struct vfu_region_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t cap_offset; /* from the start of this */
	uint64_t size;
	uint64_t offset; /* for mmap(2) */
};
static_assert(sizeof(struct vfu_region_info) == 32, "REGION_INFO");
#define VFU_REGION_FLAG_READ  0x1u
#define VFU_REGION_FLAG_WRITE 0x2u
#define VFU_REGION_FLAG_MMAP  0x4u
#define VFU_REGION_FLAG_CAPS  0x8u

struct vfu_cap {
	uint16_t id;
	uint16_t version;
	uint32_t next; /* from the start of the info; 0: the last */
};
static_assert(sizeof(struct vfu_cap) == 8, "capability");
#define VFU_CAP_SPARSE_MMAP	1u
#define VFU_CAP_SPARSE_MMAP_FDS 0x8001u

struct vfu_sparse_mmap { /* areas follow */
	struct vfu_cap cap;
	uint32_t nr_areas;
	uint32_t reserved;
};
struct vfu_sparse_area {
	uint64_t offset;
	uint64_t size;
};
static_assert(sizeof(struct vfu_sparse_mmap) == 16, "sparse mmap");
static_assert(sizeof(struct vfu_sparse_area) == 16, "sparse mmap area");

/* GET_REGION_IO_FDS, both ways; sub-regions follow the reply. */
struct vfu_io_fds {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};
static_assert(sizeof(struct vfu_io_fds) == 16, "REGION_IO_FDS");

struct vfu_io_fd {
	uint64_t offset;
	uint64_t size; /* 0: any width */
	uint32_t fd_index;
	uint32_t type;
	uint32_t flags;
	uint32_t padding;
	uint64_t datamatch;
};
static_assert(sizeof(struct vfu_io_fd) == 40, "sub-region");
#define VFU_IO_FD_IOEVENTFD  0u
#define VFU_IO_FD_IOREGIONFD 1u
#define VFU_IO_FD_DATAMATCH  0x1u /* KVM_IOEVENTFD_FLAG_DATAMATCH */

enum vfu_irq {
	VFU_IRQ_INTX,
	VFU_IRQ_MSI,
	VFU_IRQ_MSIX,
	VFU_IRQ_ERR,
	VFU_IRQ_REQ,
	VFU_IRQS,
};

/* GET_IRQ_INFO, both ways */
struct vfu_irq_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};
static_assert(sizeof(struct vfu_irq_info) == 16, "IRQ_INFO");
#define VFU_IRQ_EVENTFD	   0x1u
#define VFU_IRQ_MASKABLE   0x2u
#define VFU_IRQ_AUTOMASKED 0x4u
#define VFU_IRQ_NORESIZE   0x8u

struct vfu_irq_set { /* with DATA_BOOL a byte for each follows */
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t start;
	uint32_t count;
};
static_assert(sizeof(struct vfu_irq_set) == 20, "SET_IRQS");
#define VFU_IRQ_DATA_NONE      0x01u
#define VFU_IRQ_DATA_BOOL      0x02u
#define VFU_IRQ_DATA_EVENTFD   0x04u /* fds; none: take them back */
#define VFU_IRQ_DATA_MASK      0x07u
#define VFU_IRQ_ACTION_MASK    0x08u
#define VFU_IRQ_ACTION_UNMASK  0x10u
#define VFU_IRQ_ACTION_TRIGGER 0x20u
#define VFU_IRQ_ACTIONS	       0x38u

/* REGION_READ and REGION_WRITE, both ways; data follows what has it. */
struct vfu_region_io {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};
static_assert(sizeof(struct vfu_region_io) == 16, "REGION_READ");

/* REGION_WRITE_MULTI: a 64-bit count, then so many of these. */
struct vfu_region_wr {
	uint64_t offset;
	uint32_t region;
	uint32_t count; /* 8 at most */
	uint8_t data[8];
};
static_assert(sizeof(struct vfu_region_wr) == 24, "REGION_WRITE_MULTI");

/* DMA_READ and DMA_WRITE, both ways; data follows what has it. Older servers
 * and clients have a 32-bit count in the reply of DMA_WRITE. */
struct vfu_dma_io {
	uint64_t address;
	uint64_t count;
};
static_assert(sizeof(struct vfu_dma_io) == 16, "DMA_READ");

/* FEATURE, both ways; data follows. */
struct vfu_feature {
	uint32_t argsz;
	uint32_t flags; /* the feature is in the low 16 bits */
};
static_assert(sizeof(struct vfu_feature) == 8, "DEVICE_FEATURE");
#define VFU_FEATURE_MASK  0xffffu
#define VFU_FEATURE_GET	  0x10000u
#define VFU_FEATURE_SET	  0x20000u
#define VFU_FEATURE_PROBE 0x40000u
#endif
