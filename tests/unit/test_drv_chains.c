/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the driver half writes, read back by someone who checks each rule of a
 * chain: random chains over all layouts, and those that must be refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM    16u
#define TABLE  10u /* indirect_max */
#define CHAINS 10000u

struct got {
	struct raw_part part[64];
	unsigned cnt;
	bool indirect;
};

/* The peer address of the indirect tables; they end where buffers begin. */
static unsigned char *table_at(const struct rawring *r, uint64_t addr,
			       uint32_t len)
{
	uint64_t base = r->mem.region->peer_addr;

	assert_true(addr >= base);
	assert_true(addr + len <= base + NUM * TABLE * 16);
	return r->v->indirect + (addr - base);
}

static void keep(struct got *g, const unsigned char *p, uint16_t flags)
{
	assert_true(g->cnt < 64);
	g->part[g->cnt++] = (struct raw_part){raw_get64(p), raw_get32(p + 8),
					      flags & RAW_WRITE};
}

static void read_table(const struct rawring *r, const unsigned char *desc,
		       struct got *g)
{
	uint32_t len = raw_get32(desc + 8);
	const unsigned char *t = table_at(r, raw_get64(desc), len);
	uint32_t cnt = len / 16;

	assert_true(r->mem.conf.flags & VTFS_VQ_INDIRECT);
	assert_int_equal(len % 16, 0);
	assert_true(cnt >= 1 && cnt <= TABLE);
	g->indirect = true;
	for (uint32_t i = 0; i < cnt; i++, t += 16) {
		uint16_t flags = raw_get16(t + (r->packed ? 14 : 12));
		uint16_t next = raw_get16(t + 14);
		bool last = i + 1 == cnt;

		if (r->packed) {
			assert_int_equal(flags & ~RAW_WRITE, 0);
		} else {
			assert_int_equal(flags & ~(RAW_NEXT | RAW_WRITE), 0);
			assert_int_equal(!(flags & RAW_NEXT), last);
			if (!last)
				assert_int_equal(next, i + 1);
		}
		keep(g, t, flags);
	}
}

static void read_split(const struct rawring *r, uint16_t at, struct got *g)
{
	bool seen[NUM] = {false};

	for (;;) {
		const unsigned char *p = raw_desc(r, at);
		uint16_t flags = raw_get16(p + 12);

		assert_true(at < NUM && !seen[at]);
		seen[at] = true;
		if (flags & RAW_INDIRECT) {
			assert_int_equal(flags, RAW_INDIRECT);
			assert_int_equal(g->cnt, 0);
			read_table(r, p, g);
			return;
		}
		assert_int_equal(flags & ~(RAW_NEXT | RAW_WRITE), 0);
		keep(g, p, flags);
		if (!(flags & RAW_NEXT))
			return;
		at = raw_get16(p + 14);
	}
}

static void read_packed(const struct rawring *r, uint32_t first, uint16_t cnt,
			struct got *g)
{
	for (uint16_t i = 0; i < cnt; i++) {
		const unsigned char *p = raw_desc(r, (first + i) % NUM);
		uint16_t flags = raw_get16(p + 14);

		flags &= (uint16_t) ~(RAW_AVAIL | RAW_USED);
		if (flags & RAW_INDIRECT) {
			assert_int_equal(flags, RAW_INDIRECT);
			assert_int_equal(cnt, 1);
			read_table(r, p, g);
			return;
		}
		assert_int_equal(flags & ~(RAW_NEXT | RAW_WRITE), 0);
		assert_int_equal(!(flags & RAW_NEXT), i + 1 == cnt);
		keep(g, p, flags);
	}
}

static void expect_same(const struct got *g, const struct vtfs_vq_buf *b,
			unsigned readable, unsigned cnt)
{
	assert_int_equal(g->cnt, cnt);
	for (unsigned i = 0; i < cnt; i++) {
		assert_int_equal(g->part[i].addr, b[i].addr);
		assert_int_equal(g->part[i].len, b[i].len);
		assert_int_equal(g->part[i].flags,
				 i < readable ? 0 : RAW_WRITE);
	}
}

static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 10) % below;
}

static void start(struct rawring *r, void **state)
{
	uint32_t flags = *(const uint32_t *)*state;

	seed = flags + 1;
	raw_device_start(r, flags, NUM, flags & VTFS_VQ_INDIRECT ? TABLE : 0);
}

static unsigned choose(const struct rawring *r, struct vtfs_vq_buf *b)
{
	unsigned cnt = 1 + rnd(NUM);

	for (unsigned i = 0; i < cnt; i++)
		b[i] = (struct vtfs_vq_buf){raw_addr(r, rnd(60000)),
					    1 + rnd(500)};
	return cnt;
}

