/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device's notifications, byte by byte, and the numbers of its queues. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <virtiofs/notify.h>

#include "rawfuse.h"

#define BUF   4096u
#define NVQ   1u /* of the notification queue */
#define TAKEN (VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_NOTIFICATION)

static int set_up(void **state)
{
	struct program *p;

	program_new(state);
	p = *state;
	p->notify_buf_size = BUF;
	p->notify_backlog = 4;
	program_open(p, TAKEN);
	return 0;
}

static struct raw_queue *ring(struct program *p)
{
	return &p->raw.q[NVQ];
}

/* A buffer in a cell, available; the kick is the caller's affair. */
static void give(struct program *p, unsigned i, uint32_t len)
{
	struct raw_desc d = {cell_addr(i), len, VTFS_DESC_F_WRITE};
	struct raw_queue *q = ring(p);
	uint16_t head = raw_chain(q, &d, 1);
	uint16_t idx = le16toh(q->avail->idx);

	q->avail->ring[idx % q->num] = htole16(head);
	q->avail->idx = htole16((uint16_t)(idx + 1));
}

/* The next used buffer is cell i, with that many bytes, and not one more. */
static const void *came(struct program *p, unsigned i, uint32_t len)
{
	uint32_t id, used;

	assert_true(raw_used(ring(p), &id, &used));
	assert_int_equal(le64toh(ring(p)->desc[id].addr), cell_addr(i));
	assert_int_equal(used, len);
	for (uint32_t k = len; k < BUF + 64; k++)
		assert_int_equal(cell(p, i)[k], PATTERN);
	return cell(p, i);
}

/* A message of code with that payload. */
static void came_as(struct program *p, unsigned i, int32_t code,
		    const void *payload, uint32_t len)
{
	struct fuse_out_header h = {.len = 16 + len, .error = code};
	const char *at = came(p, i, h.len);

	assert_memory_equal(at, &h, sizeof(h));
	assert_memory_equal(at + sizeof(h), payload, len);
}

static void nothing_came(struct program *p)
{
	uint32_t id, len;

	assert_false(raw_used(ring(p), &id, &len));
}

static int word(struct program *p, uint64_t kh)
{
	return virtiofs_notify_poll(p->dev, kh);
}

static void came_word(struct program *p, unsigned i, uint64_t kh)
{
	came_as(p, i, FUSE_NOTIFY_POLL, &kh, sizeof(kh));
}

static struct virtiofs_queue_stats stats(struct program *p)
{
	struct virtiofs_queue_stats st = {.size = sizeof(st)};

	assert_int_equal(
	    virtiofs_device_stats(p->dev, VIRTIOFS_QUEUE_NOTIFY, &st), 0);
	return st;
}

/* covers: FS-DEV-18, FUSE-DEV-28, SPLIT-BTH-06 */
static void each_code_is_written_as_the_header_has_it(void **state)
{
	static const struct {
		uint64_t parent;
		uint32_t namelen, flags;
		char name[5];
	} __attribute__((packed)) entry = {7, 4, FUSE_EXPIRE_ONLY, "name"};
	static const struct {
		uint64_t parent, child;
		uint32_t namelen, padding;
		char name[3];
	} __attribute__((packed)) gone = {7, 9, 2, 0, "ab"};
	static const struct {
		uint64_t nodeid, offset;
		uint32_t size, padding;
		char data[6];
	} __attribute__((packed)) store = {7, 4096, 6, 0, "abcdef"};
	static const uint64_t retrieve[4] = {77, 7, 4096, 512};
	static const uint64_t inode[3] = {7, (uint64_t)-1, 3};
	static const uint64_t prune[4] = {2, 0, 11, 12};
	static const uint64_t nodes[2] = {11, 12};
	struct program *p = *state;
	struct virtiofs_device *dev = p->dev;

	for (unsigned i = 0; i < 9; i++)
		give(p, i, BUF);
	assert_int_equal(word(p, 5), 0);
	assert_int_equal(virtiofs_notify_inval_inode(dev, 7, -1, 3), 0);
	assert_int_equal(
	    virtiofs_notify_inval_entry(dev, 7, "name", FUSE_EXPIRE_ONLY), 0);
	assert_int_equal(virtiofs_notify_store(dev, 7, 4096, "abcdef", 6), 0);
	assert_int_equal(virtiofs_notify_retrieve(dev, 77, 7, 4096, 512), 0);
	assert_int_equal(virtiofs_notify_delete(dev, 7, 9, "ab"), 0);
	assert_int_equal(virtiofs_notify_resend(dev), 0);
	assert_int_equal(virtiofs_notify_inc_epoch(dev), 0);
	assert_int_equal(virtiofs_notify_prune(dev, nodes, 2), 0);
	came_word(p, 0, 5);
	came_as(p, 1, 2, inode, sizeof(inode));
	came_as(p, 2, 3, &entry, sizeof(entry));
	came_as(p, 3, 4, &store, sizeof(store));
	came_as(p, 4, 5, retrieve, sizeof(retrieve));
	came_as(p, 5, 6, &gone, sizeof(gone));
	came_as(p, 6, 7, "", 0);
	came_as(p, 7, 8, "", 0);
	came_as(p, 8, 9, prune, sizeof(prune));
	nothing_came(p);
	assert_true(raw_calls(ring(p)) > 0);
	assert_int_equal(stats(p).notifications, 9);
}

