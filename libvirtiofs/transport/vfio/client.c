/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/vfio/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "mem/pool.h"

#define PAGE 4096u

static struct vfio_fn *to_fn(struct vtfs_pci_fn *fn)
{
	return vtfs_container_of(fn, struct vfio_fn, fn);
}

/* ---- registers ---- */

static int check_access(const struct vfio_fn *v, unsigned region, uint64_t off,
			unsigned len)
{
	if (region < VFIO_PCI_NUM_REGIONS &&
	    vtfs_range_ok(0, v->regions[region].len, off, len))
		return 0;
	return vtfs_fail(-EINVAL, "vfio:%s: %u bytes at 0x%llx of region %u",
			 v->address, len, (unsigned long long)off, region);
}

static int gone(const struct vfio_fn *v, ssize_t n)
{
	return vtfs_fail(-ENOTCONN, "vfio:%s: its registers are gone: %s",
			 v->address, n < 0 ? strerror(errno) : "too short");
}

static int fn_read(struct vtfs_pci_fn *fn, unsigned region, uint64_t off,
		   void *buf, unsigned len)
{
	struct vfio_fn *v = to_fn(fn);
	int r = check_access(v, region, off, len);
	ssize_t n;

	if (r < 0)
		return r;
	n = pread(v->device, buf, len, (off_t)(v->regions[region].off + off));
	return n == (ssize_t)len ? 0 : gone(v, n);
}

static int fn_write(struct vtfs_pci_fn *fn, unsigned region, uint64_t off,
		    const void *buf, unsigned len)
{
	struct vfio_fn *v = to_fn(fn);
	int r = check_access(v, region, off, len);
	ssize_t n;

	if (r < 0)
		return r;
	n = pwrite(v->device, buf, len, (off_t)(v->regions[region].off + off));
	return n == (ssize_t)len ? 0 : gone(v, n);
}

/* ---- doorbells ---- */

static int fn_store(struct vtfs_pci_fn *fn, unsigned vq, uint64_t off,
		    uint32_t value, unsigned len)
{
	uint32_t le = htole32(value);

	return fn_write(fn, fn->notify_bar, off, &le, len);
}

static void *map_page(struct vfio_fn *v, unsigned bar, uint64_t off)
{
	const struct vfio_region *r = &v->regions[bar];
	void *addr;

	for (unsigned i = 0; i < v->page_cnt; i++)
		if (v->pages[i].bar == bar && v->pages[i].off == off)
			return v->pages[i].addr;
	if (!r->mmap || v->page_cnt == VFIO_PAGES ||
	    !vtfs_range_ok(r->mmap_off, r->mmap_len, off, PAGE))
		return NULL;
	addr = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, v->device,
		    (off_t)(r->off + off));
	if (addr == MAP_FAILED)
		return NULL;
	v->pages[v->page_cnt++] = (struct vfio_page){bar, off, addr};
	return addr;
}

static volatile void *fn_bar(struct vtfs_pci_fn *fn, unsigned bar, uint64_t off,
			     unsigned len)
{
	char *page = map_page(to_fn(fn), bar, off - off % PAGE);

	return page ? page + off % PAGE : NULL;
}

/* ---- interrupts ---- */

