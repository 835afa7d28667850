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

/* ---- accesses ---- */

static int fn_read(struct vtfs_pci_fn *fn, unsigned region, uint64_t off,
		   void *buf, unsigned len)
{
	struct vfu_client *c = to_client(fn);
	const struct vfu_region_io io = {off, region, len};
	int r = vtfs_vfu_region_io(c, VFU_REGION_READ, &io, NULL);

	if (r >= 0)
		memcpy(buf, c->rx.payload + sizeof(io), len);
	return r;
}

static int fn_write(struct vtfs_pci_fn *fn, unsigned region, uint64_t off,
		    const void *buf, unsigned len)
{
	const struct vfu_region_io io = {off, region, len};

	return vtfs_vfu_region_io(to_client(fn), VFU_REGION_WRITE, &io, buf);
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

#define BELLS_ARGSZ                                                            \
	(sizeof(struct vfu_io_fds) +                                           \
	 VFU_CLIENT_BELLS * sizeof(struct vfu_io_fd))

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
	struct vfu_io_fds head = {.argsz = c->bells_argsz, .index = bar};
	struct vfu_io_fd s;
	size_t room;
	int r = vtfs_vfu_ask_same(c, VFU_GET_REGION_IO_FDS, &head,
				  sizeof(head));

	if (r == -EAGAIN || r == -ENOTCONN)
		return r;
	c->bells_known = true;
	if (r < 0)
		return 0;
	memcpy(&head, c->rx.payload, sizeof(head));
	if (c->bells_argsz == BELLS_ARGSZ && head.argsz > BELLS_ARGSZ &&
	    head.argsz <= VFU_ARGSZ_MAX) {
		/* There are more: once again. */
		c->bells_argsz = head.argsz;
		c->bells_known = false;
		return ask_bells(c, bar);
	}
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
	uint32_t table = vtfs_vfu_cfg32(c, c->msix_cap + VTFS_PCI_MSIX_TABLE);
	uint32_t zero = 0;
	const struct vfu_region_io io = {
	    .offset = (table & ~VTFS_PCI_MSIX_BIR_MASK) +
		      (uint64_t)vector * VTFS_PCI_MSIX_ENTRY_LEN +
		      VTFS_PCI_MSIX_ENTRY_CONTROL,
	    .region = table & VTFS_PCI_MSIX_BIR_MASK,
	    .count = 4,
	};

	return vtfs_vfu_region_io(c, VFU_REGION_WRITE, &io, &zero);
}

static int enable_msix(struct vfu_client *c)
{
	uint16_t control = htole16(
	    (uint16_t)((vtfs_vfu_cfg32(c, c->msix_cap) >> 16 &
			~VTFS_PCI_MSIX_MASK_ALL) |
		       VTFS_PCI_MSIX_ENABLE));
	const struct vfu_region_io io = {
	    .offset = c->msix_cap + VTFS_PCI_MSIX_CONTROL,
	    .region = VFU_REGION_CONFIG,
	    .count = 2,
	};

	return vtfs_vfu_region_io(c, VFU_REGION_WRITE, &io, &control);
}

/* A socket carries no fd of -1: those that have none have none yet. */
static int fn_set_vectors(struct vtfs_pci_fn *fn, unsigned first,
			  const int *fds, unsigned cnt)
{
	struct vfu_client *c = to_client(fn);
	int r = 0;

	vtfs_vfu_step_of(c, &c->rings[first]);
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
	return vtfs_vfu_steps_end(c, r);
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
	r = vtfs_vfu_ask_same(c, VFU_DMA_UNMAP, &u, sizeof(u));
	if (r < 0)
		return r;
	memcpy(&u, c->rx.payload, sizeof(u));
	if (u.address != addr || u.size != m->size) {
		vtfs_vfu_drop_socket(c);
		return vtfs_fail(-ENOTCONN, "vfio-user:%s: unmapped 0x%llx",
				 c->path, (unsigned long long)u.address);
	}
	*m = end[-1];
	c->map_cnt--;
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
	c->bells_argsz = BELLS_ARGSZ;
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
    .open = vtfs_vfu_open,
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
	c->bells_argsz = BELLS_ARGSZ;
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
	r = vtfs_vfu_use_socket(c, fd);
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
