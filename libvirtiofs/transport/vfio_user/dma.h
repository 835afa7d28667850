/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VFIO_USER_DMA_H
#define VTFS_VFIO_USER_DMA_H
/*
 * The client's memory by messages, where it gave no file descriptor.
 *
 * Theory of operation
 *
 * A queue whose ring lies in memory that can't be mapped is carried: the
 * session runs a ring of ours instead, in an arena, which is a region of its
 * table like any other; and we move chains between the two rings. Towards the
 * client there is a device half of vq/ on a copy of the client's ring, which
 * judges descriptors as everywhere; towards the session a driver half. So
 * neither rings nor session know of messages.
 *
 *	look	split: read the avail index; if it moved, the avail ring and the
 *		descriptors; packed: see dma_packed.c. Then take the chains. One
 *		look at a time, begun by a kick.
 *	take	pop a chain, read its indirect table, find room in the arena,
 *		read what is readable, post it. Reading goes on for many chains
 *		at once.
 *	give	the session used a chain: write what it wrote, then the used
 *		elements, then the index (packed: the flags of the first), then
 *		call. Each step waits for the replies to the one before: a
 *		client may work on several messages at once.
 *
 * A chain that names what can't be reached, or whose bytes don't come, is
 * posted with an address that is in no memory: it fails as any such chain does.
 * One whose bytes can't be written back is used with length 0. What goes wrong
 * with the ring itself breaks the queue.
 *
 * Bounds: the arena, the addresses that are kept, and the messages without a
 * reply, with their bytes; whoever finds nothing left waits. No command of the
 * client's waits for a reply of his: he may be unable to send one before he is
 * answered (QEMU). So a reset of the virtio device, or of a queue, reads as
 * under way until what was asked before is answered; a reset of the function is
 * answered at once.
 *
 * All of this runs in the transport's dispatch.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/evfd.h"
#include "transport/transport.h"
#include "transport/virtio_pci/function.h"
#include "vq/vq.h"
#include "wire/ring.h"
#include "wire/vfio_user.h"

#define VFU_DMA_WINDOW 32u     /* messages without a reply; a power of two */
#define VFU_DMA_BUDGET 131072u /* bytes of those */
#define VFU_DMA_CHUNK  65536u  /* bytes of one */
#define VFU_DMA_PAGE   4096u   /* the arena is given out by these */
#define VFU_DMA_PAGES  8192u   /* 32 MiB */
#define VFU_DMA_RANGES 32768u  /* addresses that are kept, of all chains */
#define VFU_DMA_PARTS  1024u   /* addresses of one chain */
#define VFU_DMA_MAX    (16u << 20) /* bytes of one chain */
/* Where the session sees the arena. */
#define VFU_DMA_ARENA 0xffffff0000000000ULL

struct vfu_device;

/* ---- messages: dma_msg.c ---- */

/* Bytes between memory of ours, in one piece, and the client's. */
struct vfu_job {
	const struct vtfs_range *ranges; /* the client's, of len at least */
	unsigned char *base;
	uint64_t len;
	uint16_t command; /* VFU_DMA_READ or VFU_DMA_WRITE */
	void (*done)(struct vfu_job *job, int r);
	/* dma_msg.c's */
	struct vfu_job *next; /* to be sent */
	bool queued;
	unsigned range; /* sent up to here: the range, bytes of it, of all */
	uint32_t off;
	uint64_t sent;
	uint64_t good;	/* bytes before the first that failed */
	unsigned waits; /* messages without a reply */
	int error;
};

struct vfu_sent {
	bool busy;
	uint64_t seq; /* its low bits are the message's id, and its place */
	struct vfu_job *job; /* NULL: nobody is interested any more */
	uint16_t command;
	uint64_t addr;
	uint64_t at; /* in the job */
	uint32_t len;
};

/* ---- pieces of something: dma_mem.c ---- */

struct vfu_pieces {
	uint8_t *used;
	unsigned cnt, hint;
};
/* The first of n in a row; negative: there are none. */
int vtfs_vfu_pieces_take(struct vfu_pieces *p, unsigned n);
void vtfs_vfu_pieces_give(struct vfu_pieces *p, unsigned at, unsigned n);

/* ---- queues ---- */

struct vfu_ring;

struct vfu_chain {
	struct vfu_job job;
	struct vfu_ring *ring;
	struct vfu_chain *next; /* in the list of free ones, or to be posted */
	struct vtfs_range *ranges;
	unsigned range_cnt, readable_cnt;
	unsigned page, page_cnt; /* of the arena */
	unsigned char *mem;
	uint32_t readable, writable;	     /* bytes that can be reached */
	uint32_t readable_off, writable_off; /* in mem */
	uint32_t used;			     /* bytes that the session wrote */
	uint16_t id, ring_cnt;
	int fault;
};

