/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interrupts of the PCI function: MSI-X, INTx, the ISR. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "pcibus.h"
#include "wire/virtio.h"

#define T(f)   cmocka_unit_test_setup_teardown(f, bus_set_up, bus_tear_down)
#define CFG    VTFS_PCIFN_CONFIG
#define VECTOR (REC_QUEUES + 1)

static uint8_t isr(struct pcibus *b)
{
	return (uint8_t)bus_get(b, 0, VTFS_PCIFN_ISR, 1);
}

static uint32_t pending(struct pcibus *b)
{
	return bus_get(b, 2, VTFS_PCIFN_PBA, 4);
}

static void mask(struct pcibus *b, uint32_t vector, bool on)
{
	bus_put(b, 2, vector * 16 + 12, 4, on);
}

static void give_fds(struct pcibus *b, int *fds)
{
	for (unsigned i = 0; i < VECTOR; i++) {
		fds[i] = bus_eventfd();
		assert_int_equal(vtfs_pcifn_vector_fd(&b->fn, i, fds[i]), 0);
	}
}

/* A driver that listens to each vector. */
static void msix_up(struct pcibus *b, int *fds)
{
	bus_up(b);
	bus_msix(b, true, false);
	give_fds(b, fds);
}

static void close_fds(const int *fds)
{
	for (unsigned i = 0; i < VECTOR; i++)
		close(fds[i]);
}

static void map_queue(struct pcibus *b, unsigned vq, uint32_t vector)
{
	bus_set_common(b, VTFS_PCI_QUEUE_SELECT, 2, vq);
	bus_set_common(b, VTFS_PCI_QUEUE_VECTOR, 2, vector);
}

/* ---- MSI-X ---- */

/* covers: PCI-DEV-38, PCI-DEV-39 */
static void any_queue_takes_any_vector(void **state)
{
	struct pcibus *b = *state;
	int fds[VECTOR];

	msix_up(b, fds);
	for (unsigned vq = 0; vq < REC_QUEUES; vq++) {
		for (unsigned v = 0; v < VECTOR; v++) {
			map_queue(b, vq, v);
			assert_int_equal(
			    bus_common(b, VTFS_PCI_QUEUE_VECTOR, 2), v);
			bus_complete(b, vq);
			for (unsigned i = 0; i < VECTOR; i++)
				assert_int_equal(bus_heard(fds[i]), i == v);
		}
		map_queue(b, vq, VECTOR);
		assert_int_equal(bus_common(b, VTFS_PCI_QUEUE_VECTOR, 2),
				 0xffff);
	}
	for (unsigned v = 0; v < VECTOR; v++) {
		bus_set_common(b, VTFS_PCI_CONFIG_VECTOR, 2, v);
		assert_int_equal(bus_common(b, VTFS_PCI_CONFIG_VECTOR, 2), v);
		vtfs_pcifn_broken(&b->fn);
		for (unsigned i = 0; i < VECTOR; i++)
			assert_int_equal(bus_heard(fds[i]), i == v);
	}
	bus_set_common(b, VTFS_PCI_CONFIG_VECTOR, 2, 0x7fff);
	assert_int_equal(bus_common(b, VTFS_PCI_CONFIG_VECTOR, 2), 0xffff);
	close_fds(fds);
}

/* covers: PCI-DEV-42 */
static void without_a_vector_nobody_hears(void **state)
{
	struct pcibus *b = *state;
	int fds[VECTOR];
	int intx = bus_eventfd();

	msix_up(b, fds);
	vtfs_pcifn_intx_fd(&b->fn, intx);
	map_queue(b, 1, 0xffff);
	assert_int_equal(b->rec.call_fd[1], -1);
	bus_complete(b, 1);
	vtfs_pcifn_broken(&b->fn);
	for (unsigned i = 0; i < VECTOR; i++)
		assert_int_equal(bus_heard(fds[i]), 0);
	assert_int_equal(bus_heard(intx), 0);
	assert_int_equal(pending(b), 0);
	close_fds(fds);
	close(intx);
}

