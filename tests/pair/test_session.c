/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A client against a device of ours, over every transport, ring layout and
 * size: test_session TRANSPORT LAYOUT runs all sizes with and without event
 * index and indirect descriptors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <virtiofs/ops.h>

#include "memfs.h"

#define PAGE 4096u

static bool over_socket;
static uint64_t layout;

struct combo {
	uint64_t features;
	uint32_t num;
};

struct fix {
	struct memfs *m;
	struct virtiofs_client *c;
	struct virtiofs_client_info info;
};

static uint64_t seed = 88172645463325252ULL;

static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 11) % below;
}

static void rnd_fill(unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)rnd(256);
}

/* ---- both ends ---- */

static void make_pair(struct virtiofs_transport **d,
		      struct virtiofs_transport **c)
{
	int sv[2];

	if (!over_socket) {
		assert_int_equal(virtiofs_inproc_pair(d, c), 0);
		return;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	assert_int_equal(virtiofs_vhost_user_device_fd(d, sv[0]), 0);
	assert_int_equal(virtiofs_vhost_user_client_fd(c, sv[1]), 0);
}

static void fix_start(struct fix *f, const struct combo *co, unsigned queues)
{
	struct virtiofs_device_opts dopts = {
	    .size = sizeof(dopts),
	    .tag = "memfs",
	    .num_request_queues = queues,
	    .features = VIRTIOFS_FEATURES_DEFAULT | layout,
	};
	struct virtiofs_client_opts copts = {
	    .size = sizeof(copts),
	    .num_request_queues = queues,
	    .queue_size = co->num,
	    .features = VIRTIOFS_F_VERSION_1 | co->features,
	};
	struct virtiofs_transport *d, *c;

	memset(f, 0, sizeof(*f));
	make_pair(&d, &c);
	f->m = memfs_start(d, &dopts);
	assert_non_null(f->m);
	assert_int_equal(virtiofs_client_new(&f->c, c, &copts), 0);
	if (virtiofs_client_start(f->c, NULL) < 0)
		fail_msg("start: %s", virtiofs_last_error());
	f->info.size = sizeof(f->info);
	assert_int_equal(virtiofs_client_get_info(f->c, &f->info), 0);
	assert_int_equal(f->info.features, VIRTIOFS_F_VERSION_1 | co->features);
	assert_int_equal(f->info.request_queues, queues);
}

static void fix_end(struct fix *f)
{
	virtiofs_client_free(f->c);
	memfs_free(f->m);
}

/* The largest READ or WRITE. */
static size_t most(const struct fix *f)
{
	size_t pages = (size_t)f->info.max_pages * PAGE;

	return pages < f->info.max_write ? pages : f->info.max_write;
}

static uint64_t create(struct fix *f, const char *name, uint64_t *ret_fh)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = 0644};
	struct virtiofs_create_out out;

	assert_int_equal(virtiofs_call_create(f->c, 1, name, &in, &out), 0);
	*ret_fh = out.open.fh;
	return out.entry.nodeid;
}

/* ---- one of each ---- */

static void files(struct fix *f)
{
	size_t len = most(f) < 300000 ? most(f) : 300000;
	unsigned char *a = malloc(len), *b = calloc(1, len);
	struct fuse_attr_out attr;
	struct fuse_open_out open;
	uint64_t fh, id = create(f, "file", &fh);

	rnd_fill(a, len);
	assert_int_equal(virtiofs_call_write(f->c, id, fh, 0, a, len), len);
	assert_int_equal(virtiofs_call_fgetattr(f->c, id, fh, &attr), 0);
	assert_int_equal(attr.attr.size, len);
	assert_int_equal(virtiofs_call_read(f->c, id, fh, 0, b, len), len);
	assert_memory_equal(a, b, len);
	/* The end of the file, and behind it. */
	assert_int_equal(virtiofs_call_read(f->c, id, fh, len - 5, b, len), 5);
	assert_int_equal(virtiofs_call_read(f->c, id, fh, len, b, len), 0);
	assert_int_equal(virtiofs_call_flush(f->c, id, fh), 0);
	assert_int_equal(virtiofs_call_fsync(f->c, id, fh, 0), 0);
	assert_int_equal(virtiofs_call_release(f->c, id, fh, 0), 0);
	assert_int_equal(virtiofs_call_open(f->c, id, O_RDONLY, &open), 0);
	assert_int_equal(virtiofs_call_lseek(f->c, id, open.fh, 0, SEEK_HOLE),
			 len);
	assert_int_equal(virtiofs_call_lseek(f->c, id, open.fh, len, SEEK_DATA),
			 -ENXIO);
	assert_int_equal(virtiofs_call_release(f->c, id, open.fh, 0), 0);
	assert_int_equal(virtiofs_client_forget(f->c, id, 1), 0);
	free(a);
	free(b);
}