/* A positive result is the number of vectors that there are. */
static int set_irqs(struct vfio_fn *v, unsigned first, const int *fds,
		    unsigned cnt)
{
	size_t len = sizeof(struct vfio_irq_set) + cnt * sizeof(*fds);
	struct vfio_irq_set *s = calloc(1, len);
	int r;

	if (!s)
		return -ENOMEM;
	s->argsz = (uint32_t)len;
	s->flags = VFIO_IRQ_SET_ACTION_TRIGGER |
		   (cnt ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	s->index = VFIO_PCI_MSIX_IRQ_INDEX;
	s->start = first;
	s->count = cnt;
	if (cnt)
		memcpy(s->data, fds, cnt * sizeof(*fds));
	r = ioctl(v->device, VFIO_DEVICE_SET_IRQS, s);
	if (r < 0)
		r = -errno;
	free(s);
	return r;
}

static int fn_set_vectors(struct vtfs_pci_fn *fn, unsigned first,
			  const int *fds, unsigned cnt)
{
	struct vfio_fn *v = to_fn(fn);
	int had = 0;
	int r;

	/* Another number of them: from the beginning. */
	if (!first && v->vectors)
		set_irqs(v, 0, NULL, 0);
	r = set_irqs(v, first, fds, cnt);
	if (r > 0 && !first && (unsigned)r < cnt) {
		had = r;
		r = set_irqs(v, 0, fds, (unsigned)had);
	}
	if (r)
		return vtfs_fail_sys(r < 0 ? r : -ENOSPC,
				     "vfio:%s: interrupts %u to %u", v->address,
				     first, first + cnt - 1);
	v->vectors = true;
	return had;
}

/* ---- memory ---- */

static int fn_map(struct vtfs_pci_fn *fn, const struct virtiofs_region *region,
		  bool iova, uint64_t *ret)
{
	return vtfs_vfio_map(to_fn(fn), region, iova, ret);
}

static int fn_unmap(struct vtfs_pci_fn *fn, uint64_t addr)
{
	return vtfs_vfio_unmap(to_fn(fn), addr);
}

static int fn_alloc(struct vtfs_pci_fn *fn, size_t len, bool iova,
		    struct vtfs_share *ret)
{
	return iova ? vtfs_share_new(ret, len)
		    : vtfs_vfio_alloc(to_fn(fn), len, ret);
}

/* ---- life ---- */

static int fn_open(struct vtfs_pci_fn *fn)
{
	struct vfio_fn *v = to_fn(fn);
	int r = vtfs_vfio_attach(v);

	/* Whatever it did before. */
	if (r >= 0 && v->resets)
		ioctl(v->device, VFIO_DEVICE_RESET);
	return r;
}

static void stop_dma(struct vfio_fn *v)
{
	uint16_t command;

	if (fn_read(&v->fn, VFIO_PCI_CONFIG_REGION_INDEX, VTFS_PCI_COMMAND,
		    &command, 2) < 0)
		return;
	command &= htole16((uint16_t)~VTFS_PCI_COMMAND_MASTER);
	fn_write(&v->fn, VFIO_PCI_CONFIG_REGION_INDEX, VTFS_PCI_COMMAND,
		 &command, 2);
}

static void fn_close(struct vtfs_pci_fn *fn)
{
	struct vfio_fn *v = to_fn(fn);

	if (v->device < 0)
		return;
	stop_dma(v);
	if (v->vectors)
		set_irqs(v, 0, NULL, 0);
	v->vectors = false;
	if (v->resets)
		ioctl(v->device, VFIO_DEVICE_RESET);
	for (unsigned i = 0; i < v->page_cnt; i++)
		munmap(v->pages[i].addr, PAGE);
	v->page_cnt = 0;
	vtfs_vfio_unmap_all(v);
	vtfs_vfio_detach(v);
}

static void fn_free(struct vtfs_pci_fn *fn)
{
	struct vfio_fn *v = to_fn(fn);

	fn_close(fn);
	free(v->address);
	free(v);
}

static const struct vtfs_pci_fn_ops fn_ops = {
    .open = fn_open,
    .read = fn_read,
    .write = fn_write,
    .set_vectors = fn_set_vectors,
    .map = fn_map,
    .unmap = fn_unmap,
    .alloc = fn_alloc,
    .bar = fn_bar,
    .store = fn_store,
    .close = fn_close,
    .free = fn_free,
};

/* 0000:BB:DD.F, as sysfs names it. */
static int check_address(const char *s)
{
	unsigned domain, bus, dev, fn;
	char again[32];

	if (sscanf(s, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) == 4) {
		snprintf(again, sizeof(again), "%04x:%02x:%02x.%x", domain, bus,
			 dev, fn);
		if (!strcmp(s, again))
			return 0;
	}
	return vtfs_fail(-EINVAL,
			 "vfio:%s: not a PCI address like 0000:00:04.0", s);
}

int vtfs_vfio_open(struct virtiofs_transport **ret, const char *address)
{
	struct vfio_fn *v;
	char name[64];
	int r = check_address(address);

	if (r < 0)
		return r;
	v = calloc(1, sizeof(*v));
	if (!v)
		return vtfs_fail(-ENOMEM, "vfio:%s", address);
	v->fn.ops = &fn_ops;
	v->fn.fd = -1;
	v->container = v->group = v->device = -1;
	v->address = strdup(address);
	snprintf(name, sizeof(name), "vfio:%s", address);
	r = v->address ? vtfs_pci_driver_new(ret, &v->fn, name)
		       : vtfs_fail(-ENOMEM, "%s", name);
	if (r < 0)
		fn_free(&v->fn);
	return r;
}
