/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_SESSION_CLIQ_H
#define VTFS_SESSION_CLIQ_H
/*
 * One request queue of a client, and its slots.
 *
 * Theory of operation
 *
 * A queue has as many slots as its ring has descriptors, and those of the
 * backlog; slot number is the ring's token. A slot's way:
 *
 *	FREE -> STAGED (get_op) -> WAITING (submit) -> POSTED -> DONE -> FREE
 *
 * WAITING slots stand in order in one list, and SETLKW beyond their bound in
 * another; every entry posts what fits. A request whose time is up while it is
 * POSTED is EXPIRED as well: that is told once (the slot stands in the done
 * list, but is not DONE), and the slot stays with the device until it answers.
 *
 * Each slot has VTFS_SLOT_BYTES of shared memory: header, arguments and small
 * data, then reply header and small room. What is larger and not registered is
 * copied through one run of bounce pages. All that is known of a request is
 * in the private struct; shared memory is read once, at its reply.
 *
 * Everything belongs to the owner: the thread that took the queue, or who
 * holds the client's lock. Fields marked "any" are read by
 * virtiofs_client_interrupt() in any thread: live is stored last and cleared
 * first, and a unique never comes again. Whether a request is POSTED or
 * interrupted before that is one compare-and-swap of live: either the device
 * hears of both, or of neither.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include <virtiofs/client.h>

#include "base/stats.h"
#include "fuse/reply.h"
#include "mem/pool.h"
#include "session/client_line.h"
#include "vq/vq.h"

#define VTFS_SLOT_IN	    0u /* header, arguments, small data */
#define VTFS_SLOT_IN_LEN    (40u + VIRTIOFS_OP_ARG_MAX)
#define VTFS_SLOT_OUT	    640u /* reply header, small room */
#define VTFS_SLOT_ROOM	    304u
#define VTFS_SLOT_BYTES	    960u
#define VTFS_SLOT_PARTS	    4u /* parts without an allocation */
#define VTFS_SLOT_PARTS_MAX 1024u
#define VTFS_NO_SLOT	    UINT32_MAX
/* What ops had at first, and no less. */
#define VTFS_OP_SIZE_MIN offsetof(struct virtiofs_op, notify_unique)
#define VTFS_NO_PEER	 UINT64_MAX

/* One of the caller's buffers. */
struct vtfs_part {
	unsigned char *base;
	uint32_t len;
	uint64_t peer; /* VTFS_NO_PEER: not registered, bounced */
};

enum vtfs_slot_state {
	VTFS_SLOT_FREE,
	VTFS_SLOT_STAGED,
	VTFS_SLOT_WAITING,
	VTFS_SLOT_POSTED,
	VTFS_SLOT_DONE,
};

/* struct vtfs_cslot.flags */
#define VTFS_SLOT_EXPIRED     (1u << 0) /* told, or about to be */
#define VTFS_SLOT_LISTED      (1u << 1) /* in the done list */
#define VTFS_SLOT_INLINE_DATA (1u << 2) /* data follows arg */
#define VTFS_SLOT_INLINE_ROOM (1u << 3)
#define VTFS_SLOT_NOBODY      (1u << 4) /* nobody waits for it */
#define VTFS_SLOT_OURS	      (1u << 6) /* INIT, DESTROY, an undo */
#define VTFS_SLOT_LOCK	      (1u << 5) /* counted in q->locks */
#define VTFS_SLOT_PARKED      (1u << 7) /* found the ring full once */

/* struct vtfs_cslot.live; a unique has neither bit. */
#define VTFS_LIVE_POSTED (1ULL << 63) /* its INTERRUPT goes to the device */
#define VTFS_LIVE_INTR	 (1ULL << 62) /* never to be posted */

