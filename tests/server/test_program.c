/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The installed program, from its command line to its end. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 16

/* A program that runs, with its two outputs. */
struct program {
	pid_t pid;
	int out, err;
	char said[8192]; /* on stderr so far */
};

static char dir[64], sock[96], share[96];

static int set_up(void **state)
{
	strcpy(dir, "/tmp/virtiofs-test-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(sock, sizeof(sock), "%s/sock", dir);
	snprintf(share, sizeof(share), "%s/share", dir);
	return mkdir(share, 0755);
}

static int tear_down(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/made", share);
	unlink(path);
	unlink(sock);
	rmdir(share);
	return rmdir(dir);
}

static struct program start(const char *const *args, int keep_fd)
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

/* Read stderr until it says text, or ends. */
static bool says(struct program *p, const char *text)
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

/* What stdout has to the end, or to the text. */
static void read_out(struct program *p, char *buf, size_t size,
		     const char *until)
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

static int status_of(struct program *p)
{
	int status;

	says(p, "\xff");
	close(p->err);
	close(p->out);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int end(struct program *p)
{
	assert_int_equal(kill(p->pid, SIGTERM), 0);
	return status_of(p);
}

static struct program serve(const char *sandbox, const char *more)
{
	const char *args[] = {"--shared-dir", share,	   "--socket-path",
			      sock,	      "--sandbox", sandbox,
			      more,	      NULL};
	struct program p = start(args, -1);

	if (!says(&p, "serving "))
		fail_msg("%s", p.said);
	return p;
}

static struct virtiofs_client *connect_to(const char *path)
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

static ssize_t call(struct virtiofs_client *c, uint32_t opcode, const void *arg,
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

static ssize_t make_dir(struct virtiofs_client *c)
{
	struct {
		struct fuse_mkdir_in in;
		char name[5];
	} arg = {{.mode = 0700}, "made"};
	struct fuse_entry_out e;

	return call(c, FUSE_MKDIR, &arg, sizeof(arg.in) + 5, &e, sizeof(e));
}

static void use(const char *path)
{
	struct virtiofs_client *c = connect_to(path);
	struct stat st;
	char made[128];

	assert_int_equal(make_dir(c), sizeof(struct fuse_entry_out));
	snprintf(made, sizeof(made), "%s/made", share);
	assert_int_equal(stat(made, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(call(c, FUSE_RMDIR, "made", 5, NULL, 0), 0);
	virtiofs_client_free(c);
}

static void wrong_options_are_named(void **state)
{
	static const struct {
		const char *args[8];
		const char *text;
	} wrong[] = {
	    {{"--bogus"}, "unknown option: --bogus"},
	    {{"word"}, "not an option: word"},
	    {{"--tag"}, "option needs a value: --tag"},
	    {{"--socket-path", "/x"}, "--shared-dir is missing"},
	    {{"--shared-dir", "/"}, "--socket-path or --fd is missing"},
	    {{"--shared-dir", "/", "--fd", "1", "--socket-path=x"}, "exclude"},
	    {{"--tag", "1234567890123456789012345678901234567"}, "--tag: "},
	    {{"--tag", ""}, "--tag: "},
	    {{"--queue-size", "0"}, "--queue-size: not a power of two: 0"},
	    {{"--queue-size", "100"}, "--queue-size: not a power of two: 100"},
	    {{"--queue-size", "65536"}, "--queue-size: not a number"},
	    {{"--queues", "0"}, "--queues: "},
	    {{"--queues", "x"}, "--queues: not a number"},
	    {{"--cache", "some"}, "--cache: no such choice: some"},
	    {{"--sandbox", "some"}, "--sandbox: no such choice: some"},
	    {{"--inode-file-handles=x"}, "--inode-file-handles: no such"},
	    {{"--log-level", "loud"}, "--log-level: no such choice: loud"},
	    {{"--thread-pool-size", "-1"}, "--thread-pool-size: not a number"},
	    {{"--shared-dir", "/nonexistent", "--fd", "0"},
	     "can't serve /nonexistent: No such file"},
	    {{"--shared-dir", "/dev/null", "--fd", "0"}, "Not a directory"},
	    {{"--shared-dir", "/", "--fd", "999"}, "--fd: 999: Bad file"},
	    {{"--shared-dir", "/", "--socket-path", "/nonexistent/s"},
	     "can't listen on /nonexistent/s: No such file"},
	    {{"--shared-dir", "/", "--fd", "0", "--rlimit-nofile", "100"},
	     "limit of open files is too small: 100"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct program p = start(wrong[i].args, -1);

		assert_int_equal(status_of(&p), 1);
		/* One line. */
		if (!strstr(p.said, wrong[i].text) ||
		    strchr(p.said, '\n') != p.said + strlen(p.said) - 1)
			fail_msg("not \"%s\": %s", wrong[i].text, p.said);
	}
}

static void capabilities_are_printed_as_json(void **state)
{
	const char *args[] = {"--print-capabilities", NULL};
	struct program p = start(args, -1);
	char out[512];

	read_out(&p, out, sizeof(out), NULL);
	assert_int_equal(status_of(&p), 0);
	assert_string_equal(out, "{\n"
				 "  \"type\": \"fs\",\n"
				 "  \"features\": [\n"
				 "    \"separate-options\"\n"
				 "  ]\n"
				 "}\n");
}

/* In a chroot it isn't, and there is no way out of that by a namespace. */
static bool root_is_a_mount(void)
{
	struct statx sx;

	assert_int_equal(statx(AT_FDCWD, "/", 0, 0, &sx), 0);
	return sx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static void namespace_in_a_chroot_is_refused(void)
{
	const char *args[] = {
	    "--shared-dir", share, "--socket-path", sock, "--sandbox",
	    "namespace",    NULL};
	struct program p = start(args, -1);

	assert_int_equal(status_of(&p), 1);
	assert_non_null(strstr(p.said, "use --sandbox=chroot"));
}

static void every_sandbox_serves_the_directory(void **state)
{
	static const char *const modes[] = {"none", "chroot", "namespace"};

	for (size_t i = 0; i < 3; i++) {
		struct program p;

		if (i > 0)
			NEED_ROOT();
		if (i == 2 && !root_is_a_mount()) {
			namespace_in_a_chroot_is_refused();
			continue;
		}
		/* A leak checker needs the /proc that is out of reach then. */
		setenv("LSAN_OPTIONS", i > 0 ? "detect_leaks=0" : "", 1);
		p = serve(modes[i], NULL);
		use(sock);
		/* Whoever comes next, too. */
		use(sock);
		assert_int_equal(end(&p), 0);
		assert_int_equal(access(sock, F_OK), -1);
	}
	unsetenv("LSAN_OPTIONS");
}

static void tag_is_told(void **state)
{
	struct program p = serve("none",
				 "--tag=a tag of thirty-six bytes, no NUL ..");
	struct virtiofs_client *c = connect_to(sock);

	assert_string_equal(virtiofs_client_tag(c),
			    "a tag of thirty-six bytes, no NUL ..");
	virtiofs_client_free(c);
	assert_int_equal(end(&p), 0);
}

static void read_only_is_read_only(void **state)
{
	struct program p = serve("none", "--readonly");
	struct virtiofs_client *c = connect_to(sock);

	assert_int_equal(make_dir(c), -EROFS);
	virtiofs_client_free(c);
	assert_int_equal(end(&p), 0);
}

static void socket_of_a_live_server_is_left_alone(void **state)
{
	const char *args[] = {
	    "--shared-dir", share, "--socket-path", sock, "--sandbox",
	    "none",	    NULL};
	struct program first = serve("none", NULL), second;

	second = start(args, -1);
	assert_int_equal(status_of(&second), 1);
	assert_non_null(strstr(second.said, "is in use by another server"));
	use(sock);
	assert_int_equal(end(&first), 0);
}

static void stale_socket_is_replaced(void **state)
{
	struct program p = serve("none", NULL);

	assert_int_equal(kill(p.pid, SIGKILL), 0);
	assert_int_equal(status_of(&p), -SIGKILL);
	assert_int_equal(access(sock, F_OK), 0);
	p = serve("none", NULL);
	use(sock);
	assert_int_equal(end(&p), 0);
}

static void file_at_the_sockets_path_is_left_alone(void **state)
{
	const char *args[] = {
	    "--shared-dir", share, "--socket-path", sock, "--sandbox",
	    "none",	    NULL};
	struct program p;
	struct stat st;
	int fd = open(sock, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
	p = start(args, -1);
	assert_int_equal(status_of(&p), 1);
	assert_non_null(strstr(p.said, "exists and is not a socket"));
	assert_int_equal(lstat(sock, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(unlink(sock), 0);
}

static void socket_may_be_passed(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char number[16];
	const char *args[] = {"--shared-dir", share,  "--fd", number,
			      "--sandbox",    "none", NULL};
	struct program p;

	strcpy(addr.sun_path, sock);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(number, sizeof(number), "%d", fd);
	p = start(args, fd);
	close(fd);
	assert_true(says(&p, "serving "));
	use(sock);
	assert_int_equal(end(&p), 0);
	/* Its name is whoever's made it. */
	assert_int_equal(unlink(sock), 0);
}

static void connection_may_be_passed(void **state)
{
	char number[16];
	const char *args[] = {"--shared-dir", share,  "--fd", number,
			      "--sandbox",    "none", NULL};
	struct virtiofs_transport *t;
	struct virtiofs_client *c;
	struct program p;
	int fds[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	snprintf(number, sizeof(number), "%d", fds[1]);
	p = start(args, fds[1]);
	close(fds[1]);
	assert_true(says(&p, "serving "));
	assert_int_equal(virtiofs_vhost_user_client_fd(&t, fds[0]), 0);
	assert_int_equal(virtiofs_connect(&c, t), 0);
	assert_int_equal(make_dir(c), sizeof(struct fuse_entry_out));
	assert_int_equal(call(c, FUSE_RMDIR, "made", 5, NULL, 0), 0);
	virtiofs_client_free(c);
	/* There is nobody to wait for. */
	assert_int_equal(status_of(&p), 0);
}

static void statistics_are_printed(void **state)
{
	struct program p = serve("none", "--stats");
	char out[4096];

	use(sock);
	assert_int_equal(kill(p.pid, SIGUSR1), 0);
	read_out(&p, out, sizeof(out), "descriptors");
	assert_non_null(strstr(out, "MKDIR                           1"));
	assert_int_equal(kill(p.pid, SIGTERM), 0);
	read_out(&p, out, sizeof(out), NULL);
	assert_non_null(strstr(out, "RMDIR                           1"));
	assert_int_equal(status_of(&p), 0);
}

/* Root's rights that serving files doesn't take are gone. */
static void rights_are_given_up(void **state)
{
	const uint64_t kept = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE |
			      1ull << CAP_FOWNER | 1ull << CAP_FSETID |
			      1ull << CAP_SETGID | 1ull << CAP_SETUID |
			      1ull << CAP_MKNOD | 1ull << CAP_SETFCAP;
	unsigned long long caps = 0;
	struct program p;
	char line[256];
	int found = 0;
	FILE *f;

	NEED_ROOT();
	p = serve("none", "--inode-file-handles=never");
	snprintf(line, sizeof(line), "/proc/%d/status", p.pid);
	f = fopen(line, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "CapPrm: %llx", &caps) == 1 ||
		    sscanf(line, "CapEff: %llx", &caps) == 1) {
			assert_true((caps & ~kept) == 0);
			found++;
		}
	}
	fclose(f);
	assert_int_equal(found, 2);
	assert_int_equal(end(&p), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    T(wrong_options_are_named),
	    T(capabilities_are_printed_as_json),
	    T(every_sandbox_serves_the_directory),
	    T(tag_is_told),
	    T(read_only_is_read_only),
	    T(socket_of_a_live_server_is_left_alone),
	    T(stale_socket_is_replaced),
	    T(file_at_the_sockets_path_is_left_alone),
	    T(socket_may_be_passed),
	    T(connection_may_be_passed),
	    T(statistics_are_printed),
	    T(rights_are_given_up),
	};

	return cmocka_run_group_tests_name("server/program", tests, NULL, NULL);
}
