/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables of an IOMMU. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <virtiofs/base.h>

#include "mem/fault.h"
#include "mem/view.h"
#include "regions.h"

#define RW (VTFS_MAP_READ | VTFS_MAP_WRITE)
#define A  UINT64_C(0xfff0000000)

struct fix {
	int fd;
	struct vtfs_region *r[2];
	struct vtfs_table *t;
	struct iovec iov[8];
	uint64_t at[8];
	struct vtfs_parts parts;
};

/* Pages 0, 2 and 1 of region 3, read-only 3 of it, a gap, page 0 of region 5
 * to be written. */
static int set_up(void **state)
{
	static struct fix f;
	struct vtfs_map maps[5];
	unsigned char *p;

	memset(&f, 0, sizeof(f));
	f.fd = region_memfd(4 * PAGE);
	f.r[0] = region_make(f.fd, 0x1000, 4 * PAGE, 3);
	f.r[1] = region_make(f.fd, 0x8000, PAGE, 5);
	p = f.r[0]->addr;
	maps[0] = (struct vtfs_map){A, PAGE, p, 3, RW};
	maps[1] = (struct vtfs_map){A + PAGE, PAGE, p + 2 * PAGE, 3, RW};
	maps[2] = (struct vtfs_map){A + 2 * PAGE, PAGE, p + PAGE, 3, RW};
	maps[3] = (struct vtfs_map){A + 3 * PAGE, PAGE, p + 2 * PAGE, 3,
				    VTFS_MAP_READ};
	maps[4] = (struct vtfs_map){A + 5 * PAGE, PAGE, f.r[1]->addr, 5,
				    VTFS_MAP_WRITE};
	assert_int_equal(vtfs_table_new_mapped(&f.t, f.r, 2, maps, 5), 0);
	f.parts = (struct vtfs_parts){
	    .iov = f.iov, .at = f.at, .max = 8, .access = VTFS_MAP_READ};
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *f = *state;

	vtfs_table_put(f->t);
	vtfs_region_put(f->r[0]);
	vtfs_region_put(f->r[1]);
	close(f->fd);
	return 0;
}

static void regions_are_not_found_by_their_own_addresses(void **state)
{
	struct fix *f = *state;

	assert_null(vtfs_table_ptr(f->t, 0x1000, 1));
	assert_ptr_equal(vtfs_table_ptr(f->t, A, 1), f->r[0]->addr);
	assert_int_equal(vtfs_table_append(f->t, 0x1000, 4, &f->parts), 0);
	assert_int_equal(f->parts.holes, 1);
}

static void one_piece_may_have_several_maps(void **state)
{
	struct fix *f = *state;
	unsigned char *p = f->r[0]->addr;

	assert_null(vtfs_table_ptr(f->t, A, PAGE + 1));
	/* Pages 1 and 2 stand beside each other in both. */
	assert_ptr_equal(vtfs_table_ptr(f->t, A + 2 * PAGE, 2 * PAGE),
			 p + PAGE);
	assert_null(vtfs_table_ptr_rw(f->t, A + 2 * PAGE, PAGE + 1));
	assert_ptr_equal(vtfs_table_ptr_rw(f->t, A + 2 * PAGE, PAGE), p + PAGE);
	assert_null(vtfs_table_ptr(f->t, A + 5 * PAGE, 1));
	assert_null(vtfs_table_ptr_rw(f->t, A + 5 * PAGE, 1));
	assert_null(vtfs_table_ptr(f->t, A + 3 * PAGE, 2 * PAGE));
	assert_null(vtfs_table_ptr(f->t, UINT64_MAX, 2));
}

static int edit(struct fix *f, uint64_t addr, uint64_t last,
		const struct vtfs_map *maps, unsigned cnt)
{
	const struct vtfs_map_edit e = {addr, last, maps, cnt};
	struct vtfs_table *t;
	int r = vtfs_table_edit(&t, f->t, &e);

	if (r < 0)
		return r;
	vtfs_table_put(f->t);
	f->t = t;
	return 0;
}

