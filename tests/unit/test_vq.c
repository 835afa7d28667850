/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"
#include "vq/notify.h"

/* covers: SPLIT-BTH-01, SPLIT-BTH-02 */
static void areas_split_sizes(void **state)
{
	struct vtfs_vq_areas a;
	unsigned possible = 0;

	(void)state;
	for (uint32_t n = 0; n <= 65536; n++) {
		int r = vtfs_vq_areas(&a, 0, n);

		if (!n || n > 32768 || n & (n - 1)) {
			assert_int_equal(r, -EINVAL);
			continue;
		}
		possible++;
		assert_int_equal(r, 0);
		assert_int_equal(a.desc_len, 16 * n);
		assert_int_equal(a.driver_len, 6 + 2 * n);
		assert_int_equal(a.device_len, 6 + 8 * n);
		assert_int_equal(a.desc_align, 16);
		assert_int_equal(a.driver_align, 2);
		assert_int_equal(a.device_align, 4);
	}
	assert_int_equal(possible, 16);
}

/* covers: PACK-BTH-01, PACK-BTH-02 */
static void areas_packed_sizes(void **state)
{
	struct vtfs_vq_areas a;

	(void)state;
	for (uint32_t n = 1; n <= 32768; n++) {
		assert_int_equal(vtfs_vq_areas(&a, VTFS_VQ_PACKED, n), 0);
		assert_int_equal(a.desc_len, 16 * n);
		assert_int_equal(a.driver_len, 4);
		assert_int_equal(a.device_len, 4);
		assert_int_equal(a.desc_align, 16);
		assert_int_equal(a.driver_align, 4);
		assert_int_equal(a.device_align, 4);
	}
	assert_int_equal(vtfs_vq_areas(&a, VTFS_VQ_PACKED, 0), -EINVAL);
	assert_int_equal(vtfs_vq_areas(&a, VTFS_VQ_PACKED, 32769), -EINVAL);
}

static uint32_t layout(void **state)
{
	return *(const uint32_t *)*state;
}

static void expect_refused(const struct vtfs_vq_conf *conf)
{
	struct vtfs_vq *vq = NULL;

	assert_int_equal(vtfs_vq_dev_new(&vq, conf), -EINVAL);
	assert_int_equal(vtfs_vq_drv_new(&vq, conf), -EINVAL);
	assert_null(vq);
}

/* covers: SPLIT-DRV-01, SPLIT-BTH-02, PACK-BTH-02, PACK-DRV-01 */
static void areas_misaligned_are_refused(void **state)
{
	static _Alignas(64) unsigned char area[4096];
	struct vtfs_vq_conf good = {
	    .flags = layout(state),
	    .num = 8,
	    .desc = area,
	    .driver = area + 1024,
	    .device = area + 2048,
	    .avail_base = 0,
	    .max_parts = 4,
	};
	struct vtfs_vq_conf c = good;

	c.desc = area + 8;
	expect_refused(&c);
	c = good;
	c.driver = area + 1024 + (c.flags & VTFS_VQ_PACKED ? 2 : 1);
	expect_refused(&c);
	c = good;
	c.device = area + 2048 + 2;
	expect_refused(&c);
	c = good;
	c.desc = NULL;
	expect_refused(&c);
	c = good;
	c.num = 0;
	expect_refused(&c);
	c.num = 32769;
	expect_refused(&c);
	c.num = 65536;
	expect_refused(&c);
}

static void dev_new_base_outside_of_a_packed_ring_is_refused(void **state)
{
	static _Alignas(64) unsigned char area[512];
	struct vtfs_vq_conf c = {
	    .flags = VTFS_VQ_PACKED,
	    .num = 7,
	    .desc = area,
	    .driver = area + 128,
	    .device = area + 192,
	    .avail_base = 7,
	    .used_base = 0x8000,
	    .max_parts = 4,
	};
	struct vtfs_vq *vq;

	(void)state;
	assert_int_equal(vtfs_vq_dev_new(&vq, &c), -EINVAL);
	c.avail_base = 0x8006;
	c.used_base = 0x8007;
	assert_int_equal(vtfs_vq_dev_new(&vq, &c), -EINVAL);
	c.used_base = 6;
	assert_int_equal(vtfs_vq_dev_new(&vq, &c), 0);
	vtfs_vq_dev_free(vq);
}

static void dev_new_without_parts_is_refused(void **state)
{
	static _Alignas(64) unsigned char area[512];
	struct vtfs_vq_conf c = {
	    .num = 8,
	    .desc = area,
	    .driver = area + 128,
	    .device = area + 256,
	};
	struct vtfs_vq *vq;

	(void)state;
	assert_int_equal(vtfs_vq_dev_new(&vq, &c), -EINVAL);
}

