/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/shared.h"
#include "transport/vhost_user/device.h"
#include "vq/vq.h"

static void replace_fd(int *fd, int with)
{
	if (*fd >= 0)
		close(*fd);
	*fd = with;
}

static bool packed(const struct vu_device *d)
{
	return d->status.features & VIRTIOFS_F_RING_PACKED;
}

/* The ring with this number, or NULL with a text; all messages come through
 * here. */
static struct vu_vring *find(struct vu_device *d, uint64_t index)
{
	if (index < vtfs_vu_device_queues(d))
		return &d->vrings[index];
	vtfs_fail(-EINVAL, "%s for ring %llu of %u",
		  vtfs_vu_request_name(d->rx.hdr.request),
		  (unsigned long long)index, vtfs_vu_device_queues(d));
	return NULL;
}

static unsigned index_of(const struct vu_device *d, const struct vu_vring *v)
{
	return (unsigned)(v - d->vrings);
}

static int busy(const struct vu_device *d, const struct vu_vring *v)
{
	return vtfs_fail(-EBUSY, "%s while ring %u runs",
			 vtfs_vu_request_name(d->rx.hdr.request),
			 index_of(d, v));
}

/* ---- what the session needs to run a ring ---- */

/* Not there yet: asked for, and -EAGAIN. */
static int iova_area(struct vu_device *d, const struct vtfs_miss *m)
{
	uint64_t hole;

	if (vtfs_range_wraps(m->addr, m->len))
		return vtfs_fail(-EFAULT, "a ring at 0x%llx wraps around",
				 (unsigned long long)m->addr);
	if (d->tlb.table &&
	    vtfs_table_covers(d->tlb.table, m->addr, m->len, m->access, &hole))
		return 0;
	vtfs_vu_tlb_miss(d, m);
	return -EAGAIN;
}

/* All of it, so that what is missing is asked for at once. */
static int iova_ring(struct vu_device *d, const struct vu_vring *v,
		     struct vtfs_queue_setup *q, const struct vtfs_vq_areas *a)
{
	const unsigned both = VTFS_MAP_READ | VTFS_MAP_WRITE;
	const struct vtfs_miss m[3] = {
	    {v->addr.desc, a->desc_len, packed(d) ? both : VTFS_MAP_READ},
	    {v->addr.avail, a->driver_len, VTFS_MAP_READ},
	    {v->addr.used, a->device_len, both},
	};
	int r = 0;

	q->desc = v->addr.desc;
	q->driver = v->addr.avail;
	q->device = v->addr.used;
	for (unsigned i = 0; i < 3; i++) {
		int ri = iova_area(d, &m[i]);

		if (r >= 0 || ri == -EFAULT)
			r = ri < 0 ? ri : r;
	}
	return r;
}

static int area(const struct vu_device *d, uint64_t user, size_t len,
		uint64_t *ret)
{
	if (vtfs_table_user_to_peer(d->mem.table, user, len, ret) < 0)
		return vtfs_fail(
		    -EFAULT,
		    "a ring's %zu bytes at 0x%llx are in no memory "
		    "region",
		    len, (unsigned long long)user);
	return 0;
}

static int translate(struct vu_device *d, const struct vu_vring *v,
		     struct vtfs_queue_setup *q)
{
	struct vtfs_vq_areas a;
	int r;

	r = vtfs_vq_areas(&a, vtfs_features_vq_flags(d->status.features),
			  v->num);
	if (r < 0)
		return vtfs_fail(r, "ring %u with %u entries", index_of(d, v),
				 v->num);
	if (v->addr.desc % a.desc_align || v->addr.avail % a.driver_align ||
	    v->addr.used % a.device_align)
		return vtfs_fail(-EINVAL, "ring %u is not aligned",
				 index_of(d, v));
	if (d->tlb.on)
		return iova_ring(d, v, q, &a);
	r = area(d, v->addr.desc, a.desc_len, &q->desc);
	if (r >= 0)
		r = area(d, v->addr.avail, a.driver_len, &q->driver);
	if (r >= 0)
		r = area(d, v->addr.used, a.device_len, &q->device);
	return r;
}

