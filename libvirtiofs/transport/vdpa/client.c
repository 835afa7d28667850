/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vdpa/client.h"

#include <fcntl.h>
#include <linux/vhost.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/evfd.h"
#include "wire/fs.h"
#include "wire/virtio.h"

/* Newer than the headers of Debian 12. */
#ifndef VHOST_VDPA_RESUME
#define VHOST_VDPA_RESUME _IO(VHOST_VIRTIO, 0x7E)
#endif
#ifndef VHOST_VDPA_GET_VQS_COUNT
#define VHOST_VDPA_GET_VQS_COUNT _IOR(VHOST_VIRTIO, 0x80, __u32)
#endif
#ifndef VHOST_BACKEND_F_RESUME
#define VHOST_BACKEND_F_RESUME 0x5
#endif

#define BIT(n) (1ULL << (n))
/* Of what vhost-vdpa offers besides virtio. */
#define BACKEND_KNOWN                                                          \
	(BIT(VHOST_BACKEND_F_IOTLB_MSG_V2) |                                   \
	 BIT(VHOST_BACKEND_F_IOTLB_BATCH) | BIT(VHOST_BACKEND_F_SUSPEND) |     \
	 BIT(VHOST_BACKEND_F_RESUME))

struct vdpa_client *vtfs_vdpa_to_client(const struct virtiofs_transport *t)
{
	return (struct vdpa_client *)t;
}

bool vtfs_vdpa_has(const struct vdpa_client *c, unsigned backend_bit)
{
	return c->backend & BIT(backend_bit);
}

/* An ioctl on the device; what says what it was for. */
static int call(const struct vdpa_client *c, unsigned long request, void *arg,
		const char *what)
{
	if (c->dev < 0)
		return vtfs_fail(-ENOTCONN, "%s: not connected", c->base.name);
	if (ioctl(c->dev, request, arg) < 0)
		return vtfs_fail_sys(-errno, "%s: %s", c->base.name, what);
	return 0;
}

/* ---- connection ---- */

static void hang_up(struct vdpa_client *c)
{
	if (c->dev >= 0)
		close(c->dev); /* the kernel resets the device */
	c->dev = -1;
	c->map_cnt = 0;
	c->status = 0;
	c->batch = c->suspended = false;
}

static int open_device(struct vdpa_client *c)
{
	c->dev = open(c->path, O_RDWR | O_CLOEXEC);
	if (c->dev >= 0)
		return 0;
	if (errno == EBUSY)
		return vtfs_fail(-EBUSY, "%s: another program drives it",
				 c->base.name);
	if (errno == ENOENT)
		return vtfs_fail(-ENOENT,
				 "%s: no such device; it is there when a vDPA "
				 "device is bound to vhost_vdpa",
				 c->base.name);
	return vtfs_fail_sys(-errno, "%s", c->base.name);
}

static int check_device(struct vdpa_client *c)
{
	uint32_t id;
	int r = call(c, VHOST_VDPA_GET_DEVICE_ID, &id, "no vDPA device");

	if (r >= 0 && id != VTFS_FS_DEVICE_ID)
		return vtfs_fail(-ENODEV,
				 "%s: no file system but a virtio device of "
				 "type %u",
				 c->base.name, id);
	return r;
}

static int agree(struct vdpa_client *c)
{
	int r = call(c, VHOST_GET_BACKEND_FEATURES, &c->backend,
		     "asking what vhost-vdpa can do");

	if (r < 0)
		return r;
	c->backend &= BACKEND_KNOWN;
	if (!vtfs_vdpa_has(c, VHOST_BACKEND_F_IOTLB_MSG_V2))
		return vtfs_fail(-EOPNOTSUPP,
				 "%s: its memory can't be changed by messages",
				 c->base.name);
	return call(c, VHOST_SET_BACKEND_FEATURES, &c->backend,
		    "choosing what vhost-vdpa can do");
}

static int get_range(struct vdpa_client *c)
{
	struct vhost_vdpa_iova_range range;
	int r = call(c, VHOST_VDPA_GET_IOVA_RANGE, &range,
		     "asking for its addresses");

	if (r < 0)
		return r;
	c->first = range.first;
	c->last = range.last;
	return 0;
}

static int client_connect(struct virtiofs_transport *t)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	int r;

	hang_up(c);
	r = open_device(c);
	if (r >= 0)
		r = check_device(c);
	if (r >= 0)
		r = call(c, VHOST_SET_OWNER, NULL, "becoming its owner");
	if (r >= 0)
		r = agree(c);
	if (r >= 0)
		r = get_range(c);
	if (r >= 0)
		r = call(c, VHOST_VDPA_SET_CONFIG_CALL, &c->config,
			 "asking for changes of the configuration");
	if (r < 0)
		hang_up(c);
	return r;
}

