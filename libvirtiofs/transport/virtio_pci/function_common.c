/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common structure (virtio 1.4, 4.1.4.3), queues and their doorbells. */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/virtio_pci/function.h"

static struct vtfs_pcifn_queue *selected(struct vtfs_pcifn *fn)
{
	if (fn->queue_select >= fn->queue_cnt)
		return NULL;
	return &fn->queues[fn->queue_select];
}

static uint64_t offered(struct vtfs_pcifn *fn)
{
	return fn->sink->ops->offered(fn->sink) | fn->features;
}

static bool negotiated(const struct vtfs_pcifn *fn, uint64_t feature)
{
	return (fn->status.bits & VTFS_STATUS_FEATURES_OK) &&
	       (fn->status.features & feature);
}

/* virtio 1.4, 4.1.4.3.1: a power of two, but for packed rings. */
static uint32_t largest(struct vtfs_pcifn *fn)
{
	uint32_t max = vtfs_min_u32(fn->sink->ops->queue_max(fn->sink), 0x8000);

	while (!negotiated(fn, VIRTIOFS_F_RING_PACKED) && !vtfs_is_pow2(max))
		max &= max - 1;
	return max;
}

static uint32_t queue_size(struct vtfs_pcifn *fn,
			   const struct vtfs_pcifn_queue *q)
{
	return q->size ? q->size : largest(fn);
}

/* ---- queues ---- */

static void queue_init(struct vtfs_pcifn_queue *q)
{
	q->size = 0;
	q->desc = q->driver = q->device = 0;
	q->vector = VTFS_PCI_NO_VECTOR;
	q->enabled = q->resetting = q->failed = false;
	q->running = q->stopping = false;
	q->avail_base = q->used_base = 0;
	q->route = 0;
	/* What the session rang before is of the time before. */
	if (q->trap >= 0)
		vtfs_evfd_drain(q->trap);
}

void vtfs_pcifn_virtio_init(struct vtfs_pcifn *fn)
{
	vtfs_status_reset(&fn->status);
	fn->device_feature_select = fn->driver_feature_select = 0;
	fn->driver_features = 0;
	fn->queue_select = 0;
	fn->config_vector = VTFS_PCI_NO_VECTOR;
	fn->isr = 0;
	for (unsigned i = 0; i < fn->queue_cnt; i++)
		queue_init(&fn->queues[i]);
}

int vtfs_pcifn_kick_fd(struct vtfs_pcifn *fn, unsigned vq)
{
	struct vtfs_pcifn_queue *q = &fn->queues[vq];
	int r = 0;

	if (q->kick < 0)
		r = vtfs_evfd_new(&q->kick);
	return r < 0 ? r : q->kick;
}

static bool queue_wanted(const struct vtfs_pcifn *fn,
			 const struct vtfs_pcifn_queue *q)
{
	return q->enabled && !q->resetting && !q->failed &&
	       fn->resetting == VTFS_PCIFN_NO_RESET &&
	       vtfs_status_live(&fn->status) &&
	       (vtfs_pcifn_command(fn) & VTFS_PCI_COMMAND_MASTER);
}

static int start(struct vtfs_pcifn *fn, unsigned vq)
{
	struct vtfs_pcifn_queue *q = &fn->queues[vq];
	struct vtfs_queue_setup s = {
	    .vq = (uint16_t)vq,
	    .num = queue_size(fn, q),
	    .desc = q->desc,
	    .driver = q->driver,
	    .device = q->device,
	    .avail_base = q->avail_base,
	    .used_base = q->used_base,
	    .enabled = true,
	};
	int r;

	s.kick_fd = vtfs_pcifn_kick_fd(fn, vq);
	if (s.kick_fd < 0)
		return s.kick_fd;
	r = vtfs_pcifn_call_fd(fn, vq, &s.call_fd);
	return r < 0 ? r : fn->sink->ops->start(fn->sink, &s);
}

