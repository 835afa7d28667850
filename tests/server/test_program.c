/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The installed program, from its command line to its end. */
#include "harness.h"
#include "program.h"

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
	    {{"--shared-dir", "/"}, "or --fd is missing"},
	    {{"--shared-dir", "/", "--fd", "1", "--socket-path=x"}, "exclude"},
	    {{"--shared-dir", "/", "--fd", "1", "--fd", "1"}, "given twice"},
	    {{"--shared-dir", "/", "--fd", "1", "--listen=vhost-user:x"},
	     "exclude"},
	    {{"--shared-dir", "/", "--listen", "/x"}, "--listen: "},
	    {{"--shared-dir", "/", "--listen", "vhost-user:"}, "1 to "},
	    {{"--shared-dir", "/", "--fd=1", "--tag=a", "--tag=b"},
	     "--tag: 2 of them for 1 sockets"},
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
		struct program p = prog_start(wrong[i].args, -1);

		assert_int_equal(prog_status(&p), 1);
		/* One line. */
		if (!strstr(p.said, wrong[i].text) ||
		    strchr(p.said, '\n') != p.said + strlen(p.said) - 1)
			fail_msg("not \"%s\": %s", wrong[i].text, p.said);
	}
}

static void capabilities_are_printed_as_json(void **state)
{
	const char *args[] = {"--print-capabilities", NULL};
	struct program p = prog_start(args, -1);
	char out[512];

	prog_read_out(&p, out, sizeof(out), NULL);
	assert_int_equal(prog_status(&p), 0);
	assert_string_equal(out, "{\n"
				 "  \"type\": \"fs\",\n"
				 "  \"features\": [\n"
				 "    \"separate-options\"\n"
				 "  ]\n"
				 "}\n");
}

static void tag_is_told(void **state)
{
	struct program p = prog_serve(
	    "none", "--tag=a tag of thirty-six bytes, no NUL ..");
	struct virtiofs_client *c = prog_connect(prog_sock);

	assert_string_equal(virtiofs_client_tag(c),
			    "a tag of thirty-six bytes, no NUL ..");
	virtiofs_client_free(c);
	assert_int_equal(prog_end(&p), 0);
}

static void read_only_is_read_only(void **state)
{
	struct program p = prog_serve("none", "--readonly");
	struct virtiofs_client *c = prog_connect(prog_sock);

	assert_int_equal(prog_make_dir(c), -EROFS);
	virtiofs_client_free(c);
	assert_int_equal(prog_end(&p), 0);
}

static void check_offer(const char *more, uint64_t bits)
{
	const uint64_t all = VIRTIOFS_F_RING_PACKED | VIRTIOFS_F_IN_ORDER |
			     VIRTIOFS_F_RING_RESET;
	struct virtiofs_client_info info = {.size = sizeof(info)};
	struct program p = prog_serve("none", more);
	struct virtiofs_client *c = prog_connect(prog_sock);

	assert_int_equal(virtiofs_client_get_info(c, &info), 0);
	assert_int_equal(info.device_features & all, bits);
	virtiofs_client_free(c);
	assert_int_equal(prog_end(&p), 0);
}

static void features_are_offered_if_asked_for(void **state)
{
	check_offer(NULL, 0);
	check_offer("--packed", VIRTIOFS_F_RING_PACKED);
	check_offer("--in-order", VIRTIOFS_F_IN_ORDER);
	check_offer("--ring-reset", VIRTIOFS_F_RING_RESET);
}

static void socket_of_a_live_server_is_left_alone(void **state)
{
	const char *args[] = {
	    "--shared-dir", prog_share, "--socket-path", prog_sock, "--sandbox",
	    "none",	    NULL};
	struct program first = prog_serve("none", NULL), second;

	second = prog_start(args, -1);
	assert_int_equal(prog_status(&second), 1);
	assert_non_null(strstr(second.said, "is in use by another server"));
	prog_use(prog_sock);
	assert_int_equal(prog_end(&first), 0);
}

