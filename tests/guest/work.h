/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The work that a guest does on a mounted directory, and the host's look at
 * what it left. One static program for both, so that they can't disagree.
 *
 * A step returns 0, or -1 after work_failed() said why, or WORK_SKIP after
 * work_skipped() did. The guest's working directory is the mounted tree.
 */
#ifndef WORK_H
#define WORK_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WORK_SKIP  1
#define WORK_BLOB  (64u << 20)
#define WORK_FILES 2000
#define WORK_UID   1234
#define WORK_GID   2345

struct work_step {
	const char *name;
	int (*run)(void);
};

extern const struct work_step work_io_steps[];
extern const struct work_step work_tree_steps[];
extern const struct work_step work_meta_steps[];
extern const struct work_step work_lock_steps[];
extern const struct work_step work_host_steps[];
extern const struct work_step work_glance_steps[]; /* the same, less of it */

/* Of two guests that share a directory: part is 1 or 2, so is round. */
const struct work_step *work_share_steps(int part, int round);

int work_failed(const char *where, int line, const char *what);
int work_skipped(const char *why);
/* A line for the host to find. */
void work_note(const char *text);

/* A condition that must hold, else the step fails and says which. */
#define MUST(cond)                                                             \
	do {                                                                   \
		if (!(cond))                                                   \
			return work_failed(__func__, __LINE__, #cond);         \
	} while (0)

/* A call that must fail with this errno. */
#define MUST_FAIL(call, number)                                                \
	do {                                                                   \
		errno = 0;                                                     \
		if ((call) != -1 || errno != (number))                         \
			return work_failed(__func__, __LINE__,                 \
					   #call " fails with " #number);      \
	} while (0)

/* Bytes that depend on the seed and the offset alone. */
void work_pattern(void *buf, size_t len, uint32_t seed, uint64_t offset);
int work_put(const char *path, const char *text);
int work_is(const char *path, const char *text);
/* The whole of the file is the pattern of that seed and length. */
int work_is_pattern(const char *path, uint64_t len, uint32_t seed);
/* Run fn in a child with that user and group; its return value. */
int work_as_user(uid_t uid, gid_t gid, int (*fn)(void));

#endif
