/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_TRANSPORT_TRANSPORT_H
#define VTFS_TRANSPORT_TRANSPORT_H
/*
 * Theory of operation
 *
 * A transport moves set-up, never requests. It is one half of a connection,
 * device or client, and is owned by one session object (session/), in whose
 * calls all of its code runs. It has one fd, the same for life, readable when
 * dispatch has work; nothing in it blocks.
 *
 * Device half. The transport hears the peer and tells the session through the
 * sink: features, memory, queues that start, change, and stop. All sink calls
 * come from inside ops.dispatch. What takes time (a queue that drains, memory
 * that is still in use, a reset) is answered later by the session, from its
 * own dispatch, with ops.queue_stopped, ops.table_retired, ops.reset_done; the
 * transport then answers the peer. While such an answer is owed the transport
 * handles no further message of that connection that needs an order.
 *
 * Client half. Each op may return -EAGAIN: begun, the peer has not answered;
 * call the same op with the same arguments again when the fd is readable. At
 * most one op is under way. -ENOTCONN: the peer is gone.
 *
 * An IOMMU. A transport that can ask for translations has ops.miss; when it
 * tells the session of features with ACCESS_PLATFORM, its tables are mapped
 * ones (mem/table.h) from then on, and addresses of queues are names in them. A
 * request that names what is not mapped is put aside, ops.miss is called from
 * the session's dispatch, and it is tried again with each new table. A queue
 * whose ring loses its map rests, likewise.
 *
 * Features, status and config space: what both ends of every transport share
 * is in here (vtfs_features_*, vtfs_config_*), the rest in each transport.
 */
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/base.h>
#include <virtiofs/transport.h>

#include "base/log.h"
#include "mem/table.h"
#include "transport/doorbell.h"

/* Virtio bits that every session knows about (virtio 1.4, 6). */
#define VTFS_F_ACCESS_PLATFORM (1ULL << 33)

/* Addresses for which the session found no memory to access so: VTFS_MAP_. */
struct vtfs_miss {
	uint64_t addr;
	uint64_t len;
	unsigned access;
};

/* What a queue needs in order to run. Addresses are the peer's (descriptor
 * address space); whoever runs the ring translates them with its table. */
struct vtfs_queue_setup {
	uint16_t vq; /* virtqueue number */
	uint32_t num;
	uint64_t desc;
	uint64_t driver;
	uint64_t device;
	uint16_t avail_base; /* as in struct vtfs_vq_conf */
	uint16_t used_base;
	int kick_fd; /* client to device; -1: none, poll */
	int call_fd; /* device to client; -1: none, the client polls */
	/* Device half: not 0: a call is this ioctl on call_fd, with the
	 * address of a uint32_t that is vq. */
	unsigned long call_ioctl;
	/* Device half: as in struct vtfs_vq_conf; the transport's, until the
	 * device is freed. */
	struct vtfs_vq_record *record;
	bool enabled;
};

/* Bytes of struct virtio_fs_config, little endian: tag[36], request queues,
 * and notify_buf_size, which is there with F_NOTIFICATION only. */
#define VTFS_CONFIG_TAG	   0u
#define VTFS_CONFIG_QUEUES 36u
#define VTFS_CONFIG_LEN	   40u
#define VTFS_CONFIG_NOTIFY 40u
#define VTFS_CONFIG_MAX	   44u /* with notify_buf_size */
/* The sizes that make sense: more than any fixed message, and not all of the
 * driver's memory. */
#define VTFS_NOTIFY_BUF_MIN 64u
#define VTFS_NOTIFY_BUF_MAX (16u << 20)

