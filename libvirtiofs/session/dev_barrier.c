/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * INIT and DESTROY: see "A barrier" in dev.h. With RAW_INIT the program answers
 * them; the barrier then stands until it has.
 */
#include "session/dev.h"

#include <errno.h>

#include "fuse/init.h"

static void get_limits(const struct virtiofs_device *dev,
		       struct vtfs_init_limits *lim)
{
	uint32_t direct = 0;

	lim->max_background = 0;
	for (unsigned i = 1; i < dev->queue_cnt; i++) {
		const struct virtiofs_devq *q = &dev->queues[i];

		if (q->state == VTFS_DEVQ_IDLE)
			continue;
		lim->max_background += q->setup.num;
		if (!direct || q->setup.num < direct)
			direct = q->setup.num;
	}
	if (dev->features & VIRTIOFS_F_INDIRECT_DESC)
		direct = 0;
	lim->max_write = dev->opts.max_write;
	lim->max_pages = vtfs_init_pages(lim->max_write, direct);
}

void vtfs_device_end_session(struct virtiofs_device *dev)
{
	__atomic_store_n(&dev->open, 0, __ATOMIC_RELEASE);
	vtfs_notes_drop(dev);
	vtfs_pending_clear(&dev->pending);
	if (!dev->session)
		return;
	dev->session = false;
	vtfs_log(&dev->log, LOG_DEBUG, "FUSE session ended");
	if (dev->ops.reset)
		dev->ops.reset(dev->userdata);
}

static void open_session(struct virtiofs_device *dev,
			 const struct fuse_init_in *in,
			 const struct fuse_init_out *out)
{
	vtfs_init_proto(in, out, &dev->rules.proto, &dev->rules.max_write);
	__atomic_store_n(&dev->open, 1, __ATOMIC_RELEASE);
}

/* Was q outside its gate at some time since the barrier? Then it will take
 * nothing more. */
static bool is_outside(struct virtiofs_devq *q)
{
	if (q->quiet)
		return true;
	if (!vtfs_gate_try(q))
		return false;
	q->quiet = true;
	q->quiet_unseen = (q->held != NULL) + q->parked_cnt;
	vtfs_gate_leave(q);
	return true;
}

/* Everything of q but the barrier is answered. */
static bool is_quiet(struct virtiofs_devq *q, const struct vtfs_slot *barrier)
{
	uint32_t unseen = 0;

	if (!q->run)
		return true;
	__atomic_store_n(&q->run->watch, 1, __ATOMIC_SEQ_CST);
	if (!is_outside(q))
		return false;
	/* What is held or parked was taken, but nobody has seen it. */
	unseen += q->quiet_unseen;
	unseen += barrier->run == q->run;
	return vtfs_run_inflight(q->run) == unseen;
}

/* Does ops.interrupt still run in another thread? */
static bool are_held(struct virtiofs_device *dev)
{
	bool held = false;

	for (unsigned i = 0; i < dev->queue_cnt; i++)
		held |= dev->queues[i].run &&
			vtfs_run_is_held(dev, dev->queues[i].run);
	return held;
}

static bool are_quiet(struct virtiofs_device *dev,
		      const struct vtfs_slot *barrier)
{
	bool quiet = true;

	for (unsigned i = 1; i < dev->queue_cnt; i++)
		quiet &= is_quiet(&dev->queues[i], barrier);
	if (!quiet)
		return false;
	/* Until here an INTERRUPT could end what was awaited. */
	__atomic_store_n(&dev->hiprio_closed, 1, __ATOMIC_SEQ_CST);
	return is_quiet(&dev->queues[VIRTIOFS_QUEUE_HIPRIO], barrier) &&
	       !are_held(dev);
}

static void tell_all(struct virtiofs_device *dev, const struct vtfs_slot *s)
{
	for (unsigned i = 0; i < dev->queue_cnt; i++)
		if (dev->queues[i].run)
			vtfs_run_interrupt(dev->queues[i].run, NULL, s);
}

