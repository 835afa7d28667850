/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block.h"
#include "caps.h"
#include "creds.h"
#include "lock.h"
#include "log.h"
#include "pool.h"
#include "queue.h"
#include "stats.h"

#define QUEUES 2 /* hiprio and one for requests */

struct srv {
	struct fs fs;
	struct srv_opts opts;
	char dir[32];
	struct virtiofs_device *dev;
	struct virtiofs_client *client;
	struct pool *pool;
	struct queue queues[QUEUES];
	pthread_t dispatcher;
	int stop_fd;
};

/* All that a client can say it knows and that changes what the server does. */
#define INIT_FLAGS                                                             \
	(FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC |            \
	 FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_FLOCK_LOCKS |                 \
	 FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |  \
	 FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_POSIX_ACL |              \
	 FUSE_MAX_PAGES | FUSE_SUBMOUNTS | FUSE_HANDLE_KILLPRIV_V2 |           \
	 FUSE_SETXATTR_EXT | FUSE_INIT_EXT | FUSE_CREATE_SUPP_GROUP |          \
	 FUSE_ALLOW_IDMAP)

/* The same tests, with the server in another mode. */
static bool in_mode(const char *mode)
{
	const char *env = getenv("VIRTIOFS_SERVER_MODE");

	return env && strcmp(env, mode) == 0;
}

struct srv_opts srv_defaults(void)
{
	return (struct srv_opts){
	    .fs =
		{
		    .handles = in_mode("handles") ? HANDLES_PREFER
						  : HANDLES_NEVER,
		    .xattr = true,
		    .announce_submounts = true,
		    .readdirplus = true,
		    .killpriv_v2 = true,
		    .fd_limit = 1000,
		},
	    .init_flags = INIT_FLAGS,
	    .queue_size = 128,
	    .pool = in_mode("pool") ? 3 : 0,
	};
}

/* What the program does before its first request. */
static void once(void)
{
	static bool done;
	sigset_t set;

	if (done)
		return;
	done = true;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	assert_int_equal(caps_remember(), 0);
	assert_int_equal(block_init(), 0);
	creds_init();
	log_open(LOG_WARNING, 0);
}

static void *dispatch(void *arg)
{
	struct srv *s = arg;
	struct pollfd fds[2] = {
	    {.fd = virtiofs_device_fd(s->dev), .events = POLLIN},
	    {.fd = s->stop_fd, .events = POLLIN},
	};

	while (poll(fds, 2, -1) > 0 && !fds[1].revents)
		virtiofs_device_dispatch(s->dev);
	return NULL;
}

static void start_device(struct srv *s, struct virtiofs_transport *t)
{
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = (virtiofs_request_fn)abort,
	    .forget = fs_on_forget,
	    .interrupt = fs_on_interrupt,
	    .init = fs_on_init,
	    .reset = fs_on_reset,
	};
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = "test",
	};

	assert_int_equal(virtiofs_device_new(&s->dev, t, &ops, &opts, &s->fs),
			 0);
	s->pool = NULL;
	if (s->opts.pool)
		assert_int_equal(pool_new(&s->pool, &s->fs, s->opts.pool), 0);
	for (unsigned i = 0; i < QUEUES; i++)
		assert_int_equal(
		    queue_start(&s->queues[i], s->dev, i, &s->fs, s->pool), 0);
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(pthread_create(&s->dispatcher, NULL, dispatch, s), 0);
}

static void start_client(struct srv *s, struct virtiofs_transport *t)
{
	const struct virtiofs_client_opts opts = {
	    .size = sizeof(opts),
	    .queue_size = s->opts.queue_size,
	    .init_flags = s->opts.init_flags,
	};
	int r = virtiofs_client_new(&s->client, t, &opts);

	if (r == 0)
		r = virtiofs_client_start(s->client, NULL);
	if (r < 0)
		fail_msg("client: %s", virtiofs_last_error());
}

static void start(struct srv *s)
{
	struct virtiofs_transport *dev, *client;

	s->fs.stopping = false;
	assert_int_equal(virtiofs_inproc_pair(&dev, &client), 0);
	start_device(s, dev);
	start_client(s, client);
}

