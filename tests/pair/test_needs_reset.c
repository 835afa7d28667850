/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DEVICE_NEEDS_RESET through both sessions: a ring goes bad, the device says
 * so, the client ends what it has, and start begins with a reset.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "combo.h"
#include "session/client.h"
#include "vq/impl.h"
#include "wire/virtio.h"

/* Of the first request queue, as a driver with a fault would: an index that
 * jumps, a buffer id that can't be. */
static void spoil(struct virtiofs_client *c)
{
	struct vtfs_vq *vq = c->queues[0].vq;
	struct vtfs_wire_packed_desc *slot = vq->desc;
	struct vtfs_wire_avail *avail = vq->driver;

	if (vtfs_vq_packed(vq)) {
		slot += vq->drv.next;
		slot->id = 0xffff;
		__atomic_store_n(&slot->flags, htole16(vq->drv.avail_flags),
				 __ATOMIC_RELEASE);
	} else {
		__atomic_store_n(&avail->idx,
				 htole16((uint16_t)(vq->drv.next + 5000)),
				 __ATOMIC_RELEASE);
	}
	vtfs_doorbell_ring(&c->queues[0].line.bell, 0);
}

static void wait_for_the_end(struct virtiofs_client *c)
{
	struct pollfd p = {.fd = virtiofs_client_fd(c), .events = POLLIN};
	struct virtiofs_client_info info = {.size = sizeof(info)};

	while (virtiofs_client_get_info(c, &info) == 0) {
		assert_int_equal(poll(&p, 1, 20000), 1);
		assert_int_equal(virtiofs_client_dispatch(c), 0);
	}
}

/* covers: STAT-DEV-02, STAT-DEV-03, STAT-DRV-04, INIT-DRV-08 */
static void client_starts_again(const struct combo *co)
{
	struct virtiofs_region mem = {.size = sizeof(mem)};
	struct fuse_statfs_out *out;
	struct fix f;

	fix_start(&f, co, 2);
	/* Registered memory is the client's, not the session's. */
	assert_int_equal(virtiofs_client_alloc_region(f.c, PAGE, &mem), 0);
	out = mem.addr;
	for (unsigned i = 0; i < 5; i++) {
		uint8_t status = VTFS_STATUS_NEEDS_RESET;

		assert_int_equal(virtiofs_call_statfs(f.c, 1, out), 0);
		spoil(f.c);
		wait_for_the_end(f.c);
		assert_int_equal(virtiofs_call_statfs(f.c, 1, out), -ENOTCONN);
		if (virtiofs_client_start(f.c, NULL) < 0)
			fail_msg("start: %s", virtiofs_last_error());
		/* Not by itself: by a reset. */
		while (f.c->t->cli->get_status(f.c->t, &status) == -EAGAIN) {
			struct pollfd p = {.fd = f.c->t->fd(f.c->t),
					   .events = POLLIN};

			assert_int_equal(poll(&p, 1, 20000), 1);
		}
		assert_false(status & VTFS_STATUS_NEEDS_RESET);
	}
	assert_int_equal(virtiofs_call_statfs(f.c, 1, out), 0);
	fix_end(&f);
}
CASE(client_starts_again)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_client_starts_again),
	};

	return take_args(argc, argv) ? 2
				     : cmocka_run_group_tests_name(
					   "needs reset", tests, NULL, NULL);
}
