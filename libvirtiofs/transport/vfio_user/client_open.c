/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a path to a function of which everything is known. */
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/socket.h"
#include "transport/vfio_user/client.h"

static struct vfu_client *to_client(struct vtfs_pci_fn *fn)
{
	return vtfs_container_of(fn, struct vfu_client, fn);
}

/* ---- several commands in one op ---- */

/* The next command of the op that key stands for; another op begins anew. */
unsigned vtfs_vfu_step_of(struct vfu_client *c, const void *key)
{
	if (c->multi != key) {
		c->multi = key;
		c->step = 0;
	}
	return c->step;
}

int vtfs_vfu_steps_end(struct vfu_client *c, int r)
{
	if (r != -EAGAIN)
		c->multi = NULL;
	return r;
}

/* Like ask, for a structure that is also the reply's. */
int vtfs_vfu_ask_same(struct vfu_client *c, uint16_t command, const void *p,
		      size_t len)
{
	struct vfu_ask a = {
	    .command = command, .len = len, .min = len, .max = VFU_ARGSZ_MAX};

	memcpy(a.payload, p, len);
	return vtfs_vfu_ask(c, &a);
}

/* ---- open ---- */

int vtfs_vfu_use_socket(struct vfu_client *c, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(c->fn.fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return vtfs_fail_sys(-errno, "epoll_ctl");
	pthread_mutex_lock(&c->lock);
	c->sock = fd;
	c->events = EPOLLIN;
	pthread_mutex_unlock(&c->lock);
	c->rx.max = VFU_REPLY_MAX;
	return 0;
}

static int open_socket(struct vfu_client *c)
{
	int fd;
	int r;

	if (c->given)
		return vtfs_fail(-ENOTCONN,
				 "vfio-user: the server is gone, and there is "
				 "no path to find it again");
	r = vtfs_sock_connect(&fd, c->path);
	if (r == -EAGAIN)
		return vtfs_fail(-EBUSY, "%s: too many wait for this server",
				 c->path);
	if (r < 0)
		return r;
	r = vtfs_vfu_use_socket(c, fd);
	if (r < 0)
		close(fd);
	return r;
}

/* The reply: our major, a minor that we know, and of the capabilities only
 * those that we proposed. */
static int check_version(struct vfu_client *c, const struct vfu_caps *ours)
{
	struct vfu_version v;
	int r;

	memcpy(&v, c->rx.payload, sizeof(v));
	if (v.major != VFU_MAJOR || v.minor > VFU_MINOR)
		return vtfs_fail(-EPROTO, "vfio-user:%s: version %u.%u",
				 c->path, v.major, v.minor);
	r = vtfs_vfu_caps_parse(&c->peer, c->rx.payload + sizeof(v),
				vtfs_vfu_rx_len(&c->rx) - sizeof(v));
	if (r < 0)
		return r;
	if (c->peer.has & ~ours->has)
		return vtfs_fail(-EPROTO,
				 "vfio-user:%s: it has capabilities that "
				 "nobody proposed",
				 c->path);
	/* Nothing that is asked for is longer. */
	if (c->peer.max_xfer < VTFS_PCI_CFG_LEN)
		return vtfs_fail(-EPROTO,
				 "vfio-user:%s: it moves %llu bytes at a time",
				 c->path, (unsigned long long)c->peer.max_xfer);
	return 0;
}

static int ask_version(struct vfu_client *c)
{
	const struct vfu_version v = {VFU_MAJOR, VFU_MINOR};
	const struct vfu_caps ours = {
	    .has = VFU_HAS_MAX_FDS | VFU_HAS_MAX_XFER | VFU_HAS_MAX_MAPS |
		   VFU_HAS_PGSIZES,
	    .max_fds = VFU_FDS_MAX,
	    .max_xfer = VFU_CLIENT_XFER,
	    .max_maps = VFU_CLIENT_MAPS,
	    .pgsizes = VFU_DEFAULT_PGSIZES,
	};
	struct vfu_ask a = {
	    .command = VFU_VERSION, .min = sizeof(v), .max = VFU_REPLY_MAX};
	int r;

	memcpy(a.payload, &v, sizeof(v));
	a.len = sizeof(v) + vtfs_vfu_caps_format(&ours,
						 (char *)a.payload + sizeof(v),
						 sizeof(a.payload) - sizeof(v));
	r = vtfs_vfu_ask(c, &a);
	if (r < 0)
		return r;
	r = check_version(c, &ours);
	/* From now on the server may write to our memory. */
	c->rx.max = VFU_CLIENT_XFER + sizeof(struct vfu_dma_io);
	return r;
}

static int ask_info(struct vfu_client *c)
{
	struct vfu_device_info info = {.argsz = sizeof(info)};
	int r = vtfs_vfu_ask_same(c, VFU_GET_INFO, &info, sizeof(info));

	if (r < 0)
		return r;
	memcpy(&info, c->rx.payload, sizeof(info));
	if (!(info.flags & VFU_DEVICE_PCI) ||
	    info.num_regions <= VFU_REGION_CONFIG)
		return vtfs_fail(-ENODEV, "vfio-user:%s: not a PCI device",
				 c->path);
	c->flags = info.flags;
	c->has_msix = info.num_irqs > VFU_IRQ_MSIX;
	if (!c->has_msix)
		c->fn.vector_max = 0;
	return 0;
}

static int ask_region(struct vfu_client *c, unsigned index)
{
	struct vfu_region_info info = {.argsz = sizeof(info), .index = index};
	uint32_t both = VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE;
	int r = vtfs_vfu_ask_same(c, VFU_GET_REGION_INFO, &info, sizeof(info));

	if (r < 0)
		return r;
	memcpy(&info, c->rx.payload, sizeof(info));
	if (info.index != index)
		return vtfs_fail(-EPROTO, "vfio-user:%s: region %u, not %u",
				 c->path, info.index, index);
	if ((info.flags & both) != both)
		info.size = 0;
	if (index < VTFS_PCI_BARS)
		c->fn.bar_len[index] = info.size;
	else if (info.size < sizeof(c->cfg))
		return vtfs_fail(-EPROTO,
				 "vfio-user:%s: a configuration space of %llu "
				 "bytes",
				 c->path, (unsigned long long)info.size);
	return 0;
}

static int ask_vectors(struct vfu_client *c)
{
	struct vfu_irq_info info = {.argsz = sizeof(info),
				    .index = VFU_IRQ_MSIX};
	int r = vtfs_vfu_ask_same(c, VFU_GET_IRQ_INFO, &info, sizeof(info));

	if (r < 0)
		return r;
	memcpy(&info, c->rx.payload, sizeof(info));
	c->fn.vector_max = 0;
	if (info.index == VFU_IRQ_MSIX && info.flags & VFU_IRQ_EVENTFD)
		c->fn.vector_max = vtfs_min_u32(info.count, VTFS_PCI_MSIX_MAX);
	return 0;
}

/* A reply echoes what was asked for, and has the bytes of a read. */
int vtfs_vfu_region_io(struct vfu_client *c, uint16_t command,
		       const struct vfu_region_io *io, const void *data)
{
	struct vfu_ask a = {.command = command, .len = sizeof(*io)};
	struct vfu_region_io got;
	int r;

	memcpy(a.payload, io, sizeof(*io));
	a.min = a.max = sizeof(*io);
	if (command == VFU_REGION_WRITE) {
		memcpy(a.payload + sizeof(*io), data, io->count);
		a.len += io->count;
	} else {
		a.min = a.max = sizeof(*io) + io->count;
	}
	r = vtfs_vfu_ask(c, &a);
	if (r < 0)
		return r;
	memcpy(&got, c->rx.payload, sizeof(got));
	if (got.offset != io->offset || got.region != io->region ||
	    got.count != io->count) {
		vtfs_vfu_drop_socket(c);
		return vtfs_fail(-ENOTCONN,
				 "vfio-user:%s: an access of %u bytes of "
				 "region %u, answered with %u of %u",
				 c->path, io->count, io->region, got.count,
				 got.region);
	}
	return 0;
}

uint32_t vtfs_vfu_cfg32(const struct vfu_client *c, unsigned at)
{
	uint32_t v;

	memcpy(&v, c->cfg + at, sizeof(v));
	return le32toh(v);
}

static void check_msix(struct vfu_client *c)
{
	uint32_t table, bar, cnt;

	c->msix_cap = vtfs_pci_caps_msix(c->cfg);
	if (!c->msix_cap) {
		c->fn.vector_max = 0;
		return;
	}
	cnt = (vtfs_vfu_cfg32(c, c->msix_cap) >> 16 & VTFS_PCI_MSIX_SIZE_MASK) +
	      1;
	table = vtfs_vfu_cfg32(c, c->msix_cap + VTFS_PCI_MSIX_TABLE);
	bar = table & VTFS_PCI_MSIX_BIR_MASK;
	if (bar >= VTFS_PCI_BARS ||
	    !vtfs_range_ok(0, c->fn.bar_len[bar],
			   table & ~VTFS_PCI_MSIX_BIR_MASK,
			   (uint64_t)cnt * VTFS_PCI_MSIX_ENTRY_LEN))
		cnt = 0;
	c->fn.vector_max = vtfs_min_u32(c->fn.vector_max, cnt);
}

static int read_cfg(struct vfu_client *c)
{
	const struct vfu_region_io io = {.region = VFU_REGION_CONFIG,
					 .count = sizeof(c->cfg)};
	int r = vtfs_vfu_region_io(c, VFU_REGION_READ, &io, NULL);

	if (r < 0)
		return r;
	memcpy(c->cfg, c->rx.payload + sizeof(io), sizeof(c->cfg));
	check_msix(c);
	return 0;
}

static int ask_reset(struct vfu_client *c)
{
	const struct vfu_ask a = {.command = VFU_RESET};

	return c->flags & VFU_DEVICE_RESET ? vtfs_vfu_ask(c, &a) : 0;
}

static int open_step(struct vfu_client *c, unsigned step)
{
	switch (step) {
	case 0:
		return c->sock < 0 ? open_socket(c) : 0;
	case 1:
		return ask_version(c);
	case 2:
		return ask_info(c);
	case 3:
		return c->has_msix ? ask_vectors(c) : 0;
	case 4:
		return ask_reset(c);
	case 5 + VFU_REGION_ROM:
		return 0;
	case 5 + VFU_REGION_CONFIG + 1:
		return read_cfg(c);
	default:
		return ask_region(c, step - 5);
	}
}

int vtfs_vfu_open(struct vtfs_pci_fn *fn)
{
	struct vfu_client *c = to_client(fn);
	int r = 0;

	vtfs_vfu_step_of(c, fn);
	while (r >= 0 && c->step <= 5 + VFU_REGION_CONFIG + 1) {
		r = open_step(c, c->step);
		if (r >= 0)
			c->step++;
	}
	if (r < 0 && r != -EAGAIN)
		vtfs_vfu_drop_socket(c);
	return vtfs_vfu_steps_end(c, r);
}
