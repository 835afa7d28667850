/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notifications from a device to a client, over every transport and ring, and
 * the numbers of the queues with and without them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <virtiofs/notify.h>

#include "combo.h"
#include "session/client.h"
#include "vq/impl.h"

#define QUEUES 2u
#define BURST  1000u

/* A device that answers STATFS, and keeps it while hold is set. */
struct ends {
	struct virtiofs_device *dev;
	struct virtiofs_client *c;
	pthread_t thread;
	uint32_t hold;		   /* atomic */
	struct virtiofs_req *held; /* atomic */
	/* of NOTIFY_REPLY; the device's thread, before done is set */
	struct fuse_notify_retrieve_in reply;
	uint64_t reply_unique, reply_node;
	char reply_data[16];
	uint32_t done; /* atomic */
	/* what the client was told */
	void (*on_note)(struct ends *e, const struct virtiofs_notification *n);
	char text[512];
	uint64_t next;
	unsigned cnt;
};

static void take_reply(struct ends *e, struct virtiofs_req *req)
{
	size_t at = 0;

	memcpy(&e->reply, req->arg, sizeof(e->reply));
	e->reply_unique = req->in->unique;
	e->reply_node = req->in->nodeid;
	for (unsigned i = 0; i < req->data_cnt; i++) {
		memcpy(e->reply_data + at, req->data[i].iov_base,
		       req->data[i].iov_len);
		at += req->data[i].iov_len;
	}
	virtiofs_req_done(req);
	__atomic_store_n(&e->done, 1, __ATOMIC_RELEASE);
}

static int on_request(struct virtiofs_req *req)
{
	struct fuse_statfs_out out = {.st.bsize = 4096};
	struct ends *e = req->userdata;

	if (req->in->opcode == FUSE_NOTIFY_REPLY) {
		take_reply(e, req);
		return 0;
	}
	if (req->in->opcode != FUSE_STATFS)
		return virtiofs_req_error(req, -ENOSYS);
	if (!__atomic_load_n(&e->hold, __ATOMIC_ACQUIRE))
		return virtiofs_req_reply(req, &out, sizeof(out));
	__atomic_store_n(&e->held, req, __ATOMIC_RELEASE);
	return virtiofs_notify_poll(e->dev, 1);
}

static void on_note(const struct virtiofs_notification *n, void *data)
{
	struct ends *e = data;

	e->cnt++;
	if (e->on_note)
		e->on_note(e, n);
}

static void *serve(void *arg)
{
	struct ends *e = arg;

	/* A device of one connection ends with that. */
	virtiofs_device_run(e->dev);
	return NULL;
}

static void start_client(struct ends *e)
{
	if (virtiofs_client_start(e->c, NULL) < 0)
		fail_msg("start: %s", virtiofs_last_error());
}

/* size: notify_buf_size, 0: not offered. */
static void start(struct ends *e, const struct combo *co, uint32_t size,
		  bool taken)
{
	const struct virtiofs_device_ops ops = {.size = sizeof(ops),
						.request = on_request};
	const struct virtiofs_device_opts dopts = {
	    .size = sizeof(dopts),
	    .tag = "notes",
	    .num_request_queues = QUEUES,
	    .flags = VIRTIOFS_DEVICE_SHARED_REPLY,
	    .features = VIRTIOFS_FEATURES_DEFAULT |
			(co->features & VIRTIOFS_F_RING_PACKED),
	    .notify_buf_size = size,
	};
	const struct virtiofs_client_opts copts = {
	    .size = sizeof(copts),
	    .num_request_queues = QUEUES,
	    .queue_size = co->num,
	    .features = VIRTIOFS_F_VERSION_1 | co->features,
	    .notify = taken ? on_note : NULL,
	    .notify_data = e,
	    /* Never a full ring: see spoil(). */
	    .notify_buffers = co->num < 32 ? co->num / 2 : 0,
	};
	struct virtiofs_transport *d, *c;

	memset(e, 0, sizeof(*e));
	make_pair(&d, &c);
	assert_int_equal(virtiofs_device_new(&e->dev, d, &ops, &dopts, e), 0);
	assert_int_equal(pthread_create(&e->thread, NULL, serve, e), 0);
	join_ends();
	assert_int_equal(virtiofs_client_new(&e->c, c, &copts), 0);
	start_client(e);
}

