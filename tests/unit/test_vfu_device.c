/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vfio-user: memory, interrupts, resets, and connections that end. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vfuhost.h"

#define T(f)   cmocka_unit_test_setup_teardown(f, vh_set_up, vh_tear_down)
#define FDS    (VFU_IRQ_DATA_EVENTFD | VFU_IRQ_ACTION_TRIGGER)
#define NONE   VFU_IRQ_DATA_NONE
#define BOOL   VFU_IRQ_DATA_BOOL
#define MASK   VFU_IRQ_ACTION_MASK
#define UNMASK VFU_IRQ_ACTION_UNMASK
#define FIRE   VFU_IRQ_ACTION_TRIGGER
#define MSIX   VFU_IRQ_MSIX

/* ---- memory ---- */

/* covers: VFU-DEV-07 */
static void memory_over_memory_is_refused(void **state)
{
	static const struct {
		uint64_t at, size;
	} over[] = {
	    {0x4000, 0x4000}, {0x3000, 0x2000}, {0x7000, 0x2000},
	    {0x5000, 0x1000}, {0x3000, 0x6000}, {0, 0x100000},
	};
	struct vfuhost *h = *state;
	int fd = vh_memfd(0x100000);

	assert_int_equal(vh_map(h, 0x4000, 0x4000, 3, fd), 0);
	for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		assert_int_equal(vh_map(h, over[i].at, over[i].size, 3, fd),
				 EEXIST);
		assert_int_equal(vh_map(h, over[i].at, over[i].size, 3, -1),
				 EEXIST);
	}
	assert_int_equal(vh_map(h, 0x3000, 0x1000, 3, fd), 0);
	assert_int_equal(vh_map(h, 0x8000, 0x1000, 3, -1), 0);
	assert_int_equal(h->rec.table->cnt, 2);
	close(fd);
}

/* covers: VFU-DEV-08 */
static void memory_modes_want_an_fd(void **state)
{
	struct vfuhost *h = *state;
	int fd = vh_memfd(0x10000);

	assert_int_equal(vh_map(h, 0, 0x1000, 3 | 4, -1), EINVAL);
	assert_int_equal(vh_map(h, 0, 0x1000, 3 | 8, -1), EINVAL);
	assert_int_equal(vh_map(h, 0, 0x1000, 3 | 8, fd), EOPNOTSUPP);
	assert_int_equal(vh_map(h, 0, 0x1000, 3 | 16, fd), EINVAL);
	assert_null(h->rec.table);
	assert_int_equal(vh_map(h, 0, 0x1000, 3 | 4, fd), 0);
	assert_int_equal(vh_map(h, 0x1000, 0x1000, 3, fd), 0);
	assert_int_equal(h->rec.table->cnt, 2);
	assert_non_null(vtfs_table_ptr(h->rec.table, 0x1000, 0x1000));
	close(fd);
}

/* covers: VFU-DEV-09 */
static void memory_that_is_half_shared_is_not_touched(void **state)
{
	struct vfuhost *h = *state;
	int fd = vh_memfd(0x10000);

	for (uint32_t flags = 0; flags < 3; flags++) {
		assert_int_equal(vh_map(h, 0x10000 * flags, 0x1000, flags, fd),
				 0);
		assert_null(h->rec.table);
		assert_int_equal(vh_unmap(h, 0x10000 * flags, 0x1000), 0);
	}
	assert_int_equal(vh_map(h, 0, 0, 3, fd), EINVAL);
	assert_int_equal(vh_map(h, 0x10, 0x1000, 3, fd), EINVAL);
	assert_int_equal(vh_map(h, 0, 0x1001, 3, fd), EINVAL);
	assert_int_equal(vh_map(h, UINT64_MAX - 0xfff, 0x2000, 3, fd), EINVAL);
	assert_int_equal(vh_map(h, 0x1000, UINT64_MAX - 0xfff, 3, fd), EINVAL);
	assert_int_equal(vh_map(h, 0, 0x20000, 3, fd), EINVAL);
	assert_null(h->rec.table);
	close(fd);
}

static void memory_has_its_bounds(void **state)
{
	struct vfuhost *h = *state;
	unsigned before = raw_fd_cnt();

	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(vh_map(h, i * 0x1000, 0x1000, 3, -1), 0);
	assert_int_equal(vh_map(h, 0x1000000, 0x1000, 3, -1), ENOSPC);
	assert_int_equal(vh_unmap(h, 0x5000, 0x1000), 0);
	assert_int_equal(vh_map(h, 0x1000000, 0x1000, 3, -1), 0);
	assert_int_equal(raw_fd_cnt(), before);
}

