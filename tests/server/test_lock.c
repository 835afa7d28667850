/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX and BSD locks, and who waits for them. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "block.h"
#include "lock.h"

#define ROOT FUSE_ROOT_ID

struct locks {
	struct srv *s;
	uint64_t node, fh, fh2;
};

static struct locks start(const struct srv_opts *o)
{
	struct locks l = {.s = srv_new(o)};

	host_write(l.s, "a", "");
	l.node = srv_node(l.s, ROOT, "a");
	assert_int_equal(srv_open(l.s, FUSE_OPEN, l.node, O_RDWR, &l.fh, NULL),
			 0);
	assert_int_equal(srv_open(l.s, FUSE_OPEN, l.node, O_RDWR, &l.fh2, NULL),
			 0);
	return l;
}

static struct fuse_lk_in range(const struct locks *l, uint64_t owner,
			       uint32_t type, uint64_t from, uint64_t to)
{
	return (struct fuse_lk_in){
	    .fh = l->fh,
	    .owner = owner,
	    .lk = {.start = from,
		   .end = to,
		   .type = type,
		   .pid = (uint32_t)owner + 1000},
	};
}

static int lock_call(const struct locks *l, uint32_t opcode,
		     const struct fuse_lk_in *in, uint64_t user_data)
{
	struct call c = {
	    .opcode = opcode,
	    .nodeid = l->node,
	    .arg = in,
	    .arg_len = sizeof(*in),
	    .user_data = user_data,
	};

	return (int)srv_call(l->s, &c);
}

static int lock(const struct locks *l, uint64_t owner, uint32_t type,
		uint64_t from, uint64_t to)
{
	struct fuse_lk_in in = range(l, owner, type, from, to);

	return lock_call(l, FUSE_SETLK, &in, 0);
}

static struct fuse_file_lock query(const struct locks *l, uint64_t owner,
				   uint32_t type, uint64_t from, uint64_t to)
{
	struct fuse_lk_in in = range(l, owner, type, from, to);
	struct fuse_lk_out out;
	struct call c = {
	    .opcode = FUSE_GETLK,
	    .nodeid = l->node,
	    .arg = &in,
	    .arg_len = sizeof(in),
	    .room = &out,
	    .room_len = sizeof(out),
	};

	assert_int_equal(srv_call(l->s, &c), sizeof(out));
	return out.lk;
}

static void owners_exclude_each_other(void **state)
{
	struct locks l = start(NULL);
	struct fuse_file_lock met;

	assert_int_equal(lock(&l, 1, F_WRLCK, 10, 19), 0);
	assert_int_equal(lock(&l, 1, F_WRLCK, 10, 19), 0);
	assert_int_equal(lock(&l, 2, F_RDLCK, 15, 15), -EAGAIN);
	assert_int_equal(lock(&l, 2, F_WRLCK, 20, INT64_MAX), 0);
	met = query(&l, 2, F_RDLCK, 0, 19);
	assert_int_equal(met.type, F_WRLCK);
	assert_int_equal(met.start, 10);
	assert_int_equal(met.end, 19);
	assert_int_equal(met.pid, 1001);
	met = query(&l, 3, F_RDLCK, 100, 100);
	assert_int_equal(met.start, 20);
	assert_int_equal(met.end, INT64_MAX);
	assert_int_equal(met.pid, 1002);
	met = query(&l, 1, F_WRLCK, 0, 19);
	assert_int_equal(met.type, F_UNLCK);
	assert_int_equal(lock(&l, 1, F_UNLCK, 0, INT64_MAX), 0);
	assert_int_equal(lock(&l, 2, F_RDLCK, 15, 15), 0);
	/* Who never had one may unlock. */
	assert_int_equal(lock(&l, 9, F_UNLCK, 0, INT64_MAX), 0);
	srv_free(l.s);
}

static void host_sees_the_locks(void **state)
{
	struct locks l = start(NULL);
	struct flock f = {.l_type = F_WRLCK, .l_len = 5};
	int fd = open(srv_path(l.s, "a"), O_RDWR);

	assert_int_equal(lock(&l, 1, F_RDLCK, 0, 9), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &f), -1);
	assert_int_equal(lock(&l, 1, F_UNLCK, 0, 9), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &f), 0);
	assert_int_equal(lock(&l, 1, F_RDLCK, 0, 9), -EAGAIN);
	assert_int_equal(query(&l, 1, F_RDLCK, 0, 9).pid, 0);
	close(fd);
	srv_free(l.s);
}

