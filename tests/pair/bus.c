/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../guest/vdpa-bus.h"
#include "bus.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vduse.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define NAME "pair"
#define BUS  "/sys/bus/vdpa/"

static bool on_the_bus;

static void tell(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail_msg("%s > %s: %s", text, file, strerror(errno));
	close(fd);
}

void bus_join(void)
{
	int r;

	/* The kernel's own driver is not to have it first. */
	tell(BUS "drivers_autoprobe", "0");
	r = vdpa_bus(VDPA_BUS_ADD, NAME);
	if (r < 0)
		fail_msg("no " NAME " on the bus: %s", strerror(-r));
	on_the_bus = true;
	tell(BUS "drivers/vhost_vdpa/bind", NAME);
	/* It is the one that the client's URI names. */
	assert_int_equal(access(BUS "devices/" NAME "/vhost-vdpa-0", F_OK), 0);
	assert_int_equal(access("/dev/vhost-vdpa-0", F_OK), 0);
}

void bus_leave(void)
{
	char name[VDUSE_NAME_MAX] = NAME;
	int control;

	if (!on_the_bus)
		return;
	on_the_bus = false;
	assert_int_equal(vdpa_bus(VDPA_BUS_DEL, NAME), 0);
	control = open("/dev/vduse/control", O_RDWR | O_CLOEXEC);
	assert_true(control >= 0);
	assert_int_equal(ioctl(control, VDUSE_DESTROY_DEV, name), 0);
	close(control);
	tell(BUS "drivers_autoprobe", "1");
}
