/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/virtio_pci/driver.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/evfd.h"
#include "mem/pool.h"
#include "transport/virtio_pci/driver_impl.h"
#include "wire/virtio.h"

#define BIT(name) (1ULL << VTFS_F_BIT_##name)

#define CONFIG_TRIES 16u

/* The rings' own fences are those between CPUs, which are what DMA needs where
 * stores are never reordered. */
#if defined(__x86_64__) || defined(__i386__)
#define ORDER_FEATURE BIT(ORDER_PLATFORM)
#else
#define ORDER_FEATURE 0
#endif

/* Accepted wherever they are offered. */
#define OWN_FEATURES                                                           \
	(BIT(ACCESS_PLATFORM) | ORDER_FEATURE | BIT(NOTIFICATION_DATA) |       \
	 BIT(NOTIF_CONFIG_DATA))

/* ---- connect ---- */

static void hang_up(struct pci_driver *d)
{
	vtfs_pci_forget_queues(d);
	if (d->open)
		d->fn->ops->close(d->fn);
	d->open = false;
	d->connected = false;
	d->features = 0;
	d->vectors = 0;
	d->j.op = (enum pci_op)0;
}

static const struct vtfs_pci_area config_space = {
    .bar = VTFS_PCI_CONFIG_REGION,
    .len = VTFS_PCI_CFG_LEN,
};

static int read_config_space(struct pci_driver *d)
{
	uint32_t value;
	int r = 0;

	for (unsigned i = 0; i < VTFS_PCI_CFG_LEN && r >= 0; i += 4) {
		r = vtfs_pci_read(d, &config_space, i, 4, &value);
		value = htole32(value);
		memcpy(d->cfg + i, &value, sizeof(value));
	}
	return r;
}

/* Nobody lets them be decoded. */
static void forget_io_bars(struct pci_driver *d)
{
	for (unsigned i = 0; i < VTFS_PCI_BARS; i++) {
		uint8_t bar = d->cfg[VTFS_PCI_BAR0 + 4 * i];

		if (bar & VTFS_PCI_BAR_IO)
			d->fn->bar_len[i] = 0;
		else if (bar & VTFS_PCI_BAR_64)
			i++; /* its other half */
	}
}

/* Registers answer, and the device may reach memory; no interrupt pin. */
static int enable(struct pci_driver *d)
{
	uint32_t command = (uint32_t)d->cfg[VTFS_PCI_COMMAND] |
			   (uint32_t)d->cfg[VTFS_PCI_COMMAND + 1] << 8;

	command |= VTFS_PCI_COMMAND_MEMORY | VTFS_PCI_COMMAND_MASTER |
		   VTFS_PCI_COMMAND_INTX_DISABLE;
	return vtfs_pci_write(d, &config_space, VTFS_PCI_COMMAND, 2, command);
}

static int open_fn(struct pci_driver *d)
{
	int r = d->fn->ops->open(d->fn);

	if (r >= 0)
		d->open = true;
	return r;
}

static int driver_connect(struct virtiofs_transport *t)
{
	struct pci_driver *d = to_driver(t);
	int r;

	if (d->connected || (d->open && d->j.op != PCI_OP_CONNECT))
		hang_up(d);
	r = vtfs_pci_begin(d, PCI_OP_CONNECT, 0);
	if (r >= 0 && !d->open)
		r = open_fn(d);
	if (r >= 0)
		r = read_config_space(d);
	if (r >= 0)
		forget_io_bars(d);
	if (r >= 0)
		r = vtfs_pci_caps_find(&d->caps, d->cfg, d->fn->bar_len);
	/* Before any queue runs: their threads read it. */
	if (r >= 0)
		d->fn->notify_bar = d->caps.notify.bar;
	if (r >= 0)
		r = enable(d);
	r = vtfs_pci_end(d, r);
	if (r >= 0) {
		d->connected = true;
		d->lost = 0;
	} else if (r != -EAGAIN) {
		hang_up(d);
	}
	return r;
}

