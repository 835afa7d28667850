/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MOCK_VFUSERVER_H
#define TESTS_MOCK_VFUSERVER_H
/*
 * A vfio-user server in the test's hand, before the library's client: what
 * comes is written down and answered from a fakefn, unless the test's hook does
 * something else.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <virtiofs/client.h>

#include "fakefn.h"
#include "leaks.h"
#include "transport/vfio_user/msg.h"

#define VS_TABLE    0x6000u /* of MSI-X, in FAKE_BAR */
#define VS_MESSAGES 512u

struct vs_seen {
	struct vfu_header hdr;
	unsigned char payload[64];
	unsigned fd_cnt;
};

struct vfuserver;
/* What a test does with a message instead of the honest answer: true. */
typedef bool (*vs_hook_fn)(struct vfuserver *s);

struct vfuserver {
	struct fake f;
	int sock;
	int listener; /* or -1; path is its name */
	char dir[32], path[64];
	struct vfu_rx rx;
	struct virtiofs_client *c;
	struct virtiofs_client_opts opts;
	struct virtiofs_cliq *q;
	struct liar_req req;
	vs_hook_fn hook;
	unsigned hook_cnt;
	uint16_t major, minor;
	const char *json;
	size_t json_len;   /* 0: with its NUL */
	uint32_t num_irqs; /* kinds of them */
	int bell;	   /* for queue 1, or -1 */
	bool bad_bells;
	uint32_t bells_argsz; /* what the sub-regions need; 0: what they have */
	int vector_fd[8];
	uint32_t unmasked; /* by vector */
	struct vs_seen seen[VS_MESSAGES];
	unsigned seen_cnt;
	unsigned fds;
	pthread_t thread;
	bool stop;
};

/* For cmocka. */
int vs_set_up(void **state);
int vs_tear_down(void **state);

/* ---- messages ---- */

/* One of any kind; fd may be -1. */
void vs_put(struct vfuserver *s, const struct vfu_header *h, const void *p,
	    size_t len, int fd);
/* To the one in rx. */
void vs_answer(struct vfuserver *s, const void *p, size_t len);
void vs_answer_fd(struct vfuserver *s, const void *p, size_t len, int fd);
void vs_refuse(struct vfuserver *s, uint32_t error);
/* Everything that is there. false: the client has closed. */
bool vs_serve(struct vfuserver *s);
/* Do that while the client's calls wait for it. */
void vs_begin_serving(struct vfuserver *s);
void vs_end_serving(struct vfuserver *s);
void vs_hang_up(struct vfuserver *s);
/* Messages of that command. */
unsigned vs_count(const struct vfuserver *s, uint16_t command);

/* ---- the client ---- */

/* A client that finds the server by a path, again and again; without it, it
 * has one end of a socket pair. */
void vs_listen(struct vfuserver *s);
void vs_new_client(struct vfuserver *s);
/* Until the start has ended; INIT is answered. */
int vs_start(struct vfuserver *s);
void vs_one_request(struct vfuserver *s);
/* A transport that is connected, without a client. */
struct virtiofs_transport *vs_connect(struct vfuserver *s);
/* Is there something for the client's owner to do? */
bool vs_awake(const struct vfuserver *s);
#endif
