/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "liardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <virtiofs/client.h>

#include "wire/ring.h"

static struct liar *to_liar(const struct virtiofs_transport *t)
{
	return (struct liar *)(uintptr_t)t;
}

static void __attribute__((format(printf, 2, 3)))
note(struct liar *l, const char *fmt, ...)
{
	size_t at = strlen(l->text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->text + at, sizeof(l->text) - at, fmt, ap);
	va_end(ap);
}

void liar_clear(struct liar *l)
{
	l->text[0] = 0;
}

static int answer(struct liar *l, int op)
{
	if (l->gone)
		return -ENOTCONN;
	return l->fail_op == op && op != LIAR_NONE ? l->fail_r : 0;
}

/* ---- transport ---- */

static int op_attach(struct virtiofs_transport *t, struct vtfs_cli_sink *sink)
{
	to_liar(t)->sink = sink;
	return 0;
}

static int op_connect(struct virtiofs_transport *t)
{
	struct liar *l = to_liar(t);

	note(l, "connect;");
	l->gone = false;
	return 0;
}

static int op_dispatch(struct virtiofs_transport *t)
{
	return answer(to_liar(t), LIAR_NONE);
}

static int op_get_features(struct virtiofs_transport *t, uint64_t *ret)
{
	note(to_liar(t), "get_features;");
	*ret = to_liar(t)->offered;
	return answer(to_liar(t), LIAR_NONE);
}

static int op_set_features(struct virtiofs_transport *t, uint64_t features)
{
	note(to_liar(t), "features %llx;", (unsigned long long)features);
	to_liar(t)->features = features;
	return answer(to_liar(t), LIAR_FEATURES);
}

static int op_queue_cnt(struct virtiofs_transport *t, unsigned *ret)
{
	*ret = to_liar(t)->queue_cnt;
	return to_liar(t)->gone ? -ENOTCONN : to_liar(t)->queue_cnt_r;
}

static int op_get_config(struct virtiofs_transport *t, void *buf, size_t len,
			 size_t off)
{
	struct liar *l = to_liar(t);

	note(l, "config;");
	if (off + len > l->config_end)
		l->config_end = off + len;
	if (l->config_r < 0)
		return l->config_r;
	if (off + len > l->config_len)
		return -EINVAL;
	memcpy(buf, l->config + off, len);
	if (l->config_changes) {
		l->config_changes--;
		l->config[0]++;
	}
	return answer(l, LIAR_NONE);
}

static int op_get_status(struct virtiofs_transport *t, uint8_t *ret)
{
	struct liar *l = to_liar(t);

	note(l, "read_status;");
	*ret = l->status;
	if (!l->status && l->status_lag) {
		l->status_lag--;
		*ret = 0xf;
	}
	return answer(l, LIAR_NONE);
}

static uint16_t avail_idx(const struct liar *l, const struct liar_queue *q)
{
	const struct vtfs_wire_avail *a = vtfs_table_ptr(
	    l->table, q->setup.driver, sizeof(*a));

	assert_non_null(a);
	return le16toh(a->idx);
}

static void count_kicks(struct liar *l)
{
	for (unsigned i = 0; i < LIAR_QUEUES; i++) {
		struct pollfd p = {.fd = l->q[i].setup.kick_fd,
				   .events = POLLIN};

		if (!l->q[i].vq)
			continue;
		if (poll(&p, 1, 0) == 1)
			l->early_kicks++;
		l->early_idx[i] = avail_idx(l, &l->q[i]);
	}
}

static void touch_held(struct liar *l)
{
	char byte = 0x5a;

	if (!l->held)
		return;
	for (size_t i = 0; i < l->held->room_len; i += 512)
		liar_write(l->held, i, &byte, 1);
	l->touched++;
}

static void queue_end(struct liar_queue *q)
{
	if (!q->vq)
		return;
	vtfs_vq_dev_free(q->vq);
	q->vq = NULL;
	if (q->setup.kick_fd >= 0)
		close(q->setup.kick_fd);
	if (q->setup.call_fd >= 0)
		close(q->setup.call_fd);
}

static int op_set_status(struct virtiofs_transport *t, uint8_t status)
{
	struct liar *l = to_liar(t);

	note(l, "status %u;", status);
	if (answer(l, LIAR_NONE) < 0)
		return -ENOTCONN;
	if (status == 15)
		count_kicks(l);
	l->status = status;
	if (l->refuses_features)
		l->status &= (uint8_t)~8u;
	if (!status) {
		touch_held(l);
		for (unsigned i = 0; i < LIAR_QUEUES; i++)
			queue_end(&l->q[i]);
	}
	return 0;
}