/* Can a ring be at this base? The used index of a split ring is in memory. */
static int check_base(const struct vu_device *d, const struct vu_vring *v,
		      const struct vtfs_queue_setup *q)
{
	const uint16_t *used;
	uint16_t gap;

	if (packed(d)) {
		if ((v->base & 0x7fff) >= v->num ||
		    ((v->base >> 16) & 0x7fff) >= v->num)
			return vtfs_fail(-EINVAL, "ring %u: base 0x%x of %u",
					 index_of(d, v), v->base, v->num);
		return 0;
	}
	used = vtfs_table_ptr(vtfs_vu_device_table(d), q->device, 4);
	gap = used ? (uint16_t)(v->base - le16toh(vtfs_load_once(used + 1)))
		   : 0;
	if (v->base > 0xffff || gap > v->num)
		return vtfs_fail(
		    -EINVAL, "ring %u: base %u is %u ahead of the used index",
		    index_of(d, v), v->base, gap);
	return 0;
}

static int start(struct vu_device *d, struct vu_vring *v)
{
	struct vtfs_queue_setup q = {.vq = (uint16_t)index_of(d, v),
				     .num = v->num,
				     .avail_base = (uint16_t)v->base,
				     .used_base = (uint16_t)(v->base >> 16),
				     .kick_fd = v->kick_fd,
				     .call_fd = v->call_fd,
				     .enabled = true};
	int r;

	r = translate(d, v, &q);
	if (r >= 0)
		r = check_base(d, v, &q);
	if (r >= 0)
		r = d->sink->ops->start(d->sink, &q);
	if (r >= 0)
		v->running = true;
	return r;
}

/* QEMU 7.2 negotiates STATUS for its file systems, writes FEATURES_OK alone,
 * and no status after it: DRIVER_OK is not awaited from who left out
 * ACKNOWLEDGE. */
static bool driver_ok(const struct vu_device *d)
{
	const uint8_t both = VTFS_STATUS_ACKNOWLEDGE | VTFS_STATUS_FEATURES_OK;

	if (!vtfs_vu_device_has(d, VU_PF(STATUS)))
		return true;
	if ((d->status.bits & both) == VTFS_STATUS_FEATURES_OK)
		return !(d->status.bits & VTFS_STATUS_FAILED);
	return vtfs_status_live(&d->status);
}

static bool wants(const struct vu_device *d, const struct vu_vring *v)
{
	return v->started && v->enabled && d->mem.table && d->status.chosen &&
	       driver_ok(d);
}

static void stop(struct vu_device *d, struct vu_vring *v)
{
	v->stopping = true;
	d->drains++;
	d->wait = VU_WAIT_DRAIN;
	d->sink->ops->stop(d->sink, index_of(d, v));
}

static int update(struct vu_device *d, struct vu_vring *v)
{
	bool want = wants(d, v);
	int r;

	if (want == v->running || v->stopping)
		return 0;
	if (!want) {
		stop(d, v);
		return 0;
	}
	r = start(d, v);
	/* A ring whose map is to come starts when it is there. */
	if (r == -EAGAIN)
		return 0;
	if (r < 0)
		v->started = false;
	return r;
}

static int wait_for_drains(const struct vu_device *d)
{
	return d->wait == VU_WAIT_DRAIN ? -EINPROGRESS : 0;
}

int vtfs_vu_vrings_update(struct vu_device *d)
{
	int first = 0;

	for (unsigned i = 0; i < vtfs_vu_device_queues(d); i++) {
		int r = update(d, &d->vrings[i]);

		if (r < 0 && first >= 0)
			first = r;
	}
	return first < 0 ? first : wait_for_drains(d);
}

void vtfs_vu_vring_stopped(struct vu_device *d, unsigned vq, uint16_t avail,
			   uint16_t used)
{
	struct vu_vring *v;

	if (vq >= VU_VRINGS || !d->vrings[vq].stopping)
		return;
	v = &d->vrings[vq];
	v->stopping = v->running = false;
	v->base = packed(d) ? avail | (uint32_t)used << 16 : avail;
	if (--d->drains == 0 && d->wait == VU_WAIT_DRAIN)
		d->wait = VU_WAIT_NOTHING;
}

