/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session/dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/error.h"

#define EVENTS	 32
#define INTERVAL 16u
#define BUDGET	 1024u
/* Then the caller's other fds have a turn. */
#define DISPATCH       256u
#define INTERRUPTS     64u
#define INTERRUPTS_MAX 4096u
#define NOTIFICATIONS  64u

#define FEATURES_KNOWN                                                         \
	(VIRTIOFS_F_INDIRECT_DESC | VIRTIOFS_F_EVENT_IDX |                     \
	 VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_PACKED | VIRTIOFS_F_IN_ORDER | \
	 VIRTIOFS_F_RING_RESET)
#define FLAGS_KNOWN                                                            \
	(VIRTIOFS_DEVICE_RAW_INIT | VIRTIOFS_DEVICE_SHARED_REPLY |             \
	 VIRTIOFS_DEVICE_LATENCY)

/* ---- options ---- */

/* A struct of the caller's, which may be older or newer than ours. */
static int copy_struct(void *dst, size_t len, const void *src, const char *name)
{
	size_t size;

	memcpy(&size, src, sizeof(size));
	if (size < sizeof(size))
		return vtfs_fail(-EINVAL, "%s: size is not set", name);
	for (size_t i = len; i < size; i++)
		if (((const char *)src)[i])
			return vtfs_fail(-E2BIG,
					 "%s has fields that this "
					 "library does not know",
					 name);
	memset(dst, 0, len);
	memcpy(dst, src, vtfs_min_size(len, size));
	return 0;
}

static void set_defaults(struct virtiofs_device_opts *o)
{
	if (!o->num_request_queues)
		o->num_request_queues = 1;
	if (!o->queue_size)
		o->queue_size = 1024;
	if (!o->max_write)
		o->max_write = 1024 * 1024;
	if (!o->hiprio_interval)
		o->hiprio_interval = INTERVAL;
	if (!o->forget_budget)
		o->forget_budget = BUDGET;
	if (!o->interrupts_max)
		o->interrupts_max = INTERRUPTS;
	if (!o->dispatch_max)
		o->dispatch_max = DISPATCH;
	if (!o->features)
		o->features = VIRTIOFS_FEATURES_DEFAULT;
	if (!o->notify_backlog)
		o->notify_backlog = NOTIFICATIONS;
}

static int check_opts(const struct virtiofs_device_opts *o)
{
	if (o->tag && strlen(o->tag) > VIRTIOFS_TAG_MAX)
		return vtfs_fail(-EINVAL,
				 "tag \"%.48s\" is longer than %u bytes",
				 o->tag, VIRTIOFS_TAG_MAX);
	if (o->num_request_queues >= VTFS_DEV_QUEUES_MAX)
		return vtfs_fail(-EINVAL, "%u request queues: at most %u",
				 o->num_request_queues,
				 VTFS_DEV_QUEUES_MAX - 1);
	if (o->queue_size > VTFS_VQ_NUM_MAX || !vtfs_is_pow2(o->queue_size))
		return vtfs_fail(-EINVAL,
				 "queue size %u is no power of two up "
				 "to %u",
				 o->queue_size, VTFS_VQ_NUM_MAX);
	if (o->max_write < VTFS_INIT_PAGE)
		return vtfs_fail(-EINVAL, "max_write %u is below %u",
				 o->max_write, VTFS_INIT_PAGE);
	if (o->interrupts_max > INTERRUPTS_MAX)
		return vtfs_fail(-EINVAL, "interrupts_max %u is above %u",
				 o->interrupts_max, INTERRUPTS_MAX);
	if (o->notify_buf_size && (o->notify_buf_size < VTFS_NOTIFY_BUF_MIN ||
				   o->notify_buf_size > VTFS_NOTIFY_BUF_MAX))
		return vtfs_fail(-EINVAL, "notify_buf_size %u, not %u to %u",
				 o->notify_buf_size, VTFS_NOTIFY_BUF_MIN,
				 VTFS_NOTIFY_BUF_MAX);
	if (o->flags & ~FLAGS_KNOWN)
		return vtfs_fail(-EINVAL, "unknown device flags 0x%x",
				 o->flags & ~FLAGS_KNOWN);
	if (o->features & ~FEATURES_KNOWN)
		return vtfs_fail(
		    -EOPNOTSUPP,
		    "virtio features 0x%llx are not "
		    "there to be offered",
		    (unsigned long long)(o->features & ~FEATURES_KNOWN));
	if (!(o->features & VIRTIOFS_F_VERSION_1))
		return vtfs_fail(-EINVAL, "VERSION_1 has to be offered");
	return 0;
}

