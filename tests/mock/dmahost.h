/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_DMAHOST_H
#define MOCK_DMAHOST_H
/*
 * A vfio-user client whose memory has no file descriptor, with a driver in it,
 * against a device with a whole session. The device's DMA_READ and DMA_WRITE
 * are answered from memory, right or as a hook says, or are kept unanswered.
 */
#include <virtiofs/device.h>

#include "vfuhost.h"
#include "vq/vq.h"

#define DH_GUEST  0x100000ULL
#define DH_MEM	  0x400000u
#define DH_RING	  0x10000u /* of each queue, at the beginning of memory */
#define DH_BUFS	  0x100000u
#define DH_QUEUES 2u

struct dh_io {
	struct vfu_header hdr;
	struct vfu_dma_io io;
	unsigned char data[65536];
	size_t len; /* of data */
	bool applied;
};

struct dh_answer {
	struct vfu_header hdr;
	unsigned char bytes[65536 + 64];
	size_t len;
};

struct dmahost {
	struct vfuhost h; /* first */
	struct virtiofs_device *dev;
	unsigned char *mem;
	uint64_t features;
	uint32_t num;
	struct vtfs_vq *drv[DH_QUEUES];
	int calls[DH_QUEUES + 1];
	/* Seen: 'r' and 'w' and what it was of: d descriptors, a avail, u used
	 * ring, i used index, e event index, b buffers. */
	char text[8192];
	unsigned reads, writes;
	size_t largest;
	unsigned outside; /* of what was mapped, never to be asked for */
	bool keep;	  /* answer later */
	struct dh_io *kept[64];
	unsigned kept_cnt;
	/* Change the answer; return false: there is none. */
	bool (*lie)(struct dmahost *d, const struct dh_io *in,
		    struct dh_answer *out);
	int lies; /* for lie() */
	/* The program: what came last; it keeps one if hold is set. */
	bool hold;
	struct virtiofs_req *held;
	unsigned requests, resets;
	unsigned char written[1 << 20];
	size_t written_len;
	uintptr_t data_at, room_at; /* what was lent to it, modulo a page */
};

/* For cmocka: a device and a connection, VERSION is over. */
int dh_set_up(void **state);
int dh_tear_down(void **state);
/* Let both sides do all they can. */
void dh_pump(struct dmahost *d);
/* A new connection with VERSION. */
void dh_dial(struct dmahost *d);
/* Memory without fd, features, queues to DRIVER_OK, MSI-X. */
void dh_up(struct dmahost *d, uint64_t features);
/* The same, and INIT. */
void dh_open(struct dmahost *d, uint64_t features);
/* Answer what was kept: the first cnt. */
void dh_answer(struct dmahost *d, unsigned cnt);
/* The one with that number, before all others. */
void dh_answer_one(struct dmahost *d, unsigned i);
/* Do what the i-th wants, and say nothing yet. */
void dh_apply(struct dmahost *d, unsigned i);

unsigned char *dh_at(struct dmahost *d, uint64_t addr);
/* Post a chain and kick. */
void dh_post(struct dmahost *d, unsigned vq, const struct vtfs_vq_buf *bufs,
	     unsigned readable, unsigned writable, uint16_t token);
void dh_kick(struct dmahost *d, unsigned vq);
/* The next used chain, or false. */
bool dh_used(struct dmahost *d, unsigned vq, uint16_t *token, uint32_t *len);
/* A frame at DH_GUEST + off: header and arguments; its length. */
uint32_t dh_frame(struct dmahost *d, uint32_t off, uint32_t opcode,
		  const void *args, uint32_t len, uint32_t data);
#endif
