/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtiofs-server's operations on a small tree, for a guest that sends frames
 * of the right shape with anything in them. Beside the shared directory lies
 * another one, which links in the first name: nothing of it may ever be seen or
 * changed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "block.h"
#include "caps.h"
#include "creds.h"
#include "fs.h"
#include "guest.h"
#include "lock.h"
#include "log.h"
#include "stats.h"
#include "wire/fuse_ops.h"
#include "wire/ring.h"

#define SECRET	  "no client ever sees these words"
#define KNOWN	  16u
#define CELLS	  3u
#define CELL_LEN  0x1800u
#define FRAME_LEN 0x700u
#define ROOM_AT	  0x800u
/* Who waits for a lock is answered by another thread, at any time: the place of
 * such a request is used once. */
#define WAITS	 12u
#define WAIT_LEN 0x200u
#define FILE_MAX (1u << 20) /* bytes, for all that the guest writes */

static char base[64]; /* of both directories */
static int base_fd, share_fd;
static struct stat outside[2]; /* that directory, and the file in it */

struct fuzz {
	struct fs fs; /* first: the requests' userdata */
	struct guest g;
	struct lock_gate gate;
	struct input *in;
	unsigned cell, waits;
	uint64_t unique;
	/* What the server has told. */
	uint64_t nodes[KNOWN], fhs[KNOWN];
	unsigned node_cnt, fh_cnt;
};

static void fill_tree(void)
{
	int fd;

	must(!mkdirat(share_fd, "dir", 0777));
	must(!symlinkat("file", share_fd, "link"));
	must(!symlinkat("../outside/secret", share_fd, "out"));
	must(!symlinkat("..", share_fd, "up"));
	must(!symlinkat(base, share_fd, "abs"));
	must(!mknodat(share_fd, "fifo", S_IFIFO | 0666, 0));
	fd = openat(share_fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
	must(fd >= 0 && write(fd, "inside", 6) == 6);
	close(fd);
	fd = openat(share_fd, "dir/inner", O_CREAT | O_CLOEXEC, 0666);
	must(fd >= 0);
	close(fd);
}

static void empty_dir(int dir_fd)
{
	DIR *dir = fdopendir(fcntl(dir_fd, F_DUPFD_CLOEXEC, 0));
	struct dirent *e;

	must(dir);
	rewinddir(dir);
	while ((e = readdir(dir)) != NULL) {
		int fd;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!unlinkat(dir_fd, e->d_name, 0))
			continue;
		fd = openat(dir_fd, e->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0) {
			empty_dir(fd);
			close(fd);
		}
		unlinkat(dir_fd, e->d_name, AT_REMOVEDIR);
	}
	closedir(dir);
}

static void remove_all(void)
{
	empty_dir(base_fd);
	rmdir(base);
}

static void stat_outside(struct stat *st)
{
	must(!fstatat(base_fd, "outside", &st[0], AT_SYMLINK_NOFOLLOW));
	must(!fstatat(base_fd, "outside/secret", &st[1], AT_SYMLINK_NOFOLLOW));
}

static void check_outside(void)
{
	struct stat now[2];

	stat_outside(now);
	for (unsigned i = 0; i < 2; i++) {
		now[i].st_atim = outside[i].st_atim;
		must(!memcmp(&now[i], &outside[i], sizeof(now[i])));
	}
}

static void make_dirs(void)
{
	int fd;

	strcpy(base, access("/dev/shm", W_OK)
			 ? "/tmp/virtiofs-fuzz-XXXXXX"
			 : "/dev/shm/virtiofs-fuzz-XXXXXX");
	must(mkdtemp(base));
	base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(base_fd >= 0 && !fchmod(base_fd, 0755));
	atexit(remove_all);
	must(!mkdirat(base_fd, "outside", 0777));
	must(!mkdirat(base_fd, "share", 0777));
	fd = openat(base_fd, "outside/secret", O_CREAT | O_WRONLY | O_CLOEXEC,
		    0666);
	must(fd >= 0 && write(fd, SECRET, sizeof(SECRET)) > 0);
	close(fd);
	share_fd = openat(base_fd, "share", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(share_fd >= 0);
	memset(outside, 0, sizeof(outside));
	stat_outside(outside);
}

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
	make_dirs();
}

/* ---- the guest ---- */

static void know(uint64_t *list, unsigned *cnt, uint64_t x)
{
	list[(*cnt)++ % KNOWN] = x;
}

static uint64_t pick(struct input *in, const uint64_t *list, unsigned cnt)
{
	uint8_t i = in_u8(in);

	if (i >= 0xf8 || !cnt)
		return in_number(in);
	return list[i % (cnt < KNOWN ? cnt : KNOWN)];
}

static uint64_t pick_node(struct fuzz *f)
{
	return pick(f->in, f->nodes, f->node_cnt);
}