static void an_edit_changes_what_lies_between_its_ends(void **state)
{
	struct fix *f = *state;
	unsigned char *p = f->r[0]->addr;
	const struct vtfs_map two[] = {
	    {A + PAGE, PAGE, p, 3, RW},
	    {A + 2 * PAGE, PAGE, p + 3 * PAGE, 3, RW},
	};
	const struct vtfs_map front = {A - PAGE, PAGE, p + PAGE, 3, RW};

	assert_int_equal(edit(f, A + PAGE, A + 3 * PAGE - 1, two, 2), 0);
	assert_int_equal(f->t->map_cnt, 5);
	assert_ptr_equal(vtfs_table_ptr(f->t, A, PAGE), p);
	assert_ptr_equal(vtfs_table_ptr(f->t, A + PAGE, PAGE), p);
	assert_ptr_equal(vtfs_table_ptr(f->t, A + 2 * PAGE, 1), p + 3 * PAGE);
	assert_ptr_equal(vtfs_table_ptr(f->t, A + 3 * PAGE, 1), p + 2 * PAGE);
	/* Nothing instead; something where nothing was; all of it. */
	assert_int_equal(edit(f, A + PAGE, A + 4 * PAGE - 1, NULL, 0), 0);
	assert_int_equal(f->t->map_cnt, 2);
	assert_null(vtfs_table_ptr(f->t, A + 2 * PAGE, 1));
	assert_int_equal(edit(f, A - PAGE, A - 1, &front, 1), 0);
	assert_ptr_equal(vtfs_table_ptr(f->t, A - PAGE, 1), p + PAGE);
	assert_ptr_equal(vtfs_table_ptr(f->t, A, PAGE), p);
	assert_int_equal(f->t->map_cnt, 3);
	assert_int_equal(edit(f, 0, UINT64_MAX, &front, 1), 0);
	assert_int_equal(f->t->map_cnt, 1);
}

static void edits_are_judged_like_tables(void **state)
{
	struct fix *f = *state;
	unsigned char *p = f->r[0]->addr;
	const struct vtfs_map bad[] = {
	    /* Into the one behind, or the one before. */
	    {A + PAGE, 2 * PAGE, p, 3, RW},
	    {A + PAGE - 1, PAGE, p, 3, RW},
	    /* Empty, without access, in no region, beyond its end. */
	    {A + PAGE, 0, p, 3, RW},
	    {A + PAGE, PAGE, p, 3, 0},
	    {A + PAGE, PAGE, p, 4, RW},
	    {A + PAGE, PAGE, p + 3 * PAGE + 1, 3, RW},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
		    edit(f, A + PAGE, A + 2 * PAGE - 1, &bad[i], 1), -EINVAL);
		assert_int_equal(f->t->map_cnt, 5);
	}
}

static void covers_tells_the_first_byte_that_is_not(void **state)
{
	struct fix *f = *state;
	uint64_t hole = 0;

	assert_true(
	    vtfs_table_covers(f->t, A + 5, 4 * PAGE - 5, VTFS_MAP_READ, &hole));
	assert_false(
	    vtfs_table_covers(f->t, A + 5, 4 * PAGE, VTFS_MAP_READ, &hole));
	assert_int_equal(hole, A + 4 * PAGE);
	assert_false(vtfs_table_covers(f->t, A, 4 * PAGE, RW, &hole));
	assert_int_equal(hole, A + 3 * PAGE);
	assert_false(vtfs_table_covers(f->t, 0, 1, VTFS_MAP_READ, &hole));
	assert_false(
	    vtfs_table_covers(f->t, UINT64_MAX, 1, VTFS_MAP_READ, &hole));
	assert_int_equal(hole, UINT64_MAX);
}

static void copy_goes_over_the_borders(void **state)
{
	struct fix *f = *state;
	char buf[9] = {0};

	memcpy(f->r[0]->addr + PAGE - 4, "left", 4);
	memcpy(f->r[0]->addr + 2 * PAGE, "right", 4);
	vtfs_table_copy(f->t, A + PAGE - 4, buf, 8);
	assert_string_equal(buf, "leftrigh");
}

