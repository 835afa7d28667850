/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_VHUBACK_H
#define MOCK_VHUBACK_H
/*
 * The client end of vhost-user, and a raw back-end on the other side of its
 * socket, which writes down each message and answers as it is told, or lies.
 */
#include "rawvhu.h"
#include "recsink.h"

#define VB_LOG 256u
#define VB_PF                                                                  \
	(VU_PF(MQ) | VU_PF(REPLY_ACK) | VU_PF(BACKEND_REQ) | VU_PF(CONFIG) |   \
	 VU_PF(RESET_DEVICE) | VU_PF(CONFIGURE_MEM_SLOTS) | VU_PF(STATUS))

enum vb_lie {
	VB_HONEST,
	VB_OTHER_REQUEST, /* the reply names another request */
	VB_NO_REPLY_FLAG,
	VB_NEED_REPLY_FLAG,
	VB_OTHER_VERSION,
	VB_TOO_LONG,
	VB_TOO_SHORT,
	VB_HUGE, /* 0xffffffff bytes */
	VB_WITH_FD,
	VB_OTHER_INDEX, /* of a ring, or other config offset */
	VB_TWICE,
	VB_CUT, /* half of the reply, then hang up */
	VB_HANG_UP,
	VB_REFUSE, /* status 1; GET_CONFIG: an empty payload */
	VB_SILENT,
};

struct vhuback {
	struct virtiofs_transport *t;
	struct rec_client rc;
	int sock;     /* the back-end's end, -1: closed */
	int listener; /* or -1 */
	char dir[32], path[64];
	unsigned fds; /* open before set-up */
	/* What the back-end is like */
	uint64_t features;
	uint64_t pf;
	uint64_t queues;
	uint64_t slots;
	uint8_t status;
	unsigned char config[64];
	uint32_t lie_at; /* request */
	enum vb_lie lie;
	/* What it heard; fds are kept open until the end */
	struct raw_msg log[VB_LOG];
	unsigned cnt;
	uint64_t acked_pf;
	int channel; /* from SET_BACKEND_REQ_FD, or -1 */
	/* Memory for the client to share: 4 times 16 pages */
	unsigned char *mem;
	int mem_fd;
};

int vb_set_up(void **state);	  /* a connected pair */
int vb_set_up_path(void **state); /* by a path, so that it can reconnect */
int vb_tear_down(void **state);	  /* checks for leaked fds */

/* Take and answer every message that is there. */
void vb_serve(struct vhuback *b);
/* A region of the shared memory. */
struct virtiofs_region vb_region(struct vhuback *b, unsigned i);
struct vtfs_queue_setup vb_queue(struct vhuback *b, unsigned vq);
/* That region through the transport's ops; its address is checked. */
int vb_map(struct vhuback *b, unsigned i);
int vb_unmap(struct vhuback *b, unsigned i);
/* How often a request was heard, and the last one (NULL: never). */
unsigned vb_heard(const struct vhuback *b, uint32_t request);
const struct raw_msg *vb_last(const struct vhuback *b, uint32_t request);
void vb_forget(struct vhuback *b);

/* Run an op to its end, with the back-end answering in between. */
#define VB_RUN(b, op)                                                          \
	({                                                                     \
		int r_, n_ = 0;                                                \
		while ((r_ = (op)) == -EAGAIN && n_++ < 100)                   \
			vb_serve(b);                                           \
		r_;                                                            \
	})

/* connect, features, FEATURES_OK, memory, queues 0 and 1, DRIVER_OK; each has
 * to work. */
void vb_connect(struct vhuback *b);
void vb_go(struct vhuback *b);
#endif
