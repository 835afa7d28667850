/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_GUEST_H
#define TESTS_FUZZ_GUEST_H
/*
 * A driver's memory, written by a fuzzer, before a device session. Three
 * regions: main, one that follows it in the guest's addresses but not in ours
 * and comes and goes, and one at the top of the address space. They are cut out
 * of one piece each, so that the address sanitizer sees a byte beyond.
 */
#include <virtiofs/device.h>

#include "fuzz.h"
#include "mem/table.h"
#include "transport/transport.h"

#define GUEST_QUEUES 3u /* hiprio and requests; one more notifies */
#define GUEST_NUM    16u
#define GUEST_MAIN   0x100000u /* address of the main region */
#define GUEST_LEN    0x8000u
#define GUEST_MORE   (GUEST_MAIN + GUEST_LEN)
#define GUEST_HIGH   UINT64_C(0xffffffffffffe000)
#define GUEST_PAGE   0x1000u
/* Of all regions, in order. */
#define GUEST_PAGES (GUEST_LEN / GUEST_PAGE + 2)
/* Of the main region: a ring each, then buffers. */
#define GUEST_RING 0x800u
#define GUEST_BUFS 0x2000u

struct guest_queue {
	unsigned num;
	bool stopping;
	bool running;
	/* Where the driver stands, as long as it keeps the rules. */
	uint16_t desc, avail;
	bool wrap;
	int kick, call;
};

struct guest {
	struct virtiofs_transport base;
	struct vtfs_dev_sink *sink;
	struct virtiofs_device *dev;
	uint64_t features;
	int fd;
	unsigned queues; /* 3, or 4 with F_NOTIFICATION: then 1 is that one */
	struct guest_queue q[GUEST_QUEUES + 1];
	bool more;	/* is that region there? */
	bool more_left; /* or was, and may still be used */
	/* Behind an IOMMU: VTFS_MAP_ of each page, named as it would be without
	 * one; what the device missed last; is that mapped at once? */
	bool iommu, maps_missed;
	uint8_t access[GUEST_PAGES];
	struct vtfs_miss missed;
	uint64_t cookie, retired;
	bool resetting;
	bool lost;
	unsigned broken;
	uint8_t order; /* what to do in the next dispatch */
	uint8_t order_arg;
	bool freed;
	bool quiet; /* the device promised to leave the memory alone */
	/* Before reset_done, queue_stopped: did every request end? */
	void (*on_stopped)(struct guest *g, int vq);
	/* Before memory that is not there any more is ours again. */
	void (*on_retired)(struct guest *g);
	void *user;
};

enum guest_order {
	GUEST_NOTHING,
	GUEST_START_ALL, /* features, memory, all queues that don't run */
	GUEST_START,
	GUEST_STOP,
	GUEST_RESET,
	GUEST_LOST,
	GUEST_SWAP_MORE, /* that region comes, or goes */
	GUEST_DISABLE,
	GUEST_ENABLE,
	GUEST_NEW_CALL,
	GUEST_NEW_KICK,
	GUEST_NO_CALL,
	/* Behind an IOMMU */
	GUEST_MAP, /* arg % GUEST_PAGES, with access arg / 64 */
	GUEST_MAP_MISSED,
	GUEST_DENY, /* what was missed: there is nothing */
	GUEST_FLUSH,
	GUEST_ORDERS,
};

/* Memory cleared, nothing started. */
void guest_init(struct guest *g, uint64_t features, unsigned num);
/* After the device was freed: everything was given back. */
void guest_fini(struct guest *g);
/* In the next dispatch; ignored if the transport would have to wait. arg: a
 * virtqueue, if nothing else is said. */
void guest_order(struct guest *g, enum guest_order order, unsigned arg);
/* Dispatch until the device has nothing to do; it has to come to that. */
void guest_run(struct guest *g);

/* len bytes at addr that the device may reach, or NULL: not in one piece. */
unsigned char *guest_ptr(const struct guest *g, uint64_t addr, size_t len);
/* Are these such bytes? */
bool guest_owns(const struct guest *g, const void *p, size_t len);

/* Of them: does the IOMMU map all? */
bool guest_maps(const struct guest *g, const void *p, size_t len);

uint64_t guest_page_addr(unsigned page);

/* guest_mem.c, for guest.c: clear all; nobody holds any of it; does the region
 * come or go; what there is now. */
void guest_mem_init(void);
void guest_mem_fini(void);
void guest_mem_more(struct guest *g, bool more);
/* Of those that an IOMMU maps: is its memory in the table? */
bool guest_has_page(const struct guest *g, unsigned page);
struct vtfs_table *guest_mem_table(const struct guest *g);

struct guest_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
};
/* A chain at the driver's next place, available and kicked. id: packed only. */
void guest_post(struct guest *g, unsigned vq, const struct guest_desc *d,
		unsigned cnt, uint16_t id);
/* A table for INDIRECT at addr, linked in order; false: doesn't fit there. */
bool guest_table(struct guest *g, uint64_t addr, const struct guest_desc *d,
		 unsigned cnt);
void guest_kick(struct guest *g, unsigned vq);

/* From here on the device must not write; checked by guest_still(). */
void guest_watch(struct guest *g);
void guest_still(struct guest *g);
#endif
