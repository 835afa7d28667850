/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_SESSION_CLIENT_H
#define VTFS_SESSION_CLIENT_H
/*
 * The client object behind <virtiofs/client.h>.
 *
 * Theory of operation
 *
 * Locks, in this order:
 *  tlock	the transport: set-up calls hold it while they wait for the
 *peer, whoever polls only tries it.
 *  lock	the queues that nobody took, and the threads that wait on them.
 *  hi.lock	the hiprio queue and parked forgets.
 * A taken queue has none.
 *
 * state says what may be done. A peer that is lost is noticed by whoever talks
 * to the transport, who stores LOST and wakes every queue's owner; each owner
 * then ends its own requests. Shared memory of a lost session is kept until
 * start or free, for owners may still be looking at it.
 */
#include <pthread.h>
#include <stdbool.h>

#include <virtiofs/client.h>

#include "base/evfd.h"
#include "base/log.h"
#include "fuse/forgets.h"
#include "mem/pool.h"
#include "session/cliq.h"
#include "transport/transport.h"

#define VTFS_CLIENT_QUEUES_MAX 256u
#define VTFS_CLIENT_QUEUE_MIN  4u /* header, data, reply header, room */

enum vtfs_client_state {
	VTFS_CLIENT_NEW, /* never started */
	VTFS_CLIENT_STARTING,
	VTFS_CLIENT_RUNNING,
	VTFS_CLIENT_LOST, /* start again */
};

/* One thread in client_call; on its stack. */
struct vtfs_waiter {
	struct vtfs_waiter *next, *prev;
	pthread_cond_t cond;
	struct virtiofs_cliq *q;    /* with slot */
	struct vtfs_cslot *slot;    /* NULL: waits for one, or done */
	struct virtiofs_cliq *want; /* no other will do; NULL: any */
	uint64_t user_data;
	uint64_t nodeid;
	bool is_lock; /* SETLKW: held back, and others pass it */
	bool intr;    /* interrupted before its slot was filled */
	bool done;
	int32_t error;
	uint32_t len;
};

/* A slot of the hiprio queue. */
struct vtfs_hislot {
	uint32_t next;
	uint16_t queue; /* INTERRUPT's target */
	uint16_t tries;
	uint32_t slot;
	uint64_t target; /* unique; 0: FORGET */
};

struct vtfs_hiprio {
	pthread_mutex_t lock;
	struct vtfs_vq *vq;
	unsigned char *area;
	uint64_t area_peer;
	struct vtfs_hislot *slots;
	uint32_t num;
	uint32_t free; /* list head */
	uint32_t posted;
	struct vtfs_forgets parked;
	uint32_t pending;      /* any, atomic: something waits for room */
	uint32_t intr_waiting; /* slots whose intr is set and not sent */
	uint32_t intr_posted;  /* INTERRUPTs with the device */
	bool no_interrupt;     /* the server said ENOSYS */
	int dead;
	uint64_t seq;
	struct virtiofs_queue_stats stats; /* read by any */
	int kick_fd, call_fd;
	struct vtfs_line line;
};

/* A queue's own reset; see cliq_reset.c. */
enum vtfs_reset_step {
	VTFS_RESET_SETTLE, /* no other op may be under way */
	VTFS_RESET_STOP,
	VTFS_RESET_STOPPED, /* its owner's turn */
	VTFS_RESET_START,
	VTFS_RESET_STARTED, /* its owner's turn */
};

struct vtfs_reset {
	struct virtiofs_cliq *q; /* NULL: none is under way */
	enum vtfs_reset_step step;
	uint64_t deadline;
};

/*
 * The notification queue. lock is taken with no other lock held but tlock, or
 * by trylock; whoever has it calls the program. All buffers are with the device
 * but the one that is being looked at. While lock is free, the ring is armed or
 * fd tells.
 */
struct vtfs_cnotes {
	pthread_mutex_t lock;
	uint32_t on;	/* any, atomic: negotiated, the queue is there */
	uint32_t size;	/* of a buffer, as the device wants it */
	uint32_t cnt;	/* buffers */
	uint32_t again; /* any, atomic: somebody found lock taken */
	bool waits;	/* lock: token and len were got, not looked at */
	bool elsewhere; /* another thread's: not by dispatch and call */
	bool logged;
	uint16_t token;
	uint32_t len;
	int dead;
	struct vtfs_vq *vq;
	unsigned char *area;
	uint64_t area_peer;
	unsigned char *arg;		   /* VTFS_NOTIFY_ARG_MAX bytes */
	struct virtiofs_queue_stats stats; /* lock; read by any */
	int kick_fd, call_fd;
	int ep_fd; /* where call_fd and the line's ear are watched */
	struct vtfs_line line;
};

