/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_WIRE_VHOST_USER_H
#define VTFS_WIRE_VHOST_USER_H
/* The vhost-user protocol (vhost-user.rst). All numbers in host byte order. */
#include <assert.h>
#include <stdint.h>

struct vu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload */
};
static_assert(sizeof(struct vu_header) == 12, "vhost-user header");

#define VU_VERSION	1u
#define VU_VERSION_MASK 3u
#define VU_REPLY	(1u << 2)
#define VU_NEED_REPLY	(1u << 3)

/* Bit of the virtio features that says: protocol features can be asked for. */
#define VU_F_PROTOCOL_FEATURES (1ULL << 30)
#define VU_F_LOG_ALL	       (1ULL << 26)

#define VU_PF_MQ			0
#define VU_PF_LOG_SHMFD			1
#define VU_PF_RARP			2
#define VU_PF_REPLY_ACK			3
#define VU_PF_MTU			4
#define VU_PF_BACKEND_REQ		5
#define VU_PF_CROSS_ENDIAN		6
#define VU_PF_CRYPTO_SESSION		7
#define VU_PF_PAGEFAULT			8
#define VU_PF_CONFIG			9
#define VU_PF_BACKEND_SEND_FD		10
#define VU_PF_HOST_NOTIFIER		11
#define VU_PF_INFLIGHT_SHMFD		12
#define VU_PF_RESET_DEVICE		13
#define VU_PF_INBAND_NOTIFICATIONS	14
#define VU_PF_CONFIGURE_MEM_SLOTS	15
#define VU_PF_STATUS			16
#define VU_PF_XEN_MMAP			17
#define VU_PF_SHARED_OBJECT		18
#define VU_PF_DEVICE_STATE		19
#define VU_PF_GET_VRING_BASE_INFLIGHT	20
#define VU_PF_GPA_ADDRESSES		21
#define VU_PF_SHMEM			22
#define VU_PF_GET_VRING_BASE_SKIP_DRAIN 23
#define VU_PF(name)			(1ULL << VU_PF_##name)

/* Front-end to back-end */
enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_LOG_BASE = 6,
	VU_SET_LOG_FD = 7,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_SEND_RARP = 19,
	VU_NET_SET_MTU = 20,
	VU_SET_BACKEND_REQ_FD = 21,
	VU_IOTLB_MSG = 22,
	VU_SET_VRING_ENDIAN = 23,
	VU_GET_CONFIG = 24,
	VU_SET_CONFIG = 25,
	VU_POSTCOPY_ADVISE = 28,
	VU_POSTCOPY_LISTEN = 29,
	VU_POSTCOPY_END = 30,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_GPU_SET_SOCKET = 33,
	VU_RESET_DEVICE = 34,
	VU_VRING_KICK = 35,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_SET_STATUS = 39,
	VU_GET_STATUS = 40,
	VU_GET_SHARED_OBJECT = 41,
	VU_SET_DEVICE_STATE_FD = 42,
	VU_CHECK_DEVICE_STATE = 43,
	VU_GET_SHMEM_CONFIG = 44,
	VU_REQUESTS
};

/* Back-end to front-end, on the channel of SET_BACKEND_REQ_FD */
enum vu_backend_request {
	VU_BACKEND_IOTLB_MSG = 1,
	VU_BACKEND_CONFIG_CHANGE = 2,
	VU_BACKEND_VRING_HOST_NOTIFIER = 3,
	VU_BACKEND_VRING_CALL = 4,
	VU_BACKEND_VRING_ERR = 5,
};

/* u64 of SET_VRING_KICK, CALL, ERR */
#define VU_VRING_INDEX 0xffu
#define VU_VRING_NOFD  (1u << 8)

struct vu_vring_state {
	uint32_t index;
	uint32_t num;
};
static_assert(sizeof(struct vu_vring_state) == 8, "vring state");

struct vu_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};
static_assert(sizeof(struct vu_vring_addr) == 40, "vring address");

struct vu_region {
	uint64_t guest_addr;
	uint64_t size;
	uint64_t user_addr;
	uint64_t mmap_offset;
};
static_assert(sizeof(struct vu_region) == 32, "memory region");

#define VU_REGIONS_MAX 8u /* in one SET_MEM_TABLE */
#define VU_FDS_MAX     8u /* in one message */

struct vu_mem_table {
	uint32_t num;
	uint32_t padding;
	struct vu_region regions[VU_REGIONS_MAX];
};
static_assert(sizeof(struct vu_mem_table) == 264, "memory table");

struct vu_mem_reg {
	uint64_t padding;
	struct vu_region region;
};
static_assert(sizeof(struct vu_mem_reg) == 40, "single memory region");

/* IOTLB_MSG, on either channel: struct vhost_iotlb_msg. */
struct vu_iotlb {
	uint64_t iova;
	uint64_t size;
	uint64_t user_addr;
	uint8_t perm;
	uint8_t type;
	uint8_t padding[6];
};
static_assert(sizeof(struct vu_iotlb) == 32, "IOTLB message");

#define VU_ACCESS_RO	     1u
#define VU_ACCESS_WO	     2u
#define VU_IOTLB_MISS	     1u
#define VU_IOTLB_UPDATE	     2u
#define VU_IOTLB_INVALIDATE  3u
#define VU_IOTLB_ACCESS_FAIL 4u

/* GET_CONFIG and SET_CONFIG; size bytes follow. */
#define VU_CONFIG_MAX	    256u
#define VU_CONFIG_WRITABLE  0u
#define VU_CONFIG_MIGRATION 1u
struct vu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
};
static_assert(sizeof(struct vu_config) == 12, "config space");
#endif
