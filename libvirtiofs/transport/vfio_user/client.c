/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vfio_user/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/evfd.h"
#include "transport/socket.h"

static struct vfu_client *to_client(struct vtfs_pci_fn *fn)
{
	return vtfs_container_of(fn, struct vfu_client, fn);
}

/* ---- several commands in one op ---- */

/* The next command of the op that key stands for; another op begins anew. */
static unsigned step_of(struct vfu_client *c, const void *key)
{
	if (c->multi != key) {
		c->multi = key;
		c->step = 0;
	}
	return c->step;
}

static int steps_end(struct vfu_client *c, int r)
{
	if (r != -EAGAIN)
		c->multi = NULL;
	return r;
}

/* Like ask, for a structure that is also the reply's. */
static int ask_same(struct vfu_client *c, uint16_t command, const void *p,
		    size_t len)
{
	struct vfu_ask a = {
	    .command = command, .len = len, .min = len, .max = VFU_ARGSZ_MAX};

	memcpy(a.payload, p, len);
	return vtfs_vfu_ask(c, &a);
}

/* ---- open ---- */

static int use_socket(struct vfu_client *c, int fd)
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
	r = use_socket(c, fd);
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
	int r = ask_same(c, VFU_GET_INFO, &info, sizeof(info));

	if (r < 0)
		return r;
	memcpy(&info, c->rx.payload, sizeof(info));
	if (!(info.flags & VFU_DEVICE_PCI) ||
	    info.num_regions <= VFU_REGION_CONFIG)
		return vtfs_fail(-ENODEV, "vfio-user:%s: not a PCI device",
				 c->path);
	c->flags = info.flags;
	if (info.num_irqs <= VFU_IRQ_MSIX)
		c->fn.vector_max = 0;
	return 0;
}

static int ask_region(struct vfu_client *c, unsigned index)
{
	struct vfu_region_info info = {.argsz = sizeof(info), .index = index};
	uint32_t both = VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE;
	int r = ask_same(c, VFU_GET_REGION_INFO, &info, sizeof(info));

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
	int r = ask_same(c, VFU_GET_IRQ_INFO, &info, sizeof(info));

	if (r < 0)
		return r;
	memcpy(&info, c->rx.payload, sizeof(info));
	c->fn.vector_max = 0;
	if (info.index == VFU_IRQ_MSIX && info.flags & VFU_IRQ_EVENTFD)
		c->fn.vector_max = vtfs_min_u32(info.count, VTFS_PCI_MSIX_MAX);
	return 0;
}

