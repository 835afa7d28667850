/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "share.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define SECRET "no client ever sees these words"

static char base[256]; /* of both directories */
static int base_fd, share_fd;
static struct stat outside[2]; /* that directory, and the file in it */

void share_fill(void)
{
	int fd;

	must(!mkdirat(share_fd, "dir", 0777));
	must(!symlinkat("file", share_fd, "link"));
	must(!symlinkat("../outside/secret", share_fd, "out"));
	must(!symlinkat("..", share_fd, "up"));
	must(!symlinkat(base, share_fd, "abs"));
	must(!mknodat(share_fd, "fifo", S_IFIFO | 0666, 0));
	fd = openat(share_fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
	must(fd >= 0 && write(fd, "inside", 6) == 6);
	close(fd);
	fd = openat(share_fd, "dir/inner", O_CREAT | O_CLOEXEC, 0666);
	must(fd >= 0);
	close(fd);
}

static void empty_dir(int dir_fd)
{
	DIR *dir = fdopendir(fcntl(dir_fd, F_DUPFD_CLOEXEC, 0));
	struct dirent *e;

	must(dir);
	rewinddir(dir);
	while ((e = readdir(dir)) != NULL) {
		int fd;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!unlinkat(dir_fd, e->d_name, 0))
			continue;
		fd = openat(dir_fd, e->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0) {
			empty_dir(fd);
			close(fd);
		}
		unlinkat(dir_fd, e->d_name, AT_REMOVEDIR);
	}
	closedir(dir);
}

static void remove_all(void)
{
	empty_dir(base_fd);
	rmdir(base);
}

static void stat_outside(struct stat *st)
{
	must(!fstatat(base_fd, "outside", &st[0], AT_SYMLINK_NOFOLLOW));
	must(!fstatat(base_fd, "outside/secret", &st[1], AT_SYMLINK_NOFOLLOW));
}

void share_check(void)
{
	struct stat now[2];

	stat_outside(now);
	for (unsigned i = 0; i < 2; i++) {
		now[i].st_atim = outside[i].st_atim;
		must(!memcmp(&now[i], &outside[i], sizeof(now[i])));
	}
}

void share_make(void)
{
	int fd;

	fuzz_make_dir(base, sizeof(base));
	base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(base_fd >= 0 && !fchmod(base_fd, 0755));
	atexit(remove_all);
	must(!mkdirat(base_fd, "outside", 0777));
	must(!mkdirat(base_fd, "share", 0777));
	fd = openat(base_fd, "outside/secret", O_CREAT | O_WRONLY | O_CLOEXEC,
		    0666);
	must(fd >= 0 && write(fd, SECRET, sizeof(SECRET)) > 0);
	close(fd);
	share_fd = openat(base_fd, "share", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(share_fd >= 0);
	memset(outside, 0, sizeof(outside));
	stat_outside(outside);
}

int share_open(int flags)
{
	return openat(base_fd, "share", flags | O_CLOEXEC);
}

void share_empty(void)
{
	must(!fchmod(share_fd, 0777));
	empty_dir(share_fd);
}

bool share_outside(uint64_t ino)
{
	struct stat st;

	must(!fstat(base_fd, &st));
	return ino == st.st_ino || ino == outside[0].st_ino ||
	       ino == outside[1].st_ino;
}

/* Not with memmem(): the fuzzer learns what is compared, and would then write
 * the secret itself and read it back. */
#ifdef __clang__
__attribute__((no_sanitize("coverage")))
#endif
bool
share_holds_secret(const unsigned char *p, size_t len)
{
	const size_t n = sizeof(SECRET) - 1;
	size_t same;

	for (size_t i = 0; i + n <= len; i++) {
		for (same = 0; same < n; same++)
			if (p[i + same] != (unsigned char)SECRET[same])
				break;
		if (same == n)
			return true;
	}
	return false;
}
