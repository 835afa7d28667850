/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The installed program at work: where it is confined to, whom it lets in, and
 * what its clients can't do to it. */
#include "harness.h"
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOME_USER 65534u

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
	    "--shared-dir", prog_share, "--socket-path", prog_sock, "--sandbox",
	    "namespace",    NULL};
	struct program p = prog_start(args, -1);

	assert_int_equal(prog_status(&p), 1);
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
		p = prog_serve(modes[i], NULL);
		prog_use(prog_sock);
		/* Whoever comes next, too. */
		prog_use(prog_sock);
		assert_int_equal(prog_end(&p), 0);
		assert_int_equal(access(prog_sock, F_OK), -1);
	}
	unsetenv("LSAN_OPTIONS");
}

/* For the tests that need another user, who must get at the program. */
static bool user_can_run_it(void)
{
	const char *args[] = {"--version", NULL};
	struct program p;
	int r;

	prog_uid = SOME_USER;
	p = prog_start(args, -1);
	r = prog_status(&p);
	assert_int_not_equal(r, 126);
	if (r)
		print_message("the program is closed to other users\n");
	return r == 0;
}

static unsigned user_namespaces(void)
{
	FILE *f = fopen("/proc/sys/user/max_user_namespaces", "r");
	unsigned max = 0;

	if (f && fscanf(f, "%u", &max) != 1)
		max = 0;
	if (f)
		fclose(f);
	return max;
}

static ssize_t make_dir_as(struct virtiofs_client *c, uint32_t uid)
{
	struct {
		struct fuse_mkdir_in in;
		char name[6];
	} arg = {{.mode = 0700}, "other"};
	struct fuse_entry_out e;
	const struct iovec room = {.iov_base = &e, .iov_len = sizeof(e)};
	const struct virtiofs_op op = {
	    .size = sizeof(op),
	    .opcode = FUSE_MKDIR,
	    .nodeid = FUSE_ROOT_ID,
	    .flags = VIRTIOFS_OP_CREDS,
	    .uid = uid,
	    .gid = uid,
	    .arg = &arg,
	    .arg_len = sizeof(arg.in) + 6,
	    .room = &room,
	    .room_cnt = 1,
	};

	return virtiofs_client_call(c, &op);
}

/* A server without privileges owns all that it makes, and makes nothing for
 * others; whoever asks, it does what it may do itself. */
static void user_serves_his_own_files(void)
{
	struct virtiofs_client *c = prog_connect(prog_sock);
	char made[128];
	struct stat st;

	assert_int_equal(make_dir_as(c, 1), -EPERM);
	assert_true(prog_make_dir(c) > 0);
	snprintf(made, sizeof(made), "%s/made", prog_share);
	assert_int_equal(stat(made, &st), 0);
	assert_int_equal(st.st_uid, SOME_USER);
	assert_int_equal(st.st_gid, SOME_USER);
	assert_int_equal(prog_call(c, FUSE_RMDIR, "made", 5, NULL, 0), 0);
	virtiofs_client_free(c);
}

static void user_may_serve(void **state)
{
	static const char *const modes[] = {"none", "namespace"};

	NEED_ROOT();
	if (!user_can_run_it())
		skip();
	/* A leak checker needs the /proc that is out of reach then. */
	setenv("LSAN_OPTIONS", "detect_leaks=0", 1);
	for (size_t i = 0; i < 2; i++) {
		struct program p;

		/* His own user namespace, where there may be one. */
		if (i == 1 && (!root_is_a_mount() || !user_namespaces())) {
			print_message("no user namespaces here\n");
			continue;
		}
		p = prog_serve(modes[i], NULL);
		user_serves_his_own_files();
		user_serves_his_own_files();
		assert_int_equal(prog_end(&p), 0);
		assert_int_equal(access(prog_sock, F_OK), -1);
	}
	unsetenv("LSAN_OPTIONS");
}

static void user_cannot_check_permissions(void **state)
{
	const char *args[] = {
	    "--shared-dir", prog_share, "--socket-path",       prog_sock,
	    "--sandbox",    "none",	"--check-permissions", NULL};
	struct program p;

	NEED_ROOT();
	if (!user_can_run_it())
		skip();
	p = prog_start(args, -1);
	assert_int_equal(prog_status(&p), 1);
	assert_non_null(strstr(p.said, "--check-permissions: "));
	assert_int_equal(access(prog_sock, F_OK), -1);
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
	p = prog_serve("none", "--inode-file-handles=never");
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
	assert_int_equal(prog_end(&p), 0);
}