bool vtfs_vu_vrings_running(const struct vu_device *d)
{
	for (unsigned i = 0; i < VU_VRINGS; i++)
		if (d->vrings[i].running)
			return true;
	return false;
}

void vtfs_vu_vrings_enable_all(struct vu_device *d)
{
	for (unsigned i = 0; i < VU_VRINGS; i++)
		d->vrings[i].enabled = true;
}

void vtfs_vu_vrings_init(struct vu_device *d)
{
	for (unsigned i = 0; i < VU_VRINGS; i++)
		d->vrings[i] = (struct vu_vring){
		    .kick_fd = -1, .call_fd = -1, .err = VTFS_BELL_NONE};
}

void vtfs_vu_vrings_reset(struct vu_device *d)
{
	for (unsigned i = 0; i < VU_VRINGS; i++) {
		struct vu_vring *v = &d->vrings[i];

		replace_fd(&v->kick_fd, -1);
		*v = (struct vu_vring){.base = v->base,
				       .kick_fd = -1,
				       .call_fd = v->call_fd,
				       .err = v->err};
	}
	d->drains = 0;
}

void vtfs_vu_vrings_drop(struct vu_device *d)
{
	for (unsigned i = 0; i < VU_VRINGS; i++) {
		struct vu_vring *v = &d->vrings[i];

		replace_fd(&v->kick_fd, -1);
		replace_fd(&v->call_fd, -1);
		vtfs_bell_close(&v->err);
	}
	vtfs_vu_vrings_init(d);
	d->drains = 0;
}

/* ---- messages ---- */

int vtfs_vu_vring_num(struct vu_device *d)
{
	const struct vu_vring_state *s = &d->rx.payload.state;
	struct vtfs_vq_areas a;
	struct vu_vring *v = find(d, s->index);
	uint32_t flags;

	if (!v)
		return -EINVAL;
	if (v->running)
		return busy(d, v);
	/* Before the features are known any size of either layout will do. */
	flags = d->status.chosen ? vtfs_features_vq_flags(d->status.features)
				 : VTFS_VQ_PACKED;
	if (s->num > d->sink->ops->queue_max(d->sink) ||
	    vtfs_vq_areas(&a, flags, s->num) < 0)
		return vtfs_fail(-EINVAL, "ring %u with %u entries", s->index,
				 s->num);
	v->num = s->num;
	return 0;
}

static int check_addr(struct vu_device *d, const struct vu_vring *v)
{
	struct vtfs_queue_setup q;
	int r;

	/* Otherwise start() will look. */
	if (!v->num || !d->mem.table || !d->status.chosen)
		return 0;
	r = translate(d, v, &q);
	return r == -EAGAIN ? 0 : r;
}

int vtfs_vu_vring_addr(struct vu_device *d)
{
	const struct vu_vring_addr *a = &d->rx.payload.addr;
	struct vu_vring old, *v = find(d, a->index);
	int r;

	if (!v)
		return -EINVAL;
	/* flags and log are about logging, which can change at any time */
	if (v->running && (a->desc != v->addr.desc || a->used != v->addr.used ||
			   a->avail != v->addr.avail))
		return busy(d, v);
	old = *v;
	v->addr = *a;
	v->has_addr = true;
	r = check_addr(d, v);
	if (r >= 0)
		return vtfs_vu_tlb_ring(d);
	*v = old;
	return r;
}

int vtfs_vu_vring_base(struct vu_device *d)
{
	const struct vu_vring_state *s = &d->rx.payload.state;
	struct vu_vring *v = find(d, s->index);

	if (!v)
		return -EINVAL;
	if (v->running)
		return busy(d, v);
	if (d->status.chosen && !packed(d) && s->num > 0xffff)
		return vtfs_fail(-EINVAL, "ring %u: base 0x%x", s->index,
				 s->num);
	if (d->status.chosen && packed(d) && v->num &&
	    ((s->num & 0x7fff) >= v->num ||
	     ((s->num >> 16) & 0x7fff) >= v->num))
		return vtfs_fail(-EINVAL, "ring %u: base 0x%x of %u", s->index,
				 s->num, v->num);
	v->base = s->num;
	return 0;
}