/* ---- what it is ---- */

static int get_features(struct pci_driver *d, uint64_t *ret)
{
	uint32_t half[2] = {0};
	uint64_t all;
	int r = 0;

	for (unsigned i = 0; i < 2 && r >= 0; i++) {
		r = vtfs_pci_put(d, VTFS_PCI_DEVICE_FEATURE_SELECT, 4, i);
		if (r >= 0)
			r = vtfs_pci_get(d, VTFS_PCI_DEVICE_FEATURE, 4,
					 &half[i]);
	}
	if (r < 0)
		return r;
	all = half[0] | (uint64_t)half[1] << 32;
	/* Their registers have to be there. */
	if (d->caps.common.len < VTFS_PCI_QUEUE_RESET + 2)
		all &= ~BIT(RING_RESET);
	if (d->caps.common.len < VTFS_PCI_QUEUE_NOTIF_DATA + 2)
		all &= ~BIT(NOTIF_CONFIG_DATA);
	*ret = all;
	return 0;
}

static int driver_get_features(struct virtiofs_transport *t, uint64_t *ret)
{
	struct pci_driver *d = to_driver(t);
	int r = vtfs_pci_begin(d, PCI_OP_GET_FEATURES, 0);

	if (r >= 0)
		r = get_features(d, ret);
	return vtfs_pci_end(d, r);
}

static uint64_t driver_own_features(struct virtiofs_transport *t,
				    uint64_t asked)
{
	return OWN_FEATURES;
}

static int driver_set_features(struct virtiofs_transport *t, uint64_t features)
{
	struct pci_driver *d = to_driver(t);
	int r = vtfs_pci_begin(d, PCI_OP_SET_FEATURES, features);

	for (unsigned i = 0; i < 2 && r >= 0; i++) {
		r = vtfs_pci_put(d, VTFS_PCI_DRIVER_FEATURE_SELECT, 4, i);
		if (r >= 0)
			r = vtfs_pci_put(d, VTFS_PCI_DRIVER_FEATURE, 4,
					 (uint32_t)(features >> 32 * i));
	}
	if (r >= 0)
		r = vtfs_pci_set_up_vectors(d);
	r = vtfs_pci_end(d, r);
	if (r >= 0)
		d->features = features;
	return r;
}

static int driver_queue_cnt(struct virtiofs_transport *t, unsigned *ret)
{
	struct pci_driver *d = to_driver(t);
	uint32_t cnt = 0;
	int r = vtfs_pci_begin(d, PCI_OP_NUM_QUEUES, 0);

	if (r >= 0)
		r = vtfs_pci_get(d, VTFS_PCI_NUM_QUEUES, 2, &cnt);
	r = vtfs_pci_end(d, r);
	if (r >= 0)
		*ret = vtfs_min_u32(cnt, VTFS_PCI_QUEUES_MAX);
	return r;
}

/* A tag is bytes, a number is one access of four (virtio 1.4, 4.1.3.1). */
static int read_fields(struct pci_driver *d, unsigned char *buf, size_t len,
		       size_t off)
{
	uint32_t value;
	int r = 0;

	for (size_t i = 0; i < len && r >= 0;) {
		bool bytes = off + i < VTFS_CONFIG_QUEUES;
		unsigned width = !bytes && (off + i) % 4 == 0 && len - i >= 4
				     ? 4
				     : 1;

		r = vtfs_pci_read(d, &d->caps.device, off + i, width, &value);
		value = htole32(value);
		if (r >= 0)
			memcpy(buf + i, &value, width);
		i += width;
	}
	return r;
}

/* The same generation before and after: nothing changed in between
 * (4.1.4.3.1). */
