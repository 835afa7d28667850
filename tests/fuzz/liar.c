/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "liar.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>

#include "base/bytes.h"

#define PEER_ADDR UINT64_C(0x4200000000)

static struct liar *to_liar(const struct virtiofs_transport *t)
{
	return (struct liar *)(uintptr_t)t;
}

static int answer(const struct virtiofs_transport *t)
{
	return to_liar(t)->gone ? -ENOTCONN : 0;
}

static int op_attach(struct virtiofs_transport *t, struct vtfs_cli_sink *sink)
{
	return 0;
}

static int op_connect(struct virtiofs_transport *t)
{
	struct liar *l = to_liar(t);

	/* A new session: everything is shared anew. */
	l->gone = false;
	l->region_cnt = 0;
	return 0;
}

static int op_dispatch(struct virtiofs_transport *t)
{
	return answer(t);
}

static int op_get_features(struct virtiofs_transport *t, uint64_t *ret)
{
	*ret = to_liar(t)->offered;
	return answer(t);
}

static int op_set_features(struct virtiofs_transport *t, uint64_t features)
{
	must(!(features & ~to_liar(t)->offered));
	to_liar(t)->features = features;
	return answer(t);
}

static int op_queue_cnt(struct virtiofs_transport *t, unsigned *ret)
{
	*ret = to_liar(t)->queue_cnt;
	return answer(t);
}

static int op_get_config(struct virtiofs_transport *t, void *buf, size_t len,
			 size_t off)
{
	struct liar *l = to_liar(t);

	if (l->no_config)
		return -EOPNOTSUPP;
	must(vtfs_range_ok(0, sizeof(l->config), off, len));
	memcpy(buf, l->config + off, len);
	return answer(t);
}

static int op_get_status(struct virtiofs_transport *t, uint8_t *ret)
{
	*ret = to_liar(t)->status;
	return answer(t);
}

static void end_queue(struct liar_queue *q)
{
	if (!q->vq)
		return;
	vtfs_vq_dev_free(q->vq);
	close(q->call);
	memset(q, 0, sizeof(*q));
}

static int op_set_status(struct virtiofs_transport *t, uint8_t status)
{
	struct liar *l = to_liar(t);

	for (unsigned i = 0; !status && i <= LIAR_QUEUES; i++)
		end_queue(&l->q[i]);
	l->status = status;
	return answer(t);
}

static void new_table(struct liar *l)
{
	struct vtfs_region *regions[LIAR_REGIONS];
	unsigned n = 0;

	for (unsigned i = 0; i < l->region_cnt; i++) {
		struct vtfs_region_desc d = {
		    .peer_addr = PEER_ADDR + ((uint64_t)i << 32),
		    .len = l->regions[i].len,
		    .fd = -1,
		    .addr = l->regions[i].addr,
		};

		if (d.addr)
			must(!vtfs_region_new(&regions[n++], &d, (uint16_t)i));
	}
	vtfs_table_put(l->table);
	must(!vtfs_table_new(&l->table, regions, n));
	while (n--)
		vtfs_region_put(regions[n]);
}

static int op_map(struct virtiofs_transport *t, const struct virtiofs_region *r,
		  uint64_t *ret)
{
	struct liar *l = to_liar(t);
	unsigned i = l->region_cnt;

	if (l->gone)
		return -ENOTCONN;
	if (i == LIAR_REGIONS)
		return -ENOSPC;
	l->regions[i] = (struct liar_region){r->addr, r->len};
	l->region_cnt++;
	*ret = PEER_ADDR + ((uint64_t)i << 32);
	new_table(l);
	return 0;
}

static int op_unmap(struct virtiofs_transport *t, uint64_t at)
{
	struct liar *l = to_liar(t);
	uint64_t i = (at - PEER_ADDR) >> 32;

	must(i < l->region_cnt && l->regions[i].addr);
	l->regions[i].addr = NULL;
	new_table(l);
	return answer(t);
}

