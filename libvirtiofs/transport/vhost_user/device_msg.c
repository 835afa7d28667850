/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vhost_user/device.h"
#include "wire/fs.h"

/* ---- features, status ---- */

/* Not before the front-end can answer misses; user-mode Linux, which could not
 * translate, asks once and earlier. */
static uint64_t offered_features(struct vu_device *d)
{
	uint64_t offered = d->sink->ops->offered(d->sink);

	return vtfs_vu_tlb_can(d) ? offered | VTFS_F_ACCESS_PLATFORM : offered;
}

static int get_features(struct vu_device *d)
{
	uint64_t offered = offered_features(d);

	return vtfs_vu_device_reply_u64(d, offered | VU_F_PROTOCOL_FEATURES);
}

static int set_features(struct vu_device *d)
{
	uint64_t v = d->rx.payload.u64;
	uint64_t features = v & ~VU_F_PROTOCOL_FEATURES;
	bool same = d->status.chosen && features == d->status.features;
	int r;

	if (!same && vtfs_vu_vrings_running(d))
		return vtfs_fail(-EBUSY, "SET_FEATURES while rings run");
	r = vtfs_status_choose(&d->status, offered_features(d), features);
	if (r < 0)
		return r;
	if (!same)
		d->sink->ops->accept(d->sink, features);
	if (!(v & VU_F_PROTOCOL_FEATURES))
		vtfs_vu_vrings_enable_all(d);
	r = vtfs_vu_vrings_running(d) ? 0 : vtfs_vu_tlb_switch(d);
	return r < 0 ? r : vtfs_vu_vrings_update(d);
}

static uint64_t offered_protocol(struct vu_device *d)
{
	return vtfs_config_there(d->sink) ? VU_DEVICE_PF
					  : VU_DEVICE_PF & ~VU_PF(CONFIG);
}

static int get_protocol_features(struct vu_device *d)
{
	return vtfs_vu_device_reply_u64(d, offered_protocol(d));
}

static int set_protocol_features(struct vu_device *d)
{
	uint64_t v = d->rx.payload.u64;
	uint64_t beyond = v & ~offered_protocol(d);

	if (beyond)
		return vtfs_fail(
		    -EINVAL,
		    "SET_PROTOCOL_FEATURES 0x%llx, of which 0x%llx "
		    "was not offered",
		    (unsigned long long)v, (unsigned long long)beyond);
	d->protocol = v;
	return vtfs_vu_vrings_update(d);
}

static int get_queue_num(struct vu_device *d)
{
	return vtfs_vu_device_reply_u64(d, vtfs_vu_device_queues(d));
}

static int get_status(struct vu_device *d)
{
	return vtfs_vu_device_reply_u64(d, d->status.bits);
}

/* All rings that had to are drained. */
static int status_done(struct vu_device *d)
{
	int r;

	if (d->rx.payload.u64)
		return 0;
	r = vtfs_vu_tlb_rest(d);
	if (r < 0)
		return r;
	vtfs_vu_vrings_reset(d);
	vtfs_status_reset(&d->status);
	return 0;
}

static int set_status(struct vu_device *d)
{
	uint64_t v = d->rx.payload.u64;
	int r;

	if (v > 0xff)
		return vtfs_fail(-EINVAL, "SET_STATUS 0x%llx",
				 (unsigned long long)v);
	if (v) {
		vtfs_status_write(&d->status, (uint8_t)v);
		return vtfs_vu_vrings_update(d);
	}
	for (unsigned i = 0; i < VU_VRINGS; i++)
		d->vrings[i].started = false;
	r = vtfs_vu_vrings_update(d);
	return r < 0 ? r : status_done(d);
}

static int reset_device(struct vu_device *d)
{
	d->wait = VU_WAIT_RESET;
	d->sink->ops->reset(d->sink);
	return -EINPROGRESS;
}

static int reset_device_done(struct vu_device *d)
{
	int r = vtfs_vu_tlb_rest(d);

	if (r < 0)
		return r;
	vtfs_vu_vrings_reset(d);
	for (unsigned i = 0; i < VU_VRINGS; i++)
		d->vrings[i].base = 0;
	vtfs_status_reset(&d->status);
	return 0;
}

static int nothing(struct vu_device *d)
{
	return 0;
}

/* ---- memory ---- */

static struct vtfs_region_desc to_desc(const struct vu_region *r, int fd)
{
	return (struct vtfs_region_desc){.peer_addr = r->guest_addr,
					 .user_addr = r->user_addr,
					 .len = r->size,
					 .fd_offset = r->mmap_offset,
					 .fd = fd};
}

static int publish(struct vu_device *d)
{
	int r = d->tlb.on ? vtfs_vu_tlb_compile(d) : 0;

	if (r < 0)
		return r;
	d->wait = VU_WAIT_TABLE;
	d->sink->ops->set_table(
	    d->sink, d->tlb.on ? d->tlb.table : d->mem.table, d->mem.cookie);
	return -EINPROGRESS;
}

