/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "regions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

int region_memfd(size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}

struct vtfs_region_desc region_desc(int fd, uint64_t peer, uint64_t len)
{
	return (struct vtfs_region_desc){.peer_addr = peer,
					 .user_addr = peer + (1ULL << 40),
					 .len = len,
					 .fd = fd};
}

struct vtfs_region *region_make(int fd, uint64_t peer, uint64_t len,
				uint16_t id)
{
	struct vtfs_region_desc d = region_desc(fd, peer, len);
	struct vtfs_region *r;

	assert_int_equal(vtfs_region_new(&r, &d, id), 0);
	return r;
}