static void names(struct fix *f)
{
	struct fuse_rename2_in ren2 = {.newdir = 1};
	struct fuse_mknod_in mknod = {.mode = S_IFREG | 0600};
	struct fuse_entry_out e, dir;
	char target[600], buf[PAGE];

	assert_int_equal(virtiofs_call_mkdir(f->c, 1, "dir", 0755, &dir), 0);
	assert_int_equal(virtiofs_call_mknod(f->c, dir.nodeid, "n", &mknod, &e),
			 0);
	assert_int_equal(virtiofs_call_rename(f->c, dir.nodeid, "n", 1, "m"),
			 0);
	assert_int_equal(virtiofs_call_rename2(f->c, 1, "m", &ren2, "mm"), 0);
	assert_int_equal(virtiofs_call_lookup(f->c, 1, "m", &e), -ENOENT);
	assert_int_equal(virtiofs_call_lookup(f->c, 1, "mm", &e), 0);
	assert_int_equal(virtiofs_call_link(f->c, e.nodeid, 1, "again", &e), 0);
	assert_int_equal(virtiofs_client_forget(f->c, e.nodeid, 3), 0);
	assert_int_equal(virtiofs_call_unlink(f->c, 1, "mm"), 0);
	assert_int_equal(virtiofs_call_rmdir(f->c, 1, "dir"), 0);
	assert_int_equal(virtiofs_client_forget(f->c, dir.nodeid, 1), 0);
	/* A target that does not fit beside the arguments. */
	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = 0;
	assert_int_equal(virtiofs_call_symlink(f->c, 1, "l", target, &e), 0);
	assert_int_equal(virtiofs_call_readlink(f->c, e.nodeid, buf, PAGE),
			 sizeof(target) - 1);
	assert_memory_equal(buf, target, sizeof(target) - 1);
	assert_int_equal(virtiofs_client_forget(f->c, e.nodeid, 1), 0);
}

static void attributes(struct fix *f)
{
	struct fuse_setattr_in set = {
	    .valid = FATTR_SIZE | FATTR_MODE, .size = 77, .mode = 0640};
	struct fuse_statx_in sx = {.sx_mask = 0xfff};
	struct fuse_statx_out sxo;
	struct fuse_statfs_out st;
	struct fuse_attr_out attr;
	uint64_t fh, id = create(f, "attr", &fh);
	char buf[64];

	assert_int_equal(virtiofs_call_setattr(f->c, id, &set, &attr), 0);
	assert_int_equal(attr.attr.size, 77);
	assert_int_equal(virtiofs_call_getattr(f->c, id, &attr), 0);
	assert_int_equal(attr.attr.mode, S_IFREG | 0640);
	assert_int_equal(virtiofs_call_statx(f->c, id, &sx, &sxo), 0);
	assert_int_equal(sxo.stat.size, 77);
	assert_int_equal(virtiofs_call_statfs(f->c, 1, &st), 0);
	assert_int_equal(st.st.blocks, 1000);
	assert_int_equal(virtiofs_call_access(f->c, id, R_OK), 0);
	assert_int_equal(
	    virtiofs_call_setxattr(f->c, id, "user.test", "abc", 3, 0), 0);
	assert_int_equal(virtiofs_call_getxattr(f->c, id, "user.test", buf, 0),
			 3);
	assert_int_equal(virtiofs_call_getxattr(f->c, id, "user.test", buf, 2),
			 -ERANGE);
	assert_int_equal(virtiofs_call_getxattr(f->c, id, "user.test", buf, 64),
			 3);
	assert_memory_equal(buf, "abc", 3);
	assert_int_equal(virtiofs_call_listxattr(f->c, id, buf, 64), 10);
	assert_string_equal(buf, "user.test");
	assert_int_equal(virtiofs_call_removexattr(f->c, id, "user.test"), 0);
	assert_int_equal(virtiofs_call_getxattr(f->c, id, "user.test", buf, 64),
			 -ENODATA);
	assert_int_equal(virtiofs_call_release(f->c, id, fh, 0), 0);
	assert_int_equal(virtiofs_client_forget(f->c, id, 1), 0);
}

