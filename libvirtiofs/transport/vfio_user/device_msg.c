/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "transport/vfio_user/device.h"

/* ---- VERSION ---- */

/* Of what the client proposed, what we have; a bound is ours to say. */
static struct vfu_caps agree(const struct vfu_caps *peer)
{
	return (struct vfu_caps){
	    .has = peer->has & (VFU_HAS_MAX_FDS | VFU_HAS_MAX_XFER |
				VFU_HAS_MAX_MAPS | VFU_HAS_PGSIZES |
				(peer->write_multi ? VFU_HAS_WRITE_MULTI : 0)),
	    .max_fds = VFU_FDS_MAX,
	    .max_xfer = VFU_XFER_MAX,
	    .max_maps = VFU_MAPS_MAX,
	    .pgsizes = VFU_PAGE,
	    .write_multi = true,
	};
}

static int version(struct vfu_device *d)
{
	struct vfu_version v;
	struct {
		struct vfu_version v;
		char json[256];
	} answer;
	struct vfu_caps ours;
	size_t len;
	int r;

	if (d->versioned)
		return vtfs_fail(-EPROTO, "vfio-user: a second VERSION");
	memcpy(&v, d->rx.payload, sizeof(v));
	if (v.major != VFU_MAJOR)
		return vtfs_fail(-EPROTO, "vfio-user: version %u.%u", v.major,
				 v.minor);
	r = vtfs_vfu_caps_parse(&d->peer, d->rx.payload + sizeof(v),
				vtfs_vfu_rx_len(&d->rx) - sizeof(v));
	if (r < 0)
		return r;
	ours = agree(&d->peer);
	answer.v.major = VFU_MAJOR;
	answer.v.minor = v.minor < VFU_MINOR ? v.minor : VFU_MINOR;
	len = vtfs_vfu_caps_format(&ours, answer.json, sizeof(answer.json));
	d->versioned = true;
	d->rx.max = VFU_PAYLOAD_MAX;
	return vtfs_vfu_reply(d, &answer, sizeof(answer.v) + len);
}

/* ---- what there is ---- */

/* Every info begins with the room that the client has for the reply. */
static int check_argsz(const struct vfu_device *d, size_t least)
{
	uint32_t argsz;

	memcpy(&argsz, d->rx.payload, sizeof(argsz));
	if (argsz < least)
		return vtfs_fail(-EINVAL, "argsz %u where %zu are needed",
				 argsz, least);
	return 0;
}

static int get_info(struct vfu_device *d)
{
	const struct vfu_device_info info = {
	    .argsz = sizeof(info),
	    .flags = VFU_DEVICE_RESET | VFU_DEVICE_PCI,
	    .num_regions = VFU_REGIONS,
	    .num_irqs = VFU_IRQS,
	};
	int r = check_argsz(d, sizeof(info));

	return r < 0 ? r : vtfs_vfu_reply(d, &info, sizeof(info));
}

static int get_region_info(struct vfu_device *d)
{
	struct vfu_region_info in;
	struct vfu_region_info out = {.argsz = sizeof(out)};
	int r = check_argsz(d, sizeof(out));

	if (r < 0)
		return r;
	memcpy(&in, d->rx.payload, sizeof(in));
	if (in.index >= VFU_REGIONS)
		return vtfs_fail(-EINVAL, "region %u: there is none", in.index);
	out.index = in.index;
	out.size = vtfs_pcifn_region_len(in.index);
	if (out.size)
		out.flags = VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE;
	return vtfs_vfu_reply(d, &out, sizeof(out));
}