static void stale_socket_is_replaced(void **state)
{
	struct program p = prog_serve("none", NULL);

	assert_int_equal(kill(p.pid, SIGKILL), 0);
	assert_int_equal(prog_status(&p), -SIGKILL);
	assert_int_equal(access(prog_sock, F_OK), 0);
	p = prog_serve("none", NULL);
	prog_use(prog_sock);
	assert_int_equal(prog_end(&p), 0);
}

static void file_at_the_sockets_path_is_left_alone(void **state)
{
	const char *args[] = {
	    "--shared-dir", prog_share, "--socket-path", prog_sock, "--sandbox",
	    "none",	    NULL};
	struct program p;
	struct stat st;
	int fd = open(prog_sock, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
	p = prog_start(args, -1);
	assert_int_equal(prog_status(&p), 1);
	assert_non_null(strstr(p.said, "exists and is not a socket"));
	assert_int_equal(lstat(prog_sock, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(unlink(prog_sock), 0);
}

static void socket_may_be_passed(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char number[16];
	const char *args[] = {"--shared-dir", prog_share, "--fd", number,
			      "--sandbox",    "none",	  NULL};
	struct program p;

	strcpy(addr.sun_path, prog_sock);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	snprintf(number, sizeof(number), "%d", fd);
	p = prog_start(args, fd);
	close(fd);
	assert_true(prog_says(&p, "serving "));
	prog_use(prog_sock);
	assert_int_equal(prog_end(&p), 0);
	/* Its name is whoever's made it. */
	assert_int_equal(unlink(prog_sock), 0);
}

static void connection_may_be_passed(void **state)
{
	char number[16];
	const char *args[] = {"--shared-dir", prog_share, "--fd", number,
			      "--sandbox",    "none",	  NULL};
	struct virtiofs_transport *t;
	struct virtiofs_client *c;
	struct program p;
	int fds[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	snprintf(number, sizeof(number), "%d", fds[1]);
	p = prog_start(args, fds[1]);
	close(fds[1]);
	assert_true(prog_says(&p, "serving "));
	assert_int_equal(virtiofs_vhost_user_client_fd(&t, fds[0]), 0);
	assert_int_equal(virtiofs_connect(&c, t), 0);
	assert_int_equal(prog_make_dir(c), sizeof(struct fuse_entry_out));
	assert_int_equal(prog_call(c, FUSE_RMDIR, "made", 5, NULL, 0), 0);
	virtiofs_client_free(c);
	/* There is nobody to wait for. */
	assert_int_equal(prog_status(&p), 0);
}

static void statistics_are_printed(void **state)
{
	struct program p = prog_serve("none", "--stats");
	char out[4096];

	prog_use(prog_sock);
	assert_int_equal(kill(p.pid, SIGUSR1), 0);
	prog_read_out(&p, out, sizeof(out), "descriptors");
	assert_non_null(strstr(out, "MKDIR                           1  "
				    "failed 0  us p50 "));
	assert_non_null(strstr(out, "queue 0 "));
	assert_non_null(strstr(out, "queue 1 "));
	assert_null(strstr(out, "queue 2 "));
	assert_null(strstr(out, "faults"));
	assert_int_equal(kill(p.pid, SIGTERM), 0);
	prog_read_out(&p, out, sizeof(out), NULL);
	assert_non_null(strstr(out, "RMDIR                           1"));
	assert_int_equal(prog_status(&p), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, prog_set_up, prog_tear_down)
	const struct CMUnitTest tests[] = {
	    T(wrong_options_are_named),
	    T(capabilities_are_printed_as_json),
	    T(tag_is_told),
	    T(features_are_offered_if_asked_for),
	    T(read_only_is_read_only),
	    T(socket_of_a_live_server_is_left_alone),
	    T(stale_socket_is_replaced),
	    T(file_at_the_sockets_path_is_left_alone),
	    T(socket_may_be_passed),
	    T(connection_may_be_passed),
	    T(statistics_are_printed),
	};

	return cmocka_run_group_tests_name("server/program", tests, NULL, NULL);
}
