/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Owners, modes, times, special files, extended attributes, who may do what. */
#include "work.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static int modes_and_owners(void)
{
	struct stat st;

	if (work_put("owned", "x") < 0)
		return -1;
	MUST(chmod("owned", 0640) == 0);
	MUST(chown("owned", WORK_UID, WORK_GID) == 0);
	MUST(stat("owned", &st) == 0);
	MUST((st.st_mode & 07777) == 0640);
	MUST(st.st_uid == WORK_UID && st.st_gid == WORK_GID);
	MUST(mkdir("sticky", 0755) == 0 && chmod("sticky", 01777) == 0);
	MUST(stat("sticky", &st) == 0 && (st.st_mode & 07777) == 01777);
	MUST(symlink("owned", "owned-link") == 0);
	MUST(lchown("owned-link", WORK_UID, WORK_GID) == 0);
	MUST(lstat("owned-link", &st) == 0 && st.st_uid == WORK_UID);
	MUST(stat("owned", &st) == 0 && st.st_uid == WORK_UID);
	return 0;
}

static int times(void)
{
	struct timespec when[2] = {{1000000001, 111111111},
				   {1234567890, 987654321}};
	struct timespec now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
	struct stat st;

	if (work_put("timed", "x") < 0)
		return -1;
	MUST(utimensat(AT_FDCWD, "timed", when, 0) == 0);
	MUST(stat("timed", &st) == 0);
	MUST(st.st_atim.tv_sec == 1000000001 &&
	     st.st_atim.tv_nsec == 111111111);
	MUST(st.st_mtim.tv_sec == 1234567890 &&
	     st.st_mtim.tv_nsec == 987654321);
	if (work_put("timed-now", "x") < 0)
		return -1;
	MUST(utimensat(AT_FDCWD, "timed-now", when, 0) == 0);
	MUST(utimensat(AT_FDCWD, "timed-now", now, 0) == 0);
	MUST(stat("timed-now", &st) == 0);
	MUST(st.st_atim.tv_sec == 1000000001);
	MUST(st.st_mtim.tv_sec > 1500000000);
	return 0;
}

static int special_files(void)
{
	struct stat st;

	MUST(mknod("fifo", S_IFIFO | 0620, 0) == 0);
	MUST(lstat("fifo", &st) == 0 && S_ISFIFO(st.st_mode));
	MUST(mknod("sock", S_IFSOCK | 0600, 0) == 0);
	MUST(lstat("sock", &st) == 0 && S_ISSOCK(st.st_mode));
	MUST(mknod("null", S_IFCHR | 0666, makedev(1, 3)) == 0);
	MUST(lstat("null", &st) == 0 && S_ISCHR(st.st_mode));
	MUST(st.st_rdev == makedev(1, 3));
	return 0;
}

static int umask_and_setgid(void)
{
	struct stat st;
	int fd;

	umask(027);
	fd = open("masked", O_WRONLY | O_CREAT | O_EXCL, 0666);
	umask(022);
	MUST(fd >= 0 && close(fd) == 0);
	MUST(stat("masked", &st) == 0 && (st.st_mode & 07777) == 0640);
	MUST(mkdir("setgid", 0755) == 0);
	MUST(chown("setgid", 0, WORK_GID) == 0 && chmod("setgid", 02775) == 0);
	if (work_put("setgid/file", "x") < 0)
		return -1;
	MUST(mkdir("setgid/dir", 0755) == 0);
	MUST(stat("setgid/file", &st) == 0 && st.st_gid == WORK_GID);
	MUST(stat("setgid/dir", &st) == 0 && st.st_gid == WORK_GID);
	MUST(st.st_mode & S_ISGID);
	return 0;
}

static int user_writes(void)
{
	int fd;

	MUST_FAIL(open("secret", O_RDONLY), EACCES);
	MUST_FAIL(chmod("secret", 0666), EPERM);
	MUST_FAIL(open("setgid/of-user", O_CREAT | O_WRONLY, 0600), EACCES);
	if (work_put("sticky/of-user", "mine") < 0)
		return -1;
	MUST(mkdir("sticky/dir-of-user", 0700) == 0);
	MUST(symlink("x", "sticky/link-of-user") == 0);
	MUST_FAIL(unlink("sticky/of-root"), EPERM);
	fd = open("suid", O_WRONLY);
	MUST(fd >= 0);
	MUST(write(fd, "y", 1) == 1);
	MUST(close(fd) == 0);
	return 0;
}