static void append_leaves_holes_and_addresses(void **state)
{
	struct fix *f = *state;
	struct vtfs_parts *p = &f->parts;

	assert_int_equal(vtfs_table_append(f->t, A + PAGE - 1, 2, p), 0);
	assert_int_equal(p->cnt, 2);
	assert_int_equal(f->at[1], A + PAGE);
	assert_int_equal(p->holes, 0);
	assert_int_equal(p->regions[0], 1u << 3);
	p->seal = p->cnt;
	/* Adjacent memory by other addresses is not merged. */
	p->access = VTFS_MAP_WRITE;
	assert_int_equal(vtfs_table_append(f->t, A + 3 * PAGE - 8, 8, p), 0);
	assert_int_equal(vtfs_table_append(f->t, A + PAGE, 8, p), 0);
	assert_int_equal(p->cnt, 4);
	/* Forbidden, nothing there, to be written: two holes are one. */
	assert_int_equal(vtfs_table_append(f->t, A + 3 * PAGE, 3 * PAGE, p), 0);
	assert_int_equal(p->cnt, 6);
	assert_int_equal(p->holes, 1);
	assert_null(f->iov[4].iov_base);
	assert_int_equal(f->iov[4].iov_len, 2 * PAGE);
	assert_int_equal(f->at[4], A + 3 * PAGE);
	assert_ptr_equal(f->iov[5].iov_base, f->r[1]->addr);
	assert_int_equal(p->regions[0], 1u << 3 | 1u << 5);
	assert_int_equal(vtfs_table_append(f->t, UINT64_MAX, 2, p), -EFAULT);
	assert_int_equal(vtfs_table_append(f->t, UINT64_MAX, 1, p), 0);
	assert_int_equal(vtfs_table_append(f->t, 5, 1, p), 0);
	assert_int_equal(vtfs_table_append(f->t, 7, 1, p), -E2BIG);
}

static void maps_that_can_not_be_are_refused(void **state)
{
	struct fix *f = *state;
	unsigned char *p = f->r[0]->addr;
	const struct vtfs_map bad[][2] = {
	    {{0, 0, p, 3, RW}, {1, 1, p, 3, RW}},
	    {{0, PAGE, p, 3, RW}, {PAGE - 1, PAGE, p, 3, RW}},
	    {{PAGE, PAGE, p, 3, RW}, {0, PAGE, p, 3, RW}},
	    {{0, PAGE, p, 3, RW}, {0, PAGE, p, 3, RW}},
	    {{0, PAGE, p, 3, 0}, {PAGE, PAGE, p, 3, RW}},
	    {{0, PAGE, p, 4, RW}, {PAGE, PAGE, p, 3, RW}},
	    {{0, PAGE, p - 1, 3, RW}, {PAGE, PAGE, p, 3, RW}},
	    {{0, 5 * PAGE, p, 3, RW}, {5 * PAGE, PAGE, p, 3, RW}},
	    {{0, PAGE, p, 5, RW}, {PAGE, PAGE, p, 3, RW}},
	    {{0, PAGE, p, 3, RW}, {UINT64_MAX, 2, p, 3, RW}},
	};
	struct vtfs_table *t;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vtfs_table_new_mapped(&t, f->r, 2, bad[i], 2),
				 -EINVAL);
	assert_int_equal(f->r[0]->refs, 2);
	assert_int_equal(vtfs_table_new_mapped(&t, f->r, 2, NULL, 0), 0);
	assert_null(vtfs_table_ptr(t, 0x1000, 1));
	vtfs_table_put(t);
}

/* Pages 0, 2 and 1, one behind the other, and the same memory as before. */
static void pages_are_joined_to_one_piece(void **state)
{
	struct fix *f = *state;
	unsigned char *at, *p = f->r[0]->addr;

	assert_null(vtfs_table_ptr(f->t, A + 16, 3 * PAGE - 32));
	assert_int_equal(vtfs_table_join(f->t, NULL, A + 16, 3 * PAGE - 32), 0);
	assert_int_equal(f->t->view_cnt, 1);
	at = vtfs_table_ptr_rw(f->t, A + 16, 3 * PAGE - 32);
	assert_non_null(at);
	for (unsigned i = 0; i < 3; i++) {
		static const unsigned page[3] = {0, 2, 1};

		at[i * PAGE] = (unsigned char)(i + 1);
		assert_int_equal(p[page[i] * PAGE + 16], i + 1);
		p[page[i] * PAGE + 17] = (unsigned char)(i + 11);
		assert_int_equal(at[i * PAGE + 1], i + 11);
	}
	assert_null(vtfs_table_ptr(f->t, A, 3 * PAGE + 1));
}

