/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_DEVICE_H
#define VIRTIOFS_DEVICE_H
/*
 * The server side. Four ways to drive it, from easy to fast:
 *   virtiofs_serve()            one thread, one call
 *   virtiofs_device_run()       one thread, the library waits
 *   virtiofs_device_dispatch()  your event loop, virtiofs_device_fd()
 *   virtiofs_devq_*()           your threads, one queue each, batches, polling
 */
#include <virtiofs/fuse_kernel.h>
#include <virtiofs/base.h>
#include <virtiofs/stats.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VIRTIOFS_REQ_NOREPLY (1u << 0) /* FORGET and friends */
#define VIRTIOFS_REQ_HIPRIO  (1u << 1) /* came on the hiprio queue */
/* Opcode not in the library's table: arg_len is 0, all bytes are in data. */
#define VIRTIOFS_REQ_UNKNOWN (1u << 2)

/*
 * One request. The library allocates it and appends fields in later versions;
 * never take its size. It lives until one virtiofs_req_*() reply call, which
 * always consumes it, whatever that call returns. Negative: the peer did not
 * get what was said; undo it (a lookup count, a handle). A mistake in the call
 * itself sends -EIO and returns -EINVAL.
 *
 * in, arg and ext are the library's own checked copy. data and room point into
 * the peer's memory: the peer can change those bytes at any moment, and there
 * may be more parts than IOV_MAX. Every request without NOREPLY has space for
 * the reply header.
 */
struct virtiofs_req {
	const struct fuse_in_header *in;
	const void *arg;	  /* fixed arguments and names, NUL ended */
	const struct iovec *data; /* bulk input: WRITE, SETXATTR, ... */
	const struct iovec *room; /* where reply bytes go, header excluded */
	uint32_t arg_len;
	uint32_t data_len;
	uint32_t room_len;
	uint16_t data_cnt;
	uint16_t room_cnt;
	uint32_t flags;
	void *userdata;	 /* the device's */
	void *user;	 /* yours, for this request */
	const void *ext; /* in->total_extlen * 8 bytes, not in arg */
};

/* Reply now, or keep req and reply later. Return what the reply call returned,
 * or 0; the library does no more than count failures. */
typedef int (*virtiofs_request_fn)(struct virtiofs_req *req);

struct virtiofs_device_ops {
	size_t size;
	virtiofs_request_fn request; /* required */
	/* FORGET, and each entry of BATCH_FORGET. NULL: they go to request. */
	void (*forget)(uint64_t nodeid, uint64_t nlookup, void *userdata);
	/* req was interrupted by the peer, or its queue stops and waits for it,
	 * or, behind an IOMMU, the peer takes back memory that its data or room
	 * lie in: it still wants the result then, and soon.
	 * Runs in the thread that serves hiprio or dispatch; the owner may be
	 * replying at this moment: only wake it. req's memory stays valid until
	 * this returns, not longer. An interrupt that came before its request
	 * is told by virtiofs_req_interrupted() alone; with a queue of your own
	 * this may run before the pop that hands out req returns. NULL:
	 * ignored. */
	void (*interrupt)(struct virtiofs_req *req, void *userdata);
	/* Change what FUSE_INIT answers; NULL: the answer from opts. */
	void (*init)(const struct fuse_init_in *in, struct fuse_init_out *out,
		     void *userdata);
	/* The session ended (DESTROY, a new INIT, reset, lost peer): drop all
	 * lookups and handles. Runs in dispatch, before the DESTROY or INIT is
	 * answered. No request is in flight on any queue, no forget and no
	 * interrupt runs or will run for this session: every reply was
	 * published, by dispatch or by the owner's flush (pop, arm), or, with
	 * SHARED_REPLY, by the reply call itself. So whoever still works for a
	 * request after its reply was published does it beside reset: only a
	 * thread that replies with SHARED_REPLY, or the owner of a taken queue
	 * after its own flush. A request callback has returned. */
	void (*reset)(void *userdata);
};

