/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void die(const char *what, int r)
{
	fprintf(stderr, "pair: %s: %s\n", what,
		r ? strerror(-r) : virtiofs_last_error());
	exit(1);
}

static const struct fuse_attr root_attr = {
    .ino = 1, .mode = S_IFDIR | 0755, .nlink = 2};
static const struct fuse_attr file_attr = {
    .ino = 2, .mode = S_IFREG | 0644, .nlink = 1, .size = FILE_BYTES};

static int on_request(struct virtiofs_req *req)
{
	const struct fuse_entry_out entry = {.nodeid = 2, .attr = file_attr};
	const struct fuse_open_out open = {.fh = 0};
	const struct fuse_read_in *rd = req->arg;
	const struct server *s = req->userdata;
	struct fuse_attr_out attr = {.attr = root_attr};

	switch (req->in->opcode) {
	case FUSE_READ:
		return virtiofs_req_reply_slice(req, s->data, FILE_BYTES,
						rd->offset);
	case FUSE_LOOKUP:
		return virtiofs_req_reply(req, &entry, sizeof(entry));
	case FUSE_GETATTR:
		if (req->in->nodeid == 2)
			attr.attr = file_attr;
		return virtiofs_req_reply(req, &attr, sizeof(attr));
	case FUSE_OPEN:
		return virtiofs_req_reply(req, &open, sizeof(open));
	case FUSE_RELEASE:
		return virtiofs_req_error(req, 0);
	default:
		return virtiofs_req_error(req, -ENOSYS);
	}
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
}

static void *serve(void *arg)
{
	struct server *s = arg;

	virtiofs_device_run(s->dev);
	return NULL;
}

void server_start(struct server *s, struct virtiofs_transport *t)
{
	static const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = on_forget,
	};
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = "bench",
	    .features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_PACKED,
	};

	s->data = calloc(1, FILE_BYTES);
	if (!s->data)
		die("memory", -ENOMEM);
	if (virtiofs_device_new(&s->dev, t, &ops, &opts, s) < 0)
		die("device", 0);
	if (pthread_create(&s->thread, NULL, serve, s) != 0)
		die("thread", -EAGAIN);
}

void server_stop(struct server *s)
{
	if (!s->dev)
		return;
	virtiofs_device_stop(s->dev);
	pthread_join(s->thread, NULL);
	virtiofs_device_free(s->dev);
	free(s->data);
}