/* covers: SPLIT-DRV-24, PACK-BTH-10 */
static void drv_new_clears_the_ring(void **state)
{
	static _Alignas(64) unsigned char area[4096];
	struct vtfs_vq_conf c = {
	    .flags = layout(state),
	    .num = 8,
	    .desc = area,
	    .driver = area + 1024,
	    .device = area + 2048,
	};
	struct vtfs_vq_areas a;
	struct vtfs_vq *vq;

	memset(area, 0xff, sizeof(area));
	assert_int_equal(vtfs_vq_areas(&a, c.flags, c.num), 0);
	assert_int_equal(vtfs_vq_drv_new(&vq, &c), 0);
	for (size_t i = 0; i < sizeof(area); i++) {
		bool ours = i < a.desc_len ||
			    (i >= 1024 && i < 1024 + a.driver_len) ||
			    (i >= 2048 && i < 2048 + a.device_len);

		assert_int_equal(area[i], ours ? 0 : 0xff);
	}
	vtfs_vq_drv_free(vq);
}

static void free_takes_null(void **state)
{
	(void)state;
	vtfs_vq_dev_free(NULL);
	vtfs_vq_drv_free(NULL);
}

/* One request through a raw driver; the device half goes on elsewhere. */
static void one_round(struct rawring *r, uint16_t id)
{
	struct raw_part p = {raw_addr(r, 0), 16, RAW_WRITE};
	struct vtfs_chain c;
	uint32_t got_id, len;

	id = raw_send(r, &p, 1, id);
	assert_int_equal(vtfs_vq_dev_pop(r->vq, r->mem.table, &c), 1);
	assert_int_equal(c.id, id);
	vtfs_vq_dev_push(r->vq, c.id, c.ring_cnt, 16);
	vtfs_vq_dev_publish(r->vq);
	assert_int_equal(raw_collect(r, 1, &got_id, &len), 1);
	assert_int_equal(got_id, id);
	assert_int_equal(len, 16);
}

/* A new half takes over where bases() says that the old one stopped. */
static void dev_bases_go_on_in_a_new_half(void **state)
{
	uint16_t avail, used;
	struct vtfs_vq_conf c;
	struct rawring r;

	raw_driver_start(&r, layout(state), 8, 4);
	for (int round = 0; round < 70000; round++) {
		one_round(&r, (uint16_t)(round % 8));
		if (round % 997)
			continue;
		vtfs_vq_dev_bases(r.vq, &avail, &used);
		assert_int_equal(avail, used);
		if (!r.packed)
			assert_int_equal(avail, (uint16_t)(round + 1));
		c = ringmem_conf(&r.mem, RINGMEM_DEV);
		vtfs_vq_dev_free(r.vq);
		c.avail_base = avail;
		c.used_base = used;
		assert_int_equal(vtfs_vq_dev_new(&r.vq, &c), 0);
		assert_int_equal(vtfs_vq_dev_inflight(r.vq), 0);
	}
	raw_stop(&r);
}

static void dev_first_batch_of_a_resumed_ring_notifies(void **state)
{
	struct raw_part p;
	struct vtfs_chain c;
	struct vtfs_vq_conf conf;
	struct rawring r;

	raw_driver_start(&r, layout(state) | VTFS_VQ_EVENT, 8, 4);
	p = (struct raw_part){raw_addr(&r, 0), 16, RAW_WRITE};
	one_round(&r, 0);
	conf = ringmem_conf(&r.mem, RINGMEM_DEV);
	vtfs_vq_dev_bases(r.vq, &conf.avail_base, &conf.used_base);
	vtfs_vq_dev_free(r.vq);
	assert_int_equal(vtfs_vq_dev_new(&r.vq, &conf), 0);
	/* The driver waits for something far away: nothing is crossed. */
	raw_put16(raw_used_event(&r), 1000);
	if (r.packed) {
		raw_put16(raw_drv_event(&r), 0x8006);
		raw_put16(raw_drv_event(&r) + 2, 2);
	}
	for (int i = 0; i < 2; i++) {
		raw_send(&r, &p, 1, (uint16_t)i);
		assert_int_equal(vtfs_vq_dev_pop(r.vq, r.mem.table, &c), 1);
		vtfs_vq_dev_push(r.vq, c.id, c.ring_cnt, 16);
		assert_int_equal(vtfs_vq_dev_publish(r.vq), i == 0);
	}
	raw_stop(&r);
}

/* The ring's pages can be mapped again at other addresses at any time; the old
 * ones are not touched any more. */
