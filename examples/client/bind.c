/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A PCI function from its driver to vfio-pci, and back: what sysfs wants. */
#include "bind.h"

#include <errno.h>
#include <fcntl.h>
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

/* Off its driver, onto the one that override names; "\n": onto its own. */
static int move(const char *addr, const char *override)
{
	char path[128], driver[64];
	int r;

	snprintf(path, sizeof(path), PCI "/devices/%s/driver_override", addr);
	r = put(path, override);
	link_name(addr, "driver", driver, sizeof(driver));
	snprintf(path, sizeof(path), PCI "/devices/%s/driver/unbind", addr);
	if (r >= 0 && *driver)
		r = put(path, addr);
	return r < 0 ? r : put(PCI "/drivers_probe", addr);
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

static int say_group(const char *addr)
{
	char driver[64], group[64];

	link_name(addr, "driver", driver, sizeof(driver));
	link_name(addr, "iommu_group", group, sizeof(group));
	if (strcmp(driver, "vfio-pci") != 0) {
		msg_error(
		    0,
		    "vfio-pci did not take %s (see dmesg; is there an IOMMU?)",
		    quote(addr));
		return 1;
	}
	if (!*group) {
		msg_error(0, "no IOMMU stands before %s", quote(addr));
		return 1;
	}
	printf("vfio:%s is ready: /dev/vfio/%s\n", addr, group);
	return 0;
}

int cmd_bind(struct session *s, const struct args *args)
{
	const char *addr = args->argv[0];

	if (check(addr) < 0)
		return 1;
	if (access(PCI "/drivers/vfio-pci", F_OK) < 0) {
		msg_error(0, "the kernel's module vfio-pci is not loaded");
		return 1;
	}
	if (move(addr, "vfio-pci") == 0 && say_group(addr) == 0)
		return 0;
	/* As it was. */
	move(addr, "\n");
	return 1;
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
	return move(addr, "\n") < 0;
}
