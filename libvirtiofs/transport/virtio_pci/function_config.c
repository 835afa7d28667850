/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration space: header, capabilities, the window into the BARs. */
#include <string.h>

#include "base/bytes.h"
#include "transport/virtio_pci/function.h"
#include "wire/fs.h"

#define SUBSYSTEM 0x1100u /* anything of 0x40 or more (virtio 1.4, 4.1.2.1) */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v & 0xffff);
	put16(p + 2, v >> 16);
}

uint16_t vtfs_pcifn_command(const struct vtfs_pcifn *fn)
{
	return get16(fn->config + VTFS_PCI_COMMAND);
}

uint16_t vtfs_pcifn_msix_control(const struct vtfs_pcifn *fn)
{
	return get16(fn->config + VTFS_PCIFN_CAP_MSIX + VTFS_PCI_MSIX_CONTROL);
}

/* ---- what is there at power on ---- */

static void add_cap(struct vtfs_pcifn *fn, uint8_t at, const void *cap,
		    size_t len)
{
	uint8_t *last = &fn->config[VTFS_PCI_CAP_PTR];

	while (*last)
		last = &fn->config[*last + 1];
	*last = at;
	memcpy(fn->config + at, cap, len);
	fn->config[at + 1] = 0;
}

static void add_virtio_cap(struct vtfs_pcifn *fn, uint8_t at,
			   enum vtfs_pci_cfg_type type, uint32_t off,
			   uint32_t len)
{
	struct vtfs_pci_cap cap = {.id = VTFS_PCI_CAP_ID_VNDR,
				   .len = sizeof(cap),
				   .cfg_type = (uint8_t)type};

	put32(cap.offset, off);
	put32(cap.length, len);
	add_cap(fn, at, &cap, sizeof(cap));
}

static void add_msix(struct vtfs_pcifn *fn)
{
	uint8_t cap[VTFS_PCI_MSIX_CAP_LEN] = {VTFS_PCI_CAP_ID_MSIX};

	put16(cap + VTFS_PCI_MSIX_CONTROL, fn->vector_cnt - 1);
	put32(cap + VTFS_PCI_MSIX_TABLE, VTFS_PCIFN_TABLE | 2);
	put32(cap + VTFS_PCI_MSIX_PBA, VTFS_PCIFN_PBA | 2);
	add_cap(fn, VTFS_PCIFN_CAP_MSIX, cap, sizeof(cap));
	put16(fn->writable + VTFS_PCIFN_CAP_MSIX + VTFS_PCI_MSIX_CONTROL,
	      VTFS_PCI_MSIX_ENABLE | VTFS_PCI_MSIX_MASK_ALL);
}

static void add_flr(struct vtfs_pcifn *fn)
{
	static const uint8_t cap[VTFS_PCI_AF_CAP_LEN] = {
	    VTFS_PCI_CAP_ID_AF,
	    0,
	    VTFS_PCI_AF_CAP_LEN,
	    VTFS_PCI_AF_HAS_TP | VTFS_PCI_AF_HAS_FLR,
	};

	add_cap(fn, VTFS_PCIFN_CAP_AF, cap, sizeof(cap));
}

static uint32_t device_config_len(const struct vtfs_pcifn *fn)
{
	if (fn->sink->ops->offered(fn->sink) & VIRTIOFS_F_NOTIFICATION)
		return sizeof(struct vtfs_fs_config);
	return offsetof(struct vtfs_fs_config, notify_buf_size);
}

static void add_virtio(struct vtfs_pcifn *fn)
{
	uint8_t *notify = fn->config + VTFS_PCIFN_CAP_NOTIFY;
	uint8_t *access = fn->config + VTFS_PCIFN_CAP_PCI;
	uint8_t *free = fn->writable + VTFS_PCIFN_CAP_PCI;

	add_virtio_cap(fn, VTFS_PCIFN_CAP_COMMON, VTFS_PCI_CFG_COMMON,
		       VTFS_PCIFN_COMMON, VTFS_PCI_COMMON_LEN);
	add_virtio_cap(fn, VTFS_PCIFN_CAP_ISR, VTFS_PCI_CFG_ISR, VTFS_PCIFN_ISR,
		       1);
	add_virtio_cap(fn, VTFS_PCIFN_CAP_DEVICE, VTFS_PCI_CFG_DEVICE,
		       VTFS_PCIFN_DEVICE, device_config_len(fn));
	add_virtio_cap(fn, VTFS_PCIFN_CAP_NOTIFY, VTFS_PCI_CFG_NOTIFY,
		       VTFS_PCIFN_NOTIFY,
		       fn->queue_cnt * VTFS_PCIFN_NOTIFY_STEP);
	notify[2] = VTFS_PCI_CAP_NOTIFY_LEN;
	put32(notify + VTFS_PCI_CAP_NOTIFY_MULTIPLIER, VTFS_PCIFN_NOTIFY_STEP);
	add_virtio_cap(fn, VTFS_PCIFN_CAP_PCI, VTFS_PCI_CFG_PCI, 0, 0);
	access[2] = VTFS_PCI_CAP_CFG_LEN;
	free[offsetof(struct vtfs_pci_cap, bar)] = 0xff;
	memset(free + offsetof(struct vtfs_pci_cap, offset), 0xff,
	       VTFS_PCI_CAP_CFG_LEN - offsetof(struct vtfs_pci_cap, offset));
}

