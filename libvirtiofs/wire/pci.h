/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_WIRE_PCI_H
#define VTFS_WIRE_PCI_H
/*
 * A virtio file system as a PCI function: the configuration space as far as it
 * is used here (PCI Local Bus Specification 3.0, chapter 6), and virtio over
 * PCI (virtio 1.4, 4.1). All numbers are little endian.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* virtio 1.4, 4.1.2: 0x1040 and the device's id. There is no transitional
 * file system, so the revision is 1 or later. */
#define VTFS_PCI_VENDOR	   0x1af4u
#define VTFS_PCI_DEVICE_FS 0x105au
#define VTFS_PCI_CLASS_FS  0x018000u /* mass storage, other */

/* ---- configuration space, type 0 header ---- */

#define VTFS_PCI_CFG_LEN 256u

#define VTFS_PCI_VENDOR_ID	0x00u
#define VTFS_PCI_DEVICE_ID	0x02u
#define VTFS_PCI_COMMAND	0x04u
#define VTFS_PCI_STATUS		0x06u
#define VTFS_PCI_REVISION	0x08u
#define VTFS_PCI_CLASS_CODE	0x09u /* 3 bytes */
#define VTFS_PCI_CACHE_LINE	0x0cu
#define VTFS_PCI_HEADER_TYPE	0x0eu
#define VTFS_PCI_BAR0		0x10u /* 6 of them, 4 bytes each */
#define VTFS_PCI_SUBSYS_VENDOR	0x2cu
#define VTFS_PCI_SUBSYS_ID	0x2eu
#define VTFS_PCI_CAP_PTR	0x34u
#define VTFS_PCI_INTERRUPT_LINE 0x3cu
#define VTFS_PCI_INTERRUPT_PIN	0x3du
#define VTFS_PCI_CAP_FIRST	0x40u /* capabilities lie beyond the header */

#define VTFS_PCI_BARS 6u

#define VTFS_PCI_COMMAND_IO	      0x0001u
#define VTFS_PCI_COMMAND_MEMORY	      0x0002u
#define VTFS_PCI_COMMAND_MASTER	      0x0004u
#define VTFS_PCI_COMMAND_PARITY	      0x0040u
#define VTFS_PCI_COMMAND_SERR	      0x0100u
#define VTFS_PCI_COMMAND_INTX_DISABLE 0x0400u

#define VTFS_PCI_STATUS_INTERRUPT 0x0008u
#define VTFS_PCI_STATUS_CAP_LIST  0x0010u

#define VTFS_PCI_BAR_IO		 0x1u /* else memory */
#define VTFS_PCI_BAR_IO_MASK	 0xfffffffcu
#define VTFS_PCI_BAR_TYPE_MASK	 0x6u
#define VTFS_PCI_BAR_64		 0x4u /* the next BAR has the high half */
#define VTFS_PCI_BAR_PREFETCH	 0x8u
#define VTFS_PCI_BAR_MEMORY_MASK 0xfffffff0u

/* Capability: id, next, and what the id says. */
#define VTFS_PCI_CAP_ID_VNDR 0x09u
#define VTFS_PCI_CAP_ID_EXP  0x10u
#define VTFS_PCI_CAP_ID_MSIX 0x11u
#define VTFS_PCI_CAP_ID_AF   0x13u

/* MSI-X (PCI 3.0, 6.8.2): offsets in the capability. The low 3 bits of table
 * and PBA are the BAR. */
#define VTFS_PCI_MSIX_CONTROL 2u
#define VTFS_PCI_MSIX_TABLE   4u
#define VTFS_PCI_MSIX_PBA     8u
#define VTFS_PCI_MSIX_CAP_LEN 12u

#define VTFS_PCI_MSIX_ENABLE	0x8000u
#define VTFS_PCI_MSIX_MASK_ALL	0x4000u
#define VTFS_PCI_MSIX_SIZE_MASK 0x07ffu /* vectors - 1 */
#define VTFS_PCI_MSIX_BIR_MASK	0x7u
#define VTFS_PCI_MSIX_MAX	2048u

/* A vector in the table: address, high half, data, control. */
#define VTFS_PCI_MSIX_ENTRY_LEN	    16u
#define VTFS_PCI_MSIX_ENTRY_CONTROL 12u
#define VTFS_PCI_MSIX_ENTRY_MASKED  0x1u

/* Advanced Features (PCI ECN of 2006): function level reset without PCI
 * Express. Offsets in the capability. */