static void end(struct ends *e)
{
	virtiofs_client_free(e->c);
	virtiofs_device_stop(e->dev);
	pthread_join(e->thread, NULL);
	virtiofs_device_free(e->dev);
}

/* Until so many were told. */
static void hear(struct ends *e, unsigned cnt)
{
	struct pollfd p = {.fd = virtiofs_client_fd(e->c), .events = POLLIN};

	while (e->cnt < cnt) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		virtiofs_client_dispatch(e->c);
	}
	assert_int_equal(e->cnt, cnt);
}

/* Both request queues, and the numbers of their rings. */
static void serves_from(struct ends *e, unsigned first)
{
	struct virtiofs_client_info info = {.size = sizeof(info)};
	struct virtiofs_queue_stats st = {.size = sizeof(st)};
	struct fuse_statfs_out out;
	struct virtiofs_cliq *q;

	assert_int_equal(virtiofs_client_get_info(e->c, &info), 0);
	assert_int_equal(info.device_request_queues, QUEUES);
	assert_int_equal(info.request_queues, QUEUES);
	assert_int_equal(e->c->setup[1].vq, first);
	assert_int_equal(e->c->setup[2].vq, first + 1);
	/* All that is not taken is the second. */
	assert_int_equal(virtiofs_client_take_queue(e->c, 1, 0, &q), 0);
	assert_int_equal(virtiofs_call_statfs(e->c, 1, &out), 0);
	assert_int_equal(virtiofs_cliq_release(q), 0);
	assert_int_equal(virtiofs_client_take_queue(e->c, 2, 0, &q), 0);
	assert_int_equal(virtiofs_call_statfs(e->c, 1, &out), 0);
	assert_int_equal(virtiofs_cliq_release(q), 0);
	/* The numbers that a program sees are the same. */
	for (unsigned i = 1; i <= QUEUES; i++) {
		assert_int_equal(virtiofs_device_stats(e->dev, i, &st), 0);
		assert_true(st.requests > 0);
	}
}

/* ---- the queues ---- */

/* covers: FS-BTH-02 */
static void taken_queues_begin_at_2(const struct combo *co)
{
	struct ends e;

	start(&e, co, 256, true);
	serves_from(&e, 2);
	assert_int_equal(e.c->setup[QUEUES + 1].vq, 1);
	assert_int_equal(virtiofs_notify_poll(e.dev, 1), 0);
	hear(&e, 1);
	end(&e);
}
CASE(taken_queues_begin_at_2)

/* covers: FS-BTH-02, FS-DEV-01 */
static void refused_queues_begin_at_1(const struct combo *co)
{
	struct ends e;

	start(&e, co, 256, false);
	serves_from(&e, 1);
	assert_int_equal(virtiofs_notify_poll(e.dev, 1), -EOPNOTSUPP);
	end(&e);
}
CASE(refused_queues_begin_at_1)

/* covers: FS-BTH-02 */
static void not_offered_queues_begin_at_1(const struct combo *co)
{
	struct ends e;

	start(&e, co, 0, true);
	serves_from(&e, 1);
	assert_int_equal(virtiofs_notify_poll(e.dev, 1), -EOPNOTSUPP);
	end(&e);
}
CASE(not_offered_queues_begin_at_1)

/* ---- what is told ---- */

