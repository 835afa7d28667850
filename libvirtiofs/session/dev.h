/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_SESSION_DEV_H
#define VTFS_SESSION_DEV_H
/*
 * The device session, for the files of session/ and their tests.
 *
 * Theory of operation
 *
 * Threads. One thread dispatches: it alone talks to the transport and runs
 * this state machine (dev_sink.c, dev_settle.c). A queue's owner, which is
 * that thread or the one that took the queue, pops and publishes (devq.c).
 * With SHARED_REPLY anybody pushes replies (req.c). Nobody waits for anybody
 * but for a few instructions.
 *
 * The gate. What a queue runs with is a conf: ring addresses, memory table,
 * the peer's bell. Whoever touches the ring is inside the queue's gate, a word
 * taken by compare-and-swap. Dispatch composes a new conf, stores it in want
 * and tries the gate. If it gets in, it adopts the conf for the queue; if not,
 * it leaves a mark, and whoever is inside adopts on the way out and wakes
 * dispatch. So a queue that sleeps holds up nothing, and none is waited for.
 * Gate held, no callback runs. Pushing by other threads happens under the
 * run's push lock instead; adopting takes that too.
 *
 * Runs. From start to the end of a stop a queue has a run: its ring, its slots,
 * and two columns of counters, one written by the side that takes chains and
 * one by the side that gives them back. Their differences are the requests in
 * flight, per queue and per memory region. Whoever gives back first counts,
 * then reads watch, and wakes dispatch if it is set; dispatch first sets
 * watch, then reads the counters.
 *
 * A barrier (INIT, DESTROY) is a slot stored in dev->barrier. While it is
 * there, request queues give nothing, and hiprio gives what belongs there.
 * Dispatch waits until the gate of every request queue was seen empty and
 * nothing of theirs is in flight, then closes hiprio too and waits for it in
 * the same way. After that nothing of the program runs: dispatch ends the
 * session, writes the answer and hands the slot back to its queue's owner
 * through ready.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/device.h>

#include "base/evfd.h"
#include "base/log.h"
#include "base/stats.h"
#include "fuse/frame.h"
#include "fuse/hiprio.h"
#include "fuse/init.h"
#include "fuse/slot.h"
#include "mem/table.h"
#include "transport/transport.h"
#include "vq/vq.h"

#define VTFS_CONFS	    4u /* have, want, one being composed, one left */
#define VTFS_RETIRES	    8u
#define VTFS_DEV_QUEUES_MAX 1024u
#define VTFS_SERVE_MAX	    64u /* requests handed out in a row */
#define VTFS_NOTIFY_PARTS   16u

/* Tags of epoll events: below, a queue's number times two, plus one for its
 * control eventfd. */
#define VTFS_EV_TRANSPORT (UINT64_MAX - 0)
#define VTFS_EV_WAKE	  (UINT64_MAX - 1)
#define VTFS_EV_STOP	  (UINT64_MAX - 2)

/* The peer's bell; counted by dispatch alone. */
struct vtfs_call {
	unsigned refs;
	struct vtfs_bell bell;
};

/* Immutable from post until dispatch collects it. */
struct vtfs_conf {
	struct vtfs_run *run; /* NULL: stopped */
	struct vtfs_table *table;
	struct vtfs_call *call;
	void *desc, *driver, *device;
	bool ring;		/* the ring may be touched */
	bool take;		/* chains may be taken */
	bool drop;		/* chains taken before are not served */
	bool fail;		/* those that wait for memory fail */
	bool mapped;		/* the table is: behind an IOMMU */
	bool used;		/* this element of the array is */
	struct vtfs_miss gone;	/* translations that the last one may have */
	struct vtfs_conf *next; /* adopted and left: see old */
};

/* Tables that replaced ones may still be in use. */
struct vtfs_retire {
	struct vtfs_table *old;
	struct vtfs_table *now;
	uint64_t cookie;
	bool silent;	       /* that peer is gone: no answer */
	bool regions;	       /* now lacks some, perhaps */
	struct vtfs_miss gone; /* translations; len 0: none */
};

/* None. */
static const struct vtfs_miss vtfs_no_miss;

/* Memory of the peer, as long as the device or any run needs it. */
struct vtfs_peermem {
	uint32_t refs;		  /* atomic */
	struct vtfs_table *table; /* owner: dispatch */
	struct vtfs_retire retires[VTFS_RETIRES];
	unsigned retire_cnt;
};

struct vtfs_tally {
	uint32_t chains;
	uint32_t locks; /* SETLKW */
	uint32_t regions[VTFS_REGION_MAX];
};

