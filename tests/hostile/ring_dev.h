/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_HOSTILE_RING_DEV_H
#define TESTS_HOSTILE_RING_DEV_H
/*
 * The device half and a driver that lies. A ring fault breaks the queue, for
 * ever; a chain fault costs one chain, and what of it can be reached comes out.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#define NUM	16u
#define PARTS	12u
#define TABLE	32768u	/* where tables lie in the buffers */
#define NOWHERE 0x1000u /* an address in no region */

static inline void start(struct rawring *r, void **state, uint32_t more)
{
	raw_driver_start(r, *(const uint32_t *)*state | more, NUM, PARTS);
}

static inline struct raw_part part(const struct rawring *r, size_t off,
				   uint32_t len, uint16_t flags)
{
	return (struct raw_part){raw_addr(r, off), len, flags};
}

static inline int pop(struct rawring *r, struct vtfs_chain *c)
{
	return vtfs_vq_dev_pop(r->vq, r->mem.table, c);
}

/* Broken: nothing comes out any more, whatever is sent, and nothing waits. */
static inline void expect_broken(struct rawring *r)
{
	struct raw_part good = part(r, 0, 8, 0);
	struct vtfs_chain c;
	uint32_t id, len;

	assert_int_equal(pop(r, &c), -EPROTO);
	raw_send(r, &good, 1, 15);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pop(r, &c), -EPROTO);
	assert_int_equal(vtfs_vq_dev_arm(r->vq), 0);
	assert_int_equal(vtfs_vq_dev_publish(r->vq), 0);
	r->used = 0;
	if (!r->packed)
		assert_int_equal(raw_collect(r, 1, &id, &len), 0);
	raw_stop(r);
}

/* The queue lives: the faulty chain goes back, and the next one is served. */
static inline void expect_alive(struct rawring *r,
				const struct vtfs_chain *faulty)
{
	struct raw_part good = part(r, 64, 8, RAW_WRITE);
	uint16_t id = (uint16_t)((faulty->id + 1) % NUM);
	struct vtfs_chain c;
	uint32_t got, len;

	vtfs_vq_dev_push(r->vq, faulty->id, faulty->ring_cnt, 0);
	vtfs_vq_dev_publish(r->vq);
	assert_int_equal(raw_collect(r, faulty->ring_cnt, &got, &len), 1);
	assert_int_equal(got, faulty->id);
	assert_int_equal(len, 0);
	id = raw_send(r, &good, 1, id);
	assert_int_equal(pop(r, &c), 1);
	assert_int_equal(c.id, id);
	assert_int_equal(c.fault, 0);
	assert_int_equal(c.writable_len, 8);
	raw_stop(r);
}

static uint32_t split;
static uint32_t packed = VTFS_VQ_PACKED;

#define only(layout, f)                                                        \
	{                                                                      \
#f " " #layout, f, NULL, NULL, &layout                         \
	}
#define both(f) only(split, f), only(packed, f)
#endif