static void write_down(struct ends *e, const struct virtiofs_notification *n)
{
	const struct fuse_notify_inval_entry_out *entry = n->arg;
	const struct fuse_notify_inval_inode_out *inode = n->arg;
	const struct fuse_notify_delete_out *gone = n->arg;
	const struct fuse_notify_store_out *store = n->arg;
	const uint64_t *nodes = n->data;
	size_t at = strlen(e->text);
	char *to = e->text + at;
	size_t left = sizeof(e->text) - at;

	if (n->code == FUSE_NOTIFY_INVAL_INODE)
		snprintf(to, left, "inode %d %d %d;", (int)inode->ino,
			 (int)inode->off, (int)inode->len);
	else if (n->code == FUSE_NOTIFY_INVAL_ENTRY)
		snprintf(to, left, "entry %d %s %u;", (int)entry->parent,
			 (const char *)(entry + 1), entry->flags);
	else if (n->code == FUSE_NOTIFY_DELETE)
		snprintf(to, left, "gone %d %d %s;", (int)gone->parent,
			 (int)gone->child, (const char *)(gone + 1));
	else if (n->code == FUSE_NOTIFY_STORE)
		snprintf(to, left, "store %d %d %.*s;", (int)store->nodeid,
			 (int)store->offset, (int)n->data_len,
			 (const char *)n->data);
	else if (n->code == FUSE_NOTIFY_PRUNE)
		snprintf(to, left, "prune %d %d %u;", (int)nodes[0],
			 (int)nodes[1], n->data_len);
	else
		snprintf(to, left, "%u %u %u;", n->code, n->arg_len,
			 n->data_len);
}

static void all_that_is_said_is_told(const struct combo *co)
{
	const uint64_t nodes[2] = {5, 6};
	struct iovec v = {(void *)"abc", 3};
	struct ends e;

	start(&e, co, 256, true);
	e.on_note = write_down;
	assert_int_equal(virtiofs_notify_poll(e.dev, 3), 0);
	assert_int_equal(virtiofs_notify_inval_inode(e.dev, 7, -1, 3), 0);
	assert_int_equal(virtiofs_notify_inval_entry(e.dev, 7, "a name", 1), 0);
	assert_int_equal(virtiofs_notify_delete(e.dev, 7, 8, "b"), 0);
	assert_int_equal(virtiofs_notify_store(e.dev, 7, 4096, "bytes", 5), 0);
	assert_int_equal(virtiofs_notify_retrieve(e.dev, 1, 7, 0, 9), 0);
	assert_int_equal(virtiofs_notify_resend(e.dev), 0);
	assert_int_equal(virtiofs_notify_inc_epoch(e.dev), 0);
	assert_int_equal(virtiofs_notify_prune(e.dev, nodes, 2), 0);
	assert_int_equal(virtiofs_device_notify(e.dev, 77, &v, 1), 0);
	hear(&e, 10);
	assert_string_equal(e.text, "1 8 0;inode 7 -1 3;entry 7 a name 1;"
				    "gone 7 8 b;store 7 4096 bytes;5 32 0;"
				    "7 0 0;8 0 0;prune 5 6 16;77 0 3;");
	end(&e);
}
CASE(all_that_is_said_is_told)

static void in_order(struct ends *e, const struct virtiofs_notification *n)
{
	const struct fuse_notify_poll_wakeup_out *out = n->arg;

	assert_int_equal(out->kh, e->next);
	e->next++;
}

/* covers: FS-DRV-16 */
static void a_burst_comes_in_order_and_whole(const struct combo *co)
{
	struct virtiofs_queue_stats st = {.size = sizeof(st)};
	struct ends e;
	int r;

	start(&e, co, 64, true);
	e.on_note = in_order;
	for (unsigned i = 0; i < BURST; i++) {
		while ((r = virtiofs_notify_poll(e.dev, i)) == -ENOSPC)
			virtiofs_client_dispatch(e.c);
		assert_int_equal(r, 0);
	}
	hear(&e, BURST);
	assert_int_equal(virtiofs_client_stats(e.c, VIRTIOFS_QUEUE_NOTIFY, &st),
			 0);
	assert_int_equal(st.notifications, BURST);
	assert_int_equal(st.reply_bytes, BURST * 24);
	assert_int_equal(
	    virtiofs_device_stats(e.dev, VIRTIOFS_QUEUE_NOTIFY, &st), 0);
	assert_int_equal(st.notifications, BURST);
	assert_true(st.parked > 0);
	end(&e);
}
CASE(a_burst_comes_in_order_and_whole)

