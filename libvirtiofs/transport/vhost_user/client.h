/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VHOST_USER_CLIENT_H
#define VTFS_VHOST_USER_CLIENT_H
/*
 * The front-end.
 *
 * Theory of operation
 *
 * An op is a script: a few messages, each sent when the one before was
 * answered. vtfs_vu_script_run() goes on wherever it stopped, so an op that
 * returned -EAGAIN is simply called again. An op that was given up is run to
 * its end before another begins, because the stream has to stay in step.
 *
 * Where REPLY_ACK was not negotiated, a GET_FEATURES at the script's end tells
 * that the back-end has carried out what came before it.
 *
 * Whatever the back-end gets wrong ends the connection: the op returns -EPROTO,
 * every later one -ENOTCONN, until connect succeeds again.
 *
 * Where STATUS was not negotiated the status byte is kept here. A reset is then
 * RESET_DEVICE, or GET_VRING_BASE for each ring that runs.
 */
#include "transport/vhost_user/msg.h"
#include "transport/vhost_user/vhost_user.h"

#define VU_CALLS_MAX	12u
#define VU_CLIENT_RINGS 256u

/* Protocol features that we can make use of. */
#define VU_CLIENT_PF                                                           \
	(VU_PF(MQ) | VU_PF(REPLY_ACK) | VU_PF(BACKEND_REQ) | VU_PF(CONFIG) |   \
	 VU_PF(RESET_DEVICE) | VU_PF(CONFIGURE_MEM_SLOTS) | VU_PF(STATUS))

/* What a script is for; never 0. */
enum vu_op {
	VU_OP_NEGOTIATE = 1,
	VU_OP_FEATURES,
	VU_OP_CONFIG,
	VU_OP_GET_STATUS,
	VU_OP_SET_STATUS,
	VU_OP_MAP,
	VU_OP_UNMAP,
	VU_OP_START,
	VU_OP_STOP,
	VU_OP_IOTLB,
};

enum vu_reply {
	VU_REPLY_ACK, /* asked for if REPLY_ACK was negotiated */
	VU_REPLY_NONE,
	VU_REPLY_U64,	 /* to *ret */
	VU_REPLY_STATE,	 /* a vring state; num to *ret */
	VU_REPLY_CONFIG, /* like the payload; bytes to script.config */
};

struct vu_call {
	uint32_t request;
	enum vu_reply reply;
	uint64_t *ret;
	unsigned char payload[sizeof(struct vu_mem_table) + 64];
	size_t len;
	int fds[VU_FDS_MAX]; /* duplicates */
	unsigned fd_cnt;
};
static_assert(sizeof(((struct vu_call *)0)->payload) >=
		  sizeof(struct vu_config) + VU_CONFIG_MAX,
	      "a config message fits");

struct vu_script {
	struct vu_call calls[VU_CALLS_MAX];
	unsigned cnt;
	unsigned at;
	bool sent; /* calls[at] is out, its reply is awaited */
	/* Which op it belongs to. */
	enum vu_op op;
	uint64_t arg;
	bool refused; /* the back-end answered an error */
	unsigned char config[VU_CONFIG_MAX];
};

struct vu_shared {
	uint64_t addr;
	uint64_t len;
	uint64_t offset;
	int fd;
};

struct vu_client {
	struct virtiofs_transport base;
	char *name;
	char *path; /* NULL: one given socket, no second connection */
	struct vtfs_cli_sink *sink;
	int ep; /* what fd() gives: sock, back, wake */
	int wake;
	int sock; /* -1: none */
	uint32_t sock_events;
	int back;     /* our end of the back-end's channel, or -1 */
	bool changed; /* config_changed has to be told */
	int lost;     /* why; told by dispatch */
	bool lost_told;
	bool connected; /* connect was carried out */
	struct vu_rx rx, back_rx;
	struct vu_tx tx, back_tx;
	struct vu_script script;
	unsigned phase;	  /* of an op of several scripts */
	uint64_t offered; /* by GET_FEATURES */
	uint64_t protocol_offered;
	uint64_t protocol; /* negotiated */
	uint64_t features; /* set */
	uint64_t queues, slots;
	uint64_t scratch; /* replies that only have to come */
	uint64_t status_reply;
	uint8_t status; /* where there is no STATUS */
	bool running[VU_CLIENT_RINGS];
	bool iommu;  /* there is one before us: client_iommu.c */
	bool missed; /* back_rx holds a miss that is not answered */
	bool again;  /* there is more to do in the next dispatch */
	unsigned misses;
	struct vu_shared *shared;
	unsigned shared_cnt;
};

static inline bool vtfs_vu_client_has(const struct vu_client *c, uint64_t pf)
{
	return c->protocol & pf;
}

/* ---- client_script.c ---- */

/* Begin a script for op, or find it under way. 1: fill it; 0: it runs, or has
 * run; -EAGAIN: another op is being finished; -ENOTCONN. */
int vtfs_vu_script_begin(struct vu_client *c, enum vu_op op, uint64_t arg);
/* The next message. The fds are duplicated. */
int vtfs_vu_script_add(struct vu_client *c, uint32_t request,
		       enum vu_reply reply, const void *payload, size_t len);
int vtfs_vu_script_add_fd(struct vu_client *c, int fd);
void vtfs_vu_script_ret(struct vu_client *c, uint64_t *ret);
/* Without REPLY_ACK: a reply that tells that all before it is done. */
int vtfs_vu_script_barrier(struct vu_client *c);
/* 0 all answered well; -EAGAIN; -EIO the back-end refused; -EPROTO,
 * -ENOTCONN. Other than -EAGAIN, the script is over. */
int vtfs_vu_script_run(struct vu_client *c);
/* Run it, unless it could not be written (r). */
int vtfs_vu_script_go(struct vu_client *c, int r);
void vtfs_vu_script_drop(struct vu_client *c);

/* client_back.c: answer the back-end's messages. -EAGAIN, or -EPROTO. */
int vtfs_vu_client_serve_back(struct vu_client *c);
/* Makes the channel; the other end to *ret_fd. */
int vtfs_vu_client_open_back(struct vu_client *c, int *ret_fd);
void vtfs_vu_client_close_back(struct vu_client *c);

/* client_iommu.c: for tests, an IOMMU between our addresses and the device.
 * Before connect. */
void vtfs_vhost_user_client_iommu(struct virtiofs_transport *t);
/* What the device calls our address. */
uint64_t vtfs_vu_client_iova(const struct vu_client *c, uint64_t addr);
uint64_t vtfs_vu_client_unmapped(const struct vu_client *c, uint64_t iova);
/* A device that does not translate is no good then. */
int vtfs_vu_client_check_iommu(const struct vu_client *c);
/* The first message of a script that takes memory back. */
int vtfs_vu_client_invalidate(struct vu_client *c, uint64_t addr, uint64_t len);
/* A miss came; 1: its answer waits for vtfs_vu_client_serve_miss(). */
int vtfs_vu_client_miss(struct vu_client *c);
/* Send the entry, unless an op is under way; the script of that is over. */
void vtfs_vu_client_serve_miss(struct vu_client *c);
void vtfs_vu_client_miss_done(struct vu_client *c, int r);
/* Wake the next dispatch, also from within one. */
void vtfs_vu_client_later(struct vu_client *c);
/* client_back.c: the message in back_rx is done. */
int vtfs_vu_client_answer_back(struct vu_client *c, uint64_t status);

/* client.c: the connection is over. Returns r. */
int vtfs_vu_client_lose(struct vu_client *c, int r);
#endif