static void start_or_fail(struct vtfs_pcifn *fn, unsigned vq)
{
	struct vtfs_pcifn_queue *q = &fn->queues[vq];

	q->running = start(fn, vq) >= 0;
	if (q->running)
		return;
	q->failed = true;
	vtfs_log(fn->sink->log, LOG_WARNING, "queue %u: %s", vq,
		 virtiofs_last_error());
	vtfs_pcifn_broken(fn);
}

void vtfs_pcifn_update(struct vtfs_pcifn *fn)
{
	for (unsigned i = 0; i < fn->queue_cnt; i++) {
		struct vtfs_pcifn_queue *q = &fn->queues[i];
		bool wanted = queue_wanted(fn, q);

		if (q->stopping || wanted == q->running)
			continue;
		if (wanted) {
			start_or_fail(fn, i);
		} else if (fn->resetting == VTFS_PCIFN_NO_RESET) {
			q->stopping = true;
			fn->sink->ops->stop(fn->sink, i);
		}
	}
}

void vtfs_pcifn_queue_stopped(struct vtfs_pcifn *fn, unsigned vq,
			      uint16_t avail_base, uint16_t used_base)
{
	struct vtfs_pcifn_queue *q = &fn->queues[vq];

	if (vq >= fn->queue_cnt || !q->stopping)
		return;
	q->running = q->stopping = false;
	q->avail_base = avail_base;
	q->used_base = used_base;
	/* virtio 1.4, 2.6.1.1: all of its state goes. */
	if (q->resetting)
		queue_init(q);
	vtfs_pcifn_update(fn);
}

/* ---- the session ---- */

void vtfs_pcifn_broken(struct vtfs_pcifn *fn)
{
	fn->status.bits |= VTFS_STATUS_NEEDS_RESET;
	/* virtio 1.4, 2.1.2: a configuration change tells the driver. */
	if (fn->status.bits & VTFS_STATUS_DRIVER_OK)
		vtfs_pcifn_config_irq(fn);
}

static void choose(struct vtfs_pcifn *fn)
{
	uint64_t mine = fn->sink->ops->offered(fn->sink) & ~fn->features;

	if (vtfs_status_choose(&fn->status, offered(fn), fn->driver_features) <
	    0) {
		vtfs_log(fn->sink->log, LOG_WARNING, "%s",
			 virtiofs_last_error());
		return;
	}
	fn->sink->ops->accept(fn->sink, fn->driver_features & mine);
}

static void write_status(struct vtfs_pcifn *fn, uint8_t value)
{
	if (!value) {
		if (!fn->status.bits)
			return;
		fn->resetting = VTFS_PCIFN_RESET_VIRTIO;
		fn->sink->ops->reset(fn->sink);
		return;
	}
	if (value & ~fn->status.bits & VTFS_STATUS_FEATURES_OK)
		choose(fn);
	vtfs_status_write(&fn->status, value);
	vtfs_pcifn_update(fn);
}

/* ---- reading ---- */

static void put16(uint8_t *image, uint32_t at, uint32_t v)
{
	uint16_t le = htole16((uint16_t)v);

	memcpy(image + at, &le, sizeof(le));
}

static void put32(uint8_t *image, uint32_t at, uint32_t v)
{
	uint32_t le = htole32(v);

	memcpy(image + at, &le, sizeof(le));
}

static void put64(uint8_t *image, uint32_t at, uint64_t v)
{
	uint64_t le = htole64(v);

	memcpy(image + at, &le, sizeof(le));
}

static uint32_t word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static void show_queue(struct vtfs_pcifn *fn, uint8_t *image)
{
	const struct vtfs_pcifn_queue *q = selected(fn);

	if (!q) {
		put16(image, VTFS_PCI_QUEUE_VECTOR, VTFS_PCI_NO_VECTOR);
		return;
	}
	put16(image, VTFS_PCI_QUEUE_SIZE, queue_size(fn, q));
	put16(image, VTFS_PCI_QUEUE_VECTOR, q->vector);
	put16(image, VTFS_PCI_QUEUE_ENABLE, q->enabled);
	put16(image, VTFS_PCI_QUEUE_NOTIFY_OFF, fn->queue_select);
	put64(image, VTFS_PCI_QUEUE_DESC, q->desc);
	put64(image, VTFS_PCI_QUEUE_DRIVER, q->driver);
	put64(image, VTFS_PCI_QUEUE_DEVICE, q->device);
	put16(image, VTFS_PCI_QUEUE_RESET, q->resetting);
}

