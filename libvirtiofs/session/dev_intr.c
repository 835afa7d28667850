/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Telling the program that somebody no longer wants a result. The run of a
 * queue can't go while holds is not 0; holds is raised under runs_lock, under
 * which dispatch takes the run out of the queue.
 */
#include "session/dev.h"

void vtfs_slot_tell(struct vtfs_run *run, struct vtfs_slot *s)
{
	struct virtiofs_device *dev = run->q->dev;

	if (vtfs_slot_interrupt(s) && dev->ops.interrupt)
		dev->ops.interrupt(&s->req, dev->userdata);
	if (vtfs_slot_unhold(run->slots, s))
		vtfs_devq_wake(run->q);
}

/* Dispatch looks at holds under the same lock before it frees a run. */
static void let_go(struct virtiofs_device *dev, struct vtfs_run *run)
{
	bool awaited;

	pthread_mutex_lock(&dev->runs_lock);
	run->holds--;
	awaited = __atomic_load_n(&run->watch, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&dev->runs_lock);
	if (awaited)
		vtfs_device_wake(dev);
}

static struct vtfs_run *get_run(struct virtiofs_device *dev, unsigned i)
{
	struct vtfs_run *run;

	pthread_mutex_lock(&dev->runs_lock);
	run = dev->queues[i].run;
	if (run)
		run->holds++;
	pthread_mutex_unlock(&dev->runs_lock);
	return run;
}

/* True: that was it. */
static bool find_in(struct virtiofs_device *dev, unsigned i, uint64_t unique)
{
	struct vtfs_run *run = get_run(dev, i);
	struct vtfs_slot *s;
	bool wake = false;
	bool mine;

	if (!run)
		return false;
	s = vtfs_interrupt_find(run->slots, unique, &wake);
	/* Its queue's owner may have taken the entry at the same time. */
	mine = s && vtfs_pending_claim(&dev->pending, unique, false);
	if (mine)
		vtfs_slot_tell(run, s);
	else if (s)
		wake |= vtfs_slot_unhold(run->slots, s);
	if (wake)
		vtfs_devq_wake(run->q);
	let_go(dev, run);
	return s;
}

void vtfs_device_interrupt(struct virtiofs_device *dev, uint64_t unique)
{
	if (!unique)
		return;
	vtfs_pending_enter(&dev->pending, unique);
	for (unsigned i = 0; i < dev->queue_cnt; i++)
		if (find_in(dev, i, unique))
			return;
}

static bool touches(const struct vtfs_slot *s, const uint64_t *regions)
{
	for (unsigned w = 0; regions && w < VTFS_REGION_WORDS; w++)
		if (s->regions[w] & regions[w])
			return true;
	return !regions;
}

void vtfs_run_interrupt(struct vtfs_run *run, const uint64_t *regions,
			const struct vtfs_slot *except)
{
	for (unsigned i = 0; run->slots && i < run->slots->cnt; i++) {
		struct vtfs_slot *s = &run->slots->slots[i];

		if (s == except || !vtfs_slot_hold(s))
			continue;
		/* Held, its regions don't change any more. */
		if (touches(s, regions))
			vtfs_slot_tell(run, s);
		else if (vtfs_slot_unhold(run->slots, s))
			vtfs_devq_wake(run->q);
	}
}

bool vtfs_run_is_held(struct virtiofs_device *dev, const struct vtfs_run *run)
{
	bool held;

	pthread_mutex_lock(&dev->runs_lock);
	held = run->holds != 0;
	pthread_mutex_unlock(&dev->runs_lock);
	return held;
}