static int get_config(struct pci_driver *d, unsigned char *buf, size_t len,
		      size_t off)
{
	uint32_t before, after;
	int r;

	for (;;) {
		r = vtfs_pci_get(d, VTFS_PCI_CONFIG_GENERATION, 1, &before);
		if (r >= 0)
			r = read_fields(d, buf, len, off);
		if (r >= 0)
			r = vtfs_pci_get(d, VTFS_PCI_CONFIG_GENERATION, 1,
					 &after);
		if (r < 0 || before == after)
			return r;
		if (++d->j.tries >= CONFIG_TRIES)
			return vtfs_fail(-EPROTO,
					 "%s: configuration never settles",
					 d->base.name);
		vtfs_pci_again(d);
	}
}

static int driver_get_config(struct virtiofs_transport *t, void *buf,
			     size_t len, size_t off)
{
	struct pci_driver *d = to_driver(t);
	int r;

	if (!d->connected || !d->caps.device.len)
		return vtfs_fail(d->connected ? -EOPNOTSUPP : -ENOTCONN,
				 "%s: no config space", d->base.name);
	if (!vtfs_range_ok(0, d->caps.device.len, off, len))
		return vtfs_fail(-EPROTO,
				 "%s: a config space of %llu bytes is too "
				 "small",
				 d->base.name,
				 (unsigned long long)d->caps.device.len);
	r = vtfs_pci_begin(d, PCI_OP_CONFIG, off << 16 | len);
	if (r >= 0)
		r = get_config(d, buf, len, off);
	return vtfs_pci_end(d, r);
}

/* ---- status ---- */

static int driver_get_status(struct virtiofs_transport *t, uint8_t *ret)
{
	struct pci_driver *d = to_driver(t);
	uint32_t status = 0;
	int r = vtfs_pci_begin(d, PCI_OP_GET_STATUS, 0);

	if (r >= 0)
		r = vtfs_pci_get(d, VTFS_PCI_DEVICE_STATUS, 1, &status);
	if (r >= 0 && status == 0xff)
		r = vtfs_fail(-ENOTCONN,
			      "%s: its registers read as all ones: the "
			      "function is gone",
			      d->base.name);
	r = vtfs_pci_end(d, r);
	if (r >= 0)
		*ret = (uint8_t)status;
	return r;
}

static int driver_set_status(struct virtiofs_transport *t, uint8_t status)
{
	struct pci_driver *d = to_driver(t);
	int r = vtfs_pci_begin(d, PCI_OP_SET_STATUS, status);

	if (r >= 0)
		r = vtfs_pci_put(d, VTFS_PCI_DEVICE_STATUS, 1, status);
	/* A reset is over when it reads 0, and not before (4.1.4.3.2). */
	if (r >= 0 && !status)
		r = vtfs_pci_await_zero(d, VTFS_PCI_DEVICE_STATUS, 1);
	r = vtfs_pci_end(d, r);
	if (r >= 0 && !status)
		vtfs_pci_forget_queues(d);
	return r;
}

/* ---- memory ---- */

static int driver_map(struct virtiofs_transport *t,
		      const struct virtiofs_region *region,
		      uint64_t *ret_peer_addr)
{
	struct pci_driver *d = to_driver(t);
	int r = vtfs_pci_begin(d, PCI_OP_MAP, (uintptr_t)region->addr);

	if (r >= 0)
		r = d->fn->ops->map(d->fn, region,
				    d->features & BIT(ACCESS_PLATFORM),
				    ret_peer_addr);
	return vtfs_pci_end(d, r);
}

static int driver_alloc(struct virtiofs_transport *t, size_t len,
			struct vtfs_share *ret)
{
	struct pci_driver *d = to_driver(t);

	if (!d->fn->ops->alloc)
		return vtfs_share_new(ret, len);
	return d->fn->ops->alloc(d->fn, len, d->features & BIT(ACCESS_PLATFORM),
				 ret);
}

static int driver_unmap(struct virtiofs_transport *t, uint64_t peer_addr)
{
	struct pci_driver *d = to_driver(t);
	int r = vtfs_pci_begin(d, PCI_OP_UNMAP, peer_addr);

	if (r >= 0)
		r = d->fn->ops->unmap(d->fn, peer_addr);
	return vtfs_pci_end(d, r);
}

/* ---- events ---- */

