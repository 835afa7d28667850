/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VFIO_USER_CLIENT_H
#define VTFS_VFIO_USER_CLIENT_H
/*
 * The client: a PCI function on the other end of a socket, for the driver of
 * transport/virtio_pci/.
 *
 * Theory of operation
 *
 * One command of ours at a time is waited for (asked); a caller that comes back
 * with the same finds its reply, one that comes with another lets the first go:
 * its reply is taken and dropped. Beside it stands a doorbell for each queue,
 * a REGION_WRITE that wants no reply; threads of queues leave it in bells and
 * send it, or whoever sends next does. lock guards what is sent; what comes is
 * read by the client's calls only, which are serialised.
 *
 * The server may read and write our memory by messages, even while we wait for
 * it; they are answered between our own, from the regions that were mapped.
 *
 * Nothing of the server's is mapped here: each register is a message, and a
 * doorbell is one unless the server has an eventfd for it. Interrupts need
 * what the kernel does for VFIO: MSI-X is enabled and unmasked by its
 * registers.
 */
#include <pthread.h>
#include <stdbool.h>

#include "transport/vfio_user/caps.h"
#include "transport/vfio_user/msg.h"
#include "transport/vfio_user/vfio_user.h"
#include "transport/virtio_pci/driver.h"

#define VFU_CLIENT_MAPS	 80u
#define VFU_CLIENT_BELLS VFU_FDS_MAX
#define VFU_ASK_MAX	 256u /* bytes of a command of ours */
#define VFU_REPLY_MAX	 4096u
#define VFU_ARGSZ_MAX	 2048u /* a reply that we take */
#define VFU_CLIENT_XFER	 VFU_DEFAULT_MAX_XFER

/* A command, and what is known of its reply. */
struct vfu_ask {
	uint16_t command;
	unsigned char payload[VFU_ASK_MAX];
	size_t len;
	int fds[1];
	unsigned fd_cnt;
	size_t min, max; /* bytes that a good reply has */
};

struct vfu_client_map {
	uint64_t address, size; /* also where it is here */
};

struct vfu_bell {
	uint64_t off, len;
	int fd;
};

struct vfu_ring { /* a doorbell that waits to be sent */
	bool waits;
	uint64_t off;
	uint32_t value;
	unsigned len;
};

struct vfu_client {
	struct vtfs_pci_fn fn;
	char *path;
	bool given; /* one socket, no second connection */
	int sock;   /* -1: none */
	/* What one op has done of its several commands. */
	const void *multi;
	bool has_msix;
	unsigned step;
	struct vfu_ask asked; /* command 0: none; lock to write it */
	unsigned dropped;     /* replies that nobody wants any more */
	struct vfu_rx rx;
	bool rx_full; /* it has a message that was looked at */
	struct vfu_caps peer;
	uint32_t flags; /* of the device */
	unsigned char cfg[256];
	unsigned msix_cap; /* in cfg; 0: none */
	struct vfu_client_map maps[VFU_CLIENT_MAPS];
	unsigned map_cnt;
	bool bells_known;
	uint32_t bells_argsz; /* room in the question for them */
	struct vfu_bell bells[VFU_CLIENT_BELLS];
	unsigned bell_cnt;
	/* With lock; sock too, when it changes. */
	pthread_mutex_t lock;
	uint16_t asked_id;
	bool asked_sent;
	struct vfu_tx tx;
	uint32_t events;
	uint16_t next_id;
	bool answering; /* a reply to the server has to go out */
	struct vfu_out answer;
	unsigned char *answer_buf;
	unsigned ring_cnt; /* that wait */
	struct vfu_ring rings[VTFS_PCI_QUEUES_MAX];
};

/* ---- client_msg.c ---- */

/* 0 and the reply in rx until the next call; -EAGAIN; -EIO the server refused;
 * -EPROTO, -ENOTCONN: the connection is of no use any more. */
int vtfs_vfu_ask(struct vfu_client *c, const struct vfu_ask *ask);
/* The connection is over; eventfds and what is known of memory stay. */
void vtfs_vfu_drop_socket(struct vfu_client *c);
/* Hear what comes unasked. 0, or the connection's end. */
int vtfs_vfu_listen(struct vfu_client *c);
/* A doorbell, from any thread. */
int vtfs_vfu_ring(struct vfu_client *c, unsigned vq, const struct vfu_ring *r);

/* ---- client_open.c ---- */

int vtfs_vfu_open(struct vtfs_pci_fn *fn);
int vtfs_vfu_use_socket(struct vfu_client *c, int fd);
/* The next command of the op that key stands for; another op begins anew. */
unsigned vtfs_vfu_step_of(struct vfu_client *c, const void *key);
int vtfs_vfu_steps_end(struct vfu_client *c, int r);
/* Like ask, for a structure that is also the reply's. */
int vtfs_vfu_ask_same(struct vfu_client *c, uint16_t command, const void *p,
		      size_t len);
/* A read, whose data is behind io in rx, or a write. */
int vtfs_vfu_region_io(struct vfu_client *c, uint16_t command,
		       const struct vfu_region_io *io, const void *data);
uint32_t vtfs_vfu_cfg32(const struct vfu_client *c, unsigned at);
#endif