/* A number that the library does not know, as FUSE_NOTIFY_LOCK of virtio 1.4,
 * 5.11.6.3 is; covers: FUSE-BTH-11 */
static void any_positive_code_can_be_sent(void **state)
{
	struct program *p = *state;
	struct iovec v[16];
	char text[] = "payloads";

	for (unsigned i = 0; i < 16; i++)
		v[i] = (struct iovec){text + i % 8, i < 8};
	give(p, 0, BUF);
	assert_int_equal(virtiofs_device_notify(p->dev, 99, v, 16), 0);
	came_as(p, 0, 99, text, 8);
	assert_int_equal(virtiofs_device_notify(p->dev, 0, v, 1), -EINVAL);
	assert_int_equal(virtiofs_device_notify(p->dev, 0x80000000u, v, 1),
			 -EINVAL);
	assert_int_equal(virtiofs_device_notify(p->dev, 99, v, 17), -EINVAL);
}

/* covers: FS-DEV-03 */
static void nothing_is_longer_than_notify_buf_size(void **state)
{
	struct program *p = *state;
	static char bytes[BUF];
	const uint32_t head = 16 + sizeof(struct fuse_notify_store_out);
	struct iovec v[2] = {{bytes, 1}, {bytes, SIZE_MAX}};

	give(p, 0, BUF);
	assert_int_equal(
	    virtiofs_notify_store(p->dev, 1, 0, bytes, BUF - head + 1),
	    -EMSGSIZE);
	assert_int_equal(virtiofs_device_notify(p->dev, 4, v, 2), -EMSGSIZE);
	nothing_came(p);
	assert_int_equal(virtiofs_notify_store(p->dev, 1, 0, bytes, BUF - head),
			 0);
	came(p, 0, BUF);
}

/* Nobody kicks here: the ring is looked at when there is something to say. */
static void buffers_need_no_kick(void **state)
{
	struct program *p;

	program_new(state);
	p = *state;
	p->notify_buf_size = BUF;
	p->raw.features = TAKEN;
	program_open(p, TAKEN);
	raw_do(&p->raw, raw_disable, NVQ);
	program_run(p);
	give(p, 0, BUF);
	assert_int_equal(word(p, 1), 0);
	nothing_came(p);
	raw_do(&p->raw, raw_enable, NVQ);
	program_run(p);
	came_word(p, 0, 1);
	give(p, 1, BUF);
	assert_int_equal(word(p, 2), 0);
	came_word(p, 1, 2);
}

/* covers: FS-DEV-19 */
static void what_finds_no_buffer_waits_in_order(void **state)
{
	struct program *p = *state;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(word(p, i), 0);
	assert_int_equal(word(p, 9), -ENOSPC);
	assert_int_equal(stats(p).parked, 4);
	program_run(p);
	nothing_came(p);
	give(p, 0, BUF);
	raw_kick(ring(p));
	program_run(p);
	came_word(p, 0, 0);
	/* Behind those that wait, though there is a buffer. */
	give(p, 1, BUF);
	assert_int_equal(word(p, 4), 0);
	nothing_came(p);
	for (unsigned i = 2; i < 6; i++)
		give(p, i, BUF);
	program_run(p);
	for (unsigned i = 1; i < 5; i++)
		came_word(p, i, i);
	assert_int_equal(stats(p).notifications, 5);
	assert_int_equal(stats(p).notifications_dropped, 0);
}

