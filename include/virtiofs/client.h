/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_CLIENT_H
#define VIRTIOFS_CLIENT_H
/*
 * The driver side. Easy: virtiofs_client_call() blocks for one reply. Fast:
 * take a queue, fill ops, submit a batch, reap results.
 */
#include <virtiofs/fuse_kernel.h>
#include <virtiofs/base.h>
#include <virtiofs/stats.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VIRTIOFS_CLIENT_RAW_INIT (1u << 0) /* the first op is your INIT */
/* start and cliq_reset return -EAGAIN: dispatch, and call them again. */
#define VIRTIOFS_CLIENT_NONBLOCK (1u << 1)
/* Measure latencies: reads a clock twice for each request. */
#define VIRTIOFS_CLIENT_LATENCY (1u << 2)
/* The device needs not call: its replies are looked for, at intervals of 20 us
 * to 1 ms while requests are with it, and notifications always. So are those of
 * devices that can't. */
#define VIRTIOFS_CLIENT_POLL (1u << 3)

/* Which request queue a call goes by, of those that nobody took. Whatever it
 * is, a call on a node goes behind those on the same node that timed out and
 * are still with the device. */
#define VIRTIOFS_QUEUE_LEAST_BUSY 0u
#define VIRTIOFS_QUEUE_CPU	  1u /* the caller's, while that has room */
#define VIRTIOFS_QUEUE_NODEID	  2u /* one node, one queue */

/*
 * What the device tells the client unasked. It lives until the callback
 * returns; the library appends fields in later versions, never take its size.
 * Lengths, and the name, were checked; the other bytes are the device's word.
 */
struct virtiofs_notification {
	uint32_t code;	  /* FUSE_NOTIFY_, or another positive number */
	uint32_t arg_len; /* 0: a code that the library does not know */
	uint32_t data_len;
	const void *arg;  /* fuse_notify_*_out, and a name, NUL ended: a copy */
	const void *data; /* STORE's bytes, PRUNE's nodeids, all of an unknown
			   * code: the device can change them at any moment */
};
/*
 * Runs in virtiofs_client_dispatch(), and in virtiofs_client_call() of a thread
 * that polls for replies; one at a time, in the device's order. It may forget,
 * interrupt, and call (which delivers none meanwhile); it must not dispatch,
 * start or free. The next one waits for it, replies to other threads don't.
 */
typedef void (*virtiofs_notification_fn)(const struct virtiofs_notification *n,
					 void *data);

struct virtiofs_client_opts {
	size_t size;
	uint32_t num_request_queues; /* default 1 */
	uint32_t queue_size;	     /* 4 to 32768, a power of two unless
				      * packed; default 128 */
	uint32_t timeout_ms;	     /* start and call; default: no limit */
	uint32_t flags;		     /* VIRTIOFS_CLIENT_ */
	uint64_t init_flags;	     /* FUSE_INIT flags to ask for; 0: usual */
	uint64_t features;	     /* VIRTIOFS_F_ to accept; 0: DEFAULT */
	const char *tag;	     /* for devices without a config space */
	uint64_t bounce_bytes;	     /* per queue, to copy buffers that are
				      * not registered: 1 MiB */
	int log_level;
	virtiofs_log_fn log;
	void *log_data;
	uint32_t backlog;      /* ops per queue that may wait for room in a full
				* ring, beyond queue_size of them; to 32767 */
	uint32_t queue_policy; /* VIRTIOFS_QUEUE_ */
	/* Takes F_NOTIFICATION from a device that offers it and has a config
	 * space. NULL: not taken. */
	virtiofs_notification_fn notify;
	void *notify_data;
	uint32_t notify_buffers; /* for as many at once: 16, to queue_size */
};

/* Easiest: new and start in one call. Owns t even if it fails. */
VIRTIOFS_API int virtiofs_connect(struct virtiofs_client **ret,
				  struct virtiofs_transport *t);

/* Owns t even if it fails; opts NULL: all defaults. -EINVAL says which option
 * is wrong. */
VIRTIOFS_API int virtiofs_client_new(struct virtiofs_client **ret,
				     struct virtiofs_transport *t,
				     const struct virtiofs_client_opts *opts);
/* Ends the session: sends parked forgets and DESTROY, waiting no longer than
 * timeout_ms or a second, and resets the device. Of threads, only the caller
 * may still know c. */
