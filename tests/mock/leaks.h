/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_LEAKS_H
#define MOCK_LEAKS_H
/* How many file descriptors this process has open, and mappings of memfds. */
unsigned raw_fd_cnt(void);
unsigned raw_memfd_map_cnt(void);
#endif