/* request gets INIT and DESTROY once nothing else is in flight, and all
 * arguments as the client sent them. Otherwise SETXATTR always comes with the
 * 16 bytes of fuse_setxattr_in, and the library answers those two itself. */
#define VIRTIOFS_DEVICE_RAW_INIT (1u << 0)
#define VIRTIOFS_DEVICE_SHARED_REPLY                                           \
	(1u << 1) /* as DEVQ_SHARED_REPLY, for the                             \
		   * queues that dispatch serves */
/* Measure latencies: reads a clock for each batch that is taken and for each
 * that is given back. */
#define VIRTIOFS_DEVICE_LATENCY (1u << 2)

struct virtiofs_device_opts {
	size_t size;
	const char *tag;	     /* up to 36 bytes; NULL or empty: no
				      * config space, the front-end has one */
	uint32_t num_request_queues; /* default 1 */
	uint32_t queue_size;	  /* offered, where the device decides: 1024 */
	uint32_t max_write;	  /* default 1 MiB */
	uint32_t hiprio_interval; /* hiprio's turn every N requests: 16 */
	uint32_t flags;		  /* VIRTIOFS_DEVICE_ */
	uint64_t features;	  /* VIRTIOFS_F_ to offer; 0: DEFAULT */
	int log_level;
	virtiofs_log_fn log;
	void *log_data;
	/* virtiofs-hiprio(7) says what these bound. */
	uint32_t forget_budget;	 /* FORGET entries in a turn of hiprio: 1024 */
	uint32_t interrupts_max; /* INTERRUPTs that wait for their request: 64,
				  * at most 4096 */
	uint32_t dispatch_max;	 /* requests in one dispatch, about: 256 */
	/* Offer F_NOTIFICATION: the longest notification, its header of 16
	 * bytes included, 64 to 16 MiB. 0: not offered. */
	uint32_t notify_buf_size;
	uint32_t notify_backlog; /* those that may wait for a buffer: 64 */
};

VIRTIOFS_API int virtiofs_device_new(struct virtiofs_device **ret,
				     struct virtiofs_transport *t,
				     const struct virtiofs_device_ops *ops,
				     const struct virtiofs_device_opts *opts,
				     void *userdata);
/* Requests not replied to yet become inert; replying to them stays legal, and
 * the last reply frees what they needed. Release taken queues first. */
VIRTIOFS_API void virtiofs_device_free(struct virtiofs_device *dev);

/* What queue 0 (hiprio), 1 and up, VIRTIOFS_QUEUE_NOTIFY, or
 * VIRTIOFS_QUEUE_ALL counted; ret->size is the caller's. From any thread.
 * -EINVAL: no such queue. */
VIRTIOFS_API int virtiofs_device_stats(const struct virtiofs_device *dev,
				       uint32_t queue,
				       struct virtiofs_queue_stats *ret);
/* How long requests of that opcode took, from taking them out of the ring to
 * showing the reply to the client; opcode 0: those that the library does not
 * know. From any thread. -EOPNOTSUPP without VIRTIOFS_DEVICE_LATENCY; -EINVAL.
 */
VIRTIOFS_API int virtiofs_device_latency(const struct virtiofs_device *dev,
					 uint32_t queue, uint32_t opcode,
					 struct virtiofs_hist *ret);

/*
 * Tell the client something: code is a FUSE_NOTIFY_, or another positive
 * number that both ends know; iov, at most 16 of them, is what follows the
 * header, copied before this returns. <virtiofs/notify.h> has one call for each
 * code. From any thread, and from request callbacks; the order of calls is
 * kept.
 *
 * Without a buffer of the client's at hand it waits for one, in the library:
 * dispatch sends it then. Those that wait when the session ends are dropped. 0:
 * sent, or waits. -ENOSPC notify_backlog of them wait; what that means depends
 * on what they say. -EMSGSIZE longer than notify_buf_size; -EOPNOTSUPP not
 * offered, or the client did not take it; -ENOTCONN no session; -ENOMEM;
 * -EINVAL code or iov.
 */
VIRTIOFS_API int virtiofs_device_notify(struct virtiofs_device *dev,
					uint32_t code, const struct iovec *iov,
					unsigned cnt);

