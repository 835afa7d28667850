/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A queue that is carried: its two rings (dma.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vfio_user/device.h"
#include "wire/ring.h"

#define INDIRECT 4u /* parts of a chain of ours, at most */

void vtfs_vfu_ring_quiet(struct vfu_ring *ring)
{
	struct vfu_device *d = ring->d;

	ring->quiet = true;
	vtfs_vfu_job_drop(d, &ring->index.job);
	vtfs_vfu_job_drop(d, &ring->body_desc.job);
	vtfs_vfu_job_drop(d, &ring->body_avail.job);
	vtfs_vfu_job_drop(d, &ring->event.job);
	vtfs_vfu_job_drop(d, &ring->elements.job);
	vtfs_vfu_job_drop(d, &ring->last.job);
	for (uint32_t i = 0; i < ring->num; i++)
		vtfs_vfu_job_drop(d, &ring->chains[i].job);
}

void vtfs_vfu_ring_break(struct vfu_ring *ring, const char *why)
{
	if (ring->quiet)
		return;
	vtfs_log(ring->d->sink->log, LOG_WARNING,
		 "queue %u: broken, it is not served until the client resets "
		 "it: %s",
		 ring->vq, why);
	vtfs_vfu_ring_quiet(ring);
	vtfs_pcifn_broken(&ring->d->fn);
}

struct vfu_ring *vtfs_vfu_ring_came(struct vfu_job *job, int r)
{
	struct vfu_ring *ring =
	    vtfs_container_of(job, struct vfu_ring_job, job)->ring;

	if (r >= 0)
		return ring;
	vtfs_vfu_ring_break(ring, "its ring can't be accessed");
	return NULL;
}

void vtfs_vfu_ring_transfer(struct vfu_ring *ring, struct vfu_ring_job *j,
			    uint16_t command,
			    void (*done)(struct vfu_job *, int))
{
	j->ring = ring;
	j->job.ranges = &j->range;
	j->job.len = j->range.len;
	j->job.command = command;
	j->job.done = done;
	vtfs_vfu_job_submit(ring->d, &j->job);
}

/* ---- looking and giving, whatever the layout ---- */

static bool is_packed(const struct vfu_ring *ring)
{
	return ring->flags & VTFS_VQ_PACKED;
}

static void look(struct vfu_ring *ring)
{
	ring->kicked = false;
	ring->look = VFU_LOOK_INDEX;
	if (is_packed(ring))
		vtfs_vfu_packed_look(ring);
	else
		vtfs_vfu_split_look(ring);
}

void vtfs_vfu_ring_rest(struct vfu_ring *ring)
{
	ring->look = VFU_LOOK_REST;
	if (ring->kicked)
		look(ring);
}

static void event_went(struct vfu_job *job, int r)
{
	struct vfu_ring *ring = vtfs_vfu_ring_came(job, r);

	/* It asks for a kick from now on; what came before is seen now. */
	if (ring)
		look(ring);
}

void vtfs_vfu_ring_write_event(struct vfu_ring *ring, uint32_t off,
			       uint32_t len)
{
	ring->look = VFU_LOOK_EVENT;
	ring->event.range = (struct vtfs_range){ring->device_at + off, len};
	ring->event.job.base = ring->device + off;
	vtfs_vfu_ring_transfer(ring, &ring->event, VFU_DMA_WRITE, event_went);
}

void vtfs_vfu_ring_begin(struct vfu_ring *ring)
{
	/* Used flags, or the event word: both ask for kicks. */
	vtfs_vfu_ring_write_event(ring, 0, is_packed(ring) ? 4 : 2);
	vtfs_vq_drv_arm(ring->drv);
}

void vtfs_vfu_ring_go(struct vfu_ring *ring)
{
	if (ring->quiet || ring->look != VFU_LOOK_TAKE)
		return;
	while (vtfs_vfu_chain_take(ring))
		;
	if (ring->quiet || ring->making || ring->look != VFU_LOOK_TAKE)
		return;
	/* All was taken. */
	if (is_packed(ring))
		vtfs_vfu_packed_taken(ring);
	else
		vtfs_vfu_split_arm(ring);
}

void vtfs_vfu_ring_kicked(struct vfu_ring *ring)
{
	ring->kicked = true;
	if (!ring->quiet && ring->look == VFU_LOOK_REST)
		look(ring);
}

static void give_some(struct vfu_ring *ring)
{
	if (is_packed(ring))
		vtfs_vfu_packed_give(ring);
	else
		vtfs_vfu_split_give(ring);
}

void vtfs_vfu_ring_give(struct vfu_ring *ring)
{
	if (ring->quiet)
		return;
	vtfs_vq_dev_publish(ring->dev);
	if (!ring->giving)
		give_some(ring);
}

void vtfs_vfu_ring_given(struct vfu_ring *ring)
{
	ring->given = ring->given_to;
	ring->giving = false;
	/* The client's wish not to be called is as old as our copy. */
	vtfs_bell_ring(&ring->bell);
	give_some(ring);
}

/* ---- the session's side ---- */

static int collect(struct vfu_ring *ring)
{
	uint16_t token;
	uint32_t len;
	int r;

	while ((r = vtfs_vq_drv_get(ring->drv, &token, &len)) == 1) {
		vtfs_vfu_chain_used(&ring->chains[token], len);
		if (ring->quiet)
			return 0;
	}
	return r;
}

void vtfs_vfu_ring_called(struct vfu_ring *ring)
{
	int r;

	vtfs_evfd_drain(ring->call);
	if (ring->quiet)
		return;
	do {
		r = collect(ring);
	} while (r == 0 && !ring->quiet && vtfs_vq_drv_arm(ring->drv) == 1);
	if (r < 0)
		vtfs_vfu_ring_break(ring, virtiofs_last_error());
	else if (!ring->quiet)
		vtfs_vfu_chain_post(ring);
}

/* ---- life ---- */

static unsigned char *align_up(unsigned char *p)
{
	return p + (-(uintptr_t)p & 63);
}

/* The copy of the client's ring, and the half that works on it. */
static int make_dev(struct vfu_ring *ring, const struct vtfs_queue_setup *s)
{
	struct vtfs_vq_conf conf = {.flags = ring->flags | VTFS_VQ_IOMMU,
				    .num = s->num,
				    .avail_base = s->avail_base,
				    .used_base = s->used_base,
				    .max_parts = VFU_DMA_PARTS};
	struct vtfs_vq_areas a;
	int r = vtfs_vq_areas(&a, ring->flags, s->num);

	if (r < 0)
		return r;
	ring->copy = calloc(1, a.desc_len + a.driver_len + a.device_len + 192);
	if (!ring->copy)
		return -ENOMEM;
	ring->desc = align_up(ring->copy);
	ring->driver = align_up(ring->desc + a.desc_len);
	ring->device = align_up(ring->driver + a.driver_len);
	ring->given = s->used_base;
	conf.desc = ring->desc;
	conf.driver = ring->driver;
	conf.device = ring->device;
	r = is_packed(ring) ? vtfs_vfu_packed_init(ring)
			    : vtfs_vfu_split_init(ring, s);
	return r < 0 ? r : vtfs_vq_dev_new(&ring->dev, &conf);
}

/* Our own ring in the arena; setup then says where the session finds it. */
static int make_drv(struct vfu_ring *ring, struct vtfs_queue_setup *s)
{
	struct vfu_dma *dma = &ring->d->dma;
	struct vtfs_vq_conf conf = {
	    .flags = ring->flags, .num = s->num, .indirect_max = INDIRECT};
	size_t tables = (size_t)s->num * INDIRECT * VTFS_DESC_SIZE;
	size_t driver, device, indirect;
	struct vtfs_vq_areas a;
	unsigned char *mem;
	uint64_t at;
	int r = vtfs_vq_areas(&a, ring->flags, s->num);

	if (r < 0)
		return r;
	driver = VTFS_ALIGN_UP(a.desc_len, (size_t)64);
	device = VTFS_ALIGN_UP(driver + a.driver_len, (size_t)64);
	indirect = VTFS_ALIGN_UP(device + a.device_len, (size_t)64);
	ring->page_cnt = vtfs_vfu_page_cnt(indirect + tables);
	r = vtfs_vfu_pieces_take(&dma->pages, ring->page_cnt);
	if (r < 0) {
		ring->page_cnt = 0;
		return vtfs_fail(-ENOMEM, "no memory for another ring");
	}
	ring->page = (unsigned)r;
	mem = dma->arena->addr + (size_t)ring->page * VFU_DMA_PAGE;
	at = VFU_DMA_ARENA + (uint64_t)ring->page * VFU_DMA_PAGE;
	conf.desc = mem;
	conf.driver = mem + driver;
	conf.device = mem + device;
	conf.indirect = mem + indirect;
	conf.indirect_peer_addr = at + indirect;
	s->desc = at;
	s->driver = at + driver;
	s->device = at + device;
	s->avail_base = s->used_base = is_packed(ring) ? VTFS_PACKED_WRAP : 0;
	s->kick_fd = ring->kick;
	s->call_fd = ring->call;
	return vtfs_vq_drv_new(&ring->drv, &conf);
}

static int make_chains(struct vfu_ring *ring)
{
	ring->chains = calloc(ring->num, sizeof(ring->chains[0]));
	if (!ring->chains)
		return -ENOMEM;
	for (uint32_t i = ring->num; i; i--) {
		ring->chains[i - 1].ring = ring;
		ring->chains[i - 1].next = ring->free;
		ring->free = &ring->chains[i - 1];
	}
	return 0;
}

/* Kicks are edges: the client may have the same open file, and its counter is
 * not for us to read. */
static int watch(struct vfu_ring *ring)
{
	int ep = ring->d->dma.ep;
	struct epoll_event kick = {.events = EPOLLIN | EPOLLET,
				   .data.u64 = ring->vq * 2};
	struct epoll_event call = {.events = EPOLLIN,
				   .data.u64 = ring->vq * 2 + 1};

	if (epoll_ctl(ep, EPOLL_CTL_ADD, ring->client_kick, &kick) < 0 ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, ring->call, &call) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	return 0;
}

static int make(struct vfu_ring *ring, struct vtfs_queue_setup *s)
{
	int r;

	r = vtfs_bell_open(&ring->bell, s->call_fd);
	if (r < 0)
		return r;
	ring->client_kick = fcntl(s->kick_fd, F_DUPFD_CLOEXEC, 3);
	if (ring->client_kick < 0)
		return vtfs_fail_sys(-errno, "kick: dup");
	r = vtfs_evfd_new(&ring->kick);
	if (r >= 0)
		r = vtfs_evfd_new(&ring->call);
	if (r >= 0)
		r = watch(ring);
	if (r >= 0)
		r = make_chains(ring);
	if (r >= 0)
		r = make_dev(ring, s);
	return r < 0 ? r : make_drv(ring, s);
}

int vtfs_vfu_ring_new(struct vfu_ring **ret, struct vfu_device *d,
		      struct vtfs_queue_setup *setup)
{
	struct vfu_ring *ring = calloc(1, sizeof(*ring));
	int r;

	if (!ring)
		return -ENOMEM;
	ring->d = d;
	ring->vq = setup->vq;
	ring->num = setup->num;
	ring->flags = vtfs_features_vq_flags(d->dma.features);
	ring->desc_at = setup->desc;
	ring->driver_at = setup->driver;
	ring->device_at = setup->device;
	ring->client_kick = ring->kick = ring->call = -1;
	ring->bell = VTFS_BELL_NONE;
	r = make(ring, setup);
	if (r < 0) {
		vtfs_vfu_ring_free(ring);
		return r;
	}
	*ret = ring;
	return 0;
}

void vtfs_vfu_ring_free(struct vfu_ring *ring)
{
	const int fds[] = {ring->client_kick, ring->kick, ring->call};

	if (ring->chains) {
		vtfs_vfu_ring_quiet(ring);
		for (uint32_t i = 0; i < ring->num; i++)
			vtfs_vfu_chain_forget(&ring->chains[i]);
	}
	if (ring->page_cnt)
		vtfs_vfu_pieces_give(&ring->d->dma.pages, ring->page,
				     ring->page_cnt);
	for (unsigned i = 0; i < VTFS_ARRAY_LEN(fds); i++) {
		if (fds[i] < 0)
			continue;
		epoll_ctl(ring->d->dma.ep, EPOLL_CTL_DEL, fds[i], NULL);
		close(fds[i]);
	}
	vtfs_bell_close(&ring->bell);
	vtfs_vq_dev_free(ring->dev);
	vtfs_vq_drv_free(ring->drv);
	free(ring->chains);
	vtfs_vfu_packed_fini(ring);
	free(ring->copy);
	free(ring);
}