static void add_bars(struct vtfs_pcifn *fn)
{
	uint8_t *bar = fn->config + VTFS_PCI_BAR0;
	uint8_t *free = fn->writable + VTFS_PCI_BAR0;

	put32(bar, VTFS_PCI_BAR_64);
	put32(free, ~(VTFS_PCIFN_BAR0_LEN - 1) & VTFS_PCI_BAR_MEMORY_MASK);
	put32(free + 4, 0xffffffff);
	put32(free + 8, ~(VTFS_PCIFN_BAR2_LEN - 1) & VTFS_PCI_BAR_MEMORY_MASK);
}

void vtfs_pcifn_config_init(struct vtfs_pcifn *fn)
{
	uint8_t *c = fn->config;
	uint8_t *w = fn->writable;

	memset(c, 0, VTFS_PCI_CFG_LEN);
	memset(w, 0, VTFS_PCI_CFG_LEN);
	put16(c + VTFS_PCI_VENDOR_ID, VTFS_PCI_VENDOR);
	put16(c + VTFS_PCI_DEVICE_ID, VTFS_PCI_DEVICE_FS);
	put16(c + VTFS_PCI_STATUS, VTFS_PCI_STATUS_CAP_LIST);
	c[VTFS_PCI_REVISION] = 1;
	put32(c + VTFS_PCI_REVISION, VTFS_PCI_CLASS_FS << 8 | 1);
	put16(c + VTFS_PCI_SUBSYS_VENDOR, VTFS_PCI_VENDOR);
	put16(c + VTFS_PCI_SUBSYS_ID, SUBSYSTEM);
	c[VTFS_PCI_INTERRUPT_PIN] = 1;
	put16(w + VTFS_PCI_COMMAND,
	      VTFS_PCI_COMMAND_MEMORY | VTFS_PCI_COMMAND_MASTER |
		  VTFS_PCI_COMMAND_PARITY | VTFS_PCI_COMMAND_SERR |
		  VTFS_PCI_COMMAND_INTX_DISABLE);
	w[VTFS_PCI_CACHE_LINE] = 0xff;
	w[VTFS_PCI_INTERRUPT_LINE] = 0xff;
	add_bars(fn);
	add_msix(fn);
	add_flr(fn);
	add_virtio(fn);
}

/* ---- the window (virtio 1.4, 4.1.4.9) ---- */

#define WINDOW_DATA (VTFS_PCIFN_CAP_PCI + VTFS_PCI_CAP_CFG_DATA)

static bool touches(uint32_t off, uint32_t len, uint32_t at, uint32_t size)
{
	return len && vtfs_range_overlap(off, len, at, size);
}

/* Where the window looks; the length, or 0: nowhere. */
static uint32_t window(const struct vtfs_pcifn *fn, unsigned *ret_bar,
		       uint32_t *ret_off)
{
	struct vtfs_pci_cap cap;
	uint32_t len;

	memcpy(&cap, fn->config + VTFS_PCIFN_CAP_PCI, sizeof(cap));
	*ret_bar = cap.bar;
	*ret_off = get32(cap.offset);
	len = get32(cap.length);
	if (cap.bar >= VTFS_PCI_BARS || (len != 1 && len != 2 && len != 4) ||
	    *ret_off % len)
		return 0;
	return vtfs_range_ok(0, vtfs_pcifn_region_len(cap.bar), *ret_off, len)
		   ? len
		   : 0;
}

static void window_read(struct vtfs_pcifn *fn)
{
	uint32_t off, len;
	unsigned bar;

	len = window(fn, &bar, &off);
	if (len)
		vtfs_pcifn_read(fn, bar, off, fn->config + WINDOW_DATA, len);
}

static void window_write(struct vtfs_pcifn *fn)
{
	uint8_t data[4];
	uint32_t off, len;
	unsigned bar;

	len = window(fn, &bar, &off);
	memcpy(data, fn->config + WINDOW_DATA, sizeof(data));
	if (len)
		vtfs_pcifn_write(fn, bar, off, data, len);
}

/* ---- reads and writes ---- */

void vtfs_pcifn_config_read(struct vtfs_pcifn *fn, uint32_t off, void *buf,
			    uint32_t len)
{
	uint8_t *status = &fn->config[VTFS_PCI_STATUS];

	if (touches(off, len, WINDOW_DATA, 4))
		window_read(fn);
	/* virtio 1.4, 4.1.4.5.1 */
	*status &= (uint8_t)~VTFS_PCI_STATUS_INTERRUPT;
	if (fn->isr && !(vtfs_pcifn_msix_control(fn) & VTFS_PCI_MSIX_ENABLE))
		*status |= VTFS_PCI_STATUS_INTERRUPT;
	memcpy(buf, fn->config + off, len);
}

static bool starts_flr(uint32_t off, const uint8_t *buf, uint32_t len)
{
	uint32_t at = VTFS_PCIFN_CAP_AF + VTFS_PCI_AF_CONTROL;

	return vtfs_range_ok(off, len, at, 1) &&
	       (buf[at - off] & VTFS_PCI_AF_START_FLR);
}

void vtfs_pcifn_config_write(struct vtfs_pcifn *fn, uint32_t off,
			     const void *data, uint32_t len)
{
	const uint8_t *buf = data;

	for (uint32_t i = 0; i < len; i++) {
		uint8_t free = fn->writable[off + i];
		uint8_t *c = &fn->config[off + i];

		*c = (uint8_t)((*c & ~free) | (buf[i] & free));
	}
	if (starts_flr(off, buf, len)) {
		vtfs_pcifn_reset(fn);
		return;
	}
	vtfs_pcifn_update(fn);
	vtfs_pcifn_irq_update(fn);
	if (touches(off, len, WINDOW_DATA, 4))
		window_write(fn);
}
