/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vfio-user messages: framing, VERSION, what there is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vfuhost.h"

#define T(f) cmocka_unit_test_setup_teardown(f, vh_set_up, vh_tear_down)

/* ---- the header ---- */

/* covers: VFU-BTH-01, VFU-BTH-02 */
static void header_has_sixteen_bytes(void **state)
{
	static const unsigned char get_info[32] = {
	    0xcd, 0xab, 4, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16};
	static const unsigned char golden[32] = {
	    0xcd, 0xab, 4, 0, 32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	    16,	  0,	0, 0, 3,  0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0};
	struct vfuhost *h = *state;
	unsigned char back[33];

	vh_bytes(h, get_info, sizeof(get_info), NULL, 0);
	vh_pump(h);
	assert_int_equal(recv(h->sock, back, sizeof(back), MSG_DONTWAIT), 32);
	assert_memory_equal(back, golden, sizeof(golden));
}

/* covers: VFU-BTH-02 */
static void every_reply_echoes_its_command(void **state)
{
	struct vfuhost *h = *state;
	unsigned char junk[64];
	struct vfu_answer a;

	memset(junk, 0xff, sizeof(junk));
	for (uint16_t c = 2; c < 64; c++) {
		vh_send(h, c, 0, junk, sizeof(junk));
		vh_pump(h);
		vh_recv(h, &a);
		assert_int_equal(a.hdr.id, h->id);
		assert_int_equal(a.hdr.command, c);
		assert_int_equal(a.hdr.flags & ~VFU_ERROR, VFU_TYPE_REPLY);
	}
}

/* covers: VFU-BTH-03 */
static void ids_may_repeat(void **state)
{
	struct vfuhost *h = *state;
	struct vfu_device_info info = {.argsz = sizeof(info)};
	struct vfu_answer a;

	for (int i = 0; i < 3; i++) {
		h->id = 77;
		vh_send(h, VFU_GET_INFO, 0, &info, sizeof(info));
	}
	vh_pump(h);
	for (int i = 0; i < 3; i++) {
		vh_recv(h, &a);
		assert_int_equal(a.hdr.id, 78);
		assert_int_equal(a.info.num_regions, 9);
	}
	assert_true(vh_quiet(h));
}

/* covers: VFU-DEV-01, VFU-DEV-06 */
static void no_reply_is_none_and_order_is_kept(void **state)
{
	struct vfuhost *h = *state;
	struct {
		struct vfu_region_io io;
		uint8_t v;
	} out = {{VTFS_PCI_DEVICE_STATUS, 0, 1}, 1};

	vh_send(h, VFU_REGION_WRITE, VFU_NO_REPLY, &out, sizeof(out.io) + 1);
	out.v = 3;
	vh_send(h, VFU_REGION_WRITE, VFU_NO_REPLY, &out, sizeof(out.io) + 1);
	/* Nor is an error answered. */
	out.io.region = 5;
	vh_send(h, VFU_REGION_WRITE, VFU_NO_REPLY, &out, sizeof(out.io) + 1);
	vh_pump(h);
	assert_true(vh_quiet(h));
	assert_int_equal(vh_status(h), 3);
}

/* covers: VFU-BTH-04 */
static void errors_are_a_header_only(void **state)
{
	struct vfuhost *h = *state;
	struct vfu_region_info info = {.argsz = sizeof(info), .index = 9};

	assert_int_equal(
	    vh_ask(h, VFU_GET_REGION_INFO, &info, sizeof(info), NULL), EINVAL);
	assert_true(vh_quiet(h));
}

static void message_may_come_byte_by_byte(void **state)
{
	static const unsigned char get_info[32] = {9, 0, 4, 0, 32, 0, 0, 0, 0,
						   0, 0, 0, 0, 0,  0, 0, 16};
	struct vfuhost *h = *state;
	struct vfu_answer a;

	for (unsigned i = 0; i < sizeof(get_info); i++) {
		assert_true(vh_quiet(h));
		vh_bytes(h, get_info + i, 1, NULL, 0);
		vh_pump(h);
	}
	vh_recv(h, &a);
	assert_int_equal(a.hdr.id, 9);
}

