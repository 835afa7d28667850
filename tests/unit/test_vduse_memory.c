/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device end of the vDPA bus: memory on demand, and its changes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "vdusefix.h"

#define PLAIN (VIRTIOFS_F_VERSION_1 | VTFS_F_ACCESS_PLATFORM)

static void run(void)
{
	assert_int_equal(vf_attach(), 0);
	vf_run(PLAIN);
	rec_clear(&vf.rec);
}

static void miss(uint64_t addr, uint64_t len, unsigned access)
{
	const struct vtfs_miss m = {addr, len, access};

	vf.t->dev->miss(vf.t, &m);
}

static void update(uint64_t start, uint64_t last)
{
	const struct vduse_dev_request req = {.type = VDUSE_UPDATE_IOTLB,
					      .iova = {start, last}};

	vf_send(&req);
}

static bool covers(uint64_t addr, uint64_t len, unsigned access)
{
	uint64_t hole;

	return vtfs_table_covers(vf.rec.table, addr, len, access, &hole);
}

static void what_is_missed_is_mapped(void **state)
{
	char *p;

	run();
	vf_map(0x400000, 0x1000, vf.memfd, 0x40000, VDUSE_ACCESS_RW);
	vf_map(0x401000, 0x2000, vf.memfd, 0x60000, VDUSE_ACCESS_RW);
	assert_false(covers(0x400ffc, 8, VTFS_MAP_WRITE));
	miss(0x400ffc, 8, VTFS_MAP_WRITE);
	assert_string_equal(vf.rec.text, "table 3;");
	assert_true(covers(0x400000, 0x3000, VTFS_MAP_WRITE));
	p = vtfs_table_ptr_rw(vf.rec.table, 0x401000, 0x2000);
	strcpy(p + 4, "here");
	assert_int_equal(pread(vf.memfd, (char[8]){0}, 5, 0x60004), 5);
	p = mmap(NULL, 0x1000, PROT_READ, MAP_SHARED, vf.memfd, 0x60000);
	assert_string_equal(p + 4, "here");
	munmap(p, 0x1000);
	/* asked for again: known */
	rec_clear(&vf.rec);
	miss(0x400ffc, 8, VTFS_MAP_WRITE);
	assert_string_equal(vf.rec.text, "");
}

static void what_is_nowhere_is_absent(void **state)
{
	run();
	vf_map(0x400000, 0x1000, vf.memfd, 0, VDUSE_ACCESS_RW);
	miss(0x500000, 8, VTFS_MAP_READ);
	assert_string_equal(vf.rec.text, "absent 500000+8 1;");
	rec_clear(&vf.rec);
	/* its beginning is there, its end is not */
	miss(0x400ff0, 0x20, VTFS_MAP_READ);
	assert_non_null(strstr(vf.rec.text, "absent 400ff0+20 1;"));
	rec_clear(&vf.rec);
	miss(UINT64_MAX - 3, 8, VTFS_MAP_READ);
	assert_non_null(strstr(vf.rec.text, "absent"));
}

static void what_may_not_be_written_is_not(void **state)
{
	run();
	vf_map(0x400000, 0x1000, vf.memfd, 0, VDUSE_ACCESS_RO);
	vf_map(0x402000, 0x1000, vf.memfd, 0, VDUSE_ACCESS_WO);
	miss(0x400000, 8, VTFS_MAP_READ);
	assert_string_equal(vf.rec.text, "table 2;");
	rec_clear(&vf.rec);
	miss(0x400000, 8, VTFS_MAP_WRITE);
	assert_string_equal(vf.rec.text, "absent 400000+8 2;");
	rec_clear(&vf.rec);
	miss(0x402000, 8, VTFS_MAP_WRITE);
	assert_string_equal(vf.rec.text, "table 3;");
	assert_false(covers(0x402000, 8, VTFS_MAP_READ));
	assert_false(covers(0x400000, 8, VTFS_MAP_WRITE));
}

