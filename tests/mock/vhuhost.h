/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_VHUHOST_H
#define MOCK_VHUHOST_H
/*
 * A raw front-end of vhost-user with one ring and its frames, against a whole
 * device session: both in one thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <virtiofs/device.h>

#include "rawvhu.h"
#include "wire/ring.h"

#define HOST_GUEST   0x40000000ULL
#define HOST_USER    0x7f0000000000ULL
#define HOST_MEM     0x40000u
#define HOST_NUM     128u
#define HOST_VQ	     1u			     /* the first request queue */
#define HOST_CELL(i) (0x10000u + (i)*0x200u) /* one frame each */
#define HOST_ROOM    0x100u		     /* where a cell's reply begins */

struct host {
	int sock, mem_fd, kick, call;
	unsigned char *mem;
	struct vtfs_wire_desc *desc;
	struct vtfs_wire_avail *avail;
	struct vtfs_wire_used *used;
	struct virtiofs_device *dev;
	struct sockaddr_un sa;
	socklen_t sa_len;
	bool keep;
	struct virtiofs_req *kept[HOST_NUM];
	unsigned kept_cnt, heard, resets, interrupts;
};

/* For cmocka: a device that listens, and a connection to it. */
int host_set_up(void **state);
int host_tear_down(void **state);
/* A new connection; and all of its set-up: features, memory, the ring. */
void host_dial(struct host *h);
void host_connect(struct host *h);
void host_ring_up(struct host *h);
/* MEM bytes of fd, at bytes behind the first region's address. */
void host_share(struct host *h, uint64_t at, int fd);

/* Let the device do all that it can. */
void host_pump(struct host *h);
/* The u64 that answers the request. */
uint64_t host_status(struct host *h, uint32_t request);
/* A message that has to be acknowledged; fd: -1 for none. */
void host_tell(struct host *h, uint32_t request, const void *payload,
	       size_t len, int fd);
void host_ring_state(struct host *h, uint32_t request, uint32_t num);
/* GET_VRING_BASE; the answer may take its time. */
void host_ask_base(struct host *h);

/* INIT and its answer; a frame in cell i, or at any place of memory. */
void host_init(struct host *h);
void host_post(struct host *h, unsigned i, uint32_t opcode);
void host_post_at(struct host *h, unsigned i, uint64_t addr,
		  unsigned char *bytes, uint32_t opcode);
/* The error in the reply to cell i, which has to be there. */
int host_error(struct host *h, unsigned i);
/* What the program kept gets -EINTR. */
void host_answer_kept(struct host *h);

int host_eventfd(void);
void host_kick(struct host *h);
/* How often, since the last time. */
unsigned host_called(int fd);
/* Of all of the memory. */
uint64_t host_hash(const struct host *h);
#endif