static void rest(struct fix *f)
{
	struct fuse_fallocate_in fa = {.length = 5000};
	struct fuse_copy_file_range_in cp = {.len = 1u << 20};
	struct fuse_lk_in lk = {.lk = {.type = F_WRLCK}};
	struct fuse_create_in in = {.flags = O_RDWR, .mode = 0600};
	struct virtiofs_create_out tmp;
	struct fuse_lk_out lko;
	struct fuse_open_out dir;
	uint64_t fh, id = create(f, "rest", &fh);

	fa.fh = fh;
	assert_int_equal(virtiofs_call_fallocate(f->c, id, &fa), 0);
	assert_int_equal(virtiofs_call_tmpfile(f->c, 1, &in, &tmp), 0);
	cp.fh_in = fh;
	cp.nodeid_out = tmp.entry.nodeid;
	cp.fh_out = tmp.open.fh;
	assert_int_equal(virtiofs_call_copy_file_range(f->c, id, &cp), 5000);
	assert_int_equal(virtiofs_call_getlk(f->c, id, &lk, &lko), 0);
	assert_int_equal(lko.lk.type, F_UNLCK);
	assert_int_equal(virtiofs_call_setlk(f->c, id, &lk), 0);
	assert_int_equal(virtiofs_call_syncfs(f->c, 1), 0);
	assert_int_equal(virtiofs_call_opendir(f->c, 1, O_RDONLY, &dir), 0);
	assert_int_equal(virtiofs_call_fsyncdir(f->c, 1, dir.fh, 0), 0);
	assert_int_equal(virtiofs_call_releasedir(f->c, 1, dir.fh, 0), 0);
	assert_int_equal(
	    virtiofs_call_release(f->c, tmp.entry.nodeid, tmp.open.fh, 0), 0);
	assert_int_equal(virtiofs_call_release(f->c, id, fh, 0), 0);
	assert_int_equal(virtiofs_client_forget(f->c, tmp.entry.nodeid, 1), 0);
	assert_int_equal(virtiofs_client_forget(f->c, id, 1), 0);
}

/* covers: FUSE-DRV-08, FS-DRV-08 */
static void one_of_each(const struct combo *co)
{
	struct fix f;

	fix_start(&f, co, 1);
	files(&f);
	names(&f);
	attributes(&f);
	rest(&f);
	virtiofs_client_free(f.c);
	f.c = NULL;
	memfs_stop(f.m);
	assert_int_equal(f.m->sessions, 1);
	assert_int_equal(f.m->left, 0);
	assert_int_equal(f.m->left_handles, 0);
	memfs_free(f.m);
}

/* ---- directories ---- */

