/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "work.h"

#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char why[512];

int work_failed(const char *where, int line, const char *what)
{
	int err = errno;

	snprintf(why, sizeof(why), "%s:%d: not so: %s (errno: %s)", where, line,
		 what, err ? strerror(err) : "none");
	return -1;
}

int work_skipped(const char *text)
{
	snprintf(why, sizeof(why), "%s", text);
	return WORK_SKIP;
}

void work_note(const char *text)
{
	printf("WORK note %s\n", text);
	fflush(stdout);
}

/* xorshift over the 8-byte word's number: any offset costs the same. */
static uint64_t pattern_word(uint32_t seed, uint64_t index)
{
	uint64_t x = index * 0x9e3779b97f4a7c15u + seed + 1;

	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	return x;
}

void work_pattern(void *buf, size_t len, uint32_t seed, uint64_t offset)
{
	unsigned char *p = buf;
	size_t i = 0;
	uint64_t w;

	if (offset % 8 == 0)
		for (; i + 8 <= len; i += 8) {
			w = pattern_word(seed, (offset + i) / 8);
			memcpy(p + i, &w, 8);
		}
	for (; i < len; i++) {
		w = pattern_word(seed, (offset + i) / 8);
		p[i] = w >> 8 * ((offset + i) % 8);
	}
}

int work_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);

	MUST(fd >= 0);
	MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	MUST(close(fd) == 0);
	return 0;
}

int work_is(const char *path, const char *text)
{
	char buf[4096];
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY);
	MUST(fd >= 0);
	n = read(fd, buf, sizeof(buf));
	close(fd);
	MUST(n == (ssize_t)strlen(text));
	MUST(memcmp(buf, text, n) == 0);
	return 0;
}

int work_is_pattern(const char *path, uint64_t len, uint32_t seed)
{
	static unsigned char got[1 << 17], want[1 << 17];
	uint64_t at = 0;
	struct stat st;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY);
	MUST(fd >= 0);
	MUST(fstat(fd, &st) == 0);
	MUST((uint64_t)st.st_size == len);
	while ((n = read(fd, got, sizeof(got))) > 0) {
		work_pattern(want, n, seed, at);
		MUST(memcmp(got, want, n) == 0);
		at += n;
	}
	close(fd);
	MUST(n == 0);
	MUST(at == len);
	return 0;
}

int work_as_user(uid_t uid, gid_t gid, int (*fn)(void))
{
	int status, fds[2];
	pid_t pid;

	MUST(pipe(fds) == 0);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		status = setgroups(0, NULL) || setgid(gid) || setuid(uid);
		status = status ? work_failed(__func__, __LINE__, "setuid")
				: fn();
		if (write(fds[1], why, sizeof(why)) != (ssize_t)sizeof(why))
			_exit(3);
		_exit(status ? 2 : 0);
	}
	close(fds[1]);
	if (read(fds[0], why, sizeof(why)) != (ssize_t)sizeof(why))
		snprintf(why, sizeof(why), "a child ended without a word");
	close(fds[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		return -1;
	return 0;
}

static int run_steps(const struct work_step *step, int *failed)
{
	struct timespec a, b;
	int r, cnt = 0;

	for (; step->name; step++, cnt++) {
		clock_gettime(CLOCK_MONOTONIC, &a);
		errno = 0;
		r = step->run();
		clock_gettime(CLOCK_MONOTONIC, &b);
		if (r < 0) {
			printf("WORK not ok %s: %s\n", step->name, why);
			(*failed)++;
		} else if (r == WORK_SKIP) {
			printf("WORK skip %s: %s\n", step->name, why);
		} else {
			printf("WORK ok %s (%lld ms)\n", step->name,
			       (long long)(b.tv_sec - a.tv_sec) * 1000 +
				   (b.tv_nsec - a.tv_nsec) / 1000000);
		}
		fflush(stdout);
	}
	return cnt;
}

/* The host's part before the guest starts: a file to copy. */
static int make_input(void)
{
	static unsigned char buf[1 << 16];
	uint64_t at;
	int fd;

	MUST(mkdir("in", 0755) == 0);
	fd = open("in/blob", O_WRONLY | O_CREAT | O_EXCL, 0644);
	MUST(fd >= 0);
	for (at = 0; at < WORK_BLOB; at += sizeof(buf)) {
		work_pattern(buf, sizeof(buf), 1, at);
		MUST(write(fd, buf, sizeof(buf)) == (ssize_t)sizeof(buf));
	}
	MUST(close(fd) == 0);
	return 0;
}

static const struct work_step make_steps[] = {
    {"make_input", make_input},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
	int failed = 0, cnt = 0;

	if (argc != 3) {
		fprintf(stderr,
			"usage: guest-work make|guest|look|glance|share-1|"
			"share-2 DIRECTORY\n");
		return 1;
	}
	if (chdir(argv[2]) < 0) {
		printf("WORK not ok chdir: %s: %s\n", argv[2], strerror(errno));
		return 1;
	}
	umask(022);
	if (strcmp(argv[1], "make") == 0) {
		cnt += run_steps(make_steps, &failed);
	} else if (strcmp(argv[1], "guest") == 0) {
		cnt += run_steps(work_io_steps, &failed);
		cnt += run_steps(work_tree_steps, &failed);
		cnt += run_steps(work_meta_steps, &failed);
		cnt += run_steps(work_lock_steps, &failed);
	} else if (strncmp(argv[1], "share-", 6) == 0) {
		int part = argv[1][6] - '0';

		for (int i = 1; i <= 2 && !failed; i++)
			cnt += run_steps(work_share_steps(part, i), &failed);
		if (failed)
			work_put("failed", "");
	} else if (strcmp(argv[1], "glance") == 0) {
		cnt += run_steps(work_glance_steps, &failed);
	} else {
		/* What the host must see, a guest that mounts again must too.
		 */
		cnt += run_steps(work_host_steps, &failed);
	}
	printf("WORK %s: %d steps, %d failed\n", argv[1], cnt, failed);
	return failed ? 1 : 0;
}