/* Doorbells as eventfds, one for each queue, as many as the client takes. */
static int get_region_io_fds(struct vfu_device *d)
{
	struct {
		struct vfu_io_fds head;
		struct vfu_io_fd sub[VFU_FDS_MAX];
	} out = {{0}};
	struct vfu_io_fds in;
	int fds[VFU_FDS_MAX];
	size_t full;
	unsigned cnt;
	int r = check_argsz(d, sizeof(in));

	if (r < 0)
		return r;
	memcpy(&in, d->rx.payload, sizeof(in));
	cnt = vtfs_min_u32(d->fn.queue_cnt, VFU_FDS_MAX);
	if (cnt > d->peer.max_fds)
		cnt = (unsigned)d->peer.max_fds;
	if (in.index != 0 || in.flags || !cnt)
		return vtfs_fail(-EINVAL,
				 "region %u has no doorbells for flags 0x%x",
				 in.index, in.flags);
	for (unsigned i = 0; i < cnt; i++) {
		fds[i] = vtfs_pcifn_kick_fd(&d->fn, i);
		if (fds[i] < 0)
			return fds[i];
		out.sub[i].offset = VTFS_PCIFN_NOTIFY +
				    i * VTFS_PCIFN_NOTIFY_STEP;
		out.sub[i].fd_index = i;
		out.sub[i].type = VFU_IO_FD_IOEVENTFD;
	}
	full = sizeof(out.head) + cnt * sizeof(out.sub[0]);
	out.head.argsz = (uint32_t)full;
	out.head.count = cnt;
	if (in.argsz < full)
		return vtfs_vfu_reply(d, &out, sizeof(out.head));
	return vtfs_vfu_reply_fds(d, &out, full, fds, cnt);
}

/* ---- registers ---- */

static int check_count(uint32_t count)
{
	if (count > VFU_XFER_MAX)
		return vtfs_fail(-EINVAL, "%u bytes at once, of %u", count,
				 VFU_XFER_MAX);
	return 0;
}

static int region_read(struct vfu_device *d)
{
	struct {
		struct vfu_region_io io;
		unsigned char data[VTFS_PCIFN_BAR0_LEN];
	} out;
	int r;

	memcpy(&out.io, d->rx.payload, sizeof(out.io));
	r = check_count(out.io.count);
	if (r >= 0 && out.io.count > sizeof(out.data))
		r = vtfs_fail(-EINVAL, "%u bytes of region %u", out.io.count,
			      out.io.region);
	if (r >= 0)
		r = vtfs_pcifn_read(&d->fn, out.io.region, out.io.offset,
				    out.data, out.io.count);
	if (r < 0)
		return r;
	return vtfs_vfu_reply(d, &out, sizeof(out.io) + out.io.count);
}

/* A write can begin a reset of all, which is over before the reply. */
static int written(struct vfu_device *d)
{
	if (!vtfs_pcifn_resets(&d->fn))
		return 0;
	d->wait = VFU_WAIT_RESET;
	return -EINPROGRESS;
}

static int region_write_done(struct vfu_device *d)
{
	return vtfs_vfu_reply(d, d->rx.payload, sizeof(struct vfu_region_io));
}

static int region_write(struct vfu_device *d)
{
	struct vfu_region_io io;
	int r;

	memcpy(&io, d->rx.payload, sizeof(io));
	r = check_count(io.count);
	if (r >= 0 && vtfs_vfu_rx_len(&d->rx) != sizeof(io) + io.count)
		r = vtfs_fail(-EINVAL, "%u bytes to write in %zu", io.count,
			      vtfs_vfu_rx_len(&d->rx) - sizeof(io));
	if (r >= 0)
		r = vtfs_pcifn_write(&d->fn, io.region, io.offset,
				     d->rx.payload + sizeof(io), io.count);
	if (r >= 0)
		r = written(d);
	return r < 0 ? r : region_write_done(d);
}

/* Goes on where it was, if a write made it wait. */
static int write_more(struct vfu_device *d)
{
	struct vfu_region_wr wr;
	uint64_t cnt;
	int r = 0;

	memcpy(&cnt, d->rx.payload, sizeof(cnt));
	while (d->written < cnt && r >= 0) {
		memcpy(&wr,
		       d->rx.payload + sizeof(cnt) + d->written * sizeof(wr),
		       sizeof(wr));
		if (wr.count > sizeof(wr.data))
			return vtfs_fail(-EINVAL, "%u bytes in one of several",
					 wr.count);
		r = vtfs_pcifn_write(&d->fn, wr.region, wr.offset, wr.data,
				     wr.count);
		if (r < 0)
			return r;
		d->written++;
		r = written(d);
	}
	return r < 0 ? r : vtfs_vfu_reply(d, &cnt, sizeof(cnt));
}

