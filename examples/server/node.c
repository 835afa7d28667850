/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fhandle.h"
#include "lock.h"

#define BUCKETS_MIN 1024u

int node_stat(int fd, struct statx *ret)
{
	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		  STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, ret) < 0)
		return -errno;
	if (!(ret->stx_mask & STATX_MNT_ID))
		ret->stx_mnt_id = 0;
	return 0;
}

void node_attr(const struct statx *st, struct fuse_attr *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->ino = st->stx_ino;
	ret->size = st->stx_size;
	ret->blocks = st->stx_blocks;
	ret->atime = (uint64_t)st->stx_atime.tv_sec;
	ret->mtime = (uint64_t)st->stx_mtime.tv_sec;
	ret->ctime = (uint64_t)st->stx_ctime.tv_sec;
	ret->atimensec = st->stx_atime.tv_nsec;
	ret->mtimensec = st->stx_mtime.tv_nsec;
	ret->ctimensec = st->stx_ctime.tv_nsec;
	ret->mode = st->stx_mode;
	ret->nlink = st->stx_nlink;
	ret->uid = st->stx_uid;
	ret->gid = st->stx_gid;
	ret->rdev = (uint32_t)makedev(st->stx_rdev_major, st->stx_rdev_minor);
	ret->blksize = st->stx_blksize;
}

int node_open_child(int dir_fd, const char *name)
{
	const struct open_how how = {
	    .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));

	/* One component without '/' and O_NOFOLLOW: openat is as safe, where
	 * openat2 doesn't exist or a filter refuses it. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static size_t bucket_of(const struct node_table *t, uint64_t ino, uint64_t mnt)
{
	uint64_t h = (ino ^ mnt << 40) * 0x9e3779b97f4a7c15ull;

	return (size_t)(h >> 32) & (t->bucket_cnt - 1);
}

/* fh NULL: no handle could be made, or none was asked for. A node without a
 * handle pins its inode: equal numbers are the same file then. */
static bool is_node(const struct node *n, const struct statx *st,
		    const struct fhandle *fh)
{
	return n->ino == st->stx_ino && n->mnt_id == st->stx_mnt_id &&
	       n->dev_major == st->stx_dev_major &&
	       n->dev_minor == st->stx_dev_minor &&
	       (!n->fh || (fh && fhandle_equal(n->fh, fh)));
}

static struct node *find(struct fs *fs, const struct statx *st,
			 const struct fhandle *fh)
{
	struct node_table *t = &fs->table;
	struct node *n;

	n = t->buckets[bucket_of(t, st->stx_ino, st->stx_mnt_id)];
	while (n && !is_node(n, st, fh))
		n = n->next;
	return n;
}

/* More buckets as the table fills; without memory it only gets slower. */
static void grow(struct node_table *t)
{
	size_t old_cnt = t->bucket_cnt;
	struct node **old = t->buckets;
	struct node **bigger = calloc(old_cnt * 2, sizeof(*bigger));

	if (!bigger)
		return;
	t->buckets = bigger;
	t->bucket_cnt = old_cnt * 2;
	for (size_t i = 0; i < old_cnt; i++) {
		struct node *n = old[i];

		while (n) {
			struct node *next = n->next;
			size_t b = bucket_of(t, n->ino, n->mnt_id);

			n->next = bigger[b];
			bigger[b] = n;
			n = next;
		}
	}
	free(old);
}

static void insert(struct fs *fs, struct node *n)
{
	struct node_table *t = &fs->table;
	size_t b;

	if (t->cnt >= t->bucket_cnt)
		grow(t);
	b = bucket_of(t, n->ino, n->mnt_id);
	n->next = t->buckets[b];
	t->buckets[b] = n;
	t->cnt++;
}

static void unlink_node(struct fs *fs, struct node *n)
{
	struct node_table *t = &fs->table;
	struct node **p = &t->buckets[bucket_of(t, n->ino, n->mnt_id)];

	while (*p != n)
		p = &(*p)->next;
	*p = n->next;
	t->cnt--;
}

