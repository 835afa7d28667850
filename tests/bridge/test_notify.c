/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A server that notifies, and this host's kernel, which obeys: device, client
 * and bridge in this process, a real mount between the bridge and the test. For
 * root, where there is /dev/fuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <virtiofs/virtiofs.h>

#define FILE_NODE 2u
#define DIR_NODE  3u
#define LEN	  12u
#define FOR_EVER  1000000u

/* One file, "f", and folders that MKDIR makes and nobody finds again. What the
 * device's thread writes and the test reads is atomic. */
struct fs {
	char dir[64];
	struct virtiofs_device *dev;
	struct virtiofs_client *c;
	struct virtiofs_bridge *b;
	pthread_t device, queue, hearer;
	const char *text;	   /* atomic */
	uint32_t gone;		   /* atomic: "f" is */
	uint32_t hold;		   /* atomic: MKDIR waits */
	struct virtiofs_req *held; /* atomic */
	uint32_t lookups, reads;   /* atomic */
	uint32_t replies;	   /* atomic: NOTIFY_REPLYs */
	uint64_t reply_unique;
	char reply_text[LEN + 1];
	int queue_r, hearer_r;
};

static void count(uint32_t *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_RELEASE);
}

static uint32_t load(const uint32_t *n)
{
	return __atomic_load_n(n, __ATOMIC_ACQUIRE);
}

/* ---- the device ---- */

static struct fuse_attr attr_of(uint64_t node)
{
	struct fuse_attr a = {.ino = node, .nlink = 1};

	a.mode = node == FILE_NODE ? S_IFREG | 0644 : S_IFDIR | 0755;
	a.size = node == FILE_NODE ? LEN : 0;
	return a;
}

static struct fuse_entry_out entry_of(uint64_t node)
{
	return (struct fuse_entry_out){.nodeid = node,
				       .entry_valid = FOR_EVER,
				       .attr_valid = FOR_EVER,
				       .attr = attr_of(node)};
}

static int do_mkdir(struct fs *fs, struct virtiofs_req *req)
{
	struct fuse_entry_out out = entry_of(DIR_NODE);

	/* The kernel holds the folder's lock until this is answered, and takes
	 * it for that. */
	assert_int_equal(virtiofs_notify_inval_entry(fs->dev, 1, "x", 0), 0);
	if (!load(&fs->hold))
		return virtiofs_req_reply(req, &out, sizeof(out));
	__atomic_store_n(&fs->held, req, __ATOMIC_RELEASE);
	return 0;
}

static void take_reply(struct fs *fs, struct virtiofs_req *req)
{
	size_t at = 0;

	fs->reply_unique = req->in->unique;
	for (unsigned i = 0; i < req->data_cnt && at < LEN; i++) {
		size_t n = req->data[i].iov_len;

		n = n < LEN - at ? n : LEN - at;
		memcpy(fs->reply_text + at, req->data[i].iov_base, n);
		at += n;
	}
	virtiofs_req_done(req);
	count(&fs->replies);
}

static int on_request(struct virtiofs_req *req)
{
	struct fuse_attr_out attr = {.attr_valid = FOR_EVER,
				     .attr = attr_of(req->in->nodeid)};
	struct fuse_open_out open = {.open_flags = FOPEN_KEEP_CACHE};
	struct fuse_entry_out entry = entry_of(FILE_NODE);
	const struct fuse_read_in *read = req->arg;
	struct fs *fs = req->userdata;
	const char *text;

	switch (req->in->opcode) {
	case FUSE_LOOKUP:
		count(&fs->lookups);
		if (strcmp(req->arg, "f") || load(&fs->gone))
			return virtiofs_req_error(req, -ENOENT);
		return virtiofs_req_reply(req, &entry, sizeof(entry));
	case FUSE_GETATTR:
		return virtiofs_req_reply(req, &attr, sizeof(attr));
	case FUSE_OPEN:
		return virtiofs_req_reply(req, &open, sizeof(open));
	case FUSE_READ:
		count(&fs->reads);
		text = __atomic_load_n(&fs->text, __ATOMIC_ACQUIRE);
		return virtiofs_req_reply_slice(req, text, LEN, read->offset);
	case FUSE_MKDIR:
		return do_mkdir(fs, req);
	case FUSE_NOTIFY_REPLY:
		take_reply(fs, req);
		return 0;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		return virtiofs_req_error(req, 0);
	default:
		return virtiofs_req_error(req, -ENOSYS);
	}
}

static void on_forget(uint64_t nodeid, uint64_t nlookup, void *userdata)
{
}

/* ---- life ---- */

static void *run_device(void *arg)
{
	assert_int_equal(virtiofs_device_run(((struct fs *)arg)->dev), 0);
	return NULL;
}