static int set_mem_table(struct vu_device *d)
{
	const struct vu_mem_table *m = &d->rx.payload.mem;
	struct vtfs_region_desc descs[VU_REGIONS_MAX];
	int r;

	/* User-mode Linux 6.1 always sends the size of two regions. */
	if (m->num > VU_REGIONS_MAX ||
	    d->rx.hdr.size < 8 + m->num * sizeof(m->regions[0]))
		return vtfs_fail(-EINVAL,
				 "SET_MEM_TABLE of %u regions in %u bytes",
				 m->num, d->rx.hdr.size);
	if (d->rx.fd_cnt != m->num)
		return vtfs_fail(-EINVAL,
				 "SET_MEM_TABLE of %u regions with %u file "
				 "descriptors",
				 m->num, d->rx.fd_cnt);
	for (unsigned i = 0; i < m->num; i++)
		descs[i] = to_desc(&m->regions[i], d->rx.fds[i]);
	r = vtfs_devmem_replace(&d->mem, descs, m->num);
	return r < 0 ? r : publish(d);
}

static int add_mem_reg(struct vu_device *d)
{
	struct vtfs_region_desc desc;
	int r;

	if (d->rx.fd_cnt != 1)
		return vtfs_fail(-EINVAL,
				 "ADD_MEM_REG with %u file descriptors",
				 d->rx.fd_cnt);
	desc = to_desc(&d->rx.payload.reg.region, d->rx.fds[0]);
	r = vtfs_devmem_add(&d->mem, &desc);
	return r < 0 ? r : publish(d);
}

static int rem_mem_reg(struct vu_device *d)
{
	const struct vu_region *g = &d->rx.payload.reg.region;
	int r = vtfs_devmem_remove(&d->mem, g->guest_addr, g->user_addr,
				   g->size);

	return r < 0 ? r : publish(d);
}

static int table_done(struct vu_device *d)
{
	vtfs_devmem_retired(&d->mem);
	return vtfs_vu_vrings_update(d);
}

static int get_max_mem_slots(struct vu_device *d)
{
	return vtfs_vu_device_reply_u64(d, VTFS_REGION_MAX);
}

/* ---- config space ---- */

/* Is the message as long as its header says, and in the config space? */
static int check_config(const struct vu_device *d)
{
	const struct vu_config *c = &d->rx.payload.config;

	if (c->size != d->rx.hdr.size - sizeof(*c))
		return vtfs_fail(-EPROTO, "%s of %u bytes in a payload of %u",
				 vtfs_vu_request_name(d->rx.hdr.request),
				 c->size, d->rx.hdr.size);
	if (!vtfs_range_ok(0, sizeof(struct vtfs_fs_config), c->offset,
			   c->size))
		return vtfs_fail(-EINVAL, "%s of %u bytes at %u",
				 vtfs_vu_request_name(d->rx.hdr.request),
				 c->size, c->offset);
	return 0;
}

static int get_config(struct vu_device *d)
{
	struct vu_config *c = &d->rx.payload.config;
	int r = check_config(d);

	if (r == -EPROTO)
		return r;
	if (r < 0) /* this request has an error answer of its own */
		return vtfs_vu_device_reply(d, NULL, 0);
	d->sink->ops->config(d->sink, d->rx.payload.bytes + sizeof(*c), c->size,
			     c->offset);
	return vtfs_vu_device_reply(d, c, sizeof(*c) + c->size);
}

/* Every field is the device's: a migration may only say what is there. */
static int set_config(struct vu_device *d)
{
	const struct vu_config *c = &d->rx.payload.config;
	unsigned char mine[sizeof(struct vtfs_fs_config)];
	int r = check_config(d);

	if (r < 0)
		return r;
	d->sink->ops->config(d->sink, mine, c->size, c->offset);
	if (c->flags != VU_CONFIG_MIGRATION ||
	    memcmp(mine, d->rx.payload.bytes + sizeof(*c), c->size))
		return vtfs_fail(-EROFS,
				 "SET_CONFIG: the config space is read-only");
	return 0;
}

/* ---- the channel ---- */

static int set_backend_req_fd(struct vu_device *d)
{
	if (d->rx.fd_cnt != 1)
		return vtfs_fail(-EINVAL,
				 "SET_BACKEND_REQ_FD with %u file descriptors",
				 d->rx.fd_cnt);
	return vtfs_vu_back_open(d, vtfs_vu_rx_take_fd(&d->rx, 0));
}

/* ---- all of them ---- */

struct spec {
	int (*handle)(struct vu_device *d);
	uint16_t min, max; /* bytes of payload */
	uint8_t fds;	   /* largest number */
	uint64_t needs;	   /* protocol features */
	int (*resume)(struct vu_device *d);
};