/* covers: SPLIT-DRV-02, SPLIT-DRV-07, SPLIT-DRV-08, SPLIT-DRV-10 */
/* covers: PACK-DRV-17, PACK-DRV-20, PACK-DRV-22, PACK-BTH-06 */
static void chains_keep_every_rule(void **state)
{
	struct vtfs_vq_buf b[NUM];
	uint16_t id, cnt, token;
	unsigned indirect = 0;
	struct rawring r;
	uint32_t len;

	start(&r, state);
	for (uint16_t i = 0; i < CHAINS; i++) {
		struct got g = {.cnt = 0};
		unsigned parts = choose(&r, b);
		unsigned readable = rnd(parts + 1);
		uint16_t slot = r.avail;

		assert_int_equal(vtfs_vq_drv_add(r.vq, b, readable,
						 parts - readable, i % NUM),
				 0);
		vtfs_vq_drv_publish(r.vq);
		assert_int_equal(raw_take(&r, &id, &cnt), 1);
		if (r.packed)
			read_packed(&r, slot, cnt, &g);
		else
			read_split(&r, id, &g);
		expect_same(&g, b, readable, parts);
		indirect += g.indirect;
		raw_return(&r, id, 0, cnt);
		assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len), 1);
		assert_int_equal(token, i % NUM);
	}
	assert_int_equal(indirect != 0,
			 (r.mem.conf.flags & VTFS_VQ_INDIRECT) != 0);
	raw_stop(&r);
}

static void expect_refused(struct rawring *r, const struct vtfs_vq_buf *b,
			   unsigned cnt, int why)
{
	static unsigned char before[1 << 20];

	memcpy(before, r->v->base, r->mem.off_bufs);
	for (unsigned readable = 0; readable <= cnt; readable++)
		assert_int_equal(
		    vtfs_vq_drv_add(r->vq, b, readable, cnt - readable, 0),
		    why);
	assert_int_equal(vtfs_vq_drv_publish(r->vq), 0);
	assert_memory_equal(before, r->v->base, r->mem.off_bufs);
	assert_int_equal(vtfs_vq_drv_free_cnt(r->vq), NUM);
}

/* covers: SPLIT-DRV-09, PACK-DRV-16, PACK-DRV-21 */
static void chain_longer_than_allowed_is_refused(void **state)
{
	struct vtfs_vq_buf b[64];
	struct rawring r;

	start(&r, state);
	for (unsigned i = 0; i < 64; i++)
		b[i] = (struct vtfs_vq_buf){raw_addr(&r, 100 * i), 10};
	for (unsigned cnt = NUM + 1; cnt <= 64; cnt++)
		expect_refused(&r, b, cnt, -E2BIG);
	raw_stop(&r);
}

/* covers: SPLIT-DRV-04 */
static void chain_of_4_gib_is_refused(void **state)
{
	struct vtfs_vq_buf b[3];
	struct rawring r;

	start(&r, state);
	b[0] = (struct vtfs_vq_buf){raw_addr(&r, 0), 0x80000000};
	b[1] = b[0];
	b[2] = b[0];
	expect_refused(&r, b, 2, -E2BIG);
	expect_refused(&r, b, 3, -E2BIG);
	raw_stop(&r);
}

/* covers: SPLIT-BTH-06 */
static void chain_of_nothing_is_refused(void **state)
{
	struct vtfs_vq_buf b[2];
	struct rawring r;

	start(&r, state);
	b[0] = (struct vtfs_vq_buf){raw_addr(&r, 0), 8};
	b[1] = (struct vtfs_vq_buf){raw_addr(&r, 0), 0};
	expect_refused(&r, b, 0, -EINVAL);
	expect_refused(&r, b, 2, -EINVAL);
	raw_stop(&r);
}

/* What is published stays so, whatever fails after. covers: SPLIT-DRV-12 */
static void index_never_goes_back(void **state)
{
	struct vtfs_vq_buf b[NUM];
	uint16_t id, cnt, token;
	uint16_t idx = 0;
	unsigned full = 0;
	struct rawring r;
	uint32_t len;

	start(&r, state);
	for (unsigned i = 0; i < CHAINS * 10; i++) {
		uint16_t now;

		if (rnd(2)) {
			int err = vtfs_vq_drv_add(r.vq, b, choose(&r, b), 0, 0);

			assert_true(err == 0 || err == -ENOSPC);
			full += err != 0;
		} else if (rnd(2)) {
			vtfs_vq_drv_publish(r.vq);
		} else if (raw_take(&r, &id, &cnt)) {
			raw_return(&r, id, 0, cnt);
			assert_int_equal(vtfs_vq_drv_get(r.vq, &token, &len),
					 1);
		}
		now = raw_get16(raw_avail_idx(&r));
		assert_true((uint16_t)(now - idx) <= NUM);
		idx = now;
	}
	assert_true(full > 1000);
	raw_stop(&r);
}

static uint32_t split;
static uint32_t split_indirect = VTFS_VQ_INDIRECT;
static uint32_t packed = VTFS_VQ_PACKED;
static uint32_t packed_indirect = VTFS_VQ_PACKED | VTFS_VQ_INDIRECT;

#define only(layout, f)                                                        \
	{                                                                      \
#f " " #layout, f, NULL, NULL, &layout                         \
	}
#define all(f)                                                                 \
	only(split, f), only(packed, f), only(split_indirect, f),              \
	    only(packed_indirect, f)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    all(chains_keep_every_rule),
	    all(chain_longer_than_allowed_is_refused),
	    all(chain_of_4_gib_is_refused),
	    all(chain_of_nothing_is_refused),
	    only(split, index_never_goes_back),
	    only(split_indirect, index_never_goes_back),
	};

	return cmocka_run_group_tests_name("vq driver's chains", tests, NULL,
					   NULL);
}
