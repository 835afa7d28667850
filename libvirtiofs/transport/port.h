/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_TRANSPORT_PORT_H
#define VTFS_TRANSPORT_PORT_H
/*
 * A device's place on a socket: a listener, and one connection at a time.
 *
 * Theory of operation
 *
 * ep is the transport's fd for life. In it are the listener, the connection, a
 * timer and wake, an eventfd by which the transport asks for a dispatch. A
 * peer that can't be accepted for want of descriptors stays in the listener's
 * queue: it is asked again when the timer has run, not in a busy loop.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "transport/socket.h"

struct vtfs_port {
	struct vtfs_listener listener; /* fd -1: none */
	int ep;
	int wake;
	int retry;	      /* a timer; -1: no listener */
	bool full;	      /* no fd for the next connection: retry runs */
	int conn;	      /* -1: none */
	uint32_t conn_events; /* asked of ep */
	uint32_t listen_events;
};

/* Before anything that can fail, so that fini is right in any case. */
void vtfs_port_init(struct vtfs_port *p);
/* ep and wake. */
int vtfs_port_open(struct vtfs_port *p);
int vtfs_port_listen(struct vtfs_port *p, const char *path);
/* A socket of the caller's, which it stays if this fails: one that listens, or
 * the only connection that there will be. */
int vtfs_port_listen_fd(struct vtfs_port *p, int fd);
int vtfs_port_serve_fd(struct vtfs_port *p, int fd);
void vtfs_port_fini(struct vtfs_port *p);

/* One more fd in ep, for reading. */
int vtfs_port_watch(struct vtfs_port *p, int fd);
/* Take the next connection, if there is one. */
void vtfs_port_accept(struct vtfs_port *p, const struct vtfs_log *log,
		      const char *name);
/* End the connection. */
void vtfs_port_drop(struct vtfs_port *p);
/* The peer is gone, though not all that it said was read. */
bool vtfs_port_hung_up(const struct vtfs_port *p);
/* What to wait for: events of the connection; may another peer come? */
void vtfs_port_arm(struct vtfs_port *p, uint32_t conn_events, bool accepts);
#endif