struct virtiofs_client {
	struct virtiofs_transport *t;
	struct vtfs_cli_sink sink;
	struct virtiofs_client_opts opts; /* completed; no tag */
	struct vtfs_log log;
	uint32_t state; /* any, atomic */
	int lost_error;
	uint32_t config_changed; /* atomic */
	unsigned step;		 /* of start */
	unsigned substep;	 /* queue or region of that step */
	uint64_t start_deadline;
	bool connected; /* the transport has a peer */
	uint8_t status; /* last written */
	unsigned char config[VTFS_CONFIG_MAX];
	bool status_asked;	 /* get_status is under way */
	struct vtfs_reset reset; /* tlock */
	uint64_t offered, features;
	char opt_tag[VIRTIOFS_TAG_MAX + 4];
	char tag[VIRTIOFS_TAG_MAX + 4];
	uint32_t device_queues;
	unsigned queue_cnt;		/* request queues in use */
	uint32_t ring_num;		/* descriptors of each ring */
	struct vtfs_queue_setup *setup; /* by place, see below */
	struct vtfs_cslot *init_slot;	/* our INIT, until it is answered */
	struct virtiofs_cliq *queues;	/* opts.num_request_queues of them */
	struct vtfs_hiprio hi;
	struct vtfs_cnotes notes;
	struct vtfs_share share;
	bool shared; /* the device has it, by this connection */
	struct vtfs_regs regs;
	struct fuse_init_in init_in;
	struct fuse_init_out init_out;
	struct vtfs_init init;
	uint32_t init_done; /* any, atomic */
	uint32_t uid, gid, pid;
	int ep_fd, wake_fd;
	pthread_mutex_t tlock;
	pthread_mutex_t lock;
	struct vtfs_waiter *poller;  /* lock: who has the role, or NULL */
	struct vtfs_waiter *waiters; /* lock */
};

/*
 * Rings by place: hiprio, request queues by their numbers, then the
 * notification queue. Virtqueue numbers are others where that is negotiated:
 * it is 1, request queues begin at 2 (virtio 1.4, 5.11.2).
 */
static inline unsigned vtfs_client_places(const struct virtiofs_client *c)
{
	return c->queue_cnt + 1 +
	       (c->features & VIRTIOFS_F_NOTIFICATION ? 1 : 0);
}

static inline unsigned vtfs_client_vq(const struct virtiofs_client *c,
				      unsigned place)
{
	if (!place || !(c->features & VIRTIOFS_F_NOTIFICATION))
		return place;
	return place > c->queue_cnt ? 1 : place + 1;
}

static inline bool vtfs_client_running(const struct virtiofs_client *c)
{
	return __atomic_load_n(&c->state, __ATOMIC_ACQUIRE) ==
	       VTFS_CLIENT_RUNNING;
}

/* client_wait.c */
#define VTFS_WAIT_TRANSPORT 0u
#define VTFS_WAIT_WAKE	    1u
#define VTFS_WAIT_NOTES	    2u /* calls of the notification queue */
#define VTFS_WAIT_CALL	    3u /* and the queue's index */
int vtfs_fd_watch(int ep, int fd, uint32_t events, uint32_t tag);
void vtfs_fd_forget(int ep, int fd);
int vtfs_ms_left(uint64_t deadline); /* -1: for ever */
/* The peer is gone: state, and every owner is woken. */
void vtfs_client_lost(struct virtiofs_client *c, int error);
/* The same, and the transport has to connect again. With tlock held. */
void vtfs_client_hung_up(struct virtiofs_client *c, int error);
/* Look at the transport, without waiting. */
void vtfs_client_look(struct virtiofs_client *c);
/* With lock held: collect from all queues that nobody took. */
unsigned vtfs_client_drain(struct virtiofs_client *c);
/* With c->lock: what epoll told of queues that nobody took, and of hiprio. cnt
 * may be negative. */
void vtfs_client_count_calls(struct virtiofs_client *c,
			     const struct epoll_event *ev, int cnt);
int vtfs_client_arm(struct virtiofs_client *c);

/* With tlock held: did the device ask for a reset? -EAGAIN: it is asked. */
int vtfs_client_check_status(struct virtiofs_client *c);
/* With tlock held: no other op is under way when this returns. */
void vtfs_client_settle(struct virtiofs_client *c);

/* client_call.c, with lock held: slots that are free to those who wait. */
void vtfs_client_give_slots(struct virtiofs_client *c);
/* client_call.c: callers that have no request yet and this user_data end. */
unsigned vtfs_client_interrupt_waiters(struct virtiofs_client *c,
				       uint64_t user_data);

/* client_pick.c; with lock held */
/* The queue that w may get a slot of, or NULL: wait for one. -EBUSY: all are
 * taken. */
int vtfs_client_pick(struct virtiofs_client *c, struct vtfs_waiter *w,
		     struct virtiofs_cliq **ret);

/* cliq_reset.c; with tlock held */
/* The reset that is under way, if any, as far as the device answers. */
int vtfs_client_reset_go_on(struct virtiofs_client *c);