void vtfs_pcifn_common_read(struct vtfs_pcifn *fn, uint8_t *image)
{
	memset(image, 0, VTFS_PCI_COMMON_LEN);
	put32(image, VTFS_PCI_DEVICE_FEATURE_SELECT, fn->device_feature_select);
	put32(image, VTFS_PCI_DEVICE_FEATURE,
	      word(offered(fn), fn->device_feature_select));
	put32(image, VTFS_PCI_DRIVER_FEATURE_SELECT, fn->driver_feature_select);
	put32(image, VTFS_PCI_DRIVER_FEATURE,
	      word(fn->driver_features, fn->driver_feature_select));
	put16(image, VTFS_PCI_CONFIG_VECTOR, fn->config_vector);
	put16(image, VTFS_PCI_NUM_QUEUES, fn->queue_cnt);
	image[VTFS_PCI_DEVICE_STATUS] = fn->status.bits;
	put16(image, VTFS_PCI_QUEUE_SELECT, fn->queue_select);
	show_queue(fn, image);
}

/* ---- writing ---- */

static void write_features(struct vtfs_pcifn *fn, uint32_t v)
{
	unsigned shift = 32 * fn->driver_feature_select;

	if (fn->driver_feature_select > 1 ||
	    fn->status.bits & VTFS_STATUS_FEATURES_OK)
		return;
	fn->driver_features &= ~(0xffffffffULL << shift);
	fn->driver_features |= (uint64_t)v << shift;
}

static void write_half(uint64_t *v, unsigned half, uint32_t value)
{
	unsigned shift = 32 * half;

	*v = (*v & ~(0xffffffffULL << shift)) | (uint64_t)value << shift;
}

static uint16_t map_vector(const struct vtfs_pcifn *fn, uint32_t v)
{
	return v < fn->vector_cnt ? (uint16_t)v : VTFS_PCI_NO_VECTOR;
}

static void write_size(struct vtfs_pcifn *fn, struct vtfs_pcifn_queue *q,
		       uint32_t v)
{
	bool odd = !negotiated(fn, VIRTIOFS_F_RING_PACKED) && !vtfs_is_pow2(v);

	if (v && v <= largest(fn) && !odd)
		q->size = v;
}

static void enable(struct vtfs_pcifn *fn, struct vtfs_pcifn_queue *q)
{
	bool packed = negotiated(fn, VIRTIOFS_F_RING_PACKED);

	if (!(fn->status.bits & VTFS_STATUS_FEATURES_OK))
		return;
	q->enabled = true;
	/* Both counters begin at 0, with the wrap bit set. */
	q->avail_base = q->used_base = packed ? 0x8000 : 0;
	vtfs_pcifn_update(fn);
}

static void reset_queue(struct vtfs_pcifn *fn, struct vtfs_pcifn_queue *q)
{
	if (!negotiated(fn, 1ULL << VTFS_F_BIT_RING_RESET) || !q->enabled)
		return;
	q->resetting = true;
	vtfs_pcifn_update(fn);
	if (!q->running && !q->stopping)
		queue_init(q);
}

/* Of the selected queue. What describes the ring stands while it is used. */
static void write_queue(struct vtfs_pcifn *fn, uint32_t off, uint32_t v)
{
	struct vtfs_pcifn_queue *q = selected(fn);

	if (!q || q->resetting)
		return;
	if (off == VTFS_PCI_QUEUE_VECTOR) {
		q->vector = map_vector(fn, v);
		vtfs_pcifn_irq_update(fn);
		return;
	}
	if (off == VTFS_PCI_QUEUE_RESET && v == 1)
		reset_queue(fn, q);
	if (q->enabled)
		return;
	if (off == VTFS_PCI_QUEUE_SIZE)
		write_size(fn, q, v);
	else if (off == VTFS_PCI_QUEUE_ENABLE && v == 1)
		enable(fn, q);
	else if (off - VTFS_PCI_QUEUE_DESC < 8)
		write_half(&q->desc, (off & 4) / 4, v);
	else if (off - VTFS_PCI_QUEUE_DRIVER < 8)
		write_half(&q->driver, (off & 4) / 4, v);
	else if (off - VTFS_PCI_QUEUE_DEVICE < 8)
		write_half(&q->device, (off & 4) / 4, v);
}