static uint64_t pick_fh(struct fuzz *f)
{
	return pick(f->in, f->fhs, f->fh_cnt);
}

/* Where arguments hold what the server has told: bytes into them. */
#define NOWHERE 0xff
static const struct known_at {
	uint8_t fh, fh2, node;
} known_at[] = {
    [FUSE_GETATTR] = {8, NOWHERE, NOWHERE},
    [FUSE_SETATTR] = {8, NOWHERE, NOWHERE},
    [FUSE_RENAME] = {NOWHERE, NOWHERE, 0},
    [FUSE_RENAME2] = {NOWHERE, NOWHERE, 0},
    [FUSE_LINK] = {NOWHERE, NOWHERE, 0},
    [FUSE_READ] = {0, NOWHERE, NOWHERE},
    [FUSE_WRITE] = {0, NOWHERE, NOWHERE},
    [FUSE_RELEASE] = {0, NOWHERE, NOWHERE},
    [FUSE_FSYNC] = {0, NOWHERE, NOWHERE},
    [FUSE_FLUSH] = {0, NOWHERE, NOWHERE},
    [FUSE_READDIR] = {0, NOWHERE, NOWHERE},
    [FUSE_READDIRPLUS] = {0, NOWHERE, NOWHERE},
    [FUSE_RELEASEDIR] = {0, NOWHERE, NOWHERE},
    [FUSE_FSYNCDIR] = {0, NOWHERE, NOWHERE},
    [FUSE_GETLK] = {0, NOWHERE, NOWHERE},
    [FUSE_SETLK] = {0, NOWHERE, NOWHERE},
    [FUSE_SETLKW] = {0, NOWHERE, NOWHERE},
    [FUSE_FALLOCATE] = {0, NOWHERE, NOWHERE},
    [FUSE_LSEEK] = {0, NOWHERE, NOWHERE},
    [FUSE_COPY_FILE_RANGE] = {0, 24, 16},
    [FUSE_COPY_FILE_RANGE_64] = {0, 24, 16},
    [FUSE_STATX] = {8, NOWHERE, NOWHERE},
};

static void put_word(unsigned char *p, size_t at, size_t len, uint64_t x)
{
	if (at + sizeof(x) <= len)
		memcpy(p + at, &x, sizeof(x));
}

static size_t put_args(struct fuzz *f, const struct vtfs_fuse_op *op,
		       unsigned char *p)
{
	static const struct vtfs_fuse_proto proto = {
	    .minor = FUSE_KERNEL_MINOR_VERSION, .flags = FUSE_SETXATTR_EXT};
	size_t len = vtfs_fuse_arg_len(op, &proto);
	const struct known_at *k = op->opcode < sizeof(known_at) /
						    sizeof(known_at[0])
				       ? &known_at[op->opcode]
				       : NULL;

	memset(p, 0, len);
	for (size_t at = 0; at < len; at += 4) {
		uint32_t x = (uint32_t)in_number(f->in);

		memcpy(p + at, &x, len - at < 4 ? len - at : 4);
	}
	if (!k || !(k->fh | k->fh2 | k->node))
		return len;
	put_word(p, k->fh, len, pick_fh(f));
	put_word(p, k->fh2, len, pick_fh(f));
	put_word(p, k->node, len, pick_node(f));
	return len;
}

static size_t put_name(struct fuzz *f, unsigned char *p, bool xattr)
{
	static const char *const names[] = {
	    "file", "dir",	 "inner",      "link",
	    "out",  "up",	 "abs",	       "fifo",
	    "new",  "n2",	 "..",	       ".",
	    "",	    "dir/inner", "../outside", "../outside/secret"};
	static const char *const xattrs[] = {"user.a",
					     "user.b",
					     "security.capability",
					     "system.posix_acl_access",
					     "system.posix_acl_default",
					     "trusted.overlay.opaque",
					     "user.",
					     "nothing"};
	uint8_t which = in_u8(f->in);
	size_t len;

	if (which == 0xff) {
		len = in_u8(f->in) % 24;
		in_bytes(f->in, p, len);
		p[len] = 0;
	} else if (which == 0xfe) {
		memset(p, 'n', 260);
		p[250 + in_u8(f->in) % 10] = 0;
	} else {
		strcpy((char *)p,
		       xattr ? xattrs[which % 8] : names[which % 16]);
	}
	return strlen((char *)p) + 1;
}