/* client_start.c */
/* Until the transport's op can go on. -ETIMEDOUT */
int vtfs_client_transport_wait(struct virtiofs_client *c, uint64_t deadline);
void vtfs_client_stop(struct virtiofs_client *c);
/* 1 s, or timeout_ms if that is less. */
uint64_t vtfs_client_stop_deadline(const struct virtiofs_client *c);
/* client_config.c: steps of start. -EAGAIN as the transport. */
int vtfs_client_read_config(struct virtiofs_client *c);
/* F_NOTIFICATION is not taken if its buffers can't be had. */
int vtfs_client_read_notify_size(struct virtiofs_client *c);
/* client_mem.c; with tlock held. -EAGAIN as the transport. */
/* A new connection: the peer has none of our memory. */
void vtfs_client_share_none(struct virtiofs_client *c);
/* After a reset: what the peer still has of it is taken back. */
int vtfs_client_unshare(struct virtiofs_client *c);
int vtfs_client_share(struct virtiofs_client *c);
int vtfs_client_share_regions(struct virtiofs_client *c);
/* Rings and slots in that memory. */
int vtfs_client_layout(struct virtiofs_client *c);
/* The same for one request queue. */
int vtfs_client_layout_queue(struct virtiofs_client *c, unsigned place);
/* The next queue of them to the device. */
int vtfs_client_start_queues(struct virtiofs_client *c);
/* The device runs one of them: its doorbell. The queue's owner. */
int vtfs_client_open_line(struct virtiofs_client *c, unsigned place);
/* client_init.c */
/* The library's own INIT: sent, then -EAGAIN until it is answered. */
int vtfs_client_init_send(struct virtiofs_client *c);
int vtfs_client_init_wait(struct virtiofs_client *c);
/* DESTROY, answered or not, until deadline. */
void vtfs_client_destroy(struct virtiofs_client *c, uint64_t deadline);
/* A request of that kind passes; its argument is shared memory. */
int vtfs_client_init_mask(struct virtiofs_client *c, const struct vtfs_cslot *s,
			  void *arg);
/* Its reply is in the caller's room. */
void vtfs_client_init_seen(struct virtiofs_client *c, struct vtfs_cslot *s);

/* client_hiprio.c */
int vtfs_hiprio_init(struct virtiofs_client *c);
void vtfs_hiprio_fini(struct virtiofs_client *c);
int vtfs_hiprio_open(struct virtiofs_client *c, const struct vtfs_vq_conf *conf,
		     unsigned char *area, uint64_t area_peer);
/* Nothing is sent any more; what was parked is moot. */
void vtfs_hiprio_fail(struct virtiofs_client *c, int error);
/* DRIVER_OK was written: it may be used. 0. */
int vtfs_hiprio_begin(struct virtiofs_client *c);
void vtfs_hiprio_close(struct virtiofs_client *c, int error);
/* Collect and send what waits; never blocks. */
void vtfs_hiprio_try(struct virtiofs_client *c);
/* With hi.lock held: an INTERRUPT, by the number of queue and slot; -ENOSPC. */
int vtfs_hiprio_send_interrupt(struct virtiofs_client *c, uint16_t queue,
			       uint32_t slot, uint64_t unique, uint16_t tries);
/* With hi.lock held: collect, send what waits, tell the device. */
void vtfs_hiprio_run(struct virtiofs_client *c);
/* client_intr.c. For one that was posted when it had just been interrupted. */
void vtfs_hiprio_interrupt(struct virtiofs_client *c, struct virtiofs_cliq *q,
			   struct vtfs_cslot *s);
/* 1: more is there already. */
int vtfs_hiprio_arm(struct virtiofs_client *c);
/* As virtiofs_client_forget(), n of them at once, up to the first that can't be
 * taken; no count is 0. */
int vtfs_client_forgets(struct virtiofs_client *c,
			const struct fuse_forget_one *all, uint32_t n);
/* Nothing in flight, nothing parked. */
bool vtfs_hiprio_idle(struct virtiofs_client *c);
#define VTFS_HISLOT_BYTES 1024u

/* client_notify.c */
int vtfs_cnotes_init(struct virtiofs_client *c);
void vtfs_cnotes_fini(struct virtiofs_client *c);
/* Bytes that all buffers take, for the size that is set. */
size_t vtfs_cnotes_bytes(const struct virtiofs_client *c);
/* The ring, with all buffers in it; nothing is kicked. */
int vtfs_cnotes_open(struct virtiofs_client *c, const struct vtfs_vq_conf *conf,
		     unsigned char *area, uint64_t area_peer);
void vtfs_cnotes_close(struct virtiofs_client *c);
/* What tells of them is watched in another epoll instance. */
int vtfs_cnotes_move(struct virtiofs_client *c, int ep_fd);
/* The device may be told of the buffers: DRIVER_OK is set. A step of start. */
int vtfs_cnotes_kick(struct virtiofs_client *c);
/* INIT is about to be answered: what came until now was said to an earlier
 * session. */
void vtfs_cnotes_begin(struct virtiofs_client *c);
/* Is there one for the caller's thread to give to the program? */
bool vtfs_cnotes_any(struct virtiofs_client *c);
/* Give some to the program. True: perhaps there are more. */
bool vtfs_cnotes_deliver(struct virtiofs_client *c);
#endif
