/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a server of vfio-user asks of the client's memory, and what of the
 * client's own waits to go out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vfuserver.h"
#include "transport/virtio_pci/driver_impl.h"

/* ---- the server's own commands ---- */

struct dma {
	struct vfu_dma_io io;
	unsigned char data[64];
};

static struct dma last_dma;
static struct vfu_header last_dma_hdr;

/* Before the answer to a read comes a command of the server's; the client has
 * to serve it while it waits. */
static bool dma_hook(struct vfuserver *s)
{
	struct vfu_header h = {.id = s->rx.hdr.id, .command = VFU_DMA_READ};
	struct dma d = {.io = {s->f.l.region_at[0], 64}};

	if (s->rx.hdr.flags & VFU_TYPE_REPLY) {
		last_dma_hdr = s->rx.hdr;
		memset(&last_dma, 0, sizeof(last_dma));
		memcpy(&last_dma, s->rx.payload,
		       vtfs_vfu_rx_len(&s->rx) < sizeof(last_dma)
			   ? vtfs_vfu_rx_len(&s->rx)
			   : sizeof(last_dma));
		s->hook_cnt++;
		return true;
	}
	if (s->rx.hdr.command != VFU_REGION_READ || !s->f.l.region_cnt)
		return false;
	vs_put(s, &h, &d.io, sizeof(d.io), -1);
	return false;
}

/* covers: VFU-BTH-03, VFU-BTH-08, VFU-BTH-09 */
static void memory_is_served_while_a_reply_is_awaited(void **state)
{
	struct vfuserver *s = *state;

	s->hook = dma_hook;
	assert_int_equal(vs_start(s), 0);
	assert_true(s->hook_cnt > 5);
	assert_int_equal(last_dma_hdr.flags, VFU_TYPE_REPLY);
	assert_int_equal(last_dma_hdr.command, VFU_DMA_READ);
	assert_int_equal(last_dma_hdr.size, 16 + 16 + 64);
}

static void ask_dma(struct vfuserver *s, uint16_t command, uint64_t addr,
		    uint64_t count)
{
	struct vfu_header h = {.id = 77, .command = command};
	struct dma d = {.io = {addr, count}};
	size_t len = sizeof(d.io);

	memset(d.data, 0xa5, sizeof(d.data));
	if (command == VFU_DMA_WRITE)
		len += count < 64 ? count : 64;
	vs_put(s, &h, &d, len, -1);
	s->hook_cnt = 0;
	while (!s->hook_cnt) {
		virtiofs_client_dispatch(s->c);
		assert_true(vs_serve(s));
	}
	assert_int_equal(last_dma_hdr.id, 77);
}

/* covers: VFU-DRV-09, VFU-BTH-02, VFU-BTH-10 */
static void memory_is_served_inside_of_what_was_mapped(void **state)
{
	static unsigned char was[64];
	struct vfuserver *s = *state;
	uint64_t at, len;
	unsigned char *p;

	s->hook = dma_hook;
	assert_int_equal(vs_start(s), 0);
	at = s->f.l.region_at[0];
	len = s->f.l.regions[0].len;
	p = (unsigned char *)(uintptr_t)(at + len - 64);
	ask_dma(s, VFU_DMA_WRITE, at + len - 64, 64);
	assert_int_equal(last_dma_hdr.flags, VFU_TYPE_REPLY);
	assert_int_equal(last_dma.io.count, 64);
	memset(was, 0xa5, sizeof(was));
	assert_memory_equal(p, was, 64);
	ask_dma(s, VFU_DMA_READ, at + len - 64, 64);
	assert_memory_equal(last_dma.data, was, 64);
	/* One byte beyond, before, nowhere, around, more than one message. */
	ask_dma(s, VFU_DMA_READ, at + len - 63, 64);
	assert_int_equal(last_dma_hdr.flags, VFU_TYPE_REPLY | VFU_ERROR);
	assert_int_equal(last_dma_hdr.size, 16);
	ask_dma(s, VFU_DMA_WRITE, at - 1, 64);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	ask_dma(s, VFU_DMA_READ, 0, 64);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	ask_dma(s, VFU_DMA_READ, at, UINT64_MAX);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	ask_dma(s, VFU_DMA_WRITE, UINT64_MAX - 8, 64);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	ask_dma(s, VFU_DMA_READ, at, VFU_DEFAULT_MAX_XFER + 1);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	/* Anything else is not ours to do. */
	ask_dma(s, VFU_RESET, 0, 0);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	assert_memory_equal(p, was, 64);
}

/* ---- what waits to go out ---- */

/* An answer of more than the socket takes, and a server that does not read:
 * until it is out nothing is heard, and nobody is kept awake by what waits. */
