/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_WIRE_FS_H
#define VTFS_WIRE_FS_H
/* The virtio file system device (virtio 1.4, 5.11). */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define VTFS_FS_DEVICE_ID 26
#define VTFS_FS_TAG_LEN	  36

/* Config space; numbers are little endian whatever the FUSE session's order. */
struct vtfs_fs_config {
	uint8_t tag[VTFS_FS_TAG_LEN]; /* UTF-8, filled up with NUL */
	uint8_t num_request_queues[4];
	uint8_t notify_buf_size[4]; /* with F_NOTIFICATION only */
};
static_assert(offsetof(struct vtfs_fs_config, num_request_queues) == 36,
	      "virtio 1.4, 5.11.4");
static_assert(sizeof(struct vtfs_fs_config) == 44, "virtio 1.4, 5.11.4");
#endif