VIRTIOFS_API void virtiofs_client_free(struct virtiofs_client *c);
/* Negotiate virtio and FUSE_INIT, blocking. ret_init may be NULL. Again after
 * -ENOTCONN: connects anew; queues stay taken, regions mapped, nodeids stale,
 * ops got and not submitted are gone; no thread is in a call meanwhile.
 * -ETIMEDOUT; -EPROTO the device breaks the rules; -EOPNOTSUPP a legacy device,
 * without VERSION_1; -EBUSY running; with NONBLOCK -EAGAIN. */
VIRTIOFS_API int virtiofs_client_start(struct virtiofs_client *c,
				       struct fuse_init_out *ret_init);
/* The device's tag, NUL ended, as long as the client lives. */
VIRTIOFS_API const char *virtiofs_client_tag(const struct virtiofs_client *c);

/* What was negotiated; valid after start. */
struct virtiofs_client_info {
	size_t size;
	uint64_t device_features;	/* virtio bits the device offered */
	uint64_t features;		/* virtio bits in use */
	uint64_t protocol_features;	/* vhost-user bits in use; else 0 */
	uint32_t device_request_queues; /* what the device has; 0: not said */
	uint32_t request_queues;	/* what this client uses */
	uint32_t queue_size;		/* descriptors per queue */
	uint32_t max_write;		/* bytes in one WRITE */
	uint32_t max_pages;	  /* pages of 4 KiB in one READ or WRITE */
	uint32_t fuse_minor;	  /* 7.x, the smaller of both ends */
	char tag[40];		  /* NUL ended */
	uint64_t init_flags;	  /* FUSE_INIT flags in use */
	uint32_t notify_buf_size; /* longest notification; 0: none come */
};
/* ret->size set by the caller. -ENOTCONN before start. */
VIRTIOFS_API int virtiofs_client_get_info(const struct virtiofs_client *c,
					  struct virtiofs_client_info *ret);

/* What queue 0 (hiprio), 1 and up, VIRTIOFS_QUEUE_NOTIFY, or
 * VIRTIOFS_QUEUE_ALL counted; ret->size is the caller's. From any thread.
 * -EINVAL: no such queue. */
VIRTIOFS_API int virtiofs_client_stats(const struct virtiofs_client *c,
				       uint32_t queue,
				       struct virtiofs_queue_stats *ret);
/* How long requests of that opcode took, from the ring to the reply; opcode 0:
 * those that the library does not know. From any thread. -EOPNOTSUPP without
 * VIRTIOFS_CLIENT_LATENCY; -EINVAL. */
VIRTIOFS_API int virtiofs_client_latency(const struct virtiofs_client *c,
					 uint32_t queue, uint32_t opcode,
					 struct virtiofs_hist *ret);

/* FUSE_INIT flags in use; 0 before start. */
VIRTIOFS_API uint64_t
virtiofs_client_init_flags(const struct virtiofs_client *c);

struct virtiofs_op;
/* Easy: one request, one reply. Bytes that follow the reply header, or a
 * negative errno: the server's, or the transport's. From any thread; the
 * threads that wait take turns at collecting replies. op and its arg are
 * yours. -EBUSY when every request queue is taken; -EMSGSIZE more bytes than
 * max_write or max_pages allow; -ETIMEDOUT, whereupon registered buffers stay
 * the device's until unmap_region takes them. */
VIRTIOFS_API ssize_t virtiofs_client_call(struct virtiofs_client *c,
					  const struct virtiofs_op *op);
/* Ask the server to give up on the ops with this user_data, blocking ones
 * too; they still end, those that it has not seen with -EINTR. From any
 * thread. -ENOENT: none is in flight; -EOPNOTSUPP: the server can't. */
VIRTIOFS_API int virtiofs_client_interrupt(struct virtiofs_client *c,
					   uint64_t user_data);
/* Never waits for room: kept, merged, and sent when hiprio has space. From any
 * thread. -ENOMEM, -ENOTCONN: not taken. */
VIRTIOFS_API int virtiofs_client_forget(struct virtiofs_client *c,
					uint64_t nodeid, uint64_t nlookup);

/* Registered memory: ops whose buffers lie in it are not copied. Before start
 * or later. ret->fd stays the library's. */
VIRTIOFS_API int virtiofs_client_alloc_region(struct virtiofs_client *c,
					      size_t len,
					      struct virtiofs_region *ret);
/* A shared mapping of fd at addr; addr, len and fd_offset are multiples of
 * 4096, or -EINVAL. */
VIRTIOFS_API int virtiofs_client_map_region(
    struct virtiofs_client *c, const struct virtiofs_region *region);
/* By addr and len. -EBUSY while an op uses it. Frees what alloc_region
 * allocated. */
VIRTIOFS_API int virtiofs_client_unmap_region(
    struct virtiofs_client *c, const struct virtiofs_region *region);

