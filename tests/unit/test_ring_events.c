/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who wants to hear, and of what: the same for both halves and both layouts,
 * each time with a raw peer on the other side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM 8u

struct half {
	void (*start)(struct rawring *r, uint32_t flags, uint32_t num);
	/* cnt slots come and go in one batch; what publish said of it. Split:
	 * as many chains; packed: one list. */
	int (*batch)(struct rawring *r, unsigned cnt);
	/* The peer has something for this half; and this half takes it. */
	void (*come)(struct rawring *r);
	void (*take)(struct rawring *r);
	int (*arm)(struct vtfs_vq *vq);
	void (*disarm)(struct vtfs_vq *vq);
	/* What it writes, and what it reads. */
	unsigned char *(*own_flags)(const struct rawring *r);
	unsigned char *(*own_event)(const struct rawring *r);
	unsigned char *(*peer_flags)(const struct rawring *r);
	unsigned char *(*peer_event)(const struct rawring *r);
};

/* ---- the device half ---- */

static void dev_start(struct rawring *r, uint32_t flags, uint32_t num)
{
	raw_driver_start(r, flags, num, NUM);
}

static void dev_come(struct rawring *r)
{
	struct raw_part p = {raw_addr(r, 0), 64, RAW_WRITE};

	raw_send(r, &p, 1, 0);
}

static void dev_push(struct rawring *r)
{
	struct vtfs_chain c;

	assert_int_equal(vtfs_vq_dev_pop(r->vq, r->mem.table, &c), 1);
	vtfs_vq_dev_push(r->vq, c.id, c.ring_cnt, 1);
}

static void dev_take(struct rawring *r)
{
	dev_push(r);
	vtfs_vq_dev_publish(r->vq);
}

static int dev_batch(struct rawring *r, unsigned cnt)
{
	struct raw_part p[NUM] = {{0}};

	for (unsigned i = 0; i < cnt; i++)
		p[i] = (struct raw_part){raw_addr(r, 100 * i), 64, RAW_WRITE};
	if (r->packed)
		raw_send(r, p, cnt, 0);
	for (unsigned i = 0; i < cnt && !r->packed; i++)
		raw_send(r, p, 1, 0);
	for (unsigned i = 0; i < (r->packed ? 1 : cnt); i++)
		dev_push(r);
	return vtfs_vq_dev_publish(r->vq);
}

/* ---- the driver half ---- */

static void drv_start(struct rawring *r, uint32_t flags, uint32_t num)
{
	raw_device_start(r, flags, num, 0);
}

static void drv_add(struct rawring *r, unsigned cnt)
{
	struct vtfs_vq_buf b[NUM] = {{0}};

	for (unsigned i = 0; i < cnt; i++)
		b[i] = (struct vtfs_vq_buf){raw_addr(r, 100 * i), 64};
	assert_int_equal(vtfs_vq_drv_add(r->vq, b, 0, cnt, 0), 0);
}

static void drv_return(struct rawring *r)
{
	uint16_t id, cnt;

	assert_int_equal(raw_take(r, &id, &cnt), 1);
	raw_return(r, id, 1, cnt);
}

static void drv_come(struct rawring *r)
{
	drv_add(r, 1);
	vtfs_vq_drv_publish(r->vq);
	drv_return(r);
}

static void drv_take(struct rawring *r)
{
	uint16_t token;
	uint32_t len;

	assert_int_equal(vtfs_vq_drv_get(r->vq, &token, &len), 1);
}

static int drv_batch(struct rawring *r, unsigned cnt)
{
	unsigned chains = r->packed ? 1 : cnt;
	int notify;

	for (unsigned i = 0; i < chains; i++)
		drv_add(r, r->packed ? cnt : 1);
	notify = vtfs_vq_drv_publish(r->vq);
	for (unsigned i = 0; i < chains; i++)
		drv_return(r);
	for (unsigned i = 0; i < chains; i++)
		drv_take(r);
	return notify;
}

/* ---- all four ---- */

static unsigned char *dev_event_flags(const struct rawring *r)
{
	return raw_dev_event(r) + 2;
}

static unsigned char *drv_event_flags(const struct rawring *r)
{
	return raw_drv_event(r) + 2;
}

#define DEV                                                                    \
	.start = dev_start, .batch = dev_batch, .come = dev_come,              \
	.take = dev_take, .arm = vtfs_vq_dev_arm, .disarm = vtfs_vq_dev_disarm
#define DRV                                                                    \
	.start = drv_start, .batch = drv_batch, .come = drv_come,              \
	.take = drv_take, .arm = vtfs_vq_drv_arm, .disarm = vtfs_vq_drv_disarm