static void release(struct ends *e, const struct virtiofs_notification *n)
{
	struct fuse_statfs_out out = {.st.bsize = 4096};

	virtiofs_req_reply(__atomic_load_n(&e->held, __ATOMIC_ACQUIRE), &out,
			   sizeof(out));
}

/* Otherwise it waited for ever. */
static void a_blocked_call_is_told(const struct combo *co)
{
	struct fuse_statfs_out out;
	struct ends e;

	start(&e, co, 64, true);
	e.on_note = release;
	__atomic_store_n(&e.hold, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(virtiofs_call_statfs(e.c, 1, &out), 0);
	assert_int_equal(e.cnt, 10);
	end(&e);
}
CASE(a_blocked_call_is_told)

static void answer(struct ends *e, const struct virtiofs_notification *n)
{
	struct fuse_statfs_out out;

	assert_int_equal(n->code, FUSE_NOTIFY_RETRIEVE);
	assert_int_equal(
	    virtiofs_call_notify_reply(e->c, n->arg, "what I have", 11), 0);
	assert_int_equal(virtiofs_call_statfs(e->c, 1, &out), 0);
	assert_int_equal(virtiofs_client_forget(e->c, 5, 1), 0);
}

static void the_callback_may_call(const struct combo *co)
{
	struct ends e;

	start(&e, co, 64, true);
	e.on_note = answer;
	assert_int_equal(virtiofs_notify_retrieve(e.dev, 99, 7, 8192, 20), 0);
	hear(&e, 1);
	assert_true(__atomic_load_n(&e.done, __ATOMIC_ACQUIRE));
	assert_int_equal(e.reply_unique, 99);
	assert_int_equal(e.reply_node, 7);
	assert_int_equal(e.reply.offset, 8192);
	assert_int_equal(e.reply.size, 11);
	assert_string_equal(e.reply_data, "what I have");
	end(&e);
}
CASE(the_callback_may_call)

/* ---- a new session ---- */

/* The client breaks its ring; the device says NEEDS_RESET. */
static void spoil(struct virtiofs_client *c)
{
	spoil_ring(c->notes.vq);
}

static void a_reset_mends_a_broken_queue(const struct combo *co)
{
	struct virtiofs_client_info info = {.size = sizeof(info)};
	struct ends e;

	if (hides_status())
		skip();
	start(&e, co, 64, true);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(virtiofs_notify_poll(e.dev, 0), 0);
		hear(&e, i);
		/* First those buffers that it knows of, then it looks; what the
		 * client posts meanwhile would mend it. */
		while (virtiofs_client_get_info(e.c, &info) == 0) {
			spoil(e.c);
			for (unsigned k = 0; k <= co->num; k++)
				virtiofs_notify_poll(e.dev, 0);
			virtiofs_client_dispatch(e.c);
		}
		start_client(&e);
		e.cnt = i;
		serves_from(&e, 2);
	}
	end(&e);
}

CASE(a_reset_mends_a_broken_queue)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_taken_queues_begin_at_2),
	    cmocka_unit_test(test_refused_queues_begin_at_1),
	    cmocka_unit_test(test_not_offered_queues_begin_at_1),
	    cmocka_unit_test(test_all_that_is_said_is_told),
	    cmocka_unit_test(test_a_burst_comes_in_order_and_whole),
	    cmocka_unit_test(test_a_blocked_call_is_told),
	    cmocka_unit_test(test_the_callback_may_call),
	    cmocka_unit_test(test_a_reset_mends_a_broken_queue),
	};

	return take_args(argc, argv)
		   ? 2
		   : cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
