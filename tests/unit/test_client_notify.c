/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's notification queue: what it takes, posts and hears. */
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

#include "liarfix.h"
#include "session/client.h"

#define SIZE 1000u
#define NVQ  1u
#define RVQ  2u

static char heard[1024];
static unsigned heard_cnt;
static struct liar_req buf;
static struct fix *fix;
static void (*on_note)(const struct virtiofs_notification *n);

static void note(const struct virtiofs_notification *n, void *data)
{
	size_t at = strlen(heard);

	if (on_note)
		on_note(n);

	assert_ptr_equal(data, &buf);
	heard_cnt++;
	snprintf(heard + at, sizeof(heard) - at, "%u:%u+%u;", n->code,
		 n->arg_len, n->data_len);
}

static void set_size(struct liar *l, uint32_t size)
{
	uint32_t le = htole32(size);

	memcpy(l->config + VTFS_CONFIG_NOTIFY, &le, sizeof(le));
}

static int set_up(void **state)
{
	struct fix *f;

	fix_set_up(state);
	f = fix = *state;
	on_note = NULL;
	f->l.offered |= VIRTIOFS_F_NOTIFICATION;
	f->l.queue_cnt = 3;
	f->l.config_len = VTFS_CONFIG_MAX;
	set_size(&f->l, SIZE);
	f->opts.notify = note;
	f->opts.notify_data = &buf;
	heard[0] = 0;
	heard_cnt = 0;
	return 0;
}

static struct virtiofs_client_info info(struct fix *f)
{
	struct virtiofs_client_info i = {.size = sizeof(i)};

	assert_int_equal(virtiofs_client_get_info(f->c, &i), 0);
	return i;
}

/* One message into the buffer that was popped. */
static void say(struct fix *f, int32_t code, const void *p, size_t len)
{
	struct fuse_out_header h = {.len = (uint32_t)(16 + len), .error = code};

	liar_write(&buf, 0, &h, sizeof(h));
	liar_write(&buf, sizeof(h), p, len);
	liar_used(&f->l, &buf, h.len);
}

static void pop_and_say(struct fix *f, int32_t code)
{
	assert_int_equal(liar_pop_buffer(&f->l, NVQ, &buf), 1);
	say(f, code, "", 0);
}

static void works(struct fix *f, unsigned vq)
{
	struct fuse_attr_out out, good = {.attr.ino = 77};

	fix_getattr(f, &out);
	fix_pop(f, vq);
	liar_reply(&f->l, &f->req, 0, &good, sizeof(good));
	assert_int_equal(fix_reap(f).error, 0);
	assert_int_equal(out.attr.ino, 77);
}

/* covers: FS-DRV-04, FS-DRV-15, INIT-DRV-07 */
static void buffers_are_there_before_driver_ok(void **state)
{
	struct fix *f = *state;
	struct pollfd p = {.events = POLLIN};
	unsigned cnt = 0;

	fix_start(f);
	/* Counted by the device when DRIVER_OK was written. */
	assert_int_equal(f->l.early_kicks, 0);
	assert_int_equal(f->l.early_idx[NVQ], 16);
	p.fd = f->l.q[NVQ].setup.kick_fd;
	assert_int_equal(poll(&p, 1, 0), 1);
	while (liar_pop_buffer(&f->l, NVQ, &buf)) {
		assert_true(buf.room_len >= SIZE);
		cnt++;
	}
	assert_int_equal(cnt, 16);
	assert_int_equal(info(f).notify_buf_size, SIZE);
	assert_true(info(f).features & VIRTIOFS_F_NOTIFICATION);
	assert_int_equal(info(f).device_request_queues, 1);
	works(f, RVQ);
}

static void as_many_buffers_as_asked_for(void **state)
{
	struct fix *f = *state;
	unsigned cnt = 0;

	f->opts.queue_size = 8;
	f->opts.notify_buffers = 9;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts),
			 -EINVAL);
	f->opts.notify_buffers = 3;
	fix_start(f);
	while (liar_pop_buffer(&f->l, NVQ, &buf))
		cnt++;
	assert_int_equal(cnt, 3);
}

/* Not taken: everything is as if there were none. */
static void is_not_taken(struct fix *f, unsigned config_end)
{
	struct virtiofs_client_info i;

	fix_start(f);
	i = info(f);
	assert_false(i.features & VIRTIOFS_F_NOTIFICATION);
	assert_true(i.device_features & VIRTIOFS_F_NOTIFICATION);
	assert_int_equal(i.notify_buf_size, 0);
	assert_int_equal(i.device_request_queues, 1);
	assert_int_equal(f->l.config_end, config_end);
	works(f, 1);
	assert_null(f->l.q[2].vq);
}

