/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fhandle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "creds.h"
#include "log.h"

struct fhandle {
	/* The last member ends in bytes that follow. */
	struct file_handle h;
};

struct mount {
	uint64_t id;
	int fd;
	unsigned users; /* under mounts_lock */
	struct mount *next;
};

/* Taken inside of the node table's lock, or alone. */
static pthread_mutex_t mounts_lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -EOVERFLOW;
}

/* Many nodes have one, so it is as small as it can be. */
static int make(int path_fd, struct fhandle **ret)
{
	union {
		struct file_handle h;
		char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u;
	int mount_id;
	size_t len;

	u.h.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(path_fd, "", &u.h, &mount_id, AT_EMPTY_PATH) < 0)
		return -errno;
	len = sizeof(u.h) + u.h.handle_bytes;
	*ret = malloc(len);
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, &u, len);
	return 0;
}

int fhandle_of(struct fs *fs, int path_fd, const struct statx *st,
	       struct fhandle **ret)
{
	int r;

	*ret = NULL;
	if (fs->opts.handles == HANDLES_NEVER)
		return 0;
	/* Without a mount id nobody could tell which mount to open it on. */
	r = st->stx_mnt_id ? make(path_fd, ret) : -EOPNOTSUPP;
	if (is_unsupported(r) && fs->opts.handles == HANDLES_PREFER)
		return 0;
	return r;
}

bool fhandle_equal(const struct fhandle *a, const struct fhandle *b)
{
	return a->h.handle_type == b->h.handle_type &&
	       a->h.handle_bytes == b->h.handle_bytes &&
	       memcmp(a->h.f_handle, b->h.f_handle, a->h.handle_bytes) == 0;
}

int fhandle_open(const struct mount *m, const struct fhandle *fh)
{
	/* The kernel doesn't change it, though the prototype says it might. */
	struct file_handle *h = (struct file_handle *)(uintptr_t)&fh->h;
	uint64_t lifted = creds_lift();
	int fd = open_by_handle_at(m->fd, h, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	fd = fd < 0 ? -errno : fd;
	creds_settle(lifted);
	return fd;
}

static struct mount *find(struct fs *fs, uint64_t id)
{
	struct mount *m = fs->table.mounts;

	while (m && m->id != id)
		m = m->next;
	return m;
}

/* A real descriptor on the mount: of the node itself if it is a directory,
 * else of its parent, else (a file is the mount point) of the file. */
static int open_mount(struct fs *fs, const struct node *n, int path_fd,
		      const struct node_ref *parent)
{
	if (!S_ISDIR(n->type) && parent && parent->node->mnt_id == n->mnt_id)
		return fs_reopen(fs, parent->fd, parent->node->type,
				 O_RDONLY | O_DIRECTORY);
	return fs_reopen(fs, path_fd, n->type, O_RDONLY | O_NONBLOCK);
}

static int add_mount(struct fs *fs, uint64_t id, int fd, struct mount **ret)
{
	struct mount *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->id = id;
	m->fd = fd;
	m->users = 1;
	m->next = fs->table.mounts;
	fs->table.mounts = m;
	*ret = m;
	return 0;
}

int fhandle_get_mount(struct fs *fs, const struct node *n, int path_fd,
		      const struct node_ref *parent, struct mount **ret)
{
	struct mount *m;
	uint64_t lifted;
	int fd, r = 0;

	pthread_mutex_lock(&mounts_lock);
	m = find(fs, n->mnt_id);
	if (m) {
		m->users++;
		*ret = m;
	} else {
		lifted = creds_lift();
		fd = open_mount(fs, n, path_fd, parent);
		creds_settle(lifted);
		r = fd < 0 ? fd : add_mount(fs, n->mnt_id, fd, ret);
		if (r < 0 && fd >= 0)
			close(fd);
	}
	pthread_mutex_unlock(&mounts_lock);
	return r;
}

void fhandle_put_mount(struct fs *fs, struct mount *m)
{
	struct mount **p;

	pthread_mutex_lock(&mounts_lock);
	if (--m->users > 0) {
		pthread_mutex_unlock(&mounts_lock);
		return;
	}
	p = &fs->table.mounts;
	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
	pthread_mutex_unlock(&mounts_lock);
	close(m->fd);
	free(m);
}

/* Make and open a handle of the root. */
static int try_root(struct fs *fs)
{
	struct fhandle *fh = NULL;
	struct mount m = {.fd = -1};
	struct statx st;
	int fd, r;

	r = node_stat(fs->root_fd, &st);
	if (r == 0)
		r = st.stx_mnt_id ? make(fs->root_fd, &fh) : -EOPNOTSUPP;
	if (r < 0)
		return r;
	m.fd = fs_reopen(fs, fs->root_fd, S_IFDIR, O_RDONLY | O_DIRECTORY);
	fd = m.fd < 0 ? m.fd : fhandle_open(&m, fh);
	if (fd >= 0)
		close(fd);
	if (m.fd >= 0)
		close(m.fd);
	free(fh);
	return fd < 0 ? fd : 0;
}

int fhandle_check(struct fs *fs)
{
	int r;

	if (fs->opts.handles == HANDLES_NEVER)
		return 0;
	r = try_root(fs);
	if (r == 0)
		return 0;
	if (fs->opts.handles == HANDLES_MANDATORY) {
		log_err("file handles don't work on the shared directory: %s",
			strerror(-r));
		return r;
	}
	log_info("file handles don't work on the shared directory (%s): "
		 "keeping descriptors",
		 strerror(-r));
	fs->opts.handles = HANDLES_NEVER;
	return 0;
}