static void new_table(struct liar *l)
{
	struct vtfs_region *regions[32];
	unsigned n = 0;

	vtfs_table_put(l->table);
	for (unsigned i = 0; i < l->region_cnt; i++) {
		struct vtfs_region_desc d = {
		    .peer_addr = l->region_at[i],
		    .len = l->regions[i].len,
		    .fd = -1,
		    .addr = l->regions[i].addr,
		};

		if (l->region_live[i])
			assert_int_equal(
			    vtfs_region_new(&regions[n++], &d, (uint16_t)i), 0);
	}
	assert_int_equal(vtfs_table_new(&l->table, regions, n), 0);
	while (n--)
		vtfs_region_put(regions[n]);
}

static int op_map(struct virtiofs_transport *t,
		  const struct virtiofs_region *region, uint64_t *ret)
{
	struct liar *l = to_liar(t);
	unsigned i = l->region_cnt;
	int r = answer(l, LIAR_MAP);

	note(l, "map;");
	if (r < 0)
		return r;
	assert_true(i < 32);
	l->regions[i] = *region;
	l->region_at[i] = LIAR_PEER_ADDR + i * 0x100000000ULL;
	if (l->same_addrs)
		l->region_at[i] = (uintptr_t)region->addr;
	if (l->map_at)
		l->region_at[i] = l->map_at;
	l->region_live[i] = true;
	l->region_cnt++;
	*ret = l->region_at[i];
	new_table(l);
	return 0;
}

static int op_unmap(struct virtiofs_transport *t, uint64_t at)
{
	struct liar *l = to_liar(t);

	note(l, "unmap;");
	for (unsigned i = 0; i < l->region_cnt; i++) {
		if (l->region_at[i] != at || !l->region_live[i])
			continue;
		l->region_live[i] = false;
		new_table(l);
		return answer(l, LIAR_NONE);
	}
	return -EINVAL;
}

