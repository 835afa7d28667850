/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One server with several sockets: a device on each, of the same directory. */
#include "harness.h"
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char sock2[sizeof(prog_sock) + 1];

static int set_up(void **state)
{
	int r = prog_set_up(state);

	snprintf(sock2, sizeof(sock2), "%s2", prog_sock);
	return r;
}

static struct program start(const char *sandbox, const char *more1,
			    const char *more2)
{
	const char *args[] = {"--shared-dir",
			      prog_share,
			      "--socket-path",
			      prog_sock,
			      "--socket-path",
			      sock2,
			      "--sandbox",
			      sandbox,
			      more1,
			      more1 ? more2 : NULL,
			      NULL};
	struct program p = prog_start(args, -1);

	if (!prog_says(&p, "serving "))
		fail_msg("%s", p.said);
	return p;
}

/* ---- a guest with an open file, "made" ---- */

struct guest {
	struct virtiofs_client *c;
	uint64_t node, fh;
};

static void make_file(void)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/made", prog_share);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
}

static struct guest open_file(struct virtiofs_client *c)
{
	struct guest g = {.c = c};
	struct fuse_entry_out e;
	struct fuse_open_out o;

	assert_int_equal(virtiofs_call_lookup(c, FUSE_ROOT_ID, "made", &e), 0);
	assert_int_equal(virtiofs_call_open(c, e.nodeid, O_RDWR, &o), 0);
	g.node = e.nodeid;
	g.fh = o.fh;
	return g;
}

static int lock_call(const struct guest *g, uint32_t opcode,
		     struct fuse_lk_in *in, struct fuse_lk_out *out)
{
	const struct iovec room = {.iov_base = out, .iov_len = sizeof(*out)};
	const struct virtiofs_op op = {
	    .size = sizeof(op),
	    .opcode = opcode,
	    .nodeid = g->node,
	    .arg = in,
	    .arg_len = sizeof(*in),
	    .room = &room,
	    .room_cnt = out ? 1 : 0,
	    .user_data = opcode,
	};

	in->fh = g->fh;
	return (int)virtiofs_client_call(g->c, &op);
}

/* Of owner 1: the same number in both guests, which must not matter. */
static int lock(const struct guest *g, uint32_t opcode, uint32_t type,
		uint32_t flags)
{
	struct fuse_lk_in in = {
	    .owner = 1,
	    .lk = {.end = INT64_MAX, .type = type, .pid = 5},
	    .lk_flags = flags,
	};

	return lock_call(g, opcode, &in, NULL);
}

struct waiter {
	struct guest g;
	uint32_t flags;
	int result;
	pthread_t thread;
};

static void *wait_thread(void *arg)
{
	struct waiter *w = arg;

	w->result = lock(&w->g, FUSE_SETLKW, F_WRLCK, w->flags);
	return NULL;
}

static void start_waiter(struct waiter *w, struct guest g, uint32_t flags)
{
	w->g = g;
	w->flags = flags;
	w->result = 1;
	assert_int_equal(pthread_create(&w->thread, NULL, wait_thread, w), 0);
}

static int end_waiter(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	return w->result;
}

/* ---- what each is ---- */

static void check_tags(const char *tag1, const char *tag2)
{
	struct virtiofs_client *a = prog_connect(prog_sock);
	struct virtiofs_client *b = prog_connect(sock2);

	assert_string_equal(virtiofs_client_tag(a), tag1);
	assert_string_equal(virtiofs_client_tag(b), tag2);
	virtiofs_client_free(a);
	virtiofs_client_free(b);
}

static void every_socket_has_its_tag(void **state)
{
	struct program p = start("none", "--tag=one", "--tag=two");

	check_tags("one", "two");
	assert_int_equal(prog_end(&p), 0);
	p = start("none", "--tag=both", NULL);
	check_tags("both", "both");
	assert_int_equal(prog_end(&p), 0);
}

