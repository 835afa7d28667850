/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_BASE_EVFD_H
#define VTFS_BASE_EVFD_H
/*
 * Event file descriptors: our own, which never block, and a peer's, whose open
 * file description it shares with us and can change under us.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Close-on-exec, non-blocking, counter 0. */
int vtfs_evfd_new(int *ret_fd);
/* For our own; async-signal-safe, errno is kept. */
void vtfs_evfd_signal(int fd);
/* Counter to 0. */
void vtfs_evfd_drain(int fd);

/* Is it one? fstat(2) tells: an anonymous inode has no type. (A peer can still
 * pass a timerfd or the like, whose writes fail.) */
bool vtfs_evfd_is(int fd);

/*
 * Something of a peer's that we write to. User-mode Linux gives a socket for
 * its interrupts, everybody else an eventfd; a pipe is legal. One that is full
 * was rung already and isn't written; one nobody reads raises no SIGPIPE.
 */
struct vtfs_bell {
	int fd; /* -1: none */
	enum {
		VTFS_BELL_EVENT,
		VTFS_BELL_PIPE,
		VTFS_BELL_SOCKET,
		VTFS_BELL_IOCTL, /* a device of the kernel's: VDUSE */
	} kind;
	unsigned long request; /* IOCTL, and its argument */
	uint32_t arg;
};
#define VTFS_BELL_NONE ((struct vtfs_bell){.fd = -1})

/* Duplicates fd; fd < 0 gives a bell that does nothing. -EINVAL: none of the
 * three. */
int vtfs_bell_open(struct vtfs_bell *ret, int fd);
/* Duplicates fd; ringing is the ioctl request with the address of arg. */
int vtfs_bell_open_ioctl(struct vtfs_bell *ret, int fd, unsigned long request,
			 uint32_t arg);
/* errno is not kept. */
void vtfs_bell_ring(const struct vtfs_bell *b);
void vtfs_bell_close(struct vtfs_bell *b);

/* All of len (at most PIPE_BUF) bytes into a pipe of a peer, without waiting
 * and without SIGPIPE. -EAGAIN: full, or nobody reads. */
int vtfs_pipe_write(int fd, const void *buf, size_t len);
#endif