static int dup_fd(int fd)
{
	return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

static int op_start_queue(struct virtiofs_transport *t,
			  const struct vtfs_queue_setup *s)
{
	struct vtfs_vq_conf conf = {0};
	struct liar *l = to_liar(t);
	struct liar_queue *q = &l->q[s->vq];
	struct vtfs_vq_areas a;
	int r = answer(l, LIAR_START_QUEUE);

	note(l, "start %u;", s->vq);
	if (r < 0)
		return r;
	conf.flags = vtfs_features_vq_flags(l->features);
	conf.num = s->num;
	assert_int_equal(vtfs_vq_areas(&a, conf.flags, s->num), 0);
	conf.desc = vtfs_table_ptr(l->table, s->desc, a.desc_len);
	conf.driver = vtfs_table_ptr(l->table, s->driver, a.driver_len);
	conf.device = vtfs_table_ptr(l->table, s->device, a.device_len);
	assert_non_null(conf.desc);
	assert_non_null(conf.driver);
	assert_non_null(conf.device);
	conf.avail_base = s->avail_base;
	conf.used_base = s->used_base;
	conf.max_parts = 1024;
	assert_int_equal(vtfs_vq_dev_new(&q->vq, &conf), 0);
	q->setup = *s;
	q->setup.kick_fd = dup_fd(s->kick_fd);
	q->setup.call_fd = dup_fd(s->call_fd);
	return 0;
}

static int op_stop_queue(struct virtiofs_transport *t, unsigned vq)
{
	int r = answer(to_liar(t), LIAR_STOP_QUEUE);

	note(to_liar(t), "stop %u;", vq);
	if (r < 0)
		return r;
	touch_held(to_liar(t));
	queue_end(&to_liar(t)->q[vq]);
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
};

static void t_free(struct virtiofs_transport *t)
{
	to_liar(t)->freed = true;
}

static int t_fd(const struct virtiofs_transport *t)
{
	return to_liar(t)->fd;
}

void liar_init(struct liar *l)
{
	memset(l, 0, sizeof(*l));
	l->t.name = "liar:";
	l->t.cli = &cli_ops;
	l->t.free = t_free;
	l->t.fd = t_fd;
	l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->offered = VIRTIOFS_FEATURES_DEFAULT;
	l->queue_cnt = 2;
	memcpy(l->config, "liar", 4);
	l->config[VTFS_CONFIG_QUEUES] = 1;
	l->config_len = VTFS_CONFIG_LEN;
}

void liar_fini(struct liar *l)
{
	for (unsigned i = 0; i < LIAR_QUEUES; i++)
		queue_end(&l->q[i]);
	vtfs_table_put(l->table);
	close(l->fd);
}

/* ---- requests ---- */

static void pull(struct liar_req *req, const struct vtfs_chain *ch)
{
	unsigned char *head = (unsigned char *)&req->in;
	size_t at = 0;

	for (unsigned i = 0; i < ch->readable_cnt; i++) {
		const unsigned char *p = ch->iov[i].iov_base;

		for (size_t k = 0; k < ch->iov[i].iov_len; k++, at++) {
			if (at < sizeof(req->in))
				head[at] = p[k];
			else if (at - sizeof(req->in) < sizeof(req->data))
				req->data[at - sizeof(req->in)] = p[k];
		}
	}
	req->len = at - sizeof(req->in);
}

/* The next chain of a queue, with its room. */
static int pop(struct liar *l, unsigned vq, struct liar_req *req,
	       struct vtfs_chain *ch)
{
	int r = vtfs_vq_dev_pop(l->q[vq].vq, l->table, ch);

	assert_true(r >= 0);
	if (!r)
		return 0;
	assert_int_equal(ch->fault, 0);
	memset(req, 0, sizeof(*req));
	req->vq = vq;
	req->id = ch->id;
	req->ring_cnt = ch->ring_cnt;
	assert_true(ch->writable_cnt <= 64);
	req->room_cnt = ch->writable_cnt;
	req->room_len = ch->writable_len;
	memcpy(req->room, ch->iov + ch->readable_cnt,
	       ch->writable_cnt * sizeof(*req->room));
	return 1;
}

int liar_pop_buffer(struct liar *l, unsigned vq, struct liar_req *req)
{
	struct vtfs_chain ch;
	int r = pop(l, vq, req, &ch);

	if (r)
		assert_int_equal(ch.readable_cnt, 0);
	return r;
}

int liar_pop(struct liar *l, unsigned vq, struct liar_req *req)
{
	struct vtfs_chain ch;

	if (!l->q[vq].vq || !pop(l, vq, req, &ch))
		return 0;
	assert_true(ch.readable_len >= sizeof(req->in));
	pull(req, &ch);
	assert_int_equal(req->in.len, ch.readable_len);
	return 1;
}

void liar_write(struct liar_req *req, size_t off, const void *p, size_t n)
{
	const unsigned char *from = p;
	size_t at = 0;

	for (unsigned i = 0; i < req->room_cnt; i++) {
		unsigned char *to = req->room[i].iov_base;

		for (size_t k = 0; k < req->room[i].iov_len; k++, at++)
			if (at >= off && at - off < n)
				to[k] = from[at - off];
	}
}

void liar_used(struct liar *l, struct liar_req *req, uint32_t used)
{
	struct liar_queue *q = &l->q[req->vq];
	uint64_t one = 1;

	vtfs_vq_dev_push(q->vq, req->id, req->ring_cnt, used);
	if (vtfs_vq_dev_publish(q->vq) > 0 && q->setup.call_fd >= 0)
		assert_int_equal(write(q->setup.call_fd, &one, 8), 8);
}

static struct vtfs_wire_used *used_ring(struct liar *l, unsigned vq)
{
	return vtfs_table_ptr(l->table, l->q[vq].setup.device,
			      sizeof(struct vtfs_wire_used));
}

void liar_raw_index(struct liar *l, unsigned vq, uint16_t add)
{
	struct vtfs_wire_used *used = used_ring(l, vq);

	used->idx = (uint16_t)(used->idx + add);
}

void liar_raw_used(struct liar *l, unsigned vq, uint32_t id, uint32_t len)
{
	struct vtfs_wire_used *used = used_ring(l, vq);
	unsigned at = used->idx & (l->q[vq].setup.num - 1);

	used->ring[at].id = id;
	used->ring[at].len = len;
	used->idx++;
}

void liar_reply(struct liar *l, struct liar_req *req, int error, const void *p,
		size_t len)
{
	struct fuse_out_header out = {
	    .len = (uint32_t)(sizeof(out) + len),
	    .error = error,
	    .unique = req->in.unique,
	};

	liar_write(req, 0, &out, sizeof(out));
	if (len)
		liar_write(req, sizeof(out), p, len);
	liar_used(l, req, out.len);
}

void liar_init_reply(struct fuse_init_out *out, const struct liar_req *req)
{
	const struct fuse_init_in *in = (const void *)req->data;

	memset(out, 0, sizeof(*out));
	out->major = 7;
	out->minor = 45;
	out->flags = in->flags;
	out->flags2 = in->flags2;
	out->max_write = 1 << 20;
	out->max_pages = 256;
	out->time_gran = 1;
}

int liar_start(struct liar *l, struct virtiofs_client *c)
{
	static struct liar_req req;
	struct fuse_init_out out;
	int r = virtiofs_client_start(c, NULL);
	unsigned vq;

	if (r != -EAGAIN)
		return r;
	vq = l->features & VIRTIOFS_F_NOTIFICATION ? 2 : 1;
	assert_int_equal(liar_pop(l, vq, &req), 1);
	assert_int_equal(req.in.opcode, FUSE_INIT);
	liar_init_reply(&out, &req);
	liar_reply(l, &req, 0, &out, sizeof(out));
	/* As the header tells: dispatch, and start again. */
	virtiofs_client_dispatch(c);
	return virtiofs_client_start(c, NULL);
}