/* A peer that doesn't read its replies is not read from either. */
static void replies_nobody_reads_hold_up_nothing(void **state)
{
	struct vfuhost *h = *state;
	struct vfu_region_io io = {0, VFU_REGION_CONFIG, 256};
	struct vfu_header hdr = {1, VFU_REGION_READ, 32, 0, 0};
	unsigned char msg[32];
	unsigned sent = 0, got = 0;
	struct vfu_answer a;

	memcpy(msg, &hdr, 16);
	memcpy(msg + 16, &io, 16);
	for (; sent < 20000; sent++) {
		if (send(h->sock, msg, 32, MSG_DONTWAIT) != 32)
			break;
		vh_pump(h);
	}
	assert_true(sent < 20000);
	while (!vh_quiet(h)) {
		vh_recv(h, &a);
		assert_int_equal(a.len, 16 + 256);
		got++;
		vh_pump(h);
	}
	assert_int_equal(got, sent);
}

/* ---- VERSION ---- */

static void version_answer(struct vfuhost *h, uint16_t major, uint16_t minor,
			   const char *json, struct vfu_answer *a)
{
	unsigned char buf[2048] = {0};
	const struct vfu_version v = {major, minor};
	size_t len = json ? strlen(json) + 1 : 0;

	vh_dial(h);
	memcpy(buf, &v, sizeof(v));
	if (len)
		memcpy(buf + 4, json, len);
	vh_send(h, VFU_VERSION, 0, buf, 4 + len);
	vh_pump(h);
	if (a)
		vh_recv(h, a);
}

/* covers: VFU-DEV-03, VFU-BTH-06 */
static void version_is_not_above_the_proposal(void **state)
{
	struct vfuhost *h = *state;
	struct vfu_device_info info = {.argsz = sizeof(info)};
	struct vfu_answer a;
	uint16_t minors[] = {0, 1, 99};

	for (int i = 0; i < 3; i++) {
		version_answer(h, 0, minors[i], NULL, &a);
		assert_int_equal(a.version.major, 0);
		assert_int_equal(a.version.minor, minors[i] ? 1 : 0);
		assert_string_equal(a.json, "{\"capabilities\":{}}");
		assert_int_equal(
		    vh_ask(h, VFU_GET_INFO, &info, sizeof(info), NULL), 0);
	}
	version_answer(h, 0, 1,
		       "{\"capabilities\":{\"pgsizes\":4096,"
		       "\"max_data_xfer_size\":65536,\"migration\":{\"x\":[]},"
		       "\"twin_socket\":{\"supported\":true},"
		       "\"write_multiple\":false}}",
		       &a);
	assert_string_equal(a.json, "{\"capabilities\":{\"max_data_xfer_size\":"
				    "1048576,\"pgsizes\":4096}}");
	assert_int_equal(a.len, 4 + strlen(a.json) + 1);
	assert_int_equal(a.fd_cnt, 0);
	version_answer(h, 0, 1,
		       "{ \"a\":\"\\u00e4\\n\" , \"capabilities\" : { "
		       "\"max_msg_fds\":1,\"max_dma_maps\":7,"
		       "\"write_multiple\":true } }",
		       &a);
	assert_string_equal(a.json,
			    "{\"capabilities\":{\"max_msg_fds\":16,"
			    "\"max_dma_maps\":512,\"write_multiple\":true}}");
}

/* covers: VFU-DEV-02 */
static void version_comes_first_and_once(void **state)
{
	struct vfuhost *h = *state;
	struct vfu_device_info info = {.argsz = sizeof(info)};

	version_answer(h, 1, 0, NULL, NULL);
	assert_true(vh_closed(h));
	vh_dial(h);
	vh_send(h, VFU_GET_INFO, 0, &info, sizeof(info));
	vh_pump(h);
	assert_true(vh_closed(h));
	vh_dial(h);
	vh_version(h, NULL);
	vh_send(h, VFU_VERSION, 0, "\0\0\0\0", 4);
	vh_pump(h);
	assert_true(vh_closed(h));
	vh_dial(h);
	vh_version(h, NULL);
}

