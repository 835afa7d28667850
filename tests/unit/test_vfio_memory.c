/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory for a function behind the kernel's IOMMU, or beside it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <virtiofs/ops.h>

#include "fakevfio.h"
#include "leaks.h"
#include "transport/vfio/client.h"

#define MIB	   0x100000ULL
#define PAGE_CNT   48u
#define PRESENT	   (1ULL << 63)
#define CAP_OFFSET sizeof(struct vfio_iommu_type1_info)

static struct virtiofs_client *c;
static struct virtiofs_transport *t;
static struct vfio_fn *v;
static unsigned char *mem;
static unsigned fds;

static int set_up(void **state)
{
	fds = raw_fd_cnt();
	fv_init();
	c = NULL;
	t = NULL;
	mem = mmap(NULL, PAGE_CNT * 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(mem != MAP_FAILED);
	(void)state;
	return 0;
}

static int tear_down(void **state)
{
	virtiofs_client_free(c);
	virtiofs_transport_free(t);
	munmap(mem, PAGE_CNT * 4096);
	fv_fini();
	assert_int_equal(raw_fd_cnt(), fds);
	(void)state;
	return 0;
}

static void again(void)
{
	tear_down(NULL);
	set_up(NULL);
}

static int start(void)
{
	struct virtiofs_client_opts opts = {.size = sizeof(opts)};
	struct virtiofs_transport *own;

	assert_int_equal(vtfs_vfio_open(&own, FV_ADDRESS), 0);
	assert_int_equal(virtiofs_client_new(&c, own, &opts), 0);
	return virtiofs_client_start(c, NULL);
}

/* The function alone. */
static void attach(void)
{
	v = calloc(1, sizeof(*v));
	v->address = strdup(FV_ADDRESS);
	v->container = v->group = v->device = -1;
	assert_int_equal(vtfs_vfio_attach(v), 0);
}

static void detach(void)
{
	vtfs_vfio_unmap_all(v);
	vtfs_vfio_detach(v);
	free(v->address);
	free(v);
}

static int map_pages(unsigned first, unsigned cnt, bool iova, uint64_t *ret)
{
	struct virtiofs_region r = {.size = sizeof(r),
				    .addr = mem + first * 4096,
				    .len = cnt * 4096,
				    .fd = -1};

	return vtfs_vfio_map(v, &r, iova, ret);
}

/* ---- what is mapped and unmapped ---- */

/* Where the IOMMU takes it and nowhere else, and each has its own place.
 * covers: VFK-DRV-01 */
static void memory_lies_in_the_ranges_of_the_iommu(void **state)
{
	static const struct vfio_iova_range r[] = {
	    {0, 0x200fff}, {0x300000, 0x300fff}, {MIB << 20, UINT64_MAX}};
	uint64_t at;

	/* The first has no more than one page beyond the low MiB and what lies
	 * below 2 MiB is refused here. */
	fv_ranges(r, 3);
	fv.last = UINT64_MAX;
	attach();
	assert_int_equal(map_pages(0, 4, true, &at), 0);
	assert_int_equal(at, MIB);
	assert_int_equal(map_pages(4, 25, true, &at), 0);
	assert_int_equal(at, MIB + 0x4000);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(map_pages(29 + i, 1, true, &at), 0);
	assert_int_equal(fv.map_cnt, 4);
	detach();
	again();
	fv_ranges(r + 1, 2);
	fv.first = 0x300000;
	fv.last = UINT64_MAX;
	attach();
	assert_int_equal(map_pages(0, 2, true, &at), 0);
	assert_int_equal(at, MIB << 20);
	assert_int_equal(map_pages(2, 1, true, &at), 0);
	assert_int_equal(at, 0x300000);
	assert_int_equal(map_pages(3, 1, true, &at), 0);
	assert_int_equal(at, (MIB << 20) + 0x2000);
	detach();
	again();
	/* No room: refused here, the kernel is not asked. */
	fv_ranges(r + 1, 1);
	attach();
	assert_int_equal(map_pages(0, 2, true, &at), -ENOSPC);
	assert_int_equal(fv_count("map "), 0);
	detach();
	(void)state;
}

/* covers: VFK-DRV-02 */
static void what_was_mapped_is_unmapped_exactly(void **state)
{
	struct virtiofs_region mem_of[3];
	const char *at;

	assert_int_equal(start(), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
		    virtiofs_client_alloc_region(c, (i + 1) * 4096, &mem_of[i]),
		    0);
	fv.text[0] = 0;
	/* The fake holds each against what it has. */
	assert_int_equal(virtiofs_client_unmap_region(c, &mem_of[1]), 0);
	assert_int_equal(fv_count("unmap "), 1);
	assert_int_equal(virtiofs_client_alloc_region(c, 4096, &mem_of[1]), 0);
	/* The rest goes behind the reset, when nobody can touch it. */
	virtiofs_client_free(c);
	c = NULL;
	at = fv_find(fv.text, "unmap ");
	at = fv_find(at, "status=0;");
	at = fv_find(at, "unmap ");
	assert_int_equal(fv.map_cnt, 0);
	(void)state;
}

/* covers: VFK-DRV-02 */
static void unmapping_that_leaves_something_is_told(void **state)
{
	uint64_t at;

	attach();
	assert_int_equal(map_pages(0, 4, true, &at), 0);
	fv.unmap_less = 4096;
	assert_int_equal(vtfs_vfio_unmap(v, at), -ENOTCONN);
	assert_non_null(
	    strstr(virtiofs_last_error(), "0x3000 of 0x4000 bytes unmapped"));
	assert_int_equal(vtfs_vfio_unmap(v, at), -EINVAL);
	detach();
	(void)state;
}

/* ---- what the IOMMU can ---- */

/* covers: VFK-DRV-03 */
static void no_more_pieces_than_the_iommu_takes(void **state)
{
	struct virtiofs_region mem_of[16];
	unsigned own, n = 0;

	fv_avail(16);
	assert_int_equal(start(), 0);
	/* Rings and pages of a client are few. */
	own = fv.map_cnt;
	assert_true(own <= 3);
	while (n < 16 && !virtiofs_client_alloc_region(c, 4096, &mem_of[n]))
		n++;
	assert_int_equal(n, 16 - own);
	assert_non_null(strstr(virtiofs_last_error(), "no more pieces"));
	/* The kernel was not even asked for one more. */
	assert_int_equal(fv_count("map "), 16);
	assert_int_equal(virtiofs_client_unmap_region(c, &mem_of[0]), 0);
	assert_int_equal(virtiofs_client_alloc_region(c, 4096, &mem_of[0]), 0);
	(void)state;
}

/* covers: VFK-DRV-03 */
static void memory_is_made_of_the_pages_of_the_iommu(void **state)
{
	unsigned first;
	uint64_t at;

	fv.pgsizes = 0x10000 | 1ULL << 40;
	attach();
	assert_int_equal(v->page, 0x10000);
	/* A page of the IOMMU is somewhere among ours. */
	first = (unsigned)((-(uintptr_t)mem & 0xffff) / 4096);
	assert_int_equal(map_pages(first, 15, true, &at), -EINVAL);
	assert_non_null(strstr(virtiofs_last_error(), "pages of 65536 bytes"));
	assert_int_equal(map_pages(first + 1, 16, true, &at), -EINVAL);
	assert_int_equal(fv_count("map "), 0);
	assert_int_equal(map_pages(first, 16, true, &at), 0);
	assert_int_equal(at % 0x10000, 0);
	detach();
	(void)state;
}

/* The kernel says how much more there is. */
static void info_that_is_longer_than_expected(void **state)
{
	static struct vfio_iova_range r[1000];
	uint64_t at;

	for (unsigned i = 0; i < 1000; i++)
		r[i] = (struct vfio_iova_range){(i + 16) * MIB,
						(i + 16) * MIB + 0x1fff};
	fv.first = 16 * MIB;
	fv_ranges(r, 1000);
	attach();
	assert_int_equal(map_pages(0, 2, true, &at), 0);
	assert_int_equal(at, 16 * MIB);
	assert_int_equal(map_pages(2, 1, true, &at), 0);
	assert_int_equal(at, 17 * MIB);
	detach();
	(void)state;
}

static void info_that_lies(void **state)
{
	static const struct vfio_iova_range bad[] = {
	    {5, 4}, {UINT64_MAX, 0}, {0, 0}, {UINT64_MAX - 1, UINT64_MAX}};
	static const uint32_t offs[] = {1,    4,    CAP_OFFSET - 4, 4095,
					4096, 5000, 0x7fffffff,	    UINT32_MAX};
	uint64_t at;

	for (unsigned i = 0; i < VTFS_ARRAY_LEN(offs); i++) {
		fv_avail(3);
		fv.cap_offset = offs[i];
		attach();
		assert_int_equal(map_pages(0, 1, true, &at), 0);
		detach();
		again();
	}
	/* A chain that is a loop, of one and of two. */
	for (unsigned i = 0; i < 2; i++) {
		fv_avail(3);
		fv_avail(4);
		fake_put32(fv.caps + 4 + 16 * i, CAP_OFFSET);
		attach();
		assert_int_equal(v->maps_left, 4 - !i);
		detach();
		again();
	}
	/* More ranges than came, those that are none, one without a page. */
	for (unsigned i = 0; i < 2; i++) {
		fv_ranges(bad, 3 + i);
		fake_put32(fv.caps + 8, UINT32_MAX);
		attach();
		assert_int_equal(map_pages(0, 1, true, &at), i ? -ENOSPC : 0);
		detach();
		again();
	}
	/* Page sizes that no machine has. */
	for (unsigned i = 0; i < 2; i++) {
		fv.pgsizes = i ? 1ULL << 63 : 1;
		attach();
		assert_true(v->page >= 4096);
		assert_int_equal(map_pages(0, 1, true, &at), i ? -EINVAL : 0);
		detach();
		again();
	}
	/* Longer than anything. */
	fv_avail(3);
	fv.argsz = UINT32_MAX;
	attach();
	assert_int_equal(fv_count("info "), 1);
	detach();
	(void)state;
}

/* Without info it's what x86 has. */
static void iommu_that_says_nothing(void **state)
{
	uint64_t at;

	fv.pgsizes = 0;
	attach();
	assert_int_equal(map_pages(0, 1, true, &at), 0);
	assert_int_equal(at, MIB);
	assert_int_equal(v->page, 4096);
	detach();
	(void)state;
}

/* ---- the machine's own addresses ---- */

/* Two maps, and the second is not in one piece. The first one's own address
 * is what the IOMMU has for the second: that one is undone, not the first. */
static void map_that_fails_is_the_one_undone(void **state)
{
	uint64_t at;

	attach();
	fv.pagemap[0] = PRESENT | (MIB + 4096) / 4096;
	fv.pagemap[1] = PRESENT | 0x5000;
	fv.pagemap[2] = PRESENT | 0x7000;
	fv.pagemap_cnt = 3;
	assert_int_equal(map_pages(0, 1, false, &at), 0);
	assert_int_equal(at, MIB + 4096);
	assert_int_equal(map_pages(1, 2, false, &at), -EOPNOTSUPP);
	assert_int_equal(fv.map_cnt, 1);
	assert_int_equal(fv.maps[0].iova, MIB);
	assert_int_equal(vtfs_vfio_unmap(v, MIB + 4096), 0);
	assert_int_equal(fv.map_cnt, 0);
	detach();
	(void)state;
}

static void page_whose_place_nobody_tells(void **state)
{
	static const struct {
		uint64_t entry;
		int r;
	} lies[] = {{0, -EFAULT}, {PRESENT, -EPERM}};
	uint64_t at;

	for (unsigned i = 0; i < 2; i++) {
		attach();
		fv.pagemap[0] = lies[i].entry;
		fv.pagemap_cnt = 1;
		assert_int_equal(map_pages(0, 1, false, &at), lies[i].r);
		assert_int_equal(fv.map_cnt, 0);
		detach();
		again();
	}
	(void)state;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    T(memory_lies_in_the_ranges_of_the_iommu),
	    T(what_was_mapped_is_unmapped_exactly),
	    T(unmapping_that_leaves_something_is_told),
	    T(no_more_pieces_than_the_iommu_takes),
	    T(memory_is_made_of_the_pages_of_the_iommu),
	    T(info_that_is_longer_than_expected),
	    T(info_that_lies),
	    T(iommu_that_says_nothing),
	    T(map_that_fails_is_the_one_undone),
	    T(page_whose_place_nobody_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