/* As a user and group, in a process of its own. 0, or an errno. */
static int connect_as(uid_t uid, gid_t gid)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		struct sockaddr_un addr = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		strcpy(addr.sun_path, prog_sock);
		if (fd < 0 || setgroups(0, NULL) < 0 || setgid(gid) < 0 ||
		    setuid(uid) < 0)
			_exit(255);
		_exit(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0
			  ? errno
			  : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Any group but root's. */
static struct group *some_group(void)
{
	struct group *g;

	setgrent();
	do
		g = getgrent();
	while (g && g->gr_gid == 0);
	assert_non_null(g);
	return g;
}

static void group_of_the_socket_may_connect(void **state)
{
	struct group *g = some_group();
	char option[80], dir[96];
	struct program p;
	struct stat st;

	NEED_ROOT();
	strcpy(dir, prog_share);
	*strrchr(dir, '/') = 0;
	assert_int_equal(chmod(dir, 0755), 0);
	p = prog_serve("none", NULL);
	assert_int_equal(connect_as(SOME_USER, g->gr_gid), EACCES);
	assert_int_equal(prog_end(&p), 0);
	snprintf(option, sizeof(option), "--socket-group=%s", g->gr_name);
	p = prog_serve("none", option);
	assert_int_equal(stat(prog_sock, &st), 0);
	assert_int_equal(st.st_gid, g->gr_gid);
	assert_int_equal(st.st_mode, S_IFSOCK | 0770);
	assert_int_equal(connect_as(SOME_USER, g->gr_gid), 0);
	assert_int_equal(connect_as(SOME_USER, g->gr_gid + 1), EACCES);
	prog_use(prog_sock);
	assert_int_equal(prog_end(&p), 0);
}

static void unknown_group_is_named(void **state)
{
	const char *args[] = {"--shared-dir",
			      prog_share,
			      "--socket-path",
			      prog_sock,
			      "--socket-group=no such group",
			      NULL};
	struct program p = prog_start(args, -1);

	assert_int_equal(prog_status(&p), 1);
	assert_non_null(strstr(p.said, "no such group: no such group"));
	assert_int_equal(access(prog_sock, F_OK), -1);
}

#define LEN (1u << 20)

/* The root directory, open. */
static uint64_t open_root(struct virtiofs_client *c)
{
	struct fuse_open_in in = {.flags = O_RDONLY};
	struct fuse_open_out out;

	assert_int_equal(
	    prog_call(c, FUSE_OPENDIR, &in, sizeof(in), &out, sizeof(out)),
	    sizeof(out));
	return out.fh;
}

/* A listing into memory of ours. False: no room for it. */
static bool submit_listing(struct virtiofs_cliq *q, uint64_t fh, void *mem)
{
	struct virtiofs_op *op = virtiofs_cliq_get_op(q);
	const struct iovec room = {.iov_base = mem, .iov_len = 4096};
	const struct fuse_read_in in = {.fh = fh, .size = 4096};

	if (!op)
		return false;
	op->opcode = FUSE_READDIR;
	op->nodeid = FUSE_ROOT_ID;
	op->flags = VIRTIOFS_OP_NO_BOUNCE;
	memcpy(op->arg, &in, sizeof(in));
	op->arg_len = sizeof(in);
	op->room = &room;
	op->room_cnt = 1;
	assert_true(virtiofs_cliq_submit(q) >= 0);
	return true;
}

/* Has it said so in a line that came since? */
static bool has_said(struct program *p, const char *text)
{
	struct pollfd fd = {.fd = p->err, .events = POLLIN};

	if (poll(&fd, 1, 0) == 0)
		return false;
	p->said[0] = 0;
	assert_true(prog_says(p, "\n"));
	return strstr(p->said, text);
}

static void truncate_under_listings(struct program *p)
{
	struct virtiofs_client *c = prog_connect(prog_sock);
	struct virtiofs_region mem = {.size = sizeof(mem), .len = LEN};
	uint64_t fh = open_root(c);
	struct virtiofs_result res;
	struct virtiofs_cliq *q;

	/* Not sealed, as the library's own would be. */
	mem.fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(mem.fd, LEN), 0);
	mem.addr = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, mem.fd,
			0);
	assert_true(mem.addr != MAP_FAILED);
	assert_int_equal(virtiofs_client_map_region(c, &mem), 0);
	assert_int_equal(
	    virtiofs_client_take_queue(c, VIRTIOFS_QUEUE_REQUEST(0), 0, &q), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_true(submit_listing(q, fh, mem.addr));
	assert_int_equal(ftruncate(mem.fd, 0), 0);
	/* It is seen when the next request is looked at. */
	while (!has_said(p, "broken")) {
		while (virtiofs_cliq_reap(q, &res, 1) == 1)
			;
		submit_listing(q, fh, mem.addr);
		sched_yield();
	}
	virtiofs_client_free(c);
	munmap(mem.addr, LEN);
	close(mem.fd);
}

/* covers: ROB-DEV-03 */
static void truncated_memory_costs_its_client_only(void **state)
{
	static const char *const more[] = {NULL, "--thread-pool-size=2"};

	for (size_t i = 0; i < 2; i++) {
		struct program p = prog_serve("none", more[i]);

		truncate_under_listings(&p);
		prog_use(prog_sock);
		truncate_under_listings(&p);
		prog_use(prog_sock);
		assert_int_equal(prog_end(&p), 0);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, prog_set_up, prog_tear_down)
	const struct CMUnitTest tests[] = {
	    T(every_sandbox_serves_the_directory),
	    T(user_may_serve),
	    T(user_cannot_check_permissions),
	    T(rights_are_given_up),
	    T(group_of_the_socket_may_connect),
	    T(unknown_group_is_named),
	    T(truncated_memory_costs_its_client_only),
	};

	return cmocka_run_group_tests_name("server/running", tests, NULL, NULL);
}
