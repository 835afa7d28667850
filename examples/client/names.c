/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "names.h"

#include <stddef.h>

/* virtio 1.4, 5.11.3 and 6; bits 26 and 30 are vhost's own */
static const char *const virtio_names[64] = {
    [0] = "NOTIFICATION",
    [24] = "NOTIFY_ON_EMPTY",
    [26] = "LOG_ALL",
    [27] = "ANY_LAYOUT",
    [28] = "INDIRECT_DESC",
    [29] = "EVENT_IDX",
    [30] = "PROTOCOL_FEATURES",
    [32] = "VERSION_1",
    [33] = "ACCESS_PLATFORM",
    [34] = "RING_PACKED",
    [35] = "IN_ORDER",
    [36] = "ORDER_PLATFORM",
    [37] = "SR_IOV",
    [38] = "NOTIFICATION_DATA",
    [39] = "NOTIF_CONFIG_DATA",
    [40] = "RING_RESET",
    [41] = "ADMIN_VQ",
    [42] = "DEVICE_SUSPEND",
};

static const char *const vhost_user_names[64] = {
    [0] = "MQ",
    [1] = "LOG_SHMFD",
    [2] = "RARP",
    [3] = "REPLY_ACK",
    [4] = "MTU",
    [5] = "BACKEND_REQ",
    [6] = "CROSS_ENDIAN",
    [7] = "CRYPTO_SESSION",
    [8] = "PAGEFAULT",
    [9] = "CONFIG",
    [10] = "BACKEND_SEND_FD",
    [11] = "HOST_NOTIFIER",
    [12] = "INFLIGHT_SHMFD",
    [13] = "RESET_DEVICE",
    [14] = "INBAND_NOTIFICATIONS",
    [15] = "CONFIGURE_MEM_SLOTS",
    [16] = "STATUS",
    [17] = "XEN_MMAP",
    [18] = "SHARED_OBJECT",
    [19] = "DEVICE_STATE",
};

static const char *const fuse_names[64] = {
    "ASYNC_READ",
    "POSIX_LOCKS",
    "FILE_OPS",
    "ATOMIC_O_TRUNC",
    "EXPORT_SUPPORT",
    "BIG_WRITES",
    "DONT_MASK",
    "SPLICE_WRITE",
    "SPLICE_MOVE",
    "SPLICE_READ",
    "FLOCK_LOCKS",
    "HAS_IOCTL_DIR",
    "AUTO_INVAL_DATA",
    "DO_READDIRPLUS",
    "READDIRPLUS_AUTO",
    "ASYNC_DIO",
    "WRITEBACK_CACHE",
    "NO_OPEN_SUPPORT",
    "PARALLEL_DIROPS",
    "HANDLE_KILLPRIV",
    "POSIX_ACL",
    "ABORT_ERROR",
    "MAX_PAGES",
    "CACHE_SYMLINKS",
    "NO_OPENDIR_SUPPORT",
    "EXPLICIT_INVAL_DATA",
    "MAP_ALIGNMENT",
    "SUBMOUNTS",
    "HANDLE_KILLPRIV_V2",
    "SETXATTR_EXT",
    "INIT_EXT",
    "INIT_RESERVED",
    "SECURITY_CTX",
    "HAS_INODE_DAX",
    "CREATE_SUPP_GROUP",
    "HAS_EXPIRE_ONLY",
    "DIRECT_IO_ALLOW_MMAP",
    "PASSTHROUGH",
    "NO_EXPORT_SUPPORT",
    "HAS_RESEND",
    "ALLOW_IDMAP",
    "OVER_IO_URING",
    "REQUEST_TIMEOUT",
};

const char *bit_name(enum names_table table, unsigned bit)
{
	if (bit > 63)
		return NULL;
	switch (table) {
	case NAMES_VIRTIO:
		return virtio_names[bit];
	case NAMES_VHOST_USER:
		return vhost_user_names[bit];
	case NAMES_FUSE:
		return fuse_names[bit];
	}
	return NULL;
}
