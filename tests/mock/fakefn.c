/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fakefn.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "wire/virtio.h"

static struct fake *to_fake(struct vtfs_pci_fn *fn)
{
	return (struct fake *)fn;
}

/* ---- capabilities ---- */

void fake_put32(unsigned char *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

void fake_no_caps(struct fake *f)
{
	memset(f->cfg + VTFS_PCI_CAP_FIRST, 0,
	       sizeof(f->cfg) - VTFS_PCI_CAP_FIRST);
	f->cfg[VTFS_PCI_CAP_PTR] = 0;
	f->cap_at = VTFS_PCI_CAP_FIRST;
	f->cap_last = VTFS_PCI_CAP_PTR;
}

unsigned char *fake_cap(struct fake *f, unsigned type, unsigned len)
{
	unsigned char *cap = f->cfg + f->cap_at;

	assert_true(f->cap_at + len <= sizeof(f->cfg));
	f->cfg[f->cap_last] = (unsigned char)f->cap_at;
	cap[0] = (unsigned char)type;
	cap[2] = (unsigned char)len;
	f->cap_last = f->cap_at + 1;
	f->cap_at += (len + 3) & ~3u;
	return cap;
}

unsigned char *fake_virtio_cap(struct fake *f, unsigned type, unsigned bar,
			       uint32_t off, uint32_t length)
{
	unsigned len = type == VTFS_PCI_CFG_NOTIFY ? VTFS_PCI_CAP_NOTIFY_LEN
		       : type == VTFS_PCI_CFG_SHARED_MEMORY
			   ? VTFS_PCI_CAP64_LEN
			   : (unsigned)sizeof(struct vtfs_pci_cap);
	unsigned char *cap = fake_cap(f, VTFS_PCI_CAP_ID_VNDR, len);

	cap[3] = (unsigned char)type;
	cap[4] = (unsigned char)bar;
	fake_put32(cap + 8, off);
	fake_put32(cap + 12, length);
	if (type == VTFS_PCI_CFG_NOTIFY)
		fake_put32(cap + VTFS_PCI_CAP_NOTIFY_MULTIPLIER,
			   FAKE_MULTIPLIER);
	return cap;
}

void fake_usual_caps(struct fake *f)
{
	fake_virtio_cap(f, VTFS_PCI_CFG_COMMON, FAKE_BAR, FAKE_COMMON,
			VTFS_PCI_COMMON_LEN);
	fake_virtio_cap(f, VTFS_PCI_CFG_ISR, FAKE_BAR, FAKE_ISR, 1);
	fake_virtio_cap(f, VTFS_PCI_CFG_DEVICE, FAKE_BAR, FAKE_DEVICE,
			VTFS_CONFIG_LEN);
	fake_virtio_cap(f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY, 0x1000);
}

/* ---- registers ---- */

static struct fake_queue *queue(struct fake *f)
{
	static struct fake_queue none;

	memset(&none, 0, sizeof(none));
	return f->select < FAKE_QUEUES ? &f->q[f->select] : &none;
}

static uint8_t read_status(struct fake *f)
{
	if (f->resetting && f->reset_lag) {
		f->reset_lag--;
		return 0xf;
	}
	f->resetting = false;
	return f->l.status;
}

static uint16_t read_size(struct fake *f)
{
	struct fake_queue *q = queue(f);
	uint16_t size = q->size;

	if (f->shrinks)
		q->size /= 2;
	if (f->grows && size)
		q->size = (uint16_t)(q->size * 2);
	return size;
}

static uint32_t read_common(struct fake *f, unsigned off)
{
	struct fake_queue *q = queue(f);

	switch (off) {
	case VTFS_PCI_DEVICE_FEATURE:
		return (uint32_t)(f->l.offered >> 32 * (f->device_select & 1));
	case VTFS_PCI_CONFIG_VECTOR:
		return f->config_vector;
	case VTFS_PCI_NUM_QUEUES:
		return f->l.queue_cnt;
	case VTFS_PCI_DEVICE_STATUS:
		return read_status(f);
	case VTFS_PCI_CONFIG_GENERATION:
		return f->generation;
	case VTFS_PCI_QUEUE_SIZE:
		return read_size(f);
	case VTFS_PCI_QUEUE_VECTOR:
		return q->vector;
	case VTFS_PCI_QUEUE_ENABLE:
		return q->enable;
	case VTFS_PCI_QUEUE_NOTIFY_OFF:
		return q->notify_off;
	case VTFS_PCI_QUEUE_NOTIF_DATA:
		return q->notif_data;
	case VTFS_PCI_QUEUE_RESET:
		if (q->reset && f->qreset_lag)
			f->qreset_lag--;
		else
			q->reset = 0;
		return q->reset;
	default:
		fail_msg("read of register %u", off);
		return 0;
	}
}

static void set_half(uint64_t *p, bool high, uint32_t v)
{
	*p = high ? (*p & 0xffffffff) | (uint64_t)v << 32
		  : (*p & ~0xffffffffULL) | v;
}

static uint16_t set_vector(const struct fake *f, uint32_t v)
{
	return v < f->vector_limit ? (uint16_t)v : VTFS_PCI_NO_VECTOR;
}

static void enable_queue(struct fake *f, struct fake_queue *q)
{
	struct vtfs_queue_setup s = {
	    .vq = f->select,
	    .num = q->size,
	    .desc = q->desc,
	    .driver = q->driver,
	    .device = q->device,
	    .kick_fd = -1,
	    .call_fd = -1,
	    .enabled = true,
	};

	if (q->vector < f->vector_cnt)
		s.call_fd = f->vector_fd[q->vector];
	if (f->l.features & VIRTIOFS_F_RING_PACKED)
		s.avail_base = s.used_base = 0x8000;
	q->enable = 1;
	assert_int_equal(f->l.t.cli->start_queue(&f->l.t, &s), 0);
}

static void end_queue(struct fake *f, unsigned i)
{
	struct fake_queue *q = &f->q[i];

	q->enable = f->stays_enabled && i == f->select;
	q->size = q->max;
	q->vector = VTFS_PCI_NO_VECTOR;
	q->desc = q->driver = q->device = 0;
	f->l.t.cli->stop_queue(&f->l.t, i);
}

static void write_status(struct fake *f, uint8_t v)
{
	f->l.t.cli->set_status(&f->l.t, v);
	if (v)
		return;
	f->resetting = true;
	f->config_vector = VTFS_PCI_NO_VECTOR;
	for (unsigned i = 0; i < FAKE_QUEUES; i++)
		end_queue(f, i);
}

static void write_common(struct fake *f, unsigned off, uint32_t v)
{
	struct fake_queue *q = queue(f);

	if (f->resetting)
		f->early++;
	switch (off) {
	case VTFS_PCI_DEVICE_FEATURE_SELECT:
		f->device_select = v;
		return;
	case VTFS_PCI_DRIVER_FEATURE_SELECT:
		f->driver_select = v;
		return;
	case VTFS_PCI_DRIVER_FEATURE:
		set_half(&f->l.features, f->driver_select, v);
		return;
	case VTFS_PCI_CONFIG_VECTOR:
		f->config_vector = set_vector(f, v);
		return;
	case VTFS_PCI_DEVICE_STATUS:
		write_status(f, (uint8_t)v);
		return;
	case VTFS_PCI_QUEUE_SELECT:
		f->select = (uint16_t)v;
		return;
	case VTFS_PCI_QUEUE_SIZE:
		q->size = (uint16_t)v;
		return;
	case VTFS_PCI_QUEUE_VECTOR:
		q->vector = set_vector(f, v);
		return;
	case VTFS_PCI_QUEUE_ENABLE:
		assert_int_equal(v, 1);
		enable_queue(f, q);
		return;
	case VTFS_PCI_QUEUE_RESET:
		assert_int_equal(v, 1);
		end_queue(f, f->select);
		q->reset = 1;
		return;
	case VTFS_PCI_QUEUE_DESC:
	case VTFS_PCI_QUEUE_DESC + 4:
		set_half(&q->desc, off & 4, v);
		return;
	case VTFS_PCI_QUEUE_DRIVER:
	case VTFS_PCI_QUEUE_DRIVER + 4:
		set_half(&q->driver, off & 4, v);
		return;
	case VTFS_PCI_QUEUE_DEVICE:
	case VTFS_PCI_QUEUE_DEVICE + 4:
		set_half(&q->device, off & 4, v);
		return;
	default:
		fail_msg("write of register %u, which is read-only", off);
	}
}

static unsigned width_of(unsigned off)
{
	if (off == VTFS_PCI_DEVICE_STATUS || off == VTFS_PCI_CONFIG_GENERATION)
		return 1;
	if (off < VTFS_PCI_CONFIG_VECTOR ||
	    (off >= VTFS_PCI_QUEUE_DESC && off < VTFS_PCI_QUEUE_NOTIF_DATA))
		return 4;
	return 2;
}

static uint32_t read_device(struct fake *f, unsigned off, unsigned len)
{
	uint32_t v = 0;

	assert_true(off + len <= f->l.config_len);
	assert_int_equal(len, off < VTFS_CONFIG_QUEUES ? 1 : 4);
	memcpy(&v, f->l.config + off, len);
	if (f->torn && off < 4)
		v = 'T';
	if (f->torn && off == 8) {
		f->torn--;
		f->generation++;
	}
	if (f->changes) {
		f->changes--;
		f->generation++;
		f->l.config[0]++;
	}
	return le32toh(v);
}

static void bell(struct fake *f, uint64_t off, unsigned len, uint32_t v)
{
	for (unsigned i = 0; i < FAKE_QUEUES; i++) {
		struct fake_queue *q = &f->q[i];

		if (FAKE_NOTIFY + q->notify_off * FAKE_MULTIPLIER != off)
			continue;
		q->bell = v;
		q->bell_len = len;
		q->bells++;
	}
}

/* ---- ops ---- */

static void note(struct fake *f, const struct fake_access *a)
{
	assert_true(f->log_cnt < FAKE_LOG);
	f->log[f->log_cnt++] = *a;
}

/* Slow: the first time it is only asked for. */
static bool not_yet(struct fake *f, const struct fake_access *a)
{
	struct fake_access *w = &f->waits;
	uint64_t one = 1;

	if (!f->slow)
		return false;
	if (f->waiting && w->write == a->write && w->region == a->region &&
	    w->off == a->off && w->value == a->value) {
		f->waiting = false;
		if (!f->silent)
			assert_int_equal(read(f->fn.fd, &one, 8), 8);
		return false;
	}
	f->waiting = true;
	*w = *a;
	if (!f->silent)
		assert_int_equal(write(f->fn.fd, &one, 8), 8);
	return true;
}

static int fn_open(struct vtfs_pci_fn *fn)
{
	struct fake *f = to_fake(fn);
	struct fake_access a = {.region = 100};

	if (f->open_r < 0)
		return f->open_r;
	if (not_yet(f, &a))
		return -EAGAIN;
	memcpy(fn->bar_len, f->bar_len, sizeof(fn->bar_len));
	fn->vector_max = f->vectors;
	f->opens++;
	f->is_open = true;
	return 0;
}

static int fn_read(struct vtfs_pci_fn *fn, unsigned region, uint64_t off,
		   void *buf, unsigned len)
{
	struct fake *f = to_fake(fn);
	struct fake_access a = {false, region, off, len, 0};
	uint32_t v = 0;

	assert_true(len == 1 || len == 2 || len == 4);
	assert_int_equal(off % len, 0);
	if (not_yet(f, &a))
		return -EAGAIN;
	if (region == VTFS_PCI_CONFIG_REGION) {
		memcpy(buf, f->cfg + off, len);
		return 0;
	}
	assert_int_equal(region, FAKE_BAR);
	if (f->gone) {
		v = 0xffffffff;
	} else if (off < FAKE_COMMON + VTFS_PCI_COMMON_LEN) {
		assert_int_equal(len, width_of((unsigned)off));
		v = read_common(f, (unsigned)off);
	} else if (off >= FAKE_DEVICE && off < FAKE_NOTIFY) {
		v = read_device(f, (unsigned)off - FAKE_DEVICE, len);
	} else {
		fail_msg("read at %#llx", (unsigned long long)off);
	}
	a.value = v;
	note(f, &a);
	v = htole32(v);
	memcpy(buf, &v, len);
	return 0;
}

static int fn_write(struct vtfs_pci_fn *fn, unsigned region, uint64_t off,
		    const void *buf, unsigned len)
{
	struct fake *f = to_fake(fn);
	struct fake_access a = {true, region, off, len, 0};

	memcpy(&a.value, buf, len);
	a.value = le32toh(a.value);
	assert_int_equal(off % len, 0);
	if (not_yet(f, &a))
		return -EAGAIN;
	note(f, &a);
	if (region == VTFS_PCI_CONFIG_REGION) {
		memcpy(f->cfg + off, buf, len);
		return 0;
	}
	assert_int_equal(region, FAKE_BAR);
	assert_true(off < FAKE_COMMON + VTFS_PCI_COMMON_LEN);
	assert_int_equal(len, width_of((unsigned)off));
	write_common(f, (unsigned)off, a.value);
	return 0;
}

static int fn_set_vectors(struct vtfs_pci_fn *fn, unsigned first,
			  const int *fds, unsigned cnt)
{
	struct fake *f = to_fake(fn);
	struct fake_access a = {true, 101, first, cnt, 0};

	assert_true(first + cnt <= f->vectors && cnt <= 64);
	/* The first call names all. */
	assert_true(!first || first + cnt <= f->vector_cnt);
	if (not_yet(f, &a))
		return -EAGAIN;
	if (!first)
		f->vector_cnt = cnt;
	memcpy(f->vector_fd + first, fds, cnt * sizeof(*fds));
	if (!first && f->vectors_had && cnt > f->vectors_had) {
		f->vector_cnt = f->vectors_had;
		return (int)f->vectors_had;
	}
	return 0;
}

static int fn_map(struct vtfs_pci_fn *fn, const struct virtiofs_region *region,
		  bool iova, uint64_t *ret)
{
	struct fake *f = to_fake(fn);
	struct fake_access a = {true, 102, (uintptr_t)region->addr, 0, 0};

	if (not_yet(f, &a))
		return -EAGAIN;
	return f->l.t.cli->map(&f->l.t, region, ret);
}

static int fn_unmap(struct vtfs_pci_fn *fn, uint64_t addr)
{
	struct fake *f = to_fake(fn);
	struct fake_access a = {true, 103, addr, 0, 0};

	if (not_yet(f, &a))
		return -EAGAIN;
	return f->l.t.cli->unmap(&f->l.t, addr);
}

static volatile void *fn_bar(struct vtfs_pci_fn *fn, unsigned bar, uint64_t off,
			     unsigned len)
{
	struct fake *f = to_fake(fn);

	assert_int_equal(bar, FAKE_BAR);
	assert_true(off + len <= FAKE_BAR_LEN && off % len == 0);
	return f->mapped ? f->bells + off : NULL;
}

static int fn_doorbell_fd(struct vtfs_pci_fn *fn, unsigned bar, uint64_t off,
			  unsigned len, int *ret)
{
	*ret = to_fake(fn)->bell_fd;
	return 0;
}

static int fn_store(struct vtfs_pci_fn *fn, unsigned vq, uint64_t off,
		    uint32_t value, unsigned len)
{
	bell(to_fake(fn), off, len, value);
	return 0;
}

static int fn_dispatch(struct vtfs_pci_fn *fn)
{
	return to_fake(fn)->hung_up ? -ENOTCONN : 0;
}

static void fn_close(struct vtfs_pci_fn *fn)
{
	to_fake(fn)->closes++;
	to_fake(fn)->is_open = false;
}

static void fn_free(struct vtfs_pci_fn *fn)
{
	to_fake(fn)->freed = true;
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

/* ---- made ---- */

void fake_init(struct fake *f)
{
	memset(f, 0, sizeof(*f));
	liar_init(&f->l);
	f->fn.ops = &fn_ops;
	f->fn.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	f->bell_fd = -1;
	f->bar_len[FAKE_BAR] = FAKE_BAR_LEN;
	f->vectors = 3;
	f->vector_limit = 0xffff;
	f->config_vector = VTFS_PCI_NO_VECTOR;
	for (unsigned i = 0; i < FAKE_QUEUES; i++) {
		f->q[i].max = f->q[i].size = i < f->l.queue_cnt ? 256 : 0;
		f->q[i].vector = VTFS_PCI_NO_VECTOR;
		f->q[i].notify_off = (uint16_t)(2 * i + 1);
		f->q[i].notif_data = (uint16_t)(0x700 + i);
	}
	fake_put32(f->cfg, VTFS_PCI_VENDOR | VTFS_PCI_DEVICE_FS << 16);
	f->cfg[VTFS_PCI_STATUS] = VTFS_PCI_STATUS_CAP_LIST;
	f->cfg[VTFS_PCI_REVISION] = 1;
	fake_no_caps(f);
	fake_usual_caps(f);
}

void fake_fini(struct fake *f)
{
	liar_fini(&f->l);
	close(f->fn.fd);
}

void fake_drive(struct fake *f)
{
	assert_int_equal(vtfs_pci_driver_new(&f->t, &f->fn, "fake:"), 0);
}

static unsigned accesses(const struct fake *f, unsigned off, bool write)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->log_cnt; i++)
		n += f->log[i].write == write && f->log[i].region == FAKE_BAR &&
		     f->log[i].off == FAKE_COMMON + off;
	return n;
}

unsigned fake_writes(const struct fake *f, unsigned off)
{
	return accesses(f, off, true);
}

unsigned fake_reads(const struct fake *f, unsigned off)
{
	return accesses(f, off, false);
}

bool fake_rung(struct fake *f, unsigned vq, uint32_t *ret)
{
	unsigned char *at = f->bells + FAKE_NOTIFY +
			    f->q[vq].notify_off * FAKE_MULTIPLIER;
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	memset(at, 0xee, sizeof(v));
	*ret = le32toh(v);
	return v != 0xeeeeeeee;
}

void fake_raise(struct fake *f, unsigned vector)
{
	uint64_t one = 1;

	assert_true(vector < f->vector_cnt && f->vector_fd[vector] >= 0);
	assert_int_equal(write(f->vector_fd[vector], &one, 8), 8);
}
