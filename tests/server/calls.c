/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FUSE calls by name, over srv_call(). */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Thread_local uint32_t as_uid, as_gid;

void srv_as(uint32_t uid, uint32_t gid)
{
	as_uid = uid;
	as_gid = gid;
}

bool need_root(void)
{
	if (geteuid() == 0)
		return true;
	print_message("needs root\n");
	return false;
}

/* Arguments and up to two names behind each other. */
struct args {
	char buf[5120];
	size_t len;
};

static void put(struct args *a, const void *p, size_t len)
{
	assert_true(len <= sizeof(a->buf) - a->len);
	memcpy(a->buf + a->len, p, len);
	a->len += len;
}

static void put_name(struct args *a, const char *name)
{
	put(a, name, strlen(name) + 1);
}

static int call(struct srv *s, uint32_t opcode, uint64_t nodeid,
		const struct args *a, void *room, size_t room_len)
{
	struct call c = {
	    .opcode = opcode,
	    .nodeid = nodeid,
	    .uid = as_uid,
	    .gid = as_gid,
	    .arg = a->buf,
	    .arg_len = a->len,
	    .room = room,
	    .room_len = room_len,
	};
	ssize_t n = srv_call(s, &c);

	if (n < 0)
		return (int)n;
	assert_int_equal(n, room_len);
	return 0;
}

int srv_lookup(struct srv *s, uint64_t dir, const char *name,
	       struct fuse_entry_out *ret)
{
	struct args a = {.len = 0};

	put_name(&a, name);
	return call(s, FUSE_LOOKUP, dir, &a, ret, sizeof(*ret));
}

uint64_t srv_node(struct srv *s, uint64_t dir, const char *name)
{
	struct fuse_entry_out entry;

	assert_int_equal(srv_lookup(s, dir, name, &entry), 0);
	assert_true(entry.nodeid > 1);
	return entry.nodeid;
}

int srv_mkdir(struct srv *s, uint64_t dir, const char *name, uint32_t mode,
	      struct fuse_entry_out *ret)
{
	struct fuse_mkdir_in in = {.mode = mode};
	struct args a = {.len = 0};

	put(&a, &in, sizeof(in));
	put_name(&a, name);
	return call(s, FUSE_MKDIR, dir, &a, ret, sizeof(*ret));
}

int srv_mknod(struct srv *s, uint64_t dir, const char *name, uint32_t mode,
	      struct fuse_entry_out *ret)
{
	/* Device 1, 3: /dev/null's. */
	struct fuse_mknod_in in = {.mode = mode, .rdev = 0x103};
	struct args a = {.len = 0};

	put(&a, &in, sizeof(in));
	put_name(&a, name);
	return call(s, FUSE_MKNOD, dir, &a, ret, sizeof(*ret));
}

int srv_symlink(struct srv *s, uint64_t dir, const char *name,
		const char *target, struct fuse_entry_out *ret)
{
	struct args a = {.len = 0};

	put_name(&a, name);
	put_name(&a, target);
	return call(s, FUSE_SYMLINK, dir, &a, ret, sizeof(*ret));
}

int srv_link(struct srv *s, uint64_t node, uint64_t dir, const char *name,
	     struct fuse_entry_out *ret)
{
	struct fuse_link_in in = {.oldnodeid = node};
	struct args a = {.len = 0};

	put(&a, &in, sizeof(in));
	put_name(&a, name);
	return call(s, FUSE_LINK, dir, &a, ret, sizeof(*ret));
}

int srv_create(struct srv *s, uint64_t dir, const char *name, uint32_t flags,
	       uint32_t mode, struct fuse_entry_out *ret, uint64_t *ret_fh)
{
	struct fuse_create_in in = {.flags = flags, .mode = S_IFREG | mode};
	struct args a = {.len = 0};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;
	int r;

	put(&a, &in, sizeof(in));
	put_name(&a, name);
	r = call(s, FUSE_CREATE, dir, &a, &out, sizeof(out));
	if (r == 0) {
		*ret = out.entry;
		*ret_fh = out.open.fh;
	}
	return r;
}

int srv_remove(struct srv *s, uint32_t opcode, uint64_t dir, const char *name)
{
	struct args a = {.len = 0};

	put_name(&a, name);
	return call(s, opcode, dir, &a, NULL, 0);
}

int srv_rename(struct srv *s, uint64_t dir, const char *from, uint64_t to_dir,
	       const char *to, uint32_t flags)
{
	struct fuse_rename2_in in = {.newdir = to_dir, .flags = flags};
	struct args a = {.len = 0};

	put(&a, &in, sizeof(in));
	put_name(&a, from);
	put_name(&a, to);
	return call(s, FUSE_RENAME2, dir, &a, NULL, 0);
}

int srv_open(struct srv *s, uint32_t opcode, uint64_t node, uint32_t flags,
	     uint64_t *ret_fh, uint32_t *ret_flags)
{
	struct fuse_open_in in = {.flags = flags};
	struct args a = {.len = 0};
	struct fuse_open_out out;
	int r;

	put(&a, &in, sizeof(in));
	r = call(s, opcode, node, &a, &out, sizeof(out));
	if (r == 0) {
		*ret_fh = out.fh;
		if (ret_flags)
			*ret_flags = out.open_flags;
	}
	return r;
}