static void *run_queue(void *arg)
{
	struct fs *fs = arg;

	fs->queue_r = virtiofs_bridge_run(fs->b, 1);
	return NULL;
}

static void *run_hearer(void *arg)
{
	struct fs *fs = arg;

	fs->hearer_r = virtiofs_bridge_run(fs->b, 0);
	return NULL;
}

static void start_device(struct fs *fs, struct virtiofs_transport *t)
{
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops), .request = on_request, .forget = on_forget};
	const struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = "notes",
	    .flags = VIRTIOFS_DEVICE_SHARED_REPLY,
	    .notify_buf_size = 4096,
	};

	assert_int_equal(virtiofs_device_new(&fs->dev, t, &ops, &opts, fs), 0);
	assert_int_equal(pthread_create(&fs->device, NULL, run_device, fs), 0);
}

static int set_up(void **state)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	struct virtiofs_client_opts opts = {
	    .size = sizeof(opts),
	    .flags = VIRTIOFS_CLIENT_RAW_INIT,
	    .notify = virtiofs_bridge_notify,
	    .notify_data = &fs->b,
	};
	struct virtiofs_transport *d, *c;
	int fd;

	*state = fs;
	fs->text = "old contents";
	strcpy(fs->dir, "/var/tmp/vfs-notify-XXXXXX");
	assert_non_null(mkdtemp(fs->dir));
	assert_int_equal(virtiofs_inproc_pair(&d, &c), 0);
	start_device(fs, d);
	assert_int_equal(virtiofs_client_new(&fs->c, c, &opts), 0);
	fd = virtiofs_bridge_mount(fs->dir, "fsname=notes");
	assert_true(fd >= 0);
	if (virtiofs_bridge_new(&fs->b, fs->c, fd, NULL) < 0)
		fail_msg("bridge: %s", virtiofs_last_error());
	assert_int_equal(pthread_create(&fs->queue, NULL, run_queue, fs), 0);
	assert_int_equal(pthread_create(&fs->hearer, NULL, run_hearer, fs), 0);
	return 0;
}

static void end_mount(struct fs *fs)
{
	if (!fs->b)
		return;
	umount2(fs->dir, MNT_DETACH);
	virtiofs_bridge_stop(fs->b);
	pthread_join(fs->queue, NULL);
	pthread_join(fs->hearer, NULL);
	virtiofs_bridge_free(fs->b);
	fs->b = NULL;
}

static int tear_down(void **state)
{
	struct fs *fs = *state;

	end_mount(fs);
	virtiofs_client_free(fs->c);
	virtiofs_device_stop(fs->dev);
	pthread_join(fs->device, NULL);
	virtiofs_device_free(fs->dev);
	rmdir(fs->dir);
	free(fs);
	return 0;
}

/* ---- tests ---- */

static const char *path(const struct fs *fs, const char *name)
{
	static char buf[128];

	snprintf(buf, sizeof(buf), "%s/%s", fs->dir, name);
	return buf;
}

static void read_file(const struct fs *fs, char *to)
{
	int fd = open(path(fs, "f"), O_RDONLY | O_CLOEXEC);

	memset(to, 0, LEN + 1);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, to, LEN, 0), LEN);
	close(fd);
}

/* The kernel hears of it a little later. */
static bool in_time(void)
{
	static time_t end;

	if (!end)
		end = time(NULL) + 60;
	sched_yield();
	return time(NULL) < end;
}

static void reads_soon(const struct fs *fs, const char *want)
{
	char got[LEN + 1];

	do
		read_file(fs, got);
	while (strcmp(got, want) && in_time());
	assert_string_equal(got, want);
}

static void inval_inode_drops_cached_bytes(void **state)
{
	struct fs *fs = *state;
	char got[LEN + 1];

	read_file(fs, got);
	assert_string_equal(got, "old contents");
	/* Behind the kernel's back. */
	__atomic_store_n(&fs->text, "new contents", __ATOMIC_RELEASE);
	read_file(fs, got);
	assert_string_equal(got, "old contents");
	assert_int_equal(virtiofs_notify_inval_inode(fs->dev, FILE_NODE, 0, 0),
			 0);
	reads_soon(fs, "new contents");
}

static void inval_entry_drops_a_name(void **state)
{
	struct fs *fs = *state;
	struct stat st;
	uint32_t n;

	assert_int_equal(stat(path(fs, "f"), &st), 0);
	n = load(&fs->lookups);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(stat(path(fs, "f"), &st), 0);
	assert_int_equal(load(&fs->lookups), n);
	assert_int_equal(virtiofs_notify_inval_entry(fs->dev, 1, "f", 0), 0);
	while (load(&fs->lookups) == n && in_time())
		assert_int_equal(stat(path(fs, "f"), &st), 0);
	assert_int_equal(load(&fs->lookups), n + 1);
}

