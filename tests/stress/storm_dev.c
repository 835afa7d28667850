/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storm_dev.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

uint64_t storm_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The token comes once; its node is one of few, so that forgets meet. */
static int lookup(struct storm_dev *d, struct virtiofs_req *req)
{
	struct fuse_entry_out e = {0};
	uint32_t token = (uint32_t)strtoul(req->arg, NULL, 10);

	if (token >= d->tokens) {
		d->mistakes++;
		return virtiofs_req_error(req, -ENOENT);
	}
	d->seen[token]++;
	e.nodeid = 2 + token % STORM_NODES;
	e.attr.size = token;
	d->lookups[e.nodeid - 2]++;
	__atomic_add_fetch(&d->granted, 1, __ATOMIC_RELAXED);
	return virtiofs_req_reply(req, &e, sizeof(e));
}

static int on_request(struct virtiofs_req *req)
{
	struct storm_dev *d = req->userdata;

	if (req->in->opcode == FUSE_LOOKUP)
		return lookup(d, req);
	if (req->in->opcode != FUSE_FSYNC || d->held_cnt == 64) {
		d->mistakes++;
		return virtiofs_req_error(req, -ENOSYS);
	}
	/* Held until somebody interrupts it. */
	__atomic_add_fetch(&d->seen[req->in->nodeid - 1], 1, __ATOMIC_RELAXED);
	d->held[d->held_cnt++] = req;
	return 0;
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
	struct storm_dev *d = userdata;
	uint64_t i = nodeid - 2;

	if (nodeid >= STORM_PROBE) {
		d->latency[nodeid - STORM_PROBE] = storm_now() - nlookup;
		__atomic_add_fetch(&d->probes, 1, __ATOMIC_RELEASE);
	} else if (i >= STORM_NODES || d->lookups[i] < nlookup) {
		d->mistakes++;
	} else {
		d->lookups[i] -= nlookup;
		__atomic_add_fetch(&d->forgotten, nlookup, __ATOMIC_RELEASE);
	}
	eventfd_write(d->heard_fd, 1);
}

static void end_held(struct storm_dev *d)
{
	unsigned left = 0;

	for (unsigned i = 0; i < d->held_cnt; i++) {
		struct virtiofs_req *req = d->held[i];

		if (!virtiofs_req_interrupted(req)) {
			d->held[left++] = req;
			continue;
		}
		d->told++;
		virtiofs_req_error(req, -EINTR);
	}
	d->held_cnt = left;
}

static void *run(void *arg)
{
	struct storm_dev *d = arg;
	struct pollfd p = {.fd = virtiofs_device_fd(d->dev), .events = POLLIN};
	int r;

	do {
		poll(&p, 1, -1);
		r = virtiofs_device_dispatch(d->dev);
		end_held(d);
	} while (r >= 0);
	return NULL;
}

void storm_dev_start(struct storm_dev *d, struct virtiofs_transport *t,
		     uint32_t tokens, uint32_t probes)
{
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .forget = on_forget,
	};
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = "storm",
	    .features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_PACKED,
	};

	memset(d, 0, sizeof(*d));
	d->tokens = tokens;
	d->seen = calloc(tokens, 1);
	d->latency = calloc(probes, sizeof(*d->latency));
	d->heard_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(virtiofs_device_new(&d->dev, t, &ops, &opts, d), 0);
	assert_int_equal(pthread_create(&d->thread, NULL, run, d), 0);
}

void storm_dev_stop(struct storm_dev *d)
{
	virtiofs_device_stop(d->dev);
	pthread_join(d->thread, NULL);
	virtiofs_device_free(d->dev);
	close(d->heard_fd);
}

void storm_dev_free(struct storm_dev *d)
{
	free(d->seen);
	free(d->latency);
}