/* A frame of op; its length. */
static size_t put_frame(struct fuzz *f, const struct vtfs_fuse_op *op,
			unsigned char *p)
{
	struct fuse_in_header head = {
	    .opcode = op->opcode,
	    .unique = ++f->unique * 2,
	    .nodeid = pick_node(f),
	};
	bool xattr = op->names_kind == VTFS_FUSE_NAMES_XATTR;
	size_t at = sizeof(head);
	uint8_t who = in_u8(f->in);
	uint32_t bulk = 0;

	head.uid = head.gid = who & 1 ? 1000 : 0;
	if (who >= 0xf0)
		head.uid = in_u32(f->in);
	at += put_args(f, op, p + at);
	if (op->bulk_unit) {
		bulk = in_u8(f->in) * 2u / op->bulk_unit;
		memcpy(p + sizeof(head) + op->bulk_off, &bulk, sizeof(bulk));
		bulk *= op->bulk_unit;
	}
	for (unsigned i = 0; i < op->names; i++)
		at += put_name(f, p + at, xattr);
	in_bytes(f->in, p + at, bulk);
	at += bulk;
	head.len = (uint32_t)at;
	memcpy(p, &head, sizeof(head));
	return at;
}

/* Nothing that a reply holds lies outside. */
static void check_entry(const unsigned char *p)
{
	struct fuse_entry_out e;
	struct stat st;

	memcpy(&e, p, sizeof(e));
	must(e.attr.ino != outside[0].st_ino &&
	     e.attr.ino != outside[1].st_ino);
	must(!fstat(base_fd, &st) && e.attr.ino != st.st_ino);
}

/* Not with memmem(): the fuzzer learns what is compared, and would then write
 * the secret itself and read it back. */
#ifdef __clang__
__attribute__((no_sanitize("coverage")))
#endif
static bool
holds_secret(const unsigned char *p, size_t len)
{
	const size_t n = sizeof(SECRET) - 1;
	size_t same;

	for (size_t i = 0; i + n <= len; i++) {
		for (same = 0; same < n; same++)
			if (p[i + same] != (unsigned char)SECRET[same])
				break;
		if (same == n)
			return true;
	}
	return false;
}

static void hear(struct fuzz *f, const struct vtfs_fuse_op *op,
		 const unsigned char *room, size_t len)
{
	struct fuse_out_header out;
	struct fuse_entry_out entry;
	struct fuse_open_out open;

	memcpy(&out, room, sizeof(out));
	must(out.unique == f->unique * 2);
	must(out.error <= 0 && out.error > -512);
	must(out.len >= sizeof(out) && out.len <= len);
	must(!out.error || out.len == sizeof(out));
	must(!holds_secret(room, out.len));
	if (out.error)
		return;
	if (op->flags & VTFS_FUSE_GRANTS_ENTRY &&
	    out.len >= sizeof(out) + sizeof(entry)) {
		memcpy(&entry, room + sizeof(out), sizeof(entry));
		check_entry(room + sizeof(out));
		know(f->nodes, &f->node_cnt, entry.nodeid);
	}
	if (op->flags & VTFS_FUSE_GRANTS_FH) {
		memcpy(&open, room + out.len - sizeof(open), sizeof(open));
		know(f->fhs, &f->fh_cnt, open.fh);
	}
}

static void post(struct fuzz *f, const struct vtfs_fuse_op *op, uint64_t addr,
		 uint32_t len, uint32_t room_at, uint32_t room_len)
{
	const struct guest_desc d[2] = {
	    {addr, len, 0},
	    {addr + room_at, room_len, VTFS_DESC_F_WRITE},
	};

	guest_post(&f->g, op->flags & VTFS_FUSE_HIPRIO ? 0 : 1, d,
		   room_len ? 2 : 1, 0);
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
	     (uint32_t)put_frame(f, op, guest_ptr(&f->g, addr, WAIT_LEN)),
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
	len = put_frame(f, op, p);
	must(len <= FRAME_LEN);
	post(f, op, addr, (uint32_t)len, ROOM_AT, room_len);
	if (room_len)
		hear(f, op, p + ROOM_AT, room_len);
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
	uint8_t code = in_u8(f->in);
	uint8_t room = in_u8(f->in);
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
	check_outside();
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
		      openat(base_fd, "share", O_PATH | O_CLOEXEC)));
	must(!fs_thread_start(&f->fs));
	f->gate.max = 1;
	f->gate.done = end_wait;
	guest_init(&f->g, VIRTIOFS_F_VERSION_1, GUEST_NUM);
	must(!virtiofs_device_new(&f->g.dev, &f->g.base, &ops, &device, f));
	guest_order(&f->g, GUEST_START_ALL, 0);
	send_init(f);
	know(f->nodes, &f->node_cnt, FUSE_ROOT_ID);
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

	start(f, in_u8(f->in));
	while (!in_end(f->in))
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
	f.in = &in;
	fill_tree();
	fd = fuzz_next_fd();
	limit_files(FILE_MAX);
	must(!pthread_create(&thread, NULL, run, &f));
	must(!pthread_join(thread, NULL));
	limit_files(RLIM_INFINITY);
	must(fuzz_next_fd() == fd);
	check_outside();
	must(!fchmod(share_fd, 0777));
	empty_dir(share_fd);
	return 0;
}