struct vtfs_run {
	struct virtiofs_devq *q; /* not to be touched once orphan */
	struct vtfs_vq *vq;
	struct vtfs_slots *slots;
	struct vtfs_peermem *mem;
	unsigned num;
	unsigned lock_max;
	pthread_mutex_t push_lock;
	uint32_t watch; /* atomic; owner: dispatch */
	uint32_t lost;	/* atomic; the peer's bytes are not ours */
	uint32_t holds; /* runs_lock: interrupts that look at a slot */
	bool orphan;	/* push_lock: the device was freed */
	bool mapped;	/* behind an IOMMU */
	bool shared;	/* pushed to under push_lock only */
	/* push_lock: answered while the ring, or where the reply's header goes,
	 * was not mapped. */
	struct vtfs_slot *late, **late_end;
	_Alignas(VTFS_CACHELINE) struct vtfs_tally taken; /* owner: taker */
	_Alignas(VTFS_CACHELINE) struct vtfs_tally given; /* owner: pusher */
};

enum vtfs_devq_state {
	VTFS_DEVQ_IDLE,
	VTFS_DEVQ_RUNNING,
	VTFS_DEVQ_DRAINING, /* nothing new; the last reply ends it */
	VTFS_DEVQ_ENDING,   /* nothing in flight; until the conf is adopted */
};

struct virtiofs_devq {
	struct virtiofs_device *dev;
	unsigned index; /* logical, 0 hiprio; its place in dev->queues */
	int ep;		/* what devq_fd returns */
	int ctl;	/* our own eventfd, to wake the owner */
	uint32_t taken; /* atomic; owner: who takes, releases */
	bool shared;	/* replies by any thread; never goes back */
	/* By opcode, written by who pushes; NULL: not wanted. */
	struct virtiofs_hist *latency;

	_Alignas(VTFS_CACHELINE) uint32_t gate; /* atomic */
	struct vtfs_conf *want;			/* atomic */
	struct vtfs_conf *have;			/* gate */
	struct vtfs_conf *old;	 /* atomic: left, for dispatch to collect */
	uint32_t size;		 /* atomic: entries of have's ring */
	uint32_t broken;	 /* atomic; set by who is inside */
	struct vtfs_slot *ready; /* atomic: back from the barrier */
	uint32_t retry;		 /* atomic: parked chains may go on */

	/* owner: who pops */
	_Alignas(VTFS_CACHELINE) struct vtfs_slot *held;
	struct vtfs_chain chain;   /* held's, until its body was read */
	struct vtfs_slot *forgets; /* budget used up: list to go on with */
	struct vtfs_slot **forgets_end;
	struct vtfs_slot *staged; /* answered, to be pushed by flush */
	struct vtfs_slot **staged_end;
	struct vtfs_slot *parked;  /* chains with holes, oldest first */
	struct vtfs_slot **try_at; /* NULL, or where to go on in there */
	unsigned parked_cnt;
	bool unasked;  /* no block for one of them: try again */
	bool batching; /* replies wait for a flush */
	bool logged;
	struct virtiofs_queue_stats taking;

	/* owner: who pushes replies, in the gate or under the push lock */
	_Alignas(VTFS_CACHELINE) struct virtiofs_queue_stats giving;

	/* owner: dispatch */
	_Alignas(VTFS_CACHELINE) enum vtfs_devq_state state;
	struct vtfs_queue_setup setup;
	struct vtfs_run *run; /* and runs_lock, to change */
	struct vtfs_run *run_ending;
	struct vtfs_call *call;
	struct vtfs_conf confs[VTFS_CONFS];
	pthread_mutex_t fd_lock; /* kick and which epoll it is in */
	int kick;
	bool kick_is_timer; /* ours, so it may be read */
	bool drop;	    /* as conf.drop */
	bool answer_stop;
	bool told_broken;
	bool quiet;	       /* seen outside its gate since a barrier */
	unsigned quiet_unseen; /* and the chains it held then */
	uint16_t last_avail, last_used;
};

#define VTFS_ASKS   128u
#define VTFS_ABSENT 64u

/* What is not mapped; see dev_miss.c. */
struct vtfs_misses {
	pthread_mutex_t lock;
	struct vtfs_miss asks[VTFS_ASKS]; /* for dispatch, to be passed on */
	unsigned ask_cnt;
	bool full; /* somebody has more to ask */
	struct vtfs_miss absent[VTFS_ABSENT];
	uint32_t absent_cnt; /* ever; the last ones are kept */
};

