/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two guests on one directory. Each step has two parts that run at the same
 * time, one in each guest; tell() and await() put them in order, by files of
 * the directory itself. All is done twice, with the parts changed over.
 *
 * What one guest may have cached is not what this is about: files are opened
 * anew where their contents are asked for.
 */
#include "work.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN	(1u << 20)
#define ROUNDS	100
#define WRITERS 8
#define WAITERS 12 /* below an eighth of 128, which is how many may wait */

static int round_nr; /* names are of a round */
static int fd;

/* Good until the next call but one. */
static const char *name_of(const char *what)
{
	static char names[2][64];
	static unsigned next;
	char *name = names[next++ % 2];

	snprintf(name, sizeof(names[0]), "%s.%d", what, round_nr);
	return name;
}

static int tell(const char *what)
{
	return work_put(name_of(what), "");
}

static bool is_told(const char *what)
{
	return access(name_of(what), F_OK) == 0;
}

/* The host limits the time. */
static int await(const char *what)
{
	while (!is_told(what)) {
		errno = 0;
		MUST(access("failed", F_OK) != 0);
		usleep(5000);
	}
	return 0;
}

/* ---- data ---- */

static int put_pattern(const char *name, uint32_t seed)
{
	static unsigned char buf[LEN];
	int to = open(name, O_WRONLY | O_CREAT, 0644);

	MUST(to >= 0);
	work_pattern(buf, LEN, seed, 0);
	MUST(write(to, buf, LEN) == LEN);
	MUST(fsync(to) == 0);
	/* Not closed before the other has read. */
	fd = to;
	return 0;
}

static int data_first(void)
{
	for (uint32_t seed = 1; seed <= 3; seed++) {
		char read_it[] = "read-?", wrote_it[] = "wrote-?";

		read_it[5] = wrote_it[6] = (char)('0' + seed);
		if (put_pattern(name_of("data"), seed) < 0 ||
		    tell(wrote_it) < 0)
			return -1;
		if (await(read_it) < 0)
			return -1;
		MUST(close(fd) == 0);
	}
	return 0;
}

static int data_second(void)
{
	for (uint32_t seed = 1; seed <= 3; seed++) {
		char read_it[] = "read-?", wrote_it[] = "wrote-?";

		read_it[5] = wrote_it[6] = (char)('0' + seed);
		if (await(wrote_it) < 0)
			return -1;
		if (work_is_pattern(name_of("data"), LEN, seed) < 0 ||
		    tell(read_it) < 0)
			return -1;
	}
	return 0;
}

/* ---- locks ---- */

static int posix_lock(int at, int cmd, short type, off_t start, off_t len)
{
	struct flock fl = {.l_type = type,
			   .l_whence = SEEK_SET,
			   .l_start = start,
			   .l_len = len};

	return fcntl(at, cmd, &fl);
}

static int open_shared(const char *what)
{
	return open(name_of(what), O_RDWR | O_CREAT, 0644);
}

static int posix_first(void)
{
	fd = open_shared("posix");
	MUST(fd >= 0);
	MUST(posix_lock(fd, F_SETLK, F_WRLCK, 10, 10) == 0);
	if (tell("posix-held") < 0)
		return -1;
	if (await("posix-waits") < 0)
		return -1;
	usleep(100000); /* for a lock that does not hold to show */
	if (tell("posix-lets-go") < 0)
		return -1;
	MUST(posix_lock(fd, F_SETLK, F_UNLCK, 10, 10) == 0);
	if (await("posix-over") < 0)
		return -1;
	MUST(posix_lock(fd, F_SETLK, F_WRLCK, 0, 0) == 0);
	MUST(close(fd) == 0);
	return 0;
}

