/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_LIAR_H
#define TESTS_FUZZ_LIAR_H
/*
 * A device before a client, in the same thread: set-up is answered at once; of
 * rings and shared memory the fuzzer writes what it likes.
 */
#include <virtiofs/client.h>

#include "fuzz.h"
#include "transport/transport.h"
#include "vq/vq.h"

#define LIAR_QUEUES  3u /* hiprio and requests; one more notifies */
#define LIAR_REGIONS 8u
#define LIAR_PARTS   24u

struct liar_queue {
	struct vtfs_vq *vq; /* takes chains as it should; NULL: stopped */
	unsigned char *desc, *driver, *device;
	struct vtfs_vq_areas areas;
	uint32_t num;
	int call;
};

struct liar_region {
	unsigned char *addr; /* NULL: gone */
	size_t len;
};

struct liar {
	struct virtiofs_transport base;
	int fd;
	uint64_t offered, features;
	uint8_t status;
	unsigned queue_cnt;
	unsigned char config[VTFS_CONFIG_MAX];
	bool no_config;
	bool gone;
	bool freed;
	struct liar_region regions[LIAR_REGIONS];
	unsigned region_cnt;
	struct vtfs_table *table;
	struct liar_queue q[LIAR_QUEUES + 1];
};

void liar_init(struct liar *l, uint64_t offered);
/* After the client was freed. */
void liar_fini(struct liar *l);

/* A request on its way. */
struct liar_req {
	unsigned vq;
	uint16_t id, ring_cnt;
	struct fuse_in_header in;
	struct iovec room[LIAR_PARTS];
	unsigned room_cnt;
};
/* The next one of a queue, taken by the rules. False: none, or no ring that can
 * be read any more. */
bool liar_pop(struct liar *l, unsigned vq, struct liar_req *req);
/* Into its room, as far as that goes. */
void liar_write(const struct liar_req *req, const void *p, size_t len);
void liar_used(struct liar *l, const struct liar_req *req, uint32_t len);
void liar_call(struct liar *l, unsigned vq);
#endif
