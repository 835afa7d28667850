/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client of vfio-user before a server in the test's hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vfuserver.h"
#include "wire/virtio.h"

/* ---- honest ---- */

/* covers: VFU-DRV-01, VFU-DRV-04 */
static void commands_are_as_the_protocol_has_them(void **state)
{
	struct vfuserver *s = *state;
	unsigned map = 0, enable = 0;

	assert_int_equal(vs_start(s), 0);
	assert_int_equal(s->seen[0].hdr.command, VFU_VERSION);
	assert_memory_equal(s->seen[0].payload + 4, "{\"capabilities\":{", 17);
	for (unsigned i = 0; i < s->seen_cnt; i++) {
		const struct vs_seen *m = &s->seen[i];
		struct vfu_region_io io;

		assert_int_equal(m->hdr.flags & VFU_TYPE_MASK, 0);
		assert_int_equal(m->hdr.error, 0);
		if (m->hdr.command == VFU_DMA_MAP) {
			assert_int_equal(m->hdr.size, 16 + 32);
			map = i;
		}
		memcpy(&io, m->payload, sizeof(io));
		if (m->hdr.command == VFU_REGION_WRITE &&
		    io.offset == VTFS_PCI_QUEUE_ENABLE && !enable)
			enable = i;
	}
	assert_true(map && enable && map < enable);
}

static void doorbell_is_a_message_without_a_reply(void **state)
{
	struct vfuserver *s = *state;

	assert_int_equal(vs_start(s), 0);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	s->f.q[1].bells = 0;
	for (unsigned i = 0; i < 5; i++)
		vs_one_request(s);
	assert_int_equal(s->f.q[1].bells, 5);
	assert_int_equal(s->f.q[1].bell_len, 2);
	assert_int_equal(s->f.q[1].bell, 1);
	/* Interrupts: enabled, and none of the three masked. */
	assert_int_equal(s->unmasked, 7);
	assert_int_equal(s->f.cfg[s->f.cap_last + 2] & 0x80, 0x80);
}

static void servers_eventfd_is_the_doorbell(void **state)
{
	struct vfuserver *s = *state;
	uint64_t n;

	s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(vs_start(s), 0);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	s->f.q[1].bells = 0;
	vs_one_request(s);
	assert_int_equal(s->f.q[1].bells, 0);
	assert_int_equal(read(s->bell, &n, 8), 8);
}

/* covers: VFU-DRV-08 */
static void eventfds_that_do_not_fit_are_ignored(void **state)
{
	struct vfuserver *s = *state;

	s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->bad_bells = true;
	assert_int_equal(vs_start(s), 0);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	s->f.q[1].bells = 0;
	vs_one_request(s);
	assert_int_equal(s->f.q[1].bells, 1);
}

/* All that is answered, byte by byte. */
static void capabilities_may_be_left_out(void **state)
{
	struct vfuserver *s = *state;

	s->json = NULL;
	assert_int_equal(vs_start(s), 0);
}

static bool unmap_hook(struct vfuserver *s)
{
	struct vfu_dma_unmap u;
	bool known = false;

	if (s->rx.hdr.command != VFU_DMA_UNMAP)
		return false;
	memcpy(&u, s->rx.payload, sizeof(u));
	assert_int_equal(vtfs_vfu_rx_len(&s->rx), sizeof(u));
	for (unsigned i = 0; i < s->seen_cnt; i++) {
		struct vfu_dma_map m;

		memcpy(&m, s->seen[i].payload, sizeof(m));
		known |= s->seen[i].hdr.command == VFU_DMA_MAP &&
			 m.address == u.address && m.size == u.size;
	}
	assert_true(known);
	s->hook_cnt++;
	return false;
}

/* covers: VFU-DRV-05 */
static void what_was_mapped_is_unmapped_exactly(void **state)
{
	struct vfuserver *s = *state;
	struct virtiofs_region mem[3];

	s->hook = unmap_hook;
	assert_int_equal(vs_start(s), 0);
	vs_begin_serving(s);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
		    virtiofs_client_alloc_region(s->c, (i + 1) * 4096, &mem[i]),
		    0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(virtiofs_client_unmap_region(s->c, &mem[i]),
				 0);
	vs_end_serving(s);
	assert_int_equal(s->hook_cnt, 3);
}

/* A server may have more of them than there was room for.
 * covers: VFU-DRV-06 */
static void question_is_repeated_with_more_room(void **state)
{
	struct vfuserver *s = *state;
	uint64_t n;

	s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->bells_argsz = 1600;
	assert_int_equal(vs_start(s), 0);
	assert_int_equal(vs_count(s, VFU_GET_REGION_IO_FDS), 2);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	vs_one_request(s);
	assert_int_equal(read(s->bell, &n, 8), 8);
}

static bool never_content(struct vfuserver *s)
{
	if (s->rx.hdr.command == VFU_GET_REGION_IO_FDS)
		s->bells_argsz += 8;
	return false;
}

/* Once: not until the server is content, and not for more than we take. */
static void question_is_repeated_once(void **state)
{
	static const uint32_t argsz[] = {UINT32_MAX - 8, 2041, 2040, 1000};

	for (unsigned i = 0; i < 4; i++) {
		struct vfuserver *s;

		vs_set_up((void **)&s);
		s->hook = never_content;
		s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		s->bells_argsz = argsz[i];
		assert_int_equal(vs_start(s), 0);
		assert_int_equal(vs_count(s, VFU_GET_REGION_IO_FDS),
				 i < 2 ? 1 : 2);
		vs_tear_down((void **)&s);
	}
	(void)state;
}