static void dev_move_goes_on_at_other_addresses(void **state)
{
	struct ringmem_view *v;
	unsigned char *other;
	struct rawring r;

	raw_driver_start(&r, layout(state), 8, 4);
	one_round(&r, 3);
	other = mmap(NULL, r.mem.off_indirect, PROT_READ | PROT_WRITE,
		     MAP_SHARED, r.mem.fd, 0);
	assert_ptr_not_equal(other, MAP_FAILED);
	v = &r.mem.view[RINGMEM_DEV];
	assert_int_equal(mprotect(v->base, r.mem.off_indirect, PROT_NONE), 0);
	vtfs_vq_dev_move(r.vq, other, other + r.mem.off_driver,
			 other + r.mem.off_device);
	one_round(&r, 4);
	munmap(other, r.mem.off_indirect);
	raw_stop(&r);
}

static void inflight_counts_chains(void **state)
{
	struct vtfs_chain c[4];
	struct raw_part p;
	struct rawring r;

	raw_driver_start(&r, layout(state), 8, 4);
	p = (struct raw_part){raw_addr(&r, 0), 16, RAW_WRITE};
	for (uint16_t i = 0; i < 4; i++) {
		raw_send(&r, &p, 1, i);
		assert_int_equal(vtfs_vq_dev_pop(r.vq, r.mem.table, &c[i]), 1);
		assert_int_equal(vtfs_vq_dev_inflight(r.vq), i + 1);
	}
	for (unsigned i = 0; i < 4; i++) {
		vtfs_vq_dev_push(r.vq, c[i].id, c[i].ring_cnt, 0);
		assert_int_equal(vtfs_vq_dev_inflight(r.vq), 3 - i);
	}
	raw_stop(&r);
}

/* covers: ROB-DEV-04 */
static void push_twice_returns_a_chain_once(void **state)
{
	struct vtfs_chain c;
	struct raw_part p;
	struct rawring r;
	uint32_t id, len;

	raw_driver_start(&r, layout(state), 8, 4);
	p = (struct raw_part){raw_addr(&r, 0), 16, RAW_WRITE};
	raw_send(&r, &p, 1, 5);
	assert_int_equal(vtfs_vq_dev_pop(r.vq, r.mem.table, &c), 1);
	for (int i = 0; i < 3; i++) {
		vtfs_vq_dev_push(r.vq, c.id, c.ring_cnt, 16);
		vtfs_vq_dev_push(r.vq, c.id, c.ring_cnt, 16);
		vtfs_vq_dev_publish(r.vq);
	}
	assert_int_equal(raw_collect(&r, 1, &id, &len), 1);
	assert_int_equal(id, c.id);
	assert_int_equal(raw_collect(&r, 1, &id, &len), 0);
	/* A chain that was never popped. */
	vtfs_vq_dev_push(r.vq, 7, 1, 16);
	assert_int_equal(vtfs_vq_dev_publish(r.vq), 0);
	assert_int_equal(raw_collect(&r, 1, &id, &len), 0);
	assert_int_equal(vtfs_vq_dev_inflight(r.vq), 0);
	raw_stop(&r);
}

/* The id is in flight, but as a list of another length: it was pushed before,
 * and the driver has used it again. */
static void push_of_an_earlier_chain_is_ignored(void **state)
{
	struct vtfs_chain c;
	struct raw_part p[2];
	struct rawring r;
	uint32_t id, len;

	(void)state;
	raw_driver_start(&r, VTFS_VQ_PACKED, 8, 4);
	p[0] = p[1] = (struct raw_part){raw_addr(&r, 0), 16, RAW_WRITE};
	raw_send(&r, p, 2, 5);
	assert_int_equal(vtfs_vq_dev_pop(r.vq, r.mem.table, &c), 1);
	assert_int_equal(c.ring_cnt, 2);
	for (uint16_t cnt = 0; cnt < 5; cnt++)
		if (cnt != 2)
			vtfs_vq_dev_push(r.vq, 5, cnt, 16);
	assert_int_equal(vtfs_vq_dev_inflight(r.vq), 1);
	vtfs_vq_dev_publish(r.vq);
	assert_int_equal(raw_collect(&r, 2, &id, &len), 0);
	vtfs_vq_dev_push(r.vq, 5, 2, 16);
	vtfs_vq_dev_publish(r.vq);
	assert_int_equal(raw_collect(&r, 2, &id, &len), 1);
	assert_int_equal(len, 16);
	raw_stop(&r);
}

