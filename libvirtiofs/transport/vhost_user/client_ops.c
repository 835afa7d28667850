/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vhost_user/client_ops.h"

#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/evfd.h"

static int add_u64(struct vu_client *c, uint32_t request, uint64_t v)
{
	return vtfs_vu_script_add(c, request, VU_REPLY_ACK, &v, sizeof(v));
}

static int add_get(struct vu_client *c, uint32_t request, uint64_t *ret)
{
	int r = vtfs_vu_script_add(c, request, VU_REPLY_U64, NULL, 0);

	if (r >= 0)
		vtfs_vu_script_ret(c, ret);
	return r;
}

/* ---- connection ---- */

static int add_owner(struct vu_client *c)
{
	int r;

	r = vtfs_vu_script_add(c, VU_SET_OWNER, VU_REPLY_NONE, NULL, 0);
	if (r >= 0)
		r = add_get(c, VU_GET_FEATURES, &c->offered);
	return r;
}

static int add_channel(struct vu_client *c)
{
	int fd;
	int r;

	if (!vtfs_vu_client_has(c, VU_PF(BACKEND_REQ)))
		return 0;
	r = vtfs_vu_client_open_back(c, &fd);
	if (r < 0)
		return r;
	r = vtfs_vu_script_add(c, VU_SET_BACKEND_REQ_FD, VU_REPLY_ACK, NULL, 0);
	if (r >= 0)
		r = vtfs_vu_script_add_fd(c, fd);
	close(fd);
	return r;
}

static int add_protocol(struct vu_client *c)
{
	int r;

	c->protocol = c->protocol_offered & VU_CLIENT_PF;
	/* Not acknowledged: this message itself negotiates whether it could. */
	r = vtfs_vu_script_add(c, VU_SET_PROTOCOL_FEATURES, VU_REPLY_NONE,
			       &c->protocol, sizeof(c->protocol));
	/* Some features are offered only now. */
	if (r >= 0 && c->iommu)
		r = add_get(c, VU_GET_FEATURES, &c->offered);
	if (r >= 0 && vtfs_vu_client_has(c, VU_PF(MQ)))
		r = add_get(c, VU_GET_QUEUE_NUM, &c->queues);
	if (r >= 0 && vtfs_vu_client_has(c, VU_PF(CONFIGURE_MEM_SLOTS)))
		r = add_get(c, VU_GET_MAX_MEM_SLOTS, &c->slots);
	return r < 0 ? r : add_channel(c);
}

int vtfs_vu_client_negotiate(struct vu_client *c)
{
	int r;

	while (c->phase < 3) {
		r = vtfs_vu_script_begin(c, VU_OP_NEGOTIATE, c->phase);
		if (r < 0)
			return r;
		if (r > 0 && c->phase == 0)
			r = add_owner(c);
		else if (r > 0 && c->phase == 1)
			r = add_get(c, VU_GET_PROTOCOL_FEATURES,
				    &c->protocol_offered);
		else if (r > 0)
			r = add_protocol(c);
		r = vtfs_vu_script_go(c, r);
		if (r < 0)
			return r;
		c->phase++;
		if (!(c->offered & VU_F_PROTOCOL_FEATURES))
			c->phase = 3;
	}
	return 0;
}

/* ---- features, config, status ---- */

int vtfs_vu_client_get_features(struct virtiofs_transport *t, uint64_t *ret)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r = vtfs_vu_client_ready(c);

	if (r >= 0)
		r = vtfs_vu_client_check_iommu(c);
	/* Bits that belong to vhost-user are no device features; addresses are
	 * our affair. */
	if (r >= 0)
		*ret = c->offered & ~(VU_F_PROTOCOL_FEATURES | VU_F_LOG_ALL |
				      VTFS_F_ACCESS_PLATFORM);
	return r;
}

int vtfs_vu_client_set_features(struct virtiofs_transport *t, uint64_t features)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r = vtfs_vu_client_ready(c);

	if (r >= 0)
		r = vtfs_vu_script_begin(c, VU_OP_FEATURES, features);
	if (r > 0) {
		c->features = features | (c->offered & VU_F_PROTOCOL_FEATURES);
		if (c->iommu)
			c->features |= VTFS_F_ACCESS_PLATFORM;
		r = add_u64(c, VU_SET_FEATURES, c->features);
		if (r >= 0)
			r = vtfs_vu_script_barrier(c);
	}
	return vtfs_vu_script_go(c, r);
}

