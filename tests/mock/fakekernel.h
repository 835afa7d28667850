/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_FAKEKERNEL_H
#define MOCK_FAKEKERNEL_H
/*
 * The kernel's end of /dev/vhost-vdpa-N and /dev/vduse: the linker sends the
 * library's open() and ioctl() here (--wrap). The device's file is one end of a
 * socket pair; what is written to it and read from it are the messages.
 */
#include <linux/vhost_types.h>
#include <stdbool.h>
#include <stdint.h>

/* An fd of the kernel's: ioctls on it come to fk.ioctl. */
struct fakekernel {
	int ours; /* our end of the device's pair; -1: not open */
	int opens;
	int open_errno;	 /* 0, or what open says */
	const char *run; /* what /run is; NULL: it is not there */
	/* 0 or a positive value, or a negative errno. */
	int (*ioctl)(int fd, unsigned long request, void *arg);
	char
	    text[4096]; /* "name value;" of each ioctl, as the test writes it */
};
extern struct fakekernel fk;

void fk_reset(void);
void fk_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Is fd the library's end of the device, or /dev/vduse/control? */
bool fk_is_theirs(int fd);
#endif