/* The last user is gone, or the session is. */
static void destroy(void *obj)
{
	struct node *n = obj;

	lock_owners_free(n);
	pthread_mutex_destroy(&n->lock_owners_lock);
	if (n->fd >= 0) {
		close(n->fd);
		fs_fd_release(n->fs);
	}
	if (n->fh)
		fhandle_put_mount(n->fs, n->mount);
	free(n->fh);
	free(n);
}

static struct node *new_node(struct fs *fs, const struct statx *st)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->fs = fs;
	n->fd = -1;
	n->ino = st->stx_ino;
	n->mnt_id = st->stx_mnt_id;
	n->dev_major = st->stx_dev_major;
	n->dev_minor = st->stx_dev_minor;
	n->type = st->stx_mode & S_IFMT;
	n->nlookup = 1;
	pthread_mutex_init(&n->lock_owners_lock, NULL);
	return n;
}

/* Keep the file by *fh, which is taken over, else by path_fd, likewise. */
static int keep(struct node *n, int *path_fd, struct fhandle **fh,
		const struct node_ref *parent)
{
	int r;

	if (*fh) {
		r = fhandle_get_mount(n->fs, n, *path_fd, parent, &n->mount);
		if (r == 0) {
			n->fh = *fh;
			*fh = NULL;
			return 0;
		}
		if (n->fs->opts.handles == HANDLES_MANDATORY)
			return r;
	}
	r = fs_fd_take(n->fs);
	if (r < 0)
		return r;
	n->fd = *path_fd;
	*path_fd = -1;
	return 0;
}

static int add(struct fs *fs, struct node *n)
{
	int r = slots_add(&fs->nodes, n, &n->id);

	if (r == 0)
		insert(fs, n);
	return r;
}

/* Count one more lookup of a known node. */
static uint64_t look_up_known(struct fs *fs, const struct statx *st,
			      const struct fhandle *fh)
{
	struct node *n;
	uint64_t id = 0;

	pthread_mutex_lock(&fs->table.lock);
	n = find(fs, st, fh);
	if (n) {
		n->nlookup++;
		id = n->id;
	}
	pthread_mutex_unlock(&fs->table.lock);
	return id;
}

static int look_up_new(struct fs *fs, struct node *n, const struct statx *st,
		       uint64_t *ret_id)
{
	struct node *other;
	int r = 0;

	pthread_mutex_lock(&fs->table.lock);
	/* Another thread may have been faster. */
	other = find(fs, st, n->fh);
	if (other)
		other->nlookup++;
	else
		r = add(fs, n);
	if (r == 0)
		*ret_id = other ? other->id : n->id;
	pthread_mutex_unlock(&fs->table.lock);
	if (other || r < 0)
		destroy(n);
	return r;
}

static int enter(struct fs *fs, int *path_fd, const struct node_ref *parent,
		 const struct statx *st, uint64_t *ret_id)
{
	struct fhandle *fh = NULL;
	struct node *n;
	int r;

	r = fhandle_of(fs, *path_fd, st, &fh);
	if (r < 0)
		return r;
	*ret_id = look_up_known(fs, st, fh);
	if (*ret_id) {
		free(fh);
		return 0;
	}
	n = new_node(fs, st);
	r = n ? keep(n, path_fd, &fh, parent) : -ENOMEM;
	free(fh);
	if (r < 0) {
		if (n)
			destroy(n);
		return r;
	}
	return look_up_new(fs, n, st, ret_id);
}

static bool is_submount(const struct fs *fs, const struct statx *st,
			const struct node *parent)
{
	return fs_agreed(fs, FS_SUBMOUNTS) && S_ISDIR(st->stx_mode) &&
	       (st->stx_dev_major != parent->dev_major ||
		st->stx_dev_minor != parent->dev_minor ||
		st->stx_mnt_id != parent->mnt_id);
}