static void a_file_that_is_no_memory_is_absent(void **state)
{
	int ends[2], ev = eventfd(0, EFD_CLOEXEC);

	run();
	assert_int_equal(pipe(ends), 0);
	vf_map(0x400000, 0x1000, ends[0], 0, VDUSE_ACCESS_RW);
	vf_map(0x500000, 0x1000, ev, 0, VDUSE_ACCESS_RW);
	vf_map(0x600000, 0x1000, vf.memfd, 1 << 20, VDUSE_ACCESS_RW);
	vf_map(0x700000, 0x200000, vf.memfd, 0, VDUSE_ACCESS_RW);
	vf_map(0xa00000, 0x1000, vf.memfd, UINT64_MAX - 0xfff, VDUSE_ACCESS_RW);
	vf_map(0xb00000, 0x1000, ev, UINT64_MAX - 0xfff, VDUSE_ACCESS_RW);
	for (uint64_t a = 0x400000; a <= 0xb00000; a += 0x100000) {
		if (a == 0x800000 || a == 0x900000)
			continue;
		rec_clear(&vf.rec);
		miss(a, 8, VTFS_MAP_READ);
		assert_int_equal(strncmp(vf.rec.text, "absent", 6), 0);
	}
	close(ends[0]);
	close(ends[1]);
	close(ev);
}

/* What no kernel says. */
static void ranges_that_lie_are_absent(void **state)
{
	run();
	/* all of it: its length is no number */
	vf_map(0, 0, vf.memfd, 0, VDUSE_ACCESS_RW);
	vf.maps[vf.map_cnt - 1].last = UINT64_MAX;
	miss(0x400000, 8, VTFS_MAP_READ);
	assert_string_equal(vf.rec.text, "absent 400000+8 1;");
	vf.map_cnt--;
	rec_clear(&vf.rec);
	/* it reaches into what is mapped: the rings' */
	vf_map(0xff000, 0x2000, vf.memfd, 0, VDUSE_ACCESS_RW);
	miss(0xff000, 8, VTFS_MAP_READ);
	assert_string_equal(vf.rec.text, "absent ff000+8 1;");
	rec_clear(&vf.rec);
	vf_map(0x12f000, 0x2000, vf.memfd, 0, VDUSE_ACCESS_RW);
	vf_unmap(0x100000);
	miss(0x130000, 8, VTFS_MAP_READ);
	assert_string_equal(vf.rec.text, "absent 130000+8 1;");
}

static void misses_wait_while_a_table_is_under_way(void **state)
{
	run();
	for (uint64_t i = 0; i < 20; i++)
		vf_map(0x400000 + i * 0x2000, 0x1000, vf.memfd, 0,
		       VDUSE_ACCESS_RW);
	vf.rec.hold = true;
	for (uint64_t i = 0; i < 20; i++)
		miss(0x400000 + i * 0x2000, 8, VTFS_MAP_READ);
	vf_dispatch(2);
	assert_string_equal(vf.rec.text, "table 2;");
	rec_answer_table(&vf.rec);
	vf_dispatch(1);
	assert_string_equal(vf.rec.text, "table 2;table 21;");
	rec_answer_table(&vf.rec);
	vf_dispatch(2);
	assert_string_equal(vf.rec.text, "table 2;table 21;");
}

static void more_ranges_than_there_is_room_for_are_absent(void **state)
{
	run();
	for (uint64_t i = 0; i < VTFS_REGION_MAX; i++)
		vf_map(0x400000 + i * 0x2000, 0x1000, vf.memfd, 0,
		       VDUSE_ACCESS_RW);
	for (uint64_t i = 0; i < VTFS_REGION_MAX - 1; i++)
		miss(0x400000 + i * 0x2000, 8, VTFS_MAP_READ);
	rec_clear(&vf.rec);
	miss(0x400000 + (VTFS_REGION_MAX - 1) * 0x2000, 8, VTFS_MAP_READ);
	assert_non_null(strstr(vf.rec.text, "absent"));
	assert_true(covers(0x100000, 8, VTFS_MAP_READ));
}