/* covers: CFG-DRV-02 */
static void without_a_callback_it_is_not_taken(void **state)
{
	struct fix *f = *state;
	struct virtiofs_queue_stats st = {.size = sizeof(st)};

	f->opts.notify = NULL;
	is_not_taken(f, VTFS_CONFIG_LEN);
	assert_int_equal(
	    virtiofs_client_stats(f->c, VIRTIOFS_QUEUE_NOTIFY, &st), -EINVAL);
}

/* covers: CFG-DRV-02 */
static void not_offered_its_field_is_not_read(void **state)
{
	struct fix *f = *state;

	f->l.offered &= ~VIRTIOFS_F_NOTIFICATION;
	f->l.queue_cnt = 2;
	fix_start(f);
	assert_int_equal(f->l.config_end, VTFS_CONFIG_LEN);
	assert_int_equal(info(f).notify_buf_size, 0);
	works(f, 1);
}

static void without_a_config_space_it_is_not_taken(void **state)
{
	struct fix *f = *state;

	f->l.config_r = -EOPNOTSUPP;
	f->opts.tag = "mine";
	is_not_taken(f, VTFS_CONFIG_MAX);
}

static void buffers_too_small_for_anything(void **state)
{
	struct fix *f = *state;

	set_size(&f->l, 63);
	is_not_taken(f, VTFS_CONFIG_MAX);
}

static void buffers_of_4_gib(void **state)
{
	struct fix *f = *state;

	set_size(&f->l, UINT32_MAX);
	is_not_taken(f, VTFS_CONFIG_MAX);
}

static void queues_too_few(void **state)
{
	struct fix *f = *state;

	f->l.queue_cnt = 2;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), -EPROTO);
	f->l.queue_cnt = 3;
	assert_int_equal(liar_start(&f->l, f->c), 0);
}

/* ---- what comes ---- */

/* covers: FS-DRV-16 */
static void each_buffer_goes_back_at_once(void **state)
{
	struct fix *f = *state;
	struct pollfd p;

	f->opts.notify_buffers = 2;
	fix_start(f);
	virtiofs_client_dispatch(f->c);
	p = (struct pollfd){.fd = virtiofs_client_fd(f->c), .events = POLLIN};
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(poll(&p, 1, 0), 0);
		pop_and_say(f, 99);
		if (i % 2)
			pop_and_say(f, 100);
		assert_int_equal(poll(&p, 1, 0), 1);
		virtiofs_client_dispatch(f->c);
		if (poll(&p, 1, 0))
			virtiofs_client_dispatch(f->c);
	}
	assert_int_equal(heard_cnt, 1500);
}

static void more_than_one_dispatch_hears_wake_again(void **state)
{
	struct fix *f = *state;
	struct pollfd p;

	f->opts.notify_buffers = 2;
	fix_start(f);
	virtiofs_client_dispatch(f->c);
	p = (struct pollfd){.fd = virtiofs_client_fd(f->c), .events = POLLIN};
	pop_and_say(f, 98);
	pop_and_say(f, 99);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(heard_cnt, 2);
	pop_and_say(f, 100);
	while (heard_cnt < 3) {
		assert_int_equal(poll(&p, 1, 0), 1);
		virtiofs_client_dispatch(f->c);
	}
	assert_string_equal(heard, "98:0+0;99:0+0;100:0+0;");
}

static void what_came_before_init_is_not_heard(void **state)
{
	struct fuse_init_in in = {.major = 7, .minor = 45};
	struct fuse_init_out out, answer;
	struct iovec room = {&out, sizeof(out)};
	struct fix *f = *state;
	struct virtiofs_op *op;
	struct pollfd p;

	f->opts.flags |= VIRTIOFS_CLIENT_RAW_INIT;
	f->opts.notify_buffers = 1;
	assert_int_equal(virtiofs_client_new(&f->c, &f->l.t, &f->opts), 0);
	assert_int_equal(virtiofs_client_start(f->c, NULL), 0);
	assert_int_equal(virtiofs_client_take_queue(f->c, 1, 0, &f->q), 0);
	pop_and_say(f, 99);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(heard_cnt, 0);
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_head(op, FUSE_INIT, 0, &in, sizeof(in));
	virtiofs_op_room(op, &room);
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	fix_pop(f, RVQ);
	liar_init_reply(&answer, &f->req);
	liar_reply(&f->l, &f->req, 0, &answer, sizeof(answer));
	assert_int_equal(fix_reap(f).error, 0);
	p = (struct pollfd){.fd = virtiofs_client_fd(f->c), .events = POLLIN};
	assert_int_equal(poll(&p, 1, 0), 1);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(heard_cnt, 0);
	pop_and_say(f, 100);
	virtiofs_client_dispatch(f->c);
	assert_string_equal(heard, "100:0+0;");
}