static int set_opts(struct virtiofs_device *dev,
		    const struct virtiofs_device_ops *ops,
		    const struct virtiofs_device_opts *opts)
{
	int r = copy_struct(&dev->ops, sizeof(dev->ops), ops, "device_ops");

	if (r >= 0 && opts)
		r = copy_struct(&dev->opts, sizeof(dev->opts), opts,
				"device_opts");
	if (r < 0)
		return r;
	if (!dev->ops.request)
		return vtfs_fail(-EINVAL, "device_ops without request");
	set_defaults(&dev->opts);
	r = check_opts(&dev->opts);
	if (r < 0)
		return r;
	if (dev->opts.tag)
		memcpy(dev->tag, dev->opts.tag, strlen(dev->opts.tag));
	dev->opts.tag = NULL;
	dev->log = (struct vtfs_log){dev->opts.log, dev->opts.log_data,
				     dev->opts.log_level};
	dev->rules.raw = dev->opts.flags & VIRTIOFS_DEVICE_RAW_INIT;
	dev->rules.max_write = dev->opts.max_write;
	dev->rules.proto.minor = FUSE_KERNEL_MINOR_VERSION;
	return 0;
}

/* ---- life ---- */

static void free_parts(struct virtiofs_device *dev)
{
	for (unsigned i = 0; i < dev->all_cnt; i++)
		vtfs_devq_fini(&dev->queues[i]);
	free(dev->queues);
	vtfs_notes_fini(dev);
	vtfs_device_fini_fds(dev);
	vtfs_peermem_put(dev->mem);
	vtfs_pending_fini(&dev->pending);
	pthread_mutex_destroy(&dev->misses.lock);
	pthread_mutex_destroy(&dev->runs_lock);
	free(dev);
}

static int init_queues(struct virtiofs_device *dev)
{
	unsigned queues = dev->opts.num_request_queues + 1;
	unsigned cnt = queues + (dev->opts.notify_buf_size != 0);
	size_t len = cnt * sizeof(*dev->queues);
	int r = 0;

	dev->queues = aligned_alloc(VTFS_CACHELINE, len);
	if (!dev->queues)
		return -ENOMEM;
	memset(dev->queues, 0, len);
	dev->queue_cnt = queues;
	if (cnt > queues)
		dev->notes.q = &dev->queues[queues];
	for (unsigned i = 0; i < cnt && r >= 0; i++) {
		r = vtfs_devq_init(&dev->queues[i], dev, i);
		dev->all_cnt++;
	}
	return r;
}

static int build(struct virtiofs_device *dev,
		 const struct virtiofs_device_ops *ops,
		 const struct virtiofs_device_opts *opts)
{
	int r = set_opts(dev, ops, opts);

	if (r < 0)
		return r;
	if (!dev->t->dev)
		return vtfs_fail(-EINVAL, "%s is no device end", dev->t->name);
	dev->mem = vtfs_peermem_new();
	if (!dev->mem)
		return -ENOMEM;
	r = vtfs_pending_init(&dev->pending, dev->opts.interrupts_max);
	if (r >= 0)
		r = vtfs_device_init_fds(dev);
	if (r >= 0)
		r = init_queues(dev);
	if (r < 0)
		return r;
	dev->sink.ops = &vtfs_device_sink_ops;
	dev->sink.log = &dev->log;
	return dev->t->dev->attach(dev->t, &dev->sink);
}

