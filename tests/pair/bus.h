/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_PAIR_BUS_H
#define TESTS_PAIR_BUS_H
/*
 * The kernel's vDPA bus as a transport for pairs: a VDUSE device of ours, put
 * on the bus and bound to vhost_vdpa. It wants a kernel with those modules (see
 * tests/guest/vdpa), and root; nothing else may be on the bus.
 */
#define BUS_DEVICE_URI "vduse:pair"
#define BUS_CLIENT_URI "vdpa:/dev/vhost-vdpa-0"

/* The device was made, and runs: the client finds it from now on. */
void bus_join(void);
/* Both ends are gone: nothing is left of it. Without a device: nothing. */
void bus_leave(void);
#endif
