/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server in a process of its own: sessions one after another, and what is
 * left to a client whose server was killed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <virtiofs/ops.h>

#include "leaks.h"
#include "memfs.h"

#define PAGE 4096u

struct fix {
	char dir[64], uri[128], path[100];
	pid_t server;
	struct virtiofs_client *c;
	unsigned fds;
};

static void __attribute__((noreturn)) serve(const struct fix *f, int ready)
{
	struct virtiofs_transport *t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (virtiofs_transport_open_device(&t, f->uri) < 0 ||
	    !memfs_start(t, NULL))
		_exit(1);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Returns once it listens. */
static void start_server(struct fix *f)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	f->server = fork();
	assert_true(f->server >= 0);
	if (!f->server)
		serve(f, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void kill_server(struct fix *f)
{
	int status;

	if (f->server <= 0)
		return;
	kill(f->server, SIGKILL);
	assert_int_equal(waitpid(f->server, &status, 0), f->server);
	f->server = 0;
}

static int set_up(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/virtiofs-pair-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	snprintf(f->uri, sizeof(f->uri), "vhost-user:%s", f->path);
	f->fds = raw_fd_cnt();
	start_server(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	virtiofs_client_free(f->c);
	kill_server(f);
	assert_int_equal(raw_fd_cnt(), f->fds);
	assert_int_equal(raw_memfd_map_cnt(), 0);
	unlink(f->path);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void connect_to(struct fix *f)
{
	struct virtiofs_transport *t;

	assert_int_equal(virtiofs_transport_open_client(&t, f->uri), 0);
	assert_int_equal(virtiofs_client_new(&f->c, t, NULL), 0);
	if (virtiofs_client_start(f->c, NULL) < 0)
		fail_msg("start: %s", virtiofs_last_error());
}

static uint64_t create(struct fix *f, const char *name)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = 0644};
	struct virtiofs_create_out out;

	assert_int_equal(virtiofs_call_create(f->c, 1, name, &in, &out), 0);
	return out.entry.nodeid;
}

static void sessions_one_after_another(void **state)
{
	struct fix *f = *state;
	struct fuse_entry_out e;
	char name[16];

	for (unsigned i = 0; i < 5; i++) {
		connect_to(f);
		/* The server kept its files, and forgot its client. */
		snprintf(name, sizeof(name), "file%u", i);
		assert_int_equal(virtiofs_call_lookup(f->c, 1, name, &e),
				 -ENOENT);
		create(f, name);
		assert_int_equal(virtiofs_call_lookup(f->c, 1, "file0", &e), 0);
		virtiofs_client_free(f->c);
		f->c = NULL;
		assert_int_equal(raw_fd_cnt(), f->fds);
	}
}

/* ---- a server that is killed ---- */

struct flight {
	struct virtiofs_cliq *q;
	struct virtiofs_region mem;
	char *plain;
};

static void post_lock(struct flight *fl, uint64_t id, uint64_t user_data)
{
	struct fuse_lk_in lk = {.lk = {.type = F_WRLCK}};
	struct virtiofs_op *op = virtiofs_cliq_get_op(fl->q);

	assert_non_null(op);
	virtiofs_prep_lk(op, FUSE_SETLKW, id, &lk, NULL);
	op->user_data = user_data;
	assert_int_equal(virtiofs_cliq_submit(fl->q), 1);
}

static struct virtiofs_result wait_for_one(struct flight *fl)
{
	struct pollfd p = {.fd = virtiofs_cliq_fd(fl->q), .events = POLLIN};
	struct virtiofs_result res;
	int r;

	while ((r = virtiofs_cliq_reap(fl->q, &res, 1)) == 0)
		if (virtiofs_cliq_arm(fl->q) == 0)
			assert_int_equal(poll(&p, 1, 20000), 1);
	assert_int_equal(r, 1);
	return res;
}

/* Write from registered memory, read back into memory that is not. */
static void write_and_read(struct flight *fl, uint64_t id)
{
	struct fuse_write_in in = {.size = PAGE};
	struct iovec data = {fl->mem.addr, PAGE};
	struct fuse_write_out out = {0};
	struct iovec room = {&out, sizeof(out)};
	struct virtiofs_op *op = virtiofs_cliq_get_op(fl->q);
	struct virtiofs_result res;

	memset(fl->mem.addr, 'm', PAGE);
	memset(fl->plain, 0, PAGE);
	virtiofs_prep_write(op, id, &in, &data, &room);
	op->flags = VIRTIOFS_OP_NO_BOUNCE;
	assert_int_equal(virtiofs_cliq_submit(fl->q), 1);
	res = wait_for_one(fl);
	assert_int_equal(res.error, 0);
	assert_int_equal(out.size, PAGE);
	room = virtiofs_iov(fl->plain, PAGE);
	op = virtiofs_cliq_get_op(fl->q);
	virtiofs_prep_read(op, id, 0, 0, PAGE, &room, 1);
	assert_int_equal(virtiofs_cliq_submit(fl->q), 1);
	res = wait_for_one(fl);
	assert_int_equal(res.len, PAGE);
	assert_memory_equal(fl->plain, fl->mem.addr, PAGE);
}

static uint64_t create_by_queue(struct flight *fl)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = 0644};
	struct virtiofs_create_out out = {0};
	struct iovec room = {&out, sizeof(out)};
	struct virtiofs_op *op = virtiofs_cliq_get_op(fl->q);

	assert_int_equal(virtiofs_prep_create(op, 1, "f", &in, &room), 0);
	assert_int_equal(virtiofs_cliq_submit(fl->q), 1);
	assert_int_equal(wait_for_one(fl).error, 0);
	return out.entry.nodeid;
}

