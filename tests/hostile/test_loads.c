/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nothing that the peer may change is loaded twice: not even between a check
 * and its use, where another thread that changes it would have to be lucky.
 *
 * The half's pages can't be touched; each access raises SIGSEGV, is counted,
 * done alone by the processor's single step, and the page is closed again.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "rawring.h"

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define NUM	 16u
#define PAGE	 4096u
#define TRAP	 0x100 /* of the flags register */
#define BY_WRITE 2     /* of a page fault's error */
#define PARTS	 3u
#define TABLE	 8192u /* an indirect table, in the buffers */

/* One page, and how often each of its bytes was where a load began. */
static struct page {
	unsigned char *at;
	unsigned loads[PAGE];
} pages[3];
static unsigned page_cnt;

static void on_access(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	unsigned char *addr = info->si_addr;

	for (unsigned i = 0; i < page_cnt; i++) {
		if (addr < pages[i].at || addr >= pages[i].at + PAGE)
			continue;
		if (!(uc->uc_mcontext.gregs[REG_ERR] & BY_WRITE))
			pages[i].loads[addr - pages[i].at]++;
		mprotect(pages[i].at, PAGE, PROT_READ | PROT_WRITE);
		uc->uc_mcontext.gregs[REG_EFL] |= TRAP;
		return;
	}
	signal(sig, SIG_DFL);
}

static void on_step(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
	for (unsigned i = 0; i < page_cnt; i++)
		mprotect(pages[i].at, PAGE, PROT_NONE);
}

static struct sigaction old_segv, old_trap;

static void watch_page(void *at)
{
	struct page *p = &pages[page_cnt++];

	assert_true(page_cnt <= VTFS_ARRAY_LEN(pages));
	p->at = at;
	memset(p->loads, 0, sizeof(p->loads));
}

static void watch_begin(void)
{
	struct sigaction segv = {.sa_sigaction = on_access,
				 .sa_flags = SA_SIGINFO};
	struct sigaction trap = {.sa_sigaction = on_step,
				 .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &segv, &old_segv);
	sigaction(SIGTRAP, &trap, &old_trap);
	for (unsigned i = 0; i < page_cnt; i++)
		mprotect(pages[i].at, PAGE, PROT_NONE);
}

static void watch_end(void)
{
	for (unsigned i = 0; i < page_cnt; i++)
		mprotect(pages[i].at, PAGE, PROT_READ | PROT_WRITE);
	sigaction(SIGSEGV, &old_segv, NULL);
	sigaction(SIGTRAP, &old_trap, NULL);
}

/* That many places were loaded from, each once. */
static void loaded_once(unsigned cnt)
{
	unsigned n = 0;

	for (unsigned i = 0; i < page_cnt; i++) {
		for (unsigned k = 0; k < PAGE; k++) {
			if (pages[i].loads[k] > 1)
				fail_msg("byte %u of page %u: %u loads", k, i,
					 pages[i].loads[k]);
			n += pages[i].loads[k];
		}
	}
	assert_int_equal(n, cnt);
	page_cnt = 0;
}

/* covers: ROB-DRV-01 */
static void used_element_is_loaded_once(void **state)
{
	const uint32_t flags = *(const uint32_t *)*state;
	struct vtfs_vq_buf b[2];
	struct rawring r;
	uint16_t id, cnt, token;
	uint32_t len;
	int got;

	for (unsigned i = 0; i < 2; i++) {
		uint32_t order = i ? VTFS_VQ_IN_ORDER : 0;

		raw_device_start(&r, flags | order, NUM, 0);
		b[0] = (struct vtfs_vq_buf){raw_addr(&r, 0), 40};
		b[1] = (struct vtfs_vq_buf){raw_addr(&r, 64), 100};
		assert_int_equal(vtfs_vq_drv_add(r.vq, b, 1, 1, 7), 0);
		vtfs_vq_drv_publish(r.vq);
		assert_int_equal(raw_take(&r, &id, &cnt), 1);
		raw_return(&r, id, 90, cnt);
		watch_page(r.packed ? r.mem.view[RINGMEM_DRV].desc
				    : r.mem.view[RINGMEM_DRV].device);
		watch_begin();
		got = vtfs_vq_drv_get(r.vq, &token, &len);
		watch_end();
		assert_int_equal(got, 1);
		assert_int_equal(token, 7);
		assert_int_equal(len, 90);
		/* Index or flags, id, len. */
		loaded_once(3);
		raw_stop(&r);
	}
}

static void pop_watched(struct rawring *r, unsigned loads)
{
	const struct ringmem_view *v = &r->mem.view[RINGMEM_DEV];
	struct vtfs_chain chain;
	int got;

	watch_page(v->desc);
	if (!r->packed)
		watch_page(v->driver);
	watch_page(v->bufs + TABLE);
	watch_begin();
	got = vtfs_vq_dev_pop(r->vq, r->mem.table, &chain);
	watch_end();
	assert_int_equal(got, 1);
	assert_int_equal(chain.fault, 0);
	assert_int_equal(chain.readable_cnt, 1);
	assert_int_equal(chain.writable_cnt, 2);
	loaded_once(loads);
	vtfs_vq_dev_push(r->vq, chain.id, chain.ring_cnt, 0);
}

/* covers: SPLIT-DEV-30 */
static void descriptor_is_loaded_once(void **state)
{
	const uint32_t flags = *(const uint32_t *)*state;
	struct raw_part parts[PARTS], table;
	struct rawring r;

	raw_driver_start(&r, flags | VTFS_VQ_INDIRECT, NUM, 8);
	for (unsigned i = 0; i < PARTS; i++)
		parts[i] = (struct raw_part){raw_addr(&r, i * 256), 40,
					     i ? RAW_WRITE : 0};
	raw_send(&r, parts, PARTS, 3);
	/* Four fields each; a split ring has an index and its entry, too. */
	pop_watched(&r, PARTS * 4 + (r.packed ? 0 : 2));
	table = raw_table(&r, TABLE, parts, PARTS);
	raw_send(&r, &table, 1, 4);
	pop_watched(&r, (1 + PARTS) * 4 + (r.packed ? 0 : 2));
	raw_stop(&r);
}

static uint32_t split;
static uint32_t packed = VTFS_VQ_PACKED;

#define only(layout, f)                                                        \
	{                                                                      \
#f " " #layout, f, NULL, NULL, &layout                         \
	}
#define both(f) only(split, f), only(packed, f)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    both(used_element_is_loaded_once),
	    both(descriptor_is_loaded_once),
	};

	return cmocka_run_group_tests_name("loads", tests, NULL, NULL);
}
#else
int main(void)
{
	print_message("loads are counted on x86-64, without TSan\n");
	return 77;
}
#endif