/* A reply echoes what was asked for, and has the bytes of a read. */
static int region_io(struct vfu_client *c, uint16_t command,
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

/* Where the MSI-X capability is, if its table fits what the server says. */
static unsigned find_msix(const struct vfu_client *c)
{
	unsigned at = c->cfg[VTFS_PCI_CAP_PTR] & ~3u;

	for (unsigned n = 0; n < 48 && at >= VTFS_PCI_CAP_FIRST; n++) {
		if (c->cfg[at] == VTFS_PCI_CAP_ID_MSIX &&
		    at + VTFS_PCI_MSIX_CAP_LEN <= sizeof(c->cfg))
			return at;
		at = c->cfg[at + 1] & ~3u;
	}
	return 0;
}

static uint32_t cfg32(const struct vfu_client *c, unsigned at)
{
	uint32_t v;

	memcpy(&v, c->cfg + at, sizeof(v));
	return le32toh(v);
}

static void check_msix(struct vfu_client *c)
{
	uint32_t table, bar, cnt;

	c->msix_cap = find_msix(c);
	if (!c->msix_cap) {
		c->fn.vector_max = 0;
		return;
	}
	cnt = (cfg32(c, c->msix_cap) >> 16 & VTFS_PCI_MSIX_SIZE_MASK) + 1;
	table = cfg32(c, c->msix_cap + VTFS_PCI_MSIX_TABLE);
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
	int r = region_io(c, VFU_REGION_READ, &io, NULL);

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
		return ask_vectors(c);
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

static int fn_open(struct vtfs_pci_fn *fn)
{
	struct vfu_client *c = to_client(fn);
	int r = 0;

	step_of(c, fn);
	while (r >= 0 && c->step <= 5 + VFU_REGION_CONFIG + 1) {
		r = open_step(c, c->step);
		if (r >= 0)
			c->step++;
	}
	if (r < 0 && r != -EAGAIN)
		vtfs_vfu_drop_socket(c);
	return steps_end(c, r);
}

/* ---- accesses ---- */

static int fn_read(struct vtfs_pci_fn *fn, unsigned region, uint64_t off,
		   void *buf, unsigned len)
{
	struct vfu_client *c = to_client(fn);
	const struct vfu_region_io io = {off, region, len};
	int r = region_io(c, VFU_REGION_READ, &io, NULL);

	if (r >= 0)
		memcpy(buf, c->rx.payload + sizeof(io), len);
	return r;
}

static int fn_write(struct vtfs_pci_fn *fn, unsigned region, uint64_t off,
		    const void *buf, unsigned len)
{
	const struct vfu_region_io io = {off, region, len};

	return region_io(to_client(fn), VFU_REGION_WRITE, &io, buf);
}

static int fn_store(struct vtfs_pci_fn *fn, unsigned vq, uint64_t off,
		    uint32_t value, unsigned len)
{
	const struct vfu_ring r = {.off = off, .value = value, .len = len};

	return vtfs_vfu_ring(to_client(fn), vq, &r);
}

static volatile void *fn_bar(struct vtfs_pci_fn *fn, unsigned bar, uint64_t off,
			     unsigned len)
{
	return NULL;
}

/* ---- doorbells ---- */

/* One sub-region: an eventfd that stands for any value. */
static void take_bell(struct vfu_client *c, unsigned bar,
		      const struct vfu_io_fd *s)
{
	int fd;

	if (s->type != VFU_IO_FD_IOEVENTFD || s->flags ||
	    s->fd_index >= c->rx.fd_cnt || c->rx.fds[s->fd_index] < 0 ||
	    c->bell_cnt == VFU_CLIENT_BELLS ||
	    !vtfs_range_ok(0, c->fn.bar_len[bar], s->offset,
			   s->size ? s->size : 2) ||
	    !vtfs_evfd_is(c->rx.fds[s->fd_index]))
		return;
	fd = vtfs_vfu_rx_take_fd(&c->rx, s->fd_index);
	c->bells[c->bell_cnt++] = (struct vfu_bell){s->offset, s->size, fd};
}

static int ask_bells(struct vfu_client *c, unsigned bar)
{
	struct vfu_io_fds head = {
	    .argsz = sizeof(head) + VFU_CLIENT_BELLS * sizeof(struct vfu_io_fd),
	    .index = bar};
	struct vfu_io_fd s;
	size_t room;
	int r = ask_same(c, VFU_GET_REGION_IO_FDS, &head, sizeof(head));

	if (r == -EAGAIN || r == -ENOTCONN)
		return r;
	c->bells_known = true;
	if (r < 0)
		return 0;
	memcpy(&head, c->rx.payload, sizeof(head));
	room = (vtfs_vfu_rx_len(&c->rx) - sizeof(head)) / sizeof(s);
	for (uint32_t i = 0; i < head.count && i < room; i++) {
		memcpy(&s, c->rx.payload + sizeof(head) + i * sizeof(s),
		       sizeof(s));
		take_bell(c, bar, &s);
	}
	return 0;
}

static int fn_doorbell_fd(struct vtfs_pci_fn *fn, unsigned bar, uint64_t off,
			  unsigned len, int *ret)
{
	struct vfu_client *c = to_client(fn);
	int r = c->bells_known ? 0 : ask_bells(c, bar);

	*ret = -1;
	for (unsigned i = 0; r >= 0 && i < c->bell_cnt; i++)
		if (c->bells[i].off == off &&
		    (!c->bells[i].len || c->bells[i].len == len))
			*ret = c->bells[i].fd;
	return r;
}

/* ---- interrupts ---- */

static int set_irqs(struct vfu_client *c, unsigned first, int fd)
{
	const struct vfu_irq_set s = {
	    .argsz = sizeof(s),
	    .flags = VFU_IRQ_DATA_EVENTFD | VFU_IRQ_ACTION_TRIGGER,
	    .index = VFU_IRQ_MSIX,
	    .start = first,
	    .count = 1,
	};
	struct vfu_ask a = {.command = VFU_SET_IRQS,
			    .len = sizeof(s),
			    .fds = {fd},
			    .fd_cnt = fd >= 0};

	memcpy(a.payload, &s, sizeof(s));
	return vtfs_vfu_ask(c, &a);
}

static int unmask(struct vfu_client *c, unsigned vector)
{
	uint32_t table = cfg32(c, c->msix_cap + VTFS_PCI_MSIX_TABLE);
	uint32_t zero = 0;
	const struct vfu_region_io io = {
	    .offset = (table & ~VTFS_PCI_MSIX_BIR_MASK) +
		      (uint64_t)vector * VTFS_PCI_MSIX_ENTRY_LEN +
		      VTFS_PCI_MSIX_ENTRY_CONTROL,
	    .region = table & VTFS_PCI_MSIX_BIR_MASK,
	    .count = 4,
	};

	return region_io(c, VFU_REGION_WRITE, &io, &zero);
}

static int enable_msix(struct vfu_client *c)
{
	uint16_t control = htole16(
	    (uint16_t)((cfg32(c, c->msix_cap) >> 16 & ~VTFS_PCI_MSIX_MASK_ALL) |
		       VTFS_PCI_MSIX_ENABLE));
	const struct vfu_region_io io = {
	    .offset = c->msix_cap + VTFS_PCI_MSIX_CONTROL,
	    .region = VFU_REGION_CONFIG,
	    .count = 2,
	};

	return region_io(c, VFU_REGION_WRITE, &io, &control);
}

/* A socket carries no fd of -1: those that have none have none yet. */
static int fn_set_vectors(struct vtfs_pci_fn *fn, unsigned first,
			  const int *fds, unsigned cnt)
{
	struct vfu_client *c = to_client(fn);
	int r = 0;

	step_of(c, &c->rings[first]);
	while (r >= 0 && c->step < 3) {
		if (c->step == 0)
			r = set_irqs(c, first, fds[0]);
		else if (c->step == 1)
			r = unmask(c, first);
		else if (!first)
			r = enable_msix(c);
		if (r >= 0)
			c->step++;
	}
	return steps_end(c, r);
}

/* ---- memory: it has the addresses that it has here ---- */

static int fn_map(struct vtfs_pci_fn *fn, const struct virtiofs_region *region,
		  bool iova, uint64_t *ret)
{
	struct vfu_client *c = to_client(fn);
	const struct vfu_dma_map m = {
	    .argsz = sizeof(m),
	    .flags = VFU_DMA_READABLE | VFU_DMA_WRITABLE,
	    .offset = region->fd_offset,
	    .address = (uintptr_t)region->addr,
	    .size = region->len,
	};
	struct vfu_ask a = {.command = VFU_DMA_MAP,
			    .len = sizeof(m),
			    .fds = {region->fd},
			    .fd_cnt = region->fd >= 0};
	int r;

	if (c->map_cnt == VFU_CLIENT_MAPS || c->map_cnt >= c->peer.max_maps)
		return vtfs_fail(-ENOSPC,
				 "vfio-user:%s: %u pieces of memory "
				 "are mapped",
				 c->path, c->map_cnt);
	memcpy(a.payload, &m, sizeof(m));
	r = vtfs_vfu_ask(c, &a);
	if (r < 0)
		return r;
	c->maps[c->map_cnt++] = (struct vfu_client_map){m.address, m.size};
	*ret = m.address;
	return 0;
}

static int fn_unmap(struct vtfs_pci_fn *fn, uint64_t addr)
{
	struct vfu_client *c = to_client(fn);
	struct vfu_client_map *m = c->maps, *end = c->maps + c->map_cnt;
	struct vfu_dma_unmap u = {.argsz = sizeof(u), .address = addr};
	int r;

	while (m < end && m->address != addr)
		m++;
	if (m == end)
		return vtfs_fail(-EINVAL, "vfio-user:%s: no memory at 0x%llx",
				 c->path, (unsigned long long)addr);
	u.size = m->size;
	r = ask_same(c, VFU_DMA_UNMAP, &u, sizeof(u));
	if (r < 0)
		return r;
	*m = end[-1];
	c->map_cnt--;
	memcpy(&u, c->rx.payload, sizeof(u));
	if (u.address != addr)
		return vtfs_fail(-EPROTO, "vfio-user:%s: unmapped 0x%llx",
				 c->path, (unsigned long long)u.address);
	return 0;
}

/* ---- life ---- */

static int fn_dispatch(struct vtfs_pci_fn *fn)
{
	return vtfs_vfu_listen(to_client(fn));
}

static void fn_close(struct vtfs_pci_fn *fn)
{
	struct vfu_client *c = to_client(fn);

	vtfs_vfu_drop_socket(c);
	for (unsigned i = 0; i < c->bell_cnt; i++)
		close(c->bells[i].fd);
	c->bell_cnt = 0;
	c->bells_known = false;
	c->map_cnt = 0;
	c->multi = NULL;
}

static void fn_free(struct vtfs_pci_fn *fn)
{
	struct vfu_client *c = to_client(fn);

	fn_close(fn);
	vtfs_vfu_rx_fini(&c->rx);
	vtfs_vfu_tx_fini(&c->tx);
	if (c->fn.fd >= 0)
		close(c->fn.fd);
	pthread_mutex_destroy(&c->lock);
	free(c->answer_buf);
	free(c->path);
	free(c);
}

static const struct vtfs_pci_fn_ops fn_ops = {
    .open = fn_open,
    .read = fn_read,
    .write = fn_write,
    .set_vectors = fn_set_vectors,
    .map = fn_map,
    .unmap = fn_unmap,
    .bar = fn_bar,
    .doorbell_fd = fn_doorbell_fd,
    .store = fn_store,
    .dispatch = fn_dispatch,
    .close = fn_close,
    .free = fn_free,
};

static int driver_over(struct virtiofs_transport **ret, struct vfu_client *c)
{
	char *name = NULL;
	int r;

	if (asprintf(&name, "vfio-user:%s", c->path) < 0)
		return vtfs_fail(-ENOMEM, "vfio-user:%s", c->path);
	r = vtfs_pci_driver_new(ret, &c->fn, name);
	free(name);
	return r;
}

static int client_new(struct vfu_client **ret, const char *path)
{
	struct vfu_client *c = calloc(1, sizeof(*c));

	if (!c)
		return vtfs_fail(-ENOMEM, "vfio-user:%s", path);
	c->fn.ops = &fn_ops;
	c->sock = -1;
	pthread_mutex_init(&c->lock, NULL);
	vtfs_vfu_rx_init(&c->rx, VFU_REPLY_MAX);
	c->path = strdup(path);
	c->fn.fd = epoll_create1(EPOLL_CLOEXEC);
	if (c->path && c->fn.fd >= 0) {
		*ret = c;
		return 0;
	}
	fn_free(&c->fn);
	return vtfs_fail(-ENOMEM, "vfio-user:%s", path);
}

/* The server need not be there yet: connect finds it. */
int vtfs_vfio_user_connect(struct virtiofs_transport **ret, const char *path)
{
	struct vfu_client *c;
	int r;

	if (!path[0])
		return vtfs_fail(-EINVAL, "vfio-user: the path is empty");
	r = client_new(&c, path);
	if (r < 0)
		return r;
	r = driver_over(ret, c);
	if (r < 0)
		fn_free(&c->fn);
	return r;
}

int virtiofs_vfio_user_client_fd(struct virtiofs_transport **ret, int fd)
{
	struct vfu_client *c;
	int r;

	r = vtfs_sock_check(fd, false);
	if (r >= 0)
		r = client_new(&c, "fd");
	if (r < 0)
		return r;
	r = use_socket(c, fd);
	c->given = true;
	if (r >= 0)
		r = driver_over(ret, c);
	/* Not ours yet. */
	if (r < 0)
		c->sock = -1;
	if (r < 0)
		fn_free(&c->fn);
	return r;
}
