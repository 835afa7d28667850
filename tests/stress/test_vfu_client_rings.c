/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A thread that rings doorbells by messages, while the client asks and answers
 * by the same socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "transport/vfio_user/client.h"
#include "transport/virtio_pci/driver_impl.h"
#include "vfuserver.h"

#define ROUNDS 2000u

static unsigned char memory[8192] __attribute__((aligned(4096)));
static struct vtfs_pci_fn *fn;
static bool stop;
static unsigned answers;

/* Before each answer the server reads memory. */
static bool reads_memory(struct vfuserver *s)
{
	struct vfu_header h = {.id = 9, .command = VFU_DMA_READ};
	struct vfu_dma_io io = {(uintptr_t)memory, sizeof(memory)};

	if (s->rx.hdr.flags & VFU_TYPE_REPLY) {
		assert_int_equal(s->rx.hdr.size, 32 + sizeof(memory));
		answers++;
		return true;
	}
	if (s->rx.hdr.command == VFU_REGION_READ)
		vs_put(s, &h, &io, sizeof(io), -1);
	return false;
}

static void *ring(void *arg)
{
	for (unsigned i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++)
		fn->ops->store(fn, i % VTFS_PCI_QUEUES_MAX, FAKE_NOTIFY,
			       i & 0xffff, 2);
	return arg;
}

static void rings_and_questions_share_a_socket(void **state)
{
	struct vfuserver *s = *state;
	struct virtiofs_transport *t = vs_connect(s);
	struct virtiofs_region region = {
	    .size = sizeof(region), .addr = memory, .len = sizeof(memory)};
	struct pollfd p = {.fd = t->fd(t), .events = POLLIN};
	pthread_t thread;
	unsigned cnt;
	int r, little = 1;
	uint8_t status;
	uint64_t at;

	region.fd = memfd_create("memory", MFD_CLOEXEC);
	fn = ((struct pci_driver *)t)->fn;
	/* So little that whoever rings sends what the client left. */
	setsockopt(vtfs_container_of(fn, struct vfu_client, fn)->sock,
		   SOL_SOCKET, SO_SNDBUF, &little, sizeof(little));
	s->f.q[1].notify_off = 0;
	vs_begin_serving(s);
	while ((r = t->cli->map(t, &region, &at)) == -EAGAIN)
		poll(&p, 1, 10000);
	assert_int_equal(r, 0);
	vs_end_serving(s);
	s->hook = reads_memory;
	vs_begin_serving(s);
	assert_int_equal(pthread_create(&thread, NULL, ring, NULL), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		/* A question that is given up: its answer comes between. */
		t->cli->queue_cnt(t, &cnt);
		while ((r = t->cli->get_status(t, &status)) == -EAGAIN)
			assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(r, 0);
		assert_int_equal(status, 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	vs_end_serving(s);
	/* The last ones may be on their way. */
	assert_true(answers > ROUNDS / 2);
	assert_true(s->f.q[1].bells > 0);
	virtiofs_transport_free(t);
	close(region.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(rings_and_questions_share_a_socket,
					    vs_set_up, vs_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