/* What the event loop of a program does when its client's fd wakes it. */
static void hear_of_it(struct fix *f)
{
	struct pollfd p = {.fd = virtiofs_client_fd(f->c), .events = POLLIN};
	struct virtiofs_client_info info = {.size = sizeof(info)};

	while (virtiofs_client_get_info(f->c, &info) == 0) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		assert_true(virtiofs_client_dispatch(f->c) >= 0);
	}
}

static void killed_server_ends_all_and_start_goes_on(void **state)
{
	struct fix *f = *state;
	struct flight fl = {0};
	struct virtiofs_result res;
	struct virtiofs_op *left;
	uint64_t id;

	connect_to(f);
	assert_int_equal(virtiofs_client_alloc_region(f->c, PAGE, &fl.mem), 0);
	fl.plain = malloc(PAGE);
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &fl.q), 0);
	id = create_by_queue(&fl);
	write_and_read(&fl, id);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 20; i++)
			post_lock(&fl, id, i);
		left = virtiofs_cliq_get_op(fl.q);
		assert_non_null(left);
		kill_server(f);
		hear_of_it(f);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(wait_for_one(&fl).error, -ENOTCONN);
		assert_int_equal(virtiofs_cliq_reap(fl.q, &res, 1), -ENOTCONN);
		/* Nobody is there yet. */
		assert_int_equal(virtiofs_client_start(f->c, NULL),
				 -ECONNREFUSED);
		start_server(f);
		if (virtiofs_client_start(f->c, NULL) < 0)
			fail_msg("start: %s", virtiofs_last_error());
		id = create_by_queue(&fl);
		write_and_read(&fl, id);
	}
	assert_int_equal(virtiofs_client_unmap_region(f->c, &fl.mem), 0);
	assert_int_equal(virtiofs_cliq_release(fl.q), 0);
	free(fl.plain);
}

static void free_after_a_killed_server(void **state)
{
	struct fix *f = *state;
	struct flight fl = {0};

	connect_to(f);
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &fl.q), 0);
	post_lock(&fl, create_by_queue(&fl), 1);
	kill_server(f);
}

/* Stopped, not dead: nothing is answered, and free still ends. */
static void free_before_a_stopped_server(void **state)
{
	struct fix *f = *state;
	struct fuse_getattr_in arg = {0};
	struct fuse_attr_out attr = {0};
	struct iovec room = virtiofs_iov(&attr, sizeof(attr));
	struct virtiofs_op op = {
	    .size = sizeof(op),
	    .opcode = FUSE_GETATTR,
	    .nodeid = FUSE_ROOT_ID,
	    .arg = &arg,
	    .arg_len = sizeof(arg),
	    .room = &room,
	    .room_cnt = 1,
	    .timeout_ms = 50,
	};
	struct virtiofs_transport *t;
	int status;

	assert_int_equal(virtiofs_transport_open_client(&t, f->uri), 0);
	assert_int_equal(virtiofs_client_new(&f->c, t, NULL), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), 0);
	kill(f->server, SIGSTOP);
	/* Its threads stop one after the other; wait for the last. */
	assert_int_equal(waitpid(f->server, &status, WUNTRACED), f->server);
	assert_int_equal(virtiofs_client_call(f->c, &op), -ETIMEDOUT);
	virtiofs_client_free(f->c);
	f->c = NULL;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
	    T(sessions_one_after_another),
	    T(killed_server_ends_all_and_start_goes_on),
	    T(free_after_a_killed_server),
	    T(free_before_a_stopped_server),
	};

	return cmocka_run_group_tests_name("reconnect", tests, NULL, NULL);
}
