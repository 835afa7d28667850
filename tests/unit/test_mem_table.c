/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "mem/table.h"
#include "regions.h"

/* A table of regions at 0x1000, 0x3000 (adjacent: 0x5000) and 0x10000. */
static struct vtfs_table *table(int fd, struct vtfs_region **r)
{
	struct vtfs_region *unsorted[4];
	struct vtfs_table *t;

	r[0] = region_make(fd, 0x1000, PAGE, 0);
	r[1] = region_make(fd, 0x3000, 2 * PAGE, 65);
	r[2] = region_make(fd, 0x5000, PAGE, 130);
	r[3] = region_make(fd, 0x10000, 4 * PAGE, 511);
	for (unsigned i = 0; i < 4; i++)
		unsorted[i] = r[3 - i];
	assert_int_equal(vtfs_table_new(&t, unsorted, 4), 0);
	for (unsigned i = 0; i < 4; i++)
		vtfs_region_put(r[i]);
	return t;
}

static void table_finds_each_byte_once(void **state)
{
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);

	assert_null(vtfs_table_ptr(t, 0xfff, 1));
	assert_ptr_equal(vtfs_table_ptr(t, 0x1000, 1), r[0]->addr);
	assert_ptr_equal(vtfs_table_ptr(t, 0x1fff, 1), r[0]->addr + 0xfff);
	assert_null(vtfs_table_ptr(t, 0x1fff, 2));
	assert_null(vtfs_table_ptr(t, 0x2000, 1));
	assert_ptr_equal(vtfs_table_ptr(t, 0x3000, 2 * PAGE), r[1]->addr);
	assert_null(vtfs_table_ptr(t, 0x3000, 2 * PAGE + 1));
	assert_null(vtfs_table_ptr(t, 0x3000, UINT64_MAX));
	assert_ptr_equal(vtfs_table_ptr(t, 0x13fff, 1),
			 r[3]->addr + 4 * PAGE - 1);
	assert_null(vtfs_table_ptr(t, 0x14000, 1));
	assert_null(vtfs_table_ptr(t, UINT64_MAX, 1));
	assert_null(vtfs_table_ptr(NULL, 0x1000, 1));
	vtfs_table_put(vtfs_table_get(t));
	vtfs_table_put(t);
	close(fd);
}

static void table_of_overlapping_regions_is_refused(void **state)
{
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region *r[2];
	struct vtfs_table *t;

	r[0] = region_make(fd, 0x1000, 2 * PAGE, 0);
	r[1] = region_make(fd, 0x2fff, PAGE, 1);
	assert_int_equal(vtfs_table_new(&t, r, 2), -EINVAL);
	assert_int_equal(r[0]->refs, 1);
	vtfs_region_put(r[1]);
	r[1] = region_make(fd, 0, 4 * PAGE, 1);
	assert_int_equal(vtfs_table_new(&t, r, 2), -EINVAL);
	vtfs_region_put(r[0]);
	vtfs_region_put(r[1]);
	close(fd);
}

static void table_translates_user_addresses(void **state)
{
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	uint64_t user = 1ULL << 40;
	uint64_t got = 1;

	assert_int_equal(vtfs_table_user_to_peer(t, user + 0x3010, 16, &got),
			 0);
	assert_int_equal(got, 0x3010);
	assert_int_equal(vtfs_table_user_to_peer(t, user + 0x1ff0, 17, &got),
			 -EFAULT);
	assert_int_equal(vtfs_table_user_to_peer(t, 0x3010, 16, &got), -EFAULT);
	assert_int_equal(vtfs_table_user_to_peer(NULL, 0, 0, &got), -EFAULT);
	assert_int_equal(got, 0x3010);
	vtfs_table_put(t);
	close(fd);
}

static void append_cuts_at_region_borders(void **state)
{
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	struct iovec iov[4];
	struct vtfs_parts p = {.iov = iov, .max = 4};

	/* Whether the two mappings happen to be neighbours is the kernel's. */
	assert_int_equal(vtfs_table_append(t, 0x4ff0, 0x20, &p), 0);
	if (r[1]->addr + 2 * PAGE != r[2]->addr) {
		assert_int_equal(p.cnt, 2);
		assert_ptr_equal(iov[0].iov_base, r[1]->addr + 0x1ff0);
		assert_int_equal(iov[0].iov_len, 0x10);
		assert_ptr_equal(iov[1].iov_base, r[2]->addr);
		assert_int_equal(iov[1].iov_len, 0x10);
	} else {
		assert_int_equal(p.cnt, 1);
		assert_int_equal(iov[0].iov_len, 0x20);
	}
	assert_int_equal(p.regions[0], 0);
	assert_int_equal(p.regions[1], 2);
	assert_int_equal(p.regions[2], 4);
	vtfs_table_put(t);
	close(fd);
}