int vtfs_vu_vring_get_base(struct vu_device *d)
{
	struct vu_vring *v = find(d, d->rx.payload.state.index);
	int r;

	if (!v)
		return -EINVAL;
	v->started = false;
	replace_fd(&v->kick_fd, -1);
	update(d, v);
	r = wait_for_drains(d);
	return r < 0 ? r : vtfs_vu_vring_reply_base(d);
}

int vtfs_vu_vring_reply_base(struct vu_device *d)
{
	struct vu_vring_state s = {.index = d->rx.payload.state.index};
	int r = vtfs_vu_tlb_rest(d);

	if (r < 0)
		return r;
	s.num = d->vrings[s.index].base;
	return vtfs_vu_device_reply(d, &s, sizeof(s));
}

/* The ring and the fd of SET_VRING_KICK, CALL, ERR; fd stays rx's. */
static int ring_and_fd(struct vu_device *d, struct vu_vring **ret, int *ret_fd)
{
	uint64_t v = d->rx.payload.u64;
	bool none = v & VU_VRING_NOFD;

	if (v & ~(uint64_t)(VU_VRING_INDEX | VU_VRING_NOFD))
		return vtfs_fail(-EINVAL, "%s: 0x%llx",
				 vtfs_vu_request_name(d->rx.hdr.request),
				 (unsigned long long)v);
	*ret = find(d, v & VU_VRING_INDEX);
	if (!*ret)
		return -EINVAL;
	if (d->rx.fd_cnt != (none ? 0u : 1u))
		return vtfs_fail(-EINVAL, "%s with %u file descriptors",
				 vtfs_vu_request_name(d->rx.hdr.request),
				 d->rx.fd_cnt);
	*ret_fd = none ? -1 : d->rx.fds[0];
	return 0;
}

static int take_fd(struct vu_device *d)
{
	return d->rx.fd_cnt ? vtfs_vu_rx_take_fd(&d->rx, 0) : -1;
}

int vtfs_vu_vring_kick(struct vu_device *d)
{
	struct vu_vring *v = NULL;
	int fd = -1;
	int r;

	r = ring_and_fd(d, &v, &fd);
	if (r < 0)
		return r;
	if (fd >= 0 && !vtfs_evfd_is(fd))
		return vtfs_fail(-EINVAL, "SET_VRING_KICK: not an eventfd");
	if (!v->num || !v->has_addr)
		return vtfs_fail(-EINVAL, "SET_VRING_KICK before the ring's %s",
				 v->num ? "address" : "size");
	replace_fd(&v->kick_fd, take_fd(d));
	v->started = true;
	if (v->running) {
		d->sink->ops->set_kick(d->sink, index_of(d, v), v->kick_fd);
		return 0;
	}
	return update(d, v);
}

int vtfs_vu_vring_call(struct vu_device *d)
{
	struct vtfs_bell probe;
	struct vu_vring *v = NULL;
	int fd = -1;
	int r;

	r = ring_and_fd(d, &v, &fd);
	if (r >= 0)
		r = vtfs_bell_open(&probe, fd);
	if (r < 0)
		return r;
	vtfs_bell_close(&probe);
	replace_fd(&v->call_fd, take_fd(d));
	if (v->running)
		d->sink->ops->set_call(d->sink, index_of(d, v), v->call_fd);
	return 0;
}

int vtfs_vu_vring_err(struct vu_device *d)
{
	struct vtfs_bell bell;
	struct vu_vring *v = NULL;
	int fd = -1;
	int r;

	r = ring_and_fd(d, &v, &fd);
	if (r >= 0)
		r = vtfs_bell_open(&bell, fd);
	if (r < 0)
		return r;
	vtfs_bell_close(&v->err);
	v->err = bell;
	return 0;
}

int vtfs_vu_vring_enable(struct vu_device *d)
{
	const struct vu_vring_state *s = &d->rx.payload.state;
	struct vu_vring *v = find(d, s->index);
	int r;

	if (!v)
		return -EINVAL;
	if (s->num > 1)
		return vtfs_fail(-EINVAL, "SET_VRING_ENABLE %u", s->num);
	v->enabled = s->num;
	r = update(d, v);
	return r < 0 ? r : wait_for_drains(d);
}
