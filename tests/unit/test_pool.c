/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuse/forgets.h"
#include "mem/pool.h"

static void shared_memory_can_not_be_taken_away(void **state)
{
	struct vtfs_share s;

	assert_int_equal(vtfs_share_new(&s, 5000), 0);
	assert_int_equal(s.len, 8192);
	assert_int_equal(s.addr[8191], 0);
	assert_int_equal(ftruncate(s.fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(s.fd, 16384), -1);
	vtfs_share_free(&s);
	vtfs_share_free(&s);
	assert_int_equal(vtfs_share_new(&s, 0), -EINVAL);
	assert_int_equal(vtfs_share_new(&s, SIZE_MAX - 5), -EINVAL);
}

/* ---- bounce ---- */

static void bounce_runs_never_overlap(void **state)
{
	struct vtfs_run run[64] = {0};
	struct vtfs_bounce b;
	uint8_t owner[37];
	unsigned taken = 0, failed = 0;

	assert_int_equal(vtfs_bounce_new(&b, 37), 0);
	vtfs_bounce_reset(&b, NULL, 0);
	memset(owner, 0xff, sizeof(owner));
	srand(1);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned k = (unsigned)rand() % 64;

		if (run[k].cnt) {
			for (uint32_t p = 0; p < run[k].cnt; p++) {
				assert_int_equal(owner[run[k].first + p], k);
				owner[run[k].first + p] = 0xff;
			}
			vtfs_bounce_give(&b, &run[k]);
			assert_int_equal(run[k].cnt, 0);
			continue;
		}
		size_t len = 1 + (size_t)rand() % (6 * VTFS_PAGE);

		if (vtfs_bounce_take(&b, len, &run[k]) < 0) {
			failed++;
			continue;
		}
		taken++;
		assert_int_equal(run[k].cnt, (len + VTFS_PAGE - 1) / VTFS_PAGE);
		for (uint32_t p = 0; p < run[k].cnt; p++) {
			assert_true(run[k].first + p < 37);
			assert_int_equal(owner[run[k].first + p], 0xff);
			owner[run[k].first + p] = (uint8_t)k;
		}
	}
	assert_true(taken > 1000 && failed > 1000);
	vtfs_bounce_free(&b);
}

static void bounce_that_is_empty_holds_what_it_says(void **state)
{
	struct vtfs_run run, more;
	struct vtfs_bounce b;

	assert_int_equal(vtfs_bounce_new(&b, 4), 0);
	assert_int_equal(vtfs_bounce_take(&b, 4 * VTFS_PAGE, &run), 0);
	assert_int_equal(vtfs_bounce_take(&b, 1, &more), -ENOSPC);
	assert_int_equal(vtfs_bounce_take(&b, 4 * VTFS_PAGE + 1, &more),
			 -EMSGSIZE);
	vtfs_bounce_give(&b, &run);
	assert_int_equal(vtfs_bounce_take(&b, 4 * VTFS_PAGE, &run), 0);
	vtfs_bounce_free(&b);
}

/* ---- registered regions ---- */

static struct virtiofs_region region_at(uintptr_t addr, size_t len)
{
	struct virtiofs_region r = {
	    .size = sizeof(r), .addr = (void *)addr, .len = len, .fd = -1};

	return r;
}

static bool pin(struct vtfs_regs *rs, struct vtfs_pins *pins, uintptr_t at,
		size_t len, uint64_t *mask, uint64_t *peer)
{
	struct iovec v = {(void *)at, len};

	return vtfs_regs_pin(rs, pins, &v, mask, peer);
}

static void regions_are_found_by_their_bytes(void **state)
{
	struct virtiofs_region a = region_at(0x10000, 0x2000);
	struct virtiofs_region b = region_at(0x12000, 0x1000);
	static struct vtfs_regs rs;
	static struct vtfs_pins pins;
	struct vtfs_reg *ra, *rb, *rc;
	uint64_t mask = 0, peer;

	memset(&rs, 0, sizeof(rs));
	assert_int_equal(vtfs_regs_add(&rs, &a, &ra), 0);
	assert_false(pin(&rs, &pins, 0x10000, 1, &mask, &peer));
	vtfs_regs_publish(ra, 0x900000);
	assert_int_equal(vtfs_regs_add(&rs, &b, &rb), 0);
	vtfs_regs_publish(rb, 0x500000);
	assert_int_equal(vtfs_regs_add(&rs, &a, &rc), -EEXIST);
	assert_true(pin(&rs, &pins, 0x10100, 0x1f00, &mask, &peer));
	assert_int_equal(peer, 0x900100);
	assert_int_equal(mask, 1);
	/* One request, one count. */
	assert_true(pin(&rs, &pins, 0x10000, 1, &mask, &peer));
	assert_int_equal(pins.cnt[0], 1);
	assert_true(pin(&rs, &pins, 0x12fff, 1, &mask, &peer));
	assert_int_equal(peer, 0x500fff);
	/* Across two, before one, behind one, around the end of all. */
	assert_false(pin(&rs, &pins, 0x11fff, 2, &mask, &peer));
	assert_false(pin(&rs, &pins, 0xffff, 2, &mask, &peer));
	assert_false(pin(&rs, &pins, 0x12fff, 2, &mask, &peer));
	assert_false(pin(&rs, &pins, 0x10000, SIZE_MAX, &mask, &peer));
	assert_int_equal(mask, 3);
	vtfs_regs_unpin(&pins, mask);
	assert_int_equal(pins.cnt[0] + pins.cnt[1], 0);
	vtfs_regs_hide(ra);
	assert_false(pin(&rs, &pins, 0x10000, 1, &mask, &peer));
	assert_ptr_equal(vtfs_regs_find(&rs, (void *)0x10000, 0x2000), ra);
	vtfs_regs_drop(ra);
	assert_null(vtfs_regs_find(&rs, (void *)0x10000, 0x2000));
}