static void an_update_drops_what_changed(void **state)
{
	const void *ring;
	void *was, *other;

	run();
	ring = vtfs_table_ptr(vf.rec.table, 0x100000, 8);
	vf_map(0x400000, 0x1000, vf.memfd, 0x40000, VDUSE_ACCESS_RW);
	vf_map(0x402000, 0x1000, vf.memfd, 0x50000, VDUSE_ACCESS_RW);
	miss(0x400000, 8, VTFS_MAP_READ);
	miss(0x402000, 8, VTFS_MAP_READ);
	was = vtfs_table_ptr(vf.rec.table, 0x400000, 8);
	other = vtfs_table_ptr(vf.rec.table, 0x402000, 8);
	assert_non_null(was);
	/* nothing changed: answered at once, no new table */
	rec_clear(&vf.rec);
	update(0, UINT64_MAX);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	assert_string_equal(vf.rec.text, "");
	/* one is gone, one is other memory */
	vf_unmap(0x400000);
	vf_unmap(0x402000);
	vf_map(0x402000, 0x1000, vf.memfd, 0x60000, VDUSE_ACCESS_RW);
	vf.rec.hold = true;
	update(0, UINT64_MAX);
	vf_dispatch(2);
	assert_string_equal(vf.rec.text, "table 1;");
	assert_int_equal(vf_answer(NULL), -1);
	rec_answer_table(&vf.rec);
	vf_dispatch(1);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	assert_ptr_equal(vtfs_table_ptr(vf.rec.table, 0x100000, 8), ring);
	vf.rec.hold = false;
	miss(0x402000, 8, VTFS_MAP_READ);
	assert_ptr_not_equal(vtfs_table_ptr(vf.rec.table, 0x402000, 8), NULL);
	(void)other;
}

static void an_update_elsewhere_asks_nothing(void **state)
{
	unsigned asked;

	run();
	asked = vf.asked;
	vf_unmap(0x100000);
	update(0x130000, UINT64_MAX);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	update(0, 0xfffff);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	assert_int_equal(vf.asked, asked);
	update(0x12ffff, 0x12ffff);
	vf_dispatch(1);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	assert_int_equal(vf.rec.table->map_cnt, 0);
	/* backwards */
	update(5, 4);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_FAILED);
}

static void rights_that_changed_are_a_change(void **state)
{
	run();
	vf_map(0x400000, 0x1000, vf.memfd, 0, VDUSE_ACCESS_RW);
	miss(0x400000, 8, VTFS_MAP_WRITE);
	vf.maps[vf.map_cnt - 1].perm = VDUSE_ACCESS_RO;
	update(0, UINT64_MAX);
	vf_dispatch(1);
	assert_int_equal(vf_answer(NULL), VDUSE_REQ_RESULT_OK);
	assert_false(covers(0x400000, 8, VTFS_MAP_WRITE));
	miss(0x400000, 8, VTFS_MAP_WRITE);
	assert_non_null(strstr(vf.rec.text, "absent"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, vf_set_up, vf_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(what_is_missed_is_mapped),
	    T(what_is_nowhere_is_absent),
	    T(what_may_not_be_written_is_not),
	    T(a_file_that_is_no_memory_is_absent),
	    T(ranges_that_lie_are_absent),
	    T(misses_wait_while_a_table_is_under_way),
	    T(more_ranges_than_there_is_room_for_are_absent),
	    T(an_update_drops_what_changed),
	    T(an_update_elsewhere_asks_nothing),
	    T(rights_that_changed_are_a_change),
	};

	return cmocka_run_group_tests_name("vduse_memory", tests, NULL, NULL);
}