static void all_serve_the_directory_until_the_end(void **state)
{
	static const char *const sandboxes[] = {"none", "chroot"};

	for (size_t i = 0; i < (geteuid() == 0 ? 2 : 1); i++) {
		struct virtiofs_client_info info = {.size = sizeof(info)};
		struct virtiofs_client *a;
		struct fuse_entry_out e;
		struct program p;

		/* A leak checker needs the /proc that is out of reach then. */
		setenv("LSAN_OPTIONS", i > 0 ? "detect_leaks=0" : "", 1);
		p = start(sandboxes[i], "--queues=2", NULL);
		a = prog_connect(prog_sock);
		/* Beside the first one's session. */
		prog_use(sock2);
		prog_use(sock2);
		assert_int_equal(prog_make_dir(a), sizeof(e));
		assert_int_equal(virtiofs_client_get_info(a, &info), 0);
		assert_int_equal(info.device_request_queues, 2);
		virtiofs_client_free(a);
		a = prog_connect(sock2);
		assert_int_equal(
		    virtiofs_call_lookup(a, FUSE_ROOT_ID, "made", &e), 0);
		assert_int_equal(virtiofs_client_get_info(a, &info), 0);
		assert_int_equal(info.device_request_queues, 2);
		assert_int_equal(virtiofs_call_rmdir(a, FUSE_ROOT_ID, "made"),
				 0);
		virtiofs_client_free(a);
		assert_int_equal(prog_end(&p), 0);
		assert_int_equal(access(prog_sock, F_OK), -1);
		assert_int_equal(access(sock2, F_OK), -1);
	}
	unsetenv("LSAN_OPTIONS");
}

/* The first one's name is taken back. */
static void all_sockets_or_none(void **state)
{
	const char *args[] = {"--shared-dir", prog_share,      "--socket-path",
			      sock2,	      "--socket-path", prog_sock,
			      "--sandbox",    "none",	       NULL};
	struct program p = prog_serve("none", NULL), q;

	q = prog_start(args, -1);
	assert_int_equal(prog_status(&q), 1);
	assert_non_null(strstr(q.said, "is in use by another server"));
	assert_int_equal(access(sock2, F_OK), -1);
	prog_use(prog_sock);
	assert_int_equal(prog_end(&p), 0);
}

/* ---- locks ---- */

static void check_who_has_it(const struct guest *g)
{
	struct fuse_lk_in in = {.owner = 1,
				.lk = {.end = INT64_MAX, .type = F_RDLCK}};
	struct fuse_lk_out out;

	assert_int_equal(lock_call(g, FUSE_GETLK, &in, &out), sizeof(out));
	assert_int_equal(out.lk.type, F_WRLCK);
	/* A process of another guest, whose number means nothing here. */
	assert_int_equal(out.lk.pid, 0);
}

static void locks_exclude_each_other(void **state)
{
	for (unsigned pool = 0; pool < 2; pool++) {
		struct program p = start(
		    "none", pool ? "--thread-pool-size=2" : NULL, NULL);
		struct guest a, b;

		make_file();
		a = open_file(prog_connect(prog_sock));
		b = open_file(prog_connect(sock2));
		for (unsigned i = 0; i < 2; i++) {
			uint32_t bsd = i ? FUSE_LK_FLOCK : 0;
			struct waiter w;

			assert_int_equal(lock(&a, FUSE_SETLK, F_WRLCK, bsd), 0);
			assert_int_equal(lock(&b, FUSE_SETLK, F_WRLCK, bsd),
					 -EAGAIN);
			assert_int_equal(lock(&b, FUSE_SETLK, F_RDLCK, bsd),
					 -EAGAIN);
			if (!bsd)
				check_who_has_it(&b);
			start_waiter(&w, b, bsd);
			assert_int_equal(lock(&a, FUSE_SETLK, F_UNLCK, bsd), 0);
			assert_int_equal(end_waiter(&w), 0);
			assert_int_equal(lock(&a, FUSE_SETLK, F_RDLCK, bsd),
					 -EAGAIN);
			assert_int_equal(lock(&b, FUSE_SETLK, F_UNLCK, bsd), 0);
		}
		virtiofs_client_free(a.c);
		virtiofs_client_free(b.c);
		assert_int_equal(prog_end(&p), 0);
	}
}