/* What permits less, what is one piece, and what has holes. */
static void views_are_made_where_they_help(void **state)
{
	struct fix *f = *state;

	assert_int_equal(vtfs_table_join(f->t, NULL, A, PAGE), 0);
	assert_int_equal(vtfs_table_join(f->t, NULL, A, 5 * PAGE), 0);
	assert_int_equal(vtfs_table_join(f->t, NULL, A + 5 * PAGE, 16), 0);
	assert_int_equal(vtfs_table_join(f->t, NULL, A, 0), 0);
	assert_int_equal(vtfs_table_join(f->t, NULL, UINT64_MAX, 2), 0);
	assert_int_equal(f->t->view_cnt, 0);
	assert_int_equal(vtfs_table_join(f->t, NULL, A, 4 * PAGE), 0);
	assert_int_equal(f->t->view_cnt, 1);
	assert_non_null(vtfs_table_ptr(f->t, A, 4 * PAGE));
	assert_null(vtfs_table_ptr_rw(f->t, A, 4 * PAGE));
}

static void the_next_table_has_the_same_view(void **state)
{
	struct fix *f = *state;
	struct vtfs_map maps[4];
	struct vtfs_table *t;
	void *at;

	memcpy(maps, f->t->maps, sizeof(maps));
	assert_int_equal(vtfs_table_join(f->t, NULL, A, 2 * PAGE), 0);
	at = vtfs_table_ptr(f->t, A, 2 * PAGE);
	assert_int_equal(vtfs_table_new_mapped(&t, f->r, 2, maps, 3), 0);
	assert_null(vtfs_table_ptr(t, A, 2 * PAGE));
	assert_int_equal(vtfs_table_join(t, f->t, A, 2 * PAGE), 0);
	assert_ptr_equal(vtfs_table_ptr(t, A, 2 * PAGE), at);
	vtfs_table_put(f->t);
	f->t = t;
	*(unsigned char *)at = 7;
	assert_int_equal(f->r[0]->addr[0], 7);
	/* Another page there: another view. */
	maps[1].ptr += PAGE;
	assert_int_equal(vtfs_table_new_mapped(&t, f->r, 2, maps, 3), 0);
	assert_int_equal(vtfs_table_join(t, f->t, A, 2 * PAGE), 0);
	assert_ptr_not_equal(vtfs_table_ptr(t, A, 2 * PAGE), at);
	vtfs_table_put(t);
}

static void a_page_that_goes_is_seen_in_the_view(void **state)
{
	struct fix *f = *state;
	unsigned char *at;

	assert_int_equal(vtfs_table_join(f->t, NULL, A, 2 * PAGE), 0);
	at = vtfs_table_ptr(f->t, A, 2 * PAGE);
	assert_false(vtfs_table_faulted(f->t));
	assert_int_equal(virtiofs_memory_fault(at + PAGE), 1);
	assert_true(vtfs_table_faulted(f->t));
	assert_int_equal(at[PAGE], 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(regions_are_not_found_by_their_own_addresses),
	    T(one_piece_may_have_several_maps),
	    T(covers_tells_the_first_byte_that_is_not),
	    T(an_edit_changes_what_lies_between_its_ends),
	    T(edits_are_judged_like_tables),
	    T(copy_goes_over_the_borders),
	    T(append_leaves_holes_and_addresses),
	    T(maps_that_can_not_be_are_refused),
	    T(pages_are_joined_to_one_piece),
	    T(views_are_made_where_they_help),
	    T(the_next_table_has_the_same_view),
	    T(a_page_that_goes_is_seen_in_the_view),
	};

	return cmocka_run_group_tests_name("mem/maps", tests, NULL, NULL);
}