enum vfu_look {
	VFU_LOOK_REST, /* until a kick */
	VFU_LOOK_INDEX,
	VFU_LOOK_BODY,
	VFU_LOOK_TAKE,
	VFU_LOOK_EVENT,
};

/* A job of a ring's own, on one range. */
struct vfu_ring_job {
	struct vfu_job job;
	struct vtfs_range range;
	struct vfu_ring *ring;
};

struct vfu_ring {
	struct vfu_device *d;
	unsigned vq;
	uint32_t num, flags;
	uint64_t desc_at, driver_at, device_at; /* the client's */
	unsigned char *copy;
	unsigned char *desc, *driver, *device; /* in copy */
	struct vtfs_vq *dev, *drv;
	unsigned page, page_cnt; /* of drv, in the arena */
	unsigned held;		 /* pages of chains */
	int client_kick;	 /* a duplicate */
	int kick, call;		 /* the session's, our own */
	struct vtfs_bell bell;
	bool kicked;
	bool quiet; /* broken, or about to end: nothing is sent any more */
	bool stopping, stopped; /* the session is asked, has answered */
	uint64_t over;		/* messages before this one are waited for */
	enum vfu_look look;
	unsigned body;	  /* parts of it that are missing */
	uint16_t peek[2]; /* avail flags and index */
	uint16_t told;	  /* the avail_event that the client has */
	struct vfu_ring_job index, body_desc, body_avail, event;
	struct vfu_chain *chains, *free;
	struct vfu_chain *making; /* its memory is not there yet */
	bool reads_table;
	struct vtfs_range table; /* of the job */
	uint64_t table_addr;
	uint32_t table_len;
	struct vtfs_range scratch[VFU_DMA_PARTS]; /* of making */
	struct vfu_chain *ready, **ready_end;
	struct vfu_ring_job elements, last;
	bool giving; /* one of the two is under way */
	/* Used index, or place with its wrap: the client has that, and gets
	 * this one next. */
	uint16_t given, given_to;
	uint16_t last_le; /* what makes it visible */
	/* Packed: slots as they were read, and flags of the first time. */
	struct vtfs_wire_packed_desc *window;
	uint16_t *seen;
	uint32_t window_len; /* less what was taken of it since */
	struct vtfs_range window_ranges[2];
	bool cut;	   /* its last chain goes on where it ends */
	uint32_t in_hand;  /* slots popped that the client has not back */
	uint16_t *entries; /* by id: slots of a chain in hand */
	unsigned char *tails;
	struct vtfs_range *tail_ranges;
};

struct vfu_dma {
	/* Between the function and the session: dma_sink.c */
	struct vtfs_dev_sink sink;
	uint64_t features; /* as accepted */
	int ep;		   /* kicks and calls; -1: not made yet */
	bool reset_owed;   /* to the function */
	uint64_t reset_over;
	struct vfu_ring *rings[VTFS_PCIFN_QUEUES];
	/* The arena */
	int arena_fd; /* -1: none yet */
	struct vtfs_region *arena;
	struct vtfs_table *nothing; /* a mapped table without a map */
	struct vfu_pieces pages, pieces;
	struct vtfs_range *ranges;
	bool freed; /* somebody may have waited for that */
	/* Messages */
	struct vfu_job *first, **last;
	struct vfu_sent sent[VFU_DMA_WINDOW];
	uint64_t seq;
	unsigned busy;
	uint32_t bytes;
};

void vtfs_vfu_dma_init(struct vfu_device *d);
void vtfs_vfu_dma_fini(struct vfu_device *d);

/* dma_msg.c */
void vtfs_vfu_job_submit(struct vfu_device *d, struct vfu_job *job);
/* done won't be called. What was sent is not taken back. */
void vtfs_vfu_job_drop(struct vfu_device *d, struct vfu_job *job);
/* Send what may be sent. */
void vtfs_vfu_dma_pump(struct vfu_device *d);
/* A reply is in rx. -EPROTO: it answers nothing. */
int vtfs_vfu_dma_reply(struct vfu_device *d);
/* Is everything answered that was sent before seq? */
bool vtfs_vfu_dma_over(const struct vfu_dma *dma, uint64_t seq);
void vtfs_vfu_dma_forget(struct vfu_dma *dma); /* the connection is gone */
/* How many of len bytes at addr the client lets us access so. */
uint64_t vtfs_vfu_dma_allowed(const struct vfu_device *d, uint64_t addr,
			      uint64_t len, uint16_t command);

