/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guest's work must have left: looked at on the host's side of the
 * tree, and by a guest that has mounted again.
 */
#include "work.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static int large_contents(void)
{
	if (work_is_pattern("in/blob", WORK_BLOB, 1) < 0 ||
	    work_is_pattern("blob", WORK_BLOB, 1) < 0)
		return -1;
	return work_is_pattern("pattern", WORK_BLOB, 7);
}

static int contents(void)
{
	if (work_is_pattern("mapped", 3 * 4096, 11) < 0 ||
	    work_is_pattern("odd-a", 0, 0) < 0 ||
	    work_is_pattern("odd-i", 131073, 8) < 0 ||
	    work_is_pattern("odd-j", 1048577, 9) < 0)
		return -1;
	return work_is("append", "one,two,three,four");
}

static int copied_range(void)
{
	static unsigned char got[1 << 20], want[1 << 20];
	FILE *f = fopen("copied", "r");

	MUST(f);
	work_pattern(want, sizeof(want), 7, 4096);
	MUST(fread(got, 1, sizeof(got), f) == sizeof(got));
	MUST(fgetc(f) == EOF);
	MUST(memcmp(got, want, sizeof(got)) == 0);
	fclose(f);
	return 0;
}

static int together(void)
{
	char name[] = "together-?";
	int i;

	for (i = 0; i < 4; i++) {
		name[9] = '0' + i;
		if (work_is_pattern(name, 4 << 20, 20 + i) < 0)
			return -1;
	}
	return 0;
}

static int many_by(int step)
{
	char name[64], text[64];
	struct dirent *de;
	int i, cnt = 0;
	DIR *d;

	for (i = 1; i < WORK_FILES; i += step) {
		snprintf(name, sizeof(name), "many/g%04d", i);
		snprintf(text, sizeof(text), "file %d\n", i);
		if (work_is(name, text) < 0)
			return -1;
	}
	d = opendir("many");
	MUST(d);
	while ((de = readdir(d)))
		cnt += de->d_name[0] != '.';
	closedir(d);
	MUST(cnt == WORK_FILES / 2);
	return 0;
}

static int many(void)
{
	return many_by(2);
}

static int some_of_many(void)
{
	return many_by(50);
}

static int links(void)
{
	char longest[4096], got[4096];
	struct stat a, b;

	MUST(readlink("links/rel", got, sizeof(got)) == 13);
	MUST(memcmp(got, "../many/g0001", 13) == 0);
	MUST(readlink("links/longest", got, sizeof(got)) == 4095);
	memset(longest, 'x', sizeof(longest));
	MUST(memcmp(longest, got, 4095) == 0);
	MUST(stat("links/one", &a) == 0 && stat("three", &b) == 0);
	MUST(a.st_ino == b.st_ino && a.st_nlink == 2);
	MUST(lstat("two", &b) < 0);
	return work_is("moved/f", "f");
}

static int names(void)
{
	char name[NAME_MAX + 1];

	memset(name, 'n', NAME_MAX);
	name[NAME_MAX] = 0;
	if (work_is(name, "255") < 0 ||
	    work_is("gr\xc3\xbc\xc3\x9f", "utf-8") < 0)
		return -1;
	return work_is(" \t\n\\\"*?\x01\xff", "bytes");
}

static int has(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	struct stat st;

	if (lstat(path, &st) < 0 || st.st_mode != mode || st.st_uid != uid ||
	    st.st_gid != gid) {
		work_failed(path, __LINE__,
			    "type, mode and owner as they were set");
		return -1;
	}
	return 0;
}

static int owners(void)
{
	struct stat st;

	if (has("owned", S_IFREG | 0640, WORK_UID, WORK_GID) < 0 ||
	    has("owned-link", S_IFLNK | 0777, WORK_UID, WORK_GID) < 0 ||
	    has("sticky", S_IFDIR | 01777, 0, 0) < 0 ||
	    has("sticky/of-user", S_IFREG | 0644, WORK_UID, WORK_GID + 1) < 0 ||
	    has("sticky/dir-of-user", S_IFDIR | 0700, WORK_UID, WORK_GID + 1) <
		0 ||
	    has("sticky/link-of-user", S_IFLNK | 0777, WORK_UID, WORK_GID + 1) <
		0 ||
	    has("sticky/of-root", S_IFREG | 0644, 0, 0) < 0 ||
	    has("suid", S_IFREG | 0777, 0, 0) < 0 ||
	    has("suid-chown", S_IFREG | 0755, WORK_UID, WORK_GID) < 0 ||
	    has("masked", S_IFREG | 0640, 0, 0) < 0 ||
	    has("setgid", S_IFDIR | 02775, 0, WORK_GID) < 0 ||
	    has("setgid/file", S_IFREG | 0644, 0, WORK_GID) < 0 ||
	    has("setgid/dir", S_IFDIR | 02755, 0, WORK_GID) < 0 ||
	    has("fifo", S_IFIFO | 0600, 0, 0) < 0 ||
	    has("sock", S_IFSOCK | 0600, 0, 0) < 0 ||
	    has("null", S_IFCHR | 0644, 0, 0) < 0)
		return -1;
	MUST(stat("null", &st) == 0 && st.st_rdev == makedev(1, 3));
	MUST(access("sticky/of-root", F_OK) == 0);
	return 0;
}

static int times(void)
{
	struct stat st;

	MUST(stat("timed", &st) == 0);
	MUST(st.st_mtim.tv_sec == 1234567890 &&
	     st.st_mtim.tv_nsec == 987654321);
	MUST(st.st_atim.tv_sec == 1000000001 &&
	     st.st_atim.tv_nsec == 111111111);
	return 0;
}

/* Only where the guest could set them; the guest says so itself. */
static int xattrs(void)
{
	char want[3000], got[3000];

	if (listxattr("xattr", NULL, 0) <= 0)
		return work_skipped("the guest could set none");
	MUST(getxattr("xattr", "user.one", got, sizeof(got)) == 4);
	MUST(memcmp(got, "\0bin", 4) == 0);
	MUST(getxattr("xattr", "user.two", got, sizeof(got)) < 0);
	MUST(getxattr("xattr", "user.big", got, sizeof(got)) == 3000);
	work_pattern(want, sizeof(want), 3, 0);
	MUST(memcmp(want, got, sizeof(got)) == 0);
	return 0;
}

static int sizes(void)
{
	struct stat st;

	MUST(stat("sparse", &st) == 0 && st.st_size == 1 << 20);
	MUST(stat("trunc", &st) == 0 && st.st_size == 5);
	MUST(lstat("gone", &st) == 0 && st.st_size == 0);
	MUST(lstat("deep/d00", &st) == 0 && S_ISDIR(st.st_mode));
	return 0;
}

const struct work_step work_host_steps[] = {
    {"left_large_contents", large_contents},
    {"left_contents", contents},
    {"left_copied_range", copied_range},
    {"left_together", together},
    {"left_many", many},
    {"left_links", links},
    {"left_names", names},
    {"left_owners", owners},
    {"left_times", times},
    {"left_xattrs", xattrs},
    {"left_sizes", sizes},
    {NULL, NULL},
};

const struct work_step work_glance_steps[] = {
    {"left_contents", contents},
    {"left_copied_range", copied_range},
    {"left_together", together},
    {"left_some_of_many", some_of_many},
    {"left_links", links},
    {"left_names", names},
    {"left_owners", owners},
    {"left_times", times},
    {"left_xattrs", xattrs},
    {"left_sizes", sizes},
    {NULL, NULL},
};
