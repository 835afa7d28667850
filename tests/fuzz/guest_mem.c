/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest.h"

#include "base/bytes.h"

enum { REGION_MAIN, REGION_MORE, REGION_HIGH, REGION_CNT };

static const uint64_t region_at[REGION_CNT] = {GUEST_MAIN, GUEST_MORE,
					       GUEST_HIGH};
static const size_t region_len[REGION_CNT] = {GUEST_LEN, GUEST_PAGE,
					      GUEST_PAGE};
static struct vtfs_region *regions[REGION_CNT];
static unsigned char copy[REGION_CNT][GUEST_LEN];

static void make_regions(void)
{
	for (unsigned i = 0; i < REGION_CNT && !regions[i]; i++) {
		struct vtfs_region_desc d = {
		    .peer_addr = region_at[i],
		    .user_addr = region_at[i],
		    .len = region_len[i],
		    .fd = -1,
		    .addr = aligned_alloc(GUEST_PAGE, region_len[i]),
		};

		must(d.addr);
		must(vtfs_region_new(&regions[i], &d, (uint16_t)i) == 0);
	}
}

void guest_mem_init(void)
{
	make_regions();
	for (unsigned i = 0; i < REGION_CNT; i++) {
		fuzz_permit(regions[i]->addr, region_len[i]);
		memset(regions[i]->addr, 0, region_len[i]);
	}
}

void guest_mem_fini(void)
{
	for (unsigned i = 0; i < REGION_CNT; i++)
		must(regions[i]->refs == 1);
}

void guest_mem_more(struct guest *g, bool more)
{
	g->more_left = more;
	if (more)
		fuzz_permit(regions[REGION_MORE]->addr, GUEST_PAGE);
	else if (!g->quiet) /* we look at it then */
		fuzz_forbid(regions[REGION_MORE]->addr, GUEST_PAGE);
}

/* ---- the IOMMU ---- */

uint64_t guest_page_addr(unsigned page)
{
	if (page == GUEST_PAGES - 1)
		return GUEST_HIGH;
	return GUEST_MAIN + page * UINT64_C(0x1000);
}

static unsigned page_region(unsigned page)
{
	if (page == GUEST_PAGES - 1)
		return REGION_HIGH;
	return page == GUEST_PAGES - 2 ? REGION_MORE : REGION_MAIN;
}

static unsigned char *page_ptr(unsigned page)
{
	unsigned i = page_region(page);

	return regions[i]->addr + (guest_page_addr(page) - region_at[i]);
}

static unsigned get_maps(const struct guest *g, struct vtfs_map *maps)
{
	unsigned cnt = 0;

	for (unsigned i = 0; i < GUEST_PAGES; i++)
		if (g->access[i] && guest_has_page(g, i))
			maps[cnt++] = (struct vtfs_map){
			    .addr = guest_page_addr(i),
			    .len = GUEST_PAGE,
			    .ptr = page_ptr(i),
			    .region = (uint16_t)page_region(i),
			    .access = g->access[i],
			};
	return cnt;
}

bool guest_maps(const struct guest *g, const void *p, size_t len)
{
	for (unsigned i = 0; i < GUEST_PAGES; i++)
		if (vtfs_range_overlap((uintptr_t)page_ptr(i), GUEST_PAGE,
				       (uintptr_t)p, len) &&
		    !g->access[i])
			return false;
	return true;
}

struct vtfs_table *guest_mem_table(const struct guest *g)
{
	struct vtfs_region *list[REGION_CNT];
	struct vtfs_map maps[GUEST_PAGES];
	struct vtfs_table *t;
	unsigned cnt = 0;

	for (unsigned i = 0; i < REGION_CNT; i++)
		if (i != REGION_MORE || g->more)
			list[cnt++] = regions[i];
	if (g->iommu)
		must(vtfs_table_new_mapped(&t, list, cnt, maps,
					   get_maps(g, maps)) == 0);
	else
		must(vtfs_table_new(&t, list, cnt) == 0);
	return t;
}

/* ---- bytes ---- */

bool guest_has_page(const struct guest *g, unsigned page)
{
	return g->more || page_region(page) != REGION_MORE;
}

static bool is_there(const struct guest *g, unsigned region)
{
	return region != REGION_MORE || g->more_left;
}

unsigned char *guest_ptr(const struct guest *g, uint64_t addr, size_t len)
{
	for (unsigned i = 0; i < REGION_CNT; i++)
		if (is_there(g, i) &&
		    vtfs_range_ok(region_at[i], region_len[i], addr, len))
			return regions[i]->addr + (addr - region_at[i]);
	return NULL;
}

bool guest_owns(const struct guest *g, const void *p, size_t len)
{
	for (unsigned i = 0; i < REGION_CNT; i++)
		if (is_there(g, i) &&
		    vtfs_range_ok((uintptr_t)regions[i]->addr, region_len[i],
				  (uintptr_t)p, len))
			return true;
	return false;
}

void guest_watch(struct guest *g)
{
	fuzz_permit(regions[REGION_MORE]->addr, GUEST_PAGE);
	for (unsigned i = 0; i < REGION_CNT; i++)
		memcpy(copy[i], regions[i]->addr, region_len[i]);
	g->quiet = true;
}

void guest_still(struct guest *g)
{
	for (unsigned i = 0; g->quiet && i < REGION_CNT; i++)
		must(!memcmp(copy[i], regions[i]->addr, region_len[i]));
}