static void locks_of_a_guest_end_with_it(void **state)
{
	struct program p = start("none", NULL, NULL);

	make_file();
	for (unsigned i = 0; i < 2; i++) {
		uint32_t bsd = i ? FUSE_LK_FLOCK : 0;
		struct guest a = open_file(prog_connect(prog_sock));
		struct guest b = open_file(prog_connect(sock2));
		struct waiter w;

		assert_int_equal(lock(&a, FUSE_SETLK, F_WRLCK, bsd), 0);
		start_waiter(&w, b, bsd);
		virtiofs_client_free(a.c);
		assert_int_equal(end_waiter(&w), 0);
		virtiofs_client_free(b.c);
	}
	assert_int_equal(prog_end(&p), 0);
}

/* By how they ended, not when they began to wait. */
static void waits_for_locks_are_counted(void **state)
{
	for (unsigned pool = 0; pool < 2; pool++) {
		struct program p = start("none", "--stats",
					 pool ? "--thread-pool-size=2" : NULL);
		struct guest a, b;
		char out[8192];

		make_file();
		a = open_file(prog_connect(prog_sock));
		b = open_file(prog_connect(sock2));
		for (unsigned i = 0; i < 3; i++) {
			struct waiter w;

			assert_int_equal(lock(&a, FUSE_SETLK, F_WRLCK, 0), 0);
			start_waiter(&w, b, 0);
			if (i == 0) {
				assert_int_equal(
				    lock(&a, FUSE_SETLK, F_UNLCK, 0), 0);
				assert_int_equal(end_waiter(&w), 0);
				lock(&b, FUSE_SETLK, F_UNLCK, 0);
				continue;
			}
			while (virtiofs_client_interrupt(b.c, FUSE_SETLKW) < 0)
				sched_yield();
			assert_int_equal(end_waiter(&w), -EINTR);
		}
		virtiofs_client_free(a.c);
		virtiofs_client_free(b.c);
		assert_int_equal(kill(p.pid, SIGTERM), 0);
		prog_read_out(&p, out, sizeof(out), NULL);
		assert_int_equal(prog_status(&p), 0);
		assert_non_null(strstr(out, "\nSETLKW                          "
					    "3  failed 2  us"));
	}
}

/* Whoever has the lock could wait for a reply behind the waiter's. */
static void nobody_waits_for_a_lock_in_order(void **state)
{
	for (unsigned pool = 0; pool < 2; pool++) {
		struct program p = start("none", "--in-order",
					 pool ? "--thread-pool-size=2" : NULL);
		struct guest a, b;

		make_file();
		a = open_file(prog_connect(prog_sock));
		b = open_file(prog_connect(sock2));
		for (unsigned i = 0; i < 2; i++) {
			uint32_t bsd = i ? FUSE_LK_FLOCK : 0;

			assert_int_equal(lock(&a, FUSE_SETLKW, F_WRLCK, bsd),
					 0);
			assert_int_equal(lock(&b, FUSE_SETLKW, F_WRLCK, bsd),
					 -ENOLCK);
			assert_int_equal(lock(&a, FUSE_SETLK, F_UNLCK, bsd), 0);
			assert_int_equal(lock(&b, FUSE_SETLKW, F_WRLCK, bsd),
					 0);
		}
		virtiofs_client_free(a.c);
		virtiofs_client_free(b.c);
		assert_int_equal(prog_end(&p), 0);
	}
}

/* ---- neither stalls the other ---- */

