/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtiofs-server's operations on a small tree, for a guest that sends frames
 * of the right shape with anything in them. Beside the shared directory lies
 * another one, which links in the first name: nothing of it may ever be seen or
 * changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "block.h"
#include "caps.h"
#include "creds.h"
#include "fs.h"
#include "guest.h"
#include "lock.h"
#include "log.h"
#include "share.h"
#include "stats.h"
#include "talk.h"
#include "wire/ring.h"

#define CELLS	  3u
#define CELL_LEN  0x1800u
#define FRAME_LEN 0x700u
#define ROOM_AT	  0x800u
/* Who waits for a lock is answered by another thread, at any time: the place of
 * such a request is used once, and so are the descriptors of its queue. */
#define WAITS	 (GUEST_NUM / 2)
#define WAIT_VQ	 2u
#define WAIT_LEN 0x200u
#define FILE_MAX (1u << 20) /* bytes, for all that the guest writes */

struct fuzz {
	struct fs fs; /* first: the requests' userdata */
	struct guest g;
	struct lock_gate gate;
	struct talk talk;
	unsigned cell, waits;
};

static void set_up_once(void)
{
	static bool done;
	sigset_t set;

	if (done)
		return;
	done = true;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGXFSZ);
	must(!sigprocmask(SIG_BLOCK, &set, NULL));
	umask(0);
	must(!caps_remember());
	must(!block_init());
	creds_init();
	log_open(LOG_OFF, 0);
	share_make();
}

/* ---- the guest ---- */

static void post(struct fuzz *f, const struct vtfs_fuse_op *op, uint64_t addr,
		 uint32_t len, uint32_t room_at, uint32_t room_len)
{
	const struct guest_desc d[2] = {
	    {addr, len, 0},
	    {addr + room_at, room_len, VTFS_DESC_F_WRITE},
	};
	unsigned vq = 1;

	if (op->flags & VTFS_FUSE_HIPRIO)
		vq = 0;
	else if (op->flags & VTFS_FUSE_WAITS)
		vq = WAIT_VQ;
	guest_post(&f->g, vq, d, room_len ? 2 : 1, 0);
	guest_run(&f->g);
	if (op->opcode != FUSE_DESTROY)
		return;
	/* It waits for those who wait for locks, and has woken them. */
	lock_wait_for_all();
	guest_run(&f->g);
}

static void send_wait(struct fuzz *f, const struct vtfs_fuse_op *op)
{
	uint64_t addr = GUEST_MAIN + GUEST_BUFS + CELLS * CELL_LEN +
			f->waits * WAIT_LEN;

	if (f->waits++ >= WAITS)
		return;
	post(f, op, addr,
	     (uint32_t)talk_put(&f->talk, op, guest_ptr(&f->g, addr, WAIT_LEN)),
	     WAIT_LEN / 2, 16);
}

static void send_op(struct fuzz *f, const struct vtfs_fuse_op *op,
		    uint32_t room_len)
{
	uint64_t addr = GUEST_MAIN + GUEST_BUFS + f->cell * CELL_LEN;
	unsigned char *p = guest_ptr(&f->g, addr, CELL_LEN);
	size_t len;

	f->cell = (f->cell + 1) % CELLS;
	memset(p, 0, CELL_LEN);
	len = talk_put(&f->talk, op, p);
	must(len <= FRAME_LEN);
	post(f, op, addr, (uint32_t)len, ROOM_AT, room_len);
	if (room_len)
		talk_hear(&f->talk, op, p + ROOM_AT, room_len);
}

static void send_init(struct fuzz *f)
{
	const struct {
		struct fuse_in_header head;
		struct fuse_init_in init;
	} frame = {
	    .head = {.len = sizeof(frame), .opcode = FUSE_INIT, .unique = 1},
	    .init = {.major = 7, .minor = 45, .flags = ~0u, .flags2 = ~0u},
	};
	uint64_t addr = GUEST_MAIN + GUEST_BUFS;
	const struct guest_desc d[2] = {
	    {addr, sizeof(frame), 0},
	    {addr + ROOM_AT, 80, VTFS_DESC_F_WRITE},
	};

	memcpy(guest_ptr(&f->g, addr, sizeof(frame)), &frame, sizeof(frame));
	guest_post(&f->g, 1, d, 2, 0);
	guest_run(&f->g);
}

static void command(struct fuzz *f)
{
	static const uint8_t often[] = {
	    FUSE_LOOKUP, FUSE_OPEN,    FUSE_OPENDIR, FUSE_CREATE,
	    FUSE_READ,	 FUSE_READDIR, FUSE_WRITE,   FUSE_READDIRPLUS};
	uint8_t code = in_u8(f->talk.in);
	uint8_t room = in_u8(f->talk.in);
	const struct vtfs_fuse_op *op = vtfs_fuse_op(
	    code >= 0x80 ? often[code % 8] : code % 64);

	if (code == 0x3f) { /* DESTROY, and a new session */
		send_op(f, vtfs_fuse_op(FUSE_DESTROY), 16);
		send_init(f);
	} else if (op && op->flags & VTFS_FUSE_WAITS) {
		send_wait(f, op);
	} else if (op && op->opcode != FUSE_INIT) {
		send_op(f, op,
			op->answer == VTFS_FUSE_ANSWER_NONE ? 0
			: room < 0xf0			    ? 0x1000
				      : 16 + room % 16 * 9u);
	}
	share_check();
}

