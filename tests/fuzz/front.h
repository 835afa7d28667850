/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_FRONT_H
#define TESTS_FUZZ_FRONT_H
/*
 * A vhost-user front-end that says what its input says: messages right or wrong
 * (lies.c), requests on rings that it set up, answers on the device's channel.
 * The device runs after each, in the same thread.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include <virtiofs/device.h>

#include "sock.h"
#include "wire/vhost_user.h"

#define FRONT_RINGS    3u
#define FRONT_RING_NUM 8u
#define FRONT_RING_LEN 0x1000u
#define FRONT_AVAIL_AT 0x400u
#define FRONT_USED_AT  0x800u
#define FRONT_GUEST    UINT64_C(0x40000000)
#define FRONT_USER     UINT64_C(0x7f0000000000)

struct front {
	struct input *in;
	struct virtiofs_device *dev;
	int sock; /* -1: we hung up */
	bool listens;
	bool vfio_user; /* then this is the connection, and rings, only */
	bool over;	/* the device ended with its only connection */
	struct sockaddr_un addr;
	socklen_t addr_len;
	uint64_t features;
	unsigned frames;
	int next_fd; /* as front_begin found it */
	struct {
		uint16_t desc, avail;
		bool wrap;
	} ring[FRONT_RINGS];
};

struct program;

/* front_life.c. Its device, connected to; tag may be NULL. */
void front_begin(struct front *f, struct program *program, const char *tag,
		 bool listens);
/* Bytes of shared memory become others, or it becomes shorter. */
void front_poke(struct front *f, uint8_t how);
/* Whatever is in its way, the device sees that nobody is left. True: it
 * listens, and the next one is there. */
bool front_leave(struct front *f, struct program *program);
/* Nothing is left open. */
void front_end(struct front *f);

/* A device's transport, connected. One that listens serves the next one after
 * this one. */
struct virtiofs_transport *front_open(struct front *f, bool listens);
/* Connect once more; only where it listens. */
void front_again(struct front *f);
void front_hang_up(struct front *f);
/* Until the device has nothing to do. */
void front_run(struct front *f);
void front_send(struct front *f, const void *buf, size_t len, const int *fds,
		unsigned cnt);
/* Every answer is one: the device never says what it does not mean. */
void front_hear(struct front *f);

/* All that a front-end says before the first request, INIT too. */
#define FRONT_PACKED	(1u << 0)
#define FRONT_EVENT_IDX (1u << 1)
#define FRONT_IN_ORDER	(1u << 2) /* and INDIRECT_DESC */
#define FRONT_NO_STATUS (1u << 3)
#define FRONT_IOMMU	(1u << 5)
void front_say_all(struct front *f, uint8_t how);
/* A ring from its beginning. */
void front_clear_ring(struct front *f, unsigned i);
void front_init(struct front *f);
/* A request, in a place of its own. */
void front_request(struct front *f, unsigned ring);
/* On the device's channel. */
void front_answer(struct front *f);
bool front_has_iommu(const struct front *f);
/* An entry for what is missed, or a page of it taken back. */
void front_iotlb(struct front *f, uint8_t how);

/* A message with that number; lie: what is wrong with it (lies.c). */
void front_message(struct front *f, uint32_t request, uint8_t lie);
#endif
