/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_REGIONS_H
#define MOCK_REGIONS_H
/* Regions of memfds, for tests of what holds them. */
#include <stddef.h>
#include <stdint.h>

#include "mem/region.h"

#define PAGE 4096u

int region_memfd(size_t len);
/* All of len; user addresses are 1 TiB above the peer's. */
struct vtfs_region_desc region_desc(int fd, uint64_t peer, uint64_t len);
struct vtfs_region *region_make(int fd, uint64_t peer, uint64_t len,
				uint16_t id);
#endif