struct vtfs_cslot {
	struct virtiofs_op op;
	uint64_t live;	    /* any, atomic: unique and VTFS_LIVE_ flags, or 0 */
	uint64_t user_data; /* any, atomic */
	uint64_t intr_waits; /* hi.lock: its INTERRUPT found no room; or 0 */
	uint32_t next;	     /* in one of the lists */
	uint8_t state;
	uint8_t flags;
	const struct vtfs_fuse_op *kind; /* NULL: not in the table */
	struct vtfs_expect want;
	uint64_t deadline;	 /* ns, monotonic; 0: none */
	uint64_t posted_at;	 /* where latencies are measured */
	struct vtfs_part *parts; /* data, then room */
	struct vtfs_part parts_small[VTFS_SLOT_PARTS];
	uint32_t parts_max;
	uint32_t data_cnt, room_cnt;
	uint64_t data_len, room_len;
	uint64_t data_copy, room_copy; /* bytes of them that are bounced */
	struct vtfs_run run;	       /* bounce pages: data, then room */
	uint64_t regs;		       /* pinned regions, a bit each */
	void *waiter;		       /* client_call's, or NULL */
	int32_t error;		       /* DONE */
	uint32_t len;
	struct fuse_lk_in lock; /* SETLK, SETLKW: what was asked for */
	uint32_t undo; /* opcode that gives back a handle or lock, or 0 */
	uint64_t undo_fh;
	uint64_t undo_node;
	uint64_t undo_forget; /* node to forget after that, or 0 */
};

struct vtfs_slots { /* list of slots, by number */
	uint32_t head, tail, cnt;
};

struct virtiofs_cliq {
	struct virtiofs_client *c;
	unsigned index;	     /* its number, and its place */
	uint32_t num;	     /* descriptors of its ring, at most */
	uint32_t slot_cnt;   /* num and the backlog */
	struct vtfs_vq *vq;  /* NULL until it runs */
	unsigned char *area; /* slots' shared memory, NULL with vq */
	uint64_t area_peer;
	struct vtfs_bounce bounce;
	struct vtfs_pins pins;
	struct vtfs_cslot *slots;
	struct vtfs_vq_buf *bufs; /* scratch of one chain, num entries */
	struct vtfs_slots free, staged, waiting, locks_waiting, done;
	uint64_t seq;
	uint32_t intr_asked; /* any, atomic: some slot has VTFS_LIVE_INTR */
	uint32_t posted;
	uint32_t locks;		/* SETLKW posted */
	uint32_t late;		/* EXPIRED and posted */
	uint64_t next_deadline; /* 0: no slot has one */
	uint64_t timer_at;	/* what timer_fd is set to */
	uint32_t fresh;		/* staged since the last push */
	/* owner, read by any; latency is NULL unless asked for */
	struct virtiofs_queue_stats stats;
	struct virtiofs_hist *latency; /* by opcode */
	int dead;		       /* 0, or what every op gets */
	int kick_fd, call_fd;	       /* the peer shares these: never read */
	struct vtfs_line line;
	int ep_fd, wake_fd, timer_fd;
	bool armed;
	bool taken; /* client's lock */
};

/* Slots, fds; no shared memory yet. */
int vtfs_cliq_init(struct virtiofs_cliq *q, struct virtiofs_client *c,
		   unsigned index);
void vtfs_cliq_fini(struct virtiofs_cliq *q);
/* A ring in fresh memory; slots that wait to be reaped are kept. */
int vtfs_cliq_open(struct virtiofs_cliq *q, const struct vtfs_vq_conf *conf,
		   unsigned char *area, uint64_t area_peer);
/* Every request ends with error, and all later ones. */
void vtfs_cliq_fail(struct virtiofs_cliq *q, int error);
/* The same, and the ring goes. */
void vtfs_cliq_close(struct virtiofs_cliq *q, int error);

/* How many SETLKW may be with the device at once: the request that unlocks
 * must find room. */
static inline uint32_t vtfs_cliq_lock_bound(const struct virtiofs_cliq *q)
{
	return q->num / 8 ? q->num / 8 : 1;
}

