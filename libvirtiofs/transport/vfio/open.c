/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a PCI address to an open function. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/error.h"
#include "transport/vfio/client.h"

#define DEVICES	 "/sys/bus/pci/devices"
#define CAPS_MAX 16u /* in a chain */

/* The last part of a symbolic link of the function, or -errno. */
static int link_name(const char *address, const char *name, char *ret,
		     size_t size)
{
	char path[128], to[256];
	const char *last;
	ssize_t n;

	snprintf(path, sizeof(path), DEVICES "/%.64s/%s", address, name);
	n = readlink(path, to, sizeof(to) - 1);
	if (n < 0)
		return -errno;
	to[n] = 0;
	last = strrchr(to, '/');
	last = last ? last + 1 : to;
	if (strlen(last) >= size)
		return -ENAMETOOLONG;
	strcpy(ret, last);
	return 0;
}

/* Without an IOMMU no driver of ours can have it: that first. */
static int check_sysfs(const struct vfio_fn *v, char *group, size_t size)
{
	char path[128], driver[64];

	snprintf(path, sizeof(path), DEVICES "/%s", v->address);
	if (access(path, F_OK) < 0)
		return vtfs_fail(-ENODEV, "vfio:%s: no such PCI function",
				 v->address);
	if (link_name(v->address, "iommu_group", group, size) < 0)
		return vtfs_fail(-ENODEV,
				 "vfio:%s: no IOMMU stands before it (is it "
				 "on, in the firmware and by intel_iommu=on or "
				 "the like?)",
				 v->address);
	if (link_name(v->address, "driver", driver, sizeof(driver)) < 0)
		snprintf(driver, sizeof(driver), "no driver");
	if (!strcmp(driver, "vfio-pci"))
		return 0;
	return vtfs_fail(-ENODEV,
			 "vfio:%s: %s has it, not vfio-pci; as root: "
			 "virtiofs-client bind %s",
			 v->address, driver, v->address);
}

static int open_group(struct vfio_fn *v)
{
	char name[64], path[96];
	int r = check_sysfs(v, name, sizeof(name));

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/dev/vfio/%s", name);
	v->group = open(path, O_RDWR | O_CLOEXEC);
	if (v->group >= 0)
		return 0;
	if (errno == EBUSY)
		return vtfs_fail(-EBUSY, "vfio:%s: %s is in use", v->address,
				 path);
	if (errno != ENOENT)
		return vtfs_fail_sys(-errno, "vfio:%s: %s", v->address, path);
	snprintf(path, sizeof(path), "/dev/vfio/noiommu-%s", name);
	if (access(path, F_OK) == 0)
		return vtfs_fail(-ENODEV,
				 "vfio:%s: no IOMMU stands before it: its "
				 "group is for unsafe use",
				 v->address);
	return vtfs_fail(-ENOENT, "vfio:%s: there is no /dev/vfio/%s",
			 v->address, name);
}

/* Whose driver keeps the group from us? Bridges' does not. */
static int not_viable(const struct vfio_fn *v)
{
	char path[128], driver[64] = "", other[64] = "another";
	const struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), DEVICES "/%s/iommu_group/devices",
		 v->address);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (!strchr(e->d_name, ':') ||
		    link_name(e->d_name, "driver", driver, sizeof(driver)) < 0)
			continue;
		if (strcmp(driver, "vfio-pci") && strcmp(driver, "pcieport") &&
		    strcmp(driver, "pci-stub")) {
			snprintf(other, sizeof(other), "%.63s", e->d_name);
			break;
		}
		*driver = 0;
	}
	if (d)
		closedir(d);
	return vtfs_fail(-EPERM,
			 "vfio:%s: its IOMMU group can't be used while %s of "
			 "the same group is with %s: bind that to vfio-pci "
			 "too, or to no driver",
			 v->address, other,
			 *driver ? driver : "a driver of its own");
}

static int check_group(const struct vfio_fn *v)
{
	struct vfio_group_status s = {.argsz = sizeof(s)};

	if (ioctl(v->group, VFIO_GROUP_GET_STATUS, &s) < 0)
		return vtfs_fail_sys(-errno, "vfio:%s: group", v->address);
	return s.flags & VFIO_GROUP_FLAGS_VIABLE ? 0 : not_viable(v);
}

