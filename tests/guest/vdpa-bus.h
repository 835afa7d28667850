/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_GUEST_VDPA_BUS_H
#define TESTS_GUEST_VDPA_BUS_H
/* What "vdpa dev add name NAME mgmtdev vduse" and "vdpa dev del NAME" do
 * (iproute2). */
enum vdpa_bus_cmd {
	VDPA_BUS_ADD,
	VDPA_BUS_DEL,
};

/* 0, or the kernel's error. */
int vdpa_bus(enum vdpa_bus_cmd cmd, const char *name);
#endif
