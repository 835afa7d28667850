/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A driver that changes its descriptors while the device half looks at them.
 * Each field has two values; whatever comes out is made of these, one of the
 * two for each field, and lies in a region.
 *
 * usage: test_ring_fetch [ROUNDS]
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/shared.h"
#include "ringmem.h"
#include "wire/ring.h"

#define NUM	  8u
#define PARTS	  8u
#define BUFS	  4096u
#define TABLE	  2048u /* where the indirect table lies */
#define GOOD	  (RINGMEM_PEER_ADDR)
#define OTHER	  (RINGMEM_PEER_ADDR + 1024)
#define DECOY	  100u /* no place in the ring, but one in its memory */
#define DECOY_LEN 77u
#define NOWHERE	  UINT64_C(0x1000)

static unsigned rounds = 2000;

/* One descriptor's fields, and what else they may be. */
struct flip {
	uint64_t addr[2];
	uint32_t len[2];
	uint16_t flags[2];
	uint16_t next[2]; /* packed: id */
};

struct both {
	struct ringmem mem;
	struct vtfs_vq *dev;
	bool packed;
	unsigned char *flipped; /* the descriptor that is */
	struct flip flip;
	uint32_t end;	/* atomic */
	uint32_t flips; /* atomic */
	uint16_t avail; /* packed: what makes it available */
};

/* Fields in their order of the layout, by single stores. */
static void store(const struct both *b, const struct flip *f, unsigned pick)
{
	struct vtfs_wire_desc *d = (void *)b->flipped;
	uint16_t flags = f->flags[pick >> 2 & 1];
	uint16_t next = f->next[pick >> 3 & 1];

	vtfs_store_once(&d->addr, htole64(f->addr[pick & 1]));
	vtfs_store_once(&d->len, htole32(f->len[pick >> 1 & 1]));
	if (b->packed) {
		vtfs_store_once(&d->flags, htole16(next));
		vtfs_store_once(&d->next, htole16(flags | b->avail));
	} else {
		vtfs_store_once(&d->flags, htole16(flags));
		vtfs_store_once(&d->next, htole16(next));
	}
}

static void *flipper(void *arg)
{
	struct both *b = arg;
	uint32_t seed = 1;

	while (!vtfs_load_acquire(&b->end)) {
		seed = seed * 1664525 + 1013904223;
		store(b, &b->flip, seed >> 20);
		vtfs_store_once(&b->flips, b->flips + 1);
	}
	return NULL;
}

static void start_dev(struct both *b)
{
	struct vtfs_vq_conf conf = ringmem_conf(&b->mem, RINGMEM_DEV);

	memset(b->mem.view[RINGMEM_DEV].driver, 0, b->mem.areas.driver_len);
	memset(b->mem.view[RINGMEM_DEV].device, 0, b->mem.areas.device_len);
	assert_int_equal(vtfs_vq_dev_new(&b->dev, &conf), 0);
}

static void setup(struct both *b, uint32_t flags)
{
	struct vtfs_vq_conf conf = {
	    .flags = flags, .num = NUM, .max_parts = PARTS};

	memset(b, 0, sizeof(*b));
	b->packed = flags & VTFS_VQ_PACKED;
	b->avail = b->packed ? VTFS_PACKED_F_AVAIL : 0;
	ringmem_init(&b->mem, &conf, BUFS, RINGMEM_SHARED_VIEW);
	b->flipped = b->mem.view[RINGMEM_DEV].desc;
	start_dev(b);
}

/* Nothing that comes out lies outside of the buffers; lengths add up. */
static void expect_sane(const struct both *b, const struct vtfs_chain *c)
{
	uint64_t base = (uintptr_t)b->mem.view[RINGMEM_DEV].bufs;
	uint64_t sum = 0;

	assert_true(c->readable_cnt + c->writable_cnt <= PARTS);
	for (unsigned i = 0; i < c->readable_cnt + c->writable_cnt; i++) {
		assert_true(vtfs_range_ok(base, BUFS,
					  (uintptr_t)c->iov[i].iov_base,
					  c->iov[i].iov_len));
		sum += c->iov[i].iov_len;
	}
	assert_int_equal(sum, c->readable_len + c->writable_len);
}

/* Make slot 0 the next chain, pop it, and start over. */
static int round_trip(struct both *b, struct vtfs_chain *c)
{
	struct vtfs_wire_avail *avail = b->mem.view[RINGMEM_DRV].driver;
	int r;

	if (!b->packed)
		vtfs_store_release(&avail->idx, htole16(1));
	r = vtfs_vq_dev_pop(b->dev, b->mem.table, c);
	return r;
}

static void again(struct both *b)
{
	vtfs_vq_dev_free(b->dev);
	start_dev(b);
}

/* A round counts if the flipper ran beside it; on a busy machine it may not. */
static void run(struct both *b, void (*expect)(const struct both *, int,
					       const struct vtfs_chain *))
{
	struct vtfs_chain c;
	pthread_t t;

	store(b, &b->flip, 0);
	assert_int_equal(pthread_create(&t, NULL, flipper, b), 0);
	for (unsigned i = 0, all = 0; i < rounds && all < 10 * rounds; all++) {
		uint32_t flips = vtfs_load_once(&b->flips);
		int r = round_trip(b, &c);

		if (flips != vtfs_load_once(&b->flips))
			i++;
		else
			sched_yield();
		expect(b, r, &c);
		again(b);
	}
	vtfs_store_release(&b->end, 1);
	pthread_join(t, NULL);
	vtfs_vq_dev_free(b->dev);
	ringmem_fini(&b->mem);
}

