/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver half against the device half over all layouts, features and
 * sizes, each side with its own mapping that forbids what is not its to write.
 * Random chains, batches and orders; contents are compared on both sides.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "ringmem.h"

/* The 16-bit indices turn over three times; once where that takes minutes. */
#ifdef __SANITIZE_ADDRESS__
#define REQUESTS 70000u
#else
#define REQUESTS 210000u
#endif
#define PARTS_MAX 6u
#define PART_LEN  24u
#define TOKEN_LEN (PARTS_MAX * PART_LEN)

struct req {
	uint32_t seq;
	uint8_t readable_cnt, writable_cnt;
	uint8_t len[PARTS_MAX], gap[PARTS_MAX];
	uint16_t readable_len, writable_len;
	uint16_t used_len;
	uint8_t state; /* 0 free, 1 added, 2 popped, 3 pushed */
};

struct taken {
	uint16_t id, ring_cnt, token;
};

/* What a side's last arm or disarm must make of the peer's next publish. */
enum wish { WANTED, UNWANTED, EITHER };

struct pair {
	struct ringmem mem;
	struct vtfs_vq *drv, *dev;
	struct req *reqs; /* by token */
	uint16_t *free_tokens;
	uint32_t free_cnt;
	struct taken *taken;
	uint32_t taken_cnt;
	uint32_t added, popped, done;
	uint32_t pushed; /* IN_ORDER: without those that wait for others */
	uint16_t *order; /* tokens in the order of add */
	uint32_t published;
	uint32_t rnd;
	enum wish drv_wish, dev_wish;
};

static uint32_t rnd(struct pair *p, uint32_t below)
{
	p->rnd ^= p->rnd << 13;
	p->rnd ^= p->rnd >> 17;
	p->rnd ^= p->rnd << 5;
	return p->rnd % below;
}

static uint8_t byte_of(uint32_t seq, uint32_t at, uint32_t salt)
{
	return (uint8_t)((seq * 2654435761u >> 11) + at * 7 + salt);
}

/* assert_int_equal() for each byte takes most of the time. */
static inline void same(uint8_t got, uint8_t want)
{
	if (got != want)
		assert_int_equal(got, want);
}

static void setup(struct pair *p, const struct vtfs_vq_conf *conf)
{
	struct vtfs_vq_conf c;
	uint32_t num = conf->num;

	memset(p, 0, sizeof(*p));
	p->rnd = 0x9e3779b9u ^ num ^ conf->flags << 20;
	ringmem_init(&p->mem, conf, (size_t)num * TOKEN_LEN, 0);
	c = ringmem_conf(&p->mem, RINGMEM_DRV);
	assert_int_equal(vtfs_vq_drv_new(&p->drv, &c), 0);
	c = ringmem_conf(&p->mem, RINGMEM_DEV);
	assert_int_equal(vtfs_vq_dev_new(&p->dev, &c), 0);
	ringmem_protect(&p->mem);
	p->reqs = calloc(num, sizeof(p->reqs[0]));
	p->free_tokens = calloc(num, sizeof(p->free_tokens[0]));
	p->taken = calloc(num, sizeof(p->taken[0]));
	p->order = calloc(num, sizeof(p->order[0]));
	for (uint32_t i = 0; i < num; i++)
		p->free_tokens[p->free_cnt++] = (uint16_t)i;
}

static void teardown(struct pair *p)
{
	vtfs_vq_drv_free(p->drv);
	vtfs_vq_dev_free(p->dev);
	ringmem_fini(&p->mem);
	free(p->reqs);
	free(p->free_tokens);
	free(p->taken);
	free(p->order);
}

/* Parts this configuration can carry. */
static uint32_t parts_max(const struct pair *p)
{
	const struct vtfs_vq_conf *c = &p->mem.conf;

	if (c->flags & VTFS_VQ_PACKED && c->flags & VTFS_VQ_INDIRECT)
		return PARTS_MAX;
	return vtfs_min_u32(PARTS_MAX, c->num);
}

