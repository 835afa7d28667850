/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages in pieces, with their file descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <virtiofs/base.h>

#include "leaks.h"
#include "transport/socket.h"

#define LARGE (1u << 20)

struct fix {
	int ours, theirs;
	unsigned fds_before;
	char head[4];
	unsigned char body[16];
	size_t got;
	int fds[2];
	unsigned fd_cnt;
	struct vtfs_sock_in in;
};

static int set_up(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));
	int sv[2];

	x->fds_before = raw_fd_cnt();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	x->ours = sv[0];
	x->theirs = sv[1];
	x->in = (struct vtfs_sock_in){
	    .name = "test",
	    .head = x->head,
	    .head_len = sizeof(x->head),
	    .body = x->body,
	    .got = &x->got,
	    .fds = x->fds,
	    .fd_cnt = &x->fd_cnt,
	    .fd_max = 2,
	};
	*state = x;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *x = *state;

	vtfs_sock_close_fds(x->fds, &x->fd_cnt);
	close(x->ours);
	if (x->theirs >= 0)
		close(x->theirs);
	assert_int_equal(raw_fd_cnt(), x->fds_before);
	free(x);
	return 0;
}

static void send_fds(struct fix *x, const char *text, unsigned cnt)
{
	int fd = eventfd(0, EFD_CLOEXEC), fds[8];

	for (unsigned i = 0; i < cnt; i++)
		fds[i] = fd;
	assert_int_equal(
	    vtfs_sock_send(x->theirs, text, strlen(text), fds, cnt),
	    strlen(text));
	close(fd);
}

/* Never one byte beyond the place, and each where it belongs. */
static void message_comes_cut_anywhere(void **state)
{
	struct fix *x = *state;

	for (const char *p = "headbody"; *p; p++) {
		assert_int_equal(vtfs_sock_recv_until(x->ours, &x->in, 8),
				 -EAGAIN);
		assert_int_equal(send(x->theirs, p, 1, 0), 1);
	}
	assert_int_equal(send(x->theirs, "next", 4, 0), 4);
	assert_int_equal(vtfs_sock_recv_until(x->ours, &x->in, 4), 1);
	assert_int_equal(vtfs_sock_recv_until(x->ours, &x->in, 8), 1);
	assert_int_equal(x->got, 8);
	assert_memory_equal(x->head, "head", 4);
	assert_memory_equal(x->body, "body\0", 5);
	x->got = 0;
	assert_int_equal(vtfs_sock_recv_until(x->ours, &x->in, 4), 1);
	assert_memory_equal(x->head, "next", 4);
}

static void fds_may_come_with_any_part(void **state)
{
	struct fix *x = *state;

	send_fds(x, "he", 1);
	assert_int_equal(vtfs_sock_recv_until(x->ours, &x->in, 4), -EAGAIN);
	send_fds(x, "ad", 1);
	assert_int_equal(vtfs_sock_recv_until(x->ours, &x->in, 4), 1);
	assert_int_equal(x->fd_cnt, 2);
	/* One that somebody took is his. */
	close(x->fds[0]);
	x->fds[0] = -1;
}

static void more_fds_than_a_message_has(void **state)
{
	struct fix *x = *state;

	send_fds(x, "head", 3);
	assert_int_equal(vtfs_sock_recv_until(x->ours, &x->in, 4), -EPROTO);
	assert_non_null(strstr(virtiofs_last_error(),
			       "test: more than 2 file descriptors"));
	assert_int_equal(x->fd_cnt, 2);
}

static void peer_that_hangs_up_between_or_within(void **state)
{
	for (unsigned bytes = 0; bytes < 8; bytes++) {
		struct fix *x;

		set_up((void **)&x);
		assert_int_equal(send(x->theirs, "headbody", bytes, 0), bytes);
		close(x->theirs);
		x->theirs = -1;
		assert_int_equal(vtfs_sock_recv_until(x->ours, &x->in, 8),
				 bytes ? -EPROTO : -ENOTCONN);
		if (bytes)
			assert_non_null(strstr(virtiofs_last_error(),
					       "test: hung up in the middle"));
		tear_down((void **)&x);
	}
	(void)state;
}

/* Its fds go with the first byte, once, and are closed then. */
static void message_goes_out_as_there_is_room(void **state)
{
	struct fix *x = *state;
	unsigned char *data = calloc(1, LARGE), *back = calloc(1, LARGE);
	int had = eventfd(0, EFD_CLOEXEC), fds[1], more[2];
	struct vtfs_sock_fds came = {more, 0, 2};
	unsigned cnt = 0;
	size_t sent = 0, got = 0;
	struct vtfs_sock_out out = {data, LARGE, &sent, fds, &cnt};

	for (size_t i = 0; i < LARGE; i++)
		data[i] = (unsigned char)(i * 7);
	assert_int_equal(vtfs_sock_dup_fds(fds, &cnt, &had, 1), 0);
	assert_int_equal(cnt, 1);
	assert_int_equal(vtfs_sock_flush(x->ours, &out), -EAGAIN);
	assert_int_equal(cnt, 0);
	assert_in_range(sent, 1, LARGE - 1);
	while (got < LARGE) {
		ssize_t n = vtfs_sock_recv(x->theirs, back + got, LARGE - got,
					   &came);

		assert_true(n > 0);
		got += (size_t)n;
		vtfs_sock_flush(x->ours, &out);
	}
	assert_int_equal(vtfs_sock_flush(x->ours, &out), 0);
	assert_memory_equal(data, back, LARGE);
	assert_int_equal(came.cnt, 1);
	close(more[0]);
	close(had);
	sent = 0;
	close(x->theirs);
	x->theirs = -1;
	assert_int_equal(vtfs_sock_flush(x->ours, &out), -ENOTCONN);
	free(data);
	free(back);
}

/* What was made before the fault is still in the list. */
static void fd_that_cannot_be_duplicated(void **state)
{
	int fds[2] = {0, 100000}, dups[2];
	struct rlimit had, now;
	unsigned cnt = 0;

	assert_int_equal(vtfs_sock_dup_fds(dups, &cnt, fds, 2), -EBADF);
	assert_int_equal(cnt, 1);
	vtfs_sock_close_fds(dups, &cnt);
	getrlimit(RLIMIT_NOFILE, &had);
	now = (struct rlimit){3, had.rlim_max};
	setrlimit(RLIMIT_NOFILE, &now);
	assert_true(vtfs_sock_dup_fds(dups, &cnt, fds, 1) < 0);
	setrlimit(RLIMIT_NOFILE, &had);
	assert_int_equal(cnt, 0);
	(void)state;
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    T(message_comes_cut_anywhere),
	    T(fds_may_come_with_any_part),
	    T(more_fds_than_a_message_has),
	    cmocka_unit_test(peer_that_hangs_up_between_or_within),
	    T(message_goes_out_as_there_is_room),
	    T(fd_that_cannot_be_duplicated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