int vtfs_vu_client_queue_cnt(struct virtiofs_transport *t, unsigned *ret)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r = vtfs_vu_client_ready(c);

	if (r < 0)
		return r;
	if (!vtfs_vu_client_has(c, VU_PF(MQ)))
		return vtfs_fail(
		    -EOPNOTSUPP,
		    "%s: the back-end does not say how many queues "
		    "it has",
		    c->base.name);
	*ret = c->queues < VU_CLIENT_RINGS ? (unsigned)c->queues
					   : VU_CLIENT_RINGS;
	return 0;
}

static int add_get_config(struct vu_client *c, size_t len, size_t off)
{
	unsigned char msg[sizeof(struct vu_config) + VU_CONFIG_MAX] = {0};
	struct vu_config head = {.offset = (uint32_t)off,
				 .size = (uint32_t)len};

	memcpy(msg, &head, sizeof(head));
	return vtfs_vu_script_add(c, VU_GET_CONFIG, VU_REPLY_CONFIG, msg,
				  sizeof(head) + len);
}

int vtfs_vu_client_get_config(struct virtiofs_transport *t, void *buf,
			      size_t len, size_t off)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r = vtfs_vu_client_ready(c);

	if (r < 0)
		return r;
	if (!vtfs_vu_client_has(c, VU_PF(CONFIG)))
		return vtfs_fail(-EOPNOTSUPP, "%s: no config space",
				 c->base.name);
	if (len > VU_CONFIG_MAX || off > VU_CONFIG_MAX)
		return vtfs_fail(-EINVAL, "%zu bytes of config space at %zu",
				 len, off);
	r = vtfs_vu_script_begin(c, VU_OP_CONFIG, off << 16 | len);
	if (r > 0)
		r = add_get_config(c, len, off);
	r = vtfs_vu_script_go(c, r);
	if (r >= 0)
		memcpy(buf, c->script.config, len);
	return r;
}

int vtfs_vu_client_get_status(struct virtiofs_transport *t, uint8_t *ret)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r = vtfs_vu_client_ready(c);

	if (r < 0)
		return r;
	if (!vtfs_vu_client_has(c, VU_PF(STATUS))) {
		*ret = c->status;
		return 0;
	}
	r = vtfs_vu_script_begin(c, VU_OP_GET_STATUS, 0);
	if (r > 0)
		r = add_get(c, VU_GET_STATUS, &c->status_reply);
	r = vtfs_vu_script_go(c, r);
	if (r < 0)
		return r;
	if (c->status_reply > 0xff) {
		vtfs_fail(-EPROTO, "%s: status 0x%llx", c->base.name,
			  (unsigned long long)c->status_reply);
		return vtfs_vu_client_lose(c, -EPROTO);
	}
	*ret = (uint8_t)c->status_reply;
	return 0;
}

static int add_reset(struct vu_client *c)
{
	int r = vtfs_vu_script_add(c, VU_RESET_DEVICE, VU_REPLY_ACK, NULL, 0);

	return r < 0 ? r : vtfs_vu_script_barrier(c);
}

/* A reset where there is no status: RESET_DEVICE, or each ring stops. */
static int reset_without_status(struct virtiofs_transport *t)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r;

	if (vtfs_vu_client_has(c, VU_PF(RESET_DEVICE))) {
		r = vtfs_vu_script_begin(c, VU_OP_SET_STATUS, 0);
		if (r > 0)
			r = add_reset(c);
		return vtfs_vu_script_go(c, r);
	}
	for (unsigned i = 0; i < VU_CLIENT_RINGS; i++) {
		if (!c->running[i])
			continue;
		r = vtfs_vu_client_stop_queue(t, i);
		if (r < 0)
			return r;
	}
	return 0;
}

int vtfs_vu_client_set_status(struct virtiofs_transport *t, uint8_t status)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r = vtfs_vu_client_ready(c);

	if (r < 0)
		return r;
	if (vtfs_vu_client_has(c, VU_PF(STATUS))) {
		r = vtfs_vu_script_begin(c, VU_OP_SET_STATUS, status);
		if (r > 0)
			r = add_u64(c, VU_SET_STATUS, status);
		r = vtfs_vu_script_go(c, r);
	} else if (!status) {
		r = reset_without_status(t);
	}
	if (r < 0)
		return r;
	c->status = status;
	if (!status)
		memset(c->running, 0, sizeof(c->running));
	return 0;
}