static struct half split_dev = {
    DEV,
    .own_flags = raw_used_flags,
    .own_event = raw_avail_event,
    .peer_flags = raw_avail_flags,
    .peer_event = raw_used_event,
};
static struct half split_drv = {
    DRV,
    .own_flags = raw_avail_flags,
    .own_event = raw_used_event,
    .peer_flags = raw_used_flags,
    .peer_event = raw_avail_event,
};
static struct half packed_dev = {
    DEV,
    .own_flags = dev_event_flags,
    .own_event = raw_dev_event,
    .peer_flags = drv_event_flags,
    .peer_event = raw_drv_event,
};
static struct half packed_drv = {
    DRV,
    .own_flags = drv_event_flags,
    .own_event = raw_drv_event,
    .peer_flags = dev_event_flags,
    .peer_event = raw_dev_event,
};

static uint32_t layout_of(const struct half *h)
{
	return h == &packed_dev || h == &packed_drv ? VTFS_VQ_PACKED : 0;
}

/* ---- what the peer wants ---- */

/* covers: SPLIT-DEV-13, SPLIT-DRV-26, SPLIT-DRV-25, SPLIT-DRV-27 */
static void event_is_ignored_without_event_idx(void **state)
{
	const struct half *h = *state;
	struct rawring r;

	h->start(&r, 0, NUM);
	for (unsigned i = 0; i < 2000; i++) {
		raw_put16(h->peer_event(&r), (uint16_t)(i * 40503));
		raw_put16(h->peer_flags(&r), i & 1);
		assert_int_equal(h->batch(&r, 1), !(i & 1));
	}
	raw_stop(&r);
}

/* covers: SPLIT-DEV-16, SPLIT-DEV-17, SPLIT-DEV-18 */
/* covers: SPLIT-DRV-28, SPLIT-DRV-29, SPLIT-DRV-30 */
static void event_idx_notifies_when_it_is_crossed(void **state)
{
	const struct half *h = *state;
	uint32_t seed = 1;
	uint16_t idx = 0;
	struct rawring r;

	h->start(&r, VTFS_VQ_EVENT, NUM);
	for (int i = 0; i < 40000; i++) {
		uint16_t ahead;
		unsigned n;

		seed = seed * 1664525 + 1013904223;
		ahead = seed >> 24 & 15;
		n = 1 + (seed >> 16) % NUM;
		raw_put16(h->peer_flags(&r), seed >> 12 & 1);
		/* The element with this index is waited for. */
		raw_put16(h->peer_event(&r), (uint16_t)(idx + ahead));
		assert_int_equal(h->batch(&r, n), ahead < n);
		idx = (uint16_t)(idx + n);
	}
	raw_stop(&r);
}

/* covers: PACK-BTH-09 */
static void peer_event_enables_and_disables(void **state)
{
	const struct half *h = *state;
	struct rawring r;

	h->start(&r, VTFS_VQ_PACKED, NUM - 1);
	for (unsigned i = 0; i < 1000; i++) {
		uint16_t flags = (uint16_t)(i % 4);

		/* 2 and 3 mean nothing without EVENT_IDX. */
		raw_put16(h->peer_event(&r), (uint16_t)(i * 40503));
		raw_put16(h->peer_flags(&r), flags);
		assert_int_equal(h->batch(&r, 1 + i % 3), flags != 1);
	}
	raw_stop(&r);
}

/* A slot and its wrap bit, from a place below 2 * num. */
static uint16_t off_wrap(uint32_t pos, uint32_t num)
{
	return (uint16_t)(pos % num | (pos < num ? RAW_WRAP : 0));
}

/* covers: PACK-BTH-08, PACK-BTH-09 */
static void peer_event_names_a_slot(void **state)
{
	const struct half *h = *state;
	const uint32_t num = NUM - 1; /* no power of two */
	uint32_t seed = 3, pos = 0;
	struct rawring r;

	h->start(&r, VTFS_VQ_PACKED | VTFS_VQ_EVENT, num);
	raw_put16(h->peer_flags(&r), 2);
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t ahead;
		unsigned cnt;

		seed = seed * 1664525 + 1013904223;
		ahead = (seed >> 20) % (2 * num);
		cnt = 1 + (seed >> 8) % num;
		raw_put16(h->peer_event(&r),
			  off_wrap((pos + ahead) % (2 * num), num));
		assert_int_equal(h->batch(&r, cnt), ahead < cnt);
		pos = (pos + cnt) % (2 * num);
	}
	raw_stop(&r);
}

/* ---- what it wants itself ---- */

