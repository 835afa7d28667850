/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TRIES	 100
#define NSEC_MAX 999999999u

void tmp_name(char *ret_name)
{
	static uint64_t seed;

	while (!seed)
		if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
			seed = (uint64_t)getpid() << 32;
	snprintf(ret_name, TMP_NAME_MAX, ".virtiofs-client.%016" PRIx64,
		 seed++);
}

int local_create(int dirfd, char *ret_tmp)
{
	int i, fd;

	for (i = 0; i < TRIES; i++) {
		tmp_name(ret_tmp);
		fd = openat(
		    dirfd, ret_tmp,
		    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0)
			return fd;
		if (errno != EEXIST)
			break;
	}
	return -errno;
}

int local_mkdir(int dirfd, const char *name)
{
	int fd;

	if (mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dirfd, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return -EEXIST;
	return fd < 0 ? -errno : fd;
}

/* Under another name first: what is there stays if it can't be replaced. */
static int make_and_rename(int dirfd, const char *name,
			   int (*make)(int dirfd, const char *name,
				       const void *arg),
			   const void *arg)
{
	char tmp[TMP_NAME_MAX];
	int r;

	r = make(dirfd, name, arg);
	if (r != -EEXIST)
		return r;
	tmp_name(tmp);
	r = make(dirfd, tmp, arg);
	if (r < 0)
		return r;
	if (renameat(dirfd, tmp, dirfd, name) == 0)
		return 0;
	r = -errno;
	unlinkat(dirfd, tmp, 0);
	return r;
}

static int make_symlink(int dirfd, const char *name, const void *target)
{
	return symlinkat(target, dirfd, name) < 0 ? -errno : 0;
}

int local_symlink(int dirfd, const char *name, const char *target)
{
	return make_and_rename(dirfd, name, make_symlink, target);
}

/* FUSE sends device numbers in the kernel's 32-bit form. */
static dev_t device_number(uint32_t rdev)
{
	return makedev((rdev & 0xfff00) >> 8,
		       (rdev & 0xff) | ((rdev >> 12) & 0xfff00));
}

static int make_node(int dirfd, const char *name, const void *arg)
{
	const struct fuse_attr *attr = arg;
	mode_t mask = umask(0);
	int r;

	/* With its mode at once: chmod by name could hit something else. */
	r = mknodat(dirfd, name, attr->mode & (S_IFMT | 0777),
		    device_number(attr->rdev));
	if (r < 0)
		r = -errno;
	umask(mask);
	return r;
}

int local_mknod(int dirfd, const char *name, const struct fuse_attr *attr)
{
	return make_and_rename(dirfd, name, make_node, attr);
}

int local_write(int fd, const void *buf, size_t len, int64_t offset)
{
	const char *p = buf;

	while (len) {
		ssize_t n = offset < 0 ? write(fd, p, len)
				       : pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
		offset += offset < 0 ? 0 : n;
	}
	return 0;
}

/* Values above a second would mean "now" or "leave it" to the system. */
static void attr_times(const struct fuse_attr *attr, struct timespec *ret_times)
{
	ret_times[0].tv_sec = (time_t)attr->atime;
	ret_times[0].tv_nsec = attr->atimensec > NSEC_MAX ? 0 : attr->atimensec;
	ret_times[1].tv_sec = (time_t)attr->mtime;
	ret_times[1].tv_nsec = attr->mtimensec > NSEC_MAX ? 0 : attr->mtimensec;
}

/* chown drops set-id bits, so the mode comes after it. */
static mode_t kept_mode(const struct fuse_attr *attr, unsigned flags)
{
	mode_t mode = attr->mode & 07777;

	if (flags & LOCAL_ROOT)
		return mode;
	if (attr->uid != geteuid())
		mode &= ~(mode_t)S_ISUID;
	if (attr->gid != getegid() && !S_ISDIR(attr->mode))
		mode &= ~(mode_t)S_ISGID;
	return mode;
}

int local_keep(int fd, const struct fuse_attr *attr, unsigned flags)
{
	struct timespec times[2];

	attr_times(attr, times);
	if ((flags & LOCAL_ROOT) && fchown(fd, attr->uid, attr->gid) < 0)
		return -errno;
	if (fchmod(fd, kept_mode(attr, flags)) < 0 || futimens(fd, times) < 0)
		return -errno;
	return 0;
}

int local_keep_at(int dirfd, const char *name, const struct fuse_attr *attr,
		  unsigned flags)
{
	struct timespec times[2];

	attr_times(attr, times);
	if ((flags & LOCAL_ROOT) && fchownat(dirfd, name, attr->uid, attr->gid,
					     AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

void attr_from_stat(const struct stat *st, struct fuse_setattr_in *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->mode = st->st_mode;
	ret->uid = st->st_uid;
	ret->gid = st->st_gid;
	ret->atime = (uint64_t)st->st_atim.tv_sec;
	ret->atimensec = (uint32_t)st->st_atim.tv_nsec;
	ret->mtime = (uint64_t)st->st_mtim.tv_sec;
	ret->mtimensec = (uint32_t)st->st_mtim.tv_nsec;
}
