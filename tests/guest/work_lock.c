/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX, open-file-description and BSD locks between processes of the guest. */
#include "work.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

static int fd, pipe_to_parent[2];

static int set(int cmd, int type, off_t start, off_t len)
{
	struct flock fl = {.l_type = type, .l_whence = SEEK_SET};

	fl.l_start = start;
	fl.l_len = len;
	return fcntl(fd, cmd, &fl);
}

static int child_result(pid_t pid)
{
	int status;

	MUST(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* 0 if the other process' lock on bytes 10..19, and only that, is in the way.
 */
static int probe_posix(pid_t owner)
{
	struct flock fl = {
	    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 100};

	if (set(F_SETLK, F_WRLCK, 15, 1) != -1 ||
	    (errno != EAGAIN && errno != EACCES))
		return 1;
	if (set(F_SETLK, F_WRLCK, 20, 10) != 0 ||
	    set(F_SETLK, F_WRLCK, 0, 10) != 0)
		return 2;
	if (fcntl(fd, F_GETLK, &fl) != 0 || fl.l_type != F_WRLCK)
		return 3;
	if (fl.l_start != 10 || fl.l_len != 10 || fl.l_pid != owner)
		return 4;
	return 0;
}

static int posix_locks(void)
{
	pid_t pid, self = getpid();

	if (work_put("locks", "0123456789") < 0)
		return -1;
	fd = open("locks", O_RDWR);
	MUST(fd >= 0);
	MUST(set(F_SETLK, F_WRLCK, 10, 10) == 0);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0)
		_exit(probe_posix(self));
	MUST(child_result(pid) == 0);
	MUST(set(F_SETLK, F_UNLCK, 0, 0) == 0);
	pid = fork();
	if (pid == 0)
		_exit(set(F_SETLK, F_WRLCK, 0, 0) == 0 ? 0 : 1);
	MUST(child_result(pid) == 0);
	/* The child is gone, and so is its lock. */
	MUST(set(F_SETLK, F_WRLCK, 0, 0) == 0);
	MUST(close(fd) == 0);
	return 0;
}

/* Requests that are answered in order can't wait: virtiofs-server(1). */
static int refused_lock_in_order(void)
{
	pid_t pid;

	fd = open("locks", O_RDWR);
	MUST(fd >= 0);
	MUST(set(F_SETLKW, F_WRLCK, 0, 10) == 0);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		errno = 0;
		_exit(set(F_SETLKW, F_WRLCK, 0, 10) == -1 && errno == ENOLCK
			  ? 0
			  : 1);
	}
	MUST(child_result(pid) == 0);
	MUST(close(fd) == 0);
	return 0;
}

/* The waiter tells that it waits, and gets the lock when we let go. */
static int waits_for_lock(void)
{
	char c = 0;
	pid_t pid;

	if (getenv("VT_IN_ORDER"))
		return refused_lock_in_order();

	fd = open("locks", O_RDWR);
	MUST(fd >= 0 && pipe(pipe_to_parent) == 0);
	MUST(set(F_SETLK, F_WRLCK, 0, 10) == 0);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		alarm(60);
		if (write(pipe_to_parent[1], "w", 1) != 1)
			_exit(1);
		_exit(set(F_SETLKW, F_WRLCK, 0, 10) == 0 ? 0 : 2);
	}
	MUST(read(pipe_to_parent[0], &c, 1) == 1 && c == 'w');
	usleep(50000);
	MUST(waitpid(pid, NULL, WNOHANG) == 0);
	MUST(set(F_SETLK, F_UNLCK, 0, 10) == 0);
	MUST(child_result(pid) == 0);
	close(pipe_to_parent[0]);
	close(pipe_to_parent[1]);
	MUST(close(fd) == 0);
	return 0;
}

static int ofd_locks(void)
{
	int other, mine;

	mine = open("locks", O_RDWR);
	other = open("locks", O_RDWR);
	MUST(mine >= 0 && other >= 0);
	fd = mine;
	MUST(set(F_OFD_SETLK, F_WRLCK, 0, 5) == 0);
	fd = other;
	MUST_FAIL(set(F_OFD_SETLK, F_WRLCK, 0, 1), EAGAIN);
	MUST(set(F_OFD_SETLK, F_WRLCK, 5, 5) == 0);
	MUST(close(mine) == 0);
	MUST(set(F_OFD_SETLK, F_WRLCK, 0, 1) == 0);
	MUST(close(other) == 0);
	return 0;
}

static int bsd_locks(void)
{
	int a, b;

	a = open("locks", O_RDWR);
	b = open("locks", O_RDWR);
	MUST(a >= 0 && b >= 0);
	MUST(flock(a, LOCK_SH | LOCK_NB) == 0);
	MUST(flock(b, LOCK_SH | LOCK_NB) == 0);
	MUST_FAIL(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	MUST(flock(b, LOCK_UN) == 0);
	MUST(flock(a, LOCK_EX | LOCK_NB) == 0);
	MUST_FAIL(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	MUST(close(a) == 0);
	MUST(flock(b, LOCK_EX | LOCK_NB) == 0);
	MUST(close(b) == 0);
	return 0;
}

const struct work_step work_lock_steps[] = {
    {"posix_locks", posix_locks},
    {"waits_for_lock", waits_for_lock},
    {"ofd_locks", ofd_locks},
    {"bsd_locks", bsd_locks},
    {NULL, NULL},
};