struct vtfs_dev_sink;
struct vtfs_dev_sink_ops {
	/* Virtio bits that the session offers. */
	uint64_t (*offered)(struct vtfs_dev_sink *s);
	/* The driver's choice, a subset of what was offered and with VERSION_1:
	 * the transport checks both with vtfs_features_check(). */
	void (*accept)(struct vtfs_dev_sink *s, uint64_t features);
	/* Virtqueues: hiprio too, and the notification queue if it is offered,
	 * whatever the driver takes. */
	unsigned (*queue_cnt)(struct vtfs_dev_sink *s);
	uint32_t (*queue_max)(struct vtfs_dev_sink *s); /* largest num */
	/* [off, off + len) of the config space; bytes beyond it are 0. */
	void (*config)(struct vtfs_dev_sink *s, void *buf, size_t len,
		       size_t off);
	/* New memory. The session takes its own reference. ops.table_retired
	 * (cookie) follows, perhaps before this returns, once each queue has
	 * adopted t or is outside of it, and nothing uses a region that t
	 * lacks. It is owed for additions too: the peer may name new memory as
	 * soon as it is answered. The table outlives a virtio reset. */
	void (*set_table)(struct vtfs_dev_sink *s, struct vtfs_table *t,
			  uint64_t cookie);
	/* As set_table, when the peer takes translations back: t no longer has
	 * what it lacks of [addr, addr + len). ops.table_retired then waits too
	 * for each request that may still touch bytes that it found by an
	 * address in there, by whichever table. With gone->len 0 translations
	 * only came, of the regions that there were: nobody is waited for. */
	void (*invalidate)(struct vtfs_dev_sink *s, struct vtfs_table *t,
			   const struct vtfs_miss *gone, uint64_t cookie);
	/* The peer says that there is nothing: requests that wait for a byte of
	 * it fail. A later request asks again. len 0: nobody fails, all that is
	 * waited for will be asked again. */
	void (*absent)(struct vtfs_dev_sink *s, const struct vtfs_miss *m);
	/* Run a queue. The fds stay the transport's: the session duplicates.
	 * Negative: it can't be run (a ring area in no region, num out of
	 * range); the transport reports that its own way. Behind an IOMMU the
	 * ring must be mapped by now. */
	int (*start)(struct vtfs_dev_sink *s, const struct vtfs_queue_setup *q);
	/* May come while a queue runs (QEMU masks interrupts that way). */
	void (*set_call)(struct vtfs_dev_sink *s, unsigned vq, int fd);
	void (*set_kick)(struct vtfs_dev_sink *s, unsigned vq, int fd);
	void (*enable)(struct vtfs_dev_sink *s, unsigned vq, bool on);
	/* Begin to drain; ops.queue_stopped follows, perhaps before this
	 * returns. A queue that does not run is answered as well. */
	void (*stop)(struct vtfs_dev_sink *s, unsigned vq);
	/* Virtio reset: all queues end, the FUSE session ends; ops.reset_done
	 * follows when no byte of the peer can be touched any more. */
	void (*reset)(struct vtfs_dev_sink *s);
	/* The peer is gone: as reset, but no answer is expected; the transport
	 * has dropped its own state and may accept the next peer, whose sink
	 * calls wait until ops.reset_done. Answers owed before are dropped. */
	void (*lost)(struct vtfs_dev_sink *s, int error);
};
struct vtfs_dev_sink {
	const struct vtfs_dev_sink_ops *ops;
	const struct vtfs_log *log;
};

/* Is there a config space to show? Without a tag there is none: then whoever
 * carries the device to a driver has its own (QEMU), or tells the client. */
bool vtfs_config_there(struct vtfs_dev_sink *s);

struct vtfs_dev_ops {
	/* Called once, by device_new: the session is there. */
	int (*attach)(struct virtiofs_transport *t, struct vtfs_dev_sink *sink);
	int (*dispatch)(struct virtiofs_transport *t); /* 0, or fatal for all */
	void (*queue_stopped)(struct virtiofs_transport *t, unsigned vq,
			      uint16_t avail_base, uint16_t used_base);
	void (*table_retired)(struct virtiofs_transport *t, uint64_t cookie);
	void (*reset_done)(struct virtiofs_transport *t);
	/* Queue vq is broken: DEVICE_NEEDS_RESET, or an error fd. From
	 * dispatch. */
	void (*broken)(struct virtiofs_transport *t, unsigned vq);
	/* NULL: no IOMMU. The session wants to access m; sink.set_table or
	 * sink.absent may follow, even before this returns. The same may be
	 * asked again. From dispatch. */
	void (*miss)(struct virtiofs_transport *t, const struct vtfs_miss *m);
};