/* Event loop: hiprio, disconnects, notifications, and the queues that nobody
 * took. */
VIRTIOFS_API int virtiofs_client_fd(const struct virtiofs_client *c);
VIRTIOFS_API int virtiofs_client_dispatch(struct virtiofs_client *c);

/* Fast: one request queue (index 1 and up), one thread at a time. flags is 0.
 * -EBUSY: taken, or calls are in flight on it. */
struct virtiofs_cliq;
VIRTIOFS_API int virtiofs_client_take_queue(struct virtiofs_client *c,
					    unsigned index, uint32_t flags,
					    struct virtiofs_cliq **ret);
/* -EBUSY while an op is in flight or a result not reaped. */
VIRTIOFS_API int virtiofs_cliq_release(struct virtiofs_cliq *q);
/* Take the queue from the device, and begin with an empty one while the others
 * go on; mends one that ended with -EPROTO too. What the device has answered by
 * then is there to be reaped, other ops end with -ECANCELED, those not
 * submitted are dropped. Waits for the device, 1 s or timeout_ms, the less of
 * both; with NONBLOCK -EAGAIN: dispatch, and call it again when the queue's fd
 * is readable. Owner's thread. -EOPNOTSUPP: VIRTIOFS_F_RING_RESET was not
 * negotiated; -ENOTCONN, -ETIMEDOUT: the client has lost its device. */
VIRTIOFS_API int virtiofs_cliq_reset(struct virtiofs_cliq *q);

#define VIRTIOFS_OP_ARG_MAX 576u /* room at arg after get_op */
/* -EFAULT rather than copy, but for what fits beside the headers. */
#define VIRTIOFS_OP_NO_BOUNCE (1u << 0)
#define VIRTIOFS_OP_CREDS     (1u << 1) /* uid, gid, pid set; else ours */

/*
 * One request. From get_op: the queue's memory, zeroed but for size and arg;
 * fill it before submit, forget the pointer after; opcode 0 is dropped. For
 * client_call: yours. Longer names go into data. data and room arrays may be
 * reused after submit, the buffers after the last result.
 */
struct virtiofs_op {
	size_t size;
	uint64_t user_data;
	uint64_t nodeid;
	uint32_t opcode;
	uint32_t flags;
	uint32_t uid, gid, pid;
	uint32_t arg_len;
	void *arg;
	const struct iovec *data; /* sent after arg */
	const struct iovec *room; /* for what follows the reply header */
	uint16_t data_cnt, room_cnt;
	uint16_t total_extlen; /* of data's tail, in 8 bytes */
	uint16_t reserved;
	uint32_t timeout_ms;	/* 0: the client's */
	uint64_t notify_unique; /* NOTIFY_REPLY: RETRIEVE's; else 0 */
};

/* With -ETIMEDOUT: the device still holds the buffers. One more follows, with
 * the same error, when it gave them back, or with the error that its queue
 * ended with; what its reply granted (a lookup, a handle, a lock) the library
 * gives back too. */
#define VIRTIOFS_RESULT_MORE (1u << 0)
struct virtiofs_result {
	uint64_t user_data;
	int32_t error;	      /* 0, or negative: the server's, or -EPROTO */
	uint32_t len;	      /* bytes that follow the reply header */
	uint32_t flags;	      /* ignore bits you don't know */
	uint32_t reserved[3]; /* 0 */
};

/* NULL: no slot free (-ENOSPC where a call would wait: submit or reap first),
 * or not started. */
VIRTIOFS_API struct virtiofs_op *virtiofs_cliq_get_op(struct virtiofs_cliq *q);
/* Publish every op got since the last submit; one notification at most. The
 * number of them. Those that find the ring or bounce_bytes full go out, in
 * order, with later calls. A fault of one op is its result, never submit's:
 * -EINVAL, -EMSGSIZE, -E2BIG (more parts than the ring), -EFAULT, -ENOLCK
 * (SETLKW may take half of the slots). */
VIRTIOFS_API int virtiofs_cliq_submit(struct virtiofs_cliq *q);
/* Up to max results, without blocking; -ENOTCONN once all were returned. */
VIRTIOFS_API int virtiofs_cliq_reap(struct virtiofs_cliq *q,
				    struct virtiofs_result *res, unsigned max);
/* 0: sleep on the fd now; 1: results are there. */
VIRTIOFS_API int virtiofs_cliq_arm(struct virtiofs_cliq *q);
VIRTIOFS_API int virtiofs_cliq_fd(const struct virtiofs_cliq *q);
#ifdef __cplusplus
}
#endif
#endif