static bool slow_reset(struct vfuserver *s)
{
	return s->rx.hdr.command == VFU_RESET && !s->hook_cnt++;
}

/* covers: VFU-DRV-10 */
static void reset_that_takes_its_time_holds_up_nobody(void **state)
{
	struct vfuserver *s = *state;
	struct vfu_header h;

	s->hook = slow_reset;
	vs_new_client(s);
	while (!s->hook_cnt) {
		assert_int_equal(virtiofs_client_start(s->c, NULL), -EAGAIN);
		vs_serve(s);
	}
	/* Neither in the call nor awake. */
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(virtiofs_client_start(s->c, NULL), -EAGAIN);
		assert_false(vs_awake(s));
	}
	h = s->seen[s->seen_cnt - 1].hdr;
	h.flags = VFU_TYPE_REPLY;
	vs_put(s, &h, NULL, 0, -1);
	assert_true(vs_awake(s));
	assert_int_equal(vs_start(s), 0);
}

/* A function of two kinds of interrupts is not asked for the third. */
static void device_without_vectors_is_not_asked_for_any(void **state)
{
	struct vfuserver *s = *state;

	s->num_irqs = VFU_IRQ_MSIX;
	assert_int_equal(vs_start(s), 0);
	assert_int_equal(vs_count(s, VFU_GET_IRQ_INFO), 0);
	assert_int_equal(vs_count(s, VFU_SET_IRQS), 0);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	vs_one_request(s);
}

static bool refuse_all(struct vfuserver *s)
{
	if (s->rx.hdr.command != VFU_DMA_MAP)
		return false;
	vs_refuse(s, s->hook_cnt++ ? 0 : ENOSPC);
	return true;
}

/* An error is 16 bytes, and its number may be 0.
 * covers: VFU-BTH-04 */
static void refusal_is_told_and_the_connection_stays(void **state)
{
	struct vfuserver *s = *state;
	struct virtiofs_region mem;

	assert_int_equal(vs_start(s), 0);
	s->hook = refuse_all;
	vs_begin_serving(s);
	assert_int_equal(virtiofs_client_alloc_region(s->c, 4096, &mem), -EIO);
	assert_int_equal(virtiofs_client_alloc_region(s->c, 4096, &mem), -EIO);
	vs_end_serving(s);
	s->hook = NULL;
	vs_begin_serving(s);
	assert_int_equal(virtiofs_client_alloc_region(s->c, 4096, &mem), 0);
	vs_end_serving(s);
}

/* ---- the end ---- */

static void server_that_hangs_up_is_noticed(void **state)
{
	struct vfuserver *s = *state;
	struct virtiofs_result res;
	struct pollfd p;

	assert_int_equal(vs_start(s), 0);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	vs_hang_up(s);
	p = (struct pollfd){.fd = virtiofs_client_fd(s->c), .events = POLLIN};
	assert_int_equal(poll(&p, 1, 10000), 1);
	virtiofs_client_dispatch(s->c);
	assert_int_equal(virtiofs_cliq_reap(s->q, &res, 1), -ENOTCONN);
	/* And quiet from then on. */
	virtiofs_client_dispatch(s->c);
	assert_int_equal(poll(&p, 1, 0), 0);
	/* There is no path to find it again. */
	assert_int_equal(vs_start(s), -ENOTCONN);
}

/* covers: VFU-DRV-11 */
static void server_that_is_back_is_reset_first(void **state)
{
	struct vfuserver *s = *state;
	struct virtiofs_result res;
	unsigned was;

	vs_listen(s);
	assert_int_equal(vs_start(s), 0);
	assert_int_equal(vs_count(s, VFU_RESET), 1);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	vs_hang_up(s);
	virtiofs_client_dispatch(s->c);
	assert_int_equal(virtiofs_cliq_reap(s->q, &res, 1), -ENOTCONN);
	was = s->seen_cnt;
	assert_int_equal(vs_start(s), 0);
	assert_int_equal(s->seen[was].hdr.command, VFU_VERSION);
	assert_int_equal(vs_count(s, VFU_RESET), 2);
	/* Before any register. */
	for (was++; s->seen[was].hdr.command != VFU_RESET; was++)
		assert_true(s->seen[was].hdr.command == VFU_GET_INFO ||
			    s->seen[was].hdr.command == VFU_GET_IRQ_INFO);
	vs_one_request(s);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, vs_set_up, vs_tear_down)
	const struct CMUnitTest tests[] = {
	    T(commands_are_as_the_protocol_has_them),
	    T(doorbell_is_a_message_without_a_reply),
	    T(servers_eventfd_is_the_doorbell),
	    T(eventfds_that_do_not_fit_are_ignored),
	    T(capabilities_may_be_left_out),
	    T(what_was_mapped_is_unmapped_exactly),
	    T(question_is_repeated_with_more_room),
	    cmocka_unit_test(question_is_repeated_once),
	    T(reset_that_takes_its_time_holds_up_nobody),
	    T(device_without_vectors_is_not_asked_for_any),
	    T(refusal_is_told_and_the_connection_stays),
	    T(server_that_hangs_up_is_noticed),
	    T(server_that_is_back_is_reset_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