static int region_write_multi(struct vfu_device *d)
{
	size_t len = vtfs_vfu_rx_len(&d->rx) - sizeof(uint64_t);
	uint64_t cnt;

	memcpy(&cnt, d->rx.payload, sizeof(cnt));
	if (!d->peer.write_multi)
		return vtfs_fail(-EINVAL, "write_multiple was not negotiated");
	if (len % sizeof(struct vfu_region_wr) ||
	    len / sizeof(struct vfu_region_wr) != cnt)
		return vtfs_fail(-EINVAL, "%llu writes in %zu bytes",
				 (unsigned long long)cnt, len);
	return write_more(d);
}

/* ---- the rest ---- */

static int reset(struct vfu_device *d)
{
	d->wait = VFU_WAIT_RESET;
	vtfs_pcifn_reset(&d->fn);
	return -EINPROGRESS;
}

/* All that there is so far is for migration, which this device has not. */
static int feature(struct vfu_device *d)
{
	struct vfu_feature f;
	uint32_t both = VFU_FEATURE_GET | VFU_FEATURE_SET;

	memcpy(&f, d->rx.payload, sizeof(f));
	if (!(f.flags & (both | VFU_FEATURE_PROBE)) ||
	    (f.flags & (both | VFU_FEATURE_PROBE)) == both)
		return vtfs_fail(-EINVAL, "flags 0x%x", f.flags);
	return vtfs_fail(-ENOTTY, "feature %u is not there",
			 f.flags & VFU_FEATURE_MASK);
}

struct spec {
	int (*handle)(struct vfu_device *d);
	uint32_t min, max; /* bytes of payload */
	uint8_t fds;	   /* largest number */
	int (*resume)(struct vfu_device *d);
};

/* Structures of the kernel's header grow at the end: clients send theirs. */
#define INFO(type) sizeof(struct type), sizeof(struct type) + 64

static const struct spec specs[VFU_COMMANDS] = {
    [VFU_VERSION] = {version, 4, VFU_VERSION_MAX},
    [VFU_DMA_MAP] = {vtfs_vfu_dma_map, 32, 32, 1, vtfs_vfu_dma_map_done},
    [VFU_DMA_UNMAP] = {vtfs_vfu_dma_unmap, 24, 24, 0, vtfs_vfu_dma_unmap_done},
    [VFU_GET_INFO] = {get_info, INFO(vfu_device_info)},
    [VFU_GET_REGION_INFO] = {get_region_info, INFO(vfu_region_info)},
    [VFU_GET_REGION_IO_FDS] = {get_region_io_fds, INFO(vfu_io_fds)},
    [VFU_GET_IRQ_INFO] = {vtfs_vfu_irq_info, INFO(vfu_irq_info)},
    [VFU_SET_IRQS] = {vtfs_vfu_set_irqs, 20, 20 + VTFS_PCIFN_VECTORS,
		      VFU_FDS_MAX},
    [VFU_REGION_READ] = {region_read, 16, 16},
    [VFU_REGION_WRITE] = {region_write, 16, VFU_PAYLOAD_MAX, 0,
			  region_write_done},
    [VFU_RESET] = {reset, 0, 0},
    [VFU_REGION_WRITE_MULTI] = {region_write_multi, 8, VFU_PAYLOAD_MAX, 0,
				write_more},
    [VFU_FEATURE] = {feature, 8, VFU_PAYLOAD_MAX},
};

static const struct spec *find_spec(uint16_t command)
{
	if (command >= VFU_COMMANDS || !specs[command].handle)
		return NULL;
	return &specs[command];
}

int vtfs_vfu_handle(struct vfu_device *d)
{
	const struct vfu_header *h = &d->rx.hdr;
	const struct spec *s = find_spec(h->command);
	const char *name = vtfs_vfu_command_name(h->command);
	size_t len = vtfs_vfu_rx_len(&d->rx);

	if (!d->versioned && h->command != VFU_VERSION)
		return vtfs_fail(-EPROTO, "vfio-user: %s before VERSION", name);
	if (!s)
		return vtfs_fail(-EOPNOTSUPP, "command %u is not served",
				 h->command);
	if (len < s->min || len > s->max)
		return vtfs_fail(-EINVAL, "%zu bytes", len);
	if (d->rx.fd_cnt > s->fds)
		return vtfs_fail(-EINVAL, "%u file descriptors", d->rx.fd_cnt);
	return s->handle(d);
}

int vtfs_vfu_resume(struct vfu_device *d)
{
	const struct spec *s = find_spec(d->rx.hdr.command);

	return s->resume ? s->resume(d) : 0;
}
