/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_VHUDEV_H
#define MOCK_VHUDEV_H
/*
 * The device end of vhost-user with a recording session, and a raw front-end
 * on the other side of its socket, in one thread.
 */
#include "rawvhu.h"
#include "recsink.h"

/* Guest and user addresses that can't be mistaken for each other. */
#define VD_GUEST 0x40000000ULL
#define VD_USER	 0x7f0000000000ULL
#define VD_MEM	 0x10000ULL

#define VD_PF_ALL                                                              \
	(VU_PF(MQ) | VU_PF(REPLY_ACK) | VU_PF(BACKEND_REQ) | VU_PF(CONFIG) |   \
	 VU_PF(RESET_DEVICE) | VU_PF(CONFIGURE_MEM_SLOTS))
#define VD_FEATURES (VIRTIOFS_F_VERSION_1 | VU_F_PROTOCOL_FEATURES)

struct vhudev {
	struct rec rec;
	struct virtiofs_transport *t;
	int sock;     /* the front-end's end */
	int mem;      /* memfd of VD_MEM bytes */
	unsigned fds; /* open before set-up */
	int fatal;    /* what dispatch returned last */
};

/* cmocka's set-up and tear-down; the latter checks for leaked fds. */
int vd_set_up(void **state);
int vd_tear_down(void **state);

/* Let the device do all that it can. */
void vd_pump(struct vhudev *v);
/* Send, pump. */
void vd_send(struct vhudev *v, uint32_t request, const void *payload,
	     size_t len);
void vd_send_fd(struct vhudev *v, uint32_t request, const void *payload,
		size_t len, int fd);
/* Send with need_reply; the status that comes back. */
uint64_t vd_ask(struct vhudev *v, uint32_t request, const void *payload,
		size_t len);
uint64_t vd_ask_fd(struct vhudev *v, uint32_t request, const void *payload,
		   size_t len, int fd);
uint64_t vd_ask_u64(struct vhudev *v, uint32_t request, uint64_t val);
uint64_t vd_ask_state(struct vhudev *v, uint32_t request, uint32_t index,
		      uint32_t num);
/* The u64 that a request is answered with. */
uint64_t vd_get(struct vhudev *v, uint32_t request);
/* The one reply that waits. */
uint64_t vd_status(struct vhudev *v, uint32_t request);

/* GET_VRING_BASE, and VRING_ENABLE with its acknowledgement. */
uint64_t vd_base(struct vhudev *v, unsigned index);
uint64_t vd_enable(struct vhudev *v, unsigned index, unsigned on);

/* Protocol features, then features; with their acknowledgement. */
void vd_negotiate(struct vhudev *v, uint64_t protocol, uint64_t features);
/* Negotiated and shared, and nothing recorded of it. */
void vd_ready(struct vhudev *v, uint64_t features);
/* Negotiated, shared, DRIVER_OK, ring 1 runs; nothing logged. */
void vd_working(struct vhudev *v);
/* The connection was ended for a lie. */
void vd_is_over(struct vhudev *v);
/* ADD_MEM_REG of all of mem. */
void vd_share(struct vhudev *v);
struct vu_vring_addr vd_addr(unsigned index);
/* NUM, BASE, ADDR. */
void vd_ring(struct vhudev *v, unsigned index);
/* ring, KICK, ENABLE: it runs. */
void vd_start(struct vhudev *v, unsigned index);
int vd_eventfd(void);
uint64_t vd_kick(struct vhudev *v, unsigned index);
#endif