#define VTFS_PCI_AF_LENGTH    2u
#define VTFS_PCI_AF_CAP	      3u
#define VTFS_PCI_AF_CONTROL   4u
#define VTFS_PCI_AF_STATUS    5u
#define VTFS_PCI_AF_CAP_LEN   6u
#define VTFS_PCI_AF_HAS_TP    0x1u
#define VTFS_PCI_AF_HAS_FLR   0x2u
#define VTFS_PCI_AF_START_FLR 0x1u

/* ---- virtio structures (virtio 1.4, 4.1.4) ---- */

enum vtfs_pci_cfg_type {
	VTFS_PCI_CFG_COMMON = 1,
	VTFS_PCI_CFG_NOTIFY = 2,
	VTFS_PCI_CFG_ISR = 3,
	VTFS_PCI_CFG_DEVICE = 4,
	VTFS_PCI_CFG_PCI = 5,
	VTFS_PCI_CFG_SHARED_MEMORY = 8,
	VTFS_PCI_CFG_VENDOR = 9,
};

/* struct virtio_pci_cap; what follows it depends on the type. */
struct vtfs_pci_cap {
	uint8_t id; /* VTFS_PCI_CAP_ID_VNDR */
	uint8_t next;
	uint8_t len; /* with what follows */
	uint8_t cfg_type;
	uint8_t bar;
	uint8_t shm_id;
	uint8_t padding[2];
	uint8_t offset[4];
	uint8_t length[4];
};
static_assert(sizeof(struct vtfs_pci_cap) == 16, "virtio 1.4, 4.1.4");

#define VTFS_PCI_CAP_NOTIFY_MULTIPLIER 16u /* le32, notify */
#define VTFS_PCI_CAP_NOTIFY_LEN	       20u
#define VTFS_PCI_CAP_CFG_DATA	       16u /* 4 bytes, PCI cfg access */
#define VTFS_PCI_CAP_CFG_LEN	       20u
#define VTFS_PCI_CAP_OFFSET_HI	       16u /* le32, shared memory */
#define VTFS_PCI_CAP_LENGTH_HI	       20u
#define VTFS_PCI_CAP64_LEN	       24u

/* struct virtio_pci_common_cfg (virtio 1.4, 4.1.4.3): offsets. */
#define VTFS_PCI_DEVICE_FEATURE_SELECT 0u  /* le32 */
#define VTFS_PCI_DEVICE_FEATURE	       4u  /* le32, read only */
#define VTFS_PCI_DRIVER_FEATURE_SELECT 8u  /* le32 */
#define VTFS_PCI_DRIVER_FEATURE	       12u /* le32 */
#define VTFS_PCI_CONFIG_VECTOR	       16u /* le16 */
#define VTFS_PCI_NUM_QUEUES	       18u /* le16, read only */
#define VTFS_PCI_DEVICE_STATUS	       20u /* u8 */
#define VTFS_PCI_CONFIG_GENERATION     21u /* u8, read only */
#define VTFS_PCI_QUEUE_SELECT	       22u /* le16 */
#define VTFS_PCI_QUEUE_SIZE	       24u /* le16 */
#define VTFS_PCI_QUEUE_VECTOR	       26u /* le16 */
#define VTFS_PCI_QUEUE_ENABLE	       28u /* le16 */
#define VTFS_PCI_QUEUE_NOTIFY_OFF      30u /* le16, read only */
#define VTFS_PCI_QUEUE_DESC	       32u /* le64, in two halves */
#define VTFS_PCI_QUEUE_DRIVER	       40u /* le64, in two halves */
#define VTFS_PCI_QUEUE_DEVICE	       48u /* le64, in two halves */
#define VTFS_PCI_QUEUE_NOTIF_DATA      56u /* le16, read only */
#define VTFS_PCI_QUEUE_RESET	       58u /* le16 */
#define VTFS_PCI_ADMIN_QUEUE_INDEX     60u /* le16, read only */
#define VTFS_PCI_ADMIN_QUEUE_NUM       62u /* le16, read only */
#define VTFS_PCI_COMMON_LEN	       64u
#define VTFS_PCI_COMMON_LEN_MIN	       56u /* before NOTIF_CONFIG_DATA */

#define VTFS_PCI_NO_VECTOR 0xffffu

#define VTFS_PCI_ISR_QUEUE  0x1u
#define VTFS_PCI_ISR_CONFIG 0x2u
#endif
