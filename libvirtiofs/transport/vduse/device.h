/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VDUSE_DEVICE_H
#define VTFS_VDUSE_DEVICE_H
/*
 * A device that this process is, on the kernel's vDPA bus (VDUSE, Linux'
 * Documentation/userspace-api/vduse.rst).
 *
 * Theory of operation
 *
 * The kernel is the peer: it made the device from what attach() told it, and
 * carries whoever drives it, its own driver (virtio_vdpa) or a program
 * (vhost_vdpa). What the latter set up comes through unchecked.
 *
 * Messages. One at a time is read from the device's file, and the next one when
 * that was answered; what needs the session's time leaves wait != NOTHING. Who
 * sent it waits for the answer, and after 30 s (msg_timeout in sysfs) the
 * kernel gives the device up for good: then dispatch fails.
 *
 * Start. DRIVER_OK comes as a message; the kernel takes interrupts only once
 * its answer was acted on. So the queues start a little later, when injecting
 * one works: starting is true, and a timer looks again.
 *
 * Memory. Descriptors name I/O addresses. Nothing is mapped in advance: the
 * session misses what it needs, and VDUSE_IOTLB_GET_FD has the file and the
 * range. One such range is one region and one map. The kernel tells of changes
 * by UPDATE_IOTLB, if a program drives the device; its own driver's memory
 * changes with a reset only, and goes with it. One table is under way at a
 * time (owed); what changes meanwhile makes the next one (dirty).
 *
 * The device outlives this process. Whoever attaches next finds it (EEXIST) and
 * goes on; the kernel has no word on what was in flight. A split ring is told
 * by a record, a file in /run that its queues keep while they run (struct
 * vtfs_vq_record): those requests are taken again. Without one (IN_ORDER needs
 * none; packed rings have none, for used elements overwrite the descriptors of
 * what is in flight; /run can't be written) the ring goes on where its used
 * index is, a packed one where its driver last asked for an interrupt: right if
 * all were answered in the order in which they came. To the new session such
 * requests come before INIT: they get -EIO, and none is carried out twice.
 */
#include <limits.h>
#include <linux/vduse.h>
#include <stdbool.h>
#include <stdint.h>

#include "transport/status.h"
#include "transport/vduse/vduse.h"

#define VDUSE_START_MAX 64u	 /* queues that begin at once */
#define VDUSE_POLL_NS	1000000L /* between two looks while starting */
#define VDUSE_POLLS_MAX 5000u

enum vduse_wait {
	VDUSE_WAIT_NOTHING,
	VDUSE_WAIT_STATE, /* queue_stopped of vqs[asked] */
	VDUSE_WAIT_RESET,
	VDUSE_WAIT_TABLE,
};

struct vduse_vq {
	int kick;	/* eventfd, the kernel's too while the queue runs */
	bool running;	/* told to the session */
	bool dead;	/* can't run before a reset */
	bool stopped;	/* it ran, until here: */
	uint16_t avail; /* as in struct vtfs_queue_setup */
	uint16_t used;
};

struct vduse_map {
	struct vtfs_region *region;
	unsigned access; /* VTFS_MAP_ */
};

struct vduse_mem {
	struct vduse_map maps[VTFS_REGION_MAX]; /* by address */
	unsigned cnt;
	uint64_t ids[VTFS_REGION_WORDS];  /* in use, or not retired yet */
	uint64_t told[VTFS_REGION_WORDS]; /* of the last table */
	uint64_t cookie;
	bool owed;  /* table_retired of cookie */
	bool dirty; /* maps differ from the last table */
};

struct vduse_record {
	int dir;   /* of file; -1 */
	int fd;	   /* until it is mapped; -1 */
	void *map; /* NULL: there is none */
	size_t len;
	char file[NAME_MAX + 1];
};

struct vduse_device {
	struct virtiofs_transport base;
	char *name;
	const char *dev_name; /* within name */
	struct vtfs_dev_sink *sink;
	int control; /* /dev/vduse/control */
	int dir;     /* /dev/vduse: the device is found from a chroot too */
	int dev;     /* -1: not attached */
	int ep;	     /* what fd() gives: dev, wake, timer */
	int wake;
	int timer;
	bool ticks;   /* timer runs */
	bool made;    /* by us, in the kernel */
	bool polled;  /* dev is asked for messages */
	bool resumed; /* the driver had started before we came */
	bool starting;
	unsigned polls; /* since it began */
	enum vduse_wait wait;
	unsigned asked;
	bool handling; /* req waits for its answer */
	struct vduse_dev_request req;
	struct vtfs_status status;
	struct vduse_vq *vqs;
	unsigned vq_cnt;
	struct vduse_mem mem;
	struct vduse_record record;
};

/* device.c */
/* Features that we offer on this bus. */
uint64_t vtfs_vduse_offered(const struct vduse_device *d);

/* device_msg.c */
/* Begin with what is in req, or go on with it: answered when this returns with
 * wait == NOTHING. */
void vtfs_vduse_handle(struct vduse_device *d);
void vtfs_vduse_resume(struct vduse_device *d);
void vtfs_vduse_reset_done(struct vduse_device *d);
/* What the kernel has chosen for the driver. */
int vtfs_vduse_choose(struct vduse_device *d);

/* device_vq.c */
int vtfs_vduse_vqs_make(struct vduse_device *d);
void vtfs_vduse_vqs_free(struct vduse_device *d);
/* Start what the driver made ready, if the kernel takes interrupts by now.
 * False: not all of it yet. */
bool vtfs_vduse_vqs_start(struct vduse_device *d);
/* One again, where it stopped. */
void vtfs_vduse_vq_restart(struct vduse_device *d, unsigned vq);
/* Nothing is known of them any more. */
void vtfs_vduse_vqs_forget(struct vduse_device *d);

/* record.c */
void vtfs_vduse_record_open(struct vduse_device *d);
/* Once the device is ours. One that can't be had is no fault. */
int vtfs_vduse_record_map(struct vduse_device *d);
/* Of a queue that begins, or goes on; NULL: none that is right. */
struct vtfs_vq_record *vtfs_vduse_record_of(const struct vduse_device *d,
					    const struct vtfs_queue_setup *q,
					    bool goes_on);
void vtfs_vduse_record_clear(const struct vduse_device *d, unsigned vq);
/* is_gone: the device, too. */
void vtfs_vduse_record_free(struct vduse_device *d, bool is_gone);

/* memory.c */
/* Find what is not mapped of [addr, addr + len). 1: something is new; 0; or
 * -EFAULT: a byte is nowhere, or not to be accessed so. */
int vtfs_vduse_mem_find(struct vduse_device *d, uint64_t addr, uint64_t len,
			unsigned access);
/* Drop what the kernel has changed of [start, last]. */
void vtfs_vduse_mem_update(struct vduse_device *d, uint64_t start,
			   uint64_t last);
void vtfs_vduse_mem_clear(struct vduse_device *d);
/* Tell the session what changed. -ENOMEM. */
int vtfs_vduse_mem_publish(struct vduse_device *d);
void vtfs_vduse_mem_retired(struct vduse_device *d, uint64_t cookie);
/* Is all of it known to the session, and nothing else in use? */
bool vtfs_vduse_mem_settled(const struct vduse_device *d);
#endif