static unsigned list(struct fix *f, uint64_t fh, bool plus, size_t len)
{
	char *buf = malloc(len);
	struct virtiofs_dirent d;
	uint64_t off = 0;
	unsigned cnt = 0;
	ssize_t n;
	int r;

	for (;;) {
		size_t pos = 0;

		if (plus)
			n = virtiofs_call_readdirplus(f->c, 1, fh, off, buf,
						      len);
		else
			n = virtiofs_call_readdir(f->c, 1, fh, off, buf, len);
		assert_true(n >= 0);
		if (!n)
			break;
		while ((r = plus ? virtiofs_next_direntplus(buf, (size_t)n,
							    &pos, &d)
				 : virtiofs_next_dirent(buf, (size_t)n, &pos,
							&d)) > 0) {
			assert_memory_equal(d.name, "entry", 5);
			off = d.off;
			cnt++;
			if (plus)
				virtiofs_client_forget(f->c, d.entry.nodeid, 1);
		}
		assert_int_equal(r, 0);
	}
	free(buf);
	return cnt;
}

static void directories(const struct combo *co)
{
	struct fuse_open_out dir;
	struct fuse_entry_out e;
	char name[32];
	struct fix f;

	fix_start(&f, co, 1);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "entry%u", i);
		assert_int_equal(virtiofs_call_mkdir(f.c, 1, name, 0700, &e),
				 0);
		assert_int_equal(virtiofs_client_forget(f.c, e.nodeid, 1), 0);
	}
	assert_int_equal(virtiofs_call_opendir(f.c, 1, O_RDONLY, &dir), 0);
	assert_int_equal(list(&f, dir.fh, false, PAGE), 50);
	assert_int_equal(list(&f, dir.fh, true, PAGE), 50);
	assert_int_equal(list(&f, dir.fh, true, 300), 50);
	assert_int_equal(virtiofs_call_releasedir(f.c, 1, dir.fh, 0), 0);
	virtiofs_client_free(f.c);
	memfs_stop(f.m);
	assert_int_equal(f.m->left, 0);
	memfs_free(f.m);
}

/* ---- many in flight ---- */

#define SLICES 200u
#define SLICE  8192u

struct batch {
	struct fix f;
	struct virtiofs_cliq *q;
	uint64_t id, fh;
	unsigned char *model;	    /* what the file must hold */
	unsigned char *reg, *plain; /* buffers, registered or not */
	struct iovec iov[SLICES][3];
	struct fuse_write_out wrote[SLICES];
	struct iovec wroom[SLICES];
	uint32_t len[SLICES], off[SLICES];
	unsigned done;
};

/* Slice i's buffer, cut in up to three pieces, some of them registered. */
static uint16_t cut(struct batch *b, unsigned i)
{
	uint32_t left = b->len[i], at = i * SLICE;
	uint16_t n = 0;

	while (left) {
		uint32_t k = n == 2 ? left : 1 + rnd(left);
		unsigned char *base = rnd(2) ? b->reg : b->plain;

		b->iov[i][n++] = virtiofs_iov(base + at, k);
		at += k;
		left -= k;
	}
	return n;
}

/* Between the caller's pieces and what the file holds there. */
static void move(struct batch *b, unsigned i, uint16_t cnt, bool compare)
{
	unsigned char *file = b->model + b->off[i];

	for (uint16_t k = 0; k < cnt; k++) {
		const struct iovec *v = &b->iov[i][k];

		if (compare)
			assert_memory_equal(v->iov_base, file, v->iov_len);
		else
			memcpy(file, v->iov_base, v->iov_len);
		file += v->iov_len;
	}
}

static void reap_some(struct batch *b, bool reading, const uint16_t *cnt)
{
	struct virtiofs_result res[16];
	int n = virtiofs_cliq_reap(b->q, res, 16);

	assert_true(n >= 0);
	for (int k = 0; k < n; k++) {
		unsigned i = (unsigned)res[k].user_data;

		assert_int_equal(res[k].error, 0);
		assert_int_equal(res[k].flags, 0);
		if (reading) {
			assert_int_equal(res[k].len, b->len[i]);
			move(b, i, cnt[i], true);
		} else {
			assert_int_equal(res[k].len, sizeof(b->wrote[i]));
			assert_int_equal(b->wrote[i].size, b->len[i]);
		}
		b->done++;
	}
	if (!n && virtiofs_cliq_arm(b->q) == 0) {
		struct timeval tv = {.tv_sec = 20};
		fd_set set;

		FD_ZERO(&set);
		FD_SET(virtiofs_cliq_fd(b->q), &set);
		assert_int_equal(
		    select(virtiofs_cliq_fd(b->q) + 1, &set, NULL, NULL, &tv),
		    1);
	}
}