/* covers: FUSE-BTH-11 */
static void all_codes_of_7_45_and_others_are_told(void **state)
{
	static const struct {
		int32_t code;
		size_t len;
		uint32_t said; /* at 8 or 0 or 16, as the code has it */
		size_t at;
		const char *want;
	} all[] = {
	    {1, 8, 0, 0, "1:8+0;"},	    {2, 24, 0, 0, "2:24+0;"},
	    {3, 16 + 4, 3, 8, "3:20+0;"},   {4, 24 + 5, 5, 16, "4:24+5;"},
	    {5, 32, 0, 0, "5:32+0;"},	    {6, 24 + 4, 3, 16, "6:28+0;"},
	    {7, 0, 0, 0, "7:0+0;"},	    {8, 0, 0, 0, "8:0+0;"},
	    {9, 16 + 16, 2, 0, "9:16+16;"}, {10, 3, 0, 0, "10:0+3;"},
	    {99, 984, 0, 0, "99:0+984;"},
	};
	struct virtiofs_queue_stats st = {.size = sizeof(st)};
	unsigned char bytes[1000];
	struct fix *f = *state;

	fix_start(f);
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		memset(bytes, 'x', sizeof(bytes));
		memcpy(bytes + all[i].at, &all[i].said, 4);
		if (all[i].code == 3 || all[i].code == 6)
			bytes[all[i].len - 1] = 0;
		heard[0] = 0;
		assert_int_equal(liar_pop_buffer(&f->l, NVQ, &buf), 1);
		say(f, all[i].code, bytes, all[i].len);
		virtiofs_client_dispatch(f->c);
		assert_string_equal(heard, all[i].want);
	}
	assert_int_equal(
	    virtiofs_client_stats(f->c, VIRTIOFS_QUEUE_NOTIFY, &st), 0);
	assert_int_equal(st.notifications, 11);
	assert_int_equal(st.notifications_dropped, 0);
}

/* The device has the buffer still, and does what it likes with it. */
static void spoil_buffer(const struct virtiofs_notification *n)
{
	const struct fuse_notify_inval_entry_out *out = n->arg;

	liar_write(&buf, 0, "#################################", 33);
	assert_int_equal(out->parent, 7);
	assert_int_equal(out->namelen, 4);
	assert_string_equal((const char *)(out + 1), "name");
}

static void what_was_judged_is_told(void **state)
{
	const struct fuse_notify_inval_entry_out out = {.parent = 7,
							.namelen = 4};
	unsigned char bytes[sizeof(out) + 5];
	struct fix *f = *state;

	memcpy(bytes, &out, sizeof(out));
	memcpy(bytes + sizeof(out), "name", 5);
	on_note = spoil_buffer;
	fix_start(f);
	assert_int_equal(liar_pop_buffer(&f->l, NVQ, &buf), 1);
	say(f, FUSE_NOTIFY_INVAL_ENTRY, bytes, sizeof(bytes));
	virtiofs_client_dispatch(f->c);
	assert_int_equal(heard_cnt, 1);
}

static void check_stored(const struct virtiofs_notification *n)
{
	const unsigned char *data = n->data;

	assert_int_equal(n->data_len, 6000);
	for (unsigned i = 0; i < 6000; i++)
		assert_int_equal(data[i], i * 7 % 251);
}

/* More than is copied. */
static void bytes_to_store_come_whole(void **state)
{
	struct fuse_notify_store_out out = {.nodeid = 7, .size = 6000};
	static unsigned char bytes[sizeof(out) + 6000];
	struct fix *f = *state;

	memcpy(bytes, &out, sizeof(out));
	for (unsigned i = 0; i < 6000; i++)
		bytes[sizeof(out) + i] = (unsigned char)(i * 7 % 251);
	set_size(&f->l, 8192);
	on_note = check_stored;
	fix_start(f);
	assert_int_equal(liar_pop_buffer(&f->l, NVQ, &buf), 1);
	say(f, FUSE_NOTIFY_STORE, bytes, sizeof(bytes));
	virtiofs_client_dispatch(f->c);
	assert_string_equal(heard, "4:24+6000;");
}

static void say_more(const struct virtiofs_notification *n)
{
	heard[0] = 0;
	if (heard_cnt < 100)
		pop_and_say(fix, 99);
}

