/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_BENCH_SERVER_H
#define TESTS_BENCH_SERVER_H
/* A device in a thread of its own, with one file of zeroes in memory: "file".
 */
#include <pthread.h>

#include <virtiofs/virtiofs.h>

#define FILE_BYTES (4u << 20)

struct server {
	struct virtiofs_device *dev;
	pthread_t thread;
	unsigned char *data;
};

/* Owns t. */
void server_start(struct server *s, struct virtiofs_transport *t);
/* One that was not started is fine. */
void server_stop(struct server *s);

/* r 0: the library's last error. */
void die(const char *what, int r) __attribute__((noreturn));
#endif