/* covers: VFU-BTH-07 */
static void json_is_optional_and_judged(void **state)
{
	static const char deep[] =
	    "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
	    "{\"a\":1}}}}}}}}}}";
	static const char *const bad[] = {
	    "",
	    "x",
	    "[]",
	    "{",
	    "{\"capabilities\":{}",
	    "{\"capabilities\":{}}}",
	    "{\"capabilities\":{}} x",
	    "{\"capabilities\":{\"pgsizes\":\"4096\"}}",
	    "{\"capabilities\":{\"pgsizes\":-1}}",
	    "{\"capabilities\":{\"pgsizes\":1.5}}",
	    "{\"capabilities\":{\"pgsizes\":4e3}}",
	    "{\"capabilities\":{\"pgsizes\":18446744073709551616}}",
	    "{\"capabilities\":{\"pgsizes\":}}",
	    "{\"capabilities\":{\"pgsizes\" 1}}",
	    "{\"capabilities\":{pgsizes:1}}",
	    "{\"capabilities\":{\"a\":1,}}",
	    "{\"a\":\"\\x\"}",
	    "{\"a\":\"\\u12g4\"}",
	    "{\"a\":\"\t\"}",
	    "{\"a\":tru}",
	    "{\"a\":[1,2}",
	    "{\"a\":[[[[[[[[[[[[]]]]]]]]]]]]}",
	    deep,
	};
	static const char *const good[] = {
	    "{}", "{\"a\":[1,-2.5e+3,true,null,{\"b\":[]}]}",
	    "\r\n\t {\"capabilities\":{\"unknown\":0}} "};
	struct vfuhost *h = *state;
	struct vfu_answer a;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		version_answer(h, 0, 0, bad[i], NULL);
		if (!vh_closed(h))
			fail_msg("taken: %s", bad[i]);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		version_answer(h, 0, 0, good[i], &a);
		assert_int_equal(a.hdr.flags, VFU_TYPE_REPLY);
	}
	/* No NUL, and one in the middle. */
	vh_dial(h);
	vh_send(h, VFU_VERSION, 0, "\0\0\0\0{}", 6);
	vh_pump(h);
	assert_true(vh_closed(h));
	vh_dial(h);
	vh_send(h, VFU_VERSION, 0, "\0\0\0\0{}\0{}\0", 10);
	vh_pump(h);
	assert_true(vh_closed(h));
}

/* ---- what there is ---- */

/* covers: VFU-DEV-14 */
static void info_is_of_a_pci_device_with_reset(void **state)
{
	static const uint32_t sizes[] = {0, 8, 15, 16, 64};
	struct vfuhost *h = *state;
	struct vfu_answer a;

	for (int i = 0; i < 5; i++) {
		struct vfu_device_info info = {.argsz = sizes[i]};
		int r = vh_ask(h, VFU_GET_INFO, &info, sizeof(info), &a);

		assert_int_equal(r, sizes[i] < 16 ? EINVAL : 0);
		if (r)
			continue;
		assert_int_equal(a.len, 16);
		assert_int_equal(a.info.argsz, 16);
		assert_int_equal(a.info.flags, 3);
		assert_true(a.info.num_regions >= 9);
		assert_true(a.info.num_irqs >= 5);
	}
}

/* covers: VFU-DEV-16 */
static void regions_are_those_of_the_function(void **state)
{
	static const uint64_t sizes[9] = {0x2000, 0, 0x2000, 0, 0, 0, 0, 256};
	struct vfuhost *h = *state;
	struct vfu_answer a;

	for (uint32_t i = 0; i < 20; i++) {
		struct vfu_region_info info = {.argsz = 32, .index = i};
		int r = vh_ask(h, VFU_GET_REGION_INFO, &info, sizeof(info), &a);

		assert_int_equal(r, i < 9 ? 0 : EINVAL);
		if (r)
			continue;
		assert_int_equal(a.len, 32);
		assert_int_equal(a.region.argsz, 32);
		assert_int_equal(a.region.index, i);
		assert_int_equal(a.region.size, sizes[i]);
		/* Nothing can be mapped: no flag, no fd. */
		assert_int_equal(a.region.flags, sizes[i] ? 3 : 0);
		assert_int_equal(a.fd_cnt, 0);
	}
}

