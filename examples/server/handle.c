/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handle.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static void destroy(void *obj)
{
	struct handle *h = obj;

	close(h->fd);
	fs_fd_release(h->fs);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void handles_init(struct fs *fs)
{
	slots_init(&fs->handles, destroy);
}

static struct handle *new_handle(const struct virtiofs_req *req,
				 uint64_t nodeid, int fd, mode_t type)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->fs = req->userdata;
	h->uid = req->in->uid;
	h->gid = req->in->gid;
	h->nodeid = nodeid;
	h->fd = fd;
	h->type = type;
	pthread_mutex_init(&h->lock, NULL);
	return h;
}

int handle_add(const struct virtiofs_req *req, uint64_t nodeid, int fd,
	       mode_t type, uint64_t *ret_id)
{
	struct fs *fs = req->userdata;
	struct handle *h;
	int r;

	r = fs_fd_take(fs);
	if (r < 0) {
		close(fd);
		return r;
	}
	h = new_handle(req, nodeid, fd, type);
	if (!h) {
		close(fd);
		fs_fd_release(fs);
		return -ENOMEM;
	}
	r = slots_add(&fs->handles, h, &h->id);
	if (r < 0) {
		destroy(h);
		return r;
	}
	*ret_id = h->id;
	return 0;
}

struct handle *handle_get(struct fs *fs, uint64_t id, uint64_t nodeid,
			  mode_t type)
{
	struct handle *h = slots_get(&fs->handles, id);

	if (h && (h->nodeid != nodeid || (type && h->type != type))) {
		handle_put(h);
		h = NULL;
	}
	return h;
}

void handle_put(struct handle *h)
{
	slots_put(&h->fs->handles, h->id);
}

int handle_close(struct fs *fs, uint64_t id, uint64_t nodeid)
{
	struct handle *h = handle_get(fs, id, nodeid, 0);
	int r;

	if (!h)
		return -EBADF;
	r = slots_close(&fs->handles, id);
	handle_put(h);
	return r < 0 ? -EBADF : 0;
}
