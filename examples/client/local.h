/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CLIENT_LOCAL_H
#define CLIENT_LOCAL_H
/*
 * This machine's side of a copy. Everything below the directory that the user
 * named is reached by descriptor and single name, no link is followed, and
 * nothing is opened that was not just made: what a peer calls its files can't
 * lead elsewhere.
 */
#include <stdbool.h>
#include <sys/stat.h>
#include <virtiofs/client.h>

#define TMP_NAME_MAX 48

/* A name nobody has, for what is not complete yet. */
void tmp_name(char *ret_name);
/* A new empty file in dirfd, for its owner only: the descriptor or -errno. */
int local_create(int dirfd, char *ret_tmp);
/* A directory with this name, made or there already. It may be entered only by
 * the caller until local_keep(). The descriptor, or -errno; -EEXIST: it is
 * something else. */
int local_mkdir(int dirfd, const char *name);
/* A symbolic link, device, FIFO or socket, replacing a non-directory. */
int local_symlink(int dirfd, const char *name, const char *target);
int local_mknod(int dirfd, const char *name, const struct fuse_attr *attr);

/* All of buf, or -errno. offset -1: where the descriptor stands. */
int local_write(int fd, const void *buf, size_t len, int64_t offset);

#define LOCAL_ROOT (1u << 0) /* the owner too */

/* Mode, times and owner as attr says. Without LOCAL_ROOT set-id bits stay only
 * where the owner is right anyway. */
int local_keep(int fd, const struct fuse_attr *attr, unsigned flags);
/* Owner and times of a link or special file. */
int local_keep_at(int dirfd, const char *name, const struct fuse_attr *attr,
		  unsigned flags);
/* Of a local file, for SETATTR. */
void attr_from_stat(const struct stat *st, struct fuse_setattr_in *ret);

#endif
