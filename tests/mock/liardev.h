/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MOCK_LIARDEV_H
#define TESTS_MOCK_LIARDEV_H
/*
 * A device in the test's own thread, that a client reaches by a transport of
 * its own. Set-up is answered at once and written down; requests are taken and
 * answered by the test, with whatever it likes to say.
 */
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/fuse_kernel.h>

#include "transport/transport.h"
#include "vq/vq.h"

#define LIAR_QUEUES    9u
#define LIAR_PEER_ADDR 0x4200000000ULL

struct liar_queue {
	struct vtfs_vq *vq;	       /* NULL: stopped */
	struct vtfs_queue_setup setup; /* fds are duplicates */
};

struct liar_req;

struct liar {
	struct virtiofs_transport t;
	struct vtfs_cli_sink *sink;
	int fd; /* the transport's */
	/* What it says */
	uint64_t offered;
	uint64_t features;     /* what the driver took */
	bool refuses_features; /* FEATURES_OK reads back clear */
	uint8_t status;
	unsigned status_lag; /* reads of an old status after a reset */
	int queue_cnt_r;     /* what queue_cnt returns */
	unsigned queue_cnt;
	int config_r;
	unsigned char config[256];
	size_t config_len;
	size_t config_end;	 /* highest byte that was asked for */
	unsigned config_changes; /* reads after which it differs */
	int fail_op;		 /* this op fails with fail_r */
	int fail_r;
	bool gone;
	bool freed;
	/* What it heard: "connect;status 0;..." */
	char text[8192];
	struct virtiofs_region regions[32];
	unsigned region_cnt; /* ever */
	uint64_t region_at[32];
	bool region_live[32];
	bool same_addrs; /* it sees memory where the client does */
	uint64_t map_at; /* or where the next piece is; 0: anywhere */
	struct vtfs_table *table;
	struct liar_queue q[LIAR_QUEUES];
	uint64_t early_kicks;		 /* notifications before DRIVER_OK */
	uint16_t early_idx[LIAR_QUEUES]; /* split rings' avail index then */
	/* Written to whenever a queue stops and at a reset: the last moments
	 * at which a device may. */
	struct liar_req *held;
	unsigned touched;
};

enum { LIAR_NONE, LIAR_MAP, LIAR_START_QUEUE, LIAR_STOP_QUEUE, LIAR_FEATURES };

/* With VERSION_1, EVENT_IDX, INDIRECT, tag "liar" and one request queue. */
void liar_init(struct liar *l);
void liar_fini(struct liar *l);
void liar_clear(struct liar *l);

/* One request as it was found on the ring. */
struct liar_req {
	unsigned vq;
	struct fuse_in_header in;
	unsigned char data[65536]; /* what follows the header */
	size_t len;		   /* of data */
	uint16_t id, ring_cnt;
	struct iovec room[64]; /* writable parts, reply header too */
	unsigned room_cnt;
	size_t room_len;
};

/* 1 and the next request of queue vq, 0 none. */
int liar_pop(struct liar *l, unsigned vq, struct liar_req *req);
/* The same for what has no readable part: a notification's buffer. */
int liar_pop_buffer(struct liar *l, unsigned vq, struct liar_req *req);
/* Write n bytes at off of the room. */
void liar_write(struct liar_req *req, size_t off, const void *p, size_t n);
/* Give it back with that used length. */
void liar_used(struct liar *l, struct liar_req *req, uint32_t used);
/* A used element of a split ring, by hand: the ring's own half knows nothing of
 * it. */
void liar_raw_used(struct liar *l, unsigned vq, uint32_t id, uint32_t len);
/* The used index, as far as it went, plus that. */
void liar_raw_index(struct liar *l, unsigned vq, uint16_t add);
/* An honest answer. */
void liar_reply(struct liar *l, struct liar_req *req, int error, const void *p,
		size_t len);
/* Answer INIT: max_write 1 MiB, max_pages 256, flags as asked. */
void liar_init_reply(struct fuse_init_out *out, const struct liar_req *req);

/* Start c, which has CLIENT_NONBLOCK, over l. */
struct virtiofs_client;
int liar_start(struct liar *l, struct virtiofs_client *c);
#endif
