/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests that may take for ever, and clients that lose patience. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block.h"

#define ROOT FUSE_ROOT_ID

/* A request in a thread of its own. */
struct asked {
	struct srv *s;
	struct call c;
	pthread_t thread;
	_Atomic bool done;
	ssize_t result;
	union {
		struct fuse_open_in open;
		struct fuse_read_in read;
		struct fuse_write_in write;
		struct fuse_copy_file_range_in copy;
	} in;
	union {
		struct fuse_open_out open;
		struct fuse_write_out write;
		struct fuse_copy_file_range_out copy;
		char data[64];
	} out;
};

static void *ask_thread(void *arg)
{
	struct asked *a = arg;

	a->result = srv_call(a->s, &a->c);
	atomic_store(&a->done, true);
	return NULL;
}

static void ask(struct asked *a, uint32_t opcode, uint64_t node, size_t arg_len,
		size_t room_len)
{
	a->c.opcode = opcode;
	a->c.nodeid = node;
	a->c.arg = &a->in;
	a->c.arg_len = arg_len;
	a->c.room = &a->out;
	a->c.room_len = room_len;
	a->c.user_data = 77;
	atomic_store(&a->done, false);
	assert_int_equal(pthread_create(&a->thread, NULL, ask_thread, a), 0);
}

static void ask_open(struct asked *a, uint64_t node, uint32_t flags)
{
	a->in.open = (struct fuse_open_in){.flags = flags};
	ask(a, FUSE_OPEN, node, sizeof(a->in.open), sizeof(a->out.open));
}

static ssize_t answer(struct asked *a)
{
	pthread_join(a->thread, NULL);
	return a->result;
}

/* As long as it takes to be in flight; an answer ends it, too. */
static void interrupt(struct asked *a)
{
	while (!atomic_load(&a->done) &&
	       virtiofs_client_interrupt(srv_client(a->s), 77) == -ENOENT)
		sched_yield();
}

static void until_blocked(unsigned cnt)
{
	while (block_count() != cnt)
		sched_yield();
}

static uint64_t make_fifo(struct srv *s)
{
	assert_int_equal(mkfifo(srv_path(s, "p"), 0600), 0);
	return srv_node(s, ROOT, "p");
}