static int posix_second(void)
{
	struct flock fl = {
	    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 100};

	if (await("posix-held") < 0)
		return -1;
	fd = open_shared("posix");
	MUST(fd >= 0);
	MUST_FAIL(posix_lock(fd, F_SETLK, F_WRLCK, 15, 1), EAGAIN);
	MUST_FAIL(posix_lock(fd, F_SETLK, F_RDLCK, 19, 1), EAGAIN);
	MUST(posix_lock(fd, F_SETLK, F_WRLCK, 0, 10) == 0);
	MUST(posix_lock(fd, F_SETLK, F_WRLCK, 20, 10) == 0);
	MUST(fcntl(fd, F_GETLK, &fl) == 0);
	MUST(fl.l_type == F_WRLCK && fl.l_start == 10 && fl.l_len == 10);
	if (tell("posix-waits") < 0)
		return -1;
	MUST(posix_lock(fd, F_SETLKW, F_WRLCK, 10, 10) == 0);
	MUST(is_told("posix-lets-go"));
	MUST(close(fd) == 0);
	return tell("posix-over");
}

static int bsd_first(void)
{
	fd = open_shared("bsd");
	MUST(fd >= 0);
	MUST(flock(fd, LOCK_SH) == 0);
	if (tell("bsd-shared") < 0)
		return -1;
	if (await("bsd-shared-too") < 0)
		return -1;
	MUST_FAIL(flock(fd, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	if (tell("bsd-refused") < 0)
		return -1;
	if (await("bsd-let-go") < 0)
		return -1;
	MUST(flock(fd, LOCK_EX | LOCK_NB) == 0);
	if (tell("bsd-held") < 0)
		return -1;
	if (await("bsd-waits") < 0)
		return -1;
	usleep(100000);
	if (tell("bsd-lets-go") < 0)
		return -1;
	MUST(close(fd) == 0);
	return 0;
}

static int bsd_second(void)
{
	if (await("bsd-shared") < 0)
		return -1;
	fd = open_shared("bsd");
	MUST(fd >= 0);
	MUST(flock(fd, LOCK_SH | LOCK_NB) == 0);
	if (tell("bsd-shared-too") < 0)
		return -1;
	if (await("bsd-refused") < 0)
		return -1;
	MUST(flock(fd, LOCK_UN) == 0);
	if (tell("bsd-let-go") < 0)
		return -1;
	if (await("bsd-held") < 0)
		return -1;
	MUST_FAIL(flock(fd, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	if (tell("bsd-waits") < 0)
		return -1;
	MUST(flock(fd, LOCK_EX) == 0);
	MUST(is_told("bsd-lets-go"));
	MUST(close(fd) == 0);
	return 0;
}

/* One number that both count up, each time under a lock. Its size stays, which
 * is an attribute that a guest may remember for a second. */
static int count_up(bool bsd)
{
	const char *counter = bsd ? "counter-bsd" : "counter-posix";
	int lock = open_shared(bsd ? "lock-bsd" : "lock-posix");

	MUST(lock >= 0);
	for (int i = 0; i < ROUNDS; i++) {
		char text[16] = "";
		int at, n;

		MUST((bsd ? flock(lock, LOCK_EX)
			  : posix_lock(lock, F_SETLKW, F_WRLCK, 0, 0)) == 0);
		at = open(name_of(counter), O_RDWR);
		MUST(at >= 0 && read(at, text, 8) == 8);
		n = snprintf(text, sizeof(text), "%08d", atoi(text) + 1);
		MUST(n == 8 && pwrite(at, text, n, 0) == n);
		MUST(fsync(at) == 0 && close(at) == 0);
		MUST((bsd ? flock(lock, LOCK_UN)
			  : posix_lock(lock, F_SETLK, F_UNLCK, 0, 0)) == 0);
	}
	MUST(close(lock) == 0);
	return 0;
}

static int counted(const char *mine, const char *others)
{
	char want[16];

	if (tell(mine) < 0)
		return -1;
	if (await(others) < 0)
		return -1;
	snprintf(want, sizeof(want), "%08d", 2 * ROUNDS);
	if (work_is(name_of("counter-posix"), want) < 0)
		return -1;
	return work_is(name_of("counter-bsd"), want);
}

static int counter_first(void)
{
	if (work_put(name_of("counter-posix"), "00000000") < 0 ||
	    work_put(name_of("counter-bsd"), "00000000") < 0 ||
	    tell("counters") < 0)
		return -1;
	if (count_up(false) < 0 || count_up(true) < 0)
		return -1;
	return counted("counted-1", "counted-2");
}

static int counter_second(void)
{
	if (await("counters") < 0)
		return -1;
	if (count_up(false) < 0 || count_up(true) < 0)
		return -1;
	return counted("counted-2", "counted-1");
}

/* ---- neither stalls the other ---- */

/* Some of everything, in files of its own. */
static int work_a_while(const char *dir)
{
	char name[64];

	MUST(mkdir(dir, 0755) == 0);
	for (int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "%s/%d", dir, i);
		if (work_put(name, "text") < 0 || work_is(name, "text") < 0)
			return -1;
		MUST(unlink(name) == 0);
	}
	snprintf(name, sizeof(name), "%s/large", dir);
	if (put_pattern(name, 5) < 0)
		return -1;
	MUST(close(fd) == 0);
	return work_is_pattern(name, LEN, 5);
}

static pid_t wait_for_lock(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		int at = open_shared("waited-for");

		_exit(posix_lock(at, F_SETLKW, F_RDLCK, 0, 1) == 0 ? 0 : 1);
	}
	return pid;
}

/* Waiters of one guest are in nobody's way, their own guest's neither. */
static int waiters_first(void)
{
	pid_t pids[WAITERS];

	if (await("waiters-held") < 0)
		return -1;
	for (int i = 0; i < WAITERS; i++) {
		pids[i] = wait_for_lock();
		MUST(pids[i] > 0);
	}
	if (work_a_while(name_of("busy-1")) < 0)
		return -1;
	for (int i = 0; i < WAITERS; i++)
		MUST(waitpid(pids[i], NULL, WNOHANG) == 0);
	if (tell("waiters-wait") < 0)
		return -1;
	for (int i = 0; i < WAITERS; i++) {
		int status;

		MUST(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
	}
	return 0;
}

static int waiters_second(void)
{
	int held;

	fd = open_shared("waited-for");
	MUST(fd >= 0);
	MUST(posix_lock(fd, F_SETLK, F_WRLCK, 0, 1) == 0);
	if (tell("waiters-held") < 0)
		return -1;
	if (await("waiters-wait") < 0)
		return -1;
	held = fd;
	if (work_a_while(name_of("busy-2")) < 0)
		return -1;
	MUST(posix_lock(held, F_SETLK, F_UNLCK, 0, 1) == 0);
	MUST(close(held) == 0);
	return 0;
}

/* The host stops this guest amid requests of many, and lets it go on when the
 * other one has done its work. */
static pid_t write_without_end(int nr)
{
	pid_t pid = fork();
	char name[32];

	if (pid == 0) {
		snprintf(name, sizeof(name), "endless-%d.%d", nr, round_nr);
		for (unsigned i = 0;; i++) {
			put_pattern(name, i);
			close(fd);
		}
	}
	return pid;
}

static int stopped_first(void)
{
	pid_t pids[WRITERS];
	char word[32];

	for (int i = 0; i < WRITERS; i++) {
		pids[i] = write_without_end(i);
		MUST(pids[i] > 0);
	}
	snprintf(word, sizeof(word), "stop me %d", round_nr);
	work_note(word);
	if (await("worked-meanwhile") < 0)
		return -1;
	for (int i = 0; i < WRITERS; i++) {
		MUST(kill(pids[i], SIGKILL) == 0);
		MUST(waitpid(pids[i], NULL, 0) == pids[i]);
	}
	return work_a_while(name_of("busy-3"));
}

static int stopped_second(void)
{
	if (await("is-stopped") < 0)
		return -1; /* the host's word */
	if (work_a_while(name_of("busy-4")) < 0)
		return -1;
	return tell("worked-meanwhile");
}

static const struct work_step first[] = {
    {"share_data", data_first},
    {"share_posix_locks", posix_first},
    {"share_bsd_locks", bsd_first},
    {"share_counter", counter_first},
    {"share_waiters", waiters_first},
    {"share_stopped", stopped_first},
    {NULL, NULL},
};

static const struct work_step second[] = {
    {"share_data", data_second},
    {"share_posix_locks", posix_second},
    {"share_bsd_locks", bsd_second},
    {"share_counter", counter_second},
    {"share_waiters", waiters_second},
    {"share_stopped", stopped_second},
    {NULL, NULL},
};

const struct work_step *work_share_steps(int part, int round)
{
	round_nr = round;
	return part == round ? first : second;
}
