/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client object: made, asked, freed. */
#include "session/client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"

#define QUEUE_SIZE_DEFAULT 128u
#define BOUNCE_DEFAULT	   (1u << 20)
#define BOUNCE_MAX	   (1ULL << 32)
#define NOTIFY_BUFFERS	   16u

static struct virtiofs_client *from_sink(struct vtfs_cli_sink *s)
{
	return vtfs_container_of(s, struct virtiofs_client, sink);
}

static void sink_config_changed(struct vtfs_cli_sink *s)
{
	vtfs_store_release(&from_sink(s)->config_changed, 1);
}

static void sink_lost(struct vtfs_cli_sink *s, int error)
{
	vtfs_client_hung_up(from_sink(s), error);
}

static const struct vtfs_cli_sink_ops sink_ops = {
    .config_changed = sink_config_changed,
    .lost = sink_lost,
};

/* ---- options ---- */

static int check_size(const struct virtiofs_client_opts *opts)
{
	const unsigned char *at = (const unsigned char *)opts;

	if (opts->size < sizeof(opts->size))
		return vtfs_fail(-EINVAL, "client_opts.size is %zu",
				 opts->size);
	for (size_t i = sizeof(*opts); i < opts->size; i++)
		if (at[i])
			return vtfs_fail(-E2BIG, "options of a newer library");
	return 0;
}

static int check_opts(const struct virtiofs_client_opts *o)
{
	bool packed = o->features & VIRTIOFS_F_RING_PACKED;

	if (o->flags & ~(VIRTIOFS_CLIENT_RAW_INIT | VIRTIOFS_CLIENT_NONBLOCK |
			 VIRTIOFS_CLIENT_LATENCY | VIRTIOFS_CLIENT_POLL))
		return vtfs_fail(-EINVAL, "unknown client flags %#x", o->flags);
	if (o->num_request_queues > VTFS_CLIENT_QUEUES_MAX)
		return vtfs_fail(-EINVAL, "%u request queues, at most %u",
				 o->num_request_queues, VTFS_CLIENT_QUEUES_MAX);
	if (o->queue_size < VTFS_CLIENT_QUEUE_MIN ||
	    o->queue_size > VTFS_VQ_NUM_MAX)
		return vtfs_fail(-EINVAL, "queue size %u, not %u to %u",
				 o->queue_size, VTFS_CLIENT_QUEUE_MIN,
				 VTFS_VQ_NUM_MAX);
	if (!packed && !vtfs_is_pow2(o->queue_size))
		return vtfs_fail(-EINVAL, "queue size %u is no power of two",
				 o->queue_size);
	if (o->queue_policy > VIRTIOFS_QUEUE_NODEID)
		return vtfs_fail(-EINVAL, "unknown queue policy %u",
				 o->queue_policy);
	if (o->backlog > VTFS_VQ_NUM_MAX - 1)
		return vtfs_fail(-EINVAL, "backlog %u, at most %u", o->backlog,
				 VTFS_VQ_NUM_MAX - 1);
	if (o->notify_buffers > o->queue_size)
		return vtfs_fail(-EINVAL, "notify_buffers %u, at most %u",
				 o->notify_buffers, o->queue_size);
	if (o->bounce_bytes > BOUNCE_MAX)
		return vtfs_fail(-EINVAL, "bounce_bytes above 4 GiB");
	if (o->tag && (!o->tag[0] || strlen(o->tag) > VIRTIOFS_TAG_MAX))
		return vtfs_fail(-EINVAL, "tag of %zu bytes, not 1 to %u",
				 strlen(o->tag), VIRTIOFS_TAG_MAX);
	return 0;
}

static int take_opts(struct virtiofs_client *c,
		     const struct virtiofs_client_opts *opts)
{
	struct virtiofs_client_opts *o = &c->opts;
	int r;

	if (opts) {
		r = check_size(opts);
		if (r < 0)
			return r;
		memcpy(o, opts, vtfs_min_size(opts->size, sizeof(*o)));
	}
	o->size = sizeof(*o);
	if (!o->num_request_queues)
		o->num_request_queues = 1;
	if (!o->queue_size)
		o->queue_size = QUEUE_SIZE_DEFAULT;
	if (!o->features)
		o->features = VIRTIOFS_FEATURES_DEFAULT;
	if (!o->bounce_bytes)
		o->bounce_bytes = BOUNCE_DEFAULT;
	if (!o->notify_buffers)
		o->notify_buffers = vtfs_min_u32(NOTIFY_BUFFERS, o->queue_size);
	o->bounce_bytes = VTFS_ALIGN_UP(o->bounce_bytes, (uint64_t)VTFS_PAGE);
	r = check_opts(o);
	if (r >= 0 && o->tag)
		strncpy(c->opt_tag, o->tag, sizeof(c->opt_tag) - 1);
	o->tag = NULL;
	return r;
}

/* ---- life ---- */

static int init_queues(struct virtiofs_client *c)
{
	uint32_t cnt = c->opts.num_request_queues;
	int r;

	c->queues = calloc(cnt, sizeof(*c->queues));
	c->setup = calloc(cnt + 2, sizeof(*c->setup));
	if (!c->queues || !c->setup)
		return vtfs_fail(-ENOMEM, "%u queues", cnt);
	for (unsigned i = 0; i < cnt; i++) {
		struct virtiofs_cliq *q = &c->queues[i];

		c->queue_cnt = i + 1;
		r = vtfs_cliq_init(q, c, i + 1);
		if (r >= 0)
			r = vtfs_fd_watch(q->ep_fd, q->wake_fd, EPOLLIN,
					  VTFS_WAIT_WAKE);
		if (r >= 0)
			r = vtfs_fd_watch(q->ep_fd, q->timer_fd, EPOLLIN,
					  VTFS_WAIT_WAKE);
		if (r >= 0)
			r = vtfs_fd_watch(c->ep_fd, q->call_fd,
					  EPOLLIN | EPOLLET,
					  VTFS_WAIT_CALL + q->index);
		if (r < 0)
			return r;
	}
	return 0;
}