static void run_batch(struct batch *b, bool reading)
{
	uint16_t cnt[SLICES];
	unsigned next = 0;

	for (unsigned i = 0; i < SLICES; i++) {
		cnt[i] = cut(b, i);
		if (!reading)
			move(b, i, cnt[i], false);
	}
	b->done = 0;
	while (b->done < SLICES) {
		struct virtiofs_op *op;

		while (next < SLICES && (op = virtiofs_cliq_get_op(b->q))) {
			struct fuse_write_in w = {.fh = b->fh,
						  .offset = b->off[next],
						  .size = b->len[next]};

			if (reading) {
				virtiofs_prep_read(op, b->id, b->fh,
						   b->off[next], b->len[next],
						   b->iov[next], cnt[next]);
			} else {
				b->wroom[next] = virtiofs_iov(
				    &b->wrote[next], sizeof(b->wrote[next]));
				virtiofs_prep_write(op, b->id, &w, b->iov[next],
						    &b->wroom[next]);
				op->data_cnt = cnt[next];
			}
			op->user_data = next++;
			if (!rnd(4))
				break;
		}
		assert_true(virtiofs_cliq_submit(b->q) >= 0);
		reap_some(b, reading, cnt);
	}
}

static void batches(const struct combo *co)
{
	struct batch *b = calloc(1, sizeof(*b));
	struct virtiofs_region mem = {.size = sizeof(mem)};

	fix_start(&b->f, co, 2);
	b->id = create(&b->f, "batch", &b->fh);
	b->model = calloc(SLICES, SLICE);
	b->plain = malloc(SLICES * SLICE);
	assert_int_equal(
	    virtiofs_client_alloc_region(b->f.c, SLICES * SLICE, &mem), 0);
	b->reg = mem.addr;
	rnd_fill(b->plain, SLICES * SLICE);
	memcpy(b->reg, b->plain, SLICES * SLICE);
	for (unsigned i = 0; i < SLICES; i++) {
		size_t max = most(&b->f) < SLICE ? most(&b->f) : SLICE;

		b->len[i] = 1 + rnd((uint32_t)max);
		/* A ring of four has room for one part each way. */
		b->off[i] = i * SLICE + rnd(SLICE - b->len[i] + 1);
	}
	assert_int_equal(virtiofs_client_take_queue(b->f.c, 1, 0, &b->q), 0);
	if (co->num > 4) {
		run_batch(b, false);
		memset(b->plain, 0, SLICES * SLICE);
		memset(b->reg, 0, SLICES * SLICE);
		run_batch(b, true);
	}
	assert_int_equal(virtiofs_client_unmap_region(b->f.c, &mem), 0);
	assert_int_equal(virtiofs_cliq_release(b->q), 0);
	fix_end(&b->f);
	free(b->model);
	free(b->plain);
	free(b);
}

/* ---- threads ---- */

#define THREADS 4

struct worker {
	struct fix *f;
	pthread_t thread;
	unsigned nr;
	const char *bad; /* what failed */
};

static const char *try_work(struct worker *w)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = 0644};
	struct virtiofs_create_out out;
	unsigned char a[3000], b[3000];
	char name[16];

	snprintf(name, sizeof(name), "thread%u", w->nr);
	if (virtiofs_call_create(w->f->c, 1, name, &in, &out) < 0)
		return "create";
	for (unsigned i = 0; i < 60; i++) {
		size_t len = 1 + (i * 997 + w->nr * 131) % sizeof(a);

		for (size_t k = 0; k < len; k++)
			a[k] = (unsigned char)(k * 7 + i * 13 + w->nr);
		if (virtiofs_call_write(w->f->c, out.entry.nodeid, out.open.fh,
					i * 100, a, len) != (ssize_t)len)
			return "write";
		if (virtiofs_call_read(w->f->c, out.entry.nodeid, out.open.fh,
				       i * 100, b, len) != (ssize_t)len)
			return "read";
		if (memcmp(a, b, len))
			return "bytes";
	}
	if (virtiofs_call_release(w->f->c, out.entry.nodeid, out.open.fh, 0))
		return "release";
	return virtiofs_client_forget(w->f->c, out.entry.nodeid, 1) ? "forget"
								    : NULL;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	w->bad = try_work(w);
	return NULL;
}