static void choose(struct pair *p, struct req *r)
{
	uint32_t cnt = 1 + rnd(p, parts_max(p));
	uint32_t readable = rnd(p, cnt + 1);

	memset(r, 0, sizeof(*r));
	r->seq = p->added;
	r->readable_cnt = (uint8_t)readable;
	r->writable_cnt = (uint8_t)(cnt - readable);
	for (uint32_t i = 0; i < cnt; i++) {
		r->gap[i] = (uint8_t)rnd(p, 3);
		r->len[i] = (uint8_t)(1 + rnd(p, PART_LEN - 2));
		if (i < readable)
			r->readable_len += r->len[i];
		else
			r->writable_len += r->len[i];
	}
}

/* Lay a request out in its token's bytes. */
static uint32_t lay_out(struct pair *p, uint16_t token,
			struct vtfs_vq_buf *bufs)
{
	unsigned char *base = p->mem.view[RINGMEM_DRV].bufs;
	const struct req *r = &p->reqs[token];
	size_t off = (size_t)token * TOKEN_LEN;
	uint32_t cnt = r->readable_cnt + r->writable_cnt;
	uint32_t at = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		off += r->gap[i];
		bufs[i].addr = ringmem_addr(&p->mem, off);
		bufs[i].len = r->len[i];
		for (uint32_t k = 0; k < r->len[i]; k++, at++)
			base[off + k] = i < r->readable_cnt
					    ? byte_of(r->seq, at, 1)
					    : 0xee;
		off += r->len[i];
	}
	return cnt;
}

static bool add_one(struct pair *p)
{
	struct vtfs_vq_buf bufs[PARTS_MAX];
	uint16_t token;
	struct req *r;
	int err;

	if (!p->free_cnt || p->added == REQUESTS)
		return false;
	token = p->free_tokens[p->free_cnt - 1];
	r = &p->reqs[token];
	choose(p, r);
	lay_out(p, token, bufs);
	err = vtfs_vq_drv_add(p->drv, bufs, r->readable_cnt, r->writable_cnt,
			      token);
	if (err == -ENOSPC) {
		assert_true(vtfs_vq_drv_free_cnt(p->drv) < parts_max(p));
		return false;
	}
	assert_int_equal(err, 0);
	p->free_cnt--;
	r->state = 1;
	p->order[p->added % p->mem.conf.num] = token;
	p->added++;
	return true;
}

/* Without EVENT_IDX a wish holds until it is changed, with it one time. */
static void check_wish(struct pair *p, enum wish *wish, int notify, bool any)
{
	if (!any)
		assert_int_equal(notify, 0);
	else if (*wish != EITHER)
		assert_int_equal(notify, *wish == WANTED);
	if (any && *wish == WANTED && p->mem.conf.flags & VTFS_VQ_EVENT)
		*wish = EITHER;
}

/* Split with EVENT_IDX has no word for "never". */
static enum wish disarmed(const struct pair *p)
{
	uint32_t both = VTFS_VQ_PACKED | VTFS_VQ_EVENT;

	return (p->mem.conf.flags & both) == VTFS_VQ_EVENT ? EITHER : UNWANTED;
}

static void change_wishes(struct pair *p)
{
	int more;

	switch (rnd(p, 8)) {
	case 0:
		more = vtfs_vq_drv_arm(p->drv);
		p->drv_wish = more ? EITHER : WANTED;
		assert_int_equal(more, p->pushed != p->done);
		break;
	case 1:
		vtfs_vq_drv_disarm(p->drv);
		p->drv_wish = disarmed(p);
		break;
	case 2:
		more = vtfs_vq_dev_arm(p->dev);
		p->dev_wish = more ? EITHER : WANTED;
		assert_int_equal(more, p->published != p->popped);
		break;
	case 3:
		vtfs_vq_dev_disarm(p->dev);
		p->dev_wish = disarmed(p);
		break;
	}
}

/* Returns what was achieved, so that the caller sees a standstill. */
static uint32_t drive_add(struct pair *p, uint32_t batch)
{
	uint32_t n = 0;

	while (n < batch && add_one(p))
		n++;
	check_wish(p, &p->dev_wish, vtfs_vq_drv_publish(p->drv), n);
	p->published = p->added;
	return n;
}

static void check_readable(const struct req *r, const struct vtfs_chain *c)
{
	uint32_t at = 0;

	assert_int_equal(c->readable_len, r->readable_len);
	for (unsigned i = 0; i < c->readable_cnt; i++) {
		const unsigned char *b = c->iov[i].iov_base;

		for (size_t k = 0; k < c->iov[i].iov_len; k++, at++)
			same(b[k], byte_of(r->seq, at, 1));
	}
	assert_int_equal(at, r->readable_len);
}

