/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_PROGRAM_H
#define SERVER_PROGRAM_H
/* virtiofs-server as a program of its own, over a directory of the test's. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <virtiofs/virtiofs.h>

/* A program that runs, with its two outputs. */
struct program {
	pid_t pid;
	int out, err;
	char said[8192]; /* on stderr so far */
};

/* cmocka's. */
int prog_set_up(void **state);
int prog_tear_down(void **state);
/* The socket's path, and the directory that is served. */
extern char prog_sock[96], prog_share[96];
/* 0: whoever we are. Else programs start as this user and group, who gets the
 * directory. */
extern uid_t prog_uid;

/* keep_fd: stays open in it, or -1. */
struct program prog_start(const char *const *args, int keep_fd);
/* The same with the usual options and one more, until it serves. */
struct program prog_serve(const char *sandbox, const char *more);
/* Read stderr until it says text, or ends. */
bool prog_says(struct program *p, const char *text);
/* What stdout has to the end, or to the text. */
void prog_read_out(struct program *p, char *buf, size_t size,
		   const char *until);
/* When it has ended: its status, or minus the signal. */
int prog_status(struct program *p);
/* SIGTERM, and the status. */
int prog_end(struct program *p);

struct virtiofs_client *prog_connect(const char *path);
/* On the root directory. */
ssize_t prog_call(struct virtiofs_client *c, uint32_t opcode, const void *arg,
		  size_t arg_len, void *buf, size_t len);
/* "made" */
ssize_t prog_make_dir(struct virtiofs_client *c);
/* Connect, make a directory, remove it, disconnect. */
void prog_use(const char *path);

#endif
