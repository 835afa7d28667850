/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_WIRE_VIRTIO_H
#define VTFS_WIRE_VIRTIO_H
/* Numbers that are the same for every virtio device and transport. */

/* Device status (virtio 1.4, 2.1) */
#define VTFS_STATUS_ACKNOWLEDGE 1u
#define VTFS_STATUS_DRIVER	2u
#define VTFS_STATUS_DRIVER_OK	4u
#define VTFS_STATUS_FEATURES_OK 8u
#define VTFS_STATUS_SUSPEND	16u
#define VTFS_STATUS_NEEDS_RESET 64u
#define VTFS_STATUS_FAILED	128u

/* Feature bits of every device (virtio 1.4, 6) */
#define VTFS_F_BIT_INDIRECT_DESC     28
#define VTFS_F_BIT_EVENT_IDX	     29
#define VTFS_F_BIT_VERSION_1	     32
#define VTFS_F_BIT_ACCESS_PLATFORM   33
#define VTFS_F_BIT_RING_PACKED	     34
#define VTFS_F_BIT_IN_ORDER	     35
#define VTFS_F_BIT_ORDER_PLATFORM    36
#define VTFS_F_BIT_SR_IOV	     37
#define VTFS_F_BIT_NOTIFICATION_DATA 38
#define VTFS_F_BIT_NOTIF_CONFIG_DATA 39
#define VTFS_F_BIT_RING_RESET	     40
#define VTFS_F_BIT_ADMIN_VQ	     41
#define VTFS_F_BIT_SUSPEND	     43
#endif