/* A device that answers each with another does not keep dispatch. */
static void dispatch_ends_while_more_come(void **state)
{
	struct fix *f = *state;
	struct pollfd p = {.events = POLLIN};

	f->opts.notify_buffers = 4;
	fix_start(f);
	p.fd = virtiofs_client_fd(f->c);
	on_note = say_more;
	pop_and_say(f, 99);
	for (unsigned i = 1; heard_cnt < 100; i++) {
		assert_int_equal(poll(&p, 1, 0), 1);
		virtiofs_client_dispatch(f->c);
		assert_true(heard_cnt <= 4 * i);
	}
}

static void look_from_elsewhere(const struct virtiofs_notification *n)
{
	if (n->code == 99)
		assert_false(vtfs_cnotes_any(fix->c));
}

/* While the program hears one, another thread finds it busy: who has it looks
 * again before anybody sleeps. */
static void who_was_sent_away_is_not_forgotten(void **state)
{
	struct fix *f = *state;
	struct pollfd p = {.events = POLLIN};

	fix_start(f);
	on_note = look_from_elsewhere;
	virtiofs_client_dispatch(f->c);
	p.fd = virtiofs_client_fd(f->c);
	for (int32_t code = 98; code <= 99; code++) {
		assert_int_equal(poll(&p, 1, 0), 0);
		pop_and_say(f, code);
		assert_int_equal(poll(&p, 1, 0), 1);
		virtiofs_client_dispatch(f->c);
	}
	assert_int_equal(poll(&p, 1, 0), 1);
	virtiofs_client_dispatch(f->c);
	assert_int_equal(heard_cnt, 2);
}

static void only_a_notify_reply_has_a_servers_number(void **state)
{
	struct fuse_statfs_out out;
	struct iovec room = {&out, sizeof(out)};
	struct fix *f = *state;
	struct virtiofs_op *op;

	fix_start(f);
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_head(op, FUSE_STATFS, 1, NULL, 0);
	virtiofs_op_room(op, &room);
	op->notify_unique = 5;
	virtiofs_cliq_submit(f->q);
	assert_int_equal(fix_reap(f).error, -EINVAL);
	assert_int_equal(liar_pop(&f->l, RVQ, &f->req), 0);
}

static void notify_reply_carries_the_servers_number(void **state)
{
	struct fuse_notify_retrieve_out asked = {
	    .notify_unique = 12345, .nodeid = 7, .offset = 4096, .size = 100};
	struct fuse_notify_retrieve_in in = {.offset = 4096, .size = 3};
	struct iovec data = virtiofs_iov("abc", 3);
	struct fix *f = *state;
	struct virtiofs_op *op;

	fix_start(f);
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_notify_reply(op, &asked, &in, &data);
	assert_int_equal(virtiofs_cliq_submit(f->q), 1);
	fix_pop(f, RVQ);
	assert_int_equal(f->req.in.opcode, FUSE_NOTIFY_REPLY);
	assert_int_equal(f->req.in.unique, 12345);
	assert_int_equal(f->req.in.nodeid, 7);
	assert_int_equal(f->req.room_len, 0);
	assert_int_equal(f->req.len, 43);
	assert_memory_equal(f->req.data, &in, sizeof(in));
	assert_memory_equal(f->req.data + 40, "abc", 3);
	liar_used(&f->l, &f->req, 0);
	assert_int_equal(fix_reap(f).error, 0);
	/* Nobody else has one. */
	op = virtiofs_cliq_get_op(f->q);
	virtiofs_prep_head(op, FUSE_STATFS, 1, NULL, 0);
	op->notify_unique = 1;
	virtiofs_cliq_submit(f->q);
	assert_int_equal(fix_reap(f).error, -EINVAL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, fix_tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    TEST(buffers_are_there_before_driver_ok),
	    TEST(as_many_buffers_as_asked_for),
	    TEST(without_a_callback_it_is_not_taken),
	    TEST(not_offered_its_field_is_not_read),
	    TEST(without_a_config_space_it_is_not_taken),
	    TEST(buffers_too_small_for_anything),
	    TEST(buffers_of_4_gib),
	    TEST(queues_too_few),
	    TEST(each_buffer_goes_back_at_once),
	    TEST(more_than_one_dispatch_hears_wake_again),
	    TEST(what_came_before_init_is_not_heard),
	    TEST(all_codes_of_7_45_and_others_are_told),
	    TEST(what_was_judged_is_told),
	    TEST(bytes_to_store_come_whole),
	    TEST(dispatch_ends_while_more_come),
	    TEST(who_was_sent_away_is_not_forgotten),
	    TEST(only_a_notify_reply_has_a_servers_number),
	    TEST(notify_reply_carries_the_servers_number),
	};

	return cmocka_run_group_tests_name("client notify", tests, NULL, NULL);
}