int virtiofs_device_new(struct virtiofs_device **ret,
			struct virtiofs_transport *t,
			const struct virtiofs_device_ops *ops,
			const struct virtiofs_device_opts *opts, void *userdata)
{
	struct virtiofs_device *dev = calloc(1, sizeof(*dev));
	int r;

	if (!dev) {
		virtiofs_transport_free(t);
		return -ENOMEM;
	}
	dev->t = t;
	dev->userdata = userdata;
	dev->ep = dev->wake = dev->stop_fd = -1;
	pthread_mutex_init(&dev->runs_lock, NULL);
	pthread_mutex_init(&dev->misses.lock, NULL);
	vtfs_notes_init(dev);
	r = build(dev, ops, opts);
	if (r < 0) {
		virtiofs_transport_free(t);
		free_parts(dev);
		return r;
	}
	*ret = dev;
	return 0;
}

/* What was taken and not handed out goes back unserved; what was, stays legal
 * to answer. */
static void drop_queue(struct virtiofs_devq *q)
{
	struct vtfs_slot *s;

	vtfs_devq_flush(q);
	if (q->held)
		vtfs_devq_stage(q, q->held);
	s = __atomic_load_n(&q->ready, __ATOMIC_ACQUIRE);
	if (s)
		vtfs_devq_stage(q, s);
	while ((s = q->forgets) != NULL) {
		q->forgets = s->staged;
		vtfs_devq_stage(q, s);
	}
	while ((s = q->parked) != NULL) {
		q->parked = s->staged;
		vtfs_devq_stage(q, s);
	}
	if (q->run)
		__atomic_store_n(&q->run->lost, 1, __ATOMIC_SEQ_CST);
	vtfs_devq_flush(q);
	if (q->run && q->run->mapped) {
		pthread_mutex_lock(&q->run->push_lock);
		vtfs_run_push_late(q->run, q->have);
		pthread_mutex_unlock(&q->run->push_lock);
	}
}

static void free_queue(struct virtiofs_devq *q)
{
	vtfs_devq_collect(q);
	for (unsigned i = 0; i < VTFS_CONFS; i++) {
		if (!q->confs[i].used)
			continue;
		vtfs_table_put(q->confs[i].table);
		vtfs_call_put(q->confs[i].call);
	}
	vtfs_call_put(q->call);
	vtfs_run_free(q->run_ending);
	if (q->run)
		vtfs_run_orphan(q->run);
}

static void drop_barrier(struct virtiofs_device *dev)
{
	struct vtfs_slot *s = __atomic_load_n(&dev->barrier, __ATOMIC_ACQUIRE);

	if (!s)
		return;
	s->raw_init = false;
	if (!dev->barrier_handed)
		vtfs_devq_stage(s->run->q, s);
}

void virtiofs_device_free(struct virtiofs_device *dev)
{
	if (!dev)
		return;
	drop_barrier(dev);
	for (unsigned i = 0; i < dev->all_cnt; i++) {
		drop_queue(&dev->queues[i]);
		free_queue(&dev->queues[i]);
	}
	virtiofs_transport_free(dev->t);
	free_parts(dev);
}

void virtiofs_device_stop(struct virtiofs_device *dev)
{
	__atomic_store_n(&dev->stopped, 1, __ATOMIC_RELEASE);
	vtfs_evfd_signal(dev->stop_fd);
}

int virtiofs_device_fd(const struct virtiofs_device *dev)
{
	return dev->ep;
}

/* ---- dispatch ---- */

static bool is_ours(const struct virtiofs_devq *q)
{
	return !__atomic_load_n(&q->taken, __ATOMIC_ACQUIRE);
}

/* hiprio's turn, if it has come: at the start, and after so many requests. */
static unsigned serve_hiprio(struct virtiofs_device *dev, unsigned *left)
{
	if (*left)
		return 0;
	*left = dev->opts.hiprio_interval;
	return is_ours(dev->queues) ? vtfs_devq_serve(dev->queues, *left) : 0;
}