/* Bytes of the register that begins here; 0: none, or it can't be written. */
static uint32_t width(uint32_t off)
{
	switch (off) {
	case VTFS_PCI_DEVICE_FEATURE_SELECT:
	case VTFS_PCI_DRIVER_FEATURE_SELECT:
	case VTFS_PCI_DRIVER_FEATURE:
	case VTFS_PCI_QUEUE_DESC:
	case VTFS_PCI_QUEUE_DESC + 4:
	case VTFS_PCI_QUEUE_DRIVER:
	case VTFS_PCI_QUEUE_DRIVER + 4:
	case VTFS_PCI_QUEUE_DEVICE:
	case VTFS_PCI_QUEUE_DEVICE + 4:
		return 4;
	case VTFS_PCI_CONFIG_VECTOR:
	case VTFS_PCI_QUEUE_SELECT:
	case VTFS_PCI_QUEUE_SIZE:
	case VTFS_PCI_QUEUE_VECTOR:
	case VTFS_PCI_QUEUE_ENABLE:
	case VTFS_PCI_QUEUE_RESET:
		return 2;
	case VTFS_PCI_DEVICE_STATUS:
		return 1;
	default:
		return 0;
	}
}

static void write_register(struct vtfs_pcifn *fn, uint32_t off, uint32_t v)
{
	switch (off) {
	case VTFS_PCI_DRIVER_FEATURE:
		write_features(fn, v);
		break;
	case VTFS_PCI_CONFIG_VECTOR:
		fn->config_vector = map_vector(fn, v);
		break;
	case VTFS_PCI_DEVICE_STATUS:
		write_status(fn, (uint8_t)v);
		break;
	default:
		write_queue(fn, off, v);
	}
}

void vtfs_pcifn_common_write(struct vtfs_pcifn *fn, uint32_t off,
			     const void *buf, uint32_t len)
{
	uint32_t le = 0;
	uint32_t v;

	/* virtio 1.4, 4.1.3.1: the driver uses the width of the register. */
	if (!len || len != width(off))
		return;
	memcpy(&le, buf, len);
	v = le32toh(le);
	if (off == VTFS_PCI_DEVICE_FEATURE_SELECT)
		fn->device_feature_select = v;
	else if (off == VTFS_PCI_DRIVER_FEATURE_SELECT)
		fn->driver_feature_select = v;
	else if (off == VTFS_PCI_QUEUE_SELECT)
		fn->queue_select = (uint16_t)v;
	else if (fn->resetting == VTFS_PCIFN_NO_RESET)
		write_register(fn, off, v);
}

/* virtio 1.4, 4.1.5.2: the index of the queue, in 16 bits, or below what
 * NOTIFICATION_DATA adds. Each queue has a place of its own. */
void vtfs_pcifn_doorbell(struct vtfs_pcifn *fn, uint32_t off, const void *buf,
			 uint32_t len)
{
	uint32_t vq = off / VTFS_PCIFN_NOTIFY_STEP;
	struct vtfs_bell kick = {.kind = VTFS_BELL_EVENT};
	uint16_t le;

	if ((len != 2 && len != 4) || off % VTFS_PCIFN_NOTIFY_STEP ||
	    vq >= fn->queue_cnt || !fn->queues[vq].running)
		return;
	memcpy(&le, buf, sizeof(le));
	if (le16toh(le) != vq)
		return;
	/* The bus may have the same open file: it could make it block. */
	kick.fd = fn->queues[vq].kick;
	vtfs_bell_ring(&kick);
}
