/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "base/bytes.h"
#include "wire/ring.h"

/* Between two turns of the fuzzer nobody kicks, so a device that has done its
 * work sleeps. */
#define TURNS_MAX 300

static struct guest *to_guest(const struct virtiofs_transport *t)
{
	return (struct guest *)(uintptr_t)t;
}

/* ---- memory ---- */

/* gone: the translations that the driver takes back, or NULL. */
static void give_table(struct guest *g, const struct vtfs_miss *gone)
{
	struct vtfs_table *t = guest_mem_table(g);

	if (gone)
		g->sink->ops->invalidate(g->sink, t, gone, ++g->cookie);
	else
		g->sink->ops->set_table(g->sink, t, ++g->cookie);
	vtfs_table_put(t);
}

static void map_page(struct guest *g, unsigned page, uint8_t access)
{
	const struct vtfs_miss gone = {guest_page_addr(page), GUEST_PAGE,
				       VTFS_MAP_READ | VTFS_MAP_WRITE};

	g->access[page] = access;
	give_table(g, access == gone.access ? NULL : &gone);
}

/* What is not there can't be mapped: it would be missed for ever. */
static void map_missed(struct guest *g)
{
	bool there = true;

	for (unsigned i = 0; i < GUEST_PAGES && g->missed.len; i++) {
		if (!vtfs_range_overlap(guest_page_addr(i), GUEST_PAGE,
					g->missed.addr, g->missed.len))
			continue;
		g->access[i] |= (uint8_t)g->missed.access;
		there &= guest_has_page(g, i);
	}
	if (there)
		give_table(g, NULL);
	else
		g->sink->ops->absent(g->sink, &g->missed);
	g->missed.len = 0;
}

static void flush(struct guest *g)
{
	const struct vtfs_miss all = {0, UINT64_MAX,
				      VTFS_MAP_READ | VTFS_MAP_WRITE};

	memset(g->access, 0, sizeof(g->access));
	give_table(g, &all);
}

/* ---- rings ---- */

static bool is_packed(const struct guest *g)
{
	return g->features & VIRTIOFS_F_RING_PACKED;
}

static unsigned char *ring(const struct guest *g, unsigned vq)
{
	return guest_ptr(g, GUEST_MAIN + vq * GUEST_RING, GUEST_RING);
}

#define DRIVER_AT (GUEST_RING / 2)
#define DEVICE_AT (GUEST_RING / 4 * 3)

static void start(struct guest *g, unsigned vq)
{
	struct guest_queue *q = &g->q[vq];
	uint64_t at = GUEST_MAIN + vq * GUEST_RING;
	struct vtfs_queue_setup s = {
	    .vq = (uint16_t)vq,
	    .num = q->num,
	    .desc = at,
	    .driver = at + DRIVER_AT,
	    .device = at + DEVICE_AT,
	    .avail_base = is_packed(g) ? 0x8000 : 0,
	    .used_base = is_packed(g) ? 0x8000 : 0,
	    .kick_fd = q->kick,
	    .call_fd = q->call,
	    .enabled = true,
	};

	if (q->running)
		return;
	memset(ring(g, vq), 0, GUEST_RING);
	q->desc = q->avail = 0;
	q->wrap = true;
	q->running = g->sink->ops->start(g->sink, &s) == 0;
	must(q->running || g->iommu);
}

void guest_kick(struct guest *g, unsigned vq)
{
	uint64_t one = 1;

	(void)!write(g->q[vq].kick, &one, sizeof(one));
}

static void put_desc(unsigned char *p, const struct guest_desc *d, uint16_t x,
		     uint16_t y)
{
	const struct vtfs_wire_desc w = {htole64(d->addr), htole32(d->len),
					 htole16(x), htole16(y)};

	memcpy(p, &w, sizeof(w));
}

static void post_split(struct guest *g, unsigned vq, const struct guest_desc *d,
		       unsigned cnt)
{
	struct guest_queue *q = &g->q[vq];
	struct vtfs_wire_avail *avail = (void *)(ring(g, vq) + DRIVER_AT);
	uint16_t head = (uint16_t)(q->desc % q->num);

	for (unsigned i = 0; i < cnt; i++) {
		unsigned at = q->desc++ % q->num;
		uint16_t next = i + 1 < cnt ? VTFS_DESC_F_NEXT : 0;

		put_desc(ring(g, vq) + at * 16ul, &d[i],
			 (uint16_t)(d[i].flags | next),
			 (uint16_t)(q->desc % q->num));
	}
	avail->ring[q->avail++ % q->num] = htole16(head);
	avail->idx = htole16(q->avail);
}

