/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages of the kernel's, and their answers. */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/error.h"
#include "transport/vduse/device.h"
#include "wire/virtio.h"

/* False: whoever asked does not wait any more. */
static bool answer(struct vduse_device *d, struct vduse_dev_response *a)
{
	ssize_t n;

	a->request_id = d->req.request_id;
	d->handling = false;
	n = write(d->dev, a, sizeof(*a));
	return n == (ssize_t)sizeof(*a);
}

static bool say(struct vduse_device *d, uint32_t result)
{
	struct vduse_dev_response a = {.result = result};

	return answer(d, &a);
}

/* The text of the fault is there. */
static void refuse(struct vduse_device *d)
{
	vtfs_log(d->sink->log, LOG_WARNING, "%s: refused: %s", d->base.name,
		 virtiofs_last_error());
	say(d, VDUSE_REQ_RESULT_FAILED);
}

/* ---- GET_VQ_STATE: a queue that runs is stopped to know, and goes on ---- */

static void say_state(struct vduse_device *d)
{
	const struct vduse_vq *v = &d->vqs[d->asked];
	struct vduse_dev_response a = {.vq_state.index = d->asked};
	struct vduse_vq_state_packed *p = &a.vq_state.packed;

	if (d->status.features & VIRTIOFS_F_RING_PACKED) {
		p->last_avail_idx = v->avail & 0x7fff;
		p->last_avail_counter = v->avail >> 15;
		p->last_used_idx = v->used & 0x7fff;
		p->last_used_counter = v->used >> 15;
	} else {
		a.vq_state.split.avail_index = v->avail;
	}
	answer(d, &a);
}

/* One that never ran is where the kernel was told that it is. */
static void recall_state(struct vduse_device *d)
{
	struct vduse_vq_info info = {.index = d->asked};
	struct vduse_dev_response a = {.vq_state.index = d->asked};

	if (ioctl(d->dev, VDUSE_VQ_GET_INFO, &info) < 0) {
		vtfs_fail_sys(-errno, "state of queue %u", d->asked);
		refuse(d);
		return;
	}
	if (d->status.features & VIRTIOFS_F_RING_PACKED)
		a.vq_state.packed = info.packed;
	else
		a.vq_state.split = info.split;
	answer(d, &a);
}

static void get_state(struct vduse_device *d)
{
	uint32_t vq = d->req.vq_state.index;

	if (vq >= d->vq_cnt) {
		vtfs_fail(-EINVAL, "state of queue %u of %u", vq, d->vq_cnt);
		refuse(d);
		return;
	}
	d->asked = vq;
	if (d->vqs[vq].running) {
		d->wait = VDUSE_WAIT_STATE;
		d->sink->ops->stop(d->sink, vq);
	} else if (d->vqs[vq].stopped) {
		say_state(d);
	} else {
		recall_state(d);
	}
}

/* ---- SET_STATUS ---- */

int vtfs_vduse_choose(struct vduse_device *d)
{
	uint64_t features;
	int r;

	if (ioctl(d->dev, VDUSE_DEV_GET_FEATURES, &features) < 0)
		return vtfs_fail_sys(-errno, "VDUSE_DEV_GET_FEATURES");
	r = vtfs_status_choose(&d->status, vtfs_vduse_offered(d), features);
	if (r < 0)
		return r;
	if (!(features & VTFS_F_ACCESS_PLATFORM))
		return vtfs_fail(-EPROTO, "the driver's addresses would not be "
					  "translated");
	d->sink->ops->accept(d->sink, features);
	return 0;
}