int node_enter(struct fs *fs, int path_fd, const struct node_ref *parent,
	       struct fuse_entry_out *ret)
{
	struct statx st;
	uint64_t id = 0;
	int r;

	r = node_stat(path_fd, &st);
	if (r == 0)
		r = enter(fs, &path_fd, parent, &st, &id);
	if (path_fd >= 0)
		close(path_fd);
	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	ret->nodeid = id;
	ret->entry_valid = fs->timeout;
	ret->attr_valid = fs->timeout;
	node_attr(&st, &ret->attr);
	if (parent && is_submount(fs, &st, parent->node))
		ret->attr.flags |= FUSE_ATTR_SUBMOUNT;
	return 0;
}

int node_lookup(struct fs *fs, const struct node_ref *parent, const char *name,
		struct fuse_entry_out *ret)
{
	int fd = node_open_child(parent->fd, name);

	return fd < 0 ? fd : node_enter(fs, fd, parent, ret);
}

int node_get(struct fs *fs, uint64_t id, struct node_ref *ret)
{
	struct node *n = slots_get(&fs->nodes, id);
	int fd;

	if (!n)
		return -ESTALE;
	fd = n->fd;
	if (fd < 0)
		fd = fhandle_open(n->mount, n->fh);
	if (fd < 0) {
		slots_put(&fs->nodes, id);
		return fd;
	}
	ret->node = n;
	ret->fd = fd;
	return 0;
}

void node_put(struct node_ref *ref)
{
	struct fs *fs = ref->node->fs;

	if (ref->fd != ref->node->fd)
		close(ref->fd);
	slots_put(&fs->nodes, ref->node->id);
}

void node_forget(struct fs *fs, uint64_t id, uint64_t nlookup)
{
	struct node *n;

	if (id == FUSE_ROOT_ID)
		return;
	pthread_mutex_lock(&fs->table.lock);
	n = slots_get(&fs->nodes, id);
	if (n) {
		n->nlookup -= nlookup < n->nlookup ? nlookup : n->nlookup;
		if (n->nlookup == 0) {
			unlink_node(fs, n);
			slots_close(&fs->nodes, id);
		}
	}
	pthread_mutex_unlock(&fs->table.lock);
	/* Closes the node outside of the lock, if nobody uses it. */
	if (n)
		slots_put(&fs->nodes, id);
}

static int add_root(struct fs *fs)
{
	struct node *n;
	struct statx st;
	int r;

	r = node_stat(fs->root_fd, &st);
	if (r < 0)
		return r;
	n = new_node(fs, &st);
	if (!n)
		return -ENOMEM;
	n->fd = fcntl(fs->root_fd, F_DUPFD_CLOEXEC, 0);
	r = n->fd < 0 ? -errno : 0;
	if (r == 0) {
		atomic_fetch_add(&fs->fd_cnt, 1);
		r = add(fs, n);
	}
	if (r < 0)
		destroy(n);
	return r;
}

int node_table_init(struct fs *fs)
{
	struct node_table *t = &fs->table;

	pthread_mutex_init(&t->lock, NULL);
	slots_init(&fs->nodes, destroy);
	t->buckets = calloc(BUCKETS_MIN, sizeof(*t->buckets));
	if (!t->buckets)
		return -ENOMEM;
	t->bucket_cnt = BUCKETS_MIN;
	return add_root(fs);
}

int node_table_reset(struct fs *fs)
{
	struct node_table *t = &fs->table;
	int r;

	pthread_mutex_lock(&t->lock);
	memset(t->buckets, 0, t->bucket_cnt * sizeof(*t->buckets));
	t->cnt = 0;
	slots_clear(&fs->nodes);
	r = add_root(fs);
	pthread_mutex_unlock(&t->lock);
	return r;
}

void node_table_free(struct fs *fs)
{
	slots_clear(&fs->nodes);
	free(fs->table.buckets);
	fs->table.buckets = NULL;
}
