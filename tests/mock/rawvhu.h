/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_RAWVHU_H
#define MOCK_RAWVHU_H
/*
 * A vhost-user peer that can say anything: one end of a socket, bytes and file
 * descriptors. Nothing here waits: a message is there, or the test is wrong.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leaks.h"
#include "wire/vhost_user.h"

#define RAW_FDS 16u

struct raw_msg {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
	union {
		uint64_t u64;
		struct vu_vring_state state;
		struct vu_vring_addr addr;
		struct vu_mem_table mem;
		struct vu_mem_reg reg;
		struct vu_config config;
		unsigned char bytes[1024];
	};
	int fds[RAW_FDS];
	unsigned fd_cnt;
	unsigned fds_at; /* at which byte of the message they came */
};

/* Exactly these bytes, with these fds on the first. */
void raw_bytes(int sock, const void *buf, size_t len, const int *fds,
	       unsigned fd_cnt);
/* One message; flags are complete. */
void raw_send(int sock, uint32_t request, uint32_t flags, const void *payload,
	      size_t len, const int *fds, unsigned fd_cnt);
/* A message that has to be there. */
void raw_recv(int sock, struct raw_msg *m);
void raw_close_fds(struct raw_msg *m);
/* Nothing is there to read, and the peer is still there. */
bool raw_quiet(int sock);
/* The peer has closed; everything before that was read. */
bool raw_closed(int sock);

int raw_memfd(size_t len);
#endif
