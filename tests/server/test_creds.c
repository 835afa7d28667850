/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whom the thread is for writes, groups and locks. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT  FUSE_ROOT_ID
#define USER  4711u
#define GROUP 4712u

/* A server with a file of root's and a directory open to all. */
struct world {
	struct srv *s;
	uint64_t file, dir;
};

static struct world build(bool check)
{
	struct srv_opts o = srv_defaults();
	struct world w;

	o.fs.check_permissions = check;
	w.s = srv_new(&o);
	host_write(w.s, "file", "text");
	w.file = srv_node(w.s, ROOT, "file");
	assert_int_equal(mkdir(srv_path(w.s, "dir"), 0777), 0);
	assert_int_equal(chmod(srv_path(w.s, "dir"), 0777), 0);
	w.dir = srv_node(w.s, ROOT, "dir");
	return w;
}

/* Locks need a descriptor of the server's own, which takes no permission but
 * that of the open file. */
static void checked_owner_may_lock_what_he_opened(void **state)
{
	struct fuse_lk_in in = {.owner = 1, .lk = {.end = 9, .type = F_WRLCK}};
	struct fuse_entry_out e;
	struct call c = {
	    .opcode = FUSE_SETLK,
	    .uid = USER,
	    .gid = GROUP,
	    .arg = &in,
	    .arg_len = sizeof(in),
	};
	struct world w;

	NEED_ROOT();
	w = build(true);
	srv_as(USER, GROUP);
	/* A mode for later opens. */
	assert_int_equal(srv_create(w.s, w.dir, "f", O_RDWR, 0, &e, &in.fh), 0);
	c.nodeid = e.nodeid;
	assert_int_equal(srv_call(w.s, &c), 0);
	c = (struct call){
	    .opcode = FUSE_SYNCFS,
	    .nodeid = ROOT,
	    .uid = USER,
	    .gid = GROUP,
	    .arg = &(uint64_t){0},
	    .arg_len = sizeof(uint64_t),
	};
	assert_int_equal(srv_call(w.s, &c), 0);
	srv_as(0, 0);
	srv_free(w.s);
}

/* What is written counts as its opener's, whoever's pages it is. */
static void writes_run_as_the_opener(void **state)
{
	struct fuse_write_in wr = {.size = 3};
	struct fuse_entry_out e;
	struct world w;

	NEED_ROOT();
	w = build(false);
	srv_as(USER, GROUP);
	assert_int_equal(srv_create(w.s, w.dir, "f", O_RDWR, 0600, &e, &wr.fh),
			 0);
	srv_as(0, 0);
	srv_node(w.s, ROOT, "file");
	assert_int_equal(srv_write(w.s, e.nodeid, &wr, "abc"), 3);
	assert_true(srv_thread_is(USER, GROUP, CAP_DAC_OVERRIDE, true));
	srv_free(w.s);
}

/* The set-group-id bit of one's own file, of a group that only the client
 * knows one to be in. */
static void set_group_id_is_the_clients_to_judge(void **state)
{
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = 02755};
	struct fuse_attr attr;

	NEED_ROOT();
	for (int check = 0; check < 2; check++) {
		struct world w = build(check);

		assert_int_equal(chown(srv_path(w.s, "file"), USER, 99), 0);
		srv_as(USER, GROUP);
		assert_int_equal(srv_setattr(w.s, w.file, &in, &attr), 0);
		assert_int_equal(attr.mode, S_IFREG | (check ? 0755 : 02755));
		srv_as(0, 0);
		srv_free(w.s);
	}
}

static ssize_t mkdir_with_group(struct srv *s, uint64_t dir, const char *name,
				uint32_t group)
{
	struct {
		struct fuse_ext_header h;
		uint32_t nr_groups, group;
	} ext = {{sizeof(ext), FUSE_EXT_GROUPS}, 1, group};
	struct fuse_entry_out e;
	struct {
		struct fuse_mkdir_in in;
		char name[8];
	} arg = {.in = {.mode = 0755}};
	struct call c = {
	    .opcode = FUSE_MKDIR,
	    .nodeid = dir,
	    .uid = USER,
	    .gid = GROUP,
	    .arg = &arg,
	    .arg_len = sizeof(arg.in) + strlen(name) + 1,
	    .data = &ext,
	    .data_len = sizeof(ext),
	    .extlen = sizeof(ext) / 8,
	    .room = &e,
	    .room_len = sizeof(e),
	};

	strcpy(arg.name, name);
	return srv_call(s, &c);
}

/* covers: FUSE-BTH-06 */
static void supplementary_group_counts(void **state)
{
	struct fuse_entry_out e;
	struct stat st;
	struct world w;

	NEED_ROOT();
	w = build(true);
	assert_int_equal(chown(srv_path(w.s, "dir"), 0, 99), 0);
	assert_int_equal(chmod(srv_path(w.s, "dir"), 0775), 0);
	assert_int_equal(mkdir_with_group(w.s, w.dir, "a", 100), -EACCES);
	assert_true(mkdir_with_group(w.s, w.dir, "b", 99) > 0);
	/* The groups were that request's only. */
	srv_as(USER, GROUP);
	assert_int_equal(srv_mkdir(w.s, w.dir, "c", 0755, &e), -EACCES);
	assert_int_equal(mkdir_with_group(w.s, w.dir, "d", 100), -EACCES);
	srv_as(0, 0);
	assert_int_equal(stat(srv_path(w.s, "dir/b"), &st), 0);
	assert_int_equal(st.st_uid, USER);
	assert_int_equal(st.st_gid, GROUP);
	srv_free(w.s);
}

/* After ALLOW_IDMAP Linux would say so for all that makes nothing. */
static void nobody_is_not_root(void **state)
{
	struct fuse_entry_out e;
	struct world w;

	NEED_ROOT();
	w = build(false);
	assert_int_equal(
	    virtiofs_client_init_flags(srv_client(w.s)) & FUSE_ALLOW_IDMAP, 0);
	srv_as(UINT32_MAX, UINT32_MAX);
	assert_int_equal(srv_mkdir(w.s, w.dir, "a", 0755, &e), -EPERM);
	assert_int_equal(srv_lookup(w.s, ROOT, "file", &e), 0);
	srv_as(0, 0);
	srv_free(w.s);
	w = build(true);
	srv_as(UINT32_MAX, UINT32_MAX);
	assert_int_equal(srv_lookup(w.s, ROOT, "file", &e), -EPERM);
	srv_as(0, 0);
	srv_free(w.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(checked_owner_may_lock_what_he_opened),
	    cmocka_unit_test(writes_run_as_the_opener),
	    cmocka_unit_test(set_group_id_is_the_clients_to_judge),
	    cmocka_unit_test(supplementary_group_counts),
	    cmocka_unit_test(nobody_is_not_root),
	};

	return cmocka_run_group_tests_name("server/creds", tests, NULL, NULL);
}
