/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VFIO_USER_CAPS_H
#define VTFS_VFIO_USER_CAPS_H
/*
 * The JSON in a VERSION message: which capabilities a side has. Both ends read
 * it here. All of the text has to be well-formed JSON of a bounded depth; names
 * that nobody knows are skipped with what they hold.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which were named. */
#define VFU_HAS_MAX_FDS	    0x01u
#define VFU_HAS_MAX_XFER    0x02u
#define VFU_HAS_MAX_MAPS    0x04u
#define VFU_HAS_PGSIZES	    0x08u
#define VFU_HAS_WRITE_MULTI 0x10u
#define VFU_HAS_TWIN_SOCKET 0x20u
#define VFU_HAS_TWIN_FD	    0x40u

struct vfu_caps {
	uint32_t has;
	uint64_t max_fds; /* defaults where not named */
	uint64_t max_xfer;
	uint64_t max_maps;
	uint64_t pgsizes;
	bool write_multi;
	bool twin_socket; /* twin_socket.supported */
	uint64_t twin_fd; /* twin_socket.fd_index */
};

/* What follows the version: len bytes, the last of them NUL; 0 bytes say
 * nothing. -EPROTO with a text. */
int vtfs_vfu_caps_parse(struct vfu_caps *ret, const void *json, size_t len);
/* The capabilities in caps->has as JSON with its NUL; the length with it.
 * twin_socket is not written. */
size_t vtfs_vfu_caps_format(const struct vfu_caps *caps, char *buf,
			    size_t size);
#endif
