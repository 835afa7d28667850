/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "rawvhu.h"
#include "recsink.h"

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

struct place {
	char dir[32];
	char path[64];
	char uri[80];
	struct rec rec;
	struct virtiofs_transport *t; /* NULL: not opened */
	unsigned fds;
};

static int set_up(void **state)
{
	static struct place p;

	memset(&p, 0, sizeof(p));
	p.fds = raw_fd_cnt();
	strcpy(p.dir, "/tmp/vhulisten-XXXXXX");
	assert_non_null(mkdtemp(p.dir));
	snprintf(p.path, sizeof(p.path), "%s/sock", p.dir);
	snprintf(p.uri, sizeof(p.uri), "vhost-user:%s", p.path);
	*state = &p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;

	if (p->t)
		rec_fini(&p->rec);
	/* nothing is left behind */
	assert_int_equal(rmdir(p->dir), 0);
	assert_int_equal(raw_fd_cnt(), p->fds);
	return 0;
}

static void serve(struct place *p)
{
	assert_int_equal(virtiofs_transport_open_device(&p->t, p->uri), 0);
	rec_init(&p->rec, p->t);
}

static void pump(struct place *p)
{
	struct pollfd pfd = {.fd = p->t->fd(p->t), .events = POLLIN};

	for (int i = 0; i < 1000 && poll(&pfd, 1, 0) == 1; i++)
		assert_int_equal(p->t->dev->dispatch(p->t), 0);
	assert_int_equal(poll(&pfd, 1, 0), 0);
}

static int raw_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	return fd;
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	return sa;
}