static void post_packed(struct guest *g, unsigned vq,
			const struct guest_desc *d, unsigned cnt, uint16_t id)
{
	struct guest_queue *q = &g->q[vq];

	for (unsigned i = 0; i < cnt; i++) {
		uint16_t bits = q->wrap ? VTFS_PACKED_F_AVAIL
					: VTFS_PACKED_F_USED;
		uint16_t next = i + 1 < cnt ? VTFS_DESC_F_NEXT : 0;

		put_desc(ring(g, vq) + q->desc * 16ul, &d[i], id,
			 (uint16_t)(d[i].flags | next | bits));
		if (++q->desc == q->num) {
			q->desc = 0;
			q->wrap = !q->wrap;
		}
	}
}

void guest_post(struct guest *g, unsigned vq, const struct guest_desc *d,
		unsigned cnt, uint16_t id)
{
	if (is_packed(g))
		post_packed(g, vq, d, cnt, id);
	else
		post_split(g, vq, d, cnt);
	guest_kick(g, vq);
}

bool guest_table(struct guest *g, uint64_t addr, const struct guest_desc *d,
		 unsigned cnt)
{
	unsigned char *p = guest_ptr(g, addr, cnt * 16ul);

	for (unsigned i = 0; p && i < cnt; i++) {
		uint16_t next = i + 1 < cnt ? VTFS_DESC_F_NEXT : 0;

		if (is_packed(g))
			put_desc(p + i * 16ul, &d[i], 0, d[i].flags);
		else
			put_desc(p + i * 16ul, &d[i],
				 (uint16_t)(d[i].flags | next),
				 (uint16_t)(i + 1));
	}
	return p;
}

/* ---- the transport ---- */

static int op_attach(struct virtiofs_transport *t, struct vtfs_dev_sink *sink)
{
	to_guest(t)->sink = sink;
	return 0;
}

/* A message that has its order waits for what is owed. */
static bool must_wait(const struct guest *g)
{
	bool owed = g->resetting || g->lost || g->cookie != g->retired;

	for (unsigned i = 0; i < g->queues; i++)
		owed |= g->q[i].stopping;
	return owed;
}

static void lose(struct guest *g)
{
	if (g->lost)
		return;
	g->lost = true;
	g->retired = g->cookie;
	for (unsigned i = 0; i < g->queues; i++)
		g->q[i].stopping = false;
	g->resetting = false;
	g->sink->ops->lost(g->sink, -ENOTCONN);
	guest_watch(g);
}

static void swap_more(struct guest *g, bool more)
{
	g->more = more;
	if (more)
		guest_mem_more(g, true);
	give_table(g, NULL);
}

static void start_all(struct guest *g)
{
	g->quiet = false;
	g->sink->ops->accept(g->sink, g->features);
	swap_more(g, true);
	for (unsigned i = 0; i < g->queues; i++)
		start(g, i);
}

static void new_fd(int *fd)
{
	close(*fd);
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(*fd >= 0);
}

static void obey_iommu(struct guest *g, unsigned arg)
{
	switch (g->order) {
	case GUEST_MAP:
		map_page(g, arg % GUEST_PAGES, (uint8_t)(arg / 64));
		break;
	case GUEST_MAP_MISSED:
		map_missed(g);
		break;
	case GUEST_DENY:
		g->sink->ops->absent(g->sink, &g->missed);
		break;
	case GUEST_FLUSH:
		flush(g);
		break;
	}
}

static void obey(struct guest *g, unsigned vq)
{
	struct guest_queue *q = &g->q[vq];
	const struct vtfs_dev_sink_ops *ops = g->sink->ops;

	switch (g->order) {
	case GUEST_START_ALL:
		start_all(g);
		break;
	case GUEST_START:
		start(g, vq);
		break;
	case GUEST_STOP:
		q->stopping = true;
		ops->stop(g->sink, vq);
		break;
	case GUEST_RESET:
		g->resetting = true;
		ops->reset(g->sink);
		break;
	case GUEST_SWAP_MORE:
		swap_more(g, !g->more);
		break;
	case GUEST_DISABLE:
	case GUEST_ENABLE:
		ops->enable(g->sink, vq, g->order == GUEST_ENABLE);
		break;
	case GUEST_NEW_CALL:
		new_fd(&q->call);
		ops->set_call(g->sink, vq, q->call);
		break;
	case GUEST_NEW_KICK:
		new_fd(&q->kick);
		ops->set_kick(g->sink, vq, q->kick);
		break;
	case GUEST_NO_CALL:
		ops->set_call(g->sink, vq, -1);
		break;
	}
}