/* A notification that waits for a buffer. */
struct vtfs_note {
	struct vtfs_note *next;
	size_t len;
	unsigned char bytes[]; /* header and payload */
};

/*
 * The notification queue is run like the others: conf, gate, run. But the run
 * has no slots: a chain is taken, filled and given back in one stay inside the
 * gate, so nothing of it is ever in flight. lock is taken before the gate.
 */
struct vtfs_notes {
	struct virtiofs_devq *q; /* the last of queues; NULL: not offered */
	pthread_mutex_t lock;
	bool on;			 /* lock: the driver took it */
	struct vtfs_note *first, **last; /* lock: waiting, in order */
	uint32_t cnt;			 /* any, atomic: of them */
	struct vtfs_table *lacking;	 /* lock: a buffer was not in it */
	uint32_t denials;		 /* lock: there had been, then */
};

enum vtfs_ending {
	VTFS_ENDING_NONE,
	VTFS_ENDING_RESET,
	VTFS_ENDING_LOST,
};

struct virtiofs_device {
	struct vtfs_dev_sink sink;
	struct virtiofs_transport *t;
	struct virtiofs_device_ops ops;
	struct virtiofs_device_opts opts;
	void *userdata;
	struct vtfs_log log;
	char tag[VIRTIOFS_TAG_MAX];
	uint64_t features; /* accepted; owner: dispatch */

	int ep, wake, stop_fd;
	uint32_t stopped; /* atomic */

	struct virtiofs_devq *queues;
	unsigned queue_cnt; /* hiprio and request queues: logical numbers */
	unsigned all_cnt;   /* the notification queue, too */
	struct vtfs_notes notes;
	unsigned rr;	  /* owner: dispatch */
	bool dispatching; /* owner: dispatch */
	bool more;
	int fatal;

	struct vtfs_peermem *mem;
	enum vtfs_ending ending; /* owner: dispatch */

	struct vtfs_misses misses;
	pthread_mutex_t runs_lock; /* queues[].run, for interrupts */
	struct vtfs_pending pending;
	uint64_t message_faults; /* owner: dispatch */

	struct vtfs_slot *barrier;	/* atomic */
	uint32_t hiprio_closed;		/* atomic: by the barrier */
	struct vtfs_init_limits limits; /* of the barrier's INIT */
	bool barrier_handed;		/* raw: the program has it */
	/* Changed behind a barrier only, or by the reply to a raw INIT. */
	uint32_t open; /* atomic */
	struct vtfs_frame_rules rules;
	bool session; /* ops.reset is owed; owner: dispatch */
};

/* ---- dev_gate.c ---- */
void vtfs_gate_enter(struct virtiofs_devq *q);
void vtfs_gate_leave(struct virtiofs_devq *q);
/* For dispatch: true: inside. False: who is inside will wake dispatch. */
bool vtfs_gate_try(struct virtiofs_devq *q);
/* Compose from q's fields and make the queue adopt it. Its owner is woken if
 * there is anything new for it to do. */
void vtfs_devq_post(struct virtiofs_devq *q);
/* The same, after translations went. */
void vtfs_devq_post_gone(struct virtiofs_devq *q, const struct vtfs_miss *gone);
/* Has everything posted been adopted? Tries to. */
bool vtfs_devq_adopted(struct virtiofs_devq *q);
void vtfs_devq_collect(struct virtiofs_devq *q);
/* request: 0, or as call_ioctl of a setup. */
struct vtfs_call *vtfs_call_new(int fd, unsigned long request, uint32_t vq);
/* Make all queues that run adopt what is there now. */
void vtfs_device_post_all(struct virtiofs_device *dev,
			  const struct vtfs_miss *gone);
/* Where a queue's ring lies. -EFAULT, -EINVAL: nowhere, not aligned. */
int vtfs_devq_find_ring(const struct virtiofs_devq *q,
			const struct vtfs_table *t, void *ret[3]);
void vtfs_call_put(struct vtfs_call *call);
void vtfs_device_wake(struct virtiofs_device *dev);
/* Ring. Gate or push lock held. */
void vtfs_devq_call(struct virtiofs_devq *q, const struct vtfs_call *call);
void vtfs_devq_wake(struct virtiofs_devq *q);

/* ---- dev_run.c ---- */
int vtfs_run_new(struct vtfs_run **ret, struct virtiofs_devq *q,
		 const struct vtfs_vq_conf *conf);
void vtfs_run_free(struct vtfs_run *run);
void vtfs_run_take(struct vtfs_run *run, struct vtfs_slot *s,
		   const struct vtfs_chain *chain);