static void *open_thread(void *arg)
{
	struct guest *g = arg;
	struct fuse_open_out o;

	virtiofs_call_open(g->c, g->node, O_RDONLY, &o);
	return NULL;
}

/* The FIFO has no other end: its opening blocks all that one guest has. */
static void guest_that_blocks_blocks_itself(void **state)
{
	static const char *const more[] = {"--queues=1",
					   "--thread-pool-size=1"};
	char path[128];

	snprintf(path, sizeof(path), "%s/made", prog_share);
	assert_int_equal(mkfifo(path, 0644), 0);
	for (size_t i = 0; i < 2; i++) {
		struct program p = start("none", more[i], NULL);
		struct guest a = {.c = prog_connect(prog_sock)};
		struct virtiofs_client *b = prog_connect(sock2);
		struct fuse_entry_out e;
		pthread_t thread;
		char out[8192];

		assert_int_equal(
		    virtiofs_call_lookup(a.c, FUSE_ROOT_ID, "made", &e), 0);
		a.node = e.nodeid;
		assert_int_equal(pthread_create(&thread, NULL, open_thread, &a),
				 0);
		/* It has been taken from the ring: LOOKUP, OPEN and INIT. */
		do {
			assert_int_equal(kill(p.pid, SIGUSR1), 0);
			prog_read_out(&p, out, sizeof(out), "descriptors");
		} while (!strstr(out, "queue 1                         3"));
		for (unsigned n = 0; n < 100; n++) {
			struct fuse_attr_out attr;

			assert_int_equal(
			    virtiofs_call_getattr(b, FUSE_ROOT_ID, &attr), 0);
		}
		virtiofs_client_free(b);
		b = prog_connect(sock2);
		virtiofs_client_free(b);
		/* SIGTERM ends what blocks, too. */
		assert_int_equal(prog_end(&p), 0);
		pthread_join(thread, NULL);
		virtiofs_client_free(a.c);
	}
}

static void garbage_costs_its_connection_only(void **state)
{
	struct program p = start("none", NULL, NULL);
	struct virtiofs_client *b = prog_connect(sock2);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char garbage[64];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(garbage, 0xff, sizeof(garbage));
	strcpy(addr.sun_path, prog_sock);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)),
			 0);
	assert_int_equal(send(fd, garbage, sizeof(garbage), 0),
			 sizeof(garbage));
	/* Refused, and it is said which socket it was. */
	assert_int_equal(recv(fd, garbage, 1, 0) > 0, 0);
	close(fd);
	assert_true(prog_says(&p, prog_sock));
	assert_int_equal(prog_make_dir(b), sizeof(struct fuse_entry_out));
	assert_int_equal(virtiofs_call_rmdir(b, FUSE_ROOT_ID, "made"), 0);
	virtiofs_client_free(b);
	prog_use(prog_sock);
	assert_int_equal(prog_end(&p), 0);
}

#define FILES_MIN 64
/* One request queue: see nofile.c. */
#define NOFILE_MIN (2 * (640 + 3 * 8 + FILES_MIN))

static void greedy_guest_leaves_files_to_the_other(void **state)
{
	struct program p = start("none", "--rlimit-nofile=1456",
				 "--inode-file-handles=never");
	struct guest a, b;
	struct fuse_open_out o;
	int r, cnt = 0;

	make_file();
	a = open_file(prog_connect(prog_sock));
	do {
		r = virtiofs_call_open(a.c, a.node, O_RDONLY, &o);
		cnt++;
	} while (r == 0);
	assert_int_equal(r, -EMFILE);
	assert_in_range(cnt, 2, FILES_MIN);
	b = open_file(prog_connect(sock2));
	virtiofs_client_free(a.c);
	virtiofs_client_free(b.c);
	assert_int_equal(prog_end(&p), 0);
}

