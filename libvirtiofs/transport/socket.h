/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_TRANSPORT_SOCKET_H
#define VTFS_TRANSPORT_SOCKET_H
/* Stream sockets of the unix family: names, bytes that come with file
 * descriptors, and messages of them. Nothing here blocks, whatever the peer
 * makes of the socket. */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A socket in the file system that we made. */
struct vtfs_listener {
	int fd;
	char *path; /* NULL: not ours to unlink */
	dev_t dev;  /* what we made there */
	ino_t ino;
};

/* A stale socket is replaced. -EADDRINUSE: somebody listens there, or it is no
 * socket; -ENAMETOOLONG. */
int vtfs_listener_open(struct vtfs_listener *ret, const char *path);
/* Unlinks it if it is still ours. */
void vtfs_listener_close(struct vtfs_listener *l);
/* Begin to connect; a stream socket. -ECONNREFUSED, -ENOENT, ... */
int vtfs_sock_connect(int *ret_fd, const char *path);
/* Is fd a connected (or listening) stream socket of the unix family? */
int vtfs_sock_check(int fd, bool listening);

/* File descriptors that came with bytes; they belong to whoever has the list.
 */
struct vtfs_sock_fds {
	int *fd;
	unsigned cnt, max;
};
#define VTFS_SOCK_FDS_MAX 16u /* no max is larger */

/* Bytes received, their fds added; 0: hung up; -EAGAIN; -ENOTCONN; -EPROTO:
 * more fds than max, of which some were closed. */
ssize_t vtfs_sock_recv(int sock, void *buf, size_t len,
		       struct vtfs_sock_fds *fds);
/* Bytes sent, all fds with the first; -EAGAIN; -ENOTCONN. No SIGPIPE. */
ssize_t vtfs_sock_send(int sock, const void *buf, size_t len, const int *fds,
		       unsigned fd_cnt);

/* ---- messages, in pieces ---- */

/* One that comes: a head of a fixed length, then a body; fds with any part. */
struct vtfs_sock_in {
	const char *name; /* of the protocol, for texts */
	void *head;
	size_t head_len;
	unsigned char *body;
	size_t *got; /* bytes of both */
	int *fds;
	unsigned *fd_cnt, fd_max;
};
/* Read on until got is goal: 1; -EAGAIN; -ENOTCONN: hung up before it began;
 * -EPROTO with a text. */
int vtfs_sock_recv_until(int sock, const struct vtfs_sock_in *in, size_t goal);

/* One that goes out, of len bytes; the fds go with the first and are closed. */
struct vtfs_sock_out {
	const unsigned char *buf;
	size_t len, *sent;
	int *fds;
	unsigned *fd_cnt;
};
/* 0: all is sent; -EAGAIN; -ENOTCONN. */
int vtfs_sock_flush(int sock, const struct vtfs_sock_out *out);

/* Close those that are not -1; none is left. */
void vtfs_sock_close_fds(int *fds, unsigned *cnt);
/* Duplicates of cnt fds behind what is in ret, which may get only some. */
int vtfs_sock_dup_fds(int *ret, unsigned *ret_cnt, const int *fds,
		      unsigned cnt);
#endif