static int init_fds(struct virtiofs_client *c)
{
	int r;

	c->ep_fd = epoll_create1(EPOLL_CLOEXEC);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->ep_fd < 0 || c->wake_fd < 0)
		return vtfs_fail_sys(-errno, "client's descriptors");
	r = vtfs_hiprio_init(c);
	if (r >= 0)
		r = vtfs_cnotes_init(c);
	if (r >= 0)
		r = vtfs_fd_watch(c->ep_fd, c->wake_fd, EPOLLIN,
				  VTFS_WAIT_WAKE);
	if (r >= 0)
		r = vtfs_fd_watch(c->ep_fd, c->hi.call_fd, EPOLLIN | EPOLLET,
				  VTFS_WAIT_CALL);
	return r;
}

static int client_init(struct virtiofs_client *c,
		       const struct virtiofs_client_opts *opts)
{
	int r;

	if (!c->t->cli)
		return vtfs_fail(-EINVAL, "%s: a device's end", c->t->name);
	r = take_opts(c, opts);
	if (r < 0)
		return r;
	c->log.fn = c->opts.log;
	c->log.data = c->opts.log_data;
	c->log.level = c->opts.log_level;
	c->uid = geteuid();
	c->gid = getegid();
	c->pid = (uint32_t)getpid();
	r = init_fds(c);
	if (r >= 0)
		r = init_queues(c);
	if (r < 0)
		return r;
	c->sink.ops = &sink_ops;
	c->sink.log = &c->log;
	return c->t->cli->attach(c->t, &c->sink);
}

int virtiofs_client_new(struct virtiofs_client **ret,
			struct virtiofs_transport *t,
			const struct virtiofs_client_opts *opts)
{
	struct virtiofs_client *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		virtiofs_transport_free(t);
		return vtfs_fail(-ENOMEM, "client");
	}
	c->t = t;
	c->ep_fd = c->wake_fd = c->hi.kick_fd = c->hi.call_fd = -1;
	vtfs_line_init(&c->hi.line, VTFS_WAIT_CALL + VIRTIOFS_QUEUE_HIPRIO);
	vtfs_line_init(&c->notes.line, VTFS_WAIT_NOTES);
	c->notes.kick_fd = c->notes.call_fd = -1;
	c->share.fd = -1;
	pthread_mutex_init(&c->tlock, NULL);
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->hi.lock, NULL);
	pthread_mutex_init(&c->notes.lock, NULL);
	r = client_init(c, opts);
	if (r < 0) {
		virtiofs_client_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

static void free_regions(struct virtiofs_client *c)
{
	for (unsigned i = 0; i < c->regs.cnt; i++)
		if (c->regs.reg[i].used)
			vtfs_regs_drop(&c->regs.reg[i]);
}

static void free_queues(struct virtiofs_client *c)
{
	if (c->queues)
		for (unsigned i = 0; i < c->opts.num_request_queues; i++)
			if (c->queues[i].c)
				vtfs_cliq_fini(&c->queues[i]);
	vtfs_hiprio_fini(c);
	vtfs_cnotes_fini(c);
	free(c->queues);
	free(c->setup);
}

void virtiofs_client_free(struct virtiofs_client *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->tlock);
	vtfs_client_stop(c);
	pthread_mutex_unlock(&c->tlock);
	virtiofs_transport_free(c->t);
	free_queues(c);
	free_regions(c);
	vtfs_share_free(&c->share);
	if (c->ep_fd >= 0)
		close(c->ep_fd);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	pthread_mutex_destroy(&c->tlock);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->hi.lock);
	pthread_mutex_destroy(&c->notes.lock);
	free(c);
}

int virtiofs_connect(struct virtiofs_client **ret, struct virtiofs_transport *t)
{
	struct virtiofs_client *c;
	int r;

	r = virtiofs_client_new(&c, t, NULL);
	if (r < 0)
		return r;
	r = virtiofs_client_start(c, NULL);
	if (r < 0) {
		virtiofs_client_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* ---- what it is ---- */

const char *virtiofs_client_tag(const struct virtiofs_client *c)
{
	return c->tag;
}

uint64_t virtiofs_client_init_flags(const struct virtiofs_client *c)
{
	return c->init.proto.flags;
}

int virtiofs_client_get_info(const struct virtiofs_client *c,
			     struct virtiofs_client_info *ret)
{
	struct virtiofs_client_info info = {0};
	size_t size = ret->size;

	if (size < sizeof(size))
		return vtfs_fail(-EINVAL, "client_info.size is %zu", size);
	if (!vtfs_client_running(c))
		return vtfs_fail(-ENOTCONN, "not connected");
	info.device_features = c->offered;
	info.features = c->features;
	if (c->t->cli->protocol_features)
		info.protocol_features = c->t->cli->protocol_features(c->t);
	info.device_request_queues = c->device_queues;
	info.request_queues = c->queue_cnt;
	info.queue_size = c->ring_num;
	info.max_write = c->init.max_write;
	info.max_pages = c->init.max_pages;
	info.fuse_minor = c->init.proto.minor;
	info.init_flags = c->init.proto.flags;
	if (c->features & VIRTIOFS_F_NOTIFICATION)
		info.notify_buf_size = c->notes.size;
	memcpy(info.tag, c->tag, sizeof(info.tag));
	memset(ret, 0, size);
	memcpy(ret, &info, vtfs_min_size(size, sizeof(info)));
	ret->size = size;
	return 0;
}
