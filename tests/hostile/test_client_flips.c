/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device that changes its replies while they are read: what a client is told
 * has been judged as it is. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/shared.h"
#include "liarfix.h"

#define ROOM   64u
#define ANSWER 48u /* bytes that an honest reply has */
#define OPS    200u

struct flipper {
	pthread_t thread;
	uint32_t stop;
	uint32_t rounds;
	unsigned char *at; /* atomic: this byte changes, or NULL */
	unsigned char values[4];
};

static void *flip(void *arg)
{
	struct flipper *f = arg;
	unsigned char *at;

	for (unsigned i = 0; !vtfs_load_once(&f->stop); i++) {
		at = vtfs_load_acquire(&f->at);
		if (at)
			vtfs_store_once(at, f->values[i % 4]);
		vtfs_store_release(&f->rounds, i);
	}
	return NULL;
}

static void begin(struct flipper *f)
{
	pthread_create(&f->thread, NULL, flip, f);
}

/* The byte changes when this returns. */
static void aim(struct flipper *f, unsigned char *at)
{
	uint32_t from = vtfs_load_acquire(&f->rounds);

	vtfs_store_release(&f->at, at);
	while (vtfs_load_acquire(&f->rounds) - from < 2)
		sched_yield();
}

static void end(struct flipper *f)
{
	vtfs_store_once(&f->stop, 1);
	pthread_join(f->thread, NULL);
}

static unsigned char *in_header(struct fix *f, size_t off)
{
	return (unsigned char *)f->req.room[0].iov_base + off;
}

/* One READ. 0: judged and told; -EPROTO: its queue is broken. */
static int one_op(struct fix *f, struct flipper *flipper, size_t off)
{
	static const unsigned char data[ROOM] = "what was read";
	unsigned char room[ROOM + 1];
	struct iovec iov = {room, ROOM};
	struct virtiofs_op *op = virtiofs_cliq_get_op(f->q);
	struct virtiofs_result res;
	int n = 0;

	memset(room, 0xa5, sizeof(room));
	if (!op)
		return -EPROTO;
	virtiofs_prep_read(op, 1, 2, 0, ROOM, &iov, 1);
	virtiofs_cliq_submit(f->q);
	if (!liar_pop(&f->l, 1, &f->req)) {
		n = virtiofs_cliq_reap(f->q, &res, 1);
		assert_int_equal(n == 1 ? res.error : n, -EPROTO);
		return -EPROTO;
	}
	aim(flipper, in_header(f, off));
	liar_reply(&f->l, &f->req, 0, data, ANSWER);
	for (unsigned i = 0; n == 0 && i < 1000; i++)
		n = virtiofs_cliq_reap(f->q, &res, 1);
	assert_int_equal(n, 1);
	assert_int_equal(res.user_data, 0);
	if (res.error) {
		assert_int_equal(res.error, -EPROTO);
		assert_int_equal(res.len, 0);
	} else {
		assert_int_equal(res.len, ANSWER);
		assert_memory_equal(room, data, ANSWER);
	}
	for (unsigned i = res.len; i <= ROOM; i++)
		assert_int_equal(room[i], 0xa5);
	return 0;
}

static void run(size_t off, const unsigned char *values)
{
	struct flipper flipper = {0};
	unsigned done = 0;
	void *state;

	memcpy(flipper.values, values, 4);
	begin(&flipper);
	while (done < OPS) {
		struct fix *f;

		assert_int_equal(fix_set_up(&state), 0);
		f = state;
		fix_start(f);
		while (done++ < OPS && one_op(f, &flipper, off) == 0)
			;
		aim(&flipper, NULL);
		fix_tear_down(&state);
	}
	end(&flipper);
}

/* covers: ROB-DRV-01 */
static void reply_header_changes_under_the_reader(void **state)
{
	const unsigned char lens[] = {16 + ANSWER, 16, 16 + ROOM, 255};
	const unsigned char errors[] = {0, 1, 0xfe, 0};
	const unsigned char uniques[] = {0, 1, 2, 4};

	run(offsetof(struct fuse_out_header, len), lens);
	run(offsetof(struct fuse_out_header, error), errors);
	run(offsetof(struct fuse_out_header, unique), uniques);
}

/* ---- notifications ---- */

#define NOTES  3000u
#define NVQ    1u
#define NAME   "a name"
#define IN_ARG sizeof(struct fuse_notify_inval_entry_out)

static void check_name(const struct virtiofs_notification *n, void *data)
{
	assert_null(strchr((const char *)n->arg + IN_ARG, '/'));
	assert_int_equal(n->arg_len, IN_ARG + sizeof(NAME));
}

/* A name without a slash, now and then. covers: ROB-DRV-01 */
static void notification_changes_under_the_reader(void **state)
{
	const struct fuse_notify_inval_entry_out arg = {
	    .parent = 7, .namelen = sizeof(NAME) - 1};
	const struct fuse_out_header h = {.len = sizeof(h) + IN_ARG +
						 sizeof(NAME),
					  .error = FUSE_NOTIFY_INVAL_ENTRY};
	struct virtiofs_queue_stats st = {.size = sizeof(st)};
	struct flipper flipper = {.values = {'b', '/', '/', 'b'}};
	const uint32_t size = htole32(4096);
	struct fix *f;

	assert_int_equal(fix_set_up(state), 0);
	f = *state;
	f->l.offered |= VIRTIOFS_F_NOTIFICATION;
	f->l.queue_cnt = 3;
	f->l.config_len = VTFS_CONFIG_MAX;
	memcpy(f->l.config + VTFS_CONFIG_NOTIFY, &size, sizeof(size));
	f->opts.notify = check_name;
	fix_start(f);
	begin(&flipper);
	for (unsigned i = 0; i < NOTES; i++) {
		assert_int_equal(liar_pop_buffer(&f->l, NVQ, &f->req), 1);
		liar_write(&f->req, 0, &h, sizeof(h));
		liar_write(&f->req, sizeof(h), &arg, sizeof(arg));
		liar_write(&f->req, sizeof(h) + IN_ARG, NAME, sizeof(NAME));
		aim(&flipper, in_header(f, sizeof(h) + IN_ARG + 1));
		liar_used(&f->l, &f->req, h.len);
		virtiofs_client_dispatch(f->c);
	}
	aim(&flipper, NULL);
	assert_int_equal(
	    virtiofs_client_stats(f->c, VIRTIOFS_QUEUE_NOTIFY, &st), 0);
	assert_int_equal(st.notifications + st.notifications_dropped, NOTES);
	end(&flipper);
	fix_tear_down(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(notification_changes_under_the_reader),
	    cmocka_unit_test(reply_header_changes_under_the_reader),
	};

	return cmocka_run_group_tests_name("client_flips", tests, NULL, NULL);
}