static void nonsense_is_refused(void **state)
{
	struct locks l = start(NULL);
	struct fuse_lk_in in;

	assert_int_equal(lock(&l, 1, F_RDLCK, 5, 4), -EINVAL);
	assert_int_equal(lock(&l, 1, F_RDLCK, 0, UINT64_MAX), -EINVAL);
	assert_int_equal(lock(&l, 1, 77, 0, 1), -EINVAL);
	in = range(&l, 1, F_RDLCK, 0, 1);
	in.fh += 77;
	assert_int_equal(lock_call(&l, FUSE_SETLK, &in, 0), -EBADF);
	in.lk_flags = FUSE_LK_FLOCK;
	assert_int_equal(lock_call(&l, FUSE_SETLK, &in, 0), -EBADF);
	srv_free(l.s);
}

static void close_releases_the_owners_locks(void **state)
{
	struct locks l = start(NULL);
	struct fuse_flush_in in = {.fh = l.fh, .lock_owner = 1};
	struct call c = {
	    .opcode = FUSE_FLUSH,
	    .nodeid = l.node,
	    .arg = &in,
	    .arg_len = sizeof(in),
	};
	uint64_t fds = atomic_load(&srv_fs(l.s)->fd_cnt);

	assert_int_equal(lock(&l, 1, F_WRLCK, 0, 9), 0);
	assert_int_equal(lock(&l, 2, F_WRLCK, 20, 29), 0);
	assert_int_equal(srv_call(l.s, &c), 0);
	assert_int_equal(lock(&l, 3, F_WRLCK, 0, 9), 0);
	assert_int_equal(lock(&l, 3, F_WRLCK, 20, 29), -EAGAIN);
	in.lock_owner = 2;
	assert_int_equal(srv_call(l.s, &c), 0);
	in.lock_owner = 3;
	assert_int_equal(srv_call(l.s, &c), 0);
	assert_int_equal(atomic_load(&srv_fs(l.s)->fd_cnt), fds);
	srv_free(l.s);
}

/* A lock of the open file itself (F_OFD_SETLK): Linux tells its owner at no
 * other time than when it is taken. */
static void release_ends_the_open_files_own_locks(void **state)
{
	struct locks l = start(NULL);
	struct fuse_lk_in in = range(&l, 5, F_WRLCK, 0, 9);

	in.fh = l.fh2;
	assert_int_equal(lock_call(&l, FUSE_SETLK, &in, 0), 0);
	assert_int_equal(lock(&l, 1, F_WRLCK, 20, 29), 0);
	assert_int_equal(lock(&l, 1, F_WRLCK, 0, 9), -EAGAIN);
	assert_int_equal(srv_release(l.s, FUSE_RELEASE, l.node, l.fh2), 0);
	assert_int_equal(lock(&l, 1, F_WRLCK, 0, 9), 0);
	assert_int_equal(lock(&l, 5, F_WRLCK, 20, 29), -EAGAIN);
	srv_free(l.s);
}

static int bsd(const struct locks *l, uint64_t fh, uint32_t type)
{
	struct fuse_lk_in in = range(l, 1, type, 0, INT64_MAX);

	in.fh = fh;
	in.lk_flags = FUSE_LK_FLOCK;
	return lock_call(l, FUSE_SETLK, &in, 0);
}

