/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H
/* The command line. virtiofsd's names, meanings and defaults where it has
 * them; --queues, --queue-size, --packed, --in-order, --ring-reset, --stats and
 * --check-permissions are ours, and so is more than one socket. */
#include <stdbool.h>
#include <stdint.h>

enum cache_mode {
	CACHE_AUTO,
	CACHE_ALWAYS,
	CACHE_NEVER,
	CACHE_METADATA,
};

enum sandbox_mode {
	SANDBOX_NAMESPACE,
	SANDBOX_CHROOT,
	SANDBOX_NONE,
};

/* When a node is kept as a file handle, not as an open descriptor. */
enum handles_mode {
	HANDLES_NEVER,
	HANDLES_PREFER,
	HANDLES_MANDATORY,
};

#define RLIMIT_DEFAULT UINT64_MAX

#define SOCKETS_MAX 64u

/* Of one device. */
struct socket_opts {
	const char *path; /* NULL: fd */
	int fd;
	bool vduse;	 /* path is a URI, and there is no socket */
	bool vfio_user;	 /* spoken on the socket, not vhost-user */
	const char *tag; /* or NULL */
};

struct options {
	struct socket_opts sockets[SOCKETS_MAX];
	unsigned socket_cnt;
	unsigned tag_cnt;
	const char *socket_group;
	const char *shared_dir;
	uint64_t rlimit_nofile;
	unsigned thread_pool_size;
	unsigned queues;
	unsigned queue_size;
	int log_level;
	enum cache_mode cache;
	enum sandbox_mode sandbox;
	enum handles_mode handles;
	bool packed;
	bool in_order;
	bool ring_reset;
	bool stats;
	bool syslog;
	bool xattr;
	bool posix_acl;
	bool readonly;
	bool allow_direct_io;
	bool announce_submounts;
	bool readdirplus;
	bool killpriv_v2;
	bool preserve_noatime;
	bool check_permissions;
};

/* 0: serve. 1: --help and its like, all printed. Negative: said why. */
int options_parse(struct options *o, int argc, char **argv);

#endif