/* The two halves of take: the chain is in flight; its memory is in use. */
void vtfs_run_park(struct vtfs_run *run, struct vtfs_slot *s,
		   const struct vtfs_chain *chain);
void vtfs_run_pin(struct vtfs_run *run, struct vtfs_slot *s,
		  const struct vtfs_chain *chain);
/* s keeps no memory in use any more. Who pushes. */
void vtfs_run_unpin(struct vtfs_run *run, struct vtfs_slot *s);
/* s waits for no lock any more. Before its reply can be seen: who sees it may
 * send the next one. */
void vtfs_run_end_wait(struct vtfs_run *run, struct vtfs_slot *s);
/* s is free again. Then, for all of them at once, after the last byte of the
 * peer was touched: cnt went back. True: dispatch wants to hear of it. */
void vtfs_run_give(struct vtfs_run *run, struct vtfs_slot *s);
bool vtfs_run_given(struct vtfs_run *run, uint32_t cnt);
uint32_t vtfs_run_inflight(const struct vtfs_run *run);
uint32_t vtfs_run_pins(const struct vtfs_run *run, unsigned region);
/* Device freed: the last reply frees the run. */
void vtfs_run_orphan(struct vtfs_run *run);
struct vtfs_peermem *vtfs_peermem_new(void);
void vtfs_peermem_put(struct vtfs_peermem *mem);

/* ---- dev_fds.c ---- */
int vtfs_devq_init(struct virtiofs_devq *q, struct virtiofs_device *dev,
		   unsigned index);
void vtfs_devq_fini(struct virtiofs_devq *q);
/* Watch a duplicate of fd; -1: a timer instead. */
int vtfs_devq_set_kick(struct virtiofs_devq *q, int fd);
void vtfs_devq_close_kick(struct virtiofs_devq *q);
/* Its event came, in the thread that serves the queue. */
void vtfs_devq_kicked(struct virtiofs_devq *q);
int vtfs_device_init_fds(struct virtiofs_device *dev);
void vtfs_device_fini_fds(struct virtiofs_device *dev);

/* ---- devq.c ---- */
void vtfs_devq_flush(struct virtiofs_devq *q);
/* Gate or push lock held, after bytes of the peer were touched. A page that it
 * took back reads as zeroes: nothing of it is true. Dispatch tells the peer. */
void vtfs_devq_check_memory(struct virtiofs_devq *q);
/* 1: pop would find something. */
int vtfs_devq_arm(struct virtiofs_devq *q);
/* Pop, run callbacks, flush; number of requests. */
unsigned vtfs_devq_serve(struct virtiofs_devq *q, unsigned max);

/* ---- dev_take.c ---- */
/* Peer faults are counted, and the first of a queue is logged. */
void vtfs_devq_fault(struct virtiofs_devq *q, uint64_t *counter,
		     const char *what);
/* Gate held. 1 and a slot whose verdict is set; 0 none now. now is what counts
 * as the time when it came. */
int vtfs_devq_take_slot(struct virtiofs_devq *q, struct vtfs_slot **ret,
			uint64_t now);
/* Gate held. The chain in q->chain is s's: parse its head, and hold s. */
void vtfs_devq_begin(struct virtiofs_devq *q, struct vtfs_slot *s,
		     uint64_t now);
/* Gate held. The ring is broken. */
int vtfs_devq_ring_fault(struct virtiofs_devq *q);
bool vtfs_devq_may_pop(const struct virtiofs_devq *q);
/* Gate held. 1: take would find something; else a wake-up will follow. */
int vtfs_devq_arm_ring(struct virtiofs_devq *q);
bool vtfs_is_barrier(const struct vtfs_slot *s);

/* Answered: to the ring with the next flush. Owner's thread. */
void vtfs_devq_stage(struct virtiofs_devq *q, struct vtfs_slot *s);

/* ---- dev_miss.c: behind an IOMMU ---- */
bool vtfs_device_is_mapped(const struct virtiofs_device *dev);
/* Gate held. As popping a chain and beginning it: 1, q->held is one. */
int vtfs_devq_take_mapped(struct virtiofs_devq *q, uint64_t now);
/* s, which is parsed, may have nothing of the peer's to touch. */
void vtfs_devq_let_go(struct vtfs_slot *s);
/* Gate held, have is new: may a parked chain go on with it, or has one to ask
 * again? */
bool vtfs_devq_has_retry(struct virtiofs_devq *q);
/* Gate held: is there a parked chain to be tried? */
bool vtfs_devq_may_retry(const struct virtiofs_devq *q);
/* Was any of m said to be absent since s asked, i.e. since there were s->asked
 * denials? Any thread. */