int srv_release(struct srv *s, uint32_t opcode, uint64_t node, uint64_t fh)
{
	struct fuse_release_in in = {.fh = fh};
	struct args a = {.len = 0};

	put(&a, &in, sizeof(in));
	return call(s, opcode, node, &a, NULL, 0);
}

ssize_t srv_read(struct srv *s, uint64_t node, uint64_t fh, uint64_t offset,
		 void *buf, uint32_t size)
{
	struct fuse_read_in in = {.fh = fh, .offset = offset, .size = size};
	struct call c = {
	    .opcode = FUSE_READ,
	    .nodeid = node,
	    .uid = as_uid,
	    .gid = as_gid,
	    .arg = &in,
	    .arg_len = sizeof(in),
	    .room = buf,
	    .room_len = size,
	};

	return srv_call(s, &c);
}

ssize_t srv_write(struct srv *s, uint64_t node, const struct fuse_write_in *in,
		  const void *data)
{
	struct fuse_write_out out;
	struct call c = {
	    .opcode = FUSE_WRITE,
	    .nodeid = node,
	    .uid = as_uid,
	    .gid = as_gid,
	    .arg = in,
	    .arg_len = sizeof(*in),
	    .data = data,
	    .data_len = in->size,
	    .room = &out,
	    .room_len = sizeof(out),
	};
	ssize_t n = srv_call(s, &c);

	if (n < 0)
		return n;
	assert_int_equal(n, sizeof(out));
	return out.size;
}

int srv_getattr(struct srv *s, uint64_t node, struct fuse_attr *ret)
{
	struct fuse_getattr_in in = {.fh = 0};
	struct args a = {.len = 0};
	struct fuse_attr_out out;
	int r;

	put(&a, &in, sizeof(in));
	r = call(s, FUSE_GETATTR, node, &a, &out, sizeof(out));
	if (r == 0)
		*ret = out.attr;
	return r;
}

int srv_setattr(struct srv *s, uint64_t node, const struct fuse_setattr_in *in,
		struct fuse_attr *ret)
{
	struct args a = {.len = 0};
	struct fuse_attr_out out;
	int r;

	put(&a, in, sizeof(*in));
	r = call(s, FUSE_SETATTR, node, &a, &out, sizeof(out));
	if (r == 0)
		*ret = out.attr;
	return r;
}

int srv_setxattr(struct srv *s, uint64_t node, const char *name,
		 const char *value, uint32_t size)
{
	struct fuse_setxattr_in in = {.size = size};
	/* The long form goes with ACLs. */
	size_t len = srv_fs(s)->opts.posix_acl ? sizeof(in)
					       : FUSE_COMPAT_SETXATTR_IN_SIZE;
	char arg[sizeof(in) + 256];
	struct call c = {
	    .opcode = FUSE_SETXATTR,
	    .nodeid = node,
	    .uid = as_uid,
	    .gid = as_gid,
	    .arg = arg,
	    .arg_len = len + strlen(name) + 1,
	    .data = value,
	    .data_len = strlen(value),
	};

	memcpy(arg, &in, len);
	strcpy(arg + len, name);
	return (int)srv_call(s, &c);
}

ssize_t srv_getxattr(struct srv *s, uint64_t node, const char *name, void *buf,
		     uint32_t size)
{
	struct {
		struct fuse_getxattr_in in;
		char name[256];
	} arg = {.in = {.size = size}};
	struct call c = {
	    .opcode = name ? FUSE_GETXATTR : FUSE_LISTXATTR,
	    .nodeid = node,
	    .uid = as_uid,
	    .gid = as_gid,
	    .arg = &arg,
	    .arg_len = sizeof(arg.in) + (name ? strlen(name) + 1 : 0),
	    .room = buf,
	    .room_len = size ? size : sizeof(struct fuse_getxattr_out),
	};

	if (name)
		strcpy(arg.name, name);
	return srv_call(s, &c);
}

int srv_removexattr(struct srv *s, uint64_t node, const char *name)
{
	struct call c = {
	    .opcode = FUSE_REMOVEXATTR,
	    .nodeid = node,
	    .uid = as_uid,
	    .gid = as_gid,
	    .arg = name,
	    .arg_len = strlen(name) + 1,
	};

	return (int)srv_call(s, &c);
}

bool srv_thread_is(uint32_t uid, uint32_t gid, unsigned cap, bool has)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *d;
	bool found = false;

	assert_non_null(tasks);
	while (!found && (d = readdir(tasks))) {
		unsigned euid = 0, egid = 0;
		unsigned long long caps = 0;
		char line[300];
		FILE *f;

		snprintf(line, sizeof(line), "/proc/self/task/%s/status",
			 d->d_name);
		f = d->d_name[0] == '.' ? NULL : fopen(line, "r");
		while (f && fgets(line, sizeof(line), f)) {
			sscanf(line, "Uid: %*u %u", &euid);
			sscanf(line, "Gid: %*u %u", &egid);
			sscanf(line, "CapEff: %llx", &caps);
		}
		if (f)
			fclose(f);
		found = euid == uid && egid == gid && (caps >> cap & 1) == has;
	}
	closedir(tasks);
	return found;
}

void host_write(const struct srv *s, const char *name, const char *text)
{
	int fd = open(srv_path(s, name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

void host_check(const struct srv *s, const char *name, const char *text)
{
	char buf[256];
	int fd = open(srv_path(s, name), O_RDONLY);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	assert_true(n >= 0);
	buf[n] = 0;
	assert_string_equal(buf, text);
}
