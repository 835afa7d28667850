/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "lock_owner.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "creds.h"
#include "lock.h"

typedef bool (*lock_owner_match)(const struct lock_owner *o, uint64_t key);

static struct lock_owner *find(struct node *n, uint64_t owner)
{
	struct lock_owner *o = n->lock_owners;

	while (o && o->owner != owner)
		o = o->next;
	return o;
}

/* A write lock needs a descriptor to write with; a read lock on what can't be
 * written now (a program that runs) must still be possible. */
static int open_file(const struct node_ref *ref)
{
	const struct fs *fs = ref->node->fs;
	uint64_t lifted = creds_lift();
	int fd = -EROFS;

	if (!fs->opts.readonly)
		fd = fs_reopen(fs, ref->fd, ref->node->type,
			       O_RDWR | O_NONBLOCK);
	if (fd == -EROFS || fd == -ETXTBSY || fd == -EACCES || fd == -EPERM)
		fd = fs_reopen(fs, ref->fd, ref->node->type,
			       O_RDONLY | O_NONBLOCK);
	creds_settle(lifted);
	return fd;
}

/* Called with the node's lock. */
static int add(const struct node_ref *ref, uint64_t owner,
	       struct lock_owner **ret)
{
	struct node *n = ref->node;
	struct lock_owner *o;
	int r;

	r = fs_fd_take(n->fs);
	if (r < 0)
		return -ENOLCK;
	o = calloc(1, sizeof(*o));
	r = o ? open_file(ref) : -ENOMEM;
	if (r < 0) {
		free(o);
		fs_fd_release(n->fs);
		return r;
	}
	o->owner = owner;
	o->fd = r;
	o->listed = true;
	o->next = n->lock_owners;
	n->lock_owners = o;
	*ret = o;
	return 0;
}

int lock_owner_get(const struct node_ref *ref, uint64_t owner, bool create,
		   struct lock_owner **ret)
{
	struct node *n = ref->node;
	struct lock_owner *o;
	int r = 0;

	pthread_mutex_lock(&n->lock_owners_lock);
	o = find(n, owner);
	if (!o && create)
		r = add(ref, owner, &o);
	if (o)
		o->users++;
	pthread_mutex_unlock(&n->lock_owners_lock);
	*ret = o;
	return r;
}

static void destroy(struct fs *fs, struct lock_owner *o)
{
	close(o->fd);
	fs_fd_release(fs);
	free(o);
}

void lock_owner_put(struct node *n, struct lock_owner *o)
{
	bool last;

	pthread_mutex_lock(&n->lock_owners_lock);
	last = --o->users == 0 && !o->listed;
	pthread_mutex_unlock(&n->lock_owners_lock);
	if (last)
		destroy(n->fs, o);
}

/* Called with the node's lock. True: nobody uses it. */
static bool unlist(struct node *n, struct lock_owner *o)
{
	struct lock_owner **p = &n->lock_owners;

	while (*p != o)
		p = &(*p)->next;
	*p = o->next;
	o->listed = false;
	return o->users == 0;
}

static bool is_owner(const struct lock_owner *o, uint64_t key)
{
	return o->owner == key;
}

static bool is_by_handle(const struct lock_owner *o, uint64_t key)
{
	return o->fh == key;
}

/* Called with the node's lock. */
static struct lock_owner *unlist_one(struct node *n, lock_owner_match match,
				     uint64_t key, bool *ret_last)
{
	struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	struct lock_owner *o = n->lock_owners;

	while (o && !match(o, key))
		o = o->next;
	if (o) {
		/* A waiter may keep the descriptor open for a while. */
		fcntl(o->fd, F_OFD_SETLK, &all);
		*ret_last = unlist(n, o);
	}
	return o;
}

static void release(struct fs *fs, uint64_t nodeid, lock_owner_match match,
		    uint64_t key)
{
	struct node *n = slots_get(&fs->nodes, nodeid);
	struct lock_owner *o;
	bool last;

	if (!n)
		return;
	do {
		last = false;
		pthread_mutex_lock(&n->lock_owners_lock);
		o = unlist_one(n, match, key, &last);
		pthread_mutex_unlock(&n->lock_owners_lock);
		if (last)
			destroy(fs, o);
	} while (o);
	slots_put(&fs->nodes, nodeid);
}

void lock_release_owner(struct fs *fs, uint64_t nodeid, uint64_t owner)
{
	release(fs, nodeid, is_owner, owner);
}

void lock_release_handle(struct fs *fs, uint64_t nodeid, uint64_t fh)
{
	release(fs, nodeid, is_by_handle, fh);
}

void lock_owners_free(struct node *n)
{
	while (n->lock_owners) {
		struct lock_owner *o = n->lock_owners;

		n->lock_owners = o->next;
		destroy(n->fs, o);
	}
}

/* The kernel doesn't say which description holds a lock. It is the one for
 * which nobody else is in the way there. */
uint32_t lock_owner_find_pid(struct node *n, const struct lock_owner *o,
			     const struct flock *met)
{
	uint32_t pid = 0;

	pthread_mutex_lock(&n->lock_owners_lock);
	for (struct lock_owner *x = n->lock_owners; x && !pid; x = x->next) {
		struct flock probe = *met;

		probe.l_type = F_WRLCK;
		probe.l_pid = 0;
		if (x != o && fcntl(x->fd, F_OFD_GETLK, &probe) == 0 &&
		    probe.l_type == F_UNLCK)
			pid = x->pid;
	}
	pthread_mutex_unlock(&n->lock_owners_lock);
	return pid;
}