bool vtfs_miss_denied(struct virtiofs_device *dev, struct vtfs_slot *s,
		      const struct vtfs_miss *m);
uint32_t vtfs_miss_denials(struct virtiofs_device *dev);
/* Nobody asks any more. */
void vtfs_miss_forget(struct virtiofs_device *dev);
/* For the transport to be asked; false: later, there is too much. Any thread.
 */
bool vtfs_device_ask(struct virtiofs_device *dev, const struct vtfs_miss *m);
/* For all that a chain lacks, which is not kept. */
void vtfs_device_ask_holes(struct virtiofs_device *dev,
			   const struct vtfs_chain *chain);
/* Pass on what was asked; what was said to be absent. Dispatch. */
void vtfs_device_settle_misses(struct virtiofs_device *dev);
void vtfs_device_absent(struct virtiofs_device *dev, const struct vtfs_miss *m);

/* ---- dev_late.c: and what goes back from there ---- */
/* Push lock held: a list of slots goes to the ring, or to run->late. */
void vtfs_run_push_mapped(struct vtfs_run *run, const struct vtfs_conf *conf,
			  struct vtfs_slot *list);
/* The same for those that wait there. */
void vtfs_run_push_late(struct vtfs_run *run, const struct vtfs_conf *conf);
/* Does run hold a request that may touch what is named like this? Those are
 * told. Dispatch; everything was adopted. */
bool vtfs_run_touches(struct vtfs_run *run, const struct vtfs_miss *gone);

/* ---- dev_intr.c ---- */
/* INTERRUPT for unique arrived; any thread that serves a queue. */
void vtfs_device_interrupt(struct virtiofs_device *dev, uint64_t unique);
/* Tell the program of every request that run holds and that touches one of the
 * regions, or of all of them (regions NULL), but for except. Dispatch. */
void vtfs_run_interrupt(struct vtfs_run *run, const uint64_t *regions,
			const struct vtfs_slot *except);
/* The same for one. */
void vtfs_slot_tell(struct vtfs_run *run, struct vtfs_slot *s); /* held */

/* Does an interrupt still look at a slot of run, which left its queue? */
bool vtfs_run_is_held(struct virtiofs_device *dev, const struct vtfs_run *run);

/* ---- dev_notify.c ---- */
void vtfs_notes_init(struct virtiofs_device *dev);
void vtfs_notes_fini(struct virtiofs_device *dev);
/* The driver took F_NOTIFICATION, or did not. */
void vtfs_notes_accept(struct virtiofs_device *dev, bool on);
/* The session ended. After open was cleared. */
void vtfs_notes_drop(struct virtiofs_device *dev);
/* Send what waits; true: call again, soon. Dispatch. */
bool vtfs_notes_flush(struct virtiofs_device *dev);

/* ---- dev_stats.c ---- */
int vtfs_devq_init_latency(struct virtiofs_devq *q);
/* Now, if it is asked for; else 0. */
uint64_t vtfs_devq_now(const struct virtiofs_devq *q);
/* s is about to be given back at that time. */
void vtfs_devq_count_reply(struct virtiofs_devq *q, const struct vtfs_slot *s,
			   uint64_t now);

/* ---- dev_barrier.c ---- */
/* Go on with INIT or DESTROY; true: something changed. Dispatch. */
bool vtfs_device_settle_barrier(struct virtiofs_device *dev);
/* The session is over: the program drops what it granted. Dispatch. */
void vtfs_device_end_session(struct virtiofs_device *dev);
/* A raw INIT or DESTROY will not reach the program. Its queue's owner. */
void vtfs_device_raw_drop(struct virtiofs_device *dev);
/* The program answers its raw INIT with these bytes, which are changed, or its
 * raw DESTROY, or either with an error (out NULL). Any thread. */
void vtfs_device_raw_reply(struct virtiofs_device *dev,
			   const struct vtfs_slot *s,
			   struct fuse_init_out *out);

/* ---- dev_sink.c, dev_settle.c ---- */
extern const struct vtfs_dev_sink_ops vtfs_device_sink_ops;
/* Its virtqueue's number, which depends on the features. Dispatch. */
unsigned vtfs_devq_vq(const struct virtiofs_devq *q);
/* Answer the oldest change of memory, if nothing waits for it any more. */
bool vtfs_device_retire(struct virtiofs_device *dev);
/* Whatever can be finished now; from dispatch. */
void vtfs_device_settle(struct virtiofs_device *dev);
unsigned vtfs_device_max_parts(const struct virtiofs_device *dev, uint32_t num);
#endif