static int op_start_queue(struct virtiofs_transport *t,
			  const struct vtfs_queue_setup *s)
{
	struct liar *l = to_liar(t);
	struct liar_queue *q = &l->q[s->vq];
	struct vtfs_vq_conf conf = {
	    .flags = vtfs_features_vq_flags(l->features),
	    .num = s->num,
	    .avail_base = s->avail_base,
	    .used_base = s->used_base,
	    .max_parts = LIAR_PARTS,
	};

	if (l->gone)
		return -ENOTCONN;
	must(s->vq <= LIAR_QUEUES && !q->vq);
	must(!vtfs_vq_areas(&q->areas, conf.flags, s->num));
	q->desc = vtfs_table_ptr(l->table, s->desc, q->areas.desc_len);
	q->driver = vtfs_table_ptr(l->table, s->driver, q->areas.driver_len);
	q->device = vtfs_table_ptr(l->table, s->device, q->areas.device_len);
	must(q->desc && q->driver && q->device);
	conf.desc = q->desc;
	conf.driver = q->driver;
	conf.device = q->device;
	must(!vtfs_vq_dev_new(&q->vq, &conf));
	q->num = s->num;
	q->call = fcntl(s->call_fd, F_DUPFD_CLOEXEC, 0);
	must(q->call >= 0);
	return 0;
}

static int op_stop_queue(struct virtiofs_transport *t, unsigned vq)
{
	end_queue(&to_liar(t)->q[vq]);
	return answer(t);
}

static uint64_t op_protocol_features(struct virtiofs_transport *t)
{
	return 0;
}

static const struct vtfs_cli_ops cli_ops = {
    .attach = op_attach,
    .connect = op_connect,
    .dispatch = op_dispatch,
    .get_features = op_get_features,
    .set_features = op_set_features,
    .queue_cnt = op_queue_cnt,
    .get_config = op_get_config,
    .get_status = op_get_status,
    .set_status = op_set_status,
    .map = op_map,
    .unmap = op_unmap,
    .start_queue = op_start_queue,
    .stop_queue = op_stop_queue,
    .protocol_features = op_protocol_features,
};

static void op_free(struct virtiofs_transport *t)
{
	to_liar(t)->freed = true;
}

static int op_fd(const struct virtiofs_transport *t)
{
	return to_liar(t)->fd;
}

void liar_init(struct liar *l, uint64_t offered)
{
	memset(l, 0, sizeof(*l));
	l->base.name = "liar:";
	l->base.cli = &cli_ops;
	l->base.free = op_free;
	l->base.fd = op_fd;
	l->offered = offered;
	l->queue_cnt = LIAR_QUEUES + 1;
	memcpy(l->config, "liar", 4);
	l->config[VTFS_CONFIG_QUEUES] = LIAR_QUEUES - 1;
	l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(l->fd >= 0);
}

void liar_fini(struct liar *l)
{
	must(l->freed);
	for (unsigned i = 0; i <= LIAR_QUEUES; i++)
		end_queue(&l->q[i]);
	vtfs_table_put(l->table);
	close(l->fd);
}

/* ---- requests ---- */

static size_t pull(const struct vtfs_chain *ch, void *buf, size_t len)
{
	size_t at = 0;

	for (unsigned i = 0; i < ch->readable_cnt && at < len; i++) {
		size_t n = vtfs_min_size(len - at, ch->iov[i].iov_len);

		memcpy((char *)buf + at, ch->iov[i].iov_base, n);
		at += n;
	}
	return at;
}

bool liar_pop(struct liar *l, unsigned vq, struct liar_req *req)
{
	struct liar_queue *q = &l->q[vq];
	struct vtfs_chain ch;

	if (!q->vq || vtfs_vq_dev_pop(q->vq, l->table, &ch) != 1)
		return false;
	memset(req, 0, sizeof(*req));
	req->vq = vq;
	req->id = ch.id;
	req->ring_cnt = ch.ring_cnt;
	pull(&ch, &req->in, sizeof(req->in));
	req->room_cnt = ch.writable_cnt;
	memcpy(req->room, ch.iov + ch.readable_cnt,
	       ch.writable_cnt * sizeof(*req->room));
	return true;
}

void liar_write(const struct liar_req *req, const void *p, size_t len)
{
	const char *from = p;

	for (unsigned i = 0; i < req->room_cnt && len; i++) {
		size_t n = vtfs_min_size(len, req->room[i].iov_len);

		memcpy(req->room[i].iov_base, from, n);
		from += n;
		len -= n;
	}
}

void liar_call(struct liar *l, unsigned vq)
{
	uint64_t one = 1;

	if (l->q[vq].vq)
		(void)!write(l->q[vq].call, &one, sizeof(one));
}

void liar_used(struct liar *l, const struct liar_req *req, uint32_t len)
{
	if (!l->q[req->vq].vq)
		return;
	vtfs_vq_dev_push(l->q[req->vq].vq, req->id, req->ring_cnt, len);
	vtfs_vq_dev_publish(l->q[req->vq].vq);
	liar_call(l, req->vq);
}