static void a_pause_keeps_buffers_and_messages(void **state)
{
	struct program *p = *state;

	give(p, 0, BUF);
	give(p, 1, BUF);
	raw_do(&p->raw, raw_stop, NVQ);
	program_run(p);
	assert_int_equal(p->raw.stopped_vq, NVQ);
	assert_int_equal(p->raw.avail_base, 0);
	assert_int_equal(word(p, 1), 0);
	program_run(p);
	nothing_came(p);
	raw_do(&p->raw, raw_start, NVQ);
	program_run(p);
	came_word(p, 0, 1);
	assert_int_equal(word(p, 2), 0);
	came_word(p, 1, 2);
}

static void a_session_takes_its_messages_with_it(void **state)
{
	struct program *p = *state;

	assert_int_equal(word(p, 1), 0);
	raw_do(&p->raw, raw_reset, 0);
	program_run(p);
	assert_int_equal(word(p, 2), -ENOTCONN);
	assert_int_equal(stats(p).notifications_dropped, 1);
	raw_do(&p->raw, raw_setup, 16);
	program_run(p);
	assert_int_equal(word(p, 3), -ENOTCONN);
	give(p, 0, BUF);
	program_open_again(p, NULL);
	nothing_came(p);
	assert_int_equal(word(p, 4), 0);
	came_word(p, 0, 4);
}

static void before_init_there_is_nobody(void **state)
{
	struct program *p;

	program_new(state);
	p = *state;
	p->notify_buf_size = BUF;
	program_start(p, TAKEN);
	give(p, 0, BUF);
	assert_int_equal(word(p, 1), -ENOTCONN);
	nothing_came(p);
}

/* ---- behind an IOMMU ---- */

#define PAGE_OF(i) ((RAW_BUFS + (i)*CELL_LEN) / RAW_PAGE)

static int set_up_mapped(void **state)
{
	struct program *p;

	program_new(state);
	p = *state;
	p->notify_buf_size = BUF;
	p->notify_backlog = 4;
	program_open(p, TAKEN | VTFS_F_ACCESS_PLATFORM);
	p->raw.lazy = true;
	p->raw.miss_cnt = 0;
	return 0;
}

static void map_cell(struct program *p, unsigned i)
{
	raw_do(&p->raw, raw_map,
	       RAW_RANGE(PAGE_OF(i), CELL_LEN / RAW_PAGE, RAW_RW));
	program_run(p);
}

/* Buffers are looked at one at a time: the others stay with the device. */
static void a_buffer_without_translation_goes_back_empty(void **state)
{
	struct program *p = *state;

	give(p, 0, BUF);
	give(p, 1, BUF);
	assert_int_equal(word(p, 5), 0);
	program_run(p);
	came(p, 0, 0);
	assert_int_equal(p->raw.miss_cnt, 1);
	assert_int_equal(p->raw.misses[0].addr, cell_addr(0));
	assert_int_equal(p->raw.misses[0].len, BUF);
	assert_int_equal(p->raw.misses[0].access, VTFS_MAP_WRITE);
	assert_int_equal(word(p, 6), 0);
	raw_kick(ring(p));
	program_run(p);
	nothing_came(p);
	give(p, 0, BUF);
	map_cell(p, 0);
	came(p, 1, 0);
	nothing_came(p);
	assert_int_equal(p->raw.miss_cnt, 2);
	give(p, 1, BUF);
	map_cell(p, 1);
	came_word(p, 0, 5);
	came_word(p, 1, 6);
	assert_int_equal(stats(p).notifications, 2);
	assert_int_equal(stats(p).notifications_dropped, 0);
	assert_int_equal(stats(p).chain_faults, 0);
}