static int dial(struct place *p)
{
	struct sockaddr_un sa = address(p->path);
	int fd = raw_socket();

	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static uint64_t features(struct place *p, int fd)
{
	struct raw_msg m;

	raw_send(fd, VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	pump(p);
	raw_recv(fd, &m);
	return m.u64;
}

static void socket_goes_with_the_device(void **state)
{
	struct place *p = *state;
	struct stat st;

	serve(p);
	assert_int_equal(lstat(p->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	rec_fini(&p->rec);
	p->t = NULL;
	assert_int_equal(lstat(p->path, &st), -1);
}

static void stale_socket_is_replaced(void **state)
{
	struct place *p = *state;
	struct sockaddr_un sa = address(p->path);
	int fd = raw_socket();

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
	serve(p);
	fd = dial(p);
	assert_true(features(p, fd) & VIRTIOFS_F_VERSION_1);
	close(fd);
}

static void socket_in_use_is_left_alone(void **state)
{
	struct place *p = *state;
	struct virtiofs_transport *t;
	int fd;

	serve(p);
	assert_int_equal(virtiofs_transport_open_device(&t, p->uri),
			 -EADDRINUSE);
	assert_non_null(strstr(virtiofs_last_error(), p->path));
	assert_non_null(strstr(virtiofs_last_error(), "listens"));
	pump(p);
	assert_int_equal(p->rec.losses, 0);
	/* also while it is busy and others wait */
	fd = dial(p);
	features(p, fd);
	for (int i = 0; i < 5; i++)
		assert_int_equal(virtiofs_transport_open_device(&t, p->uri),
				 -EADDRINUSE);
	assert_true(features(p, fd) & VIRTIOFS_F_VERSION_1);
	close(fd);
}

static void file_in_the_way_is_left_alone(void **state)
{
	struct place *p = *state;
	struct virtiofs_transport *t;
	int fd = open(p->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	close(fd);
	assert_int_equal(virtiofs_transport_open_device(&t, p->uri),
			 -EADDRINUSE);
	assert_non_null(strstr(virtiofs_last_error(), "not a socket"));
	assert_int_equal(unlink(p->path), 0);
}

static void socket_of_somebody_else_is_not_unlinked(void **state)
{
	struct place *p = *state;
	struct sockaddr_un sa = address(p->path);
	struct stat st;
	int fd;

	serve(p);
	assert_int_equal(unlink(p->path), 0);
	fd = raw_socket();
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	rec_fini(&p->rec);
	p->t = NULL;
	assert_int_equal(lstat(p->path, &st), 0);
	unlink(p->path);
	close(fd);
}

static void names_that_can_not_be(void **state)
{
	struct place *p = *state;
	struct virtiofs_transport *t;
	char uri[200];

	snprintf(uri, sizeof(uri), "vhost-user:%s/nowhere/sock", p->dir);
	assert_int_equal(virtiofs_transport_open_device(&t, uri), -ENOENT);
	memset(uri, 'a', sizeof(uri) - 1);
	uri[sizeof(uri) - 1] = '\0';
	memcpy(uri, "vhost-user:", 11);
	assert_int_equal(virtiofs_transport_open_device(&t, uri),
			 -ENAMETOOLONG);
	assert_int_equal(virtiofs_transport_open_device(&t, "vhost-user:"),
			 -EINVAL);
	assert_int_equal(virtiofs_transport_open_client(&t, "vhost-user:"),
			 -EINVAL);
	assert_int_equal(virtiofs_transport_open_device(&t, NULL), -EINVAL);
	assert_int_equal(virtiofs_transport_open_client(&t, NULL), -EINVAL);
	assert_int_equal(virtiofs_transport_open_device(&t, "inproc:"),
			 -EINVAL);
	assert_int_equal(virtiofs_transport_open_client(&t, p->path), -EINVAL);
	assert_non_null(strstr(virtiofs_last_error(), "vhost-user:PATH"));
	/* the other end's */
	assert_int_equal(virtiofs_transport_open_client(&t, "vduse:x"),
			 -EINVAL);
	assert_int_equal(virtiofs_transport_open_device(&t, "vdpa:x"), -EINVAL);
	assert_int_equal(virtiofs_transport_open_device(&t, "vfio:x"), -EINVAL);
}

static void next_front_end_waits_for_the_first(void **state)
{
	struct place *p = *state;
	int a, b;

	serve(p);
	a = dial(p);
	features(p, a);
	b = dial(p);
	raw_send(b, VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	pump(p);
	assert_true(raw_quiet(b));
	assert_true(features(p, a) != 0);
	/* and until the session has let go of the first */
	p->rec.hold = true;
	close(a);
	pump(p);
	assert_int_equal(p->rec.losses, 1);
	assert_true(raw_quiet(b));
	rec_answer_reset(&p->rec);
	p->rec.hold = false;
	pump(p);
	assert_false(raw_quiet(b));
	close(b);
}

static void visitor_that_says_nothing_is_no_session(void **state)
{
	struct place *p = *state;
	int fd;

	serve(p);
	fd = dial(p);
	pump(p);
	close(fd);
	pump(p);
	assert_string_equal(p->rec.text, "");
}

/* Take every fd that this process may have. */
static unsigned take_fds(int *fds, unsigned max)
{
	unsigned n = 0;

	while (n < max && (fds[n] = dup(STDERR_FILENO)) >= 0)
		n++;
	assert_in_range(n, 1, max - 1);
	assert_int_equal(errno, EMFILE);
	return n;
}

/* Who waits for that keeps the listener readable; the loop must not spin. */
static void front_end_waits_for_a_free_fd(void **state)
{
	struct place *p = *state;
	struct rlimit old, few = {.rlim_cur = 100};
	struct pollfd pfd = {.events = POLLIN};
	unsigned rounds = 0;
	int fds[101];
	unsigned n;
	int fd;

	serve(p);
	pfd.fd = p->t->fd(p->t);
	fd = dial(p);
	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	n = take_fds(fds, 101);
	while (rounds < 1000 && poll(&pfd, 1, 0) == 1) {
		assert_int_equal(p->t->dev->dispatch(p->t), 0);
		rounds++;
	}
	assert_in_range(rounds, 1, 999);
	assert_true(raw_quiet(fd));
	while (n)
		close(fds[--n]);
	setrlimit(RLIMIT_NOFILE, &old);
	/* Without anything from us it is looked at again. */
	assert_int_equal(poll(&pfd, 1, 60000), 1);
	assert_true(features(p, fd) & VIRTIOFS_F_VERSION_1);
	close(fd);
}

/* One whole life of a front-end, up to where it vanishes. */
static void front_end(struct place *p, int mem, unsigned how_far)
{
	int fd = dial(p);
	uint64_t pf = VU_PF(CONFIGURE_MEM_SLOTS) | VU_PF(BACKEND_REQ);
	uint64_t f = VIRTIOFS_F_VERSION_1;
	uint64_t at = 0x10000;
	struct vu_mem_reg m = {.region = {at, 0x4000, at, 0}};
	struct vu_vring_state s = {.num = 8};
	struct vu_vring_addr a = {
	    .desc = at, .avail = at + 0x1000, .used = at + 0x2000};
	uint64_t zero = 0x100;
	int sv[2];

	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv);
	if (how_far > 0)
		raw_send(fd, VU_SET_PROTOCOL_FEATURES, 1, &pf, 8, NULL, 0);
	if (how_far > 1)
		raw_send(fd, VU_SET_FEATURES, 1, &f, 8, NULL, 0);
	if (how_far > 2)
		raw_send(fd, VU_SET_BACKEND_REQ_FD, 1, NULL, 0, &sv[1], 1);
	if (how_far > 3)
		raw_send(fd, VU_ADD_MEM_REG, 1, &m, sizeof(m), &mem, 1);
	if (how_far > 4) {
		raw_send(fd, VU_SET_VRING_NUM, 1, &s, 8, NULL, 0);
		raw_send(fd, VU_SET_VRING_ADDR, 1, &a, sizeof(a), NULL, 0);
	}
	if (how_far > 5)
		raw_send(fd, VU_SET_VRING_KICK, 1, &zero, 8, NULL, 0);
	pump(p);
	assert_int_equal(p->rec.started[0], how_far > 5);
	close(fd);
	close(sv[0]);
	close(sv[1]);
	pump(p);
}

/* covers: VHU-BTH-23 */
static void device_listens_again_and_keeps_nothing(void **state)
{
	struct place *p = *state;
	int mem = raw_memfd(0x4000);
	unsigned fds;

	serve(p);
	fds = raw_fd_cnt();
	for (unsigned i = 0; i < 1000; i++) {
		front_end(p, mem, i % 7);
		assert_int_equal(raw_fd_cnt(), fds);
		assert_null(p->rec.table);
		assert_false(p->rec.started[0]);
	}
	/* nothing of the old connection is in force in the new one */
	{
		int fd = dial(p);

		raw_send(fd, VU_GET_MAX_MEM_SLOTS, VU_VERSION, NULL, 0, NULL,
			 0);
		pump(p);
		assert_true(raw_closed(fd));
		close(fd);
	}
	close(mem);
}

static void connected_socket_serves_one_front_end(void **state)
{
	struct place *p = *state;
	struct virtiofs_transport *t;
	struct raw_msg m;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	assert_int_equal(virtiofs_vhost_user_device_fd(&t, sv[0]), 0);
	rec_init(&p->rec, t);
	p->t = t;
	raw_send(sv[1], VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	assert_int_equal(t->dev->dispatch(t), 0);
	raw_recv(sv[1], &m);
	close(sv[1]);
	assert_int_equal(t->dev->dispatch(t), -ENOTCONN);
	assert_int_equal(p->rec.losses, 1);
	assert_int_equal(t->dev->dispatch(t), -ENOTCONN);
	assert_int_equal(p->rec.losses, 1);
}

static void listening_fd_is_served_and_not_unlinked(void **state)
{
	struct place *p = *state;
	struct sockaddr_un sa = address(p->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;
	int peer;

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(virtiofs_vhost_user_listen_fd(&p->t, fd), 0);
	rec_init(&p->rec, p->t);
	for (int i = 0; i < 3; i++) {
		peer = dial(p);
		assert_true(features(p, peer) & VIRTIOFS_F_VERSION_1);
		close(peer);
		pump(p);
	}
	rec_fini(&p->rec);
	p->t = NULL;
	assert_int_equal(lstat(p->path, &st), 0);
	unlink(p->path);
}

static void fds_of_another_kind_are_refused(void **state)
{
	struct place *p = *state;
	struct virtiofs_transport *t;
	struct sockaddr_un sa = address(p->path);
	int sv[2], dgram[2], pipes[2];
	int listener = raw_socket();

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv);
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, dgram);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(virtiofs_vhost_user_listen_fd(&t, sv[0]), -EINVAL);
	assert_int_equal(virtiofs_vhost_user_device_fd(&t, listener), -EINVAL);
	assert_int_equal(virtiofs_vhost_user_client_fd(&t, listener), -EINVAL);
	assert_int_equal(virtiofs_vhost_user_device_fd(&t, dgram[0]), -EINVAL);
	assert_int_equal(virtiofs_vhost_user_client_fd(&t, pipes[0]),
			 -ENOTSOCK);
	assert_int_equal(virtiofs_vhost_user_listen_fd(&t, -1), -EBADF);
	/* still the caller's */
	assert_int_equal(close(listener), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(close(sv[i]), 0);
		assert_int_equal(close(dgram[i]), 0);
		assert_int_equal(close(pipes[i]), 0);
	}
	unlink(p->path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(socket_goes_with_the_device),
	    T(stale_socket_is_replaced),
	    T(socket_in_use_is_left_alone),
	    T(file_in_the_way_is_left_alone),
	    T(socket_of_somebody_else_is_not_unlinked),
	    T(names_that_can_not_be),
	    T(next_front_end_waits_for_the_first),
	    T(visitor_that_says_nothing_is_no_session),
	    T(front_end_waits_for_a_free_fd),
	    T(device_listens_again_and_keeps_nothing),
	    T(connected_socket_serves_one_front_end),
	    T(listening_fd_is_served_and_not_unlinked),
	    T(fds_of_another_kind_are_refused),
	};

	return cmocka_run_group_tests_name("vhu_listen", tests, NULL, NULL);
}
