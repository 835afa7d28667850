/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_SOCK_H
#define TESTS_FUZZ_SOCK_H
/* Bytes and file descriptors, of all kinds, over a socket; nothing waits. */
#include "fuzz.h"

/* What can be passed; each is opened once, and set back with kinds_reset(). */
enum sock_kind {
	KIND_MEM,   /* memfd of KIND_LEN bytes, mapped here */
	KIND_MEM_2, /* another one */
	KIND_ODD,   /* 100 bytes */
	KIND_SEALED,
	KIND_READ_ONLY, /* of KIND_MEM */
	KIND_EVENT,
	KIND_BLOCKING, /* eventfd */
	KIND_PIPE_READ,
	KIND_PIPE_WRITE,
	KIND_NULL, /* device */
	KIND_EPOLL,
	KIND_DIR,
	KIND_PATH, /* O_PATH */
	KIND_SOCKET,
	KIND_CNT,
};
#define KIND_LEN  0x10000u
#define KINDS_MAX 16u

extern unsigned char *sock_mem[2]; /* KIND_MEM, KIND_MEM_2 */
void sock_reset(void);
int sock_fd(unsigned kind);
/* A peer cuts the memory that it shared; sock_reset() brings it back. */
void sock_truncate(unsigned kind, size_t len);
/* Handle SIGBUS as programs do (virtiofs_memory_fault()). */
void sock_catch_faults(void);
/* The other end of KIND_SOCKET. */
int sock_other(void);

/* False: the peer's buffer is full, or it has gone. */
bool sock_send(int sock, const void *buf, size_t len, const int *fds,
	       unsigned fd_cnt);
/* What is there, up to len; descriptors are closed, but for the last one, which
 * goes to *ret_fd if that is not NULL. */
size_t sock_recv(int sock, void *buf, size_t len, int *ret_fd);
void sock_kick(unsigned kind);
#endif