/* IN_ORDER: while a chain waits for its turn, its first length counts. */
static void push_twice_before_its_turn_is_once(void **state)
{
	struct vtfs_chain c[2];
	struct raw_part p;
	struct rawring r;
	uint32_t id, len;

	raw_driver_start(&r, layout(state) | VTFS_VQ_IN_ORDER, 8, 4);
	p = (struct raw_part){raw_addr(&r, 0), 16, RAW_WRITE};
	for (uint16_t i = 0; i < 2; i++) {
		raw_send(&r, &p, 1, i);
		assert_int_equal(vtfs_vq_dev_pop(r.vq, r.mem.table, &c[i]), 1);
	}
	vtfs_vq_dev_push(r.vq, c[1].id, c[1].ring_cnt, 16);
	vtfs_vq_dev_push(r.vq, c[1].id, c[1].ring_cnt, 7);
	assert_int_equal(vtfs_vq_dev_publish(r.vq), 0);
	vtfs_vq_dev_push(r.vq, c[0].id, c[0].ring_cnt, 3);
	vtfs_vq_dev_publish(r.vq);
	assert_int_equal(raw_collect(&r, 1, &id, &len), 1);
	assert_int_equal(id, c[0].id);
	assert_int_equal(len, 3);
	assert_int_equal(raw_collect(&r, 1, &id, &len), 1);
	assert_int_equal(id, c[1].id);
	assert_int_equal(len, 16);
	assert_int_equal(raw_collect(&r, 1, &id, &len), 0);
	raw_stop(&r);
}

static uint32_t split;
static uint32_t packed = VTFS_VQ_PACKED;

#define both(f)                                                                \
	{#f " split", f, NULL, NULL, &split},                                  \
	{                                                                      \
#f " packed", f, NULL, NULL, &packed                           \
	}

/* The doorbell's four bytes. */
static void check_doorbell(const struct rawring *r, uint16_t place)
{
	uint32_t data = vtfs_notify_data(0x1234, vtfs_vq_drv_pos(r->vq));

	assert_int_equal(raw_get16(&data), 0x1234);
	assert_int_equal(raw_get16((unsigned char *)&data + 2), place);
}

static void send_and_get(struct rawring *r, unsigned cnt, uint16_t place)
{
	struct vtfs_vq_buf b[3];
	uint16_t id, ring_cnt, token;
	uint32_t len;

	for (unsigned i = 0; i < cnt; i++)
		b[i] = (struct vtfs_vq_buf){raw_addr(r, 8 * i), 8};
	assert_int_equal(vtfs_vq_drv_add(r->vq, b, 0, cnt, 0), 0);
	/* Only what is available counts. */
	check_doorbell(r, place);
	vtfs_vq_drv_publish(r->vq);
	assert_int_equal(raw_take(r, &id, &ring_cnt), 1);
	raw_return(r, id, 1, ring_cnt);
	assert_int_equal(vtfs_vq_drv_get(r->vq, &token, &len), 1);
}

/* covers: NOTF-DRV-02, PACK-DRV-14 */
static void doorbell_names_the_next_place(void **state)
{
	enum { NUM = 7 };
	uint32_t pos = 0; /* below 2 * NUM: the second round has wrap 0 */
	struct rawring r;

	(void)state;
	raw_device_start(&r, 0, 8, 0);
	for (uint32_t i = 0; i < 70000; i++)
		send_and_get(&r, 1 + i % 3, (uint16_t)i);
	check_doorbell(&r, (uint16_t)70000);
	raw_stop(&r);
	raw_device_start(&r, VTFS_VQ_PACKED, NUM, 0);
	for (uint32_t i = 0; i < 1000; i++) {
		unsigned cnt = 1 + i % 3;

		send_and_get(
		    &r, cnt,
		    (uint16_t)(pos % NUM | (pos < NUM ? RAW_WRAP : 0)));
		pos = (pos + cnt) % (2 * NUM);
	}
	raw_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(areas_split_sizes),
	    cmocka_unit_test(areas_packed_sizes),
	    both(areas_misaligned_are_refused),
	    cmocka_unit_test(dev_new_base_outside_of_a_packed_ring_is_refused),
	    cmocka_unit_test(dev_new_without_parts_is_refused),
	    both(drv_new_clears_the_ring),
	    cmocka_unit_test(free_takes_null),
	    both(dev_bases_go_on_in_a_new_half),
	    both(dev_first_batch_of_a_resumed_ring_notifies),
	    both(dev_move_goes_on_at_other_addresses),
	    both(inflight_counts_chains),
	    both(push_twice_returns_a_chain_once),
	    cmocka_unit_test(push_of_an_earlier_chain_is_ignored),
	    both(push_twice_before_its_turn_is_once),
	    cmocka_unit_test(doorbell_names_the_next_place),
	};

	return cmocka_run_group_tests_name("vq/vq", tests, NULL, NULL);
}
