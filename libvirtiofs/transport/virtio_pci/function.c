/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/virtio_pci/function.h"

#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "wire/fs.h"

int vtfs_pcifn_init(struct vtfs_pcifn *fn)
{
	memset(fn, 0, sizeof(*fn));
	for (unsigned i = 0; i < VTFS_PCIFN_QUEUES; i++)
		fn->queues[i].kick = fn->queues[i].trap = -1;
	for (unsigned i = 0; i < VTFS_PCIFN_VECTORS; i++)
		fn->vectors[i].bell = VTFS_BELL_NONE;
	fn->intx = VTFS_BELL_NONE;
	fn->ep = epoll_create1(EPOLL_CLOEXEC);
	return fn->ep < 0 ? vtfs_fail_sys(-errno, "epoll_create1") : 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vtfs_pcifn_fini(struct vtfs_pcifn *fn)
{
	vtfs_pcifn_irq_drop(fn);
	for (unsigned i = 0; i < VTFS_PCIFN_QUEUES; i++) {
		close_fd(&fn->queues[i].kick);
		close_fd(&fn->queues[i].trap);
	}
	close_fd(&fn->ep);
}

void vtfs_pcifn_attach(struct vtfs_pcifn *fn, struct vtfs_dev_sink *sink,
		       uint64_t features)
{
	fn->sink = sink;
	fn->features = features;
	fn->queue_cnt = vtfs_min_u32(sink->ops->queue_cnt(sink),
				     VTFS_PCIFN_QUEUES);
	fn->vector_cnt = fn->queue_cnt + 1;
	vtfs_pcifn_virtio_init(fn);
	vtfs_pcifn_irq_init(fn);
	vtfs_pcifn_config_init(fn);
}

/* ---- regions ---- */

uint32_t vtfs_pcifn_region_len(unsigned region)
{
	switch (region) {
	case 0:
		return VTFS_PCIFN_BAR0_LEN;
	case 2:
		return VTFS_PCIFN_BAR2_LEN;
	case VTFS_PCIFN_CONFIG:
		return VTFS_PCI_CFG_LEN;
	default:
		return 0;
	}
}

static int check(unsigned region, uint64_t off, uint32_t len)
{
	uint32_t size = vtfs_pcifn_region_len(region);

	if (!size)
		return vtfs_fail(-EINVAL, "region %u: there is none", region);
	if (!vtfs_range_ok(0, size, off, len))
		return vtfs_fail(-EINVAL, "region %u: %u bytes at 0x%llx",
				 region, len, (unsigned long long)off);
	return 0;
}

/* One structure in a region, and what is asked for. */
struct window {
	uint8_t *buf;
	uint32_t off, len;
};

static bool overlaps(const struct window *w, uint32_t at, uint32_t len)
{
	return w->len && vtfs_range_overlap(w->off, w->len, at, len);
}

/* image lies at that place: copy the part of it that is asked for. */
static void show(const struct window *w, uint32_t at, const uint8_t *image,
		 uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (vtfs_range_ok(w->off, w->len, at + i, 1))
			w->buf[at + i - w->off] = image[i];
}

static void read_bar0(struct vtfs_pcifn *fn, const struct window *w)
{
	struct vtfs_fs_config config;
	uint8_t common[VTFS_PCI_COMMON_LEN];
	uint8_t isr;

	if (overlaps(w, VTFS_PCIFN_COMMON, sizeof(common))) {
		vtfs_pcifn_common_read(fn, common);
		show(w, VTFS_PCIFN_COMMON, common, sizeof(common));
	}
	if (overlaps(w, VTFS_PCIFN_ISR, 1)) {
		isr = vtfs_pcifn_isr_read(fn);
		show(w, VTFS_PCIFN_ISR, &isr, 1);
	}
	if (overlaps(w, VTFS_PCIFN_DEVICE, sizeof(config))) {
		fn->sink->ops->config(fn->sink, &config, sizeof(config), 0);
		show(w, VTFS_PCIFN_DEVICE, (uint8_t *)&config, sizeof(config));
	}
}

static void read_bar2(struct vtfs_pcifn *fn, const struct window *w)
{
	uint8_t image[VTFS_PCIFN_BAR2_LEN] = {0};

	vtfs_pcifn_table_read(fn, image);
	show(w, 0, image, sizeof(image));
}

int vtfs_pcifn_read(struct vtfs_pcifn *fn, unsigned region, uint64_t off,
		    void *buf, uint32_t len)
{
	struct window w = {.buf = buf, .off = (uint32_t)off, .len = len};
	int r = check(region, off, len);

	if (r < 0)
		return r;
	memset(buf, 0, len);
	if (region == 0)
		read_bar0(fn, &w);
	else if (region == 2)
		read_bar2(fn, &w);
	else
		vtfs_pcifn_config_read(fn, w.off, buf, len);
	return 0;
}

int vtfs_pcifn_write(struct vtfs_pcifn *fn, unsigned region, uint64_t off,
		     const void *buf, uint32_t len)
{
	uint32_t at = (uint32_t)off;
	int r = check(region, off, len);

	if (r < 0)
		return r;
	if (region == VTFS_PCIFN_CONFIG)
		vtfs_pcifn_config_write(fn, at, buf, len);
	else if (region == 2)
		vtfs_pcifn_table_write(fn, at, buf, len);
	else if (at >= VTFS_PCIFN_NOTIFY)
		vtfs_pcifn_doorbell(fn, at - VTFS_PCIFN_NOTIFY, buf, len);
	else if (at < VTFS_PCI_COMMON_LEN)
		vtfs_pcifn_common_write(fn, at, buf, len);
	return 0;
}

/* ---- resets ---- */

void vtfs_pcifn_reset(struct vtfs_pcifn *fn)
{
	bool begun = fn->resetting != VTFS_PCIFN_NO_RESET;

	fn->resetting = VTFS_PCIFN_RESET_ALL;
	if (!begun)
		fn->sink->ops->reset(fn->sink);
}

void vtfs_pcifn_reset_done(struct vtfs_pcifn *fn)
{
	enum vtfs_pcifn_reset what = fn->resetting;

	fn->resetting = VTFS_PCIFN_NO_RESET;
	if (what == VTFS_PCIFN_NO_RESET)
		return;
	vtfs_pcifn_virtio_init(fn);
	if (what != VTFS_PCIFN_RESET_ALL)
		return;
	vtfs_pcifn_irq_drop(fn);
	vtfs_pcifn_irq_init(fn);
	vtfs_pcifn_config_init(fn);
}

void vtfs_pcifn_lost(struct vtfs_pcifn *fn)
{
	vtfs_pcifn_irq_drop(fn);
	for (unsigned i = 0; i < fn->queue_cnt; i++)
		close_fd(&fn->queues[i].kick);
	if (fn->resetting == VTFS_PCIFN_NO_RESET)
		fn->resetting = VTFS_PCIFN_RESET_VIRTIO;
}