/* Direction, address and length: one of eight readings, each of them right. */
static void expect_one_of_eight(const struct both *b, int r,
				const struct vtfs_chain *c)
{
	unsigned char *bufs = b->mem.view[RINGMEM_DEV].bufs;
	unsigned char *base;
	size_t len;

	assert_int_equal(r, 1);
	assert_int_equal(c->fault, 0);
	assert_int_equal(c->readable_cnt + c->writable_cnt, 1);
	base = c->iov[0].iov_base;
	len = c->iov[0].iov_len;
	assert_true(base == bufs || base == bufs + 1024);
	assert_true(len == 16 || len == 3000);
	assert_int_equal(c->readable_len, c->readable_cnt ? len : 0);
	assert_int_equal(c->writable_len, c->writable_cnt ? len : 0);
}

/* covers: SPLIT-DEV-30 */
static void address_length_and_direction_flip(void **state)
{
	static struct both b;

	setup(&b, *(const uint32_t *)*state);
	b.flip = (struct flip){
	    {GOOD, OTHER}, {16, 3000}, {0, VTFS_DESC_F_WRITE}, {3, 3}};
	run(&b, expect_one_of_eight);
}

/* Too long from here, and right from there; or nowhere. */
static void expect_all_or_fault(const struct both *b, int r,
				const struct vtfs_chain *c)
{
	assert_int_equal(r, 1);
	expect_sane(b, c);
	if (c->fault) {
		assert_int_equal(c->fault, -EFAULT);
		return;
	}
	assert_int_equal(c->readable_cnt, 1);
	assert_int_equal(c->readable_len, 16);
}

/* covers: SPLIT-DEV-30 */
static void length_flips_out_of_the_region(void **state)
{
	static struct both b;

	setup(&b, *(const uint32_t *)*state);
	b.flip = (struct flip){
	    {GOOD, NOWHERE}, {16, 0x7fffffff}, {0, 0}, {3, 3}};
	run(&b, expect_all_or_fault);
}

/* A head or next, or id, that is right and wrong by turns. What lies behind
 * the ring, and looks like a descriptor, is none. */
static void expect_right_or_broken(const struct both *b, int r,
				   const struct vtfs_chain *c)
{
	assert_true(r == 1 || r == -EPROTO);
	if (r < 0)
		return;
	expect_sane(b, c);
	assert_true(c->id < NUM);
	for (unsigned i = 0; i < c->readable_cnt + c->writable_cnt; i++)
		assert_int_not_equal(c->iov[i].iov_len, DECOY_LEN);
}

/* covers: SPLIT-DEV-30, PACK-DEV-19 */
static void links_and_ids_flip_out_of_range(void **state)
{
	static struct both b;
	struct vtfs_wire_desc *decoy;

	setup(&b, *(const uint32_t *)*state);
	decoy = (struct vtfs_wire_desc *)(void *)b.flipped + DECOY;
	decoy->addr = htole64(GOOD);
	decoy->len = htole32(DECOY_LEN);
	b.flip = (struct flip){
	    {GOOD, OTHER}, {16, 16}, {0, VTFS_DESC_F_NEXT}, {1, DECOY}};
	run(&b, expect_right_or_broken);
}

/* A buffer that turns into a table, and a table whose length is none. */
static void indirect_flips(void **state)
{
	static struct both b;

	setup(&b, *(const uint32_t *)*state | VTFS_VQ_INDIRECT);
	b.flip = (struct flip){{RINGMEM_PEER_ADDR + TABLE, GOOD},
			       {64, 24},
			       {VTFS_DESC_F_INDIRECT, VTFS_DESC_F_WRITE},
			       {3, 3}};
	run(&b, expect_right_or_broken);
}

/* An entry of a table changes between length, link and nested table.
 * covers: SPLIT-DEV-30 */
static void table_entry_flips(void **state)
{
	static struct both b;
	struct vtfs_wire_desc *ring;

	setup(&b, *(const uint32_t *)*state | VTFS_VQ_INDIRECT);
	ring = (void *)b.flipped;
	b.flipped = b.mem.view[RINGMEM_DEV].bufs + TABLE;
	ring->addr = htole64(RINGMEM_PEER_ADDR + TABLE);
	ring->len = htole32(64);
	ring->flags = htole16(b.packed ? 3 : VTFS_DESC_F_INDIRECT);
	ring->next = htole16(
	    b.packed ? VTFS_DESC_F_INDIRECT | VTFS_PACKED_F_AVAIL : 0);
	b.avail = 0;
	b.flip = (struct flip){{GOOD, NOWHERE},
			       {16, 0x7fffffff},
			       {VTFS_DESC_F_NEXT, VTFS_DESC_F_INDIRECT},
			       {1, 4}};
	run(&b, expect_right_or_broken);
}

static uint32_t split;
static uint32_t packed = VTFS_VQ_PACKED;

#define both(f)                                                                \
	{#f " split", f, NULL, NULL, &split},                                  \
	{                                                                      \
#f " packed", f, NULL, NULL, &packed                           \
	}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    both(address_length_and_direction_flip),
	    both(length_flips_out_of_the_region),
	    both(links_and_ids_flip_out_of_range),
	    both(indirect_flips),
	    both(table_entry_flips),
	};

	if (argc > 1)
		rounds = (unsigned)strtoul(argv[1], NULL, 0);
	return cmocka_run_group_tests_name("descriptors that change", tests,
					   NULL, NULL);
}