static int op_dispatch(struct virtiofs_transport *t)
{
	struct guest *g = to_guest(t);
	uint64_t n;

	(void)!read(g->fd, &n, sizeof(n));
	if (g->order == GUEST_LOST)
		lose(g);
	else if (must_wait(g))
		;
	else if (g->order >= GUEST_MAP)
		obey_iommu(g, g->order_arg);
	else
		obey(g, g->order_arg);
	g->order = GUEST_NOTHING;
	return 0;
}

static void op_queue_stopped(struct virtiofs_transport *t, unsigned vq,
			     uint16_t avail_base, uint16_t used_base)
{
	struct guest *g = to_guest(t);

	must(g->q[vq].stopping);
	g->q[vq].stopping = g->q[vq].running = false;
	if (g->on_stopped)
		g->on_stopped(g, (int)vq);
}

static void op_table_retired(struct virtiofs_transport *t, uint64_t cookie)
{
	struct guest *g = to_guest(t);

	must(cookie == g->cookie && cookie != g->retired);
	g->retired = cookie;
	if (g->on_retired)
		g->on_retired(g);
	if (!g->more)
		guest_mem_more(g, false);
}

static void op_reset_done(struct virtiofs_transport *t)
{
	struct guest *g = to_guest(t);

	must(g->resetting || g->lost);
	for (unsigned i = 0; i < g->queues; i++)
		g->q[i].running = false;
	if (!g->lost)
		guest_watch(g);
	g->resetting = g->lost = false;
	if (g->on_stopped)
		g->on_stopped(g, -1);
}

static void op_broken(struct virtiofs_transport *t, unsigned vq)
{
	must(vq < to_guest(t)->queues);
	to_guest(t)->broken |= 1u << vq;
}

static void op_miss(struct virtiofs_transport *t, const struct vtfs_miss *m)
{
	struct guest *g = to_guest(t);
	uint64_t one = 1;

	must(g->iommu && m->len && m->access);
	g->missed = *m;
	if (g->maps_missed && g->order == GUEST_NOTHING) {
		g->order = GUEST_MAP_MISSED;
		(void)!write(g->fd, &one, sizeof(one));
	}
}

static const struct vtfs_dev_ops dev_ops = {
    .attach = op_attach,
    .dispatch = op_dispatch,
    .queue_stopped = op_queue_stopped,
    .table_retired = op_table_retired,
    .reset_done = op_reset_done,
    .broken = op_broken,
    .miss = op_miss,
};

static void op_free(struct virtiofs_transport *t)
{
	to_guest(t)->freed = true;
}

static int op_fd(const struct virtiofs_transport *t)
{
	return to_guest(t)->fd;
}

/* ---- life ---- */

void guest_init(struct guest *g, uint64_t features, unsigned num)
{
	guest_mem_init();
	memset(g, 0, sizeof(*g));
	g->base.name = "guest:";
	g->base.dev = &dev_ops;
	g->base.free = op_free;
	g->base.fd = op_fd;
	g->features = features;
	g->iommu = features & VTFS_F_ACCESS_PLATFORM;
	g->queues = GUEST_QUEUES + !!(features & VIRTIOFS_F_NOTIFICATION);
	g->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(g->fd >= 0);
	for (unsigned i = 0; i < g->queues; i++) {
		g->q[i].num = num;
		g->q[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		g->q[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		must(g->q[i].call >= 0 && g->q[i].kick >= 0);
	}
}

void guest_fini(struct guest *g)
{
	must(g->freed);
	for (unsigned i = 0; i < g->queues; i++) {
		close(g->q[i].kick);
		close(g->q[i].call);
	}
	close(g->fd);
	guest_mem_fini();
}

void guest_order(struct guest *g, enum guest_order order, unsigned arg)
{
	uint64_t one = 1;

	g->order = (uint8_t)order;
	g->order_arg = (uint8_t)arg;
	(void)!write(g->fd, &one, sizeof(one));
	guest_run(g);
}

void guest_run(struct guest *g)
{
	struct pollfd fd = {.fd = virtiofs_device_fd(g->dev), .events = POLLIN};
	unsigned turns = 0;

	while (poll(&fd, 1, 0) == 1) {
		must(turns++ < TURNS_MAX);
		must(virtiofs_device_dispatch(g->dev) >= 0);
	}
	guest_still(g);
}