/* covers: SPLIT-DEV-23, SPLIT-DEV-24, SPLIT-DEV-28, PACK-DEV-18 */
/* covers: SPLIT-DRV-13, SPLIT-DRV-14, SPLIT-DRV-34, PACK-DRV-11 */
static void arm_and_disarm_by_flags(void **state)
{
	const struct half *h = *state;
	enum ringmem_side side;
	struct rawring r;

	h->start(&r, layout_of(h), NUM);
	side = r.device ? RINGMEM_DEV : RINGMEM_DRV;
	/* Split: the event index is not its to write then. */
	raw_put16(r.mem.view[side].base + (h->own_event(&r) - r.v->base),
		  0x1234);
	for (unsigned i = 0; i < 100; i++) {
		h->disarm(r.vq);
		assert_int_equal(raw_get16(h->own_flags(&r)), 1);
		assert_int_equal(h->arm(r.vq), 0);
		assert_int_equal(raw_get16(h->own_flags(&r)), 0);
		h->disarm(r.vq);
		h->come(&r);
		assert_int_equal(raw_get16(h->own_flags(&r)), 1);
		assert_int_equal(h->arm(r.vq), 1);
		assert_int_equal(raw_get16(h->own_flags(&r)), 0);
		h->take(&r);
	}
	if (!r.packed)
		assert_int_equal(raw_get16(h->own_event(&r)), 0x1234);
	raw_stop(&r);
}

/* covers: SPLIT-DEV-25, SPLIT-DEV-28, SPLIT-DRV-15, SPLIT-DRV-16 */
/* covers: SPLIT-DRV-34 */
static void arm_names_the_next_index(void **state)
{
	const struct half *h = *state;
	struct rawring r;

	h->start(&r, VTFS_VQ_EVENT, NUM);
	for (uint32_t i = 0; i < 70000; i++) {
		h->disarm(r.vq);
		assert_int_equal(raw_get16(h->own_flags(&r)), 0);
		assert_int_equal(h->arm(r.vq), 0);
		assert_int_equal(raw_get16(h->own_event(&r)), (uint16_t)i);
		assert_int_equal(raw_get16(h->own_flags(&r)), 0);
		h->come(&r);
		assert_int_equal(h->arm(r.vq), 1);
		h->take(&r);
	}
	raw_stop(&r);
}

/* covers: PACK-BTH-07, PACK-DEV-18 */
static void arm_names_the_next_slot(void **state)
{
	const struct half *h = *state;
	const uint32_t num = NUM - 1;
	uint32_t pos = 0;
	struct rawring r;

	h->start(&r, VTFS_VQ_PACKED | VTFS_VQ_EVENT, num);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned cnt = 1 + i * i % num;

		h->disarm(r.vq);
		assert_int_equal(raw_get16(h->own_flags(&r)), 1);
		assert_int_equal(h->arm(r.vq), 0);
		assert_int_equal(raw_get16(h->own_event(&r)),
				 off_wrap(pos, num));
		assert_int_equal(raw_get16(h->own_flags(&r)), 2);
		h->batch(&r, cnt);
		pos = (pos + cnt) % (2 * num);
	}
	raw_stop(&r);
}

static int look(const struct half *h, struct rawring *r)
{
	struct vtfs_chain c;
	uint16_t token;
	uint32_t len;

	return r->device ? vtfs_vq_dev_pop(r->vq, r->mem.table, &c)
			 : vtfs_vq_drv_get(r->vq, &token, &len);
}

/* With every page away but that of the next slot, polling goes on.
 * covers: PACK-BTH-05 */
static void polls_the_next_slot_alone(void **state)
{
	enum { BIG = 1024, PER_PAGE = 4096 / 16, PAGES = BIG / PER_PAGE };
	const struct half *h = *state;
	unsigned char *ring;
	struct rawring r;

	h->start(&r, VTFS_VQ_PACKED, BIG);
	ring = r.mem.view[r.device ? RINGMEM_DEV : RINGMEM_DRV].desc;
	for (unsigned i = 0; i < 3 * BIG; i++) {
		unsigned char *page = ring + i % BIG / PER_PAGE * 4096;

		if (i % PER_PAGE == 0) {
			mprotect(ring, PAGES * 4096, PROT_NONE);
			mprotect(page, 4096, PROT_READ | PROT_WRITE);
		}
		assert_int_equal(look(h, &r), 0);
		assert_int_equal(h->arm(r.vq), 0);
		h->batch(&r, 1);
	}
	raw_stop(&r);
}

#define only(f, half)                                                          \
	{                                                                      \
#f " " #half, f, NULL, NULL, &half                             \
	}
#define split(f)  only(f, split_dev), only(f, split_drv)
#define packed(f) only(f, packed_dev), only(f, packed_drv)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    split(event_is_ignored_without_event_idx),
	    split(event_idx_notifies_when_it_is_crossed),
	    packed(peer_event_enables_and_disables),
	    packed(peer_event_names_a_slot),
	    split(arm_and_disarm_by_flags),
	    packed(arm_and_disarm_by_flags),
	    split(arm_names_the_next_index),
	    packed(arm_names_the_next_slot),
	    packed(polls_the_next_slot_alone),
	};

	return cmocka_run_group_tests_name("vq: who wants to hear", tests, NULL,
					   NULL);
}