/* dma_mem.c */
int vtfs_vfu_arena_make(struct vfu_device *d);
void vtfs_vfu_arena_drop(struct vfu_device *d);
void vtfs_vfu_arena_desc(const struct vfu_device *d,
			 struct vtfs_region_desc *ret);
static inline unsigned vtfs_vfu_page_cnt(uint64_t len)
{
	return (unsigned)((len + VFU_DMA_PAGE - 1) / VFU_DMA_PAGE);
}

/* dma_ring.c: setup becomes what the session is to run. */
int vtfs_vfu_ring_new(struct vfu_ring **ret, struct vfu_device *d,
		      struct vtfs_queue_setup *setup);
void vtfs_vfu_ring_free(struct vfu_ring *ring);
/* The session runs it. */
void vtfs_vfu_ring_begin(struct vfu_ring *ring);
void vtfs_vfu_ring_kicked(struct vfu_ring *ring);
void vtfs_vfu_ring_called(struct vfu_ring *ring);
/* Go on with what may have waited for memory. */
void vtfs_vfu_ring_go(struct vfu_ring *ring);
/* Nothing of it is sent, or done, any more. */
void vtfs_vfu_ring_quiet(struct vfu_ring *ring);
void vtfs_vfu_ring_break(struct vfu_ring *ring, const char *why);
/* A chain was pushed: tell the client. */
void vtfs_vfu_ring_give(struct vfu_ring *ring);
/* For its two layouts: a job on range of j; what each begins with when it is
 * done: the ring, or NULL if it is broken now. */
void vtfs_vfu_ring_transfer(struct vfu_ring *ring, struct vfu_ring_job *j,
			    uint16_t command,
			    void (*done)(struct vfu_job *, int));
struct vfu_ring *vtfs_vfu_ring_came(struct vfu_job *job, int r);
/* Nothing is there to be taken; or look on, when these bytes of the device area
 * are written; or the client has what was to be given. */
void vtfs_vfu_ring_rest(struct vfu_ring *ring);
void vtfs_vfu_ring_write_event(struct vfu_ring *ring, uint32_t off,
			       uint32_t len);
void vtfs_vfu_ring_given(struct vfu_ring *ring);

/* dma_split.c, dma_packed.c */
int vtfs_vfu_split_init(struct vfu_ring *ring,
			const struct vtfs_queue_setup *s);
void vtfs_vfu_split_look(struct vfu_ring *ring);
void vtfs_vfu_split_arm(struct vfu_ring *ring);
void vtfs_vfu_split_give(struct vfu_ring *ring);
int vtfs_vfu_packed_init(struct vfu_ring *ring);
void vtfs_vfu_packed_fini(struct vfu_ring *ring);
void vtfs_vfu_packed_look(struct vfu_ring *ring);
void vtfs_vfu_packed_took(struct vfu_ring *ring, const struct vtfs_chain *c);
void vtfs_vfu_packed_taken(struct vfu_ring *ring); /* all that was seen */
void vtfs_vfu_packed_give(struct vfu_ring *ring);

/* dma_chain.c */
/* Pop one and begin. 1; 0 none, or it waits; the ring may be quiet then. */
int vtfs_vfu_chain_take(struct vfu_ring *ring);
/* Post what is ready. */
void vtfs_vfu_chain_post(struct vfu_ring *ring);
void vtfs_vfu_chain_used(struct vfu_chain *c, uint32_t len);
/* What it has of the arena. */
void vtfs_vfu_chain_forget(struct vfu_chain *c);

/* dma_sink.c */
void vtfs_vfu_dma_attach(struct vfu_device *d);
void vtfs_vfu_dma_dispatch(struct vfu_device *d);
/* Whatever can be done and sent now. */
void vtfs_vfu_dma_go(struct vfu_device *d);
/* After replies were heard: what waited for them. */
void vtfs_vfu_dma_settle(struct vfu_device *d);
/* The session answered; true: the function is told later. */
bool vtfs_vfu_dma_queue_stopped(struct vfu_device *d, unsigned vq);
void vtfs_vfu_dma_reset_done(struct vfu_device *d);
void vtfs_vfu_dma_broken(struct vfu_device *d, unsigned vq);
void vtfs_vfu_dma_lost(struct vfu_device *d);
/* Nobody holds anything of the last client any more. */
void vtfs_vfu_dma_clear(struct vfu_device *d);
#endif