/* ---- the program ---- */

static void end_wait(struct lock_gate *gate, struct lock_wait *w)
{
	virtiofs_req_error(w->req, w->result);
	free(w);
}

static int on_request(struct virtiofs_req *req)
{
	struct fuzz *f = req->userdata;

	/* A FIFO: nobody is there who would open the other end. */
	if (req->in->opcode == FUSE_OPEN &&
	    req->arg_len >= sizeof(struct fuse_open_in))
		((struct fuse_open_in *)(uintptr_t)req->arg)->flags |=
		    O_NONBLOCK;
	req->user = &f->gate;
	return fs_request(&f->fs, req);
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
	fs_on_forget(nodeid, nlookup, &((struct fuzz *)userdata)->fs);
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	fs_on_interrupt(req, &((struct fuzz *)userdata)->fs);
}

static void on_init(const struct fuse_init_in *in, struct fuse_init_out *out,
		    void *userdata)
{
	fs_on_init(in, out, &((struct fuzz *)userdata)->fs);
}

static void on_reset(void *userdata)
{
	fs_on_reset(&((struct fuzz *)userdata)->fs);
}

static void start(struct fuzz *f, uint8_t how)
{
	const struct fs_opts opts = {
	    .cache = how & 1 ? CACHE_ALWAYS : CACHE_AUTO,
	    .handles = how & 2 ? HANDLES_PREFER : HANDLES_NEVER,
	    .readonly = (how & 0x1c) == 0x1c,
	    .xattr = true,
	    .posix_acl = how & 4,
	    .allow_direct_io = how & 8,
	    .announce_submounts = true,
	    .readdirplus = true,
	    .killpriv_v2 = how & 32,
	    .check_permissions = (how & 0x60) == 0x60,
	    .fd_limit = how & 64 ? 8 : 100,
	};
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = on_forget,
	    .interrupt = on_interrupt,
	    .init = on_init,
	    .reset = on_reset,
	};
	const struct virtiofs_device_opts device = {
	    .size = sizeof(device),
	    .num_request_queues = GUEST_QUEUES - 1,
	    .max_write = 4096,
	    .features = VIRTIOFS_F_VERSION_1,
	    .flags = VIRTIOFS_DEVICE_SHARED_REPLY,
	};

	must(!fs_init(&f->fs, &opts, open("/proc/self/fd", O_PATH | O_CLOEXEC),
		      share_open(O_PATH)));
	must(!fs_thread_start(&f->fs));
	f->gate.max = 1;
	f->gate.done = end_wait;
	guest_init(&f->g, VIRTIOFS_F_VERSION_1, GUEST_NUM);
	must(!virtiofs_device_new(&f->g.dev, &f->g.base, &ops, &device, f));
	guest_order(&f->g, GUEST_START_ALL, 0);
	send_init(f);
	talk_node(&f->talk, FUSE_ROOT_ID);
}

static void stop(struct fuzz *f)
{
	guest_order(&f->g, GUEST_LOST, 0);
	block_stop(&f->fs);
	lock_wait_for_all();
	guest_run(&f->g);
	must(!f->g.lost);
	virtiofs_device_free(f->g.dev);
	guest_fini(&f->g);
	fs_thread_end();
	fs_free(&f->fs);
	stats_free();
	close(f->fs.proc_fd);
	close(f->fs.root_fd);
}

static void limit_files(rlim_t max)
{
	struct rlimit lim;

	must(!getrlimit(RLIMIT_FSIZE, &lim));
	lim.rlim_cur = max < lim.rlim_max ? max : lim.rlim_max;
	must(!setrlimit(RLIMIT_FSIZE, &lim));
}

/* In a thread of its own: who it becomes, its directory and its umask go with
 * it. */
static void *run(void *arg)
{
	struct fuzz *f = arg;

	start(f, in_u8(f->talk.in));
	while (!in_end(f->talk.in))
		command(f);
	stop(f);
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	static struct fuzz f;
	pthread_t thread;
	int fd;

	set_up_once();
	memset(&f, 0, sizeof(f));
	f.talk.in = &in;
	share_fill();
	fd = fuzz_next_fd();
	limit_files(FILE_MAX);
	must(!pthread_create(&thread, NULL, run, &f));
	must(!pthread_join(thread, NULL));
	limit_files(RLIM_INFINITY);
	must(fuzz_next_fd() == fd);
	share_check();
	share_empty();
	return 0;
}