static void stop(struct srv *s)
{
	uint64_t one = 1;

	virtiofs_client_free(s->client);
	assert_int_equal(write(s->stop_fd, &one, sizeof(one)), sizeof(one));
	pthread_join(s->dispatcher, NULL);
	close(s->stop_fd);
	virtiofs_device_stop(s->dev);
	block_stop(&s->fs);
	for (unsigned i = 0; i < QUEUES; i++)
		queue_join(&s->queues[i]);
	pool_free(s->pool);
	lock_wait_for_all();
	for (unsigned i = 0; i < QUEUES; i++)
		queue_free(&s->queues[i]);
	virtiofs_device_free(s->dev);
}

struct srv *srv_new(const struct srv_opts *opts)
{
	struct srv_opts defaults = srv_defaults();
	struct srv *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	once();
	s->opts = opts ? *opts : defaults;
	strcpy(s->dir, "/tmp/virtiofs-test-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	/* Other users come in, too. */
	assert_int_equal(chmod(s->dir, 0755), 0);
	assert_int_equal(fs_init(&s->fs, &s->opts.fs,
				 open("/proc/self/fd", O_PATH | O_CLOEXEC),
				 open(s->dir, O_PATH | O_CLOEXEC)),
			 0);
	start(s);
	return s;
}

static int remove_entry(const char *path, const struct stat *st, int type,
			struct FTW *ftw)
{
	return remove(path);
}

void srv_free(struct srv *s)
{
	stop(s);
	fs_free(&s->fs);
	stats_free();
	close(s->fs.proc_fd);
	close(s->fs.root_fd);
	nftw(s->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(s);
}

void srv_restart(struct srv *s)
{
	stop(s);
	start(s);
}

const char *srv_dir(const struct srv *s)
{
	return s->dir;
}

const char *srv_path(const struct srv *s, const char *name)
{
	static _Thread_local char paths[4][512];
	static _Thread_local unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", s->dir, name);
	return path;
}

struct fs *srv_fs(struct srv *s)
{
	return &s->fs;
}

struct virtiofs_client *srv_client(struct srv *s)
{
	return s->client;
}

void srv_disconnect(struct srv *s)
{
	virtiofs_client_free(s->client);
	s->client = NULL;
}

struct lock_gate *srv_gate(struct srv *s)
{
	return &s->queues[1].gate;
}

ssize_t srv_call(struct srv *s, const struct call *c)
{
	const struct iovec data = {
	    .iov_base = (void *)(uintptr_t)c->data,
	    .iov_len = c->data_len,
	};
	const struct iovec room = {
	    .iov_base = c->room,
	    .iov_len = c->room_len,
	};
	const struct virtiofs_op op = {
	    .size = sizeof(op),
	    .user_data = c->user_data,
	    .nodeid = c->nodeid,
	    .opcode = c->opcode,
	    .flags = VIRTIOFS_OP_CREDS,
	    .uid = c->uid,
	    .gid = c->gid,
	    .pid = 1,
	    .arg = (void *)(uintptr_t)c->arg,
	    .arg_len = (uint32_t)c->arg_len,
	    .data = &data,
	    .data_cnt = c->data_len ? 1 : 0,
	    .room = &room,
	    .room_cnt = c->room_len ? 1 : 0,
	    .total_extlen = c->extlen,
	};

	return virtiofs_client_call(s->client, &op);
}

void srv_interrupt(struct srv *s, uint64_t user_data)
{
	virtiofs_client_interrupt(s->client, user_data);
}

void srv_forget(struct srv *s, uint64_t nodeid, uint64_t nlookup)
{
	assert_int_equal(virtiofs_client_forget(s->client, nodeid, nlookup), 0);
}

void srv_wait_nodes(struct srv *s, unsigned cnt)
{
	struct fuse_attr attr;

	for (long i = 0; atomic_load(&s->fs.nodes.live) != cnt; i++) {
		if (i > 1000000)
			fail_msg("%u nodes, not %u",
				 atomic_load(&s->fs.nodes.live), cnt);
		/* Forgets that are parked move with any call. */
		if (s->client)
			srv_getattr(s, FUSE_ROOT_ID, &attr);
		sched_yield();
	}
}
