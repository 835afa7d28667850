/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memfs.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static int on_request(struct virtiofs_req *req)
{
	struct memfs *m = req->userdata;
	struct memfs_node *n = memfs_node(m, req->in->nodeid);

	add(&m->requests, 1);
	if (!n)
		return virtiofs_req_error(req, -ESTALE);
	return memfs_on_node(m, req, n);
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
	struct memfs *m = userdata;
	struct memfs_node *n = memfs_node(m, nodeid);

	add(&m->forgets, 1);
	if (!n)
		return;
	n->nlookup = nlookup < n->nlookup ? n->nlookup - nlookup : 0;
	if (nodeid != FUSE_ROOT_ID)
		memfs_drop(n);
}

/* Everything runs in one thread here, so the reply may be made at once. */
static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	struct memfs *m = userdata;

	for (unsigned i = 0; i < m->lock_cnt; i++) {
		if (m->locks[i] != req)
			continue;
		m->locks[i] = m->locks[--m->lock_cnt];
		virtiofs_req_error(req, -EINTR);
		return;
	}
}

static void on_reset(void *userdata)
{
	struct memfs *m = userdata;

	m->left = memfs_lookups(m);
	m->left_handles = m->handles;
	for (unsigned i = 2; i < MEMFS_NODES; i++) {
		m->nodes[i].nlookup = 0;
		if (m->nodes[i].used)
			memfs_drop(&m->nodes[i]);
	}
	__atomic_store_n(&m->handles, 0, __ATOMIC_RELAXED);
	add(&m->sessions, 1);
}

static void *serve(void *arg)
{
	struct memfs *m = arg;

	virtiofs_device_run(m->dev);
	return NULL;
}

struct memfs *memfs_start(struct virtiofs_transport *t,
			  const struct virtiofs_device_opts *opts)
{
	static const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = on_forget,
	    .interrupt = on_interrupt,
	    .reset = on_reset,
	};
	struct virtiofs_device_opts def = {.size = sizeof(def), .tag = "memfs"};
	struct memfs *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->nodes[FUSE_ROOT_ID].used = true;
	m->nodes[FUSE_ROOT_ID].mode = S_IFDIR | 0755;
	m->nodes[FUSE_ROOT_ID].nlink = 1;
	if (virtiofs_device_new(&m->dev, t, &ops, opts ? opts : &def, m) < 0) {
		free(m);
		return NULL;
	}
	if (pthread_create(&m->thread, NULL, serve, m) != 0)
		abort();
	return m;
}

void memfs_stop(struct memfs *m)
{
	if (!m->dev)
		return;
	virtiofs_device_stop(m->dev);
	pthread_join(m->thread, NULL);
	virtiofs_device_free(m->dev);
	/* Inert, but ours until they are answered. */
	while (m->lock_cnt)
		virtiofs_req_error(m->locks[--m->lock_cnt], -EIO);
	m->dev = NULL;
}

void memfs_free(struct memfs *m)
{
	if (!m)
		return;
	memfs_stop(m);
	for (unsigned i = 0; i < MEMFS_NODES; i++)
		free(m->nodes[i].data);
	free(m);
}

uint64_t memfs_lookups(const struct memfs *m)
{
	uint64_t n = 0;

	for (unsigned i = 2; i < MEMFS_NODES; i++)
		n += m->nodes[i].nlookup;
	return n;
}