/* It is never there; the next one is. */
static void an_absent_buffer_does_not_hold_up_the_next(void **state)
{
	struct program *p = *state;

	map_cell(p, 1);
	give(p, 0, BUF);
	give(p, 1, BUF);
	assert_int_equal(word(p, 5), 0);
	program_run(p);
	came(p, 0, 0);
	nothing_came(p);
	raw_do(&p->raw, raw_deny, RAW_RANGE(PAGE_OF(0), 1, VTFS_MAP_WRITE));
	program_run(p);
	came_word(p, 1, 5);
	assert_int_equal(stats(p).notifications, 1);
}

/* ---- numbers ---- */

/* hiprio is told of by FORGET, a request queue by STATFS. */
static void serves_from(struct program *p, unsigned first)
{
	struct fuse_forget_in one = {.nlookup = 1};
	unsigned forgets = p->forget_cnt;

	send_frame(p, 0, 30, FUSE_FORGET, &one, sizeof(one), 0);
	program_run(p);
	assert_int_equal(reply_of(p, 0, 30), 1);
	assert_int_equal(p->forget_cnt, forgets + 1);
	for (unsigned i = 0; i < 2; i++) {
		send_statfs(p, first + i, 31 + i);
		program_run(p);
		assert_int_equal(reply_of(p, first + i, 31 + i), 0);
	}
	assert_int_equal(p->raw.broken, 0);
}
static uint64_t offered(struct program *p)
{
	return p->raw.sink->ops->offered(p->raw.sink);
}

/* covers: FS-BTH-02 */
static void taken_requests_begin_at_2(void **state)
{
	struct program *p = *state;

	serves_from(p, 2);
	give(p, 0, BUF);
	assert_int_equal(word(p, 1), 0);
	came_word(p, 0, 1);
}

/* covers: FS-BTH-02, FS-DEV-01 */
static void refused_requests_begin_at_1(void **state)
{
	struct program *p;

	program_new(state);
	p = *state;
	p->notify_buf_size = BUF;
	program_open(p, VIRTIOFS_F_VERSION_1);
	assert_true(offered(p) & VIRTIOFS_F_NOTIFICATION);
	serves_from(p, 1);
	assert_int_equal(word(p, 1), -EOPNOTSUPP);
	raw_queue_init(&p->raw, 3, 16); /* there is no fourth */
	raw_do(&p->raw, raw_start, 3);
	program_run(p);
	assert_int_equal(p->raw.start_r, -EINVAL);
	/* The next driver takes it. */
	raw_do(&p->raw, raw_reset, 0);
	program_run(p);
	p->raw.features = TAKEN;
	raw_do(&p->raw, raw_setup, 16);
	program_run(p);
	program_open_again(p, NULL);
	serves_from(p, 2);
	give(p, 0, BUF);
	assert_int_equal(word(p, 1), 0);
	came_word(p, 0, 1);
}

/* covers: FS-BTH-02 */
static void not_offered_requests_begin_at_1(void **state)
{
	struct program *p = *state;

	assert_false(offered(p) & VIRTIOFS_F_NOTIFICATION);
	serves_from(p, 1);
	assert_int_equal(word(p, 1), -EOPNOTSUPP);
	assert_int_equal(
	    virtiofs_device_stats(p->dev, VIRTIOFS_QUEUE_NOTIFY, NULL),
	    -EINVAL);
}

/* covers: FS-BTH-03, FS-BTH-04 */
static void the_option_shows_in_one_bit_and_one_field(void **state)
{
	unsigned char with[48], without[48], want[48] = "raw";
	struct program *p[2] = {*state, calloc(1, sizeof(*p[1]))};

	want[36] = 2;
	program_start(p[1], 0);
	p[0]->raw.sink->ops->config(p[0]->raw.sink, with, sizeof(with), 0);
	p[1]->raw.sink->ops->config(p[1]->raw.sink, without, sizeof(without),
				    0);
	assert_memory_equal(without, want, sizeof(want));
	want[40] = BUF & 0xff;
	want[41] = BUF >> 8;
	assert_memory_equal(with, want, sizeof(want));
	assert_int_equal(offered(p[0]) ^ offered(p[1]), 1);
	assert_int_equal(p[0]->raw.sink->ops->queue_cnt(p[0]->raw.sink), 4);
	assert_int_equal(p[1]->raw.sink->ops->queue_cnt(p[1]->raw.sink), 3);
	program_stop(p[1]);
	free(p[1]);
}