static int open_container(struct vfio_fn *v)
{
	v->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (v->container < 0)
		return vtfs_fail_sys(-errno,
				     "vfio:%s: /dev/vfio/vfio (is the module "
				     "vfio there?)",
				     v->address);
	if (ioctl(v->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
		return vtfs_fail(-EOPNOTSUPP,
				 "vfio:%s: an unknown version of VFIO",
				 v->address);
	if (ioctl(v->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
		return vtfs_fail(-EOPNOTSUPP,
				 "vfio:%s: no type 1 IOMMU (is the module "
				 "vfio_iommu_type1 there?)",
				 v->address);
	if (ioctl(v->group, VFIO_GROUP_SET_CONTAINER, &v->container) < 0)
		return vtfs_fail_sys(-errno, "vfio:%s: group into container",
				     v->address);
	if (ioctl(v->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		return vtfs_fail_sys(
		    -errno, "vfio:%s: the IOMMU can't be used%s", v->address,
		    errno == EPERM ? " (interrupts are not remapped: "
				     "vfio_iommu_type1."
				     "allow_unsafe_interrupts=1)"
				   : "");
	return vtfs_vfio_iommu_info(v);
}

/* A sparse BAR: its largest part counts. */
static void take_sparse(struct vfio_region *r, const void *cap, size_t len)
{
	struct vfio_region_info_cap_sparse_mmap s;
	struct vfio_region_sparse_mmap_area a;

	if (len < sizeof(s))
		return;
	memcpy(&s, cap, sizeof(s));
	r->mmap_len = 0;
	for (uint32_t i = 0; i < s.nr_areas; i++) {
		size_t at = sizeof(s) + i * sizeof(a);

		if (at + sizeof(a) > len)
			return;
		memcpy(&a, (const char *)cap + at, sizeof(a));
		if (a.size <= r->mmap_len)
			continue;
		r->mmap_off = a.offset;
		r->mmap_len = a.size;
	}
}

static int take_region(struct vfio_fn *v, unsigned index)
{
	union {
		struct vfio_region_info info;
		char bytes[1024];
	} u = {.info = {.argsz = sizeof(u), .index = index}};
	struct vfio_region *r = &v->regions[index];
	uint32_t at;

	if (ioctl(v->device, VFIO_DEVICE_GET_REGION_INFO, &u) < 0)
		return vtfs_fail_sys(-errno, "vfio:%s: region %u", v->address,
				     index);
	r->off = u.info.offset;
	r->len = u.info.size;
	r->mmap = u.info.flags & VFIO_REGION_INFO_FLAG_MMAP;
	r->mmap_off = 0;
	r->mmap_len = r->len;
	at = u.info.flags & VFIO_REGION_INFO_FLAG_CAPS ? u.info.cap_offset : 0;
	/* It may be sparse, and where nobody knows: nothing of it. */
	if (u.info.flags & VFIO_REGION_INFO_FLAG_CAPS &&
	    u.info.argsz > sizeof(u))
		at = UINT32_MAX;
	for (unsigned n = 0; at; n++) {
		struct vfio_info_cap_header h;

		if (n == CAPS_MAX || at > sizeof(u) - sizeof(h)) {
			r->mmap = false;
			break;
		}
		memcpy(&h, u.bytes + at, sizeof(h));
		if (h.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP)
			take_sparse(r, u.bytes + at, sizeof(u) - at);
		at = h.next;
	}
	return 0;
}

static int take_vectors(struct vfio_fn *v)
{
	struct vfio_irq_info info = {.argsz = sizeof(info),
				     .index = VFIO_PCI_MSIX_IRQ_INDEX};

	v->fn.vector_max = 0;
	if (ioctl(v->device, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0)
		return vtfs_fail_sys(-errno, "vfio:%s: interrupts", v->address);
	if (info.flags & VFIO_IRQ_INFO_EVENTFD)
		v->fn.vector_max = info.count;
	return 0;
}

static int open_device(struct vfio_fn *v)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int r = 0;

	v->device = ioctl(v->group, VFIO_GROUP_GET_DEVICE_FD, v->address);
	if (v->device < 0)
		return vtfs_fail_sys(-errno, "vfio:%s: the device", v->address);
	if (ioctl(v->device, VFIO_DEVICE_GET_INFO, &info) < 0)
		return vtfs_fail_sys(-errno, "vfio:%s: its info", v->address);
	if (info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX ||
	    info.num_irqs <= VFIO_PCI_MSIX_IRQ_INDEX)
		return vtfs_fail(-ENODEV, "vfio:%s: not a PCI function",
				 v->address);
	v->resets = info.flags & VFIO_DEVICE_FLAGS_RESET;
	for (unsigned i = 0; i <= VFIO_PCI_CONFIG_REGION_INDEX && r >= 0; i++)
		if (i != VFIO_PCI_ROM_REGION_INDEX)
			r = take_region(v, i);
	for (unsigned i = 0; i < VTFS_PCI_BARS; i++)
		v->fn.bar_len[i] = v->regions[i].len;
	return r < 0 ? r : take_vectors(v);
}

int vtfs_vfio_attach(struct vfio_fn *v)
{
	int r = open_group(v);

	if (r >= 0)
		r = check_group(v);
	if (r >= 0)
		r = open_container(v);
	if (r >= 0)
		r = open_device(v);
	if (r < 0)
		vtfs_vfio_detach(v);
	return r;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vtfs_vfio_detach(struct vfio_fn *v)
{
	close_fd(&v->device);
	close_fd(&v->group);
	close_fd(&v->container);
}