static void nothing_is_heard_before_an_answer_is_out(void **state)
{
	struct vfu_header h = {.id = 5, .command = VFU_DMA_READ};
	struct vfuserver *s = *state;
	struct virtiofs_region mem;
	struct vfu_dma_io io;

	assert_int_equal(vs_start(s), 0);
	vs_begin_serving(s);
	assert_int_equal(virtiofs_client_alloc_region(s->c, 1 << 20, &mem), 0);
	vs_end_serving(s);
	s->hook = dma_hook;
	s->hook_cnt = 0;
	io = (struct vfu_dma_io){(uintptr_t)mem.addr, 1 << 20};
	for (unsigned i = 0; i < 3; i++) {
		vs_put(s, &h, &io, sizeof(io), -1);
		h.id++;
	}
	for (unsigned i = 0; i < 10; i++)
		virtiofs_client_dispatch(s->c);
	assert_false(vs_awake(s));
	/* Now it reads. */
	for (unsigned i = 0; i < 10000 && s->hook_cnt < 3; i++) {
		assert_true(vs_serve(s));
		virtiofs_client_dispatch(s->c);
	}
	assert_int_equal(s->hook_cnt, 3);
	assert_int_equal(last_dma_hdr.id, 7);
	assert_int_equal(last_dma_hdr.size, 16 + 16 + (1 << 20));
	assert_false(vs_awake(s));
}

static struct vtfs_pci_fn *fn_of(struct virtiofs_transport *t)
{
	return ((struct pci_driver *)t)->fn;
}

/* Doorbells until no more go out. */
static void fill_socket(struct vtfs_pci_fn *fn)
{
	for (unsigned i = 0; i < 10000; i++)
		if (fn->ops->store(fn, 1, FAKE_NOTIFY, i, 2) < 0)
			return;
	fail_msg("the socket takes all");
}

/* A command that could not be made, for there was no file descriptor for it,
 * was not sent: it goes when there is one. */
static void command_that_was_not_queued_goes_later(void **state)
{
	struct vfuserver *s = *state;
	struct virtiofs_transport *t = vs_connect(s);
	struct vtfs_pci_fn *fn = fn_of(t);
	struct virtiofs_region region = {.size = sizeof(region), .len = 4096};
	struct rlimit had, none;
	uint64_t at;
	int r = -EAGAIN;

	region.fd = memfd_create("region", MFD_CLOEXEC);
	assert_int_equal(ftruncate(region.fd, 4096), 0);
	region.addr = mmap(NULL, 4096, PROT_READ, MAP_SHARED, region.fd, 0);
	fn->notify_bar = FAKE_BAR;
	fill_socket(fn);
	assert_int_equal(t->cli->map(t, &region, &at), -EAGAIN);
	vs_serve(s);
	assert_int_equal(vs_count(s, VFU_DMA_MAP), 0);
	getrlimit(RLIMIT_NOFILE, &had);
	none = (struct rlimit){3, had.rlim_max};
	setrlimit(RLIMIT_NOFILE, &none);
	assert_true(fn->ops->store(fn, 1, FAKE_NOTIFY, 7, 2) < 0);
	setrlimit(RLIMIT_NOFILE, &had);
	for (unsigned i = 0; i < 100 && r == -EAGAIN; i++) {
		r = t->cli->map(t, &region, &at);
		vs_serve(s);
	}
	assert_int_equal(r, 0);
	assert_int_equal(at, (uintptr_t)region.addr);
	virtiofs_transport_free(t);
	munmap(region.addr, 4096);
	close(region.fd);
}

/* Likewise a doorbell. */
static void doorbell_that_was_not_sent_goes_later(void **state)
{
	struct vfuserver *s = *state;
	struct virtiofs_transport *t = vs_connect(s);
	struct vtfs_pci_fn *fn = fn_of(t);

	fn->notify_bar = FAKE_BAR;
	s->f.q[1].notify_off = 0;
	fill_socket(fn);
	fn->ops->store(fn, 1, FAKE_NOTIFY, 0x7777, 2);
	s->f.q[1].bell = 0;
	vs_serve(s);
	assert_int_not_equal(s->f.q[1].bell, 0x7777);
	fn->ops->dispatch(fn);
	vs_serve(s);
	assert_int_equal(s->f.q[1].bell, 0x7777);
	virtiofs_transport_free(t);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, vs_set_up, vs_tear_down)
	const struct CMUnitTest tests[] = {
	    T(memory_is_served_while_a_reply_is_awaited),
	    T(memory_is_served_inside_of_what_was_mapped),
	    T(nothing_is_heard_before_an_answer_is_out),
	    T(command_that_was_not_queued_goes_later),
	    T(doorbell_that_was_not_sent_goes_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
