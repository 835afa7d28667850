/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A PCI function from its driver to vfio-pci, and back: what sysfs wants. */
#include "bind.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "msg.h"

#define PCI "/sys/bus/pci"

/* A link of the function leads to this name, or "". */
static void link_name(const char *addr, const char *name, char *ret,
		      size_t size)
{
	char path[128], to[256];
	const char *last;
	ssize_t n;

	*ret = 0;
	snprintf(path, sizeof(path), PCI "/devices/%s/%s", addr, name);
	n = readlink(path, to, sizeof(to) - 1);
	if (n < 0)
		return;
	to[n] = 0;
	last = strrchr(to, '/');
	last = last ? last + 1 : to;
	if (strlen(last) < size)
		strcpy(ret, last);
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int r = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		r = -errno;
	if (fd >= 0)
		close(fd);
	if (r < 0)
		msg_error(r, "cannot write %s", quote(path));
	return r;
}

static int set_override(const char *addr, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), PCI "/devices/%s/driver_override", addr);
	return put(path, name);
}

/* Off its driver, onto the one that its override names, or its own. */
static int move(const char *addr)
{
	char path[128], driver[64];
	int r = 0;

	link_name(addr, "driver", driver, sizeof(driver));
	snprintf(path, sizeof(path), PCI "/devices/%s/driver/unbind", addr);
	if (*driver)
		r = put(path, addr);
	return r < 0 ? r : put(PCI "/drivers_probe", addr);
}

static bool is_with(const char *addr, const char *want)
{
	char driver[64];

	link_name(addr, "driver", driver, sizeof(driver));
	return strcmp(driver, want) == 0;
}

static int check(const char *addr)
{
	char path[128];

	snprintf(path, sizeof(path), PCI "/devices/%s", addr);
	if (!strchr(addr, '/') && strchr(addr, ':') && access(path, F_OK) == 0)
		return 0;
	msg_error(0, "%s is no PCI function of this machine", quote(addr));
	return -1;
}

/* Others of its group with a driver that keeps the group from use, one of
 * them in ret; the kernel lets bridges be. */
static bool find_other(const char *addr, char *ret, size_t size)
{
	char path[128], driver[64];
	const struct dirent *e;
	bool found = false;
	DIR *d;

	snprintf(path, sizeof(path), PCI "/devices/%s/iommu_group/devices",
		 addr);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		if (!strchr(e->d_name, ':') || strlen(e->d_name) >= size)
			continue;
		link_name(e->d_name, "driver", driver, sizeof(driver));
		found = *driver && strcmp(driver, "vfio-pci") &&
			strcmp(driver, "pcieport") &&
			strcmp(driver, "pci-stub");
		if (found)
			strcpy(ret, e->d_name);
	}
	if (d)
		closedir(d);
	return found;
}

static int take(const char *addr)
{
	if (move(addr) < 0)
		return 1;
	if (is_with(addr, "vfio-pci"))
		return 0;
	msg_error(0, "vfio-pci did not take %s (dmesg may say why)",
		  quote(addr));
	return 1;
}

static void say_ready(const char *addr)
{
	char group[64], other[64];

	link_name(addr, "iommu_group", group, sizeof(group));
	if (find_other(addr, other, sizeof(other)))
		printf("vfio:%s has to wait for %s, of the same IOMMU group: "
		       "bind that too\n",
		       addr, other);
	else
		printf("vfio:%s is ready: /dev/vfio/%s\n", addr, group);
}

int cmd_bind(struct session *s, const struct args *args)
{
	const char *addr = args->argv[0];
	char group[64];

	if (check(addr) < 0)
		return 1;
	if (access(PCI "/drivers/vfio-pci", F_OK) < 0) {
		msg_error(0, "the kernel's module vfio-pci is not loaded");
		return 1;
	}
	link_name(addr, "iommu_group", group, sizeof(group));
	if (!*group) {
		msg_error(0, "no IOMMU stands before %s", quote(addr));
		return 1;
	}
	if (!is_with(addr, "vfio-pci")) {
		if (set_override(addr, "vfio-pci") < 0)
			return 1;
		if (take(addr) != 0) {
			/* As it was. */
			if (set_override(addr, "\n") == 0)
				move(addr);
			return 1;
		}
	}
	say_ready(addr);
	return 0;
}

int cmd_unbind(struct session *s, const struct args *args)
{
	const char *addr = args->argv[0];
	char driver[64];

	if (check(addr) < 0)
		return 1;
	link_name(addr, "driver", driver, sizeof(driver));
	/* One that nobody has was left by a failure. */
	if (*driver && strcmp(driver, "vfio-pci") != 0) {
		msg_error(0, "vfio-pci does not have %s", quote(addr));
		return 1;
	}
	return set_override(addr, "\n") < 0 || move(addr) < 0;
}