/* The status of the driver's that begin goes on from, should it have left. */
static void write_status(struct vduse_device *d, uint8_t value)
{
	struct vtfs_status old = d->status;
	uint8_t fresh;
	int r = 0;

	if (value & ~old.bits & VTFS_STATUS_FEATURES_OK)
		r = vtfs_vduse_choose(d);
	if (r < 0) {
		d->status = old;
		refuse(d);
		return;
	}
	fresh = vtfs_status_write(&d->status, value);
	/* NEEDS_RESET is no bit that the kernel keeps. */
	if ((d->status.bits & ~VTFS_STATUS_NEEDS_RESET) !=
	    (value & ~VTFS_STATUS_NEEDS_RESET)) {
		vtfs_fail(-EPROTO, "status %#x after %#x", value, old.bits);
		d->status = old;
		refuse(d);
		return;
	}
	if (!say(d, VDUSE_REQ_RESULT_OK)) {
		d->status = old;
		return;
	}
	if (fresh & VTFS_STATUS_DRIVER_OK) {
		d->starting = vtfs_status_live(&d->status);
		d->resumed = false;
		d->polls = 0;
	}
}

static void begin_reset(struct vduse_device *d)
{
	d->starting = d->resumed = false;
	d->wait = VDUSE_WAIT_RESET;
	d->sink->ops->reset(d->sink);
}

static void set_status(struct vduse_device *d)
{
	uint8_t value = d->req.s.status;

	/* A driver that gave up will not say what it did with its memory. */
	if (!value || value & VTFS_STATUS_FAILED)
		begin_reset(d);
	else
		write_status(d, value);
}

/* Queues are gone; their memory goes next. */
static void after_reset(struct vduse_device *d)
{
	vtfs_vduse_vqs_forget(d);
	vtfs_vduse_mem_clear(d);
	d->wait = VDUSE_WAIT_TABLE;
}

/* ---- UPDATE_IOTLB ---- */

static void update_memory(struct vduse_device *d)
{
	const struct vduse_iova_range *range = &d->req.iova;

	if (range->start > range->last) {
		vtfs_fail(-EINVAL, "memory from %#llx to %#llx changed",
			  (unsigned long long)range->start,
			  (unsigned long long)range->last);
		refuse(d);
		return;
	}
	vtfs_vduse_mem_update(d, range->start, range->last);
	d->wait = VDUSE_WAIT_TABLE;
}

/* ---- any ---- */

static void after_table(struct vduse_device *d)
{
	if (d->req.type == VDUSE_SET_STATUS) {
		uint8_t failed = d->req.s.status;

		vtfs_status_reset(&d->status);
		d->status.bits = failed;
	}
	say(d, VDUSE_REQ_RESULT_OK);
}

void vtfs_vduse_resume(struct vduse_device *d)
{
	enum vduse_wait was = d->wait;

	switch (was) {
	case VDUSE_WAIT_STATE:
		if (d->vqs[d->asked].running)
			return;
		d->wait = VDUSE_WAIT_NOTHING;
		say_state(d);
		if (vtfs_status_live(&d->status))
			vtfs_vduse_vq_restart(d, d->asked);
		return;
	case VDUSE_WAIT_TABLE:
		if (vtfs_vduse_mem_publish(d) < 0) {
			d->wait = VDUSE_WAIT_NOTHING;
			refuse(d);
		} else if (vtfs_vduse_mem_settled(d)) {
			d->wait = VDUSE_WAIT_NOTHING;
			after_table(d);
		}
		return;
	default:
		return;
	}
}

void vtfs_vduse_reset_done(struct vduse_device *d)
{
	if (d->wait == VDUSE_WAIT_RESET)
		after_reset(d);
}

void vtfs_vduse_handle(struct vduse_device *d)
{
	d->handling = true;
	switch (d->req.type) {
	case VDUSE_GET_VQ_STATE:
		get_state(d);
		break;
	case VDUSE_SET_STATUS:
		set_status(d);
		break;
	case VDUSE_UPDATE_IOTLB:
		update_memory(d);
		break;
	default:
		vtfs_fail(-EOPNOTSUPP, "message %u", d->req.type);
		refuse(d);
	}
	vtfs_vduse_resume(d);
}