static int client_attach(struct virtiofs_transport *t,
			 struct vtfs_cli_sink *sink)
{
	vtfs_vdpa_to_client(t)->sink = sink;
	return 0;
}

static int client_dispatch(struct virtiofs_transport *t)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	struct epoll_event ev;

	if (epoll_wait(c->ep, &ev, 1, 0) == 1) {
		vtfs_evfd_drain(c->config);
		c->sink->ops->config_changed(c->sink);
	}
	return 0;
}

/* ---- features, config, status ---- */

static int client_get_features(struct virtiofs_transport *t, uint64_t *ret)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	int r = call(c, VHOST_GET_FEATURES, &c->offered,
		     "asking for its features");

	if (r >= 0)
		*ret = c->offered & ~VIRTIOFS_F_RING_RESET;
	return r;
}

/* All addresses are the ones given out here. */
static uint64_t client_own_features(struct virtiofs_transport *t,
				    uint64_t asked)
{
	return VTFS_F_ACCESS_PLATFORM;
}

static int client_set_features(struct virtiofs_transport *t, uint64_t features)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);

	c->features = features;
	return call(c, VHOST_SET_FEATURES, &c->features,
		    "choosing its features");
}

/* Kernels before 6.2 can't be asked: then it is the config space that tells. */
static int client_queue_cnt(struct virtiofs_transport *t, unsigned *ret)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	uint32_t cnt;
	int r = call(c, VHOST_VDPA_GET_VQS_COUNT, &cnt,
		     "asking for its queues");

	if (r == -ENOTTY || r == -EINVAL)
		return -EOPNOTSUPP;
	if (r >= 0)
		*ret = cnt;
	return r;
}

static int client_get_config(struct virtiofs_transport *t, void *buf,
			     size_t len, size_t off)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	unsigned char
	    bytes[sizeof(struct vhost_vdpa_config) + 2 * VTFS_CONFIG_LEN];
	struct vhost_vdpa_config head = {.off = (uint32_t)off};
	uint32_t size;
	int r = call(c, VHOST_VDPA_GET_CONFIG_SIZE, &size,
		     "asking for the size of its configuration");

	if (r < 0)
		return r;
	if (len > sizeof(bytes) - sizeof(head))
		return vtfs_fail(-EINVAL, "%s: %zu bytes of configuration",
				 c->base.name, len);
	memset(buf, 0, len);
	if (off >= size || !len)
		return 0;
	head.len = (uint32_t)vtfs_min_size(len, size - off);
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, &head, sizeof(head));
	r = call(c, VHOST_VDPA_GET_CONFIG, bytes, "reading its configuration");
	if (r >= 0)
		memcpy(buf, bytes + sizeof(head), head.len);
	return r;
}

static int client_get_status(struct virtiofs_transport *t, uint8_t *ret)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	uint8_t status;
	int r = call(c, VHOST_VDPA_GET_STATUS, &status, "reading its status");

	if (r >= 0)
		*ret = status;
	return r;
}

static int client_set_status(struct virtiofs_transport *t, uint8_t status)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	int r = 0;

	if (status & VTFS_STATUS_DRIVER_OK)
		r = vtfs_vdpa_end_batch(c);
	if (r >= 0)
		r = call(c, VHOST_VDPA_SET_STATUS, &status,
			 status ? "writing its status" : "resetting it");
	if (r < 0)
		return r;
	c->status = status;
	if (!status)
		c->suspended = false;
	return 0;
}

/* ---- queues ---- */

static int vring(struct vdpa_client *c, unsigned long request, unsigned vq,
		 unsigned num)
{
	struct vhost_vring_state s = {.index = vq, .num = num};

	return call(c, request, &s, "setting up a queue");
}

static int vring_fd(struct vdpa_client *c, unsigned long request, unsigned vq,
		    int fd)
{
	struct vhost_vring_file f = {.index = vq, .fd = fd};

	return call(c, request, &f, "the eventfd of a queue");
}

static int vring_addr(struct vdpa_client *c, const struct vtfs_queue_setup *q)
{
	struct vhost_vring_addr a = {.index = q->vq,
				     .desc_user_addr = q->desc,
				     .avail_user_addr = q->driver,
				     .used_user_addr = q->device};

	return call(c, VHOST_SET_VRING_ADDR, &a, "the addresses of a queue");
}

static int client_queue_max(struct virtiofs_transport *t, unsigned cnt,
			    uint32_t *ret)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	uint16_t max;
	int r = call(c, VHOST_VDPA_GET_VRING_NUM, &max,
		     "asking for the size of its queues");

	if (r >= 0)
		*ret = max;
	return r;
}