/* covers: VFU-DEV-20 */
static void interrupts_are_intx_and_msix(void **state)
{
	static const uint32_t cnts[5] = {1, 0, REC_QUEUES + 1, 0, 0};
	struct vfuhost *h = *state;
	struct vfu_answer a;

	for (uint32_t i = 0; i < 20; i++) {
		struct vfu_irq_info info = {.argsz = 16, .index = i};
		int r = vh_ask(h, VFU_GET_IRQ_INFO, &info, sizeof(info), &a);

		assert_int_equal(r, i < 5 ? 0 : EINVAL);
		if (r)
			continue;
		assert_int_equal(a.irq.argsz, 16);
		assert_int_equal(a.irq.count, cnts[i]);
		if (i == VFU_IRQ_INTX)
			assert_int_equal(a.irq.flags, 7);
		else if (i == VFU_IRQ_MSIX)
			assert_int_equal(a.irq.flags & 9, 9);
		else
			assert_int_equal(a.irq.flags, 0);
	}
}

/* ---- registers ---- */

/* covers: VFU-DEV-26, VFU-DEV-27, VFU-BTH-10 */
static void registers_are_read_and_written(void **state)
{
	struct vfuhost *h = *state;
	uint32_t v;

	assert_int_equal(vh_read(h, VFU_REGION_CONFIG, 0, 4, &v), 0);
	assert_int_equal(v, 0x105a1af4);
	assert_int_equal(vh_write(h, 0, VTFS_PCI_QUEUE_DESC, 4, 0x1234), 0);
	assert_int_equal(vh_read(h, 0, VTFS_PCI_QUEUE_DESC, 4, &v), 0);
	assert_int_equal(v, 0x1234);
	assert_int_equal(vh_read(h, 0, 0x1ffc, 4, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(vh_write(h, 0, 0x800, 4, 1), 0);
	assert_int_equal(vh_read(h, 0, 0x1ffd, 4, &v), EINVAL);
	assert_int_equal(vh_read(h, 0, UINT64_MAX, 1, &v), EINVAL);
	assert_int_equal(vh_write(h, 0, 0x2000, 4, 1), EINVAL);
	assert_int_equal(vh_read(h, VFU_REGION_CONFIG, 256, 1, &v), EINVAL);
	assert_int_equal(vh_read(h, 1, 0, 4, &v), EINVAL);
	assert_int_equal(vh_read(h, 9, 0, 4, &v), EINVAL);
	assert_int_equal(vh_read(h, UINT32_MAX, 0, 4, &v), EINVAL);
}

/* covers: VFU-DEV-28 */
static void several_writes_go_at_once(void **state)
{
	struct vfuhost *h = *state;
	struct {
		uint64_t cnt;
		struct vfu_region_wr wr[2];
	} m = {2,
	       {{VTFS_PCI_DEVICE_STATUS, 0, 1, {3}},
		{VTFS_PCI_QUEUE_SELECT, 0, 2, {2}}}};
	struct vfu_answer a;
	uint64_t done;
	uint32_t v;

	assert_int_equal(vh_ask(h, VFU_REGION_WRITE_MULTI, &m, sizeof(m), &a),
			 0);
	assert_int_equal(a.len, 8);
	memcpy(&done, a.bytes, 8);
	assert_int_equal(done, 2);
	assert_int_equal(vh_status(h), 3);
	vh_read(h, 0, VTFS_PCI_QUEUE_SELECT, 2, &v);
	assert_int_equal(v, 2);
	m.wr[0].count = 9;
	assert_int_equal(vh_ask(h, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL),
			 EINVAL);
	m.wr[0].count = 1;
	m.cnt = 3;
	assert_int_equal(vh_ask(h, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL),
			 EINVAL);
	m.cnt = 1ULL << 61;
	assert_int_equal(vh_ask(h, VFU_REGION_WRITE_MULTI, &m, 8, NULL),
			 EINVAL);
	vh_dial(h);
	vh_version(h, NULL);
	m.cnt = 2;
	assert_int_equal(vh_ask(h, VFU_REGION_WRITE_MULTI, &m, sizeof(m), NULL),
			 EINVAL);
}

/* covers: VFU-DEV-15, VFU-DEV-19 */
static void doorbells_can_be_eventfds(void **state)
{
	struct vfuhost *h = *state;
	struct vfu_io_fds ask = {.argsz = 16};
	struct vfu_io_fd sub[REC_QUEUES];
	struct vfu_answer a;
	uint64_t one = 1;

	vh_up(h);
	assert_int_equal(
	    vh_ask(h, VFU_GET_REGION_IO_FDS, &ask, sizeof(ask), &a), 0);
	assert_int_equal(a.len, 16);
	assert_int_equal(a.fd_cnt, 0);
	assert_int_equal(a.io.argsz, 16 + 40 * REC_QUEUES);
	ask.argsz = a.io.argsz;
	assert_int_equal(
	    vh_ask(h, VFU_GET_REGION_IO_FDS, &ask, sizeof(ask), &a), 0);
	assert_int_equal(a.io.flags, 0);
	assert_int_equal(a.io.count, REC_QUEUES);
	assert_int_equal(a.len, ask.argsz);
	assert_int_equal(a.fd_cnt, REC_QUEUES);
	memcpy(sub, a.bytes + 16, sizeof(sub));
	for (unsigned i = 0; i < REC_QUEUES; i++) {
		assert_int_equal(sub[i].type, VFU_IO_FD_IOEVENTFD);
		assert_int_equal(sub[i].offset, 0x1000 + 4 * i);
		assert_int_equal(
		    write(a.fds[sub[i].fd_index], &one, sizeof(one)), 8);
		assert_int_equal(vh_heard(h->rec.kick_fd[i]), 1);
		/* A message rings as well. */
		assert_int_equal(vh_write(h, 0, sub[i].offset, 2, i), 0);
		assert_int_equal(vh_heard(h->rec.kick_fd[i]), 1);
		close(a.fds[i]);
	}
	ask.index = 2;
	assert_int_equal(
	    vh_ask(h, VFU_GET_REGION_IO_FDS, &ask, sizeof(ask), NULL), EINVAL);
	ask.index = 0;
	ask.flags = 1;
	assert_int_equal(
	    vh_ask(h, VFU_GET_REGION_IO_FDS, &ask, sizeof(ask), NULL), EINVAL);
}

static void features_of_migration_are_not_there(void **state)
{
	static const uint32_t methods[8] = {EINVAL, ENOTTY, ENOTTY, EINVAL,
					    ENOTTY, ENOTTY, ENOTTY, ENOTTY};
	struct vfuhost *h = *state;

	for (uint32_t i = 0; i < 8; i++) {
		struct vfu_feature f = {16, i << 16 | 1};

		assert_int_equal(vh_ask(h, VFU_FEATURE, &f, sizeof(f), NULL),
				 methods[i]);
	}
}

static void more_queues_than_the_function_has(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct virtiofs_transport *t;
		struct rec rec;
		int sv[2];

		assert_int_equal(
		    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
		assert_int_equal(virtiofs_vfio_user_device_fd(&t, sv[1]), 0);
		rec_prepare(&rec, t);
		rec.queue_cnt = VTFS_PCIFN_QUEUES + i;
		assert_int_equal(t->dev->attach(t, &rec.sink), i ? -EINVAL : 0);
		rec_fini(&rec);
		close(sv[0]);
	}
	(void)state;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    T(header_has_sixteen_bytes),
	    T(every_reply_echoes_its_command),
	    T(ids_may_repeat),
	    T(no_reply_is_none_and_order_is_kept),
	    T(errors_are_a_header_only),
	    T(message_may_come_byte_by_byte),
	    T(replies_nobody_reads_hold_up_nothing),
	    T(version_is_not_above_the_proposal),
	    T(version_comes_first_and_once),
	    T(json_is_optional_and_judged),
	    T(info_is_of_a_pci_device_with_reset),
	    T(regions_are_those_of_the_function),
	    T(interrupts_are_intx_and_msix),
	    T(registers_are_read_and_written),
	    T(several_writes_go_at_once),
	    T(doorbells_can_be_eventfds),
	    T(features_of_migration_are_not_there),
	    cmocka_unit_test(more_queues_than_the_function_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