#define U64   8, 8
#define STATE 8, 8

static const struct spec specs[VU_REQUESTS] = {
    [VU_GET_FEATURES] = {get_features, 0, 0},
    [VU_SET_FEATURES] = {set_features, U64, 0, 0, vtfs_vu_vrings_update},
    [VU_SET_OWNER] = {nothing, 0, 0},
    [VU_RESET_OWNER] = {nothing, 0, 0},
    [VU_SET_MEM_TABLE] = {set_mem_table, 8, 264, VU_FDS_MAX, 0, table_done},
    [VU_SET_VRING_NUM] = {vtfs_vu_vring_num, STATE},
    [VU_SET_VRING_ADDR] = {vtfs_vu_vring_addr, 40, 40, 0, 0,
			   vtfs_vu_vrings_update},
    [VU_SET_VRING_BASE] = {vtfs_vu_vring_base, STATE},
    [VU_GET_VRING_BASE] = {vtfs_vu_vring_get_base, STATE, 0, 0,
			   vtfs_vu_vring_reply_base},
    [VU_SET_VRING_KICK] = {vtfs_vu_vring_kick, U64, 1},
    [VU_SET_VRING_CALL] = {vtfs_vu_vring_call, U64, 1},
    [VU_SET_VRING_ERR] = {vtfs_vu_vring_err, U64, 1},
    [VU_GET_PROTOCOL_FEATURES] = {get_protocol_features, 0, 0},
    [VU_SET_PROTOCOL_FEATURES] = {set_protocol_features, U64},
    [VU_GET_QUEUE_NUM] = {get_queue_num, 0, 0, 0, VU_PF(MQ)},
    [VU_SET_VRING_ENABLE] = {vtfs_vu_vring_enable, STATE},
    [VU_SET_BACKEND_REQ_FD] = {set_backend_req_fd, 0, 0, 1, VU_PF(BACKEND_REQ)},
    [VU_IOTLB_MSG] = {vtfs_vu_tlb_msg, 32, 32, 0, 0, vtfs_vu_tlb_msg_done},
    [VU_GET_CONFIG] = {get_config, 12, 12 + VU_CONFIG_MAX, 0, VU_PF(CONFIG)},
    [VU_SET_CONFIG] = {set_config, 12, 12 + VU_CONFIG_MAX, 0, VU_PF(CONFIG)},
    [VU_RESET_DEVICE] = {reset_device, 0, 0, 0, VU_PF(RESET_DEVICE),
			 reset_device_done},
    [VU_GET_MAX_MEM_SLOTS] = {get_max_mem_slots, 0, 0, 0,
			      VU_PF(CONFIGURE_MEM_SLOTS)},
    [VU_ADD_MEM_REG] = {add_mem_reg, 40, 40, 1, VU_PF(CONFIGURE_MEM_SLOTS),
			table_done},
    [VU_REM_MEM_REG] = {rem_mem_reg, 40, 40, 1, VU_PF(CONFIGURE_MEM_SLOTS),
			table_done},
    [VU_SET_STATUS] = {set_status, U64, 0, VU_PF(STATUS), status_done},
    [VU_GET_STATUS] = {get_status, 0, 0, 0, VU_PF(STATUS)},
};

static const struct spec *find_spec(uint32_t request)
{
	if (request >= VU_REQUESTS || !specs[request].handle)
		return NULL;
	return &specs[request];
}

int vtfs_vu_device_judge(void *ctx, const struct vu_header *h)
{
	const struct spec *s = find_spec(h->request);

	if (h->flags & VU_REPLY)
		return vtfs_fail(-EPROTO, "vhost-user: %s came as a reply",
				 vtfs_vu_request_name(h->request));
	if (s && (h->size < s->min || h->size > s->max))
		return vtfs_fail(-EPROTO, "vhost-user: %s with %u bytes",
				 vtfs_vu_request_name(h->request), h->size);
	return 0;
}

int vtfs_vu_device_handle(struct vu_device *d)
{
	uint32_t request = d->rx.hdr.request;
	const struct spec *s = find_spec(request);

	if (!s)
		return vtfs_fail(-EOPNOTSUPP, "request %u (%s) is not served",
				 request, vtfs_vu_request_name(request));
	if ((d->protocol & s->needs) != s->needs)
		return vtfs_fail(-EOPNOTSUPP, "%s was not negotiated",
				 vtfs_vu_request_name(request));
	if (d->rx.fd_cnt > s->fds)
		return vtfs_fail(-EINVAL, "%s with %u file descriptors",
				 vtfs_vu_request_name(request), d->rx.fd_cnt);
	return s->handle(d);
}

int vtfs_vu_device_resume(struct vu_device *d)
{
	const struct spec *s = find_spec(d->rx.hdr.request);

	return s->resume ? s->resume(d) : 0;
}