/* covers: VFU-DEV-12 */
static void unmap_has_to_match(void **state)
{
	struct vfuhost *h = *state;
	int fd = vh_memfd(0x10000);

	assert_int_equal(vh_map(h, 0x4000, 0x4000, 3, fd), 0);
	assert_int_equal(vh_map(h, 0x8000, 0x4000, 3, fd), 0);
	assert_int_equal(vh_unmap(h, 0x4000, 0x2000), ENOENT);
	assert_int_equal(vh_unmap(h, 0x4000, 0x8000), ENOENT);
	assert_int_equal(vh_unmap(h, 0, 0x4000), ENOENT);
	assert_int_equal(h->rec.table->cnt, 2);
	assert_int_equal(vh_unmap(h, 0x4000, 0x4000), 0);
	assert_int_equal(h->rec.table->cnt, 1);
	assert_int_equal(vh_unmap(h, 0x4000, 0x4000), ENOENT);
	close(fd);
}

/* covers: VFU-DEV-11 */
static void unmap_waits_for_who_uses_it(void **state)
{
	const struct vfu_dma_unmap u = {24, 0, 0x4000, 0x4000};
	struct vfuhost *h = *state;
	struct vfu_answer a;
	int fd = vh_memfd(0x10000);

	assert_int_equal(vh_map(h, 0x4000, 0x4000, 3, fd), 0);
	h->rec.hold = true;
	vh_send(h, VFU_DMA_UNMAP, 0, &u, sizeof(u));
	vh_pump(h);
	assert_int_equal(h->rec.table->cnt, 0);
	assert_true(vh_quiet(h));
	/* Nor is anything else answered before that. */
	vh_send(h, VFU_GET_INFO, 0, "\20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	vh_pump(h);
	assert_true(vh_quiet(h));
	rec_answer_table(&h->rec);
	vh_pump(h);
	vh_recv(h, &a);
	assert_int_equal(a.hdr.command, VFU_DMA_UNMAP);
	assert_memory_equal(&a.unmap, &u, sizeof(u));
	vh_recv(h, &a);
	assert_int_equal(a.hdr.command, VFU_GET_INFO);
	close(fd);
}

static void all_can_be_unmapped_at_once(void **state)
{
	struct vfu_dma_unmap u = {.argsz = 24, .flags = VFU_DMA_UNMAP_ALL};
	struct vfuhost *h = *state;
	int fd = vh_memfd(0x10000);
	unsigned maps = raw_memfd_map_cnt();

	assert_int_equal(vh_map(h, 0x4000, 0x4000, 3, fd), 0);
	assert_int_equal(vh_map(h, 0x8000, 0x4000, 3, fd), 0);
	assert_int_equal(vh_map(h, 0xc000, 0x4000, 3, -1), 0);
	u.size = 1;
	assert_int_equal(vh_ask(h, VFU_DMA_UNMAP, &u, sizeof(u), NULL), EINVAL);
	u.size = 0;
	assert_int_equal(vh_ask(h, VFU_DMA_UNMAP, &u, sizeof(u), NULL), 0);
	assert_int_equal(h->rec.table->cnt, 0);
	assert_int_equal(raw_memfd_map_cnt(), maps);
	assert_int_equal(vh_map(h, 0x4000, 0x10000, 3, fd), 0);
	close(fd);
}

/* ---- interrupts ---- */

static int mask_some(struct vfuhost *h, uint32_t action, uint8_t a, uint8_t b)
{
	struct {
		struct vfu_irq_set s;
		uint8_t chosen[2];
	} m = {{22, BOOL | action, MSIX, 1, 2}, {a, b}};

	return vh_ask(h, VFU_SET_IRQS, &m, 22, NULL);
}

/* covers: VFU-DEV-22 */
static void vectors_get_and_lose_their_fds(void **state)
{
	struct vfuhost *h = *state;
	int fds[4];

	vh_up(h);
	for (int i = 0; i < 4; i++)
		fds[i] = vh_eventfd();
	assert_int_equal(vh_irq_fds(h, fds, 4), 0);
	vtfs_evfd_signal(h->rec.call_fd[1]);
	vh_pump(h);
	assert_int_equal(vh_heard(fds[2]), 1);
	/* Without fds: one of them gives its own back. */
	assert_int_equal(vh_set_irqs(h, FDS, MSIX, 2, 1), 0);
	vtfs_evfd_signal(h->rec.call_fd[1]);
	vtfs_evfd_signal(h->rec.call_fd[0]);
	vh_pump(h);
	assert_int_equal(vh_heard(fds[2]), 0);
	assert_int_equal(vh_heard(fds[1]), 1);
	/* And all of them. */
	assert_int_equal(vh_set_irqs(h, NONE | FIRE, MSIX, 0, 0), 0);
	vtfs_evfd_signal(h->rec.call_fd[0]);
	vh_pump(h);
	assert_int_equal(vh_heard(fds[1]), 0);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

/* covers: VFU-DEV-23 */
static void client_fires_what_it_likes(void **state)
{
	struct vfuhost *h = *state;
	int fds[4], intx = vh_eventfd();
	const struct vfu_irq_set s = {20, FDS, VFU_IRQ_INTX, 0, 1};

	for (int i = 0; i < 4; i++)
		fds[i] = vh_eventfd();
	assert_int_equal(vh_irq_fds(h, fds, 4), 0);
	assert_int_equal(vh_set_irqs(h, NONE | FIRE, MSIX, 1, 2), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(vh_heard(fds[i]), i == 1 || i == 2);
	assert_int_equal(mask_some(h, FIRE, 0, 1), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(vh_heard(fds[i]), i == 2);
	vh_send_fds(h, VFU_SET_IRQS, &s, sizeof(s), &intx, 1);
	vh_pump(h);
	vh_recv(h, &(struct vfu_answer){0});
	assert_int_equal(vh_set_irqs(h, NONE | FIRE, VFU_IRQ_INTX, 0, 1), 0);
	assert_int_equal(vh_heard(intx), 1);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	close(intx);
}

/* covers: VFU-DEV-24 */
static void masked_vectors_wait(void **state)
{
	const struct vfu_irq_set more = {
	    sizeof(more), VFU_IRQ_DATA_EVENTFD | VFU_IRQ_ACTION_TRIGGER, MSIX,
	    2, 2};
	struct vfuhost *h = *state;
	struct vfu_answer a;
	uint32_t pba;
	int fds[4];

	vh_up(h);
	for (int i = 0; i < 4; i++)
		fds[i] = vh_eventfd();
	/* In several messages, as a client with few fds at once does. */
	assert_int_equal(vh_irq_fds(h, fds, 2), 0);
	vh_send_fds(h, VFU_SET_IRQS, &more, sizeof(more), fds + 2, 2);
	vh_pump(h);
	vh_recv(h, &a);
	assert_int_equal(a.hdr.error, 0);
	assert_int_equal(mask_some(h, MASK, 0, 1), 0);
	vtfs_evfd_signal(h->rec.call_fd[0]);
	vtfs_evfd_signal(h->rec.call_fd[1]);
	vh_pump(h);
	assert_int_equal(vh_heard(fds[1]), 1);
	assert_int_equal(vh_heard(fds[2]), 0);
	assert_int_equal(vh_read(h, 2, VTFS_PCIFN_PBA, 4, &pba), 0);
	assert_int_equal(pba, 1u << 2);
	assert_int_equal(vh_set_irqs(h, NONE | UNMASK, MSIX, 0, 4), 0);
	assert_int_equal(vh_heard(fds[2]), 1);
	assert_int_equal(vh_heard(fds[1]), 0);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

/* covers: VFU-DEV-21 */
static void odd_flags_and_ranges_are_refused(void **state)
{
	struct vfuhost *h = *state;
	int fds[4];

	for (uint32_t flags = 0; flags < 128; flags++) {
		uint32_t data = flags & 7, action = flags & 56;
		bool ok = (data == 1 || data == 4) &&
			  (action == 8 || action == 16 || action == 32) &&
			  flags < 64 && (data != 4 || action == 32);

		assert_int_equal(vh_set_irqs(h, flags, MSIX, 0, 1),
				 ok ? 0 : EINVAL);
	}
	assert_int_equal(vh_set_irqs(h, NONE | MASK, MSIX, 4, 1), EINVAL);
	assert_int_equal(vh_set_irqs(h, NONE | MASK, MSIX, 1, 4), EINVAL);
	assert_int_equal(vh_set_irqs(h, NONE | MASK, MSIX, 1, UINT32_MAX),
			 EINVAL);
	assert_int_equal(vh_set_irqs(h, NONE | MASK, MSIX, UINT32_MAX, 2),
			 EINVAL);
	assert_int_equal(vh_set_irqs(h, NONE | MASK, VFU_IRQ_MSI, 0, 1),
			 EINVAL);
	assert_int_equal(vh_set_irqs(h, NONE | MASK, UINT32_MAX, 0, 1), EINVAL);
	assert_int_equal(vh_set_irqs(h, BOOL | MASK, MSIX, 0, 1), EINVAL);
	/* An fd that is no eventfd, and fewer than vectors. */
	for (int i = 0; i < 4; i++)
		fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(vh_irq_fds(h, fds, 4), EINVAL);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

/* covers: VFU-DEV-25 */
static void fds_of_interrupts_do_not_pile_up(void **state)
{
	const struct vfu_irq_set s = {20, FDS, MSIX, 0, 3};
	struct vfuhost *h = *state;
	struct vfu_answer a;
	unsigned before;
	int fds[4];

	for (int i = 0; i < 4; i++)
		fds[i] = vh_eventfd();
	assert_int_equal(vh_irq_fds(h, fds, 4), 0);
	before = raw_fd_cnt();
	for (int i = 0; i < 1000; i++)
		assert_int_equal(vh_irq_fds(h, fds, 4), 0);
	assert_int_equal(raw_fd_cnt(), before);
	/* More than vectors: none is kept. */
	vh_send_fds(h, VFU_SET_IRQS, &s, sizeof(s), fds, 4);
	vh_pump(h);
	vh_recv(h, &a);
	assert_int_equal(a.hdr.error, EINVAL);
	assert_int_equal(raw_fd_cnt(), before);
	assert_int_equal(vh_set_irqs(h, NONE | FIRE, MSIX, 0, 0), 0);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

/* ---- resets ---- */

/* covers: VFU-DEV-30, VFU-DEV-39 */
static void reset_is_answered_when_all_is_as_at_first(void **state)
{
	struct vfuhost *h = *state;
	unsigned char before[256];
	struct vfu_answer a;
	int fds[4];
	uint32_t v;
	struct vfu_region_io io = {0, VFU_REGION_CONFIG, 256};

	assert_int_equal(vh_ask(h, VFU_REGION_READ, &io, sizeof(io), &a), 0);
	memcpy(before, a.bytes + 16, 256);
	vh_up(h);
	for (int i = 0; i < 4; i++)
		fds[i] = vh_eventfd();
	vh_irq_fds(h, fds, 4);
	vh_write(h, VFU_REGION_CONFIG, 0x10, 4, 0xfebd0000);
	vh_write(h, 2, 0, 4, 0xfee00000);
	h->rec.hold = true;
	vh_send(h, VFU_RESET, 0, NULL, 0);
	vh_pump(h);
	assert_int_equal(h->rec.resets, 1);
	assert_true(vh_quiet(h));
	rec_answer_reset(&h->rec);
	vh_pump(h);
	vh_recv(h, &a);
	assert_int_equal(a.hdr.command, VFU_RESET);
	assert_int_equal(a.len, 0);
	assert_int_equal(vh_status(h), 0);
	assert_int_equal(vh_ask(h, VFU_REGION_READ, &io, sizeof(io), &a), 0);
	assert_memory_equal(a.bytes + 16, before, 256);
	vh_read(h, 2, 0, 4, &v);
	assert_int_equal(v, 0);
	vh_read(h, 2, 12, 4, &v);
	assert_int_equal(v, 1);
	/* What it had for interrupts rings no more; memory stays. */
	assert_int_equal(vh_set_irqs(h, NONE | FIRE, MSIX, 0, 4), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(vh_heard(fds[i]), 0);
		close(fds[i]);
	}
	assert_int_equal(h->rec.table->cnt, 1);
	/* The same by the function's own register. */
	h->rec.hold = false;
	assert_int_equal(vh_unmap(h, VH_GUEST, VH_MEM), 0);
	vh_up(h);
	h->rec.hold = true;
	v = 1;
	struct {
		struct vfu_region_io io;
		uint8_t one;
	} flr = {{VTFS_PCIFN_CAP_AF + 4, VFU_REGION_CONFIG, 1}, 1};
	vh_send(h, VFU_REGION_WRITE, 0, &flr, 17);
	vh_pump(h);
	assert_true(vh_quiet(h));
	rec_answer_reset(&h->rec);
	vh_pump(h);
	vh_recv(h, &a);
	assert_int_equal(a.hdr.command, VFU_REGION_WRITE);
	assert_int_equal(vh_status(h), 0);
}

/* ---- connections ---- */

/* covers: VFU-DEV-31, VFU-DEV-39 */
static void next_client_finds_no_trace_of_the_last(void **state)
{
	struct vfuhost *h = *state;
	unsigned fds = 0, maps = raw_memfd_map_cnt();
	int fd = vh_eventfd();
	uint32_t v;

	for (int i = 0; i < 100; i++) {
		vh_up(h);
		assert_int_equal(vh_irq_fds(h, &fd, 1), 0);
		vh_write(h, VFU_REGION_CONFIG, 0x10, 4, 0xfebd0000);
		vh_dial(h);
		vh_version(h, NULL);
		assert_int_equal(h->rec.losses, i + 1);
		assert_int_equal(raw_memfd_map_cnt(), maps);
		assert_int_equal(vh_status(h), 0);
		assert_int_equal(vh_set_irqs(h, NONE | FIRE, MSIX, 0, 4), 0);
		assert_int_equal(vh_heard(fd), 0);
		if (fds)
			assert_int_equal(raw_fd_cnt(), fds);
		fds = raw_fd_cnt();
	}
	/* The configuration space is as it was left. */
	vh_read(h, VFU_REGION_CONFIG, 0x10, 4, &v);
	assert_int_equal(v, 0xfebd0004);
	close(fd);
}

/* The next one waits until the session has let go of the last. */
static void next_client_waits_for_the_session(void **state)
{
	struct vfuhost *h = *state;
	struct vfu_answer a;

	vh_up(h);
	h->rec.hold = true;
	vh_dial(h);
	vh_send(h, VFU_VERSION, 0, "\0\0\0\0", 4);
	vh_pump(h);
	assert_int_equal(h->rec.losses, 1);
	assert_true(vh_quiet(h));
	rec_answer_reset(&h->rec);
	vh_pump(h);
	vh_recv(h, &a);
	assert_int_equal(a.hdr.command, VFU_VERSION);
}

static void client_that_waits_may_leave(void **state)
{
	struct vfuhost *h = *state;

	vh_up(h);
	h->rec.hold = true;
	vh_send(h, VFU_RESET, 0, NULL, 0);
	vh_pump(h);
	vh_dial(h);
	assert_int_equal(h->rec.losses, 1);
	rec_answer_reset(&h->rec);
	h->rec.hold = false;
	vh_pump(h);
	vh_version(h, NULL);
	vh_up(h);
}

static void only_connection_ends_the_device(void **state)
{
	struct virtiofs_transport *t;
	struct rec *rec = test_calloc(1, sizeof(*rec));
	int pair[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(virtiofs_vfio_user_device_fd(&t, pair[0]), 0);
	rec_init(rec, t);
	assert_int_equal(t->dev->dispatch(t), 0);
	close(pair[1]);
	assert_int_equal(t->dev->dispatch(t), -ENOTCONN);
	rec_fini(rec);
	test_free(rec);
	/* What is no socket stays the caller's. */
	pair[0] = vh_eventfd();
	assert_int_equal(virtiofs_vfio_user_device_fd(&t, pair[0]), -ENOTSOCK);
	assert_int_equal(virtiofs_vfio_user_listen_fd(&t, pair[0]), -ENOTSOCK);
	assert_int_equal(close(pair[0]), 0);
}

static void path_is_listened_on_and_removed(void **state)
{
	struct virtiofs_transport *t, *u;
	char dir[] = "/tmp/vfu-XXXXXX", uri[64];

	assert_non_null(mkdtemp(dir));
	snprintf(uri, sizeof(uri), "vfio-user:%s/s", dir);
	assert_int_equal(virtiofs_transport_open_device(&t, uri), 0);
	assert_int_equal(access(uri + 10, F_OK), 0);
	assert_int_equal(virtiofs_transport_open_device(&u, uri), -EADDRINUSE);
	virtiofs_transport_free(t);
	assert_int_equal(access(uri + 10, F_OK), -1);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    T(memory_over_memory_is_refused),
	    T(memory_modes_want_an_fd),
	    T(memory_that_is_half_shared_is_not_touched),
	    T(memory_has_its_bounds),
	    T(unmap_has_to_match),
	    T(unmap_waits_for_who_uses_it),
	    T(all_can_be_unmapped_at_once),
	    T(vectors_get_and_lose_their_fds),
	    T(client_fires_what_it_likes),
	    T(masked_vectors_wait),
	    T(odd_flags_and_ranges_are_refused),
	    T(fds_of_interrupts_do_not_pile_up),
	    T(reset_is_answered_when_all_is_as_at_first),
	    T(next_client_finds_no_trace_of_the_last),
	    T(next_client_waits_for_the_session),
	    T(client_that_waits_may_leave),
	    T(only_connection_ends_the_device),
	    T(path_is_listened_on_and_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
