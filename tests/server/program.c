/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "program.h"

#include "harness.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 16

char prog_sock[96], prog_share[96];
uid_t prog_uid;
static char prog_dir[64];

int prog_set_up(void **state)
{
	strcpy(prog_dir, "/tmp/virtiofs-test-XXXXXX");
	if (!mkdtemp(prog_dir))
		return -1;
	snprintf(prog_sock, sizeof(prog_sock), "%s/sock", prog_dir);
	snprintf(prog_share, sizeof(prog_share), "%s/share", prog_dir);
	prog_uid = 0;
	return mkdir(prog_share, 0755);
}

int prog_tear_down(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/made", prog_share);
	unlink(path);
	unlink(prog_sock);
	rmdir(prog_share);
	return rmdir(prog_dir);
}

/* In the child; it has this directory then. */
static void become_user(void)
{
	if (chown(prog_dir, prog_uid, prog_uid) < 0 ||
	    chown(prog_share, prog_uid, prog_uid) < 0 ||
	    setgroups(0, NULL) < 0 || setgid(prog_uid) < 0 ||
	    setuid(prog_uid) < 0)
		_exit(126);
}

struct program prog_start(const char *const *args, int keep_fd)
{
	const char *argv[ARGS_MAX + 2] = {getenv("VIRTIOFS_SERVER")};
	struct program p = {.said = ""};
	int out[2], err[2];

	assert_non_null(argv[0]);
	for (int i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	p.pid = fork();
	assert_true(p.pid >= 0);
	if (p.pid == 0) {
		if (prog_uid)
			become_user();
		/* A test that fails leaves no server behind. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], 1);
		dup2(err[1], 2);
		if (keep_fd >= 0)
			fcntl(keep_fd, F_SETFD, 0);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	p.out = out[0];
	p.err = err[0];
	return p;
}

bool prog_says(struct program *p, const char *text)
{
	size_t len = strlen(p->said);
	ssize_t n = 1;

	while (!strstr(p->said, text) && n > 0) {
		n = read(p->err, p->said + len, sizeof(p->said) - 1 - len);
		if (n > 0)
			len += (size_t)n;
		p->said[len] = 0;
	}
	return strstr(p->said, text);
}

void prog_read_out(struct program *p, char *buf, size_t size, const char *until)
{
	size_t len = 0;
	ssize_t n = 1;

	buf[0] = 0;
	while (n > 0 && !(until && strstr(buf, until))) {
		n = read(p->out, buf + len, size - 1 - len);
		if (n > 0)
			len += (size_t)n;
		buf[len] = 0;
	}
}

int prog_status(struct program *p)
{
	int status;

	prog_says(p, "\xff");
	close(p->err);
	close(p->out);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int prog_end(struct program *p)
{
	assert_int_equal(kill(p->pid, SIGTERM), 0);
	return prog_status(p);
}

struct program prog_serve(const char *sandbox, const char *more)
{
	const char *args[] = {"--shared-dir", prog_share,  "--socket-path",
			      prog_sock,      "--sandbox", sandbox,
			      more,	      NULL};
	struct program p = prog_start(args, -1);

	if (!prog_says(&p, "serving "))
		fail_msg("%s", p.said);
	return p;
}

struct virtiofs_client *prog_connect(const char *path)
{
	struct virtiofs_transport *t;
	struct virtiofs_client *c = NULL;
	char uri[128];
	int r;

	snprintf(uri, sizeof(uri), "vhost-user:%s", path);
	r = virtiofs_transport_open_client(&t, uri);
	if (r == 0)
		r = virtiofs_connect(&c, t);
	if (r < 0)
		fail_msg("%s", virtiofs_last_error());
	return c;
}

ssize_t prog_call(struct virtiofs_client *c, uint32_t opcode, const void *arg,
		  size_t arg_len, void *buf, size_t len)
{
	const struct iovec room = {.iov_base = buf, .iov_len = len};
	const struct virtiofs_op op = {
	    .size = sizeof(op),
	    .opcode = opcode,
	    .nodeid = FUSE_ROOT_ID,
	    .arg = (void *)(uintptr_t)arg,
	    .arg_len = (uint32_t)arg_len,
	    .room = &room,
	    .room_cnt = len ? 1 : 0,
	};

	return virtiofs_client_call(c, &op);
}

ssize_t prog_make_dir(struct virtiofs_client *c)
{
	struct {
		struct fuse_mkdir_in in;
		char name[5];
	} arg = {{.mode = 0700}, "made"};
	struct fuse_entry_out e;

	return prog_call(c, FUSE_MKDIR, &arg, sizeof(arg.in) + 5, &e,
			 sizeof(e));
}

void prog_use(const char *path)
{
	struct virtiofs_client *c = prog_connect(path);
	struct stat st;
	char made[128];

	assert_int_equal(prog_make_dir(c), sizeof(struct fuse_entry_out));
	snprintf(made, sizeof(made), "%s/made", prog_share);
	assert_int_equal(stat(made, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(prog_call(c, FUSE_RMDIR, "made", 5, NULL, 0), 0);
	virtiofs_client_free(c);
}