static void regions_have_a_bound(void **state)
{
	static struct vtfs_regs rs;
	struct vtfs_reg *reg;

	memset(&rs, 0, sizeof(rs));
	for (unsigned i = 0; i < VTFS_REG_MAX; i++) {
		struct virtiofs_region r = region_at(0x1000 * (i + 1), 0x1000);

		assert_int_equal(vtfs_regs_add(&rs, &r, &reg), 0);
	}
	struct virtiofs_region r = region_at(0x1000000, 0x1000);

	assert_int_equal(vtfs_regs_add(&rs, &r, &reg), -ENOSPC);
}

/* One thread takes a region away and brings it back at another address, one
 * uses it: whoever has pinned it is seen by the other. */
struct race {
	struct vtfs_regs rs;
	struct vtfs_pins pins;
	struct vtfs_reg *reg;
	uint64_t gone; /* the peer address that is no more; atomic */
	int stop;      /* atomic */
	unsigned bad;
};

static void *use(void *arg)
{
	struct race *x = arg;

	while (!__atomic_load_n(&x->stop, __ATOMIC_RELAXED)) {
		uint64_t mask = 0, peer = 0;

		if (!pin(&x->rs, &x->pins, 0x10000, 16, &mask, &peer))
			continue;
		if (peer <= __atomic_load_n(&x->gone, __ATOMIC_SEQ_CST))
			x->bad++;
		vtfs_regs_unpin(&x->pins, mask);
	}
	return NULL;
}

static void pinned_region_is_never_taken_away(void **state)
{
	struct virtiofs_region a = region_at(0x10000, 0x1000);
	struct race *x = calloc(1, sizeof(*x));
	unsigned moved = 0;
	pthread_t t;

	assert_int_equal(vtfs_regs_add(&x->rs, &a, &x->reg), 0);
	vtfs_regs_publish(x->reg, 1);
	assert_int_equal(pthread_create(&t, NULL, use, x), 0);
	for (uint64_t i = 1; i < 2000000; i++) {
		vtfs_regs_hide(x->reg);
		if (__atomic_load_n(&x->pins.cnt[0], __ATOMIC_ACQUIRE)) {
			vtfs_regs_publish(x->reg, x->reg->peer_addr);
			continue;
		}
		__atomic_store_n(&x->gone, i, __ATOMIC_SEQ_CST);
		vtfs_regs_publish(x->reg, i + 1);
		moved++;
	}
	__atomic_store_n(&x->stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	assert_int_equal(x->bad, 0);
	assert_true(moved > 0);
	free(x);
}

/* ---- forgets that wait ---- */

static void forgets_merge_and_come_out_once(void **state)
{
	enum { NODES = 1000 };
	static uint64_t want[NODES], got[NODES];
	struct fuse_forget_one out[17];
	struct vtfs_forgets f = {0};
	uint32_t n;

	srand(2);
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < 500; i++) {
			unsigned k = (unsigned)rand() % NODES;
			uint64_t c = 1 + (uint64_t)rand() % 9;

			want[k] += c;
			assert_int_equal(vtfs_forgets_add(&f, k * 64ULL + 1, c),
					 0);
		}
		/* Some, or in the end all. */
		for (unsigned i = 0; round == 29 ? f.cnt : i < 10; i++) {
			n = vtfs_forgets_take(&f, out, 17);
			for (uint32_t k = 0; k < n; k++)
				got[out[k].nodeid / 64] += out[k].nlookup;
		}
		assert_true(f.cnt <= NODES && f.cap <= 2048);
	}
	assert_memory_equal(want, got, sizeof(want));
	assert_int_equal(vtfs_forgets_take(&f, out, 17), 0);
	assert_int_equal(vtfs_forgets_add(&f, 1, UINT64_MAX), 0);
	assert_int_equal(vtfs_forgets_add(&f, 1, 1), -EINVAL);
	vtfs_forgets_clear(&f);
	assert_int_equal(f.cnt, 0);
	vtfs_forgets_free(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(shared_memory_can_not_be_taken_away),
	    cmocka_unit_test(bounce_runs_never_overlap),
	    cmocka_unit_test(bounce_that_is_empty_holds_what_it_says),
	    cmocka_unit_test(regions_are_found_by_their_bytes),
	    cmocka_unit_test(regions_have_a_bound),
	    cmocka_unit_test(pinned_region_is_never_taken_away),
	    cmocka_unit_test(forgets_merge_and_come_out_once),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