static void threads(const struct combo *co)
{
	struct worker w[THREADS];
	struct fix f;

	fix_start(&f, co, 1 + co->num % 3);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].f = &f;
		w[i].nr = i;
		assert_int_equal(
		    pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		if (w[i].bad)
			fail_msg("thread %u: %s", i, w[i].bad);
	}
	virtiofs_client_free(f.c);
	memfs_stop(f.m);
	assert_int_equal(f.m->left, 0);
	assert_int_equal(f.m->left_handles, 0);
	memfs_free(f.m);
}

/* ---- forgets ---- */

static void forgets_are_exact(const struct combo *co)
{
	enum { NODES = 60 };
	uint64_t ids[NODES], sum = 0, kept = 0;
	struct fuse_entry_out e;
	unsigned held[NODES];
	char name[16];
	struct fix f;

	fix_start(&f, co, 1);
	for (unsigned i = 0; i < NODES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(virtiofs_call_mkdir(f.c, 1, name, 0700, &e),
				 0);
		ids[i] = e.nodeid;
		held[i] = 1 + rnd(20);
		for (unsigned k = 1; k < held[i]; k++)
			assert_int_equal(virtiofs_call_lookup(f.c, 1, name, &e),
					 0);
		sum += held[i];
	}
	/* In pieces, at random, until the sum is 7. */
	kept = sum;
	while (kept > 7) {
		unsigned i = rnd(NODES);
		unsigned n = held[i] ? 1 + rnd(held[i]) : 0;

		if (!n || kept - n < 7)
			continue;
		assert_int_equal(virtiofs_client_forget(f.c, ids[i], n), 0);
		held[i] -= n;
		kept -= n;
	}
	virtiofs_client_free(f.c);
	memfs_stop(f.m);
	assert_int_equal(f.m->left, 7);
	assert_true(f.m->forgets > 0 && f.m->forgets <= sum);
	memfs_free(f.m);
}

/* ---- interrupts ---- */

struct locker {
	struct fix *f;
	pthread_t thread;
	uint64_t id, fh, user_data;
	int r;
};

static void *lock(void *arg)
{
	struct fuse_lk_in lk = {.lk = {.type = F_WRLCK}};
	struct locker *l = arg;

	lk.fh = l->fh;
	l->r = virtiofs_call_setlkw(l->f->c, l->id, &lk, l->user_data);
	return NULL;
}

/* More locks wait than the queue may hold; each ends by its own interrupt, and
 * other requests get through all the time. */
static void interrupts(const struct combo *co)
{
	struct fuse_attr_out attr;
	struct locker l[4];
	uint64_t fh, id;
	struct fix f;

	fix_start(&f, co, 1);
	id = create(&f, "locked", &fh);
	for (unsigned i = 0; i < 4; i++) {
		l[i] = (struct locker){
		    .f = &f, .id = id, .fh = fh, .user_data = 100 + i};
		assert_int_equal(
		    pthread_create(&l[i].thread, NULL, lock, &l[i]), 0);
	}
	while (!__atomic_load_n(&f.m->lock_waits, __ATOMIC_RELAXED))
		sched_yield();
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(virtiofs_call_getattr(f.c, id, &attr), 0);
	for (unsigned i = 0; i < 4; i++) {
		/* Its thread may not have come that far yet. */
		while (virtiofs_client_interrupt(f.c, 100 + i) == -ENOENT)
			sched_yield();
		pthread_join(l[i].thread, NULL);
		assert_int_equal(l[i].r, -EINTR);
	}
	assert_int_equal(virtiofs_client_interrupt(f.c, 100), -ENOENT);
	fix_end(&f);
}