static void fill_writable(struct req *r, const struct vtfs_chain *c)
{
	uint32_t left = r->used_len;
	uint32_t at = 0;
	uint64_t sum = 0;

	for (unsigned i = 0; i < c->writable_cnt; i++) {
		const struct iovec *v = &c->iov[c->readable_cnt + i];
		unsigned char *b = v->iov_base;

		sum += v->iov_len;
		for (size_t k = 0; k < v->iov_len && left; k++, at++, left--)
			b[k] = byte_of(r->seq, at, 2);
	}
	assert_int_equal(sum, r->writable_len);
	assert_int_equal(c->writable_len, r->writable_len);
}

static bool take_one(struct pair *p)
{
	struct vtfs_chain c;
	struct req *r;
	uint16_t token;
	int got;

	got = vtfs_vq_dev_pop(p->dev, p->mem.table, &c);
	assert_true(got >= 0);
	assert_int_equal(got, p->popped != p->published);
	if (!got)
		return false;
	token = p->order[p->popped % p->mem.conf.num];
	p->popped++;
	r = &p->reqs[token];
	assert_int_equal(c.fault, 0);
	assert_int_equal(r->state, 1);
	assert_true(c.regions[0] == 8);
	r->state = 2;
	check_readable(r, &c);
	r->used_len = (uint16_t)rnd(p, r->writable_len + 1u);
	fill_writable(r, &c);
	p->taken[p->taken_cnt++] = (struct taken){c.id, c.ring_cnt, token};
	return true;
}

static void note_pushed(struct pair *p)
{
	uint32_t num = p->mem.conf.num;

	if (!(p->mem.conf.flags & VTFS_VQ_IN_ORDER)) {
		p->pushed++;
		return;
	}
	while (p->pushed < p->popped &&
	       p->reqs[p->order[p->pushed % num]].state == 3)
		p->pushed++;
}

static void give_one(struct pair *p)
{
	uint32_t i = rnd(p, p->taken_cnt);
	struct taken t = p->taken[i];

	p->taken[i] = p->taken[--p->taken_cnt];
	assert_int_equal(p->reqs[t.token].state, 2);
	p->reqs[t.token].state = 3;
	note_pushed(p);
	vtfs_vq_dev_push(p->dev, t.id, t.ring_cnt, p->reqs[t.token].used_len);
}

static uint32_t serve(struct pair *p, uint32_t take, uint32_t give)
{
	uint32_t before = p->pushed;
	uint32_t n = 0;

	while (take-- && take_one(p))
		n++;
	for (; give-- && p->taken_cnt; n++)
		give_one(p);
	assert_int_equal(vtfs_vq_dev_inflight(p->dev), p->popped - p->pushed);
	check_wish(p, &p->drv_wish, vtfs_vq_dev_publish(p->dev),
		   p->pushed != before);
	return n;
}

static void check_writable(struct pair *p, uint16_t token)
{
	const unsigned char *b = p->mem.view[RINGMEM_DRV].bufs;
	const struct req *r = &p->reqs[token];
	uint32_t left = r->used_len;
	uint32_t at = 0;

	b += (size_t)token * TOKEN_LEN;
	for (uint32_t i = 0; i < (uint32_t)r->readable_cnt + r->writable_cnt;
	     i++) {
		b += r->gap[i];
		if (i >= r->readable_cnt) {
			for (uint32_t k = 0; k < r->len[i]; k++, at++) {
				uint8_t want = left ? byte_of(r->seq, at, 2)
						    : 0xee;

				same(b[k], want);
				left -= left != 0;
			}
		}
		b += r->len[i];
	}
}

static uint32_t drive_get(struct pair *p, uint32_t batch)
{
	uint16_t token;
	uint32_t len;
	uint32_t n;
	int got;

	for (n = 0; n < batch; n++) {
		got = vtfs_vq_drv_get(p->drv, &token, &len);
		assert_true(got >= 0);
		if (!got)
			break;
		assert_true(token < p->mem.conf.num);
		if (p->mem.conf.flags & VTFS_VQ_IN_ORDER)
			assert_int_equal(token,
					 p->order[p->done % p->mem.conf.num]);
		assert_int_equal(p->reqs[token].state, 3);
		assert_int_equal(len, p->reqs[token].used_len);
		check_writable(p, token);
		p->reqs[token].state = 0;
		p->free_tokens[p->free_cnt++] = token;
		p->done++;
	}
	return n;
}

