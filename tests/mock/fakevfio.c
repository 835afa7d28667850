/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fakevfio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

#define SYSFS "/sys/bus/pci/devices/" FV_ADDRESS

enum { GROUP, CONTAINER, DEVICE, PAGEMAP, NONE };

struct fakevfio fv;

int __real_open64(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, ...);
ssize_t __real_pread64(int fd, void *buf, size_t len, off_t off);
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t __real_readlink(const char *path, char *buf, size_t size);
int __real_access(const char *path, int mode);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_readlink(const char *path, char *buf, size_t size);
int __wrap_access(const char *path, int mode);

static void __attribute__((format(printf, 1, 2))) note(const char *fmt, ...)
{
	size_t len = strlen(fv.text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(fv.text + len, sizeof(fv.text) - len, fmt, ap);
	va_end(ap);
}

static int fails(int error)
{
	errno = error;
	return -1;
}

/* ---- files ---- */

/* What stands for a file of the kernel's: pages of the device can be mapped. */
static int new_file(unsigned which)
{
	int fd = memfd_create("fakevfio", MFD_CLOEXEC);
	struct stat st;

	assert_true(fd >= 0 && ftruncate(fd, 1LL << 40) == 0 &&
		    fstat(fd, &st) == 0);
	fv.ino[which] = st.st_ino;
	return fd;
}

static unsigned which(int fd)
{
	struct stat st;
	unsigned i = 0;

	if (fstat(fd, &st) < 0)
		return NONE;
	while (i < NONE && fv.ino[i] != st.st_ino)
		i++;
	return i;
}

int __wrap_open64(const char *path, int flags, ...)
{
	if (!strcmp(path, FV_GROUP)) {
		if (fv.noiommu || fv.group_errno)
			return fails(fv.noiommu ? ENOENT : fv.group_errno);
		note("group;");
		return new_file(GROUP);
	}
	if (!strcmp(path, "/dev/vfio/vfio")) {
		if (fv.container_errno)
			return fails(fv.container_errno);
		note("container;");
		return new_file(CONTAINER);
	}
	if (!strcmp(path, "/proc/self/pagemap"))
		return new_file(PAGEMAP);
	return __real_open64(path, flags);
}

int __wrap_access(const char *path, int mode)
{
	if (!strcmp(path, SYSFS))
		return fv.no_function ? fails(ENOENT) : 0;
	if (!strcmp(path, "/dev/vfio/noiommu-7"))
		return fv.noiommu ? 0 : fails(ENOENT);
	return __real_access(path, mode);
}

ssize_t __wrap_readlink(const char *path, char *buf, size_t size)
{
	char to[128];

	if (!strcmp(path, SYSFS "/driver") && fv.driver)
		snprintf(to, sizeof(to), "../../../bus/pci/drivers/%s",
			 fv.driver);
	else if (!strcmp(path, SYSFS "/iommu_group") && !fv.no_group)
		snprintf(to, sizeof(to), "../../../kernel/iommu_groups/7");
	else if (!strncmp(path, SYSFS, strlen(SYSFS)))
		return fails(ENOENT);
	else
		return __real_readlink(path, buf, size);
	assert_true(strlen(to) < size);
	memcpy(buf, to, strlen(to));
	return (ssize_t)strlen(to);
}

/* ---- registers ---- */

static void answer_all(void)
{
	static unsigned char zero[65536];
	struct liar_req *q = &fv.req;
	struct fuse_init_out init;

	for (unsigned vq = 0; vq < FAKE_QUEUES; vq++)
		while (fv.f.l.q[vq].vq && liar_pop(&fv.f.l, vq, q)) {
			if (q->in.opcode == FUSE_INIT) {
				liar_init_reply(&init, q);
				liar_reply(&fv.f.l, q, 0, &init, sizeof(init));
			} else {
				liar_reply(&fv.f.l, q, 0, zero,
					   q->room_len - 16);
			}
		}
}

/* Region and place in it; the whole access has to be inside of one. */
static unsigned region_of(off_t off, size_t len, uint64_t *ret)
{
	for (unsigned i = 0; i < FV_REGIONS; i++) {
		const struct fv_region *r = &fv.region[i];

		if (!vtfs_range_ok(r->off, r->size, (uint64_t)off, len))
			continue;
		*ret = (uint64_t)off - r->off;
		return i;
	}
	fail_msg("%zu bytes at %#llx: no region", len, (unsigned long long)off);
	return 0;
}

static void check_place(unsigned region, uint64_t off)
{
	assert_true(region == FAKE_BAR || region == VTFS_PCI_CONFIG_REGION);
	/* The table of MSI-X is the kernel's. */
	assert_false(region == FAKE_BAR && off >= FV_MSIX_PAGE);
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off)
{
	unsigned region, i = which(fd);
	uint64_t at = 0;

	if (i == PAGEMAP) {
		assert_true(fv.pagemap_at < fv.pagemap_cnt && len == 8);
		memcpy(buf, &fv.pagemap[fv.pagemap_at++], 8);
		return 8;
	}
	if (i != DEVICE)
		return __real_pread64(fd, buf, len, off);
	region = region_of(off, len, &at);
	check_place(region, at);
	fv.f.fn.ops->read(&fv.f.fn, region, at, buf, (unsigned)len);
	return (ssize_t)len;
}

static void write_down(unsigned region, uint64_t off, uint32_t v)
{
	if (region == VTFS_PCI_CONFIG_REGION)
		note("%s=%x;", off == VTFS_PCI_COMMAND ? "command" : "config",
		     v);
	else if (off == VTFS_PCI_DEVICE_STATUS)
		note("status=%x;", v);
	else if (off == VTFS_PCI_QUEUE_ENABLE)
		note("enable;");
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	uint32_t value = 0;
	unsigned region;
	uint64_t at = 0;

	if (which(fd) != DEVICE)
		return __real_pwrite64(fd, buf, len, off);
	assert_true(len <= sizeof(value));
	memcpy(&value, buf, len);
	value = le32toh(value);
	region = region_of(off, len, &at);
	check_place(region, at);
	write_down(region, at, value);
	if (region == FAKE_BAR && at >= FAKE_NOTIFY) {
		fv.f.fn.ops->store(&fv.f.fn, 0, at, value, (unsigned)len);
		answer_all();
	} else {
		fv.f.fn.ops->write(&fv.f.fn, region, at, buf, (unsigned)len);
	}
	return (ssize_t)len;
}

/* ---- the IOMMU ---- */

static int iommu_info(struct vfio_iommu_type1_info *info)
{
	uint32_t had = info->argsz, size = sizeof(*info);

	assert_true(had >= size);
	note("info %u;", had);
	info->flags = fv.pgsizes ? VFIO_IOMMU_INFO_PGSIZES : 0;
	info->iova_pgsizes = fv.pgsizes;
	info->cap_offset = 0;
	if (!fv.caps_len)
		return 0;
	info->flags |= VFIO_IOMMU_INFO_CAPS;
	size += (uint32_t)fv.caps_len;
	info->argsz = fv.argsz ? fv.argsz : size;
	if (had < size)
		return 0;
	info->argsz = fv.argsz ? fv.argsz : had;
	memcpy(info + 1, fv.caps, fv.caps_len);
	info->cap_offset = fv.cap_offset ? fv.cap_offset : sizeof(*info);
	return 0;
}

static bool overlaps(uint64_t iova, uint64_t len)
{
	for (unsigned i = 0; i < fv.map_cnt; i++)
		if (vtfs_range_overlap(fv.maps[i].iova, fv.maps[i].len, iova,
				       len))
			return true;
	return false;
}

static int map(const struct vfio_iommu_type1_dma_map *m)
{
	uint64_t page = fv.pgsizes ? fv.pgsizes & -fv.pgsizes : 4096;
	struct virtiofs_region region = {.size = sizeof(region), .fd = -1};
	uint64_t at = 0;

	assert_int_equal(m->argsz, sizeof(*m));
	/* All memory is for rings and replies too. */
	assert_int_equal(m->flags,
			 VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	note("map %llx+%llx;", (unsigned long long)m->iova,
	     (unsigned long long)m->size);
	if (fv.map_errno)
		return fails(fv.map_errno);
	if (!m->size || (m->iova | m->size | m->vaddr) % page ||
	    m->iova < fv.first || m->iova > fv.last ||
	    m->size - 1 > fv.last - m->iova)
		return fails(EINVAL);
	if (overlaps(m->iova, m->size))
		return fails(EEXIST);
	if (fv.map_cnt >= fv.map_max)
		return fails(ENOSPC);
	fv.maps[fv.map_cnt++] = (struct fv_map){m->iova, m->size, m->vaddr};
	region.addr = (void *)(uintptr_t)m->vaddr;
	region.len = m->size;
	fv.f.l.map_at = m->iova;
	return fv.f.l.t.cli->map(&fv.f.l.t, &region, &at);
}

static int unmap(struct vfio_iommu_type1_dma_unmap *u)
{
	unsigned i = 0;

	assert_int_equal(u->argsz, sizeof(*u));
	assert_int_equal(u->flags, 0);
	note("unmap %llx+%llx;", (unsigned long long)u->iova,
	     (unsigned long long)u->size);
	while (i < fv.map_cnt && fv.maps[i].iova != u->iova)
		i++;
	/* Exactly what was mapped. */
	assert_true(i < fv.map_cnt);
	assert_int_equal(fv.maps[i].len, u->size);
	assert_int_equal(fv.f.l.t.cli->unmap(&fv.f.l.t, u->iova), 0);
	fv.maps[i] = fv.maps[--fv.map_cnt];
	u->size -= fv.unmap_less;
	return 0;
}

/* ---- interrupts ---- */

static void close_vectors(void)
{
	for (unsigned i = 0; i < 64; i++) {
		if (fv.vector_fd[i] >= 0)
			close(fv.vector_fd[i]);
		fv.vector_fd[i] = fv.f.vector_fd[i] = -1;
	}
	fv.vectors = fv.f.vector_cnt = 0;
}

static int enable_vectors(const struct vfio_irq_set *s)
{
	int fd;

	if (!fv.vectors && fv.vectors_had &&
	    s->start + s->count > fv.vectors_had)
		return (int)fv.vectors_had;
	if (!fv.vectors)
		fv.vectors = fv.f.vector_cnt = s->start + s->count;
	/* Not one more before all are given up. */
	if (s->start + s->count > fv.vectors)
		return fails(EINVAL);
	for (unsigned i = 0; i < s->count; i++) {
		int *had = &fv.vector_fd[s->start + i];

		memcpy(&fd, s->data + i * sizeof(fd), sizeof(fd));
		if (*had >= 0)
			close(*had);
		*had = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
		assert_true(fd < 0 || *had >= 0);
		fv.f.vector_fd[s->start + i] = *had;
	}
	return 0;
}

static int set_irqs(const struct vfio_irq_set *s)
{
	bool none = s->flags & VFIO_IRQ_SET_DATA_NONE;

	assert_int_equal(s->argsz, sizeof(*s) + (none ? 0 : s->count * 4));
	note("irqs %u: %s %u+%u;", s->index, none ? "none" : "fds", s->start,
	     s->count);
	assert_int_equal(s->index, VFIO_PCI_MSIX_IRQ_INDEX);
	assert_true(s->start + s->count <= fv.f.vectors);
	if (none) {
		/* With a count it would fire them. */
		assert_int_equal(s->flags, VFIO_IRQ_SET_DATA_NONE |
					       VFIO_IRQ_SET_ACTION_TRIGGER);
		assert_int_equal(s->start + s->count, 0);
		close_vectors();
		return 0;
	}
	assert_int_equal(s->flags, VFIO_IRQ_SET_DATA_EVENTFD |
				       VFIO_IRQ_SET_ACTION_TRIGGER);
	return enable_vectors(s);
}

static int irq_info(struct vfio_irq_info *info)
{
	assert_int_equal(info->argsz, sizeof(*info));
	info->flags = fv.irq_flags;
	info->count = info->index == VFIO_PCI_MSIX_IRQ_INDEX ? fv.f.vectors : 1;
	return 0;
}

/* ---- the device ---- */

static int region_info(struct vfio_region_info *info)
{
	uint32_t had = info->argsz;
	const struct fv_region *r;

	if (info->index >= FV_REGIONS)
		return fails(EINVAL);
	r = &fv.region[info->index];
	info->flags = r->flags;
	info->offset = r->off;
	info->size = r->size;
	info->cap_offset = 0;
	if (!r->caps_len)
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
	info->argsz = (uint32_t)(sizeof(*info) + r->caps_len);
	if (had >= info->argsz) {
		memcpy(info + 1, r->caps, r->caps_len);
		info->cap_offset = r->cap_offset ? r->cap_offset
						 : sizeof(*info);
	}
	if (r->argsz)
		info->argsz = r->argsz;
	return 0;
}

static int device_ioctl(unsigned long request, void *arg)
{
	struct vfio_device_info *info = arg;

	switch (request) {
	case VFIO_DEVICE_GET_INFO:
		info->flags = fv.flags;
		info->num_regions = fv.num_regions;
		info->num_irqs = fv.num_irqs;
		return 0;
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return irq_info(arg);
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs(arg);
	case VFIO_DEVICE_RESET:
		note("reset;");
		assert_true(fv.flags & VFIO_DEVICE_FLAGS_RESET);
		return 0;
	default:
		return fails(ENOTTY);
	}
}

static int container_ioctl(unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_GET_API_VERSION:
		return fv.version;
	case VFIO_CHECK_EXTENSION:
		return (uintptr_t)arg == VFIO_TYPE1v2_IOMMU ? fv.type1v2 : 0;
	case VFIO_SET_IOMMU:
		assert_int_equal((uintptr_t)arg, VFIO_TYPE1v2_IOMMU);
		return fv.set_iommu_errno ? fails(fv.set_iommu_errno) : 0;
	case VFIO_IOMMU_GET_INFO:
		return iommu_info(arg);
	case VFIO_IOMMU_MAP_DMA:
		return map(arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap(arg);
	default:
		return fails(ENOTTY);
	}
}

static int group_ioctl(unsigned long request, void *arg)
{
	struct vfio_group_status *s = arg;

	switch (request) {
	case VFIO_GROUP_GET_STATUS:
		s->flags = fv.not_viable ? 0 : VFIO_GROUP_FLAGS_VIABLE;
		return 0;
	case VFIO_GROUP_SET_CONTAINER:
		assert_int_equal(which(*(int *)arg), CONTAINER);
		return 0;
	case VFIO_GROUP_GET_DEVICE_FD:
		assert_string_equal(arg, FV_ADDRESS);
		note("device;");
		return new_file(DEVICE);
	default:
		return fails(ENOTTY);
	}
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (which(fd)) {
	case GROUP:
		return group_ioctl(request, arg);
	case CONTAINER:
		return container_ioctl(request, arg);
	case DEVICE:
		return device_ioctl(request, arg);
	default:
		return __real_ioctl(fd, request, arg);
	}
}

/* ---- made ---- */

static void put_cap(unsigned char *caps, size_t *at, size_t size, uint16_t id,
		    const void *data, size_t len, uint32_t head)
{
	struct vfio_info_cap_header h = {.id = id, .version = 1};
	size_t all = VTFS_ALIGN_UP(sizeof(h) + len, (size_t)8);

	assert_true(*at + all <= size);
	h.next = (uint32_t)(head + *at + all);
	memcpy(caps + *at, &h, sizeof(h));
	memcpy(caps + *at + sizeof(h), data, len);
	*at += all;
}

void fv_cap(uint16_t id, const void *data, size_t len)
{
	/* The last one's next points at zeroes, which are the end. */
	fv.caps_len -= fv.caps_len ? 8 : 0;
	put_cap(fv.caps, &fv.caps_len, sizeof(fv.caps) - 8, id, data, len,
		sizeof(struct vfio_iommu_type1_info));
	fv.caps_len += 8;
}

void fv_ranges(const struct vfio_iova_range *r, uint32_t cnt)
{
	static unsigned char data[FV_INFO];
	uint32_t head[2] = {cnt, 0};

	memcpy(data, head, sizeof(head));
	memcpy(data + sizeof(head), r, cnt * sizeof(*r));
	fv_cap(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, data,
	       sizeof(head) + cnt * sizeof(*r));
}

void fv_avail(uint32_t cnt)
{
	fv_cap(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, &cnt, sizeof(cnt));
	fv.map_max = cnt;
}

void fv_sparse(unsigned region, const struct vfio_region_sparse_mmap_area *a,
	       uint32_t cnt)
{
	struct fv_region *r = &fv.region[region];
	unsigned char data[256];
	uint32_t head[2] = {cnt, 0};

	memcpy(data, head, sizeof(head));
	memcpy(data + sizeof(head), a, cnt * sizeof(*a));
	r->caps_len -= r->caps_len ? 8 : 0;
	put_cap(r->caps, &r->caps_len, sizeof(r->caps) - 8,
		VFIO_REGION_INFO_CAP_SPARSE_MMAP, data,
		sizeof(head) + cnt * sizeof(*a),
		sizeof(struct vfio_region_info));
	r->caps_len += 8;
}

void fv_init(void)
{
	unsigned char *cap;

	memset(&fv, 0, sizeof(fv));
	fake_init(&fv.f);
	fv.f.l.offered &= ~VIRTIOFS_F_EVENT_IDX;
	fv.f.l.offered |= 1ULL << 33; /* ACCESS_PLATFORM */
	/* Half of 64 bits each: nothing to be used. */
	for (unsigned i = 0; i < VTFS_PCI_BARS; i += 2)
		fake_put32(fv.f.cfg + VTFS_PCI_BAR0 + 4 * i,
			   0xfe000000 | VTFS_PCI_BAR_64);
	cap = fake_cap(&fv.f, VTFS_PCI_CAP_ID_MSIX, 12);
	cap[2] = 2;
	fake_put32(cap + VTFS_PCI_MSIX_TABLE, FV_MSIX_PAGE | FAKE_BAR);
	fv.driver = "vfio-pci";
	fv.version = VFIO_API_VERSION;
	fv.type1v2 = 1;
	fv.pgsizes = 0x40201000;
	fv.first = 0x100000;
	fv.last = (1ULL << 39) - 1;
	fv.map_max = FV_MAPS;
	fv.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	fv.num_regions = FV_REGIONS;
	fv.num_irqs = VFIO_PCI_NUM_IRQS;
	fv.irq_flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
	for (unsigned i = 0; i < FV_REGIONS; i++) {
		fv.region[i].off = (i * 7 % FV_REGIONS + 1) * 0x123450000ULL;
		fv.region[i].flags = VFIO_REGION_INFO_FLAG_READ |
				     VFIO_REGION_INFO_FLAG_WRITE;
	}
	fv.region[FAKE_BAR].size = FAKE_BAR_LEN;
	fv.region[VFIO_PCI_CONFIG_REGION_INDEX].size = VTFS_PCI_CFG_LEN;
	memset(fv.vector_fd, 0xff, sizeof(fv.vector_fd));
}

void fv_fini(void)
{
	close_vectors();
	fake_fini(&fv.f);
}

uint32_t fv_stored(unsigned region, uint64_t off)
{
	struct stat st;
	uint32_t v;

	/* The library's fd is the only one there is. */
	for (int fd = 3; fd < 256; fd++) {
		if (fstat(fd, &st) < 0 || st.st_ino != fv.ino[DEVICE])
			continue;
		assert_int_equal(
		    __real_pread64(fd, &v, 4,
				   (off_t)(fv.region[region].off + off)),
		    4);
		return le32toh(v);
	}
	fail_msg("the device is not open");
	return 0;
}

unsigned fv_count(const char *text)
{
	unsigned n = 0;

	for (const char *p = fv.text; (p = strstr(p, text)); p++)
		n++;
	return n;
}

const char *fv_find(const char *from, const char *text)
{
	const char *p = strstr(from, text);

	if (!p)
		fail_msg("no \"%s\" in: %s", text, from);
	return p + strlen(text);
}