uint64_t vtfs_vu_client_protocol_features(struct virtiofs_transport *t)
{
	return vtfs_vu_to_client(t)->protocol;
}

/* ---- queues ---- */

static int add_state(struct vu_client *c, uint32_t request, uint32_t index,
		     uint32_t num)
{
	struct vu_vring_state s = {.index = index, .num = num};

	return vtfs_vu_script_add(c, request, VU_REPLY_ACK, &s, sizeof(s));
}

static int add_vring_fd(struct vu_client *c, uint32_t request, uint32_t index,
			int fd)
{
	int r;

	if (fd < 0)
		return add_u64(c, request, index | VU_VRING_NOFD);
	r = add_u64(c, request, index);
	return r < 0 ? r : vtfs_vu_script_add_fd(c, fd);
}

static int add_addr(struct vu_client *c, const struct vtfs_queue_setup *q)
{
	struct vu_vring_addr a = {.index = q->vq,
				  .desc = q->desc,
				  .used = q->device,
				  .avail = q->driver};

	return vtfs_vu_script_add(c, VU_SET_VRING_ADDR, VU_REPLY_ACK, &a,
				  sizeof(a));
}

static int add_start(struct vu_client *c, const struct vtfs_queue_setup *q)
{
	uint32_t base = q->avail_base;
	int r;

	if (c->features & VIRTIOFS_F_RING_PACKED)
		base |= (uint32_t)q->used_base << 16;
	r = add_state(c, VU_SET_VRING_NUM, q->vq, q->num);
	if (r >= 0)
		r = add_state(c, VU_SET_VRING_BASE, q->vq, base);
	if (r >= 0)
		r = add_addr(c, q);
	if (r >= 0)
		r = add_vring_fd(c, VU_SET_VRING_CALL, q->vq, q->call_fd);
	if (r >= 0)
		r = add_vring_fd(c, VU_SET_VRING_KICK, q->vq, q->kick_fd);
	if (r >= 0 && c->features & VU_F_PROTOCOL_FEATURES)
		r = add_state(c, VU_SET_VRING_ENABLE, q->vq, q->enabled);
	return r < 0 ? r : vtfs_vu_script_barrier(c);
}

int vtfs_vu_client_start_queue(struct virtiofs_transport *t,
			       const struct vtfs_queue_setup *q)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	int r = vtfs_vu_client_ready(c);

	if (r < 0)
		return r;
	if (q->vq >= VU_CLIENT_RINGS ||
	    (vtfs_vu_client_has(c, VU_PF(MQ)) && q->vq >= c->queues))
		return vtfs_fail(-EINVAL, "%s: queue %u of %llu", c->base.name,
				 q->vq, (unsigned long long)c->queues);
	r = vtfs_vu_script_begin(c, VU_OP_START, q->vq);
	if (r > 0)
		r = add_start(c, q);
	r = vtfs_vu_script_go(c, r);
	if (r < 0)
		return r;
	c->running[q->vq] = true;
	/* Old back-ends start a ring with its first kick. */
	if (q->kick_fd >= 0)
		vtfs_evfd_signal(q->kick_fd);
	return 0;
}

int vtfs_vu_client_stop_queue(struct virtiofs_transport *t, unsigned vq)
{
	struct vu_client *c = vtfs_vu_to_client(t);
	struct vu_vring_state s = {.index = vq};
	int r = vtfs_vu_client_ready(c);

	if (r < 0)
		return r;
	if (vq >= VU_CLIENT_RINGS)
		return vtfs_fail(-EINVAL, "%s: queue %u", c->base.name, vq);
	r = vtfs_vu_script_begin(c, VU_OP_STOP, vq);
	if (r > 0)
		r = vtfs_vu_script_add(c, VU_GET_VRING_BASE, VU_REPLY_STATE, &s,
				       sizeof(s));
	r = vtfs_vu_script_go(c, r);
	if (r >= 0)
		c->running[vq] = false;
	return r;
}
