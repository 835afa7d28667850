/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names: many files, renames, links, directories, open files without names. */
#include "work.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE	 2
#endif

static int rename2(const char *from, const char *to, unsigned flags)
{
	return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

/* Each of FILES names seen once, and nothing else but . and .. */
static int list_many(const char *dir, char first, int step)
{
	static unsigned char seen[WORK_FILES];
	struct dirent *de;
	int nr, cnt = 0;
	DIR *d;

	memset(seen, 0, sizeof(seen));
	d = opendir(dir);
	MUST(d);
	while ((de = readdir(d))) {
		if (de->d_name[0] == '.')
			continue;
		MUST(de->d_name[0] == first);
		nr = atoi(de->d_name + 1);
		MUST(nr >= 0 && nr < WORK_FILES && !seen[nr]);
		MUST(nr % step == step - 1);
		seen[nr] = 1;
		cnt++;
	}
	MUST(closedir(d) == 0);
	MUST(cnt == WORK_FILES / step);
	return 0;
}

static int many_create(void)
{
	char name[64], text[64];
	int i;

	MUST(mkdir("many", 0755) == 0);
	for (i = 0; i < WORK_FILES; i++) {
		snprintf(name, sizeof(name), "many/f%04d", i);
		snprintf(text, sizeof(text), "file %d\n", i);
		if (work_put(name, text) < 0)
			return -1;
	}
	return list_many("many", 'f', 1);
}

static int many_rename(void)
{
	char from[64], to[64];
	struct stat st;
	int i;

	for (i = 0; i < WORK_FILES; i++) {
		snprintf(from, sizeof(from), "many/f%04d", i);
		snprintf(to, sizeof(to), "many/g%04d", i);
		MUST(rename(from, to) == 0);
		MUST_FAIL(stat(from, &st), ENOENT);
	}
	return list_many("many", 'g', 1);
}

static int many_stat(void)
{
	char name[64], text[64];
	struct stat st;
	int i;

	for (i = 0; i < WORK_FILES; i++) {
		snprintf(name, sizeof(name), "many/g%04d", i);
		snprintf(text, sizeof(text), "file %d\n", i);
		MUST(stat(name, &st) == 0);
		MUST(st.st_size == (off_t)strlen(text));
		MUST(S_ISREG(st.st_mode));
	}
	return 0;
}

/* The odd ones stay, for the host and for the next mount. */
static int many_unlink(void)
{
	char name[64];
	int i;

	for (i = 0; i < WORK_FILES; i += 2) {
		snprintf(name, sizeof(name), "many/g%04d", i);
		MUST(unlink(name) == 0);
	}
	return list_many("many", 'g', 2);
}

static int seek_in_directory(void)
{
	char want[NAME_MAX + 1];
	struct dirent *de;
	long at = 0;
	DIR *d;
	int i;

	d = opendir("many");
	MUST(d);
	for (i = 0; i < 500; i++) {
		at = telldir(d);
		de = readdir(d);
		MUST(de);
	}
	snprintf(want, sizeof(want), "%s", de->d_name);
	while (readdir(d))
		;
	seekdir(d, at);
	de = readdir(d);
	MUST(de && strcmp(de->d_name, want) == 0);
	rewinddir(d);
	for (i = 0; readdir(d); i++)
		;
	MUST(i == WORK_FILES / 2 + 2);
	MUST(closedir(d) == 0);
	return 0;
}

static int symlinks(void)
{
	char longest[4096], got[4096];
	struct stat st;

	MUST(mkdir("links", 0755) == 0);
	MUST(symlink("../many/g0001", "links/rel") == 0);
	MUST(symlink("/nowhere/at/all", "links/dangling") == 0);
	MUST(readlink("links/rel", got, sizeof(got)) == 13);
	MUST(memcmp(got, "../many/g0001", 13) == 0);
	MUST(lstat("links/rel", &st) == 0 && S_ISLNK(st.st_mode));
	MUST_FAIL(stat("links/dangling", &st), ENOENT);
	memset(longest, 'x', sizeof(longest));
	longest[4095] = 0;
	MUST(symlink(longest, "links/longest") == 0);
	MUST(readlink("links/longest", got, sizeof(got)) == 4095);
	MUST(memcmp(longest, got, 4095) == 0);
	MUST_FAIL(symlink("x", "links/rel"), EEXIST);
	return work_is("links/rel", "file 1\n");
}

static int hard_links(void)
{
	struct stat a, b;

	if (work_put("links/one", "linked") < 0)
		return -1;
	MUST(link("links/one", "two") == 0);
	MUST(stat("links/one", &a) == 0 && stat("two", &b) == 0);
	MUST(a.st_ino == b.st_ino && a.st_nlink == 2 && b.st_nlink == 2);
	MUST_FAIL(link("links/one", "two"), EEXIST);
	MUST(link("two", "three") == 0);
	MUST(unlink("two") == 0);
	MUST(stat("links/one", &a) == 0 && a.st_nlink == 2);
	return work_is("three", "linked");
}

static int renames(void)
{
	MUST(mkdir("ren", 0755) == 0 && mkdir("ren/full", 0755) == 0);
	if (work_put("ren/a", "a") < 0 || work_put("ren/b", "b") < 0 ||
	    work_put("ren/full/f", "f") < 0)
		return -1;
	MUST_FAIL(rename2("ren/a", "ren/b", RENAME_NOREPLACE), EEXIST);
	MUST(rename2("ren/a", "ren/b", RENAME_EXCHANGE) == 0);
	if (work_is("ren/a", "b") < 0 || work_is("ren/b", "a") < 0)
		return -1;
	MUST(mkdir("ren/empty", 0755) == 0);
	MUST_FAIL(rename("ren/empty", "ren/full"), ENOTEMPTY);
	MUST_FAIL(rename("ren/a", "ren/empty"), EISDIR);
	MUST_FAIL(rename("ren/full", "ren/a"), ENOTDIR);
	MUST_FAIL(rename("ren", "ren/full/x"), EINVAL);
	MUST(rename("ren/full", "ren/empty") == 0);
	MUST(rename("ren/a", "ren/b") == 0);
	if (work_is("ren/b", "b") < 0)
		return -1;
	MUST(rename("ren/empty", "moved") == 0);
	return work_is("moved/f", "f");
}

static int directories(void)
{
	char path[512] = "deep";
	int i;

	MUST(mkdir(path, 0755) == 0);
	for (i = 0; i < 60; i++) {
		snprintf(path + strlen(path), sizeof(path) - strlen(path),
			 "/d%02d", i);
		MUST(mkdir(path, 0755) == 0);
	}
	MUST_FAIL(rmdir("deep/d00"), ENOTEMPTY);
	MUST_FAIL(mkdir("deep/d00", 0755), EEXIST);
	MUST_FAIL(unlink("deep/d00"), EISDIR);
	MUST_FAIL(rmdir("three"), ENOTDIR);
	MUST_FAIL(open("three/x", O_RDONLY), ENOTDIR);
	MUST_FAIL(open("deep", O_WRONLY), EISDIR);
	MUST_FAIL(open("deep/absent", O_RDONLY), ENOENT);
	while (strcmp(path, "deep/d00") != 0) {
		MUST(rmdir(path) == 0);
		*strrchr(path, '/') = 0;
	}
	return 0;
}

static int names(void)
{
	char name[NAME_MAX + 2];

	memset(name, 'n', sizeof(name));
	name[NAME_MAX] = 0;
	if (work_put(name, "255") < 0 || work_is(name, "255") < 0)
		return -1;
	name[NAME_MAX] = 'n';
	name[NAME_MAX + 1] = 0;
	MUST_FAIL(open(name, O_RDONLY), ENAMETOOLONG);
	if (work_put(" \t\n\\\"*?\x01\xff", "bytes") < 0)
		return -1;
	if (work_put("gr\xc3\xbc\xc3\x9f", "utf-8") < 0)
		return -1;
	return work_is(" \t\n\\\"*?\x01\xff", "bytes");
}

static int open_without_a_name(void)
{
	char buf[8] = {0};
	struct stat st;
	int fd, again;

	if (work_put("gone", "still") < 0)
		return -1;
	fd = open("gone", O_RDWR);
	MUST(fd >= 0);
	MUST(unlink("gone") == 0);
	MUST_FAIL(open("gone", O_RDONLY), ENOENT);
	MUST(fstat(fd, &st) == 0 && st.st_nlink == 0);
	MUST(pwrite(fd, "!", 1, 5) == 1);
	MUST(pread(fd, buf, sizeof(buf), 0) == 6);
	MUST(strcmp(buf, "still!") == 0);
	again = open("gone", O_RDWR | O_CREAT | O_EXCL, 0644);
	MUST(again >= 0);
	MUST(fstat(again, &st) == 0 && st.st_size == 0);
	MUST(close(again) == 0 && close(fd) == 0);
	return 0;
}

static int tmpfile_then_link(void)
{
	char proc[64];
	int fd;

	fd = open(".", O_TMPFILE | O_WRONLY, 0640);
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		return work_skipped("no O_TMPFILE with this kernel and device");
	MUST(fd >= 0);
	MUST(write(fd, "born late", 9) == 9);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	MUST(linkat(AT_FDCWD, proc, AT_FDCWD, "tmpfile", AT_SYMLINK_FOLLOW) ==
	     0);
	MUST(close(fd) == 0);
	return work_is("tmpfile", "born late");
}

const struct work_step work_tree_steps[] = {
    {"many_create", many_create},
    {"many_rename", many_rename},
    {"many_stat", many_stat},
    {"many_unlink", many_unlink},
    {"seek_in_directory", seek_in_directory},
    {"symlinks", symlinks},
    {"hard_links", hard_links},
    {"renames", renames},
    {"directories", directories},
    {"names", names},
    {"open_without_a_name", open_without_a_name},
    {"tmpfile_then_link", tmpfile_then_link},
    {NULL, NULL},
};