/* The vector's eventfd is what the session writes: not a byte goes elsewhere.
 */
static void delivered_vector_needs_no_dispatch(void **state)
{
	struct pcibus *b = *state;
	int fds[VECTOR];

	msix_up(b, fds);
	vtfs_evfd_signal(b->rec.call_fd[1]);
	assert_int_equal(bus_heard(fds[2]), 1);
	close_fds(fds);
}

/* covers: PCI-DEV-43 */
static void masked_vector_waits_in_the_pba(void **state)
{
	struct pcibus *b = *state;
	int fds[VECTOR];

	msix_up(b, fds);
	mask(b, 2, true);
	assert_int_equal(bus_get(b, 2, 2 * 16 + 12, 4), 1);
	bus_complete(b, 1);
	bus_complete(b, 1);
	bus_complete(b, 0);
	assert_int_equal(bus_heard(fds[1]), 1);
	assert_int_equal(bus_heard(fds[2]), 0);
	assert_int_equal(pending(b), 1u << 2);
	/* It can't be written. */
	bus_put(b, 2, VTFS_PCIFN_PBA, 4, 0);
	assert_int_equal(pending(b), 1u << 2);
	mask(b, 2, false);
	assert_int_equal(bus_heard(fds[2]), 1);
	assert_int_equal(pending(b), 0);
	bus_complete(b, 1);
	assert_int_equal(bus_heard(fds[2]), 1);
	/* All of them. */
	bus_msix(b, true, true);
	bus_complete(b, 0);
	vtfs_pcifn_broken(&b->fn);
	assert_int_equal(pending(b), 1u << 1);
	assert_int_equal(bus_heard(fds[1]), 0);
	bus_msix(b, true, false);
	assert_int_equal(bus_heard(fds[1]), 1);
	assert_int_equal(pending(b), 0);
	close_fds(fds);
}

/* The session rang the trap, and the mask goes before anybody looked. */
static void interrupt_between_mask_and_unmask_is_not_lost(void **state)
{
	struct pcibus *b = *state;
	int fds[VECTOR];

	msix_up(b, fds);
	mask(b, 2, true);
	vtfs_evfd_signal(b->rec.call_fd[1]);
	mask(b, 2, false);
	vtfs_pcifn_dispatch(&b->fn);
	assert_int_equal(bus_heard(fds[2]), 1);
	close_fds(fds);
}

static void vector_without_an_fd_waits_for_it(void **state)
{
	struct pcibus *b = *state;
	int fd = bus_eventfd();

	bus_up(b);
	bus_msix(b, true, false);
	bus_complete(b, 1);
	assert_int_equal(pending(b), 1u << 2);
	vtfs_pcifn_vector_fd(&b->fn, 2, fd);
	assert_int_equal(bus_heard(fd), 1);
	vtfs_pcifn_vector_fd(&b->fn, 2, -1);
	bus_complete(b, 1);
	assert_int_equal(bus_heard(fd), 0);
	assert_int_equal(pending(b), 1u << 2);
	close(fd);
}

static void table_keeps_messages(void **state)
{
	static const uint8_t pair[8] = {0, 0x10, 0xe0, 0xfe, 1, 0, 0, 0};
	struct pcibus *b = *state;
	uint8_t back[16];

	assert_int_equal(vtfs_pcifn_write(&b->fn, 2, 16, pair, 8), 0);
	bus_put(b, 2, 24, 4, 0x4021);
	assert_int_equal(vtfs_pcifn_read(&b->fn, 2, 16, back, 16), 0);
	assert_memory_equal(back, pair, 8);
	assert_int_equal(bus_get(b, 2, 24, 4), 0x4021);
	assert_int_equal(bus_get(b, 2, 28, 4), 1);
	bus_put(b, 2, 28, 2, 0);
	bus_put(b, 2, 26, 4, 0);
	bus_put(b, 2, 16 * VECTOR, 4, 0x5555);
	assert_int_equal(bus_get(b, 2, 24, 4), 0x4021);
	assert_int_equal(bus_get(b, 2, 28, 4), 1);
	assert_int_equal(bus_get(b, 2, 16 * VECTOR, 4), 0);
}