static void delete_removes_a_name(void **state)
{
	struct fs *fs = *state;
	struct stat st;

	assert_int_equal(stat(path(fs, "f"), &st), 0);
	count(&fs->gone);
	assert_int_equal(stat(path(fs, "f"), &st), 0);
	assert_int_equal(virtiofs_notify_delete(fs->dev, 1, FILE_NODE, "f"), 0);
	while (stat(path(fs, "f"), &st) == 0 && in_time())
		;
	assert_int_equal(stat(path(fs, "f"), &st), -1);
	assert_int_equal(errno, ENOENT);
}

static void store_fills_the_cache(void **state)
{
	struct fs *fs = *state;
	char got[LEN + 1];
	uint32_t n;

	read_file(fs, got);
	n = load(&fs->reads);
	assert_int_equal(
	    virtiofs_notify_store(fs->dev, FILE_NODE, 4, "was here", 8), 0);
	reads_soon(fs, "old was here");
	assert_int_equal(load(&fs->reads), n);
}

static void retrieve_asks_the_cache(void **state)
{
	struct fs *fs = *state;
	char got[LEN + 1];

	read_file(fs, got);
	/* A number that the kernel's own may have too. */
	assert_int_equal(
	    virtiofs_notify_retrieve(fs->dev, 8, FILE_NODE, 0, LEN), 0);
	while (!load(&fs->replies) && in_time())
		;
	assert_int_equal(load(&fs->replies), 1);
	assert_int_equal(fs->reply_unique, 8);
	assert_string_equal(fs->reply_text, "old contents");
	read_file(fs, got);
	assert_string_equal(got, "old contents");
}

/* A thread that serves requests would wait for itself. */
static void a_lock_that_a_request_holds_is_waited_for(void **state)
{
	struct fs *fs = *state;

	for (unsigned i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof(name), "d%u", i);
		assert_int_equal(mkdir(path(fs, name), 0755), 0);
	}
}

static void *make_dir(void *arg)
{
	struct fs *fs = arg;
	char name[128];

	snprintf(name, sizeof(name), "%s/held", fs->dir);
	mkdir(name, 0755);
	return NULL;
}

/* The hearer waits in the kernel for a MKDIR that its queue has to answer. */
static void stop_waits_for_the_hearer_and_serves_on(void **state)
{
	struct virtiofs_queue_stats st = {.size = sizeof(st)};
	struct fuse_entry_out out = entry_of(DIR_NODE);
	struct virtiofs_req *req;
	struct fs *fs = *state;
	pthread_t maker;

	count(&fs->hold);
	assert_int_equal(pthread_create(&maker, NULL, make_dir, fs), 0);
	while (!(req = __atomic_load_n(&fs->held, __ATOMIC_ACQUIRE)) &&
	       in_time())
		;
	assert_non_null(req);
	do
		virtiofs_client_stats(fs->c, VIRTIOFS_QUEUE_NOTIFY, &st);
	while (!st.notifications && in_time());
	assert_int_equal(st.notifications, 1);
	virtiofs_bridge_stop(fs->b);
	virtiofs_req_reply(req, &out, sizeof(out));
	pthread_join(fs->hearer, NULL);
	pthread_join(fs->queue, NULL);
	pthread_join(maker, NULL);
	assert_int_equal(fs->hearer_r, -ESHUTDOWN);
	assert_int_equal(fs->queue_r, -ESHUTDOWN);
	umount2(fs->dir, MNT_DETACH);
	virtiofs_bridge_free(fs->b);
	fs->b = NULL;
}

static void unmounting_ends_all(void **state)
{
	struct fs *fs = *state;

	assert_int_equal(virtiofs_bridge_umount(fs->dir, 0), 0);
	pthread_join(fs->queue, NULL);
	pthread_join(fs->hearer, NULL);
	assert_int_equal(fs->queue_r, 0);
	assert_int_equal(fs->hearer_r, 0);
	virtiofs_bridge_free(fs->b);
	fs->b = NULL;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    TEST(inval_inode_drops_cached_bytes),
	    TEST(inval_entry_drops_a_name),
	    TEST(delete_removes_a_name),
	    TEST(store_fills_the_cache),
	    TEST(retrieve_asks_the_cache),
	    TEST(a_lock_that_a_request_holds_is_waited_for),
	    TEST(stop_waits_for_the_hearer_and_serves_on),
	    TEST(unmounting_ends_all),
	};
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (geteuid() || fd < 0) {
		printf("skip: only root may mount /dev/fuse\n");
		return 77;
	}
	close(fd);
	return cmocka_run_group_tests_name("bridge notify", tests, NULL, NULL);
}