/* A request queue's turn in a round; hiprio may have its own in between. */
static unsigned serve_turn(struct virtiofs_device *dev, struct virtiofs_devq *q,
			   unsigned *left)
{
	unsigned turn = dev->opts.hiprio_interval;
	unsigned done = 0;
	unsigned want, n;

	do {
		done += serve_hiprio(dev, left);
		want = vtfs_min_u32(vtfs_min_u32(turn, *left), VTFS_SERVE_MAX);
		n = vtfs_devq_serve(q, want);
		done += n;
		turn -= n;
		*left -= n;
	} while (turn && n == want);
	return done;
}

/* One turn for each request queue, beginning one further on than the last time
 * that any had something. */
static unsigned serve_round(struct virtiofs_device *dev, unsigned *left)
{
	unsigned cnt = dev->queue_cnt - 1;
	unsigned done = serve_hiprio(dev, left);

	for (unsigned i = 0; i < cnt; i++) {
		struct virtiofs_devq *q = &dev->queues[1 + (dev->rr + i) % cnt];

		if (is_ours(q))
			done += serve_turn(dev, q, left);
	}
	dev->rr = (dev->rr + !!done) % cnt;
	return done;
}

static bool arm_all(struct virtiofs_device *dev)
{
	bool more = false;

	for (unsigned i = 0; i < dev->queue_cnt; i++)
		if (is_ours(&dev->queues[i]))
			more |= vtfs_devq_arm(&dev->queues[i]);
	return more;
}

static int serve_all(struct virtiofs_device *dev)
{
	unsigned left = 0;
	unsigned done = 0;
	unsigned n;

	do {
		n = serve_round(dev, &left);
		done += n;
	} while (n && done < dev->opts.dispatch_max);
	dev->more = arm_all(dev);
	dev->more |= vtfs_notes_flush(dev);
	return (int)done;
}

static int handle_events(struct virtiofs_device *dev,
			 const struct epoll_event *ev, int cnt)
{
	int r = 0;

	for (int i = 0; i < cnt; i++) {
		uint64_t tag = ev[i].data.u64;

		if (tag == VTFS_EV_TRANSPORT)
			r = dev->t->dev->dispatch(dev->t);
		else if (tag == VTFS_EV_WAKE)
			vtfs_evfd_drain(dev->wake);
		else if (tag == VTFS_EV_STOP)
			continue;
		else if (tag & 1)
			vtfs_evfd_drain(dev->queues[tag / 2].ctl);
		else
			vtfs_devq_kicked(&dev->queues[tag / 2]);
	}
	return r < 0 ? r : dev->fatal;
}

static int dispatch(struct virtiofs_device *dev, int timeout)
{
	struct epoll_event ev[EVENTS];
	int cnt, r;

	cnt = epoll_wait(dev->ep, ev, EVENTS, timeout);
	if (__atomic_load_n(&dev->stopped, __ATOMIC_ACQUIRE))
		return vtfs_fail(-ESHUTDOWN, "the device was stopped");
	dev->dispatching = true;
	r = handle_events(dev, ev, cnt);
	if (r >= 0) {
		vtfs_device_settle(dev);
		r = serve_all(dev);
		vtfs_device_settle(dev);
	}
	dev->dispatching = false;
	return r;
}

int virtiofs_device_dispatch(struct virtiofs_device *dev)
{
	int r = dispatch(dev, 0);

	/* There is more, and the fd has to say so. */
	if (r >= 0 && dev->more)
		vtfs_device_wake(dev);
	return r;
}

int virtiofs_device_run(struct virtiofs_device *dev)
{
	int r;

	do {
		r = dispatch(dev, dev->more ? 0 : -1);
	} while (r >= 0);
	return r == -ESHUTDOWN ? 0 : r;
}

int virtiofs_serve(struct virtiofs_transport *t, const char *tag,
		   virtiofs_request_fn request, void *userdata)
{
	const struct virtiofs_device_ops ops = {.size = sizeof(ops),
						.request = request};
	const struct virtiofs_device_opts opts = {.size = sizeof(opts),
						  .tag = tag};
	struct virtiofs_device *dev;
	int r = virtiofs_device_new(&dev, t, &ops, &opts, userdata);

	if (r < 0)
		return r;
	r = virtiofs_device_run(dev);
	virtiofs_device_free(dev);
	return r;
}