/* ---- INTx ---- */

/* covers: PCI-DEV-26, PCI-DEV-27, PCI-DEV-28, PCI-DEV-29 */
static void isr_says_why_intx_fired(void **state)
{
	struct pcibus *b = *state;
	int intx = bus_eventfd();

	bus_up(b);
	vtfs_pcifn_intx_fd(&b->fn, intx);
	assert_int_equal(bus_get(b, CFG, 6, 2) & 8, 0);
	bus_complete(b, 1);
	assert_int_equal(bus_heard(intx), 1);
	assert_int_equal(bus_get(b, CFG, 6, 2) & 8, 8);
	assert_int_equal(isr(b), 1);
	assert_int_equal(isr(b), 0);
	assert_int_equal(bus_get(b, CFG, 6, 2) & 8, 0);
	vtfs_pcifn_intx_mask(&b->fn, false);
	assert_int_equal(bus_heard(intx), 0);
	vtfs_pcifn_broken(&b->fn);
	assert_int_equal(bus_heard(intx), 1);
	assert_int_equal(bus_get(b, CFG, 6, 2) & 8, 8);
	bus_complete(b, 0);
	assert_int_equal(isr(b), 3);
	assert_int_equal(bus_get(b, CFG, 6, 2) & 8, 0);
	close(intx);
}

/* covers: PCI-DEV-29 */
static void isr_has_what_came_since(void **state)
{
	struct pcibus *b = *state;

	bus_up(b);
	/* Nobody dispatched: the read has to look itself. */
	vtfs_evfd_signal(b->rec.call_fd[1]);
	assert_int_equal(isr(b), 1);
	vtfs_evfd_signal(b->rec.call_fd[1]);
	assert_int_equal(isr(b), 1);
	assert_int_equal(isr(b), 0);
}

/* It masks itself, and is a level: what stands fires again. */
static void intx_fires_once_until_it_is_unmasked(void **state)
{
	struct pcibus *b = *state;
	int intx = bus_eventfd();

	bus_up(b);
	vtfs_pcifn_intx_fd(&b->fn, intx);
	bus_complete(b, 0);
	bus_complete(b, 1);
	assert_int_equal(bus_heard(intx), 1);
	vtfs_pcifn_intx_mask(&b->fn, false);
	assert_int_equal(bus_heard(intx), 1);
	isr(b);
	vtfs_pcifn_intx_mask(&b->fn, false);
	assert_int_equal(bus_heard(intx), 0);
	/* The driver's own switch. */
	bus_put(b, CFG, 4, 2,
		VTFS_PCI_COMMAND_MASTER | VTFS_PCI_COMMAND_INTX_DISABLE);
	bus_complete(b, 1);
	assert_int_equal(bus_heard(intx), 0);
	bus_put(b, CFG, 4, 2, VTFS_PCI_COMMAND_MASTER);
	assert_int_equal(bus_heard(intx), 1);
	close(intx);
}

static void fd_that_is_none_is_refused(void **state)
{
	struct pcibus *b = *state;
	int file = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_int_equal(vtfs_pcifn_vector_fd(&b->fn, 0, file), -EINVAL);
	assert_int_equal(vtfs_pcifn_intx_fd(&b->fn, file), -EINVAL);
	close(file);
}