/* A batch is now and then as large as the ring. */
static uint32_t some(struct pair *p)
{
	uint32_t num = p->mem.conf.num;

	if (!rnd(p, 16))
		return num;
	return 1 + rnd(p, vtfs_min_u32(num, 64));
}

static void run(struct pair *p)
{
	uint32_t still = 0;

	while (p->done < REQUESTS) {
		uint32_t n = 0;

		if (rnd(p, 4))
			n += drive_add(p, some(p));
		if (rnd(p, 4))
			n += serve(p, some(p), some(p));
		if (rnd(p, 4))
			n += drive_get(p, some(p));
		change_wishes(p);
		still = n ? 0 : still + 1;
		assert_true(still < 1000);
	}
	assert_int_equal(vtfs_vq_drv_free_cnt(p->drv), p->mem.conf.num);
	assert_int_equal(vtfs_vq_dev_inflight(p->dev), 0);
}

/* covers: SPLIT-BTH-03, SPLIT-BTH-06, SPLIT-DEV-06, SPLIT-DRV-02 */
/* covers: PACK-BTH-01, PACK-DRV-02, PACK-DRV-08, PACK-DRV-10, PACK-DEV-01 */
/* covers: PACK-DEV-04, PACK-DEV-09, PACK-DEV-10, PACK-DEV-11, PACK-DEV-16 */
/* covers: ROB-BTH-02, VQ-DEV-02, RSVF-DEV-05 */
static void contents_arrive_both_ways(void **state)
{
	struct pair p;

	setup(&p, *state);
	run(&p);
	teardown(&p);
}

#define CONFS_MAX 64

static const uint32_t split_nums[] = {2, 4, 8, 128, 1024, 32768, 1};
static const uint32_t packed_nums[] = {1, 2, 4, 7, 8, 128, 1000, 1024, 32768};

static char names[CONFS_MAX][64];
static struct vtfs_vq_conf confs[CONFS_MAX];
static struct CMUnitTest tests[CONFS_MAX];

/* In order alone and with the other two, and not at every size. */
static bool left_out(uint32_t num, uint32_t f)
{
	return f & 4 &&
	       (f == 5 || f == 6 || num == 2 || num == 1000 || num == 32768);
}

static size_t make_tests(uint32_t layout, const uint32_t *nums, size_t cnt)
{
	size_t n = 0;

	for (size_t i = 0; i < cnt; i++) {
		for (uint32_t f = 0; f < 8; f++) {
			uint32_t flags = layout;

			if (left_out(nums[i], f))
				continue;
			flags |= f & 4 ? VTFS_VQ_IN_ORDER : 0;
			flags |= f & 1 ? VTFS_VQ_EVENT : 0;
			flags |= f & 2 ? VTFS_VQ_INDIRECT : 0;
			confs[n] = (struct vtfs_vq_conf){
			    .flags = flags,
			    .num = nums[i],
			    .max_parts = PARTS_MAX,
			    .indirect_max = f & 2 ? PARTS_MAX : 0,
			};
			snprintf(names[n], sizeof(names[n]),
				 "contents_arrive_both_ways %s %u%s%s%s",
				 layout ? "packed" : "split", nums[i],
				 f & 1 ? " event" : "",
				 f & 2 ? " indirect" : "",
				 f & 4 ? " in order" : "");
			tests[n] = (struct CMUnitTest){
			    .name = names[n],
			    .test_func = contents_arrive_both_ways,
			    .initial_state = &confs[n],
			};
			n++;
		}
	}
	return n;
}

int main(int argc, char **argv)
{
	bool packed = argc > 1 && !strcmp(argv[1], "packed");
	size_t cnt;

	cnt = packed ? make_tests(VTFS_VQ_PACKED, packed_nums,
				  VTFS_ARRAY_LEN(packed_nums))
		     : make_tests(0, split_nums, VTFS_ARRAY_LEN(split_nums));
	return _cmocka_run_group_tests(packed ? "ring pair, packed"
					      : "ring pair, split",
				       tests, cnt, NULL, NULL);
}