static void fifo_open_waits_for_the_other_end(void **state)
{
	struct asked a = {.s = srv_new(NULL)};
	struct fuse_write_in wr = {.size = 3};
	uint64_t p = make_fifo(a.s), fh;
	char buf[8];
	int fd;

	ask_open(&a, p, O_RDONLY);
	until_blocked(1);
	fd = open(srv_path(a.s, "p"), O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(answer(&a), sizeof(a.out.open));
	/* No cache, no position. */
	assert_int_equal(a.out.open.open_flags, FOPEN_DIRECT_IO | FOPEN_STREAM);
	fh = a.out.open.fh;
	assert_int_equal(write(fd, "hello", 5), 5);
	assert_int_equal(srv_read(a.s, p, fh, 0, buf, 2), 2);
	assert_memory_equal(buf, "he", 2);
	assert_int_equal(srv_read(a.s, p, fh, 0, buf, 8), 3);
	assert_memory_equal(buf, "llo", 3);
	close(fd);
	assert_int_equal(srv_read(a.s, p, fh, 0, buf, 8), 0);
	assert_int_equal(srv_release(a.s, FUSE_RELEASE, p, fh), 0);

	fd = open(srv_path(a.s, "p"), O_RDONLY | O_NONBLOCK);
	assert_int_equal(srv_open(a.s, FUSE_OPEN, p, O_WRONLY, &wr.fh, NULL),
			 0);
	assert_int_equal(srv_write(a.s, p, &wr, "abc"), 3);
	assert_int_equal(read(fd, buf, 8), 3);
	assert_memory_equal(buf, "abc", 3);
	close(fd);
	assert_int_equal(
	    srv_open(a.s, FUSE_OPEN, p, O_WRONLY | O_NONBLOCK, &fh, NULL),
	    -ENXIO);
	srv_free(a.s);
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned cnt = 0;

	while (readdir(d))
		cnt++;
	closedir(d);
	return cnt;
}

static void ask_read(struct asked *a, uint64_t node, uint64_t fh)
{
	a->in.read = (struct fuse_read_in){.fh = fh, .size = 64};
	ask(a, FUSE_READ, node, sizeof(a->in.read), 64);
}

#define MUCH (1u << 16)

static void ask_write(struct asked *a, uint64_t node, uint64_t fh)
{
	static const char data[MUCH];

	a->in.write = (struct fuse_write_in){.fh = fh, .size = MUCH};
	a->c.data = data;
	a->c.data_len = MUCH;
	ask(a, FUSE_WRITE, node, sizeof(a->in.write), sizeof(a->out.write));
}

/* Whether the interrupt comes before the request, while it begins to block, or
 * long after; and again, so that each moment has its chance.
 * covers: FUSE-DEV-20 */
static void blocked_open_ends_when_interrupted(void **state)
{
	struct asked a = {.s = srv_new(NULL)};
	uint64_t p = make_fifo(a.s);
	unsigned fds = open_fds();

	for (int i = 0; i < 60; i++) {
		ask_open(&a, p, i % 3 ? O_RDONLY : O_WRONLY);
		if (i & 1)
			until_blocked(1);
		interrupt(&a);
		assert_int_equal(answer(&a), -EINTR);
	}
	assert_int_equal(block_count(), 0);
	assert_int_equal(open_fds(), fds);
	srv_free(a.s);
}

static void blocked_read_and_write_end_when_interrupted(void **state)
{
	struct asked a = {.s = srv_new(NULL)};
	uint64_t p = make_fifo(a.s);
	int fd = open(srv_path(a.s, "p"), O_RDWR);
	uint64_t fh;

	assert_int_equal(fcntl(fd, F_SETPIPE_SZ, 4096), 4096);
	assert_int_equal(srv_open(a.s, FUSE_OPEN, p, O_RDWR, &fh, NULL), 0);
	for (int i = 0; i < 30; i++) {
		ask_read(&a, p, fh);
		if (i & 1)
			until_blocked(1);
		interrupt(&a);
		assert_int_equal(answer(&a), -EINTR);
	}
	/* What had room is written, and counted. */
	ask_write(&a, p, fh);
	until_blocked(1);
	interrupt(&a);
	assert_int_equal(answer(&a), sizeof(a.out.write));
	assert_int_equal(a.out.write.size, 4096);
	for (int i = 0; i < 30; i++) {
		ask_write(&a, p, fh);
		if (i & 1)
			until_blocked(1);
		interrupt(&a);
		assert_int_equal(answer(&a), -EINTR);
	}
	close(fd);
	srv_free(a.s);
}

/* Looked at first, and served by a thread of its own. */
static void blocked_queue_delays_no_forget(void **state)
{
	struct asked a = {.s = srv_new(NULL)};
	uint64_t p = make_fifo(a.s), x;

	host_write(a.s, "x", "");
	x = srv_node(a.s, ROOT, "x");
	ask_open(&a, p, O_RDONLY);
	until_blocked(1);
	srv_forget(a.s, x, 1);
	while (atomic_load(&srv_fs(a.s)->nodes.live) != 2)
		sched_yield();
	assert_int_equal(block_count(), 1);
	interrupt(&a);
	assert_int_equal(answer(&a), -EINTR);
	srv_free(a.s);
}

/* Nobody waits for its answer any more, and the session ends. */
static void blocked_open_ends_with_its_client(void **state)
{
	struct srv *s = srv_new(NULL);
	uint64_t p = make_fifo(s);
	struct fuse_open_out out;
	const struct iovec room = {.iov_base = &out, .iov_len = sizeof(out)};
	struct virtiofs_cliq *q;
	struct virtiofs_op *op;

	assert_int_equal(virtiofs_client_take_queue(
			     srv_client(s), VIRTIOFS_QUEUE_REQUEST(0), 0, &q),
			 0);
	op = virtiofs_cliq_get_op(q);
	assert_non_null(op);
	op->opcode = FUSE_OPEN;
	op->nodeid = p;
	memset(op->arg, 0, sizeof(struct fuse_open_in));
	op->arg_len = sizeof(struct fuse_open_in);
	op->room = &room;
	op->room_cnt = 1;
	assert_true(virtiofs_cliq_submit(q) >= 0);
	until_blocked(1);
	srv_disconnect(s);
	until_blocked(0);
	srv_free(s);
}

#define BIG (2ull << 30)

static off_t size_of(const struct srv *s, const char *name)
{
	struct stat st;

	assert_int_equal(stat(srv_path(s, name), &st), 0);
	return st.st_size;
}

static void long_copy_ends_when_interrupted(void **state)
{
	struct asked a = {.s = srv_new(NULL)};
	uint64_t from, to;

	host_write(a.s, "from", "");
	host_write(a.s, "to", "");
	assert_int_equal(truncate(srv_path(a.s, "from"), BIG), 0);
	from = srv_node(a.s, ROOT, "from");
	to = srv_node(a.s, ROOT, "to");
	a.in.copy = (struct fuse_copy_file_range_in){
	    .nodeid_out = to,
	    .len = BIG,
	};
	assert_int_equal(
	    srv_open(a.s, FUSE_OPEN, from, O_RDONLY, &a.in.copy.fh_in, NULL),
	    0);
	assert_int_equal(
	    srv_open(a.s, FUSE_OPEN, to, O_RDWR, &a.in.copy.fh_out, NULL), 0);
	ask(&a, FUSE_COPY_FILE_RANGE_64, from, sizeof(a.in.copy),
	    sizeof(a.out.copy));
	while (size_of(a.s, "to") == 0 && !atomic_load(&a.done))
		sched_yield();
	interrupt(&a);
	/* What is copied is said, as a local copy would. */
	assert_int_equal(answer(&a), sizeof(a.out.copy));
	assert_in_range(a.out.copy.bytes_copied, 1, BIG - 1);
	assert_int_equal(size_of(a.s, "to"), a.out.copy.bytes_copied);
	srv_free(a.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fifo_open_waits_for_the_other_end),
	    cmocka_unit_test(blocked_open_ends_when_interrupted),
	    cmocka_unit_test(blocked_read_and_write_end_when_interrupted),
	    cmocka_unit_test(blocked_queue_delays_no_forget),
	    cmocka_unit_test(blocked_open_ends_with_its_client),
	    cmocka_unit_test(long_copy_ends_when_interrupted),
	};

	/* As in the program. */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("server/block", tests, NULL, NULL);
}