static void answer_init(struct virtiofs_device *dev, struct vtfs_slot *s)
{
	const struct fuse_init_in *in = s->req.arg;
	const struct vtfs_init_limits *lim = &dev->limits;
	struct fuse_init_out out;
	struct iovec iov = {&out, sizeof(out)};
	int r = vtfs_init_check(in);

	if (r < 0) {
		vtfs_log(&dev->log, LOG_WARNING, "%s", virtiofs_last_error());
		vtfs_frame_error(s, r);
		return;
	}
	get_limits(dev, &dev->limits);
	vtfs_init_answer(in, lim, &out);
	if (r == 0 && dev->ops.init) {
		dev->ops.init(in, &out, dev->userdata);
		vtfs_init_confine(in, lim, &out);
	}
	if (vtfs_frame_reply(s, &iov, 1) < 0) {
		vtfs_frame_error(s, -EIO);
		return;
	}
	if (r > 0)
		return;
	open_session(dev, in, &out);
	dev->session = true;
	vtfs_log(&dev->log, LOG_DEBUG, "FUSE session 7.%u, max_write %u",
		 out.minor, out.max_write);
}

static void answer(struct virtiofs_device *dev, struct vtfs_slot *s)
{
	if (__atomic_load_n(&s->run->lost, __ATOMIC_ACQUIRE))
		;
	else if (s->op->opcode == FUSE_INIT)
		answer_init(dev, s);
	else
		vtfs_frame_error(s, 0);
	s->verdict = VTFS_VERDICT_DONE;
}

static void lift(struct virtiofs_device *dev)
{
	__atomic_store_n(&dev->hiprio_closed, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&dev->barrier, NULL, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < dev->queue_cnt; i++)
		vtfs_devq_wake(&dev->queues[i]);
}

/* Back to the queue's owner, who gives it back or hands it out. */
static void pass_on(struct vtfs_slot *s)
{
	struct virtiofs_devq *q = s->run->q;

	__atomic_store_n(&q->ready, s, __ATOMIC_RELEASE);
	vtfs_devq_wake(q);
}

bool vtfs_device_settle_barrier(struct virtiofs_device *dev)
{
	struct vtfs_slot *s = __atomic_load_n(&dev->barrier, __ATOMIC_SEQ_CST);

	if (!s || dev->barrier_handed)
		return false;
	if (!are_quiet(dev, s)) {
		tell_all(dev, s);
		return false;
	}
	for (unsigned i = 0; i < dev->queue_cnt; i++)
		dev->queues[i].quiet = false;
	if (dev->rules.raw &&
	    !__atomic_load_n(&s->run->lost, __ATOMIC_ACQUIRE)) {
		if (s->op->opcode == FUSE_INIT)
			vtfs_device_end_session(dev);
		/* For the reply, which may come in another thread. */
		get_limits(dev, &dev->limits);
		dev->barrier_handed = true;
		s->raw_init = true;
		pass_on(s);
		return true;
	}
	vtfs_device_end_session(dev);
	answer(dev, s);
	pass_on(s);
	lift(dev);
	return true;
}

void vtfs_device_raw_drop(struct virtiofs_device *dev)
{
	dev->barrier_handed = false;
	lift(dev);
}

void vtfs_device_raw_reply(struct virtiofs_device *dev,
			   const struct vtfs_slot *s, struct fuse_init_out *out)
{
	const struct fuse_init_in *in = s->req.arg;

	if (s->op->opcode == FUSE_DESTROY) {
		__atomic_store_n(&dev->open, 0, __ATOMIC_RELEASE);
		vtfs_notes_drop(dev);
		dev->session = false;
	}
	if (out && in->major == FUSE_KERNEL_VERSION &&
	    out->major == FUSE_KERNEL_VERSION) {
		vtfs_init_confine(in, &dev->limits, out);
		open_session(dev, in, out);
		dev->session = true;
	}
	vtfs_device_raw_drop(dev);
}