struct vtfs_cslot *vtfs_cliq_get(struct virtiofs_cliq *q);
/* A staged slot whose op is filled: it waits from now on, or is done. */
void vtfs_cliq_stage(struct virtiofs_cliq *q, struct vtfs_cslot *s);
/* Post what fits, tell the device. */
void vtfs_cliq_push(struct virtiofs_cliq *q);
/* A slot that ended, or expired; NULL: none now. To be given back. */
struct vtfs_cslot *vtfs_cliq_next(struct virtiofs_cliq *q);
/* One that the device gave back, into the list that next begins with. */
bool vtfs_cliq_collect(struct virtiofs_cliq *q);
/* After next: the slot is free, or goes on if it only expired. */
void vtfs_cliq_give(struct virtiofs_cliq *q, struct vtfs_cslot *s);
/* client_call's thread leaves: what comes is dropped. */
void vtfs_cliq_abandon(struct virtiofs_cliq *q, struct vtfs_cslot *s);
/* Requests whose time is up. */
void vtfs_cliq_expire(struct virtiofs_cliq *q);
/* 0: sleep; 1: next has something. */
int vtfs_cliq_wait(struct virtiofs_cliq *q);

/* client_stats.c */
int vtfs_cliq_init_latency(struct virtiofs_cliq *q);
void vtfs_cliq_count_post(struct virtiofs_cliq *q, struct vtfs_cslot *s);
/* The device used len bytes of it, and it was judged. */
void vtfs_cliq_count_reply(struct virtiofs_cliq *q, const struct vtfs_cslot *s,
			   uint32_t len);
/* After a push: what was staged since the last one and found no room. */
void vtfs_cliq_count_parked(struct virtiofs_cliq *q);
/* Of what epoll told the queue's owner; cnt may be negative. */
void vtfs_cliq_count_calls(struct virtiofs_cliq *q,
			   const struct epoll_event *ev, int cnt);

/* Lists. */
void vtfs_slots_init(struct vtfs_slots *l);
void vtfs_slots_push(struct virtiofs_cliq *q, struct vtfs_slots *l,
		     struct vtfs_cslot *s);
struct vtfs_cslot *vtfs_slots_pop(struct virtiofs_cliq *q,
				  struct vtfs_slots *l);
void vtfs_slots_remove(struct virtiofs_cliq *q, struct vtfs_slots *l,
		       struct vtfs_cslot *s);

/* cliq_op.c: judge the op and copy what the caller may reuse. 0, or the op's
 * fault. */
int vtfs_slot_prepare(struct virtiofs_cliq *q, struct vtfs_cslot *s);
/* cliq_data.c: a request's bytes. */
/* Pin what is registered; small bytes ride beside the headers. -EFAULT: they
 * would be copied, and the caller said no. */
int vtfs_slot_place(struct virtiofs_cliq *q, struct vtfs_cslot *s);
/* Into the ring. 0; -ENOSPC for now; or the op's fault. */
int vtfs_slot_add(struct virtiofs_cliq *q, struct vtfs_cslot *s);
/* The device used len bytes: judge them, hand them over. */
void vtfs_slot_finish(struct virtiofs_cliq *q, struct vtfs_cslot *s,
		      uint32_t len);
/* Let go of pages and regions. */
void vtfs_slot_drop(struct virtiofs_cliq *q, struct vtfs_cslot *s);
/* Bytes [off, off + len) of the reply, wherever they are. */
void vtfs_slot_peek(const struct virtiofs_cliq *q, const struct vtfs_cslot *s,
		    uint64_t off, void *buf, size_t len);
/* cliq_undo.c: what a reply of n bytes granted, and nobody will use. */
void vtfs_slot_note_grants(struct virtiofs_cliq *q, struct vtfs_cslot *s,
			   uint64_t n);
/* Is one on this node still with the device that timed out? */
bool vtfs_cliq_has_late(const struct virtiofs_cliq *q, uint64_t nodeid);
/* Free, or on its way again as the request that undoes. */
void vtfs_slot_end(struct virtiofs_cliq *q, struct vtfs_cslot *s);

static inline unsigned char *vtfs_slot_area(const struct virtiofs_cliq *q,
					    const struct vtfs_cslot *s)
{
	return q->area + (size_t)(s - q->slots) * VTFS_SLOT_BYTES;
}

/* Where its arguments begin. */
static inline unsigned char *vtfs_slot_arg(const struct virtiofs_cliq *q,
					   const struct vtfs_cslot *s)
{
	return vtfs_slot_area(q, s) + sizeof(struct fuse_in_header);
}
#endif
