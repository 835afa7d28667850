/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_RAWDEV_H
#define MOCK_RAWDEV_H
/*
 * A driver that is nothing but memory: the test writes descriptors and indices
 * of split rings byte by byte, and a device session reads them. The transport
 * between them carries what the test tells it to, from dispatch.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/device.h>

#include "mem/table.h"
#include "transport/transport.h"
#include "wire/ring.h"

#define RAW_ADDR       UINT64_C(0x100000000) /* of byte 0, for the device */
#define RAW_LEN	       (4u << 20)
#define RAW_RING       (64u << 10)  /* bytes per ring */
#define RAW_QUEUES     4u	    /* hiprio and three */
#define RAW_BUFS       (512u << 10) /* where buffers begin */
#define RAW_REGIONS    4u
#define RAW_REGION_LEN (64u << 10) /* of those added later */
#define RAW_PAGE       4096u
#define RAW_PAGES      (RAW_LEN / RAW_PAGE)
#define RAW_MISSES     512u

struct raw_queue {
	unsigned vq;
	unsigned num;
	struct vtfs_wire_desc *desc;
	struct vtfs_wire_avail *avail;
	struct vtfs_wire_used *used;
	uint16_t next_desc; /* where the next chain is written */
	uint16_t next_used;
	int kick, call;
};

struct raw {
	struct virtiofs_transport base; /* freed by the device */
	struct vtfs_dev_sink *sink;
	int fd;
	uint64_t features;
	unsigned char *mem; /* the driver's mapping */
	int memfd;
	bool one_view;
	struct vtfs_region *regions[RAW_REGIONS];
	unsigned region_cnt;
	struct raw_queue q[RAW_QUEUES];
	/* what to do in the next dispatch */
	pthread_mutex_t lock;
	void (*todo[64])(struct raw *raw, uint64_t arg);
	uint64_t todo_arg[64];
	unsigned todo_cnt;
	unsigned done; /* atomic: how many were */
	/* what the session answered */
	int start_r;	  /* of the last start */
	unsigned stopped; /* queue_stopped calls */
	unsigned stopped_vq;
	uint16_t avail_base, used_base;
	uint64_t retired; /* last cookie */
	unsigned retired_cnt;
	unsigned reset_done;
	uint32_t broken; /* bit per queue */
	uint64_t cookie; /* atomic: tables given, each to be answered */
	bool freed;
	/* With ACCESS_PLATFORM: the regions have other addresses, and pages of
	 * the memory are mapped at raw_addr() as these say. The rings are, to
	 * begin with. */
	bool iommu;
	uint8_t access[RAW_PAGES]; /* VTFS_MAP_ */
	bool lazy;		   /* misses are not answered at once */
	struct vtfs_miss misses[RAW_MISSES]; /* the last ones */
	unsigned miss_cnt;
};

/* Features to negotiate, 0: VERSION_1 and INDIRECT. */
void raw_init(struct raw *raw, uint64_t features);
/* The device reads and writes the driver's own mapping: TSan then sees what the
 * ring orders. Before the device is made. */
void raw_one_view(struct raw *raw);
/* After the device was freed. */
void raw_fini(struct raw *raw);

/* Things the transport hears; they reach the session in the next dispatch. */
void raw_do(struct raw *raw, void (*fn)(struct raw *, uint64_t), uint64_t arg);
void raw_setup(struct raw *raw, uint64_t num); /* accept, table, all queues */
void raw_start(struct raw *raw, uint64_t vq);  /* once more, as it was */
void raw_stop(struct raw *raw, uint64_t vq);
void raw_reset(struct raw *raw, uint64_t unused);
void raw_lost(struct raw *raw, uint64_t unused);
void raw_accept(struct raw *raw, uint64_t features);
/* One more region behind the first, or the last one away again. */
void raw_add_region(struct raw *raw, uint64_t unused);
void raw_drop_region(struct raw *raw, uint64_t unused);
/* No memory at all. */
void raw_drop_all(struct raw *raw, uint64_t unused);
void raw_disable(struct raw *raw, uint64_t vq);
void raw_enable(struct raw *raw, uint64_t vq);
void raw_new_call(struct raw *raw, uint64_t vq);
void raw_new_kick(struct raw *raw, uint64_t vq);

/* Map (not 0), or invalidate, pages [first, first + cnt) of the memory. */
#define RAW_RANGE(first, cnt, access)                                          \
	((uint64_t)(first) << 32 | (uint64_t)(cnt) << 8 | (access))
#define RAW_RW (VTFS_MAP_READ | VTFS_MAP_WRITE)
void raw_map(struct raw *raw, uint64_t range);
/* The whole IOMMU. */
void raw_flush(struct raw *raw, uint64_t unused);
/* There is nothing, says the IOMMU. */
void raw_deny(struct raw *raw, uint64_t range);
/* Map what was missed so far, the last first. */
void raw_map_missed(struct raw *raw, uint64_t unused);

/* Ring of num entries in raw memory, empty. */
void raw_queue_init(struct raw *raw, unsigned vq, unsigned num);

/* A descriptor as it will be read: byte off of the memory, or any address. */
struct raw_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags; /* VTFS_DESC_F_WRITE; NEXT is set between */
};
static inline uint64_t raw_addr(size_t off)
{
	return RAW_ADDR + off;
}
/* Write a chain; its head. Not available yet. */
uint16_t raw_chain(struct raw_queue *q, const struct raw_desc *d, unsigned cnt);
/* Make a head available, and kick. */
void raw_post(struct raw_queue *q, uint16_t head);
void raw_kick(struct raw_queue *q);
/* The next used element, if there is one. */
bool raw_used(struct raw_queue *q, uint32_t *ret_id, uint32_t *ret_len);
/* How often the bell rang since the last time. */
unsigned raw_calls(struct raw_queue *q);
#endif