/* ---- ends ---- */

static void device_goes_away(const struct combo *co)
{
	struct fuse_attr_out attr;
	struct locker l = {.user_data = 5};
	struct fix f;

	fix_start(&f, co, 1);
	l.f = &f;
	l.id = create(&f, "gone", &l.fh);
	assert_int_equal(pthread_create(&l.thread, NULL, lock, &l), 0);
	while (!__atomic_load_n(&f.m->lock_waits, __ATOMIC_RELAXED))
		sched_yield();
	memfs_stop(f.m);
	pthread_join(l.thread, NULL);
	assert_int_equal(l.r, -ENOTCONN);
	assert_int_equal(virtiofs_call_getattr(f.c, l.id, &attr), -ENOTCONN);
	assert_int_equal(virtiofs_client_forget(f.c, l.id, 1), -ENOTCONN);
	assert_int_equal(virtiofs_client_start(f.c, NULL), -ENOTCONN);
	fix_end(&f);
}

static void sizes_beyond_the_limits(const struct combo *co)
{
	struct fix f;
	size_t len;
	unsigned char *buf;
	uint64_t fh, id;

	fix_start(&f, co, 1);
	/* Pages of a request fit the ring. */
	assert_true(f.info.max_pages <= (co->num > 4 ? co->num - 4 : 1));
	len = most(&f);
	buf = calloc(1, len + 1);
	id = create(&f, "large", &fh);
	assert_int_equal(virtiofs_call_write(f.c, id, fh, 0, buf, len + 1),
			 -EMSGSIZE);
	assert_int_equal(virtiofs_call_write(f.c, id, fh, 0, buf, len), len);
	assert_int_equal(
	    virtiofs_call_read(f.c, id, fh, 0, buf,
			       (size_t)f.info.max_pages * PAGE + 1),
	    -EMSGSIZE);
	assert_int_equal(virtiofs_call_read(f.c, id, fh, 0, buf, len), len);
	free(buf);
	fix_end(&f);
}

/* ---- all of it ---- */

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static unsigned shared_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned n = 0;

	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:") != NULL;
	fclose(f);
	return n;
}

static void over_all(void (*fn)(const struct combo *co))
{
	static const uint32_t sizes[] = {4, 8, 128, 1024};
	unsigned fds = open_fds();

	for (unsigned i = 0; i < 16; i++) {
		struct combo co = {layout, sizes[i & 3]};

		if (i & 4)
			co.features |= VIRTIOFS_F_EVENT_IDX;
		if (i & 8)
			co.features |= VIRTIOFS_F_INDIRECT_DESC;
		fn(&co);
		assert_int_equal(open_fds(), fds);
		assert_int_equal(shared_maps(), 0);
	}
}

#define CASE(fn)                                                               \
	static void test_##fn(void **state)                                    \
	{                                                                      \
		(void)state;                                                   \
		over_all(fn);                                                  \
	}
CASE(one_of_each)
CASE(directories)
CASE(batches)
CASE(threads)
CASE(forgets_are_exact)
CASE(interrupts)
CASE(device_goes_away)
CASE(sizes_beyond_the_limits)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_of_each),
	    cmocka_unit_test(test_directories),
	    cmocka_unit_test(test_batches),
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_forgets_are_exact),
	    cmocka_unit_test(test_interrupts),
	    cmocka_unit_test(test_device_goes_away),
	    cmocka_unit_test(test_sizes_beyond_the_limits),
	};

	if (argc < 3) {
		fprintf(stderr,
			"usage: %s inproc|vhost-user split|packed [TEST]\n",
			argv[0]);
		return 2;
	}
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	over_socket = !strcmp(argv[1], "vhost-user");
	layout = !strcmp(argv[2], "packed") ? VIRTIOFS_F_RING_PACKED : 0;
	return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