static void append_merges_neighbours_above_the_seal(void **state)
{
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	struct iovec iov[4];
	struct vtfs_parts p = {.iov = iov, .max = 4};

	assert_int_equal(vtfs_table_append(t, 0x10000, 16, &p), 0);
	assert_int_equal(vtfs_table_append(t, 0x10010, 16, &p), 0);
	assert_int_equal(p.cnt, 1);
	assert_int_equal(iov[0].iov_len, 32);
	p.seal = p.cnt;
	assert_int_equal(vtfs_table_append(t, 0x10020, 16, &p), 0);
	assert_int_equal(p.cnt, 2);
	assert_int_equal(vtfs_table_append(t, 0x10030, 0, &p), 0);
	assert_int_equal(vtfs_table_append(t, 0x10030, 16, &p), 0);
	assert_int_equal(p.cnt, 2);
	assert_int_equal(iov[1].iov_len, 32);
	assert_ptr_equal(iov[1].iov_base, r[3]->addr + 0x20);
	vtfs_table_put(t);
	close(fd);
}

static void append_of_memory_nobody_shared_faults(void **state)
{
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	struct iovec iov[4];
	struct vtfs_parts p = {.iov = iov, .max = 4};

	assert_int_equal(vtfs_table_append(t, 0x1ff0, 0x11, &p), -EFAULT);
	assert_int_equal(p.cnt, 1);
	assert_int_equal(iov[0].iov_len, 0x10);
	assert_int_equal(vtfs_table_append(t, 0, 1, &p), -EFAULT);
	assert_int_equal(vtfs_table_append(t, UINT64_MAX - 1, 16, &p), -EFAULT);
	vtfs_table_put(t);
	close(fd);
}

static void append_to_a_full_list_is_e2big(void **state)
{
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	struct iovec iov[2];
	struct vtfs_parts p = {.iov = iov, .max = 1};

	iov[1].iov_base = NULL;
	assert_int_equal(vtfs_table_append(t, 0x10000, 16, &p), 0);
	assert_int_equal(vtfs_table_append(t, 0x10020, 16, &p), -E2BIG);
	assert_int_equal(vtfs_table_append(t, 0x10010, 16, &p), 0);
	assert_int_equal(p.cnt, 1);
	assert_null(iov[1].iov_base);
	vtfs_table_put(t);
	close(fd);
}

/* A region that ends at 2^64 is legal; nothing goes on at 0 behind it. */
static void append_does_not_wrap(void **state)
{
	int fd = region_memfd(PAGE);
	struct vtfs_region_desc d = {
	    .peer_addr = UINT64_MAX - PAGE + 1, .len = PAGE, .fd = fd};
	struct vtfs_region *r[2];
	struct vtfs_table *t;
	struct iovec iov[4];
	struct vtfs_parts p = {.iov = iov, .max = 4};

	assert_int_equal(vtfs_region_new(&r[0], &d, 0), 0);
	d.peer_addr = 0;
	assert_int_equal(vtfs_region_new(&r[1], &d, 1), 0);
	assert_int_equal(vtfs_table_new(&t, r, 2), 0);
	assert_int_equal(vtfs_table_append(t, UINT64_MAX - 15, 16, &p), 0);
	assert_int_equal(vtfs_table_append(t, UINT64_MAX - 15, 17, &p),
			 -EFAULT);
	assert_non_null(vtfs_table_ptr(t, UINT64_MAX, 1));
	assert_null(vtfs_table_ptr(t, UINT64_MAX, 2));
	vtfs_table_put(t);
	vtfs_region_put(r[0]);
	vtfs_region_put(r[1]);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table_finds_each_byte_once),
	    cmocka_unit_test(table_of_overlapping_regions_is_refused),
	    cmocka_unit_test(table_translates_user_addresses),
	    cmocka_unit_test(append_cuts_at_region_borders),
	    cmocka_unit_test(append_merges_neighbours_above_the_seal),
	    cmocka_unit_test(append_of_memory_nobody_shared_faults),
	    cmocka_unit_test(append_to_a_full_list_is_e2big),
	    cmocka_unit_test(append_does_not_wrap),
	};

	return cmocka_run_group_tests_name("mem/table", tests, NULL, NULL);
}
