/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ring_both.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/shared.h"

void both_relax(unsigned *idle)
{
	if (++*idle % 64)
		vtfs_cpu_relax();
	else
		sched_yield();
}

/* Bytes of both directions tell which request they belong to. */
uint32_t both_read(const struct vtfs_chain *c)
{
	uint32_t seq = 0;

	check(c->fault == 0);
	check(c->readable_len % PART == 0 && c->readable_len);
	for (unsigned i = 0; i < c->readable_cnt; i++) {
		const uint32_t *w = c->iov[i].iov_base;

		for (size_t k = 0; k < c->iov[i].iov_len / 4; k++) {
			if (!i && !k)
				seq = w[0];
			check(w[k] == seq);
		}
	}
	return seq;
}

void both_answer(const struct vtfs_chain *c, uint32_t seq)
{
	for (unsigned i = 0; i < c->writable_cnt; i++) {
		uint32_t *w = c->iov[c->readable_cnt + i].iov_base;

		for (size_t k = 0; k < c->iov[c->readable_cnt + i].iov_len / 4;
		     k++)
			w[k] = ~seq;
	}
}

void both_serve(struct both *b, const struct vtfs_chain *c)
{
	both_answer(c, both_read(c));
	vtfs_vq_dev_push(b->dev, c->id, c->ring_cnt, (uint32_t)c->writable_len);
}

static uint32_t *bytes(struct both *b, uint16_t token)
{
	return (void *)(b->mem.view[RINGMEM_DRV].bufs + token * SLOT);
}

/* Even parts only, so that none are merged. */
bool both_add(struct both *b, uint16_t token, uint32_t seq)
{
	struct vtfs_vq_buf bufs[PARTS];
	uint32_t max = vtfs_min_u32(PARTS, b->v.num);
	uint32_t cnt = max < 2 ? 1 : 2 + seq % (max - 1);
	uint32_t readable = max < 2 ? 1 : 1 + seq % (cnt - 1);
	int r;

	for (uint32_t i = 0; i < cnt; i++) {
		bufs[i].addr = ringmem_addr(&b->mem, token * SLOT + i * PART);
		bufs[i].len = PART;
	}
	for (uint32_t k = 0; k < SLOT / 4; k++)
		bytes(b, token)[k] = seq;
	r = vtfs_vq_drv_add(b->drv, bufs, readable, cnt - readable, token);
	check(r == 0 || r == -ENOSPC);
	b->seq[token] = seq;
	return r == 0;
}

void both_check(struct both *b, uint16_t token, uint32_t len)
{
	uint32_t max = vtfs_min_u32(PARTS, b->v.num);
	uint32_t seq = b->seq[token];
	uint32_t cnt = max < 2 ? 1 : 2 + seq % (max - 1);
	uint32_t readable = max < 2 ? 1 : 1 + seq % (cnt - 1);
	const uint32_t *w = bytes(b, token);

	check(len == (cnt - readable) * PART);
	for (uint32_t k = 0; k < cnt * PART / 4; k++)
		check(w[k] == (k < readable * PART / 4 ? seq : ~seq));
}

void both_setup(struct both *b, const struct variant *v)
{
	struct vtfs_vq_conf conf = {
	    .flags = v->flags,
	    .num = v->num,
	    .max_parts = PARTS,
	    .indirect_max = v->flags & VTFS_VQ_INDIRECT ? PARTS : 0,
	};

	memset(b, 0, sizeof(*b));
	b->v = *v;
	ringmem_init(&b->mem, &conf, 1024 * SLOT, RINGMEM_SHARED_VIEW);
	conf = ringmem_conf(&b->mem, RINGMEM_DRV);
	assert_int_equal(vtfs_vq_drv_new(&b->drv, &conf), 0);
	conf = ringmem_conf(&b->mem, RINGMEM_DEV);
	assert_int_equal(vtfs_vq_dev_new(&b->dev, &conf), 0);
	b->kick = eventfd(0, EFD_CLOEXEC);
	b->call = eventfd(0, EFD_CLOEXEC);
	pthread_mutex_init(&b->pipe.lock, NULL);
	pthread_cond_init(&b->pipe.cond, NULL);
}

void both_teardown(struct both *b)
{
	vtfs_vq_drv_free(b->drv);
	vtfs_vq_dev_free(b->dev);
	ringmem_fini(&b->mem);
	close(b->kick);
	close(b->call);
	pthread_mutex_destroy(&b->pipe.lock);
	pthread_cond_destroy(&b->pipe.cond);
}

int both_main(const char *title, const struct both_case *cases, unsigned cnt,
	      uint32_t flags)
{
	static struct CMUnitTest tests[32];
	static uint32_t states[32];
	static char names[32][80];
	unsigned n = 0;

	for (uint32_t f = 0; f <= flags; f++) {
		for (unsigned i = 0; i < cnt && !(f & ~flags); i++, n++) {
			check(n < VTFS_ARRAY_LEN(tests));
			snprintf(names[n], sizeof(names[n]), "%s %s%s%s",
				 cases[i].name,
				 f & VTFS_VQ_PACKED ? "packed" : "split",
				 f & VTFS_VQ_EVENT ? " event" : "",
				 f & VTFS_VQ_INDIRECT ? " indirect" : "");
			states[n] = f;
			tests[n] = (struct CMUnitTest){
			    .name = names[n],
			    .test_func = cases[i].fn,
			    .initial_state = &states[n],
			};
		}
	}
	return _cmocka_run_group_tests(title, tests, n, NULL, NULL);
}