struct vtfs_share; /* mem/pool.h */
struct vtfs_cli_sink;
struct vtfs_cli_sink_ops {
	void (*config_changed)(struct vtfs_cli_sink *s);
	void (*lost)(struct vtfs_cli_sink *s, int error);
};
struct vtfs_cli_sink {
	const struct vtfs_cli_sink_ops *ops;
	const struct vtfs_log *log;
};

/* How a queue that was started is told of chains, and tells of used ones. */
struct vtfs_queue_line {
	struct vtfs_doorbell doorbell;
	/* Its calls come by this eventfd, not by setup's call_fd, because
	 * several share a vector; the transport's, until the queue ends. -1:
	 * by call_fd. */
	int shared_fd;
	bool mute; /* it does not call: to be polled */
};

struct vtfs_cli_ops {
	int (*attach)(struct virtiofs_transport *t, struct vtfs_cli_sink *sink);
	/* Reach the peer, or reach it again after -ENOTCONN. */
	int (*connect)(struct virtiofs_transport *t);
	int (*dispatch)(struct virtiofs_transport *t); /* 0 or -ENOTCONN */
	int (*get_features)(struct virtiofs_transport *t, uint64_t *ret);
	int (*set_features)(struct virtiofs_transport *t, uint64_t features);
	/* Virtqueues the device has, hiprio too; -EOPNOTSUPP: can't be asked.
	 */
	int (*queue_cnt)(struct virtiofs_transport *t, unsigned *ret);
	/* -EOPNOTSUPP: the device has no config space to read. */
	int (*get_config)(struct virtiofs_transport *t, void *buf, size_t len,
			  size_t off);
	int (*get_status)(struct virtiofs_transport *t, uint8_t *ret);
	int (*set_status)(struct virtiofs_transport *t, uint8_t status);
	/* Share memory; peer_addr is what descriptors then name. */
	int (*map)(struct virtiofs_transport *t,
		   const struct virtiofs_region *region,
		   uint64_t *ret_peer_addr);
	int (*unmap)(struct virtiofs_transport *t, uint64_t peer_addr);
	int (*start_queue)(struct virtiofs_transport *t,
			   const struct vtfs_queue_setup *q);
	/* Afterwards the device touches nothing of that queue. */
	int (*stop_queue)(struct virtiofs_transport *t, unsigned vq);
	/* The rest may be NULL, and never waits. */
	/* VHOST_USER_PROTOCOL_F_ bits in use. NULL: none. */
	uint64_t (*protocol_features)(struct virtiofs_transport *t);
	/* Virtio bits that belong to the transport: those to accept wherever
	 * the device offers them, given what the program asks for. NULL: 0. */
	uint64_t (*own_features)(struct virtiofs_transport *t, uint64_t asked);
	/* The most entries that any of the first cnt virtqueues may have,
	 * which is asked for before the rings are made; as other ops it may
	 * return -EAGAIN. NULL: any number. */
	int (*queue_max)(struct virtiofs_transport *t, unsigned cnt,
			 uint32_t *ret);
	/* Memory of ours that map takes, in one piece. NULL:
	 * vtfs_share_new(). */
	int (*alloc)(struct virtiofs_transport *t, size_t len,
		     struct vtfs_share *ret);
	/* After start_queue. NULL: kick_fd and call_fd. */
	void (*queue_line)(struct virtiofs_transport *t, unsigned vq,
			   struct vtfs_queue_line *ret);
};

/* Embedded at the start of each transport. */
struct virtiofs_transport {
	const char *name;		/* for messages: "vhost-user:PATH" */
	const struct vtfs_dev_ops *dev; /* one of the two is NULL */
	const struct vtfs_cli_ops *cli;
	void (*free)(struct virtiofs_transport *t);
	int (*fd)(const struct virtiofs_transport *t);
};

/* 0; -EPROTO with a text: VERSION_1 missing, or bits nobody offered. */
int vtfs_features_check(uint64_t offered, uint64_t accepted);
/* VTFS_VQ_ flags that these virtio bits mean. */
uint32_t vtfs_features_vq_flags(uint64_t features);

#endif