/* The queue that the broken one is has its number of now. */
static void a_broken_request_queue_is_told_by_its_number(void **state)
{
	struct program *p = *state;
	struct raw_queue *q = &p->raw.q[3];

	q->avail->idx = htole16(5000);
	raw_kick(q);
	program_run(p);
	assert_int_equal(p->raw.broken, 1u << 3);
}

/* ---- RETRIEVE's answer ---- */

static void keep_reply(struct program *p, struct virtiofs_req *req)
{
	const struct fuse_notify_retrieve_in *in = req->arg;
	char *text = p->more;

	assert_int_equal(req->in->opcode, FUSE_NOTIFY_REPLY);
	assert_true(req->flags & VIRTIOFS_REQ_NOREPLY);
	assert_int_equal(req->room_len, 0);
	snprintf(text, 64, "%llu: %u at %llu, %.3s",
		 (unsigned long long)req->in->unique, in->size,
		 (unsigned long long)in->offset,
		 (const char *)req->data->iov_base);
	virtiofs_req_done(req);
}

/* covers: FUSE-DEV-18 */
static void a_notify_reply_has_no_reply(void **state)
{
	struct {
		struct fuse_notify_retrieve_in in;
		char data[4];
	} args = {{.offset = 4096, .size = 4}, "abc"};
	struct program *p = *state;
	char text[64] = "";
	uint32_t id, len;

	p->more = text;
	p->on_request = keep_reply;
	put_frame(p, 3, FUSE_NOTIFY_REPLY, &args, sizeof(args.in) + 4);
	frame_of(p, 3)->unique = 77;
	post_cell(p, 2, 3, 0);
	program_run(p);
	assert_string_equal(text, "77: 4 at 4096, abc");
	assert_true(raw_used(&p->raw.q[2], &id, &len));
	assert_int_equal(len, 0);
}

/* ---- options ---- */

static int try_size(uint32_t size)
{
	const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops), .request = (virtiofs_request_fn)(void *)abort};
	const struct virtiofs_device_opts opts = {.size = sizeof(opts),
						  .notify_buf_size = size};
	struct virtiofs_transport *d, *c;
	struct virtiofs_device *dev;
	int r;

	assert_int_equal(virtiofs_inproc_pair(&d, &c), 0);
	r = virtiofs_device_new(&dev, d, &ops, &opts, NULL);
	if (r >= 0)
		virtiofs_device_free(dev);
	virtiofs_transport_free(c);
	return r;
}

static void buffers_have_64_bytes_to_16_mib(void **state)
{
	(void)state;
	assert_int_equal(try_size(63), -EINVAL);
	assert_int_equal(try_size(64), 0);
	assert_int_equal(try_size(16u << 20), 0);
	assert_int_equal(try_size((16u << 20) + 1), -EINVAL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, program_tear_down)
#define TEST_MAPPED(fn)                                                        \
	cmocka_unit_test_setup_teardown(fn, set_up_mapped, program_tear_down)
#define TEST_OWN(fn) cmocka_unit_test_teardown(fn, program_tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    TEST(each_code_is_written_as_the_header_has_it),
	    TEST(any_positive_code_can_be_sent),
	    TEST(nothing_is_longer_than_notify_buf_size),
	    TEST_OWN(buffers_need_no_kick),
	    TEST(what_finds_no_buffer_waits_in_order),
	    TEST(a_pause_keeps_buffers_and_messages),
	    TEST(a_session_takes_its_messages_with_it),
	    TEST_OWN(before_init_there_is_nobody),
	    TEST_MAPPED(a_buffer_without_translation_goes_back_empty),
	    TEST_MAPPED(an_absent_buffer_does_not_hold_up_the_next),
	    TEST(taken_requests_begin_at_2),
	    TEST_OWN(refused_requests_begin_at_1),
	    cmocka_unit_test_setup_teardown(not_offered_requests_begin_at_1,
					    program_set_up, program_tear_down),
	    TEST(the_option_shows_in_one_bit_and_one_field),
	    TEST(a_broken_request_queue_is_told_by_its_number),
	    TEST(a_notify_reply_has_no_reply),
	    cmocka_unit_test(buffers_have_64_bytes_to_16_mib),
	};

	return cmocka_run_group_tests_name("device notify", tests, NULL, NULL);
}
