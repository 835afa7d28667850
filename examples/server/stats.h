/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_STATS_H
#define SERVER_STATS_H
/* Counters by queue, which are the library's, and by opcode. Each thread writes
 * its own; a print adds them up. */
#include <stdbool.h>
#include <stdint.h>

struct fs;
struct virtiofs_device;

/* Without it a thread's requests are not counted. They are all of that fs. */
void stats_thread_start(const struct fs *fs);
void stats_count(uint32_t opcode, bool failed);
/* A SETLKW that had to wait. From any thread. */
void stats_count_wait(struct fs *fs, bool failed);
void stats_read_bytes(uint64_t n);
void stats_written_bytes(uint64_t n);
/* One line per queue, and per opcode that was seen, to stdout; before them the
 * name, if there is one. */
void stats_print(const char *name, const struct fs *fs,
		 const struct virtiofs_device *dev);
/* After all threads have ended. */
void stats_free(void);

#endif
