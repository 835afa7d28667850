/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/evfd.h"

static void event_is_signalled_and_drained(void **state)
{
	uint64_t n = 0;
	int fd;

	assert_int_equal(vtfs_evfd_new(&fd), 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	vtfs_evfd_drain(fd);
	vtfs_evfd_signal(fd);
	vtfs_evfd_signal(fd);
	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 2);
	errno = EDOM;
	vtfs_evfd_signal(-1);
	assert_int_equal(errno, EDOM);
	close(fd);
}

static void only_an_eventfd_is_one(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_true(vtfs_evfd_is(fd));
	assert_false(vtfs_evfd_is(p[0]));
	assert_false(vtfs_evfd_is(-1));
	close(fd);
	close(p[0]);
	close(p[1]);
}

static void bell_rings_each_kind(void **state)
{
	int ev = eventfd(0, EFD_CLOEXEC);
	int pairs[2][2];
	uint64_t n = 0;
	struct vtfs_bell b;

	assert_int_equal(pipe2(pairs[0], O_CLOEXEC), 0);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[1]);
	assert_int_equal(vtfs_bell_open(&b, ev), 0);
	assert_int_not_equal(b.fd, ev);
	vtfs_bell_ring(&b);
	vtfs_bell_close(&b);
	assert_int_equal(read(ev, &n, sizeof(n)), sizeof(n));
	assert_int_equal(n, 1);
	for (int i = 0; i < 2; i++) {
		n = 0;
		assert_int_equal(vtfs_bell_open(&b, pairs[i][1]), 0);
		vtfs_bell_ring(&b);
		vtfs_bell_close(&b);
		assert_int_equal(read(pairs[i][0], &n, sizeof(n)), sizeof(n));
		assert_int_equal(n, 1);
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
	close(ev);
}

/* Any ioctl that takes an int shows that it was made. */
static void bell_that_is_an_ioctl_passes_its_argument(void **state)
{
	struct vtfs_bell b;
	int pair[2];

	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
	assert_int_equal(vtfs_bell_open_ioctl(&b, pair[0], FIONBIO, 1), 0);
	assert_int_not_equal(b.fd, pair[0]);
	assert_int_equal(fcntl(pair[0], F_GETFL) & O_NONBLOCK, 0);
	vtfs_bell_ring(&b);
	assert_int_equal(fcntl(pair[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	vtfs_bell_close(&b);
	assert_int_equal(vtfs_bell_open_ioctl(&b, pair[0], FIONBIO, 0), 0);
	vtfs_bell_ring(&b);
	assert_int_equal(fcntl(pair[0], F_GETFL) & O_NONBLOCK, 0);
	vtfs_bell_close(&b);
	assert_int_equal(vtfs_bell_open_ioctl(&b, -1, FIONBIO, 0), -EBADF);
	close(pair[0]);
	close(pair[1]);
}

static void bell_of_nothing_is_silent(void **state)
{
	struct vtfs_bell b;

	assert_int_equal(vtfs_bell_open(&b, -1), 0);
	assert_int_equal(b.fd, -1);
	vtfs_bell_ring(&b);
	vtfs_bell_close(&b);
}

static void bell_of_a_file_is_refused(void **state)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct vtfs_bell b;

	assert_int_equal(vtfs_bell_open(&b, fd), -EINVAL);
	close(fd);
	assert_int_equal(vtfs_bell_open(&b, fd), -EBADF);
}

/* covers: VHU-DEV-31 */
static void bell_that_is_full_does_not_block(void **state)
{
	uint64_t max = UINT64_MAX - 1;
	int ev = eventfd(0, EFD_CLOEXEC);
	int pairs[2][2];
	char junk[4096] = {0};
	struct vtfs_bell b;

	/* All of them blocking: only we know better. */
	assert_int_equal(write(ev, &max, sizeof(max)), sizeof(max));
	assert_int_equal(pipe2(pairs[0], O_CLOEXEC | O_NONBLOCK), 0);
	while (write(pairs[0][1], junk, sizeof(junk)) > 0)
		;
	fcntl(pairs[0][1], F_SETFL, 0);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[1]);
	while (send(pairs[1][1], junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	alarm(20);
	assert_int_equal(vtfs_bell_open(&b, ev), 0);
	vtfs_bell_ring(&b);
	vtfs_bell_close(&b);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vtfs_bell_open(&b, pairs[i][1]), 0);
		vtfs_bell_ring(&b);
		vtfs_bell_close(&b);
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
	alarm(0);
	close(ev);
}

static volatile sig_atomic_t pipes_broken;

static void on_sigpipe(int sig)
{
	pipes_broken++;
}

static void bell_nobody_hears_raises_no_signal(void **state)
{
	struct sigaction sa = {.sa_handler = on_sigpipe};
	struct sigaction old;
	uint32_t word = 0;
	int pairs[2][2];
	struct vtfs_bell b;

	sigaction(SIGPIPE, &sa, &old);
	assert_int_equal(pipe2(pairs[0], O_CLOEXEC), 0);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[1]);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(vtfs_bell_open(&b, pairs[i][1]), 0);
		close(pairs[i][0]);
		vtfs_bell_ring(&b);
		assert_int_equal(vtfs_pipe_write(pairs[i][1], &word, 4),
				 -EAGAIN);
		vtfs_bell_close(&b);
		close(pairs[i][1]);
	}
	assert_int_equal(pipes_broken, 0);
	sigaction(SIGPIPE, &old, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(event_is_signalled_and_drained),
	    cmocka_unit_test(only_an_eventfd_is_one),
	    cmocka_unit_test(bell_rings_each_kind),
	    cmocka_unit_test(bell_that_is_an_ioctl_passes_its_argument),
	    cmocka_unit_test(bell_of_nothing_is_silent),
	    cmocka_unit_test(bell_of_a_file_is_refused),
	    cmocka_unit_test(bell_that_is_full_does_not_block),
	    cmocka_unit_test(bell_nobody_hears_raises_no_signal),
	};

	return cmocka_run_group_tests_name("evfd", tests, NULL, NULL);
}