static void fds_of_interrupts_do_not_pile_up(void **state)
{
	struct pcibus *b = *state;
	unsigned before;
	int fd = bus_eventfd();

	bus_up(b);
	bus_msix(b, true, false);
	vtfs_pcifn_vector_fd(&b->fn, 2, fd);
	vtfs_pcifn_intx_fd(&b->fn, fd);
	before = raw_fd_cnt();
	for (int i = 0; i < 1000; i++) {
		vtfs_pcifn_vector_fd(&b->fn, 2, fd);
		vtfs_pcifn_intx_fd(&b->fn, fd);
	}
	assert_int_equal(raw_fd_cnt(), before);
	close(fd);
}

static void reset_of_all_takes_fds_back(void **state)
{
	struct pcibus *b = *state;
	int fds[VECTOR];
	unsigned before = raw_fd_cnt();

	msix_up(b, fds);
	vtfs_pcifn_reset(&b->fn);
	assert_int_equal(bus_get(b, 2, 12, 4), 1);
	assert_int_equal(bus_get(b, CFG, VTFS_PCIFN_CAP_MSIX + 2, 2),
			 REC_QUEUES);
	bus_up(b);
	bus_msix(b, true, false);
	bus_complete(b, 1);
	assert_int_equal(bus_heard(fds[2]), 0);
	close_fds(fds);
	/* A kick and a trap for each queue, and the session's duplicates. */
	assert_true(raw_fd_cnt() <= before + 4 * REC_QUEUES);
}

/* ---- no file descriptor for it ---- */

/* At most cnt more are to be had. */
static void allow_fds(struct rlimit *was, unsigned cnt)
{
	int fd = bus_eventfd();
	struct rlimit now;

	close(fd);
	getrlimit(RLIMIT_NOFILE, was);
	now = (struct rlimit){(rlim_t)fd + cnt, was->rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
}

static void queue_without_a_trap_does_not_start(void **state)
{
	struct pcibus *b = *state;
	struct rlimit was;

	bus_negotiate(b, VIRTIOFS_F_VERSION_1);
	/* One for its kick, none for who listens to it. */
	allow_fds(&was, 1);
	bus_enable(b, 1, 2);
	bus_set_status(b, 15);
	setrlimit(RLIMIT_NOFILE, &was);
	assert_int_equal(bus_status(b), 15 | VTFS_STATUS_NEEDS_RESET);
	assert_false(b->rec.started[1]);
	/* And after that reset it does. */
	bus_set_status(b, 0);
	bus_up(b);
	assert_int_equal(bus_status(b), 15);
	assert_true(b->rec.started[1]);
}

/* A vector is masked, and what it would miss can't be kept. */
static void running_queue_without_a_trap_needs_a_reset(void **state)
{
	struct pcibus *b = *state;
	int fds[VECTOR], was_fd;
	struct rlimit was;

	bus_msix(b, true, false);
	give_fds(b, fds);
	bus_up(b);
	assert_int_equal(bus_status(b), 15);
	was_fd = b->rec.call_fd[1];
	allow_fds(&was, 0);
	mask(b, 2, true);
	setrlimit(RLIMIT_NOFILE, &was);
	assert_int_equal(bus_status(b), 15 | VTFS_STATUS_NEEDS_RESET);
	/* Not told to call nobody. */
	assert_int_equal(b->rec.call_fd[1], was_fd);
	close_fds(fds);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    T(any_queue_takes_any_vector),
	    T(without_a_vector_nobody_hears),
	    T(delivered_vector_needs_no_dispatch),
	    T(masked_vector_waits_in_the_pba),
	    T(interrupt_between_mask_and_unmask_is_not_lost),
	    T(vector_without_an_fd_waits_for_it),
	    T(table_keeps_messages),
	    T(isr_says_why_intx_fired),
	    T(isr_has_what_came_since),
	    T(intx_fires_once_until_it_is_unmasked),
	    T(fd_that_is_none_is_refused),
	    T(fds_of_interrupts_do_not_pile_up),
	    T(reset_of_all_takes_fds_back),
	    T(queue_without_a_trap_does_not_start),
	    T(running_queue_without_a_trap_needs_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