static void bsd_lock_belongs_to_the_open_file(void **state)
{
	struct locks l = start(NULL);
	int fd = open(srv_path(l.s, "a"), O_RDWR);

	assert_int_equal(bsd(&l, l.fh, F_WRLCK), 0);
	assert_int_equal(bsd(&l, l.fh2, F_RDLCK), -EAGAIN);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(bsd(&l, l.fh, F_RDLCK), 0);
	assert_int_equal(bsd(&l, l.fh2, F_RDLCK), 0);
	assert_int_equal(bsd(&l, l.fh, F_UNLCK), 0);
	assert_int_equal(srv_release(l.s, FUSE_RELEASE, l.node, l.fh2), 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	/* Another kind of lock. */
	assert_int_equal(lock(&l, 1, F_WRLCK, 0, INT64_MAX), 0);
	close(fd);
	srv_free(l.s);
}

/* A SETLKW in a thread of its own. */
struct waiting {
	struct locks l;
	struct fuse_lk_in in;
	uint64_t user_data;
	pthread_t thread;
	_Atomic int result; /* 1: waits */
};

static void *wait_thread(void *arg)
{
	struct waiting *w = arg;

	atomic_store(&w->result,
		     lock_call(&w->l, FUSE_SETLKW, &w->in, w->user_data));
	return NULL;
}

static void start_waiting(struct waiting *w, const struct locks *l,
			  uint64_t owner, bool is_bsd)
{
	w->l = *l;
	w->in = range(l, owner, F_WRLCK, 0, 9);
	w->user_data = owner;
	w->result = 1;
	if (is_bsd) {
		w->in.lk_flags = FUSE_LK_FLOCK;
		w->in.fh = l->fh2;
	}
	assert_int_equal(pthread_create(&w->thread, NULL, wait_thread, w), 0);
}

static int result_of(struct waiting *w)
{
	pthread_join(w->thread, NULL);
	return atomic_load(&w->result);
}

/* Until so many wait in the server (its own count of threads in fcntl). */
static void until_waiting(unsigned cnt)
{
	while (block_count() != cnt)
		sched_yield();
}

static void waiter_gets_the_lock_when_it_is_free(void **state)
{
	struct locks l = start(NULL);
	struct waiting w;

	assert_int_equal(lock(&l, 1, F_WRLCK, 0, 9), 0);
	start_waiting(&w, &l, 2, false);
	until_waiting(1);
	/* The queue is not held up. */
	assert_int_equal(query(&l, 3, F_WRLCK, 0, 9).type, F_WRLCK);
	assert_int_equal(lock(&l, 1, F_UNLCK, 0, 9), 0);
	assert_int_equal(result_of(&w), 0);
	assert_int_equal(query(&l, 3, F_WRLCK, 0, 9).pid, 1002);
	srv_free(l.s);
}

static void bsd_waiter_gets_the_lock_when_it_is_free(void **state)
{
	struct locks l = start(NULL);
	struct waiting w;

	assert_int_equal(bsd(&l, l.fh, F_WRLCK), 0);
	start_waiting(&w, &l, 2, true);
	until_waiting(1);
	assert_int_equal(bsd(&l, l.fh, F_UNLCK), 0);
	assert_int_equal(result_of(&w), 0);
	assert_int_equal(bsd(&l, l.fh, F_RDLCK), -EAGAIN);
	srv_free(l.s);
}

/* covers: FUSE-DEV-20 */
static void waiter_gives_up_when_interrupted(void **state)
{
	struct locks l = start(NULL);
	struct waiting w;

	for (int i = 0; i < 50; i++) {
		assert_int_equal(lock(&l, 1, F_WRLCK, 0, 9), 0);
		start_waiting(&w, &l, 2, i & 1);
		if (i & 1)
			assert_int_equal(result_of(&w), 0);
		else
			until_waiting(1);
		if (!(i & 1)) {
			srv_interrupt(l.s, 2);
			assert_int_equal(result_of(&w), -EINTR);
		}
	}
	/* It has got nothing, and holds nothing. */
	assert_int_equal(lock(&l, 1, F_UNLCK, 0, 9), 0);
	assert_int_equal(query(&l, 3, F_WRLCK, 0, 9).type, F_UNLCK);
	srv_free(l.s);
}

/* The client goes with a lock request in flight: nobody waits for it any
 * more, and the session ends. */
static void waiter_ends_with_its_client(void **state)
{
	struct locks l = start(NULL);
	struct fuse_lk_in in = range(&l, 2, F_WRLCK, 0, 9);
	struct virtiofs_cliq *q;
	struct virtiofs_op *op;

	assert_int_equal(lock(&l, 1, F_WRLCK, 0, 9), 0);
	assert_int_equal(virtiofs_client_take_queue(
			     srv_client(l.s), VIRTIOFS_QUEUE_REQUEST(0), 0, &q),
			 0);
	op = virtiofs_cliq_get_op(q);
	assert_non_null(op);
	op->opcode = FUSE_SETLKW;
	op->nodeid = l.node;
	memcpy(op->arg, &in, sizeof(in));
	op->arg_len = sizeof(in);
	assert_true(virtiofs_cliq_submit(q) >= 0);
	until_waiting(1);
	srv_disconnect(l.s);
	until_waiting(0);
	srv_wait_nodes(l.s, 1);
	srv_free(l.s);
}

static void submit_lock(const struct locks *l, struct virtiofs_cliq *q,
			uint32_t opcode, uint64_t owner, uint32_t type)
{
	struct fuse_lk_in in = range(l, owner, type, 0, 9);
	struct virtiofs_op *op = virtiofs_cliq_get_op(q);

	assert_non_null(op);
	op->user_data = owner;
	op->opcode = opcode;
	op->nodeid = l->node;
	memcpy(op->arg, &in, sizeof(in));
	op->arg_len = sizeof(in);
	assert_true(virtiofs_cliq_submit(q) >= 0);
}

/* cnt results, all with this error. */
static void expect(struct virtiofs_cliq *q, unsigned cnt, int error)
{
	struct pollfd p = {.fd = virtiofs_cliq_fd(q), .events = POLLIN};
	struct virtiofs_result res;

	while (cnt) {
		int r = virtiofs_cliq_reap(q, &res, 1);

		assert_true(r >= 0);
		if (r == 0 && virtiofs_cliq_arm(q) == 0)
			assert_int_equal(poll(&p, 1, -1), 1);
		if (r == 0)
			continue;
		assert_int_equal(res.error, error);
		cnt--;
	}
	assert_int_equal(virtiofs_cliq_reap(q, &res, 1), 0);
}

#define WAITERS 60u

/* However many there are, an unlock gets in. */
static void waiters_leave_room_for_the_unlock(void **state)
{
	struct locks l = start(NULL);
	struct virtiofs_cliq *q;

	assert_int_equal(lock(&l, 1, F_WRLCK, 0, 9), 0);
	assert_int_equal(virtiofs_client_take_queue(
			     srv_client(l.s), VIRTIOFS_QUEUE_REQUEST(0), 0, &q),
			 0);
	for (unsigned i = 0; i < WAITERS; i++)
		submit_lock(&l, q, FUSE_SETLKW, 10 + i, F_WRLCK);
	until_waiting(16);
	submit_lock(&l, q, FUSE_SETLK, 1, F_UNLCK);
	/* One of them has got the lock, the others wait on. */
	expect(q, 2, 0);
	until_waiting(16);
	for (unsigned i = 0; i < WAITERS; i++)
		virtiofs_client_interrupt(srv_client(l.s), 10 + i);
	expect(q, WAITERS - 1, -EINTR);
	until_waiting(0);
	srv_free(l.s);
}

/* An eighth of the ring's 128. Our own client sends no more, so most of
 * them are only counted here. */
static void waiters_are_bounded(void **state)
{
	struct locks l = start(NULL);
	struct waiting w[2];

	atomic_fetch_add(&srv_gate(l.s)->waiting, 15);
	assert_int_equal(lock(&l, 1, F_WRLCK, 0, 9), 0);
	start_waiting(&w[0], &l, 2, false);
	until_waiting(1);
	start_waiting(&w[1], &l, 3, false);
	assert_int_equal(result_of(&w[1]), -ENOLCK);
	assert_int_equal(lock(&l, 1, F_UNLCK, 0, 9), 0);
	assert_int_equal(result_of(&w[0]), 0);
	/* Its place is free again. */
	start_waiting(&w[1], &l, 3, false);
	until_waiting(1);
	assert_int_equal(lock(&l, 2, F_UNLCK, 0, 9), 0);
	assert_int_equal(result_of(&w[1]), 0);
	srv_free(l.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(owners_exclude_each_other),
	    cmocka_unit_test(host_sees_the_locks),
	    cmocka_unit_test(nonsense_is_refused),
	    cmocka_unit_test(close_releases_the_owners_locks),
	    cmocka_unit_test(release_ends_the_open_files_own_locks),
	    cmocka_unit_test(bsd_lock_belongs_to_the_open_file),
	    cmocka_unit_test(waiter_gets_the_lock_when_it_is_free),
	    cmocka_unit_test(bsd_waiter_gets_the_lock_when_it_is_free),
	    cmocka_unit_test(waiter_gives_up_when_interrupted),
	    cmocka_unit_test(waiter_ends_with_its_client),
	    cmocka_unit_test(waiters_leave_room_for_the_unlock),
	    cmocka_unit_test(waiters_are_bounded),
	};

	return cmocka_run_group_tests_name("server/lock", tests, NULL, NULL);
}