/* An ordinary user: owns what it makes, and a write clears set-id bits. */
static int ordinary_user(void)
{
	struct stat st;

	if (work_put("secret", "x") < 0 || work_put("suid", "x") < 0 ||
	    work_put("sticky/of-root", "x") < 0)
		return -1;
	MUST(chmod("secret", 0600) == 0 && chmod("suid", 06777) == 0);
	MUST(stat("suid", &st) == 0 && (st.st_mode & 07777) == 06777);
	MUST(chmod(".", 0755) == 0);
	if (work_as_user(WORK_UID, WORK_GID + 1, user_writes) < 0)
		return -1;
	MUST(stat("suid", &st) == 0 && (st.st_mode & 07777) == 0777);
	MUST(stat("sticky/of-user", &st) == 0 && st.st_uid == WORK_UID);
	MUST(st.st_gid == WORK_GID + 1);
	return 0;
}

static int chown_clears_set_id(void)
{
	struct stat st;

	if (work_put("suid-chown", "x") < 0)
		return -1;
	MUST(chmod("suid-chown", 06755) == 0);
	MUST(chown("suid-chown", WORK_UID, WORK_GID) == 0);
	MUST(stat("suid-chown", &st) == 0 && (st.st_mode & 07777) == 0755);
	return 0;
}

static int xattrs(void)
{
	char buf[256], *big;
	ssize_t n;

	if (work_put("xattr", "x") < 0)
		return -1;
	if (setxattr("xattr", "user.one", "first", 5, 0) < 0 &&
	    (errno == EOPNOTSUPP || errno == ENOSYS))
		return work_skipped("no user xattrs below");
	MUST(getxattr("xattr", "user.one", buf, sizeof(buf)) == 5);
	MUST(memcmp(buf, "first", 5) == 0);
	MUST(getxattr("xattr", "user.one", NULL, 0) == 5);
	MUST_FAIL(getxattr("xattr", "user.one", buf, 2), ERANGE);
	MUST_FAIL(getxattr("xattr", "user.none", buf, sizeof(buf)), ENODATA);
	MUST_FAIL(setxattr("xattr", "user.one", "x", 1, XATTR_CREATE), EEXIST);
	MUST_FAIL(setxattr("xattr", "user.new", "x", 1, XATTR_REPLACE),
		  ENODATA);
	MUST(setxattr("xattr", "user.one", "\0bin", 4, XATTR_REPLACE) == 0);
	MUST(setxattr("xattr", "user.two", "", 0, 0) == 0);
	n = listxattr("xattr", buf, sizeof(buf));
	MUST(n >= 18);
	MUST(memmem(buf, n, "user.one", 9) && memmem(buf, n, "user.two", 9));
	MUST(removexattr("xattr", "user.two") == 0);
	MUST_FAIL(removexattr("xattr", "user.two"), ENODATA);
	big = calloc(1, 3000);
	MUST(big);
	work_pattern(big, 3000, 3, 0);
	MUST(setxattr("xattr", "user.big", big, 3000, 0) == 0);
	MUST(getxattr("xattr", "user.big", NULL, 0) == 3000);
	free(big);
	return 0;
}

static int file_system(void)
{
	struct statvfs fs;
	struct statx sx;

	MUST(statvfs(".", &fs) == 0);
	MUST(fs.f_blocks > 0 && fs.f_bsize >= 512 && fs.f_namemax == 255);
	MUST(statx(AT_FDCWD, "blob", 0, STATX_BASIC_STATS, &sx) == 0);
	MUST(sx.stx_size == WORK_BLOB);
	MUST(access("blob", R_OK | W_OK) == 0);
	MUST_FAIL(access("absent", F_OK), ENOENT);
	sync();
	return 0;
}

const struct work_step work_meta_steps[] = {
    {"modes_and_owners", modes_and_owners},
    {"times", times},
    {"special_files", special_files},
    {"umask_and_setgid", umask_and_setgid},
    {"ordinary_user", ordinary_user},
    {"chown_clears_set_id", chown_clears_set_id},
    {"xattrs", xattrs},
    {"file_system", file_system},
    {NULL, NULL},
};