static int resume(struct vdpa_client *c)
{
	int r;

	if (!c->suspended)
		return 0;
	if (!vtfs_vdpa_has(c, VHOST_BACKEND_F_RESUME))
		return vtfs_fail(-EOPNOTSUPP,
				 "%s: a suspended device that only a reset "
				 "starts again",
				 c->base.name);
	r = call(c, VHOST_VDPA_RESUME, NULL, "resuming it");
	if (r >= 0)
		c->suspended = false;
	return r;
}

static int client_start_queue(struct virtiofs_transport *t,
			      const struct vtfs_queue_setup *q)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	unsigned base = q->avail_base;
	int r;

	/* The kernel wants it, for packed rings too. */
	if (!vtfs_is_pow2(q->num))
		return vtfs_fail(-EINVAL,
				 "%s: queue size %u is no power of two",
				 c->base.name, q->num);
	if (c->features & VIRTIOFS_F_RING_PACKED)
		base |= (unsigned)q->used_base << 16;
	r = vring(c, VHOST_SET_VRING_NUM, q->vq, q->num);
	if (r >= 0)
		r = vring(c, VHOST_SET_VRING_BASE, q->vq, base);
	if (r >= 0)
		r = vring_addr(c, q);
	if (r >= 0)
		r = vring_fd(c, VHOST_SET_VRING_CALL, q->vq, q->call_fd);
	if (r >= 0)
		r = vring_fd(c, VHOST_SET_VRING_KICK, q->vq, q->kick_fd);
	if (r >= 0)
		r = vring(c, VHOST_VDPA_SET_VRING_ENABLE, q->vq, q->enabled);
	return r < 0 ? r : resume(c);
}

static int client_stop_queue(struct virtiofs_transport *t, unsigned vq)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);
	int r;

	if (c->dev < 0)
		return -ENOTCONN;
	if (c->suspended)
		return 0;
	if (!vtfs_vdpa_has(c, VHOST_BACKEND_F_SUSPEND))
		return vtfs_fail(-EOPNOTSUPP,
				 "%s: a queue is stopped by a reset only",
				 c->base.name);
	r = call(c, VHOST_VDPA_SUSPEND, NULL, "suspending it");
	if (r >= 0)
		c->suspended = true;
	return r;
}

static const struct vtfs_cli_ops client_ops = {
    .attach = client_attach,
    .connect = client_connect,
    .dispatch = client_dispatch,
    .get_features = client_get_features,
    .set_features = client_set_features,
    .queue_cnt = client_queue_cnt,
    .get_config = client_get_config,
    .get_status = client_get_status,
    .set_status = client_set_status,
    .map = vtfs_vdpa_map,
    .unmap = vtfs_vdpa_unmap,
    .start_queue = client_start_queue,
    .stop_queue = client_stop_queue,
    .own_features = client_own_features,
    .queue_max = client_queue_max,
};

/* ---- made and freed ---- */

static void client_free(struct virtiofs_transport *t)
{
	struct vdpa_client *c = vtfs_vdpa_to_client(t);

	hang_up(c);
	if (c->config >= 0)
		close(c->config);
	if (c->ep >= 0)
		close(c->ep);
	free(c->name);
	free(c);
}

static int client_fd(const struct virtiofs_transport *t)
{
	return vtfs_vdpa_to_client(t)->ep;
}

static int set_up(struct vdpa_client *c, const char *path)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int r;

	if (asprintf(&c->name, "vdpa:%s", path) < 0) {
		c->name = NULL;
		return -ENOMEM;
	}
	c->base.name = c->name;
	c->path = c->name + strlen("vdpa:");
	c->ep = epoll_create1(EPOLL_CLOEXEC);
	if (c->ep < 0)
		return vtfs_fail_sys(-errno, "epoll_create1");
	r = vtfs_evfd_new(&c->config);
	if (r >= 0 && epoll_ctl(c->ep, EPOLL_CTL_ADD, c->config, &ev) < 0)
		r = vtfs_fail_sys(-errno, "epoll_ctl");
	return r;
}

int vtfs_vdpa_connect(struct virtiofs_transport **ret, const char *path)
{
	struct vdpa_client *c;
	int r;

	if (!path[0])
		return vtfs_fail(-EINVAL, "vdpa: the path is empty");
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->base.cli = &client_ops;
	c->base.free = client_free;
	c->base.fd = client_fd;
	c->ep = c->config = c->dev = -1;
	r = set_up(c, path);
	if (r < 0) {
		client_free(&c->base);
		return r;
	}
	*ret = &c->base;
	return 0;
}