/* Easiest: new, run and free in one call. Owns t even if it fails. */
VIRTIOFS_API int virtiofs_serve(struct virtiofs_transport *t, const char *tag,
				virtiofs_request_fn request, void *userdata);

/* Easy: serve until virtiofs_device_stop(). 0, or what made it impossible. */
VIRTIOFS_API int virtiofs_device_run(struct virtiofs_device *dev);
/* From any thread and from signal handlers. For good: run, now or later,
 * returns 0; every pop returns -ESHUTDOWN, its fd is readable. */
VIRTIOFS_API void virtiofs_device_stop(struct virtiofs_device *dev);

/* Event loop: readable when dispatch has work; the same number for life. */
VIRTIOFS_API int virtiofs_device_fd(const struct virtiofs_device *dev);
/* Handle what is there, never block. Number of requests handed out. */
VIRTIOFS_API int virtiofs_device_dispatch(struct virtiofs_device *dev);

/* Fast: take a queue away from dispatch. One thread at a time per queue. */
struct virtiofs_devq;
#define VIRTIOFS_DEVQ_SHARED_REPLY (1u << 0) /* replies from any thread */
VIRTIOFS_API int virtiofs_device_take_queue(struct virtiofs_device *dev,
					    unsigned index, uint32_t flags,
					    struct virtiofs_devq **ret);
VIRTIOFS_API void virtiofs_devq_release(struct virtiofs_devq *q);
/* Readable after an arm that returned 0, when pop has work. */
VIRTIOFS_API int virtiofs_devq_fd(const struct virtiofs_devq *q);
/* Entries of its ring, as the peer chose; 0 while it doesn't run. From the
 * thread that pops. */
VIRTIOFS_API uint32_t virtiofs_devq_size(const struct virtiofs_devq *q);
/* Up to max requests; 0 none now, also while the queue is stopped, broken or
 * without a peer: the fd tells when it runs. -ESHUTDOWN after device_stop. */
VIRTIOFS_API int virtiofs_devq_pop(struct virtiofs_devq *q,
				   struct virtiofs_req **reqs, unsigned max);
/* Callbacks instead of a loop: pop, ops.request for each, flush. */
VIRTIOFS_API int virtiofs_devq_dispatch(struct virtiofs_devq *q);
/* Make all replies so far visible, with at most one notification. */
VIRTIOFS_API int virtiofs_devq_flush(struct virtiofs_devq *q);
/* Before sleeping; flushes. 0 sleep on the fd; 1 more came, pop again. */
VIRTIOFS_API int virtiofs_devq_arm(struct virtiofs_devq *q);

/* Replies. error is 0 or a negative errno. -EMSGSIZE: did not fit, the peer
 * got -EIO; -ENOTCONN: the peer is gone. */
VIRTIOFS_API int virtiofs_req_error(struct virtiofs_req *req, int error);
VIRTIOFS_API int virtiofs_req_reply(struct virtiofs_req *req, const void *data,
				    size_t len);
VIRTIOFS_API int virtiofs_req_replyv(struct virtiofs_req *req,
				     const struct iovec *iov, unsigned cnt);
/* The part of buf[0..size) that a READ at offset asked for. */
VIRTIOFS_API int virtiofs_req_reply_slice(struct virtiofs_req *req,
					  const void *buf, size_t size,
					  uint64_t offset);
/* Zero copy: len bytes already stand in room. */
VIRTIOFS_API int virtiofs_req_filled(struct virtiofs_req *req, size_t len);
/* 1: it is to end soon: the client no longer wants the result (INTERRUPT), or
 * something waits for it, as ops.interrupt says.
 * Ask after making req known to your ops.interrupt, before you wait. */
VIRTIOFS_API int virtiofs_req_interrupted(const struct virtiofs_req *req);
/* For VIRTIOFS_REQ_NOREPLY requests. */
VIRTIOFS_API void virtiofs_req_done(struct virtiofs_req *req);

#ifdef __cplusplus
}
#endif
#endif
