/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_VHOST_USER_CLIENT_OPS_H
#define VTFS_VHOST_USER_CLIENT_OPS_H
/* The ops of struct vtfs_cli_ops, each a script of messages. */
#include "base/error.h"
#include "transport/vhost_user/client.h"

static inline struct vu_client *vtfs_vu_to_client(
    const struct virtiofs_transport *t)
{
	return (struct vu_client *)t;
}

/* -ENOTCONN before connect. */
static inline int vtfs_vu_client_ready(const struct vu_client *c)
{
	if (c->connected)
		return 0;
	return vtfs_fail(-ENOTCONN, "%s: not connected", c->base.name);
}

/* SET_OWNER to SET_BACKEND_REQ_FD on a fresh socket; may return -EAGAIN. */
int vtfs_vu_client_negotiate(struct vu_client *c);
void vtfs_vu_client_forget_memory(struct vu_client *c);

int vtfs_vu_client_get_features(struct virtiofs_transport *t, uint64_t *ret);
int vtfs_vu_client_set_features(struct virtiofs_transport *t,
				uint64_t features);
int vtfs_vu_client_queue_cnt(struct virtiofs_transport *t, unsigned *ret);
int vtfs_vu_client_get_config(struct virtiofs_transport *t, void *buf,
			      size_t len, size_t off);
int vtfs_vu_client_get_status(struct virtiofs_transport *t, uint8_t *ret);
int vtfs_vu_client_set_status(struct virtiofs_transport *t, uint8_t status);
int vtfs_vu_client_map(struct virtiofs_transport *t,
		       const struct virtiofs_region *region,
		       uint64_t *ret_peer_addr);
int vtfs_vu_client_unmap(struct virtiofs_transport *t, uint64_t peer_addr);
int vtfs_vu_client_start_queue(struct virtiofs_transport *t,
			       const struct vtfs_queue_setup *q);
int vtfs_vu_client_stop_queue(struct virtiofs_transport *t, unsigned vq);
uint64_t vtfs_vu_client_protocol_features(struct virtiofs_transport *t);
#endif