static void too_few_files_for_both_are_refused(void **state)
{
	const char *args[] = {"--shared-dir",
			      prog_share,
			      "--socket-path",
			      prog_sock,
			      "--socket-path",
			      sock2,
			      "--sandbox=none",
			      "--rlimit-nofile=1455",
			      NULL};
	struct program p = prog_start(args, -1);
	char text[64];

	assert_int_equal(prog_status(&p), 1);
	snprintf(text, sizeof(text), "too small: %d, must be at least %d",
		 NOFILE_MIN - 1, NOFILE_MIN);
	assert_non_null(strstr(p.said, text));
}

/* ---- what is counted ---- */

static void statistics_are_told_apart(void **state)
{
	struct program p = start("none", "--stats", NULL);
	char out[16384], name[128], *first, *second;

	prog_use(sock2);
	assert_int_equal(kill(p.pid, SIGTERM), 0);
	prog_read_out(&p, out, sizeof(out), NULL);
	assert_int_equal(prog_status(&p), 0);
	snprintf(name, sizeof(name), "%s:\n", prog_sock);
	first = strstr(out, name);
	assert_ptr_equal(first, out);
	snprintf(name, sizeof(name), "\n%s:\n", sock2);
	second = strstr(out, name);
	assert_non_null(second);
	*second = 0;
	assert_non_null(strstr(first, "queue 1                         0\n"));
	assert_null(strstr(first, "MKDIR"));
	assert_non_null(strstr(second + 1, "MKDIR                           1  "
					   "failed 0  us p50 "));
}

/* ---- sockets that are passed ---- */

static struct virtiofs_client *client_of(int fd)
{
	struct virtiofs_transport *t;
	struct virtiofs_client *c;

	assert_int_equal(virtiofs_vhost_user_client_fd(&t, fd), 0);
	assert_int_equal(virtiofs_connect(&c, t), 0);
	return c;
}

static void connections_may_be_passed(void **state)
{
	char numbers[2][16];
	const char *args[] = {"--shared-dir", prog_share, "--fd",
			      numbers[0],     "--fd",	  numbers[1],
			      "--sandbox",    "none",	  NULL};
	struct program p;
	struct guest a, b;
	struct waiter w;
	int fds[2][2];

	make_file();
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]),
				 0);
		fcntl(fds[i][0], F_SETFD, FD_CLOEXEC);
		snprintf(numbers[i], sizeof(numbers[i]), "%d", fds[i][1]);
	}
	p = prog_start(args, -1);
	close(fds[0][1]);
	close(fds[1][1]);
	assert_true(prog_says(&p, "serving "));
	a = open_file(client_of(fds[0][0]));
	b = open_file(client_of(fds[1][0]));
	assert_int_equal(lock(&a, FUSE_SETLK, F_WRLCK, 0), 0);
	start_waiter(&w, b, 0);
	/* One goes, and its locks; the other one is served. */
	virtiofs_client_free(a.c);
	assert_int_equal(end_waiter(&w), 0);
	assert_true(prog_says(&p, "the front-end is gone"));
	assert_int_equal(lock(&b, FUSE_SETLK, F_UNLCK, 0), 0);
	virtiofs_client_free(b.c);
	/* There is nobody to wait for. */
	assert_int_equal(prog_status(&p), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, prog_tear_down)
	const struct CMUnitTest tests[] = {
	    T(every_socket_has_its_tag),
	    T(all_serve_the_directory_until_the_end),
	    T(all_sockets_or_none),
	    T(locks_exclude_each_other),
	    T(locks_of_a_guest_end_with_it),
	    T(waits_for_locks_are_counted),
	    T(nobody_waits_for_a_lock_in_order),
	    T(guest_that_blocks_blocks_itself),
	    T(garbage_costs_its_connection_only),
	    T(greedy_guest_leaves_files_to_the_other),
	    T(too_few_files_for_both_are_refused),
	    T(statistics_are_told_apart),
	    T(connections_may_be_passed),
	};

	return cmocka_run_group_tests_name("server/sockets", tests, NULL, NULL);
}