static int driver_dispatch(struct virtiofs_transport *t)
{
	struct pci_driver *d = to_driver(t);
	int r = 0;

	if (d->connected && d->fn->ops->dispatch)
		r = d->fn->ops->dispatch(d->fn);
	if (r < 0)
		vtfs_pci_end(d, -ENOTCONN);
	vtfs_pci_look(d);
	vtfs_evfd_drain(d->wake);
	/* Perhaps a queue is meant as well: it listens to that by itself. */
	if (d->changed) {
		d->changed = false;
		d->sink->ops->config_changed(d->sink);
	}
	if (!d->lost)
		return 0;
	if (!d->lost_told) {
		d->lost_told = true;
		d->sink->ops->lost(d->sink, d->lost);
	}
	return -ENOTCONN;
}

static int driver_attach(struct virtiofs_transport *t,
			 struct vtfs_cli_sink *sink)
{
	struct pci_driver *d = to_driver(t);

	d->sink = sink;
	d->fn->log = sink->log;
	return 0;
}

static const struct vtfs_cli_ops driver_ops = {
    .attach = driver_attach,
    .connect = driver_connect,
    .dispatch = driver_dispatch,
    .get_features = driver_get_features,
    .set_features = driver_set_features,
    .queue_cnt = driver_queue_cnt,
    .get_config = driver_get_config,
    .get_status = driver_get_status,
    .set_status = driver_set_status,
    .map = driver_map,
    .unmap = driver_unmap,
    .start_queue = vtfs_pci_start_queue,
    .stop_queue = vtfs_pci_stop_queue,
    .own_features = driver_own_features,
    .queue_max = vtfs_pci_queue_max,
    .alloc = driver_alloc,
    .queue_line = vtfs_pci_queue_line,
};

/* ---- made and freed ---- */

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void driver_close(struct pci_driver *d)
{
	hang_up(d);
	close_fd(d->event);
	close_fd(d->wake);
	close_fd(d->timer);
	close_fd(d->ep);
	free(d->name);
}

static void driver_free(struct virtiofs_transport *t)
{
	struct pci_driver *d = to_driver(t);

	driver_close(d);
	d->fn->ops->free(d->fn);
	free(d);
}

static int driver_fd(const struct virtiofs_transport *t)
{
	return to_driver(t)->ep;
}

static int watch(struct pci_driver *d, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	if (epoll_ctl(d->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	return 0;
}

static int set_up(struct pci_driver *d, const char *name)
{
	int r;

	d->name = strdup(name);
	d->base.name = d->name;
	d->ep = epoll_create1(EPOLL_CLOEXEC);
	d->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!d->name || d->ep < 0 || d->timer < 0)
		return vtfs_fail_sys(d->name ? -errno : -ENOMEM,
				     "%s: descriptors", name);
	r = vtfs_evfd_new(&d->event);
	if (r >= 0)
		r = vtfs_evfd_new(&d->wake);
	if (r >= 0)
		r = watch(d, d->timer, EPOLLIN);
	if (r >= 0)
		r = watch(d, d->event, EPOLLIN | EPOLLET);
	if (r >= 0 && d->fn->fd >= 0)
		r = watch(d, d->fn->fd, EPOLLIN);
	return r < 0 ? r : watch(d, d->wake, EPOLLIN);
}

int vtfs_pci_driver_new(struct virtiofs_transport **ret, struct vtfs_pci_fn *f,
			const char *name)
{
	struct pci_driver *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return vtfs_fail(-ENOMEM, "%s", name);
	d->base.cli = &driver_ops;
	d->base.free = driver_free;
	d->base.fd = driver_fd;
	d->fn = f;
	d->ep = d->timer = d->event = d->wake = -1;
	for (unsigned i = 0; i < VTFS_PCI_QUEUES_MAX; i++)
		d->vector_fd[i] = -1;
	r = set_up(d, name);
	if (r < 0) {
		driver_close(d);
		free(d);
		return r;
	}
	*ret = &d->base;
	return 0;
}
