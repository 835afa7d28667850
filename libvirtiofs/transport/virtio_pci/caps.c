/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/virtio_pci/caps.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

/* No list has more: each entry takes four bytes at least. */
#define CAPS_MAX ((VTFS_PCI_CFG_LEN - VTFS_PCI_CAP_FIRST) / 4)

struct walk {
	const unsigned char *cfg;
	const uint64_t *bar_len;
	struct vtfs_pci_caps *ret;
	unsigned virtio_cnt;
};

static uint32_t get32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

static uint32_t get16(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

/* A number beyond what all capabilities have. */
static uint32_t tail32(const struct vtfs_pci_cap *cap, unsigned off)
{
	return get32((const unsigned char *)cap + off);
}

/* The part of a structure that its BAR has: a length that is too large may be
 * one of a later device (4.1.4, driver). false: nothing of it. */
static bool place(const struct walk *w, const struct vtfs_pci_cap *cap,
		  struct vtfs_pci_area *ret)
{
	uint64_t bar_len, off, len;

	if (cap->bar >= VTFS_PCI_BARS)
		return false;
	bar_len = w->bar_len[cap->bar];
	off = get32(cap->offset);
	len = get32(cap->length);
	if (off >= bar_len)
		return false;
	if (len > bar_len - off)
		len = bar_len - off;
	*ret = (struct vtfs_pci_area){cap->bar, off, len};
	return true;
}

/* The first instance that can be used counts. */
static void take(const struct walk *w, const struct vtfs_pci_cap *cap,
		 struct vtfs_pci_area *ret, uint64_t need, uint64_t align)
{
	struct vtfs_pci_area a;

	if (ret->len || !place(w, cap, &a))
		return;
	if (a.len >= need && a.off % align == 0)
		*ret = a;
}

/* A multiplier is 0 or an even power of two (4.1.4.4.1). */
static void take_notify(const struct walk *w, const struct vtfs_pci_cap *cap)
{
	struct vtfs_pci_caps *c = w->ret;
	uint32_t multiplier;

	if (c->notify.len || cap->len < VTFS_PCI_CAP_NOTIFY_LEN)
		return;
	multiplier = tail32(cap, VTFS_PCI_CAP_NOTIFY_MULTIPLIER);
	if (multiplier == 1 || (multiplier & (multiplier - 1)))
		return;
	take(w, cap, &c->notify, 2, 2);
	if (c->notify.len)
		c->multiplier = multiplier;
}

/* Offsets and lengths of 64 bits; all of it has to be there (4.1.4.7). */
static void take_shm(const struct walk *w, const struct vtfs_pci_cap *cap)
{
	struct vtfs_pci_area a = {.bar = cap->bar};

	if (w->ret->shm.len || cap->len < VTFS_PCI_CAP64_LEN ||
	    a.bar >= VTFS_PCI_BARS || cap->shm_id)
		return;
	a.off = get32(cap->offset) |
		(uint64_t)tail32(cap, VTFS_PCI_CAP_OFFSET_HI) << 32;
	a.len = get32(cap->length) |
		(uint64_t)tail32(cap, VTFS_PCI_CAP_LENGTH_HI) << 32;
	if (vtfs_range_ok(0, w->bar_len[a.bar], a.off, a.len))
		w->ret->shm = a;
}

static void take_virtio(struct walk *w, unsigned at)
{
	const struct vtfs_pci_cap *cap = (const void *)(w->cfg + at);

	/* One that is longer than we know is fine (4.1.4, driver). */
	if (cap->len < sizeof(*cap) || at + cap->len > VTFS_PCI_CFG_LEN)
		return;
	switch (cap->cfg_type) {
	case VTFS_PCI_CFG_COMMON:
		take(w, cap, &w->ret->common, VTFS_PCI_COMMON_LEN_MIN, 4);
		break;
	case VTFS_PCI_CFG_NOTIFY:
		take_notify(w, cap);
		break;
	case VTFS_PCI_CFG_ISR:
		take(w, cap, &w->ret->isr, 1, 1);
		break;
	case VTFS_PCI_CFG_DEVICE:
		take(w, cap, &w->ret->device, 1, 4);
		break;
	case VTFS_PCI_CFG_SHARED_MEMORY:
		take_shm(w, cap);
		break;
	default:
		/* Reserved, another vendor's, or a way in that is not needed
		 * (4.1.4.1). */
		return;
	}
	w->virtio_cnt++;
}

/* ---- the list ---- */

struct list {
	const unsigned char *cfg;
	unsigned next, cnt;
};

static struct list list_of(const unsigned char *cfg)
{
	struct list l = {.cfg = cfg};

	if (get16(cfg + VTFS_PCI_STATUS) & VTFS_PCI_STATUS_CAP_LIST)
		l.next = cfg[VTFS_PCI_CAP_PTR] & ~3u;
	return l;
}

/* Where the next one is; 0: the end; -EPROTO. */
static int next_cap(struct list *l)
{
	unsigned at = l->next;

	if (!at)
		return 0;
	if (l->cnt++ >= CAPS_MAX)
		return vtfs_fail(-EPROTO, "the capability list loops");
	if (at < VTFS_PCI_CAP_FIRST)
		return vtfs_fail(-EPROTO, "a capability at %#x", at);
	l->next = l->cfg[at + 1] & ~3u;
	return (int)at;
}

static bool is_cap(const unsigned char *cfg, int at, uint8_t id, size_t len)
{
	return cfg[at] == id && (size_t)at + len <= VTFS_PCI_CFG_LEN;
}

unsigned vtfs_pci_caps_msix(const unsigned char cfg[VTFS_PCI_CFG_LEN])
{
	struct list l = list_of(cfg);
	int at;

	while ((at = next_cap(&l)) > 0)
		if (is_cap(cfg, at, VTFS_PCI_CAP_ID_MSIX,
			   VTFS_PCI_MSIX_CAP_LEN))
			return (unsigned)at;
	return 0;
}

static int check_ids(const unsigned char *cfg)
{
	uint32_t vendor = get16(cfg + VTFS_PCI_VENDOR_ID);
	uint32_t device = get16(cfg + VTFS_PCI_DEVICE_ID);

	if (vendor != VTFS_PCI_VENDOR || device != VTFS_PCI_DEVICE_FS)
		return vtfs_fail(-ENODEV,
				 "a function %04x:%04x, not a virtio file "
				 "system (%04x:%04x)",
				 vendor, device, VTFS_PCI_VENDOR,
				 VTFS_PCI_DEVICE_FS);
	return 0;
}

int vtfs_pci_caps_find(struct vtfs_pci_caps *ret,
		       const unsigned char cfg[VTFS_PCI_CFG_LEN],
		       const uint64_t bar_len[VTFS_PCI_BARS])
{
	struct vtfs_pci_caps c = {0};
	struct walk w = {cfg, bar_len, &c, 0};
	struct list l = list_of(cfg);
	int r = check_ids(cfg);

	if (r < 0)
		return r;
	while ((r = next_cap(&l)) > 0)
		if (is_cap(cfg, r, VTFS_PCI_CAP_ID_VNDR,
			   sizeof(struct vtfs_pci_cap)))
			take_virtio(&w, (unsigned)r);
	if (r < 0)
		return r;
	if (!w.virtio_cnt)
		return vtfs_fail(-ENODEV, "no virtio capabilities: a legacy "
					  "device");
	if (!c.common.len || !c.notify.len)
		return vtfs_fail(-EPROTO, "no usable %s structure in any BAR",
				 c.common.len ? "notify" : "common");
	*ret = c;
	return 0;
}
